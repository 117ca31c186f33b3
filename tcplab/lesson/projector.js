// The page's side of projector.py. Models come back with a reload, whether or not their cell is in
// sight, so the page is switched by the model and not by its view.

const CLASS = "tcplab-projector";

/** Close JupyterLab's side bar as its own shortcut does, or open it again. */
function sidebar(open) {
  const stack = document.querySelector("#jp-left-stack");
  if (!stack || stack.classList.contains("lm-mod-hidden") !== open) return false;
  const key = { key: "b", code: "KeyB", keyCode: 66, ctrlKey: true, bubbles: true, cancelable: true };
  document.body.dispatchEvent(new KeyboardEvent("keydown", key));
  return true;
}

/** The outputs of a page, each of which is a screen: questions, pictures, proofs, tables. */
function screens() {
  return [...document.querySelectorAll(".jp-CodeCell .jp-Cell-outputWrapper")].filter(
    (output) => output.offsetHeight > 40 && !output.querySelector(".tcplab-lesson-bar"));
}

/** Bring the next screen (1) or the one before (-1) to the top. */
function go(step) {
  const top = document.querySelector(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-WindowedPanel-outer")
    ?.getBoundingClientRect().top ?? 0;
  const away = screens().map((screen) => [screen, screen.getBoundingClientRect().top - top]);
  const next = step > 0 ? away.find(([, at]) => at > 12) : away.reverse().find(([, at]) => at < -12);
  next?.[0].scrollIntoView({ block: "start" });
}

function initialize({ model }) {
  const sheet = document.createElement("style");
  sheet.textContent = model.get("sheet");
  document.head.append(sheet);
  let closed = false;
  const show = () => {
    const on = model.get("on");
    document.body.classList.toggle(CLASS, on);
    if (on) closed = sidebar(false) || closed;
    else if (closed) closed = !sidebar(true);
  };
  // N and B go through a lesson, P leaves; not while somebody types.
  const keys = (event) => {
    const { key, ctrlKey, metaKey, altKey, target } = event;
    if (!model.get("on") || ctrlKey || metaKey || altKey || !"nbp".includes(key)) return;
    if (target.closest?.("input:not([type=range], [type=radio], [type=checkbox]), textarea, select, .cm-editor")) return;
    event.stopPropagation();
    event.preventDefault();
    if (key !== "p") return go(key === "n" ? 1 : -1);
    model.set("on", false);
    model.save_changes();
  };
  window.addEventListener("keydown", keys, true);
  model.on("change:on", show);
  show();
  return () => {
    model.off("change:on", show);
    window.removeEventListener("keydown", keys, true);
    sheet.remove();
    document.body.classList.remove(CLASS);
  };
}

function render({ model, el }) {
  const button = document.createElement("button");
  const said = document.createElement("span");
  button.className = "jupyter-button widget-button lm-Widget";
  button.style.marginRight = "1em";
  el.append(button, said);
  const show = () => {
    const on = model.get("on");
    button.textContent = on ? "Leave projector mode" : "Projector mode";
    button.setAttribute("aria-pressed", String(on));
    said.textContent = on ? "Keys: N next, B back, P leaves." : "";
  };
  button.addEventListener("click", () => {
    model.set("on", !model.get("on"));
    model.save_changes();
  });
  model.on("change:on", show);
  show();
  return () => model.off("change:on", show);
}

export default { initialize, render };
