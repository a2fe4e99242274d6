// The trace browser: an item at two checkpoints, side by side. What a model wrote becomes text nodes, never markup.
(() => {
  "use strict";
  const SIGNS = { right: "✓", wrong: "✗", unfinished: "…", unreadable: "?", ungraded: "–" };

  function browse(root) {
    const all = JSON.parse(document.getElementById(root.dataset.traces).textContent);
    const pick = Object.fromEntries([...root.querySelectorAll("[data-pick]")].map((e) => [e.dataset.pick, e]));
    const part = (name, within = root) => within.querySelector(`[data-part="${name}"]`);
    const domain = () => all.domains[pick.domain.value];
    const at = (item, step) => item[2].find((cell) => cell[0] === step);
    const kind = (cell) => all.verdicts[cell[2]];
    let shown = []; // [place among the domain's items, response at A, response at B]

    function fill(select, options) {
      select.replaceChildren(...options.map(([value, text]) => {
        const option = document.createElement("option");
        option.value = value;
        option.textContent = text;
        return option;
      }));
    }

    function write(place, pieces) {
      place.replaceChildren(...pieces.map((piece) => {
        if (typeof piece === "string") return document.createTextNode(piece);
        const mark = document.createElement("mark");
        mark.className = all.kinds.filter((_, k) => (piece[1] >> k) & 1).join(" ");
        mark.textContent = piece[0];
        return mark;
      }));
      place.classList.toggle("empty", !pieces.length);
      if (!pieces.length) place.textContent = "none";
    }

    function writeSide(side, cell) {
      const [step, text, verdict, tokens] = cell, [think, answer, notes, counts] = all.texts[text], name = kind(cell);
      part("step", side).textContent = `Step ${all.steps[step]}${all.steps[step] === 0 ? " (base)" : ""}`;
      const badge = part("verdict", side);
      badge.textContent = `${SIGNS[name]} ${domain().words[verdict]}`;
      badge.className = `badge ${{ right: "good", ungraded: "open" }[name] ?? "bad"}`;
      const found = counts.flatMap((n, k) => (n ? [`${n} ${all.kinds[k]}${n > 1 ? "s" : ""}`] : []));
      part("tokens", side).textContent = [`${tokens} tokens`, ...found].join(", ");
      write(part("think", side), think);
      write(part("answer", side), answer);
      part("notes", side).textContent = notes.map((note) => `${note}.`).join(" ");
    }

    function writeItem() {
      const chosen = shown[Number(pick.item.value)];
      part("trace").hidden = !chosen;
      for (const button of root.querySelectorAll("[data-turn]")) {
        button.disabled = !shown[pick.item.selectedIndex + Number(button.dataset.turn)];
      }
      if (!chosen) return;
      part("which").textContent = `${domain().name}, item ${domain().items[chosen[0]][0]}`; // on paper the choices are not there
      part("prompt").textContent = domain().items[chosen[0]][1];
      writeSide(root.querySelector('[data-side="a"]'), chosen[1]);
      writeSide(root.querySelector('[data-side="b"]'), chosen[2]);
    }

    function listItems() {
      const a = Number(pick.a.value), b = Number(pick.b.value);
      const both = domain().items.map((item, i) => [i, at(item, a), at(item, b)]).filter((row) => row[1] && row[2]);
      const right = (cell) => kind(cell) === "right";
      const groups = {
        all: both,
        lost: both.filter((row) => right(row[1]) && !right(row[2])),
        gained: both.filter((row) => !right(row[1]) && right(row[2])),
      };
      groups.changed = both.filter((row) => right(row[1]) !== right(row[2]));
      shown = groups[pick.which.value];
      fill(pick.item, shown.map(([i, x, y], k) => {
        const prompt = domain().items[i][1].replace(/\s+/g, " ");
        return [k, `${SIGNS[kind(x)]}→${SIGNS[kind(y)]} ${prompt.length > 70 ? `${prompt.slice(0, 70)}…` : prompt}`];
      }));
      pick.item.disabled = !shown.length;
      part("count").textContent = `Of ${both.length} items here, from step ${all.steps[a]} to step ${all.steps[b]}: `
        + `${groups.lost.length} lost, ${groups.gained.length} gained.${shown.length ? "" : " None to show: choose “all”."}`;
      writeItem();
    }

    function turnTo(domain) {
      pick.b.value = domain.turn;
      listItems();
    }

    const steps = all.steps.map((step, i) => [i, step === 0 ? "step 0 (base)" : `step ${step}`]);
    fill(pick.domain, all.domains.map((d, i) => [i, d.name]));
    fill(pick.a, steps);
    fill(pick.b, steps);
    pick.domain.addEventListener("change", () => turnTo(domain()));
    for (const name of ["a", "b", "which"]) pick[name].addEventListener("change", listItems);
    pick.item.addEventListener("change", writeItem);
    for (const button of root.querySelectorAll("[data-turn]")) {
      button.addEventListener("click", () => {
        pick.item.selectedIndex += Number(button.dataset.turn);
        writeItem();
      });
    }
    turnTo(domain());
    if (!shown.length) {
      pick.which.value = "all";
      listItems();
    }
    root.hidden = false;
    root.dataset.state = "ready";
  }

  // After the first paint: reading megabytes of text takes a moment.
  for (const root of document.querySelectorAll("[data-traces]")) setTimeout(() => browse(root), 0);
})();
