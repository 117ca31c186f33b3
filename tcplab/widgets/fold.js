// The page's side of FoldButton: a title that opens and closes what stands below it.

export default {
  render({ model, el }) {
    const button = document.createElement("button");
    button.className = "tcplab-fold";
    el.append(button);
    const show = () => {
      button.textContent = `${model.get("opened") ? "▾" : "▸"} ${model.get("title")}`;
      button.setAttribute("aria-expanded", String(model.get("opened")));
    };
    button.addEventListener("click", () => {
      model.set("opened", !model.get("opened"));
      model.save_changes();
    });
    // In command mode JupyterLab takes these keys for itself.
    button.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") event.stopPropagation();
    });
    model.on("change:opened change:title", show);
    show();
    return () => model.off("change:opened change:title", show);
  },
};
