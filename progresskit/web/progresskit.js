// <progress-bar src="/progress/KEY/" cancel>, explained in docs/explanation/browser-component.md

export const strings = {
  connecting: "Waiting",
  pending: "Waiting",
  running: "Working",
  stalled: "Stalled",
  stalledSince: "Stalled, last report {time} ago",
  retrying: "Retrying",
  retryingIn: "Retrying in {time}",
  attempt: "attempt {n}",
  step: "step {n}",
  stepNamed: "step {n}: {name}",
  stepOf: "step {n} of {total}: {name}",
  succeeded: "Done",
  succeededIn: "Done in {time}",
  failed: "Failed",
  cancelled: "Cancelled",
  stoppedEarly: "Stopped early",
  cancel: "Cancel",
  cancelling: "Cancelling…",
  cancelFailed: "Could not cancel",
  reconnecting: "Reconnecting…",
  refused: "Not available",
  unknown: "Unknown job",
  some: "{current} {unit}",
  someOf: "{current} of {total} {unit}",
  nFailed: "{n} failed",
  rate: "{amount}/s",
  ratePerMinute: "{amount}/min",
  ratePerHour: "{amount}/h",
  left: "about {time} left",
  leftSeconds: "a few seconds left",
  leftMinute: "about a minute left",
  leftHour: "about an hour left",
  leftDay: "about a day left",
  spoken: "{name}: {news}",
};

const bars = new Set();

export function configure({ strings: some }) {
  Object.assign(strings, some);
  for (const bar of bars) bar.render();
}

const channels = new Set();
let mostKeys = 100;

const { locks } = navigator;
const me = Math.random();
const guests = new Map();
const first = locks ? "follows" : "leads";
let role = first; // or "waits" to lead, or "sleeps"
let wire;
let term;

const runAll = () => channels.forEach((channel) => channel.run());
const lifeOf = ({ cursor }) => cursor.replace(/[^-]*$/, "");
const isNews = (job, old) =>
  !old || lifeOf(job) !== lifeOf(old) || (job.cursor !== old.cursor && compare(job.version, old.version) >= 0);

// A bar of other tabs where this tab leads.
class Guest {
  tabs = new Set();

  constructor(base, key) {
    Object.assign(this, { base, key });
    this.channel = Channel.join(this);
    guests.set(`${base} ${key}`, this);
  }

  receive(job) {
    this.missingSince = 0;
    if (!isNews(job, this.job)) return false;
    this.job = job;
    this.pass();
    if (job.done) this.channel.leave(this);
    return true;
  }

  fail(reason) {
    this.pass(reason);
    this.leave();
  }

  pass(reason) {
    const { base, key, job } = this;
    say({ base, key, job, reason });
  }

  leave() {
    guests.delete(`${this.base} ${this.key}`);
    this.channel.leave(this);
  }
}

const say = (message) => wire?.postMessage({ me, ...message });
const declare = () => role === "leads" || say({ wants: [...channels].flatMap(({ base, keys }) => keys.map((key) => [base, key])) });

function receive({ me, wants, base, key, job, reason, failures }) {
  if (role === "leads") return wants && admit(me, wants);
  if (wants) return;
  if (!base) return declare();
  for (const channel of channels) {
    if (channel.base !== base) continue;
    channel.failures = failures ?? 0;
    channel.heardAt = Date.now();
    for (const bar of channel.bars) if (bar.key === key) reason ? bar.fail(reason) : bar.receive(job);
  }
}

function admit(tab, wants) {
  for (const guest of guests.values()) guest.tabs.delete(tab);
  for (const [base, key] of wants) {
    const known = guests.get(`${base} ${key}`);
    if (known?.job) known.pass();
    (known ?? new Guest(base, key)).tabs.add(tab);
  }
  for (const guest of guests.values()) if (!guest.tabs.size) guest.leave();
}

function follow(steal) {
  if (!wire) {
    wire = new BroadcastChannel("progresskit 1");
    wire.onmessage = ({ data }) => receive(data);
  }
  declare();
  if (document.hidden || (role === "waits" && !steal)) return;
  resign("waits");
  const { signal } = (term = new AbortController());
  const lead = () => new Promise((end) => {
    signal.onabort = end;
    if (signal.aborted) return end();
    role = "leads";
    say();
    runAll();
  });
  locks.request("progresskit", steal ? { steal } : { signal }, lead).catch(({ name }) => {
    if (signal.aborted) return;
    resign(name === "AbortError" ? first : "leads");
    runAll();
  });
}

