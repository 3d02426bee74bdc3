// The history of DriftView: a heat map of chunks and features, the timeline of one feature, and thresholds to move.

const LEVELS = [0.5, 0.8, 1, 2]; // where the levels of the heat map begin, as shares of the threshold
const thresholdAt = (line, place) => (Array.isArray(line.thresholds) ? line.thresholds[place] : line.thresholds);

/** What a line would have said at its thresholds times a factor, or at one of the person's own. */
function replay(line, factor, own) {
  const stored = new Set(line.alarms);
  const isStored = factor === 1 && own === undefined;
  const places = line.values.map((value, place) => {
    const threshold = thresholdAt(line, place);
    // An alarm below its threshold fell out of a band: there, a looser threshold is a lower one.
    const isBelow = own === undefined && stored.has(place) && threshold !== null && value < threshold;
    const limit = own ?? (threshold === null ? null : isBelow ? threshold / factor : threshold * factor);
    if (value === null || limit === null) return { value, limit, alarm: isStored && stored.has(place), share: null };
    const alarm = isStored ? stored.has(place) : isBelow ? value <= limit : value >= limit;
    return { value, limit, alarm, share: limit > 0 ? (isBelow ? limit / value : value / limit) : null };
  });
  return { ...line, places, n: places.filter((place) => place.alarm).length };
}

function countAlarms(lines) {
  const chunks = new Set(lines.flatMap((line) => line.places.flatMap((place, chunk) => (place.alarm ? [chunk] : []))));
  return { alarms: lines.reduce((sum, line) => sum + line.n, 0), chunks: chunks.size };
}

function sentenceOf(now, before, total, isChanged) {
  const text = `${plural(now.alarms, "alarm")} in ${now.chunks} of ${plural(total, "chunk")}`;
  if (!isChanged) return `${text}.`;
  return now.alarms === before.alarms && now.chunks === before.chunks
    ? `${text}, as many as with the stored thresholds.`
    : `${text} instead of ${before.alarms.toLocaleString("en")} in ${before.chunks}.`;
}

const levelOf = (share) => (share === null ? 0 : LEVELS.filter((least) => share >= least).length);

const triangle = (x, y, size) => `M${x} ${y - size}l${size} ${1.8 * size}h${-2 * size}z`;
const dot = (x, y, radius) => `M${x - radius} ${y}a${radius} ${radius} 0 1 0 ${2 * radius} 0a${radius} ${radius} 0 1 0 ${-2 * radius} 0z`;

/** The values of one feature by chunk, its thresholds as steps, its alarms as triangles. */
function timeline(line, chunks, chosen, choose) {
  const [width, height, left, bottom] = [880, 210, 52, 28];
  const base = height - bottom;
  const known = (values) => values.filter((value) => value !== null);
  const most = Math.max(...known(line.places.map((place) => place.value)), 1e-12);
  // A threshold far above every value must not press them flat.
  const top = 1.1 * Math.max(most, Math.min(Math.max(...known(line.places.map((place) => place.limit)), 0), 3 * most));
  const step = (width - left) / chunks.length;
  const size = Math.min(4.5, Math.max(2, step / 3));
  const x = (place) => left + (place + 0.5) * step;
  const y = (value) => Math.min(Math.max(base - (value / top) * (base - 8), 2), base);
  const pieces = (of, draw) => line.places.map((place, at) => (of(place) === null ? "" : draw(at && of(line.places[at - 1]) !== null ? "L" : "M", at, y(of(place))))).join("");
  const marks = (isAlarm, draw) => line.places.map((place, at) => (place.value !== null && place.alarm === isAlarm ? draw(x(at), y(place.value)) : "")).join("");
  const every = Math.max(1, Math.ceil((Math.max(...chunks.map((chunk) => Math.min(chunk.length, 16))) * 6.4 + 12) / step));
  return h(
    "svg",
    { class: "jx-timeline", role: "img", viewBox: `0 0 ${width} ${height}` },
    titled(`${line.feature}: ${line.method} by chunk with its threshold, ${plural(line.n, "alarm")}. The numbers follow in a table.`),
    chosen === null ? null : h("rect", { class: "jx-band", x: x(chosen) - step / 2, y: 0, width: step, height: base }),
    gridOf(ticks(top), y, (tick) => number(tick), left, width),
    h("path", { class: "jx-limit", d: pieces((place) => place.limit, (move, at, up) => `${move}${x(at) - step / 2} ${up}h${step}`) }),
    h("path", { class: "jx-line", d: pieces((place) => place.value, (move, at, up) => `${move}${x(at)} ${up}`) }),
    h("path", { class: "jx-dot", d: marks(false, (across, up) => dot(across, up, size - 1)) }),
    h("path", { class: "jx-alarm-dot", d: marks(true, (across, up) => triangle(across, up, size + 1)) }),
    h("path", { class: "jx-axis", d: `M${left} ${base}H${width}` }),
    chunks.map((chunk, at) => (at % every || x(at) + 3 * Math.min(chunk.length, 16) > width ? null : h("text", { x: x(at), y: base + 18, "text-anchor": "middle" }, shorten(chunk, 16)))),
    chunks.map((chunk, at) =>
      h("rect", { class: "jx-hit", x: x(at) - step / 2, y: 0, width: step, height: base, onclick: () => choose(at) }, titled(placeText(line, chunks, at))),
    ),
  );
}

