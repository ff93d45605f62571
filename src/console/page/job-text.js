// What is said of a job, as plain text.

import { bytes, count, plural, span } from "/console/format.js";
import { task } from "/console/parts.js";

/** How far it is, 0 to 1, or null where the whole is not known. */
export function share(p) {
  if (p.bytes_total > 0) return Math.min(1, p.bytes / p.bytes_total);
  if (p.files_total > 0) return Math.min(1, p.files / p.files_total);
  return null;
}

const of = (done, total, text) => (total > 0 ? `${text(done)} of ${text(total)}` : text(done));

export function amounts(p) {
  const said = [];
  if (p.files || p.files_total) said.push(`${of(p.files, p.files_total, count)} files`);
  if (p.bytes || p.bytes_total) said.push(of(p.bytes, p.bytes_total, bytes));
  return said.join(", ");
}

export const title = (job) => `${task(job.task)} of ${job.snapshot ? `${job.snapshot} (${job.source})` : job.source}`;

const detail = (r) => {
  if (r.target) return `${bytes(r.bytes)} in ${count(r.files)} files restored to ${r.target}${r.end_offset === undefined ? "" : `, ends at offset ${count(r.end_offset)}`}`;
  if (r.level) return `${r.level}: ${count(r.files_checked)} files, ${bytes(r.bytes_checked)} read, ${r.ok ? "all intact" : `${count(r.damage?.length ?? 0)} damaged`}`;
  if (r.elapsed_ms !== undefined && r.total_size !== undefined) return `${bytes(r.total_size)} taken in ${span(r.elapsed_ms)}, ${bytes(r.bytes_copied)} of it copied`;
  if (Array.isArray(r.deleted)) return r.deleted.length ? `${count(r.deleted.length)} deleted` : "nothing to delete";
  if (r.batches !== undefined) return `${plural(r.logs, "log")}, ${count(r.batches)} batches, ${bytes(r.bytes)} read back`;
  return null;
};

/** What came of a job, in a line; null where there is nothing to say. */
export const outcome = (job) => (job.result ? detail(job.result) : null);
