// Colours for canvases, from the style sheet's variables, looked up once a theme.

let known = new Map();

export function colour(name) {
  if (!known.has(name)) known.set(name, getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim());
  return known.get(name);
}

export function forgetColours() { known = new Map(); hatching = null; dispatchEvent(new Event("colours")); }

// Between two named colours, 0 to 1.
export function between(a, b, share) {
  const parse = name => [1, 3, 5].map(i => parseInt(colour(name).slice(i, i + 2), 16));
  const from = parse(a), to = parse(b);
  return `rgb(${from.map((x, i) => Math.round(x + (to[i] - x) * share)).join(" ")})`;
}

// Slanted lines: here is no estimate.
let hatching = null;
export function hatch(context) {
  if (hatching) return hatching;
  const tile = document.createElement("canvas");
  tile.width = tile.height = 8;
  const c = tile.getContext("2d");
  c.strokeStyle = colour("hatch"); c.lineWidth = 1.2;
  c.beginPath(); for (const d of [-8, 0, 8]) { c.moveTo(d - 1, 9); c.lineTo(d + 9, -1); } c.stroke();
  return hatching = context.createPattern(tile, "repeat");
}
