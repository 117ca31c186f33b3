// The page's side of SliderNames.

/** The handle is called what its label says; its value is the text of its step. */
function name(slider) {
  const handle = slider.querySelector('[role="slider"]');
  const label = slider.querySelector(".widget-label");
  const readout = slider.querySelector(".widget-readout");
  if (!handle || !label || !readout) return;
  if (!handle.hasAttribute("aria-label")) {
    handle.setAttribute("aria-label", label.textContent);
    // The slider writes the position anew with every move.
    new MutationObserver(() => name(slider)).observe(handle, { attributeFilter: ["aria-valuetext"] });
  }
  if (handle.getAttribute("aria-valuetext") !== readout.textContent) {
    handle.setAttribute("aria-valuetext", readout.textContent);
  }
}

export default {
  render({ el }) {
    let explorer = null;
    const all = () => explorer?.querySelectorAll(".widget-slider").forEach(name);
    // Views are made one by one: those that come later are named when the keyboard gets there.
    const attached = new ResizeObserver(() => {
      if (explorer || !el.isConnected) return;
      explorer = el.closest(".tcplab-explorer");
      explorer?.addEventListener("focusin", all);
      all();
      setTimeout(all, 500);
    });
    attached.observe(el);
    return () => {
      attached.disconnect();
      explorer?.removeEventListener("focusin", all);
    };
  },
};
