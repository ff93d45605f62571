// The token lives in this tab's sessionStorage and nowhere else; it never stays in the address.

const KEY = "cowlog.token";
let kept = null;

export function token() {
  if (kept === null) {
    try { kept = sessionStorage.getItem(KEY) ?? ""; } catch { kept = ""; }
  }
  return kept;
}

export function keep(value) {
  kept = value;
  try {
    if (value) sessionStorage.setItem(KEY, value);
    else sessionStorage.removeItem(KEY);
  } catch { /* It then holds until the page is left. */ }
}

/** Takes a token from `#token=…` and puts a plain address in its place. */
export function takeFromAddress() {
  const match = /^#token=([^&]*)/.exec(location.hash);
  if (!match) return false;
  let value = match[1];
  try { value = decodeURIComponent(value); } catch { /* As it stands. */ }
  history.replaceState(null, "", `${location.pathname}${location.search}#/`);
  keep(value.trim());
  return true;
}
