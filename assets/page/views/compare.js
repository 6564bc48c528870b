// Two runs side by side: figures, plan, data, and the rows that their best models decide differently.
import { count, Fault, href, html, linked, Loading, num, pct, query, runPath, useAnswer } from "/static/core.js";

const WORDS = {
  far_pct: "FAR", far_lower_pct: "FAR at least (95 %)", far_upper_pct: "FAR at most (95 %)", far_995_pct: "FAR at recall 99.5 %", auroc: "AUROC", threshold: "threshold",
  false_calls: "false calls", escapes: "escapes", n_pass: "PASS rows", n_defect: "defects", verdict: "verdict",
};
const shown = (name, value) => (value === null || value === undefined ? "–" : name.endsWith("_pct") ? pct(value, 3) : typeof value === "number" ? num(value)
  : typeof value === "object" ? JSON.stringify(value) : String(value));

export function Compare({ a, b }) {
  const { data, error } = useAnswer(`/api/compare?${query({ a, b })}`);
  if (!data) return error ? html`<${Fault} error=${error} />` : html`<${Loading} what="both runs" />`;
  const [one, other] = data.names;
  const table = (title, rows, words = (name) => name, none = "The same in both.") => html`<section class="card"><h2>${title}</h2>${rows.length ? html`
    <div class="scroll" tabindex="0" role="region" aria-label=${title}><table><thead><tr><th></th><th>${one}</th><th>${other}</th></tr></thead><tbody>
    ${rows.map((row) => html`<tr key=${row.name}><td>${words(row.name)}</td><td class="break">${shown(row.name, row.a)}</td><td class=${`break ${row.a === row.b ? "" : "changed"}`}>${shown(row.name, row.b)}</td></tr>`)}</tbody></table></div>` : html`<p class="quiet">${none}</p>`}</section>`;
  const rows = data.rows;
  const source = (run, label, row) => linked(runPath(run, `/models/${label}/rows/${row}/picture?kind=test`));
  return html`<div class="head"><h1>Compare</h1><span class="row"><a href=${href("run", a, "live")}>${one}</a> and <a href=${href("run", b, "live")}>${other}</a>
      <a class="button" href=${href("compare", b, a)}>Swap</a></span></div>
    <p class="quiet">Best models: ${data.best[0] || "none"} and ${data.best[1] || "none"}.</p>
    ${table("Figures of the best model", data.figures, (name) => WORDS[name] || name)}
    <section class="card"><h2>Decisions that differ</h2>${rows.why ? html`<p class="quiet">${rows.why}</p>` : html`
      <p><b>${count(rows.counts.changed)}</b> of ${count(rows.both)} rows that both scored: <b class="good-text">${count(rows.counts.better)}</b> right only in ${other},${" "}
        <b class="bad-text">${count(rows.counts.worse)}</b> right only in ${one}. ${rows.only_a || rows.only_b ? `${count(rows.only_a)} rows only in ${one}, ${count(rows.only_b)} only in ${other}.` : ""}</p>
      <div class="thumbs">${rows.changed.slice(0, 36).map((row) => html`<figure key=${row.row_b}><div class="shot"><img src=${source(b, data.best[1], row.row_b)} alt=${`test of ${row.object_name}`} loading="lazy" /></div>
        <figcaption><b>${row.label_b}</b> ${row.object_name}<br />${row.called_a} → ${row.called_b}<br /><span class="quiet">${num(row.score_a)} → ${num(row.score_b)}</span></figcaption></figure>`)}</div>`}</section>
    ${table("Plan", data.plan)}
    ${table("Data", data.data)}
    ${table("Inputs by their bytes", data.inputs)}`;
}
