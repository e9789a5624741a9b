// The list of all streams: a row each, of which only what changed is drawn anew.

import { byId, mark, say, show, time } from "./dom.js";
import { compare, moved } from "./state.js";
import { SHAPE, SIDE, TREND, brief, delay, many, odd, reason, share } from "./words.js";

const ANEW = 1500; // how often the order may change while the eye follows it
const SLICE = 20; // rows out of sight that are drawn in one go
const TONES = { live: "good", warming: "none", holding: "warn", degraded: "warn", stopped: "bad" };

const soon = window.requestIdleCallback ? (work) => requestIdleCallback(work, { timeout: 500 }) : (work) => setTimeout(work, 50);
export const address = (stream) => `#/${stream.split("/").map(encodeURIComponent).join("/")}`;

/** One stream's row. */
class Row {
  constructor(stream) {
    this.stream = stream;
    this.node = byId("row").content.firstElementChild.cloneNode(true);
    this.cells = Object.fromEntries([...this.node.children].map((cell) => [cell.className.slice(2), cell]));
    this.link = this.node.querySelector("a");
    this.link.href = address(stream);
    this.link.dataset.stream = stream;
    this.node.dataset.stream = stream;
  }

  draw(line, problems) {
    this.line = line;
    const [symbol, under] = this.link.children;
    say(symbol, line.symbol);
    say(under, `${line.interval} · ${line.exchange}`);
    this.spark(line.closes);
    this.side(line);
    this.odds(line.decided);
    this.regime(line.decided);
    say(this.cells.lag, line.decided ? delay(line.decided.lag_ms) : "–");
    this.record(line.record);
    this.drift(line.drift);
    this.state(line, problems);
  }

  spark(closes) {
    const low = Math.min(...closes);
    const height = Math.max(...closes) - low || 1;
    const step = 80 / Math.max(1, closes.length - 1);
    const points = closes.map((close, at) => `${(at * step).toFixed(1)},${(22 - (20 * (close - low)) / height).toFixed(1)}`);
    mark(this.cells.spark.querySelector("polyline"), "points", points.join(" "));
  }

  side({ decided }) {
    const [side, why] = this.cells.side.children;
    mark(side, "data-side", decided?.side ?? "none");
    say(side.children[0], decided ? SHAPE[decided.side] : "·");
    say(side.children[1], decided ? SIDE[decided.side] : "none yet");
    say(why, decided?.reason ? reason(decided.reason) : "");
    mark(why, "title", decided?.reason ? reason(decided.reason) : null);
  }

  odds(decided) {
    const box = this.cells.odds.firstElementChild;
    const asked = decided?.probabilities ?? null;
    show(box, asked !== null);
    if (asked === null) return;
    const [short, long, low, high] = box.children;
    short.style.width = `${asked.short * 50}%`;
    long.style.width = `${asked.long * 50}%`;
    low.style.left = `${50 - decided.threshold * 50}%`;
    high.style.left = `${50 + decided.threshold * 50}%`;
    const told = `short ${odd(asked.short)}, long ${odd(asked.long)}, threshold ${odd(decided.threshold)}`;
    mark(box, "aria-label", told);
    mark(box, "title", told);
  }

  regime(decided) {
    const [shape, name] = this.cells.regime.children;
    say(shape, decided ? (TREND[decided.regime] ?? "·") : "");
    say(name, decided ? decided.regime_name : "–");
  }

  record(record) {
    const judged = record !== null && record.n > 0;
    const claimed = judged && record.claimed !== null ? ` of ${share(record.claimed)}` : "";
    say(this.cells.record, judged ? `${share(record.hit_rate)}${claimed}` : "–");
    mark(this.cells.record, "title", judged ? `${many(record.n, "outcome")}; right, of what was claimed` : null);
    mark(this.cells.record, "data-tone", record?.standing === "broken" ? "bad" : null);
  }

  drift(drift) {
    const known = drift !== null && drift.psi_median !== null;
    say(this.cells.drift, known ? drift.psi_median.toFixed(2) : "–");
    mark(this.cells.drift, "title", known ? `median PSI of its features over ${drift.rows} rows` : null);
    mark(this.cells.drift, "data-tone", moved(drift) ? "warn" : null);
  }

