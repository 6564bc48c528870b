// The review queue: one row after the other, decided by keys; each decision is on disk before the next row shows.
import {
  BROWSER, count, Fault, get, html, linked, Loading, num, Pill, post, query, runPath, useAnswer, useCallback, useEffect,
  useKept, useRef, useState,
} from "/static/core.js";
import { Fixes } from "/static/views/fixes.js";

const KIND_WORDS = {
  queue: "Label these rows", spot: "Spot check", label: "Suspected labels", golden: "Suspected goldens", score: "REVIEW of deft score",
};
const QUESTION = {
  queue: "What is it?", spot: "What does this weak sample show?", label: "Is the label right?", golden: "Is this golden good?",
  score: "Too near the threshold for the machine. What is it?",
};
const LAYERS = [["test", "test"], ["golden", "golden"], ["difference", "difference"]];

export function Review({ run, look }) {
  const [who, setWho] = useKept("who", "");
  const [kind, setKind] = useState("");
  const [state, setState] = useState({ items: [] });
  const [error, setError] = useState(null);
  const [said, setSaid] = useState("");
  const [note, setNote] = useState("");
  const skipped = useRef([]);
  const busy = useRef(false);
  const mine = useRef(new Set());  // decided here: an answer that was on its way then still lists them
  const item = state.items[0];

  const load = useCallback(async () => {
    try {
      const answer = await get(runPath(run, `/queue?${query({ kind, browser: BROWSER, skip: skipped.current.join(",") })}`));
      setState({ ...answer, items: answer.items.filter((one) => !mine.current.has(one.key)) }); setError(null);
    } catch (fault) { setError(fault); }
  }, [run, kind]);
  useEffect(() => { load(); }, [load]);
  useEffect(() => {  // keep the lease on what is shown, and see what others decide
    const timer = setInterval(() => document.hidden || busy.current || load(), 30000);
    return () => clearInterval(timer);
  }, [load]);

  const next = (key, answer) => setState((old) => ({ ...old, ...answer, items: old.items.filter((one) => one.key !== key) }));
  const act = useCallback(async (work) => {
    if (busy.current) return;
    busy.current = true;
    try { await work(); } catch (fault) {
      if (fault.status === 409) { setSaid(`Already decided: ${fault.message}`); await load(); } else setError(fault);
    } finally { busy.current = false; }
  }, [load]);
  const decide = useCallback((chosen) => act(async () => {
    if (!item) return;
    if (!who.trim()) { setError({ message: "Type your name first: every decision is kept with who made it." }); return; }
    const done = await post(runPath(run, "/decisions"), { item: item.key, chosen, note, who, browser: BROWSER });
    mine.current.add(item.key);
    setSaid(`${item.object_name}: ${done.chosen}, saved`); setNote(""); setError(null);
    next(item.key, { left: state.left - 1, decided: state.decided + 1 });
    if (state.items.length <= 3) load();
  }), [item, who, note, state, act]);
  const skip = () => act(async () => {
    if (!item) return;
    skipped.current = [...skipped.current.filter((key) => key !== item.key), item.key].slice(-200);
    setSaid(`${item.object_name}: skipped, it comes again at the end`); next(item.key, {});
    if (state.items.length <= 3) load();
  });
  const undo = () => act(async () => {
    const back = await post(runPath(run, "/undo"), { who });
    mine.current.delete(back.item);
    setSaid(`${back.object_name}: ${back.chosen} taken back`); setError(null);
    await load();
  });

  useEffect(() => {
    if (item || look) return undefined;
    const pressed = (event) => event.key === "z" && !event.target.matches("input, select, textarea") && undo();
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, [item, who, look]);

  if (!state.labels) return error ? html`<${Fault} error=${error} />` : html`<${Loading} what="the queue" />`;
  return html`
    <div class="head"><h1>Review</h1>
      <label class="row">Your name <input type="text" class="who" maxlength="80" value=${who} placeholder="who decides"
        onInput=${(e) => setWho(e.target.value)} /></label></div>
    <div class="row kinds" role="group" aria-label="which rows">
      <button aria-pressed=${kind === ""} onClick=${() => setKind("")}>All <b>${count(Object.values(state.counts).reduce((a, b) => a + b, 0))}</b></button>
      ${Object.keys(KIND_WORDS).filter((name) => state.counts[name]).map((name) => [name, state.counts[name]]).map(([name, n]) => html`<button key=${name} aria-pressed=${kind === name} onClick=${() => setKind(name)}>
        ${KIND_WORDS[name]} <b>${count(n)}</b></button>`)}
      <span class="quiet" data-testid="progress">${count(state.left)} left · ${count(state.decided)} decided${state.with_others ? ` · ${state.with_others} open in another browser` : ""}</span></div>
    <p role="status" aria-live="polite" class="quiet" data-testid="said">${said || "\u00a0"}</p>
    <${Fault} error=${error} />
    ${item ? html`<${One} key=${item.key} run=${run} item=${item} ahead=${state.items[1]} labels=${state.labels} lights=${state.lights} look=${look}
        note=${note} setNote=${setNote} decide=${decide} skip=${skip} undo=${undo} unsure=${state.unsure} />`
      : html`<section class="card"><h2>Nothing waits here</h2>
        <p>${state.decided ? `${count(state.decided)} decisions of this run are on disk.` : "No row of this run asks for a person."}
        ${state.left > 0 ? " The rest is open in another browser." : ""}</p>
        ${!look && state.decided > 0 && html`<button onClick=${undo}>undo my last <kbd>Z</kbd></button>`}</section>`}
    <${Fixes} run=${run} look=${look} decided=${state.decided} scored=${state.scored} />`;
}

function One({ run, item, ahead, labels, lights, look, note, setNote, decide, skip, undo, unsure }) {
  const [light, setLight] = useState(lights[0]);
  const [zoom, setZoom] = useState(1);
  const [flicker, setFlicker] = useState(false);
  const [search, setSearch] = useState(null);
  const source = (what, which = light, one = item) =>
    linked(runPath(run, `/items/${one.key}/picture?${query({ kind: what, light: which || "" })}`));
  const choices = item.choices.length ? item.choices.map((name) => [name, name]) : answers(item, labels);
  useEffect(() => { if (ahead) LAYERS.forEach(([what]) => { new Image().src = source(what, lights[0], ahead); }); }, [ahead?.key]);

  useEffect(() => {
    const pressed = (event) => {
      if (event.target.matches("input, select, textarea") || event.ctrlKey || event.altKey || event.metaKey) {
        if (event.key === "Escape") event.target.blur();
        return;
      }
      const key = event.key.toLowerCase();
      const at = "123456789".indexOf(key);
      const acts = {
        f: () => setFlicker((on) => !on), l: () => setLight((now) => lights[(lights.indexOf(now) + 1) % lights.length]),
        "+": () => setZoom((z) => Math.min(8, z * 2)), "=": () => setZoom((z) => Math.min(8, z * 2)), "-": () => setZoom((z) => Math.max(1, z / 2)),
        ...(look ? {} : {
          u: () => decide(unsure), s: skip, z: undo, ...(item.choices.length ? {} : { "/": () => setSearch("") , p: () => decide("PASS") }),
        }),
      };
      const act = !look && at >= 0 && choices[at] ? () => decide(choices[at][0]) : acts[key];
      if (act) { event.preventDefault(); act(); }
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, [item, light, decide, skip, undo]);

  const aim = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    event.currentTarget.parentElement.parentElement.style.setProperty("--zx", `${(100 * (event.clientX - box.left)) / box.width}%`);
    event.currentTarget.parentElement.parentElement.style.setProperty("--zy", `${(100 * (event.clientY - box.top)) / box.height}%`);
  };
  return html`<div class="review">
    <section class="card">
      <p class="said">${QUESTION[item.kind]} <b>${item.object_name}</b>
        ${item.label && item.kind !== "golden" ? html` is labelled <${Pill} tone=${item.label === "PASS" ? "good" : "warn"}>${item.label}<//>` : ""}
        ${item.suggested ? html` · the other rows say <${Pill} tone="info">${item.suggested}<//>` : ""}</p>
      ${item.judges && html`<p class="note">This row is in the KPI set, which judges the model. Your answer is recorded;
        the label itself changes only if you write the words for it below.</p>`}
      <div class="pictures" style=${`--zoom:${zoom}`}>
        ${item.heat ? html`<figure class="strip"><div class="shot"><img src=${source("test")} alt=${`test, golden and difference of ${item.object_name}`} /></div></figure>`
          : LAYERS.map(([what, words]) => html`<figure key=${what}>
            <div class="shot" onMouseMove=${aim}>${what === "test" && flicker
              ? html`<${Flicker} a=${source("test")} b=${source("golden")} />`
              : html`<img src=${source(what)} alt=${`${words} of ${item.object_name}`} draggable=${false} />`}</div>
            <figcaption>${what === "test" && flicker ? "test / golden, alternating" : words}</figcaption></figure>`)}
      </div>
      <div class="row" role="group" aria-label="how the pictures are shown">
        ${lights.length > 1 && lights.map((name) => html`<button key=${name} aria-pressed=${name === light} onClick=${() => setLight(name)}>${name}</button>`)}
        <button aria-pressed=${flicker} onClick=${() => setFlicker(!flicker)}>flicker <kbd>F</kbd></button>
        <button onClick=${() => setZoom(zoom >= 8 ? 1 : zoom * 2)}>zoom ${zoom}× <kbd>+</kbd> <kbd>-</kbd></button>
        ${lights.length > 1 && html`<span class="quiet">next light <kbd>L</kbd></span>`}</div>
      <p>${item.reason}</p>
      <p class="quiet">${[item.set && `set ${item.set}`, item.board && `board ${item.board}`, item.score !== null && `score ${num(item.score)}`,
        item.doubt !== null && `probability that the label is wrong ${num(item.doubt)}`].filter(Boolean).join(" · ")}</p>
      <${Near} run=${run} item=${item} />
    </section>
    <section class="card">
      ${look ? html`<p>Read only: decisions need a server without --look.</p>` : html`
      <div class="choices">
        ${choices.map(([name, words], n) => html`<button key=${name} onClick=${() => decide(name)}><span>${words}</span><kbd>${n < 9 ? n + 1 : ""}</kbd></button>`)}
        ${!item.choices.length && html`<${Search} labels=${labels} open=${search !== null} done=${(chosen) => { setSearch(null); if (chosen) decide(chosen); }} />`}
        <button onClick=${() => decide(unsure)}><span>unsure</span><kbd>U</kbd></button>
        <button onClick=${skip}><span>skip for now</span><kbd>S</kbd></button>
        <button onClick=${undo}><span>undo my last</span><kbd>Z</kbd></button>
      </div>
      <label>Note (optional) <input type="text" maxlength="300" value=${note} onInput=${(e) => setNote(e.target.value)}
        onKeyDown=${(e) => e.key === "Enter" && e.target.blur()} /></label>`}
    </section></div>`;
}

/** PASS, then the label itself and the most frequent defects; a suspected label offers "keep" first. */
function answers(item, labels) {
  const names = [...new Set(["PASS", ...(item.label && item.label !== "NO_PASS" && item.label !== "REVIEW" ? [item.label] : []), ...labels])].slice(0, 8);
  return names.map((name) => [name, name === item.label && item.kind === "label" ? `${name} (the label is right)` : name]);
}

function Search({ labels, open, done }) {
  const [text, setText] = useState("");
  const field = useRef();
  useEffect(() => { if (open) { setText(""); field.current?.focus(); } }, [open]);
  const found = labels.filter((name) => name.toLowerCase().includes(text.toLowerCase())).slice(0, 12);
  const key = (event) => {
    if (event.key === "Escape") { field.current.blur(); done(null); }
    if (event.key === "Enter" && text.trim()) { const chosen = found.find((name) => name === text.trim()) || (found.length === 1 ? found[0] : text.trim()); field.current.blur(); done(chosen); }
  };
  return html`<label><span class="row">another defect <kbd>/</kbd></span>
    <input ref=${field} type="text" list="labels" maxlength="80" value=${text} placeholder="type, then Enter" onInput=${(e) => setText(e.target.value)} onKeyDown=${key} /></label>
    <datalist id="labels">${found.map((name) => html`<option key=${name} value=${name} />`)}</datalist>`;
}

function Flicker({ a, b }) {
  const [on, setOn] = useState(false);
  useEffect(() => { const timer = setInterval(() => setOn((was) => !was), 350); return () => clearInterval(timer); }, []);
  return html`<img src=${on ? b : a} alt=${on ? "golden" : "test"} draggable=${false} />`;
}

function Near({ run, item }) {
  const { data } = useAnswer(item.kind === "score" || item.kind === "golden" ? null
    : runPath(run, `/map/near?${query({ set: item.set, input_path: item.input_path, object_name: item.object_name })}`));
  if (!data?.length) return null;
  return html`<h3>The five nearest labelled rows</h3><div class="near">${data.map((one) => html`<figure key=${one.row}>
    <div class="shot"><img src=${linked(runPath(run, `/map/rows/${one.row}/picture?kind=test`))} alt=${`test of ${one.object_name}`} /></div>
    <figcaption><b class=${!item.label ? "" : one.label === item.label ? "same" : "other"}>${one.label}</b> ${one.set}<br />${one.similarity.toFixed(2)}</figcaption></figure>`)}</div>`;
}
