// One view at a time, named by the part of the address behind "#/", so that every view can be sent to somebody.
//
// A view is a module with `title` and `show(main, params, signal)`; the signal is aborted when another view comes.

import { $, tip } from "./dom.js";

const VIEWS = {
  catalogue: () => import("./views/catalogue.js"),
  track: () => import("./views/track.js"),
  search: () => import("./views/search.js"),
  live: () => import("./views/live.js"),
  microphone: () => import("./views/microphone.js"),
  models: () => import("./views/models.js"),
};

export function link(name, params = {}) {
  const query = new URLSearchParams(Object.entries(params).filter(([, v]) => v !== "" && v !== null && v !== undefined)).toString();
  return `#/${name}${query ? `?${query}` : ""}`;
}

export function go(name, params) { location.hash = link(name, params); }

// Writes the state of the present view into the address, without drawing it anew.
export function remember(name, params) { history.replaceState(null, "", link(name, params)); }

let leaving = new AbortController(), shown = false;

export async function draw() {
  const hash = location.hash;
  if (hash && !hash.startsWith("#/")) return; // a jump within the page
  const [path, query = ""] = hash.slice(2).split(/\?(.*)/s);
  const name = path in VIEWS ? path : "catalogue";
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving, main = $("#main");
  for (const a of document.querySelectorAll(".bar nav a")) {
    if (a.getAttribute("href") === `#/${name === "track" ? "catalogue" : name}`) a.setAttribute("aria-current", "page");
    else a.removeAttribute("aria-current");
  }
  const view = await VIEWS[name]();
  if (signal.aborted) return;
  tip(null);
  main.replaceChildren();
  main.dataset.view = name;
  document.title = `${view.title} · moodstream`;
  await view.show(main, new URLSearchParams(query), signal);
  if (signal.aborted) return;
  if (shown) { scrollTo(0, 0); main.querySelector("h1")?.focus({ preventScroll: true }); }
  shown = true;
}

export function start() { addEventListener("hashchange", draw); return draw(); }
