/**
 * `<progress-bar src="/progress/KEY/" cancel></progress-bar>` shows the live progress of a background job.
 *
 * - `src`: the job's address; set it again to start afresh. `cancel`: offer a cancel button (the key must hold the right).
 * - `bar.job`: the newest record, or null.
 * - Events, all bubbling: `progress` (detail: the record), `done` (detail: the final record, once),
 *   `error` (detail: `{reason: "refused" | "unknown"}`).
 * - Style: the custom properties in the sheet below, `::part()`, `progress-bar[data-state=failed]`.
 * - Words: `configure({strings: {cancel: "Abbrechen"}})`, or `bar.strings = {…}` for one; numbers follow `lang`.
 *
 * All bars of a page share one EventSource; where streams do not pass, they share one poll.
 *
 * @typedef {"pending" | "running" | "retrying" | "succeeded" | "failed" | "cancelled"} State
 * @typedef {{
 *   state: State, done: boolean, stalled: boolean, cancel_requested: boolean, version: string, cursor: string,
 *   current: number, total: number | null, unit: string | null, percent: number | null, description: string,
 *   rate: number | null, eta: number | null, error: {type: string, message: string | null} | null, attempt: number,
 *   started_at: string | null, updated_at: string, finished_at: string | null, next_retry_at: string | null
 * }} Job what is read of a record here
 */

const MOST_KEYS = 100; // a request, by contract
const MOST_STREAMS = 4; // a browser opens six connections to a host: leave some to the page
const UNKNOWN_MS = 30_000;
const HIDDEN_MS = 15_000;

/** Every text; `{name}` is filled in. */
export const strings = {
  waiting: "Waiting",
  working: "Working",
  stalled: "Stalled",
  retrying: "Retrying",
  retryingIn: "Retrying in {time}",
  attempt: "attempt {n}",
  succeeded: "Done",
  succeededIn: "Done in {time}",
  failed: "Failed",
  cancelled: "Cancelled",
  cancel: "Cancel",
  cancelling: "Cancelling…",
  cancelFailed: "Could not cancel",
  reconnecting: "Reconnecting…",
  refused: "Progress not available",
  unknown: "Nothing is known of this job",
  some: "{current} {unit}",
  someOf: "{current} of {total} {unit}",
  perSecond: "{amount}/s",
  perMinute: "{amount}/min",
  left: "{time} left",
};

/** @type {Set<ProgressBar>} */
const bars = new Set();

/** Replace texts on the whole page. @param {{strings?: Partial<typeof strings>}} options */
export function configure(options) {
  Object.assign(strings, options.strings);
  for (const bar of bars) bar.render();
}

/** @type {Set<Channel>} */
const channels = new Set();

/** Carries records to the bars of one base address. */
class Channel {
  /** @type {Set<ProgressBar>} */ bars = new Set();
  /** @type {EventSource | null} */ source = null;
  /** @type {Set<string>} */ streamed = new Set();
  /** @type {{url?: string, etag?: string | null, jobs: Record<string, Job | null>}} */ last = { jobs: {} };
  most = MOST_KEYS;
  failures = 0;
  streamAt = 0; // when a stream may be tried
  patience = 5_000; // how long to do without one
  heard = false;
  turn = 0; // an answer that belongs to an earlier turn plans nothing
  timer = 0;
  updating = 0;
  ticker = setInterval(() => this.bars.forEach((bar) => bar.render(true)), 1_000);

  constructor(base = "") {
    this.base = base;
    channels.add(this);
  }

  /** @param {ProgressBar} bar */
  static join(bar) {
    const home = [...channels].find(({ base, most, keys }) => base === bar.base && keys.concat(bar.key).length <= most) ?? new Channel(bar.base);
    for (const { key, job } of home.bars) if (key === bar.key && job) bar.receive(job);
    home.bars.add(bar);
    home.updating ||= setTimeout(() => home.update(), 20); // bars come in crowds
    return home;
  }

  /** @param {ProgressBar} bar */
  leave(bar) {
    this.bars.delete(bar);
    if (bar.over && !this.bars.size) this.stop();
    queueMicrotask(() => {
      if (!this.keys.includes(bar.key)) this.streamed.delete(bar.key); // it was not just moved
      if (!this.bars.size) this.stop();
    });
  }

  get keys() {
    return [...new Set([...this.bars].map((bar) => bar.key))];
  }

