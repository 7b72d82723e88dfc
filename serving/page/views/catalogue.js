// All media of the lake: filter, sort, the curve of each. Rows come in pages as they are scrolled to; only the visible ones exist.

import { get } from "../api.js";
import { announce, h, settled } from "../dom.js";
import { drawSpark, sparkWords } from "../draw/spark.js";
import { Surface } from "../draw/surface.js";
import { caution } from "../parts/caution.js";
import { keys } from "../parts/legend.js";
import { trouble } from "../parts/message.js";
import { Virtual } from "../parts/virtual.js";
import { go, link, remember } from "../router.js";
import { EMOTIONS, QUADRANTS, clock, count, fileName, hue, nameOf, plural, signed, word } from "../words.js";

export const title = "Catalogue";

const SORTS = [["media_id", "name"], ["-analyzed_at", "newest first"], ["-arousal_mean", "most aroused"], ["arousal_mean", "calmest"], ["-valence_mean", "most pleasant"], ["valence_mean", "least pleasant"], ["-duration_ms", "longest"], ["duration_ms", "shortest"], ["emotion", "emotion"]];
const COLUMNS = [["media_id", "Track"], ["emotion", "Sounds"], ["valence_mean", "Valence"], ["arousal_mean", "Arousal"], [null, "Curve"], ["duration_ms", "Length"]];
const FIELDS = ["q", "kind", "emotion", "quadrant", "min_valence", "max_valence", "min_arousal", "max_arousal", "min_duration_s", "max_duration_s"];
const FIRST = 100, MORE = 1000;

// Loads pages one after the other, as far as somebody wants to see. What a row needs is kept, the rest let go.
class Pages {
  constructor(params, signal, news) { Object.assign(this, { params, signal, news, items: [], total: null, next: null, busy: false, wanted: 0 }); }
  async want(index) {
    this.wanted = Math.max(this.wanted, index);
    if (this.busy) return;
    this.busy = true;
    try {
      while (this.total === null || (this.items.length < this.total && this.next && this.wanted >= this.items.length)) {
        const page = await get("media", { ...this.params, sparkline: "true", limit: this.items.length ? MORE : FIRST, cursor: this.next }, this.signal);
        for (const item of page.items) this.items.push(row(item));
        this.total = page.total; this.next = page.next;
        this.news(this);
      }
    } finally { this.busy = false; }
  }
}

export function best(item) {
  return item.channels?.find(c => c.valence_mean !== null && c.role !== "agent") ?? item.channels?.[0] ?? {};
}

function row(item) {
  const { valence_mean, arousal_mean, emotion } = best(item);
  return { media_id: item.media_id, take: item.take, name: nameOf(item), under: [item.artist, (item.title || item.media_id !== fileName(item.media_id)) && item.title !== item.media_id && item.media_id, item.kind].filter(Boolean).join(" · "), duration_ms: item.duration_ms, alerts: item.alerts, emotion, valence_mean, arousal_mean, spark: item.sparkline };
}

function makeRow() {
  const cell = (cls, ...inside) => h("div", { class: cls, role: "gridcell" }, ...inside);
  const parts = { name: h("a", { class: "name", tabindex: -1 }), under: h("span", { class: "under" }), alerts: h("span", { class: "badge alert" }), dot: h("i"), emotion: h("span"), valence: cell("num valence"), arousal: cell("num arousal"), length: cell("num length") };
  const el = h("div", { class: "track-row", role: "row" }, cell("who", h("span", { class: "first" }, parts.name, parts.alerts), parts.under), cell("emotion", h("span", { class: "chip" }, parts.dot, parts.emotion)), parts.valence, parts.arousal);
  parts.spark = new Surface((c, w, tall) => el.item && drawSpark(c, w, tall, el.item.spark), { role: "img", height: 34 });
  el.append(cell("curve", parts.spark.canvas), parts.length);
  el.parts = parts;
  return el;
}

