// The schedule explorer and the forward slider, and what all widgets draw with; walk.js and draw.js hold the others.
const bytes = Uint8Array.from(atob(window.DDPM_DIGITS), (c) => c.charCodeAt(0)),
  SIDE = 28,
  N = SIDE * SIDE;
const digitImage = (k) => Float64Array.from(bytes.subarray(k * N, (k + 1) * N), (v) => v / 127.5 - 1);
function normals(n, seed) {
  // mulberry32 and Box-Muller: the same noise on every machine
  const out = new Float64Array(n);
  const random = () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  for (let i = 0; i < n; i += 2) {
    const r = Math.sqrt(-2 * Math.log(1 - random())),
      a = 2 * Math.PI * random();
    out[i] = r * Math.cos(a);
    if (i + 1 < n) out[i + 1] = r * Math.sin(a);
  }
  return out;
}
function paint(canvas, x, scale = 1) {
  canvas.width = canvas.height = SIDE;
  const pen = canvas.getContext("2d"),
    image = pen.createImageData(SIDE, SIDE);
  for (let i = 0; i < N; i++) {
    const v = (x[i] / scale + 1) * 127.5;
    image.data[4 * i] = image.data[4 * i + 1] = image.data[4 * i + 2] = v;
    image.data[4 * i + 3] = 255;
  }
  pen.putImageData(image, 0, 0);
}
const pixels = (label) => {
  const c = make("canvas", { className: "px", width: SIDE, height: SIDE });
  c.setAttribute("role", "img");
  c.setAttribute("aria-label", label);
  return c;
};
const colour = (name) =>
  getComputedStyle(document.documentElement)
    .getPropertyValue("--" + name)
    .trim();
const few = (v) =>
  v === 0
    ? "0"
    : v >= 0.0001
      ? String(+v.toPrecision(3))
      : v
          .toExponential(1)
          .replace("e-", " · 10⁻")
          .replace(/⁻(\d+)/, (_, d) => "⁻" + [...d].map((c) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[c]).join(""));
let serial = 0;
function slider(text, min, max, value, step, show, change) {
  const id = `w${++serial}`,
    input = make("input", { type: "range", id, min, max, step, value }),
    out = make("output", { htmlFor: id });
  const label = make("label", { className: "slide", htmlFor: id }, make("span", { innerHTML: text }), out, input);
  let exact = +value; // a preset's value may lie between two steps of the slider
  const update = () => {
    out.textContent = show(exact);
    input.setAttribute("aria-valuetext", show(exact));
  };
  const set = (v) => {
    exact = +v;
    input.value = v;
    update();
  };
  input.addEventListener("input", () => {
    set(input.value);
    change();
  });
  update();
  return {
    label,
    get value() {
      return exact;
    },
    set,
    limit(m) {
      const share = exact / +input.max;
      input.max = m;
      set(Math.round(share * m));
    },
    hide(on) {
      label.hidden = on;
    },
  };
}
function chooser(change) {
  const select = make(
    "select",
    {},
    ...[...Array(10).keys()].map((k) => make("option", { value: k, textContent: k, selected: k === 5 })),
  );
  select.setAttribute("aria-label", "Digit");
  select.addEventListener("change", change);
  return {
    label: make("label", {}, "Digit ", select),
    get value() {
      return +select.value;
    },
  };
}
function plot(canvas, curves, { ylim, marks = [], at, T }) {
  const box = canvas.getBoundingClientRect(),
    ratio = Math.min(3, devicePixelRatio || 1),
    w = box.width || 300,
    h = 170;
  canvas.width = w * ratio;
  canvas.height = h * ratio;
  canvas.style.height = h + "px";
  const pen = canvas.getContext("2d"),
    left = 34,
    right = 8,
    top = 8,
    bottom = 22;
  pen.scale(ratio, ratio);
  const X = (t) => left + ((w - left - right) * t) / T,
    Y = (v) =>
      top + (h - top - bottom) * (1 - (Math.max(ylim[0], Math.min(ylim[1], v)) - ylim[0]) / (ylim[1] - ylim[0]));
  pen.font = `11px ${getComputedStyle(document.body).getPropertyValue("--sans")}`;
  pen.lineWidth = 1;
  pen.strokeStyle = colour("line");
  pen.fillStyle = colour("soft");
  for (const m of marks) {
    pen.beginPath();
    pen.moveTo(left, Y(m));
    pen.lineTo(w - right, Y(m));
    pen.stroke();
    pen.textAlign = "right";
    pen.fillText(m, left - 6, Y(m) + 4);
  }
  pen.textAlign = "left";
  pen.fillText("t = 0", left, h - 5);
  pen.textAlign = "right";
  pen.fillText(`T = ${T}`, w - right, h - 5);
  pen.strokeStyle = colour("gold");
  pen.lineWidth = 1.5;
  pen.beginPath();
  pen.moveTo(X(at), top);
  pen.lineTo(X(at), h - bottom);
  pen.stroke();
  pen.lineWidth = 2.2;
  pen.lineJoin = "round";
  for (const [values, name] of curves) {
    pen.strokeStyle = pen.fillStyle = colour(name);
    pen.beginPath();
    values.forEach((v, t) => {
      if (Number.isFinite(v)) pen.lineTo(X(t), Y(v));
    });
    pen.stroke();
    pen.beginPath();
    pen.arc(X(at), Y(values[at]), 4, 0, 7);
    pen.fill();
  }
}

