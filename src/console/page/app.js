// The page: signs in, follows the server, and shows the view that the address names.

import * as api from "/console/api.js";
import { closeAll } from "/console/dialog.js";
import { h, show } from "/console/dom.js";
import { follow } from "/console/events.js";
import { clear, tidy } from "/console/notices.js";
import { route } from "/console/router.js";
import { keep, takeFromAddress, token } from "/console/session.js";
import { changed, hooks, loadJobs, loadSources, onEnd, running, state, take, watch } from "/console/state.js";
import { banner, top } from "/console/top.js";
import { loginView } from "/console/view-login.js";

const POLL = 30_000;
const TICK = 10_000;

const main = document.getElementById("main");
let current = null;
let nav = "";
let stream = null;
let heard = 0;
let loads = 0;

function paint() {
  show(document.getElementById("top"), top({ nav, signOut }));
  show(document.getElementById("banner"), banner(() => stream?.now()));
  document.body.classList.toggle("is-stale", state.link === "down");
  if (!current) return;
  if (current.render) show(main, current.render().flat(Infinity).filter(Boolean));
  document.title = `${state.link === "down" ? "(not connected) " : ""}${current.title} – cowlog`;
}

/** Loads what the view shows. The answer of an older load never overwrites that of a newer view. */
async function load() {
  const view = current;
  const mine = (loads += 1);
  try {
    await view.load();
  } catch (e) {
    if (!(e instanceof api.Unreachable)) console.error(e);
  }
  if (view === current && mine <= loads) paint();
}

let queued = 0;
function refresh(wait = 0) {
  clearTimeout(queued);
  queued = setTimeout(() => {
    if (!state.who) return;
    loadSources();
    load();
  }, wait);
}

function enter(view, name) {
  const first = current === null;
  closeAll();
  tidy();
  current = view;
  nav = name;
  view.repaint = paint;
  view.refresh = load;
  if (view.node) main.replaceChildren(view.node);
  else main.replaceChildren();
  paint();
  scrollTo(0, 0);
  if (view.focus) view.focus();
  else if (!first) main.querySelector("h1")?.focus({ preventScroll: true });
}

function go() {
  if (takeFromAddress()) {
    begin();
    return;
  }
  if (!state.who) return;
  const next = route(location.hash);
  enter(next.view, next.nav);
  load();
}

function stop() {
  stream?.stop();
  stream = null;
  state.who = null;
  state.sources = null;
  state.jobs.clear();
  state.link = "connecting";
}

function login(message) {
  stop();
  keep("");
  clear();
  enter(loginView({ message, done: start }), "");
}

const signOut = () => login("");
const unknown = () => login("This token is not known. Sign in with another one.");

function start(who) {
  stop();
  state.who = who;
  stream = follow({
    onJob(job) {
      heard = Date.now();
      const isNew = !state.jobs.has(job.id);
      take(job);
      if (isNew && job.by === "schedule") loadSources();
    },
    onUp() {
      state.link = "up";
      loadJobs().catch(() => {});
      refresh();
      changed();
    },
    onDown: down,
    onUnauthorized: unknown,
  });
  loadSources();
  loadJobs().catch(() => {});
  go();
}

function down() {
  if (state.link === "down") return;
  state.link = "down";
  changed();
}

// Without an answer to the first question nobody is signed in; it is asked again until there is one.
async function begin() {
  stop();
  if (!token()) {
    login("");
    return;
  }
  for (let wait = 500; ; wait = Math.min(15_000, wait * 2)) {
    const asked = token();
    try {
      const who = await api.whoami();
      if (asked === token()) start(who);
      return;
    } catch (e) {
      if (e.problem?.status === 401) {
        unknown();
        return;
      }
      if (!(e instanceof api.Unreachable)) {
        login(e.problem?.detail ?? String(e));
        return;
      }
    }
    state.link = "down";
    if (current?.title !== "Waiting") enter({ title: "Waiting", async load() {}, render: () => [h("h1", { tabindex: "-1", key: "h1" }, "Waiting for cowlog")] }, "");
    await new Promise((resolve) => setTimeout(resolve, wait));
    if (asked !== token()) return;
  }
}

api.on("unauthorized", () => { if (state.who) unknown(); });
api.on("unreachable", () => {
  down();
  stream?.now();
});
watch(paint);
onEnd((job) => {
  // What a job changed shows in the counts of its source, and in the view.
  refresh(job.by === state.who?.name ? 0 : 300);
});
hooks.refresh = refresh;
addEventListener("hashchange", go);
addEventListener("online", () => stream?.now());
document.getElementById("skip").onclick = (event) => {
  event.preventDefault();
  main.focus();
};
setInterval(() => {
  if (state.who && state.link !== "down" && document.visibilityState === "visible") {
    refresh();
    loadJobs().catch(() => {});
  }
}, POLL);
// Ages grow without news. Where a proxy holds events back, running jobs are asked for.
setInterval(() => {
  if (!state.who) return;
  if (running().length && Date.now() - heard > TICK && state.link === "up") loadJobs().catch(() => {});
  changed();
}, TICK);

if (!location.hash || location.hash === "#") history.replaceState(null, "", "#/");
takeFromAddress();
begin();