function placeText(line, chunks, at) {
  const { value, limit, alarm } = line.places[at];
  if (value === null) return `chunk ${chunks[at]}: no value`;
  return `chunk ${chunks[at]}: ${line.method} ${number(value)}, ${limit === null ? "no threshold" : `threshold ${number(limit)}`}${alarm ? ", ▲ alarm" : ""}`;
}

function timelineNumbers(line, chunks) {
  const lines = line.places.map(({ value, limit, alarm }, at) => lineOf(chunks[at], number(value), number(limit), alarm ? "▲ alarm" : ""));
  return h("div", { class: "jx-scroll" }, tableOf({ "aria-label": "Values by chunk" }, ["Chunk", "Value", "Threshold", "Alarm"], lines));
}

function timelineLegend() {
  const sample = (kind, d) => h("svg", { width: 20, height: 12, "aria-hidden": "true" }, h("path", { class: kind, d }));
  return h(
    "p",
    { class: "jx-legend" },
    sample("jx-dot", dot(10, 6, 3.5)), "value", sample("jx-limit", "M0 6h20"), "threshold", sample("jx-alarm-dot", triangle(10, 6, 5)), "alarm",
  );
}

function heatLegend() {
  const names = ["below half of the threshold", ...LEVELS.map((least) => `from ${least}`)];
  const swatch = (level) => h("svg", { width: 12, height: 12, "aria-hidden": "true" }, h("path", { class: `jx-level jx-level-${level}`, d: "M0 0h12v12h-12z" }));
  return h("p", { class: "jx-legend jx-key" }, names.map((name, level) => h("span", {}, swatch(level), name)), h("span", {}, "▲ alarm"));
}

