// The connection to the daemon: pushes as they come, silence noticed, connected anew by itself.

const SILENT = 3500; // three beats of a second, and what the way may add
const DEAD = 10_000; // silent for so long, a connection is given up
const FIRST = 500;
const LONGEST = 3000; // a page that waits must see within moments that the daemon is back

/** Keeps one websocket up. `heard` gets each message, `changed` is called when the state may have. */
export class Link {
  constructor(url, heard, changed) {
    this.url = url;
    this.heard = heard;
    this.changed = changed;
    this.socket = null;
    this.last = null;
    this.next = null;
    this.tries = 0;
    this.watched = null;
    this.timer = 0;
  }

  /** Connect, now or again. */
  open() {
    clearTimeout(this.timer);
    this.next = null;
    this.socket?.close();
    const socket = (this.socket = new WebSocket(this.url));
    this.began = Date.now();
    socket.onopen = () => this.send();
    socket.onmessage = (event) => socket === this.socket && this.take(event.data);
    socket.onclose = () => socket === this.socket && this.closed();
    this.changed();
  }

  take(data) {
    this.last = Date.now();
    this.tries = 0;
    this.heard(JSON.parse(data));
  }

  closed() {
    this.socket = null;
    const pause = Math.min(LONGEST, FIRST * 2 ** this.tries) * (0.8 + 0.4 * Math.random());
    this.tries += 1;
    this.next = Date.now() + pause;
    this.timer = setTimeout(() => this.open(), pause);
    this.changed();
  }

  /** Watch one stream's bars, or none. */
  watch(stream) {
    this.watched = stream;
    this.send();
  }

  send() {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ watch: this.watched }));
  }

  /** Connect at once if nothing is heard, unless that is under way. */
  hurry() {
    const connecting = this.socket?.readyState === WebSocket.CONNECTING;
    if (!connecting && this.state(Date.now()) !== "live") this.open();
  }

  /** Give up a connection that has gone silent; called about every second. */
  look(now) {
    if (this.socket && now - Math.max(this.last ?? 0, this.began) > DEAD) {
      const silent = this.socket;
      this.socket = null;
      silent.close();
      this.closed();
    }
  }

  /** connecting (nothing heard yet), live, or lost. */
  state(now) {
    if (this.socket && this.last !== null && this.last >= this.began && now - this.last <= SILENT) return "live";
    return this.last === null && this.tries === 0 ? "connecting" : "lost";
  }
}