function bindRow(el, index, item) {
  const p = el.parts;
  el.item = item; el.index = index;
  el.id = `row-${index}`; el.setAttribute("aria-rowindex", index + 2); el.classList.toggle("waiting", !item);
  p.name.textContent = item ? item.name : "…"; p.under.textContent = item?.under ?? "";
  if (item) p.name.href = link("track", { media: item.media_id, take: item.take || "" }); else p.name.removeAttribute("href");
  p.alerts.hidden = !item?.alerts; p.alerts.replaceChildren(...(item?.alerts ? [count(item.alerts), h("span", { class: "word" }, item.alerts === 1 ? " alert" : " alerts")] : []));
  p.dot.style.setProperty("--c", `var(--${hue(item?.emotion)})`); p.dot.hidden = !item?.emotion;
  p.emotion.textContent = item ? word(item.emotion) : "";
  p.valence.textContent = item ? signed(item.valence_mean) : ""; p.arousal.textContent = item ? signed(item.arousal_mean) : ""; p.length.textContent = item ? clock(item.duration_ms) : "";
  p.spark.canvas.setAttribute("aria-label", item ? sparkWords(item.spark) : "loading");
  p.spark.invalidate();
}

function filters(state, changed) {
  const select = (name, label, options) => {
    const el = h("select", { name, id: `f-${name}`, onchange: changed }, options.map(([value, text]) => h("option", { value }, text)));
    el.value = state.get(name) ?? options[0][0];
    return h("label", { class: "field", for: el.id }, label, el);
  };
  const number = (name, label, step, low, high) => h("input", { type: "number", name, "aria-label": label, placeholder: label.split(" ")[0], step, min: low, max: high, value: state.get(name), oninput: changed });
  const range = (name, label, unit, step, low, high) => h("div", { class: "field", role: "group", "aria-label": label }, h("label", {}, label), h("span", { class: "line tight" }, number(`min_${name}${unit}`, `least ${label}`, step, low, high), number(`max_${name}${unit}`, `most ${label}`, step, low, high)));
  const asked = FIELDS.slice(3).some(name => state.get(name));
  return h("form", { class: "filters", role: "search", onsubmit: e => { e.preventDefault(); changed(); } },
    h("div", { class: "line bottom" },
      h("label", { class: "field grow", for: "f-q" }, "Find", h("input", { type: "search", id: "f-q", name: "q", placeholder: "title, artist, file", value: state.get("q"), oninput: changed, autocomplete: "off" })),
      select("kind", "Kind", [["", "all"], ["audio", "audio"], ["midi", "MIDI"], ["video", "video"], ["call", "calls"]]),
      select("emotion", "Sounds", [["", "any"], ...QUADRANTS.map(([q]) => [q, word(q)]), ...EMOTIONS.map(e => [e, e])]),
      select("sort", "Sort by", SORTS)),
    h("details", { class: "more", open: asked }, h("summary", {}, "More filters"), h("div", { class: "line bottom" }, select("quadrant", "Quadrant", [["", "any"], ...QUADRANTS]), range("valence", "valence", "", .05, -1, 1), range("arousal", "arousal", "", .05, -1, 1), range("duration", "length in s", "_s", 1, 0))));
}

