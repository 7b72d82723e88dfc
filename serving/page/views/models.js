// The cards of what is installed: what each model is for, how it was measured, where it fails, whose data it learned from.

import { get } from "../api.js";
import { h } from "../dom.js";
import { caution } from "../parts/caution.js";
import { message, trouble } from "../parts/message.js";
import { plural } from "../words.js";

export const title = "Models";
const FIRST = 8; // measures shown at once

const figures = value => { const [v, low, high] = [value].flat(); return typeof v !== "number" ? String(v) : v.toFixed(3) + (low === undefined ? "" : ` [${low.toFixed(3)}, ${high.toFixed(3)}]`); };
const points = items => h("ul", {}, items.map(text => h("li", {}, text)));
const list = (name, items) => items.length > 0 && h("section", {}, h("h3", {}, name), points(items.slice(0, 4)), items.length > 4 && h("details", {}, h("summary", {}, `${items.length - 4} more`), points(items.slice(4))));

function measures(name, all) {
  const rows = Object.entries(all ?? {});
  if (!rows.length) return null;
  const body = part => h("table", { class: "data" }, h("thead", { class: "hear" }, h("tr", {}, h("th", { scope: "col" }, "measure"), h("th", { scope: "col" }, "value with its 95 % interval"))), h("tbody", {}, part.map(([k, v]) => h("tr", {}, h("th", { scope: "row" }, k), h("td", {}, figures(v))))));
  return h("section", {}, h("h3", {}, name), body(rows.slice(0, FIRST)), rows.length > FIRST && h("details", {}, h("summary", {}, `${plural(rows.length - FIRST, "more measure")}`), body(rows.slice(FIRST))));
}

function card(m) {
  const corpora = Array.isArray(m.corpora) ? m.corpora.map(String) : Object.entries(m.corpora ?? {}).map(([name, licence]) => `${name}: ${licence}`);
  const knows = [...(m.dimensions ?? []), ...(m.labels ?? [])];
  const head = [m.task && `task: ${m.task}`, m.past_s !== undefined && m.lookahead_s !== undefined && `hears ${m.past_s.toFixed(1)} s before and ${m.lookahead_s.toFixed(1)} s after a half second`].filter(Boolean).join(" · ");
  return h("article", { class: "card model", "aria-label": m.name }, h("h2", {}, m.name, " ", h("span", { class: "soft small" }, m.version)), h("p", { class: "soft small" }, head), knows.length > 0 && h("div", { class: "moods" }, knows.map(k => h("span", {}, k))),
    measures("Measured", m.metrics ?? m.measures), m.folds && h("p", { class: "small soft" }, m.folds), measures("Corpora left out of training", m.cross), list("Where it fails", m.limits ?? []), list("Learned from", corpora), m.licence && h("section", {}, h("h3", {}, "Licence"), h("p", { class: "small" }, m.licence)));
}

export async function show(main, params, signal) {
  main.append(h("div", { class: "head" }, h("h1", { tabindex: -1 }, "Models"), h("p", {}, "what is installed, and how far to trust it")), caution("models"));
  try {
    const found = await get("models", {}, signal), models = found.models ?? found.cards ?? found.items ?? found;
    main.append(models.length ? h("div", { class: "models" }, models.map(card)) : message("No models are installed"));
  } catch (error) { main.append(trouble(error) ?? ""); }
}
