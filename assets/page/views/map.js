// Every row of all sets as a point: colours, filters, lasso, search; a click shows the pair and its neighbours.
import {
  bytes, count, Fault, get, html, Loading, query, runPath, useAnswer, useCallback, useEffect, useMemo, useRef, useRoute, useState,
} from "/static/core.js";
import { Selected, Uncovered } from "/static/views/map_side.js";
import { colours, inside, pixel, ramp, Raster } from "/static/views/raster.js";

const COLOUR_WORDS = { set: "set", label: "label", board: "board", type: "component type", score: "score", provenance: "provenance", mined: "iteration mined" };
const FIELDS = ["set", "label", "board", "type", "provenance", "mined"];
const EMPTY = { mined: "not mined", provenance: "not trained on", label: "no label", board: "no board named", type: "no type named" };

function unpack(buffer, n) {
  const floats = new Float32Array(buffer, 0, 3 * n);
  const data = { n, x: floats.subarray(0, n), y: floats.subarray(n, 2 * n), score: floats.subarray(2 * n) };
  FIELDS.forEach((name, k) => { data[name] = new Uint8Array(buffer, 12 * n + k * n, n); });
  data.there = new Uint8Array(buffer, 12 * n + FIELDS.length * n, n);
  const end = 12 * n + (FIELDS.length + 1) * n;
  data.links = new Uint32Array(buffer, end + ((4 - (end % 4)) % 4));
  return data;
}

export function MapView({ run, look }) {
  const { data: about, error } = useAnswer(runPath(run, "/map"));
  const [data, setData] = useState(null);
  const [fault, setFault] = useState(null);
  useEffect(() => {
    if (about) bytes(runPath(run, "/map/points")).then((buffer) => setData(unpack(buffer, about.rows)), setFault);
  }, [about]);
  if (error || fault) return html`<${Fault} error=${error || fault} />`;
  if (!data) return html`<${Loading} what="the map (the first time it is computed)" />`;
  return html`<${Plane} run=${run} about=${about} data=${data} look=${look} />`;
}