/** The part of the view about time, with its own state; null where there is no history. */
function historyOf(history, prefix) {
  const { chunks, lines, total, left } = history;
  if (!lines?.length) return null;
  const stored = lines.map((line) => replay(line, 1, undefined));
  const before = countAlarms(stored);
  const owns = new Map(); // thresholds of the person's own, by line
  let factor = 1;
  let shown = stored;
  let line = 0;
  let chunk = null;
  let at = [0, 0]; // the one cell that Tab stops at

  const isTwice = (feature) => lines.filter((other) => other.feature === feature).length > 1;
  const nameOf = (place) => (isTwice(lines[place].feature) ? `${lines[place].feature} · ${lines[place].method}` : lines[place].feature);

  const slider = h("input", {
    type: "range", min: -2, max: 2, step: 0.1, value: 0, id: `${prefix}-factor`,
    oninput: () => {
      factor = 2 ** Number(slider.value);
      update();
    },
  });
  const factorText = h("output", { class: "jx-number", for: `${prefix}-factor` });
  const own = h("input", {
    type: "number", step: "any", min: 0,
    oninput: () => {
      const value = own.valueAsNumber;
      if (value > 0) owns.set(line, value);
      else owns.delete(line);
      update();
    },
  });
  const ownLabel = h("span");
  const reset = h(
    "button",
    {
      type: "button", class: "jx-button",
      onclick: () => {
        factor = 1;
        slider.value = 0;
        own.value = "";
        owns.clear();
        update();
        slider.focus(); // this button can't keep it
      },
    },
    "As stored",
  );
  const sentence = h("p", { class: "jx-sentence", role: "status", "aria-live": "polite" });
  const heading = h("h4");
  const picture = h("div", { class: "jx-picture" });
  const where = h("p", { class: "jx-where-chunk", role: "status", "aria-live": "polite" });
  const table = h("div");
  const cells = lines.map((_, row) => chunks.map((_, column) => h("td", { role: "gridcell", onclick: () => choose(row, column) })));
  const width = Math.min(84, Math.max(8, Math.floor(800 / chunks.length)));
  const every = Math.max(1, Math.ceil((Math.max(...chunks.map((each) => each.length)) * 6.4 + 16) / width));
  const grid = h(
    "table",
    { class: "jx-heat", role: "grid", "aria-label": "Alarms by feature and chunk", style: `--jx-cell: ${width}px`, onkeydown: onGridKey },
    h("thead", {}, h("tr", { role: "row" }, h("th", { scope: "col" }, "Feature / chunk"), chunks.map((each, place) =>
      place % every ? null : h("th", { scope: "col", colspan: Math.min(every, chunks.length - place) }, place + every > chunks.length ? null : h("span", {}, each))))),
    h("tbody", {}, lines.map((each, row) => h("tr", { role: "row" }, h("th", { scope: "row", role: "rowheader", title: each.feature, onclick: () => choose(row, chunk) }, h("span", {}, nameOf(row))), cells[row]))),
  );
  const notes = [
    lines.length < total ? `${plural(total - lines.length, "more feature")} with fewer alarms ${total - lines.length === 1 ? "is" : "are"} not in the view, and not counted above.` : null,
    left ? `${plural(left, "older chunk")} ${left === 1 ? "is" : "are"} not in the view.` : null,
  ].filter(Boolean);
  const section = h(
    "section",
    { class: "jx-history", "aria-label": "Over time" },
    h("h4", {}, "Over time"),
    sentence,
    h("div", { class: "jx-tools" }, h("label", {}, "What if thresholds were", slider, factorText), h("label", {}, ownLabel, own), reset),
    h("div", { class: "jx-scroll" }, grid),
    heatLegend(),
    notes.length ? h("p", { class: "jx-quiet jx-more" }, notes.join(" ")) : null,
    heading,
    timelineLegend(),
    picture,
    where,
    details("Numbers", false, table),
  );

  function choose(row, column) {
    const isOther = row !== line;
    [line, chunk] = [row, column];
    at = [row, column ?? 0];
    if (isOther) own.value = owns.get(line) ?? "";
    update();
  }

  function onGridKey(event) {
    const [row, column] = at;
    if (event.key === "Enter" || event.key === " ") choose(row, column);
    else {
      const [down, right] = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1], Home: [0, -column], End: [0, chunks.length - 1 - column] }[event.key] ?? [];
      if (down === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
      const target = [row + down, column + right];
      if (!cells[target[0]]?.[target[1]]) return event.preventDefault();
      at = target;
      rove(cells.flat(), cells[target[0]][target[1]]);
    }
    event.preventDefault();
  }

  function drawCells() {
    shown.forEach((each, row) =>
      each.places.forEach((place, column) => {
        const cell = cells[row][column];
        const isChosen = row === line && column === chunk;
        cell.className = `jx-cell jx-level-${levelOf(place.share)}`;
        cell.textContent = place.alarm ? "▲" : place.value === null ? "·" : "";
        cell.tabIndex = row === at[0] && column === at[1] ? 0 : -1;
        cell.setAttribute("aria-selected", String(isChosen));
        cell.setAttribute("aria-label", `${nameOf(row)}, ${placeText(each, chunks, column)}`);
        cell.title = `${nameOf(row)}\n${placeText(each, chunks, column)}`;
      }),
    );
  }

  function update() {
    shown = lines.map((each, place) => replay(each, factor, owns.get(place)));
    const isChanged = factor !== 1 || owns.size > 0;
    sentence.textContent = sentenceOf(countAlarms(shown), before, chunks.length, isChanged);
    factorText.textContent = `× ${number(factor)}`;
    slider.setAttribute("aria-valuetext", `times ${number(factor)}`);
    ownLabel.textContent = `Threshold of ${shorten(nameOf(line), 40)}`;
    own.placeholder = number(shown[line].places.find((place) => place.limit !== null)?.limit ?? null);
    reset.disabled = !isChanged;
    heading.replaceChildren(nameOf(line), h("span", { class: "jx-quiet" }, ` ${shown[line].method}`));
    picture.replaceChildren(timeline(shown[line], chunks, chunk, (place) => choose(line, place)));
    where.textContent = chunk === null ? "" : placeText(shown[line], chunks, chunk);
    table.replaceChildren(timelineNumbers(shown[line], chunks));
    drawCells();
  }

  update();
  return {
    section,
    /** Show a feature that was opened in the table, where it has a history. */
    choose: (feature) => {
      const row = lines.findIndex((each) => each.feature === feature);
      if (row >= 0 && lines[line].feature !== feature) choose(row, chunk);
    },
  };
}
