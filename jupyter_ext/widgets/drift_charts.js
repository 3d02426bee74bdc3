// What DriftView draws: pure functions from numbers to elements. The three files of the view are one module.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element; names that belong to SVG are made there. Text is always set as text, never parsed. */
function h(tag, attributes = {}, ...children) {
  const isSvg = ["svg", "path", "rect", "text", "title", "pattern"].includes(tag);
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
const plural = (n, one) => `${n.toLocaleString("en")} ${n === 1 ? one : `${one}s`}`;
const shorten = (text, most = 17) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
// No p-value is 0: below a ten-thousandth its size says nothing more.
const probability = (value) => (value !== null && value < 1e-4 ? "<0.0001" : number(value));
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const compare = new Intl.Collator("en", { numeric: true }).compare;

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

const titled = (label, ...children) => [h("title", {}, label), children];

/** Move the one place at which Tab stops among elements that belong together. */
function rove(elements, target) {
  if (!target) return;
  for (const element of elements) element.tabIndex = element === target ? 0 : -1;
  target.focus();
}

function tableOf(attributes, names, lines) {
  const heads = names.map((name) => h("th", { scope: "col" }, name));
  return h("table", attributes, h("thead", {}, h("tr", {}, heads)), h("tbody", {}, lines));
}

const lineOf = (first, ...cells) => h("tr", {}, h("th", { scope: "row" }, first), cells.map((cell) => h("td", {}, cell)));

const details = (name, open, ...children) => h("details", { open }, h("summary", {}, name), children);

const gridOf = (values, y, name, left, width) =>
  values.map((value) => [
    h("path", { class: "jx-grid", d: `M${left} ${y(value)}H${width}` }),
    h("text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, name(value)),
  ]);

/** The histograms of one feature, large: two bars a bin, and over each bin a button that asks for its rows. */
function chart(row, choose) {
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
  const picture = h(
    "svg",
    { role: "img", viewBox: `0 0 ${width} ${height}` },
    titled(`${row.feature}: share of the rows in each bin, reference and current. The numbers follow in a table.`),
    gridOf(ticks(top), (tick) => base - tick * scale, (tick) => `${Number((100 * tick).toPrecision(2))} %`, left, width),
    h("path", { class: "jx-ref", d: barPath(reference, start, step, bar - 1, base, scale) }),
    h("path", { class: "jx-cur", d: barPath(current, start + bar, step, bar - 1, base, scale) }),
    h("path", { class: "jx-axis", d: `M${left} ${base}H${width}` }),
    bins.map((bin, place) =>
      place % every ? null : h("text", { x: left + (place + 0.5) * step, y: base + 18, "text-anchor": "middle" }, shorten(bin)),
    ),
  );
  const share = (length, of) => `${((100 * length) / of).toFixed(3)}%`;
  const buttons = bins.map((bin, place) =>
    h("button", {
      type: "button",
      class: "jx-bin",
      tabindex: place ? -1 : 0,
      "aria-pressed": "false",
      "aria-label": `${bin}: reference ${percent(reference[place])}, current ${percent(current[place])}`,
      title: `${bin}\nreference ${percent(reference[place])}\ncurrent ${percent(current[place])}`,
      style: `left: ${share(left + place * step, width)}; width: ${share(step, width)}; height: ${share(base, height)}`,
      onclick: () => choose(row, place),
    }),
  );
  return h("div", { class: "jx-chart" }, picture, h("div", { role: "group", "aria-label": "Bins: Enter shows the rows" }, buttons));
}

function numbers(row) {
  const { bins, reference, current } = row.histogram;
  const change = (place) => signed(100 * (current[place] - reference[place]), (points) => points.toFixed(1));
  const isNamed = row.kind !== "numeric" && row.kind !== "datetime";
  const lines = bins.map((bin, place) => lineOf(bin, percent(reference[place]), percent(current[place]), change(place)));
  // Of categories the names matter as much as the picture, where only some of them have room.
  const names = [isNamed ? "Category" : "Bin", "Reference", "Current", "Change (points)"];
  return details(isNamed ? "Top categories" : "Numbers", isNamed, tableOf({}, names, lines));
}

const signed = (value, write) => `${value < 0 ? "−" : "+"}${write(Math.abs(value))}`;

const moment = (seconds, digits = 16) => new Date(1000 * seconds).toISOString().slice(0, digits).replace("T", " ");

/** How values of a kind are written, and how differences of them are. */
function writers(kind, span) {
  if (kind !== "datetime") return { value: number, difference: (gap) => signed(gap, number) };
  const isLong = span > 2 * 86400;
  return {
    value: (seconds) => moment(seconds, isLong ? 10 : 16),
    difference: (gap) => signed(gap / (isLong ? 86400 : 3600), number) + (isLong ? " days" : " hours"),
  };
}

/** The shares of either side up to each value, drawn through their quantiles. */
function ecdf(row, ranks) {
  const [reference, current] = row.histogram.quantiles;
  const [width, height, left, bottom] = [430, 210, 44, 28];
  const low = Math.min(reference[0], current[0]);
  const span = Math.max(reference.at(-1), current.at(-1)) - low;
  const { value } = writers(row.kind, span);
  const base = height - bottom;
  const x = (at) => left + (span ? (at - low) / span : 0.5) * (width - left - 20);
  const y = (share) => base - share * (base - 8);
  const curve = (values) => values.map((at, place) => `${place ? "L" : "M"}${x(at).toFixed(1)} ${y(ranks[place]).toFixed(1)}`).join("");
  return h(
    "svg",
    { role: "img", viewBox: `0 0 ${width} ${height}` },
    titled(`${row.feature}: share of the values up to each value, reference and current. Quantiles follow in a table.`),
    gridOf([0, 0.25, 0.5, 0.75, 1], y, (share) => `${100 * share} %`, left, width),
    h("path", { class: "jx-curve jx-curve-ref", d: curve(reference) }),
    h("path", { class: "jx-curve jx-curve-cur", d: curve(current) }),
    [0, 0.5, 1].map((part) => {
      const anchor = ["start", "middle", "end"][2 * part];
      return span || part === 0.5 ? h("text", { x: x(low + part * span), y: base + 18, "text-anchor": anchor }, value(low + part * span)) : null;
    }),
  );
}

/** Five quantiles of both sides, and how far each moved. */
function shifts(row, ranks) {
  const [reference, current] = row.histogram.quantiles;
  const { value, difference } = writers(row.kind, Math.max(reference.at(-1), current.at(-1)) - Math.min(reference[0], current[0]));
  const places = [0.05, 0.25, 0.5, 0.75, 0.95].map((rank) => ranks.findIndex((known) => Math.abs(known - rank) < 1e-9));
  const lines = places.map((place) =>
    lineOf(`${Math.round(100 * ranks[place])} %`, value(reference[place]), value(current[place]), difference(current[place] - reference[place])),
  );
  return tableOf({ class: "jx-quantiles", "aria-label": "Quantiles" }, ["Quantile", "Reference", "Current", "Shift"], lines);
}
