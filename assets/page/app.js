// The page to work in: which screen is shown, and what all of them share.
import { Fault, href, html, Pill, render, STATUS, useAnswer, useRoute } from "/static/core.js";
import { Compare } from "/static/views/compare.js";
import { Figures } from "/static/views/figures.js";
import { Live } from "/static/views/live.js";
import { MapView } from "/static/views/map.js";
import { Review } from "/static/views/review.js";
import { Runs } from "/static/views/runs.js";

const SCREENS = { live: ["Live", Live], review: ["Review", Review], map: ["Map", MapView], figures: ["Figures", Figures] };

function App() {
  const [kind, run, screen = "live"] = useRoute();
  const { data: about, error } = useAnswer("/api/about");
  const { data: runs, error: lost } = useAnswer("/api/runs", 5000);
  const known = kind === "run" && runs ? runs.find((one) => one.key === run) : null;
  const [, View] = SCREENS[screen] || SCREENS.live;
  return html`
    <a class="skip" href="#main">Skip to the content</a>
    <header class="top">
      <a class="brand" href=${href()}>DEFT</a>
      ${known && html`<span class="where" title=${known.workspace}>${known.name}</span>
        <${Pill} tone=${STATUS[known.status][1]}>${STATUS[known.status][0]}<//>`}
      ${kind === "run" && html`<nav aria-label="Screens of the run">${Object.entries(SCREENS).map(([key, [title]]) => html`
        <a key=${key} href=${href("run", run, key)} aria-current=${key === screen ? "page" : undefined}>${title}</a>`)}</nav>`}
      ${about?.look && html`<${Pill} tone="quiet">read only<//>`}
    </header>
    <main id="main" tabindex="-1">
      <${Fault} error=${error || lost} />
      ${kind === "run" ? known && html`<${View} key=${run + screen} run=${run} known=${known} look=${about?.look} />`
        : kind === "compare" ? html`<${Compare} a=${run} b=${screen} />`
        : runs && html`<${Runs} runs=${runs} />`}
      ${kind === "run" && runs && !known && html`<p class="fault">No such run on this server. <a href=${href()}>All runs</a></p>`}
    </main>`;
}

render(html`<${App} />`, document.getElementById("app"));
