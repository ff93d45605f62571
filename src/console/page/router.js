// Addresses: `#/`, `#/source/NAME`, `#/snapshot/REF`, `#/jobs?source=…&state=…`.

import { heading, link } from "/console/parts.js";
import { h } from "/console/dom.js";
import { jobsView } from "/console/view-jobs.js";
import { snapshotView } from "/console/view-snapshot.js";
import { sourceView } from "/console/view-source.js";
import { sourcesView } from "/console/view-sources.js";

const decode = (text) => {
  try { return decodeURIComponent(text); } catch { return text; }
};

export function route(hash) {
  const [path, search] = hash.replace(/^#/, "").split("?", 2);
  const [, kind, ...rest] = path.split("/");
  const name = decode(rest.join("/"));
  const params = new URLSearchParams(search ?? "");
  if (!kind) return { nav: "sources", view: sourcesView() };
  if (kind === "source" && name) return { nav: "sources", view: sourceView({ name }) };
  if (kind === "snapshot" && name) return { nav: "sources", view: snapshotView({ ref: name }) };
  if (kind === "jobs") return { nav: "jobs", view: jobsView({ params }) };
  return { nav: "", view: lost() };
}

const lost = () => ({
  title: "No such page",
  async load() {},
  render: () => [heading("No such page"), h("p", null, "This address leads nowhere. ", link("#/", "Go to the sources"), ".")],
});
