// The chosen stream: what is decided now and why, its chart, what became of its signals, how its model does.

import { StreamChart, library } from "./chart.js";
import { byId, dated, el, fill, mark, say, show, time } from "./dom.js";
import { drawEvents } from "./service.js";
import { Story } from "./state.js";
import { SHAPE, SIDE, TREND, calibration, delay, ending, evidence, many, odd, price, quality, reason, record, share, signed, span, standing } from "./words.js";

const BARS = 500;
const PAST = 50;

export class StreamPanel {
  constructor(state) {
    this.state = state;
    this.box = byId("stream");
    this.stream = null;
    this.story = null;
    this.chart = null;
    this.picked = null;
  }

  /** Show a stream, or none (null). */
  open(stream) {
    this.chart?.remove();
    Object.assign(this, { stream, story: null, chart: null, picked: null, parts: null, failed: null });
    show(this.box, stream !== null);
    this.box.replaceChildren();
    if (stream === null) return;
    this.parts = skeleton(this.box);
    this.parts.latest.addEventListener("click", () => this.pick(null));
    this.draw();
    this.fetch();
  }

  /** Get the history anew; pushes that come meanwhile are kept. */
  async fetch() {
    const { stream } = this;
    if (stream === null) return;
    const story = new Story(stream);
    this.coming = story;
    try {
      const answer = await fetch(`/api/stream/${stream.split("/").map(encodeURIComponent).join("/")}?bars=${BARS}`);
      if (!answer.ok) throw new Error(answer.status === 404 ? "The daemon does not know this stream." : `The daemon answered ${answer.status}.`);
      const history = await answer.json();
      if (this.coming !== story) return;
      const early = { bars: [...story.bars.values()], decisions: [...story.decisions.values()], outcomes: [...story.outcomes.values()] };
      story.take(history);
      story.take(early);
      this.failed = null;
      await this.tell(story);
    } catch (error) {
      if (this.coming === story) this.failed = error.message;
    }
    this.draw();
  }

  async tell(story) {
    this.story = story;
    const charts = await library().catch(() => null);
    if (this.story !== story) return;
    this.coming = null;
    show(this.parts.missing, charts === null);
    show(this.parts.plot, charts !== null);
    if (charts === null) return;
    this.chart ??= new StreamChart(charts, this.parts.plot, this.parts.legend, (open) => this.pick(open));
    this.chart.draw(story, false);
  }

  /** Take bars that were pushed. */
  take(message) {
    if (message.stream !== this.stream) return;
    this.coming?.take(message);
    if (this.story === null || this.story === this.coming) return;
    const newest = this.story.take(message) && message.bars.length <= 1;
    this.chart?.draw(this.story, newest);
    this.draw();
  }

  /** Show the decision about the bar that opened at `open`; the newest: null. */
  pick(open) {
    this.picked = open !== null && this.story?.decisions.has(open) ? open : null;
    this.draw();
  }

  repaint() {
    this.chart?.paint();
  }

  /** Draw all that changed. */
  draw() {
    if (this.stream === null) return;
    const { parts } = this;
    const line = this.state.lines.get(this.stream);
    const local = Date.now();
    say(parts.title, line ? `${line.symbol} ${line.interval}` : this.stream);
    fill(parts.where, [line?.exchange, line?.state, line?.reason], () => where(line));
    const made = this.made(line);
    show(parts.latest, this.picked !== null);
    fill(parts.now, [made, this.story?.outcomes.get(made?.id)], () => verdict(made, this.story?.outcomes.get(made?.id)));
    say(parts.trouble, this.failed ?? (line || !this.state.meta ? "" : "This stream is not served."));
    const signals = this.story?.signals() ?? [];
    const ended = signals.map((signal) => this.story.outcomes.get(signal.id));
    fill(parts.past, [signals, ended, this.picked], () => this.past(signals));
    fill(parts.record, [line?.record, line?.challenger, line?.challenger_record], () => records(line));
    fill(parts.drift, line?.drift, () => drift(line?.drift ?? null));
    drawEvents(parts.events, this.state.events.filter((event) => event.stream === this.stream));
    this.summarise(signals);
    this.tick(local);
  }

  made(line) {
    if (this.picked !== null) return this.story.decisions.get(this.picked);
    return line?.decided ?? null;
  }

