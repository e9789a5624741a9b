// Puts the page together: what comes from the daemon goes into the state, and what changed is drawn.

import { byId, mark, say } from "./dom.js";
import { Link } from "./link.js";
import { List, address } from "./list.js";
import { drawHeader, drawPast, drawService } from "./service.js";
import { Speaker } from "./spoken.js";
import { State } from "./state.js";
import { StreamPanel } from "./stream.js";

const state = new State();
const list = new List(state);
const panel = new StreamPanel(state);
const speaker = new Speaker();
const link = new Link(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/live`, heard, frame);
const waiting = { streams: new Set(), all: false, service: false };
let framed = 0;

function heard(message) {
  if (message.type === "bars") return panel.take(message);
  const streams = state.take(message, Date.now());
  speaker.notice(streams === null ? message.lines : (message.type === "lines" ? message.lines : []), streams === null);
  if (streams === null) whole();
  else for (const stream of streams) waiting.streams.add(stream);
  if (message.type !== "beat") waiting.service = true;
  return frame();
}

// A first look, at the start or after a lost connection: whatever was missed is fetched anew.
function whole() {
  waiting.all = true;
  panel.fetch();
}

/** Draw once for all that comes before the next frame; a hidden page draws when it is looked at. */
function frame() {
  if (!framed) framed = requestAnimationFrame(draw);
}

function draw() {
  framed = 0;
  const local = Date.now();
  if (waiting.all || waiting.streams.size) list.draw(waiting.all ? null : [...waiting.streams]);
  if (waiting.all) list.choose(panel.stream);
  if (waiting.all || waiting.service || waiting.streams.has(panel.stream)) panel.draw();
  if (waiting.service) drawService(state, local);
  drawHeader(state, link, local);
  drawPast(state, link, local);
  waiting.streams.clear();
  waiting.all = waiting.service = false;
}

function second() {
  const local = Date.now();
  link.look(local);
  list.tick(local);
  panel.tick(local);
  drawHeader(state, link, local);
  drawPast(state, link, local);
  speaker.say(local);
}

function route() {
  const path = location.hash.replace(/^#\/?/, "");
  let stream = null;
  try {
    stream = path.includes("/") ? path.split("/").map(decodeURIComponent).join("/") : null;
  } catch {
    stream = null; // an address that nobody wrote here
  }
  const before = panel.stream;
  document.body.dataset.view = stream === null ? "all" : "stream";
  link.watch(stream);
  panel.open(stream);
  list.choose(stream);
  return before;
}

// Another address: the focus goes where the eye does.
function turn() {
  const before = route();
  if (panel.stream !== null) byId("stream-title")?.focus({ preventScroll: true });
  else if (before !== null) list.focus(before);
}

const THEMES = { system: "light", light: "dark", dark: "system" };

function theme(next) {
  if (next === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  try {
    localStorage.setItem("theme", next);
  } catch {
    // Not kept, then.
  }
  themed();
}

function themed() {
  const chosen = document.documentElement.dataset.theme ?? "system";
  say(byId("theme"), `◐ ${chosen}`);
  mark(byId("theme"), "aria-label", `Theme: ${chosen}`);
  panel.repaint();
}

const KEYS = {
  "/": () => byId("search").focus(),
  j: () => list.move(1),
  ArrowDown: () => list.move(1),
  k: () => list.move(-1),
  ArrowUp: () => list.move(-1),
  Escape: back,
};

function back() {
  const search = byId("search");
  if (document.activeElement === search && search.value) {
    search.value = "";
    search.dispatchEvent(new Event("input"));
  } else if (document.activeElement === search) search.blur();
  else if (panel.stream !== null) location.hash = "#/";
}

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const field = event.target.closest("input, select, .past");
  const leave = event.key === "Escape" || (event.key === "ArrowDown" && event.target.id === "search");
  const act = Object.hasOwn(KEYS, event.key) && (!field || leave) ? KEYS[event.key] : null;
  if (!act) return;
  event.preventDefault();
  act();
}

byId("theme").addEventListener("click", () => theme(THEMES[document.documentElement.dataset.theme ?? "system"]));
byId("past-now").addEventListener("click", () => link.hurry());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", themed);
document.addEventListener("keydown", key);
document.addEventListener("visibilitychange", () => document.hidden || link.hurry());
addEventListener("online", () => link.hurry());
addEventListener("hashchange", turn);
setInterval(second, 1000);
themed();
route();
link.open();

export { address, link, list, panel, state };
