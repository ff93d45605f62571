// One snapshot: its cut, its files, what they cost, and what verifications said.

import * as api from "/console/api.js";
import { h } from "/console/dom.js";
import { bytes, count, moment, plural, utc, when } from "/console/format.js";
import { outcome } from "/console/job-text.js";
import { STATE, badge, bar, code, damageList, empty, facts, heading, link, loading, problem, stale, table, toSource, verdict } from "/console/parts.js";
import { runningSection } from "/console/progress.js";
import { loadJobs, running, sorted } from "/console/state.js";
import { roleNote, snapshotActions } from "/console/view-source.js";
import { say } from "/console/notices.js";

const number = (name) => ({ name, number: true });
const LOGS = [{ name: "Log", row: true, class: "id" }, number("First offset"), number("Log start"), number("High watermark"), number("Log end"), number("Segments"), number("Size")];
const FILES = [{ name: "File", row: true, class: "id" }, number("Size"), { name: "Method" }, { name: "Last read" }, { name: "BLAKE3", class: "id" }];
const METHODS = { inherit: "shared with the snapshot before", hardlink: "shared with the live log", reflink: "cloned, shared until one changes", copy: "copied" };

function copyButton(text, what) {
  if (!navigator.clipboard) return null;
  return h("button", { type: "button", class: "button small", "aria-label": `Copy the ${what}`, onclick: () => navigator.clipboard.writeText(text).then(() => say(`The ${what} was copied.`), () => say("Copying is not allowed here.")) }, "Copy");
}

function cut(s) {
  if (s.logs?.length) {
    const rows = s.logs.map((l) => Object.assign([`${l.topic}-${l.partition}`, ...[l.base_offset, l.log_start_offset, l.high_watermark, l.log_end_offset, l.num_segments].map((n) => count(n)), bytes(l.total_size)], { key: `${l.topic}-${l.partition}` }));
    return table(`Where each of the ${plural(s.logs.length, "log")} ends`, LOGS, rows, { test: "logs" });
  }
  const offsets = s.segment_offsets ?? [];
  return [
    facts([
      s.base_offset !== undefined && ["First offset", count(s.base_offset)], s.high_watermark !== undefined && ["High watermark", count(s.high_watermark)],
      s.log_end_offset !== undefined && ["Log end", count(s.log_end_offset)], ["Segments", count(s.num_segments)],
    ], { "data-test": "cut", class: "facts figures-row" }),
    offsets.length ? h("details", null, h("summary", null, "Base offsets of the segments"), h("p", { class: "offsets" }, offsets.map(count).join("  "))) : null,
  ];
}

