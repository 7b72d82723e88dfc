// One channel over time: curves, episodes, activity, loudness, time, and a playhead on a canvas above them.
// For screen readers and the keyboard it is a slider whose value is the moment, in words.

import { h, tip } from "../dom.js";
import { activityWords, clamp, clock, known, lufs, percent, reasonWords, signed, word } from "../words.js";
import { drawCurve, drawFrame, drawHatch } from "./curves.js";
import { colour } from "./palette.js";
import { drawActivity, drawAlerts, drawEpisodes, drawLoudness, drawTime } from "./strips.js";
import { Surface } from "./surface.js";

const LEFT = 34, RIGHT = 10, CURVES = 208;

export class Lanes {
  // `owner` has view [from, to] in ms, duration, now (null: no playhead), seek(ms), zoom(from, to), and
  // dominance: whether it is drawn, too.
  constructor(owner, series, episodes, label, alerts = []) {
    Object.assign(this, { owner, series, coarse: series, episodes, alerts });
    const loud = series.loudness_lufs.some(v => !Number.isNaN(v));
    let at = 8;
    this.curves = series.told ? { top: at, tall: CURVES } : null;
    if (series.told) at += CURVES + 10;
    this.strip = series.told ? { top: at, tall: 26 } : null;
    if (series.told) at += 34;
    this.activity = { top: at, tall: 8 }; at += 12;
    this.loud = loud ? { top: at, tall: 38 } : null;
    if (loud) at += 38;
    this.time = { top: at }; at += 24;
    this.tall = at;
    this.under = new Surface((c, w) => this.draw(c, w), { height: at, "aria-hidden": "true" });
    this.over = new Surface((c, w) => this.mark(c, w), { height: at, "aria-hidden": "true" });
    const slider = { role: "slider", tabindex: 0, "aria-valuemin": 0, "aria-valuenow": 0, "aria-valuemax": Math.round(owner.duration / 1000) };
    this.el = h("div", { class: "lanes", "aria-label": label, ...(owner.now === null ? { role: "img" } : slider) }, this.under.canvas, this.over.canvas);
    this.pointer();
  }
  right(width) { return width - RIGHT; }
  x(ms, width = this.under.width) { const [from, to] = this.owner.view; return LEFT + (ms - from) / (to - from) * (width - LEFT - RIGHT); }
  ms(x) { const [from, to] = this.owner.view; return from + (x - LEFT) / (this.under.width - LEFT - RIGHT) * (to - from); }

  draw(context, width) {
    const { series } = this, [from, to] = this.owner.view, right = this.right(width), cx = i => this.x(i * series.step, width);
    const lo = clamp(Math.floor(from / series.step), 0, series.length), hi = clamp(Math.ceil(to / series.step), lo, series.length);
    const bins = Math.max(50, Math.floor((right - LEFT) / 2)), box = part => ({ left: LEFT, right, ...part });
    if (this.curves) drawFrame(context, box(this.curves));
    context.save(); context.beginPath(); context.rect(LEFT, 0, right - LEFT, this.tall); context.clip();
    if (this.curves) {
      drawHatch(context, this.curves, series, cx, lo, hi);
      for (const name of [this.owner.dominance && "dominance", "arousal", "valence"].filter(Boolean)) drawCurve(context, this.curves, series[name], name === "dominance" ? null : series[`${name}_std`], cx, lo, hi, bins, { name, weight: name === "dominance" ? 2.2 : 2 });
      drawEpisodes(context, box(this.strip), this.episodes, ms => this.x(ms, width));
    }
    drawActivity(context, box(this.activity), series, cx, lo, hi);
    if (this.loud) drawLoudness(context, this.loud, series, cx, lo, hi, bins);
    drawAlerts(context, this.alerts, this.time.top, ms => this.x(ms, width));
    context.restore();
    if (this.loud) { context.font = "11px system-ui, sans-serif"; context.fillStyle = colour("soft"); context.textAlign = "right"; context.fillText("0", LEFT - 8, this.loud.top + 9); context.fillText("−60", LEFT - 8, this.loud.top + 37); }
    const begin = series.from ?? 0; // what runs is seen through a window that moves
    drawTime(context, box(this.time), from + begin, to + begin, ms => this.x(ms - begin, width));
  }
  mark(context, width) {
    const { now } = this.owner, x = now === null ? -1 : this.x(now, width), line = (at, name, w) => { context.strokeStyle = colour(name); context.lineWidth = w; context.beginPath(); context.moveTo(at, 0); context.lineTo(at, this.time.top + 4); context.stroke(); };
    if (this.brush) { const [a, b] = this.brush; context.globalAlpha = .15; context.fillStyle = colour("accent"); context.fillRect(Math.min(a, b), 0, Math.abs(b - a), this.time.top); context.globalAlpha = 1; }
    if (this.cross !== undefined) line(this.cross, "faint", 1);
    if (x >= LEFT - 1 && x <= width - RIGHT + 1) { line(x, "ink", 1.5); context.fillStyle = colour("ink"); context.beginPath(); context.arc(x, 3, 3, 0, 7); context.fill(); }
  }
  at(ms) {
    this.over.invalidate();
    this.el.setAttribute("aria-valuenow", Math.round(ms / 1000));
    if (document.activeElement === this.el) this.el.setAttribute("aria-valuetext", this.words(ms).join(", "));
  }
  again() { this.under.invalidate(); this.over.invalidate(); }

