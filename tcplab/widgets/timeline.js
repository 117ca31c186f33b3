// The page's side of LivingTimeline: shows what Python laid out, and owns the cursor, so that playing never
// waits for the notebook kernel. Of an explorer it also keeps the pictures that were sent ahead.

const SVG = "http://www.w3.org/2000/svg";
const WHOLE_AXIS_MS = 12_000; // playing takes that long, however long the axis is
const TELL_MS = 100;
const STEP_MS = 900; // of motion reduced to steps
const LATE_MS = 1500; // longer than the kernel takes for a run: then its picture counts whatever was turned

const reduced = matchMedia("(prefers-reduced-motion: reduce)");

/** Where an instant is, px; and which instant is there, seconds. */
function place({ axis }, t) {
  const share = axis.log ? Math.log1p(t / axis.c) / Math.log1p(axis.end / axis.c) : t / axis.end;
  return axis.x0 + share * (axis.x1 - axis.x0);
}
function instant({ axis, stop }, x) {
  const share = Math.min(1, Math.max(0, (x - axis.x0) / (axis.x1 - axis.x0)));
  return Math.min(stop, axis.log ? axis.c * Math.expm1(share * Math.log1p(axis.end / axis.c)) : share * axis.end);
}

/** An instant in words: 0.204 s, 75 s, 15 min 28 s, 2 h 11 min. */
function spoken(s) {
  if (s < 100) return `${Number(s.toFixed(s < 10 ? 3 : 1))} s`;
  const whole = Math.round(s); // an event's time may be a hair below a whole second
  const [h, min, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return [h && `${h} h`, min && `${min} min`, rest && `${rest} s`].filter(Boolean).join(" ");
}

/** How fast the time of the run passes. */
function pace(factor) {
  const round = (value) => Number(value.toPrecision(2)).toLocaleString("en");
  return factor >= 1 ? `× ${round(factor)}` : `÷ ${round(1 / factor)}`;
}

/** What happens at an instant, or happened last. */
const eventAt = ({ events }, t) => events.findLast(([at]) => at <= t + 1e-9);

/** One timeline of the page: the frame that is shown, the cursor, and the frames that were sent ahead. */
function makePage(model) {
  const { controls } = explorer(model.get("group"));
  const page = { frame: null, t: null, playing: false, views: new Set() };
  let ahead = { generation: 0, frames: new Map() };
  let pending = 0;

  const paint = (what) => page.views.forEach((view) => view[what]());
  const show = (frame) => {
    clearTimeout(pending);
    pending = 0;
    take(frame);
  };
  const take = (frame) => {
    page.frame = { table: page.frame?.table, ...frame };
    if (page.t !== null) page.t = Math.min(page.t, page.frame.stop ?? 0);
    paint("draw");
  };
  /** Whether the page's controls stand at these values; `except` one of them. */
  const stands = (values, except) =>
    [...controls].every(([name, control]) => name === except || values[name] === control.get("value"));

  const arrived = () => {
    const frame = JSON.parse(model.get("frame") || "{}");
    // A picture sent ahead is newer than the answer to an earlier turn: the kernel's for it will come.
    if (pending && frame.values && !stands(frame.values)) {
      clearTimeout(pending);
      pending = setTimeout(() => show(frame), LATE_MS);
    } else show(frame);
  };
  const onMessage = (content) => {
    if (content.play) page.play();
    if (!content.ahead) return;
    const { generation, name, values, value, frame } = content.ahead;
    if (generation !== ahead.generation) ahead = { generation, frames: new Map() };
    if (frame) Object.assign(ahead, { name, values }).frames.set(value, frame);
  };
  /** A control was turned: show the picture for it at once, if there is one for exactly these settings. */
  const turned = (name) => {
    if (ahead.name !== name || !stands(ahead.values, name)) return;
    const frame = ahead.frames.get(controls.get(name).get("value"));
    if (!frame) return;
    clearTimeout(pending);
    pending = setTimeout(() => (pending = 0), LATE_MS);
    take(frame);
  };

  // -- the cursor --
  let last = 0;
  let sentAt = 0;
  const tell = (now = performance.now()) => {
    sentAt = now;
    model.set("cursor", page.t ?? -1);
    model.save_changes();
  };
  page.go = (t, playing = false) => {
    page.playing = playing;
    page.t = t;
    paint("move");
    tell();
  };
  page.step = (direction) => {
    const at = page.t ?? (direction > 0 ? -1 : page.frame.stop + 1);
    const times = page.frame.events.map(([t]) => t);
    const next = direction > 0 ? times.find((t) => t > at + 1e-9) : times.findLast((t) => t < at - 1e-9);
    page.go(next ?? (direction > 0 ? page.frame.stop : 0));
  };
  const run = (now) => {
    if (!page.playing) return;
    const { axis, stop } = page.frame;
    const x = place(page.frame, page.t) + ((now - last) / WHOLE_AXIS_MS) * (axis.x1 - axis.x0);
    last = now;
    page.t = instant(page.frame, x);
    if (x >= place(page.frame, stop)) return page.go(stop);
    paint("move");
    if (now - sentAt >= TELL_MS) tell(now);
    requestAnimationFrame(run);
  };
  const hop = () => {
    if (!page.playing) return;
    page.step(1);
    page.playing = page.t < page.frame.stop;
    paint("move");
    if (page.playing) setTimeout(hop, STEP_MS);
  };
  page.play = () => {
    if (!page.frame?.svg || page.playing) return;
    if (page.t === null || page.t >= page.frame.stop) page.t = 0;
    page.playing = true;
    last = performance.now();
    paint("move");
    if (reduced.matches) setTimeout(hop, STEP_MS);
    else requestAnimationFrame(run);
  };
  page.pause = () => page.go(page.t);
  const moved = () => {
    const t = model.get("cursor");
    if (page.playing || t === (page.t ?? -1)) return;
    page.t = t < 0 ? null : t;
    paint("move");
  };

  model.on("change:frame", arrived);
  model.on("change:cursor", moved);
  model.on("msg:custom", onMessage);
  explorer(model.get("group")).turned = turned;
  page.t = model.get("cursor") < 0 ? null : model.get("cursor");
  arrived();
  page.close = () => {
    page.playing = false;
    model.off("change:frame", arrived);
    model.off("change:cursor", moved);
    model.off("msg:custom", onMessage);
  };
  return page;
}

/** The line at the cursor, the veil over what comes later, and the time below: in the picture's own px. */
function drawCursor(svg, page) {
  svg.querySelector(".tcplab-cursor")?.remove();
  const { frame, t } = page;
  if (t === null) return;
  const make = (tag, attributes) => {
    const el = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) el.setAttribute(name, value);
    return el;
  };
  const x = place(frame, t);
  // Below the answers and what broke, which are to be read whatever the moment.
  const [y, height] = [frame.top + 3, frame.bottom - frame.top - 3];
  const group = make("g", { class: "tcplab-cursor" });
  const text = make("text", {
    x: Math.min(Math.max(x, frame.axis.x0), frame.width - 45), y: frame.bottom + 17, fill: frame.colours.cursor,
    "text-anchor": "middle", "font-weight": 600, stroke: frame.colours.paper, "stroke-width": 6, "paint-order": "stroke",
  });
  text.textContent = spoken(t);
  group.append(
    make("rect", { x, y, width: Math.max(0, frame.width - x), height, fill: frame.colours.paper, opacity: 0.82 }),
    make("rect", { x: x - 1, y, width: 2, height: height + 4, fill: frame.colours.cursor }),
    text,
  );
  svg.append(group);
}