  /** What changes by itself as time goes on. */
  tick(local) {
    const line = this.state.lines.get(this.stream);
    if (!line || !this.parts) return;
    const age = this.state.age(line, local);
    const late = this.state.late(line, local);
    say(this.parts.fresh, age === null ? "no bar yet" : `closed ${span(age)} ago${late ? ", the next one is late" : ""}`);
    mark(this.parts.fresh, "data-tone", late ? "warn" : null);
    const made = this.made(line);
    const valid = this.parts.now.querySelector(".valid");
    if (!valid || !made) return;
    const left = made.valid_until - this.state.at(local);
    if (this.state.simulated(line, local)) say(valid, made.id === line.decided?.id ? "now, in simulated time" : "over");
    else say(valid, left > 0 ? `for ${span(left)} more` : `over since ${span(-left)}`);
  }

  summarise(signals) {
    const bars = this.story?.ordered() ?? [];
    if (!bars.length) return say(this.parts.summary, "The chart has no bars yet.");
    const change = (100 * (bars.at(-1)[4] - bars[0][1])) / bars[0][1];
    const ended = signals.map((made) => this.story.outcomes.get(made.id)).filter(Boolean);
    const right = ended.filter((outcome) => outcome.right).length;
    say(this.parts.summary, `Chart of ${many(bars.length, "bar")} from ${dated(bars[0][0])} to ${dated(bars.at(-1)[0])}: from ${price(bars[0][1])} to ${price(bars.at(-1)[4])} (${signed(change)}). ${many(signals.length, "signal")}; of ${ended.length} that ended, ${right} were right. The table of past signals says the same.`);
    return null;
  }

