// The face of LFTable: a table of labeling functions that sorts, searches and opens. Which function is open, the order
// and the page are in the model, so that Python answers with what belongs to them and a saved notebook keeps them.

const SVG = "http://www.w3.org/2000/svg";
const PATIENCE_MS = 6000;
const TYPING_MS = 150;

/** Make an element; names that belong to SVG are made there. Text is always set as text, never parsed. */
function h(tag, attributes = {}, ...children) {
  const isSvg = ["svg", "path", "circle", "title"].includes(tag);
  const node = isSvg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

const count = (value) => value.toLocaleString("en");
const compare = new Intl.Collator("en", { numeric: true }).compare;

/** What is there never reads as nothing. */
function percent(share) {
  if (share === 0 || share === 1) return `${100 * share} %`;
  const rounded = (100 * share).toFixed(1);
  return rounded === "0.0" ? "<0.1 %" : `${rounded} %`;
}

const COLUMNS = [
  { key: "name", name: "Function" },
  { key: "votes_for", name: "Votes for" },
  { key: "coverage", name: "Coverage", falling: true, about: "Share of the rows it votes on" },
  { key: "overlaps", name: "Overlaps", falling: true, about: "Share of the rows on which another function votes too" },
  { key: "conflicts", name: "Conflicts", falling: true, about: "Share of the rows on which another function votes differently" },
  { key: "accuracy", name: "Accuracy", falling: true, about: "Share of its votes that are right where the answer is known" },
];

function shareBar(share, widest) {
  return [
    h("span", { class: "jx-share", "aria-hidden": "true" }, h("span", { style: `width: ${widest ? (100 * share) / widest : 0}%` })),
    h("span", { class: "jx-number" }, percent(share)),
  ];
}

/** An accuracy as a dot on the line from 0 to 1, with its interval. */
function whisker({ accuracy, low, high }) {
  const [width, height, middle] = [120, 16, 8];
  const at = (share) => 4 + share * (width - 8);
  return h(
    "svg",
    { class: "jx-whisker", role: "img", viewBox: `0 0 ${width} ${height}`, width, height },
    h("title", {}, `accuracy ${percent(accuracy)}, between ${percent(low)} and ${percent(high)}`),
    h("path", { class: "jx-axis", d: `M4 ${middle}H${width - 4}M4 6v4M${width / 2} 6v4M${width - 4} 6v4` }),
    h("path", { class: "jx-interval", d: `M${at(low)} ${middle}H${at(high)}M${at(low)} 4v8M${at(high)} 4v8` }),
    h("circle", { class: "jx-dot", cx: at(accuracy), cy: middle, r: 3.5 }),
  );
}

function flag(note) {
  return note ? h("span", { class: "jx-flag", role: "img", title: note, "aria-label": `Note: ${note}` }, "!") : null;
}

function accuracyCell(row) {
  if (row.accuracy === null) return h("td", {}, h("span", { class: "jx-quiet" }, "no known answers"), flag(row.note));
  const numbers = h(
    "span",
    {},
    h("span", { class: "jx-number" }, percent(row.accuracy)),
    flag(row.note),
    h("span", { class: "jx-kind" }, `${count(row.correct)} of ${count(row.known)}`),
  );
  return h("td", {}, h("div", { class: "jx-accuracy" }, whisker(row), numbers));
}

function tableOf(attributes, names, lines) {
  const heads = names.map((name) => h("th", { scope: "col" }, name));
  return h("table", attributes, h("thead", {}, h("tr", {}, heads)), h("tbody", {}, lines));
}

function countsTable(counts, hasGold) {
  if (!counts.length) return null;
  const right = (line) => h("td", { class: "jx-number" }, line.known ? `${count(line.correct)} of ${count(line.known)}` : "");
  return tableOf(
    { class: "jx-counts", "aria-label": "Votes by class" },
    ["Class", "Votes", "Share", ...(hasGold ? ["Right"] : [])],
    counts.map((line) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, line.name),
        h("td", { class: "jx-number" }, count(line.votes)),
        h("td", { class: "jx-shares" }, shareBar(line.share, 1)),
        hasGold ? right(line) : null,
      ),
    ),
  );
}

