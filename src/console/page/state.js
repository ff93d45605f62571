// What is known about the server now, and who is to be told when that changes.

import * as api from "/console/api.js";

const MOST_JOBS = 500;

export const state = {
  who: null,
  sources: null,
  sourcesError: null,
  jobs: new Map(),
  link: "connecting", // "up", "down"
  asOf: null,
};

const watchers = new Set();
const enders = new Set();

export const watch = (fn) => watchers.add(fn);
/** Called once for each job that was seen to end, or that ended before it was first seen, with the job. */
export const onEnd = (fn) => enders.add(fn);

let due = false;
/** Tells the watchers, at most once per turn. */
export function changed() {
  if (due) return;
  due = true;
  setTimeout(() => {
    due = false;
    for (const fn of watchers) fn();
  }, 60);
}

export const running = (source) => sorted().filter((j) => j.state === "running" && (!source || j.source === source));
export const sorted = () => [...state.jobs.values()].sort((a, b) => b.began_ms - a.began_ms);

/** Takes in what was heard of a job. One that has ended stays so: a list may be older than an event. */
export function take(job, quiet) {
  const known = state.jobs.get(job.id);
  if (known && known.state !== "running") return;
  state.jobs.set(job.id, job);
  if (job.state !== "running" && (!quiet || known)) for (const fn of enders) fn(job);
  changed();
}

export async function loadSources() {
  try {
    state.sources = await api.sources();
    state.sourcesError = null;
    state.asOf = Date.now();
  } catch (e) {
    if (e instanceof api.Refused) state.sourcesError = e.problem;
  }
  changed();
}

export async function loadJobs(params) {
  const list = await api.jobs(params);
  for (const job of list) take(job, true);
  if (!params) {
    // A job that runs no more and is in no list was forgotten by the server.
    const there = new Set(list.map((j) => j.id));
    const oldest = list.length < 100 ? -Infinity : list[list.length - 1].began_ms;
    for (const j of running()) if (!there.has(j.id) && j.began_ms > oldest && Date.now() - j.began_ms > 10_000) state.jobs.delete(j.id);
  }
  for (const j of sorted().slice(MOST_JOBS)) if (j.state !== "running") state.jobs.delete(j.id);
  changed();
}

const RANK = { read: 0, operate: 1, admin: 2 };
export const may = (role) => RANK[state.who?.role] >= RANK[role];

/** Why a change that needs `role` cannot be made now, or null. */
export function refusal(role) {
  if (!may(role)) return `This needs the role ${role}. Yours is ${state.who?.role ?? "not known"}.`;
  if (state.link === "down") return "cowlog cannot be reached.";
  return null;
}

/** Set by the page: loads again what is shown. */
export const hooks = { refresh() {} };