  // What there is at a moment, line by line.
  words(ms) {
    const { series } = this, i = series.cell(ms), lines = [clock(i * series.step + (series.from ?? 0), true)];
    const episode = this.episodes.find(e => e.start_ms <= ms && ms < e.end_ms);
    if (episode) lines.push(`${word(episode.emotion)}, ${clock(episode.start_ms)} to ${clock(episode.end_ms)}, ${percent(episode.confidence)} sure`);
    for (const a of this.alerts) if (a.start_ms <= ms && ms < a.end_ms) lines.push(`alert: ${a.rule}`);
    for (const name of ["valence", "arousal", this.owner.dominance && "dominance"].filter(Boolean)) if (known(series[name][i])) lines.push(`${name} ${signed(series[name][i])} ± ${known(series[`${name}_std`][i]) ? series[`${name}_std`][i].toFixed(2) : "–"}`);
    if (series.reason[i]) lines.push(`no estimate: ${reasonWords(series.reason[i])}`);
    const heard = [activityWords(series.activity[i]), series.loudness_lufs[i] > -70 ? lufs(series.loudness_lufs[i]) : ""].filter(Boolean).join(", ");
    if (heard) lines.push(heard);
    return lines;
  }
  pointer() {
    let down = null;
    const place = e => clamp(e.clientX - this.el.getBoundingClientRect().left, LEFT, this.right(this.under.width)), el = this.el;
    el.addEventListener("pointerdown", e => { if (!e.button) { down = place(e); el.setPointerCapture(e.pointerId); } });
    el.addEventListener("pointermove", e => {
      this.cross = place(e); this.brush = down !== null && Math.abs(down - this.cross) > 12 ? [down, this.cross] : null;
      this.over.invalidate(); tip(e, this.words(this.ms(this.cross)));
    });
    el.addEventListener("pointerup", e => {
      if (down === null) return;
      const at = place(e), from = this.ms(Math.min(down, at)), to = this.ms(Math.max(down, at)), far = Math.abs(at - down);
      down = this.brush = null;
      if (far > 12 && e.pointerType !== "touch") this.owner.zoom(from, to); else this.owner.seek(this.ms(at));
    });
    el.addEventListener("pointerleave", () => { this.cross = undefined; this.over.invalidate(); tip(null); });
    el.addEventListener("pointercancel", () => { down = this.brush = null; });
    el.addEventListener("dblclick", () => this.owner.zoom(0, this.owner.duration));
    el.addEventListener("focus", () => el.setAttribute("aria-valuetext", this.words(this.owner.now).join(", ")));
  }
}
