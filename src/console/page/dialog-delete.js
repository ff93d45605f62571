// Dialogs of what the role `admin` may do: delete, prune. Both show what the server says would go, before anything goes.

import * as api from "/console/api.js";
import { h } from "/console/dom.js";
import { dialog, field } from "/console/dialog.js";
import { bytes, count, moment, plural, setting } from "/console/format.js";
import { notify } from "/console/notices.js";
import { badge, facts, problem, table, toSource, verdict } from "/console/parts.js";
import { hooks, state } from "/console/state.js";

const most = (n) => `at most ${bytes(n)}`;
const Most = (n) => `At most ${bytes(n)}`;

export async function deleteDialog(s) {
  const preview = h("div", { class: "preview", "aria-live": "polite", "data-test": "delete-preview" }, h("p", null, "Asking what would go…"));
  const v = verdict(s);
  const source = state.sources?.find((x) => x.name === s.source);
  const ui = dialog({
    title: `Delete ${s.id}?`, test: "delete-dialog", confirm: `Delete ${s.id}`, danger: true, ready: false, away: "Keep it",
    content: [
      facts([["Source", s.source], ["Taken", moment(s.timestamp_ms)], ["State", badge(v.kind, v.word)], s.tags?.length && ["Tags", s.tags.join(", ")]]),
      source?.newest_verified?.id === s.id ? h("p", { class: "callout" }, "It is the newest verified snapshot of this source.") : null,
      source?.snapshots === 1 ? h("p", { class: "callout" }, "It is the only snapshot of this source.") : null,
      s.pinned ? h("p", { class: "callout", "data-test": "delete-pinned" }, "It is pinned: whoever did that wanted it to be kept.") : null,
      preview, h("p", null, "This cannot be undone. Other snapshots and the log stay as they are."),
    ],
    async run() {
      const gone = await api.remove(s.ref, false, s.pinned);
      if (location.hash === `#/snapshot/${encodeURIComponent(s.ref)}`) location.hash = toSource(s.source);
      const freed = gone.deleted.reduce((sum, d) => sum + d.bytes, 0);
      notify({ kind: "ok", what: `${s.id} of ${s.source} was deleted`, body: h("p", null, `${Most(freed)} became free.`), spoken: `${s.id} was deleted.` });
      hooks.refresh();
    },
  });
  try {
    const { deleted } = await api.remove(s.ref, true, s.pinned);
    preview.replaceChildren(...deleted.map((d) => h("p", null, `${d.id} would go: ${plural(d.files, "file")}; ${most(d.bytes)} becomes free.`)));
    ui.ready(deleted.length > 0);
  } catch (e) {
    preview.replaceChildren();
    ui.problem(e.problem ?? { detail: String(e) });
  }
}

const RULES = [
  ["max_snapshots", "At most", "snapshots"], ["retention", "No older than", "such as 36h or 7d"], ["hourly", "Hourly", "newest of each hour"],
  ["daily", "Daily", "newest of each day"], ["weekly", "Weekly", "newest of each week"], ["monthly", "Monthly", "newest of each month"],
];

export function pruneDialog(source) {
  const keep = source.keep ?? {};
  const inputs = new Map();
  const preview = h("div", { class: "preview", "data-test": "prune-preview" });
  const summary = h("p", { class: "preview-sum", role: "status", "data-test": "prune-summary" }, "Asking what would go…");
  let turn = 0;
  let timer = 0;

  const fields = RULES.map(([name, label, note]) => {
    const input = h("input", { type: "text", inputmode: name === "retention" ? "text" : "numeric", "data-test": `prune-${name}`, oninput: later, spellcheck: "false" });
    input.value = name === "retention" ? setting(keep.retention_seconds) : String(keep[name] ?? 0);
    inputs.set(name, input);
    return field(label, input, note);
  });

  function rules() {
    const body = {};
    for (const [name, input] of inputs) {
      const text = input.value.trim();
      if (name === "retention") body[name] = text;
      else if (/^\d+$/.test(text)) body[name] = Number(text);
      else throw Object.assign(new Error(), { problem: { detail: `“${RULES.find((r) => r[0] === name)[1]}” must be a whole number.` } });
    }
    return body;
  }

  function later() {
    ui.ready(false);
    clearTimeout(timer);
    timer = setTimeout(look, 350);
  }

  async function look() {
    const mine = (turn += 1);
    ui.problem(null);
    try {
      const answer = await api.prune(source.name, { ...rules(), dry_run: true });
      if (mine === turn) draw(answer);
    } catch (e) {
      if (mine !== turn) return;
      preview.replaceChildren();
      summary.textContent = "";
      ui.ready(false);
      ui.problem(e.problem ?? { detail: String(e) });
    }
  }

  function draw({ steps }) {
    const going = steps.filter((s) => s.remove);
    const freed = going.reduce((sum, s) => sum + s.bytes, 0);
    summary.textContent = going.length ? `${plural(going.length, "snapshot")} would go and ${count(steps.length - going.length)} would stay. ${Most(freed)} becomes free.` : `Nothing would go. ${plural(steps.length, "snapshot")} would stay.`;
    const columns = [{ name: "Snapshot", row: true, class: "id" }, { name: "What" }, { name: "Why" }, { name: "Size", number: true }];
    const rows = [...going, ...steps.filter((s) => !s.remove)].map((s) => Object.assign([s.id, s.remove ? badge("failing", "delete") : badge("ok", "keep"), s.reason, bytes(s.bytes)], { key: s.id }));
    const verified = going.some((s) => s.id === source.newest_verified?.id);
    preview.replaceChildren(...(verified ? [h("p", { class: "callout" }, "The newest verified snapshot is among them.")] : []), table("What pruning would do", columns, rows, { test: "prune-steps" }));
    ui.label(going.length ? `Delete ${plural(going.length, "snapshot")} of ${source.name}` : "Nothing to delete");
    ui.ready(going.length > 0);
  }

  const ui = dialog({
    title: `Prune ${source.name}`, test: "prune-dialog", confirm: "Nothing to delete", danger: true, ready: false, away: "Keep everything",
    content: [
      h("p", null, "These are the rules of the source. What you change here counts this once. Pinned snapshots always stay."),
      h("div", { class: "rules" }, fields), summary, preview,
    ],
    async run() {
      const answer = await api.prune(source.name, { ...rules(), dry_run: false });
      const failed = answer.failed ?? [];
      const what = `${plural(answer.deleted.length, "snapshot")} of ${source.name} ${answer.deleted.length === 1 ? "was" : "were"} deleted`;
      notify({
        kind: failed.length ? "failing" : "ok", what: failed.length ? `${what}, ${count(failed.length)} could not be` : what, spoken: what,
        body: [h("p", null, `${Most(answer.deleted.reduce((sum, d) => sum + d.bytes, 0))} became free.`), failed.map((f) => [h("p", null, f.id), problem(f.error)])],
      });
      hooks.refresh();
    },
  });
  look();
}
