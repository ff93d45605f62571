// The bar at the top of every page, and the banner above it when there is no connection.

import { h, svg } from "/console/dom.js";
import { icon } from "/console/icons.js";
import { clockTime } from "/console/format.js";
import { running, state, changed } from "/console/state.js";

const THEMES = { system: ["light", "system"], light: ["dark", "sun"], dark: ["system", "moon"] };

function themeButton() {
  const now = cowlogTheme.current();
  const [next, picture] = THEMES[now];
  return h("button", { type: "button", class: "button bare", "data-test": "theme", "aria-label": `Theme: ${now}. Change to ${next}.`, title: `Theme: ${now}`, key: "theme", onclick: () => { cowlogTheme.set(next); changed(); } }, icon(picture));
}

const brand = () => h("a", { class: "brand", href: "#/", key: "brand" }, svg("svg", { viewBox: "0 0 32 32", "aria-hidden": "true", class: "logo" },
  svg("rect", { width: 32, height: 32, rx: 8 }), svg("path", { d: "M7 22.5h18M7 16h18M7 9.5h10" }), svg("circle", { cx: 23, cy: 9.5, r: 3 })), "cowlog");

export function top({ nav, signOut }) {
  const entry = (href, name, text) => h("li", null, h("a", { href, "aria-current": nav === name ? "page" : null, "data-test": `nav-${name}` }, text));
  const busy = state.who ? running().length : 0;
  return h("div", { class: "top-inner" }, brand(),
    state.who ? h("nav", { "aria-label": "Main", key: "nav" }, h("ul", null, entry("#/", "sources", "Sources"),
      entry("#/jobs", "jobs", ["Jobs", busy ? h("span", { class: "count" }, String(busy), h("span", { class: "unseen" }, " running")) : null]))) : null,
    h("div", { class: "top-end", key: "end" },
      state.who?.demo ? h("span", { class: "tag", key: "demo", title: "This server runs on data of its own, which goes when it ends." }, "demo") : null,
      state.who ? h("p", { class: "who", key: "who", "data-test": "who" }, h("strong", null, state.who.name), " ", h("span", { class: "tag" }, state.who.role)) : null,
      themeButton(),
      state.who ? h("button", { type: "button", class: "button small", key: "out", "data-test": "sign-out", onclick: signOut }, "Sign out") : null));
}

export function banner(again) {
  if (state.link !== "down") return [];
  return [h("div", { class: "banner", role: "alert", "data-test": "banner", key: "banner" }, icon("warning"),
    h("p", null, h("strong", null, "cowlog cannot be reached; trying again."), state.asOf ? ` What is shown is as of ${clockTime(state.asOf)}.` : ""),
    h("button", { type: "button", class: "button small", onclick: again, "data-test": "try-now" }, "Try now"))];
}
