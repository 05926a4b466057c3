// Runs in each page before anything of the page's own: keeps what its bars tell and show.
(() => {
  const part = (bar, name) => bar.shadowRoot?.querySelector(`[part=${name}]`);
  const all = () => [...document.querySelectorAll("progress-bar")];
  const percent = (bar) => parseInt(part(bar, "percent")?.textContent);

  window.recorded = { events: [], frames: {}, frozen: false };

  for (const type of ["progress", "done", "error"]) {
    document.addEventListener(type, ({ target, detail }) => {
      if (target.localName !== "progress-bar") return;
      recorded.events.push({
        type,
        bar: all().indexOf(target),
        time: Date.now() / 1_000,
        job: detail,
        state: target.dataset.state,
        percent: percent(target),
        text: part(target, "detail").textContent,
      });
    });
  }

  document.addEventListener("freeze", () => (recorded.frozen = true));
  document.addEventListener("resume", () => (recorded.frozen = false));
  document.addEventListener("click", () => (recorded.clicked = Date.now() / 1_000), true);

  // Of each bar the first frame that shows a percentage, and how much of the track is filled in it: what stands in the
  // document when a frame begins was or will be painted.
  const look = () => {
    const bars = all();
    bars.forEach((bar, index) => {
      if (index in recorded.frames || isNaN(percent(bar))) return;
      const { left, width } = part(bar, "track").getBoundingClientRect();
      const share = (part(bar, "fill").getBoundingClientRect().right - left) / width;
      recorded.frames[index] = { percent: percent(bar), share };
    });
    if (!bars.length || bars.some((_, index) => !(index in recorded.frames))) requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})();
