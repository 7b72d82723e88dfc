// The path through the valence-arousal plane, coloured by time: pale at the start, strong at the end.

import { signed } from "../words.js";
import { between, colour } from "./palette.js";
import { pool } from "./series.js";
import { Surface } from "./surface.js";

export function planeAxes(context, width, height) {
  const side = Math.min(width - 24, height - 24), left = 20, top = 2, half = side / 2;
  const x = v => left + (v + 1) * half, y = a => top + (1 - a) * half;
  context.font = "12px system-ui, sans-serif";
  for (const [v, a, name, text] of [[-1, 1, "anger", "tense"], [0, 1, "happiness", "happy"], [-1, 0, "sadness", "sad"], [0, 0, "calm", "calm"]]) {
    context.globalAlpha = .1; context.fillStyle = colour(name); context.fillRect(x(v), y(a), half, half); context.globalAlpha = 1;
    context.fillStyle = colour("soft"); context.textAlign = v ? "left" : "right";
    context.fillText(text, v ? left + 7 : left + side - 7, a ? top + 16 : top + side - 8);
  }
  context.strokeStyle = colour("rule"); context.lineWidth = 1; context.beginPath();
  context.moveTo(x(-1), y(0)); context.lineTo(x(1), y(0)); context.moveTo(x(0), y(-1)); context.lineTo(x(0), y(1)); context.stroke();
  context.fillStyle = colour("soft"); context.textAlign = "center"; context.fillText("valence →", x(0), top + side + 17);
  context.save(); context.translate(12, y(0)); context.rotate(-Math.PI / 2); context.fillText("arousal →", 0, 0); context.restore();
  return { x, y, half };
}

// A path of two columns; `shade` overrides the colours of time.
export function drawPath(context, { x, y }, valence, arousal, { bins = 240, shade = null, from = 0, to = valence.length } = {}) {
  const v = pool(valence, from, to, bins), a = pool(arousal, from, to, bins);
  context.lineCap = "round"; context.lineWidth = 1.8;
  let first = null, last = null;
  for (let i = 0; i < v.length; i++) {
    if (Number.isNaN(v[i][1]) || Number.isNaN(a[i][1])) continue;
    const here = [x(v[i][1]), y(a[i][1])];
    first ??= here;
    if (last !== null && last[2] === i - 1) {
      context.strokeStyle = shade ?? between("time-0", "time-1", i / v.length);
      context.beginPath(); context.moveTo(last[0], last[1]); context.lineTo(...here); context.stroke();
    }
    last = [...here, i];
  }
  if (first) {
    context.fillStyle = colour("card"); context.strokeStyle = shade ?? colour("time-0"); context.lineWidth = 2.5; context.beginPath(); context.arc(...first, 4, 0, 7); context.fill(); context.stroke();
    context.fillStyle = shade ?? colour("time-1"); context.beginPath(); context.arc(last[0], last[1], 4.5, 0, 7); context.fill();
  }
}

// A plane that shows a series and, on a canvas above it, where it is now.
export class Plane {
  constructor(series, label) {
    this.series = series; this.now = null;
    this.under = new Surface((c, w, tall) => { const axes = planeAxes(c, w, tall); drawPath(c, axes, this.series.valence, this.series.arousal); }, { "aria-hidden": "true" });
    this.over = new Surface((c, w, tall) => this.mark(c, w, tall), { "aria-hidden": "true" });
    this.el = document.createElement("div");
    this.el.className = "plane"; this.el.setAttribute("role", "img"); this.el.setAttribute("aria-label", label);
    this.el.append(this.under.canvas, this.over.canvas);
  }
  mark(context, width, height) {
    if (this.now === null) return;
    const { series } = this, v = series.valence[this.now], a = series.arousal[this.now];
    if (Number.isNaN(v) || Number.isNaN(a)) return;
    const half = Math.min(width - 24, height - 24) / 2, x = 20 + (v + 1) * half, y = 2 + (1 - a) * half;
    context.save(); context.beginPath(); context.rect(20, 2, 2 * half, 2 * half); context.clip();
    context.fillStyle = colour("ink"); context.globalAlpha = .12; context.beginPath();
    context.ellipse(x, y, half * (series.valence_std[this.now] || 0), half * (series.arousal_std[this.now] || 0), 0, 0, 7); context.fill(); context.restore();
    context.globalAlpha = 1; context.fillStyle = colour("ink"); context.strokeStyle = colour("card"); context.lineWidth = 2; context.beginPath(); context.arc(x, y, 5.5, 0, 7); context.fill(); context.stroke();
  }
  at(cell) { if (cell !== this.now) { this.now = cell; this.over.invalidate(); } }
  again() { this.under.invalidate(); this.over.invalidate(); }
}

export const pointWords = (v, a) => `valence ${signed(v)}, arousal ${signed(a)}`;
