// The HTTP API. Everything that fails does so as one of the two errors below.

import { token } from "/console/session.js";

/** An answer that says no. `problem` is the body: detail, hint, damage. */
export class Refused extends Error {
  constructor(problem, retryAfter) {
    super(problem.detail || problem.title || "The request was refused");
    this.problem = problem;
    this.retryAfter = retryAfter;
  }
}

/** There was no answer, or not one of cowlog's. */
export class Unreachable extends Error {
  constructor() {
    super("cowlog cannot be reached");
    this.problem = { type: "unreachable", detail: "cowlog cannot be reached.", hint: "Try again when it is back. What was begun may have been done: look at the jobs." };
  }
}

const listeners = { unauthorized: () => {}, unreachable: () => {} };
export const on = (what, fn) => { listeners[what] = fn; };

export const headers = (more) => ({ Accept: "application/json", Authorization: `Bearer ${token()}`, ...more });
export const part = encodeURIComponent;

function query(of) {
  const q = new URLSearchParams();
  for (const [k, v] of Object.entries(of ?? {})) if (v !== null && v !== undefined && v !== "") q.set(k, v);
  return q.size ? `?${q}` : "";
}

/** `quiet`: a 401 or a lost connection is the caller's own business. */
export async function call(method, path, { body, params, more, quiet } = {}) {
  const sent = { method, headers: headers(more), cache: "no-store", redirect: "error" };
  if (body !== undefined) {
    sent.body = JSON.stringify(body);
    sent.headers["Content-Type"] = "application/json";
  }
  if (method === "GET" && AbortSignal.timeout) sent.signal = AbortSignal.timeout(30_000);
  let response;
  let text;
  try {
    response = await fetch(`/api/${path}${query(params)}`, sent);
    text = await response.text();
  } catch {
    if (!quiet) listeners.unreachable();
    throw new Unreachable();
  }
  let value = null;
  try { value = text ? JSON.parse(text) : null; } catch { /* Not cowlog's answer; the status decides. */ }
  if (response.ok) return value;
  if (response.status === 401) {
    if (!quiet) listeners.unauthorized();
    throw new Refused(value ?? { status: 401, detail: "This token is not known." });
  }
  if (!value && response.status >= 502 && response.status <= 504) {
    if (!quiet) listeners.unreachable();
    throw new Unreachable();
  }
  throw new Refused(value ?? { status: response.status, detail: `The answer was ${response.status} ${response.statusText}`.trim() }, Number(response.headers.get("Retry-After")) || null);
}

/** One per intent: a request repeated with it is carried out once. `randomUUID` is missing on plain http. */
export function idempotencyKey() {
  const raw = crypto.getRandomValues(new Uint8Array(16));
  return [...raw].map((b) => b.toString(16).padStart(2, "0")).join("");
}

export const whoami = () => call("GET", "whoami", { quiet: true });
export const sources = () => call("GET", "sources").then((r) => r.sources);
export const source = (name) => call("GET", `sources/${part(name)}`);
export const snapshot = (ref) => call("GET", `snapshots/${part(ref)}`);
export const files = (ref, limit, after) => call("GET", `snapshots/${part(ref)}/files`, { params: { limit, after } });
export const jobs = (params) => call("GET", "jobs", { params: { limit: 100, ...params } }).then((r) => r.jobs);
export const create = (body, key) => call("POST", "snapshots", { body, more: { Prefer: "respond-async", "Idempotency-Key": key } });
export const verify = (ref, body) => call("POST", `snapshots/${part(ref)}/verify`, { body });
export const restore = (ref, body) => call("POST", `snapshots/${part(ref)}/restore`, { body });
export const remove = (ref, dry, force) => call("DELETE", `snapshots/${part(ref)}`, { params: { dry_run: dry, force: force || null } });
export const label = (ref, body) => call("PATCH", `snapshots/${part(ref)}`, { body });
export const prune = (name, body) => call("POST", `sources/${part(name)}/prune`, { body });
export const cancel = (id) => call("POST", `jobs/${part(id)}/cancel`);

/** The newest `least` snapshots of a source, page by page. */
export async function snapshots(name, least) {
  const found = { snapshots: [], total: 0, next: null, unreadable: [] };
  do {
    const page = await call("GET", "snapshots", { params: { source: name, limit: 100, after: found.next } });
    found.snapshots.push(...page.snapshots);
    found.total = page.total;
    found.next = page.next;
    found.unreadable = page.unreadable ?? [];
  } while (found.next !== null && found.next !== undefined && found.snapshots.length < least);
  return found;
}