  url(path = "") {
    return `${this.base}${path}?${this.keys.map((key) => "key=" + encodeURIComponent(key)).join("&")}`;
  }

  update() {
    this.updating = 0;
    if (!this.keys.every((key) => this.streamed.has(key))) this.run();
  }

  halt() {
    this.source?.close();
    this.source = null;
    this.streamed.clear();
    this.turn++;
    clearTimeout(this.timer);
  }

  stop() {
    this.halt();
    clearTimeout(this.updating);
    clearInterval(this.ticker);
    channels.delete(this);
  }

  run() {
    this.halt();
    if (document.hidden || Date.now() < this.streamAt || [...channels].indexOf(this) >= MOST_STREAMS) this.poll();
    else this.stream();
  }

  plan(ms = 0, act = () => this.run()) {
    clearTimeout(this.timer);
    this.timer = setTimeout(act, ms);
  }

  stream() {
    const source = (this.source = new EventSource(this.url("events/")));
    let openedAt = 0;
    this.streamed = new Set(this.keys);
    this.plan(10_000, () => this.lost());
    source.onopen = () => {
      openedAt = Date.now();
      this.failures = 0;
      this.heard = false;
      for (const bar of this.bars) bar.missingSince ||= openedAt;
      this.plan(5_000, () => this.probe());
    };
    source.addEventListener("progress", ({ data }) => {
      const { key, job } = JSON.parse(data);
      this.patience = 5_000;
      this.heard = true;
      this.tell(key, job, true);
      if (this.source && ![...this.bars].some((bar) => bar.missingSince)) this.plan(25_000, () => this.probe());
    });
    source.onerror = () => {
      const lived = openedAt && Date.now() - openedAt;
      openedAt = 0;
      if (!lived) return this.lost();
      // Closed at once: the server has no stream to spare, and EventSource comes back at the pace it was told.
      if (lived < 1_500 && source.readyState === EventSource.CONNECTING) return;
      this.halt();
      this.plan(200 + 500 * Math.random());
    };
  }

  /** Do without a stream for a while. */
  lost() {
    this.halt();
    this.streamAt = Date.now() + this.patience;
    this.patience = Math.min(this.patience * 2, 120_000);
    this.plan(this.backoff());
  }

  /** The stream is silent. Is there nothing to tell, is the line dead, or does a proxy hold it back? */
  async probe() {
    const { turn } = this;
    const fine = await this.ask().then((news) => !news || this.heard, () => false);
    if (turn !== this.turn) return;
    this.heard = false;
    if (fine) this.plan(25_000, () => this.probe());
    else this.lost();
  }

  backoff() {
    return Math.min(500 * 2 ** this.failures, 12_000) * (0.5 + Math.random() / 2);
  }

  async poll() {
    const { turn } = this;
    let pause = 1_000;
    try {
      await this.ask((ms) => (pause = ms));
      if (this.failures) this.streamAt = 0; // the server is back
      this.failures = 0;
    } catch (error) {
      if ([400, 414, 431].includes(Number(error)) && this.keys.length > 1) return this.split();
      pause = Math.max(this.backoff(), pause > 1_000 ? pause : 0);
      this.failures++;
    }
    if (turn === this.turn) this.plan(Math.max(pause, document.hidden ? HIDDEN_MS : 0));
  }

  /** Fetch all records once; tell whether there was news. */
  async ask(pace = (/** @type {number} */ _ms) => {}) {
    const url = this.url();
    const etag = this.last.url === url && this.last.etag;
    const response = await fetch(url, { headers: etag ? { "If-None-Match": etag } : {}, signal: AbortSignal.timeout(20_000) });
    const wait = Number(response.headers.get("Retry-After"));
    if (wait > 0) pace(Math.min(Math.max(wait * 1_000, 500), 60_000));
    if (response.ok) this.last = { url, etag: response.headers.get("ETag"), ...(await response.json()) };
    else if (response.status === 404) this.last = { jobs: {} };
    else if (response.status !== 304) throw response.status;
    return this.keys.map((key) => this.tell(key, this.last.jobs[key] ?? null)).includes(true);
  }