function scheduleExplorer(box) {
  const eps = normals(N, 7),
    state = { kind: "linear" };
  const change = () => draw();
  const logs = (factor) => ({ lo: Math.log10(factor * PAPER.beta_min), hi: Math.log10(factor * PAPER.beta_max) }),
    [paperT, betas] = [Math.log10(PAPER.T), logs(1)];
  const T = slider(
    "Steps <i>T</i>",
    1,
    3.4,
    paperT,
    0.01,
    (v) => String(Math.round(10 ** v)),
    () => {
      t.limit(Math.round(10 ** T.value));
      draw();
    },
  );
  const lo = slider(
    "β<sub>1</sub>, the first",
    -5,
    -1,
    betas.lo,
    0.01,
    (v) => few(10 ** v),
    () => {
      if (hi.value < lo.value) hi.set(lo.value);
      draw();
    },
  );
  const hi = slider(
    "β<sub>T</sub>, the last",
    -4,
    -0.02,
    betas.hi,
    0.01,
    (v) => few(10 ** v),
    () => {
      if (hi.value < lo.value) lo.set(hi.value);
      draw();
    },
  );
  const t = slider("Look at step <i>t</i>", 0, 1000, 300, 1, String, change);
  const digits = chooser(change);
  const presets = [
    ["The paper", { kind: "linear", T: paperT, ...betas }],
    ["Same betas, T = 200", { kind: "linear", T: Math.log10(200), ...betas }],
    ["Same betas, T = 50", { kind: "linear", T: Math.log10(50), ...betas }],
    ["T = 50, betas rescaled", { kind: "linear", T: Math.log10(50), ...logs(PAPER.T / 50) }],
    ["Cosine", { kind: "cosine", T: paperT }],
    ["Cosine, T = 50", { kind: "cosine", T: Math.log10(50) }],
  ];
  const buttons = presets.map(([name, p]) => {
    const b = make("button", { className: "button", type: "button", textContent: name });
    b.addEventListener("click", () => {
      const share = t.value / Math.round(10 ** T.value);
      state.kind = p.kind;
      T.set(p.T);
      if (p.lo) {
        lo.set(p.lo);
        hi.set(p.hi);
      }
      t.limit(Math.round(10 ** p.T));
      t.set(Math.round(share * 10 ** p.T));
      draw();
    });
    return b;
  });
  const name = `kind${++serial}`,
    kinds = ["linear", "cosine"].map((k) => {
      const r = make("input", { type: "radio", name, value: k, checked: k === "linear" });
      r.addEventListener("change", () => {
        state.kind = k;
        draw();
      });
      return make("label", {}, r, ` ${k}`);
    });
  const kindBox = make(
    "fieldset",
    { style: "border:0;padding:0;margin:0;display:flex;gap:1.2rem;align-items:end" },
    make("legend", { textContent: "Schedule", style: "padding:0" }),
    ...kinds,
  );
  const amounts = make("canvas"),
    snr = make("canvas");
  for (const c of [amounts, snr]) c.setAttribute("role", "img");
  const verdict = make("p", { className: "verdict" });
  verdict.setAttribute("role", "status");
  const cells = [...Array(9).keys()].map((i) => {
    const canvas = pixels(""),
      text = make("span");
    const b = make("button", { type: "button" }, canvas, text);
    b.addEventListener("click", () => {
      t.set(Math.round((i * Math.round(10 ** T.value)) / 8));
      draw();
    });
    return { b, canvas, text };
  });
  box.replaceChildren(
    make("p", { className: "widget-title", textContent: "Schedule explorer" }),
    make("p", {
      className: "hint",
      textContent: "Try the paper’s schedule, then the same betas with fewer steps, and watch the end of the row.",
    }),
    make("div", { className: "presets" }, ...buttons),
    make("div", { className: "controls" }, kindBox, digits.label, T.label, lo.label, hi.label, t.label),
    make(
      "div",
      { className: "plots" },
      make(
        "figure",
        {},
        amounts,
        make("figcaption", {
          innerHTML:
            'Signal <b style="color:var(--signal-text)">√ᾱ</b> and noise <b style="color:var(--link)">√(1−ᾱ)</b>',
        }),
      ),
      make("figure", {}, snr, make("figcaption", { textContent: "log SNR: equal parts at 0" })),
    ),
    make("div", { className: "strip" }, ...cells.map((c) => c.b)),
    verdict,
  );
  function draw() {
    const steps = Math.round(10 ** T.value),
      linear = state.kind === "linear";
    buttons.forEach((b, i) => {
      const p = presets[i][1];
      b.setAttribute(
        "aria-pressed",
        state.kind === p.kind && T.value === p.T && (!p.lo || (lo.value === p.lo && hi.value === p.hi)),
      );
    });
    kinds.forEach((l) => {
      l.firstChild.checked = l.firstChild.value === state.kind;
    });
    lo.hide(!linear);
    hi.hide(!linear);
    const ab = linear ? linearBar(steps, 10 ** lo.value, 10 ** hi.value) : cosineBar(steps),
      at = Math.min(t.value, steps),
      x0 = digitImage(digits.value);
    const left = Math.sqrt(ab[steps]),
      signal = ab.map(Math.sqrt),
      noise = ab.map((a) => Math.sqrt(1 - a)),
      logsnr = ab.map((a) => Math.log(a / (1 - a)));
    plot(
      amounts,
      [
        [signal, "signal"],
        [noise, "noise"],
      ],
      { ylim: [0, 1], marks: [0, 0.5, 1], at, T: steps },
    );
    plot(snr, [[logsnr, "ink"]], { ylim: [-12, 10], marks: [-10, -5, 0, 5, 10], at: Math.max(1, at), T: steps });
    amounts.setAttribute("aria-label", `At step ${at} of ${steps}: signal ${few(signal[at])}, noise ${few(noise[at])}`);
    snr.setAttribute("aria-label", `log SNR at step ${at}: ${at ? logsnr[at].toFixed(2) : "infinite"}`);
    let nearest = 0;
    cells.forEach((c, i) => {
      if (Math.abs((i * steps) / 8 - at) < Math.abs((nearest * steps) / 8 - at)) nearest = i;
    });
    cells.forEach((c, i) => {
      const when = i === nearest ? at : Math.round((i * steps) / 8);
      paint(c.canvas, mix(x0, eps, ab[when]));
      c.canvas.setAttribute("aria-label", `Digit ${digits.value} at step ${when}`);
      c.text.textContent = `t = ${when}`;
      i === nearest ? c.b.setAttribute("aria-current", "true") : c.b.removeAttribute("aria-current");
    });
    const bad = left > MOST_LEFT;
    verdict.className = bad ? "verdict bad" : "verdict";
    verdict.innerHTML =
      `At t = ${at}: ${few(signal[at])} of the digit, ${few(noise[at])} noise. At the end √ᾱ<sub>T</sub> = <b>${few(left)}</b>. ` +
      (bad
        ? `<b>This schedule stops short of noise</b> (the limit is ${MOST_LEFT}): sampling starts as if nothing were left.`
        : "The last state is noise, as sampling assumes.");
    box.dataset.left = left;
  }
  draw();
  document.addEventListener("themechange", draw);
  addEventListener("resize", draw);
}

