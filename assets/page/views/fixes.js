// Decisions made so far, and the labels that the next run will read once a person has them written.
import { count, Fault, html, post, runPath, useAnswer, useEffect, useState } from "/static/core.js";

export function Fixes({ run, look, decided, scored }) {
  const { data, again } = useAnswer(runPath(run, "/fixes"));
  const { data: made, again: reload } = useAnswer(runPath(run, "/decisions"));
  const [words, setWords] = useState("");
  const [error, setError] = useState(null);
  const [done, setDone] = useState(null);
  useEffect(() => {  // not at every key: whoever decides a hundred rows looks at this list afterwards
    const timer = setTimeout(() => { again(); reload(); }, 1500);
    return () => clearTimeout(timer);
  }, [decided]);
  const write = async (event) => {
    event.preventDefault();
    try {
      const answer = await post(runPath(run, "/fixes"), { kpi_words: words });
      setDone(answer.written); setError(null); again();
    } catch (fault) { setError(fault); }
  };
  return html`
    ${data?.changes.length > 0 && html`<section class="card"><h2>${count(data.changes.length)} corrected labels for the next run</h2>
      <p class="quiet">The CSVs keep the old labels until they are written here. The files as they were stay next to the new ones.</p>
      <div class="scroll list" tabindex="0" role="region" aria-label="corrected labels"><table><thead><tr><th>set</th><th>row</th><th>label now</th><th>becomes</th></tr></thead>
        <tbody>${data.changes.map((one) => html`<tr key=${one.set + one.object_name}><td>${one.set}</td><td class="break">${one.object_name}</td><td>${one.label}</td><td><b>${one.chosen}</b></td></tr>`)}</tbody></table></div>
      ${data.wait ? html`<p class="note">${data.wait}</p>` : !look && html`<form onSubmit=${write}>
        ${data.kpi > 0 && html`<label>${count(data.kpi)} of them are labels of the KPI set, which decides every verdict. To change those too, type: ${data.kpi_words}
          <input type="text" value=${words} onInput=${(e) => setWords(e.target.value)} /></label>`}
        <div class="row"><button class="primary">Write the labels</button></div><${Fault} error=${error} /></form>`}
    </section>`}
    ${scored > 0 && !look && html`<${Feedback} run=${run} />`}
    ${done && html`<p role="status" class="card">${done.map((one) => `${one.csv}: ${one.labels} labels written, the old file is ${one.kept}`).join(" · ")}. Start the next run with deft preflight.</p>`}
    ${made?.length > 0 && html`<section class="card"><h2>Decisions of this run</h2>
      <div class="scroll list" tabindex="0" role="region" aria-label="decisions of this run"><table><thead><tr><th>row</th><th>was</th><th>decided</th><th>who</th><th>when</th></tr></thead><tbody>
      ${made.slice(0, 100).map((one) => html`<tr key=${one.seq}><td class="break">${one.object_name}</td><td>${one.label || "–"}</td><td><b>${one.chosen}</b> ${one.note}</td>
        <td>${one.who}</td><td>${one.when.replace("T", " ").replace("Z", "")}</td></tr>`)}</tbody></table></div></section>`}`;
}

/** REVIEW parts of deft score that were decided here go into the mining pool, as deft feedback does it. */
function Feedback({ run }) {
  const [taken, setTaken] = useState(null);
  const [error, setError] = useState(null);
  const take = async () => {
    try { setTaken((await post(runPath(run, "/feedback"), {})).outcomes); setError(null); } catch (fault) { setError(fault); }
  };
  return html`<section class="card"><h2>Decided parts of deft score</h2>
    <button onClick=${take}>Take them into the mining pool</button><${Fault} error=${error} />
    ${taken && html`<p role="status">${Object.entries(taken).map(([what, n]) => `${what}: ${count(n)}`).join(" · ") || "nothing decided yet"}</p>`}</section>`;
}
