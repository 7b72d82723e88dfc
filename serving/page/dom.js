// Small helpers around the document. Text only ever becomes text nodes: a title like <script> stays a title.

const SVG = new Set(["svg", "path", "line", "rect", "circle"]);

// h("p", {class: "soft", onclick: f, style: {"--c": colour}}, "text", child, …); null and false are left out.
export function h(tag, attributes = {}, ...children) {
  const el = SVG.has(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) el.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [property, v] of Object.entries(value)) el.style.setProperty(property, v);
    else el.setAttribute(name, value === true ? "" : value);
  }
  el.append(...children.flat(Infinity).filter(c => c !== null && c !== undefined && c !== false));
  return el;
}

export const $ = selector => document.querySelector(selector);

// For screen readers. Said at most every two seconds, so that a storm of news stays a sentence.
const waiting = [];
let timer = 0;
export function announce(text) {
  waiting.push(text);
  if (timer) return;
  const say = () => {
    const more = waiting.length - 3;
    $("#polite").textContent = waiting.splice(0).slice(0, 3).join(". ") + (more > 0 ? `, and ${more} more` : "");
    timer = setTimeout(() => { timer = 0; if (waiting.length) say(); }, 2000);
  };
  timer = setTimeout(say, 50);
}

// Beside the pointer: lines of text, the first one bold.
export function tip(event, lines = null) {
  const el = $("#tip");
  if (!lines) { el.hidden = true; return; }
  el.replaceChildren(...lines.map((line, i) => h(i ? "div" : "b", {}, line)));
  el.hidden = false;
  const w = el.offsetWidth, tall = el.offsetHeight, x = event.clientX + 16 + w > innerWidth ? event.clientX - w - 16 : event.clientX + 16;
  el.style.transform = `translate(${Math.max(4, x)}px, ${Math.min(Math.max(8, event.clientY - tall / 2), innerHeight - tall - 8)}px)`;
}

// Calls f once things have been quiet for a while.
export function settled(f, ms) {
  let id = 0;
  return (...args) => { clearTimeout(id); id = setTimeout(() => f(...args), ms); };
}