  past(signals) {
    if (!signals.length) return el("p", { class: "empty" }, "No signal within the bars shown.");
    const rows = signals.slice(-PAST).reverse().map((made) => this.pastRow(made));
    return el("table", {}, el("caption", { class: "unseen" }, "Past signals, newest first"),
      el("thead", {}, el("tr", {}, ...["bar", "side", "p", "price", "became", "gross"].map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, ...rows));
  }

  pastRow(made) {
    const outcome = this.story.outcomes.get(made.id);
    const chosen = this.picked === made.bar_open;
    const button = el("button", { type: "button", class: "plain", "data-key": made.id, "aria-pressed": String(chosen) }, time(made.bar_close, dated(made.bar_close)));
    button.addEventListener("click", () => {
      this.pick(chosen ? null : made.bar_open);
      this.parts.now.scrollIntoView({ block: "nearest" });
    });
    const became = outcome ? `${outcome.right ? "✓ right" : "✗ wrong"}, ${ending(outcome.ended)}` : "pending";
    const odds = made.probabilities ? odd(made.probabilities[made.side]) : "–";
    return el("tr", { "data-chosen": chosen ? "" : null }, el("td", {}, button), el("td", { "data-side": made.side }, sided(made.side)),
      el("td", {}, odds), el("td", {}, price(made.price)), el("td", {}, became), el("td", {}, outcome ? signed(outcome.gross_pct) : "–"));
  }
}

const sided = (side) => el("span", { class: "side", "data-side": side }, el("i", { "aria-hidden": "true" }, SHAPE[side]), el("b", {}, SIDE[side]));

function skeleton(box) {
  const parts = {
    title: el("h2", { id: "stream-title", tabindex: "-1" }), where: el("p", { class: "where" }), fresh: el("p", { class: "quiet" }),
    trouble: el("p", { class: "trouble", role: "status" }), now: el("div", { class: "now" }),
    latest: el("button", { type: "button" }, "Show the latest"), legend: el("p", { class: "legend", "aria-hidden": "true" }),
    plot: el("div", { class: "plot", "aria-hidden": "true" }, el("div", { class: "candles" }), el("div", { class: "answers" })),
    missing: el("p", { class: "empty", hidden: "" }, "No chart: the daemon does not serve the drawing library. Install candled[page]."),
    summary: el("figcaption", { class: "unseen" }), past: el("div", { class: "past", tabindex: "0", role: "region", "aria-label": "Past signals" }), record: el("div", {}), drift: el("div", {}), events: el("ol", {}),
  };
  const key = el("p", { class: "quiet lines", "aria-hidden": "true" }, el("span", { class: "l-long" }, "long"), el("span", { class: "l-short" }, "short"), el("span", { class: "l-none" }, "no trade"), el("span", { class: "l-limit" }, "threshold"));
  const part = (name, ...content) => el("section", {}, el("h3", {}, name), ...content);
  box.append(
    el("div", { class: "top" }, el("a", { href: "#/", class: "back" }, "‹ All streams"), parts.title, parts.where, parts.fresh),
    parts.trouble, el("section", { class: "verdict", "aria-label": "Decision" }, parts.now, parts.latest),
    el("figure", {}, parts.legend, parts.plot, key, parts.missing, parts.summary),
    part("What became of its signals", parts.past),
    el("div", { class: "pair" }, part("Record", parts.record), part("Drift", parts.drift)),
    part("Its events", parts.events));
  return parts;
}

function where(line) {
  if (!line) return [];
  const tone = line.state === "live" ? "good" : line.state === "stopped" ? "bad" : line.state === "warming" ? "none" : "warn";
  return [el("span", {}, line.exchange), el("span", { class: "chip", "data-tone": tone }, line.state), line.reason ? el("span", {}, line.reason) : null];
}

function verdict(made, outcome) {
  if (!made) return el("p", { class: "empty" }, "Nothing decided yet.");
  const odds = made.probabilities;
  const unusual = made.quality.map((name) => el("span", { class: "chip", "data-tone": "warn" }, quality(name)));
  return [
    el("p", { class: "loud" }, sided(made.side), el("span", {}, "at ", price(made.price)), el("span", { class: "quiet" }, "bar closed ", time(made.bar_close))),
    odds ? scale(made) : null,
    el("p", {}, why(made), ...unusual),
    el("dl", { class: "facts" },
      fact("valid", el("span", {}, el("span", { class: "valid" }, ""), ", until ", time(made.valid_until))),
      fact("regime", `${TREND[made.regime] ?? ""} ${made.regime_name}`), fact("lag", `${delay(made.lag_ms)}, by ${made.source}`),
      made.novelty === null ? null : fact("novelty", `${share(made.novelty)} of features unseen`),
      outcome ? fact("became", `${outcome.right ? "✓ right" : "✗ wrong"}, ${ending(outcome.ended)}, ${signed(outcome.gross_pct)}`) : null,
      made.seq === null ? null : fact("signal", `no. ${made.seq}`),
      made.revision ? fact("revision", String(made.revision)) : null, fact("model", el("code", { title: made.model }, made.model.slice(0, 12)))),
  ];
}

function why(made) {
  if (made.claim) return evidence(made.claim);
  if (made.side === "no_decision") return `The model was not asked: ${reason(made.reason ?? "not said")}.`;
  if (made.reason) return `Suppressed: ${reason(made.reason)}.`;
  if (made.side === "flat") return `Neither side is above the threshold of ${odd(made.threshold)}.`;
  return "Its bundle has no out-of-sample evidence for a signal like it.";
}

function scale(made) {
  const bar = (name, value) => {
    const filled = el("i", { class: name });
    filled.style.width = `${value * 100}%`;
    const limit = el("i", { class: "at" });
    limit.style.left = `${made.threshold * 100}%`;
    return el("div", {}, el("dt", {}, name === "none" ? "no trade" : name), el("dd", {}, el("span", { class: "track", "aria-hidden": "true" }, filled, name === "none" ? null : limit), el("span", {}, odd(value))));
  };
  const { long, short, no_trade: none } = made.probabilities;
  return el("dl", { class: "scale", "aria-label": `Probabilities, against a threshold of ${odd(made.threshold)}` }, bar("long", long), bar("short", short), bar("none", none));
}

const fact = (name, value) => el("div", {}, el("dt", {}, name), el("dd", {}, value));

function records(line) {
  const one = (kept, name) => [
    el("p", {}, name ? el("b", {}, name) : null, record(kept), " ", el("span", { class: "chip", "data-tone": kept.standing === "broken" ? "bad" : kept.standing === "as_claimed" ? "good" : "none" }, standing(kept.standing))),
    kept.n ? el("dl", { class: "facts" }, fact("gross", `${signed(kept.expectancy_pct)}, claimed ${signed(kept.claimed_pct)}`), fact("probabilities", calibration(kept.calibration)), fact("pending", String(kept.pending))) : null,
  ];
  const own = line?.record ? one(line.record, null) : el("p", { class: "empty" }, "Nothing is known of its signals yet.");
  return [own, line?.challenger_record ? one(line.challenger_record, "Challenger: ") : null].flat();
}

function drift(found) {
  if (found === null || !found.rows) return el("p", { class: "empty" }, "Nothing can be said yet.");
  const row = ([name, psi]) => el("tr", {}, el("th", { scope: "row" }, name), el("td", { "data-tone": psi > 0.25 ? "warn" : null }, psi.toFixed(2)));
  const number = (value) => (value === null ? "–" : value.toFixed(2));
  return [
    el("dl", { class: "facts" }, fact("rows", found.rows.toLocaleString()), fact("PSI, median", number(found.psi_median)), fact("PSI of answers", number(found.psi_answers)), fact("features moved", share(found.moved_share)), fact("out of range", share(found.outside_share))),
    found.worst.length ? el("table", {}, el("caption", {}, "Moved most"), el("thead", { class: "unseen" }, el("tr", {}, el("th", { scope: "col" }, "feature"), el("th", { scope: "col" }, "PSI"))), el("tbody", {}, ...found.worst.map(row))) : null,
  ];
}
