// The page's side of Accessible: what ipywidgets leave out for keyboards and screen readers.

function set(el, name, value) {
  if (el.getAttribute(name) !== value) el.setAttribute(name, value);
}

/** Radio buttons are named by their label, or by the question before them. */
function group(el) {
  const label = el.querySelector(".widget-label")?.textContent || el.previousElementSibling?.textContent;
  set(el, "role", "radiogroup");
  if (label) set(el, "aria-label", label.trim());
}

/** What is read aloud is the place, which stays: a new element would be missed, or read twice. */
function place(el) {
  const stays = el.closest(".widget-html-content");
  if (stays && stays !== el) {
    el.removeAttribute("role");
    el.removeAttribute("aria-live");
    set(stays, "role", "status");
  }
}

const TELL = {
  ".widget-radio": group,
  ".tcplab-status > .widget-html-content": (el) => set(el, "role", "status"),
  ".widget-html-content [role=status]": place,
};

export default {
  render({ el }) {
    Object.assign(el.style, { height: "0", margin: "0", overflow: "hidden" });
    let box = null;
    const tell = () => {
      for (const [css, say] of Object.entries(TELL)) box.querySelectorAll(css).forEach(say);
    };
    // Whatever a picture draws in itself is none of it.
    const changes = new MutationObserver((records) => {
      if (!records.every((record) => record.target.closest?.(".tcplab-picture, .tcplab-timeline"))) tell();
    });
    // In command mode JupyterLab and Notebook 7 take plain keys for themselves wherever the focus is not in a text
    // field: arrows, and letters that delete a cell. This mark makes them leave a key alone; they look before
    // anything in the page does, and from the target outwards, so it is set at the window, on the target. Ctrl+S and
    // Shift+Enter pass.
    const keep = ({ key, ctrlKey, metaKey, altKey, shiftKey, target }) => {
      if (!box?.contains(target) || ctrlKey || metaKey || altKey || (shiftKey && key === "Enter")) return;
      const { dataset } = target;
      dataset.lmSuppressShortcuts = "true";
      setTimeout(() => delete dataset.lmSuppressShortcuts);
    };
    window.addEventListener("keydown", keep, true);
    // It has a width as soon as it is in the page and seen.
    const attached = new ResizeObserver(() => {
      if (box) return;
      box = el.closest(".tcplab-accessible");
      if (!box) return;
      box.dataset.keys = "kept";
      changes.observe(box, { subtree: true, childList: true });
      tell();
    });
    attached.observe(el);
    return () => {
      attached.disconnect();
      changes.disconnect();
      window.removeEventListener("keydown", keep, true);
      delete box?.dataset.keys;
    };
  },
};
