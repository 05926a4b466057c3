/** What the page does by itself. Without this file it works too, one page after the other. */

import "/progress/progresskit.js";

const list = /** @type {HTMLElement} */ (document.getElementById("list"));
const problem = /** @type {HTMLElement} */ (document.querySelector(".problem"));
const drop = /** @type {HTMLFormElement} */ (document.querySelector(".drop"));
const file = /** @type {HTMLInputElement} */ (drop.elements.namedItem("file"));

/** Send a form as a browser would, with the header that tells a script from a browser. @param {HTMLFormElement} form */
async function send(form) {
  problem.textContent = "";
  form.classList.add("busy");
  try {
    const response = await fetch(form.action, { method: "POST", body: new FormData(form), headers: { "X-Progresskit": "1" } });
    if (response.ok) return response;
    problem.textContent = (await response.json()).error;
  } catch {
    problem.textContent = "The demo does not answer. Is it still running?";
  } finally {
    form.classList.remove("busy");
  }
}

/** @param {string} html */
function elementOf(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return /** @type {HTMLElement} */ (template.content.querySelector("article"));
}

// Other tabs look at the list when it changes here, and this one when it changes there or while nobody looked.
const others = new BroadcastChannel("progresskit demo");
others.onmessage = () => refresh();
document.addEventListener("visibilitychange", () => document.hidden || refresh());

let changes = 0;

/** Make the list that of the server; what is in both stays as it is, with its bar. @returns {Promise<void>} */
async function refresh() {
  const seen = changes;
  const html = await fetch("").then((response) => response.ok && response.text(), () => false);
  if (seen !== changes) return refresh(); // it may be older than what was done here
  if (!html) return;
  const cards = [...new DOMParser().parseFromString(html, "text/html").querySelectorAll("#list > article")];
  for (const card of [...list.children]) if (!cards.some(({ id }) => id === card.id)) card.remove();
  cards.forEach((card, place) => {
    if (!document.getElementById(card.id)) list.insertBefore(document.adoptNode(card), list.children[place] ?? null);
  });
}

/** Add a job that was started here, and bring it into view. @param {HTMLElement} card */
function add(card) {
  if (document.getElementById(card.id)) return; // the list was refreshed meanwhile
  list.prepend(card);
  const calm = matchMedia("(prefers-reduced-motion)").matches;
  card.scrollIntoView({ block: "nearest", behavior: calm ? "instant" : "smooth" });
}

document.addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = /** @type {HTMLFormElement} */ (event.target);
  const response = await send(form);
  if (!response) return;
  if (form.matches(".clear")) {
    const { cleared } = await response.json();
    for (const id of cleared) document.getElementById(`job-${id}`)?.remove();
  } else {
    add(elementOf(await response.text()));
  }
  changes++;
  others.postMessage("changed");
});

list.addEventListener("progress", (event) => {
  const { target, detail } = /** @type {CustomEvent} */ (event);
  const when = /** @type {HTMLElement} */ (/** @type {HTMLElement} */ (target).closest("article")?.querySelector(".when"));
  const time = /** @type {HTMLTimeElement} */ (when.querySelector("time"));
  if (!detail.started_at || time.dateTime === detail.started_at) return;
  time.dateTime = detail.started_at;
  time.textContent = new Date(detail.started_at).toTimeString().slice(0, 8);
  /** @type {HTMLElement} */ (when.querySelector("span")).textContent = "Started";
});

// What came of a job is on the server.
list.addEventListener("done", async ({ target }) => {
  const job = /** @type {HTMLElement} */ (/** @type {HTMLElement} */ (target).closest("article"));
  const response = await fetch(job.dataset.url ?? "");
  const result = response.ok && elementOf(await response.text()).querySelector(".result");
  if (result && !job.querySelector(".result")) job.append(result);
});

function upload() {
  const [chosen] = file.files ?? [];
  if (!chosen) return;
  if (chosen.size > Number(drop.dataset.most)) {
    problem.textContent = `${chosen.name} is too large: this demo takes up to ${Number(drop.dataset.most) / 2 ** 20} MiB.`;
  } else {
    drop.requestSubmit();
  }
}

// The form is read as it is sent, so the field can be emptied at once: the same file may be chosen again.
file.addEventListener("change", () => {
  upload();
  setTimeout(() => (file.value = ""));
});

let over = 0; // how many elements deep the file is dragged
for (const [name, step] of Object.entries({ dragenter: 1, dragleave: -1, dragover: 0, drop: 0 })) {
  addEventListener(name, (event) => {
    const { dataTransfer } = /** @type {DragEvent} */ (event);
    if (!dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    over = name === "drop" ? 0 : over + step;
    drop.classList.toggle("over", over > 0);
    if (name !== "drop") return;
    file.files = dataTransfer.files;
    upload();
    setTimeout(() => (file.value = ""));
  });
}
