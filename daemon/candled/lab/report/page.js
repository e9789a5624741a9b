// Draws the figures whose data stand in the page, in the page's own colours, and again when the
// reader's colour scheme changes.
"use strict";

(function () {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");

  function coloured(value, colours) {
    if (typeof value === "string") {
      return value.startsWith("@") ? colours.getPropertyValue("--" + value.slice(1)).trim() : value;
    }
    if (Array.isArray(value)) {
      return value.map((one) => coloured(one, colours));
    }
    if (value !== null && typeof value === "object") {
      return Object.fromEntries(
        Object.entries(value).map(([name, one]) => [name, coloured(one, colours)]),
      );
    }
    return value;
  }

  function themed(layout, colours) {
    const grid = colours.getPropertyValue("--grid").trim();
    const made = {
      ...layout,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: {
        family: colours.fontFamily,
        size: 12,
        color: colours.getPropertyValue("--ink").trim(),
      },
      hoverlabel: { font: { family: colours.fontFamily } },
    };
    for (const name of Object.keys(made).filter((one) => /^[xy]axis/.test(one))) {
      made[name] = { gridcolor: grid, linecolor: grid, zerolinecolor: grid, fixedrange: true, ...made[name] };
    }
    return made;
  }

  function draw() {
    const colours = getComputedStyle(document.documentElement);
    for (const place of document.querySelectorAll(".chart")) {
      const figure = coloured(
        JSON.parse(document.getElementById(place.id + "-data").textContent),
        colours,
      );
      Plotly.react(place, figure.data, themed(figure.layout, colours), {
        responsive: true,
        displayModeBar: false,
        showTips: false,
        scrollZoom: false,
        staticPlot: false,
      });
    }
    document.documentElement.dataset.drawn = dark.matches ? "dark" : "light";
  }

  dark.addEventListener("change", draw);
  if (!still.matches) {
    document.documentElement.classList.add("smooth");
  }
  draw();
})();
