// <progress-group label="Nightly import" open cancel>: one bar for all the <progress-bar> inside, which it can show and hide.

import { ProgressBar, fillIn, strings } from "./progresskit.js";

const words = {
  done: "done",
  nRunning: "{n} running",
  nRetrying: "{n} retrying",
  nStalled: "{n} stalled",
  nCancelling: "{n} cancelling",
  nCancelled: "{n} cancelled",
  nWaiting: "{n} waiting",
  more: "{n} more",
};
Object.assign(strings, { ...words, ...strings }); // the page may have replaced some already

const NAMED = 3; // at most this many of the running jobs are named

// What is counted: under which name, the states of bars that belong to it, and how it is shown.
const KINDS = [
  { name: "running", states: ["running"], text: "nRunning", tone: "accent" },
  { name: "retrying", states: ["retrying"], text: "nRetrying", tone: "warning" },
  { name: "stalled", states: ["stalled"], text: "nStalled", tone: "warning" },
  { name: "cancelling", states: ["cancelling"], text: "nCancelling", tone: "muted" },
  { name: "failed", states: ["failed", "error"], text: "nFailed", tone: "danger" },
  { name: "cancelled", states: ["cancelled"], text: "nCancelled", tone: "muted" },
  { name: "waiting", states: ["connecting", "pending"], text: "nWaiting", tone: "muted" },
];

const sheet = new CSSStyleSheet();
sheet.replaceSync(`
.toggle { flex: 1; order: 0; display: flex; min-height: 24px; gap: .5em; font-size: inherit; color: inherit; text-align: start }
.toggle:hover { color: inherit }
.toggle .label { flex: 0 1 auto }
.toggle::after {
  content: ""; flex: none; width: .4em; height: .4em; margin: .35em .2em 0;
  border: solid var(--_muted); border-width: 0 1.5px 1.5px 0; rotate: 45deg; transition: rotate .2s;
}
.toggle:hover::after { border-color: currentColor }
.toggle[aria-expanded=true]::after { rotate: 225deg; translate: 0 .2em }
.counts, .now { order: 3; width: 100%; margin-top: -.2em; font-size: .8125em; color: var(--_muted) }
.counts { display: flex; flex-wrap: wrap; gap: 0 1em }
.counts:empty, .now:empty { display: none }
.count::before {
  content: ""; display: inline-block; width: .5em; height: .5em; margin-inline-end: .45em; border-radius: 50%;
  background: var(--_color); vertical-align: .08em; forced-color-adjust: none;
}
.now { white-space: nowrap; overflow: hidden; text-overflow: ellipsis }
.bars { margin-top: 1em; padding-inline-start: 1.625em }
.bars[hidden] { display: none }
slot { display: grid; gap: 1em }
@container (width < 14em) { .bars { padding-inline-start: 0 } }
@media (prefers-reduced-motion) { .toggle::after { transition: none } }
`);

function element(tag, name, properties, ...children) {
  const node = document.createElement(tag);
  node.append(...children);
  return Object.assign(node, { className: name, part: name }, properties);
}

// What has stalled stays so in its state.
const isAsked = (bar) => bar.shadowRoot.querySelector("[part=cancel]").ariaDisabled === "true";

const latest = (moments) => moments.filter(Boolean).sort().at(-1) ?? null;
const earliest = (moments) => moments.filter(Boolean).sort()[0] ?? null;

/** A bar whose job is made of others': `job.current` of `job.total` have succeeded, and `job.meta` counts the rest. */
export class ProgressGroup extends ProgressBar {
  static observedAttributes = ["cancel", "label", "open"];

  #seen = "";
  #sequence = 0;
  #note = "";
  keepsName = true; // when it is done
  #planned = 0;
  #ticker = 0;
  #observer = new MutationObserver(() => this.#plan());

  #label;
  #toggle = element("button", "toggle", { type: "button", onclick: () => this.toggleAttribute("open") });
  #counts = element("span", "counts");
  #now = element("span", "now");
  #bars = element("div", "bars", { id: "bars", hidden: true }, document.createElement("slot"));

