// A button beside each line that is there to be copied.

export default {
  render({ el }) {
    Object.assign(el.style, { height: "0", margin: "0", overflow: "hidden" });
    const give = () => {
      for (const code of el.closest(".tcplab-explorer")?.querySelectorAll(".tcplab-copied") ?? []) {
        if (code.nextElementSibling?.matches("button")) continue;
        const button = document.createElement("button");
        button.textContent = "Copy";
        button.className = "tcplab-copy";
        button.setAttribute("aria-label", `Copy: ${code.textContent}`);
        button.addEventListener("click", async () => {
          try {
            await navigator.clipboard.writeText(code.textContent);
            button.textContent = "Copied";
          } catch {
            getSelection().selectAllChildren(code); // a front end that forbids it: Ctrl+C copies
            button.textContent = "Press Ctrl+C";
          }
          setTimeout(() => (button.textContent = "Copy"), 2000);
        });
        code.after(" ", button);
      }
    };
    // It has a width as soon as it is in the page; the table may come later.
    const attached = new ResizeObserver(give);
    attached.observe(el);
    const late = setTimeout(give, 300);
    return () => {
      attached.disconnect();
      clearTimeout(late);
    };
  },
};