  state(line, problems) {
    const chip = this.cells.state.firstElementChild;
    const more = problems.length > 1 ? ` +${problems.length - 1}` : "";
    say(chip, problems.length ? problems[0] + more : line.state);
    const tone = problems.length && line.state === "live" ? "warn" : (TONES[line.state] ?? "warn");
    mark(chip, "data-tone", problems.includes("claim broken") ? "bad" : tone);
    mark(chip, "title", [problems.join(", "), line.reason].filter(Boolean).join(": ") || null);
    mark(this.node, "data-problem", problems.length ? "" : null);
  }

  /** What changes by itself as time goes on. */
  tick(age, late, local) {
    say(this.cells.fresh, age === null ? "–" : brief(age));
    mark(this.cells.fresh, "data-tone", late ? "warn" : null);
    const { signal } = this.line;
    const key = signal ? `${signal.id} ${Math.floor(local / 10_000)}` : "";
    if (this.told === key) return;
    this.told = key;
    const ago = signal ? `${SHAPE[signal.side]} ${SIDE[signal.side]} ` : "–";
    this.cells.signal.replaceChildren(ago, signal ? time(signal.bar_close) : "");
    mark(this.cells.signal, "data-side", signal?.side ?? null);
  }
}

/** The whole list; `state` is what is known. */
export class List {
  constructor(state) {
    this.state = state;
    this.rows = new Map();
    this.box = byId("rows");
    this.key = "symbol";
    this.only = "all";
    this.words = [];
    this.chosen = null;
    this.focused = null;
    this.ordered = 0;
    this.stale = true;
    this.seen = new Set();
    this.dirty = new Set();
    this.idle = 0;
    this.watch = new IntersectionObserver((items) => this.saw(items), { rootMargin: "200px" });
    this.listen();
  }

  listen() {
    byId("search").addEventListener("input", (event) => {
      this.words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
      this.arrange();
    });
    for (const button of document.querySelectorAll("[data-only]")) {
      button.addEventListener("click", () => this.pick(button.dataset.only));
    }
    byId("sort").addEventListener("change", (event) => this.sort(event.target.value));
    for (const head of document.querySelectorAll("[data-sort]")) {
      head.firstElementChild.addEventListener("click", () => this.sort(head.dataset.sort));
    }
    this.box.addEventListener("focusin", (event) => this.rove(event.target.dataset.stream));
    this.sort(this.key);
  }

  pick(only) {
    this.only = only;
    for (const button of document.querySelectorAll("[data-only]")) {
      mark(button, "aria-pressed", String(button.dataset.only === only));
    }
    this.arrange();
  }

  sort(key) {
    this.key = key;
    byId("sort").value = key;
    for (const head of document.querySelectorAll("[data-sort]")) {
      mark(head, "aria-sort", head.dataset.sort === key ? (key === "symbol" ? "ascending" : "descending") : null);
    }
    this.arrange();
  }

  /** Draw the rows of `streams`, or all of them (null): at once those in sight, the rest by and by. */
  draw(streams) {
    if (streams === null) this.prune();
    const fresh = this.rows.size === 0;
    for (const stream of streams ?? this.state.lines.keys()) {
      if (!this.rows.has(stream)) this.add(stream);
      this.dirty.add(this.rows.get(stream));
    }
    this.sweep([...this.dirty].filter((row) => fresh || this.seen.has(row)));
    this.later();
    this.stale ||= this.key !== "symbol" || this.only !== "all" || streams === null;
    if (streams === null) this.arrange();
  }

  sweep(rows) {
    const local = Date.now();
    for (const row of rows) {
      this.dirty.delete(row);
      const line = this.state.lines.get(row.stream);
      if (!line) continue;
      row.draw(line, this.state.problems(line, local));
      this.tickRow(row, local);
    }
  }

  later() {
    if (this.dirty.size && !this.idle) this.idle = soon(() => this.rest());
  }

  rest() {
    this.idle = 0;
    this.sweep([...this.dirty].slice(0, SLICE));
    this.later();
  }

  add(stream) {
    const row = new Row(stream);
    this.rows.set(stream, row);
    this.watch.observe(row.node);
  }

