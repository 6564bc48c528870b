// Histogram of the scores of each label, rows that the threshold decides wrongly in red.
import { html } from "/static/core.js";

const place = (axis, score) => {
  if (axis.kind === "linear") return (score - axis.low) / (axis.high - axis.low);
  const bend = (s) => { const inner = Math.min(Math.max(s, axis.low), axis.high); return Math.log(inner / (1 - inner)); };
  return (bend(score) - bend(axis.low)) / (bend(axis.high) - bend(axis.low));
};

export function Ridges({ data, threshold }) {
  const [w, left, line] = [620, 110, 30];
  const inner = w - left - 8;
  const high = data.ridges.length * line;
  const cut = left + Math.min(1, Math.max(0, place(data.axis, threshold))) * inner;
  return html`<svg class="ridges" viewBox=${`0 0 ${w} ${high + 18}`} role="img" aria-label="scores by label">
    ${data.ridges.map((one, n) => {
      const all = one.right.map((v, k) => v + one.wrong[k]);
      const top = Math.max(...all, 1);
      const step = inner / all.length;
      return html`<g key=${one.label} transform=${`translate(0 ${n * line})`}>
        <text x=${left - 6} y=${line - 8} text-anchor="end">${one.label.length > 16 ? `${one.label.slice(0, 15)}…` : one.label}</text>
        ${all.map((v, k) => { if (!v) return null; const h = Math.max(1.5, (v / top) * (line - 6)); const x = left + k * step;
          const wrong = (x + step / 2 > cut) === (one.label === "PASS");
          return html`<rect key=${k} class=${wrong ? "wrong" : "right"} x=${x} y=${line - 2 - h} width=${Math.max(1, step - 0.5)} height=${h} />`; })}</g>`;
    })}
    <line x1=${cut} x2=${cut} y1="0" y2=${high} />
    ${data.axis.ticks.map((tick) => html`<text key=${tick} x=${left + place(data.axis, tick) * inner} y=${high + 14} text-anchor="middle">${tick}</text>`)}</svg>`;
}
