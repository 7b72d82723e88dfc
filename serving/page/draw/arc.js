// Drawing an arc: one line over the share of the track, by mouse, finger or keyboard. Nine handles, straight lines between.
// For screen readers it is a slider: Left and Right choose the handle, Up and Down move it.

import { h } from "../dom.js";
import { clamp, percent, signed } from "../words.js";
import { DASH, drawFrame } from "./curves.js";
import { colour } from "./palette.js";
import { Surface } from "./surface.js";

export const HANDLES = 9;
const LEFT = 34, RIGHT = 12, TOP = 10, TALL = 108;

export class Arc {
  // `changed()` after every stroke.
  constructor(name, changed) {
    this.name = name; this.changed = changed; this.values = new Array(HANDLES).fill(0); this.chosen = 0; this.touched = false;
    this.surface = new Surface((c, w) => this.draw(c, w), { height: TALL + 34, "aria-hidden": "true" });
    this.el = h("div", { class: "arc", role: "slider", tabindex: 0, "aria-label": `${name} over the track: Left and Right choose a point, Up and Down move it`, "aria-valuemin": -1, "aria-valuemax": 1 }, this.surface.canvas);
    this.pointer(); this.keys(); this.tell();
  }
  set(values) { this.values = [...values]; this.touched = true; this.tell(); this.surface.invalidate(); }
  tell() {
    const v = this.values[this.chosen];
    this.el.setAttribute("aria-valuenow", v.toFixed(2));
    this.el.setAttribute("aria-valuetext", `${this.name} ${signed(v)} at ${percent(this.chosen / (HANDLES - 1))} of the track`);
  }
  x(i) { return LEFT + i / (HANDLES - 1) * (this.surface.width - LEFT - RIGHT); }
  y(v) { return TOP + (1 - v) / 2 * TALL; }
  draw(context, width) {
    const right = width - RIGHT;
    drawFrame(context, { left: LEFT, right, top: TOP, tall: TALL });
    context.fillStyle = colour("soft"); context.font = "11px system-ui, sans-serif";
    [["start", 0, "left"], ["half", .5, "center"], ["end", 1, "right"]].forEach(([text, share, align]) => { context.textAlign = align; context.fillText(text, LEFT + share * (right - LEFT), TOP + TALL + 18); });
    context.strokeStyle = context.fillStyle = colour(this.name); context.lineWidth = 2.6; context.lineJoin = context.lineCap = "round"; context.setLineDash(DASH[this.name]);
    context.beginPath(); this.values.forEach((v, i) => context[i ? "lineTo" : "moveTo"](this.x(i), this.y(v))); context.stroke(); context.setLineDash([]);
    const focused = document.activeElement === this.el;
    this.values.forEach((v, i) => {
      context.beginPath(); context.arc(this.x(i), this.y(v), focused && i === this.chosen ? 7.5 : 5, 0, 7);
      context.fillStyle = colour(focused && i === this.chosen ? this.name : "card"); context.fill(); context.lineWidth = 2; context.stroke();
    });
  }
  pointer() {
    const { el } = this;
    let last = null;
    const put = e => {
      const box = el.getBoundingClientRect(), at = clamp((e.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT), 0, 1) * (HANDLES - 1);
      const v = Math.round(clamp(1 - (e.clientY - box.top - TOP) / TALL * 2, -1, 1) * 100) / 100, near = Math.round(at);
      this.values[near] = v; this.chosen = near; this.touched = true;
      // Handles that a stroke passes get what it was there, however quick it was.
      if (last && at !== last[0]) for (let i = Math.ceil(Math.min(at, last[0])); i <= Math.max(at, last[0]); i++) this.values[i] = Math.round((last[1] + (v - last[1]) * (i - last[0]) / (at - last[0])) * 100) / 100;
      last = [at, v];
      this.tell(); this.surface.invalidate();
    };
    el.addEventListener("pointerdown", e => { if (!e.button) { el.setPointerCapture(e.pointerId); el.focus({ preventScroll: true }); last = null; put(e); } });
    el.addEventListener("pointermove", e => { if (last) put(e); });
    for (const name of ["pointerup", "pointercancel"]) el.addEventListener(name, () => { if (last) { last = null; this.changed(); } });
    for (const name of ["focus", "blur"]) el.addEventListener(name, () => this.surface.invalidate());
  }
  keys() {
    this.el.addEventListener("keydown", e => {
      const by = e.shiftKey ? .25 : .05, move = { ArrowLeft: -1, ArrowRight: 1, Home: -HANDLES, End: HANDLES }[e.key], lift = { ArrowUp: by, ArrowDown: -by, PageUp: .25, PageDown: -.25 }[e.key];
      if (move === undefined && lift === undefined) return;
      e.preventDefault();
      if (move !== undefined) this.chosen = clamp(this.chosen + move, 0, HANDLES - 1);
      else { this.values[this.chosen] = Math.round(clamp(this.values[this.chosen] + lift, -1, 1) * 100) / 100; this.touched = true; this.changed(); }
      this.tell(); this.surface.invalidate();
    });
  }
}
