// One running stream seen closely: each side as large lanes over the last minutes, and where it is in the plane.

import { h } from "../dom.js";
import { Lanes } from "../draw/lanes.js";
import { Plane } from "../draw/plane.js";
import { link } from "../router.js";
import { asTable, curveTable } from "./table.js";

// The sides of `call` (with `tracks`, `name`) over the last `seconds`, drawn anew by `again()`.
export class Sides {
  constructor(call, seconds = 120) { Object.assign(this, { call, el: h("div"), parts: new Map(), shown: 2 * seconds, view: [0, 1000 * seconds], duration: 1000 * seconds, now: null }); this.again(); }
  seek() { /* what runs cannot be sought in */ }
  zoom() { /* nor looked into closer */ }
  again() {
    for (const [name, track] of this.call.tracks) {
      const series = track.series(this.shown), part = this.parts.get(name);
      if (!part || part.told !== series.told) { this.make(name, series); continue; }
      part.lanes.series = series; part.lanes.again();
      if (part.plane) { part.plane.series = series; part.plane.now = series.length - 1; part.plane.again(); }
    }
  }
  make(name, series) {
    const lanes = new Lanes(this, series, [], `What was said last, ${name}`), plane = series.told ? new Plane(series, "Path of what was said last") : null;
    const el = h("section", { class: "channel" }, h("div", { class: "wide" }, (series.role || this.call.tracks.size > 1) && h("h3", {}, series.role ?? name), lanes.el, h("div", { class: "alts" }, asTable("As a table", () => curveTable(this.parts.get(name).lanes.series)))), h("aside", {}, plane?.el ?? h("p", { class: "soft small" }, series.role === "agent" ? "Agents get no emotions: talk and loudness only." : "No estimate yet.")));
    const before = this.parts.get(name);
    if (before) before.el.replaceWith(el); else this.el.append(el);
    this.parts.set(name, { told: series.told, lanes, plane, el });
  }
}

export function closeUp(call, leave) {
  const sides = new Sides(call);
  const el = h("section", { class: "card closeup", "aria-label": `Call ${call.name}` }, h("div", { class: "line" }, h("h2", { tabindex: -1 }, call.name), h("a", { class: "small", href: link("track", { media: call.id, take: call.take || "" }) }, "in the catalogue, once it has landed"), h("button", { type: "button", class: "quiet", onclick: leave }, "Close")), sides.el);
  return { call, el, again: () => sides.again(), leave: () => el.remove() };
}
