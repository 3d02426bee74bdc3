// The face of DriftView: a table of the tested features that sorts, searches and opens. Everything it shows is in the
// model, so it works in a saved notebook too.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element; names that belong to SVG are made there. Text is always set as text, never parsed. */
function h(tag, attributes = {}, ...children) {
  const isSvg = ["svg", "g", "path", "rect", "text", "title", "pattern", "defs"].includes(tag);
  const node = isSvg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

const number = (value) => (value === null ? "–" : String(Number(value.toPrecision(3))));
// No p-value is 0: below a ten-thousandth its size says nothing more.
const probability = (value) => (value !== null && value < 1e-4 ? "<0.0001" : number(value));
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const compare = new Intl.Collator("en", { numeric: true }).compare;

/** The last is the order in which the rows arrive: drifted first, then by how far the statistic is over its threshold. */
const COLUMNS = [
  { name: "Feature", of: (row) => row.feature },
  { name: "Shares", of: null },
  { name: "Test", of: (row) => row.test },
  { name: "Statistic", of: (row) => row.statistic, falling: true },
  { name: "q-value", of: (row) => row.q_value },
  { name: "Verdict", of: (row) => row.severity, falling: true },
];

function barPath(shares, left, step, width, base, scale) {
  return shares
    .map((share, bin) => (share > 0 ? `M${(left + bin * step).toFixed(1)} ${base}h${width.toFixed(1)}v${(-share * scale).toFixed(1)}h-${width.toFixed(1)}z` : ""))
    .join("");
}

/** The two histograms in one row: the reference above the line, the current rows below it. */
function twin(row) {
  const { reference, current } = row.histogram;
  const [width, height] = [132, 34];
  const top = Math.max(...reference, ...current, 1e-12);
  const step = width / reference.length;
  const bar = step - Math.min(1, step / 5);
  const scale = (height / 2 - 2) / top;
  return h(
    "svg",
    { class: "jx-twin", role: "img", viewBox: `0 0 ${width} ${height}`, width, height },
    h("title", {}, `${row.feature}: shares in the reference above the line, in the current rows below it`),
    h("path", { class: "jx-ref", d: barPath(reference, 0, step, bar, height / 2 - 1, scale) }),
    h("path", { class: "jx-cur", d: barPath(current, 0, step, bar, height / 2 + 1, -scale) }),
    h("path", { class: "jx-axis", d: `M0 ${height / 2}h${width}` }),
  );
}

/** Round steps of the axis: 1, 2 or 5 times a power of ten, four of them at most. */
function ticks(top) {
  const rough = top / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((times) => times * power).find((size) => size >= rough);
  return Array.from({ length: Math.floor(top / step + 1e-9) + 1 }, (_, place) => place * step);
}

/** The histograms of one feature, large: two bars a bin. */
function chart(row) {
  const { bins, reference, current } = row.histogram;
  const [width, height, left, bottom] = [880, 230, 44, 34];
  const top = Math.max(...reference, ...current, 1e-12);
  const scale = (height - bottom - 10) / top;
  const step = (width - left) / bins.length;
  const bar = Math.min(step * 0.4, 36);
  const start = left + (step - 2 * bar) / 2;
  const base = height - bottom;
  const letters = Math.max(...bins.map((bin) => bin.length)) * 6.2 + 10;
  const every = Math.max(1, Math.ceil(Math.min(letters, 110) / step));
  const shorten = (text) => (text.length > 17 ? `${text.slice(0, 16)}…` : text);
  return h(
    "svg",
    { role: "img", viewBox: `0 0 ${width} ${height}` },
    h("title", {}, `${row.feature}: share of the rows in each bin, reference and current. The numbers follow in a table.`),
    ticks(top).map((tick) => [
      h("path", { class: "jx-grid", d: `M${left} ${base - tick * scale}H${width}` }),
      h("text", { x: left - 8, y: base - tick * scale + 4, "text-anchor": "end" }, `${Number((100 * tick).toPrecision(2))} %`),
    ]),
    h("path", { class: "jx-ref", d: barPath(reference, start, step, bar - 1, base, scale) }),
    h("path", { class: "jx-cur", d: barPath(current, start + bar, step, bar - 1, base, scale) }),
    h("path", { class: "jx-axis", d: `M${left} ${base}H${width}` }),
    bins.map((bin, place) =>
      place % every ? null : h("text", { x: left + (place + 0.5) * step, y: base + 18, "text-anchor": "middle" }, shorten(bin)),
    ),
    bins.map((bin, place) =>
      h(
        "rect",
        { x: left + place * step, y: 0, width: step, height: base, fill: "transparent" },
        h("title", {}, `${bin}\nreference ${percent(reference[place])}\ncurrent ${percent(current[place])}`),
      ),
    ),
  );
}

function numbers(row) {
  const { bins, reference, current } = row.histogram;
  const change = (place) => {
    const points = 100 * (current[place] - reference[place]);
    return `${points < 0 ? "−" : "+"}${Math.abs(points).toFixed(1)}`;
  };
  return h(
    "details",
    {},
    h("summary", {}, "Numbers"),
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, ["Bin", "Reference", "Current", "Change (points)"].map((name) => h("th", { scope: "col" }, name)))),
      h(
        "tbody",
        {},
        bins.map((bin, place) =>
          h("tr", {}, h("th", { scope: "row" }, bin), h("td", {}, percent(reference[place])), h("td", {}, percent(current[place])), h("td", {}, change(place))),
        ),
      ),
    ),
  );
}

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
    h("style", {}, `.jp-OutputArea-child:has(.${name}), .${name} { display: none }`),
    h("h3", {}, facts.verdict),
    h("p", { class: "jx-quiet" }, facts.basis),
    h("div", { class: "jx-tools" }, search, h("label", {}, toggle, `Only drifted (${facts.n_drifted})`), legend()),
    h("div", { class: "jx-scroll" }, h("table", { class: "jx-table", "aria-label": "Tested features" }, h("thead", {}, h("tr", {}, heads)), body)),
    left ? h("p", { class: "jx-quiet jx-more" }, `${left.toLocaleString("en")} more features, which drifted less, are in report.table.`) : null,
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
    draw();
    nameOf(row.feature)?.focus();
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
    const from = names().indexOf(event.target);
    if (from < 0 && !(event.target === search && event.key === "ArrowDown")) return;
    const target = { ArrowDown: from + 1, ArrowUp: from - 1, Home: 0, End: names().length - 1 }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    const button = names()[target];
    if (!button) return;
    current = button.dataset.feature;
    for (const other of names()) other.tabIndex = other === button ? 0 : -1;
    button.focus();
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
    const inside = row.histogram ? [chart(row), numbers(row)] : [h("p", { class: "jx-quiet" }, "The view has no histogram of this feature.")];
    if (row.note) inside.unshift(h("p", { class: "jx-note" }, row.note));
    return [line, h("tr", {}, h("td", { class: "jx-detail", colspan: COLUMNS.length }, inside))];
  }

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
    told.textContent = `${shown.length} of ${rows.length} features shown`;
  }

  draw();
  el.append(root);
}

export default { render };
