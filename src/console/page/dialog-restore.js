// The dialog of a restore: from which snapshot, what of it, and to where.

import * as api from "/console/api.js";
import { h } from "/console/dom.js";
import { dialog, field } from "/console/dialog.js";
import { bytes, count, moment } from "/console/format.js";
import { begun } from "/console/notices.js";
import { state } from "/console/state.js";

const options = (list) => list.map(([value, text]) => h("option", { value }, text));

/** What is wrong with a path below a restore directory, or null. The server decides; this only spares a round trip. */
export function faultOf(path) {
  if (!path) return "Name a directory.";
  if (path.startsWith("/")) return "Name a path below the directory, without a slash at its beginning.";
  if (path.split("/").some((p) => p === ".." || p === "." || p === "")) return "Each part of the path must be a name.";
  return null;
}

/** The logs of a snapshot that a topic and partition select. */
export const chosen = (logs, topic, partition) => logs.filter((l) => (!topic || l.topic === topic) && (partition === "" || l.partition === Number(partition)));

export function restoreDialog(s) {
  const dirs = state.who?.restore_dirs ?? [];
  const logs = s.logs ?? [];
  const redo = { oninput: refresh, onchange: refresh };
  const dir = h("select", { "data-test": "restore-dir", ...redo }, options(dirs.map((d) => [d, d])));
  const to = h("input", { type: "text", "data-test": "restore-to", spellcheck: "false", autocapitalize: "none", ...redo });
  to.value = `${s.source}-${s.id}`.replaceAll("/", "-");
  const topic = h("select", { "data-test": "restore-topic", onchange: topicChanged }, options([["", "all topics"], ...[...new Set(logs.map((l) => l.topic))].map((t) => [t, t])]));
  const partition = h("select", { "data-test": "restore-partition", ...redo });
  const until = h("input", { type: "text", inputmode: "numeric", "data-test": "restore-until", ...redo });
  const method = h("select", { "data-test": "restore-method", ...redo }, options([["auto", "auto: reflink where it can be, else copy"], ["reflink", "reflink"], ["copy", "copy"]]));
  const target = h("code", { "data-test": "restore-target" });
  const size = h("dd", { "data-test": "restore-size" });
  const fault = h("p", { class: "fault", id: "restore-fault", role: "status" });
  to.setAttribute("aria-errormessage", "restore-fault");
  const untilField = field("Up to offset", until, "Optional. Of one log only: nothing at or beyond this offset is restored.");

  function fillPartitions() {
    const those = logs.filter((l) => l.topic === topic.value).map((l) => [String(l.partition), `partition ${l.partition}`]);
    partition.replaceChildren(...options([["", "all partitions"], ...those]));
    partition.disabled = !topic.value;
  }

  function topicChanged() {
    fillPartitions();
    refresh();
  }

  const path = () => `${dir.value.replace(/\/+$/, "")}/${to.value.trim()}`;
  const part = () => chosen(logs, topic.value, partition.value);
  const single = () => (logs.length ? part().length === 1 : true);

  function refresh() {
    const wrong = faultOf(to.value.trim()) ?? (until.value.trim() && !/^\d+$/.test(until.value.trim()) ? "The offset must be a whole number." : null);
    target.textContent = faultOf(to.value.trim()) ? dir.value : path();
    const total = logs.length && topic.value ? part().reduce((sum, l) => sum + l.total_size, 0) : s.total_size;
    size.textContent = `${topic.value ? "about " : ""}${bytes(total)}${logs.length ? ` in ${count(part().length)} of ${count(logs.length)} logs` : ""}`;
    until.disabled = !single();
    untilField.hidden = !single();
    fault.textContent = wrong ?? "";
    to.setAttribute("aria-invalid", faultOf(to.value.trim()) ? "true" : "false");
    ui?.ready(dirs.length > 0 && !wrong);
    ui?.label(`Restore to ${target.textContent}`);
  }

  let ui = null;
  fillPartitions();
  if (!dirs.length) {
    dialog({
      title: `Restore ${s.id}`, test: "restore-dialog", confirm: "Restore", ready: false, away: "Close",
      content: h("p", { class: "callout" }, "This server allows no directory to restore to. Name one in its configuration, or restore with the cowlog command."), run: async () => {},
    });
    return;
  }
  ui = dialog({
    title: `Restore ${s.id}`, test: "restore-dialog", confirm: "Restore",
    content: [
      s.damaged || s.verified?.ok === false ? h("p", { class: "callout bad" }, "Damage was found in this snapshot. What is damaged is refused, and nothing is restored then.") : null,
      h("p", null, "Every byte is verified first. The target must not be there yet."),
      dirs.length > 1 ? field("Directory", dir) : null,
      field("Name below it", to, dirs.length > 1 ? null : `Below ${dirs[0]}.`),
      fault,
      logs.length > 1 ? h("div", { class: "pair" }, field("Topic", topic), field("Partition", partition)) : null,
      h("details", null, h("summary", null, "More settings"), untilField, field("Method", method)),
      h("dl", { class: "facts" },
        h("div", null, h("dt", null, "Snapshot"), h("dd", null, `${s.source}, taken ${moment(s.timestamp_ms)}`)),
        h("div", null, h("dt", null, "Size"), size),
        h("div", null, h("dt", null, "Target"), h("dd", null, target))),
    ],
    async run() {
      const body = { to: to.value.trim(), method: method.value };
      if (dirs.length > 1) body.dir = dir.value;
      if (topic.value) body.topic = topic.value;
      if (topic.value && partition.value !== "") body.partition = Number(partition.value);
      if (!until.disabled && until.value.trim()) body.until_offset = Number(until.value.trim());
      begun(await api.restore(s.ref, body));
    },
  });
  refresh();
  ui.el.querySelector("[data-test=restore-to]").select();
}
