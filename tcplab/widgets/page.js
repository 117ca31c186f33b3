// What the page's sides of several widgets share: it stands before each of them, in one module.

/** The explorers of this page: the models of their controls by parameter, and what shows a turned one. */
const EXPLORERS = (globalThis[Symbol.for("tcplab.frames")] ??= new Map());
const explorer = (id) => EXPLORERS.get(id) ?? EXPLORERS.set(id, { controls: new Map(), turned: null }).get(id);

function element(tag, properties, ...children) {
  const el = Object.assign(document.createElement(tag), properties);
  el.append(...children);
  return el;
}

/** In command mode JupyterLab takes these keys for itself. */
function keepKeys(el) {
  el.addEventListener("keydown", (event) => {
    if (["Enter", " ", "ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight"].includes(event.key)) event.stopPropagation();
  });
}

/** The picture as a table, folded away: whoever can't see it, or wants the numbers, opens it. */
function asTable() {
  const title = element("summary", { textContent: "The picture as a table" });
  const cells = element("div", { tabIndex: 0 }); // its own scroll bars, for arrow keys
  cells.setAttribute("role", "region");
  cells.setAttribute("aria-label", title.textContent);
  const table = element("details", { className: "tcplab-as-table" }, title, cells);
  keepKeys(table);
  return { table, cells };
}

const LEAST_WIDTH = 700; // of a picture that Python lays out, px

/** Tell the model how wide `box` is, in px of a picture that is not enlarged, and whether the page is dark. */
function watchPlace(model, el, box) {
  const darkPage = matchMedia("(prefers-color-scheme: dark)");
  // JupyterLab says which theme it has; elsewhere the system does.
  const isDark = () => {
    const light = document.body.dataset.jpThemeLight;
    return light === undefined ? darkPage.matches : light === "false";
  };
  const measure = () => {
    // Projector mode is a class on the widget, too; it stands around `el` as soon as that is on the page.
    const widget = el.closest(".tcplab-explorer");
    if (widget) theme.observe(widget, { attributeFilter: ["class"] });
    const zoom = Number(getComputedStyle(el).getPropertyValue("--tcplab-zoom")) || 1;
    // Without a width while hidden, and for a moment while JupyterLab changes its style sheets: the last one stays.
    const width = box.clientWidth
      ? Math.max(LEAST_WIDTH, Math.floor(box.clientWidth / zoom))
      : model.get("width");
    if (width === model.get("width") && isDark() === model.get("dark")) return;
    model.set("width", width);
    model.set("dark", isDark());
    model.save_changes();
  };
  const theme = new MutationObserver(measure);
  const resize = new ResizeObserver(measure);
  resize.observe(box);
  theme.observe(document.body, { attributeFilter: ["data-jp-theme-light", "class"] });
  darkPage.addEventListener("change", measure);
  return () => {
    resize.disconnect();
    theme.disconnect();
    darkPage.removeEventListener("change", measure);
  };
}

