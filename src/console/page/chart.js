// The timeline: a bar per snapshot, at the time it was taken, as high as its size, split in copied and shared bytes.

import { component, h, morph, svg } from "/console/dom.js";
import { ago, bytes, moment, ms, round } from "/console/format.js";
import { toSnapshot, verdict } from "/console/parts.js";

const HEIGHT = 236;
const EDGE = { top: 26, right: 12, bottom: 34, left: 66 };
const PITCH = 11;
const MIN = 60_000;
const hour = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

/** Ascending positions moved apart to at least `gap`, each as little as can be, within `[low, high]`. They must fit. */
export function spread(wanted, gap, low, high) {
  const at = [...wanted];
  for (let i = 0; i < at.length; i += 1) at[i] = Math.max(at[i], i ? at[i - 1] + gap : low);
  for (let i = at.length - 1; i >= 0; i -= 1) at[i] = Math.min(at[i], i === at.length - 1 ? high : at[i + 1] - gap);
  return at;
}

/** Round sizes, in binary units, of which the last is at least `most`. */
export function sizeTicks(most) {
  if (most <= 0) return [0, 1];
  const unit = 1024 ** Math.floor(Math.log2(most) / 10);
  const scaled = most / unit;
  const step = [0.5, 1, 2, 5, 10, 20, 25, 50, 100, 200, 256, 512].find((s) => scaled / s <= 4) ?? 512;
  const ticks = [];
  for (let t = 0; t < scaled + step; t += step) ticks.push(t * unit);
  return ticks;
}

/** Labels below bars, the newest first and `room` apart: the day, or the time where the label to its left is of the same day. */
export function timeTicks(times, at, room) {
  const picked = [];
  for (let i = times.length - 1; i >= 0; i -= 1) if (!picked.length || at[picked[0]] - at[i] >= room) picked.unshift(i);
  return picked.map((i, k) => [at[i], k && day.format(times[picked[k - 1]]) === day.format(times[i]) ? hour.format(times[i]) : day.format(times[i])]);
}

export const label = (s) => `${s.id}, ${moment(ms(s.timestamp_ms))}, ${ago(s.timestamp_ms)}: ${bytes(s.total_size)}, ${bytes(s.bytes_copied)} copied, ${bytes(s.bytes_shared)} shared, ${verdict(s).word}${s.pinned ? ", pinned" : ""}`;

