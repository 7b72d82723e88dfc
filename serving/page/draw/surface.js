// A canvas that is sharp, follows its size and the theme, and is drawn at most once a frame: all surfaces of the page share one
// animation frame.

const due = new Set();
let frame = 0;
function paint() {
  frame = 0;
  const now = [...due]; due.clear();
  for (const f of now) f();
}
// f runs before the next frame is shown, once, however often it was asked for.
export function soon(f) { due.add(f); frame ||= requestAnimationFrame(paint); }

export class Surface {
  // draw(context, width, height) in CSS pixels; the style sheet or `height` says how tall.
  constructor(draw, { height, ...attributes } = {}) {
    this.canvas = document.createElement("canvas");
    for (const [name, value] of Object.entries(attributes)) this.canvas.setAttribute(name, value);
    this.draw = draw; this.width = 0; this.height = 0;
    this.render = () => this.paint();
    if (height) this.tall(height);
    this.sizes = new ResizeObserver(([entry]) => this.resize(entry.contentRect.width, entry.contentRect.height));
    this.sizes.observe(this.canvas);
    const again = () => { if (this.canvas.isConnected) this.invalidate(); else if (this.seen) removeEventListener("colours", again); };
    addEventListener("colours", again);
  }
  tall(height) { this.canvas.style.height = `${height}px`; }
  resize(width, height) { if (width !== this.width || height !== this.height) { this.width = width; this.height = height; this.fits = false; if (width) this.paint(); } }
  invalidate() { soon(this.render); }
  paint() {
    const { width, height, canvas } = this;
    if (!width || !height || !canvas.isConnected) return;
    this.seen = true;
    const ratio = Math.min(devicePixelRatio || 1, 2), context = this.context ??= canvas.getContext("2d");
    if (!this.fits || this.ratio !== ratio) { canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio); this.fits = true; this.ratio = ratio; }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    this.draw(context, width, height);
  }
}
