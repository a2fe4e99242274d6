// Draws each figure into its place, as many panels side by side as fit: what is in sight first, the rest when there is time.
// Puts another x-axis under all of them; saves a figure as SVG and its data as CSV; prints what is folded away.
(() => {
  "use strict";
  const places = [...document.querySelectorAll(".chart")];
  const views = new Map(), inSight = new Set();
  const GAP = 22, AXIS = 60, NARROWEST = 150, MOST = 4;
  let axis = "step";

  function specOf(place) {
    return JSON.parse(document.getElementById(place.dataset.spec).textContent);
  }

  // ---------------------------------------------------------------- the x-axis

  const axesOf = (spec) => spec.usermeta.axes ?? [];

  // Of a figure over checkpoints at even distances only the labels change.
  function channel(chosen) {
    if (chosen.x) return chosen.x;
    const labelExpr = `format(${JSON.stringify(chosen.at)}[datum.value], '${chosen.format}')`;
    return { title: chosen.title, axis: { labelAngle: 0, labelExpr } };
  }

  function exchange(part, x) {
    if (part.encoding?.x?.field === "step") Object.assign(part.encoding.x, x);
    for (const inner of [part.spec, ...(part.layer ?? [])]) if (inner) exchange(inner, x);
  }

  // ---------------------------------------------------------------- drawing

  function fitted(place) {
    const spec = specOf(place), width = place.clientWidth;
    const chosen = axesOf(spec).find((one) => one.name === axis);
    if (chosen && axis !== "step") exchange(spec, channel(chosen));
    const { panels, own_y: ownY, axis: left = AXIS } = spec.usermeta;
    if (width < 500) spec.config.legend.columns = 2;
    if (!panels) {
      spec.width = width - left;
      return spec;
    }
    const side = ownY ? 36 : 0;
    const fit = Math.floor((width - left + GAP + side) / (NARROWEST + GAP + side));
    const rows = Math.ceil(panels / Math.max(1, Math.min(fit, panels, MOST)));
    const columns = Math.ceil(panels / rows);
    spec.columns = columns;
    spec.spec.width = Math.min(520, Math.floor((width - left - (columns - 1) * (GAP + side)) / columns));
    return spec;
  }

  const wanted = (place) => `${place.clientWidth} ${axis}`;
  const stale = (place) => place.clientWidth > 0 && place.dataset.as !== wanted(place);

  async function draw(place) {
    const as = wanted(place);
    place.style.minHeight = `${place.clientHeight}px`; // nothing jumps while it is drawn anew
    try {
      const old = views.get(place);
      const dark = matchMedia("(prefers-color-scheme: dark)").matches;
      const options = { mode: "vega-lite", renderer: "svg", actions: false, tooltip: { theme: dark ? "dark" : "light" } };
      const result = await window.vegaEmbed(place, fitted(place), options);
      if (old) old.finalize();
      views.set(place, result);
      place.querySelector("svg").setAttribute("aria-hidden", "true"); // the place itself says what it shows
      place.dataset.state = "drawn";
    } catch (error) {
      place.dataset.state = "failed";
      place.classList.add("chart-error");
      place.textContent = `This chart could not be drawn (${error.message}). Its data is in the table below.`;
    }
    place.style.minHeight = "";
    place.dataset.as = as;
  }

  const later = (run) => (window.requestIdleCallback ? requestIdleCallback(run, { timeout: 300 }) : setTimeout(run, 20));
  let drawing = false;

  async function drawAll() {
    if (drawing) return;
    drawing = true;
    for (;;) {
      const place = places.find((p) => inSight.has(p) && stale(p)) ?? places.find(stale);
      if (!place) break;
      await draw(place);
      await new Promise((next) => (inSight.has(place) ? setTimeout(next, 0) : later(next)));
    }
    drawing = false;
  }

  const sight = new IntersectionObserver(
    (seen) => {
      for (const { target, isIntersecting } of seen) inSight[isIntersecting ? "add" : "delete"](target);
      drawAll();
    },
    { rootMargin: "400px" },
  );
  for (const place of places) sight.observe(place);

  // ---------------------------------------------------------------- choosing the axis

  const control = document.getElementById("x-axis");
  if (control) {
    control.hidden = false;
    control.addEventListener("change", () => {
      axis = control.querySelector("input:checked").value;
      drawAll();
    });
  }

  // ---------------------------------------------------------------- saving

  function save(name, type, text) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  const saved = document.body.dataset.saved; // the run's name, as a file can have it

  // A spreadsheet must take no text for a formula.
  function cell(value) {
    if (value === null || value === undefined) return "";
    const text = typeof value === "string" ? value.replaceAll("|", ", ").replace(/^(?=[=+\-@\t\r])/, "'") : String(value);
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }

  // The rows drawn, each with its place on every axis.
  function csv(spec) {
    const sets = Object.entries(spec.datasets).sort((a, b) => b[1].length - a[1].length);
    const rows = spec.datasets[spec.data?.name] ?? sets[0][1];
    const drawn = Object.keys(rows[0]).filter((name) => !["colour", "estimate", "name"].includes(name));
    const others = axesOf(spec).filter((one) => one.at && !drawn.includes(one.name));
    const lines = rows.map((row) => [...drawn.map((name) => row[name]), ...others.map((one) => one.at[row.step])]);
    const head = [...drawn, ...others.map((one) => one.name)];
    return [head, ...lines].map((line) => line.map(cell).join(",") + "\r\n").join("");
  }

  for (const button of document.querySelectorAll("button[data-save]")) {
    button.addEventListener("click", async () => {
      const name = button.dataset.of;
      const place = document.querySelector(`[data-spec="spec-${name}"]`);
      if (button.dataset.save === "csv") save(`${saved}-${name}.csv`, "text/csv", csv(specOf(place)));
      else if (views.has(place)) save(`${saved}-${name}.svg`, "image/svg+xml", await views.get(place).view.toSVG());
    });
  }

  // ---------------------------------------------------------------- paper and windows

  const folded = [];
  addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("details.printed:not([open])")) {
      part.open = true;
      folded.push(part);
    }
    drawAll();
  });
  addEventListener("afterprint", () => {
    for (const part of folded.splice(0)) part.open = false;
  });

  // A link into something folded away opens it first.
  for (const link of document.querySelectorAll('a[href^="#"]')) {
    link.addEventListener("click", () => {
      const target = document.getElementById(link.getAttribute("href").slice(1));
      for (let part = target; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
    });
  }

  let waiting;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(drawAll, 200);
  });
  addEventListener("load", drawAll);
})();
