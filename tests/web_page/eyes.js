// What tests look at in the page: defined in it as `eyes` by a test that wants it.
"use strict";
window.eyes = {
  // The symbols in the list, in order.
  symbols() {
    return [...document.querySelectorAll("#rows .c-symbol b")].map((name) => name.textContent);
  },

  lags() {
    return [...document.querySelectorAll("#rows .c-lag")].map((cell) => parseInt(cell.textContent, 10));
  },

  sort(key) {
    const box = document.querySelector("#sort");
    box.value = key;
    box.dispatchEvent(new Event("change"));
  },

  search(words) {
    const box = document.querySelector("#search");
    box.value = words;
    box.dispatchEvent(new Event("input"));
  },

  only(what) {
    document.querySelector(`[data-only=${what}]`).click();
  },

  sees(place) {
    return document.querySelector(place).checkVisibility();
  },

  // Controls that are seen and too small for a finger.
  small() {
    const all = [...document.querySelectorAll("button, input, select, .back")];
    const seen = all.filter((one) => one.checkVisibility() && !one.closest(".head"));
    return seen.filter((one) => one.getBoundingClientRect().height < 24).length;
  },

  sideways() {
    return document.documentElement.scrollWidth > 360 || innerWidth > 360 || visualViewport.width < 359;
  },

  // Note which rows change, but for what grows old by itself.
  touching() {
    const touched = new Set();
    const note = ({ target }) => {
      const cell = target.parentElement;
      if (!cell?.closest(".c-fresh, .c-signal") && cell?.closest(".row")) touched.add(cell.closest(".row").dataset.stream);
    };
    const all = { characterData: true, subtree: true, attributes: true, childList: true };
    new MutationObserver((changes) => changes.forEach(note)).observe(document.querySelector("#rows"), all);
    this.touched = () => [...touched];
  },

  // Keep when frames end in which rows were drawn.
  watching() {
    this.drawn = [];
    let pending = false;
    const ended = () => {
      pending = false;
      this.drawn.push(Date.now());
    };
    const note = (changes) => {
      if (pending || !changes.some(({ target }) => target.parentElement?.closest(".c-spark"))) return;
      pending = true;
      requestAnimationFrame(() => setTimeout(ended));
    };
    const all = { childList: true, characterData: true, subtree: true, attributes: true };
    new MutationObserver(note).observe(document.querySelector("#rows"), all);
  },

  // The gaps between frames of so many seconds, and the tasks that took long (ms).
  frames(seconds) {
    const gaps = [];
    const tasks = [];
    const long = new PerformanceObserver((list) => tasks.push(...list.getEntries().map((one) => one.duration)));
    long.observe({ type: "longtask" });
    let last = performance.now();
    const end = last + seconds * 1000;
    return new Promise((done) => {
      const frame = (now) => {
        gaps.push(now - last);
        last = now;
        if (now < end) requestAnimationFrame(frame);
        else done({ gaps, tasks });
      };
      requestAnimationFrame(frame);
    });
  },

  // Keep what is spoken, and when.
  listening() {
    const spoken = document.querySelector("#spoken");
    const all = { childList: true, characterData: true, subtree: true };
    this.heard = [];
    new MutationObserver(() => this.heard.push([performance.now(), spoken.textContent])).observe(spoken, all);
  },

  // The visible texts whose contrast with what lies below them is less than 4.5.
  pale() {
    const found = { count: 0, bad: [] };
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      const at = node.parentElement;
      if (!node.data.trim() || at.closest("template, .unseen, .skip")) continue;
      if (!at.checkVisibility({ checkVisibilityCSS: true })) continue;
      const ratio = contrast(at);
      found.count += 1;
      if (ratio < 4.5) found.bad.push(`${ratio.toFixed(2)} ${at.className || at.tagName}: ${node.data.trim().slice(0, 30)}`);
    }
    return found;
  },

  // The stories that pushes [bar, revision] in these orders make.
  async stories(cases) {
    const { Story } = await import("/state.js");
    return cases.map((pushes) => {
      const story = new Story("x");
      for (const [open, revision] of pushes) {
        const made = { bar_open: open, revision, side: "long", id: `${open}-${revision}` };
        const ended = { id: `${open}-0`, right: true };
        story.take({ bars: [[open, 1, 2, 0, 1, revision]], decisions: [made], outcomes: [ended] });
      }
      const bars = story.ordered().map((bar) => bar[0]);
      return [bars, story.signals().map((one) => one.id), story.outcomes.size];
    });
  },
};

function contrast(node) {
  const under = ground(node);
  const own = colour(getComputedStyle(node).color);
  for (let up = node; up; up = up.parentElement) own[3] *= Number(getComputedStyle(up).opacity);
  const [most, least] = [light(over(own, under)), light(under)].sort((a, b) => b - a);
  return (most + 0.05) / (least + 0.05);
}

function ground(node) {
  const coats = [];
  for (let at = node; at; at = at.parentElement) coats.push(colour(getComputedStyle(at).backgroundColor));
  return coats.reverse().reduce((under, coat) => over(coat, under), [255, 255, 255]);
}

function colour(text) {
  const numbers = text.match(/[\d.]+/g).map(Number);
  return numbers.length < 4 ? [...numbers, 1] : numbers;
}

function over(top, under) {
  return top.slice(0, 3).map((value, at) => value * top[3] + under[at] * (1 - top[3]));
}

function light(rgb) {
  const linear = (value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const [red, green, blue] = rgb.map((value) => linear(value / 255));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}