export function snapshotView({ ref }) {
  let s = null;
  let files = null;
  let fault = null;
  let busy = false;

  const view = {
    title: ref.split("~").pop(),
    concerns: (job) => (s ? job.source === s.source && job.snapshot === s.id : false),
    async load() {
      try {
        s = await api.snapshot(ref);
        fault = null;
        view.title = s.id;
        const page = await api.files(s.ref, 50);
        // What was paged in stays: the files of a snapshot never change.
        if (!files || files.ref !== s.ref || files.files.length <= page.files.length) files = { ...page, ref: s.ref };
        if (!view.asked) {
          view.asked = true;
          await loadJobs({ source: s.source });
        }
      } catch (e) {
        if (!(e instanceof api.Refused)) throw e;
        fault = e.problem;
        if (e.problem.status === 404) s = null;
      }
    },
    render() {
      const [name] = ref.includes("~") ? [ref.slice(0, ref.lastIndexOf("~"))] : [s?.source];
      const crumbs = h("nav", { class: "crumbs", "aria-label": "Where this is" }, link("#/", "Sources"), name ? [h("span", { "aria-hidden": "true" }, "/"), link(toSource(name), name)] : null);
      if (!s) return [crumbs, heading(view.title), stale(), fault ? problem(fault) : loading("the snapshot")];
      const v = verdict(s);
      return [crumbs, heading(s.id, badge(v.kind, v.word), s.pinned ? badge("pin", "pinned") : null), stale(), fault ? problem(fault) : null,
        h("div", { class: "actions-bar", key: "actions" }, snapshotActions(s, "plain"), roleNote("operate", "admin")),
        damage(), runningSection(running(s.source).filter((j) => j.snapshot === s.id)), about(), section("cut", "Cut", cut(s)), verifications(), fileList()];
    },
  };

  const section = (id, title, ...inner) => h("section", { class: "panel", key: id, "aria-labelledby": `${id}-title` }, h("h2", { id: `${id}-title` }, title), inner);
  const checks = () => sorted().filter((j) => j.task === "verify" && j.source === s.source && j.snapshot === s.id && j.state !== "running");

  function damage() {
    const last = checks().find((j) => j.result);
    const found = last?.result?.damage ?? [];
    if (!s.damaged && s.verified?.ok !== false) return null;
    return h("section", { class: "panel bad", key: "damage", "aria-labelledby": "damage-title", "data-test": "snapshot-damage" }, h("h2", { id: "damage-title" }, "Damage"),
      s.damaged ? h("p", null, "Its manifest is not to be believed: ", s.damaged) : null,
      found.length ? damageList(found, last.result.intact) : s.damaged ? null : h("p", null, "The last verification found damage. Verify again to see which files."),
      h("p", null, "What is damaged is refused by restore. Restore another snapshot, or put an intact copy in the place of each damaged file and verify again."));
  }

  const about = () => section("about", "About this snapshot", h("div", { class: "columns" },
    facts([
      ["Source", link(toSource(s.source), s.source)], ["Taken", when(s.timestamp_ms), h("span", { class: "quiet" }, ` ${moment(s.timestamp_ms)} (${utc(s.timestamp_ms)})`)],
      ["Scope", s.scope === "all" ? "everything in the source" : s.scope === "log" ? "the log" : s.scope], s.tags?.length && ["Tags", s.tags.map((t) => [h("span", { class: "tag" }, t), " "])],
      ["Path", code(s.path)], ["Root", s.root ? [code(s.root), copyButton(s.root, "root")] : "not known"],
    ]),
    facts([
      ["Size", `${bytes(s.total_size)}: ${bytes(s.bytes_shared)} shared, ${bytes(s.bytes_copied)} copied`, bar([["copied", s.bytes_copied], ["shared", s.bytes_shared]], s.total_size)],
      ["Files", h("ul", { class: "plain-list" }, Object.entries(s.methods ?? {}).filter(([, n]) => n > 0).map(([m, n]) => h("li", { key: m }, `${count(n)} ${m}`, h("span", { class: "quiet" }, METHODS[m] ? ` ${METHODS[m]}` : ""))))],
      ["Exposed", s.exposed ? `${plural(s.exposed, "file")} that the live log still named when it was taken` : "none"],
      ["Oldest digest", s.oldest_read ? ["read ", when(s.oldest_read)] : "not known"],
      ["Verified", s.verified ? [`${s.verified.level}, ${s.verified.ok ? "intact" : "damage found"}, `, when(s.verified.at)] : "never"],
      ["Pinned", s.pinned ? "yes: it is never pruned" : "no"],
    ])));

  function verifications() {
    const rows = checks().map((j) => Object.assign([when(j.ended_ms), j.result?.level ?? "", badge(...STATE[j.state]), outcome(j) ?? j.error?.detail ?? "", j.by], { key: j.id }));
    const columns = [{ name: "When", row: true }, { name: "Level" }, { name: "Outcome" }, { name: "What was found" }, { name: "By" }];
    return section("verifications", "Verifications", rows.length ? table("Verifications that the server remembers", columns, rows, { test: "verifications" })
      : empty(s.verified ? ["The last one was ", when(s.verified.at), ". The server remembers no more of it."] : "This snapshot was never verified."));
  }

  function fileList() {
    if (!files) return section("files", "Files", loading("the files"));
    const rows = files.files.map((f) => Object.assign([f.path, bytes(f.size), f.method, f.hashed_at_ms ? when(f.hashed_at_ms) : "not known", h("span", { class: "digest", title: f.digest }, f.digest)], { key: f.path }));
    const left = files.total - files.files.length;
    return section("files", "Files", table(`${count(files.files.length)} of ${plural(files.total, "file")}`, FILES, rows, { test: "files" }),
      files.next !== null && files.next !== undefined ? h("button", { type: "button", class: "button plain more", key: "more", "data-test": "more-files", "aria-busy": busy ? "true" : null, onclick: next }, `Show more (${count(left)} left)`) : null);
  }

  async function next() {
    if (busy) return;
    busy = true;
    view.repaint();
    try {
      const page = await api.files(s.ref, 200, files.next);
      files = { ...page, ref: s.ref, files: [...files.files, ...page.files] };
      say(`${count(files.files.length)} of ${count(files.total)} files are shown.`);
    } catch (e) {
      if (e.problem) fault = e.problem;
    }
    busy = false;
    view.repaint();
  }
  return view;
}
