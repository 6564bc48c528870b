// Next to the map: the chosen rows, one row with its pair and neighbours, and what training has nothing like.
import { count, Fault, get, html, linked, num, post, runPath, useAnswer, useMemo, useState } from "/static/core.js";

const picture = (run, row, kind) => linked(runPath(run, `/map/rows/${row}/picture?kind=${kind}`));

export function Selected({ run, row, setRow, chosen, clear, data, about }) {
  const tally = useMemo(() => {
    const all = {};
    for (const n of chosen) { const key = `${about.names.set[data.set[n]]}: ${about.names.label[data.label[n]] || "no label"}`; all[key] = (all[key] || 0) + 1; }
    return Object.entries(all).sort((a, b) => b[1] - a[1]);
  }, [chosen]);
  return html`
    ${row >= 0 ? html`<${Row} run=${run} row=${row} setRow=${setRow} />` : !chosen.length && html`<section class="card"><p class="quiet">Click a point to see its pair and its nearest rows. Drag to move, wheel to zoom, lasso or Shift and drag to choose many.</p></section>`}
    ${chosen.length > 0 && html`<section class="card"><div class="head"><h2>${count(chosen.length)} chosen</h2><button onClick=${clear}>Clear</button></div>
      <table><tbody>${tally.slice(0, 12).map(([name, n]) => html`<tr key=${name}><td>${name}</td><td class="n">${count(n)}</td></tr>`)}</tbody></table>
      <div class="thumbs">${chosen.slice(0, 12).map((n) => html`<figure key=${n}><button class="shot" aria-label=${`row ${n}`} onClick=${() => setRow(n)}><img src=${picture(run, n, "test")} alt="" loading="lazy" /></button></figure>`)}</div></section>`}`;
}

function Row({ run, row, setRow }) {
  const { data, error } = useAnswer(runPath(run, `/map/rows/${row}`));
  if (!data) return html`<${Fault} error=${error} />`;
  const facts = [["set", data.set], ["label", data.label || "none"], ["board", data.board], ["type", data.type], ["score", num(data.score)],
    ["provenance", data.provenance], ["mined in", data.mined]].filter(([, value]) => value && value !== "–");
  return html`<section class="card"><div class="head"><h2 class="break">${data.object_name}</h2><button onClick=${() => setRow(-1)}>Close</button></div>
    <div class="pair">${["test", "golden", "difference"].map((kind) => html`<figure key=${kind} class="tile-picture"><div class="shot"><img src=${picture(run, row, kind)} alt=${`${kind} of ${data.object_name}`} /></div></figure>`)}</div>
    <p>${facts.map(([name, value]) => html`<span key=${name} class="fact"><span class="quiet">${name}</span> ${value} </span>`)}</p>
    ${data.asked_by >= 0 && html`<p><button onClick=${() => setRow(data.asked_by)}>Show the weak row that asked for it</button></p>`}
    <h3>Nearest rows</h3><div class="near">${data.neighbours.map((one) => html`<figure key=${one.row}><button class="shot" aria-label=${`show ${one.object_name}`} onClick=${() => setRow(one.row)}><img src=${picture(run, one.row, "test")} alt="" /></button>
      <figcaption><b class=${one.label === data.label ? "same" : "other"}>${one.label || "no label"}</b> ${one.set}<br />${one.similarity.toFixed(2)}</figcaption></figure>`)}</div></section>`;
}

export function Uncovered({ run, look, show }) {
  const [data, setData] = useState(null);
  const [made, setMade] = useState(null);
  const [error, setError] = useState(null);
  const find = async () => {
    try { const answer = await get(runPath(run, "/map/uncovered")); setData(answer); setMade(null); show(answer.rows.map((one) => one.row)); } catch (fault) { setError(fault); }
  };
  const request = async () => {
    try { setMade(await post(runPath(run, "/map/request"), { rows: data.rows.map((one) => one.row) })); } catch (fault) { setError(fault); }
  };
  return html`<section class="card"><button class="primary" onClick=${find}>Defects of the KPI set without a neighbour in training</button><${Fault} error=${error} />
    ${data && html`<p>${data.rows.length ? html`<b>${count(data.rows.length)}</b> of ${count(data.asked)} KPI defects have no training row of their type nearer than ${data.limit.toFixed(2)},
      which 99 % of training defects have.` : `All ${count(data.asked)} KPI defects have a training row of their type that looks like them.`}</p>
      ${data.rows.length > 0 && html`<ul class="list plain">${data.rows.slice(0, 30).map((one) => html`<li key=${one.row}>${one.label} · ${one.object_name} <span class="quiet">${one.similarity <= -1 ? "type absent" : one.similarity.toFixed(2)}</span></li>`)}</ul>
        ${!look && html`<button onClick=${request}>Write the collection request</button>`}`}`}
    ${made && html`<p role="status">Written into the run: ${made.files.join(", ")}</p><pre class="summary" tabindex="0" role="region" aria-label="collection request">${made.text}</pre>`}</section>`;
}
