// A second track beside the first: valence over valence, arousal over arousal, aligned by share of the track or by time.

import { get } from "../api.js";
import { announce, h, settled } from "../dom.js";
import { drawCurve, drawFrame } from "../draw/curves.js";
import { colour } from "../draw/palette.js";
import { drawPath, planeAxes } from "../draw/plane.js";
import { drawTime } from "../draw/strips.js";
import { pool } from "../draw/series.js";
import { Surface } from "../draw/surface.js";
import { stroke } from "../parts/legend.js";
import { trouble } from "../parts/message.js";
import { asTable, table } from "../parts/table.js";
import { remember } from "../router.js";
import { clock, nameOf, percent, signed } from "../words.js";
import { curves } from "./track.js";

const LEFT = 34, RIGHT = 10, TALL = 120;

export function compare(track, withId, signal) {
  const { item } = track, body = h("div"), options = h("datalist", { id: "others" });
  const field = h("input", { type: "search", id: "with", list: "others", placeholder: "title or file name", autocomplete: "off" });
  const ids = new Map();
  let align = "share";
  const suggest = settled(async () => {
    try {
      const found = await get("media", { q: field.value, limit: 100 }, signal);
      for (const m of found.items) ids.set(m.media_id, m);
      options.replaceChildren(...found.items.slice(0, 12).filter(m => m.media_id !== item.media_id).map(m => h("option", { value: m.media_id, label: [nameOf(m), m.artist].filter(Boolean).join(", ") })));
      if (ids.has(field.value)) open(field.value);
    } catch (error) { trouble(error); }
  }, 200);
  field.addEventListener("input", () => { if (ids.has(field.value)) open(field.value); else suggest(); });
  field.addEventListener("focus", suggest, { once: true });
  field.addEventListener("keydown", e => { const first = options.firstElementChild; if (e.key === "Enter" && first && !ids.has(field.value)) { field.value = first.value; open(first.value); } });

  async function open(id) {
    try {
      const other = ids.get(id) ?? (await get("media", { media: id }, signal)).items.at(-1);
      const [mine, theirs] = [await curves(item, "", signal), await curves(other, "", signal)].map(all => all.find(s => s.told) ?? all[0]);
      remember("track", { media: item.media_id, take: item.take || "", with: id });
      draw(other, mine, theirs);
      announce(`compared with ${nameOf(other)}`);
    } catch (error) { const said = trouble(error); if (said) body.replaceChildren(said); }
  }

  function draw(other, mine, theirs) {
    const pair = [[mine, item], [theirs, other]], longest = Math.max(item.duration_ms, other.duration_ms);
    const end = m => align === "share" ? m.duration_ms : longest;
    const panel = name => new Surface((context, width) => {
      const right = width - RIGHT, box = { left: LEFT, right, top: 8, tall: TALL };
      drawFrame(context, box);
      pair.forEach(([series, m], k) => {
        const x = i => LEFT + i * series.step / end(m) * (right - LEFT);
        drawCurve(context, box, series[name], series[`${name}_std`], x, 0, series.length, Math.max(50, (right - LEFT) / 2), k ? { name: "ink", dash: [2, 4], band: .07 } : { name, dash: [], band: .16 });
      });
      const x = v => LEFT + v / (align === "share" ? 100_000 : longest) * (right - LEFT);
      drawTime(context, { left: LEFT, right, top: TALL + 18 }, 0, align === "share" ? 100_000 : longest, x, align === "share" ? ms => `${ms / 1000} %` : clock);
    }, { height: TALL + 42, role: "img", "aria-label": `${name} of both; the table below has the numbers` });
    const plane = new Surface((c, w, tall) => { const axes = planeAxes(c, w, tall); drawPath(c, axes, mine.valence, mine.arousal, { shade: colour("valence") }); drawPath(c, axes, theirs.valence, theirs.arousal, { shade: colour("ink") }); }, { role: "img", "aria-label": "both paths in the plane of valence and arousal" });
    const how = h("div", { class: "tabs", role: "group", "aria-label": "Aligned by" }, [["share", "by share"], ["time", "by time"]].map(([value, text]) => h("button", { type: "button", "aria-pressed": String(align === value), onclick: () => { align = value; draw(other, mine, theirs); } }, text)));
    body.replaceChildren(h("div", { class: "line legend" }, stroke("k-both", nameOf(item)), stroke("k-other", nameOf(other)), how),
      h("div", { class: "channel" }, h("div", { class: "wide" }, h("h3", {}, "Valence"), panel("valence").canvas, h("h3", {}, "Arousal"), panel("arousal").canvas, asTable("Both as a table", () => numbers(pair, end, longest))), h("aside", {}, h("div", { class: "plane" }, plane.canvas), h("p", { class: "small soft" }, apart(mine, theirs)))));
  }
  function numbers(pair, end, longest) {
    const n = 20, cut = ([series, m], name) => pool(series[name], 0, Math.max(1, Math.round(end(m) / series.step)), n).map(p => p[1] ?? NaN);
    const [v1, v2, a1, a2] = ["valence", "arousal"].flatMap(name => pair.map(p => cut(p, name)));
    return table("twenty equal parts", ["part", "valence, this", "valence, other", "arousal, this", "arousal, other"], v1.map((_, i) => [align === "share" ? percent(i / n) : clock(i / n * longest), signed(v1[i]), signed(v2[i]), signed(a1[i]), signed(a2[i])]));
  }
  if (withId) open(withId);
  return h("section", { class: "card compare" }, h("div", { class: "line" }, h("h2", {}, "Compare"), h("label", { class: "line", for: "with" }, "with", field), options), body);
}

// How the two differ, in a sentence, with what the bands allow to say.
function apart(mine, theirs) {
  const n = 50, say = name => {
    const a = pool(mine[name], 0, mine.length, n), b = pool(theirs[name], 0, theirs.length, n), s = pool(mine[`${name}_std`], 0, mine.length, n), pairs = a.map((p, i) => [p[1], b[i]?.[1], s[i][1]]).filter(p => !p.some(Number.isNaN) && p[1] !== undefined);
    if (!pairs.length) return `${name} cannot be compared`;
    const d = pairs.reduce((t, p) => t + p[1] - p[0], 0) / pairs.length, std = pairs.reduce((t, p) => t + p[2], 0) / pairs.length;
    return `the other's ${name} is ${Math.abs(d).toFixed(2)} ${d < 0 ? "lower" : "higher"} on average${Math.abs(d) < 2 * std ? " (within two standard deviations: no difference to speak of)" : ""}`;
  };
  const text = `${say("valence")}; ${say("arousal")}.`;
  return text[0].toUpperCase() + text.slice(1);
}
