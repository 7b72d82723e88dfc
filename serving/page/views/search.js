// Search: draw how it should move, ask a question with a name, or start from a track.

import { get, post } from "../api.js";
import { announce, h, settled } from "../dom.js";
import { Arc, HANDLES } from "../draw/arc.js";
import { drawSpark, sparkWords } from "../draw/spark.js";
import { Surface } from "../draw/surface.js";
import { caution } from "../parts/caution.js";
import * as legend from "../parts/legend.js";
import { message, trouble } from "../parts/message.js";
import { asTable } from "../parts/table.js";
import { link, remember } from "../router.js";
import { EMOTIONS, QUADRANTS, clock, count, fileName, hue, nameOf, percent, plural, word } from "../words.js";
import { QUESTIONS, questionForm } from "./questions.js";

export const title = "Search";

const at = f => Array.from({ length: HANDLES }, (_, i) => Math.round(f(i / (HANDLES - 1)) * 100) / 100);
const SHAPES = [
  ["Slow burn", at(t => -.1 + .3 * t), at(t => -.7 + 1.3 * t)],
  ["Arch", at(t => .1 + .3 * Math.sin(Math.PI * t)), at(t => -.4 + Math.sin(Math.PI * t))],
  ["Dip and return", at(t => .4 - .7 * Math.sin(Math.PI * t)), at(t => .4 - .7 * Math.sin(Math.PI * t))],
  ["Winds down", at(t => .2 + .1 * t), at(t => .6 - 1.2 * t)],
  ["Darkens", at(t => .5 - 1.1 * t), at(t => .1 - .2 * t)],
];
const INVITES = {
  arc: "Draw in the two fields, or begin with one of the shapes below them: what moves most like it comes here, the closest first.",
  ask: "Fill the blanks of a question and press Find.",
  like: "Choose a track: what moves most like it comes here.",
};
const PAGE = 30;

export async function show(main, params, signal) {
  const results = h("section", { class: "results", "aria-label": "Results" }), panel = h("div"), like = params.get("like");
  let asking = new AbortController(), query = null, ghost = null;

  async function search(offset = 0) {
    if (!query) return;
    asking.abort(); asking = new AbortController();
    const mine = AbortSignal.any([signal, asking.signal]);
    results.setAttribute("aria-busy", "true");
    try {
      const found = await post("search", { ...query, filters: filters(form), limit: PAGE, offset }, mine);
      const items = found.items.map(item => result(item, ghost));
      if (offset) { results.querySelector(".more-results")?.remove(); results.querySelector("ol").append(...items); }
      else {
        results.replaceChildren(h("p", { class: "soft small num" }, `${plural(items.length, "track")} of ${count(found.index?.tracks ?? 0)} in ${Math.round(found.took_ms)} ms, the closest first`), items.length ? h("ol", {}, items) : message("Nothing moves like that here", "", "Take a filter away, or ask for less."));
        announce(`${plural(items.length, "track")} found`);
      }
      if (items.length === PAGE) results.append(h("button", { type: "button", class: "more-results", onclick: () => search(offset + PAGE) }, "Show more"));
    } catch (error) { const said = trouble(error); if (said) results.replaceChildren(said); }
    if (!mine.aborted) results.removeAttribute("aria-busy");
  }
  const soonSearch = settled(search, 250);
  const form = filterForm(soonSearch);

  const MODES = {
    arc: ["Draw an arc", () => drawing(params, (q, g) => { query = q; ghost = g; soonSearch(); })],
    ask: ["Ask", () => questionForm(params, q => { query = q; ghost = null; remember("search", { ask: Object.keys(q)[0], with: JSON.stringify(Object.values(q)[0]) }); search(); })],
    like: ["Like a track", () => likeTrack(like, params.get("take"), signal, (q, g) => { query = q; ghost = g; search(); })],
  };
  const tabs = h("div", { class: "tabs", role: "group", "aria-label": "How to search" });
  const open = mode => {
    tabs.replaceChildren(...Object.entries(MODES).map(([name, [text]]) => h("button", { type: "button", "aria-pressed": String(name === mode), onclick: () => { if (name !== mode) { query = null; params = new URLSearchParams(); remember("search", {}); open(name); tabs.querySelector("[aria-pressed=true]").focus(); } } }, text)));
    if (!query) results.replaceChildren(message("Nothing asked yet", INVITES[mode]));
    panel.replaceChildren(MODES[mode][1]());
  };
  main.append(h("div", { class: "head" }, h("h1", { tabindex: -1 }, "Search"), h("p", {}, "by how a track moves")),
    h("div", { class: "search" }, h("section", { class: "card query" }, tabs, panel, h("details", { class: "more" }, h("summary", {}, "Only among"), form), caution("search")), results));
  open(like ? "like" : params.get("ask") in QUESTIONS ? "ask" : "arc");
}

