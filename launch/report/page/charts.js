// Curves over samples or time. All charts share the cursor and the zoom, and every run has one colour.

const kKnownCharts = [
  { name: "loss", title: "Loss", log: true },
  { name: "lr", title: "Learning rate", fromZero: true },
  { name: "grad_norm", title: "Gradient norm", log: true },
  { name: "samples_per_s", title: "Samples per second", fromZero: true },
  { name: "mfu", title: "Model FLOP utilisation", fromZero: true },
];
const kShownElsewhere = ["data_wait_s", "comm_wait_s", "memory_bytes"];

/** Mean over the neighbours within `reach` places on either side. */
function smoothed(values, reach) {
  const sums = [0];
  for (const value of values) sums.push(sums[sums.length - 1] + value);
  return values.map((_, i) => {
    const begin = Math.max(0, i - reach), end = Math.min(values.length, i + reach + 1);
    return (sums[end] - sums[begin]) / (end - begin);
  });
}

/** Seconds of training when each of `samples` (ascending) had been seen, between the neighbours of `clock`. */
function secondsOf(clock, samples) {
  let i = 0;
  return samples.map((at) => {
    while (i < clock.samples.length && clock.samples[i] < at) ++i;
    if (i === clock.samples.length) return clock.values[i - 1] ?? 0;
    const [s0, t0] = i > 0 ? [clock.samples[i - 1], clock.values[i - 1]] : [0, 0];
    const step = clock.samples[i] - s0;
    return step > 0 ? t0 + (clock.values[i] - t0) * (at - s0) / step : clock.values[i];
  });
}

class Chart {
  /** options: {name, title, log, fromZero}. view is common to all charts: {x: "samples" | "time", extent of x,
      smoothing, hidden: Set of runs}. */
  constructor(runs, options, view) {
    this.runs = runs.map((run, number) => ({ run, number, curve: run.curves[options.name] })).filter((r) => r.curve);
    this.options = options;
    this.view = view;
    const [low, high] = this.runs.flatMap((r) => r.curve.values)
      .reduce(([least, most], value) => [Math.min(least, value), Math.max(most, value)], [Infinity, -Infinity]);
    this.canBeLog = low > 0;
    this.isLog = Boolean(options.log) && this.canBeLog && high > 2 * low;
    this.at = element("span", { className: "at" });
    this.numbers = this.runs.map((r) => element("b", { style: `color:var(--c${r.number % 8})`, title: r.run.name }));
    this.button = element("button", { type: "button", title: "logarithmic scale", hidden: !this.canBeLog }, "log");
    this.button.addEventListener("click", () => { this.isLog = !this.isLog; this.draw(); });
    this.place = element("div");
    this.figure = element("figure", { className: "chart", "data-name": options.name },
      element("figcaption", null, element("strong", null, options.title), this.at, this.numbers, this.button), this.place);
    this.figure.chart = this;
    new ResizeObserver(() => this.plot?.setSize({ width: this.place.clientWidth, height: 230 })).observe(this.place);
  }

  /** data: [x, raw and smoothed of run 0, raw and smoothed of run 1, ...] on one x axis. */
  load() {
    this.data = uPlot.join(this.runs.map(({ run, curve }) => {
      const reach = Math.floor(curve.values.length * this.view.smoothing / 100);
      const x = this.view.x === "time" ? secondsOf(run.clock, curve.samples) : curve.samples;
      return [x, curve.values, smoothed(curve.values, reach)];
    }));
  }

