"use strict";
(() => {
  const copy = document.getElementById("copy");
  const id = document.getElementById("run-id");
  if (copy && id && navigator.clipboard) {
    copy.hidden = false;
    copy.addEventListener("click", () => navigator.clipboard.writeText(id.textContent.trim()).then(
      () => { copy.textContent = "copied"; }, () => { copy.textContent = "not allowed here"; }));
  }
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
})();
