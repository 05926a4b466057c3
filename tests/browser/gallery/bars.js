import { configure } from "/progress/progresskit.js";

/** Count something as under way; what is returned ends that, as often as it is called. */
const begin = () => {
  lab.underWay++;
  let ended = false;
  return () => {
    if (ended) return;
    ended = true;
    const channel = new MessageChannel(); // a task of its own, after the asker's; no timer: a test may have stopped the clock
    channel.port1.onmessage = () => lab.underWay--;
    channel.port2.postMessage("");
  };
};

const fetchAsIs = window.fetch;

/** Fetch, and be under way until whoever asked has had the whole answer. */
window.fetch = async (...what) => {
  const settle = begin();
  try {
    const response = await fetchAsIs(...what);
    response.clone().arrayBuffer().then(settle, settle);
    return response;
  } catch (error) {
    settle();
    throw error;
  }
};

/** A stream that is under way until it has told what there was when it began, or has failed. */
window.EventSource = class extends EventSource {
  #settle = begin();

  constructor(url) {
    super(url);
    lab.streams.push(this);
    for (const type of ["begun", "error"]) this.addEventListener(type, this.#settle);
  }

  close() {
    super.close();
    this.#settle();
  }
};

const { locks } = navigator;
if (locks) {
  const requestAsIs = locks.request.bind(locks);

  /** Ask for a lock, and be under way until it is had, or another page is known to have it. */
  locks.request = (...what) => {
    const settle = begin();
    const answer = requestAsIs(...what);
    locks.query().then(settle, settle); // told in the order in which it was asked
    return answer;
  };
}

const main = /** @type {HTMLElement} */ (document.querySelector("main"));

/** What the tests of the component use on its page. */
window.lab = {
  configure,

  /** Every event of every bar, in order. @type {{type: string, key: string, detail: any, at: number}[]} */
  events: [],

  /** Every text the live regions spoke. @type {string[]} */
  spoken: [],

  /** Every stream that was asked for. @type {EventSource[]} */
  streams: [],

  /** How often a bar began to move from one place to another. */
  moves: 0,

  /** How many requests, for records, streams and locks, have no answer yet. */
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
