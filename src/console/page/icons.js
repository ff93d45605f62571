// Icons, drawn on a grid of 16. They never stand alone: a word is always beside them or in the label.

import { svg } from "/console/dom.js";

const SHAPES = {
  ok: [["circle", { cx: 8, cy: 8, r: 6.5 }], ["path", { d: "M5 8.2l2.1 2.1L11 6" }]],
  warning: [["path", { d: "M8 2l6.5 11.5h-13z" }], ["path", { d: "M8 6.5v3M8 11.6v.1" }]],
  failing: [["circle", { cx: 8, cy: 8, r: 6.5 }], ["path", { d: "M5.6 5.6l4.8 4.8M10.4 5.6l-4.8 4.8" }]],
  unreadable: [["circle", { cx: 8, cy: 8, r: 6.5 }], ["path", { d: "M3.5 12.5l9-9" }]],
  running: [["path", { d: "M14 8a6 6 0 1 1-3-5.2" }], ["path", { d: "M11.2.8v2.4H8.8" }]],
  stopped: [["circle", { cx: 8, cy: 8, r: 6.5 }], ["path", { d: "M6 6h4v4H6z" }]],
  none: [["circle", { cx: 8, cy: 8, r: 6.5, "stroke-dasharray": "2.2 2.2" }]],
  pin: [["path", { d: "M5.5 2h5l-.8 4.2 2 2.3h-7.4l2-2.3zM8 8.5V14" }]],
  clock: [["circle", { cx: 8, cy: 8, r: 6.5 }], ["path", { d: "M8 4.5V8l2.4 1.6" }]],
  close: [["path", { d: "M4 4l8 8M12 4l-8 8" }]],
  sun: [["circle", { cx: 8, cy: 8, r: 3 }], ["path", { d: "M8 1v1.6M8 13.4V15M1 8h1.6M13.4 8H15M3 3l1.2 1.2M11.8 11.8L13 13M13 3l-1.2 1.2M4.2 11.8L3 13" }]],
  moon: [["path", { d: "M13.5 9.6A6 6 0 1 1 6.4 2.5a4.8 4.8 0 0 0 7.1 7.1z" }]],
  system: [["path", { d: "M1.8 3h12.4v8H1.8zM5.5 13.5h5" }]],
  link: [["path", { d: "M6 3.5h6.5V10M12.2 3.8L4 12" }]],
};

export const icon = (name) => svg("svg", { class: `icon icon-${name}`, viewBox: "0 0 16 16", "aria-hidden": "true", focusable: "false" }, SHAPES[name].map(([tag, props]) => svg(tag, props)));