export function chart(snapshots) {
  const box = h("div", { class: "chart", "data-test": "chart", key: "chart" });
  const readout = h("p", { class: "readout", "aria-hidden": "true" });
  const note = h("p", { class: "note" });
  const canvas = svg("svg", { role: "group", "aria-label": "Timeline of snapshots. Arrow keys move between the bars, Enter opens one.", height: HEIGHT });
  box.append(canvas, readout, note, legend());
  let list = [];
  let active = null;
  let width = 0;

  const say = (s) => { readout.textContent = s ? label(s) : "Point at a bar, or move to it with the arrow keys."; };

  function move(event) {
    const bars = [...canvas.querySelectorAll("a")];
    const i = bars.indexOf(event.currentTarget);
    const to = { ArrowLeft: i - 1, ArrowRight: i + 1, Home: 0, End: bars.length - 1 }[event.key];
    if (to === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    bars[Math.max(0, Math.min(bars.length - 1, to))].focus();
  }

  function enter(s) {
    active = s.ref;
    for (const bar of canvas.querySelectorAll("a")) bar.setAttribute("tabindex", bar.key === active ? "0" : "-1");
    say(s);
  }

  function draw() {
    if (width < 80) return;
    const inner = width - EDGE.left - EDGE.right;
    const shown = list.slice(0, Math.max(1, Math.floor(inner / PITCH))).reverse();
    if (!shown.some((s) => s.ref === active)) active = shown.at(-1)?.ref ?? null;
    note.textContent = shown.length < list.length ? `The newest ${shown.length} of the ${list.length} in the table below.` : "";
    const first = shown[0]?.timestamp_ms ?? Date.now();
    const last = Math.max(shown.at(-1)?.timestamp_ms ?? first, first + MIN);
    const pad = Math.min(14, inner / 8);
    const x = (t) => EDGE.left + pad + ((t - first) / (last - first)) * (inner - 2 * pad);
    const ticks = sizeTicks(Math.max(...shown.map((s) => s.total_size), 0));
    const base = HEIGHT - EDGE.bottom;
    const y = (n) => base - (n / ticks.at(-1)) * (base - EDGE.top);
    const at = spread(shown.map((s) => x(s.timestamp_ms)), PITCH, EDGE.left + PITCH / 2, width - EDGE.right - PITCH / 2);
    const next = canvas.cloneNode(false);
    next.setAttribute("width", width);
    next.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    const spaced = timeTicks(shown.map((t) => t.timestamp_ms), at, 62);
    next.append(
      svg("g", { class: "grid", "aria-hidden": "true", key: "grid" }, ticks.map((t) => [
        svg("line", { x1: EDGE.left, x2: width - EDGE.right, y1: y(t), y2: y(t) }), svg("text", { x: EDGE.left - 8, y: y(t) + 4, "text-anchor": "end" }, round(t))])),
      svg("g", { class: "axis", "aria-hidden": "true", key: "axis" }, spaced.map(([mid, text]) => [
        svg("line", { x1: mid, x2: mid, y1: base, y2: base + 5 }), svg("text", { x: Math.min(mid, width - 22), y: base + 20, "text-anchor": "middle" }, text)])),
      ...shown.map((s, i) => bar(s, at[i], y, base)));
    morph(canvas, next);
  }

  function bar(s, mid, y, base) {
    const v = verdict(s);
    const top = y(s.total_size);
    const copied = s.bytes_copied > 0 ? Math.min(base - 2, y(s.bytes_copied)) : base;
    const marks = { ok: "M-3 0l2.2 2.2L3-2.4", failing: "M-2.6-2.6l5.2 5.2M2.6-2.6l-5.2 5.2" };
    return svg("a", {
      href: toSnapshot(s.ref), key: s.ref, class: `snap is-${v.kind}`, tabindex: s.ref === active ? "0" : "-1", "aria-label": label(s), "data-test": "chart-bar",
      onkeydown: move, onfocus: () => enter(s), onblur: () => say(null), onpointerenter: () => say(s), onpointerleave: () => say(null),
    },
    svg("rect", { class: "hit", x: mid - PITCH / 2, y: EDGE.top - 18, width: PITCH, height: base - EDGE.top + 22 }),
    svg("rect", { class: "shared", x: mid - 3.5, y: top, width: 7, height: Math.max(0, copied - top) }),
    svg("rect", { class: "copied", x: mid - 3.5, y: copied, width: 7, height: base - copied }),
    marks[v.kind] ? svg("path", { class: "mark", d: marks[v.kind], transform: `translate(${mid} ${top - 8})` }) : null,
    s.pinned ? svg("path", { class: "mark pinned", d: "M0-3.2l3.2 3.2L0 3.2L-3.2 0z", transform: `translate(${mid} ${top - (marks[v.kind] ? 18 : 8)})` }) : null);
  }

  const sizes = new ResizeObserver(([entry]) => {
    const now = Math.floor(entry.contentRect.width);
    if (now !== width) {
      width = now;
      draw();
    }
  });
  sizes.observe(box);
  say(null);
  return component(box, snapshots, (given) => {
    list = given;
    draw();
  });
}

function legend() {
  const swatch = (kind, text) => h("li", null, h("span", { class: `swatch ${kind}`, "aria-hidden": "true" }), text);
  const mark = (d, kind, text) => h("li", null, svg("svg", { class: "swatch-mark", viewBox: "-5 -5 10 10", "aria-hidden": "true" }, svg("path", { class: `mark ${kind}`, d })), text);
  return h("ul", { class: "legend" }, swatch("shared", "shared bytes"), swatch("copied", "copied bytes"), mark("M-3 0l2.2 2.2L3-2.4", "is-ok", "verified"),
    mark("M-2.6-2.6l5.2 5.2M2.6-2.6l-5.2 5.2", "is-failing", "damaged"), mark("M0-3.2l3.2 3.2L0 3.2L-3.2 0z", "pinned", "pinned"));
}
