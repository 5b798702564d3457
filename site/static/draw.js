// The page Draw: a trained network at work. The network answers from a worker (draw/worker.js); schedule, noise, times
// and steps are those of engine.js, and what is drawn with is that of widgets.js.
const T = 1000,
  BAR = cosineBar(T), // the schedule that mnist-labels was trained with
  ANY = 10; // the class that stands for no label

// ---- the network

const network = (() => {
  let worker = null,
    serial = 0,
    tell = () => {};
  const waiting = new Map();
  function start() {
    worker = new Worker(`${root}_static/draw/worker.js`);
    worker.onmessage = ({ data: { id, v, error, bytes } }) => {
      if (bytes) return tell(bytes);
      const { ok, fail } = waiting.get(id);
      waiting.delete(id);
      error ? fail(new Error(error)) : ok(v);
    };
    worker.onerror = (e) => {
      for (const { fail } of waiting.values()) fail(new Error(e.message || "the worker did not start"));
      waiting.clear();
    };
  }
  const post = (message) =>
    new Promise((ok, fail) => {
      if (!worker) start();
      waiting.set(++serial, { ok, fail });
      worker.postMessage({ ...message, id: serial });
    });
  let ready = null;
  return {
    load(progress) {
      tell = progress;
      return (ready ??= post({}).catch((e) => {
        ready = null;
        throw e;
      }));
    },
    ask: post,
  };
})();

// x0_hat, clipped, and the eps_hat that belongs to it, for images x, all at time t, told digits y
async function askNetwork(x, t, y, w) {
  const v = await network.ask({ x, t, y, w }),
    [a, b] = [Math.sqrt(BAR[t]), Math.sqrt(1 - BAR[t])],
    x0 = x.map((value, i) => Math.max(-1, Math.min(1, a * value - b * v[i])));
  return { x0, eps: x.map((value, i) => (value - a * x0[i]) / b) };
}

const noiseOf = ({ seed, n }, draw) => {
  const out = new Float32Array(n * N);
  for (let k = 0; k < n; k++) out.set(portableNormals(seed, k, draw, N), k * N);
  return out;
};

// A walk: frames of x_t, each with what the network said of it once it was asked
const beginWalk = ({ kind, steps, seed, n, digit }) => ({
  kind, seed, n,
  y: Array(n).fill(digit),
  times: timesFor(kind, T, steps),
  calls: 0,
  milliseconds: 0,
  asking: null, // the step that is being taken: nobody takes it twice
  frames: [{ x: noiseOf({ seed, n }, 0) }],
});
const takeStep = (walk, w) => (walk.asking ??= nextFrame(walk, w).finally(() => (walk.asking = null)));
async function nextFrame(walk, w) {
  const i = walk.frames.length - 1,
    [t, s] = walk.times.slice(i),
    { x, before } = walk.frames[i],
    start = performance.now(),
    guess = await askNetwork(x, t, walk.y, w);
  walk.calls++;
  walk.milliseconds += performance.now() - start;
  const z = walk.kind === "ddpm" && s > 0 ? noiseOf(walk, i + 1) : null,
    step = reverseStep(walk.kind, BAR, t, s, x, guess, { z, before });
  Object.assign(walk.frames[i], guess, { w, terms: step.terms });
  walk.frames.push({ x: step.x, before: step.before });
}
// All of it at once: what the tests compare with Python
async function drawImages(settings) {
  const walk = beginWalk(settings);
  while (walk.frames.length < walk.times.length) await takeStep(walk, settings.w);
  return Array.from(walk.frames.at(-1).x, (v) => Math.round((Math.max(-1, Math.min(1, v)) + 1) * 127.5));
}

// ---- pictures

