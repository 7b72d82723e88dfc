// How things are said: numbers, times, emotions, reasons.

const WORDS = { Q1: "happy", Q2: "tense", Q3: "sad", Q4: "calm" };
const COLOURS = { happy: "happiness", tense: "anger", sad: "sadness", Q1: "happiness", Q2: "anger", Q3: "sadness", Q4: "calm" };
export const EMOTIONS = ["neutral", "calm", "happiness", "sadness", "anger", "fear", "disgust", "surprise", "boredom"];
export const QUADRANTS = [["Q1", "happy: pleasant, lively"], ["Q2", "tense: unpleasant, lively"], ["Q3", "sad: unpleasant, still"], ["Q4", "calm: pleasant, still"]];
const REASONS = {
  silence: "silence", other: "no speech or music here", role: "not estimated for this role",
  speech: "speech, no music", music: "music, no speech", gap: "nothing was received",
};
const ACTIVITY = { speech: "speech", music: "music", "speech+music": "speech and music", silence: "silence", other: "other sound" };

export const severity = name => ["critical", "warning"].includes(name) ? name : "info"; // a colour, too
export const word = emotion => WORDS[emotion] ?? emotion ?? "–";
export const hue = emotion => { const name = COLOURS[emotion] ?? emotion; return EMOTIONS.includes(name) ? name : "neutral"; };
export const reasonWords = reason => REASONS[reason] ?? reason;
export const activityWords = activity => ACTIVITY[activity] ?? activity;
export const known = x => x !== null && x !== undefined && !Number.isNaN(x);
export const signed = (x, digits = 2) => {
  if (!known(x)) return "–";
  const size = Math.abs(x).toFixed(digits);
  return (x < 0 && Number(size) ? "−" : "+") + size;
};
export const percent = x => `${Math.round(100 * x)} %`;
export const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
export const count = n => n.toLocaleString("en").replaceAll(",", " ");
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

export function clock(ms, tenths) {
  const t = Math.max(0, Math.floor(ms / 100)), two = n => String(n).padStart(2, "0");
  const hours = Math.floor(t / 36000), min = Math.floor(t / 600) % 60, s = Math.floor(t / 10) % 60;
  return (hours ? `${hours}:${two(min)}` : `${min}`) + `:${two(s)}` + (tenths ? `.${t % 10}` : "");
}
export const lasting = ms => ms < 100_000 ? `${Math.round(ms / 1000)} s` : `${(ms / 60_000).toFixed(1)} min`;
export const fileName = id => id.split(/[\\/]/).pop() || id;
export const nameOf = item => item.title || fileName(item.media_id);
export const lufs = x => known(x) ? `${x.toFixed(1)} LUFS`.replace("-", "−") : "–";
