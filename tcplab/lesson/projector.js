// The page's side of projector.py. Models come back with a reload, whether or not their cell is in
// sight, so the page is switched by the model and not by its view.

const CLASS = "tcplab-projector";

function initialize({ model }) {
  const sheet = document.createElement("style");
  sheet.textContent = model.get("sheet");
  document.head.append(sheet);
  const show = () => document.body.classList.toggle(CLASS, model.get("on"));
  model.on("change:on", show);
  show();
  return () => {
    model.off("change:on", show);
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
    said.textContent = on ? "Larger type and fewer controls, on this whole page." : "All as usual.";
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
