// How the service is: its state and reasons, counts, models, events, ways out; and when all of it is the past.

import { byId, dated, el, exact, fill, mark, say, show, time } from "./dom.js";
import { evidence, many, odd, plain, signed, span } from "./words.js";

const TONES = { online: "good", degraded: "warn", offline: "bad" };
const ACTS = { stop: "bad", drop: "bad", hold: "warn", degrade: "warn", begin_anew: "warn", quarantine: "warn" };
const LASTING = new Set(["claim_broken", "drift", "model_expired", "clock_skew"]);
const SHOWN = 100;

/** Draw the header. `link` is the connection. */
export function drawHeader(state, link, local) {
  const at = link.state(local);
  const service = state.service;
  mark(document.body, "data-link", at);
  const word = at === "lost" ? "connection lost" : (service?.state ?? "connecting");
  say(byId("state-word"), word);
  mark(byId("state"), "data-tone", at === "lost" ? "bad" : (TONES[service?.state] ?? "none"));
  document.title = at === "lost" ? "⚠ candled: connection lost" : "candled";
  drawReasons(at === "live" ? (service?.reasons ?? []) : []);
  drawCounts(state, local);
  if (state.meta) {
    say(byId("version"), `version ${state.meta.version}`);
    mark(byId("version"), "title", `up since ${dated(state.meta.started)}; configuration ${state.meta.config_digest}; epoch ${state.meta.epoch}`);
  }
}

function drawReasons(reasons) {
  show(byId("reasons"), reasons.length > 0);
  fill(byId("reasons"), reasons, () => reasons.map((text) => el("li", {}, text)));
}

function drawCounts(state, local) {
  const lines = [...state.lines.values()];
  const signals = lines.filter((line) => line.decided?.side === "long" || line.decided?.side === "short");
  const problems = lines.filter((line) => state.problems(line, local).length > 0);
  say(byId("count-streams"), String(lines.length));
  say(byId("count-live"), String(lines.filter((line) => line.state === "live").length));
  say(byId("count-problems"), String(problems.length));
  mark(byId("count-problems"), "data-tone", problems.length ? "warn" : null);
  say(byId("count-signals"), String(signals.length));
}

/** Say loudly that what is shown is the past, and when it will be tried again. */
export function drawPast(state, link, local) {
  const lost = link.state(local) === "lost";
  show(byId("past"), lost);
  if (!lost) return;
  const shown = state.heard === null ? "nothing yet" : exact(state.heard);
  say(byId("past-text"), `Connection lost, showing ${shown}`);
  const wait = link.next === null ? "Connecting…" : `Next try in ${span(link.next - local + 999)}.`;
  const old = state.heard === null ? "" : `This is ${span(local - state.heard)} old. `;
  say(byId("past-next"), old + wait);
}

/** Draw models, events and ways out, as far as they changed. */
export function drawService(state, local) {
  fill(byId("models"), state.cards, () => (state.cards.length ? state.cards.map((card) => model(card, local)) : el("p", { class: "empty" }, "No model yet.")));
  drawEvents(byId("events"), state.events);
  const sinks = state.service?.sinks ?? [];
  fill(byId("sinks"), sinks, () => ways(sinks));
}

function model(card, local) {
  const kept = fact("features", `${card.features} (${card.feature_set})`);
  return el("article", { class: "card", "data-role": card.role },
    el("h3", {}, card.name, el("span", { class: "chip", "data-tone": card.role === "champion" ? "good" : "none" }, card.role),
      el("span", { class: "chip", "data-tone": card.signed ? "good" : "none" }, card.signed ? "signed" : "not signed")),
    el("dl", { class: "facts" },
      fact("trained until", card.trained_until === null ? "not known" : time(card.trained_until, dated(card.trained_until))),
      fact("expires", expiry(card, local)), kept, fact("label", rule(card)),
      fact("policy", `above ${odd(card.threshold)}, regime ${card.regime}`),
      fact("digest", el("code", { title: card.digest }, card.digest.slice(0, 16)))),
    card.claims.length ? claims(card.claims) : el("p", { class: "quiet" }, "It claims nothing: no out-of-sample evidence in its bundle."));
}

function expiry(card, local) {
  if (card.expires_at === null) return "never";
  const over = card.expires_at <= local;
  return el("span", { "data-tone": over ? "bad" : null }, over ? "expired " : "", time(card.expires_at, dated(card.expires_at)));
}

function rule(card) {
  if (card.lookahead_bars === null) return card.label_rule ?? "not known";
  const bounds = `${signed(card.profit_pct)} before ${signed(-card.stop_pct)} within ${many(card.lookahead_bars, "bar")}`;
  return card.label_rule ? `${bounds} (${plain(card.label_rule)})` : bounds;
}

const edge = (value) => odd(value).replace(/0$/, "");
const fact = (name, value) => el("div", {}, el("dt", {}, name), el("dd", {}, value));

function claims(list) {
  const row = (claim) => el("tr", { title: evidence(claim) },
    el("th", { scope: "row" }, `${claim.side} ${edge(claim.above)}${claim.below === null ? "+" : `–${edge(claim.below)}`}`),
    ...[claim.n.toLocaleString(), `${Math.round(claim.precision * 100)} % (${Math.round(claim.low * 100)}–${Math.round(claim.high * 100)})`, `${Math.round(claim.base_rate * 100)} %`, signed(claim.gross_pct)].map((text) => el("td", {}, text)));
  return el("table", {}, el("caption", { class: "unseen" }, "What it claims, from out-of-sample rows"),
    el("thead", {}, el("tr", {}, ...["claims", "rows", "right", "base", "gross"].map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, ...list.map(row)));
}

/** Newest first; only what is new is put in, so that a screen reader says no more than that. */
export function drawEvents(box, events) {
  const known = new Set([...box.children].map((item) => Number(item.dataset.number)));
  const numbers = new Set(events.map((event) => event.number));
  if (events.length && known.size && ![...known].some((number) => numbers.has(number))) box.replaceChildren();
  for (const event of events) if (!known.has(event.number) || !box.childElementCount) box.prepend(happened(event));
  while (box.childElementCount > SHOWN) box.lastElementChild.remove();
  if (!events.length) fill(box, "none", () => el("li", { class: "empty" }, "Nothing happened."));
  else box.querySelector(".empty")?.remove();
}

function happened(event) {
  const about = event.stream ?? event.exchange;
  return el("li", { "data-number": event.number },
    el("p", {}, time(event.at), el("b", {}, plain(event.hazard)),
      el("span", { class: "chip", "data-tone": LASTING.has(event.hazard) ? "warn" : Object.hasOwn(ACTS, event.act) ? ACTS[event.act] : "none" }, plain(event.act)),
      event.unsaid ? el("span", { class: "quiet" }, `+${event.unsaid} unsaid`) : null),
    el("p", { class: "quiet" }, about, ": ", event.text));
}

function ways(sinks) {
  if (!sinks.length) return el("p", { class: "empty" }, "None.");
  return el("ul", {}, ...sinks.map((sink) => el("li", {}, el("b", {}, sink.name),
    el("span", { class: "chip", "data-tone": sink.behind ? "warn" : "good" }, sink.behind ? `${sink.behind.toLocaleString()} behind` : "all delivered"))));
}
