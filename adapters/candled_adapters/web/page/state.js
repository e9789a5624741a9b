// What is known, from the messages that came. Pure: knows no document, no socket and no clock.

const SINCE_LATE = 5000;
const SIMULATED = 300_000;
const KEPT_BARS = 2000;
const KEPT_EVENTS = 200;
const STATES = ["stopped", "degraded", "holding", "warming", "live"];

/** Everything but the chosen stream's history. */
export class State {
  constructor() {
    this.meta = null;
    this.service = null;
    this.lines = new Map();
    this.cards = [];
    this.events = [];
    this.arrived = new Map();
    this.ahead = new Map();
    this.now = 0;
    this.heard = null;
  }

  /** Take a message that came at `local` (ms); return which streams changed, null for all of them. */
  take(message, local) {
    this.heard = local;
    const apply = { overview: "whole", lines: "some", service: "well", cards: "models", events: "news", beat: "beat" };
    const method = Object.hasOwn(apply, message.type) ? apply[message.type] : null;
    return method ? this[method](message, local) : [];
  }

  whole(message, local) {
    const { lines, cards, events, service, ...meta } = message;
    this.meta = meta;
    this.service = service;
    this.cards = cards;
    this.events = events;
    this.lines = new Map(lines.map((line) => [line.stream, line]));
    this.arrived = new Map(lines.map((line) => [line.stream, local]));
    return this.beat(message, local) && null;
  }

  some(message, local) {
    for (const line of message.lines) {
      const before = this.lines.get(line.stream);
      if (line.decided && line.decided.id !== before?.decided?.id) this.fresh(line, local);
      this.lines.set(line.stream, line);
    }
    return message.lines.map((line) => line.stream);
  }

  // How far the venue's clock is ahead of the daemon's: a decision that just came tells it.
  fresh(line, local) {
    this.arrived.set(line.stream, local);
    const { bar_close, lag_ms, source } = line.decided;
    if (source === "ws") this.ahead.set(line.exchange, bar_close + lag_ms - this.at(local));
  }

  well(message) {
    this.service = message;
    return [];
  }

  models(message) {
    this.cards = message.cards;
    return [];
  }

  news(message) {
    const newest = this.events.at(-1)?.number ?? 0;
    this.events = [...this.events, ...message.events.filter((event) => event.number > newest)].slice(-KEPT_EVENTS);
    return [];
  }

  beat(message, local) {
    this.now = message.now - local;
    return [];
  }

  /** The daemon's wall clock when ours shows `local`. */
  at(local) {
    return local + this.now;
  }

  /** Whether a venue's time is not the world's, as a simulator's is not. */
  simulated(line, local) {
    const known = this.ahead.get(line.exchange);
    const ahead = known ?? (line.decided ? line.decided.bar_close - this.at(local) : 0);
    return known === undefined ? ahead > SIMULATED : Math.abs(ahead) > SIMULATED;
  }

  /** Milliseconds since a stream's newest bar ended; in simulated time, since it came here. */
  age(line, local) {
    if (!line.decided) return null;
    if (this.simulated(line, local)) return local - (this.arrived.get(line.stream) ?? local);
    return this.at(local) - line.decided.bar_close;
  }

  /** Whether the next bar is overdue. */
  late(line, local) {
    if (line.next_close === null || line.state === "stopped" || this.simulated(line, local)) return false;
    return this.at(local) > line.next_close + SINCE_LATE;
  }

  /** What a person should look at, in a few words each; empty when all is well. */
  problems(line, local) {
    const found = [];
    if (line.state !== "live" && line.state !== "warming") found.push(line.state);
    if (this.late(line, local)) found.push("late");
    if (line.record?.standing === "broken") found.push("claim broken");
    if (moved(line.drift)) found.push("drift");
    return found;
  }
}

/** Whether a stream's inputs or the model's answers are further from training than is usual. */
export function moved(drift) {
  return drift !== null && drift.flagged;
}

const names = new Intl.Collator(undefined, { numeric: true });

/** Order of two lines by `key`. */
export function compare(key) {
  const by = {
    symbol: () => 0,
    state: (a, b) => STATES.indexOf(a.state) - STATES.indexOf(b.state),
    signal: (a, b) => (b.signal?.bar_close ?? 0) - (a.signal?.bar_close ?? 0),
    lag: (a, b) => (b.decided?.lag_ms ?? -1) - (a.decided?.lag_ms ?? -1),
  }[key];
  const name = (line) => `${line.symbol} ${line.interval} ${line.exchange}`;
  return (a, b) => by(a, b) || names.compare(name(a), name(b));
}

/** The bars of one stream, with what was decided about them and what became of it. */
export class Story {
  constructor(stream) {
    this.stream = stream;
    this.bars = new Map();
    this.decisions = new Map();
    this.outcomes = new Map();
  }

  /** Take a history or a push; return whether only the newest bar or later ones are touched. */
  take(message) {
    const last = Math.max(...this.bars.keys(), ...this.decisions.keys());
    for (const bar of message.bars) this.bars.set(bar[0], bar);
    for (const made of message.decisions) this.decide(made);
    for (const outcome of message.outcomes) this.outcomes.set(outcome.id, outcome);
    this.forget();
    const opens = [...message.bars.map((bar) => bar[0]), ...message.decisions.map((made) => made.bar_open)];
    return opens.every((open) => open >= last) && message.outcomes.length === 0;
  }

  decide(made) {
    const before = this.decisions.get(made.bar_open);
    if (!before || before.revision <= made.revision) this.decisions.set(made.bar_open, made);
  }

  forget() {
    const opens = [...this.bars.keys()].sort((a, b) => a - b);
    for (const open of opens.slice(0, Math.max(0, opens.length - KEPT_BARS))) {
      this.bars.delete(open);
      this.decisions.delete(open);
    }
  }

  /** All bars, oldest first. */
  ordered() {
    return [...this.bars.values()].sort((a, b) => a[0] - b[0]);
  }

  /** All signals, oldest first. */
  signals() {
    const all = [...this.decisions.values()].filter((made) => made.side === "long" || made.side === "short");
    return all.sort((a, b) => a.bar_open - b.bar_open);
  }
}
