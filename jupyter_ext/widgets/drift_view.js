// The face of DriftView: a table of the tested features that sorts, searches and opens, the rows of a bin, and the
// history. All but the rows is in the model, so it works in a saved notebook too.

const PATIENCE_MS = 6000;
const SILENCE = "The kernel hasn't answered yet. It may be busy; where none runs, run the cell again.";

/** The last is the order in which the rows arrive: drifted first, then by how far the statistic is over its threshold. */
const COLUMNS = [
  { name: "Feature", of: (row) => row.feature },
  { name: "Shares", of: null },
  { name: "Test", of: (row) => row.test },
  { name: "Statistic", of: (row) => row.statistic, falling: true },
  { name: "q-value", of: (row) => row.q_value },
  { name: "Verdict", of: (row) => row.severity, falling: true },
];

function verdict(row) {
  if (row.drifted) return h("span", { class: "jx-drifted" }, h("span", { class: "jx-mark", "aria-hidden": "true" }, "▲"), " drifted");
  return h("span", { class: "jx-quiet" }, row.statistic === null ? "not tested" : "steady");
}

function render({ model, el }) {
  const facts = model.get("_facts");
  const name = model.get("_twin");
  const rows = model.get("_rows").map((row, place, all) => ({ ...row, severity: all.length - place }));
  const open = new Set();
  let sorted = { column: 5, falling: true };
  let query = "";
  let onlyDrifted = false;
  let current = rows[0]?.feature; // the one row that Tab stops at
  const prefix = Math.random().toString(36).slice(2); // tells the answers to this view from those to another of the same model
  let asked = 0;
  let patience = 0;
  let chosen = null; // the bin whose rows are shown, with what Python answered

  const search = h("input", {
    type: "search",
    placeholder: "Search features",
    "aria-label": "Search features",
    oninput: () => {
      query = search.value.trim().toLowerCase();
      draw();
    },
  });
  const toggle = h("input", {
    type: "checkbox",
    onchange: () => {
      onlyDrifted = toggle.checked;
      draw();
    },
  });
  const history = historyOf(model.get("_history"), prefix);
  const told = h("p", { class: "jx-hidden", role: "status", "aria-live": "polite" });
  const heads = COLUMNS.map((column, index) =>
    h("th", { scope: "col" }, column.of ? h("button", { type: "button", class: "jx-sort", onclick: () => sortBy(index) }, column.name) : column.name),
  );
  const body = h("tbody");
  const left = facts.total - rows.length;
  const root = h(
    "div",
    {
      class: "jx jx-live jx-drift",
      role: "group",
      "aria-label": "Drift report",
      "data-lm-suppress-shortcuts": "true",
      style: `--jx-hatch: url(#${name}-live)`,
      onkeydown: onKeydown,
    },
    // The static twin in the output above says the same for readers without a kernel.
    h("style", {}, `.jp-OutputArea-child:has(> * > .${name}), .${name} { display: none }`),
    h("h3", {}, facts.verdict),
    h("p", { class: "jx-quiet" }, facts.basis),
    h("div", { class: "jx-tools" }, search, h("label", {}, toggle, `Only drifted (${facts.n_drifted})`), legend()),
    h("div", { class: "jx-scroll" }, h("table", { class: "jx-table", "aria-label": "Tested features" }, h("thead", {}, h("tr", {}, heads)), body)),
    left ? h("p", { class: "jx-quiet jx-more" }, `${left.toLocaleString("en")} more features, which drifted less, are in report.table.`) : null,
    history?.section,
    told,
  );

  function legend() {
    const swatch = (kind) => h("svg", { width: 12, height: 12, "aria-hidden": "true" }, h("path", { class: kind, d: "M0 0h12v12h-12z" }));
    const hatch = h(
      "svg",
      { width: 0, height: 0, "aria-hidden": "true", style: "position: absolute" },
      h(
        "pattern",
        { id: `${name}-live`, width: 4, height: 4, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
        h("rect", { class: "jx-hatch-ground", width: 4, height: 4 }),
        h("rect", { class: "jx-hatch-line", width: 1.6, height: 4 }),
      ),
    );
    return h("p", { class: "jx-legend" }, swatch("jx-ref"), "reference", swatch("jx-cur"), "current", hatch);
  }

  function sortBy(column) {
    const falling = sorted.column === column ? !sorted.falling : Boolean(COLUMNS[column].falling);
    sorted = { column, falling };
    draw();
  }

  function toggleRow(row) {
    if (!open.delete(row.feature)) open.add(row.feature);
    current = row.feature;
    if (open.has(row.feature)) history?.choose(row.feature);
    draw();
    nameOf(row.feature)?.focus();
  }

  // The rows of a bin

  function chooseBin(row, bin) {
    chosen = { feature: row.feature, name: row.histogram.bins[bin], bin };
    ask("rows", { feature: row.feature, bin });
    showRows();
  }

  function label() {
    chosen.told = null;
    ask("label");
    showRows();
  }

  /** Ask Python for something about the bin at hand. */
  function ask(what, about) {
    chosen.question = { what, id: `${prefix}-${++asked}` };
    clearTimeout(patience);
    patience = setTimeout(() => hear({ problem: SILENCE }), PATIENCE_MS);
    try {
      model.send({ do: what, id: chosen.question.id, ...about });
    } catch {
      hear({ problem: SILENCE });
    }
  }

  function onMessage(message) {
    if (message.answer !== chosen?.question.id) return;
    clearTimeout(patience);
    hear(message);
  }

  function hear(message) {
    if (chosen.question.what === "label") chosen.told = message.problem ?? "They are asked for below.";
    else Object.assign(chosen, { answer: message.problem ? null : message, problem: message.problem });
    showRows();
  }

  /** The rows that were asked for, in the detail of their feature; other details say what a click does. */
  function showRows() {
    for (const panel of body.querySelectorAll(".jx-rows")) {
      const isHere = chosen?.feature === panel.dataset.feature;
      for (const [place, button] of panel.parentElement.querySelectorAll(".jx-bin").entries()) {
        button.setAttribute("aria-pressed", String(isHere && place === chosen.bin));
      }
      panel.replaceChildren(...(isHere ? rowsOf(chosen) : [h("p", { class: "jx-quiet" }, "Choose a bin to see its rows.")]));
    }
  }

  function rowsOf({ feature, name: bin, answer, problem, told: outcome }) {
    if (problem) return [h("p", { class: "jx-problem", role: "alert" }, problem)];
    if (!answer) return [h("p", { class: "jx-quiet", role: "status" }, "Asking the kernel…")];
    const { n, of, columns, keys, lines, more_columns: more } = answer;
    const first = n > lines.length ? ` The first ${lines.length} are shown${more ? `, without ${plural(more, "column")}` : ""}.` : "";
    const sentence = `${n.toLocaleString("en")} of ${plural(of, "current row")} ${n === 1 ? "is" : "are"} in ${feature}: ${bin}.${first}`;
    const button = h("button", { type: "button", class: "jx-button", onclick: label }, `Label ${n === 1 ? "this row" : `these ${plural(n, "row")}`}`);
    const cell = (value) => value ?? h("span", { class: "jx-missing" }, "missing");
    const table = tableOf({ "aria-label": "Rows in the bin" }, ["Row", ...columns], lines.map((line, place) => lineOf(cell(keys[place]), ...line.map(cell))));
    return [
      h("div", { class: "jx-tools" }, h("p", { role: "status" }, sentence), facts.can_label && n ? button : null, outcome ? h("p", { role: "status" }, outcome) : null),
      n ? h("div", { class: "jx-scroll", tabindex: 0, role: "group", "aria-label": "Rows" }, table) : null,
    ].filter(Boolean);
  }

  const names = () => [...body.querySelectorAll(".jx-name")];
  const nameOf = (feature) => names().find((button) => button.dataset.feature === feature);

  function onKeydown(event) {
    // JupyterLab must not take these keys as its own; Tab still leaves the view.
    event.stopPropagation();
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "/" && event.target !== search) {
      event.preventDefault();
      search.focus();
      return;
    }
    if (event.key === "Escape" && event.target === search && search.value) {
      event.preventDefault();
      search.value = query = "";
      draw();
      return;
    }
    const isBin = event.target.classList.contains("jx-bin");
    const all = isBin ? [...event.target.parentElement.children] : names();
    const from = all.indexOf(event.target);
    if (from < 0 && !(event.target === search && event.key === "ArrowDown")) return;
    const [next, last] = isBin ? ["ArrowRight", "ArrowLeft"] : ["ArrowDown", "ArrowUp"];
    const target = { [next]: from + 1, [last]: from - 1, Home: 0, End: all.length - 1 }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    if (!isBin) current = all[target]?.dataset.feature ?? current;
    rove(all, all[target]);
  }

  function drawRow(row) {
    const isOpen = open.has(row.feature);
    const button = h(
      "button",
      { type: "button", class: "jx-name", "aria-expanded": String(isOpen), tabindex: row.feature === current ? 0 : -1, "data-feature": row.feature },
      row.feature,
    );
    const line = h(
      "tr",
      { class: isOpen ? "jx-row jx-open" : "jx-row", onclick: () => toggleRow(row) },
      h("th", { scope: "row" }, button, h("span", { class: "jx-kind" }, row.kind)),
      h("td", {}, row.histogram ? twin(row) : null),
      h("td", {}, row.test),
      h("td", { class: "jx-number" }, number(row.statistic), row.threshold === null ? null : h("span", { class: "jx-kind" }, `threshold ${number(row.threshold)}`)),
      h("td", { class: "jx-number" }, probability(row.q_value)),
      h("td", {}, verdict(row)),
    );
    if (!isOpen) return [line];
    const inside = row.histogram ? detailOf(row) : [h("p", { class: "jx-quiet" }, "The view has no histogram of this feature.")];
    if (row.note) inside.unshift(h("p", { class: "jx-note" }, row.note));
    return [line, h("tr", {}, h("td", { class: "jx-detail", colspan: COLUMNS.length }, inside))];
  }

  const detailOf = (row) => [
    chart(row, chooseBin),
    h("div", { class: "jx-rows", "data-feature": row.feature }),
    numbers(row),
    row.histogram.quantiles ? h("div", { class: "jx-distribution" }, ecdf(row, facts.ranks), shifts(row, facts.ranks)) : null,
  ];

  function draw() {
    const { of } = COLUMNS[sorted.column];
    const sign = sorted.falling ? -1 : 1;
    const order = (a, b) => {
      const [x, y] = [of(a), of(b)];
      if (x === null || y === null) return Number(x === null) - Number(y === null);
      return sign * (typeof x === "string" ? compare(x, y) : x - y) || b.severity - a.severity;
    };
    const shown = rows.filter((row) => (!onlyDrifted || row.drifted) && row.feature.toLowerCase().includes(query)).sort(order);
    if (!shown.some((row) => row.feature === current)) current = shown[0]?.feature;
    body.replaceChildren(...shown.flatMap(drawRow));
    if (!shown.length) {
      const text = rows.length ? "No feature fits." : "The report has no features.";
      body.append(h("tr", {}, h("td", { class: "jx-empty", colspan: COLUMNS.length }, text)));
    }
    heads.forEach((head, index) => {
      const button = head.querySelector("button");
      if (index === sorted.column) head.setAttribute("aria-sort", sorted.falling ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
      if (button) button.textContent = COLUMNS[index].name + (index === sorted.column ? (sorted.falling ? " ↓" : " ↑") : "");
    });
    showRows();
    told.textContent = `${shown.length} of ${rows.length} features shown`;
  }

  model.on("msg:custom", onMessage);
  draw();
  el.append(root);

  return () => {
    clearTimeout(patience);
    model.off("msg:custom", onMessage);
  };
}

export default { render };
