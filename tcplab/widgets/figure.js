// The page's side of LivingFigure: draws `drawn`, tells where it was clicked.

const PLOTLY = Symbol.for("tcplab.plotly");

const CONFIG = {
  displaylogo: false,
  displayModeBar: "hover",
  scrollZoom: false,
  showSendToCloud: false, // no picture leaves this machine
};

/** plotly.js, once per page: the first picture asks its kernel for it. */
function plotly(model) {
  globalThis[PLOTLY] ??= new Promise((resolve, reject) => {
    const take = (content, buffers) => {
      if (content !== "plotly") return;
      model.off("msg:custom", take);
      const url = URL.createObjectURL(new Blob([buffers[0]], { type: "text/javascript" }));
      const before = globalThis.Plotly;
      import(url).then(() => {
        URL.revokeObjectURL(url);
        const ours = globalThis.Plotly;
        globalThis.Plotly = before; // another widget's plotly stays what it was
        resolve(ours);
      }, reject);
    };
    model.on("msg:custom", take);
    model.send("plotly?");
  });
  return globalThis[PLOTLY];
}

/** Pictures leave room for their labels: measuring each one again, to hide it, would take half the time. */
function quicken(layout) {
  for (const axis of [layout.xaxis, layout.yaxis]) {
    if (axis) axis.ticklabeloverflow ??= "allow";
  }
}

export default {
  render({ model, el }) {
    const frame = document.createElement("div"); // scrolls where there is less room than a picture needs
    const plot = document.createElement("div");
    frame.className = "tcplab-frame";
    frame.append(plot);
    el.append(frame);
    keepKeys(frame);
    const { table, cells } = asTable();
    el.append(table);
    const say = () => {
      plot.setAttribute("role", "figure"); // not img: its tool buttons can be reached
      plot.setAttribute("aria-label", model.get("said"));
      table.style.display = model.get("table") ? "" : "none";
      cells.innerHTML = model.get("table");
    };
    say();
    model.on("change:said change:table", say);
    let Plotly = null;
    let shown = {};

    // Newest first: what arrives while a drawing is under way waits for it, and only the last does.
    let drawing = null;
    let again = false;
    const draw = () => {
      if (!Plotly) return;
      if (drawing) {
        again = true;
        return;
      }
      shown = JSON.parse(model.get("drawn") || "{}");
      plot.style.display = shown.data ? "" : "none";
      if (!shown.data) {
        Plotly.purge(plot);
        return;
      }
      const { data, layout, filename, least } = shown;
      plot.style.minWidth = `${least}px`;
      quicken(layout);
      const config = { ...CONFIG, toImageButtonOptions: { format: "svg", filename } };
      drawing = Plotly.react(plot, data, layout, config).finally(() => {
        drawing = null;
        if (again) {
          again = false;
          draw();
        }
      });
    };

    // A click anywhere between top and bottom counts, not only on something drawn.
    plot.addEventListener("click", (event) => {
      const area = plot.querySelector(".nsewdrag")?.getBoundingClientRect();
      const range = plot.layout?.yaxis?.range; // as it was sent, or moved since
      if (!area || !range || event.target.closest(".modebar")) return;
      const down = (event.clientY - area.top) / area.height; // a projector's pictures are enlarged
      if (down < 0 || down > 1) return;
      model.set("clicked", { y: range[1] + (range[0] - range[1]) * down, change: shown.change, at: event.timeStamp });
      model.save_changes();
    });

    // A tab that opens, a side bar that closes: the width is the place's, not the window's. What was
    // drawn while hidden (width 0) has a width that plotly made up.
    let width = 0;
    const resize = new ResizeObserver(() => {
      // What a style sheet has enlarged (transform) needs more room than it takes by itself.
      const scale = new DOMMatrix(getComputedStyle(frame).transform).d;
      frame.style.marginBottom = scale === 1 ? "" : `${frame.offsetHeight * (scale - 1)}px`;
      const scrolls = frame.scrollWidth > frame.clientWidth + 1;
      frame.tabIndex = scrolls ? 0 : -1;
      frame.setAttribute("role", scrolls ? "region" : "presentation");
      frame.setAttribute("aria-label", scrolls ? "picture, wider than its place: arrow keys move it" : "");
      if (plot.clientWidth === width) return;
      width = plot.clientWidth;
      if (width && Plotly && shown.data) Plotly.Plots.resize(plot);
    });
    resize.observe(el);
    resize.observe(plot);

    model.on("change:drawn", draw);
    plotly(model).then((loaded) => {
      Plotly = loaded;
      draw();
    });

    return () => {
      model.off("change:drawn", draw);
      model.off("change:said change:table", say);
      resize.disconnect();
      Plotly?.purge(plot);
    };
  },
};