  prune() {
    for (const [stream, row] of this.rows) {
      if (this.state.lines.has(stream)) continue;
      row.node.remove();
      this.watch.unobserve(row.node);
      this.dirty.delete(row);
      this.seen.delete(row);
      this.rows.delete(stream);
    }
  }

  saw(items) {
    for (const { target, isIntersecting } of items) {
      const row = this.rows.get(target.dataset.stream);
      if (row && isIntersecting) this.seen.add(row);
      else this.seen.delete(row);
    }
    this.sweep([...this.seen].filter((row) => this.dirty.has(row)));
    for (const row of this.seen) this.tickRow(row, Date.now());
  }

  tickRow(row, local) {
    if (!row.line) return;
    row.tick(this.state.age(row.line, local), this.state.late(row.line, local), local);
  }

  /** Once a second: what grows old, of the rows in sight; who is late, of all. */
  tick(local) {
    for (const row of this.seen) this.tickRow(row, local);
    for (const row of this.rows.values()) {
      if (!row.line) continue;
      const problems = this.state.problems(row.line, local);
      if ((problems.length > 0) !== row.node.hasAttribute("data-problem") || problems.includes("late")) {
        row.state(row.line, problems);
        this.stale = true;
      }
    }
    const steady = this.box.matches(":hover") && this.key !== "symbol";
    if (this.stale && !steady && local - this.ordered >= ANEW) this.arrange();
  }

  wanted(line, local) {
    if (this.only === "signals" && !(line.decided?.side === "long" || line.decided?.side === "short")) return false;
    if (this.only === "problems" && this.state.problems(line, local).length === 0) return false;
    const name = `${line.stream} ${line.decided?.regime_name ?? ""}`.toLowerCase();
    return this.words.every((word) => name.includes(word));
  }

  /** Put the wanted rows into their order, moving as few as need it. */
  arrange() {
    const local = Date.now();
    this.stale = false;
    this.ordered = local;
    const lines = [...this.state.lines.values()].filter((line) => this.wanted(line, local)).sort(compare(this.key));
    const nodes = lines.map((line) => this.rows.get(line.stream)?.node).filter(Boolean);
    const keep = new Set(nodes);
    const held = document.activeElement;
    for (const child of [...this.box.children]) if (!keep.has(child)) child.remove();
    let place = this.box.firstElementChild;
    for (const node of nodes) {
      if (node === place) place = place.nextElementSibling;
      else this.box.insertBefore(node, place);
    }
    if (held !== document.activeElement && held?.isConnected) held.focus({ preventScroll: true });
    this.rove(this.focused);
    this.empty(nodes.length);
  }

  empty(count) {
    const none = byId("none");
    show(none, count === 0 && this.state.meta !== null);
    say(none, this.state.lines.size === 0 ? "No stream is configured." : "No stream fits. Clear the search, or show all.");
    mark(byId("table"), "aria-rowcount", count + 1);
  }

  /** Only one row can be reached by Tab; from there the arrows lead on. */
  rove(stream) {
    const before = this.rows.get(this.focused);
    if (before) before.link.tabIndex = -1;
    const row = this.rows.get(stream);
    this.focused = row?.node.isConnected ? stream : (this.box.firstElementChild?.dataset.stream ?? null);
    const next = this.rows.get(this.focused);
    if (next) next.link.tabIndex = 0;
  }

  /** Move the focus by `steps` rows, from where it is or was. */
  move(steps) {
    const nodes = [...this.box.children];
    const inside = this.box.contains(document.activeElement);
    const at = nodes.indexOf(this.rows.get(this.focused)?.node);
    const to = inside ? Math.max(0, Math.min(nodes.length - 1, at + steps)) : Math.max(0, at);
    this.rows.get(nodes[to]?.dataset.stream)?.link.focus();
  }

  /** Mark the chosen stream's row. */
  choose(stream) {
    for (const [name, current] of [[this.chosen, null], [stream, "true"]]) {
      const row = this.rows.get(name);
      if (!row) continue;
      mark(row.link, "aria-current", current);
      mark(row.node, "data-chosen", current);
    }
    this.chosen = stream;
  }

  /** Give the focus back to a stream's row. */
  focus(stream) {
    this.rove(stream);
    this.rows.get(this.focused)?.link.focus();
  }
}
