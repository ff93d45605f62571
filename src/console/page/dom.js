// Elements without markup: everything that comes from the server is text or an attribute, never HTML.

const SVG = "http://www.w3.org/2000/svg";
const HANDLERS = ["onclick", "onsubmit", "oninput", "onchange", "onkeydown", "onfocus", "onblur", "onpointerenter", "onpointerleave", "ontoggle"];

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "key") node.key = value;
    else if (name === "style") for (const [k, v] of Object.entries(value)) node.style.setProperty(k, v);
    else if (name.startsWith("on")) node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false && c !== ""));
  return node;
}

export const h = (tag, props, ...children) => fill(document.createElement(tag), props, children);
export const svg = (tag, props, ...children) => fill(document.createElementNS(SVG, tag), props, children);

/** A node that draws itself: morphing hands new properties to the old one instead of replacing it. */
export function component(node, props, update) {
  node.props = props;
  node.update = update;
  update(props);
  return node;
}

const alike = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && a.key === b.key;

/** Makes `from` look like `to` and keeps the nodes that are there, with their focus, scroll position and open state. */
export function morph(from, to) {
  if (from.nodeType === Node.TEXT_NODE) {
    if (from.data !== to.data) from.data = to.data;
    return;
  }
  if (from.update && to.update) {
    from.update(to.props);
    return;
  }
  const mine = from.nodeName === "DETAILS" || from.nodeName === "DIALOG" ? ["open"] : [];
  for (const { name } of [...from.attributes]) {
    if (name !== "style" && !mine.includes(name) && !to.hasAttribute(name)) from.removeAttribute(name);
  }
  for (const { name, value } of to.attributes) {
    if (name !== "style" && !mine.includes(name) && from.getAttribute(name) !== value) from.setAttribute(name, value);
  }
  if (from.style.cssText !== to.style.cssText) from.style.cssText = to.style.cssText;
  for (const name of HANDLERS) if (from[name] !== to[name]) from[name] = to[name];
  morphChildren(from, to);
  if (from.nodeName === "SELECT" && from !== document.activeElement) from.value = to.value;
}

function morphChildren(from, to) {
  const wanted = [...to.childNodes];
  const keys = new Set(wanted.map((n) => n.key).filter((k) => k !== undefined));
  const old = new Map();
  for (const node of [...from.childNodes]) {
    if (node.key === undefined) continue;
    if (keys.has(node.key)) old.set(node.key, node);
    else node.remove();
  }
  let at = from.firstChild;
  for (const node of wanted) {
    const known = node.key === undefined ? null : old.get(node.key);
    if (known && alike(known, node)) {
      if (known === at) at = at.nextSibling;
      else from.insertBefore(known, at);
      morph(known, node);
    } else if (at && at.key === undefined && node.key === undefined && alike(at, node)) {
      const next = at.nextSibling;
      morph(at, node);
      at = next;
    } else {
      from.insertBefore(node, at);
    }
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

/** Shows `node` as the only content of `root`. Focus that would be lost goes to the view's heading. */
export function show(root, ...nodes) {
  const held = root.contains(document.activeElement);
  const next = root.cloneNode(false);
  next.append(...nodes.flat());
  morphChildren(root, next);
  if (held && !root.contains(document.activeElement)) root.querySelector("h1")?.focus({ preventScroll: true });
}
