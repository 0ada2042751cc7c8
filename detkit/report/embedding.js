"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const sheets = [...document.querySelectorAll("img.sheet")];
  const canvas = document.getElementById("canvas"), panel = document.getElementById("panel");
  const count = data.labels.length, dots = 14, edge = 0.06;
  const [low, high] = [Math.min, Math.max].map(end => [0, 1].map(axis => data.places.reduce((least, own) => end(least, own[axis]), data.places[0][axis])));
  const suspects = data.suggested.flatMap((better, i) => (better < 0 ? [] : [i]));
  const hidden = new Set();
  let view = { x: 0.5, y: 0.5, zoom: 1 }, chosen = -1, pinned = false, waiting = false;

  const named = label => (label < 0 ? data.none : data.classes[label]);
  const variable = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // t-SNE's axes have no unit: the map fills the canvas both ways.
  const relative = i => data.places[i].map((x, axis) => high[axis] > low[axis] ? (x - low[axis]) / (high[axis] - low[axis]) : 0.5);

  function place(i) {
    const { width, height } = canvas.getBoundingClientRect();
    const [x, y] = relative(i), room = (1 - 2 * edge) * view.zoom;
    return [width / 2 + (x - view.x) * room * width, height / 2 + (y - view.y) * room * height];
  }

  function side() {
    const { width, height } = canvas.getBoundingClientRect();
    const fitting = 0.55 * Math.sqrt((width * height) / Math.max(count, 12));
    return Math.min(fitting, 44) * view.zoom ** 0.75;
  }

  function crop(pen, i, x, y, size) {
    const onSheet = data.perRow ** 2, place = i % onSheet;
    const left = (place % data.perRow) * data.side, top = Math.floor(place / data.perRow) * data.side;
    pen.drawImage(sheets[Math.floor(i / onSheet)], left, top, data.side, data.side, x, y, size, size);
  }

  function one(pen, i, size, warn) {
    const [x, y] = place(i), colour = named(data.labels[i])[1];
    const suspect = data.suggested[i] >= 0, large = i === chosen;
    if (large) size = Math.max(size * 1.6, 34);
    if (size < dots) {
      pen.beginPath();
      pen.arc(x, y, Math.max(2.5, size / 3), 0, 7);
      pen.fillStyle = colour;
      pen.fill();
    } else {
      crop(pen, i, x - size / 2, y - size / 2, size);
      pen.lineWidth = large ? 4 : 2;
      pen.strokeStyle = colour;
      pen.strokeRect(x - size / 2, y - size / 2, size, size);
    }
    if (suspect) {
      const around = Math.max(size, 12) / 2 + 3;
      pen.lineWidth = 2;
      pen.strokeStyle = warn;
      pen.setLineDash([4, 3]);
      pen.strokeRect(x - around, y - around, 2 * around, 2 * around);
      pen.setLineDash([]);
    }
  }

  function draw() {
    waiting = false;
    const { width, height } = canvas.getBoundingClientRect(), ratio = devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.touchAction = view.zoom > 1 ? "none" : "pan-y";
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const size = side(), warn = variable("--warn");
    const shown = [...data.labels.keys()].filter(i => !hidden.has(data.labels[i]) && i !== chosen);
    const near = new Set(chosen < 0 ? [] : data.near[chosen]);
    if (chosen >= 0) {
      pen.strokeStyle = variable("--axis");
      for (const other of near) {
        pen.beginPath();
        pen.moveTo(...place(chosen));
        pen.lineTo(...place(other));
        pen.stroke();
      }
    }
    const rank = i => (near.has(i) ? 2 : data.suggested[i] >= 0 ? 1 : 0);
    for (const i of shown.sort((a, b) => rank(a) - rank(b))) one(pen, i, size, warn);
    if (chosen >= 0) one(pen, chosen, size, warn);
  }

  function redraw() {
    if (!waiting) requestAnimationFrame(draw);
    waiting = true;
  }

  function picture(i, pixels) {
    const drawn = document.createElement("canvas");
    drawn.width = drawn.height = pixels;
    drawn.style.borderColor = named(data.labels[i])[1];
    crop(drawn.getContext("2d"), i, 0, 0, pixels);
    return drawn;
  }

  function line(text, kind) {
    const made = document.createElement("p");
    made.textContent = text;
    made.className = kind || "";
    return made;
  }

  function choose(i) {
    if (i === chosen) return;
    chosen = i;
    redraw();
    if (i < 0) return welcome();
    const near = document.createElement("div");
    near.className = "near";
    for (const other of data.near[i]) {
      const button = document.createElement("button");
      button.append(picture(other, 96), named(data.labels[other])[0]);
      button.title = data.images[data.image[other]];
      button.addEventListener("click", () => ((pinned = true), choose(other)));
      near.append(button);
    }
    const better = data.suggested[i];
    panel.replaceChildren(
      picture(i, 320),
      line(named(data.labels[i])[0]),
      ...(better < 0 ? [] : [line(`its neighbours are ${named(better)[0]}`)]),
      line(data.images[data.image[i]], "name"),
      near,
    );
  }

  function welcome() {
    panel.replaceChildren(line("Point at an object to see it here, with those that are nearest to it.", "name"));
  }

  function at(event) {
    const { left, top } = canvas.getBoundingClientRect();
    const x = event.clientX - left, y = event.clientY - top;
    let best = -1, least = Math.max(side() * 0.75, 10);
    for (let i = 0; i < count; i++) {
      if (hidden.has(data.labels[i])) continue;
      const [px, py] = place(i), far = Math.hypot(px - x, py - y);
      if (far < least) [best, least] = [i, far];
    }
    return best;
  }

  function moved(dx, dy) {
    const { width, height } = canvas.getBoundingClientRect(), room = (1 - 2 * edge) * view.zoom;
    view = { ...view, x: view.x - dx / (room * width), y: view.y - dy / (room * height) };
    redraw();
  }

  function zoom(factor, x, y) {
    const { width, height } = canvas.getBoundingClientRect();
    const dx = (x === undefined ? width / 2 : x) - width / 2, dy = (y === undefined ? height / 2 : y) - height / 2;
    const before = view.zoom;
    view = { ...view, zoom: Math.min(60, Math.max(1, view.zoom * factor)) };
    const grown = view.zoom / before;
    moved(dx * (1 - grown), dy * (1 - grown));
  }

  let drag = null;
  canvas.addEventListener("pointerdown", event => {
    drag = { x: event.clientX, y: event.clientY, far: 0 };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", event => {
    if (!drag) return pinned ? undefined : choose(at(event));
    const dx = event.clientX - drag.x, dy = event.clientY - drag.y;
    drag = { x: event.clientX, y: event.clientY, far: drag.far + Math.hypot(dx, dy) };
    if (drag.far > 4) moved(dx, dy);
  });
  canvas.addEventListener("pointerup", event => {
    if (drag && drag.far <= 4) {
      const found = at(event);
      pinned = found >= 0;
      choose(found);
    }
    drag = null;
  });
  canvas.addEventListener("pointercancel", () => (drag = null));
  canvas.addEventListener("wheel", event => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const { left, top } = canvas.getBoundingClientRect();
    zoom(Math.exp(-event.deltaY / 300), event.clientX - left, event.clientY - top);
  }, { passive: false });

  const actions = {
    in: () => zoom(1.6),
    out: () => zoom(1 / 1.6),
    whole: () => ((view = { x: 0.5, y: 0.5, zoom: 1 }), redraw()),
    next: () => {
      if (!suspects.length) return;
      const next = suspects[(suspects.indexOf(chosen) + 1) % suspects.length];
      pinned = true;
      const [x, y] = relative(next);
      view = { x, y, zoom: Math.max(view.zoom, 3) };
      choose(next);
      redraw();
    },
  };
  for (const button of document.querySelectorAll("button[data-do]"))
    button.addEventListener("click", actions[button.dataset.do]);
  for (const box of document.querySelectorAll(".keys input"))
    box.addEventListener("change", () => {
      hidden[box.checked ? "delete" : "add"](Number(box.value));
      redraw();
    });

  new ResizeObserver(redraw).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  welcome();
  Promise.all(sheets.map(sheet => sheet.decode().catch(() => undefined))).then(redraw);
})();
