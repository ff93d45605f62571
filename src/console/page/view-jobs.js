// Jobs: what runs now, and what came of what ran.

import * as api from "/console/api.js";
import { h } from "/console/dom.js";
import { count, span, when } from "/console/format.js";
import { outcome } from "/console/job-text.js";
import { STATE, badge, damageList, empty, heading, loading, problem, stale } from "/console/parts.js";
import { jobTitle, runningJob } from "/console/progress.js";
import { loadJobs, running, sorted, state } from "/console/state.js";

export function finishedJob(job) {
  const text = outcome(job);
  const damage = job.result?.damage?.length && !job.error?.damage?.length ? job.result.damage : null;
  return h("li", { class: `job is-${job.state}`, key: job.id, "data-test": "finished-job", "data-job": job.id, "data-state": job.state },
    h("div", { class: "job-line" }, h("h3", { class: "job-title" }, jobTitle(job)), badge(...STATE[job.state] ?? ["none", job.state])),
    h("p", { class: "job-amounts" }, h("span", null, when(job.ended_ms ?? job.began_ms)), job.ended_ms ? h("span", null, `took ${span(job.ended_ms - job.began_ms)}`) : null, h("span", null, `by ${job.by}`)),
    text ? h("p", { "data-test": "job-result" }, text) : null,
    job.result?.not_restored?.length ? h("p", null, `Not restored: ${job.result.not_restored.join(", ")}.`) : null,
    job.result?.extra?.length ? h("p", null, `Files that the manifest does not name: ${job.result.extra.join(", ")}.`) : null,
    job.warnings?.map((w) => h("p", { class: "callout" }, w)),
    job.error ? problem(job.error, { intact: job.result?.intact, test: "job-error" }) : null,
    damage ? damageList(damage, job.result?.intact) : null);
}

const STATES = [["", "any"], ["done", "done"], ["failed", "failed"], ["cancelled", "cancelled"], ["interrupted", "interrupted"]];

export function jobsView({ params }) {
  const filter = { source: params.get("source") ?? "", state: params.get("state") ?? "" };
  let loaded = false;
  let fault = null;
  let shown = 50;

  const view = {
    title: "Jobs",
    concerns: () => false,
    async load() {
      try {
        await loadJobs(filter.source || filter.state ? { source: filter.source, state: filter.state } : { limit: 100 });
        loaded = true;
        fault = null;
      } catch (e) {
        if (!(e instanceof api.Refused)) throw e;
        fault = e.problem;
      }
    },
    render() {
      const names = new Set([...(state.sources ?? []).map((s) => s.name), ...sorted().map((j) => j.source)]);
      if (filter.source) names.add(filter.source);
      const now = running(filter.source);
      const ended = sorted().filter((j) => j.state !== "running" && (!filter.source || j.source === filter.source) && (!filter.state || j.state === filter.state));
      return [heading("Jobs"), stale(), fault ? problem(fault) : null,
        h("div", { class: "filters", key: "filters" }, select("source", "Source", [["", "all"], ...[...names].sort().map((n) => [n, n])]), select("state", "Outcome", STATES)),
        h("section", { class: now.length ? "panel live" : "panel", key: "running", "aria-labelledby": "running-title", "data-test": "running" },
          h("h2", { id: "running-title" }, "Running now"), now.length ? h("ul", { class: "jobs" }, now.map((j) => runningJob(j))) : empty("Nothing runs.")),
        h("section", { class: "panel", key: "finished", "aria-labelledby": "finished-title", "data-test": "finished" },
          h("h2", { id: "finished-title" }, "Finished"),
          ended.length ? h("ul", { class: "jobs" }, ended.slice(0, shown).map(finishedJob)) : loaded ? empty("None that match.") : loading("the jobs"),
          ended.length > shown ? h("button", { type: "button", class: "button plain more", onclick: () => { shown += 50; view.repaint(); } }, `Show more (${count(ended.length - shown)} left)`) : null)];
    },
  };

  function select(name, label, choices) {
    const control = h("select", { id: `filter-${name}`, "data-test": `filter-${name}`, onchange: pick }, choices.map(([value, text]) => h("option", { value, key: value }, text)));
    control.value = filter[name];
    return h("div", { class: "field", key: name }, h("label", { for: `filter-${name}` }, label), control);
  }

  function pick(event) {
    filter[event.currentTarget.id.slice("filter-".length)] = event.currentTarget.value;
    const q = new URLSearchParams(Object.entries(filter).filter(([, v]) => v));
    history.replaceState(null, "", `#/jobs${q.size ? `?${q}` : ""}`);
    shown = 50;
    view.repaint();
    view.refresh();
  }
  return view;
}
