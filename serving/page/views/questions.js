// The questions with a name, as sentences with blanks.

import { h } from "../dom.js";
import { QUADRANTS, word } from "../words.js";

const PARTS = [["0.667,1", "the last third"], ["0.333,0.667", "the middle third"], ["0,0.333", "the first third"], ["0.5,1", "the second half"], ["0,0.5", "the first half"], ["0,1", "the whole track"]];
const number = (name, value, attributes) => h("input", { type: "number", name, value, required: true, ...attributes });
const pick = (name, options, label) => h("select", { name, "aria-label": label }, options.map(([v, t]) => h("option", { value: v }, t)));
const value = (form, name) => Number(form.elements[name].value);

const trend = form => { const [from, to] = form.elements.part.value.split(",").map(Number); return { dimension: form.elements.dimension.value, from, to }; };
const trendBlanks = verb => [pick("dimension", [["arousal", "Arousal"], ["valence", "Valence"]], "dimension"), ` ${verb} in `, pick("part", PARTS, "part of the track")];
const trendFill = (form, asked) => { form.elements.dimension.value = asked.dimension; form.elements.part.value = `${asked.from},${asked.to}`; };

// By name: the sentence, what is asked of the service, and how an address fills the blanks.
export const QUESTIONS = {
  rises: { blanks: () => trendBlanks("rises"), body: trend, fill: trendFill },
  falls: { blanks: () => trendBlanks("falls"), body: trend, fill: trendFill },
  near: {
    blanks: () => ["At least ", number("seconds", 30, { min: 1, "aria-label": "seconds" }), " s near valence ", number("valence", .4, { min: -1, max: 1, step: .05, "aria-label": "valence" }), " and arousal ", number("arousal", .4, { min: -1, max: 1, step: .05, "aria-label": "arousal" }), ", within ", number("radius", .25, { min: .05, max: 1, step: .05, "aria-label": "radius" })],
    body: form => Object.fromEntries(["valence", "arousal", "seconds", "radius"].map(name => [name, value(form, name)])),
  },
  moved_by: { blanks: () => ["Most moved by second ", number("second", 120, { min: 1, "aria-label": "second" })], body: form => ({ second: value(form, "second") }) },
  quadrant: {
    blanks: () => [pick("name", QUADRANTS.map(([q]) => [q, word(q)]), "quadrant"), " for at least ", number("percent", 50, { min: 1, max: 100, "aria-label": "per cent" }), " % of the time"],
    body: form => ({ name: form.elements.name.value, share: value(form, "percent") / 100 }),
    fill: (form, asked) => { form.elements.name.value = asked.name; form.elements.percent.value = Math.round(100 * asked.share); },
  },
};

function fill(name, form, asked) {
  const { fill: own } = QUESTIONS[name];
  if (own) own(form, asked); else for (const [k, v] of Object.entries(asked)) if (form.elements[k]) form.elements[k].value = v;
}

// `ask({rises: {…}})` when somebody asks.
export function questionForm(params, ask) {
  const forms = Object.entries(QUESTIONS).map(([name, { blanks, body }]) => h("form", { class: "question", "data-name": name, onsubmit: e => { e.preventDefault(); for (const f of forms) f.classList.toggle("asked", f === e.target); ask({ [name]: body(e.target) }); } }, h("p", {}, blanks()), h("button", { "aria-label": `Find: ${name.replace("_", " ")}` }, "Find")));
  const name = params.get("ask");
  if (name in QUESTIONS) {
    const form = forms.find(f => f.dataset.name === name);
    try { if (params.get("with")) fill(name, form, JSON.parse(params.get("with"))); } catch (error) { if (!(error instanceof SyntaxError)) throw error; }
    queueMicrotask(() => form.requestSubmit());
  }
  return h("div", { class: "questions" }, forms);
}