function resign(next = role === "sleeps" ? role : first) {
  term?.abort();
  role = next;
  for (const guest of guests.values()) guest.leave();
  for (const channel of channels) channel.halt();
}

class Channel {
  bars = new Set();
  streamed = new Set();
  streamAt = 0;
  failures = 0;
  turn = 0;
  heardAt = 0;
  ticker = setInterval(() => this.tick(), 1000);

  constructor(base) {
    this.base = base;
    channels.add(this);
  }

  static join(bar) {
    const home = [...channels].find(({ base, keys }) => base === bar.base && keys.length < mostKeys) ?? new Channel(bar.base);
    for (const { key, job } of home.bars) if (job && key === bar.key) bar.receive(job);
    home.bars.add(bar);
    home.updating ||= setTimeout(() => {
      home.updating = 0;
      if (!home.keys.every((key) => home.streamed.has(key))) home.run();
    }, 20);
    return home;
  }

  leave(bar) {
    this.bars.delete(bar);
    queueMicrotask(() => {
      if (this.keys.includes(bar.key)) return;
      this.streamed.delete(bar.key);
      if (!this.bars.size) this.stop();
      declare();
      if (!channels.size && !guests.size) resign();
    });
  }

  tick() {
    for (const bar of this.bars) bar.render?.();
    const { base, failures } = this;
    if (role === "leads") say({ base, failures });
    else if (!document.hidden && role !== "sleeps" && Date.now() - this.heardAt > 10000) follow(true);
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
    if (role === "sleeps") return;
    if (role !== "leads") follow();
    if (document.hidden) this.plan(this.heardAt + 15000 - Date.now(), () => this.poll());
    else if (role !== "leads") this.heardAt = Date.now();
    else if (Date.now() < this.streamAt) this.poll();
    else this.stream();
  }

  plan(ms, act = () => this.run()) {
    clearTimeout(this.timer);
    return (this.timer = setTimeout(act, ms));
  }

  stream() {
    const source = (this.source = new EventSource(this.url("events/")));
    let openedAt;
    let probing;
    this.streamed = new Set(this.keys);
    this.heard = false;
    this.plan(10000, () => this.lost());
    source.onopen = () => {
      openedAt = this.heardAt = Date.now();
      this.failures = 0;
      for (const bar of this.bars) bar.missingSince ||= openedAt;
      probing ||= this.plan(5000, () => this.probe());
    };
    source.addEventListener("progress", ({ data }) => {
      const { key, job } = JSON.parse(data);
      this.heard = true;
      this.heardAt = Date.now();
      this.deliver(key, job, true);
      if (this.source && !this.isMissing) this.plan(25000, () => this.probe());
    });
    source.onerror = () => {
      if (!openedAt) return this.lost();
      const lived = Date.now() - openedAt;
      openedAt = 0;
      if (lived < 1500 && source.readyState === 0) return;
      this.halt();
      this.plan(200 + 500 * Math.random(), () => (this.isMissing ? this.poll() : this.run()));
    };
  }

  lost() {
    this.halt();
    this.streamAt = Date.now() + 30000;
    this.plan(500 * Math.random());
  }

  async probe() {
    const { turn } = this;
    const fine = await this.ask().then((news) => !news || this.heard, () => false);
    if (turn !== this.turn) return;
    this.heard = false;
    if (fine) this.plan(25000, () => this.probe());
    else this.lost();
  }

  async poll() {
    const { turn } = this;
    try {
      await this.ask();
      if (this.failures) this.streamAt = 0;
      this.failures = 0;
    } catch (error) {
      if (!this.failures++ && error instanceof TypeError && !this.base.startsWith(origin + "/")) {
        console.warn("progresskit: another origin:", this.base);
      }
      if (this.bars.size > 1 && [400, 414, 431].includes(error)) return this.split();
    }
    const backoff = this.failures && Math.min(500 * 2 ** this.failures, 12000) * (0.5 + Math.random() / 2);
    if (turn === this.turn) this.plan(Math.max(this.pause, backoff, document.hidden ? 15000 : 0));
  }

