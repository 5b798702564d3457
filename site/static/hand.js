// "Your hand in it", on the page Draw: noise a drawing and walk back (SDEdit), or have half of one completed (RePaint).
// The same mathematics as ddpm_abc.editing; the network and the pictures are those of draw.js.

// From image x_0 with noise up to t0, back in strided ancestral steps: image_to_image of chapter 12
async function* takeBack(image, t0, y, w, noise) {
  const n = Math.max(2, Math.round(t0 / 25)),
    times = Array.from({ length: n + 1 }, (_, i) => roundEven((t0 * (n - i)) / n));
  let x = mix(image, noise(), BAR[t0]);
  for (let i = 0; i < n; i++) {
    const [t, s] = times.slice(i),
      guess = await askNetwork(x, t, y, w);
    yield { x, t, x0: guess.x0 };
    x = reverseStep("ddpm", BAR, t, s, x, guess, { z: s > 0 ? noise() : null }).x;
  }
  yield { x, t: 0, x0: x };
}

// What is not known, out of noise, each step taken `repeats` times: inpaint of chapter 12
async function* complete(image, known, y, w, noise, repeats = 4) {
  const times = spacedTimes(T, 20);
  let x = noise();
  for (let i = 0; i + 1 < times.length; i++) {
    const [t, s] = times.slice(i);
    for (let left = s > 0 ? repeats - 1 : 0; left >= 0; left--) {
      const guess = await askNetwork(x, t, y, w),
        drawn = reverseStep("ddpm", BAR, t, s, x, guess, { z: s > 0 ? noise() : null }).x,
        from = s > 0 ? mix(image, noise(), BAR[s]) : image;
      if (left === repeats - 1 || s === 0) yield { x, t, x0: guess.x0 };
      x = drawn.map((v, k) => (known[k] ? from[k] : v));
      if (left > 0) x = mix(x, noise(), BAR[t] / BAR[s]); // a draw of q(x_t | x_s)
    }
  }
  yield { x, t: 0, x0: x };
}

