// What every screen uses: preact with htm, the API, addresses, words and numbers.
import { h, render } from "preact";
import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import htm from "htm";

export const html = htm.bind(h);
export { render, useCallback, useEffect, useMemo, useRef, useState };

const TOKEN = new URLSearchParams(location.search).get("token") || "";
export const BROWSER = crypto.getRandomValues(new Uint32Array(3)).join("-");

export class Refused extends Error {
  constructor(status, answer) {
    super(answer.error || `status ${status}`);
    this.status = status;
    Object.assign(this, { code: answer.code, remedy: answer.remedy });
  }
}

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: { Authorization: `Bearer ${TOKEN}`, ...options.headers } });
  } catch {
    throw new Refused(0, { error: "the server does not answer; start it again: deft serve" });
  }
  if (!answer.ok) throw new Refused(answer.status, await answer.json().catch(() => ({})));
  return answer;
}

export const get = async (path) => (await ask(path)).json();
export const bytes = async (path) => (await ask(path)).arrayBuffer();
export const post = async (path, body) =>
  (await ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) })).json();

/** Address of something that a browser loads by itself: a picture, the report. */
export const linked = (path) => path + (path.includes("?") ? "&" : "?") + "token=" + encodeURIComponent(TOKEN);
export const runPath = (run, rest = "") => `/api/runs/${encodeURIComponent(run)}${rest}`;
export const query = (values) => new URLSearchParams(values).toString();

/** What an address gives, asked again when `key` changes; {data, error, again}. */
export function useAnswer(path, every = 0) {
  const [state, setState] = useState({});
  const asked = useRef(0);
  const load = useCallback(() => {
    if (!path) return undefined;
    const mine = ++asked.current;
    return get(path).then(
      (data) => mine === asked.current && setState({ data, path }),
      (error) => mine === asked.current && setState((old) => ({ data: old.path === path ? old.data : undefined, path, error })),
    );
  }, [path]);
  useEffect(() => {
    load();
    if (!every) return undefined;
    const timer = setInterval(() => document.hidden || load(), every);
    return () => clearInterval(timer);
  }, [load, every]);
  return { data: state.path === path ? state.data : undefined, error: state.path === path ? state.error : undefined, again: load };
}

/** The parts of the address behind #/. */
export function useRoute() {
  const read = () => location.hash.replace(/^#\/?/, "").split("/").filter(Boolean).map(decodeURIComponent);
  const [route, setRoute] = useState(read);
  useEffect(() => {
    const changed = () => setRoute(read());
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return route;
}

export const href = (...parts) => "#/" + parts.map(encodeURIComponent).join("/");

/** Text kept by this browser. */
export function useKept(name, start) {
  const [value, setValue] = useState(() => localStorage.getItem(`deft.${name}`) ?? start);
  const keep = (text) => { localStorage.setItem(`deft.${name}`, text); setValue(text); };
  return [value, keep];
}

export const STATUS = {
  waiting: ["waits for approval", "warn"], not_started: ["not started", "quiet"], in_progress: ["running", "info"],
  hard_stop: ["hard stop", "bad"], complete: ["complete", "good"], damaged: ["damaged", "bad"],
};

export const pct = (value, digits = 2) => (value === null || value === undefined ? "–" : `${value.toFixed(digits)}%`);
export const count = (value) => (value === null || value === undefined ? "–" : value.toLocaleString("en"));
export const num = (value) => (value === null || value === undefined ? "–" : Number(value.toPrecision(6)).toString());
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

export const Pill = ({ tone, children }) => html`<span class=${`pill ${tone}`}>${children}</span>`;
export const Fault = ({ error }) => error && html`<p class="fault" role="alert">${error.message}</p>`;
export const Loading = ({ what }) => html`<p class="quiet" role="status">Loading ${what} …</p>`;
