// The charts of one model, live: threshold, what it costs, groups, curve, histogram, and the rows that change side.
import { count, Fault, href, html, linked, Loading, num, pct, query, runPath, useAnswer, useEffect, useKept, useMemo, useRef, useRoute, useState } from "/static/core.js";
import { Ridges } from "/static/views/ridges.js";

/** False calls and escapes at every position of the slider, from the steps by label. */
export function totals(slider) {
  const n = slider.thresholds.length;
  const [passBelow, defectBelow] = [new Float64Array(n), new Float64Array(n)];
  let [passes, defects] = [0, 0];
  for (const one of slider.labels) {
    const below = one.name === "PASS" ? passBelow : defectBelow;
    if (one.name === "PASS") passes += one.n; else defects += one.n;
    let sum = 0;
    for (let k = 0; k < n; k++) { sum += one.steps[k]; below[k] += sum; }
  }
  return { passes, defects, falseCalls: passBelow.map((b) => passes - b), escapes: defectBelow };
}

/** Cost of a thousand parts at each position: `rate` of them are defective on the line. */
export const costs = (sums, { call, escape, rate }) =>
  sums.falseCalls.map((calls, k) => 1000 * ((1 - rate) * (sums.passes ? calls / sums.passes : 0) * call + rate * (sums.defects ? sums.escapes[k] / sums.defects : 0) * escape));

export function Figures({ run, known }) {
  const [, , , given] = useRoute();
  const labels = known.far.map((one) => one.label);
  const label = labels.includes(given) ? given : known.best && labels.includes(known.best) ? known.best : labels.at(-1);
  const { data, error } = useAnswer(label ? runPath(run, `/models/${label}`) : null);
  if (!label) return html`<section class="card"><h1>Figures</h1><p>No model has been evaluated yet.</p></section>`;
  return html`<div class="head"><h1>Figures of ${label}</h1><nav class="row" aria-label="models">${labels.map((name) => html`
      <a key=${name} href=${href("run", run, "figures", name)} aria-current=${name === label ? "page" : undefined}>${name}</a>`)}</nav></div>
    <${Fault} error=${error} />
    ${data ? html`<${Model} key=${label} run=${run} label=${label} data=${data} />` : !error && html`<${Loading} what="the scores" />`}`;
}

function Model({ run, label, data }) {
  const { slider } = data;
  const sums = useMemo(() => totals(slider), [slider]);
  const [at, setAt] = useState(slider.marks.chosen);
  const [call, setCall] = useKept("cost.call", "1");
  const [escape, setEscape] = useKept("cost.escape", "100");
  const [rate, setRate] = useKept("cost.rate", "1");
  const money = useMemo(() => costs(sums, { call: Number(call) || 0, escape: Number(escape) || 0, rate: (Number(rate) || 0) / 100 }), [sums, call, escape, rate]);
  const cheapest = useMemo(() => { let best = 0; for (let k = 1; k < money.length; k++) if (money[k] <= money[best]) best = k; return best; }, [money]);
  const threshold = slider.thresholds[at];
  const [settled, setSettled] = useState(threshold);
  useEffect(() => { const timer = setTimeout(() => setSettled(threshold), 250); return () => clearTimeout(timer); }, [threshold]);
  const far = sums.passes ? (100 * sums.falseCalls[at]) / sums.passes : null;
  const recall = sums.defects ? 100 * (1 - sums.escapes[at] / sums.defects) : null;
  const tiles = [[pct(far, 3), "FAR"], [pct(recall, 2), "recall"], [count(sums.falseCalls[at]), `false calls of ${count(sums.passes)} PASS`],
    [count(sums.escapes[at]), `escapes of ${count(sums.defects)} defects`], [num(Number(money[at].toFixed(2))), "cost of 1,000 parts"]];
  return html`<section class="card"><div class="tiles" data-testid="tiles">${tiles.map(([value, words]) => html`<div class="tile" key=${words}><b>${value}</b><span>${words}</span></div>`)}</div>
      <label>Threshold <b class="mono">${num(threshold)}</b> <span class="quiet">(a score above it is called defective; ${at === slider.marks.chosen ? "the one that the run chose" : "yours, for looking only"})</span>
        <input type="range" min="0" max=${slider.thresholds.length - 1} value=${at} onInput=${(e) => setAt(Number(e.target.value))} /></label>
      <div class="row"><button onClick=${() => setAt(slider.marks.chosen)}>chosen</button><button onClick=${() => setAt(slider.marks.soft)}>recall 99.5 %</button>
        <button onClick=${() => setAt(cheapest)}>cheapest</button><button aria-label="lower threshold" onClick=${() => setAt(Math.max(0, at - 1))}>−</button>
        <button aria-label="higher threshold" onClick=${() => setAt(Math.min(slider.thresholds.length - 1, at + 1))}>+</button>
        ${!slider.exact && html`<span class="quiet">Every threshold next to a defect and an even share of the others; counts are exact at each.</span>`}</div></section>
    <div class="figures">
      <section class="card"><h2>What it costs</h2><fieldset><legend>Cost model</legend>
        <label>one false call <input type="number" min="0" step="any" value=${call} onInput=${(e) => setCall(e.target.value)} /></label>
        <label>one escape <input type="number" min="0" step="any" value=${escape} onInput=${(e) => setEscape(e.target.value)} /></label>
        <label>defective parts on the line, % <input type="number" min="0" max="100" step="any" value=${rate} onInput=${(e) => setRate(e.target.value)} /></label></fieldset>
        <p>Cheapest threshold: <b class="mono">${num(slider.thresholds[cheapest])}</b>, ${num(Number(money[cheapest].toFixed(2)))} for 1,000 parts${" "}
          <span class="quiet">(the chosen one: ${num(Number(money[slider.marks.chosen].toFixed(2)))}). Rates are those of these ${count(data.rows)} rows; an escape rate from few defects is uncertain.</span></p>
        <${Plot} x=${slider.thresholds.map((_, k) => k)} y=${[...money]} mark=${at} second=${cheapest} words="cost of 1,000 parts by threshold" format=${(k) => Number((slider.thresholds[Math.round(k)] ?? 0).toPrecision(3))} /></section>
      <section class="card"><h2>FAR against recall</h2><${Plot} x=${data.curve.map(([r]) => 100 * r).reverse()} y=${data.curve.map(([, f]) => 100 * f).reverse()} words="FAR by recall, in percent" format=${(v) => `${num(v)} %`} /></section>
      <section class="card"><h2>Scores by label</h2><${Ridges} data=${data} threshold=${threshold} /></section>
      <${Groups} run=${run} label=${label} groups=${data.groups} threshold=${settled} />
    </div>
    <${Changed} run=${run} label=${label} threshold=${settled} chosen=${data.threshold} />`;
}