  draw() {
    this.plot?.destroy();
    this.button.setAttribute("aria-pressed", this.isLog);
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const axis = { stroke: colour("--soft"), grid: { stroke: colour("--grid"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
    const series = this.runs.flatMap(({ number, curve }) => {
      const own = { show: !this.view.hidden.has(number), stroke: colour(`--c${number % 8}`), spanGaps: true };
      const dots = { show: curve.values.length < 30, size: 5 };
      return [{ ...own, alpha: 0.3, width: 1, points: { show: false } }, { ...own, width: 2, points: { ...dots, fill: own.stroke } }];
    });
    // The whole of this chart is shown as the whole of all charts; a part is shown as it is.
    const [first, last] = [this.data[0][0], this.data[0].at(-1)];
    const along = (_, low, high) => low === first && high === last ? this.view.extent : [low, high];
    const fromZero = (_, low, high) => [Math.min(0, low), (high || 1) * 1.05];
    const logarithmic = (_, low, high) => [low * 0.96, high * 1.04];
    this.plot = new uPlot({
      width: this.place.clientWidth || 480, height: 230, legend: { show: false },
      cursor: { y: false, sync: { key: "charts", scales: ["x", null] }, drag: { x: true, y: false }, points: { show: (u, s) => s % 2 ? uPlotPoint(u, s) : false } },
      scales: { x: { time: false, range: along }, y: this.isLog ? { distr: 3, range: logarithmic } : this.options.fromZero ? { range: fromZero } : {} },
      axes: [{ ...axis, size: 32, ...(this.view.x === "time" ? { incrs: kTimeSteps } : {}), values: (_, ticks) => ticks.map(this.view.x === "time" ? shortTime : compact) },
             { ...axis, size: 62, values: (_, ticks) => ticks.map((t) => t === null || (this.isLog && !isRound(t)) ? "" : short(t)) }],
      series: [{}, ...series],
      hooks: { setCursor: [() => this.showNumbers()] },
    }, this.data, this.place);
    this.showNumbers();
  }

  /** In the caption: each run's value under the cursor, or its newest. */
  showNumbers() {
    const x = this.data[0], index = this.plot?.cursor.idx;
    const hovers = index !== null && index !== undefined && this.plot.cursor.left >= 0;
    this.at.textContent = !hovers ? "" : this.view.x === "time" ? duration(x[index]) : `${count(x[index])} samples`;
    this.runs.forEach(({ curve, number }, i) => {
      this.numbers[i].textContent = short(hovers ? valueAt(this.data[1 + 2 * i], index) : curve.newest);
      this.numbers[i].hidden = this.view.hidden.has(number);
    });
  }
}

/** The value at `index` or the newest before it; null before a run's first value and after its last. */
function valueAt(values, index) {
  const known = values.findLastIndex(Number.isFinite);
  if (index > known) return null;
  while (index >= 0 && !Number.isFinite(values[index])) --index;
  return index < 0 ? null : values[index];
}

/** One digit and zeros, as logarithmic axes are labelled. */
const isRound = (value) => Math.abs(Number(value.toPrecision(1)) - value) < 1e-6 * value;

/** The dot under the cursor, in the colour of its curve. */
function uPlotPoint(u, series) {
  const size = 7;
  return element("div", { style: `width:${size}px;height:${size}px;margin:${-size / 2}px 0 0 ${-size / 2}px;background:${u.series[series].stroke()}` });
}

const kTimeSteps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 18000, 36000, 72000, 180000, 360000];
const shortTime = (seconds) => seconds >= 3600 ? `${Number((seconds / 3600).toPrecision(3))} h`
  : seconds >= 60 ? `${Number((seconds / 60).toPrecision(3))} min` : `${Number(seconds.toPrecision(3))} s`;

/** The charts everybody looks at first, then whatever else the runs reported. */
function chartsToShow(runs) {
  const names = new Set(runs.flatMap((run) => Object.keys(run.curves)));
  const known = kKnownCharts.filter((chart) => names.has(chart.name));
  const others = [...names].filter((name) => !kShownElsewhere.includes(name) && !kKnownCharts.some((c) => c.name === name));
  return [...known, ...others.sort().map((name) => ({ name, title: name }))];
}

function curvesSection(runs) {
  const view = { x: "samples", extent: [0, 1], smoothing: 3, hidden: new Set() };
  const charts = chartsToShow(runs).map((options) => new Chart(runs, options, view));
  const drawAll = () => {
    for (const chart of charts) chart.load();
    const first = Math.min(...charts.map(({ data }) => data[0][0]));
    const last = Math.max(...charts.map(({ data }) => data[0].at(-1)));
    view.extent = first < last ? [first, last] : [0, 2 * last || 1];
    for (const chart of charts) chart.draw();
  };
  const choice = (value, text) => {
    const button = element("button", { type: "button", "data-x": value, "aria-pressed": view.x === value }, text);
    button.addEventListener("click", () => {
      view.x = value;
      for (const other of button.parentNode.querySelectorAll("[data-x]")) other.setAttribute("aria-pressed", other === button);
      drawAll();
    });
    return button;
  };
  const smoothing = element("input", { type: "range", id: "smoothing", min: 0, max: 15, value: view.smoothing });
  smoothing.addEventListener("input", () => { view.smoothing = Number(smoothing.value); drawAll(); });
  const switches = runs.length < 2 ? [] : runs.map((run, number) => {
    const button = element("button", { type: "button", "data-run": number, "aria-pressed": true }, swatch(number), run.name);
    button.addEventListener("click", () => {
      if (!view.hidden.delete(number)) view.hidden.add(number);
      button.setAttribute("aria-pressed", !view.hidden.has(number));
      drawAll();
    });
    return button;
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  const section = element("section", { id: "curves" }, element("h2", null, "Curves"),
    element("div", { className: "controls" }, element("span", null, switches),
      element("span", null, "over", choice("samples", "samples"), choice("time", "time")),
      element("label", null, "smoothing", smoothing), "drag to zoom, double-click to zoom out"),
    element("div", { className: "charts" }, charts.map((chart) => chart.figure)));
  return { section, drawAll };
}
