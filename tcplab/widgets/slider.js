// The page's side of ControlRow: one thing to turn, made of the browser's own inputs.
//
// What is turned is seen at once: the timeline of the same explorer may have a picture for the new value
// already (timeline.js), and the value travels to the notebook kernel meanwhile.

let made = 0;

/** The slider's position: the step nearest to a value. */
function nearest(steps, value) {
  const away = steps.map((step) => Math.abs(step - value));
  return away.indexOf(Math.min(...away));
}

/** Every kind of row: what it is made of, and how it shows a value. `turn` takes the learner's value. */
const ROWS = {
  slider(model, id, turn, moved = () => {}) {
    const range = element("input", { type: "range", id, min: 0, step: 1 });
    const say = (value, means) =>
      range.setAttribute("aria-valuetext", means.replace(/^= /, "") || `${value} ${model.get("unit")}`.trim());
    range.addEventListener("input", () => {
      const i = range.valueAsNumber;
      const [value, means] = [model.get("steps")[i], model.get("meanings")[i] ?? ""];
      say(value, means);
      moved(value);
      turn(value, means);
    });
    const show = (value) => {
      range.max = model.get("steps").length - 1;
      range.value = nearest(model.get("steps"), value);
      say(value, model.get("meaning"));
    };
    return { parts: [range], show };
  },
  range(model, id, turn) {
    const number = ROWS.number(model, "", turn);
    const slider = ROWS.slider(model, id, turn, number.show);
    number.parts[0].setAttribute("aria-label", `${model.get("label")}: the exact value`);
    const show = (value) => {
      slider.show(value);
      number.show(value);
    };
    return { parts: [...slider.parts, ...number.parts], show };
  },
  number(model, id, turn) {
    const box = element("input", { type: "number", step: "any", className: "tcplab-exact", id });
    box.addEventListener("change", () => {
      if (Number.isFinite(box.valueAsNumber)) turn(box.valueAsNumber);
      else box.value = model.get("value");
    });
    return { parts: [box], show: (value) => (box.value = value) };
  },
  buttons(model, id, turn) {
    const group = element("div", { id, className: "tcplab-choice" });
    group.setAttribute("role", "group");
    const buttons = model.get("steps").map((value, i) => {
      const button = element("button", { textContent: model.get("texts")[i] ?? value });
      button.addEventListener("click", () => turn(value));
      return button;
    });
    group.append(...buttons);
    const show = (value) =>
      buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(model.get("steps")[i] === value)));
    return { parts: [group], show };
  },
  list(model, id, turn) {
    const list = element("select", { id });
    list.addEventListener("change", () => turn(model.get("steps")[list.selectedIndex]));
    const show = (value) => {
      list.replaceChildren(...model.get("steps").map((each, i) => element("option", { textContent: model.get("texts")[i] ?? each })));
      list.selectedIndex = model.get("steps").indexOf(value);
    };
    return { parts: [list], show };
  },
  check(model, id, turn) {
    const box = element("input", { type: "checkbox", id });
    box.addEventListener("change", () => turn(box.checked));
    return { parts: [box], show: (value) => (box.checked = value) };
  },
};

/** In command mode JupyterLab takes these keys for itself. */
const KEYS = new Set([
  "ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "Home", "End", "PageUp", "PageDown", "Enter", " ",
]);
const keep = (event) => {
  if (KEYS.has(event.key) && !event.ctrlKey && !event.metaKey && !event.altKey) event.stopPropagation();
};

export default {
  // Models are there whether or not their row is in sight.
  initialize({ model }) {
    const { controls } = explorer(model.get("group"));
    if (model.get("group")) controls.set(model.get("name"), model);
    return () => controls.delete(model.get("name"));
  },

  render({ model, el }) {
    const id = `tcplab-control-${++made}`;
    const meaning = element("span", { className: "tcplab-meaning" });
    const turn = (value, means = "") => {
      meaning.textContent = model.get("idle") ? "no effect" : means;
      model.set("value", value);
      explorer(model.get("group")).turned?.(model.get("name"));
      model.save_changes();
    };
    const row = ROWS[model.get("kind")](model, id, turn);
    const label = element("label", { textContent: model.get("label"), htmlFor: id });
    const title = element("div", { className: "tcplab-label" }, label, meaning);
    const help = element("div", { className: "tcplab-help", id: `${id}-help` });
    row.parts[0].setAttribute("aria-label", model.get("label"));
    row.parts[0].setAttribute("aria-describedby", help.id);
    const line = element("div", { className: "tcplab-row" }, ...row.parts);
    el.dataset.kind = model.get("kind");
    const shown = model.get("texts").length ? model.get("texts") : model.get("steps");
    const room = 8 * shown.join("").length + 24 * model.get("steps").length; // of buttons, px
    el.classList.toggle("wide", model.get("kind") === "buttons" && room > 260);
    el.append(title, line, help);
    el.addEventListener("keydown", keep);
    // Pictures for what may be turned next are made before it is.
    el.addEventListener("focusin", () => model.send("focus"));

    const show = () => {
      const [idle, held] = [model.get("idle"), model.get("held")];
      row.show(model.get("value"));
      meaning.textContent = held ? "fixed" : idle ? "no effect" : model.get("meaning");
      const why = held ? "Not yours to change in this goal. " : idle ? `No effect: ${idle} ` : "";
      help.textContent = why + model.get("help");
      el.classList.toggle("idle", Boolean(idle) || held);
      for (const part of line.querySelectorAll("input, select, button")) part.disabled = held;
    };
    const events = "change:value change:meaning change:steps change:idle change:held change:help";
    model.on(events, show);
    show();
    return () => {
      model.off(events, show);
      el.removeEventListener("keydown", keep);
    };
  },
};