function paintGrid(canvas, x, scale = 1) {
  const n = x.length / N,
    columns = Math.ceil(Math.sqrt(n)),
    rows = Math.ceil(n / columns);
  canvas.width = columns * SIDE;
  canvas.height = rows * SIDE;
  const pen = canvas.getContext("2d"),
    image = pen.createImageData(SIDE, SIDE);
  for (let k = 0; k < n; k++) {
    for (let i = 0; i < N; i++) {
      image.data.fill((x[k * N + i] / scale + 1) * 127.5, 4 * i, 4 * i + 3);
      image.data[4 * i + 3] = 255;
    }
    pen.putImageData(image, (k % columns) * SIDE, Math.floor(k / columns) * SIDE);
  }
}
function blank(canvas) {
  canvas.width = canvas.height = SIDE;
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#0e1420";
  pen.fillRect(0, 0, SIDE, SIDE);
}
const html = (tag, className, innerHTML) => make(tag, { className, innerHTML });
const button = (text, click, className = "button") => {
  const b = make("button", { className, type: "button", textContent: text });
  b.addEventListener("click", click);
  return b;
};
// One of several, as buttons in a row; a group of radio buttons for the keyboard
function choice(legend, options, value, change) {
  const name = `choice${++serial}`,
    inputs = options.map(([v, text]) => {
      const input = make("input", { type: "radio", name, value: v, checked: v === value });
      input.addEventListener("change", () => change(v));
      return [input, make("label", {}, input, make("span", { textContent: text }))];
    }),
    field = make("fieldset", { className: "choice" }, make("legend", { textContent: legend }), ...inputs.map(([, l]) => l));
  return {
    field,
    set(v) {
      for (const [input] of inputs) input.checked = input.value === String(v);
    },
  };
}
const signed = (v, digits = 3) => (v < 0 ? "−" : "") + Math.abs(v).toFixed(digits);
const DIGITS = [...Array.from({ length: 10 }, (_, k) => [k, String(k)]), [ANY, "any"]];
const KINDS = [
  ["ddim", "DDIM"],
  ["dpm", "DPM-Solver++"],
  ["ddpm", "ancestral"],
];
const an = (digit) => `${digit === 8 ? "an" : "a"} ${digit}`;
const SAID = { ddim: "DDIM", dpm: "DPM-Solver++(2M)", ddpm: "ancestral sampling" };

// The place where the network is asked for, until it is there
function gate(begin) {
  const say = make("p", { className: "gate-say" }),
    note = make("p", { className: "gate-note" }),
    bar = make("progress", { max: 5.3, value: 0, hidden: true }),
    start = button("Draw", () => open(), "button primary large");
  bar.setAttribute("aria-label", "Megabytes of the network that are here");
  note.textContent = "Downloads 5 MB from this site. The network runs in your browser; nothing that you do is sent.";
  async function open() {
    if (location.protocol === "file:") {
      note.textContent =
        "This page was opened from a disk, and browsers do not let such a page load a network. " +
        "In its folder run “python -m http.server”, and open localhost:8000/draw.html.";
      return;
    }
    start.disabled = true;
    bar.hidden = false;
    note.textContent = "Loading the runtime and a million weights …";
    try {
      await network.load((bytes) => (bar.value = bytes / 1e6));
      box.remove();
      begin();
    } catch (e) {
      start.disabled = false;
      start.textContent = "Try again";
      bar.hidden = true;
      note.textContent = `The network could not be loaded (${e.message}).`;
    }
  }
  function name(digit) {
    const told = digit === ANY ? "" : `, told “${digit}”,`;
    start.textContent = digit === ANY ? "Draw a digit" : `Draw ${an(digit)}`;
    say.innerHTML = `This is pure noise. There is no digit in it.<br>A neural network${told} guesses one all the same, again and again.`;
  }
  const box = make("div", { className: "gate" }, say, start, bar, note);
  note.setAttribute("role", "status");
  return { box, open, name };
}

// ---- the widget

const DEFAULTS = { digit: 7, w: [[0, 1]], steps: 20, kind: "ddim", seed: 1, n: 1, at: null };
const address = () => new URLSearchParams(location.hash.slice(1) || location.search);
function readAddress() {
  const given = address(),
    state = { ...DEFAULTS, w: [[0, 1]] },
    whole = (name, low, high) => {
      const v = given.get(name);
      if (/^\d+$/.test(v ?? "") && +v >= low && +v <= high) state[name] = +v;
    };
  if (given.get("digit") === "any") state.digit = ANY;
  else whole("digit", 0, 9);
  whole("steps", 1, 200);
  whole("seed", 0, 2 ** 32 - 1);
  whole("at", 0, state.steps);
  if (given.get("images") === "16") state.n = 16;
  if (KINDS.some(([k]) => k === given.get("sampler"))) state.kind = given.get("sampler");
  const turns = [...(given.get("guidance") ?? "").matchAll(/(?:(\d+):)?(\d+(?:\.\d+)?)/g)].map((m) => [+(m[1] ?? 0), +m[2]]);
  if (turns.length && turns[0][0] === 0 && turns.every(([, w]) => w <= 8)) state.w = turns;
  return state;
}
// Whether anything but the digit is not as at first: then all settings are in sight
const isSpecial = ({ w, ...state }) =>
  w.length > 1 || w[0][1] !== DEFAULTS.w[0][1] || ["steps", "kind", "seed", "n"].some((name) => state[name] !== DEFAULTS[name]);
