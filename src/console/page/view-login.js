// Signing in: the only view that is shown without a token.

import * as api from "/console/api.js";
import { h } from "/console/dom.js";
import { heading } from "/console/parts.js";
import { keep, token } from "/console/session.js";

/** `done(who)` is called with what the server says of the token. */
export function loginView({ message, done }) {
  const input = h("input", { type: "password", id: "token", "data-test": "token", autocomplete: "off", spellcheck: "false", autocapitalize: "none", "aria-describedby": "token-note" });
  const fault = h("p", { class: "fault", role: "alert", "data-test": "login-error" }, message ?? "");
  const button = h("button", { type: "submit", class: "button primary", "data-test": "login" }, "Sign in");

  async function submit(event) {
    event.preventDefault();
    const value = input.value.trim();
    fault.textContent = "";
    if (!value) {
      fault.textContent = "Type or paste a token.";
      input.focus();
      return;
    }
    button.disabled = true;
    const before = token();
    keep(value);
    try {
      const who = await api.whoami();
      input.value = "";
      done(who);
    } catch (e) {
      keep(before === value ? "" : before);
      fault.textContent = e.problem?.status === 401 ? "This token is not known." : e.problem?.type === "unreachable" ? "cowlog cannot be reached. Try again." : e.problem?.detail ?? String(e);
      input.setAttribute("aria-invalid", "true");
    }
    button.disabled = false;
    if (input.isConnected && fault.textContent) input.select();
  }

  return {
    title: "Sign in",
    async load() {},
    node: h("div", { class: "login", "data-test": "login-view" }, heading("Sign in to cowlog"),
      h("form", { class: "panel", onsubmit: submit, novalidate: true },
        h("div", { class: "field" }, h("label", { for: "token" }, "Token"), input,
          h("p", { class: "note", id: "token-note" }, "One of the tokens of the server's configuration. It is kept in this tab until you sign out or close it.")),
        fault, button)),
    focus: () => input.focus(),
  };
}