function handWidget(box) {
  const HALVES = { right: (k) => k % SIDE < SIDE / 2, lower: (k) => k < N / 2 };
  let image = new Float32Array(N).fill(-1),
    task = "noise",
    half = "right",
    digit = ANY,
    rubber = false,
    example = 3,
    seed = 1,
    run = 0,
    cursor = [14, 14];

  const canvases = ["Your drawing", "The drawing with noise", "What the network makes of it"].map((label) => {
      const c = make("canvas", { className: "px" });
      c.setAttribute("role", "img");
      c.setAttribute("aria-label", label);
      return c;
    }),
    [paper, noisy, result] = canvases,
    mark = make("span", { className: "mark-pixel", hidden: true }),
    captions = canvases.map(() => make("figcaption"));
  paper.tabIndex = 0;
  paper.setAttribute("aria-label", "Your drawing. Arrow keys move the pen, the space bar draws.");

  const show = (canvas, x, hidden) => paintGrid(canvas, hidden ? x.map((v, k) => (hidden[k] ? v : -0.55)) : x);
  const known = () => Array.from({ length: N }, (_, k) => HALVES[half](k));
  function stroke(row, column) {
    for (let r = -2; r <= 2; r++)
      for (let c = -2; c <= 2; c++) {
        const [y, x] = [Math.floor(row) + r, Math.floor(column) + c];
        if (y < 0 || x < 0 || y >= SIDE || x >= SIDE) continue;
        const far = Math.hypot(y + 0.5 - row, x + 0.5 - column),
          ink = 2 * Math.max(0, Math.min(1, 1.9 - far)) - 1,
          k = y * SIDE + x;
        image[k] = rubber ? Math.min(image[k], -ink) : Math.max(image[k], ink);
      }
    fresh();
  }
  let before = null;
  const place = (e) => {
    const r = paper.getBoundingClientRect();
    return [((e.clientY - r.top) / r.height) * SIDE, ((e.clientX - r.left) / r.width) * SIDE];
  };
  paper.addEventListener("pointerdown", (e) => {
    paper.setPointerCapture(e.pointerId);
    before = place(e);
    stroke(...before);
  });
  paper.addEventListener("pointermove", (e) => {
    if (!before) return;
    const to = place(e),
      n = Math.max(1, Math.ceil(2 * Math.hypot(to[0] - before[0], to[1] - before[1])));
    for (let i = 1; i <= n; i++) stroke(...before.map((v, k) => v + ((to[k] - v) * i) / n));
    before = to;
  });
  for (const end of ["pointerup", "pointercancel"]) paper.addEventListener(end, () => (before = null));
  paper.addEventListener("keydown", (e) => {
    const by = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], " ": [0, 0] }[e.key];
    if (!by) return;
    e.preventDefault();
    cursor = cursor.map((v, k) => Math.max(0, Math.min(SIDE - 1, v + by[k])));
    mark.hidden = false;
    mark.style.cssText = `left:${(100 * cursor[1]) / SIDE}%;top:${(100 * cursor[0]) / SIDE}%;width:${100 / SIDE}%;height:${100 / SIDE}%`;
    if (e.key === " ") stroke(cursor[0] + 0.5, cursor[1] + 0.5);
  });
  paper.addEventListener("blur", () => (mark.hidden = true));

  const amount = slider("Noise up to <i>t</i>", 100, 950, 550, 10, String, () => fresh()),
    pens = choice("Pen", [["draw", "draw"], ["rub", "rub out"]], "draw", (v) => (rubber = v === "rub")),
    tasks = choice("What happens to it", [["noise", "noise, and back"], ["half", "half is erased, and completed"]], task, (v) => {
      task = v;
      amount.hide(task === "half");
      halves.field.hidden = task !== "half";
      fresh();
    }),
    halves = choice("Erased", [["right", "right half"], ["lower", "lower half"]], half, (v) => {
      half = v;
      fresh();
    }),
    labels = choice("The network is told", DIGITS.map(([k, text]) => [k, k === ANY ? "nothing" : text]), digit, (v) => (digit = v));
  halves.field.hidden = true;
  const go = button("Give it to the network", () => begin(), "button primary"),
    clear = button("Clear", () => {
      image.fill(-1);
      fresh();
    }),
    other = button("A real digit", () => {
      example = (example + 1) % 10;
      image = Float32Array.from(digitImage(example));
      fresh();
    }),
    note = make("p", { className: "verdict" });
  note.setAttribute("role", "status");
  const figure = (canvas, caption, ...more) => make("figure", {}, make("div", { className: "frame-px" }, canvas, ...more), caption);
  box.replaceChildren(
    tasks.field,
    make("div", { className: "stage hand" }, figure(paper, captions[0], mark), html("span", "factor", "→"), figure(noisy, captions[1]), html("span", "factor", "→"), figure(result, captions[2])),
    make("div", { className: "walkbar" }, go, clear, other),
    note,
    make("div", { className: "controls" }, pens.field, amount.label, halves.field, labels.field),
  );

  const noiseFrom = () => {
    let draw = 0;
    return () => Float32Array.from(portableNormals(seed, 0, draw++, N));
  };
  function showShown() {
    task === "half" ? show(noisy, image, known()) : show(noisy, mix(image, noiseFrom()(), BAR[amount.value]));
    captions[1].textContent = task === "half" ? "what the network is shown" : `with noise, t = ${amount.value}`;
  }
  function fresh() {
    run++;
    show(paper, image);
    showShown();
    blank(result);
    captions[0].textContent = "yours";
    captions[2].textContent = "no answer yet";
    note.className = "verdict";
    note.innerHTML =
      task === "half"
        ? "The network fills in what is missing, so that it fits what is there."
        : `At t = ${amount.value} there is ${Math.sqrt(BAR[amount.value]).toFixed(2)} of your drawing in the picture. <b>More noise</b>: a better digit. <b>Less</b>: more like yours.`;
    go.textContent = "Give it to the network";
  }
  async function begin() {
    if (location.protocol === "file:") {
      note.textContent = "Opened from a disk, this page cannot load the network. Serve its folder: python -m http.server.";
      return;
    }
    const mine = ++run;
    go.textContent = "Other noise";
    note.textContent = "Loading the network, 5 MB …";
    try {
      await network.load(() => {});
      if (mine !== run) return;
      note.textContent = "The network is at work.";
      const y = [digit],
        noise = noiseFrom(),
        w = digit === ANY ? 0 : 1,
        way = task === "half" ? complete(image, known(), y, w, noise) : takeBack(image, amount.value, y, w, noise);
      for await (const { x, t, x0 } of way) {
        if (mine !== run) return;
        show(noisy, x);
        show(result, x0);
        captions[1].textContent = `t = ${t}`;
        captions[2].textContent = t ? "the network’s guess at the digit" : "what it made of yours";
        if (!still) await new Promise((ok) => setTimeout(ok, 30));
      }
      showShown();
      note.innerHTML = "<b>Done.</b> Press again for other noise, and another answer.";
      box.dataset.done = seed++;
    } catch (e) {
      note.className = "verdict bad";
      note.textContent = `The network could not answer: ${e.message}`;
    }
  }
  image = Float32Array.from(digitImage(example));
  fresh();
}

for (const box of $$('.widget[data-widget="hand"]')) handWidget(box);