  /** A stream's null is a refusal, a poll's may be too early. @param {string} key @param {Job | null} job */
  tell(key, job, streamed = false) {
    let news = false;
    for (const bar of [...this.bars].filter((bar) => bar.key === key)) {
      if (job) news = bar.receive(job) || news;
      else if (streamed) bar.fail("refused");
      else if (Date.now() - (bar.missingSince ||= Date.now()) >= UNKNOWN_MS) bar.fail("unknown");
    }
    return news;
  }

  /** The server takes only shorter addresses: make it two. */
  split() {
    const { keys } = this;
    const twin = new Channel(this.base);
    twin.most = this.most = Math.ceil(keys.length / 2);
    for (const bar of this.bars) {
      if (keys.indexOf(bar.key) < this.most) continue;
      this.bars.delete(bar);
      twin.bars.add(bar);
      bar.channel = twin;
    }
    for (const channel of [this, twin]) {
      channel.streamAt = 0;
      channel.run();
    }
  }
}

const runAll = () => channels.forEach((channel) => channel.run());
document.addEventListener("visibilitychange", runAll);
addEventListener("online", runAll);

const sheet = new CSSStyleSheet();
sheet.replaceSync(`
:host {
  --_color: var(--progress-bar-accent, light-dark(#4c5fe0, #8492ff));
  --_muted: var(--progress-bar-muted, color-mix(in srgb, currentColor 62%, transparent));
  display: block; line-height: 1.45; font-variant-numeric: tabular-nums; text-align: start;
}
:host([hidden]) { display: none }
:host([data-state=pending]), :host([data-state=cancelling]), :host([data-state=cancelled]), :host([data-state=connecting]) { --_color: var(--_muted) }
:host([data-state=succeeded]) { --_color: var(--progress-bar-success, light-dark(#15835a, #3ecf8e)) }
:host([data-state=stalled]), :host([data-state=retrying]) { --_color: var(--progress-bar-warning, light-dark(#b25a05, #f2b34c)) }
:host([data-state=failed]), :host([data-state=error]) { --_color: var(--progress-bar-danger, light-dark(#d0303f, #ff737c)) }
.bar { display: grid; grid-template-columns: auto minmax(0, 1fr) auto; gap: .5em; align-items: start }
svg { width: 1.125em; height: 1.45em; color: var(--_color); fill: none; stroke: currentColor; stroke-width: 1.6; stroke-linecap: round; stroke-linejoin: round }
circle { fill: currentColor; fill-opacity: .14; stroke: none }
.label { font-weight: 500; display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2; overflow: hidden; overflow-wrap: anywhere }
.percent { color: var(--_muted) }
.track { grid-column: 1 / -1; height: var(--progress-bar-height, .375rem); border-radius: var(--progress-bar-radius, 99px); overflow: hidden; background: var(--progress-bar-track, color-mix(in srgb, currentColor 11%, transparent)) }
.fill { height: 100%; border-radius: inherit; background: var(--_color); transform: translateX(calc(var(--_at, 0) * 1% - 100%)) }
:host(:dir(rtl)) .fill { transform: translateX(calc(100% - var(--_at, 0) * 1%)) }
.live .fill { transition: transform .4s cubic-bezier(.2, .6, .35, 1), background-color .25s }
.foot { grid-column: 1 / -1; display: flex; gap: 1em; justify-content: space-between; font-size: .8125em; min-height: 1.45em; color: var(--_muted) }
.foot div { min-width: 0; overflow-wrap: anywhere }
.status { color: var(--_color); font-weight: 500 }
.status:not(:empty) + .detail:not(:empty)::before { content: " · "; color: var(--_muted) }
button { all: unset; flex: none; align-self: start; cursor: pointer; border-radius: .25em; transition: color .15s }
button:hover { color: var(--progress-bar-danger, light-dark(#d0303f, #ff737c)) }
button:focus-visible { outline: 2px solid; outline-offset: 2px }
button[aria-disabled=true] { cursor: default; color: inherit }
button[hidden] { display: none }
.said { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap }
.vague .fill { width: 40%; transform: none; animation: slide 1.7s cubic-bezier(.6, .1, .35, .95) infinite }
.faint .fill { opacity: .3; transform: none }
:host([data-state=connecting]) .bar { animation: appear .3s .5s backwards }
:host([data-state=stalled]) .fill, :host([data-state=cancelling]) .fill { opacity: .55 }
@keyframes slide { from { translate: -100% } to { translate: 250% } }
@keyframes appear { from { opacity: 0 } }
@media (prefers-reduced-motion) {
  .fill { transition: none !important }
  .vague .fill { animation: none; width: auto; opacity: .4 }
}
@media (forced-colors: active) {
  .track { outline: 1px solid }
  .fill { background: Highlight; forced-color-adjust: none }
  button { text-decoration: underline }
}
`);

