// The whole of a track in the size of a word: valence solid, arousal dashed, each on -1 to 1.

import { colour } from "./palette.js";

// `values` may hold null or NaN; gaps stay gaps.
export function line(context, values, x, y) {
  context.beginPath();
  let open = false;
  for (let i = 0; i < values.length; i++) {
    const v = values[i];
    if (v === null || Number.isNaN(v)) { open = false; continue; }
    if (open) context.lineTo(x(i), y(v)); else { context.moveTo(x(i), y(v)); context.lineTo(x(i) + .01, y(v)); }
    open = true;
  }
  context.stroke();
}

export function drawSpark(context, width, height, spark, ghost) {
  const y = v => 2 + (1 - v) / 2 * (height - 4);
  context.strokeStyle = colour("rule"); context.lineWidth = 1;
  context.beginPath(); context.moveTo(0, y(0)); context.lineTo(width, y(0)); context.stroke();
  context.lineJoin = context.lineCap = "round";
  for (const [data, weight, alpha] of [[ghost, 4, .22], [spark, 1.7, 1]]) {
    if (!data) continue;
    context.globalAlpha = alpha; context.lineWidth = weight;
    for (const name of ["arousal", "valence"]) {
      const values = data[name];
      if (!values?.length) continue;
      context.strokeStyle = colour(name); context.setLineDash(name === "arousal" && weight < 3 ? [4, 3.5] : []);
      line(context, values, i => 2 + i / Math.max(values.length - 1, 1) * (width - 4), y);
    }
  }
  context.globalAlpha = 1; context.setLineDash([]);
}

// The same in words, for those who hear it.
export function sparkWords(spark) {
  if (!spark?.valence?.some(v => v !== null)) return "no estimates";
  const third = (values, k) => { const part = values.slice(Math.floor(values.length * k / 3), Math.floor(values.length * (k + 1) / 3)).filter(v => v !== null); return part.length ? part.reduce((a, b) => a + b, 0) / part.length : null; };
  const told = values => { const [a, b, c] = [0, 1, 2].map(k => third(values, k)); const way = a === null || c === null ? "" : c - a > .1 ? "rises" : a - c > .1 ? "falls" : b !== null && b - a > .1 ? "arches" : b !== null && a - b > .1 ? "dips" : "stays level"; return way; };
  return `valence ${told(spark.valence)}, arousal ${told(spark.arousal)}`;
}