const PAGES = new Map();
const pageOf = (model) => PAGES.get(model.get("group"));

const KEYS = {
  " ": (page) => (page.playing ? page.pause() : page.play()),
  ArrowRight: (page) => page.step(1),
  ArrowLeft: (page) => page.step(-1),
  Home: (page) => page.go(0),
  End: (page) => page.go(page.frame.stop),
  Escape: (page) => page.go(null),
};

export default {
  initialize({ model }) {
    const page = makePage(model);
    PAGES.set(model.get("group"), page);
    return () => {
      page.close();
      PAGES.delete(model.get("group"));
    };
  },

  render({ model, el }) {
    const page = pageOf(model);
    const picture = element("div", { className: "tcplab-timeline-picture" });
    const hand = element("div", { className: "tcplab-timeline-hand", tabIndex: 0 });
    hand.setAttribute("role", "slider");
    hand.setAttribute("aria-label", "moment on the timeline: space plays, arrows step from event to event");
    const box = element("div", { className: "tcplab-timeline-box" }, picture, hand);

    const button = (text, press) => {
      const made = element("button", { textContent: text });
      made.addEventListener("click", press);
      return made;
    };
    const ask = (what) => () => model.send({ press: what });
    const play = button("▶ Play", () => KEYS[" "](page));
    const speed = element("span", { className: "tcplab-speed" });
    const keep = button("Keep this run", ask("keep"));
    const forget = button("Forget kept runs", ask("forget"));
    const scales = ["linear", "log"].map((scale) => button(scale, ask(scale)));
    const scale = element("span", { className: "tcplab-choice" }, ...scales);
    scale.setAttribute("role", "group");
    scale.setAttribute("aria-label", "time axis");
    const live = element("span", { className: "tcplab-live" });
    const bar = element("div", { className: "tcplab-bar" }, play, speed, keep, forget, scale, live);

    const { table, cells } = asTable();
    el.classList.add("tcplab-timeline");
    el.append(box, bar, table);

    const view = {
      svg: "",
      draw() {
        const frame = page.frame;
        el.style.display = frame.svg ? "" : "none";
        if (!frame.svg) return;
        if (this.svg !== frame.svg) picture.innerHTML = this.svg = frame.svg;
        picture.classList.toggle("grey", Boolean(frame.grey));
        picture.setAttribute("aria-disabled", String(Boolean(frame.grey)));
        if (this.table !== frame.table) cells.innerHTML = this.table = frame.table;
        scale.hidden = !frame.bar;
        for (const each of [keep, forget]) each.hidden = (frame.bar?.kept ?? null) === null;
        if (frame.bar) {
          forget.disabled = !frame.bar.kept;
          scales[1].textContent = frame.bar.offer || "log";
          scales.forEach((each, i) => each.setAttribute("aria-pressed", String(frame.axis.log === Boolean(i))));
        }
        hand.setAttribute("aria-valuemin", 0);
        hand.setAttribute("aria-valuemax", frame.stop);
        this.move();
      },
      move() {
        const { frame, t } = page;
        const svg = picture.querySelector("svg");
        if (!svg) return;
        drawCursor(svg, page);
        play.textContent = page.playing ? "❚❚ Pause" : "▶ Play";
        if (!frame.axis.log) speed.textContent = pace((frame.axis.end / WHOLE_AXIS_MS) * 1000);
        else {
          const rate = 1000 / WHOLE_AXIS_MS; // of the axis' length in a second
          const x = place(frame, t ?? 0);
          speed.textContent = pace((instant({ ...frame, stop: Infinity }, x + 1) - (t ?? 0)) * rate * (frame.axis.x1 - frame.axis.x0));
        }
        hand.setAttribute("aria-valuenow", t ?? 0);
        hand.setAttribute("aria-valuetext", t === null ? "no moment chosen" : spoken(t));
        // While it plays, a screen reader would be flooded.
        live.setAttribute("aria-live", page.playing ? "off" : "polite");
        const said = frame.grey ? `not shown: ${frame.grey}` : t === null ? "" : (eventAt(frame, t)?.[1] ?? "");
        if (live.textContent !== said) live.textContent = said;
      },
    };

    // -- hands --
    const press = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key] || !page.frame?.svg) return;
      event.preventDefault();
      event.stopPropagation();
      KEYS[event.key](page);
    };
    hand.addEventListener("keydown", press);
    keepKeys(bar);
    const point = (event) => {
      const svg = picture.querySelector("svg");
      if (!svg || event.buttons !== 1) return;
      const area = svg.getBoundingClientRect();
      page.go(instant(page.frame, ((event.clientX - area.left) * page.frame.width) / area.width));
      hand.focus({ preventScroll: true });
    };
    picture.addEventListener("pointerdown", point);
    picture.addEventListener("pointermove", point);

    picture.style.minWidth = `${LEAST_WIDTH}px`;
    const unwatch = watchPlace(model, el, box);
    page.views.add(view);
    view.draw();
    return () => {
      page.views.delete(view);
      page.playing &&= page.views.size > 0;
      unwatch();
    };
  },
};
