// One source: its facts, its timeline, its snapshots and what can be done with them.

import * as api from "/console/api.js";
import { chart } from "/console/chart.js";
import { deleteDialog, pruneDialog } from "/console/dialog-delete.js";
import { restoreDialog } from "/console/dialog-restore.js";
import { createDialog, verifyDialog } from "/console/dialogs.js";
import { h } from "/console/dom.js";
import { bytes, count, plural, setting, span, when } from "/console/format.js";
import { notify, say } from "/console/notices.js";
import { badge, change, code, disk, empty, facts, health, heading, link, loading, problem, stale, toSnapshot, verdict } from "/console/parts.js";
import { runningSection } from "/console/progress.js";
import { hooks, may, running, sorted, state } from "/console/state.js";
import { failingTasks, failure, upcoming } from "/console/view-sources.js";
import { finishedJob } from "/console/view-jobs.js";

const RULES = [["hourly", "hourly"], ["daily", "daily"], ["weekly", "weekly"], ["monthly", "monthly"]];

function kept(keep) {
  if (!keep) return "not said";
  const always = [
    keep.last > 0 && `always the last ${count(keep.last)}`, keep.within_seconds > 0 && `always those of the last ${setting(keep.within_seconds)}`,
    keep.tags?.length && `always those tagged ${keep.tags.join(" or ")}`,
  ];
  return [`at most ${count(keep.max_snapshots)}`, `none older than ${setting(keep.retention_seconds)}`, ...RULES.filter(([k]) => keep[k] > 0).map(([k, word]) => `${count(keep[k])} ${word}`), ...always.filter(Boolean)].join(", ");
}

const drilled = (d) => [`${plural(d.logs, "log")}, ${count(d.batches)} batches, ${bytes(d.bytes)} read back `, when(d.at_ms), ` (restored in ${span(d.restore_ms)})`];

export function roleNote(...needs) {
  const lacking = needs.filter((r) => !may(r));
  if (!lacking.length) return null;
  return h("p", { class: "note role-note", key: "role", "data-test": "role-note" }, `Your role is ${state.who?.role}. What needs ${lacking.join(" or ")} is disabled.`);
}

async function pin(s) {
  const pinned = !s.pinned;
  try {
    await api.label(s.ref, { pinned });
    say(`${s.id} is ${pinned ? "pinned" : "not pinned any more"}.`);
    hooks.refresh();
  } catch (e) {
    notify({ kind: "failing", what: `${s.id} stays as it was`, body: problem(e.problem ?? { detail: String(e) }) });
  }
}

export function snapshotActions(s, kind = "small") {
  return [
    change("Verify", { role: "operate", kind, test: "verify", named: `Verify ${s.id}`, onclick: () => verifyDialog(s), key: "verify" }),
    change("Restore", { role: "operate", kind, test: "restore", named: `Restore ${s.id}`, onclick: () => restoreDialog(s), key: "restore" }),
    kind === "plain" ? change(s.pinned ? "Unpin" : "Pin", { role: "operate", kind, test: "pin", named: `${s.pinned ? "Unpin" : "Pin"} ${s.id}`, onclick: () => pin(s), key: "pin" }) : null,
    change("Delete", { role: "admin", kind: `${kind} danger-text`, test: "delete", named: `Delete ${s.id}`, onclick: () => deleteDialog(s), key: "delete" }),
  ];
}

const COLUMNS = ["Snapshot", "Taken", "Holds", "Size", "Copied", "State", "Actions"];

function row(s) {
  const v = verdict(s);
  const cell = (i, props, ...inner) => h("td", { role: "cell", "data-label": COLUMNS[i], ...props }, h("div", null, inner));
  return h("tr", { role: "row", key: s.ref, "data-test": "snapshot-row", "data-ref": s.ref },
    h("th", { scope: "row", role: "rowheader", class: "id" }, link(toSnapshot(s.ref), s.id), s.tags?.length ? h("span", { class: "tags" }, s.tags.map((t) => [h("span", { class: "tag" }, t), " "])) : null),
    cell(1, null, when(s.timestamp_ms)),
    cell(2, null, s.logs ? plural(s.logs.length, "log") : s.log_end_offset === undefined ? s.scope : `to ${count(s.log_end_offset)}`, h("span", { class: "quiet" }, ` in ${plural(s.num_segments, "segment")}`)),
    cell(3, { class: "number" }, bytes(s.total_size)),
    cell(4, { class: "number" }, bytes(s.bytes_copied)),
    cell(5, { class: "states" }, badge(v.kind, v.word), s.verified && !s.damaged ? h("span", { class: "quiet" }, when(s.verified.at)) : null, s.pinned ? badge("pin", "pinned") : null),
    cell(6, { class: "actions" }, snapshotActions(s)));
}

