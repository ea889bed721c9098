// The little that pages can't do by themselves: the menu on small screens, times of this place, live figures.
"use strict";

const menu = document.getElementById("menu");
const navigation = document.getElementById("navigation");
if (menu && navigation) {
  document.documentElement.classList.add("scripted");
  menu.addEventListener("click", () => {
    const isOpen = navigation.classList.toggle("open");
    menu.setAttribute("aria-expanded", String(isOpen));
  });
}

for (const time of document.querySelectorAll("time[data-ms]")) {
  const when = new Date(Number(time.dataset.ms));
  if (!Number.isNaN(when.getTime())) {
    time.title = time.textContent;
    time.textContent = when.toLocaleString(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
  }
}

for (const button of document.querySelectorAll("button.blurred")) {
  button.setAttribute("aria-pressed", "false");
  button.addEventListener("click", () => {
    button.setAttribute("aria-pressed", String(button.classList.toggle("clear")));
  });
}

const live = document.querySelector("[data-live]");
if (live) {
  const renew = async () => {
    if (document.hidden) return;
    const answer = await fetch(live.dataset.live, { headers: { Accept: "application/json" }, redirect: "error" });
    if (!answer.ok) return;
    const { figures, lags } = await answer.json();
    for (const [name, value] of Object.entries(figures)) {
      const shown = live.querySelector(`[data-figure="${CSS.escape(name)}"]`);
      if (shown) shown.textContent = value;
    }
    for (const [name, value] of Object.entries(lags)) {
      const shown = document.querySelector(`[data-lag="${CSS.escape(name)}"]`);
      if (shown) shown.textContent = value;
    }
  };
  setInterval(() => renew().catch(() => undefined), 5000);
}
