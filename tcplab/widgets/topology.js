// The page's side of TopologyPage: shows HTML that Python made, and sends what is done with it.

export default {
  render({ model, el }) {
    const root = element("div", { className: "tt-root" });
    el.append(root);
    const places = () => [...root.querySelectorAll("[data-keep]")].map((each) => [each.dataset.keep, each.scrollTop, each.open]);

    const show = () => {
      const active = root.contains(document.activeElement) ? document.activeElement : null;
      const done = active?.dataset.do, lane = active?.dataset.lane, kept = places();
      root.innerHTML = model.get("html");
      for (const [name, top, open] of kept) {
        const each = root.querySelector(`[data-keep="${name}"]`);
        if (!each) continue;
        each.scrollTop = top;
        if (open && name !== "paste") each.open = true;
      }
      // What had the focus has it again.
      const same = [...root.querySelectorAll("[data-do], [data-lane]")].find((each) =>
        done ? each.dataset.do === done : lane && each.dataset.lane === lane);
      same?.focus({ preventScroll: true });
    };

    const send = (el, more = {}) => model.send({ ...JSON.parse(el.dataset.do), ...more });

    const hand = async (files) => {
      const texts = await Promise.all([...files].slice(0, 50).map(async (file) => [file.name, await file.text()]));
      model.send({ do: "texts", texts });
    };

    root.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-do]");
      if (!button) return;
      const what = JSON.parse(button.dataset.do);
      if (what.do !== "read") return send(button);
      const box = button.parentElement.querySelector("textarea");
      model.send({ do: "read", text: box.value });
      box.value = ""; // it may have held a password
    });
    const open = (event) => {
      const lane = event.target.closest("[data-lane]");
      if (lane) model.send({ do: "lane", lane: lane.dataset.lane });
    };
    root.addEventListener("click", open);
    root.addEventListener("change", (event) => {
      const field = event.target;
      if (!field.dataset.do) return;
      if (field.type === "file") hand(field.files);
      else send(field, field.type === "radio" ? {} : { value: field.type === "checkbox" ? field.checked : field.value });
    });
    root.addEventListener("keydown", (event) => {
      const lane = event.target.closest("[data-lane]");
      if (lane && ["Enter", " "].includes(event.key) && !event.shiftKey && !event.ctrlKey) {
        open(event);
        event.preventDefault();
      }
      if (lane && ["ArrowDown", "ArrowUp"].includes(event.key)) {
        (event.key === "ArrowDown" ? lane.nextElementSibling : lane.previousElementSibling)?.focus();
        event.preventDefault();
      }
      // In command mode JupyterLab takes keys for itself. Shift and Enter still runs the cell.
      if (!(event.key === "Enter" && (event.shiftKey || event.ctrlKey))) event.stopPropagation();
    });
    for (const kind of ["dragover", "drop"])
      root.addEventListener(kind, (event) => {
        if (!event.target.closest("[data-drop]")) return;
        event.preventDefault();
        event.stopPropagation();
        if (kind === "drop" && event.dataTransfer.files.length) hand(event.dataTransfer.files);
      });

    model.on("change:html", show);
    show();
    const stop = watchPlace(model, el, root);
    return () => {
      stop();
      model.off("change:html", show);
    };
  },
};
