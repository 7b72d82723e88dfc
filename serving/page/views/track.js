// One media: listen, look, seek; what it is about; another one beside it.

import { address, get } from "../api.js";
import { h } from "../dom.js";
import { Lanes } from "../draw/lanes.js";
import { Plane } from "../draw/plane.js";
import { Series } from "../draw/series.js";
import { caution } from "../parts/caution.js";
import { facts, moods } from "../parts/facts.js";
import { box, dominance, keys } from "../parts/legend.js";
import { message, trouble } from "../parts/message.js";
import { Player } from "../parts/player.js";
import { asTable, curveTable, episodeTable, table } from "../parts/table.js";
import { go, link } from "../router.js";
import { clamp, clock, fileName, nameOf, reasonWords, severity } from "../words.js";
import { compare } from "./compare.js";

export const title = "Track";

const MOST = 4000; // points of a curve at once
const ORDER = ["fused", "symbolic", "music", "speech", "face"];
const FORMATS = ["csv", "jams", "webvtt", "rttm", "textgrid", "sed", "json", "arrow"];

const KEYS = [["Space", "plays and pauses"], ["← →", "5 seconds; with Shift half a second"], ["Page up, Page down", "30 seconds, on the curve"], ["N, P", "next and previous episode"], ["+ −", "closer, farther"], ["0", "the whole"]];

// The step for a stretch of so many ms, a multiple of 500.
export const stepFor = ms => 500 * Math.max(1, Math.ceil(ms / 500 / MOST));

export async function curves(item, modality, signal, range = {}) {
  const step = stepFor((range.to_ms ?? item.duration_ms) - (range.from_ms ?? 0));
  const found = await get("curve", { media: item.media_id, take: item.take || "", modality, step_ms: step > 500 ? step : "", ...range }, signal);
  const best = new Map();
  for (const c of found.channels.toSorted((a, b) => ORDER.indexOf(a.modality) - ORDER.indexOf(b.modality))) if (!best.has(c.channel)) best.set(c.channel, new Series(c, found.step_ms || 500, item.duration_ms));
  return [...best.values()];
}

