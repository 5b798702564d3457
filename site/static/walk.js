// The exact field: data whose best network is known, its density and score at any time, and points that walk back by the
// samplers of engine.js. Chapter 10 has all of it; 00 and 05 have ancestral sampling alone.
const crescents = () => {
  // two of them, each of seven Gaussians of one variance
  const centres = [];
  for (let k = 0; k < 7; k++) {
    const a = (Math.PI * k) / 6;
    centres.push([0.7 * Math.cos(a) - 0.35, 0.7 * Math.sin(a) - 0.15], [0.35 - 0.7 * Math.cos(a), 0.15 - 0.7 * Math.sin(a)]);
  }
  return { centres, variance: 0.006 };
};
const humps = () => ({ centres: [[-1, 0.7], [0.9, 0.9], [0.1, -0.9]], variance: 0.02 });

// E[eps | x_t] for points x = [x, y, x, y, ...]: each component's guess, weighted by its share. The score, the slope of
// log q(x_t), is -eps / sqrt(1 - alpha_bar); `density` takes q(x_t) itself, but for a factor.
function bestEps({ centres, variance }, x, ab, density = null) {
  const a = Math.sqrt(ab),
    c = ab * variance + 1 - ab,
    eps = new Float64Array(x.length);
  for (let i = 0; i < x.length; i += 2) {
    const far = centres.map(([u, v]) => ((x[i] - a * u) ** 2 + (x[i + 1] - a * v) ** 2) / (2 * c)),
      least = Math.min(...far);
    let total = 0;
    centres.forEach(([u, v], k) => {
      const share = Math.exp(least - far[k]);
      total += share;
      eps[i] += share * (x[i] - a * u);
      eps[i + 1] += share * (x[i + 1] - a * v);
    });
    const scale = Math.sqrt(1 - ab) / (c * total);
    eps[i] *= scale;
    eps[i + 1] *= scale;
    if (density) density[i / 2] = total * Math.exp(-least);
  }
  return eps;
}

// All states of a walk from x at t = T to t = 0, their times, and how often the network was asked.
function samplerWalk(data, kind, steps, eta, x, noise, ab = linearBar()) {
  const times = spacedTimes(ab.length - 1, steps),
    states = [x];
  let calls = 0,
    before = null;
  const ask = (x, t) => {
    calls++;
    const eps = bestEps(data, x, ab[t]);
    return { eps, x0: x.map((v, i) => (v - Math.sqrt(1 - ab[t]) * eps[i]) / Math.sqrt(ab[t])) };
  };
  for (let i = 0; i < steps; i++) {
    const [t, s] = times.slice(i),
      guess = ask(x, t);
    if (kind === "heun") {
      const [at, bt, as, bs] = [ab[t], 1 - ab[t], ab[s], 1 - ab[s]].map(Math.sqrt),
        end = reverseStep("ddim", ab, t, s, x, guess).x,
        there = s > 0 ? ask(end, s).eps : null;
      x = there ? x.map((v, k) => as * (v / at + ((bs / as - bt / at) * (guess.eps[k] + there[k])) / 2)) : end;
    } else {
      const z = s > 0 && (kind === "ddpm" || eta > 0) ? noise(x.length) : null;
      ({ x, before } = reverseStep(kind, ab, t, s, x, guess, { z, eta, before }));
    }
    states.push(x);
  }
  return { states, times, calls };
}

// The share of points that lie within three standard deviations of a component.
const onData = ({ centres, variance }, x) => {
  let near = 0;
  for (let i = 0; i < x.length; i += 2)
    near += centres.some(([u, v]) => (x[i] - u) ** 2 + (x[i + 1] - v) ** 2 < 9 * variance);
  return near / (x.length / 2);
};

const ALL_KINDS = { ddpm: "Ancestral sampling", ddim: "DDIM", heun: "Heun", dpm: "DPM-Solver++(2M)" };
const fieldExplorer = (box) =>
  walkExplorer(box, { kinds: { ddpm: "Ancestral sampling" }, first: humps, title: "Walk back from noise" });

