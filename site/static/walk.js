// The walk explorer of chapter 10: samplers on data whose best network is known. The same formulas as ddpm_abc.solvers.
const CRESCENTS = (() => {
  // two of them, each of seven Gaussians of one variance
  const centres = [];
  for (let k = 0; k < 7; k++) {
    const a = (Math.PI * k) / 6;
    centres.push([0.7 * Math.cos(a) - 0.35, 0.7 * Math.sin(a) - 0.15], [0.35 - 0.7 * Math.cos(a), 0.15 - 0.7 * Math.sin(a)]);
  }
  return { centres, variance: 0.006 };
})();

// E[eps | x_t] for points x = [x, y, x, y, ...]: each component's guess, weighted by its share.
function bestEps({ centres, variance }, x, ab) {
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
  }
  return eps;
}

// All states of a walk from x at t = T to t = 0, and how often the network was asked.
function samplerWalk(data, kind, steps, eta, x, noise, ab = linearBar(1000, 1e-4, 0.02)) {
  const T = ab.length - 1,
    times = [...Array(steps + 1).keys()].map((i) => T - Math.round((T * i) / steps)),
    states = [x];
  let calls = 0,
    before = null;
  const ask = (x, t) => {
    calls++;
    const eps = bestEps(data, x, ab[t]);
    return { eps, x0: x.map((v, i) => (v - Math.sqrt(1 - ab[t]) * eps[i]) / Math.sqrt(ab[t])) };
  };
  // a x0 + b times a noise of which rho is guessed, and the rest new
  const mixed = (a, b, { x0, eps }, rho) => {
    const fresh = b > 0 && rho < 1 ? noise(x0.length) : null;
    return x0.map((v, i) => a * v + b * (rho * eps[i] + (fresh ? Math.sqrt(1 - rho * rho) * fresh[i] : 0)));
  };
  for (let i = 0; i < steps; i++) {
    const [t, s] = [times[i], times[i + 1]],
      [at, bt, as, bs] = [ab[t], 1 - ab[t], ab[s], 1 - ab[s]].map(Math.sqrt),
      guess = ask(x, t);
    if (kind === "heun") {
      let end = mixed(as, bs, guess, 1);
      if (s > 0) {
        const there = ask(end, s).eps;
        end = x.map((v, k) => as * (v / at + ((bs / as - bt / at) * (guess.eps[k] + there[k])) / 2));
      }
      x = end;
    } else if (kind === "dpm") {
      const lambda = Math.log(at / bt),
        old = before;
      let ahead = guess.x0;
      if (old && s > 0) {
        const r = (Math.log(as / bs) - lambda) / (2 * (lambda - old.lambda));
        ahead = guess.x0.map((v, k) => v + r * (v - old.x0[k]));
      }
      before = { lambda, x0: guess.x0 };
      x = mixed(as, bs, { x0: ahead, eps: x.map((v, k) => (v - at * ahead[k]) / bt) }, ((at * bs) / (as * bt)) ** eta);
    } else x = mixed(as, bs, guess, Math.sqrt(1 - eta * eta * (1 - ((at * bs) / (as * bt)) ** 2)));
    states.push(x);
  }
  return { states, calls };
}

// The share of points that lie within three standard deviations of a component.
const onData = ({ centres, variance }, x) => {
  let near = 0;
  for (let i = 0; i < x.length; i += 2)
    near += centres.some(([u, v]) => (x[i] - u) ** 2 + (x[i + 1] - v) ** 2 < 9 * variance);
  return near / (x.length / 2);
};