  constructor() {
    super();
    const root = this.shadowRoot;
    root.adoptedStyleSheets.push(sheet);
    this.#label = root.querySelector("[part=label]");
    this.#label.replaceWith(this.#toggle);
    this.#toggle.append(this.#label);
    this.#toggle.setAttribute("aria-controls", "bars");
    this.#toggle.ariaExpanded = "false";
    root.querySelector("[part=bar]").append(this.#counts, this.#now);
    root.append(this.#bars);
    for (const type of ["progress", "done", "error"]) this.addEventListener(type, (event) => this.#hear(event));
  }

  // Seconds until the slowest has ended; NaN unless all know.
  get left() {
    const live = this.bars.filter(({ over }) => !over);
    return Math.max(...live.map(({ job, left }) => (job?.eta == null ? NaN : left)));
  }

  /** The bars inside, those of groups inside included. */
  get bars() {
    return [...this.querySelectorAll("progress-bar")];
  }

  connectedCallback() {
    super.connectedCallback();
    this.#observer.observe(this, { childList: true, subtree: true, attributeFilter: ["src"] });
    this.#ticker = setInterval(() => this.over || this.render(), 1_000);
    this.#seen = "";
    this.#update();
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this.#observer.disconnect();
    clearInterval(this.#ticker);
  }

  attributeChangedCallback(name) {
    if (name === "open") {
      const open = this.hasAttribute("open");
      this.#bars.hidden = !open;
      this.#toggle.ariaExpanded = `${open}`;
    }
    if (!this.isConnected) return;
    this.#update();
    this.render();
  }

  /** Ask each job that is not over to stop. */
  async requestCancel() {
    const bars = this.bars.filter((bar) => !bar.over);
    const asked = bars.map((bar) => bar.requestCancel());
    this.#note = "";
    this.#update();
    await Promise.all(asked);
    if (bars.some((bar) => !bar.over && !isAsked(bar))) this.#note = this.strings.cancelFailed;
    this.#update();
    this.render();
  }

  render() {
    super.render();
    if (!this.job) this.#name();
    const words = this.strings;
    const { meta = {} } = this.job ?? {};
    const counts = KINDS.filter(({ name }) => meta[name]).map(({ name, text, tone }) => [fillIn(words[text], { n: meta[name] }), tone]);
    const isOffline = this.bars.some((bar) => !bar.over && bar.channel?.failures > 1);
    if (isOffline) counts.unshift([words.reconnecting, "warning"]);
    if (this.#note && !this.over) counts.push([this.#note, "danger"]);
    if (this.#counts.textContent !== counts.map(([text]) => text).join("")) {
      this.#counts.replaceChildren(...counts.map(([textContent, tone]) => element("span", `count ${tone}`, { part: "count", textContent })));
    }
    const now = this.#running();
    if (this.#now.textContent !== now) this.#now.textContent = now;
  }

  // Before anything is known.
  #name() {
    const label = this.getAttribute("label");
    if (!label) return;
    this.#label.textContent = this.#label.title = label;
    this.shadowRoot.querySelector("[part=track]").ariaLabel = label;
  }

  #running() {
    if (this.hasAttribute("open")) return "";
    const names = this.bars.filter(({ dataset }) => dataset.state === "running").map(({ job }) => job.description).filter(Boolean);
    const rest = names.splice(NAMED).length;
    return [...names, rest && fillIn(this.strings.more, { n: rest })].filter(Boolean).join(", ");
  }

  #hear({ target }) {
    if (target.matches("progress-bar")) this.#plan();
  }

  // Many bars move at once: they are added up together.
  #plan() {
    this.#planned ||= setTimeout(() => {
      this.#planned = 0;
      this.#update();
    }, 50);
  }

  #update() {
    const bars = this.bars;
    const label = this.getAttribute("label") ?? "";
    const seen = JSON.stringify([label, ...bars.map((bar) => [bar.getAttribute("src"), bar.dataset.state, bar.job?.cursor])]);
    const isUnknown = !this.job && bars.every(({ job, over }) => !job && !over);
    if (!this.isConnected || isUnknown || seen === this.#seen) return;
    this.#seen = seen;
    this.over = false;
    this.receive(this.#sum(bars, label));
  }

  #sum(bars, description) {
    const jobs = bars.map(({ job }) => job).filter(Boolean);
    const live = bars.filter(({ over }) => !over);
    const done = !live.length && bars.length > 0;
    const count = (...states) => bars.filter(({ dataset }) => states.includes(dataset.state)).length;
    const meta = Object.fromEntries(KINDS.map(({ name, states }) => [name, count(...states)]));
    const begun = meta.waiting < bars.length;
    const ended = meta.failed ? "failed" : meta.cancelled ? "cancelled" : "succeeded";
    const shares = jobs.map(({ percent }) => percent).filter((percent) => percent != null);
    const sum = shares.reduce((all, share) => all + share, 0);
    const eta = this.left;
    const version = `1.1.${++this.#sequence}`;
    return {
      id: this.id,
      kind: null,
      state: done ? ended : begun ? "running" : "pending",
      done,
      stalled: !done && meta.stalled > 0 && meta.running === 0,
      cancel_requested: done ? bars.some(isAsked) : meta.cancelling > 0 && meta.cancelling === live.length,
      description: description || null,
      current: count("succeeded"),
      total: bars.length,
      unit: this.strings.done,
      percent: shares.length ? Math.floor((sum / bars.length) * 100) / 100 : null,
      steps: null,
      step: null,
      rate: null,
      eta: Number.isFinite(eta) ? Math.max(eta, 0) : null,
      meta,
      result: null,
      error: null,
      attempt: 1,
      parts: null,
      parent: null,
      version,
      cursor: version,
      created_at: earliest(jobs.map(({ created_at }) => created_at)),
      started_at: earliest(jobs.map(({ started_at }) => started_at)),
      updated_at: latest(jobs.map(({ updated_at }) => updated_at)),
      finished_at: done ? latest(jobs.map(({ finished_at }) => finished_at)) : null,
      next_retry_at: null,
      part_of: null,
    };
  }
}

if (!customElements.get("progress-group")) customElements.define("progress-group", ProgressGroup);
