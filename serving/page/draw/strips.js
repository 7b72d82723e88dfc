// What lies below the curves: episodes, activity, loudness, time.

import { clock, hue, severity, word } from "../words.js";
import { colour } from "./palette.js";
import { pool, runs, ticks } from "./series.js";

const PALE = new Set(["neutral", "calm", "happiness", "disgust", "surprise"]);
const FILLS = { speech: ["speech"], music: ["music"], "speech+music": ["speech", "music"], other: ["other"] };

// `x` takes ms here; episodes are rows of the table. The surer, the more solid.
export function drawEpisodes(context, { left, right, top, tall }, episodes, x, now) {
  context.font = "600 12px system-ui, sans-serif"; context.textAlign = "left";
  for (const e of episodes) {
    const a = Math.max(x(e.start_ms), left), b = Math.min(x(e.end_ms), right);
    if (b <= left || a >= right) continue;
    const name = hue(e.emotion), wide = Math.max(b - a - 1.5, 1);
    context.globalAlpha = .4 + .6 * (e.confidence ?? .5); context.fillStyle = colour(name);
    context.beginPath(); context.roundRect(a + .75, top, wide, tall, Math.min(5, wide / 2)); context.fill(); context.globalAlpha = 1;
    if (now !== undefined && e.start_ms <= now && now < e.end_ms) { context.strokeStyle = colour("ink"); context.lineWidth = 2; context.stroke(); }
    const whole = word(e.emotion), text = wide > context.measureText(whole).width + 14 ? whole : whole.slice(0, 2);
    if (text === whole || wide > 26) { context.fillStyle = PALE.has(name) ? "#241d15" : "#ffffff"; context.fillText(text, a + 8, top + tall / 2 + 4); }
  }
}

// Who is heard: `x` takes cells.
export function drawActivity(context, { top, tall, right }, series, x, lo, hi) {
  for (const [a, b, what] of runs(series.activity, lo, hi)) (FILLS[what] ?? []).forEach((name, k, all) => {
    context.fillStyle = colour(name);
    context.fillRect(x(a), top + k * tall / all.length, Math.max(Math.min(x(b), right) - x(a), .5), tall / all.length);
  });
}

// Where a rule came true: a flag over its stretch.
export function drawAlerts(context, alerts, bottom, x) {
  for (const a of alerts) {
    const from = x(a.start_ms), to = Math.max(x(a.end_ms), from + 3);
    context.fillStyle = colour(severity(a.severity));
    context.fillRect(from, 1, to - from, 4); context.globalAlpha = .06; context.fillRect(from, 1, to - from, bottom - 1); context.globalAlpha = 1;
  }
}

// Loudness from -60 to 0 LUFS as a filled outline.
export function drawLoudness(context, { top, tall }, series, x, lo, hi, bins) {
  const base = top + tall, up = l => base - Math.min(Math.max((l + 60) / 60, 0), 1) * tall;
  context.fillStyle = colour("loud"); context.beginPath();
  let first = null, last = null;
  for (const [i, v] of pool(series.loudness_lufs, lo, hi, bins)) {
    if (Number.isNaN(v)) continue;
    if (first === null) { first = x(i - .5); context.moveTo(first, base); context.lineTo(first, up(v)); }
    context.lineTo(last = x(i), up(v));
  }
  if (first !== null) { context.lineTo(last, base); context.fill(); }
}

// Round times from `from` to `to`, at x(ms).
export function drawTime(context, { left, right, top }, from, to, x, text = clock) {
  context.strokeStyle = colour("rule"); context.fillStyle = colour("soft"); context.lineWidth = 1; context.font = "11px system-ui, sans-serif";
  context.beginPath(); context.moveTo(left, top + .5); context.lineTo(right, top + .5);
  for (const ms of ticks(from, to, right - left)) {
    const at = x(ms);
    context.moveTo(at, top); context.lineTo(at, top + 5);
    context.textAlign = at > right - 18 ? "right" : "center"; context.fillText(text(ms), at > right - 18 ? right : at, top + 17);
  }
  context.stroke();
}
