/**
 * `<progress-bar src="/progress/KEY/" cancel></progress-bar>`: the live progress of a background job.
 *
 * - `src`, set again, starts afresh; `cancel` offers a button (the key must hold the right); `bar.job` is the newest record.
 * - Events, bubbling: `progress`, `done` (detail: the record), `error` (detail: `{reason: "refused" | "unknown"}`).
 * - Style: `--progress-bar-…`, `::part(…)`, `[data-state=failed]`. Texts: `configure({strings: {…}})`, `bar.strings = {…}`.
 *
 * @typedef {{
 *   state: "pending" | "running" | "retrying" | "succeeded" | "failed" | "cancelled", done: boolean, stalled: boolean,
 *   description: string, current: number, total: ?number, unit: ?string, percent: ?number, rate: ?number, eta: ?number,
 *   error: ?{type: string, message: ?string}, attempt: number, version: string, cursor: string, cancel_requested: boolean,
 *   started_at: ?string, updated_at: string, finished_at: ?string, next_retry_at: ?string
 * }} Job
 */

/** Every text. */
export const strings = {
  connecting: "Waiting",
  pending: "Waiting",
  running: "Working",
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
  refused: "Not available",
  unknown: "Unknown job",
  some: "{current} {unit}",
  someOf: "{current} of {total} {unit}",
  rate: "{amount}/s",
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
let mostKeys = 100; // a request, by contract

/** Carries the records of one base address: by stream where streams pass, else by polls. */
class Channel {
  /** @type {Set<ProgressBar>} */ bars = new Set();
  /** @type {?EventSource} */ source = null;
  /** @type {Set<string>} */ streamed = new Set();
  heard = false;
  streamAt = 0; // when a stream may be tried
  pause = 0; // from poll to poll
  failures = 0;
  turn = 0; // an answer to an earlier turn plans nothing
  timer = 0;
  updating = 0;
  ticker = setInterval(() => this.bars.forEach((bar) => bar.render(true)), 1_000);

  constructor(base = "") {
    this.base = base;
    channels.add(this);
  }

  /** @param {ProgressBar} bar */
  static join(bar) {
    const home = [...channels].find(({ base, keys }) => base === bar.base && keys.concat(bar.key).length <= mostKeys) ?? new Channel(bar.base);
    for (const { key, job } of home.bars) if (key === bar.key && job) bar.receive(job);
    home.bars.add(bar);
    home.updating ||= setTimeout(() => { // bars come in crowds
      home.updating = 0;
      if (!home.keys.every((key) => home.streamed.has(key))) home.run();
    }, 20);
    return home;
  }

  /** @param {ProgressBar} bar */
  leave(bar) {
    this.bars.delete(bar);
    queueMicrotask(() => { // unless it was only moved
      if (!this.keys.includes(bar.key)) this.streamed.delete(bar.key);
      if (!this.bars.size) this.stop();
    });
  }

  get keys() {
    return [...new Set([...this.bars].map((bar) => bar.key))];
  }

  get isMissing() {
    return [...this.bars].some((bar) => bar.missingSince);
  }

  url(path = "") {
    return `${this.base}${path}?${this.keys.map((key) => "key=" + encodeURIComponent(key)).join("&")}`;
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
    clearInterval(this.ticker);
    channels.delete(this);
  }

  run() {
    this.halt();
    if (document.hidden || Date.now() < this.streamAt) this.poll();
    else this.stream();
  }

  plan(ms = 0, act = () => this.run()) {
    clearTimeout(this.timer);
    this.timer = setTimeout(act, ms);
  }

  stream() {
    const source = (this.source = new EventSource(this.url("events/")));
    let openedAt = 0;
    let probing = false;
    this.streamed = new Set(this.keys);
    this.heard = false;
    this.plan(10_000, () => this.lost());
    source.onopen = () => {
      openedAt = Date.now();
      this.failures = 0;
      for (const bar of this.bars) bar.missingSince ||= openedAt;
      if (!probing) this.plan(5_000, () => this.probe());
      probing = true;
    };
    source.addEventListener("progress", ({ data }) => {
      const { key, job } = JSON.parse(data);
      this.heard = true;
      this.tell(key, job, true);
      if (this.source && !this.isMissing) this.plan(25_000, () => this.probe());
    });
    source.onerror = () => {
      const lived = openedAt && Date.now() - openedAt + 1;
      openedAt = 0;
      if (!lived) return this.lost();
      // Closed at once: no stream to spare. EventSource comes back at the pace that the server told it.
      if (lived < 1_500 && source.readyState === EventSource.CONNECTING) return;
      this.halt();
      this.plan(200 + 500 * Math.random(), () => (this.isMissing ? this.poll() : this.run()));
    };
  }

  /** Do without a stream for a while. */
  lost() {
    this.halt();
    this.streamAt = Date.now() + 30_000;
    this.plan(500 * Math.random());
  }

  /** The stream is silent: nothing to tell, a dead line, or a proxy that holds it back? */
  async probe() {
    const { turn } = this;
    const fine = await this.ask().then((news) => !news || this.heard, () => false);
    if (turn !== this.turn) return;
    this.heard = false;
    if (fine) this.plan(25_000, () => this.probe());
    else this.lost();
  }

  async poll() {
    const { turn } = this;
    try {
      await this.ask();
      if (this.failures) this.streamAt = 0; // the server is back
      this.failures = 0;
    } catch (error) {
      this.failures++;
      if (this.bars.size > 1 && [400, 414, 431].includes(Number(error))) return this.split();
    }
    const backoff = this.failures && Math.min(500 * 2 ** this.failures, 12_000) * (0.5 + Math.random() / 2);
    if (turn === this.turn) this.plan(Math.max(this.pause, backoff, document.hidden ? 15_000 : 0));
  }

  /** Fetch all records once, or, by their ETag, learn that none is new; tell whether there was news. */
  async ask() {
    this.pause = 1_000;
    const response = await fetch(this.url(), { cache: "no-cache", signal: AbortSignal.timeout(20_000) });
    this.pause = Math.min(Number(response.headers.get("Retry-After")) || 1, 60) * 1_000;
    const absent = response.status === 404 || (response.status === 400 && this.bars.size === 1);
    if (!response.ok && !absent) throw response.status;
    const { jobs } = absent ? { jobs: {} } : await response.json();
    return this.keys.map((key) => this.tell(key, jobs[key])).includes(true);
  }

  /** A stream's null is a refusal, a poll's may be too early. @param {string} key @param {?Job} [job] */
  tell(key, job, streamed = false) {
    let news = false;
    for (const bar of [...this.bars].filter((bar) => bar.key === key)) {
      if (job) news = bar.receive(job) || news;
      else if (streamed) bar.fail("refused");
      else if (Date.now() - (bar.missingSince ||= Date.now()) >= 30_000) bar.fail("unknown");
    }
    return news;
  }

  /** The server takes only shorter addresses: make two of it. */
  split() {
    mostKeys = Math.ceil(this.bars.size / 2);
    this.stop();
    for (const bar of this.bars) {
      this.bars.delete(bar);
      bar.channel = Channel.join(bar);
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
  --_danger: var(--progress-bar-danger, light-dark(#d0303f, #ff737c));
  display: block;
  line-height: 1.45;
  font-variant-numeric: tabular-nums;
}
:host([hidden]) { display: none }
.muted { --_color: var(--_muted) }
.warning { --_color: var(--progress-bar-warning, light-dark(#b85a00, #f2b34c)) }
.success { --_color: var(--progress-bar-success, light-dark(#15835a, #3ecf8e)) }
.danger { --_color: var(--_danger) }
.bar { display: grid; grid-template-columns: auto minmax(0, 1fr) auto; gap: .5em }
svg {
  width: 1.125em; height: 1.125em; margin-top: .16em; border-radius: 50%;
  color: var(--_color); background: color-mix(in srgb, currentColor 15%, transparent);
  fill: none; stroke: currentColor; stroke-width: 1.7; stroke-linecap: round;
}
.label { font-weight: 500; display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2; overflow: hidden; overflow-wrap: anywhere }
.percent, .detail, button { color: var(--_muted); justify-self: end }
.track {
  grid-column: 1 / -1; height: var(--progress-bar-height, 6px); border-radius: var(--progress-bar-radius, 99px); overflow: hidden;
  background: var(--progress-bar-track, color-mix(in srgb, currentColor 11%, transparent));
}
:host(:dir(rtl)) .track { direction: ltr; scale: -1 1 }
.fill { display: block; height: 100%; border-radius: inherit; background: var(--_color); transform: translate(calc(var(--_at) * 1% - 100%)) }
.live .fill { transition: transform .4s cubic-bezier(.2, .6, .35, 1) }
.muted .fill { opacity: .6 }
.vague .fill { opacity: .3 }
.moving .fill { width: 40%; animation: slide 1.4s ease-in-out infinite alternate }
:host([data-state=connecting]) { animation: appear .3s .5s backwards }
.detail, button { font-size: .8125em }
.detail { grid-column: span 2; min-height: 1.45em; justify-self: start; overflow-wrap: anywhere }
.status, .piece { white-space: nowrap }
.status { color: var(--_color); font-weight: 500 }
.muted .status { color: inherit }
button { border: 0; padding: 0; background: none; font-family: inherit; line-height: inherit; align-self: start; cursor: pointer }
button:hover { color: var(--_danger) }
button[aria-disabled=true] { cursor: default; color: inherit; opacity: .6 }
.said { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%) }
@keyframes slide { from { transform: translate(-40%) } to { transform: translate(190%) } }
@keyframes appear { from { opacity: 0 } }
@media (prefers-reduced-motion) {
  .fill { transition: none !important }
  .moving .fill { animation: none; width: auto; opacity: .4 }
}
@media (forced-colors: active) {
  .track { outline: 1px solid }
  .fill { background: Highlight; forced-color-adjust: none }
}
`);

/** A state's tone, and what is drawn in a disc of 16 by 16. @type {Record<string, string[]>} */
const LOOKS = {
  connecting: ["muted", "M8 4.5V8l2.3 1.5"],
  pending: ["muted", "M8 4.5V8l2.3 1.5"],
  running: ["accent", "M6.5 5v6l4-3Z"],
  retrying: ["warning", "M11.3 6.5A3.6 3.6 0 1 0 11.5 9M11.6 4v2.5H9"],
  stalled: ["warning", "M8 4.5v4M8 11.3h0"],
  cancelling: ["muted", "M6 6h4v4H6Z"],
  cancelled: ["muted", "M5 11 11 5"],
  succeeded: ["success", "M5 8.3 7.2 10.5 11 6"],
  failed: ["danger", "M5.7 5.7l4.6 4.6M10.3 5.7l-4.6 4.6"],
  error: ["danger", "M8 4.5v4M8 11.3h0"],
};

const { compare } = new Intl.Collator("en", { numeric: true }); // "1.2.10" is after "1.2.9"

/** @param {Record<string, unknown>} values */
const fillIn = (template = "", values) => template.replace(/{(\w+)}/g, (_, name) => `${values[name] ?? ""}`).trim();

/** @type {Record<string, Intl.NumberFormat>} */
const formats = {};

/** The numbers of a language. */
function speaking(lang = "") {
  try {
    Intl.getCanonicalLocales(lang);
  } catch {
    lang = ""; // not a language
  }

  const number = (value = 0, /** @type {Intl.NumberFormatOptions} */ options = {}) => {
    const format = (formats[lang + JSON.stringify(options)] ??= new Intl.NumberFormat(lang || [], options));
    return format.format(value);
  };

  /** "1,200", or "1.2 KiB". @param {?string} unit */
  const amount = (value = 0, unit) => {
    if (unit !== "B") return number(value, value < 10 ? { maximumSignificantDigits: 2 } : { maximumFractionDigits: 0 });
    const power = value < 1024 ? 0 : Math.min(Math.floor(Math.log2(value) / 10), 5);
    return `${number(value / 1024 ** power, { maximumFractionDigits: power && 1 })} ${"B KiB MiB GiB TiB PiB".split(" ")[power]}`;
  };

  /** The two largest units: "3m 20s". */
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

/** In seconds; NaN where there is none. @param {?string} text */
const moment = (text) => Date.parse(text ?? "") / 1_000;

/** @param {Partial<HTMLElement>} properties @param {Element[]} children */
function part(name = "", properties = {}, ...children) {
  const node = document.createElement(name === "cancel" ? "button" : "span");
  node.append(...children);
  return Object.assign(node, { className: name, part: name }, properties);
}

const drawn = (tag = "") => document.createElementNS("http://www.w3.org/2000/svg", tag);

/** @param {Element} node */
function write(node, text = "") {
  if (node.textContent !== text) node.textContent = text;
}

export class ProgressBar extends HTMLElement {
  static observedAttributes = ["src", "cancel"];

  /** @type {?Job} */ #job = null;
  #strings = Object.create(strings);
  /** @type {"" | "refused" | "unknown"} */ #reason = "";
  #asked = false;
  #note = "";
  #endsAt = 0;
  #left = ""; // rewritten once a second, not with each record
  #live = "";
  #milestone = "";

  /** @type {?Channel} */ channel = null;
  base = "";
  key = "";
  missingSince = 0;
  over = false;

  #icon = drawn("svg");
  #path = drawn("path");
  #label = part("label");
  #percent = part("percent");
  #fill = part("fill");
  #track = part("track", { role: "progressbar", ariaValueMin: "0", ariaValueMax: "100" }, this.#fill);
  #detail = part("detail");
  #button = part("cancel", { onclick: () => this.cancel() });
  #said = part("said", { role: "status" });
  #bar = part("bar", {}, this.#icon, this.#label, this.#percent, this.#track, this.#detail, this.#button, this.#said);

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [sheet];
    root.append(this.#bar);
    this.#icon.setAttribute("part", "icon");
    this.#icon.setAttribute("viewBox", "0 0 16 16");
    this.#icon.append(this.#path);
  }

  get job() {
    return this.#job;
  }

  /** @returns {typeof strings} */
  get strings() {
    return this.#strings;
  }

  set strings(some) {
    this.#strings = Object.assign(Object.create(strings), some);
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
      this.#reason = this.#note = this.#live = this.#milestone = "";
      this.missingSince = this.#endsAt = 0;
    }
    const src = this.getAttribute("src");
    if (src && !this.channel) {
      const url = new URL(src.replace(/\/?$/, "/"), document.baseURI);
      this.base = new URL("..", url).href;
      this.key = decodeURIComponent(url.pathname.split("/").at(-2) ?? "");
      this.channel = Channel.join(this);
    }
    this.render();
  }

  #leave() {
    this.channel?.leave(this);
    this.channel = null;
  }

  #emit(type = "", /** @type {unknown} */ detail) {
    this.dispatchEvent(new CustomEvent(type, { detail, bubbles: true, composed: true }));
  }

  /** Show a record unless it is older than what is shown; tell whether it was news. @param {Job} job */
  receive(job) {
    const old = this.#job;
    this.missingSince = 0;
    if (this.over || (old && (job.cursor === old.cursor || compare(job.version, old.version) < 0))) return false;
    this.#live = old ? "live" : ""; // the first record is painted where it is
    this.#job = job;
    // The viewer's clock may be wrong: the wait was no longer when the record was written.
    const wait = moment(job.next_retry_at) - Math.max(moment(job.updated_at), Date.now() / 1_000) || job.eta;
    this.#endsAt = wait ? Date.now() + wait * 1_000 : 0;
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
    if (this.#asked || this.over) return;
    this.#asked = true;
    this.#note = "";
    this.render();
    try {
      const url = `${this.base}${encodeURIComponent(this.key)}/cancel/`;
      const response = await fetch(url, { method: "POST", headers: { "X-Progresskit": "1" } });
      if (!response.ok) throw response;
    } catch {
      this.#asked = false;
      this.#note = this.strings.cancelFailed;
      this.render();
    }
  }

  /** Draw what is known. @param {boolean} [ticked] a second has passed */
  render(ticked) {
    const job = this.#job ?? /** @type {Job} */ ({});
    const { state: stage, percent, total, error, done } = job;
    const words = this.strings;
    const { number, amount, duration } = speaking((this.closest("[lang]") ?? document.documentElement).getAttribute("lang") ?? "");
    const cancelling = this.#asked || job.cancel_requested;
    const phase = done ? stage : job.stalled ? "stalled" : cancelling ? "cancelling" : (stage ?? "connecting");
    const state = this.#reason ? "error" : phase;
    const [tone, drawing] = LOOKS[state];
    const running = state === "running";
    const begun = !/connecting|pending|error/.test(state);
    const offline = !this.over && (this.channel?.failures ?? 0) > 1;
    const offer = stage && !this.over && this.hasAttribute("cancel");
    const left = (this.#endsAt - Date.now()) / 1_000;
    const known = percent != null;
    const whole = Math.floor(percent ?? 0);
    const share = known && begun ? number(whole / 100, { style: "percent" }) : "";
    const time = (template = "", span = 0) => (span >= 0.5 ? fillIn(template, { time: duration(span) }) : "");

    let status = words[this.#reason || phase];
    if (state === "retrying") status = time(words.retryingIn, left) || status;
    if (state === "succeeded") status = time(words.succeededIn, moment(job.finished_at) - moment(job.started_at)) || status;
    if (offline) status = words.reconnecting;
    const label = job.description || status;
    if (label === status || (running && !offline) || (state === "cancelling" && offer)) status = ""; // told elsewhere

    const unit = job.unit === "B" ? "" : job.unit;
    const some = (template = "", current = 0) => fillIn(template, { current: amount(current, job.unit), total: amount(total ?? 0, job.unit), unit });
    const count = begun && (total != null || job.current) ? some(total == null ? words.some : words.someOf, job.current) : "";
    const details = [status];
    const failure = error ? [error.type, error.message].filter(Boolean).join(": ") : "";
    details.push(failure, count);
    if (running && !offline) {
      if (ticked || !this.#left || !this.#endsAt) this.#left = time(words.left, left);
      if (job.rate) details.push(fillIn(words.rate, { amount: some(words.some, job.rate) }));
      details.push(this.#left);
    }
    if (!done && (job.attempt > 1 || state === "retrying")) details.push(fillIn(words.attempt, { n: job.attempt }));
    if (offer) details.push(this.#note);

    this.dataset.state = state;
    this.#bar.className = `bar ${tone} ${this.#live} ${known || !begun ? "" : running ? "moving" : "vague"}`;
    this.#path.setAttribute("d", drawing);
    this.#fill.style.setProperty("--_at", `${percent ?? (begun ? 100 : 0)}`);
    this.#label.title = label;
    write(this.#label, label);
    write(this.#percent, share);
    const pieces = details.filter(Boolean);
    if (this.#detail.textContent !== pieces.join("\xa0· ")) {
      const nodes = pieces.map((textContent) => part(textContent === status ? "status" : textContent === failure ? "failure" : "piece", { textContent }));
      this.#detail.replaceChildren(...nodes.flatMap((node, i) => [i ? "\xa0· " : "", node]));
    }
    write(this.#button, cancelling ? words.cancelling : words.cancel);
    this.#button.hidden = !offer;
    this.#button.ariaDescription = label;
    this.#button.ariaDisabled = `${!!cancelling}`;
    this.#track.ariaLabel = label;
    this.#track.ariaValueNow = known ? `${whole}` : null;
    this.#track.ariaValueText = [status, share, count].filter(Boolean).join(", ") || label;

    // Speak of milestones only, and not of those that were reached before.
    const milestone = state + (running ? Math.floor(whole / 25) : "");
    if (this.#milestone && this.#milestone !== milestone && milestone !== "running0") write(this.#said, `${label}: ${status || share}`);
    this.#milestone = stage || this.#reason ? milestone : "";
  }
}

if (!customElements.get("progress-bar")) customElements.define("progress-bar", ProgressBar);