function Plot({ x, y, mark, second, words, format }) {
  const box = useRef();
  useEffect(() => {
    const ink = getComputedStyle(box.current).color;
    const axis = { stroke: ink, grid: { stroke: "#8884", width: 1 }, ticks: { stroke: "#8884" } };
    const lines = { hooks: { draw: [(u) => [[mark, ink], [second, "#1d9a6c"]].forEach(([at, colour]) => {
      if (at === undefined) return;
      const px = u.valToPos(x[at], "x", true);
      u.ctx.save(); u.ctx.strokeStyle = colour; u.ctx.setLineDash([4, 3]); u.ctx.beginPath(); u.ctx.moveTo(px, u.bbox.top); u.ctx.lineTo(px, u.bbox.top + u.bbox.height); u.ctx.stroke(); u.ctx.restore();
    })] } };
    const plot = new window.uPlot({ width: box.current.clientWidth, height: 220, legend: { show: false }, cursor: { y: false }, scales: { x: { time: false } },
      axes: [{ ...axis, space: 80, values: (_, ticks) => ticks.map(format) }, { ...axis, size: 56 }], plugins: [lines],
      series: [{}, { stroke: "#3b82c4", width: 2, points: { show: y.length < 40 } }] }, [x, y], box.current);
    const fit = new ResizeObserver(() => box.current && plot.setSize({ width: box.current.clientWidth, height: 220 }));
    fit.observe(box.current);
    return () => { fit.disconnect(); plot.destroy(); };
  }, [x.length, y, mark, second]);
  return html`<div ref=${box} role="img" aria-label=${words}></div>`;
}

function Groups({ run, label, groups, threshold }) {
  const [by, setBy] = useState("label");
  const { data, error } = useAnswer(runPath(run, `/models/${label}/groups?${query({ by, threshold })}`));
  const field = { label: "label", board: "board", component: "type" }[by];
  return html`<section class="card"><div class="head"><h2>Where they are</h2><label class="row">by <select value=${by} onChange=${(e) => setBy(e.target.value)}>
      ${groups.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}</select></label></div><${Fault} error=${error} />
    <div class="scroll list" tabindex="0" role="region" aria-label="groups"><table><thead><tr><th>${by}</th><th class="n">false calls</th><th class="n">of PASS</th><th class="n">FAR</th><th class="n">escapes</th><th class="n">of defects</th></tr></thead><tbody>
    ${(data || []).map((one) => html`<tr key=${one.name}><td><a href=${href("run", run, "map", `${field}=${one.name}`)} title="show on the map">${one.name}</a></td><td class="n">${count(one.false_calls)}</td><td class="n">${count(one.passes)}</td>
      <td class="n">${one.passes ? pct((100 * one.false_calls) / one.passes) : "–"}</td><td class="n">${one.escapes ? html`<b class="bad-text">${count(one.escapes)}</b>` : one.defects ? 0 : "–"}</td><td class="n">${count(one.defects)}</td></tr>`)}</tbody></table></div></section>`;
}

function Changed({ run, label, threshold, chosen }) {
  const { data, error } = useAnswer(threshold === chosen ? null : runPath(run, `/models/${label}/changed?${query({ threshold })}`));
  const source = (row) => linked(runPath(run, `/models/${label}/rows/${row}/picture?kind=test`));
  if (threshold === chosen) return html`<section class="card"><h2>Rows that change side</h2><p class="quiet">Move the threshold to see which rows it decides otherwise.</p></section>`;
  return html`<section class="card"><h2>Rows that change side</h2><${Fault} error=${error} />${data && html`
    <p data-testid="changed"><b>${count(data.count)}</b> ${data.count === 1 ? "row becomes" : "rows become"} ${data.to} ${data.count > data.rows.length ? `; the ${data.rows.length} nearest to the chosen threshold` : ""}</p>
    <div class="thumbs">${data.rows.slice(0, 48).map((one) => html`<figure key=${one.row}><div class="shot"><img src=${source(one.row)} alt=${`test of ${one.object_name}`} loading="lazy" /></div>
      <figcaption><b class=${(one.label === "PASS") === (data.to === "PASS") ? "good-text" : "bad-text"}>${one.label}</b> ${one.object_name}<br /><span class="quiet">${num(one.score)}</span></figcaption></figure>`)}</div>`}</section>`;
}
