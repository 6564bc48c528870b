// Points drawn into pixels by the CPU: smooth for 100,000 rows on a machine without a graphics card.
export class Raster {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: true });
    this.view = { x: 0, y: 0, scale: 1 };
    this.took = 0;
  }

  /** Fit the pixels to the element's size. */
  fit() {
    const box = this.canvas.getBoundingClientRect();
    this.ratio = Math.min(window.devicePixelRatio || 1, 1.5);
    const [w, h] = [Math.max(1, Math.round(box.width * this.ratio)), Math.max(1, Math.round(box.height * this.ratio))];
    if (w === this.canvas.width && h === this.canvas.height && this.pixels) return;
    [this.canvas.width, this.canvas.height] = [w, h];
    this.image = this.context.createImageData(w, h);
    this.pixels = new Uint32Array(this.image.data.buffer);
  }

  get unit() { return (Math.min(this.canvas.width, this.canvas.height) / 2.15) * this.view.scale; }

  /** Pixel of a point of the plane. */
  at(x, y) {
    return [(x - this.view.x) * this.unit + this.canvas.width / 2, this.canvas.height / 2 - (y - this.view.y) * this.unit];
  }

  /** Point of the plane under a mouse event. */
  under(event) {
    const box = this.canvas.getBoundingClientRect();
    const [px, py] = [(event.clientX - box.left) * this.ratio, (event.clientY - box.top) * this.ratio];
    return [(px - this.canvas.width / 2) / this.unit + this.view.x, (this.canvas.height / 2 - py) / this.unit + this.view.y];
  }

  /** `x`, `y` floats; `order` which rows in which order; `ink` colour (ABGR) of each row. */
  draw({ x, y, order, ink, size }) {
    const start = performance.now();
    const { pixels } = this;
    const [w, h, unit] = [this.canvas.width, this.canvas.height, this.unit];
    const [left, top] = [w / 2 - this.view.x * unit, h / 2 + this.view.y * unit];
    pixels.fill(0);
    const side = Math.max(1, Math.round(size * this.ratio * Math.min(3, Math.sqrt(Math.max(1, this.view.scale)))));
    const half = side >> 1;
    for (let k = 0; k < order.length; k++) {
      const row = order[k];
      const px = (left + x[row] * unit - half) | 0;
      const py = (top - y[row] * unit - half) | 0;
      if (px < 0 || py < 0 || px + side > w || py + side > h) continue;
      const colour = ink[row];
      for (let v = 0, at = py * w + px; v < side; v++, at += w) for (let u = 0; u < side; u++) pixels[at + u] = colour;
    }
    this.context.putImageData(this.image, 0, 0);
    this.took = performance.now() - start;
  }

  /** The shown row nearest to a point of the plane, within `reach` pixels; -1 where there is none. */
  pick([px, py], { x, y, order }, reach = 9) {
    let [best, found] = [(reach * this.ratio / this.unit) ** 2, -1];
    for (let k = 0; k < order.length; k++) {
      const row = order[k];
      const away = (x[row] - px) ** 2 + (y[row] - py) ** 2;
      if (away <= best) [best, found] = [away, row];
    }
    return found;
  }
}

/** Whether points of the plane are inside a polygon [[x, y], ...]; returns the rows that are. */
export function inside(polygon, { x, y, order }) {
  const found = [];
  for (let k = 0; k < order.length; k++) {
    const row = order[k];
    let odd = false;
    for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
      const [[ax, ay], [bx, by]] = [polygon[i], polygon[j]];
      if (ay > y[row] !== by > y[row] && x[row] < ((bx - ax) * (y[row] - ay)) / (by - ay) + ax) odd = !odd;
    }
    if (odd) found.push(row);
  }
  return found;
}

const HUES = ["#3b82c4", "#e07b00", "#1d9a6c", "#c23b6f", "#8b63c9", "#b59300", "#2aa7b8", "#d1495b", "#6b8e23", "#a0522d", "#5570d6", "#c774b2"];
const GREY = "#8b949c";

/** A colour for each name: hues for the first ones, grey for what is empty and for the rest. */
export const colours = (names) => {
  let n = 0;
  return names.map((name) => (name === "" || name === "PASS" ? GREY : HUES[n++] || GREY));
};

/** "#rrggbb" as a little-endian pixel. */
export const pixel = (hex) => {
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
};

/** Dark blue to yellow for scores of 0 to 1 along their ranks. */
export const ramp = (share) => {
  const stops = ["#3a4cc0", "#3b82c4", "#1d9a6c", "#b59300", "#e07b00", "#c2273d"];
  return stops[Math.min(stops.length - 1, Math.floor(share * stops.length))];
};
