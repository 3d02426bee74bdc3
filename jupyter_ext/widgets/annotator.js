// The face of Annotator. It holds no votes: it sends what the person does, and draws what Python says is so.
// A vote is shown as saved only after Python has answered that it is.

const IMAGES_KEPT = 8;
const PATIENCE_MS = 6000;

/** Make an element. Text is always set as text, never parsed. */
function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") node.addEventListener("click", value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

const plural = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

function fieldList(fields) {
  if (!fields.length) return null;
  const wide = fields.some(([, value]) => value !== null && value.length > 40);
  return h(
    "dl",
    { class: wide ? "jx-fields jx-wide" : "jx-fields" },
    fields.map(([name, value]) =>
      h(
        "div",
        {},
        h("dt", {}, name),
        value === null ? h("dd", { class: "jx-missing" }, "missing") : h("dd", {}, value),
      ),
    ),
  );
}

function render({ model, el }) {
  const facts = model.get("_facts");
  let state = model.get("_state");
  let place = state.place; // in the queue; null when all is done, undefined while that is unknown
  let helpOpen = false;
  let complaint = null; // why the last action failed, where that isn't about an unsaved vote
  let slow = false;
  let patience = 0;
  const pending = new Map(); // request id -> {place, label} or {}
  const images = new Map(); // place -> {url} or {problem}
  const asked = new Set();
  const prefix = Math.random().toString(36).slice(2, 8);
  let count = 0;

  // The parts

  const save = h("div", { class: "jx-save", role: "status", "aria-live": "polite" });
  const fill = h("span");
  const bar = h("div", {
    class: "jx-bar",
    role: "progressbar",
    "aria-label": "Progress",
    "aria-valuemin": 0,
    "aria-valuemax": facts.total,
  }, fill);
  const labelled = h("span");
  const where = h("span", { class: "jx-number" });
  const item = h("section", { class: "jx-item", "aria-label": "Item", tabindex: 0 });
  const hint = h("p", { class: "jx-hint" });
  const choices = h("div", { class: "jx-choices", role: "radiogroup", "aria-label": "Class" });
  const buttons = facts.classes.map((name, index) => {
    const counter = h("span", { class: "jx-count" });
    const [key] = facts.hotkeys[index];
    const button = h(
      "button",
      {
        type: "button",
        class: "jx-choice",
        role: "radio",
        "aria-keyshortcuts": facts.hotkeys[index].join(" ") || null,
        onclick: () => vote(name, true),
      },
      key ? h("kbd", { "aria-hidden": "true" }, key) : null,
      h("span", {}, name),
      counter,
    );
    return { name, button, counter };
  });
  choices.append(...buttons.map(({ button }) => button));
  const back = h("button", { type: "button", class: "jx-button", onclick: () => previous() }, h("kbd", { "aria-hidden": "true" }, "←"), "Previous");
  const skipping = h("button", { type: "button", class: "jx-button", onclick: () => skip() }, "Skip", h("kbd", { "aria-hidden": "true" }, "Space"));
  const undoing = h("button", { type: "button", class: "jx-button", onclick: () => undo() }, "Undo", h("kbd", { "aria-hidden": "true" }, "u"));
  const helping = h("button", { type: "button", class: "jx-button", "aria-expanded": "false", onclick: () => help() }, "Keys", h("kbd", { "aria-hidden": "true" }, "?"));
  const why = h("span");
  const retrying = h("button", { type: "button", class: "jx-button", onclick: () => retry() }, "Retry", h("kbd", { "aria-hidden": "true" }, "r"));
  const alert = h("div", { class: "jx-alert", role: "alert", hidden: true }, why, retrying);
  const line = (keys, text) => h("li", {}, keys.flatMap((key) => [h("kbd", {}, key), " "]), text);
  const keys = h(
    "section",
    { class: "jx-keys", "aria-label": "Keys", hidden: true },
    h(
      "ul",
      {},
      facts.classes.map((name, index) => (facts.hotkeys[index].length ? line(facts.hotkeys[index], name) : null)).filter(Boolean),
      line(["Space"], "skip to the next open item"),
      line(["←", "→"], "previous, next"),
      line(["↑", "↓"], "move among the classes"),
      line(["u", "Ctrl Z"], "undo"),
      line(["r"], "retry what isn't saved"),
      line(["Esc"], "close this list"),
    ),
  );
  const root = h(
    "div",
    {
      class: "jx jx-live jx-annotator",
      role: "group",
      "aria-label": `Annotator: ${facts.title}`,
      tabindex: 0,
      "data-lm-suppress-shortcuts": "true",
    },
    // The static twin in the output above says the same for readers without a kernel.
    h("style", {}, `.jp-OutputArea-child:has(> * > .${model.get("_twin")}), .${model.get("_twin")} { display: none }`),
    h("header", { class: "jx-head" }, h("h3", {}, facts.title), save),
    bar,
    h("div", { class: "jx-where" }, labelled, where),
    item,
    hint,
    choices,
    alert,
    h("footer", { class: "jx-foot" }, back, skipping, undoing, helping),
    keys,
  );

  // What the person does

  function send(message, about = {}) {
    const id = `${prefix}-${++count}`;
    complaint = null;
    pending.set(id, about);
    model.send({ ...message, id });
    clearTimeout(patience);
    patience = setTimeout(() => {
      slow = pending.size > 0;
      draw();
    }, PATIENCE_MS);
  }

  function vote(label, byPointer = false) {
    const here = place;
    if (!state.items.some((known) => known.place === here)) return;
    // The next item is usually here already: show it while the vote travels. Where it isn't, nothing is shown until
    // Python says what comes, so that a fast second stroke can't hit the item that has just been answered.
    const next = state.place === here ? state.items.find((known) => known.place !== here && known.label === null) : null;
    send({ do: "vote", place: here, label }, { place: here, label });
    place = next?.place;
    if (byPointer) root.focus();
    draw();
  }

  function show(target) {
    send({ do: "show", place: target });
    draw();
  }

  const previous = () => {
    if (place === null) show(facts.total - 1);
    else if (place > 0) show(place - 1);
  };
  const next = () => {
    if (Number.isInteger(place) && place + 1 < facts.total) show(place + 1);
  };
  const skip = () => {
    if (!Number.isInteger(place) || state.labelled === facts.total) return;
    send({ do: "skip", place });
    draw();
  };
  const undo = () => {
    if (!state.can_undo && !pending.size) return;
    send({ do: "undo" });
    draw();
  };
  const retry = () => {
    if (!state.n_unsaved) return;
    send({ do: "retry" });
    draw();
  };
  const help = (open = !helpOpen) => {
    helpOpen = open;
    draw();
  };

  function moveAmongChoices(step) {
    const active = buttons.findIndex(({ button }) => button === root.ownerDocument.activeElement);
    const from = active >= 0 ? active : step > 0 ? -1 : 0;
    buttons[(from + step + buttons.length) % buttons.length].button.focus();
  }

  function onKeydown(event) {
    // JupyterLab must not take these keys as its own; Tab still leaves the view.
    event.stopPropagation();
    if (event.isComposing || event.altKey) return;
    const onButton = event.target.closest("button");
    const act = commandOf(event, onButton);
    if (!act) return;
    event.preventDefault();
    act();
  }

  function commandOf(event, onButton) {
    const key = event.key;
    if (event.ctrlKey || event.metaKey) return key.toLowerCase() === "z" && !event.shiftKey ? undo : null;
    const lower = key.toLowerCase();
    const chosen = facts.hotkeys.findIndex((all) => all.includes(lower));
    if (chosen >= 0) return event.repeat ? () => {} : () => vote(facts.classes[chosen]);
    if (key === " ") return onButton ? null : skip;
    if (key === "Escape") return helpOpen ? () => help(false) : null;
    return { ArrowLeft: previous, ArrowRight: next, ArrowUp: () => moveAmongChoices(-1), ArrowDown: () => moveAmongChoices(1), u: undo, r: retry, "?": help }[
      key.length === 1 ? lower : key
    ];
  }

  // What Python says

  function onMessage(message, buffers) {
    if ("image" in message) {
      keepImage(message, buffers);
      draw();
      return;
    }
    if (!pending.delete(message.answer)) return;
    if (message.problem) complaint = message.problem;
    if (!pending.size) {
      slow = false;
      clearTimeout(patience);
    }
    onState();
  }

  function onState() {
    state = model.get("_state");
    // While votes are on their way, the place shown is ahead of the one Python knows.
    if (!votesUnderWay()) place = state.place;
    draw();
  }

  const votesUnderWay = () => [...pending.values()].some((about) => about.label);

  function keepImage(message, buffers) {
    asked.delete(message.image);
    const url = message.problem ? null : URL.createObjectURL(new Blob([buffers[0]], { type: message.media }));
    images.set(message.image, { url, problem: message.problem });
    for (const old of [...images.keys()].slice(0, Math.max(0, images.size - IMAGES_KEPT))) {
      if (old === place) continue;
      URL.revokeObjectURL(images.get(old).url);
      images.delete(old);
    }
  }

  function askImages() {
    if (facts.kind !== "image") return;
    for (const known of state.items) {
      if (images.has(known.place) || asked.has(known.place)) continue;
      asked.add(known.place);
      model.send({ do: "image", place: known.place });
    }
  }

  // What is drawn

  let drawn = null; // what the item area shows now, so that drawing again keeps its scroll position

  function drawItem(shown) {
    const image = shown && facts.kind === "image" ? images.get(shown.place) : null;
    const what = JSON.stringify([place ?? String(place), shown ? shown.key : null, image ?? null, place === null ? state.counts : null]);
    if (what === drawn) return;
    drawn = what;
    item.scrollTop = 0;
    if (place === null) item.replaceChildren(doneNote());
    else if (!shown) item.replaceChildren(h("p", { class: "jx-quiet" }, "Loading…"));
    else item.replaceChildren(...[mainPart(shown, image), fieldList(shown.fields)].filter(Boolean));
  }

  function mainPart(shown, image) {
    if (facts.kind === "text") {
      const more = shown.more ? h("span", { class: "jx-quiet" }, ` … ${plural(shown.more, "more character")}`) : null;
      return h("div", { class: "jx-text" }, shown.text || h("span", { class: "jx-missing" }, "missing"), more);
    }
    if (facts.kind !== "image") return null;
    if (!image) return h("div", { class: "jx-image jx-quiet" }, "Loading the image…");
    if (image.problem) return h("div", { class: "jx-image jx-quiet" }, image.problem);
    const picture = h("img", { src: image.url, alt: `Item ${shown.key}` });
    // Small pictures, like digits of 28 pixels, are enlarged without blur.
    picture.addEventListener("load", () => {
      if (picture.naturalHeight >= 96) return;
      picture.classList.add("jx-pixels");
      picture.style.height = "240px";
    });
    return h("div", { class: "jx-image" }, picture);
  }

  function doneNote() {
    return h(
      "div",
      { class: "jx-done" },
      h("h3", {}, `All ${plural(facts.total, "item")} labelled`),
      h("p", {}, "Go back with ← to look at them again or to change your mind."),
    );
  }

  function drawSaveState() {
    const waiting = votesUnderWay();
    const unsaved = state.n_unsaved;
    let text = state.labelled ? "All votes saved" : "";
    if (waiting) text = slow ? "Waiting for the kernel…" : "Saving…";
    else if (unsaved) text = `${plural(unsaved, "vote")} not saved`;
    if (save.textContent !== text) save.textContent = text;
    save.dataset.state = unsaved ? "unsaved" : waiting ? "saving" : "saved";
    let reason = "";
    if (slow) reason = "The kernel hasn't answered yet. It may be busy; your votes are sent and wait for it.";
    else if (unsaved) reason = `${unsaved === 1 ? "One vote is" : `${unsaved} votes are`} not saved. ${state.problem}`;
    else if (complaint) reason = complaint;
    // A button that goes away must not take the keyboard with it.
    const held = root.ownerDocument.activeElement === retrying;
    alert.hidden = !reason;
    retrying.hidden = !unsaved || slow;
    if (held && (alert.hidden || retrying.hidden)) root.focus();
    if (why.textContent !== reason) why.textContent = reason;
  }

  function drawChoices(shown) {
    const sent = [...pending.values()].findLast((about) => about.label && about.place === place);
    const chosen = shown ? (sent?.label ?? shown.unsaved ?? shown.label) : null;
    const suggestion = shown?.suggestion ?? null;
    const focusable = Math.max(0, facts.classes.indexOf(chosen));
    buttons.forEach(({ name, button, counter }, index) => {
      button.setAttribute("aria-checked", String(name === chosen));
      button.tabIndex = index === focusable ? 0 : -1;
      button.classList.toggle("jx-suggested", suggestion?.label === name && name !== chosen);
      counter.textContent = state.counts[index] ? `×${state.counts[index].toLocaleString("en")}` : "";
      counter.setAttribute("aria-label", plural(state.counts[index], "vote"));
    });
    const share = suggestion?.shares ? ` · ${Math.round(100 * Math.max(...suggestion.shares))} %` : "";
    hint.hidden = !suggestion;
    hint.textContent = suggestion ? `Suggested: ${suggestion.label}${share}` : "";
    choices.hidden = place === null;
  }

  function draw() {
    const shown = place === null ? null : state.items.find((known) => known.place === place);
    askImages();
    drawItem(shown);
    drawChoices(shown);
    drawSaveState();
    const text = `${state.labelled.toLocaleString("en")} of ${facts.total.toLocaleString("en")} labelled`;
    labelled.replaceChildren(h("b", {}, text));
    bar.setAttribute("aria-valuenow", state.labelled);
    bar.setAttribute("aria-valuetext", text);
    fill.style.width = `${(100 * state.labelled) / facts.total}%`;
    where.textContent = shown ? `item ${(place + 1).toLocaleString("en")} · ${shown.key}` : "";
    back.disabled = place === 0;
    skipping.disabled = place === null || state.labelled === facts.total;
    undoing.disabled = !state.can_undo;
    keys.hidden = !helpOpen;
    helping.setAttribute("aria-expanded", String(helpOpen));
  }

  function onClick(event) {
    if (!event.target.closest("button, a, input, [tabindex='0']:not(.jx)") && !root.ownerDocument.getSelection()?.toString()) root.focus();
  }

  root.addEventListener("keydown", onKeydown);
  root.addEventListener("click", onClick);
  model.on("change:_state", onState);
  model.on("msg:custom", onMessage);
  draw();
  el.append(root);

  return () => {
    clearTimeout(patience);
    model.off("change:_state", onState);
    model.off("msg:custom", onMessage);
    for (const { url } of images.values()) if (url) URL.revokeObjectURL(url);
  };
}

export default { render };
