// What to say when something is not there: what happened, and what to do.

import { h } from "../dom.js";

export function message(title, detail = "", todo = "", bad = false) {
  return h("div", { class: bad ? "message bad" : "message", role: bad ? "alert" : null }, h("b", {}, title), detail && h("p", { class: "soft small" }, detail), todo && h("p", { class: "small" }, todo));
}

// A Problem of the service, or nothing when the view was left meanwhile. Bugs of the page go on as errors.
export function trouble(error) {
  if (error.name === "AbortError") return null;
  if (error.status === undefined) throw error;
  return message(error.message, error.detail, error.todo, true);
}
