// Draws each figure into its place, as many panels side by side as fit, one after another so that the text is there first.
(() => {
  "use strict";
  const places = [...document.querySelectorAll(".chart")];
  const views = new Map();
  const GAP = 22, AXIS = 60, NARROWEST = 150, MOST = 4;

  function fitted(place) {
    const spec = JSON.parse(document.getElementById(place.dataset.spec).textContent);
    const width = place.clientWidth, { panels, own_y: ownY } = spec.usermeta;
    if (width < 500) spec.config.legend.columns = 2;
    if (!panels) {
      spec.width = width - AXIS;
      return spec;
    }
    const side = ownY ? 36 : 0;
    const fit = Math.floor((width - AXIS + GAP + side) / (NARROWEST + GAP + side));
    const rows = Math.ceil(panels / Math.max(1, Math.min(fit, panels, MOST)));
    const columns = Math.ceil(panels / rows);
    spec.columns = columns;
    spec.spec.width = Math.min(520, Math.floor((width - AXIS - (columns - 1) * (GAP + side)) / columns));
    return spec;
  }

  async function draw(place) {
    try {
      const old = views.get(place);
      const dark = matchMedia("(prefers-color-scheme: dark)").matches;
      const options = { mode: "vega-lite", renderer: "svg", actions: false, tooltip: { theme: dark ? "dark" : "light" } };
      const result = await window.vegaEmbed(place, fitted(place), options);
      if (old) old.finalize();
      views.set(place, result);
      place.dataset.width = place.clientWidth;
      place.dataset.state = "drawn";
    } catch (error) {
      place.dataset.state = "failed";
      place.classList.add("chart-error");
      place.textContent = `This chart could not be drawn (${error.message}). Its data is in the table below.`;
    }
  }

  async function drawAll() {
    for (const place of places) {
      if (Number(place.dataset.width) !== place.clientWidth) await draw(place);
      await new Promise((next) => setTimeout(next, 0));
    }
  }

  let waiting;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(drawAll, 200);
  });
  drawAll();
})();
