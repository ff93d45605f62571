// A running job, as it is now.

import { h } from "/console/dom.js";
import { icon } from "/console/icons.js";
import { span } from "/console/format.js";
import { change, link, task, toSnapshot, toSource } from "/console/parts.js";
import { amounts, share, title } from "/console/job-text.js";
import { cancelDialog } from "/console/dialogs.js";

export function jobTitle(job) {
  const name = job.snapshot ? link(toSnapshot(`${job.source}~${job.snapshot}`), job.snapshot) : link(toSource(job.source), job.source);
  return [`${task(job.task)} of `, name, job.snapshot ? [" in ", link(toSource(job.source), job.source)] : null];
}

export function runningJob(job, level = "h3") {
  const done = share(job.progress);
  const percent = done === null ? null : Math.round(done * 100);
  return h("li", { class: "job running", key: job.id, "data-test": "running-job", "data-job": job.id },
    h("div", { class: "job-line" }, h(level, { class: "job-title" }, icon("running"), h("span", null, jobTitle(job))),
      change("Cancel", { role: "operate", test: "cancel-job", kind: "small", named: `Cancel: ${title(job)}`, onclick: () => cancelDialog(job) })),
    h("progress", { max: "100", value: percent, "aria-label": title(job), "data-test": "progress" }),
    h("p", { class: "job-amounts" }, h("span", { class: "phase" }, job.progress.phase || "beginning"), h("span", null, amounts(job.progress)), percent === null ? null : h("span", null, `${percent} %`),
      h("span", { class: "quiet" }, `for ${span(Math.max(0, Math.round((Date.now() - job.began_ms) / 1000) * 1000))}`), h("span", { class: "quiet" }, `by ${job.by}`)));
}

/** The running jobs of a source or snapshot as a section, or null where there are none. */
export function runningSection(jobs) {
  if (!jobs.length) return null;
  return h("section", { class: "panel live", key: "running", "aria-labelledby": "running-title", "data-test": "running" },
    h("h2", { id: "running-title" }, "Running now"), h("ul", { class: "jobs" }, jobs.map((j) => runningJob(j))));
}
