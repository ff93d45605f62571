// Dialogs of what the role `operate` may do: create, verify, cancel.

import * as api from "/console/api.js";
import { h } from "/console/dom.js";
import { dialog, field } from "/console/dialog.js";
import { bytes, count, when } from "/console/format.js";
import { title } from "/console/job-text.js";
import { begun } from "/console/notices.js";
import { change, code, facts } from "/console/parts.js";
import { take } from "/console/state.js";

const tooSoon = (p) => /:too-soon$/.test(p.type ?? "");
const losesRecords = (p) => /accept.loss/.test(p.hint ?? "");

const partOf = (source) => (source.part === "all" ? "everything in it" : source.part);

/** `allow` is what an earlier try was refused for: `force`, `accept_loss`. */
export function createDialog(source, allow = {}) {
  const tags = h("input", { type: "text", "data-test": "create-tags", spellcheck: "false" });
  const name = source.name;
  const allowed = { ...allow };
  const label = () => (allowed.accept_loss ? `Snapshot what is left of ${name}` : allowed.force ? `Snapshot ${name} all the same` : `Snapshot ${name}`);
  // One key per thing asked for: a request that is sent again after a lost answer is not carried out twice.
  let key = api.idempotencyKey();
  let asked = "";
  const again = h("div", { "data-test": "create-allow" });
  const told = () => again.replaceChildren(...[
    allowed.force ? h("p", { class: "callout" }, "The last snapshot is recent. This takes another one all the same.") : null,
    allowed.accept_loss ? h("p", { class: "callout" }, "The log has lost records since the last snapshot. This takes a snapshot of what is left.") : null,
  ].filter(Boolean));
  told();
  dialog({
    title: `Take a snapshot of ${name}`, test: "create-dialog", confirm: label(),
    content: [
      facts([
        ["Source", code(source.path)], ["Part", partOf(source)], source.store && ["Store", code(source.store)],
        ["Newest so far", source.newest ? [source.newest.id, ", ", when(source.newest.timestamp_ms)] : "none"],
      ]),
      field("Tags", tags, "Optional. Separate several with commas."), again,
    ],
    async run() {
      const body = { source: name, ...allowed };
      const list = tags.value.split(",").map((t) => t.trim()).filter(Boolean);
      if (list.length) body.tags = list;
      if (asked && asked !== JSON.stringify(body)) key = api.idempotencyKey();
      asked = JSON.stringify(body);
      begun(await api.create(body, key), { onFail: (job) => retry(source, allowed, job.error) });
    },
    onProblem(p, ui) {
      if (p.type !== "unreachable") key = api.idempotencyKey();
      if (tooSoon(p)) {
        allowed.force = true;
        ui.problem({ ...p, hint: "take one all the same, or wait." });
      } else if (losesRecords(p)) {
        allowed.accept_loss = true;
        ui.problem({ ...p, hint: "restore the last good snapshot, or take a snapshot of what is left." });
      } else return;
      told();
      ui.label(label());
    },
  });
}

function retry(source, allowed, p) {
  if (!p) return null;
  const more = tooSoon(p) ? { force: true } : losesRecords(p) ? { accept_loss: true } : null;
  return more && [change("Take one all the same…", { role: "operate", kind: "small", test: "create-again", onclick: () => createDialog(source, { ...allowed, ...more }) })];
}

const LEVELS = [
  ["quick", "Quick", "The digests of the manifests, and that every file is there with its size. Reads almost nothing."],
  ["full", "Full", "BLAKE3 of every byte."],
  ["deep", "Deep", "As full, and the CRC of every batch, the order of offsets, and that the indexes agree."],
];

export function verifyDialog(s) {
  let level = "full";
  const reads = h("dd", { "data-test": "verify-reads" });
  const label = () => `Verify ${s.id} (${level})`;
  const tell = () => { reads.textContent = level === "quick" ? "the manifests only" : `${bytes(s.total_size)}, every byte of the snapshot`; };
  tell();
  const choice = ([value, name, text]) => {
    const input = h("input", { type: "radio", name: "level", value, id: `level-${value}`, checked: value === level, "aria-describedby": `level-${value}-note`, onchange: () => { level = value; tell(); ui.label(label()); } });
    return h("div", { class: "choice" }, input, h("label", { for: `level-${value}` }, name), h("p", { class: "note", id: `level-${value}-note` }, text));
  };
  const ui = dialog({
    title: `Verify ${s.id}`, test: "verify-dialog", confirm: label(),
    content: [
      h("fieldset", null, h("legend", null, "Level"), LEVELS.map(choice)),
      h("dl", { class: "facts" }, h("div", null, h("dt", null, "Source"), h("dd", null, s.source)), h("div", null, h("dt", null, "Reads"), reads)),
    ],
    run: async () => begun(await api.verify(s.ref, { level })),
  });
}

export function cancelDialog(job) {
  dialog({
    title: "Cancel this job?", test: "cancel-dialog", confirm: `Cancel: ${title(job)}`, danger: true, away: "Let it go on",
    content: [h("p", null, `${title(job)}, begun by ${job.by}.`), h("p", null, "What it has begun is undone. If it is beyond its commit point, it ends as done."),
      job.progress.files ? h("p", null, `So far: ${count(job.progress.files)} files, ${bytes(job.progress.bytes)}.`) : null],
    run: async () => { take(await api.cancel(job.id)); },
  });
}
