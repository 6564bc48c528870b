// A run as it is now: stages, jobs, log; a hard stop with its remedy; a Summary that waits for its code.
import { duration, Fault, href, html, linked, Loading, pct, Pill, post, runPath, useAnswer, useState } from "/static/core.js";
import { Spark } from "/static/views/runs.js";

export function Live({ run, known, look }) {
  const { data, error, again } = useAnswer(runPath(run, "/live"), 2000);
  if (!data) return error ? html`<${Fault} error=${error} />` : html`<${Loading} what="the run" />`;
  return html`
    <${Fault} error=${error} />
    ${data.status === "waiting" && data.approval && html`<${Approval} run=${run} waits=${data.approval} look=${look} done=${again} />`}
    ${data.stopped && html`<${Stop} run=${run} stop=${data.stopped} look=${look} done=${again} />`}
    ${data.jobs.map((job) => html`<${Job} key=${job.stage + job.task} job=${job} gpu=${data.gpu} />`)}
    ${data.idle && html`<section class="card"><h2>Next: ${data.next}</h2>
      <p>No job runs. The agent goes on with: <code>${data.command}</code></p></section>`}
    ${data.status === "complete" && html`<section class="card"><h2>The loop is complete</h2>
      ${(data.closing || []).map((line) => html`<p class="break" key=${line}>${line}</p>`)}
      <p><a href=${linked(runPath(run, "/report"))} target="_blank" rel="noopener">Open the report</a></p></section>`}
    ${known.far.length > 0 && html`<${Models} known=${known} />`}
    ${data.last.length > 0 && html`<section class="card"><h2>Last entries of the journal</h2>
      <ol class="journal">${[...data.last].reverse().map((one) => html`<li key=${one.seq}>
        <span class=${one.status === "error" ? "bad-text" : ""}>${one.iter} / ${one.stage}</span>
        <time class="quiet">${one.ts.replace("T", " ").replace("Z", " UTC")}</time>
        <div class="break">${one.summary}</div></li>`)}</ol></section>`}`;
}

function Models({ known }) {
  return html`<section class="card"><div class="head"><h2>FAR by iteration</h2><${Spark} far=${known.far} /></div>
    <div class="scroll" tabindex="0" role="region" aria-label="FAR by iteration"><table><thead><tr><th>model</th>
      <th class="n">FAR</th><th class="n">at most (95 %)</th></tr></thead><tbody>
    ${known.far.map((one) => html`<tr key=${one.label}><td><a href=${href("run", known.key, "figures", one.label)}>${one.label}</a>
      ${one.label === known.best && html` <${Pill} tone="good">best<//>`}</td>
      <td class="n">${pct(one.far_pct)}</td><td class="n">${pct(one.upper_pct)}</td></tr>`)}
    </tbody></table></div>
    <p class="quiet">FAR, the false alarm rate: the share of good parts that the model calls defective. Target: ${known.target}.</p></section>`;
}

function Job({ job, gpu }) {
  const share = job.whole ? job.done / job.whole : null;
  return html`<section class="card job"><div class="head"><h2>${job.label} / ${job.stage}</h2>
      <span class="quiet">${job.task} · ${duration(job.seconds)} so far</span></div>
    ${share !== null && html`<div class="bar"><progress max="1" value=${share} aria-label="progress"></progress>
      <span>epoch ${job.done} of ${job.whole}</span></div>`}
    <p>${job.left ? html`Left: <b>${range(job.left)}</b> <span class="quiet">(from ${job.left.from})</span>`
      : html`<span class="quiet">Time left: nothing to estimate it from yet.</span>`}</p>
    ${job.message && html`<p class="quiet">${job.message}</p>`}
    ${gpu.map((one, n) => html`<p key=${n}>GPU ${n}: ${one.name}, ${one.load_pct} % busy, ${one.used_mb} of ${one.total_mb} MiB, ${one.celsius} °C</p>`)}
    <${Log} lines=${job.log} /></section>`;
}

const range = (left) => (left.high === null ? "unknown" : left.low < 5 ? `up to ${duration(left.high)}` : `${duration(left.low)} to ${duration(left.high)}`);

const Log = ({ lines }) => lines.length > 0 && html`<pre class="log" tabindex="0" role="region" aria-label="last lines of the log">${lines.join("\n")}</pre>`;

function Stop({ run, stop, look, done }) {
  const [words, setWords] = useState("");
  const [asked, setAsked] = useState(null);
  const [error, setError] = useState(null);
  const send = async (event) => {
    event.preventDefault();
    try {
      await post(runPath(run, "/resolve"), { words, stop: asked === "stop" });
      setAsked(null); setWords(""); setError(null); done();
    } catch (fault) { setError(fault); }
  };
  return html`<section class="card stop" role="alert"><div class="head"><h2>Hard stop: ${stop.code}</h2></div>
    <p class="break">${stop.message}</p>
    ${stop.remedy && stop.code !== "labels_needed" && html`<p><b>What to do.</b> ${stop.remedy}</p>`}
    ${stop.code === "labels_needed" && html`<p><b>What to do.</b> Label the rows one by one, leave what cannot be told as unsure, then say so here and let the stage run again.</p><p><a class="button" href=${href("run", run, "review")}>Label the rows in Review</a></p>`}
    ${stop.evidence && html`<p class="quiet break">Evidence: ${stop.evidence}</p>`}
    <${Log} lines=${stop.log} />
    ${!look && html`<form onSubmit=${(e) => e.preventDefault()}>
      <label>What was decided or fixed, in your words
        <input type="text" required minlength="3" maxlength="300" value=${words} onInput=${(e) => setWords(e.target.value)} /></label>
      ${asked === null ? html`<div class="row" key="ask">
        <button type="button" class="primary" disabled=${words.trim().length < 3} onClick=${() => setAsked("retry")}>Run the stage again …</button>
        <button type="button" disabled=${words.trim().length < 3} onClick=${() => setAsked("stop")}>End the loop here …</button></div>`
      : html`<div class="row" key="sure"><span>${asked === "stop" ? "End the loop with the best model so far?" : "Let the stage run again?"}</span>
        <button type="button" class="primary" onClick=${send}>Yes, record it</button><button type="button" onClick=${() => setAsked(null)}>No</button></div>`}
      <${Fault} error=${error} /></form>`}</section>`;
}

function Approval({ run, waits, look, done }) {
  const [code, setCode] = useState("");
  const [error, setError] = useState(null);
  const send = async (event) => {
    event.preventDefault();
    try { await post(runPath(run, "/approve"), { code }); done(); } catch (fault) { setError(fault); }
  };
  return html`<section class="card"><h1>This plan waits for your approval</h1>
    <p>Read the Summary. Approving starts the run exactly as it is written here.</p>
    <pre class="summary" tabindex="0" role="region" aria-label="Pre-Flight Summary">${waits.summary}</pre>
    ${!look && html`<form onSubmit=${send}><label>Type the code at the end of the Summary to approve it
      <input type="text" class="code" autocomplete="off" spellcheck=${false} required value=${code}
        onInput=${(e) => setCode(e.target.value)} onPaste=${(e) => e.preventDefault()} /></label>
      <button class="primary" disabled=${!code.trim()}>Approve and start</button><${Fault} error=${error} /></form>`}</section>`;
}
