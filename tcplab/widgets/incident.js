// The page's side of LivingIncident: shows what Python laid out, and owns the brush, so that dragging never waits
// for the notebook kernel. The kernel is asked for one picture when a drag ends.

const SVG = "http://www.w3.org/2000/svg";
const CLICK_PX = 4; // a press that moves no further is a click
const HANDLE_PX = 7;

function shape(tag, attributes) {
  const el = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) el.setAttribute(name, value);
  return el;
}

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** The moment at x on the timeline, whose axis is straight between its corners: [seconds, px] each. */
function moment({ pieces }, x) {
  const at = clamp(x, pieces[0][1], pieces.at(-1)[1]);
  const i = clamp(pieces.findIndex(([, px]) => px >= at), 1, pieces.length - 1);
  const [[t0, x0], [t1, x1]] = [pieces[i - 1], pieces[i]];
  return x1 > x0 ? t0 + ((at - x0) / (x1 - x0)) * (t1 - t0) : t0;
}

export default {
  render({ model, el }) {
    let frame = {};
    let row = -1; // which of frame.rows the keyboard is at

    const chips = element("div", { className: "tcplab-bar tcplab-chips" });
    chips.setAttribute("role", "group");
    chips.setAttribute("aria-label", "what is shown");
    const strip = element("div", { className: "tcplab-strip" });
    const picture = element("div", { className: "tcplab-incident-picture" });
    const hand = element("div", { className: "tcplab-timeline-hand", tabIndex: 0 });
    hand.setAttribute("role", "application");
    const box = element("div", { className: "tcplab-timeline-box" }, strip, picture, hand);
    const live = element("div", { className: "tcplab-live" });
    live.setAttribute("aria-live", "polite");
    const help = element("p", {
      className: "tcplab-help",
      textContent:
        "Drag to zoom, click to look into a connection. Keys: ← → incidents, ↑ ↓ Enter connections, + − zoom, " +
        "Home (double click) whole file, Esc back.",
    });
    const { table, cells } = asTable();
    el.classList.add("tcplab-incident");
    el.append(chips, box, live, help, table);

    model.set("zone", Intl.DateTimeFormat().resolvedOptions().timeZone || "");
    model.save_changes();
    const ask = (message) => model.send(message);
    const zoom = (low, high) => {
      const least = 1e-5;
      const [a, b] = [Math.min(low, high), Math.max(low, high)];
      const middle = (a + b) / 2;
      ask({ window: b - a < least ? [middle - least / 2, middle + least / 2] : [a, b] });
    };

    // -- the brush on the strip --
    const stripX = (t) => frame.x0 + clamp(t / frame.length, 0, 1) * (frame.x1 - frame.x0);
    const stripT = (x) => clamp((x - frame.x0) / (frame.x1 - frame.x0), 0, 1) * frame.length;
    const paintBrush = ([low, high]) => {
      const svg = strip.querySelector("svg");
      if (!svg) return;
      svg.querySelector(".tcplab-brush")?.remove();
      const [a, b] = [stripX(low), Math.max(stripX(high), stripX(low) + 3)];
      const group = shape("g", { class: "tcplab-brush" });
      const veil = { y: 1, height: 27, fill: frame.colours.soft, opacity: 0.22 };
      group.append(
        shape("rect", { ...veil, x: frame.x0, width: Math.max(0, a - frame.x0) }),
        shape("rect", { ...veil, x: b, width: Math.max(0, frame.x1 - b) }),
        shape("rect", { x: a, y: 1, width: b - a, height: 27, fill: "none", stroke: frame.colours.ink, "stroke-width": 1.6 }),
      );
      for (const x of [a, b]) group.append(shape("rect", { x: x - 2.5, y: 8, width: 5, height: 13, rx: 2, fill: frame.colours.ink }));
      svg.append(group);
    };
    /** The last picture, stretched to another window, until the kernel's is there. */
    const stretch = (window) => {
      const svg = picture.querySelector("svg");
      if (!svg) return;
      let moving = picture.querySelector(".tcplab-moving");
      if (!window) {
        moving?.remove();
        svg.style.clipPath = "";
        return;
      }
      const scale = picture.clientWidth / frame.width;
      if (!moving) {
        const inner = svg.cloneNode(true);
        moving = element("div", { className: "tcplab-moving" }, inner);
        moving.setAttribute("aria-hidden", "true");
        moving.style.left = `${frame.x0 * scale}px`;
        inner.style.width = `${picture.clientWidth}px`;
        inner.style.marginLeft = `${-frame.x0 * scale}px`;
        picture.append(moving);
        svg.style.clipPath = `inset(0 ${(100 * (frame.width - frame.x0)) / frame.width}% 0 0)`;
      }
      const [low, high] = window;
      const [from, to] = frame.window;
      const by = (to - from) / Math.max(high - low, 1e-9);
      const shift = ((from - low) / Math.max(high - low, 1e-9)) * (frame.x1 - frame.x0) * scale;
      moving.firstChild.style.transformOrigin = `${frame.x0 * scale}px 0`;
      moving.firstChild.style.transform = `translateX(${shift}px) scaleX(${by})`;
    };

    let drag = null;
    const within = (target, event) => {
      const area = target.getBoundingClientRect();
      return [((event.clientX - area.left) * frame.width) / area.width, ((event.clientY - area.top) * frame.width) / area.width];
    };
    strip.addEventListener("pointerdown", (event) => {
      if (!frame.svg || event.button) return;
      const [x] = within(strip.querySelector("svg"), event);
      const [a, b] = frame.window.map(stripX);
      const whole = b - a > frame.x1 - frame.x0 - 4;
      const kind =
        Math.abs(x - a) < HANDLE_PX ? "low" : Math.abs(x - b) < HANDLE_PX ? "high" : x > a && x < b && !whole ? "move" : "new";
      drag = { kind, x, window: [...frame.window] };
      strip.setPointerCapture(event.pointerId);
      hand.focus({ preventScroll: true });
      event.preventDefault();
    });
    strip.addEventListener("pointermove", (event) => {
      if (!drag || drag.on) return;
      const [x] = within(strip.querySelector("svg"), event);
      const [low, high] = frame.window;
      const t = stripT(x);
      if (drag.kind === "new") drag.window = [stripT(drag.x), t];
      else if (drag.kind === "low") drag.window = [t, high];
      else if (drag.kind === "high") drag.window = [low, t];
      else {
        const by = clamp(stripT(x) - stripT(drag.x), -low, frame.length - high);
        drag.window = [low + by, high + by];
      }
      drag.window.sort((one, other) => one - other);
      drag.moved ||= Math.abs(x - drag.x) > CLICK_PX;
      if (!drag.moved) return;
      paintBrush(drag.window);
      stretch(drag.window);
    });
    const drop = () => {
      if (!drag || drag.on) return;
      const { moved, window, kind, x } = drag;
      drag = null;
      if (moved) return zoom(...window);
      // A click on the strip moves the window there.
      const wide = frame.window[1] - frame.window[0];
      if (kind === "new" && wide < frame.length * 0.98) {
        const low = clamp(stripT(x) - wide / 2, 0, frame.length - wide);
        zoom(low, low + wide);
      }
    };
    strip.addEventListener("pointerup", drop);
    strip.addEventListener("pointercancel", () => ((drag = null), draw()));

    // -- the timeline: drag zooms, a click opens --
    const select = (from, to) => {
      const svg = picture.querySelector("svg");
      svg.querySelector(".tcplab-select")?.remove();
      if (from === null) return;
      svg.append(
        shape("rect", {
          class: "tcplab-select", x: Math.min(from, to), y: frame.top, width: Math.abs(to - from),
          height: frame.bottom - frame.top, fill: frame.colours.cursor, opacity: 0.25,
        }),
      );
    };
    picture.addEventListener("pointerdown", (event) => {
      if (!frame.svg || event.button) return;
      const [x, y] = within(picture.querySelector("svg"), event);
      drag = { on: "picture", x, y, to: x };
      picture.setPointerCapture(event.pointerId);
      hand.focus({ preventScroll: true });
    });
    picture.addEventListener("pointermove", (event) => {
      if (drag?.on !== "picture" || drag.x < frame.x0) return;
      drag.to = clamp(within(picture.querySelector("svg"), event)[0], frame.x0, frame.x1);
      select(drag.x, drag.to);
    });
    picture.addEventListener("pointerup", () => {
      if (drag?.on !== "picture") return;
      const { x, y, to } = drag;
      drag = null;
      select(null);
      if (x >= frame.x0 && Math.abs(to - x) > CLICK_PX) return zoom(moment(frame, x), moment(frame, to));
      const disc = frame.discs.find(([, dx, dy]) => Math.hypot(dx - x, dy - y) < 13);
      if (disc) return ask({ incident: disc[0] });
      const hit = frame.rows.findIndex(([a, b, left, right]) => y >= a && y < b && x >= left && x < right);
      if (hit >= 0) open(hit);
    });
    picture.addEventListener("pointercancel", () => ((drag = null), select(null)));
    picture.addEventListener("dblclick", () => ask({ whole: true }));
    const open = (i) => {
      const what = frame.rows[i][4];
      ask(typeof what === "number" ? { open: what } : { show: what });
    };

    // -- keys --
    const paintRow = () => {
      const svg = picture.querySelector("svg");
      svg?.querySelector(".tcplab-row")?.remove();
      const at = frame.rows?.[row];
      if (!svg || !at) return;
      const [top, bottom, left, right] = at;
      const place = { x: left + 1, y: top, width: right - left - 2, height: bottom - top };
      svg.append(shape("rect", { class: "tcplab-row", ...place, fill: "none", stroke: frame.colours.cursor, "stroke-width": 2 }));
      say(at[5]);
    };
    const leave = () => {
      row = -1;
      picture.querySelector(".tcplab-row")?.remove();
      say(frame.said);
    };
    const step = (by) => {
      if (!frame.rows.length) return;
      row = clamp(row < 0 ? (by > 0 ? 0 : frame.rows.length - 1) : row + by, 0, frame.rows.length - 1);
      paintRow();
    };
    const closer = (by) => {
      const [low, high] = frame.window;
      const [middle, half] = [(low + high) / 2, ((high - low) / 2) * by];
      zoom(clamp(middle - half, 0, frame.length), clamp(middle + half, 0, frame.length));
    };
    const KEYS = {
      ArrowLeft: () => ask({ step: -1 }),
      ArrowRight: () => ask({ step: 1 }),
      ArrowDown: () => step(1),
      ArrowUp: () => step(-1),
      Enter: () => row >= 0 && open(row),
      " ": () => row >= 0 && open(row),
      "+": () => closer(0.5),
      "=": () => closer(0.5),
      "-": () => closer(2),
      Home: () => (leave(), ask({ whole: true })),
      Escape: () => (leave(), ask({ back: true })),
    };
    hand.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key] || !frame.svg) return;
      event.preventDefault();
      event.stopPropagation();
      KEYS[event.key]();
    });
    keepKeys(chips);
    const say = (words) => {
      if (live.textContent !== words) live.textContent = words;
    };

    const draw = () => {
      frame = JSON.parse(model.get("frame") || "{}");
      el.style.display = frame.svg ? "" : "none";
      if (!frame.svg) return;
      const focused = chips.contains(document.activeElement) ? document.activeElement.dataset.what : null;
      chips.replaceChildren(
        ...frame.chips.map(({ text, what, pressed }) => {
          const chip = element("button", { textContent: text });
          chip.dataset.what = JSON.stringify(what);
          if (pressed !== null) chip.setAttribute("aria-pressed", String(pressed));
          chip.addEventListener("click", () => ask(what));
          return chip;
        }),
      );
      if (focused) [...chips.children].find((chip) => chip.dataset.what === focused)?.focus();
      strip.hidden = !frame.strip;
      strip.innerHTML = frame.strip;
      picture.innerHTML = frame.svg;
      cells.innerHTML = frame.table;
      hand.setAttribute("aria-label", `${frame.said} ${help.textContent}`);
      if (frame.strip) paintBrush(frame.window);
      row = -1;
      say(frame.said);
    };

    picture.style.minWidth = strip.style.minWidth = `${LEAST_WIDTH}px`;
    const unwatch = watchPlace(model, el, box);
    model.on("change:frame", draw);
    draw();
    return () => {
      model.off("change:frame", draw);
      unwatch();
    };
  },
};
