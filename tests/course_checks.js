// What is wrong with the notebook that is open, as sentences: pictures, words that are cut, names and tables.
// Every rule takes what a learner sees; `tests/test_course_in_browser.py` plants a fault for each.
() => {
  const said = [];
  const seen = (el) => el.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true });
  const words = (el) => (el.textContent || "").replace(/\s+/g, " ").trim();
  const short = (text) => (text.length > 60 ? `${text.slice(0, 59)}…` : text);
  const cellOf = (el) => [...document.querySelectorAll(".jp-Notebook .jp-Cell")].indexOf(el.closest(".jp-Cell"));
  const say = (kind, el, text) => said.push(`cell ${cellOf(el)}: ${kind}: ${short(text)}`);
  const outputs = [...document.querySelectorAll(".jp-Notebook .jp-OutputArea")];
  const all = (css) => outputs.flatMap((area) => [...area.querySelectorAll(css)]).filter(seen);

  // Pictures: something is drawn, words keep apart and stay inside.
  for (const plot of all(".js-plotly-plot")) {
    const svg = plot.querySelector(".main-svg");
    if (!svg) {
      say("empty picture", plot, "no svg");
      continue;
    }
    const frame = svg.getBoundingClientRect();
    const drawn = plot.querySelectorAll(".trace path, .trace text, .heatmaplayer image, .barlayer path");
    if (!drawn.length || frame.height < 60) say("empty picture", plot, `${drawn.length} marks, ${frame.height} px`);
    const place = Math.max(plot.parentElement.clientWidth, parseFloat(getComputedStyle(plot).minWidth) || 0);
    if (Math.abs(frame.width - place) > 2) say("picture not as wide as its place", plot, `${frame.width} of ${place} px`);
    const draggable = plot._fullLayout?.yaxis?.fixedrange === false && plot._fullLayout.dragmode === "pan";
    const texts = [...plot.querySelectorAll("svg text")]
      .filter((text) => !text.closest(".hoverlayer") && seen(text) && words(text))
      // Whatever lies below the end of a picture that can be dragged comes into sight when it is.
      .filter((text) => !draggable || text.getBoundingClientRect().top < frame.bottom - 40)
      .flatMap((text) => (text.querySelector("tspan.line") ? [...text.querySelectorAll("tspan.line")] : [text]))
      .filter(words)
      .map((text) => ({ text, box: text.getBoundingClientRect() }));
    for (const { text, box } of texts) {
      if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1)
        say("label leaves its picture", plot, words(text));
    }
    // A line of text is higher than its ink: a quarter above and below is air.
    for (let i = 0; i < texts.length; i++) {
      for (let j = i + 1; j < texts.length; j++) {
        const [a, b] = [texts[i].box, texts[j].box];
        const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        const covers = texts[i].text.closest(".annotation") || texts[j].text.closest(".annotation"); // on paper of its own
        if (!covers && wide > 2 && high > 0.3 * Math.min(a.height, b.height))
          say("labels overlap", plot, `${short(words(texts[i].text)).slice(0, 28)} / ${words(texts[j].text)}`);
      }
    }
  }

  // Words that are cut, and what is wider than the notebook.
  const ink = document.createElement("canvas").getContext("2d");
  const width = (text, style) => {
    ink.font = `${style.fontStyle} ${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
    return ink.measureText(text).width;
  };
  for (const el of all("*")) {
    if (el.closest("svg") || el.closest(".modebar")) continue;
    const style = getComputedStyle(el);
    const own = [...el.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (own && style.overflowX !== "visible" && style.overflowX !== "auto" && style.overflowX !== "scroll"
        && style.clipPath === "none" && el.scrollWidth > el.clientWidth + 1 && el.clientWidth) say("text is cut", el, words(el));
    if (el.matches("select")) {
      const text = el.selectedOptions[0]?.textContent ?? "";
      const room = el.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
      if (width(text, style) > room + 1) say("text of a list is cut", el, text);
    }
    if (el.matches("input[type=text], input[type=number]")) {
      const room = el.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
      if (width(el.value || el.placeholder, style) > room + 1) say("text of a box is cut", el, el.value || el.placeholder);
    }
    if (el.matches("button, .lm-TabBar-tab, [role=tab]")) {
      const box = el.getBoundingClientRect();
      const range = document.createRange();
      range.selectNodeContents(el);
      const text = range.getBoundingClientRect();
      if (words(el) && (text.right > box.right + 1 || text.left < box.left - 1)) say("text of a button is cut", el, words(el));
    }
  }
  for (const area of outputs) {
    for (const el of area.querySelectorAll(".jp-OutputArea-output")) {
      if (seen(el) && el.scrollWidth > el.clientWidth + 2) say("wider than the notebook", el, `${el.scrollWidth} px of ${el.clientWidth}`);
    }
  }

  // Names: what a screen reader says of whatever can be worked.
  const name = (el) => {
    const by = (el.getAttribute("aria-labelledby") || "").split(/\s+/).map((id) => words(document.getElementById(id) ?? document.createElement("i"))).join(" ");
    const labels = [...(el.labels ?? [])].map(words).join(" ");
    const own = el.matches("button, a, summary, [role=tab], [role=button]") ? words(el) : "";
    return (by.trim() || el.getAttribute("aria-label") || labels || own || el.title || "").trim();
  };
  for (const el of all("input, select, textarea, button, summary, a[href], [role=slider], [role=tab], [role=button], [tabindex='0']")) {
    if (el.closest(".modebar, .jp-OutputPrompt, .jp-collapser") || el.matches("input[type=file]")) continue;
    if (el.matches(".tcplab-keys, .lm-TabBar-content") ) continue;
    if (!name(el)) say("no name", el, el.outerHTML);
  }
  // States: what is chosen, open or selected says so to a screen reader; a fold is a button.
  for (const group of all(".tcplab-choice")) {
    const pressed = [...group.children].map((el) => el.getAttribute("aria-pressed"));
    if (pressed.filter((it) => it === "true").length !== 1 || pressed.includes(null)) say("not one is pressed", group, words(group));
  }
  for (const el of all("[role=tab]")) {
    if (el.getAttribute("aria-selected") !== String(el.matches(".lm-mod-current"))) say("does not say whether it is selected", el, words(el));
  }
  for (const el of all(".tcplab-fold")) {
    if (el.getAttribute("aria-expanded") !== String(seen(el.parentElement.nextElementSibling))) say("does not say whether it is open", el, words(el));
  }
  for (const el of all(".widget-radio, [role=group]")) if (!el.getAttribute("aria-label")) say("group without a name", el, words(el));
  for (const el of all("[tabindex]")) if (el.tabIndex > 0) say("focus out of order", el, words(el));
  for (const el of all(":is([role=status], [aria-live]) :is([role=status], [aria-live])")) say("is read twice", el, words(el));

  // Pictures: a name, and beside each a sentence and a table.
  for (const plot of all(".js-plotly-plot")) {
    const image = plot.closest("[role=img], [role=figure]");
    if (!image || !name(image)) say("picture without a name", plot, words(plot));
  }
  return said;
}
