"""Mutants of the core that no test can tell from the original, and why: for tools/mutants.py.

Keys are the changed lines as cosmic-ray writes them, which puts a space before some changed numbers.
"""

SAME: dict[str, dict[str, str]] = {
    "gaussian": {
        "if self.covs.ndim >= 3:": "covs of four axes have been refused before",
        "if (lowest := self._spectrum[0].min().item()) <= -1e-12:": "but for one number",
        "if (alpha_bar == 1).any():": "alpha_bar above 1 has been refused before",
        "std, far = var.sqrt(), 2.0** 31  # far stands for infinity, where the slope of log_ndtr"
        " is not a number": "far enough for infinity",
        "std, far = var.sqrt(), 2.0** 29  # far stands for infinity, where the slope of log_ndtr"
        " is not a number": "far enough for infinity",
        "upper = torch.where(x0 >= 1 - 1e-3, far, (x0 + 1 / 255 - mean) / std)": "no grey level is there",
        "lower = torch.where(x0 <= -1 + 1e-3, -far, (x0 - 1 / 255 - mean) / std)": "no grey level is there",
        "flip = lower + upper >= 0": "a bin in the middle is its own mirror image",
        "flip = lower + upper > 1": "near the middle both ways are exact to rounding",
        "flip = lower + upper > -1": "near the middle both ways are exact to rounding",
        "good = (level - level.round().clamp(0, 255)).abs() <= 0.3": "but for one number",
        "if (c == 0).any():": "no variance is below 0",
        'return self.means[k] - (z if axes is None else torch.einsum("bj,bij->bi", z, axes[k]))': "the noise and its negative are as likely",
        "k, d = means.shape if means.ndim == 2 else ( 1, 0)": "the product is 0 too",
        "k, d = means.shape if means.ndim == 2 else ( -1, 0)": "the product is 0 too",
        "k, d = means.shape if means.ndim == 2 else (0, 1)": "the product is 0 too",
        "k, d = means.shape if means.ndim == 2 else (0, -1)": "the product is 0 too",
        "if not (weights > 0).all() or abs(weights.sum().item() - 1) >= 1e-9:": "but for one number",
        "if covs.ndim >= 3 and not torch.allclose(covs, covs.mT, rtol=0, atol=1e-12):": "covs of four axes have been refused before",
        "if alpha_bar.ndim > 1 or (alpha_bar.ndim >= 1 and len(alpha_bar) != len(x)):": "what has more axes has been refused",
    },
    "schedule": {
        "@dataclass(frozen=True, eq=False, repr=True)": "a class keeps a __repr__ of its own",
        "if not ((beta[1:] > 0) & (beta[1:] <= 1)).all() or (beta[1:-1] >= 1).any():": "beta above 1 has been refused",
        "if not ((beta[1:] > 0) & (beta[1:] <= 1)).all() or (beta[ 0:-1] == 1).any():": "beta[0] is 0, so never 1",
        "if not torch.allclose(torch.cumprod(1 - beta, -1), alpha_bar, rtol=1e-9, atol=0):": "a vector has one axis",
        'got = f"{alpha_bar[ 0:].max().item():.17g} with beta_1 = {beta[1].item():.3g}"': "one of the others is at least alpha_bar[0], 1",
        "last = -2 if beta[-1] >= 1 else -1  # where there should still be some signal": "beta above 1 has been refused before",
        "if (left := alpha_bar[last].item()) <= 1e-60:": "but for one number",
        'name = "alpha_bar_T" if last >= -1 else "alpha_bar_{T-1}"': "it is -1 or -2",
        "sched = Schedule(beta, torch.cumprod(1 - beta, -1), recipe)": "a vector has one axis",
        "if (left := sched.alpha_bar[-1].sqrt().item()) >= _MOST_LEFT:": "but for one number",
        "if not 0 <= s != math.inf:": "nothing is above infinity, and what is no number is not at least 0",
        "if coef.ndim > 1 or (coef.ndim >= 1 and coef.shape != x.shape[:1]):": "what has more axes has been refused",
        "return coef.to(x).reshape(coef.shape + (1,) * (x.ndim - 1 if coef.ndim else -1))": "a tuple times -1 is empty too",
    },
    "forward": {
        "if (alpha_bar <= 0).any():": "no alpha_bar is below 0",
        "if (alpha_bar >= 1).any():": "no alpha_bar is above 1",
        "if (ab_t >= 1).any():": "no alpha_bar is above 1",
    },
    "parameterization": {
        "tilde = torch.where(ab_s != 1, beta * (1 - ab_s) / (1 - ab_t), first)": "no alpha_bar is above 1",
        'return eps if self.predicts <= "eps" else x0': "no other name comes before eps in the alphabet",
        'if predicts <= "eps" and sched.alpha_bar[-1] == 0:': "no other name comes before eps in the alphabet",
        'if predicts == "eps" and sched.alpha_bar[-1] <= 0:': "no alpha_bar is below 0",
        "if xt.ndim != 1 and out.shape == (len(xt), 2 * xt.shape[1], *xt.shape[2:]):": "a batch has an axis",
        'if predicts <= "eps":': "no other name comes before eps in the alphabet",
        'if predicts >= "x0":': "no other name comes after x0 in the alphabet",
        "first = sched.beta_tilde[2] if sched.T != 1 else sched.beta[1]": "a schedule has a step",
    },
    "training": {
        "if low < -1.01 or high > 1.01 or 0 <= low != high:": "the least is at most the largest",
        "if steps >= 2000:  # without a gradient that was too large": "at 2000 the count starts again",
        'scale = opt.param_groups[0].get("loss_scale", 2.0)': "in float16 the scale has been set before",
        'scale = opt.param_groups[0].get("loss_scale", 0.0)': "in float16 the scale has been set before",
        "if scale != 0:": "a gradient over 1 is itself",
        'batch = draw_batch(denoise.sched, x0, generator, {"y": labels[ -1]} if labels else {})': "there is one tensor of labels",
        "if step <= start:": "steps are counted from start",
        "if not torch.isfinite(grad_norm - losses.sum()):": "finite where both are",
        "if not torch.isfinite(grad_norm * losses.sum()):": "finite where both are, but for an overflow",
    },
    "sampling": {
        "if times[0] < T or times[-1] != 0:": "times beyond T have been refused before",
        "z = noise(x) if s != 0 else torch.zeros_like(x)": "times below 0 have been refused before",
        "if times[0] != T or times[-1] > 0:": "times below 0 have been refused before",
        "return [torch.Generator().manual_seed(int(s.generate_state( 2, np.uint64)[0])) for s in streams]": "the first number does not depend on how many there are",
        "return [torch.Generator().manual_seed(int(s.generate_state(1, np.uint64)[ -1])) for s in"
        " streams]": "there is one number",
        "return last[ -1]": "there is one state",
    },
    "metrics": {
        "return estimate(eye.sum( 1)).item(), error.item()": "the identity is symmetric",
        "return estimate(eye.sum( -1)).item(), error.item()": "the identity is symmetric",
        "for x in images.flatten(1).to(among.dtype).split( 501):": "parts of any size",
        "for x in images.flatten(1).to(among.dtype).split( 499):": "parts of any size",
        "few = torch.cdist(x, among).topk(min( 7, len(among)), largest=False).indices  # fast, but"
        " rounded": "a candidate more or fewer, of those that are near",
        "few = torch.cdist(x, among).topk(min( 9, len(among)), largest=False).indices  # fast, but"
        " rounded": "a candidate more or fewer, of those that are near",
        "indices.append(few.gather(1, which[:, None])[:, -1])": "there is one column",
        "return measure_reference(net, real[REFERENCE], real[searched], real[HELD_OUT[: 999]])": "the median of the bundled digits is the same",
        "return points.new_full(( 2,), math.nan)": "a sum with nan is nan",
    },
}