function walkExplorer(box, { kinds = ALL_KINDS, first = crescents, title = "Walk it yourself" } = {}) {
  const POINTS = 400,
    WAYS = { smooth: 40, wild: 6 }, // so many are drawn; those with dice hide each other
    COMPARED = 100, // points whose ends are compared with the exact ones
    HALF = 2.6, // the picture shows [-HALF, HALF] in both directions
    FINE = 72, // cells a side of the density
    bars = linearBar(),
    COUNTS = [1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100, 150, 200, 300, 500, 1000];
  const alone = Object.keys(kinds).length === 1;
  let seed = 1,
    data = first(),
    walk = null,
    share = 0,
    exact = null, // where the ODE itself leads the first points; forgotten when data or noise change
    held = -1, // the hump under the pointer or the arrow keys
    playing = 0,
    dragging = false;

  const select = make("select", {}, ...Object.entries(kinds).map(([k, name]) => make("option", { value: k, textContent: name, selected: k === "ddim" || alone })));
  select.addEventListener("change", () => settle());
  const count = () => COUNTS[steps.value],
    steps = slider("Steps", 0, COUNTS.length - 1, COUNTS.indexOf(alone ? 40 : 10), 1, (v) => String(COUNTS[v]), () => settle()),
    eta = slider("Noise <i>η</i>", 0, 1, 0, 0.05, (v) => v.toFixed(2), () => settle()),
    time = slider("Time <i>t</i>", 0, 1000, 0, 1, String, () => {
      pause();
      paintField();
    });
  const press = (text, click) => {
    const b = make("button", { className: "button", type: "button", textContent: text });
    b.addEventListener("click", click);
    return b;
  };
  const play = press("Walk back", () => (playing ? pause() : start())),
    again = press("Other noise", () => {
      seed++;
      exact = null;
      settle();
    });
  const use = (made) => () => {
    data = made();
    exact = null;
    held = -1;
    settle();
  };
  const add = press("Add a hump", () => place([0.6 * Math.cos(2.4 * data.centres.length), 0.6 * Math.sin(2.4 * data.centres.length)])),
    drop = press("Remove one", () => {
      if (data.centres.length > 1) data.centres.splice(held >= 0 ? held : -1, 1);
      held = -1;
      exact = null;
      settle();
    });
  const arrows = make("input", { type: "checkbox", checked: true });
  arrows.addEventListener("change", () => paintField());
  const canvas = make("canvas", { className: "walk" }),
    cloud = make("canvas", { width: FINE, height: FINE }),
    verdict = make("p", { className: "verdict" }),
    quiz = make("div", { className: "quiz" });
  canvas.setAttribute("role", "img");
  canvas.tabIndex = 0;
  verdict.setAttribute("role", "status");
  box.replaceChildren(
    make("p", { className: "widget-title", textContent: title }),
    make("p", {
      className: "hint",
      textContent:
        "The best network there is for these data, in closed form: whatever goes wrong is the walk’s own fault. " +
        "Gold is the density of noisy data at time t, arrows its score. Some of the 400 ways are drawn. Drag a hump, or click to add one.",
    }),
    make(
      "div",
      { className: "field" },
      make("div", {}, canvas),
      make(
        "div",
        {},
        time.label,
        make("div", { className: "presets" }, play, again),
        make("label", { hidden: alone }, "Sampler ", select),
        steps.label,
        eta.label,
        make("div", { className: "presets" }, press("Two crescents", use(crescents)), press("Three humps", use(humps)), add, drop),
        make("label", {}, arrows, " arrows"),
      ),
    ),
    verdict,
    alone ? "" : quiz,
  );

  function place(at) {
    if (data.centres.length > 30) return;
    data.centres.push(at);
    held = data.centres.length - 1;
    exact = null;
    settle();
  }
  // Everything that a change of settings changes
  function settle() {
    pause();
    time.set(0);
    run();
    ask();
  }
  function run() {
    const kind = select.value,
      own = kind === "ddim" || kind === "dpm",
      start = normals(2 * POINTS, seed);
    let stream = 7919 * seed;
    eta.hide(!own);
    walk = samplerWalk(data, kind, count(), own ? eta.value : 0, start, (n) => normals(n, ++stream));
    share = onData(data, walk.states.at(-1));
    paintField();
  }
  const dice = () => select.value === "ddpm" || (select.value !== "heun" && eta.value > 0);
  // How far the first points end from where the ODE leads; null where there are dice
  function distance() {
    if (dice()) return null;
    exact ??= samplerWalk(data, "heun", dragging ? 100 : 1000, 0, normals(2 * POINTS, seed).slice(0, 2 * COMPARED), null).states.at(-1);
    const end = walk.states.at(-1);
    let sum = 0;
    for (let i = 0; i < 2 * COMPARED; i += 2) sum += Math.hypot(end[i] - exact[i], end[i + 1] - exact[i + 1]);
    return sum / COMPARED;
  }
  function start() {
    const mine = ++playing,
      begun = performance.now(),
      lasts = 3500;
    play.textContent = "Stop";
    const tick = (now) => {
      if (playing !== mine) return;
      const left = Math.max(0, 1 - (now - begun) / lasts);
      time.set(Math.round(1000 * left));
      paintField();
      left > 0 ? requestAnimationFrame(tick) : pause();
    };
    requestAnimationFrame(tick);
  }
  function pause() {
    playing = 0;
    play.textContent = "Walk back";
  }
  // The points at time t: between two states they go straight
  function pointsAt(t) {
    const i = walk.times.findIndex((s) => s <= t);
    if (i <= 0) return walk.states[0];
    const part = (walk.times[i - 1] - t) / (walk.times[i - 1] - walk.times[i]);
    return walk.states[i].map((v, k) => part * v + (1 - part) * walk.states[i - 1][k]);
  }

  function paintField() {
    const t = time.value,
      ratio = Math.min(3, devicePixelRatio || 1),
      w = Math.min(canvas.parentElement.clientWidth || 480, 480);
    canvas.style.width = canvas.style.height = w + "px";
    canvas.width = canvas.height = w * ratio;
    const pen = canvas.getContext("2d"),
      at = (v) => ((v + HALF) / (2 * HALF)) * w;
    pen.scale(ratio, ratio);
    paintDensity(pen, w, t);
    if (arrows.checked) paintScore(pen, at, t);
    const now = pointsAt(t);
    pen.strokeStyle = colour("noise");
    pen.globalAlpha = 0.55;
    pen.lineWidth = 1;
    const passed = walk.states.filter((_, k) => walk.times[k] >= t);
    for (let i = 0; i < 2 * (dice() ? WAYS.wild : WAYS.smooth); i += 2) {
      pen.beginPath();
      for (const x of [...passed, now]) pen.lineTo(at(x[i]), at(-x[i + 1]));
      pen.stroke();
    }
    pen.fillStyle = colour("signal");
    pen.globalAlpha = 0.85;
    for (let i = 0; i < 2 * POINTS; i += 2) {
      pen.beginPath();
      pen.arc(at(now[i]), at(-now[i + 1]), 1.8, 0, 7);
      pen.fill();
    }
    pen.strokeStyle = colour("ink");
    pen.globalAlpha = 0.5;
    data.centres.forEach(([u, v], k) => {
      pen.lineWidth = k === held ? 2.5 : 1;
      pen.beginPath();
      pen.arc(at(u), at(-v), k === held ? 7 : 4, 0, 7);
      pen.stroke();
    });
    pen.globalAlpha = 1;
    tell();
  }
  function paintDensity(pen, w, t) {
    const grid = new Float64Array(2 * FINE * FINE).map((_, i) => {
        const cell = i >> 1;
        return (i & 1 ? -1 : 1) * (((i & 1 ? Math.floor(cell / FINE) : cell % FINE) + 0.5) / FINE - 0.5) * 2 * HALF;
      }),
      density = new Float64Array(FINE * FINE);
    bestEps(data, grid, bars[t], density);
    const most = density.reduce((a, b) => Math.max(a, b), 0),
      brush = cloud.getContext("2d", { willReadFrequently: true }),
      image = brush.createImageData(FINE, FINE);
    brush.fillStyle = colour("gold");
    brush.fillRect(0, 0, 1, 1);
    const [r, g, b] = brush.getImageData(0, 0, 1, 1).data;
    density.forEach((q, k) => image.data.set([r, g, b, 190 * Math.sqrt(q / most)], 4 * k));
    brush.putImageData(image, 0, 0);
    pen.drawImage(cloud, 0, 0, w, w);
  }
  function paintScore(pen, at, t) {
    const n = 15,
      grid = [];
    for (let j = 0; j < n; j++) for (let i = 0; i < n; i++) grid.push(((i + 0.5) / n - 0.5) * 2 * HALF, (0.5 - (j + 0.5) / n) * 2 * HALF);
    const eps = bestEps(data, Float64Array.from(grid), bars[Math.max(1, t)]),
      most = (0.42 * 2 * HALF) / n;
    pen.strokeStyle = colour("soft");
    pen.globalAlpha = 0.6;
    pen.lineWidth = 1;
    for (let i = 0; i < grid.length; i += 2) {
      const size = Math.hypot(eps[i], eps[i + 1]),
        long = (most * size) / (0.6 + size), // each points uphill; far ones are cut to length
        [x, y] = [at(grid[i]), at(-grid[i + 1])],
        angle = Math.atan2(eps[i + 1], -eps[i]),
        [u, v] = [at(grid[i] + long * Math.cos(angle)), at(-grid[i + 1] + long * Math.sin(angle))];
      pen.beginPath();
      pen.moveTo(x, y);
      pen.lineTo(u, v);
      for (const turn of [2.6, -2.6]) {
        pen.moveTo(u, v);
        pen.lineTo(u + 3.5 * Math.cos(angle + turn), v + 3.5 * Math.sin(angle + turn));
      }
      pen.stroke();
    }
  }
  function tell() {
    const name = kinds[select.value],
      off = distance();
    canvas.setAttribute(
      "aria-label",
      `${name}, ${count()} steps: ${Math.round(100 * share)}% end on the data. Arrow keys move a hump, Enter takes the next.`,
    );
    verdict.className = share < 0.9 ? "verdict bad" : "verdict";
    verdict.innerHTML =
      `${name}: <b>${walk.calls}</b> call${walk.calls > 1 ? "s" : ""} of the network, and <b>${Math.round(100 * share)}%</b> of 400 points ` +
      "end where data lie. Of draws from the data it would be 99%. " +
      (off === null ? "Each walk draws its own noise, so there is no one exact end to compare with." : `On average they end <b>${few(off)}</b> from where the exact path leads.`);
    box.dataset.calls = walk.calls;
    box.dataset.share = share;
    if (off !== null) box.dataset.off = off;
  }

  // Humps under the pointer and the arrow keys
  const where = (e) => {
      const r = canvas.getBoundingClientRect();
      return [((e.clientX - r.left) / r.width - 0.5) * 2 * HALF, (0.5 - (e.clientY - r.top) / r.height) * 2 * HALF];
    },
    nearest = ([x, y]) => data.centres.findIndex(([u, v]) => Math.hypot(u - x, v - y) < 0.16);
  canvas.addEventListener("pointerdown", (e) => {
    held = nearest(where(e));
    dragging = held >= 0;
    if (dragging) canvas.setPointerCapture(e.pointerId);
    paintField();
  });
  canvas.addEventListener("click", (e) => {
    if (held < 0) place(where(e)); // on pointerdown a finger that scrolls the page would add one, too
  });
  canvas.addEventListener("pointermove", (e) => {
    canvas.style.cursor = nearest(where(e)) >= 0 ? "grab" : "crosshair";
    if (dragging) move(where(e));
  });
  for (const end of ["pointerup", "pointercancel"])
    canvas.addEventListener(end, () => {
      if (!dragging) return;
      dragging = false;
      exact = null; // on the way it was rough
      paintField();
    });
  function move(to) {
    data.centres[held] = to.map((v) => Math.max(-2.3, Math.min(2.3, v)));
    exact = null;
    settle();
  }
  canvas.addEventListener("keydown", (e) => {
    const by = { ArrowUp: [0, 0.1], ArrowDown: [0, -0.1], ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0] }[e.key];
    if (e.key === "Enter") held = (held + 1) % data.centres.length;
    else if (!by) return;
    e.preventDefault();
    if (held < 0) held = 0;
    by ? move(data.centres[held].map((v, k) => v + by[k])) : paintField();
  });

  // Predict first, then run
  const QUESTIONS = [["ddim", 2], ["ddpm", 10], ["dpm", 10], ["ddim", 30], ["ddpm", 100], ["heun", 5]],
    ANSWERS = [["fewer than a third", 0, 1 / 3], ["about half", 1 / 3, 0.8], ["nearly all", 0.8, 1.01]];
  let question = 0;
  function ask() {
    const [kind, n] = QUESTIONS[question % QUESTIONS.length];
    quiz.replaceChildren(
      make("p", { innerHTML: `<b>Predict first.</b> ${kinds[kind]}, ${n} steps: how many of the 400 points will end where data lie?` }),
      make("div", { className: "presets" }, ...ANSWERS.map(([text, low, high]) => press(text, () => answer(text, low, high)))),
    );
  }
  function answer(text, low, high) {
    const [kind, n] = QUESTIONS[question++ % QUESTIONS.length];
    pause();
    select.value = kind;
    steps.set(COUNTS.indexOf(n));
    eta.set(0);
    time.set(still ? 0 : 1000);
    run();
    const right = low <= share && share < high,
      said = make("p", { innerHTML: `You said ${text}: <b>${right ? "right" : "not quite"}</b>, it is ${Math.round(100 * share)}%.` });
    said.setAttribute("role", "status");
    quiz.replaceChildren(said, make("div", { className: "presets" }, press("Another question", () => ask())));
    if (!still) start();
  }

  settle();
  document.addEventListener("themechange", paintField);
  addEventListener("resize", paintField);
}
