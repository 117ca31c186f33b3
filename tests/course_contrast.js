// Texts of the notebook's outputs that are in sight and have too little contrast, as sentences.
//
// `png` is the page without its texts: behind each one, the commonest pixel counts. Takes WCAG's formula.
async ({ png, least }) => {
  const image = new Image();
  image.src = `data:image/png;base64,${png}`;
  await image.decode();
  const paper = new OffscreenCanvas(image.width, image.height).getContext("2d", { willReadFrequently: true });
  paper.drawImage(image, 0, 0);
  const brush = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });

  /** A CSS colour below these filters: [red, green, blue, alpha of 255]. */
  const painted = (colour, filter) => {
    brush.clearRect(0, 0, 1, 1);
    brush.filter = filter || "none";
    brush.fillStyle = colour;
    brush.fillRect(0, 0, 1, 1);
    return [...brush.getImageData(0, 0, 1, 1).data];
  };
  const commonest = (x, y, width, height) => {
    const { data } = paper.getImageData(x, y, width, height);
    const count = new Map();
    for (let i = 0; i < data.length; i += 4) {
      const key = (data[i] << 16) | (data[i + 1] << 8) | data[i + 2];
      count.set(key, (count.get(key) ?? 0) + 1);
    }
    const [key] = [...count].reduce((one, other) => (other[1] > one[1] ? other : one));
    return [key >> 16, (key >> 8) & 255, key & 255];
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (...both) => {
    const [low, high] = both.map(luminance).sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const hex = (rgb) => "#" + rgb.map((c) => Math.round(c).toString(16).padStart(2, "0")).join("");

  const frame = (document.querySelector(".jp-WindowedPanel-outer") ?? document.body).getBoundingClientRect();
  const said = new Set();
  for (const area of document.querySelectorAll(".jp-OutputArea")) {
    const walk = document.createTreeWalker(area, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
      const [node, el] = [walk.currentNode, walk.currentNode.parentElement];
      if (!node.data.trim() || el.closest("style, script, title, desc, select, textarea, .modebar, .jp-OutputPrompt")) continue;
      // What has no effect at present is dimmed (WCAG leaves inactive controls out).
      if (el.closest("[disabled], .idle, .grey, [aria-disabled=true]")) continue;
      if (!el.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true })) continue;
      const style = getComputedStyle(el);
      const range = document.createRange();
      range.selectNodeContents(node);
      const box = range.getBoundingClientRect();
      if (style.clipPath !== "none" || box.width < 1 || box.height < 1) continue;
      if (box.top < frame.top || box.bottom > frame.bottom || box.left < frame.left || box.right > frame.right) continue;
      let [filter, opacity] = ["", 1];
      for (let at = el; at; at = at.parentElement) {
        const { filter: own, opacity: share } = getComputedStyle(at);
        if (own !== "none") filter = `${filter} ${own}`.trim();
        opacity *= parseFloat(share);
      }
      // A halo that is drawn before the letters is what is behind them.
      const halo = el.closest("svg") && style.paintOrder.startsWith("stroke") && parseFloat(style.strokeWidth) >= 3;
      const behind = halo && style.stroke !== "none"
        ? painted(style.stroke, filter).slice(0, 3)
        : commonest(...[box.left, box.top, box.width, box.height].map((px) => Math.max(0, Math.round(px))));
      const [r, g, b, alpha] = painted(el.closest("svg") ? style.fill : style.color, filter);
      const ink = [r, g, b].map((c, i) => c * (alpha / 255) * opacity + behind[i] * (1 - (alpha / 255) * opacity));
      const ratio = contrast(ink, behind);
      if (ratio < least) said.add(`contrast ${ratio.toFixed(2)}: ${hex(ink)} on ${hex(behind)}: ${node.data.trim().slice(0, 40)}`);
    }
  }
  return [...said];
}
