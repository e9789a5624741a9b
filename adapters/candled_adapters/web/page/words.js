// What numbers and names are in words. Pure: knows no document and no clock.

export const SHAPE = { long: "▲", short: "▼", flat: "–", no_decision: "○" };
export const SIDE = { long: "long", short: "short", flat: "flat", no_decision: "no decision" };
export const TREND = ["↔", "↗", "↘"];

const REASONS = {
  warmup: "too few bars yet",
  features_not_finite: "a feature is not a number",
  gap_mute: "muted after a gap",
  ambiguous: "the model cannot rule out the other classes",
  novelty: "too unlike what it was trained on",
  regime_gate: "against the regime",
  cooldown: "cooling down after a signal",
};
const QUALITY = {
  gap: "a gap lies in its window",
  zero_volume: "nobody traded in this bar",
  flat_run: "price and volume stand still",
  wick: "a wick far beyond its neighbours",
};
const ENDS = { target: "reached its target", stop: "was stopped", time: "ran out of time" };
const STANDINGS = {
  unknown: "its bundle claims nothing",
  too_few: "too few outcomes to judge",
  as_claimed: "as claimed",
  broken: "worse than claimed",
};

const known = (table, name) => (Object.hasOwn(table, name) ? table[name] : name.replaceAll("_", " "));
export const reason = (name) => known(REASONS, name);
export const quality = (name) => known(QUALITY, name);
export const ending = (name) => known(ENDS, name);
export const standing = (name) => known(STANDINGS, name);
export const plain = (name) => name.replaceAll("_", " ");

/** A share as whole percent. */
export const share = (value) => (value === null || value === undefined ? "–" : `${Math.round(value * 100)} %`);

/** Percent with sign. */
export const signed = (value) =>
  value === null || value === undefined ? "–" : `${value > 0 ? "+" : value < 0 ? "−" : ""}${Math.abs(value).toFixed(2)} %`;

/** A probability. */
export const odd = (value) => value.toFixed(3).replace(/^0/, "");

/** A price with as many digits as it has use for. */
export function price(value) {
  const digits = value === 0 ? 2 : Math.max(0, Math.min(8, 5 - Math.floor(Math.log10(Math.abs(value)))));
  return value.toLocaleString(undefined, { minimumFractionDigits: Math.min(2, digits), maximumFractionDigits: digits });
}

/** A duration as people say it, in its one or two largest units. */
export function span(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10) return `${minutes} min ${seconds % 60} s`;
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 10) return `${hours} h ${minutes % 60} min`;
  return hours < 48 ? `${hours} h` : `${Math.floor(hours / 24)} d`;
}

/** A duration in its one largest unit, for columns. */
export function brief(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 120) return `${seconds} s`;
  return seconds < 7200 ? `${Math.floor(seconds / 60)} min` : span(ms - (ms % 3_600_000)).replace(" 0 min", "");
}

/** Milliseconds, or seconds when they are many. */
export const delay = (ms) => (ms < 1000 ? `${ms} ms` : ms < 10_000 ? `${(ms / 1000).toFixed(1)} s` : span(ms));

export const many = (count, one, more = `${one}s`) => `${count.toLocaleString()} ${count === 1 ? one : more}`;

/** What out-of-sample rows showed of a signal's like. */
export function evidence(claim) {
  const edge = claim.below === null ? `${odd(claim.above)} and more` : `${odd(claim.above)} to ${odd(claim.below)}`;
  const found = `Of ${claim.n.toLocaleString()} like it out of sample (probability ${edge}), ${share(claim.precision)} were right (${Math.round(claim.low * 100)} to ${Math.round(claim.high * 100)}).`;
  const base = ` Of all rows, ${share(claim.base_rate)} were ${claim.side}.`;
  const gross = claim.gross_pct === null ? "" : ` A trade on them brought ${signed(claim.gross_pct)} on average, before costs.`;
  return found + base + gross;
}

/** A record in one sentence. */
export function record(kept) {
  if (!kept.n) return `No outcome yet; ${many(kept.pending, "signal")} pending.`;
  const claimed = kept.claimed === null ? "" : ` ${share(kept.claimed)} were claimed.`;
  return `${share(kept.hit_rate)} of ${many(kept.n, "signal")} were right (${share(kept.low)} to ${share(kept.high)}).${claimed}`;
}

/** How far a model's mean probability is from how often it was right. */
export function calibration(value) {
  if (value === null) return "–";
  const points = Math.round(Math.abs(value) * 100);
  return points === 0 ? "as often right as said" : `${many(points, "point")} too ${value > 0 ? "high" : "low"}`;
}