/** Drawn in a disc of 16 by 16. @type {Record<string, string>} */
const ICONS = {
  connecting: "M5 8h0M8 8h0M11 8h0",
  pending: "M8 4.8V8l2.2 1.4",
  running: "M8 8h0",
  retrying: "M11.2 6.4A3.6 3.6 0 1 0 11.6 8.8M11.5 4v2.5H9",
  stalled: "M8 4.6v4M8 11.2h0",
  cancelling: "M6 6h4v4H6Z",
  cancelled: "M5.2 10.8 10.8 5.2",
  succeeded: "M5 8.3 7.2 10.5 11.2 6",
  failed: "M5.8 5.8l4.4 4.4M10.2 5.8l-4.4 4.4",
  error: "M8 4.6v4M8 11.2h0",
};

/** Is a "run.attempt.seq" newer than another? */
function isNewer(version = "", than = "") {
  const [a, b] = [version, than].map((text) => text.split(".").map(Number));
  return (a[0] - b[0] || a[1] - b[1] || a[2] - b[2]) > 0;
}

const fillIn = (template = "", /** @type {Record<string, unknown>} */ values) => template.replace(/{(\w+)}/g, (_, name) => `${values[name] ?? ""}`).trim();

/** @type {Map<string, Intl.NumberFormat>} */
const formats = new Map();

/** Numbers as they are written in a language. */
function speaking(lang = "") {
  const number = (value = 0, /** @type {Intl.NumberFormatOptions} */ options = {}) => {
    const id = lang + JSON.stringify(options);
    if (!formats.has(id)) {
      try {
        formats.set(id, new Intl.NumberFormat(lang || [], options));
      } catch {
        formats.set(id, new Intl.NumberFormat([], options)); // no language that is known
      }
    }
    return formats.get(id)?.format(value) ?? "";
  };

  /** "1,200", or "1.2 KiB". */
  const amount = (value = 0, unit = /** @type {string | null} */ ("")) => {
    if (unit !== "B") return number(value, { maximumFractionDigits: value < 10 ? 1 : 0 });
    const power = value < 1024 ? 0 : Math.min(Math.floor(Math.log2(value) / 10), 5);
    return `${number(value / 1024 ** power, { maximumFractionDigits: power && 1 })} ${["B", "KiB", "MiB", "GiB", "TiB", "PiB"][power]}`;
  };

  /** "3m 20s": the two largest units. */
  const duration = (seconds = 0) => {
    let rest = Math.max(Math.round(seconds), 1);
    const parts = Object.entries({ day: 86400, hour: 3600, minute: 60, second: 1 }).map(([unit, size]) => {
      const whole = Math.floor(rest / size);
      rest %= size;
      return whole ? number(whole, { style: "unit", unit, unitDisplay: "narrow" }) : "";
    });
    return parts.filter(Boolean).slice(0, 2).join(" ");
  };

  return { number, amount, duration };
}

/** From one moment to another. @param {string | number | null} from @param {string | null} to */
const seconds = (from, to) => (from && to ? (Date.parse(to) - +new Date(from)) / 1_000 : 0);

/** @template {Element} T @param {T} node @param {Record<string, string>} attributes @param {Element[]} children */
function dress(node, attributes, ...children) {
  for (const name in attributes) node.setAttribute(name, attributes[name]);
  node.append(...children);
  return node;
}

/** @param {Record<string, string>} attributes @param {Element[]} children */
const part = (name = "", attributes = {}, ...children) => dress(document.createElement(name === "cancel" ? "button" : "div"), { part: name, class: name, ...attributes }, ...children);

/** @param {Record<string, string>} attributes @param {Element[]} children */
const drawn = (tag = "", attributes = {}, ...children) => dress(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, ...children);

function write(/** @type {Element} */ node, text = "") {
  if (node.textContent !== text) node.textContent = text;
}

export class ProgressBar extends HTMLElement {
  static observedAttributes = ["src", "cancel"];

