"use strict";
(() => {
  // A number where a cell starts with one (1,234 · 3.6% · 12 of 40), else its text.
  const key = (cell) => {
    const text = (cell.dataset.sort ?? cell.textContent).trim();
    const number = /^[−-]?[\d,]*\.?\d+/.exec(text);
    return number ? Number(number[0].replace(/,/g, "").replace("−", "-")) : text.toLowerCase();
  };
  const order = (a, b) => {
    if (typeof a === typeof b) return a < b ? -1 : a > b ? 1 : 0;
    return typeof a === "number" ? -1 : 1;
  };
  document.querySelectorAll("table.sortable").forEach((table) => {
    const body = table.tBodies[0];
    if (body.rows.length < 2) return;
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const falling = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((one) => one.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", falling ? "descending" : "ascending");
        const rows = [...body.rows].map((row) => [key(row.cells[column]), row]);
        rows.sort((one, other) => (falling ? -1 : 1) * order(one[0], other[0]));
        body.append(...rows.map(([, row]) => row));
      });
    });
  });
  // Narrow screens show one row below the other: each cell then says what its column is.
  document.querySelectorAll(".scroll table:not(.confusion)").forEach((table) => {
    if (!table.tHead) return;
    const heads = [...table.tHead.rows[0].cells].map((head) => head.textContent.trim());
    [...table.tBodies, table.tFoot].forEach((part) => part && [...part.rows].forEach((row) => {
      [...row.cells].forEach((cell, column) => { cell.dataset.head = heads[column] || ""; });
    }));
    table.classList.add("stacked");
  });
})();
