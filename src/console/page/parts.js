// The small pieces that views are made of.

import { h } from "/console/dom.js";
import { icon } from "/console/icons.js";
import { count, plural, round } from "/console/format.js";
import { state, refusal } from "/console/state.js";

export const badge = (kind, word, name = kind) => h("span", { class: `badge is-${kind}` }, icon(name), h("span", null, word));

const HEALTH = { ok: "ok", warning: "warning", failing: "failing", unreadable: "unreadable" };
export const health = (of) => badge(HEALTH[of] ?? "none", of);

export const TASK = { create: "Snapshot", verify: "Verification", restore: "Restore", delete: "Deletion", prune: "Pruning", drill: "Restore drill", push: "Copy elsewhere" };
export const task = (name) => TASK[name] ?? name;
export const STATE = {
  running: ["running", "running"], done: ["ok", "done"], failed: ["failing", "failed"],
  cancelled: ["none", "cancelled", "stopped"], interrupted: ["warning", "interrupted"],
};

/** A button for a change. Without the role it is disabled, and its title says which role is needed. */
export function change(label, { role, onclick, test, kind = "plain", named, key }) {
  const why = role ? refusal(role) : null;
  return h("button", { type: "button", class: `button ${kind}`, onclick, key, disabled: why !== null, title: why, "aria-label": named, "data-test": test }, label);
}

export const link = (href, text, props) => h("a", { href, ...props }, text);
export const toSource = (name) => `#/source/${encodeURIComponent(name)}`;
export const toSnapshot = (ref) => `#/snapshot/${encodeURIComponent(ref)}`;
export const code = (text) => h("code", null, text);

/** The title of a view: the only h1, focused when the view is entered. */
export function heading(text, ...beside) {
  return h("div", { class: "title" }, h("h1", { tabindex: "-1", "data-test": "heading" }, text), beside);
}

export function stale() {
  if (state.link !== "down") return null;
  return h("p", { class: "stale", key: "stale", "data-test": "stale" }, icon("clock"), h("span", null, "This was so before the connection was lost. It may have changed."));
}

export const facts = (pairs, props) => h("dl", { class: "facts", ...props }, pairs.filter(Boolean).map(([name, ...value]) => h("div", { key: name }, h("dt", null, name), h("dd", null, value))));

/** A table that scrolls within itself where it is too wide, by keyboard too. */
export function table(caption, columns, rows, { test, hide } = {}) {
  const head = columns.map((c) => h("th", { scope: "col", class: c.number ? "number" : null }, c.name));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption, key: `table ${test ?? caption}` },
    h("table", { "data-test": test }, h("caption", { class: hide ? "unseen" : null }, caption), h("thead", null, h("tr", null, head)),
      h("tbody", null, rows.map((cells) => h("tr", { key: cells.key }, cells.map((cell, i) => h(columns[i].row ? "th" : "td", { scope: columns[i].row ? "row" : null, class: [columns[i].number && "number", columns[i].class].filter(Boolean).join(" ") || null }, cell)))))));
}

const MOST_DAMAGE = 50;

export function damageList(damage, intact, most = MOST_DAMAGE) {
  if (!damage?.length) return null;
  const rows = damage.slice(0, most).map((d) => h("li", null,
    h("code", { "data-test": "damaged-file" }, d.path), " ", h("span", { class: "tag bad" }, d.kind), h("p", null, d.detail),
    intact?.[d.path] ? h("p", null, "An intact copy is at ", code(intact[d.path]), ".") : null));
  const more = damage.length - rows.length;
  return h("div", { class: "damage", "data-test": "damage" },
    h("p", { class: "damage-count" }, `${plural(damage.length, "damaged file")}:`), h("ul", null, rows),
    more > 0 ? h("p", null, `And ${count(more)} more.`) : null);
}

/** A problem in full: what, where, file by file, and the way out. */
export function problem(p, { test = "problem", intact, most } = {}) {
  if (p.kind === "interrupted") return h("p", { class: "callout", "data-test": test }, p.detail);
  const hint = wayOut(p, intact);
  return h("div", { class: "problem", "data-test": test },
    h("p", { class: "problem-what" }, icon("failing"), h("span", null, p.detail ?? p.title)),
    p.path && !p.detail?.includes(p.path) ? h("p", null, "Path: ", code(p.path)) : null,
    damageList(p.damage, intact, most),
    p.candidates?.length ? h("p", null, "It could be: ", p.candidates.map((c) => [link(toSnapshot(c), c), " "])) : null,
    hint ? h("p", { class: "problem-hint", "data-test": "hint" }, h("strong", null, "Way out: "), hint) : null);
}

/** Some hints are for who writes requests. */
function wayOut(p, intact) {
  if (/:too-soon$/.test(p.type ?? "")) return "Take one all the same, or wait.";
  if (p.damage?.length && Object.keys(intact ?? {}).length) return "Put the intact copy in the place of the damaged file and verify again, or restore another snapshot.";
  return inConsole(p.hint);
}

const inConsole = (hint) => hint && hint[0].toUpperCase() + hint.slice(1);

/** `parts` of a whole as one bar; a part that is there is never too thin to be seen. */
export function bar(parts, whole) {
  return h("div", { class: "bar", "aria-hidden": "true" }, parts.map(([kind, value]) => h("span", { class: kind, style: { width: value > 0 && whole > 0 ? `max(2px, ${(100 * value) / whole}%)` : "0" } })));
}

export function disk(source) {
  if (source.free_bytes === null || source.free_bytes === undefined || !source.total_bytes) return null;
  const used = source.total_bytes - source.free_bytes;
  const low = source.free_bytes / source.total_bytes < 0.1;
  return h("div", { class: "disk" }, bar([[low ? "used low" : "used", used]], source.total_bytes),
    h("p", null, low ? [icon("warning"), " Only "] : null, `${round(source.free_bytes)} free of ${round(source.total_bytes)}`));
}

export const loading = (what) => h("p", { class: "loading", role: "status", key: "loading" }, `Loading ${what}…`);
export const empty = (...text) => h("p", { class: "empty" }, text);

/** What the last verification says of a snapshot: kind, word, and the long form. */
export function verdict(s) {
  if (s.damaged) return { kind: "failing", word: "damaged" };
  if (s.verified && !s.verified.ok) return { kind: "failing", word: "damage found" };
  if (s.verified) return { kind: "ok", word: `verified ${s.verified.level}` };
  return { kind: "none", word: "not verified" };
}