  /** @type {Job | null} */ #job = null;
  /** @type {Partial<typeof strings>} */ #strings = {};
  /** @type {"" | "refused" | "unknown"} */ #reason = "";
  #asked = false; // for a cancel
  #note = "";
  #endsAt = 0;
  #left = ""; // as shown: rewritten once a second, not with each record
  #milestone = "";

  /** @type {Channel | null} */ channel = null;
  base = "";
  key = "";
  missingSince = 0;
  over = false;

  #path = drawn("path");
  #label = part("label", { id: "label" });
  #percent = part("percent");
  #fill = part("fill");
  #track = part("track", { role: "progressbar", "aria-labelledby": "label", "aria-valuemin": "0", "aria-valuemax": "100" }, this.#fill);
  #status = part("status");
  #detail = part("detail");
  #button = /** @type {HTMLButtonElement} */ (part("cancel", { type: "button", "aria-describedby": "label" }));
  #said = part("said", { role: "status" });
  #bar = part(
    "bar",
    {},
    drawn("svg", { part: "icon", viewBox: "0 0 16 16", "aria-hidden": "true" }, drawn("circle", { cx: "8", cy: "8", r: "8" }), this.#path),
    this.#label,
    this.#percent,
    this.#track,
    part("foot", {}, part("text", {}, this.#status, this.#detail), this.#button),
    this.#said,
  );

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [sheet];
    root.append(this.#bar);
    this.#button.onclick = () => this.cancel();
  }

  get job() {
    return this.#job;
  }

  get strings() {
    return { ...strings, ...this.#strings };
  }

  set strings(some) {
    this.#strings = some;
    this.render();
  }

  connectedCallback() {
    bars.add(this);
    this.#start(this.over);
  }

  disconnectedCallback() {
    bars.delete(this);
    this.#leave();
  }

  attributeChangedCallback(name = "") {
    if (!this.isConnected) return;
    if (name === "src") this.#start(true);
    else this.render();
  }

  #start(afresh = false) {
    if (afresh) {
      this.#leave();
      this.#job = null;
      this.over = this.#asked = false;
      this.#reason = this.#note = this.#milestone = "";
      this.missingSince = this.#endsAt = 0;
      this.#bar.classList.remove("live");
    }
    const src = this.getAttribute("src");
    const { origin, pathname } = new URL(src ?? "", document.baseURI);
    const [, base, key] = pathname.match(/^(.*\/)([^/]+)\/?$/) ?? [];
    if (src && key && !this.channel) {
      this.base = origin + base;
      this.key = decodeURIComponent(key);
      this.channel = Channel.join(this);
    }
    this.render();
  }

  #leave() {
    this.channel?.leave(this);
    this.channel = null;
  }

  /** Show a record unless it is older than what is shown; tell whether it was news. @param {Job} job */
  receive(job) {
    const old = this.#job;
    this.missingSince = 0;
    if (this.over || (old && !isNewer(job.version, old.version) && (job.version !== old.version || job.cursor === old.cursor))) return false;
    if (old) this.#bar.classList.add("live"); // the first record is painted where it is
    if (job.cancel_requested || parseInt(job.version) !== parseInt(old?.version ?? "")) this.#asked = false;
    this.#job = job;
    this.#endsAt = job.eta == null ? 0 : Date.now() + job.eta * 1_000;
    this.over = job.done;
    this.render();
    if (job.done) this.#leave();
    this.#emit("progress", job);
    if (job.done) this.#emit("done", job);
    return true;
  }

  /** End without a final record. @param {"refused" | "unknown"} reason */
  fail(reason) {
    this.#reason = reason;
    this.over = true;
    this.render();
    this.#leave();
    this.#emit("error", { reason });
  }

  /** Ask for the job to be cancelled. */
  async cancel() {
    if (this.#asked || this.over || this.#job?.cancel_requested) return;
    this.#asked = true;
    this.#note = "";
    this.render();
    try {
      const url = `${this.base}${encodeURIComponent(this.key)}/cancel/`;
      const response = await fetch(url, { method: "POST", headers: { "X-Progresskit": "1" }, credentials: "same-origin" });
      if (!response.ok) throw response;
    } catch {
      this.#asked = false;
      this.#note = this.strings.cancelFailed;
      this.render();
    }
  }

  #emit(type = "", /** @type {unknown} */ detail) {
    this.dispatchEvent(new CustomEvent(type, { detail, bubbles: true, composed: true }));
  }

  /** Draw what is known. @param {boolean} [ticked] a second has passed */
  render(ticked) {
    const job = this.#job ?? /** @type {Job} */ ({});
    const { state: stage, percent, current, total, unit, error, done } = job;
    const words = this.strings;
    const { number, amount, duration } = speaking(this.closest("[lang]")?.getAttribute("lang") || document.documentElement.lang);
    const cancelling = this.#asked || job.cancel_requested;
    const offer = this.hasAttribute("cancel") && stage && !this.over;
    const offline = !this.over && (this.channel?.failures ?? 0) > 1;
    const state = this.#reason ? "error" : done ? stage : job.stalled ? "stalled" : cancelling ? "cancelling" : stage ?? "connecting";
    const running = state === "running";
    const vague = percent == null;
    const whole = Math.floor(percent ?? 0);
    const share = vague || /pending|error/.test(state) ? "" : number(whole / 100, { style: "percent" });
    const time = (/** @type {number} */ span, /** @type {string} */ template, instead = "") => (span >= 0.5 ? fillIn(template, { time: duration(span) }) : instead);

    /** @type {Record<string, () => string>} */
    const says = {
      error: () => this.#reason && words[this.#reason],
      connecting: () => words.waiting,
      pending: () => words.waiting,
      running: () => "",
      cancelling: () => (offer ? "" : words.cancelling), // the button says it
      // The viewer's clock may be wrong: it is no longer than it was when the record was written.
      retrying: () => time(Math.min(seconds(Date.now(), job.next_retry_at), seconds(job.updated_at, job.next_retry_at)), words.retryingIn, words.retrying),
      succeeded: () => time(seconds(job.started_at, job.finished_at), words.succeededIn, words.succeeded),
    };
    const status = offline ? words.reconnecting : says[state]?.() ?? words[/** @type {"stalled"} */ (state)];

    const count = fillIn(total == null ? (current ? words.some : "") : words.someOf, {
      current: amount(current, unit),
      total: amount(total ?? 0, unit),
      unit: unit === "B" ? "" : unit,
    });
    const details = [];
    if (stage === "failed" && error) details.push(error.message ? `${error.type}: ${error.message}` : error.type);
    if (!/pending|error/.test(state)) details.push(count);
    if (running && !offline) {
      if (ticked || !this.#left || !this.#endsAt) this.#left = this.#endsAt && time((this.#endsAt - Date.now()) / 1_000, words.left) || "";
      const rate = job.rate ?? 0;
      const slow = rate < 1 && unit !== "B";
      const speed = fillIn(words.some, { current: amount(slow ? rate * 60 : rate, unit), unit: unit === "B" ? "" : unit });
      details.push(rate && fillIn(slow ? words.perMinute : words.perSecond, { amount: speed }), this.#left);
    }
    if (!done && (job.attempt > 1 || state === "retrying")) details.push(fillIn(words.attempt, { n: job.attempt }));
    if (offer) details.push(this.#note);

    const label = job.description || status || words.working;
    this.dataset.state = state;
    this.#bar.classList.toggle("vague", running && vague);
    this.#bar.classList.toggle("faint", !running && vague && !/pending|error|connecting/.test(state));
    this.#path.setAttribute("d", ICONS[state]);
    this.#fill.style.setProperty("--_at", `${percent ?? 0}`);
    this.#label.title = label;
    write(this.#label, label);
    write(this.#percent, share);
    write(this.#status, label === status ? "" : status);
    write(this.#detail, details.filter(Boolean).join(" · "));
    write(this.#button, cancelling ? words.cancelling : words.cancel);
    this.#button.hidden = !offer;
    this.#button.ariaDisabled = `${!!cancelling}`;
    if (vague) this.#track.removeAttribute("aria-valuenow");
    else this.#track.setAttribute("aria-valuenow", `${whole}`);
    this.#track.setAttribute("aria-valuetext", [status, share, count].filter(Boolean).join(", "));

    // Speak of milestones only, and only of those that are reached before the viewer's eyes.
    const milestone = stage && state + (running ? Math.floor(whole / 25) : "");
    if (this.#milestone && milestone !== this.#milestone && milestone !== "running0") write(this.#said, `${label}: ${status || share}`);
    this.#milestone = milestone ?? "";
  }
}

if (!customElements.get("progress-bar")) customElements.define("progress-bar", ProgressBar);
