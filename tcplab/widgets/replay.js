// The page's side of replay.py: keys of the replay that it stands in.

const KEYS = new Set(["ArrowLeft", "ArrowRight", "Home", "End", " ", "n", "p"]);
// These need the key themselves: what is typed, what is chosen, what is pressed.
const TYPED = "input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable=true]";
const PRESSED = "button, summary, a, [role=tab]";

export default {
  render({ model, el }) {
    el.style.display = "none";
    let box = null;

    // One message at a time: what is pressed while the kernel works is gathered, and goes when it is done.
    let waiting = [];
    let busy = false;
    const send = () => {
      busy = waiting.length > 0;
      if (busy) model.send({ keys: waiting });
      waiting = [];
    };
    const taken = () => send();
    model.on("change:taken", taken);

    const press = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || !KEYS.has(event.key)) return;
      const at = event.target;
      if (at.closest(TYPED)) return;
      if (event.key === " " && at.closest(PRESSED)) return event.stopPropagation();
      if (at.closest("[role=tab]")) return event.stopPropagation();
      // The timeline has these keys itself, and knows no findings.
      if (at.closest(".tcplab-timeline-hand") && event.key.length > 1) return;
      event.preventDefault();
      event.stopPropagation();
      if (event.key === " ") return box.querySelector(".tcplab-timeline .tcplab-bar button")?.click();
      waiting.push(event.key);
      if (!busy) send();
    };
    // Enter on a button belongs to the button, not to JupyterLab.
    const keep = (event) => {
      const plain = !event.ctrlKey && !event.metaKey && !event.altKey && !event.shiftKey;
      const keys = ["Enter", " ", "ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"];
      if (plain && keys.includes(event.key)) event.stopPropagation();
    };
    // A click anywhere in it gives it the keys.
    const take = (event) => {
      const theirs = `${TYPED}, ${PRESSED}, .tcplab-timeline, [role=slider], [tabindex]:not(.tcplab-replay)`;
      if (!event.target.closest(theirs)) {
        box.focus({ preventScroll: true });
      }
    };

    let frame = requestAnimationFrame(function find() {
      box = el.closest(".tcplab-replay");
      if (!box) {
        frame = requestAnimationFrame(find);
        return;
      }
      box.tabIndex = 0;
      box.setAttribute("role", "group");
      box.setAttribute("aria-label", "Replay: arrow keys step, space plays, n goes to the next finding");
      box.addEventListener("keydown", press, true);
      box.addEventListener("keydown", keep);
      box.addEventListener("click", take);
      box.dataset.keys = "kept";
    });
    return () => {
      cancelAnimationFrame(frame);
      model.off("change:taken", taken);
      box?.removeEventListener("keydown", press, true);
      box?.removeEventListener("keydown", keep);
      box?.removeEventListener("click", take);
    };
  },
};
