// The sound of a media and the moment it is at. Where there is no sound the moment can still be moved.

import { address } from "../api.js";
import { h } from "../dom.js";
import { soon } from "../draw/surface.js";
import { clamp, clock } from "../words.js";
import { message } from "./message.js";

const ICONS = { play: "M4 2l12 7-12 7z", pause: "M3 2h4v14H3zm8 0h4v14h-4z" };

export class Player {
  // `moved(ms)` is called whenever the moment changes.
  constructor(item, moved, signal) {
    this.duration = item.duration_ms; this.moved = moved; this.now = 0;
    this.source = address("sound", { media: item.media_id, take: item.take || "" });
    this.media = h(item.kind === "video" ? "video" : "audio", { preload: "metadata", playsinline: true, src: this.source });
    this.icon = h("path", { d: ICONS.play });
    this.button = h("button", { class: "play", type: "button", "aria-label": "Play", onclick: () => this.toggle() }, h("svg", { viewBox: "0 0 18 18", "aria-hidden": "true" }, this.icon));
    this.clock = h("b", {}, clock(0));
    this.time = h("span", { class: "time num" }, this.clock, ` / ${clock(this.duration)}`);
    this.note = h("div", { hidden: true });
    for (const name of ["play", "pause", "ended"]) this.media.addEventListener(name, () => this.state());
    this.media.addEventListener("seeked", () => { if (this.media.paused) this.at(this.media.currentTime * 1000); });
    this.media.addEventListener("error", () => this.silent());
    signal.addEventListener("abort", () => { this.media.pause(); this.media.removeAttribute("src"); this.media.load(); });
  }
  get playing() { return !this.media.paused; }
  toggle() { if (this.button.disabled) return; if (this.playing) this.media.pause(); else this.media.play().catch(error => { if (error.name !== "AbortError") this.silent(); }); }
  state() {
    this.icon.setAttribute("d", this.playing ? ICONS.pause : ICONS.play);
    this.button.setAttribute("aria-label", this.playing ? "Pause" : "Play");
    if (this.playing) this.run();
  }
  run() { this.at(this.media.currentTime * 1000); if (this.playing) soon(() => this.run()); }
  seek(ms) {
    this.at(clamp(ms, 0, this.duration));
    if (this.media.readyState > 0) this.media.currentTime = this.now / 1000; else this.media.addEventListener("loadedmetadata", () => { this.media.currentTime = this.now / 1000; }, { once: true });
  }
  at(ms) { this.now = ms; this.clock.textContent = clock(ms); this.moved(ms); }
  // Says why there is no sound, in the service's own words.
  async silent() {
    if (this.button.disabled || !this.media.getAttribute("src")) return;
    this.button.disabled = true;
    const answer = await fetch(this.source, { headers: { range: "bytes=0-0" } }).catch(() => null);
    const said = answer && !answer.ok ? await answer.json().catch(() => ({})) : { title: "This browser cannot play it" };
    this.note.replaceChildren(message(said.title || "No sound here", said.detail, said.what_to_do));
    this.note.hidden = false;
  }
}