function Plane({ run, about, data, look }) {
  const [, , , given = ""] = useRoute();
  const [by, setBy] = useState(given.split("=")[0] && FIELDS.includes(given.split("=")[0]) ? given.split("=")[0] : "set");
  const [off, setOff] = useState(() => offFrom(given, about));
  const [lines, setLines] = useState(false);
  const [lasso, setLasso] = useState(false);
  const [chosen, setChosen] = useState([]);
  const [row, setRow] = useState(-1);
  const [found, setFound] = useState(null);
  const [text, setText] = useState("");
  const [took, setTook] = useState(null);
  const names = about.names[by] || [];
  const hues = useMemo(() => (by === "score" ? [] : colours(names)), [by]);

  const shown = useMemo(() => {
    const keep = new Uint8Array(data.n).fill(1);
    for (const field of FIELDS) if (off[field]?.size) for (let n = 0; n < data.n; n++) if (off[field].has(data[field][n])) keep[n] = 0;
    const size = new Uint32Array(256);
    const codes = by === "score" ? data.label : data[by];
    for (let n = 0; n < data.n; n++) size[codes[n]]++;
    const order = [];
    for (let n = 0; n < data.n; n++) if (keep[n] && data.there[n]) order.push(n);
    order.sort((a, b) => size[codes[b]] - size[codes[a]] || a - b);  // small groups are on top
    return { x: data.x, y: data.y, order: Uint32Array.from(order), size: order.length > 20000 ? 2 : order.length > 3000 ? 3.5 : 6 };
  }, [data, off, by]);

  const ink = useMemo(() => {
    const out = new Uint32Array(data.n);
    if (by === "score") {
      const ranked = Float32Array.from(data.score.filter((s) => !Number.isNaN(s))).sort();
      const place = (s) => { let [a, b] = [0, ranked.length]; while (a < b) { const m = (a + b) >> 1; if (ranked[m] < s) a = m + 1; else b = m; } return a / Math.max(1, ranked.length - 1); };
      for (let n = 0; n < data.n; n++) out[n] = Number.isNaN(data.score[n]) ? pixel("#8b949c") : pixel(ramp(Math.min(0.999, place(data.score[n]))));
    } else { const table = hues.map(pixel); for (let n = 0; n < data.n; n++) out[n] = table[data[by][n]]; }
    for (const n of chosen) out[n] = pixel("#ff3df2");
    if (found) for (const n of found) out[n] = pixel("#ff3df2");
    return out;
  }, [data, by, hues, chosen, found]);

  const look_for = async (event) => { event.preventDefault(); setFound(text.trim() ? await get(runPath(run, `/map/find?${query({ text })}`)) : null); };
  const toggle = (code) => setOff((old) => {
    const set = new Set(old[by]);
    if (set.has(code)) set.delete(code); else set.add(code);
    return { ...old, [by]: set };
  });
  const missing = about.rows - about.with_vector;
  return html`<div class="head"><h1>Map</h1><span class="quiet">${count(about.rows)} rows of ${Object.keys(about.counts).join(", ")} ·
      placed by their ${about.vectors}, in two principal components: near points look alike.
      ${missing > 0 ? ` ${count(missing)} rows have none yet and are not drawn.` : ""}</span></div>
    <div class="row toolbar">
      <label class="row">colour <select value=${by} onChange=${(e) => setBy(e.target.value)}>${Object.entries(COLOUR_WORDS).map(([key, words]) => html`<option key=${key} value=${key}>${words}</option>`)}</select></label>
      <button aria-pressed=${lasso} onClick=${() => setLasso(!lasso)}>lasso</button>
      <button aria-pressed=${lines} disabled=${!about.links} onClick=${() => setLines(!lines)}>mined → asked (${count(about.links)})</button>
      <form class="row find" role="search" onSubmit=${look_for}><input type="search" aria-label="find rows by name or folder" placeholder="find a name" value=${text} onInput=${(e) => setText(e.target.value)} /><button>Find</button>
        ${found && html`<span class="quiet">${count(found.length)} found</span>`}</form>
    </div>
    <div class="map"><${Canvas} shown=${shown} ink=${ink} data=${data} lines=${lines} lasso=${lasso} row=${row} setRow=${setRow} setChosen=${setChosen} setTook=${setTook} took=${took} about=${about} />
      <div>
        ${by !== "score" ? html`<section class="card"><h2>${COLOUR_WORDS[by]}</h2><${Legend} names=${names} hues=${hues} codes=${data[by]} off=${off[by]} toggle=${toggle} by=${by} /></section>`
          : html`<section class="card"><h2>score</h2><p class="quiet">By rank: blue is low (like PASS), red is high. Grey rows were not scored.</p></section>`}
        <${Uncovered} run=${run} look=${look} show=${setChosen} />
        <${Selected} run=${run} row=${row} setRow=${setRow} chosen=${chosen} clear=${() => setChosen([])} data=${data} about=${about} /></div></div>`;
}

/** Filter that another screen's link names: `label=bridge` hides every other label. */
function offFrom(given, about) {
  const [field, name] = given.split("=");
  const at = (about.names[field] || []).indexOf(name);
  return at < 0 ? {} : { [field]: new Set(about.names[field].map((_, n) => n).filter((n) => n !== at)) };
}

function Legend({ names, hues, codes, off, toggle, by }) {
  const size = useMemo(() => { const all = new Uint32Array(256); for (const code of codes) all[code]++; return all; }, [codes]);
  return html`<div class="legend">${names.map((name, n) => html`<button key=${n} aria-pressed=${!off?.has(n)} onClick=${() => toggle(n)}>
    <span class="dot" style=${`background:${hues[n]}`}></span><span class="break">${name || EMPTY[by] || "none"}</span><span class="quiet">${count(size[n])}</span></button>`)}</div>`;
}

