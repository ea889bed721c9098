"use strict";
// Keys: / to the box, j and k through what was found, Enter opens it, n to the next page. Times as where the reader is.
const box = document.getElementById("q");
const found = [...document.querySelectorAll(".messages article")];
const narrow = document.querySelector("details.narrow");
if (narrow && matchMedia("(max-width: 52rem)").matches) narrow.open = false;
const shown = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
for (const time of document.querySelectorAll("time")) time.textContent = shown.format(new Date(time.dateTime));
document.addEventListener("keydown", (press) => {
  if (press.ctrlKey || press.metaKey || press.altKey) return;
  if (press.target === box) {
    if (press.key === "Escape") box.blur();
    return;
  }
  const at = found.indexOf(document.activeElement.closest("article"));
  if (press.key === "/") {
    press.preventDefault();
    box.focus();
    box.select();
  } else if (press.key === "j" || press.key === "k") {
    const one = found[press.key === "j" ? at + 1 : Math.max(0, at - 1)];
    if (one) one.focus();
  } else if (press.key === "n") {
    document.getElementById("more")?.click();
  } else if (press.key === "Enter" && at >= 0 && document.activeElement === found[at]) {
    found[at].querySelector("a.when").click();
  }
});
