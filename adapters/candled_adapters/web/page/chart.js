// Candles with the regime as a band and the signals as markers; below, the model's answers and the threshold.
// The drawing library is loaded when the first chart is wanted.

import { dated, el, exact, say } from "./dom.js";
import { SIDE, TREND, odd, price } from "./words.js";

const SCRIPT = "/lightweight-charts.js";
const AXIS = 68;
const BAND = 16;
const COLOURS = ["ink", "muted", "line", "surface", "long", "short", "none", "accent", "up-band", "down-band", "range-band"];
let loading = null;

/** Load the drawing library once; rejects when it is not served. */
export function library() {
  loading ??= new Promise((done, failed) => {
    const script = el("script", { src: SCRIPT });
    script.onload = () => done(window.LightweightCharts);
    script.onerror = () => {
      loading = null;
      script.remove();
      failed(new Error("no chart library"));
    };
    document.head.append(script);
  });
  return loading;
}

/** The theme's colours as the browser resolves them. */
function palette() {
  const probe = document.body.appendChild(el("i", { class: "probe" }));
  const found = {};
  for (const name of COLOURS) {
    probe.style.color = `var(--${name})`;
    found[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  return found;
}

/** Draws runs of the same regime behind the candles, and names them at the bottom. */
class Regimes {
  constructor() {
    this.runs = [];
    this.colours = {};
    // Tints lie below the grid, names above it.
    this.views = [this.view("bottom", this.tint), this.view("top", this.name)];
  }

  view(zOrder, draw) {
    return { zOrder: () => zOrder, renderer: () => ({ draw: (target) => this.paint(target, draw.bind(this)) }) };
  }

  attached({ chart, requestUpdate }) {
    this.chart = chart;
    this.redraw = requestUpdate;
  }

  paneViews() {
    return this.views;
  }

  set(bars, decisions) {
    this.runs = [];
    bars.forEach(([open], at) => {
      const made = decisions.get(open);
      const last = this.runs.at(-1);
      if (!made) return;
      if (last && last.regime === made.regime && last.to === at - 1) last.to = at;
      else this.runs.push({ regime: made.regime, name: made.regime_name, from: at, to: at });
    });
    this.redraw?.();
  }

  paint(target, draw) {
    const scale = this.chart.timeScale();
    target.useMediaCoordinateSpace(({ context, mediaSize }) => {
      const half = scale.options().barSpacing / 2;
      for (const run of this.runs) {
        const left = Math.max(0, scale.logicalToCoordinate(run.from) - half);
        const right = Math.min(mediaSize.width, scale.logicalToCoordinate(run.to) + half);
        if (right > left) draw(context, run, left, right - left, mediaSize.height);
      }
    });
  }

  colour(run) {
    return [this.colours["range-band"], this.colours["up-band"], this.colours["down-band"]][run.regime] ?? this.colours.line;
  }

  tint(context, run, left, width, height) {
    context.fillStyle = this.colour(run);
    context.fillRect(left, 0, width, height);
  }

  name(context, run, left, width, height) {
    context.fillStyle = this.colours.surface;
    context.fillRect(left, height - BAND, width, BAND);
    context.fillStyle = this.colour(run);
    for (let coat = 0; coat < 3; coat += 1) context.fillRect(left, height - BAND, width, BAND);
    context.fillStyle = this.colours.ink;
    context.font = "11px system-ui, sans-serif";
    const words = [`${TREND[run.regime] ?? ""} ${run.name}`, TREND[run.regime] ?? ""];
    const fits = words.find((word) => context.measureText(word).width + 8 < width);
    if (fits) context.fillText(fits, left + 4, height - 4);
  }
}

/** One stream's two charts. `picked` is called with the open time of a bar that was clicked. */
export class StreamChart {
  constructor(charts, box, legend, picked) {
    this.legend = legend;
    this.story = null;
    this.regimes = new Regimes();
    this.top = charts.createChart(box.children[0], { autoSize: true });
    this.below = charts.createChart(box.children[1], { autoSize: true });
    const quiet = { lastValueVisible: false, priceLineVisible: false };
    this.candles = this.top.addCandlestickSeries({ priceLineVisible: false });
    this.candles.attachPrimitive(this.regimes);
    const line = (style) => this.below.addLineSeries({ ...quiet, lineWidth: 1.5, crosshairMarkerVisible: false, autoscaleInfoProvider: () => ({ priceRange: { minValue: 0, maxValue: 1 } }), ...style });
    this.odds = { none: line({ lineWidth: 1, lineStyle: charts.LineStyle.Dotted }), short: line({}), long: line({}) };
    this.dashed = charts.LineStyle.Dashed;
    this.limit = null;
    this.couple(this.top, this.below, () => this.odds.long);
    this.couple(this.below, this.top, () => this.candles);
    this.top.subscribeClick(({ time }) => time && picked(time * 1000));
    this.paint();
  }

  couple(one, other, series) {
    one.timeScale().subscribeVisibleLogicalRangeChange((range) => {
      const now = other.timeScale().getVisibleLogicalRange();
      if (range && now && (Math.abs(range.from - now.from) > 0.01 || Math.abs(range.to - now.to) > 0.01)) other.timeScale().setVisibleLogicalRange(range);
    });
    one.subscribeCrosshairMove(({ time, sourceEvent }) => {
      if (sourceEvent === undefined) return;
      if (time === undefined) other.clearCrosshairPosition();
      else other.setCrosshairPosition(this.level(other, time), time, series());
      this.tell(time === undefined ? null : time * 1000);
    });
  }

  level(chart, time) {
    if (chart === this.top) return this.story.bars.get(time * 1000)?.[4] ?? 0;
    return this.story.decisions.get(time * 1000)?.probabilities?.long ?? 0;
  }

  /** Take the theme's colours. */
  paint() {
    const colours = (this.colours = palette());
    const look = {
      layout: { background: { color: "transparent" }, textColor: colours.muted, fontSize: 11, fontFamily: "system-ui, sans-serif" },
      grid: { vertLines: { color: colours.line }, horzLines: { color: colours.line } },
      rightPriceScale: { borderColor: colours.line, minimumWidth: AXIS },
      timeScale: { borderColor: colours.line, timeVisible: true, rightOffset: 3, minBarSpacing: 0.5, tickMarkFormatter: tick },
      crosshair: { mode: 0, vertLine: { color: colours.muted, labelBackgroundColor: colours.accent }, horzLine: { color: colours.muted, labelBackgroundColor: colours.accent } },
      localization: { timeFormatter: (time) => dated(time * 1000) },
    };
    this.top.applyOptions(look);
    this.top.applyOptions({ timeScale: { visible: false }, rightPriceScale: { scaleMargins: { top: 0.08, bottom: 0.14 } } });
    this.below.applyOptions(look);
    this.below.applyOptions({ rightPriceScale: { scaleMargins: { top: 0.08, bottom: 0.06 } } });
    const { long, short } = colours;
    this.candles.applyOptions({ upColor: long, downColor: short, borderUpColor: long, borderDownColor: short, wickUpColor: long, wickDownColor: short });
    this.odds.long.applyOptions({ color: long });
    this.odds.short.applyOptions({ color: short });
    this.odds.none.applyOptions({ color: colours.none });
    this.regimes.colours = colours;
    this.limit?.applyOptions({ color: colours.ink });
    if (this.story) this.draw(this.story, false);
  }

  /** Draw a story; `newest`: only its last bar changed or was added. */
  draw(story, newest) {
    const first = this.story === null;
    this.story = story;
    const bars = story.ordered();
    const dots = digits(bars);
    if (dots !== this.dots) this.candles.applyOptions({ priceFormat: { type: "price", precision: dots, minMove: 10 ** -dots } });
    this.dots = dots;
    const rows = newest ? bars.slice(-1) : bars;
    const put = (series, items) => (newest ? items.forEach((item) => series.update(item)) : series.setData(items));
    put(this.candles, rows.map(([open, ...ohlc]) => ({ time: open / 1000, open: ohlc[0], high: ohlc[1], low: ohlc[2], close: ohlc[3] })));
    for (const [name, key] of [["none", "no_trade"], ["short", "short"], ["long", "long"]]) {
      put(this.odds[name], rows.map(([open]) => point(open, story.decisions.get(open)?.probabilities?.[key])));
    }
    this.regimes.set(bars, story.decisions);
    this.candles.setMarkers(story.signals().filter((made) => story.bars.has(made.bar_open)).map((made) => this.marker(made, story.outcomes.get(made.id))));
    this.threshold([...story.decisions.values()].at(-1)?.threshold);
    if (first) this.look(bars.length);
    this.tell(null);
  }

  /** Show the newest bars, as many as are legible. */
  look(count) {
    const legible = Math.max(40, Math.floor(this.top.timeScale().width() / 6) || 100);
    this.below.timeScale().setVisibleLogicalRange({ from: Math.max(0, count - legible), to: count + 2 });
  }

  marker(made, outcome) {
    const long = made.side === "long";
    const end = outcome === undefined ? "" : outcome.right ? " ✓" : " ✗";
    return {
      time: made.bar_open / 1000, position: long ? "belowBar" : "aboveBar", shape: long ? "arrowUp" : "arrowDown",
      color: long ? this.colours.long : this.colours.short, text: `${long ? "L" : "S"}${end}`,
    };
  }

  threshold(value) {
    if (value === undefined || value === this.value) return;
    this.value = value;
    if (this.limit) this.odds.long.removePriceLine(this.limit);
    this.limit = this.odds.long.createPriceLine({ price: value, color: this.colours.ink, lineWidth: 1, lineStyle: this.dashed, axisLabelVisible: true, title: "" });
  }

  /** Say what the bar that opened at `open` was (the newest: null). */
  tell(open) {
    const key = open ?? Math.max(...this.story.bars.keys());
    const bar = this.story.bars.get(key);
    say(this.legend, bar ? legend(bar, this.story.decisions.get(key)) : "no bars yet");
  }

  remove() {
    this.top.remove();
    this.below.remove();
  }
}

const point = (open, value) => (value === undefined ? { time: open / 1000 } : { time: open / 1000, value });

function tick(time, kind) {
  const text = dated(time * 1000);
  return kind >= 3 ? exact(time * 1000).slice(0, kind === 3 ? 5 : 8) : text.split(",")[0];
}

function digits(bars) {
  const last = bars.at(-1)?.[4] ?? 1;
  return last === 0 ? 2 : Math.max(2, Math.min(10, 4 - Math.floor(Math.log10(Math.abs(last)))));
}

function legend([open, ...ohlc], made) {
  const bar = `${dated(open)}   O ${price(ohlc[0])}  H ${price(ohlc[1])}  L ${price(ohlc[2])}  C ${price(ohlc[3])}`;
  if (!made) return `${bar}   not decided`;
  const odds = made.probabilities;
  const asked = odds ? `   long ${odd(odds.long)}  short ${odd(odds.short)}  none ${odd(odds.no_trade)}` : "";
  return `${bar}   ${TREND[made.regime] ?? ""} ${made.regime_name}${asked}   → ${SIDE[made.side]}`;
}
