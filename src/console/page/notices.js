// What came of what was asked for: as a card to read, and as a sentence for a screen reader.

import { h } from "/console/dom.js";
import { icon } from "/console/icons.js";
import { link, problem, toSnapshot } from "/console/parts.js";
import { outcome, share, title } from "/console/job-text.js";
import { onEnd, state, take, watch } from "/console/state.js";

const MOST = 4;

export function say(text) {
  const live = document.getElementById("live");
  live.textContent = "";
  setTimeout(() => { live.textContent = text; }, 60);
}

export function notify({ kind, what, body, actions, spoken }) {
  const room = document.getElementById("notices");
  const card = h("article", { class: `notice is-${kind}`, "data-test": "notice", "data-kind": kind },
    h("div", { class: "notice-head" }, icon(kind), h("p", { class: "notice-what" }, what),
      h("button", { type: "button", class: "button bare", "aria-label": "Close this message", onclick: () => dismiss(card), "data-test": "close-notice" }, icon("close"))),
    h("div", { class: "notice-body" }, body, actions ? h("p", { class: "notice-actions" }, actions) : null));
  card.since = Date.now();
  room.prepend(card);
  while (room.children.length > MOST) room.lastElementChild.remove();
  if (spoken) say(spoken);
  return card;
}

function dismiss(card) {
  const held = card.contains(document.activeElement);
  const next = card.nextElementSibling?.querySelector("button");
  card.remove();
  if (held) (next ?? document.querySelector("main h1"))?.focus();
}

/** Good news that was there for a while goes when another view is entered; bad news stays until it is closed. */
export function tidy() {
  for (const card of document.querySelectorAll("#notices > [data-kind=ok]")) if (Date.now() - card.since > 8000) card.remove();
}

export const clear = () => document.getElementById("notices").replaceChildren();

// Jobs that this page asked for, each with what can be done when it fails.
const own = new Map();
const told = new Map();

function ended(job) {
  const more = own.get(job.id);
  if (!more) return;
  own.delete(job.id);
  told.delete(job.id);
  const words = title(job);
  if (job.state === "done") {
    const made = job.task === "create" && job.snapshot;
    const text = outcome(job);
    notify({
      kind: "ok", what: made ? `${job.snapshot} of ${job.source} was taken` : `${words}: done`, body: [text ? h("p", null, `${text}.`) : null, leftOut(job), job.warnings?.map((w) => h("p", null, w))],
      actions: job.snapshot ? [link(toSnapshot(`${job.source}~${job.snapshot}`), "Open the snapshot")] : null, spoken: `${words}: done. ${text ?? ""}`,
    });
  } else if (job.state === "failed") {
    notify({
      kind: "failing", what: job.result?.ok === false ? `${words} found damage` : `${words} failed`, body: problem(job.error ?? { detail: "No reason was given." }, { intact: job.result?.intact, most: 4 }),
      actions: more.onFail?.(job), spoken: `${words} failed. ${job.error?.detail ?? ""}`,
    });
  } else {
    notify({ kind: "warning", what: `${words} was ${job.state}`, body: h("p", null, "Nothing was left behind."), spoken: `${words} was ${job.state}.` });
  }
}

const leftOut = (job) => (job.result?.left_out?.length ? h("p", null, `Left out on purpose: ${job.result.left_out.map((l) => `${l.path} (${l.why})`).join(", ")}.`) : null);

/** Follows a job that was just accepted; it may have ended by now. */
export function begun(job, more = {}) {
  own.set(job.id, more);
  const known = state.jobs.get(job.id);
  if (known && known.state !== "running") {
    ended(known);
    return;
  }
  say(`${title(job)} has begun.`);
  take(job);
}

function progress() {
  for (const id of own.keys()) {
    const job = state.jobs.get(id);
    const done = job && share(job.progress);
    if (done === null || done === undefined || job.state !== "running") continue;
    const quarter = Math.floor(done * 4);
    if (quarter < 1 || quarter > 3 || told.get(id) === `${job.progress.phase} ${quarter}`) continue;
    told.set(id, `${job.progress.phase} ${quarter}`);
    say(`${title(job)}: ${job.progress.phase}, ${quarter * 25} percent.`);
  }
}

onEnd(ended);
watch(progress);
