// Valence and arousal over time with their bands, on -1 to 1; hatched where there is no estimate.

import { colour, hatch } from "./palette.js";
import { pool, runs } from "./series.js";

export const DASH = { valence: [], arousal: [6, 4], dominance: [1.5, 4.5] };
const clip = v => Math.max(-1, Math.min(1, v));

// Where there is no estimate. `x` takes cells here and below.
export function drawHatch(context, { top, tall }, series, x, lo, hi) {
  context.fillStyle = hatch(context);
  for (const [a, b, reason] of runs(series.reason, lo, hi)) if (reason) context.fillRect(x(a), top, Math.max(x(b) - x(a), .5), tall);
}

export function drawFrame(context, { left, right, top, tall }) {
  const y = v => top + (1 - v) / 2 * tall;
  context.lineWidth = 1; context.textAlign = "right"; context.font = "11px system-ui, sans-serif";
  for (const v of [1, 0, -1]) {
    context.strokeStyle = colour(v ? "rule" : "faint"); context.setLineDash(v ? [] : [1, 4]);
    context.beginPath(); context.moveTo(left, Math.round(y(v)) + .5); context.lineTo(right, Math.round(y(v)) + .5); context.stroke();
    context.fillStyle = colour("soft"); context.fillText(v > 0 ? "+1" : v ? "−1" : "0", left - 8, y(v) + 4);
  }
  context.setLineDash([]);
}

// One dimension: band below, line above. A single known cell is a short stroke.
export function drawCurve(context, { top, tall }, values, stds, x, lo, hi, bins, { name, dash = DASH[name], band = .16, weight = 2 }) {
  const y = v => top + (1 - clip(v)) / 2 * tall, points = pool(values, lo, hi, bins), spread = stds && band ? pool(stds, lo, hi, bins) : null;
  context.fillStyle = context.strokeStyle = colour(name); context.lineWidth = weight; context.lineJoin = context.lineCap = "round";
  let run = [];
  const close = () => {
    if (!run.length) return;
    if (run.length === 1) run = [[run[0][0] - .45, ...run[0].slice(1)], [run[0][0] + .45, ...run[0].slice(1)]];
    if (spread) {
      context.globalAlpha = band; context.beginPath();
      run.forEach(([i, v, s], k) => context[k ? "lineTo" : "moveTo"](x(i), y(v + s)));
      for (const [i, v, s] of run.toReversed()) context.lineTo(x(i), y(v - s));
      context.fill(); context.globalAlpha = 1;
    }
    context.setLineDash(dash); context.beginPath();
    run.forEach(([i, v], k) => context[k ? "lineTo" : "moveTo"](x(i), y(v)));
    context.stroke(); context.setLineDash([]);
    run = [];
  };
  points.forEach(([i, v], k) => { if (Number.isNaN(v)) close(); else run.push([i, v, spread ? spread[k][1] || 0 : 0]); });
  close();
}