function forwardSlider(box) {
  const ab = linearBar();
  let seed = 1,
    eps = normals(N, seed);
  const t = slider("Step <i>t</i> of 1,000", 0, 1000, 250, 1, String, () => draw()),
    digits = chooser(() => draw());
  const again = make("button", { className: "button", type: "button", textContent: "Other noise" });
  again.addEventListener("click", () => {
    eps = normals(N, ++seed);
    draw();
  });
  const x0 = pixels("The clean digit"),
    noise = pixels("The noise"),
    xt = pixels("Their sum"),
    a = make("b", { className: "signal" }),
    b = make("b", { className: "noise" });
  const figure = (c, text) => make("figure", {}, c, make("figcaption", { innerHTML: text }));
  const cells = [...Array(9).keys()].map((i) => {
    const canvas = pixels(`The digit at step ${i * 125}`),
      when = i * 125,
      btn = make("button", { type: "button" }, canvas, make("span", { textContent: `t = ${when}` }));
    btn.addEventListener("click", () => {
      t.set(when);
      draw();
    });
    return { btn, canvas, when };
  });
  box.replaceChildren(
    make("p", { className: "widget-title", textContent: "Noise a digit yourself" }),
    make("p", {
      className: "hint",
      textContent:
        "One jump to any step: so much of the digit, so much of one draw of noise. Noise is drawn at a third of its contrast.",
    }),
    make(
      "div",
      { className: "sum" },
      make("div", { className: "term" }, a, figure(x0, "<i>x</i><sub>0</sub>")),
      make("b", { className: "op", textContent: "+" }),
      make("div", { className: "term" }, b, figure(noise, "ε")),
      make("b", { className: "op", textContent: "=" }),
      make("div", { className: "term" }, make("b", { className: "op" }), figure(xt, "<i>x<sub>t</sub></i>")),
    ),
    t.label,
    make("div", { className: "controls" }, digits.label, make("div", {}, again)),
    make("div", { className: "strip" }, ...cells.map((c) => c.btn)),
  );
  function draw() {
    const at = t.value,
      x = digitImage(digits.value);
    paint(x0, x);
    paint(noise, eps, 3);
    paint(xt, mix(x, eps, ab[at]));
    a.textContent = `${Math.sqrt(ab[at]).toFixed(3)} ×`;
    b.textContent = `${Math.sqrt(1 - ab[at]).toFixed(3)} ×`;
    xt.setAttribute(
      "aria-label",
      `Digit ${digits.value} at step ${at}: ${Math.sqrt(ab[at]).toFixed(3)} of the digit plus ${Math.sqrt(1 - ab[at]).toFixed(3)} of the noise`,
    );
    cells.forEach((c) => {
      paint(c.canvas, mix(x, eps, ab[c.when]));
      Math.abs(c.when - at) <= 62 ? c.btn.setAttribute("aria-current", "true") : c.btn.removeAttribute("aria-current");
    });
  }
  draw();
}

const WIDGETS = { schedule: scheduleExplorer, forward: forwardSlider, walk: walkExplorer, field: fieldExplorer };
for (const box of $$(".widget")) WIDGETS[box.dataset.widget]?.(box);
