// What a canvas shows, as a table: filled when somebody opens it.

import { h } from "../dom.js";
import { mean, runs } from "../draw/series.js";
import { activityWords, clock, percent, reasonWords, signed, word } from "../words.js";

export function table(caption, heads, rows) {
  return h("table", { class: "data" }, h("caption", {}, caption), h("thead", {}, h("tr", {}, heads.map(text => h("th", { scope: "col" }, text)))), h("tbody", {}, rows.map(row => h("tr", {}, row.map(text => h("td", {}, text))))));
}

export function asTable(title, fill) {
  const inside = h("div", { class: "scrolls", tabindex: 0 });
  const el = h("details", { class: "alt" }, h("summary", {}, title), inside);
  el.addEventListener("toggle", () => { inside.replaceChildren(...(el.open ? [fill()].flat() : [])); });
  return el;
}

// A series in at most 120 rows.
export function curveTable(series) {
  const known = series.rows.length ? Math.floor(series.rows.at(-1) / series.step) + 1 : series.length, each = Math.max(1, Math.ceil(known / 120)), rows = [];
  for (let lo = 0; lo < known; lo += each) {
    const hi = Math.min(lo + each, known), part = name => mean(series[name].subarray(lo, hi)), most = column => [...runs(column.slice(lo, hi).sort(), 0, hi - lo)].sort((a, b) => b[1] - b[0] - a[1] + a[0])[0][2];
    const v = part("valence"), a = part("arousal"), band = name => Number.isNaN(part(name)) ? "" : ` ± ${part(name).toFixed(2)}`;
    rows.push([`${clock(lo * series.step)} to ${clock(hi * series.step)}`, signed(v) + band("valence_std"), signed(a) + band("arousal_std"), activityWords(most(series.activity)), Number.isNaN(v) ? reasonWords(most(series.reason)) : ""]);
  }
  return table(each > 1 ? `means over ${each * series.step / 1000} s each` : "every row", ["time", "valence", "arousal", "heard", "why no estimate"], rows);
}

export const episodeTable = episodes => table("episodes", ["from", "to", "sounds", "sure", "valence", "arousal"], episodes.map(e => [clock(e.start_ms), clock(e.end_ms), word(e.emotion), percent(e.confidence), signed(e.valence_mean), signed(e.arousal_mean)]));
