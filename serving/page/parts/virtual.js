// A list (or a grid of cards) of any length of which only the visible part exists. Elements are used again and again:
// `make()` gives one, `bind(element, index)` fills it. Positions are transforms, so scrolling never lays out the page. `head` is
// the height of what stays on top of the scroller.

import { soon } from "../draw/surface.js";

export class Virtual {
  constructor(scroller, { height, make, bind, width = 0, gap = 0, pad = 3, head = 0, rowRole = null }) {
    Object.assign(this, { scroller, height, make, bind, minimum: width, gap, pad, head });
    this.body = document.createElement("div");
    this.body.className = "virtual";
    if (rowRole) this.body.setAttribute("role", rowRole);
    scroller.append(this.body);
    this.total = 0; this.used = new Map(); this.free = []; this.columns = 1;
    this.render = () => this.layout();
    scroller.addEventListener("scroll", () => soon(this.render), { passive: true });
    this.sizes = new ResizeObserver(() => { this.measured = false; soon(this.render); });
    this.sizes.observe(scroller);
  }
  count(total) { this.total = total; this.measured = false; soon(this.render); }
  refresh() { for (const [index, el] of this.used) this.bind(el, index); }
  recycle() { for (const el of this.used.values()) this.put(el); this.used.clear(); soon(this.render); }
  put(el) { el.hidden = true; el.removeAttribute("id"); this.free.push(el); } // no two elements may have one name
  at(index) { return this.used.get(index); }
  // Rows [first, last) that are on the screen.
  get span() { const top = this.scroller.scrollTop, each = this.height + this.gap; return [Math.floor(top / each) * this.columns, Math.min(this.total, Math.ceil((top + this.scroller.clientHeight) / each) * this.columns)]; }
  reveal(index) {
    const each = this.height + this.gap, row = Math.floor(index / this.columns) * each, s = this.scroller;
    if (row < s.scrollTop) s.scrollTop = row; else if (row + each + this.head > s.scrollTop + s.clientHeight) s.scrollTop = row + each + this.head - s.clientHeight;
    this.layout();
  }
  layout() {
    const s = this.scroller, each = this.height + this.gap;
    if (!this.measured) {
      const inner = this.body.clientWidth;
      if (!inner) return;
      const columns = this.minimum ? Math.max(1, Math.floor((inner + this.gap) / (this.minimum + this.gap))) : 1;
      this.cell = (inner - this.gap * (columns - 1)) / columns;
      if (columns !== this.columns || this.cell !== this.laid) { this.columns = columns; this.laid = this.cell; for (const [index, el] of this.used) this.place(el, index); }
      this.body.style.height = `${Math.max(0, Math.ceil(this.total / columns) * each - this.gap)}px`;
      this.measured = true;
    }
    const [top, bottom] = this.span; // read before anything is written: the page is laid out once
    let first = top, last = bottom;
    first = Math.max(0, first - this.pad * this.columns); last = Math.min(this.total, last + this.pad * this.columns);
    for (const [index, el] of this.used) if (index < first || index >= last) { this.used.delete(index); this.put(el); }
    for (let index = first; index < last; index++) {
      if (this.used.has(index)) continue;
      let el = this.free.pop();
      if (!el) { el = this.make(); this.body.append(el); }
      el.hidden = false;
      this.used.set(index, el); this.place(el, index); this.bind(el, index);
    }
    this.onspan?.(top, bottom);
  }
  place(el, index) {
    const x = index % this.columns * (this.cell + this.gap), y = Math.floor(index / this.columns) * (this.height + this.gap);
    el.style.transform = `translate(${x}px, ${y}px)`; el.style.width = `${this.cell}px`;
  }
}
