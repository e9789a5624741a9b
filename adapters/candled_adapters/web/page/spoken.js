// What a screen reader is told of new signals: a sentence for all that came, every few seconds at most.

import { byId } from "./dom.js";
import { SIDE, many } from "./words.js";

const PAUSE = 5000;
const NAMED = 4;

/** Collects signals and says them; `say` is called about every second. */
export class Speaker {
  constructor() {
    this.known = new Map();
    this.fresh = [];
    this.said = 0;
  }

  /** Notice the newest signals of `lines`; those of a first look are not news. */
  notice(lines, first) {
    for (const { stream, symbol, signal } of lines) {
      if (!signal || this.known.get(stream) === signal.id) continue;
      this.known.set(stream, signal.id);
      if (!first) this.fresh.push(`${symbol} ${SIDE[signal.side]}`);
    }
  }

  say(local) {
    if (!this.fresh.length || local - this.said < PAUSE) return;
    const more = this.fresh.length > NAMED ? ` and ${this.fresh.length - NAMED} more` : "";
    byId("spoken").textContent = `${many(this.fresh.length, "new signal")}: ${this.fresh.slice(0, NAMED).join(", ")}${more}.`;
    this.fresh = [];
    this.said = local;
  }
}
