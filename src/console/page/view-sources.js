// All sources at a glance.

import { h } from "/console/dom.js";
import { icon } from "/console/icons.js";
import { bytes, count, due, plural, span, when } from "/console/format.js";
import { share, title } from "/console/job-text.js";
import { bar, code, disk, empty, health, heading, link, loading, problem, stale, task, toSnapshot, toSource } from "/console/parts.js";
import { running, state } from "/console/state.js";

const RANK = { unreadable: 0, failing: 1, warning: 2, ok: 3 };

export const failingTasks = (source) => (source.tasks ?? []).filter((t) => t.failing);

export function failure(t) {
  const f = t.failing;
  return h("div", { class: "failure", key: `failing ${t.task}`, "data-test": "failing-task" },
    h("p", null, icon("failing"), h("strong", null, `${task(t.task)} failing`), ` since ${span(Date.now() - f.since_ms)}`, t.failures > 1 ? `, ${count(t.failures)} times` : ""),
    h("p", { class: "why" }, f.why));
}

/** What is done next of itself, soonest first. */
export function upcoming(source) {
  const tasks = (source.tasks ?? []).filter((t) => t.under_way || t.next_ms).sort((a, b) => (b.under_way - a.under_way) || a.next_ms - b.next_ms);
  if (!tasks.length) return [h("li", { key: "none" }, "nothing is scheduled")];
  return tasks.map((t) => h("li", { key: t.task }, `${task(t.task)} `, t.under_way ? "under way" : when(t.next_ms, due), t.failing && !t.under_way ? " (again)" : ""));
}

function card(source) {
  const to = toSource(source.name);
  const jobs = running(source.name);
  const unread = source.health === "unreadable" || source.error;
  const newest = (s, at) => (s ? link(toSnapshot(`${source.name}~${s.id}`), when(at)) : h("span", { class: "quiet" }, "none"));
  return h("li", { class: `card is-${source.health}`, key: source.name, "data-test": "source-card", "data-source": source.name },
    h("div", { class: "card-head" }, h("h2", null, link(to, source.name)), health(source.health)),
    h("p", { class: "card-path" }, code(source.path), source.part === "all" ? null : [" ", h("span", { class: "tag" }, source.part)]),
    source.error ? problem(source.error) : null,
    failingTasks(source).map(failure),
    unread ? null : h("dl", { class: "figures" },
      h("div", null, h("dt", null, "Newest snapshot"), h("dd", { "data-test": "newest" }, newest(source.newest, source.newest?.timestamp_ms))),
      h("div", null, h("dt", null, "Newest verified"), h("dd", { "data-test": "newest-verified" }, newest(source.newest_verified, source.newest_verified?.timestamp_ms)))),
    unread ? null : h("dl", { class: "facts" },
      h("div", null, h("dt", null, "Snapshots"), h("dd", null, count(source.snapshots), source.damaged ? [" ", h("span", { class: "tag bad" }, `${count(source.damaged)} damaged`)] : null)),
      h("div", null, h("dt", null, "To read"), h("dd", null, bytes(source.bytes_logical))),
      h("div", null, h("dt", null, "Copied"), h("dd", null, bytes(source.bytes_copied))),
      source.offsite ? h("div", { "data-test": "offsite" }, h("dt", null, "Elsewhere"), h("dd", null, "up to ", when(source.offsite.timestamp_ms))) : null),
    unread ? null : disk(source),
    h("div", { class: "card-foot" },
      jobs.length ? h("ul", { class: "mini-jobs" }, jobs.map((j) => h("li", { key: j.id }, h("span", null, `${task(j.task)}: ${j.progress.phase || "beginning"}`), h("progress", { max: "1", value: share(j.progress), "aria-label": title(j) })))) : null,
      h("p", { class: "next-label" }, icon("clock"), "Next"), h("ul", { class: "next" }, upcoming(source))));
}

function summary(all) {
  const of = (kind) => all.filter((s) => s.health === kind).length;
  const words = [["failing", of("failing")], ["unreadable", of("unreadable")], ["warning", of("warning")], ["ok", of("ok")]].filter(([, n]) => n > 0).map(([kind, n]) => `${count(n)} ${kind}`);
  const held = all.reduce((sum, s) => sum + s.bytes_logical, 0);
  const copied = all.reduce((sum, s) => sum + s.bytes_copied, 0);
  return h("div", { class: "summary", "data-test": "summary" },
    h("p", null, `${plural(all.length, "source")}: ${words.join(", ")}. ${plural(all.reduce((sum, s) => sum + s.snapshots, 0), "snapshot")}, ${bytes(held)} to read, ${bytes(copied)} of it copied.`),
    bar([["copied", copied], ["shared", held - copied]], held));
}

export function sourcesView() {
  return {
    title: "Sources",
    async load() {},
    render() {
      const all = state.sources && [...state.sources].sort((a, b) => (RANK[a.health] ?? 4) - (RANK[b.health] ?? 4) || a.name.localeCompare(b.name));
      return [heading("Sources"), stale(), state.sourcesError ? problem(state.sourcesError) : null,
        !all ? (state.sourcesError ? null : loading("the sources")) : all.length === 0 ? empty("No source is configured. Name one in the configuration of cowlog, with its path and how often a snapshot is to be taken.") : [summary(all), h("ul", { class: "cards" }, all.map(card))]];
    },
  };
}
