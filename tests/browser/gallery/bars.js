import { configure } from "/progress/progresskit.js";

const fetchAsIs = window.fetch;

/** Fetch, and count as under way until whoever asked has had the whole answer. */
window.fetch = async (...what) => {
  lab.underWay++;
  const settle = () => {
    const channel = new MessageChannel(); // a task of its own, after the asker's; no timer: a test may have stopped the clock
    channel.port1.onmessage = () => lab.underWay--;
    channel.port2.postMessage("");
  };
  try {
    const response = await fetchAsIs(...what);
    response.clone().arrayBuffer().then(settle, settle);
    return response;
  } catch (error) {
    settle();
    throw error;
  }
};

const main = /** @type {HTMLElement} */ (document.querySelector("main"));

/** What the tests of the component use on its page. */
window.lab = {
  configure,

  /** Every event of every bar, in order. @type {{type: string, key: string, detail: any, at: number}[]} */
  events: [],

  /** Every text the live regions spoke. @type {string[]} */
  spoken: [],

  /** How often a bar began to move from one place to another. */
  moves: 0,

  /** How many requests have no answer yet. */
  underWay: 0,

  add(keys, attributes = {}) {
    for (const key of keys) {
      const bar = document.createElement("progress-bar");
      for (const [name, value] of Object.entries({ src: `/progress/${key}/`, id: key, ...attributes })) bar.setAttribute(name, value);
      main.append(bar);
      bar.shadowRoot.querySelector("[part=fill]").addEventListener("transitionrun", () => lab.moves++);
      new MutationObserver((changes) => changes.forEach(({ target }) => lab.spoken.push(target.textContent))).observe(
        bar.shadowRoot.querySelector("[role=status]"),
        { childList: true },
      );
    }
  },

  setHidden(hidden) {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
    document.dispatchEvent(new Event("visibilitychange"));
  },
};

for (const type of ["progress", "done", "error"]) {
  main.addEventListener(type, (event) => lab.events.push({ type, key: event.target.id, detail: event.detail, at: Date.now() }));
}
document.documentElement.dataset.ready = "";