const valueOf = (value) => (value === null ? h("span", { class: "jx-missing" }, "missing") : value);

function contentOf(fields) {
  if (!fields.length) return null;
  if (fields.length === 1) return h("div", { class: "jx-text" }, valueOf(fields[0][1]));
  const lines = fields.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, valueOf(value))));
  return h("dl", { class: "jx-fields" }, lines);
}

function conflictLine(row, hasGold) {
  const verdict = row.right === null || row.right === undefined ? null : h("span", { class: "jx-kind" }, row.right ? "right" : "wrong");
  const others = row.others.map(([name, who]) => h("div", {}, h("b", {}, name), " ", h("span", { class: "jx-quiet" }, who)));
  return h(
    "tr",
    {},
    h("td", {}, h("span", { class: "jx-kind" }, `row ${count(row.row)}${row.key ? ` · ${row.key}` : ""}`), contentOf(row.fields)),
    h("td", {}, h("b", {}, row.vote), verdict),
    h("td", {}, others),
    hasGold ? h("td", {}, row.gold === null ? h("span", { class: "jx-quiet" }, "unknown") : row.gold) : null,
  );
}

function render({ model, el }) {
  const twin = model.get("_twin");
  let facts = model.get("_facts");
  let current = null; // the one row that Tab stops at
  let slow = false;
  let patience = 0;
  let typing = 0;
  let scheduled = false;

  const headline = h("h3");
  const basis = h("p", { class: "jx-quiet" });
  const search = h("input", {
    type: "search",
    placeholder: "Search functions",
    "aria-label": "Search functions",
    oninput: () => {
      clearTimeout(typing);
      // Python is asked too: of very many functions only some are here.
      typing = setTimeout(() => tell({ _query: search.value.trim() }), TYPING_MS);
      draw();
    },
  });
  search.value = model.get("_query");
  const told = h("p", { class: "jx-hidden", role: "status", "aria-live": "polite" });
  const head = h("tr");
  const body = h("tbody");
  const more = h("p", { class: "jx-quiet jx-more" });
  const detail = h("section", { class: "jx-detail", hidden: true, id: `${twin}-${Math.random().toString(36).slice(2, 8)}` });
  const root = h(
    "div",
    {
      class: "jx jx-live jx-functions",
      role: "group",
      "aria-label": "Labeling functions",
      "data-lm-suppress-shortcuts": "true",
      onkeydown: onKeydown,
    },
    // The static twin in the output above says the same for readers without a kernel.
    h("style", {}, `.jp-OutputArea-child:has(> * > .${twin}), .${twin} { display: none }`),
    headline,
    basis,
    h("div", { class: "jx-tools" }, search),
    h("div", { class: "jx-scroll" }, h("table", { class: "jx-table", "aria-label": "Labeling functions" }, h("thead", {}, head), body)),
    more,
    detail,
    told,
  );

  // What the person does

  /** Put values into the model and send them to Python. */
  function tell(values) {
    for (const [name, value] of Object.entries(values)) model.set(name, value);
    model.save_changes();
  }

  function waitForAnswer() {
    slow = false;
    clearTimeout(patience);
    patience = setTimeout(() => {
      slow = true;
      draw();
    }, PATIENCE_MS);
  }

  function sortBy(column) {
    const { by, falling } = model.get("_sort");
    const first = Boolean(column.falling);
    // Once more in the other direction, then back to the order of the votes.
    if (by !== column.key) tell({ _sort: { by: column.key, falling: first } });
    else tell({ _sort: falling === first ? { by, falling: !first } : {} });
  }

  function open(name) {
    current = name ?? current;
    waitForAnswer();
    tell({ selected: name, _page: 0 });
  }

  function turn(page) {
    waitForAnswer();
    tell({ _page: page });
  }

  const names = () => [...body.querySelectorAll(".jx-name")];

  function focusName(name) {
    (names().find((button) => button.dataset.focus === `name ${name}`) ?? search).focus();
  }

  function close() {
    const name = model.get("selected");
    open(null);
    draw();
    focusName(name);
  }

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
      search.value = "";
      clearTimeout(typing);
      tell({ _query: "" });
      draw();
      return;
    }
    if (event.key === "Escape" && event.target !== search && model.get("selected") !== null) {
      event.preventDefault();
      close();
      return;
    }
    const all = names();
    const from = all.indexOf(event.target);
    if (from < 0 && !(event.target === search && event.key === "ArrowDown")) return;
    const target = { ArrowDown: from + 1, ArrowUp: from - 1, Home: 0, End: all.length - 1 }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    const button = all[target];
    if (!button) return;
    current = button.textContent;
    for (const other of all) other.tabIndex = other === button ? 0 : -1;
    button.focus();
  }

  // What is drawn

  const columns = () => COLUMNS.filter((column) => column.key !== "accuracy" || facts.has_gold);

  function drawHead() {
    const { by, falling } = model.get("_sort");
    const cells = columns().map((column) => {
      const sorted = column.key === by;
      const attributes = { type: "button", class: "jx-sort", title: column.about, "data-focus": `sort ${column.key}`, onclick: () => sortBy(column) };
      const arrow = sorted ? h("span", { "aria-hidden": "true" }, falling ? " ↓" : " ↑") : null;
      return h("th", { scope: "col", "aria-sort": sorted ? (falling ? "descending" : "ascending") : null }, h("button", attributes, column.name, arrow));
    });
    head.replaceChildren(...cells);
  }

  function shownRows() {
    const { by, falling } = model.get("_sort");
    const query = search.value.trim().toLowerCase();
    const sign = falling ? -1 : 1;
    const order = (a, b) => {
      const [x, y] = [a[by] ?? null, b[by] ?? null];
      if (x === null || y === null) return Number(x === null) - Number(y === null) || a.place - b.place;
      return sign * (typeof x === "string" ? compare(x, y) : x - y) || a.place - b.place;
    };
    return model
      .get("_rows")
      .filter((row) => row.name.toLowerCase().includes(query))
      .sort(order);
  }

  function drawRow(row) {
    const isOpen = row.name === model.get("selected");
    const toggle = () => open(isOpen ? null : row.name);
    const button = h(
      "button",
      {
        type: "button",
        class: "jx-name",
        "aria-expanded": String(isOpen),
        "aria-controls": isOpen ? detail.id : null,
        tabindex: row.name === current ? 0 : -1,
        "data-focus": `name ${row.name}`,
        // The click on the row, below, is for the pointer; this one must not count twice.
        onclick: (event) => {
          event.stopPropagation();
          toggle();
        },
      },
      row.name,
    );
    return h(
      "tr",
      { class: isOpen ? "jx-row jx-open" : "jx-row", onclick: toggle },
      h("th", { scope: "row" }, button, facts.has_gold ? null : flag(row.note)),
      h("td", {}, row.votes_for || "–"),
      ["coverage", "overlaps", "conflicts"].map((name) => h("td", { class: "jx-shares" }, shareBar(row[name], facts.widest))),
      facts.has_gold ? accuracyCell(row) : null,
    );
  }

  function drawMore(shown) {
    const left = facts.total - model.get("_rows").length;
    const searched = search.value.trim() !== "";
    more.hidden = !left || searched;
    if (left) more.textContent = `${count(left)} more functions don't fit into the view: these are the first in this order. Search finds the others; all are in .table.`;
    const text = `${count(shown.length)} of ${count(facts.total)} functions shown`;
    if (told.textContent !== text) told.textContent = text;
  }

  function pager(answer) {
    const button = (name, page, away) =>
      h("button", { type: "button", class: "jx-button", "data-focus": `page ${name}`, "aria-disabled": away ? "true" : null, onclick: () => (away ? null : turn(page)) }, name);
    const first = answer.page * facts.page_size;
    return h(
      "div",
      { class: "jx-pager" },
      h("span", { class: "jx-quiet" }, `${count(first + 1)} to ${count(first + answer.rows.length)} of ${count(answer.n_conflicts)} rows on which others contradict it`),
      answer.n_pages > 1
        ? [button("Previous", answer.page - 1, answer.page === 0), button("Next", answer.page + 1, answer.page + 1 >= answer.n_pages)]
        : null,
    );
  }

  function conflicts(answer) {
    if (!answer.n_conflicts) return h("p", { class: "jx-quiet jx-more" }, "No other function contradicts it.");
    return [
      pager(answer),
      tableOf(
        { class: "jx-conflicts", "aria-label": "Conflicting rows" },
        ["Row", "Its vote", "Others say", ...(facts.has_gold ? ["Known"] : [])],
        answer.rows.map((row) => conflictLine(row, facts.has_gold)),
      ),
    ];
  }

  function drawDetail() {
    const name = model.get("selected");
    detail.hidden = name === null;
    if (name === null) {
      detail.replaceChildren();
      return;
    }
    const answer = model.get("_detail");
    const isAbout = answer.voter === name;
    const isCurrent = isAbout && answer.page === model.get("_page");
    if (isCurrent) clearTimeout(patience);
    const waiting = slow ? "The kernel hasn't answered yet. It may be busy, or not be running." : "Loading…";
    detail.setAttribute("aria-label", `Function ${name}`);
    detail.setAttribute("aria-busy", String(!isCurrent));
    const closing = h("button", { type: "button", class: "jx-button", "data-focus": "close", onclick: close }, "Close", h("kbd", { "aria-hidden": "true" }, "Esc"));
    detail.replaceChildren(
      h("header", {}, h("h4", {}, name), closing),
      ...(isAbout && answer.note ? [h("p", { class: "jx-note" }, answer.note)] : []),
      ...(isCurrent ? [] : [h("p", { class: "jx-quiet", role: "status" }, waiting)]),
      ...(isAbout ? [countsTable(answer.counts, facts.has_gold), conflicts(answer)].flat().filter(Boolean) : []),
    );
  }

  function draw() {
    const held = root.contains(document.activeElement) ? document.activeElement.dataset.focus : undefined;
    facts = model.get("_facts");
    headline.textContent = facts.headline;
    basis.textContent = facts.basis;
    drawHead();
    const shown = shownRows();
    if (!shown.some((row) => row.name === current)) current = shown[0]?.name ?? null;
    body.replaceChildren(...shown.map(drawRow));
    if (!shown.length) {
      const text = facts.total ? "No function fits." : "There are no functions yet.";
      body.append(h("tr", {}, h("td", { class: "jx-empty", colspan: columns().length }, text)));
    }
    drawMore(shown);
    drawDetail();
    // What had the keyboard was made anew.
    if (held) ([...root.querySelectorAll("[data-focus]")].find((node) => node.dataset.focus === held) ?? search).focus();
  }

  /** Values that arrive together are drawn once. */
  function schedule() {
    if (scheduled) return;
    scheduled = true;
    queueMicrotask(() => {
      scheduled = false;
      draw();
    });
  }

  const watched = ["_facts", "_rows", "_sort", "_page", "_detail", "selected"].map((name) => `change:${name}`);
  for (const name of watched) model.on(name, schedule);
  current = model.get("selected");
  draw();
  el.append(root);

  return () => {
    clearTimeout(patience);
    clearTimeout(typing);
    for (const name of watched) model.off(name, schedule);
  };
}

export default { render };
