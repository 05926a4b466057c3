/** What the page does by itself. Without this file it works too, one page after the other. */

import "/progress/progresskit.js";

const list = /** @type {HTMLElement} */ (document.getElementById("list"));
const problem = /** @type {HTMLElement} */ (document.querySelector(".problem"));
const drop = /** @type {HTMLFormElement} */ (document.querySelector(".drop"));
const file = /** @type {HTMLInputElement} */ (drop.elements.namedItem("file"));

/** Make the list that of the page; what is in both stays as it is, with its bar. @param {Document} page */
function merge(page) {
  const cards = [...page.querySelectorAll("#list > article")];
  for (const card of [...list.children]) if (!cards.some(({ id }) => id === card.id)) card.remove();
  cards.forEach((card, place) => {
    const shown = document.getElementById(card.id);
    const result = card.querySelector(".result");
    if (!shown) list.insertBefore(document.adoptNode(card), list.children[place] ?? null);
    else if (result && !shown.querySelector(".result")) shown.append(result);
  });
}

let last = Promise.resolve();

/** Merge what the server answers, one request after the other: no older list follows a newer one. @param {HTMLFormElement} [form] */
function ask(form) {
  const body = form && new FormData(form);
  last = last.then(async () => {
    form?.classList.add("busy");
    try {
      const response = await fetch(form?.action ?? "", body && { method: "POST", body });
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      if (form) problem.textContent = page.querySelector(".problem")?.textContent ?? "";
      merge(page);
      if (form && response.ok && !form.matches(".clear")) list.firstElementChild?.scrollIntoView({ block: "nearest" });
    } catch {
      if (form) problem.textContent = "The demo does not answer. Is it still running?";
    }
    form?.classList.remove("busy");
  });
  return last;
}

// Other tabs look at the list when it changes here, and this one when it changes there or while nobody looked.
const others = new BroadcastChannel("progresskit demo");
others.onmessage = () => ask();
document.addEventListener("visibilitychange", () => document.hidden || ask());
list.addEventListener("done", () => ask()); // the result of a job is on the server

document.addEventListener("submit", async (event) => {
  event.preventDefault();
  await ask(/** @type {HTMLFormElement} */ (event.target));
  others.postMessage("changed");
});

file.addEventListener("change", () => {
  const [chosen] = file.files ?? [];
  if (!chosen) return;
  if (chosen.size > Number(drop.dataset.most)) {
    problem.textContent = `${chosen.name} is too large: this demo takes up to ${Number(drop.dataset.most) / 2 ** 20} MiB.`;
  } else {
    drop.requestSubmit();
  }
  file.value = ""; // what is sent was read already, and the same file may be chosen again
});

for (const name of ["dragenter", "dragleave", "drop"]) {
  file.addEventListener(name, () => drop.classList.toggle("over", name === "dragenter"));
}
