// Making and changing elements. Text goes in as text nodes only: names and reasons are hostile.

/** Make an element; `attributes` are set as such, children are nodes or texts (null is skipped). */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) mark(made, name, value);
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** Set or remove an attribute, touching the document only when it differs. */
export function mark(node, name, value) {
  if (value === null || value === undefined || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

/** Make `value` the node's only text, touching the document only when it differs. */
export function say(node, value) {
  const only = node.firstChild;
  if (only && only === node.lastChild && only.nodeType === Node.TEXT_NODE) {
    if (only.data !== value) only.data = value;
  } else node.replaceChildren(value);
}

/** Show or hide an element. */
export const show = (node, shown) => mark(node, "hidden", shown ? null : "");

export const byId = (id) => document.getElementById(id);

/** Fill `node` with what `make` returns, but only when `facts` differ from those it was made of. */
export function fill(node, facts, make) {
  const told = JSON.stringify(facts);
  if (node.told === told) return;
  const key = node.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  node.told = told;
  node.replaceChildren(...[make()].flat().filter((child) => child !== null && child !== undefined));
  if (key) [...node.querySelectorAll("[data-key]")].find((item) => item.dataset.key === key)?.focus();
}

/** A time of day, local, with the date when it is another day's; UTC in its tooltip. */
export function time(ms, text = null) {
  const at = new Date(ms);
  const iso = Number.isNaN(at.getTime()) ? "" : at.toISOString();
  return el("time", { datetime: iso, title: `${iso.replace("T", " ").replace(".000Z", "")} UTC` }, text ?? clock(ms));
}

const DAY = 86_400_000;
const hours = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const date = { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
const days = new Intl.DateTimeFormat(undefined, date);
const years = new Intl.DateTimeFormat(undefined, { year: "numeric", ...date });

/** Local time of day, or date and time when it is more than a day away. */
export function clock(ms) {
  return Math.abs(Date.now() - ms) < DAY / 2 ? hours.format(ms) : dated(ms);
}

export const exact = (ms) => hours.format(ms);

/** Date and time of day, with the year when it is another one. */
export const dated = (ms) => (new Date(ms).getFullYear() === new Date().getFullYear() ? days : years).format(ms);