  async ask() {
    this.pause = 1000;
    try {
      const response = await fetch(this.url(), { cache: "no-cache", signal: AbortSignal.timeout(20000) });
      this.pause = Math.min(Number(response.headers.get("Retry-After")) || 1, 60) * 1000;
      const { ok, status } = response;
      if (!ok && status !== 404 && (status !== 400 || this.bars.size > 1)) throw status;
      const { jobs } = ok ? await response.json() : { jobs: {} };
      return this.keys.map((key) => this.deliver(key, jobs[key])).includes(true);
    } catch (error) {
      for (const bar of this.bars) bar.missingSince = 0;
      throw error;
    }
  }

  deliver(key, job, streamed) {
    let news = false;
    for (const bar of [...this.bars].filter((bar) => bar.key === key)) {
      if (job) news = bar.receive(job) || news;
      else if (streamed) bar.fail("refused");
      else if (Date.now() - (bar.missingSince ||= Date.now()) >= 30000) bar.fail("unknown");
    }
    return news;
  }

  split() {
    mostKeys = Math.ceil(this.bars.size / 2);
    this.stop();
    for (const bar of this.bars) {
      this.bars.delete(bar);
      bar.channel = Channel.join(bar);
    }
  }
}

const on = (types, act) => types.split(" ").forEach((type) => addEventListener(type, act, true));
on("pagehide freeze", () => {
  say({ wants: [] });
  resign("sleeps");
  wire?.close();
  wire = null;
});
on("pageshow resume", () => {
  if (role !== "sleeps") return;
  role = first;
  runAll();
});
on("online visibilitychange", () => {
  if (document.hidden) resign();
  runAll();
});

const sheet = new CSSStyleSheet();
sheet.replaceSync(`
:host {
  --_color: var(--progress-bar-accent, light-dark(#4c5fe0, #8492ff));
  --_muted: var(--progress-bar-muted, color-mix(in srgb, currentColor 62%, transparent));
  display: block; container-type: inline-size; contain-intrinsic-inline-size: 16em; min-width: 0;
  line-height: 1.45; text-align: start; white-space: normal;
  font-variant-numeric: tabular-nums;
}
:host([hidden]) { display: none }
.muted { --_color: var(--_muted) }
.warning { --_color: var(--progress-bar-warning, light-dark(#b85a00, #f2b34c)) }
.success { --_color: var(--progress-bar-success, light-dark(#15835a, #3ecf8e)) }
.danger, .failed, .cancel:hover { --_color: var(--progress-bar-danger, light-dark(#d0303f, #ff737c)) }
.bar { display: flex; flex-wrap: wrap; gap: .5em }
svg {
  width: 1.125em; height: 1.125em; margin-top: .16em; border-radius: 50%;
  color: var(--_color); background: color-mix(in srgb, currentColor 15%, transparent);
  fill: none; stroke: currentColor; stroke-width: 1.7; stroke-linecap: round;
}
.label, .detail { flex: 1; overflow-wrap: anywhere }
.label { font-weight: 500; display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2; overflow: hidden }
button { border: 0; padding: 0; background: none; font: inherit; cursor: pointer }
.cancel {
  min-width: 24px; min-height: 24px; margin: -2px 0; margin-inline-start: auto; padding: 0 .7em; align-self: start;
  border: 1px solid color-mix(in srgb, currentColor 50%, transparent); border-radius: 6px;
}
.track {
  width: 100%; height: var(--progress-bar-height, 6px); border-radius: var(--progress-bar-radius, 99px); overflow: hidden;
  background: var(--progress-bar-track, color-mix(in srgb, currentColor 11%, transparent));
}
:host(:dir(rtl)) .track { direction: ltr; scale: -1 1 }
.fill { display: block; height: 100%; border-radius: inherit; background: var(--_color) }
.live .fill { transition: translate .4s ease-out }
.muted .fill { opacity: .6 }
.vague .fill { opacity: .3 }
.moving .fill { width: 40%; animation: slide 1.4s ease-in-out infinite alternate }
:host([data-state=connecting]) { animation: appear .3s .5s backwards }
.percent, .detail, button { color: var(--_muted) }
.detail, button { font-size: .8125em }
.detail { min-height: 1.45em }
.piece { white-space: nowrap }
.status, .failed { color: var(--_color); font-weight: 500 }
.ended .label { color: var(--_color) }
.muted :is(.status, .label) { color: inherit }
.cancel:hover { color: var(--_color) }
.cancel[aria-disabled=true] { cursor: default; color: inherit; opacity: .6 }
.said { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%) }
@container (width < 14em) {
  .bar { row-gap: .3em }
  .percent, button { order: 1; font-size: .8125em }
  .detail { order: 2; flex-basis: 100% }
  .detail * { white-space: normal }
}
@keyframes slide { from { translate: -40% } to { translate: 190% } }
@keyframes appear { from { opacity: 0 } }
@media (prefers-reduced-motion) {
  .fill { transition: none !important }
  .moving .fill { animation: none; width: auto; opacity: .4 }
}
@media (forced-colors: active) {
  .track { border: 1px solid; box-sizing: border-box }
  .fill { background: Highlight; forced-color-adjust: none }
}
`);

