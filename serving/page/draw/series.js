// Curves as the page holds them: dense columns on a grid of `step` ms, NaN where there is no estimate.

export class Series {
  // From a channel of /v1/curve: columns, with `start_ms` saying where each row lies.
  constructor(data, step, duration) {
    this.channel = data.channel; this.role = data.role; this.modality = data.modality;
    this.model = [data.model, data.model_version].filter(Boolean).join(" ");
    this.step = step;
    const rows = data.start_ms ?? [];
    this.length = Math.max(1, Math.ceil(duration / step), rows.length ? Math.floor(rows.at(-1) / step) + 1 : 0);
    for (const name of ["valence", "valence_std", "arousal", "arousal_std", "dominance", "dominance_std", "loudness_lufs"]) {
      const column = this[name] = new Float32Array(this.length).fill(NaN);
      data[name]?.forEach((value, i) => { column[Math.floor(rows[i] / step)] = value ?? NaN; });
    }
    this.activity = new Array(this.length).fill(""); this.reason = new Array(this.length).fill("");
    rows.forEach((at, i) => { const cell = Math.floor(at / step); this.activity[cell] = data.activity?.[i] ?? ""; this.reason[cell] = data.reason?.[i] ?? ""; });
    this.scores = data.emotion_scores ?? {}; this.rows = rows;
    this.told = this.valence.some(v => !Number.isNaN(v));
  }
  cell(ms) { return Math.floor(Math.min(Math.max(ms / this.step, 0), this.length - 1)); }
}

// The mean of the known values in each of `bins` equal stretches of cells [from, to): [middle, mean or NaN].
export function pool(values, from, to, bins) {
  const n = to - from, out = [];
  if (n <= bins) { for (let i = from; i < to; i++) out.push([i + .5, values[i]]); return out; }
  for (let b = 0; b < bins; b++) {
    const lo = from + Math.floor(n * b / bins), hi = from + Math.floor(n * (b + 1) / bins);
    let sum = 0, known = 0;
    for (let i = lo; i < hi; i++) if (!Number.isNaN(values[i])) { sum += values[i]; known++; }
    out.push([(lo + hi) / 2, known ? sum / known : NaN]);
  }
  return out;
}

export const mean = values => { let sum = 0, n = 0; for (const v of values) if (v !== null && !Number.isNaN(v)) { sum += v; n++; } return n ? sum / n : NaN; };

// Stretches [from, to, value] of equal values within [from, to).
export function* runs(values, from, to) {
  for (let i = from; i < to;) { let j = i + 1; while (j < to && values[j] === values[i]) j++; yield [i, j, values[i]]; i = j; }
}

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400].map(s => s * 1000);
// Round times within [from, to], at least `apart` pixels from each other.
export function ticks(from, to, width, apart = 64) {
  const step = STEPS.find(s => (to - from) / s <= width / apart) ?? 28_800_000, out = [];
  for (let ms = Math.ceil(from / step) * step; ms <= to; ms += step) out.push(ms);
  return out;
}
