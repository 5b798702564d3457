// Noise, times and samplers, without a picture: those of ddpm_abc.export, sampling and solvers, once for all pages;
// site/tests compares them with Python's. The schedules are in schedule.js, which site/formulas.py writes.
const mix = (x0, eps, ab) => x0.map((v, i) => Math.sqrt(ab) * v + Math.sqrt(1 - ab) * eps[i]);

// ---- noise: Philox4x32-10 (Salmon et al. 2011), then Box and Muller, as ddpm_abc.export.portable_normals
function timesConstant(a, b) {
  // the upper and the lower 32 bits of a product
  const [a0, a1, b0, b1] = [a & 0xffff, a >>> 16, b & 0xffff, b >>> 16],
    middle = a0 * b1 + a1 * b0 + ((a0 * b0) >>> 16);
  return [a1 * b1 + Math.floor(middle / 65536), Math.imul(a, b) >>> 0];
}
function philox([a, b, c, d], [k, m]) {
  for (let round = 0; round < 10; round++) {
    const [p, pLow] = timesConstant(a, 0xd2511f53),
      [q, qLow] = timesConstant(c, 0xcd9e8d57);
    [a, b, c, d] = [(q ^ b ^ k) >>> 0, qLow, (p ^ d ^ m) >>> 0, pLow];
    [k, m] = [(k + 0x9e3779b9) >>> 0, (m + 0xbb67ae85) >>> 0];
  }
  return [a, b, c, d];
}
function portableNormals(seed, image, draw, n) {
  const out = new Float64Array(n),
    key = [seed >>> 0, Math.floor(seed / 2 ** 32)];
  for (let i = 0; i < n; i += 4) {
    const u = philox([i / 4, draw, image, 0], key).map((v) => (v + 0.5) / 2 ** 32);
    for (let j = 0; j < 4 && i + j < n; j++) {
      const radius = Math.sqrt(-2 * Math.log(u[j & 2])),
        angle = 2 * Math.PI * u[(j & 2) + 1];
      out[i + j] = radius * (j & 1 ? Math.sin(angle) : Math.cos(angle));
    }
  }
  return out;
}

// ---- times
const roundEven = (v) => (Math.abs(v % 1) === 0.5 ? 2 * Math.round(v / 2) : Math.round(v)); // as Python rounds
const spacedTimes = (T, steps) => Array.from({ length: steps + 1 }, (_, i) => roundEven((T * (steps - i)) / steps));
function bentTimes(T, steps, power = 1.2) {
  const times = [T];
  for (let i = 1; i < steps; i++)
    times.push(Math.max(steps - i, Math.min(times[i - 1] - 1, roundEven(T * (1 - (i / steps) ** power)))));
  return [...times, 0];
}
const timesFor = (kind, T, steps) => (kind === "dpm" ? bentTimes : spacedTimes)(T, steps);

// ---- one step from t to s. What comes out is a sum: `terms` are [factor, name, values]
function reverseStep(kind, ab, t, s, x, { x0, eps }, { z = null, eta = 0, before = null } = {}) {
  const [at, bt, as, bs] = [ab[t], 1 - ab[t], ab[s], 1 - ab[s]].map(Math.sqrt),
    fresh = 1 - ((at * bs) / (as * bt)) ** 2; // beta_tilde / (1 - alpha_bar_s)
  let terms;
  if (kind === "ddpm") {
    const alpha = ab[t] / ab[s];
    terms = [
      [(as * (1 - alpha)) / bt ** 2, "x0", x0],
      [(Math.sqrt(alpha) * bs ** 2) / bt ** 2, "xt", x],
      [bs * Math.sqrt(fresh), "z", z],
    ];
  } else if (kind === "ddim") {
    const rho = Math.sqrt(1 - eta ** 2 * fresh);
    terms = [[as, "x0", x0], [bs * rho, "eps", eps], [bs * Math.sqrt(1 - rho ** 2), "z", z]];
  } else {
    const lambda = (a, b) => Math.log(a / b),
      rho = ((at * bs) / (as * bt)) ** eta;
    let ahead = x0;
    if (before && s > 0) {
      const r = (lambda(as, bs) - lambda(at, bt)) / (2 * (lambda(at, bt) - before.lambda));
      ahead = x0.map((v, i) => v + r * (v - before.x0[i]));
    }
    before = { lambda: lambda(at, bt), x0 };
    const rest = (bs * rho) / bt; // of the noise that then is in x
    terms = [[as - rest * at, ahead === x0 ? "x0" : "ahead", ahead], [rest, "xt", x], [bs * Math.sqrt(1 - rho ** 2), "z", z]];
  }
  terms = terms.filter(([factor, , values]) => factor !== 0 && values);
  const next = x.map((_, i) => terms.reduce((sum, [factor, , values]) => sum + factor * values[i], 0));
  return { x: next, terms, before };
}
