// All runs: status, verdict, target and how FAR moved; two ticked ones can be compared.
import { href, html, pct, Pill, STATUS, useState } from "/static/core.js";

const NAMES = { PASS: "good", FAIL: "bad", "NOT PROVABLE": "warn" };

export function Spark({ far }) {
  if (!far.length) return html`<span class="quiet">no model yet</span>`;
  const [w, hgt] = [120, 28];
  const top = Math.max(...far.map((one) => one.far_pct), 0.01);
  const x = (n) => (far.length === 1 ? w / 2 : 4 + (n * (w - 8)) / (far.length - 1));
  const y = (value) => hgt - 4 - (value / top) * (hgt - 8);
  const line = far.map((one, n) => `${x(n).toFixed(1)},${y(one.far_pct).toFixed(1)}`).join(" ");
  const words = far.map((one) => `${one.label} ${pct(one.far_pct)}`).join(", ");
  return html`<svg class="spark" width=${w} height=${hgt} role="img" aria-label=${`FAR: ${words}`}>
    <title>${words}</title><polyline points=${line} />
    ${far.map((one, n) => html`<circle key=${n} cx=${x(n)} cy=${y(one.far_pct)} r="2.5" />`)}</svg>`;
}

export function Runs({ runs }) {
  const [ticked, setTicked] = useState([]);
  const tick = (key) => setTicked((old) => (old.includes(key) ? old.filter((one) => one !== key) : [...old, key].slice(-2)));
  if (!runs.length) return html`<p>No runs yet. Ask the agent for a loop, or type <code>deft demo</code>.</p>`;
  return html`<section>
    <div class="head"><h1>Runs</h1>
      ${ticked.length === 2
        ? html`<a class="button" href=${href("compare", ...ticked)}>Compare the two</a>`
        : html`<span class="quiet">Tick two runs to compare them.</span>`}</div>
    <div class="cards">${runs.map((run) => html`<article class="card run" key=${run.key}>
      <label class="tick"><input type="checkbox" checked=${ticked.includes(run.key)} onChange=${() => tick(run.key)}
        aria-label=${`compare ${run.name}`} /></label>
      <div class="grow">
        <a class="title" href=${href("run", run.key, "live")}>${run.name}</a>
        <div class="quiet path">${run.workspace}</div>
        <div>${run.target || "no target"}</div>
        ${run.problem && html`<div class="fault">${run.problem}</div>`}
      </div>
      <div class="facts">
        <${Pill} tone=${STATUS[run.status][1]}>${STATUS[run.status][0]}<//>
        ${run.verdict && html`<${Pill} tone=${NAMES[run.verdict] || "quiet"}>${run.verdict}<//>`}
      </div>
      <div class="facts spark-box"><${Spark} far=${run.far} />
        ${run.far.length > 0 && html`<span class="figure">${pct(run.far.at(-1).far_pct)}<small> FAR</small></span>`}</div>
    </article>`)}</div>
  </section>`;
}
