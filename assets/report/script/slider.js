"use strict";
(() => {
  const FLIPS_SHOWN = 40;
  const store = document.getElementById("slider-data");
  const form = document.getElementById("slider");
  if (!store || !form) return;
  const data = JSON.parse(store.textContent);
  const cuts = data.thresholds;
  const labels = data.labels.map((one) => {
    let below = 0;
    return { name: one.name, n: one.n, below: one.steps.map((step) => (below += step)) };
  });
  const good = (one) => one.name === "PASS";
  const total = (some) => some.reduce((sum, one) => sum + one.n, 0);
  const goodRows = total(labels.filter(good));
  const badRows = total(labels.filter((one) => !good(one)));

  const bend = (score) => {
    if (data.axis.kind === "linear") return score;
    const inside = Math.min(Math.max(score, data.axis.low), data.axis.high);
    return Math.log(inside / (1 - inside));
  };
  const low = bend(data.axis.low);
  const high = bend(data.axis.high);
  const place = (score) => Math.min(Math.max((bend(score) - low) / (high - low), 0), 1);
  const lastAtOrBelow = (position) => {
    let first = 0;
    let last = cuts.length - 1;
    while (first < last) {
      const middle = (first + last + 1) >> 1;
      if (place(cuts[middle]) <= position) first = middle; else last = middle - 1;
    }
    return first;
  };

  const percent = (part, whole) => (whole ? (100 * part / whole).toFixed(2).replace(/\.00$/, "") + "%" : "–");
  const count = (number) => number.toLocaleString("en-US");
  const put = (name, text) => { document.getElementById(name).textContent = text; };
  const range = document.getElementById("cut");
  const probes = [...document.querySelectorAll(".ridges .threshold")];
  let index = data.marks.chosen;

  const paintRow = (row, one) => {
    const below = one.below[index];
    const above = one.n - below;
    const set = (cell, number, wrong) => {
      const box = row.querySelector(`[data-cell=${cell}]`);
      box.textContent = count(number);
      box.className = wrong ? (number ? "bad" : "none") : "ok";
    };
    set("pass", below, !good(one));
    set("no_pass", above, good(one));
    row.querySelector("[data-cell=right]").textContent = percent(good(one) ? below : above, one.n);
  };
  const paintCards = (cut) => document.querySelectorAll(".card[data-score]").forEach((card) => {
    const called = Number(card.dataset.score) > cut;
    const isGood = card.dataset.good === "1";
    const mark = card.querySelector(".decision");
    mark.textContent = isGood ? (called ? "false call" : "passes") : (called ? "caught" : "escapes");
    mark.className = `decision ${called === isGood ? "bad" : "ok"}`;
  });
  const flips = document.getElementById("flips");
  const listFlips = (cut) => {
    const chosen = cuts[data.marks.chosen];
    const [from, to] = [Math.min(cut, chosen), Math.max(cut, chosen)];
    let moved = 0;
    const start = data.marks.chosen;
    labels.forEach((one) => { moved += Math.abs(one.below[index] - one.below[start]); });
    flips.hidden = moved === 0;
    if (!moved) return;
    const verb = cut > chosen ? "NO_PASS → PASS" : "PASS → NO_PASS";
    put("flip-count", `${count(moved)} ${moved === 1 ? "part changes" : "parts change"} sides (${verb})`);
    const named = data.near.filter((one) => one.score > from && one.score <= to);
    document.getElementById("flip-rows").replaceChildren(...named.slice(0, FLIPS_SHOWN).map((one) => {
      const row = document.createElement("tr");
      [one.name, one.label, one.board || "–", Number(one.score.toPrecision(6))].forEach((text, place) => {
        const cell = document.createElement(place ? "td" : "th");
        if (!place) cell.scope = "row";
        const name = document.createElement("bdi");
        name.textContent = text;
        cell.append(name);
        row.append(cell);
      });
      return row;
    }));
    const left = moved - Math.min(named.length, FLIPS_SHOWN);
    put("flip-rest", left ? `and ${count(left)} more, farther from the chosen threshold` : "");
  };
  const show = (moveRange) => {
    const cut = cuts[index];
    let falseCalls = 0;
    let escapes = 0;
    labels.forEach((one) => { if (good(one)) falseCalls += one.n - one.below[index]; else escapes += one.below[index]; });
    put("out-threshold", Number(cut.toPrecision(6)));
    put("out-false", count(falseCalls));
    put("out-far", percent(falseCalls, goodRows));
    put("out-escapes", count(escapes));
    put("out-recall", percent(badRows - escapes, badRows));
    document.querySelector(".is-escape").classList.toggle("some", escapes > 0);
    document.querySelector(".live-threshold").textContent = Number(cut.toPrecision(6));
    document.querySelectorAll(".confusion [data-row]").forEach((row) => paintRow(row, labels[Number(row.dataset.row)]));
    probes.forEach((probe) => {
      const { left, right } = probe.dataset;
      probe.setAttribute("transform", `translate(${Number(left) + place(cut) * (right - left)} 0)`);
    });
    if (moveRange) range.value = Math.round(1000 * place(cut));
    listFlips(cut);
    range.setAttribute("aria-valuetext", `threshold ${cut.toPrecision(6)}, ${falseCalls} false calls, ${escapes} escapes`);
    paintCards(cut);
  };

  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  range.addEventListener("input", () => { index = lastAtOrBelow(range.value / 1000); show(false); });
  form.querySelectorAll("[data-step]").forEach((button) => button.addEventListener("click", () => {
    index = Math.min(Math.max(index + Number(button.dataset.step), 0), cuts.length - 1);
    show(true);
  }));
  form.querySelectorAll("[data-mark]").forEach((button) => button.addEventListener("click", () => {
    index = data.marks[button.dataset.mark];
    show(true);
  }));
  show(true);
})();
