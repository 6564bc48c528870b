"use strict";
(() => {
  const cards = [...document.querySelectorAll("#pictures .card")];
  const filters = document.getElementById("filters");
  const viewer = document.getElementById("viewer");
  if (!cards.length || !filters || !viewer) return;

  // Filters: each select lists what the cards hold.
  const asked = [...filters.querySelectorAll("select")];
  const lights = [...new Set([...document.querySelectorAll(".light[data-light]")].map((one) => one.dataset.light))];
  const kept = (card, name, value) => !value || name === "light" || card.dataset[name] === value;
  asked.forEach((select) => {
    const values = select.name === "light" ? lights : [...new Set(cards.map((card) => card.dataset[select.name]))];
    values.filter(Boolean).sort().forEach((value) => select.add(new Option(value, value)));
    select.closest("label").hidden = select.options.length < 3;
  });
  const apply = () => {
    cards.forEach((card) => { card.hidden = !asked.every((select) => kept(card, select.name, select.value)); });
    const light = filters.elements.light.value;
    document.querySelectorAll(".light[data-light]").forEach((one) => {
      one.hidden = Boolean(light) && one.dataset.light !== light;
    });
    document.querySelectorAll("#pictures .group").forEach((group) => {
      group.hidden = ![...group.querySelectorAll(".card")].some((card) => !card.hidden);
    });
    const shown = cards.filter((card) => !card.hidden).length;
    document.getElementById("shown").textContent = `${shown} of ${cards.length} pairs`;
  };
  filters.hidden = false;
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.addEventListener("reset", () => setTimeout(apply));
  filters.addEventListener("change", apply);
  apply();

  // The viewer: one pair large; test, golden and difference in one place, so that the eye compares by flicker.
  const big = new Image();
  document.getElementById("stage").append(big);
  const VIEWS = ["test", "golden", "third"];
  let card = null;
  let light = 0;
  let view = 0;
  let timer = 0;
  const sights = () => [...card.querySelectorAll(".light")].filter((one) => !one.hidden);
  const pictureOf = (sight, place) => sight.querySelectorAll(".shot")[place];
  const paint = () => {
    const sight = sights()[light];
    const figure = pictureOf(sight, view);
    const source = figure.querySelector("img");
    big.hidden = !source;
    if (source) { big.src = source.src; big.alt = source.alt; }
    const { dx, dy } = sight.dataset;
    big.style.translate = VIEWS[view] === "golden" ? `${100 * dx}% ${100 * dy}%` : "none";
    viewer.querySelectorAll("[data-view]").forEach((button) => {
      button.setAttribute("aria-pressed", String(Number(button.dataset.view) === view));
      button.textContent = pictureOf(sight, Number(button.dataset.view)).querySelector("figcaption").textContent;
    });
    document.getElementById("viewer-title").textContent = card.querySelector("h4").textContent;
    const about = [card.querySelector(".object").textContent.trim().replace(/\s+/g, " "), sight.dataset.light];
    const score = card.querySelector(".score");
    if (score) about.push(score.textContent.trim());
    document.getElementById("viewer-about").textContent = about.join(" · ");
    viewer.querySelector("[data-do=light]").hidden = sights().length < 2;
  };
  const flicker = (on) => {
    clearInterval(timer);
    timer = on ? setInterval(() => { view = view ? 0 : 1; paint(); }, 450) : 0;
    viewer.querySelector("[data-do=flicker]").setAttribute("aria-pressed", String(on));
  };
  const look = (number) => { flicker(false); view = number; paint(); };
  const go = (step) => {
    const shown = cards.filter((one) => !one.hidden);
    card = shown[(shown.indexOf(card) + step + shown.length) % shown.length];
    light = 0;
    paint();
  };
  const deeds = {
    previous: () => go(-1),
    next: () => go(1),
    flicker: () => { view = 0; paint(); flicker(!timer); },
    light: () => { light = (light + 1) % sights().length; paint(); },
    close: () => viewer.close(),
  };
  const keys = { ArrowLeft: "previous", ArrowRight: "next", f: "flicker", l: "light" };
  viewer.querySelectorAll("[data-do]").forEach((button) => button.addEventListener("click", () => deeds[button.dataset.do]()));
  viewer.querySelectorAll("[data-view]").forEach((button) => button.addEventListener("click", () => look(Number(button.dataset.view))));
  viewer.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (keys[event.key]) { deeds[keys[event.key]](); event.preventDefault(); }
    else if (["1", "2", "3"].includes(event.key)) look(Number(event.key) - 1);
  });
  viewer.addEventListener("close", () => { flicker(false); card.querySelector(".compare").focus(); });
  cards.forEach((one) => {
    const open = () => { card = one; light = 0; view = 0; viewer.showModal(); paint(); };
    const button = one.querySelector(".compare");
    button.hidden = false;
    button.addEventListener("click", open);
    one.querySelectorAll(".shot img").forEach((picture) => picture.addEventListener("click", open));
  });
})();
