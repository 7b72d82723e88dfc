// The board: a card a call, alerts first. Events come four times a second; only cards on the screen are drawn, in one frame.

import { address, get, me } from "../api.js";
import { announce, h } from "../dom.js";
import { drawMinute } from "../draw/rolling.js";
import { Surface, soon } from "../draw/surface.js";
import { colour } from "../draw/palette.js";
import { Calls } from "../parts/calls.js";
import { caution } from "../parts/caution.js";
import { closeUp } from "../parts/closeup.js";
import { keys } from "../parts/legend.js";
import { message, trouble } from "../parts/message.js";
import { asTable, table } from "../parts/table.js";
import { Virtual } from "../parts/virtual.js";
import { clock, hue, plural, signed, word } from "../words.js";

export const title = "Live";

const CARD = 176, LANE = 46, LABEL = 68;

function makeCard(choose) {
  const p = { name: h("b", { class: "name" }), time: h("span", { class: "num soft" }), badge: h("span", { class: "badge alert" }), dot: h("i"), sounds: h("span"), now: h("span", { class: "num soft small", title: "valence and arousal, mean of the last ten seconds" }) };
  const el = h("article", { class: "call", role: "option", "aria-selected": "false", onclick: () => el.call && choose(el.call) }, h("div", { class: "call-head" }, p.name, p.time), h("div", { class: "call-line" }, p.badge, h("span", { class: "chip small" }, p.dot, p.sounds), p.now));
  p.surface = new Surface((c, w, tall) => el.call && drawCard(c, w, tall, el.call), { height: 2 * LANE + 6, "aria-hidden": "true" });
  el.append(p.surface.canvas);
  el.parts = p;
  return el;
}

function drawCard(context, width, tall, call) {
  const end = Math.max(...[...call.tracks.values()].map(t => t.last), 0), tracks = [...call.tracks.values()].sort((a, b) => Number(b.told) - Number(a.told) || (a.channel < b.channel ? -1 : 1)).slice(0, 2);
  tracks.forEach((track, k) => {
    const top = k * (LANE + 6), high = tracks.length > 1 ? LANE : tall;
    context.fillStyle = colour("soft"); context.font = "12px system-ui, sans-serif"; context.textAlign = "left";
    context.fillText(track.role ?? track.channel, 0, top + high / 2 + 1);
    drawMinute(context, { left: LABEL, top, width: width - LABEL, tall: high }, track, end);
  });
}

function tell(el) {
  const { call, parts: p } = el, alert = call.open, heard = call.heard;
  const set = (node, text) => { if (node.textContent !== text) node.textContent = text; };
  set(p.name, call.name); set(p.time, call.closed ? `over at ${clock(call.position)}` : clock(call.position));
  p.badge.hidden = !alert; set(p.badge, alert?.rule ?? ""); p.badge.title = alert ? `${alert.rule} at ${clock(alert.start_ms)}` : "";
  el.classList.toggle("ringing", Boolean(alert)); el.classList.toggle("over", Boolean(call.closed)); el.dataset.severity = alert?.severity ?? "";
  const emotion = call.episode?.emotion; p.dot.hidden = !emotion; p.dot.style.setProperty("--c", `var(--${hue(emotion)})`); set(p.sounds, emotion ? word(emotion) : "");
  const v = heard?.recent("valence", 20) ?? NaN, a = heard?.recent("arousal", 20) ?? NaN;
  set(p.now, Number.isNaN(v) ? "" : `v ${signed(v, 1)}  a ${signed(a, 1)}`);
  el.setAttribute("aria-label", `Call ${call.name}, ${clock(call.position)}${alert ? `, alert: ${alert.rule}` : ""}${Number.isNaN(v) ? "" : `, last ten seconds valence ${signed(v, 1)}, arousal ${signed(a, 1)}`}`);
}