class Track {
  constructor(item, extras, signal) {
    Object.assign(this, extras, { item, signal, duration: item.duration_ms, view: [0, item.duration_ms], lanes: [], planes: [], now: 0, modality: "" });
    this.player = new Player(item, ms => this.at(ms), signal);
    this.body = h("div"); this.whole = h("button", { type: "button", class: "quiet", hidden: true, onclick: () => this.zoom(0, this.duration) }, "Show the whole");
  }
  at(ms) {
    this.now = ms;
    const [from, to] = this.view;
    if (this.player.playing && (ms > to || ms < from)) this.zoom(ms, ms + to - from);
    for (const lane of this.lanes) lane.at(ms);
    for (const plane of this.planes) plane.at(plane.series.cell(ms));
  }
  seek(ms) { this.player.seek(ms); }
  zoom(from, to) {
    const width = clamp(to - from, 4000, this.duration);
    from = clamp(from, 0, this.duration - width);
    this.view = [from, from + width];
    this.whole.hidden = width >= this.duration;
    this.sharpen(from, from + width);
    for (const lane of this.lanes) lane.again();
  }
  // Long media come coarse; where somebody looks closer, finer, and until that is there the coarse curve stays.
  sharpen(from, to) {
    clearTimeout(this.later);
    const step = stepFor(to - from), fits = this.fine && this.fine.step <= step && this.fine.from <= from && to <= this.fine.to;
    if (fits) return;
    this.fine = null;
    for (const lane of this.lanes) lane.series = lane.coarse;
    if (!this.lanes.length || step >= this.lanes[0].coarse.step) return;
    const range = { from_ms: Math.floor(from / step) * step, to_ms: Math.min(Math.ceil(to / step) * step, Math.ceil(this.duration / step) * step) };
    this.later = setTimeout(async () => {
      try {
        const found = await curves(this.item, this.modality, this.signal, range);
        if (this.view[0] !== from || this.view[1] !== to) return;
        for (const lane of this.lanes) { const series = found.find(s => s.channel === lane.series.channel); if (series) { lane.series = series; lane.again(); } }
        this.fine = { step, from: range.from_ms, to: range.to_ms };
      } catch (error) { trouble(error); }
    }, 200);
  }
  async fill(modality) {
    this.modality = modality;
    let found;
    try { found = await curves(this.item, modality, this.signal); }
    catch (error) { const said = trouble(error); if (said) this.body.replaceChildren(said); return; }
    if (!found.length) { this.body.replaceChildren(message("No curve", "This media has no rows of that kind.")); return; }
    this.lanes = []; this.planes = []; this.fine = null; this.view = [0, this.duration]; this.whole.hidden = true;
    this.body.replaceChildren(...found.map(series => this.channel(series, found.length > 1)));
    this.at(this.now);
  }
  channel(series, several) {
    const of = row => row.channel === series.channel && row.modality === series.modality;
    const episodes = this.episodes.filter(of).sort((a, b) => a.start_ms - b.start_ms), summary = this.summaries.find(of);
    const name = [...new Set([series.channel, series.role].filter(Boolean))].join(", ");
    const lanes = new Lanes(this, series, episodes, `${series.told ? "Valence and arousal" : "Activity"} over time${several ? `, ${name}` : ""}. Left and right move, space plays`, this.alerts.filter(a => a.channel === series.channel && a.end_ms - a.start_ms < .8 * this.duration));
    this.lanes.push(lanes);
    const aside = h("aside", {});
    if (this.item.kind === "video" && this.lanes.length === 1) aside.append(this.player.media);
    if (series.told) {
      const plane = new Plane(series, "The path in the plane of valence and arousal; its numbers are in the table below");
      this.planes.push(plane); aside.append(plane.el, h("p", { class: "time-key small soft" }, "start ", h("i"), " end"));
    } else aside.append(message("No estimate", why(series)));
    aside.append(facts(summary) ?? "");
    return h("section", { class: "channel", "aria-label": several ? name : "Curve" },
      h("div", { class: "wide" }, several && h("h2", {}, name, h("span", { class: "soft" }, ` ${series.modality}`)), lanes.el, moods(summary),
        h("div", { class: "line alts" }, asTable("Curve as a table", () => curveTable(series)), episodes.length > 0 && asTable("Episodes as a table", () => episodeTable(episodes)), this.lanes.length === 1 && asTable("Keys", () => table("on this page", ["key", "does"], KEYS)))),
      aside);
  }
  key(event) {
    const on = event.target, control = on.closest("input, select, textarea, button, summary, a, video");
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const [from, to] = this.view, middle = clamp(this.now, from, to), by = event.shiftKey ? 500 : 5000;
    const episodes = this.lanes.flatMap(l => l.episodes).map(e => e.start_ms).sort((a, b) => a - b);
    const does = {
      " ": () => this.player.toggle(), k: () => this.player.toggle(),
      ArrowLeft: () => this.seek(this.now - by), ArrowRight: () => this.seek(this.now + by),
      PageUp: () => this.seek(this.now - 30_000), PageDown: () => this.seek(this.now + 30_000), Home: () => this.seek(0), End: () => this.seek(this.duration),
      n: () => this.seek(episodes.find(ms => ms > this.now + 1) ?? this.now), p: () => this.seek(episodes.findLast(ms => ms < this.now - 999) ?? 0),
      "+": () => this.zoom(middle - (to - from) / 4, middle + (to - from) / 4), "-": () => this.zoom(middle - (to - from), middle + (to - from)), 0: () => this.zoom(0, this.duration),
    }[event.key];
    const paging = ["PageUp", "PageDown", "Home", "End"].includes(event.key) && !on.closest(".lanes");
    if (!does || control || paging) return;
    event.preventDefault(); does();
  }
}

function why(series) {
  const reasons = [...new Set(series.reason.filter(Boolean))];
  if (reasons.includes("role")) return "No emotions are estimated for this role: inferring those of employees at work is forbidden in the EU. Who speaks and how loud is shown.";
  return reasons.length ? `${reasons.map(reasonWords).join(", ")}.` : "No model knows this sound.";
}

