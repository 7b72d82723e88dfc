// What the summary of a channel says.

import { h } from "../dom.js";
import { hue, known, lasting, lufs, percent, signed, word } from "../words.js";

export function facts(summary) {
  if (!summary) return null;
  const rows = [], row = (name, text) => rows.push(h("dt", {}, name), h("dd", {}, text)), u = summary;
  for (const name of ["valence", "arousal"]) {
    if (!known(u[`${name}_mean`])) continue;
    const slope = u[`${name}_slope`];
    row(name, signed(u[`${name}_mean`]) + (known(slope) ? Math.abs(slope) < .1 ? ", level" : `, ${slope > 0 ? "rises" : "falls"} ${Math.abs(slope).toFixed(2)}` : ""));
  }
  if (known(u.estimated_share)) row("estimated", percent(u.estimated_share));
  if (known(u.loudness_lufs_mean)) row("loudness", lufs(u.loudness_lufs_mean));
  if (known(u.talk_ms)) row("talk time", lasting(u.talk_ms));
  if (known(u.non_talk_ms)) row("nobody talks", lasting(u.non_talk_ms));
  if (known(u.interruptions)) row("interruptions", u.interruptions);
  if (known(u.overlap_ms)) row("talks over the other", lasting(u.overlap_ms));
  if (u.sentiment_by_quarter) row("by quarter", u.sentiment_by_quarter.map(q => signed(q, 1)).join(" "));
  if (u.key) row("key", u.key);
  if (u.emotions_for === "all") row("emotions for", `all sides${u.responsible ? `, answered for by ${u.responsible}` : ""}`);
  return rows.length ? h("dl", { class: "facts" }, rows) : null;
}

// Words for the whole, the dominant one first.
export function moods(summary) {
  if (!summary) return null;
  const words = [...new Set([...(summary.moods ?? []), summary.profile, summary.dynamics].filter(Boolean))];
  if (!summary.emotion && !words.length) return null;
  return h("div", { class: "moods" }, summary.emotion && h("span", { class: "lead" }, h("span", { class: "chip" }, h("i", { style: { "--c": `var(--${hue(summary.emotion)})` } }), word(summary.emotion))), words.filter(w => w !== word(summary.emotion)).map(w => h("span", {}, w.replaceAll("_", " "))), shares(summary));
}

function shares(summary) {
  const found = Object.entries(summary.emotion_shares ?? {}).filter(([, v]) => v >= .02).sort((a, b) => b[1] - a[1]).slice(0, 5);
  return found.length > 1 && h("span", { class: "shares" }, found.map(([name, v]) => h("span", { class: "chip small" }, h("i", { style: { "--c": `var(--${hue(name)})` } }), `${word(name)} ${percent(v)}`)));
}