export async function show(main, params, signal) {
  const told = h("p", { class: "num", role: "status" }, "connecting"), state = h("span", { class: "state" }), problem = h("div"), detail = h("div");
  main.append(h("div", { class: "head" }, h("h1", { tabindex: -1 }, "Live"), told, state), problem);
  try {
    if (!(await me()).live) { problem.append(message("No live calls here", "The service was started without a broker.", "moodstream serve --lake LAKE --bootstrap HOST:PORT, beside `moodstream live`.")); told.textContent = ""; main.append(caution("live")); return; }
  } catch (error) { const said = trouble(error); if (said) problem.append(said); told.textContent = ""; return; }

  const calls = new Calls(), find = h("input", { type: "search", id: "find", placeholder: "name of a call", oninput: () => order(true) }), ringing = h("input", { type: "checkbox", id: "ringing", onchange: () => order(true) });
  const board = h("div", { class: "board", role: "listbox", tabindex: 0, "aria-label": "Calls, alerts first. Arrow keys choose, Enter looks closer" });
  let shown = [], chosen = null, at = -1, held = false, close = null;
  const mark = el => { el.classList.toggle("chosen", el.call === chosen); el.setAttribute("aria-selected", el.call === chosen); };
  const list = new Virtual(board, { height: CARD, width: 292, gap: 12, pad: 1, rowRole: "presentation", make: () => makeCard(choose), bind: (el, i) => {
    el.call = shown[i]; if (!el.call) return;
    el.id = `call-${i}`; el.setAttribute("aria-setsize", shown.length); el.setAttribute("aria-posinset", i + 1); mark(el); el.classList.toggle("cursor", i === at);
    tell(el); el.parts.surface.invalidate();
  } });

  // The order stays while somebody points at the board, so that no card runs away from under the hand.
  board.addEventListener("pointerenter", () => { held = true; }); board.addEventListener("pointerleave", () => { held = false; });
  function order(now = false) {
    if ((held && !now) || signal.aborted) return;
    calls.reorder = false;
    const q = find.value.toLowerCase(), wanted = call => (!q || call.name.toLowerCase().includes(q)) && (!ringing.checked || call.open);
    const next = calls.sorted(wanted);
    if (next.length !== shown.length || next.some((call, i) => call !== shown[i])) { shown = next; list.count(shown.length); list.refresh(); }
    const running = [...calls.all.values()].filter(c => !c.closed), alarms = running.filter(c => c.open).length;
    told.textContent = `${plural(running.length, "call")}, ${alarms ? plural(alarms, "with an alert", "with alerts") : "no alerts"}`;
  }
  const clockwork = setInterval(() => { order(); for (const [, el] of list.used) if (el.call) tell(el); }, 1000);

  let due = new Set();
  const paint = () => { for (const [, el] of list.used) if (due.has(el.call)) el.parts.surface.render(); if (close && due.has(close.call)) close.again(); due = new Set(); };
  const take = (data, options) => {
    for (const call of calls.put(data, options)) due.add(call);
    soon(paint);
    for (const a of calls.rang.splice(0)) announce(`Alert: ${a.rule}, call ${a.call.name}, at ${clock(a.start_ms)}`);
    if (calls.reorder) order();
  };
  function choose(call) {
    chosen = call; close?.leave();
    close = call && closeUp(call, () => choose(null));
    detail.replaceChildren(...(close ? [close.el] : []));
    for (const [, el] of list.used) mark(el);
    if (close) { close.el.querySelector("h2").focus({ preventScroll: true }); close.el.scrollIntoView({ block: "nearest" }); } else board.focus({ preventScroll: true });
  }
  board.addEventListener("keydown", e => {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: list.columns, ArrowUp: -list.columns, Home: -shown.length, End: shown.length }[e.key];
    if (step !== undefined) {
      e.preventDefault(); held = true; list.at(at)?.classList.remove("cursor");
      at = Math.max(0, Math.min(at + step, shown.length - 1)); list.reveal(at); list.at(at)?.classList.add("cursor");
      board.setAttribute("aria-activedescendant", `call-${at}`); announce(list.at(at)?.getAttribute("aria-label") ?? "");
    } else if (e.key === "Enter" && shown[at]) choose(shown[at]); else if (e.key === "Escape") { held = false; choose(null); }
  });
  board.addEventListener("blur", () => { held = false; });

  main.append(h("div", { class: "line filters" }, h("label", { class: "line tight", for: "find" }, "Find", find), h("label", { class: "line tight", for: "ringing" }, ringing, "only with alerts"), h("div", { class: "legend" }, keys())), detail, board,
    asTable("Calls as a table", () => table(`as of ${new Date().toLocaleTimeString()}, the first 200`, ["call", "length", "sounds", "valence, 10 s", "arousal, 10 s", "alert"], shown.slice(0, 200).map(c => [c.name, clock(c.position), word(c.episode?.emotion), signed(c.heard?.recent("valence", 20)), signed(c.heard?.recent("arousal", 20)), c.open ? `${c.open.rule} at ${clock(c.open.start_ms)}` : ""]))), caution("live"));

  const mode = (text, cls) => { state.textContent = text; state.className = `state ${cls}`; };
  const source = new EventSource(address("live", { media: params.get("media") }));
  const listen = (name, f) => source.addEventListener(name, e => { if (!signal.aborted) f(JSON.parse(e.data)); });
  listen("snapshot", data => { calls.clear(); take(data, { quiet: true }); order(true); });
  listen("reset", data => { calls.clear(); take(data, { quiet: true }); order(true); });
  listen("rows", data => take(data));
  source.addEventListener("open", () => { problem.replaceChildren(); mode("connected", "good"); if (told.textContent === "connecting") order(true); });
  source.addEventListener("error", async () => {
    mode("connection lost, trying again", "bad");
    if (source.readyState !== EventSource.CLOSED || signal.aborted) return;
    try { await get("live/calls", {}, signal); } catch (error) { const said = trouble(error); if (said) problem.replaceChildren(said); }
  });
  signal.addEventListener("abort", () => { source.close(); clearInterval(clockwork); close?.leave(); });
}