export function sourceView({ name }) {
  let source = null;
  let found = null;
  let fault = null;
  let wanted = 100;
  let more = false;

  const view = {
    title: name,
    concerns: (job) => job.source === name,
    async load() {
      try {
        [source, found] = await Promise.all([api.source(name), api.snapshots(name, wanted)]);
        fault = null;
      } catch (e) {
        if (!(e instanceof api.Refused)) throw e;
        fault = e.problem;
        if (e.problem.status === 404) [source, found] = [null, null];
      }
      more = false;
    },
    render() {
      const crumbs = h("nav", { class: "crumbs", "aria-label": "Where this is" }, link("#/", "Sources"));
      if (!source) return [crumbs, heading(name), stale(), fault ? problem(fault) : loading("the source")];
      return [crumbs, heading(name, health(source.health)), stale(), fault ? problem(fault) : null, actions(), about(), runningSection(running(name)), list(), recent()];
    },
  };

  const actions = () => h("div", { class: "actions-bar", key: "actions" },
    change("Create snapshot", { role: "operate", kind: "primary", test: "create", onclick: () => createDialog(source) }),
    change("Prune", { role: "admin", test: "prune", onclick: () => pruneDialog(source) }), roleNote("operate", "admin"));

  const about = () => h("section", { class: "panel", key: "about", "aria-labelledby": "about-title" },
    h("h2", { id: "about-title" }, "About this source"),
    source.error ? problem(source.error) : null, failingTasks(source).map(failure),
    h("div", { class: "columns" },
      facts([
        ["Path", code(source.path)], ["Part", source.part === "all" ? "everything in it" : source.part], ["Store", source.store ? code(source.store) : "none yet"],
        ["Keeps", kept(source.keep)], ["Next", h("ul", { class: "next" }, upcoming(source))],
      ]),
      facts([
        ["Newest", source.newest ? link(toSnapshot(`${name}~${source.newest.id}`), when(source.newest.timestamp_ms)) : "none"],
        ["Newest verified", source.newest_verified ? [link(toSnapshot(`${name}~${source.newest_verified.id}`), when(source.newest_verified.timestamp_ms)), h("span", { class: "quiet" }, " (read ", when(source.newest_verified.verified_at_ms), ")")] : "none"],
        ["Restore drill", source.drill ? h("span", null, drilled(source.drill)) : "none so far"],
        source.offsite || source.tasks?.some((t) => t.task === "push") ? ["Elsewhere", source.offsite ? h("span", { "data-test": "offsite" }, "up to ", when(source.offsite.timestamp_ms), ", in ", code(source.offsite.to)) : "nothing so far"] : null,
        ["Snapshots", count(source.snapshots), source.damaged ? [" ", h("span", { class: "tag bad" }, `${count(source.damaged)} damaged`)] : null],
        ["Space", `${bytes(source.bytes_logical)} to read, ${bytes(source.bytes_copied)} of it copied`, disk(source)],
      ])));

  function list() {
    const all = found?.snapshots ?? [];
    const rest = (found?.total ?? 0) - all.length;
    return h("section", { class: "panel", key: "snapshots", "aria-labelledby": "snapshots-title" },
      h("h2", { id: "snapshots-title" }, "Snapshots"),
      found?.unreadable?.map((u) => problem(u.error)),
      all.length === 0 ? empty("There is no snapshot yet. Create the first one.") : [
        chart(all),
        h("table", { class: "stack", role: "table", "data-test": "snapshots", key: "table" },
          h("caption", null, `${plural(found.total, "snapshot")}, newest first`),
          h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, COLUMNS.map((c, i) => h("th", { scope: "col", role: "columnheader", class: i === 3 || i === 4 ? "number" : null }, c)))),
          h("tbody", { role: "rowgroup" }, all.map(row))),
        rest > 0 ? h("button", { type: "button", class: "button plain more", key: "more", "data-test": "more-snapshots", "aria-busy": more ? "true" : null, onclick: next }, `Show more (${count(rest)} left)`) : null,
      ]);
  }

  async function next() {
    if (more) return;
    more = true;
    wanted = found.snapshots.length + 100;
    await view.refresh();
  }

  function recent() {
    const ended = sorted().filter((j) => j.source === name && j.state !== "running").slice(0, 4);
    return h("section", { class: "panel", key: "recent", "aria-labelledby": "recent-title" },
      h("h2", { id: "recent-title" }, "Last jobs"),
      ended.length ? h("ul", { class: "jobs" }, ended.map(finishedJob)) : empty("None so far."),
      h("p", null, link(`#/jobs?source=${encodeURIComponent(name)}`, "All jobs of this source")));
  }
  return view;
}

