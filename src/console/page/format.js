// Numbers and times for people. Sizes are binary; times are shown in the reader's zone, with UTC in the title.

import { h } from "/console/dom.js";

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
const numbers = new Intl.NumberFormat("en-GB");
const moments = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

export const count = (n) => numbers.format(n);
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

export function bytes(n) {
  if (n === null || n === undefined) return "unknown";
  let unit = 0;
  let value = n;
  while (value >= 1023.5 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

/** The same without decimals that say nothing. */
export const round = (n) => bytes(n).replace(/(\.\d*?)0+ /, "$1 ").replace(". ", " ");

/** A span of time in its one or two largest units. */
export function span(ms) {
  const s = Math.abs(ms) / 1000;
  if (s < 1) return `${Math.round(Math.abs(ms))} ms`;
  if (s < 10) return `${Number(s.toFixed(1))} s`;
  if (s < 60) return `${Math.round(s)} s`;
  if (s < 3600) return two(s, 60, "min", "s", 10);
  if (s < 86400) return two(s / 60, 60, "h", "min", 6);
  return two(s / 3600, 24, "d", "h", 4);
}

// Above `fine` of the large unit, the small one is noise.
function two(small, per, large, unit, fine) {
  let whole = Math.floor(small / per);
  let rest = Math.round(small % per);
  if (rest === per) [whole, rest] = [whole + 1, 0];
  return rest && whole < fine ? `${whole} ${large} ${rest} ${unit}` : `${small % per >= per / 2 && whole >= fine ? whole + 1 : whole} ${large}`;
}

const coarse = (ms) => {
  const s = Math.abs(ms) / 1000;
  if (s < 60) return `${Math.round(s)} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 129600) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} d`;
};

export function ago(ms, now = Date.now()) {
  const past = now - ms;
  if (Math.abs(past) < 5000) return "just now";
  return past > 0 ? `${coarse(past)} ago` : `in ${coarse(past)}`;
}

export const age = (ms, now = Date.now()) => coarse(Math.max(0, now - ms));
export const due = (ms, now = Date.now()) => (ms <= now ? "due now" : `in ${coarse(ms - now)}`);

export const ms = (time) => (typeof time === "number" ? time : Date.parse(time));
export const moment = (time) => moments.format(ms(time));
export const clockTime = (time) => clock.format(ms(time));
export const utc = (time) => `${new Date(ms(time)).toISOString().slice(0, 19).replace("T", " ")} UTC`;

/** A time element: relative by default, with both zones in its title. */
export function when(time, text = ago) {
  const at = ms(time);
  // One that cannot be read must not take the page with it.
  if (Number.isNaN(new Date(at).getTime())) return h("span", null, "not known");
  return h("time", { datetime: new Date(at).toISOString(), title: `${moment(at)} (${utc(at)})` }, text(at));
}

/** Seconds as a setting of `keep`: the largest unit that divides them. */
export function setting(seconds) {
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["m", 60]]) {
    if (seconds && seconds % size === 0 && !(unit === "d" && seconds === 86400)) return `${seconds / size}${unit}`;
  }
  return `${seconds ?? 0}s`;
}
