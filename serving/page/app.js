// Starts the page: theme, key, views.

import { forgetMe, me, post, remove } from "./api.js";
import { $, h } from "./dom.js";
import { forgetColours } from "./draw/palette.js";
import { draw, start } from "./router.js";

const THEMES = ["auto", "light", "dark"];
const root = document.documentElement;

function theme() {
  const button = $("#theme"), present = () => root.dataset.theme ?? "auto";
  const name = () => { button.textContent = { auto: "◐ Auto", light: "○ Light", dark: "● Dark" }[present()]; button.setAttribute("aria-label", `Colours: ${present()}. Press to change`); };
  button.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(present()) + 1) % 3];
    if (next === "auto") delete root.dataset.theme; else root.dataset.theme = next;
    try { localStorage.setItem("moodstream-theme", next); } catch { /* storage is forbidden: for this page only, then */ }
    name(); forgetColours();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", forgetColours);
  name();
}

let asking = false;
function askForKey() {
  if (asking) return;
  asking = true;
  const field = h("input", { type: "password", id: "key", autocomplete: "current-password", required: true });
  const said = h("p", { class: "small", role: "alert" });
  const enter = async event => {
    event.preventDefault();
    try { await post("session", { key: field.value }); }
    catch (error) { said.textContent = `${error.message}. ${error.todo || error.detail}`; field.select(); return; }
    asking = false; forgetMe(); await draw(); account();
  };
  document.title = "Key · moodstream";
  $("#main").dataset.view = "key";
  $("#main").replaceChildren(h("section", { class: "card entrance" }, h("h1", { tabindex: -1 }, "Who is there?"),
    h("p", { class: "soft" }, "This service wants a key. Whoever runs it hands them out; the page keeps yours in a cookie that scripts cannot read."),
    h("form", { class: "stack", onsubmit: enter }, h("label", { class: "field", for: "key" }, "Key", field), said, h("button", { class: "main" }, "Come in"))));
  field.focus();
}

async function account() {
  let who;
  try { who = await me(); } catch { return; }
  const leave = $("#leave");
  leave.hidden = !who.name || who.name.startsWith("anyone");
  leave.title = `Here as ${who.name}`;
  leave.onclick = async () => { await remove("session"); forgetMe(); leave.hidden = true; askForKey(); };
}

addEventListener("needs-key", askForKey);
theme();
await start();
account();
