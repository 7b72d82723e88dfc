// What the lines are, in the same words everywhere.

import { h } from "../dom.js";

export const stroke = (cls, text) => h("span", { class: "key" }, h("svg", { viewBox: "0 0 24 10", "aria-hidden": "true" }, h("path", { d: "M1 5h22", class: cls })), text);
export const box = (colour, text) => h("span", { class: "key" }, h("i", { style: { "--c": `var(--${colour})` } }), text);
export const valence = () => stroke("k-valence", "valence: unpleasant to pleasant");
export const arousal = () => stroke("k-arousal", "arousal: still to excited");
export const dominance = () => stroke("k-dominance", "dominance");
export const keys = () => [valence(), arousal()];