const hashOf = ({ digit, w, steps, kind, seed, n, at }) =>
  "#" +
  new URLSearchParams({
    digit: digit === ANY ? "any" : digit,
    guidance: w.map(([from, value]) => (from ? `${from}:${value}` : value)).join("~"),
    steps,
    sampler: kind,
    seed,
    ...(n > 1 ? { images: n } : {}),
    ...(at === null || at === steps ? {} : { at }),
  });

function drawWidget(box) {
  let state = readAddress(),
    walk = beginWalk(state),
    shown = 0, // the frame in sight
    running = 0, // grows with each run, so that an older one knows that it is over
    busy = false,
    ready = false,
    pixel = null,
    waiting = 0,
    until = state.at; // where a link says to stop
  const guidanceAt = (i) => state.w.reduce((now, [from, value]) => (from <= i ? value : now), 0);

  // what is seen
  const canvases = ["x", "x0", "eps"].map((name) => {
      const c = make("canvas", { className: "px" });
      c.setAttribute("role", "img");
      return c;
    }),
    [nowCanvas, x0Canvas, epsCanvas] = canvases,
    mark = make("span", { className: "mark-pixel", hidden: true }),
    nowTime = make("b"),
    equals = html("span", "factor", ""),
    plus = html("span", "factor", "");
  const panel = (canvas, name, text, ...more) =>
    make("figure", {}, make("div", { className: "frame-px" }, canvas, ...more), make("figcaption", {}, make("span", { textContent: text }), name));
  const stage = make(
    "div",
    { className: "stage" },
    panel(nowCanvas, make("span", { className: "name" }, html("i", "", "x<sub>t</sub>"), nowTime), "the image so far", mark),
    equals,
    panel(x0Canvas, html("span", "name signal", "<i>x̂</i><sub>0</sub>"), "the network’s guess at the digit"),
    plus,
    panel(epsCanvas, html("span", "name noise", "<i>ε̂</i>"), "its guess at the noise"),
  );
  nowCanvas.tabIndex = 0;

  // what is done
  const go = button("Draw", () => (busy ? (stop(), look()) : play()), "button primary"),
    one = button("One step", () => step()),
    again = button("Back to the noise", () => restart(false)),
    dice = button("Other noise", () => {
      const next = (state.seed + 1) % 2 ** 32;
      seed.value = next;
      change({ seed: next });
    }),
    link = button("Copy link", async () => {
      try {
        await navigator.clipboard.writeText(location.href);
        link.textContent = "Copied";
      } catch {
        link.textContent = "Copy it from the address bar";
      }
      setTimeout(() => (link.textContent = "Copy link"), 1600);
    });
  const scrub = make("input", { type: "range", min: 0, value: 0, step: 1 });
  scrub.setAttribute("aria-label", "Step of the walk");
  scrub.addEventListener("input", () => {
    stop();
    show(Math.min(+scrub.value, walk.frames.length - 1));
  });
  const film = Array.from({ length: 11 }, () => {
    const canvas = make("canvas", { className: "px" }),
      text = make("span"),
      b = make("button", { type: "button" }, canvas, text);
    b.addEventListener("click", () => {
      stop();
      show(Math.min(+b.dataset.frame, walk.frames.length - 1));
    });
    blank(canvas);
    return { b, canvas, text };
  });
  const status = make("p", { className: "verdict" });
  status.setAttribute("role", "status");
  const pixelBox = make("div", { className: "pixel" });

  // what is chosen
  const digits = choice("Which digit?", DIGITS, state.digit, (digit) => change({ digit })),
    kinds = choice("Sampler", KINDS, state.kind, (kind) => change({ kind })),
    counts = choice("At once", [[1, "1"], [16, "16"]], state.n, (n) => change({ n })),
    guidance = slider("Guidance <i>w</i>", 0, 4, state.w.at(-1)[1], 0.25, (v) => v.toFixed(2), () => steer(guidance.value)),
    steps = slider("Steps", 1, 100, state.steps, 1, String, () => change({ steps: steps.value })),
    seed = make("input", { type: "number", min: 0, max: 4294967295, value: state.seed, inputMode: "numeric" });
  seed.addEventListener("change", () => {
    const v = Math.max(0, Math.min(2 ** 32 - 1, Math.round(+seed.value) || 0));
    seed.value = v;
    change({ seed: v });
  });
  const more = make(
    "details",
    { className: "fold", open: isSpecial(state) },
    make("summary", { textContent: "More settings" }),
    make("div", { className: "controls" }, guidance.label, steps.label, make("label", { className: "seed" }, "Seed of the noise ", seed), kinds.field, counts.field),
    make("p", { className: "hint", textContent: "Guidance pushes the walk towards the digit: with more of it, digits are cleaner, and more alike. Steps: how often the network guesses. The same seed and settings draw the same image." }),
  );
  const doors = gate(() => {
    ready = true;
    box.classList.remove("waiting");
    play();
  });
  doors.name(state.digit);
  stage.append(doors.box);
  box.classList.add("waiting");
  box.replaceChildren(
    digits.field,
    stage,
    status,
    make("div", { className: "walkbar" }, go, one, again, dice, link, scrub),
    make("div", { className: "strip film" }, ...film.map((f) => f.b)),
    pixelBox,
    more,
  );

  function change(what) {
    stop();
    state = { ...state, ...what, w: [[0, guidance.value]] };
    doors.name(state.digit);
    restart(ready);
  }
  // Guidance may turn on the way: from the frame in sight on
  function steer(w) {
    const from = shown > 0 && shown < state.steps ? shown : 0;
    stop();
    state.w = [...state.w.filter(([i]) => i < from), [from, w]];
    const { x, before } = walk.frames[from]; // what the network said of it is asked again
    walk = from ? { ...walk, asking: null, frames: [...walk.frames.slice(0, from), { x, before }] } : beginWalk(state);
    show(from);
    if (ready) play();
  }
  function restart(thenPlay) {
    stop();
    walk = beginWalk(state);
    show(0);
    if (thenPlay) play();
  }
  function stop() {
    running++;
    busy = false;
    status.setAttribute("aria-busy", "false");
    if (+box.dataset.frame !== shown) show(shown);
    label();
    keepAddress();
  }
  async function play() {
    if (!ready) return doors.open();
    if (shown >= state.steps) {
      walk = beginWalk(state);
      show(0);
    }
    const mine = ++running,
      end = until ?? state.steps;
    until = null;
    busy = true;
    status.setAttribute("aria-busy", "true"); // a screen reader waits for the end
    label();
    const pace = still ? 0 : Math.min(90, 800 / state.steps), // milliseconds a step, where the network is faster
      start = performance.now() - pace * shown;
    try {
      while (running === mine && shown < end) {
        await forward();
        if (running !== mine) return;
        if (still && shown + 1 < end) shown++; // whoever asked for less motion sees the end
        else show(shown + 1);
        const early = start + pace * shown - performance.now();
        await new Promise((ok) => setTimeout(ok, Math.max(0, early)));
      }
    } catch (e) {
      return failed(e, mine);
    }
    if (running !== mine) return;
    stop();
    look();
  }
  function failed(e, mine) {
    if (running !== mine) return;
    stop();
    status.textContent = `The network stopped: ${e.message}`;
    status.className = "verdict bad";
  }
  // Where a walk has stopped, what the network sees in the image so far
  async function look() {
    const mine = running;
    if (!ready || shown >= state.steps || walk.frames[shown].x0) return;
    try {
      await forward();
    } catch (e) {
      return failed(e, mine);
    }
    if (mine === running) show(shown);
  }
  // The frame after the one in sight is there
  async function forward() {
    const mine = walk;
    if (mine.frames.length === shown + 1) await takeStep(mine, guidanceAt(shown));
  }
  async function step() {
    if (!ready) return doors.open();
    stop();
    if (shown >= state.steps) return;
    const mine = running;
    try {
      await forward();
    } catch (e) {
      return failed(e, mine);
    }
    if (mine !== running) return;
    show(shown + 1);
    look();
  }
  // Browsers allow so many changes of an address in a minute
  function keepAddress() {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      const at = shown > 0 && shown < state.steps ? shown : null;
      history.replaceState(null, "", location.pathname + hashOf({ ...state, at }));
    }, 250);
  }
  function label() {
    go.textContent = busy ? "Stop" : shown > 0 && shown < state.steps ? "Go on" : shown ? "Replay" : "Draw";
    one.disabled = ready && shown === state.steps;
  }

  function show(i) {
    shown = i;
    const last = walk.times.length - 1,
      t = walk.times[i],
      { x, x0, eps } = walk.frames[i],
      said = x0 ? walk.frames[i] : i === last ? walk.frames[i - 1] : null,
      [a, b] = [Math.sqrt(BAR[t]), Math.sqrt(1 - BAR[t])];
    paintGrid(nowCanvas, x);
    said ? paintGrid(x0Canvas, said.x0) : blank(x0Canvas);
    said ? paintGrid(epsCanvas, said.eps, 3) : blank(epsCanvas);
    box.classList.toggle("unasked", !said);
    nowTime.textContent = `t = ${t}`;
    equals.textContent = `= ${a.toFixed(2)} ×`;
    plus.textContent = `+ ${b.toFixed(2)} ×`;
    const what = walk.n > 1 ? `${walk.n} images` : "The image";
    nowCanvas.setAttribute("aria-label", `${what} at t = ${t}. Arrow keys choose a pixel.`);
    x0Canvas.setAttribute("aria-label", said ? "The network’s guess of the digit" : "No guess yet");
    epsCanvas.setAttribute("aria-label", said ? "The network’s guess of the noise" : "No guess yet");
    scrub.max = last;
    scrub.value = i;
    scrub.setAttribute("aria-valuetext", `step ${i} of ${last}, t = ${t}`);
    const nearest = Math.round((i * (film.length - 1)) / last);
    film.forEach((f, k) => {
      const frame = Math.round((k * last) / (film.length - 1)),
        there = walk.frames[frame];
      f.b.dataset.frame = frame;
      f.b.disabled = !there;
      if (f.painted !== there?.x) there ? paintGrid(f.canvas, there.x) : blank(f.canvas);
      f.painted = there?.x;
      f.text.textContent = k % 2 ? "" : `t = ${walk.times[frame]}`;
      f.b.setAttribute("aria-label", `t = ${walk.times[frame]}`);
      k === nearest ? f.b.setAttribute("aria-current", "true") : f.b.removeAttribute("aria-current");
    });
    tellStatus(i, last, t);
    showPixel();
    label();
    box.dataset.frame = i;
    if (!busy) keepAddress();
  }
  function tellStatus(i, last, t) {
    const w = guidanceAt(Math.max(0, i - 1));
    status.className = "verdict";
    if (i === last) {
      const seconds = walk.milliseconds / 1e3;
      const each = walk.n > 1 ? "each" : "it",
        told = state.digit === ANY ? `no digit; the noise decided which ${each} would be` : `“${state.digit}”; the noise at the start gave ${each} its shape`,
        what = walk.n > 1 ? `These ${walk.n} digits were` : `This ${state.digit === ANY ? "digit" : state.digit} was`;
      status.innerHTML = `<b>Done. ${what} stored nowhere.</b> The network was told ${told}. (${SAID[walk.kind]}, ${walk.calls} calls of the network in ${seconds.toFixed(2)} s.)`;
    } else if (i === 0 && !walk.frames[0].x0) {
      status.innerHTML = "<b>Pure noise.</b> The network will guess which part of it is a digit, and which is noise.";
    } else if (i === 0) {
      status.innerHTML = "From pure noise the network guesses a digit, blurred: the mean of all that it could be. Only a little of that is believed.";
    } else {
      status.innerHTML = `Step ${i} of ${last}: the two guesses were mixed again with <b>less noise</b>, and the network guesses again${w ? ` (guidance ${w})` : ""}.`;
    }
    box.dataset.milliseconds = walk.milliseconds;
  }

  // one pixel, in numbers
  function showPixel() {
    const frame = walk.frames[shown],
      columns = Math.sqrt(walk.n);
    mark.hidden = !pixel;
    if (!pixel) {
      pixelBox.innerHTML = '<p class="hint">One pixel, one step: point at the image so far, or choose a pixel with the arrow keys, and read the numbers.</p>';
      return;
    }
    const [row, column] = pixel,
      wide = columns * SIDE;
    mark.style.cssText = `left:${(100 * column) / wide}%;top:${(100 * row) / wide}%;width:${100 / wide}%;height:${100 / wide}%`;
    const k = Math.floor(row / SIDE) * columns + Math.floor(column / SIDE),
      at = k * N + (row % SIDE) * SIDE + (column % SIDE),
      [t, s] = walk.times.slice(shown);
    const where = `Pixel in row ${(row % SIDE) + 1}, column ${(column % SIDE) + 1}`;
    if (!frame.terms) {
      const last = shown === walk.times.length - 1;
      pixelBox.innerHTML = `<p class="hint">${where}: <b>${signed(frame.x[at])}</b>${last ? ", the end. Step back to see how it came about." : ". The network has not been asked yet."}</p>`;
      return;
    }
    const names = { x0: "x̂<sub>0</sub>", eps: "ε̂", xt: `x<sub>${t}</sub>`, z: "z", ahead: "x̂<sub>0</sub> ahead" },
      noise = frame.terms.find(([, name]) => name === "z"),
      next = walk.frames[shown + 1].x[at],
      sum = frame.terms.map(([factor, name, values]) => `<span class="t-${name}"><b>${signed(factor)}</b> × ${names[name]} <small>(${signed(values[at])})</small></span>`),
      mean = frame.terms.filter(([, name]) => name !== "z").reduce((m, [factor, , values]) => m + factor * values[at], 0);
    pixelBox.innerHTML =
      `<p class="hint">${where}, from t = ${t} to ${s}. Black is −1, white is 1.</p>` +
      `<p class="sumline"><span>x<sub>${s}</sub></span> = ${sum.join(" + ")} = <b class="result">${signed(next)}</b></p>` +
      `<dl><div><dt>x<sub>t</sub></dt><dd>${signed(frame.x[at])}</dd></div><div><dt>ε̂</dt><dd>${signed(frame.eps[at])}</dd></div>` +
      `<div><dt>x̂<sub>0</sub></dt><dd>${signed(frame.x0[at])}</dd></div><div><dt>mean</dt><dd>${signed(mean)}</dd></div>` +
      `<div><dt>variance</dt><dd>${noise ? few(noise[0] ** 2) : "0"}</dd></div><div><dt>noise drawn</dt><dd>${noise ? signed(noise[2][at]) : "none"}</dd></div></dl>`;
  }
  const choose = (row, column) => {
    const most = Math.sqrt(walk.n) * SIDE - 1;
    pixel = [Math.max(0, Math.min(most, row)), Math.max(0, Math.min(most, column))];
    showPixel();
  };
  nowCanvas.addEventListener("pointermove", (e) => {
    const r = nowCanvas.getBoundingClientRect(),
      wide = Math.sqrt(walk.n) * SIDE;
    choose(Math.floor(((e.clientY - r.top) / r.height) * wide), Math.floor(((e.clientX - r.left) / r.width) * wide));
  });
  nowCanvas.addEventListener("keydown", (e) => {
    const by = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[e.key];
    if (!by) return;
    e.preventDefault();
    const [row, column] = pixel ?? [14, 14];
    choose(row + by[0], column + by[1]);
  });
  function apply() {
    stop();
    state = readAddress();
    digits.set(state.digit);
    kinds.set(state.kind);
    counts.set(state.n);
    guidance.set(state.w.at(-1)[1]);
    steps.set(state.steps);
    seed.value = state.seed;
    more.open ||= isSpecial(state);
    until = state.at;
    walk = beginWalk(state);
    show(0);
    box.scrollIntoView({ block: "start", behavior: still ? "auto" : "smooth" });
    play();
  }
  addEventListener("hashchange", apply);
  const asked = address().has("go");
  show(0);
  if (asked) doors.open();
}

for (const box of $$('.widget[data-widget="draw"]')) drawWidget(box);
for (const a of $$("a[data-walk]"))
  a.addEventListener("click", (e) => {
    e.preventDefault();
    location.hash === `#${a.dataset.walk}` ? dispatchEvent(new Event("hashchange")) : (location.hash = a.dataset.walk);
  });