const LOOKS = {
  connecting: ["muted", "M8 4.5V8l2.3 1.5"],
  pending: ["muted", "M8 4.5V8l2.3 1.5"],
  running: ["accent", "M6.5 5v6l4-3Z"],
  retrying: ["warning", "M11 6A3.6 3.6 0 1 0 11.5 9M11.5 4v2.5H9"],
  stalled: ["warning", "M8 4.5v4M8 11.3h0"],
  cancelling: ["muted", "M6 6h4v4H6Z"],
  cancelled: ["muted", "M5 11 11 5"],
  succeeded: ["success", "M5 8l2 2 4-4"],
  failed: ["danger", "M6 6l4 4M10 6l-4 4"],
  error: ["danger", "M8 4.5v4M8 11.3h0"],
};

const { compare } = new Intl.Collator("en", { numeric: true });

export const fillIn = (template, values) => template.replace(/{(\w+)}/g, (_, name) => values[name] ?? "").trim();

const formats = {};

let language;

function number(value, options) {
  try {
    return (formats[language + JSON.stringify(options)] ??= new Intl.NumberFormat(language, options)).format(value);
  } catch {
    language = undefined;
    return number(value, options);
  }
}

function amount(value, unit, digits = 2) {
  let power = 0;
  for (; unit === "B" && value >= 1024 && power < 5; power++) value /= 1024;
  const text = number(value, value < 10 ** (digits - 1) ? { maximumSignificantDigits: digits } : { maximumFractionDigits: power && 3 - digits });
  return unit === "B" ? `${text} ${"B KiB MiB GiB TiB PiB".split(" ")[power]}` : text;
}

const span = (value, unit, unitDisplay) => number(value, { style: "unit", unit, unitDisplay });

function duration(seconds) {
  let rest = Math.max(Math.round(seconds), 1);
  const parts = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]].map(([unit, size]) => {
    const whole = Math.floor(rest / size);
    rest %= size;
    return whole ? span(whole, unit, "narrow") : "";
  });
  return parts.filter(Boolean).slice(0, 2).join(" ");
}

function left(words, seconds) {
  const about = (unit, size, step = 1) => fillIn(words.left, { time: span(Math.round(seconds / size / step) * step, unit, "long") });
  if (!(seconds >= 1)) return "";
  if (seconds < 10) return words.leftSeconds;
  if (seconds < 55) return about("second", 1, seconds < 20 ? 5 : 10);
  if (seconds < 90) return words.leftMinute;
  if (seconds < 3300) return about("minute", 60);
  if (seconds < 5400) return words.leftHour;
  if (seconds < 84600) return about("hour", 3600);
  return seconds < 129600 ? words.leftDay : about("day", 86400);
}

const moment = (text) => Date.parse(text) / 1000;

let skew;

function part(name, properties, ...children) {
  const node = document.createElement(name === "cancel" ? "button" : "span");
  node.append(...children);
  return Object.assign(node, { className: name, part: name }, properties);
}

function segments(steps) {
  const weights = (steps ?? []).map(({ weight }) => weight);
  if (weights.length < 2 || weights.includes(null)) return "";
  const all = weights.reduce((sum, weight) => sum + weight);
  let at = 0;
  const cuts = weights.slice(1).map((_, i) => `#000 0 calc(${((at += weights[i]) / all) * 100}% - 1px), #0000 0 calc(${(at / all) * 100}% + 1px), `);
  return `linear-gradient(90deg, ${cuts.join("")}#000 0)`;
}

const drawn = (tag) => document.createElementNS("http://www.w3.org/2000/svg", tag);