export async function show(main, params, signal) {
  const told = h("p", { class: "num", role: "status" }, "loading"), trouble_ = h("div");
  const scroller = h("div", { class: "rows", role: "grid", tabindex: 0, "aria-label": "Tracks. Arrow keys choose, Enter opens", "aria-rowcount": -1 });
  const headings = h("div", { class: "track-row headings", role: "row", "aria-rowindex": 1 });
  scroller.append(headings);
  let pages, asking = new AbortController(), chosen = -1;

  const list = new Virtual(scroller, { height: 56, head: 38, make: makeRow, bind: (el, i) => { bindRow(el, i, pages?.items[i]); el.classList.toggle("chosen", i === chosen); }, rowRole: "rowgroup" });
  list.onspan = (first, last) => { if (pages && last > pages.items.length - 40) pages.want(last + 60).catch(report); };
  const report = error => { const said = trouble(error); if (said) { trouble_.replaceChildren(said); told.textContent = ""; } };

  const state = () => {
    const all = Object.fromEntries([...new FormData(form)].filter(([, v]) => v !== ""));
    if (all.sort === "media_id") delete all.sort;
    return all;
  };
  async function load(fresh) {
    asking.abort(); asking = new AbortController();
    const asked = state(), mine = AbortSignal.any([signal, asking.signal]);
    if (!fresh) remember("catalogue", asked);
    paintHeadings(asked.sort ?? "media_id");
    let first = true;
    pages = new Pages(asked, mine, p => {
      if (p !== pages) return;
      if (first) { scroller.scrollTop = 0; chosen = -1; list.recycle(); list.count(p.total); first = false; if (!fresh) announce(`${plural(p.total, "track")} found`); }
      else list.refresh();
      told.textContent = p.total ? plural(p.total, "track") : "";
      scroller.setAttribute("aria-rowcount", p.total + 1);
      trouble_.replaceChildren(...(p.total ? [] : [nothing(asked)]));
      scroller.hidden = !p.total;
    });
    try { await pages.want(0); } catch (error) { report(error); }
  }
  const nothing = asked => Object.keys(asked).some(k => k !== "sort")
    ? h("div", { class: "message" }, h("b", {}, "No track fits all of that"), h("button", { type: "button", onclick: () => { form.reset(); for (const el of form.querySelectorAll("input")) el.value = ""; for (const el of form.querySelectorAll("select")) el.selectedIndex = 0; load(); } }, "Take the filters away"))
    : h("div", { class: "message" }, h("b", {}, "The lake is empty"), h("p", { class: "small" }, "moodstream analyze PATH --out LAKE puts media into it."));
  function paintHeadings(sort) {
    headings.replaceChildren(...COLUMNS.map(([by, text]) => {
      const up = sort === by, down = sort === `-${by}`, cls = { Track: "who", Sounds: "emotion", Length: "num length", Curve: "curve" }[text] ?? `num ${text.toLowerCase()}`;
      const press = () => { const s = form.elements.sort, wanted = down || (text === "Track" && !up) ? by : up ? `-${by}` : ["Valence", "Arousal", "Length"].includes(text) ? `-${by}` : by; if (![...s.options].some(o => o.value === wanted)) s.append(h("option", { value: wanted }, `${text.toLowerCase()}, backwards`)); s.value = wanted; load(); };
      return h("div", { class: cls, role: "columnheader", "aria-sort": up ? "ascending" : down ? "descending" : null }, by ? h("button", { type: "button", class: "plain", onclick: press }, text, up ? " ↑" : down ? " ↓" : "") : text);
    }));
  }
  const form = filters(params, settled(() => load(), 160));
  const wanted = params.get("sort");
  if (wanted && ![...form.elements.sort.options].some(o => o.value === wanted)) form.elements.sort.append(h("option", { value: wanted }, wanted));
  if (wanted) form.elements.sort.value = wanted;

  const choose = index => {
    const before = list.at(chosen);
    chosen = Math.max(0, Math.min(index, (pages?.total ?? 0) - 1));
    before?.classList.remove("chosen");
    list.reveal(chosen); list.at(chosen)?.classList.add("chosen");
    scroller.setAttribute("aria-activedescendant", `row-${chosen}`);
    const item = pages.items[chosen];
    if (item) announce(`${item.name}, ${word(item.emotion)}, valence ${signed(item.valence_mean)}, arousal ${signed(item.arousal_mean)}`);
  };
  scroller.addEventListener("keydown", event => {
    if (event.target !== scroller) return;
    const page = Math.max(1, Math.floor(scroller.clientHeight / 56) - 1);
    const to = { ArrowDown: chosen + 1, ArrowUp: chosen - 1, PageDown: chosen + page, PageUp: chosen - page, Home: 0, End: (pages?.total ?? 1) - 1 }[event.key];
    if (to !== undefined) { event.preventDefault(); choose(to); }
    else if (event.key === "Enter" && pages?.items[chosen]) open(pages.items[chosen]);
  });
  scroller.addEventListener("click", event => { const el = event.target.closest(".track-row"); if (el?.item && !event.target.closest("a, .headings")) open(el.item); });
  const open = item => go("track", { media: item.media_id, take: item.take || "" });

  main.append(h("div", { class: "head" }, h("h1", { tabindex: -1 }, "Catalogue"), told), form,
    h("section", { class: "card list" }, scroller, trouble_),
    h("div", { class: "legend under-list" }, ...keys()), caution("media"));
  await load(true);
}