function modalities(track, box) {
  const all = ORDER.filter(m => track.item.modalities?.includes(m));
  if (all.length < 2) return null;
  const present = () => track.modality || track.lanes[0]?.series.modality;
  const buttons = all.map(m => h("button", { type: "button", onclick: async () => { await track.fill(m); mark(); } }, m));
  const mark = () => buttons.forEach((b, i) => b.setAttribute("aria-pressed", all[i] === present()));
  box.append(h("div", { class: "tabs", role: "group", "aria-label": "Which model" }, buttons));
  return mark;
}

export async function show(main, params, signal) {
  const id = params.get("media"), take = params.get("take") ?? "";
  if (!id) { go("catalogue"); return; }
  const asked = { media: id, take };
  let item, extras;
  try {
    const [media, episodes, summary, alerts] = await Promise.all([get("media", asked, signal), get("episodes", asked, signal), get("summary", asked, signal), get("alerts", asked, signal)]);
    item = take ? media.items.find(m => String(m.take) === take) ?? media.items[0] : media.items.toSorted((a, b) => a.take - b.take).at(-1);
    extras = { episodes: episodes.episodes, summaries: summary.summaries, alerts: alerts.alerts };
  } catch (error) { const said = trouble(error); if (said) main.append(h("h1", { tabindex: -1 }, "Track"), said, h("p", {}, h("a", { href: link("catalogue") }, "To the catalogue"))); return; }
  document.title = `${nameOf(item)} · moodstream`;
  const track = new Track(item, extras, signal), { player } = track;
  const sub = [item.artist, item.title && fileName(item.media_id), item.kind, item.take > 0 && `take ${item.take}`, item.analyzed_at && `analysed ${item.analyzed_at.slice(0, 10)}`].filter(Boolean).join(" · ");
  const legend = h("div", { class: "legend" }, keys(), box("speech", "speech"), box("music", "music"), box("loud", "loudness"), track.whole);
  main.append(h("p", { class: "back small" }, h("a", { href: link("catalogue") }, "← Catalogue")),
    h("article", { class: "card track" },
      h("div", { class: "top" }, player.button, h("div", { class: "who" }, h("h1", { tabindex: -1 }, nameOf(item)), h("p", { class: "soft small" }, sub)), player.time),
      player.note, legend, alertList(track), track.body, caution("media")),
    compare(track, params.get("with"), signal), ways(item));
  if (item.kind !== "video") player.media.hidden = true, main.append(player.media);
  document.addEventListener("keydown", event => track.key(event), { signal });
  const mark = modalities(track, legend);
  await track.fill("");
  mark?.();
  if (track.lanes.some(l => l.series.dominance.some(v => !Number.isNaN(v)))) track.whole.before(h("label", { class: "line tight" }, h("input", { type: "checkbox", onchange: e => { track.dominance = e.target.checked; for (const lane of track.lanes) lane.again(); } }), dominance()));
}

function alertList(track) {
  if (!track.alerts.length) return null;
  return h("ul", { class: "alerts", "aria-label": "Alerts" }, track.alerts.map(a => h("li", {}, h("button", { type: "button", class: "plain", style: { "--c": `var(--${severity(a.severity)})` }, onclick: () => track.seek(a.start_ms) }, h("b", {}, a.rule), ` ${clock(a.start_ms)} to ${clock(a.end_ms)}, ${[a.severity, a.channel].filter(Boolean).join(", ")} `, h("span", { class: "soft" }, evidence(a.evidence))))));
}

// What the rule wanted, in its own words; the rest of the evidence is for machines.
function evidence(text) {
  try { return JSON.parse(text).rule ?? ""; } catch (error) { if (!(error instanceof SyntaxError)) throw error; return text ?? ""; }
}

// Where to go from here: what moves alike, and the rows themselves.
function ways(item) {
  const about = { media: item.media_id, take: item.take || "" };
  return h("section", { class: "line ways" }, h("a", { href: link("search", { like: item.media_id, take: item.take || "" }) }, "What moves like this?"),
    h("span", { class: "soft small" }, "Take it with you: ", FORMATS.map((format, i) => [i > 0 && ", ", h("a", { href: address("analysis", { ...about, format }), download: "" }, format)])),
    item.models && h("span", { class: "soft small" }, Object.entries(item.models).map(([name, version]) => `${name} ${version}`).join(", ")));
}