const listed = (...texts) => texts.filter(Boolean).join(", ");

function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export class ProgressBar extends HTMLElement {
  static observedAttributes = ["src", "cancel"];

  #job = null;
  #strings = Object.create(strings);
  #reason;
  #asked;
  #note;
  #live = "";
  #milestone;
  #openedAt;
  channel;
  over = true;

  #icon = drawn("svg");
  #path = drawn("path");
  #label = part("label");
  #percent = part("percent");
  #fill = part("fill");
  #track = part("track", { role: "progressbar" }, this.#fill);
  #detail = part("detail");
  #button = part("cancel", { onclick: () => this.requestCancel() });
  #said = part("said", { role: "status" });
  #bar = part("bar", {}, this.#icon, this.#label, this.#percent, this.#track, this.#detail, this.#button, this.#said);

  constructor() {
    super();
    this.attachShadow({ mode: "open" }).append(this.#bar);
    this.shadowRoot.adoptedStyleSheets = [sheet];
    this.#icon.setAttribute("part", "icon");
    this.#icon.ariaHidden = true;
    this.#icon.setAttribute("viewBox", "0 0 16 16");
    this.#icon.append(this.#path);
  }

  get job() {
    return this.#job;
  }

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

  attributeChangedCallback(name) {
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
      this.#openedAt = Date.now();
      this.missingSince = 0;
    }
    const src = this.getAttribute("src");
    if (src && !this.channel) {
      const { href, pathname } = new URL(src.replace(/\/?$/, "/"), document.baseURI);
      this.base = new URL("..", href).href;
      this.key = decodeURIComponent(pathname.split("/").at(-2));
      this.channel = Channel.join(this);
    }
    if (!src && this.constructor.observedAttributes.includes("src")) {
      setTimeout(() => this.isConnected && !this.getAttribute("src") && console.warn("progresskit: src is missing:", this), 1000);
    }
    this.render();
  }

  #leave() {
    this.channel?.leave(this);
    this.channel = null;
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail, bubbles: true, composed: true }));
  }

  get age() {
    return Date.now() / 1000 - moment(this.#job?.updated_at) - (skew ?? 0);
  }

  get left() {
    const { next_retry_at, updated_at, eta } = this.#job ?? {};
    return (moment(next_retry_at) - moment(updated_at) || (eta ?? NaN)) - this.age;
  }

  receive(job) {
    const old = this.#job;
    this.missingSince = 0;
    if (this.over || !isNews(job, old)) return false;
    this.#live ||= old && this.#fill.getAnimations() ? "live" : "";
    this.#job = job;
    const lag = Date.now() / 1000 - moment(job.updated_at);
    if (this.channel && (old || lag < 0)) skew = Math.min(skew ?? lag, lag);
    this.over = job.done;
    this.render();
    if (job.done) this.#leave();
    this.#emit("progress", job);
    if (job.done) this.#emit("done", job);
    return true;
  }

  fail(reason) {
    console.warn(reason === "refused" ? "progresskit: token refused (wrong, expired, or another user's):" : "progresskit: no report in 30 s:", this);
    this.#reason = reason;
    this.over = true;
    this.render();
    this.#leave();
    this.#emit("error", { reason });
  }

  async requestCancel() {
    if (this.#asked || this.over) return;
    this.#asked = true;
    this.#note = "";
    this.render();
    try {
      const response = await fetch(`${this.base}${encodeURIComponent(this.key)}/cancel/`, { method: "POST", headers: { "X-Progresskit": "1" } });
      if (!response.ok) throw 0;
    } catch {
      this.#asked = false;
      this.#note = this.strings.cancelFailed;
      this.render();
    }
  }

  render() {
    const job = this.#job ?? {};
    const { state: stage, percent, total, error, done, step, steps, parts } = job;
    const words = this.strings;
    language = (this.closest("[lang]") ?? document.documentElement).lang || undefined;
    const cancelling = this.#asked || job.cancel_requested;
    const phase = done ? stage : job.stalled ? "stalled" : cancelling ? "cancelling" : (stage ?? "connecting");
    const state = this.#reason ? "error" : phase;
    const running = state === "running";
    const begun = !/connecting|pending|error/.test(state);
    const offline = !this.over && this.channel?.failures > 1;
    const offer = stage && !this.over && this.hasAttribute("cancel");
    const known = percent != null;
    const whole = Math.floor(percent);
    const share = known && begun && number(whole / 100, { style: "percent" });

    let status = words[this.#reason || phase];
    const timed = (template, seconds) => {
      if (seconds >= 0.5) status = fillIn(template, { time: duration(seconds) });
    };
    if (state === "retrying") timed(words.retryingIn, this.left);
    if (state === "stalled") timed(words.stalledSince, this.age);
    if (state === "succeeded") timed(words.succeededIn, moment(job.finished_at) - moment(job.started_at));
    if (state === "cancelled" && !cancelling) status = words.stoppedEarly;
    if (offline) status = words.reconnecting;
    const name = job.description || status;
    const ended = done && !this.keepsName;
    const label = ended ? status : name;
    const isUsual = running && !offline;
    if (name === status) status = "";
    const spoken = isUsual && whole > 0 ? share : status;
    if (isUsual || (state === "cancelling" && offer)) status = "";

    const unit = job.unit === "B" ? "" : job.unit;
    const some = (template, current, digits) => fillIn(template, { current: amount(current, job.unit, digits), total: amount(total ?? 0, job.unit), unit });
    const count = begun && (total != null || job.current) ? some(total == null ? words.some : words.someOf, job.current) : "";
    const failure = error?.message || error?.type;
    const current = steps?.[step - 1];
    const nth = current ? (current.weight ? words.stepOf : words.stepNamed) : step > 1 ? words.step : "";
    const place = begun && state !== "succeeded" ? fillIn(nth, { n: step, total: steps?.length, name: current?.name }) : "";
    const failed = parts?.failed ? fillIn(words.nFailed, { n: number(parts.failed) }) : "";
    const details = ended ? [failure, place, job.description, count, failed] : [status, failure, place, count, failed];
    if (isUsual) {
      const { rate } = job;
      const [per, seconds] = rate >= 1 ? ["rate", 1] : rate * 60 >= 1 ? ["ratePerMinute", 60] : ["ratePerHour", 3600];
      if (rate) details.push(fillIn(words[per], { amount: some(words.some, rate * seconds, 3) }));
      details.push(left(words, this.left));
    }
    if (!done && (job.attempt > 1 || state === "retrying")) details.push(fillIn(words.attempt, { n: job.attempt }));
    if (offer) details.push(this.#note);

    this.dataset.state = state;
    this.#bar.className = `bar ${LOOKS[state][0]} ${this.#live} ${ended ? "ended" : ""} ${known || !begun ? "" : running ? "moving" : "vague"}`;
    this.#path.setAttribute("d", LOOKS[state][1]);
    this.#fill.style.translate = `${(percent ?? (begun ? 100 : 0)) - 100}%`;
    this.#track.style.maskImage = segments(steps);
    this.#label.title = name;
    write(this.#label, label);
    write(this.#percent, share || "");
    const pieces = details.filter(Boolean);
    if (this.#detail.textContent !== pieces.join("\xa0· ")) {
      const kind = (text) => (text === status ? "status" : text === failure ? "failure" : text === place ? "step" : text === failed ? "failed" : text === job.description ? "description" : "piece");
      this.#detail.replaceChildren(...pieces.flatMap((text, i) => [i ? "\xa0· " : "", part(kind(text), {}, text)]));
    }
    write(this.#button, cancelling ? words.cancelling : words.cancel);
    if (!offer && this.shadowRoot.activeElement === this.#button) {
      this.#bar.tabIndex = -1;
      this.#bar.focus({ preventScroll: true });
    }
    this.#button.hidden = !offer;
    this.#button.ariaDescription = name;
    this.#button.ariaDisabled = !!cancelling;
    this.#track.ariaLabel = name;
    this.#track.ariaValueNow = known ? whole : null;
    this.#track.ariaValueText = listed(status, share, place, count, failed) || name;

    const milestone = state + (running ? `${Math.floor(whole / 25)} ${Math.clz32(parts?.failed)} ${current?.name}` : "");
    if (this.#milestone && this.#milestone !== milestone) {
      const news = listed(spoken, place, failed);
      write(this.#said, news ? fillIn(words.spoken, { name, news }) : name);
    }
    if (stage || this.#reason || Date.now() > this.#openedAt + 1000) this.#milestone = milestone;
  }
}

customElements.get("progress-bar") ?? customElements.define("progress-bar", ProgressBar);
