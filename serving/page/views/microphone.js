// One's own voice, live: the microphone's sound goes to the service as packets, rows come back. Nothing is stored.

import { me, socket } from "../api.js";
import { announce, h } from "../dom.js";
import { soon } from "../draw/surface.js";
import { Calls } from "../parts/calls.js";
import { caution } from "../parts/caution.js";
import { Sides } from "../parts/closeup.js";
import { keys } from "../parts/legend.js";
import { message, trouble } from "../parts/message.js";
import { activityWords, clock, known, reasonWords, signed } from "../words.js";

export const title = "Microphone";
const RATE = 16_000;

// The microphone as packets; `packet(bytes, peak, rate)` ten times a second until `stop()`, which waits for the last one.
async function listen(packet) {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
  const quit = () => { for (const track of stream.getTracks()) track.stop(); };
  let audio, source;
  try {
    try { audio = new AudioContext({ sampleRate: RATE }); source = audio.createMediaStreamSource(stream); }
    catch (error) { if (error.name !== "NotSupportedError") throw error; await audio?.close(); audio = new AudioContext(); source = audio.createMediaStreamSource(stream); }
    await audio.audioWorklet.addModule(new URL("../audio-packets.js", import.meta.url));
  } catch (error) { quit(); throw error; }
  const node = new AudioWorkletNode(audio, "packets", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
  let emptied = null;
  node.port.onmessage = ({ data }) => { if (data) packet(data.bytes, data.peak, audio.sampleRate); else emptied?.(); };
  source.connect(node);
  return { rate: audio.sampleRate, stop: async () => { await Promise.race([new Promise(done => { emptied = done; node.port.postMessage(0); }), new Promise(done => setTimeout(done, 500))]); quit(); await audio.close(); } };
}

const REFUSED = {
  NotAllowedError: ["The microphone is not allowed", "Allow it beside the address of this page, then press again."],
  NotFoundError: ["There is no microphone", "Plug one in, then press again."],
  NotReadableError: ["The microphone is taken", "Another program holds it; close that, then press again."],
};

export async function show(main, params, signal) {
  const button = h("button", { type: "button", class: "main listen" }, "Listen"), level = h("i"), status = h("p", { class: "num soft", role: "status" }, "Nothing is heard until you press the button."), problem = h("div"), sides = h("div", { class: "sides" }), numbers = h("p", { class: "numbers num" });
  let open = null;
  main.append(h("div", { class: "head" }, h("h1", { tabindex: -1 }, "Microphone"), h("p", {}, "how a voice sounds, as you speak")),
    h("section", { class: "card microphone" }, h("div", { class: "line" }, button, h("div", { class: "level", "aria-hidden": "true" }, level), status), problem, numbers, sides, h("div", { class: "legend" }, keys())), caution("microphone"));

  function tell(view) {
    const track = view.call?.heard;
    if (!track) return;
    view.sides ??= (sides.replaceChildren(), new Sides(view.call, 60));
    if (!view.sides.el.isConnected) sides.append(view.sides.el);
    view.sides.again();
    const reason = track.get("reason", track.last), v = track.recent("valence", 6), a = track.recent("arousal", 6);
    numbers.textContent = known(v) ? `valence ${signed(v)}   arousal ${signed(a)}` : reason ? `no estimate: ${reasonWords(reason)}` : activityWords(track.get("activity", track.last));
  }
  async function start() {
    problem.replaceChildren(); button.disabled = true; status.textContent = "asking for the microphone";
    const view = { calls: new Calls(), call: null, sent: 0, socket: null, waiting: [] };
    const send = bytes => { if (view.socket?.readyState === WebSocket.OPEN && view.socket.bufferedAmount < 1 << 20) view.socket.send(bytes); else if (!view.socket || view.socket.readyState === WebSocket.CONNECTING) view.waiting.push(bytes); };
    try { view.microphone = await listen((bytes, peak, rate) => { view.sent += bytes.byteLength / 2; level.style.transform = `scaleX(${Math.min(1, Math.sqrt(peak)).toFixed(3)})`; send(bytes); if (!view.ending) status.textContent = `listening, ${clock(view.sent / rate * 1000)}${!view.call && view.sent > 4 * rate ? "; the models are waking up" : ""}`; }); }
    catch (error) { const [what, todo] = REFUSED[error.name] ?? [`The microphone does not open (${error.name})`, error.message]; problem.replaceChildren(message(what, "", todo, true)); button.disabled = false; status.textContent = ""; return; }
    if (signal.aborted) { await view.microphone.stop(); return; }
    view.socket = socket("microphone", { content_type: `audio/L16;rate=${view.microphone.rate};channels=1` });
    view.socket.binaryType = "arraybuffer";
    view.socket.onopen = () => { for (const bytes of view.waiting.splice(0)) view.socket.send(bytes); };
    view.socket.onmessage = ({ data }) => {
      const event = JSON.parse(data);
      if (event.status >= 400) { view.said = event; return; }
      view.calls.put(event); view.call = view.calls.all.values().next().value; soon(() => tell(view));
    };
    view.socket.onclose = ({ code, reason }) => { if (code !== 1000 && !view.ended) { const said = view.said ?? {}; problem.replaceChildren(message(said.title ?? (code === 1006 ? "The service does not take this sound" : "The service stopped listening"), said.detail ?? reason, said.what_to_do ?? "", true)); } end(view); };
    open = view; button.disabled = false; button.textContent = "Stop"; button.setAttribute("aria-pressed", "true"); announce("listening");
  }
  async function stop(view) {
    if (view.ending) return;
    view.ending = true; button.disabled = true;
    await view.microphone.stop();
    if (view.socket.readyState === WebSocket.OPEN) view.socket.send(JSON.stringify({ final: true }));
    setTimeout(() => view.socket.close(1000), 20_000); // the service closes by itself, after the last rows
    status.textContent = "waiting for the last rows";
    if (view.socket.readyState > WebSocket.OPEN) end(view);
  }
  async function end(view) {
    if (view.ended) return;
    view.ended = true; open = null; level.style.transform = "scaleX(0)";
    if (!view.ending) await view.microphone.stop();
    button.textContent = "Listen again"; button.removeAttribute("aria-pressed"); button.disabled = false;
    status.textContent = view.sent ? `${clock(view.sent / view.microphone.rate * 1000)} heard, nothing kept` : ""; announce("stopped");
  }
  signal.addEventListener("abort", () => { if (open) { const { socket: s, microphone } = open; open.ended = true; open = null; s.close(1000); microphone.stop(); } });
  button.addEventListener("click", () => open ? stop(open) : start());
  if (!navigator.mediaDevices) { button.disabled = true; problem.append(message("No microphone here", "Browsers give it to https:// and to this machine only.", "Open the page as http://127.0.0.1:PORT, or put TLS before the service.")); return; }
  try { if ((await me()).microphone === false) { button.disabled = true; problem.append(message("No microphone here", "The service does not take sound.")); } } catch (error) { problem.append(trouble(error) ?? ""); }
}