function walkExplorer(box) {
  const POINTS = 400,
    DRAWN = 40,
    HALF = 2.6; // the picture shows [-HALF, HALF] in both directions
  let seed = 1;
  const kinds = {
    ddpm: ["Ancestral sampling", "ddim"],
    ddim: ["DDIM", "ddim"],
    heun: ["Heun", "heun"],
    dpm: ["DPM-Solver++(2M)", "dpm"],
  };
  const select = make(
    "select",
    {},
    ...Object.entries(kinds).map(([k, [name]]) => make("option", { value: k, textContent: name, selected: k === "ddim" })),
  );
  select.addEventListener("change", () => draw());
  const steps = slider("Steps", 1, 100, 10, 1, String, () => draw()),
    eta = slider("Noise <i>η</i>", 0, 1, 0, 0.05, (v) => v.toFixed(2), () => draw());
  const again = make("button", { className: "button", type: "button", textContent: "Other noise" });
  again.addEventListener("click", () => {
    seed++;
    draw();
  });
  const canvas = make("canvas", { className: "walk" }),
    verdict = make("p", { className: "verdict" });
  canvas.setAttribute("role", "img");
  verdict.setAttribute("role", "status");
  box.replaceChildren(
    make("p", { className: "widget-title", textContent: "Walk it yourself" }),
    make("p", {
      className: "hint",
      textContent:
        "Data on two crescents, and the best network there is for them: whatever goes wrong is the walk’s own fault. " +
        "Forty of 400 ways are drawn, from noise (grey) to where they end (red).",
    }),
    make(
      "div",
      { className: "controls" },
      make("label", {}, "Sampler ", select),
      steps.label,
      eta.label,
      make("div", {}, again),
    ),
    canvas,
    verdict,
  );
  function draw() {
    const kind = select.value,
      own = kind === "ddim" || kind === "dpm";
    eta.hide(!own);
    let stream = 7919 * seed;
    const start = normals(2 * POINTS, seed),
      { states, calls } = samplerWalk(CRESCENTS, kinds[kind][1], steps.value, own ? eta.value : +(kind === "ddpm"), start, (n) =>
        normals(n, ++stream),
      ),
      end = states.at(-1),
      share = onData(CRESCENTS, end);
    const ratio = Math.min(3, devicePixelRatio || 1),
      w = Math.min(canvas.parentElement.clientWidth || 480, 480);
    canvas.style.width = canvas.style.height = w + "px";
    canvas.width = canvas.height = w * ratio;
    const pen = canvas.getContext("2d"),
      at = (v) => ((v + HALF) / (2 * HALF)) * w;
    pen.scale(ratio, ratio);
    pen.fillStyle = colour("gold");
    pen.globalAlpha = 0.25;
    for (const [u, v] of CRESCENTS.centres) {
      pen.beginPath();
      pen.arc(at(u), at(-v), (3 * Math.sqrt(CRESCENTS.variance) * w) / (2 * HALF), 0, 7);
      pen.fill();
    }
    pen.strokeStyle = colour("noise");
    pen.globalAlpha = 0.6;
    pen.lineWidth = 1;
    for (let i = 0; i < 2 * DRAWN; i += 2) {
      pen.beginPath();
      for (const x of states) pen.lineTo(at(x[i]), at(-x[i + 1]));
      pen.stroke();
    }
    for (const [x, name, n, alpha] of [
      [start, "soft", DRAWN, 0.5],
      [end, "signal", POINTS, 0.8],
    ]) {
      pen.fillStyle = colour(name);
      pen.globalAlpha = alpha;
      for (let i = 0; i < 2 * n; i += 2) {
        pen.beginPath();
        pen.arc(at(x[i]), at(-x[i + 1]), 1.8, 0, 7);
        pen.fill();
      }
    }
    const name = kinds[kind][0];
    canvas.setAttribute("aria-label", `${name}, ${steps.value} steps: ${Math.round(100 * share)}% end on the data`);
    verdict.className = share < 0.9 ? "verdict bad" : "verdict";
    verdict.innerHTML =
      `${name}: <b>${calls}</b> call${calls > 1 ? "s" : ""} of the network, and <b>${Math.round(100 * share)}%</b> of 400 points ` +
      "end where data lie (gold). Of draws from the data it would be 99%.";
    box.dataset.calls = calls;
    box.dataset.share = share;
  }
  draw();
  document.addEventListener("themechange", draw);
  addEventListener("resize", draw);
}
