// The frame of every dialog: what will happen, what went wrong, and a button that names it.

import { h } from "/console/dom.js";
import { problem } from "/console/parts.js";

let ids = 0;

export function closeAll() {
  for (const open of document.querySelectorAll("dialog")) open.close();
}

/**
 * `content` is built once; `run` carries the change out and throws what the API throws. `onProblem` may change the dialog
 * so that a second try differs. The dialog may be closed while it runs: what comes of it is then told by a notice.
 */
export function dialog({ title, test, content, confirm, danger, ready = true, run, onProblem, away = "Cancel" }) {
  const id = `dialog-${(ids += 1)}`;
  const said = h("div", { class: "dialog-problem", role: "alert" });
  const cancel = h("button", { type: "button", class: "button plain", "data-test": "dialog-cancel", onclick: () => el.close() }, away);
  const go = h("button", { type: "submit", class: `button ${danger ? "danger" : "primary"}`, "data-test": "dialog-confirm" }, confirm);
  const inner = h("div", { class: "dialog-content" }, content);
  const form = h("form", { novalidate: true, autocomplete: "off", onsubmit: submit },
    h("h2", { id, tabindex: "-1" }, title), inner, said, h("div", { class: "dialog-actions" }, cancel, go));
  const el = h("dialog", { "aria-labelledby": id, "data-test": test ?? "dialog" }, form);

  const ui = {
    el,
    isReady: ready,
    label(text) { go.textContent = text; },
    ready(yes) {
      ui.isReady = yes;
      go.disabled = !yes;
    },
    problem(p, ...more) { said.replaceChildren(...(p ? [problem(p, { test: "dialog-problem" }), ...more] : [])); },
    close() { el.close(); },
  };

  async function submit(event) {
    event.preventDefault();
    if (!ui.isReady || el.dataset.busy) return;
    el.dataset.busy = "yes";
    go.disabled = true;
    go.setAttribute("aria-busy", "true");
    ui.problem(null);
    try {
      await run(ui);
      el.close();
    } catch (e) {
      if (!e.problem) console.error(e);
      const p = e.problem ?? { detail: "The console failed. Reload the page and try again." };
      ui.problem(p);
      onProblem?.(p, ui);
    } finally {
      delete el.dataset.busy;
      go.removeAttribute("aria-busy");
      go.disabled = !ui.isReady;
      // A disabled button loses the focus.
      if (el.open && !el.contains(document.activeElement)) (go.disabled ? cancel : go).focus();
    }
  }

  const opener = document.activeElement;
  el.addEventListener("close", () => {
    el.remove();
    if (opener?.isConnected && opener !== document.body && !opener.disabled) opener.focus();
    else document.querySelector("main h1")?.focus();
  });
  go.disabled = !ready;
  document.body.append(el);
  const first = inner.querySelector("input:checked") ?? inner.querySelector("input, select") ?? (danger ? cancel : go.disabled ? cancel : go);
  first.setAttribute("autofocus", "");
  el.showModal();
  return ui;
}

/** A labelled control with a note below it. */
export function field(label, control, note) {
  const id = `field-${(ids += 1)}`;
  control.id = id;
  if (note) control.setAttribute("aria-describedby", `${id}-note`);
  return h("div", { class: "field" }, h("label", { for: id }, label), control, note ? h("p", { class: "note", id: `${id}-note` }, note) : null);
}