function drawing(params, ask) {
  const arcs = {};
  const go = () => {
    const points = arcs.valence.values.map((v, i) => [i / (HANDLES - 1), v, arcs.arousal.values[i]]);
    remember("search", { arc: points.map(p => p.slice(1).map(v => v.toFixed(2)).join(",")).join(";") });
    for (const input of el.querySelectorAll("input[type=number]")) input.value = arcs[input.dataset.name].values[input.dataset.i];
    ask({ arc: points }, { valence: arcs.valence.values, arousal: arcs.arousal.values });
  };
  for (const name of ["valence", "arousal"]) arcs[name] = new Arc(name, go);
  const put = (v, a) => { arcs.valence.set(v); arcs.arousal.set(a); go(); };
  const number = (name, i) => h("input", { type: "number", min: -1, max: 1, step: .05, value: arcs[name].values[i], "data-name": name, "data-i": i, "aria-label": `${name} at ${percent(i / (HANDLES - 1))}`, onchange: e => { const values = [...arcs[name].values]; values[i] = Math.max(-1, Math.min(1, Number(e.target.value) || 0)); arcs[name].set(values); go(); } });
  const el = h("div", { class: "drawing" },
    h("p", { class: "soft small" }, "Draw with mouse or finger, or choose points with the arrow keys. Results follow."),
    ["valence", "arousal"].map(name => [h("h2", { class: "lane-name" }, legend[name]()), arcs[name].el]),
    h("div", { class: "line shapes" }, h("span", { class: "soft small" }, "Begin with"), SHAPES.map(([text, v, a]) => h("button", { type: "button", class: "quiet shape", onclick: () => put(v, a) }, text))),
    asTable("The points as numbers", () => h("table", { class: "data" }, h("thead", {}, h("tr", {}, ["share", "valence", "arousal"].map(t => h("th", { scope: "col" }, t)))), h("tbody", {}, arcs.valence.values.map((_, i) => h("tr", {}, h("td", {}, percent(i / (HANDLES - 1))), h("td", {}, number("valence", i)), h("td", {}, number("arousal", i))))))));
  const asked = params.get("arc")?.split(";").map(p => p.split(",").map(Number));
  if (asked?.length === HANDLES && asked.flat().every(Number.isFinite)) put(asked.map(p => p[0]), asked.map(p => p[1]));
  return el;
}

function likeTrack(id, take, signal, ask) {
  const chosen = h("div"), options = h("datalist", { id: "tracks" }), known = new Map();
  const use = async media => {
    remember("search", { like: media, take });
    try {
      const item = known.get(media) ?? (await get("media", { media, take, sparkline: "true" }, signal)).items.at(-1);
      chosen.replaceChildren(result({ ...item, ...(item.channels?.[0] ?? {}), media_id: item.media_id, why: "" }));
      ask({ like: { media, ...(take ? { take: Number(take) } : {}) } }, item.sparkline);
    } catch (error) { const said = trouble(error); if (said) chosen.replaceChildren(said); }
  };
  const suggest = settled(async () => {
    try {
      const found = await get("media", { q: field.value, limit: 100, sparkline: "true" }, signal);
      for (const m of found.items) known.set(m.media_id, m);
      options.replaceChildren(...found.items.slice(0, 12).map(m => h("option", { value: m.media_id, label: [nameOf(m), m.artist].filter(Boolean).join(", ") })));
      if (known.has(field.value)) use(field.value);
    } catch (error) { trouble(error); }
  }, 200);
  const field = h("input", { type: "search", id: "like", list: "tracks", placeholder: "title or file name", value: id, autocomplete: "off", oninput: () => { if (known.has(field.value)) { take = null; use(field.value); } else suggest(); } });
  field.addEventListener("focus", suggest, { once: true });
  field.addEventListener("keydown", e => { const first = options.firstElementChild; if (e.key === "Enter" && first && !known.has(field.value)) { field.value = first.value; take = null; use(first.value); } });
  if (id) use(id);
  return h("div", { class: "stack" }, h("label", { class: "field", for: "like" }, "Moves like", field, options), chosen);
}

function filterForm(changed) {
  const select = (name, text, options) => h("label", { class: "field", for: `s-${name}` }, text, h("select", { name, id: `s-${name}`, onchange: changed }, options.map(([v, t]) => h("option", { value: v }, t))));
  return h("form", { class: "line bottom", onsubmit: e => e.preventDefault() },
    h("label", { class: "field grow", for: "s-q" }, "Title or artist", h("input", { type: "search", name: "q", id: "s-q", oninput: changed })),
    select("kind", "Kind", [["", "all"], ["audio", "audio"], ["midi", "MIDI"], ["video", "video"], ["call", "calls"]]),
    select("emotion", "Sounds", [["", "any"], ...QUADRANTS.map(([q]) => [q, word(q)]), ...EMOTIONS.map(e => [e, e])]),
    ["min", "max"].map(end => h("label", { class: "field", for: `s-${end}` }, end === "min" ? "At least s" : "At most s", h("input", { type: "number", min: 0, name: `${end}_duration_s`, id: `s-${end}`, oninput: changed }))));
}

function filters(form) {
  const all = [...new FormData(form)].filter(([, v]) => v !== "");
  return Object.fromEntries(all.map(([k, v]) => [k, k.endsWith("_s") ? Number(v) : v]));
}

function result(item, ghost) {
  const spark = new Surface((c, w, tall) => drawSpark(c, w, tall, item.sparkline, ghost), { role: "img", height: 54, "aria-label": sparkWords(item.sparkline) });
  const about = [item.artist, item.title && fileName(item.media_id), item.channel && item.channel !== "mix" && item.channel].filter(Boolean).join(" · ");
  return h("li", { class: "card result" }, h("div", { class: "who" }, h("a", { class: "name", href: link("track", { media: item.media_id, take: item.take || "" }) }, nameOf(item)), h("span", { class: "under" }, about)),
    h("div", { class: "curve" }, spark.canvas),
    h("div", { class: "about small" }, item.emotion && h("span", { class: "chip" }, h("i", { style: { "--c": `var(--${hue(item.emotion)})` } }), word(item.emotion)), item.duration_ms && h("span", { class: "soft num" }, clock(item.duration_ms))),
    h("p", { class: "why small" }, item.why ?? ""), h("a", { class: "small again", href: link("search", { like: item.media_id, take: item.take || "" }), "aria-label": `More like ${nameOf(item)}` }, "More like this"));
}