function Canvas({ shown, ink, data, lines, lasso, row, setRow, setChosen, setTook, took, about }) {
  const below = useRef(); const above = useRef(); const raster = useRef(); const drag = useRef(null); const asked = useRef(0);
  const paint = useCallback(() => {
    const r = raster.current;
    r.fit();
    r.draw({ ...shown, ink });
    overlay(above.current, r, data, { lines, row, drag: drag.current, shown });
    const [first] = shown.order;
    window.deftMap = {  // what a measurement reads: time of a frame, frames so far, rows, and where the first one is
      took: r.took, frames: (window.deftMap?.frames || 0) + 1, rows: shown.order.length,
      first: first === undefined ? null : r.at(data.x[first], data.y[first]).map((v) => v / r.ratio),
    };
  }, [shown, ink, lines, row, data]);
  const soon = useCallback(() => {
    if (!asked.current) asked.current = requestAnimationFrame(() => { asked.current = 0; paint(); });
  }, [paint]);
  useEffect(() => {
    raster.current ||= new Raster(below.current);
    paint(); setTook(raster.current.took);
    const watch = new ResizeObserver(soon);
    watch.observe(below.current);
    return () => { watch.disconnect(); cancelAnimationFrame(asked.current); asked.current = 0; };
  }, [paint]);

  const down = (event) => {
    event.currentTarget.setPointerCapture(event.pointerId);
    const r = raster.current;
    drag.current = lasso || event.shiftKey ? { path: [r.under(event)] } : { from: [event.clientX, event.clientY], view: { ...r.view }, moved: false };
  };
  const move = (event) => {
    const [r, now] = [raster.current, drag.current];
    if (!now) return;
    if (now.path) now.path.push(r.under(event));
    else {
      const [dx, dy] = [event.clientX - now.from[0], event.clientY - now.from[1]];
      now.moved ||= Math.hypot(dx, dy) > 4;
      r.view.x = now.view.x - (dx * r.ratio) / r.unit; r.view.y = now.view.y + (dy * r.ratio) / r.unit;
    }
    soon();
  };
  const up = (event) => {
    const now = drag.current;
    drag.current = null;
    if (now?.path) setChosen(now.path.length > 3 ? inside(now.path, shown) : []);
    else if (now && !now.moved) setRow(raster.current.pick(raster.current.under(event), shown));
    soon();
  };
  const zoom = (factor, at) => {
    const { view } = raster.current;
    const scale = Math.min(400, Math.max(0.5, view.scale * factor));
    view.x = at[0] + ((view.x - at[0]) * view.scale) / scale; view.y = at[1] + ((view.y - at[1]) * view.scale) / scale; view.scale = scale;
    soon();
  };
  const wheel = (event) => { event.preventDefault(); zoom(Math.exp(-event.deltaY * 0.0016), raster.current.under(event)); };
  useEffect(() => { const node = above.current; node.addEventListener("wheel", wheel, { passive: false }); return () => node.removeEventListener("wheel", wheel); }, [soon]);
  const key = (event) => {
    const { view } = raster.current;
    const step = 0.15 / view.scale;
    const acts = { ArrowLeft: () => { view.x -= step; }, ArrowRight: () => { view.x += step; }, ArrowUp: () => { view.y += step; }, ArrowDown: () => { view.y -= step; },
      "+": () => zoom(1.4, [view.x, view.y]), "-": () => zoom(1 / 1.4, [view.x, view.y]), 0: () => Object.assign(view, { x: 0, y: 0, scale: 1 }) };
    if (acts[event.key]) { event.preventDefault(); acts[event.key](); soon(); }
  };
  return html`<div class="plane">
    <canvas ref=${below}></canvas>
    <canvas ref=${above} class=${lasso ? "lasso" : ""} tabindex="0" role="img" aria-label=${`map of ${about.with_vector} rows; arrows move, plus and minus zoom, 0 fits`}
      onPointerDown=${down} onPointerMove=${move} onPointerUp=${up} onPointerCancel=${up} onKeyDown=${key} onDblClick=${(e) => zoom(2, raster.current.under(e))}></canvas>
    <span class="corner quiet">${count(shown.order.length)} shown${took !== null ? ` · drawn in ${took.toFixed(0)} ms` : ""}</span></div>`;
}

function overlay(canvas, raster, data, { lines, row, drag, shown }) {
  [canvas.width, canvas.height] = [raster.canvas.width, raster.canvas.height];
  const pen = canvas.getContext("2d");
  const ink = getComputedStyle(canvas).color;
  if (lines) {
    const keep = new Set(shown.order);
    pen.strokeStyle = ink; pen.globalAlpha = 0.35; pen.lineWidth = 1;
    pen.beginPath();
    for (let k = 0; k < data.links.length; k += 2) {
      const [a, b] = [data.links[k], data.links[k + 1]];
      if (!keep.has(a) || !data.there[b]) continue;
      pen.moveTo(...raster.at(data.x[a], data.y[a])); pen.lineTo(...raster.at(data.x[b], data.y[b]));
    }
    pen.stroke(); pen.globalAlpha = 1;
  }
  if (row >= 0) { pen.strokeStyle = ink; pen.lineWidth = 2.5; pen.beginPath(); pen.arc(...raster.at(data.x[row], data.y[row]), 9 * raster.ratio, 0, 7); pen.stroke(); }
  if (drag?.path) { pen.strokeStyle = ink; pen.setLineDash([5, 4]); pen.beginPath(); drag.path.forEach((p, n) => pen[n ? "lineTo" : "moveTo"](...raster.at(...p))); pen.stroke(); }
}

