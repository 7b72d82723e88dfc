// The last minutes of one channel that is still running, in a ring of half seconds, and how its last minute is drawn.

import { known } from "../words.js";
import { DASH } from "./curves.js";
import { colour, hatch } from "./palette.js";
import { line } from "./spark.js";

export const STEP = 500;
const KEPT = 600; // half seconds: five minutes
const SPOKEN = { speech: "speech", music: "music", "speech+music": "music", other: "other" };

export class Rolling {
  constructor(channel, role, modality) {
    Object.assign(this, { channel, role, modality, step: STEP, last: -1, told: false, cells: new Int32Array(KEPT).fill(-1) });
    for (const name of ["valence", "arousal", "valence_std", "arousal_std", "loudness_lufs"]) this[`_${name}`] = new Float32Array(KEPT).fill(NaN);
    this._activity = new Array(KEPT).fill(""); this._reason = new Array(KEPT).fill("");
  }
  // A row of the contract: [start_ms, valence, arousal, valence_std, arousal_std, activity, loudness_lufs, reason, is_final].
  put([start, v, a, vs, as, activity, loudness, reason]) {
    const cell = Math.floor(start / STEP), i = cell % KEPT;
    if (cell < 0 || cell <= this.last - KEPT) return;
    this.cells[i] = cell; this.last = Math.max(this.last, cell);
    this.told ||= known(v);
    this._valence[i] = v ?? NaN; this._arousal[i] = a ?? NaN; this._valence_std[i] = vs ?? NaN; this._arousal_std[i] = as ?? NaN; this._loudness_lufs[i] = loudness ?? NaN;
    this._activity[i] = activity ?? ""; this._reason[i] = reason ?? "";
  }
  get(name, cell) { const i = cell % KEPT; return cell >= 0 && this.cells[i] === cell ? this[`_${name}`][i] : typeof this[`_${name}`][0] === "string" ? "" : NaN; }
  // The mean of what is known of the last n cells.
  recent(name, n) { let sum = 0, k = 0; for (let c = this.last - n + 1; c <= this.last; c++) { const v = this.get(name, c); if (!Number.isNaN(v)) { sum += v; k++; } } return k ? sum / k : NaN; }
  // As `Series`, the last n cells; cell 0 lies at `from` ms.
  series(n = KEPT) {
    const first = Math.max(0, this.last - n + 1), length = Math.max(1, this.last - first + 1), all = Array.from({ length }, (_, i) => first + i);
    const out = { channel: this.channel, role: this.role, modality: this.modality, step: STEP, length, from: first * STEP, told: this.told, rows: all.map((_, i) => i * STEP), };
    for (const name of ["valence", "arousal", "valence_std", "arousal_std", "loudness_lufs"]) out[name] = Float32Array.from(all, c => this.get(name, c));
    for (const name of ["activity", "reason"]) out[name] = all.map(c => this.get(name, c));
    return Object.assign(out, { cell: ms => Math.floor(Math.min(Math.max(ms / STEP, 0), length - 1)) });
  }
}

// A lane of a card: what was said in the minute up to cell `end`, who spoke, how loud.
export function drawMinute(context, { left, top, width, tall }, rolling, end, cells = 120) {
  const first = end - cells + 1, each = width / cells, x = c => left + (c - first) * each, high = tall - 7, y = v => top + 2 + (1 - v) / 2 * (high - 4);
  let from = null;
  context.fillStyle = hatch(context);
  for (let c = first; c <= end + 1; c++) {
    const why = c <= end && rolling.get("reason", c), gap = why && why !== "silence" && why !== "role";
    if (gap && from === null) from = c; else if (!gap && from !== null) { context.fillRect(x(from), top, x(c) - x(from), high); from = null; }
  }
  let begun = first;
  for (let c = first; c <= end; c++) {
    const name = SPOKEN[rolling.get("activity", c)], loud = rolling.get("loudness_lufs", c);
    if (!rolling.told && name && !Number.isNaN(loud)) { const up = Math.min(Math.max((loud + 60) / 50, 0), 1) * (high - 4); context.fillStyle = colour("loud"); context.fillRect(x(c), top + high - up, each - .6, up); }
    if (c < end && SPOKEN[rolling.get("activity", c + 1)] === name) continue;
    if (name) { context.fillStyle = colour(name); context.fillRect(x(begun), top + tall - 5, x(c + 1) - x(begun), 4); }
    begun = c + 1;
  }
  if (!rolling.told) return;
  context.strokeStyle = colour("rule"); context.lineWidth = 1; context.beginPath(); context.moveTo(left, y(0)); context.lineTo(left + width, y(0)); context.stroke();
  context.lineWidth = 1.8; context.lineJoin = context.lineCap = "round";
  for (const name of ["arousal", "valence"]) {
    context.strokeStyle = colour(name); context.setLineDash(DASH[name].map(d => d * .7));
    line(context, Array.from({ length: cells }, (_, i) => rolling.get(name, first + i)), i => left + (i + .5) * each, y);
  }
  context.setLineDash([]);
}
