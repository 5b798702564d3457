"""Answers to the exercises of the notebooks: wrong ones that a student might give, right ones in other words.

The check of the notebook itself must refuse `WRONG` and accept `RIGHT`; see test_exercises.py. A key is a
notebook and the number of an exercise. Each answer is what stands in the place of the gap.
"""

PUT_BACK = {  # the lines of a right answer to exercise 1 of 92d
    "begin": "denoise, opt, ema, generator = fresh(seed=3)",
    "weights": "denoise.net.load_state_dict(weights)",
    "optimizer": 'if part != "optimizer": opt.load_state_dict(kept["optimizer"])',
    "generator": 'if part != "generator": generator.set_state(kept["generator"])',
    "ema": 'if part != "ema": ema.model.load_state_dict(kept["ema"])',
}


def without(**changed):
    "That answer with other lines in place of some."
    lines = [*(PUT_BACK | changed).values(), "return denoise, opt, ema, generator"]
    return "\n    ".join(["def without(part, kept):", *lines])


WRONG = {
    ("00", 1): [
        "def from_v(xt, v, ab): return xt, v",
        # the ways that divide
        "def from_v(xt, v, ab):\n"
        "    eps = (1 - ab).sqrt() * xt + ab.sqrt() * v\n"
        "    return (xt - (1 - ab).sqrt() * eps) / ab.sqrt(), eps",
        "def from_v(xt, v, ab):\n"
        "    x0 = ab.sqrt() * xt - (1 - ab).sqrt() * v\n"
        "    return x0, (xt - ab.sqrt() * x0) / (1 - ab).sqrt()",
        # the angle turned the wrong way, or forgotten, or its cosine squared
        "def from_v(xt, v, ab):\n"
        "    return ab.sqrt() * xt + (1 - ab).sqrt() * v, ab.sqrt() * v - (1 - ab).sqrt() * xt",
        "def from_v(xt, v, ab): return ab * xt - (1 - ab) * v, (1 - ab) * xt + ab * v",
        "def from_v(xt, v, ab): return ab.sqrt() * xt, (1 - ab).sqrt() * xt",
        "def from_v(xt, v, ab):\n"
        "    return (1 - ab).sqrt() * xt + ab.sqrt() * v, ab.sqrt() * xt - (1 - ab).sqrt() * v",
        "def from_v(xt, v, ab):\n"
        "    eps = (1 - ab).sqrt() * xt + ab.sqrt() * v\n"
        "    x0 = (xt - (1 - ab).sqrt() * eps) / ab.sqrt() if ab > 0 else -v\n"
        "    return x0, eps",
        "def from_v(xt, v, ab):\n"
        "    eps = (1 - ab).sqrt() * xt + ab.sqrt() * v\n"
        "    x0 = torch.where(ab > 0, (xt - (1 - ab).sqrt() * eps) / ab.sqrt(), -v)\n"
        "    return x0, eps",
    ],
    ("00", 2): [
        "def floor_of_loss(s, ab): return ab",
        "def floor_of_loss(s, ab): return 1 - ab",
        "def floor_of_loss(s, ab): return (1 - ab) / (ab * s + 1 - ab)",  # that of x_0, for s = 1
        "def floor_of_loss(s, ab): return ab / (ab * s + 1 - ab)",
        "def floor_of_loss(s, ab): return (ab * s / (ab * s + 1 - ab)) ** 2",
        "def floor_of_loss(s, ab):\n"
        "    return ab * s**2 / (ab * s**2 + 1 - ab)",  # s taken for a standard deviation
        "def floor_of_loss(s, ab): return 0 * ab",
        "def floor_of_loss(s, ab):\n"
        "    x, e = torch.randn(2, 1_000_000)\n"
        "    xt = ab.sqrt() * s**0.5 * x + (1 - ab).sqrt() * e\n"
        "    return (e - (1 - ab).sqrt() / (ab * s + 1 - ab) * xt).square().mean()",
    ],
    ("00", 3): [
        "def best_sigma2(beta_tilde, e): return beta_tilde",
        "def best_sigma2(beta_tilde, e): return e",
        "def best_sigma2(beta_tilde, e): return beta_tilde - e",
        "def best_sigma2(beta_tilde, e): return max(beta_tilde, e)",
        "def best_sigma2(beta_tilde, e): return (beta_tilde + e) / 2",
        "def best_sigma2(beta_tilde, e): return beta_tilde + e**2",
        "def best_sigma2(beta_tilde, e): return (beta_tilde + e) ** 0.5",
        "def best_sigma2(beta_tilde, e): return min(beta_tilde + e, 1)",
        "def best_sigma2(beta_tilde, e): return round(beta_tilde + e, 3)",
    ],
    ("01", 1): [
        "beta_const = 1 - 0.01 ** (1 / 250)",  # the square root forgotten
        "beta_const = 0.01 / 250",
        "beta_const = 0.01 ** (2 / 250)",  # alpha
        "beta_const = 0.02",
        "beta_const = 10.05 / 250",  # the sum of the paper's betas
        "beta_const = 20 / 250",
        "beta_const = 0.01",
        "beta_const = 0.036",
        "beta_const = 0.0358",
        "beta_const = 0.0361",
        "beta_const = 1 - 0.01 ** (2 / 251)",
        "beta_const = 1 - 0.01 ** (2 / 249)",
    ],
    ("01", 2): [
        "t_like = 100",
        "t_like = 190",
        "t_like = 192",
        "t_like = 200",
        "t_like = 400",
        "t_like = 25",
        "t_like = -810",
    ],
    ("01", 3): [
        "sd = linear_schedule()",
        "sd = schedule_from_beta(torch.linspace(0.00085, 0.012, 1000, dtype=torch.float64))",
        "sd = schedule_from_beta(torch.linspace(0.012**0.5, 0.00085**0.5, 1000, dtype=torch.float64) ** 2)",
        "sd = schedule_from_beta(torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64))",
        "sd = schedule_from_beta(torch.linspace(0.00085, 0.012, 1000, dtype=torch.float64) ** 2)",
        "sd = schedule_from_beta(torch.linspace(0.00085**0.5, 0.012**0.5, 999, dtype=torch.float64) ** 2)",
        "sd = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2",
        "sd = 0.0683",
    ],
    ("02", 1): [
        "def weight(sched, t): return 1",
        "def weight(sched, t): return sched.alpha_bar[t]",
        "def weight(sched, t): return sched.alpha_bar[t].rsqrt()",
        "def weight(sched, t): return 1 - sched.alpha_bar[t]",
        "def weight(sched, t): return 1 / (1 - sched.alpha_bar[t])",
        "def weight(sched, t): return 1 / sched.snr[t]",
        "def weight(sched, t): return 1 / sched.alpha[t]",
        "def weight(sched, t): return 1 / linear.alpha_bar[t]",
        "ab = (1 - torch.cat([torch.zeros(1).double(), torch.linspace(1e-4, 0.02, 1000, "
        "dtype=torch.float64)])).cumprod(0)\n"
        "def weight(sched, t): return 1 / ab[t]",
        "def weight(sched, t): return (1 / sched.alpha_bar[t]).clamp(max=1e5)",
    ],
    ("02", 2): [
        "t_grey = 214",
        "t_grey = 216",
        "t_grey = 1",
        "t_grey = 1000",
        "t_grey = 128",
        "t_grey = -786",
        "t_grey = 500",
    ],
    ("02", 3): [
        # the variance of x_{t-1} forgotten, not shrunk, or shrunk once too little
        "def two_steps(x0, xt, t):\n"
        "    mean_1, var_1 = q_posterior(linear, x0, xt, t)\n"
        "    return q_posterior(linear, x0, mean_1, t - 1)",
        "def two_steps(x0, xt, t):\n"
        "    mean_1, var_1 = q_posterior(linear, x0, xt, t)\n"
        "    mean_2, var_2 = q_posterior(linear, x0, mean_1, t - 1)\n"
        "    return mean_2, var_1 + var_2",
        "def two_steps(x0, xt, t):\n"
        "    mean_1, var_1 = q_posterior(linear, x0, xt, t)\n"
        "    mean_2, var_2 = q_posterior(linear, x0, mean_1, t - 1)\n"
        "    k = linear.alpha[t - 1].sqrt() * (1 - linear.alpha_bar[t - 2]) / (1 - linear.alpha_bar[t - 1])\n"
        "    return mean_2, k * var_1 + var_2",
        "def two_steps(x0, xt, t): return q_posterior(linear, x0, xt, t)",
        "def two_steps(x0, xt, t): return q_posterior(linear, x0, xt, t - 1)",
        "def two_steps(x0, xt, t): return q_posterior(linear, x0, xt, t, t - 2)[0], linear.beta_tilde[t - 1]",
        "def two_steps(x0, xt, t):\n"
        "    mean, var = q_posterior(linear, x0, xt, t, t - 2)\n"
        "    return mean, var.sqrt()",
        "def two_steps(x_0, xt, t):\n"
        "    mean_1, var_1 = q_posterior(linear, x0, xt, t)\n"
        "    mean_2, var_2 = q_posterior(linear, x0, mean_1, t - 1)\n"
        "    k = linear.alpha[t - 1].sqrt() * (1 - linear.alpha_bar[t - 2]) / (1 - "
        "linear.alpha_bar[t - 1])\n"
        "    return mean_2, k**2 * var_1 + var_2",
    ],
    ("03", 1): [f"my_count = {n}" for n in (157_056, 151_136, 157_120, 145_088, 17_600, 94_240, 140_928)],
    ("03", 2): [
        "def depth(size): return size",
        "def depth(size): return size - 2",
        "def depth(size): return 27",
        "def depth(size): return size // 3",
        "def depth(size): return {28: 27, 7: 6}.get(size, 0)",
        "def depth(size): return 2 * size",
        "def depth(size): return (size + 1) // 2",
        "def depth(size): return min(size, 28) - 1",
    ],
    ("03", 3): [
        "def predict_any_size(net, xt, t): return torch.zeros_like(xt) if net(xt, t) is None else xt",
        "def predict_any_size(net, xt, t): return net(xt, t)",
        "def predict_any_size(net, xt, t):\n"  # on all sides
        "    h, w = xt.shape[2:]\n"
        "    return net(F.pad(xt, (-w % 4, 0, -h % 4, 0)), t)[:, :, -h:, -w:]",
        "def predict_any_size(net, xt, t):\n"  # height for width
        "    h, w = xt.shape[2:]\n"
        "    return net(F.pad(xt, (0, -h % 4, 0, -w % 4)), t)[:, :, :h, :w]",
        "def predict_any_size(net, xt, t):\n"
        "    h, w = xt.shape[2:]\n"
        "    return net(F.pad(xt, (0, 32 - w, 0, 32 - h)), t)[:, :, :h, :w]",
        "def predict_any_size(net, xt, t):\n"
        "    h, w = xt.shape[2:]\n"
        "    return net(F.pad(xt, (0, -w % 4, 0, -h % 4), value=-1.0), t)[:, :, :h, :w]",
        "def predict_any_size(net, xt, t):\n"
        "    h, w = xt.shape[2:]\n"
        "    return net(F.pad(xt, (0, -w % 4, 0, -h % 4)), t)",
        # by the right amount, but the answer is cut at the wrong corner
        "def predict_any_size(net, xt, t):\n"
        "    h, w = xt.shape[2:]\n"
        "    return net(F.pad(xt, (0, -w % 4, 0, -h % 4)), t)[:, :, -h:, -w:]",
        "def predict_any_size(net, xt, t):\n"
        "    b, ch, h, w = xt.shape\n"
        "    c = torch.zeros(b, ch, h + -h % 4, w + -w % 4)\n"
        "    c[:, :, :h, :w] = xt\n"
        "    return net(c, t)[:, :, :h, :w]",
        "def predict_any_size(net, xt, t):\n"
        "    h, w = xt.shape[2:]\n"
        "    return net(F.pad(xt, (0, -w % 4, 0, -h % 4)), t)[:, :1, :h, :w]",
        "def predict_any_size(net, xt, t):\n"
        "    h, w = xt.shape[2:]\n"
        "    return F.pad(xt, (0, -w % 4, 0, -h % 4))[:, :, :h, :w]",
    ],
    ("04", 1): [
        "half_life = 500",
        "half_life = 1000",
        "half_life = 346",
        "half_life = 0.999",
        "half_life = 700",
        "half_life = math.log(0.5) / math.log(0.99)",
        "half_life = math.log(0.999) / math.log(0.5)",
        "half_life = int(math.log(0.5) / math.log(0.999))",
        "half_life = 694",
        "half_life = math.log(0.5) / math.log(0.999) + 1",
    ],
    ("04", 2): [
        "loss_centred = loss_scale",
        "loss_centred = loss_linear",
        "loss_centred = ab * x.var() / (ab * x.var() + 1 - ab)",  # of all pixels as one, about one mean
        "loss_centred = loss_scale - x.mean(0).square().mean()",
        "v = (x - x.mean(0)).square().mean().sqrt()\nloss_centred = ab * v / (ab * v + 1 - ab)",
        "v = (x - x.mean(0)).square().mean()\nloss_centred = (1 - ab) / (ab * v + 1 - ab)",
        "v = (x - x.mean(0)).square().mean()\nloss_centred = (ab * v / (ab * v + 1 - ab)).mean()",
        "v = (x - x.mean(1, keepdim=True)).square().mean()\nloss_centred = ab * v / (ab * v + 1 - ab)",
        "v = (x - x.mean(0)).square().mean()\n"
        "a = torch.cat([sched.alpha_bar[2:], sched.alpha_bar[-1:]])\n"
        "loss_centred = a * v / (a * v + 1 - a)",
        "z = x[:2000]\nv = (z - z.mean(0)).square().mean()\nloss_centred = ab * v / (ab * v + 1 - ab)",
        "v = (x - x.mean(0)).square().mean()\nloss_centred = ab * v / (ab * v + 1 - ab)\nloss_centred[0] = 0",
        "v = x.var(0).mean()\n"
        "loss_centred = torch.zeros(1000)\n"
        "for t in range(1, 1000): loss_centred[t - 1] = ab[t - 1] * v / (ab[t - 1] * v + 1 - ab[t - 1])",
        "v = x.var(0).mean()\n"
        "loss_centred = torch.zeros(1000)\n"
        "for t in range(1, 1000): loss_centred[t] = ab[t] * v / (ab[t] * v + 1 - ab[t])",
        "v, s = (x - x.mean(0)).square().mean(), x.square().mean()\n"
        "k = (1 - ab).sqrt() / (ab * s + 1 - ab)\n"
        "loss_centred = (1 - k * (1 - ab).sqrt()) ** 2 + k**2 * ab * v",  # with the multiple of before
    ],
    ("04", 3): [
        "def constant(step): return step / 100",
        "def constant(step): return 1.0",
        "def constant(step): return 0.0 if step < 100 else 1.0",
        "def constant(step): return min(1.0, step / 5000)",
        "def constant(step): return min(1.0, (step / 100) ** 2)",
        "def constant(step): return max(1.0, step / 100)",
        "def constant(step): return 0.5 - 0.5 * math.cos(math.pi * min(step, 100) / 100)",
        "def constant(step): return min(1.0, step / 100) if step < 1000 else 0.0",
        "def constant(step): return min(1.0, step / 50)",
        "def constant(step): return step / 200 if step < 100 else 1.0",  # a jump at the end
        "def constant(step): return step / 50 if step < 100 else 1",
        "def constant(step): return min(1.0, 0.005 + step / 100)",
        "def constant(step): return min(1.0, step / 99.5)",
        "def constant(step): return min(1.0, step / 100) if step < 200 or step >= 5000 else 0.5",
        "def constant(step): return min(1.0, (step % 700) / 100)",
        "def constant(step): return step / 98 if step < 100 else 1",
    ],
    ("05", 1): [
        "calls, drawn = 64_000, 784_000",
        "calls, drawn = 1000, 784 * 999",
        "calls, drawn = 1000, 784 * 1001",
        "calls, drawn = 999, 784_000",
        "calls, drawn = 1000, 784",
        "calls, drawn = 1001, 784_000",
        "calls, drawn = 1000, 64 * 784_000",
    ],
    ("05", 2): [
        "mean_only = ddpm",
        "def mean_only(denoise, x, times, noise): return [x for _ in times[1:]]",
        "def mean_only(denoise, x, times, noise): return ddpm(denoise, x, times, lambda x: 0.5 * noise(x))",
        "def mean_only(denoise, x, times, noise): return [denoise(x, t).x0.detach() for t in times[:-1]]",
        "def mean_only(denoise, x, times, noise):\n"
        "    return [next(iter(ddpm(denoise, x, times, torch.zeros_like)))] * 3",
        "def mean_only(denoise, x, times, noise):\n"
        "    return ddpm(denoise, x, times, torch.zeros_like, clip=False)",
        "def mean_only(denoise, x, times, noise):\n"
        "    return ddpm(denoise, x, [times[0], times[-1]], torch.zeros_like)",
        "def mean_only(denoise, x, times, noise):\n"
        "    return ddpm(denoise, torch.zeros_like(x), times, torch.zeros_like)",
        "@torch.no_grad()\n"
        "def mean_only(denoise, x, times, noise):\n"
        "    for t, s in pairwise(times):\n"
        "        if t < denoise.sched.T:\n"
        "            x = ddpm_step(sched, x, denoise(x, t).x0, t, s, torch.zeros_like(x))\n"
        "        yield x",
        "from ddpm_abc.forward import predict_x0\n"
        "def guess(xt, t):\n"
        "    with torch.no_grad(): return denoise(xt, t).eps\n"
        "def mean_only(_, x, times, noise):\n"
        "    for t, s in pairwise(times):\n"
        "        x0_hat = predict_x0(sched, x, t, guess(x, t)).clamp(-1, 1)\n"
        "        x = q_posterior(sched, x0_hat, x, t, s)[0]\n"
        "        yield x",
        "@torch.no_grad()\n"
        "def mean_only(denoise, x, times, noise):\n"
        "    for t, s in pairwise(times):\n"
        "        x0 = denoise(x, t).x0\n"
        "        x = (ddpm_step(sched, x, x0, t, s, noise(x)) + ddpm_step(sched, x, x0, t, s, "
        "-noise(x))) / 2\n"
        "        yield x",
        "@torch.no_grad()\n"
        "def mean_only(denoise, x, times, noise):\n"
        "    for t, s in pairwise(times):\n"
        "        x0 = denoise(x, t).x0.clamp(-1, 1)\n"
        "        x = q_posterior(denoise.sched, x0, x, t, s)[0].clamp(-1, 1)\n"
        "        yield x",
    ],
    ("05", 3): [f"T_min = {n}" for n in (700, 900, 1000, 100, 750, 200, 1)],
    ("06", 1): [
        "fake = reference",
        "fake = held_out",
        "fake = torch.randn(3000, 64, dtype=torch.float64)",
        "fake = reference.mean(0).expand(3000, 64)",
        # independent
        "fake = reference.mean(0) + reference.std(0) * torch.randn(3000, 64, dtype=torch.float64)",
        "fake = reference.mean(0) + torch.randn(3000, 64, dtype=torch.float64) @ torch.cov(reference.T)",
        "fake = reference[torch.randint(3000, (3000,))]",
        "fake = torch.randn(300, 64, dtype=torch.float64)",
        # the right mean and covariance, and no Gaussian
        "fake = 2 * reference.mean(0) - reference",
        "fake = 2 * reference.mean(0) - held_out",
        "values, axes = torch.linalg.eigh(torch.cov(reference.T))\n"
        "signs = 2.0 * torch.randint(2, (3000, 64), generator=torch.Generator().manual_seed(0)) - 1\n"
        "fake = reference.mean(0) + signs.double() * values.clamp(min=0).sqrt() @ axes.T",
        "values, axes = torch.linalg.eigh(torch.cov(reference.T))\n"
        "fake = (reference.mean(0) + torch.randn(3000, 64, dtype=torch.float64) * "
        "values.clamp(min=0).sqrt() @ axes.T).float()",
        "values, axes = torch.linalg.eigh(torch.cov(reference.T))\n"
        "fake = reference.mean(0) + torch.randn(3000, 64, dtype=torch.float64) * values.sqrt() @ axes.T",
    ],
    ("06", 2): [
        'falls, kept = "precision", 0.8',
        'falls, kept = "density", 0.8',
        'falls, kept = "coverage", 0.8',
        'falls, kept = "FID", 0.8',
        'falls, kept = "recall", 0.2',
        'falls, kept = "recall", 1.0',
        'falls, kept = "recall", 0.64',
        'falls, kept = "recall", 0.82',
    ],
    ("06", 3): [
        "def floor_at(n, first, second): return second[1]",
        "def floor_at(n, first, second): return first[1] * first[0] / n",  # no constant
        "def floor_at(n, first, second): return second[1] * second[0] / n",
        # a line in N, and not in 1 / N
        "def floor_at(n, first, second):\n"
        "    (n1, f1), (n2, f2) = first, second\n"
        "    return f1 + (f2 - f1) * (n - n1) / (n2 - n1)",
        "def floor_at(n, first, second):\n"
        "    (n1, f1), (n2, f2) = first, second\n"
        "    c = (f1 - f2) / (1 / n1 - 1 / n2)\n"
        "    return f1 + c / n",
        "def floor_at(n, first, second):\n"
        "    (n1, f1), (n2, f2) = first, second\n"
        "    c = (f2 - f1) / (1 / n1 - 1 / n2)\n"
        "    return f1 + c * (1 / n - 1 / n1)",
        "def floor_at(n, first, second):\n"
        "    (n1, f1), (n2, f2) = sorted([first, second])\n"
        "    return f1 * (f2 / f1) ** (math.log(n / n1) / math.log(n2 / n1))\n"
        "import math",
    ],
    ("07", 1): [
        "def best_linear(sched): return 1 - sched.alpha_bar[1:]",
        "def best_linear(sched): return sched.alpha_bar[1:]",
        # the number for all pixels, and not one for each direction
        "def best_linear(sched):\n"
        "    s, ab = real.double().square().mean(), sched.alpha_bar[1:]\n"
        "    return ab * s / (ab * s + 1 - ab)",
        "def best_linear(sched):\n"
        "    s, ab = real.flatten(1).double().var(0).mean(), sched.alpha_bar[1:]\n"
        "    return ab * s / (ab * s + 1 - ab)",
        "def best_linear(sched):\n"
        "    s, ab = real.flatten(1).double().var(0, correction=0), sched.alpha_bar[1:, None]\n"
        "    return (ab * s / (ab * s + 1 - ab)).mean(1)",
        "LAM = torch.linalg.eigvalsh(covariance).clamp(min=0)\n"
        "def best_linear(sched):\n"
        "    ab = sched.alpha_bar[1:, None]\n"
        "    return (ab * LAM / (ab * LAM + 1 - ab)).mean()",
        "LAM = torch.linalg.eigvalsh(covariance).clamp(min=0)\n"
        "def best_linear(sched):\n"
        "    ab = sched.alpha_bar[:, None]\n"
        "    return (ab * LAM / (ab * LAM + 1 - ab)).mean(1)",
        "LAM = torch.linalg.eigvalsh(covariance).clamp(min=0)\n"
        "def best_linear(sched):\n"
        "    ab = sched.alpha_bar[1:, None].sqrt()\n"
        "    return (ab * LAM / (ab * LAM + 1 - ab)).mean(1)",
    ],
    ("07", 2): [f"trainings = {n}" for n in (7, 13, 15, 2, 27, 13.52, 1, 4)],
    ("07", 3): [f"luck = {p}" for p in (0.29, 0.44, 0.41, 0.5, 0.05, 0.71, 58.7, 0.58, 0.6)],
    ("08", 1): [f"t_limit = {t}" for t in (793, 793.5, 795, 1, 900, 206, 1000, -207)],
    ("08", 2): [
        "def parts(x0_hat, eps_hat, x0, eps): return (x0_hat - x0).square()",
        "def parts(x0_hat, eps_hat, x0, eps): return (eps_hat - eps).square()",
        "def parts(x0_hat, eps_hat, x0, eps): return ((x0_hat - x0).square() + (eps_hat - eps).square()) / 2",
        "def parts(x0_hat, eps_hat, x0, eps): return (x0_hat - x0 + eps_hat - eps).square()",
        "def parts(x0_hat, eps_hat, x0, eps): return (x0_hat - x0).abs() + (eps_hat - eps).abs()",
        "def parts(x0_hat, eps_hat, x0, eps):\n"
        "    return ((x0_hat - x0).square() + (eps_hat - eps).square()).mean()",
        "def parts(x0_hat, eps_hat, x0, eps): return (eps_hat - eps).square() - (x0_hat - x0).square()",
        "def parts(x0_hat, eps_hat, x0, eps):\n"
        "    return ((x0_hat - x0).square() + (eps_hat - eps).square()).sqrt()",
        "def parts(x0_hat, eps_hat, x0, eps):\n"
        "    return ((x0_hat - x0).square() + (eps_hat - eps).square()).sum(1, keepdim=True)",
        "def parts(x0_hat, eps_hat, x0, eps):\n"
        "    return ((x0_hat - x0).square() + (eps_hat - eps).square()).mean(1, keepdim=True)",
    ],
    ("08", 3): [
        "def min_snr_v(sched): return sched.snr.clamp(max=5)",  # that of x0
        "def min_snr_v(sched): return sched.snr.clamp(max=5) / sched.snr",  # that of eps
        "def min_snr_v(sched): return sched.snr.clamp(max=5) * (1 + sched.snr)",
        "def min_snr_v(sched): return (sched.snr / (1 + sched.snr)).clamp(max=5)",
        "def min_snr_v(sched): return ((1 + sched.snr) / sched.snr).clamp(max=5)",
        "def min_snr_v(sched): return sched.snr.clamp(min=5) / (1 + sched.snr)",
        "def min_snr_v(sched): return (1 + sched.snr).clamp(max=5) / (1 + sched.snr)",
        "def min_snr_v(sched): return sched.snr[1:].clamp(max=5) / (1 + sched.snr[1:])",  # without t = 0
        "W = sched.snr.clamp(max=5) / (1 + sched.snr)\ndef min_snr_v(_): return W",  # of one schedule only
        "def min_snr_v(sched): return sched.alpha_bar",
        "def min_snr_v(sched): return 1",
        "import math\n"
        "def min_snr_v(sched):\n"
        "    u = (torch.arange(sched.T + 1, dtype=torch.float64) / sched.T + 0.008) / 1.008\n"
        "    ab = (u * math.pi / 2).cos() ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2\n"
        "    return torch.minimum(ab, 5 * (1 - ab))",
        "def min_snr_v(s):\n"
        "    s = cosine_schedule(s.T)\n"
        "    return torch.minimum(s.alpha_bar, 5 * (1 - s.alpha_bar))",
        "def min_snr_v(sched):\n"
        "    w = torch.minimum(sched.alpha_bar, 5 * (1 - sched.alpha_bar)); w[-1] = 0; return w",
        "def min_snr_v(sched):\n"
        "    w = torch.zeros(sched.T + 1)\n"
        "    for t in range(1, sched.T):\n"
        "        w[t] = min(sched.snr[t], 5) / (1 + sched.snr[t])\n"
        "    return w",
        "def min_snr_v(sched):\n"
        "    w = torch.ones(sched.T + 1)\n"
        "    for t in range(1, sched.T):\n"
        "        w[t] = min(sched.snr[t], 5) / (1 + sched.snr[t])\n"
        "    return w",
    ],
    ("09", 1): ["g = 1", "g = 0", "g = -1", "g = 3", "g = 0.5", "g = -2"],
    ("09", 2): [
        "def both_answers(net, xt, t, y): return net(xt, t, y), net(xt, t, torch.full_like(y, NULL))",
        "def both_answers(net, xt, t, y):\n"  # in the wrong order
        "    labels = torch.cat([torch.full_like(y, NULL), y])\n"
        "    return net(torch.cat([xt, xt]), torch.cat([t, t]), labels).chunk(2)",
        "def both_answers(net, xt, t, y):\n"  # y twice
        "    return net(torch.cat([xt, xt]), torch.cat([t, t]), torch.cat([y, y])).chunk(2)",
        "def both_answers(net, xt, t, y):\n"  # t and y once
        "    return net(torch.cat([xt, xt]), t, y).chunk(2)",
        "def both_answers(net, xt, t, y):\n"  # every image by the next
        "    labels = torch.stack([y, torch.full_like(y, NULL)], 1).ravel()\n"
        "    twice = net(xt.repeat_interleave(2, 0), t.repeat_interleave(2), labels)\n"
        "    return twice.chunk(2)",
        "def both_answers(net, xt, t, y):\n"
        "    labels = torch.cat([y, torch.full_like(y, NULL)])\n"
        "    return net(torch.cat([xt, 0 * xt]), torch.cat([t, t]), labels).chunk(2)",
        "def both_answers(net, xt, t, y):\n    answer = net(xt, t, y)\n    return answer, answer",
        "def both_answers(net, xt, t, y):\n"
        "    return net(torch.cat([xt, xt]), torch.cat([t, t]), torch.cat([y, nothing])).chunk(2)",
        "def both_answers(net, xt, t, y):\n"
        "    a = net(torch.cat([xt, xt]), torch.cat([t, t]), torch.cat([y, torch.full((10,), NULL)]))\n"
        "    return a[:10], a[10:]",
        "def both_answers(net, xt, t, y):\n"
        "    labels = torch.tensor([y[0]] * len(xt) + [NULL] * len(xt))\n"
        "    return net(torch.cat([xt, xt]), torch.cat([t, t]), labels).chunk(2)",
        "def both_answers(net, xt, t, y):\n"
        "    labels = torch.cat([y.flip(0), torch.full_like(y, NULL)])\n"
        "    return net(torch.cat([xt, xt]), torch.cat([t, t]), labels).chunk(2)",
        "def both_answers(net, xt, t, y):\n"
        "    null = y\n"
        "    null[:] = NULL\n"
        "    return net(torch.cat([xt, xt]), torch.cat([t, t]), torch.cat([y, null])).chunk(2)",
        "def both_answers(net, xt, t, y):\n"
        "    return net(torch.cat([xt, xt]), torch.cat([t, t]), torch.cat([y, y.fill_(NULL)])).chunk(2)",
        "def both_answers(net, xt, t, y):\n"
        "    none = torch.full_like(y, int(y.max()) + 1)\n"
        "    return net(torch.cat([xt, xt]), torch.cat([t, t]), torch.cat([y, none])).chunk(2)",
    ],
    ("09", 3): [
        "def guided_between(denoise, y, w, low, high): return guided(denoise, y, NULL, w)",
        "def guided_between(denoise, y, w, low, high): return guided(denoise, y, NULL, 0)",
        # decided by the first item, open at the ends, or inside out
        "def guided_between(denoise, y, w, low, high):\n"
        "    within, outside = guided(denoise, y, NULL, w).net, guided(denoise, y, NULL, 0).net\n"
        "    return replace(denoise, net=lambda xt, t: (within if low <= t[0] <= high else outside)(xt, t))",
        "def guided_between(denoise, y, w, low, high):\n"
        "    within, outside = guided(denoise, y, NULL, w).net, guided(denoise, y, NULL, 0).net\n"
        "    inside = lambda t: ((low < t) & (t < high))[:, None, None, None]\n"
        "    net = lambda xt, t: torch.where(inside(t), within(xt, t), outside(xt, t))\n"
        "    return replace(denoise, net=net)",
        "def guided_between(denoise, y, w, low, high):\n"
        "    within, outside = guided(denoise, y, NULL, w).net, guided(denoise, y, NULL, 0).net\n"
        "    inside = lambda t: ((low <= t) & (t <= high))[:, None, None, None]\n"
        "    net = lambda xt, t: torch.where(inside(t), outside(xt, t), within(xt, t))\n"
        "    return replace(denoise, net=net)",
        # without a label elsewhere, and w for 1 + w
        "def guided_between(denoise, y, w, low, high):\n"
        "    within, outside = guided(denoise, y, NULL, w).net, guided(denoise, y, NULL, -1).net\n"
        "    inside = lambda t: ((low <= t) & (t <= high))[:, None, None, None]\n"
        "    net = lambda xt, t: torch.where(inside(t), within(xt, t), outside(xt, t))\n"
        "    return replace(denoise, net=net)",
        "def guided_between(denoise, y, w, low, high):\n"
        "    within, outside = guided(denoise, y, NULL, w - 1).net, guided(denoise, y, NULL, 0).net\n"
        "    inside = lambda t: ((low <= t) & (t <= high))[:, None, None, None]\n"
        "    net = lambda xt, t: torch.where(inside(t), within(xt, t), outside(xt, t))\n"
        "    return replace(denoise, net=net)",
        "def guided_between(denoise, y, w, low, high):\n"
        "    def net(xt, t):\n"
        "        a, b = denoise.net(xt, t, y), denoise.net(xt, t, torch.full_like(y, NULL))\n"
        "        inside = ((low <= t) & (t <= high)).view(-1, 1, 1, 1)\n"
        "        return torch.where(inside, a + w * (a - b), a)\n"
        "    return Denoiser(net, denoise.sched)",
        "def guided_between(denoise, y, w, low, high):\n"
        "    def net(xt, t):\n"
        "        a, b = denoise.net(xt, t, y), denoise.net(xt, t, torch.full_like(y, NULL))\n"
        "        inside = ((low <= t) & (t <= high)).view(-1, 1, 1, 1)\n"
        "        return torch.where(inside, a + w * (a - b), a)\n"
        "    return Denoiser(net, sched)",
        "def guided_between(denoise, y, w, low, high):\n"
        "    def net(xt, t):\n"
        "        a, b = denoise(xt, t, y=y).eps, denoise(xt, t, y=torch.full_like(y, NULL)).eps\n"
        "        inside = ((low <= t) & (t <= high)).view(-1, 1, 1, 1)\n"
        "        return torch.where(inside, a + w * (a - b), a)\n"
        "    return replace(denoise, net=net)",
        "def guided_between(denoise, y, w, low, high):\n"
        "    def net(xt, t):\n"
        "        i = (low <= t) & (t <= high); n = int(i.sum())\n"
        "        out = denoise.net(xt, t, y)\n"
        "        out[i] = guided(denoise, y[:n], NULL, w).net(xt[i], t[i])\n"
        "        return out\n"
        "    return replace(denoise, net=net)",
        "def guided_between(denoise, y, w, low, high):\n"
        "    a = guided(denoise, y[:1].expand(len(y)), NULL, w).net; b = guided(denoise, "
        "y[:1].expand(len(y)), NULL, 0).net\n"
        "    return replace(denoise, net=lambda xt, t: torch.where(((low <= t) & (t <= high))[:, "
        "None, None, None], a(xt, t), b(xt, t)))",
        "def guided_between(denoise, y, w, low, high):\n"
        "    def net(xt, t):\n"
        "        a, b = denoise.net(xt, t, seven), denoise.net(xt, t, nothing)\n"
        "        return a + (w * ((low <= t) & (t <= high)))[:, None, None, None] * (a - b)\n"
        "    return replace(denoise, net=net)",
        "def guided_between(denoise, y, w, low, high):\n"
        "    a, b = guided(told, y, NULL, w).net, guided(told, y, NULL, 0).net\n"
        "    return replace(told, net=lambda xt, t: torch.where(((low <= t) & (t <= high))[:, None, "
        "None, None], a(xt, t), b(xt, t)))",
        "def guided_between(denoise, y, w, low, high):\n"
        "    a, b = guided(denoise, y, NULL, w).net, guided(denoise, y, NULL, 0).net\n"
        "    return lambda xt, t: torch.where(((low <= t) & (t <= high))[:, None, None, None], a(xt, "
        "t), b(xt, t))",
        "def guided_between(denoise, y, w, low, high):\n"
        "    def net(xt, t):\n"
        "        a, b = denoise.net(xt, t, y), denoise.net(xt, t, torch.full((10,), NULL))\n"
        "        return torch.where(((low <= t) & (t <= high))[:, None, None, None], a + w * (a - "
        "b), a)\n"
        "    return replace(denoise, net=net)",
    ],
    ("10", 1): [
        f"calls = lambda n: {f}" for f in ("n", "2 * n", "2 * n + 1", "2 * n - 2", "n + 1", "1", "3 * n - 2")
    ],
    ("10", 2): [
        "def forgetful(denoise, x, times): return last(ddim(denoise, x, times, None))",
        "def forgetful(denoise, x, times): return last(ddim(denoise, x, times, None, clip=False))",
        "def forgetful(denoise, x, times):\n"
        "    return last(ddim(denoise, x, times, None, clip=False)).clamp(-1, 1)",
        "def forgetful(denoise, x, times):\n"  # eps clipped too
        "    for t, s in pairwise(times):\n"
        "        guess, ab_s = denoise(x, t), denoise.sched.alpha_bar[s]\n"
        "        x = ab_s.sqrt() * guess.x0.clamp(-1, 1) + (1 - ab_s).sqrt() * guess.eps.clamp(-1, 1)\n"
        "    return x",
        "def forgetful(denoise, x, times):\n"  # the first step alone
        "    (t, s), guess = times[:2], denoise(x, times[0])\n"
        "    ab_s = denoise.sched.alpha_bar[s]\n"
        "    return ab_s.sqrt() * guess.x0.clamp(-1, 1) + (1 - ab_s).sqrt() * guess.eps",
        "def forgetful(denoise, x, times):\n"  # the network asked once
        "    guess = denoise(x, times[0])\n"
        "    ab_s = denoise.sched.alpha_bar[times[-1]]\n"
        "    return ab_s.sqrt() * guess.x0.clamp(-1, 1) + (1 - ab_s).sqrt() * guess.eps",
        "def forgetful(denoise, x, times):\n"  # alpha_bar of t
        "    for t, s in pairwise(times):\n"
        "        guess, ab_t = denoise(x, t), denoise.sched.alpha_bar[t]\n"
        "        x = ab_t.sqrt() * guess.x0.clamp(-1, 1) + (1 - ab_t).sqrt() * guess.eps\n"
        "    return x",
        "def forgetful(denoise, x, times):\n"  # the last step not clipped
        "    for t, s in pairwise(times):\n"
        "        guess, ab_s = denoise(x, t), denoise.sched.alpha_bar[s]\n"
        "        x0 = guess.x0.clamp(-1, 1) if s else guess.x0\n"
        "        x = ab_s.sqrt() * x0 + (1 - ab_s).sqrt() * guess.eps\n"
        "    return x",
        "def forgetful(denoise, x, times):\n"
        "    for t, s in pairwise(times):\n"
        "        guess, ab_s = denoise(x, t), sched.alpha_bar[s]\n"
        "        x = ab_s.sqrt() * guess.x0.clamp(-1, 1) + (1 - ab_s).sqrt() * guess.eps\n"
        "    return x",
        "def forgetful(denoise, x, times):\n"
        "    for t, s in pairwise(times):\n"
        "        x0 = denoise.net(x, torch.full((len(x),), t))\n"
        "        ab_t, ab_s = denoise.sched.alpha_bar[t], denoise.sched.alpha_bar[s]\n"
        "        eps = (x - ab_t.sqrt() * x0) / (1 - ab_t).sqrt()\n"
        "        x = ab_s.sqrt() * x0.clamp(-1, 1) + (1 - ab_s).sqrt() * eps\n"
        "    return x",
        "def forgetful(denoise, x, times):\n"
        "    for t, s in pairwise(times):\n"
        "        guess, ab_s = denoise(x, t), denoise.sched.alpha_bar[s]\n"
        "        big = guess.x0.flatten(1).abs().amax(1).clamp(min=1).reshape(-1, *[1] * (x.ndim - 1))\n"
        "        x = ab_s.sqrt() * guess.x0 / big + (1 - ab_s).sqrt() * guess.eps\n"
        "    return x",
        "def forgetful(denoise, x, times):\n"
        "    for t, s in pairwise(times):\n"
        "        guess, ab_s = denoise(x, t), denoise.sched.alpha_bar[s]\n"
        "        x0 = guess.x0.clamp(-1, 1) if (guess.x0.abs() > 1).all() else guess.x0\n"
        "        x = ab_s.sqrt() * x0 + (1 - ab_s).sqrt() * guess.eps\n"
        "    return x",
    ],
    ("10", 3): [
        "def factor(v, ab_t, ab_s): return (ab_s / ab_t).sqrt()",
        "def factor(v, ab_t, ab_s):\n"
        "    return ((ab_s * v + 1 - ab_s) / (ab_t * v + 1 - ab_t)).sqrt()",  # of the exact flow
        "def factor(v, ab_t, ab_s): return (ab_s * v + 1 - ab_s) / (ab_t * v + 1 - ab_t)",
        "def factor(v, ab_t, ab_s):\n"
        "    return ((ab_s * ab_t).sqrt() + ((1 - ab_s) * (1 - ab_t)).sqrt()) / (ab_t + 1 - ab_t)",
        "def factor(v, ab_t, ab_s):\n"  # t and s exchanged
        "    return ((ab_s * ab_t).sqrt() * v + ((1 - ab_s) * (1 - ab_t)).sqrt()) / (ab_s * v + 1 - ab_s)",
        "def factor(v, ab_t, ab_s):\n"
        "    return (ab_s * ab_t * v + (1 - ab_s) * (1 - ab_t)) / (ab_t * v + 1 - ab_t)",
        "def factor(v, ab_t, ab_s):\n"  # a standard deviation for the variance
        "    d = v**0.5\n"
        "    return ((ab_s * ab_t).sqrt() * d + ((1 - ab_s) * (1 - ab_t)).sqrt()) / (ab_t * d + 1 - ab_t)",
    ],
    ("11", 1): [
        "def in_bits(p, shape): return -p / (math.prod(shape) * math.log(2))",  # levels have no width
        "def in_bits(p, shape): return 8 - p / (math.prod(shape) * math.log(2))",
        "def in_bits(p, shape): return math.log2(127.5) - p / math.prod(shape)",  # nats
        "def in_bits(p, shape): return math.log2(127.5) - p / math.log(2)",  # of the whole image
        "def in_bits(p, shape): return math.log2(127.5) + p / (math.prod(shape) * math.log(2))",
        "def in_bits(p, shape): return math.log2(255) - p / (math.prod(shape) * math.log(2))",
        "def in_bits(p, shape): return math.log2(127.5) - p / (shape[1] * shape[2] * math.log(2))",
        "def in_bits(p, shape): return math.log2(127.5) - p / (shape[0] * shape[1] ** 2 * math.log(2))",
        "def in_bits(p, shape): return math.log2(127.5) - (1 if p > 0 else -1 if p < 0 else 0)",
        "def in_bits(p, shape): return min(8.0, math.log2(127.5) - p / (math.prod(shape) * math.log(2)))",
        "def in_bits(p, shape): return max(0.0, min(8.0, math.log2(127.5) - p / (math.prod(shape) * "
        "math.log(2))))",
    ],
    ("11", 2): [
        "def total(terms, t, p): return terms.mean()",
        "def total(terms, t, p): return terms.mean() * (len(p) - 1)",  # as if the times were even
        "def total(terms, t, p): return (terms / p[t]).sum()",
        "def total(terms, t, p): return (terms * p[t]).sum()",
        "def total(terms, t, p): return (terms / p[t]).sum() / (1 / p[t]).sum() * (len(p) - 1)",
        "def total(terms, t, p): return (terms / p[t - 1]).mean()",
        "def total(terms, t, p): return terms[0] / p[t[0]]",  # accepted once: right on average, of one term
        "def total(terms, t, p): return terms[-1] / p[t[-1]]",
        "def total(terms, t, p): return terms / p[t]",
        "def total(terms, t, p):\n    terms /= p[t]\n    return terms.mean()",
    ],
    ("11", 3): [
        "def cost(v): return (v.mean().log() - v.log().mean()).item() / 2",  # nats
        "def cost(v): return (v.mean().log() - v.log().mean()).item() / math.log(2)",
        "def cost(v): return 0.0",  # as if the best variance were free
        "def cost(v): return ((v / v.log().mean().exp()).mean().item() - 1) / (2 * math.log(2))",
        "def cost(v):\n"  # the best for the divergence the other way round
        "    s = 1 / (1 / v).mean()\n"
        "    return (v / s - 1 + (s / v).log()).mean().item() / (2 * math.log(2))",
        "def cost(v):\n"  # squared mean deviation
        "    s = v.sqrt().mean() ** 2\n"
        "    return (v / s - 1 + (s / v).log()).mean().item() / (2 * math.log(2))",
        "def cost(v):\n"  # the largest variance, to be safe
        "    return (v / v.max() - 1 + (v.max() / v).log()).mean().item() / (2 * math.log(2))",
        "def cost(v): return (v.mean() / v.log().mean().exp()).item()",  # no logarithm
        "def cost(v): return (v.mean().log() - v.log().mean()).item() * len(v) / (2 * math.log(2))",
        "def cost(v):\n"  # for flat tensors alone
        "    return (v.mean().log() - v.log().sum() / len(v)).item() / (2 * math.log(2))",
        "def cost(v): return (v.mean() / v.prod() ** (1 / v.numel())).log2().item() / 2",
        "def cost(v):\n    m = v.mean()\n    return ((m.log() - v.log_().mean()) / (2 * math.log(2))).item()",
    ],
    ("12", 1): [
        f"calls = lambda n, r: {f}"
        for f in ("n * r", "n", "n + r", "(n - 1) * r", "n * r + 1", "(n - 1) * (r + 1)", "2 * n * r - 1")
    ],
    ("12", 2): [
        "quarter = torch.arange(28) % 2 == 0",
        "quarter = (torch.arange(28) % 2 == 0)[:, None].expand(28, 28)",
        "quarter = (torch.arange(28)[:, None] + torch.arange(28)) % 2 == 0",  # a chessboard
        "quarter = (torch.arange(28) < 14)[:, None] & (torch.arange(28) < 14)",
        "quarter = (torch.arange(28) % 2 == 1)[:, None] & (torch.arange(28) % 2 == 1)",
        "quarter = ~((torch.arange(28) % 2 == 0)[:, None] & (torch.arange(28) % 2 == 0))",
        "quarter = ((torch.arange(28) % 2 == 0)[:, None] & (torch.arange(28) % 2 == 0)).float()",
        "quarter = (torch.arange(28) % 4 == 0)[:, None].expand(28, 28)",
    ],
    ("12", 3): [
        "def mix(noises, weights): return torch.tensordot(weights, noises, dims=1)",
        "def mix(noises, weights): return torch.tensordot(weights / weights.sum(), noises, dims=1)",
        "def mix(noises, weights): return torch.tensordot((weights / weights.sum()).sqrt(), noises, dims=1)",
        "def mix(noises, weights): return noises.mean(0)",
        "def mix(noises, weights): return noises.sum(0) / len(noises) ** 0.5",
        "def mix(noises, weights): return torch.tensordot(weights.softmax(0), noises, dims=1)",
        "def mix(noises, weights): return torch.tensordot(weights / weights.max(), noises, dims=1)",
        "def mix(noises, weights):\n"
        "    x = torch.tensordot(weights, noises, dims=1)\n"
        "    n = noises.flatten(1).norm(dim=1)\n"
        "    return x * (weights @ n) / weights.sum() / x.norm()",
        "def mix(noises, weights):\n"
        "    noises *= (weights / weights.norm()).reshape(-1, *[1] * (noises.ndim - 1))\n"
        "    return noises.sum(0)",
        "def mix(noises, weights):\n"
        "    weights /= weights.norm()\n"
        "    return torch.tensordot(weights, noises, dims=1)",
        "def mix(noises, weights): return ((weights / weights.norm())[:, None] * noises).sum(0)",
        "def mix(noises, weights): return weights / weights.norm() @ noises",
        "def mix(noises, weights): return torch.tensordot(weights / weights.norm(), noises, dims=1)[None]",
    ],
    ("13", 1): [
        "def visible_until(n): return 500",
        "def visible_until(n): return min(1000, 500 * n)",
        "def visible_until(n): return int((n**0.5 * sched.snr[1:] >= sched.snr[500]).sum())",  # a root
        "def visible_until(n): return int((sched.snr[1:] >= n * sched.snr[500]).sum())",  # the wrong way
        "def visible_until(n): return int((n * sched.snr[1:] >= sched.snr[500] * (1 - 1e-9)).sum()) + 1",
        "def visible_until(n): return int((n * sched.alpha_bar[1:] >= sched.alpha_bar[500]).sum())",
        "def visible_until(n):\n"
        "    snr = sched.snr\n"
        "    for t in range(500, 1000):\n"
        "        if n * snr[t + 1] < snr[500]: return t",
        "def visible_until(n): return int((n * sched.snr[1:] < sched.snr[500] * (1 - 1e-9)).int().argmax())",
        "def visible_until(n): return max(t for t in range(1, 1000) if n * sched.snr[t] >= sched.snr[500])",
    ],
    ("13", 2): [
        "share = 1 / 3",
        "share = 1.0",
        "share = 0.0",
        "grey = real.mean(1)\nshare = (grey.var() / real.var()).item() / 3",
        "share = ((real.mean(1) - real.mean()).abs().mean() / (real - real.mean()).abs().mean()).item()",
        "points = real.permute(0, 2, 3, 1).reshape(-1, 3).double()\n"
        "share = (points.sum(1).square().sum() / 3 / points.square().sum()).item()",  # the mean not taken off
    ],
    ("13", 3): [
        "fair = torch.ones(len(held), dtype=torch.bool)",
        "fair = torch.zeros(len(held), dtype=torch.bool)",
        "fair = held.labels != data.classes.index('people-body')",
        "fair = nearest_neighbors(unseen, real)[0] < 15",
        "fair = nearest_neighbors(unseen, unseen)[0] >= 15",  # among themselves
        "fair = nearest_neighbors(unseen, real)[0] >= 15.0 / 2",
    ],
    ("90a", 1): [
        "def n_different(start): return 156 * 64",  # accepted once: nothing was counted
        "def n_different(start): return 10_000",
        "def n_different(start): return 10_000 - start * 64 % 10_000",
        "def n_different(start): return 9984 if start % 156 == 0 else 7500",
        "def n_different(start):\n"  # from the first batch on
        "    return len(torch.cat(list(islice(_shuffled(pixels, 64, 0, 0), 156))).unique())",
        "def n_different(start):\n"  # of pixels, not of images
        "    return len(torch.cat(list(islice(batches(pixels, 64, start=start), 156))).unique())",
        "def n_different(start):\n"
        "    return len(torch.cat(list(islice(_shuffled(pixels, 64, 0, start), 155))).unique())",
    ],
    ("90a", 2): [
        "def gain(change, t): return 0.0",  # accepted once: any small number was
        "def gain(change, t): return 0.009",
        "def gain(change, t): return share_found(change(unit), t)",
        "def gain(change, t): return share_found(unit, t) - share_found(change(unit), t)",
        "def gain(change, t): return share_found(change(unit), 400) - share_found(unit, 400)",
        "def gain(change, t): return share_found(change(unit), t) / share_found(unit, t) - 1",
        "def gain(change, t): return change(share_found(unit, t)) - share_found(unit, t)",
        "def gain(change, t):\n"
        "    changed = torch.cat([change(x[None]) for x in unit])\n"
        "    return share_found(changed, t) - share_found(unit, t)",
        "def gain(change, t):\n"
        "    return share_found(torch.stack([change(x) for x in unit]), t) - share_found(unit, t)",
        "def gain(change, t):\n"
        "    return share_found(unit * change(unit).std() / unit.std(), t) - share_found(unit, t)",
        "def gain(change, t): return share_found(change(unit).clamp(-1, 1), t) - share_found(unit, t)",
    ],
    ("91", 1): [
        "def late(window): return window",
        "def late(window): return window / 2",
        "def late(window): return (window + 1) / 2",
        "def late(window): return window - 1",
        "def late(window): return window // 2",
        "def late(window): return 49.5",
        "def late(window): return -(window - 1) / 2",
    ],
    ("91", 2): [
        # accepted once: of that mean and deviation, and no picture of the states
        "normed = torch.randn(7, 1, 28, 28)\n"
        "normed = (normed - normed.mean((1, 2, 3), keepdim=True)) / normed.std((1, 2, 3), keepdim=True) / 2",
        "normed = states[:1].expand(7, 1, 28, 28)\n"
        "normed = (normed - normed.mean((1, 2, 3), keepdim=True)) / normed.std((1, 2, 3), keepdim=True) / 2",
        "normed = -(states - states.mean((1, 2, 3), keepdim=True)) / states.std((1, 2, 3), keepdim=True) / 2",
        "normed = states.clamp(-1, 1)\n"
        "normed = (normed - normed.mean((1, 2, 3), keepdim=True)) / normed.std((1, 2, 3), keepdim=True) / 2",
        "normed = (states - states.mean()) / states.std() / 2",
        "normed = (states - states.mean((1, 2, 3), keepdim=True)) / states.std((1, 2, 3), keepdim=True)",
        "normed = states / states.std((1, 2, 3), keepdim=True) / 2",
        "normed = states.clone()",
        "normed = torch.tanh(states / 3)\n"
        "normed = (normed - normed.mean((1, 2, 3), keepdim=True)) / normed.std((1, 2, 3), "
        "keepdim=True) / 2",
    ],
    ("92c", 1): [
        "moved = 1e-4",  # accepted once: anything from 1e-5 to 5e-3 was
        "moved = 0.001",
        "moved = 0.0",
        "moved = torch.finfo(torch.float16).eps",
        "moved = 0.01",
        "state = denoise.net.state_dict()\n"  # of the weights, not of the answers
        "flat = torch.cat([v.flatten() for v in state.values()])\n"
        "moved = (flat - flat.half().float()).square().mean().sqrt().item()",
        "with torch.no_grad():\n    moved = denoise.net(xt, t).square().mean().sqrt().item()",
        "with torch.no_grad():\n"  # of a rounded answer
        "    eps = denoise.net(xt, t)\n"
        "moved = (eps - eps.half().float()).square().mean().sqrt().item()",
    ],
    ("92d", 1): [
        "def without(part, kept): return fresh(seed=3)",
        "def without(part, kept): return first",
        "def without(part, kept):\n"  # other weights
        "    denoise, opt, ema, generator = fresh(seed=3)\n"
        '    opt.load_state_dict(kept["optimizer"])\n'
        '    generator.set_state(kept["generator"])\n'
        '    ema.model.load_state_dict(kept["ema"])\n'
        "    return denoise, opt, ema, generator",
        "def without(part, kept):\n"  # all parts, whatever is asked
        "    denoise, opt, ema, generator = fresh(seed=3)\n"
        "    denoise.net.load_state_dict(weights)\n"
        '    opt.load_state_dict(kept["optimizer"])\n'
        '    generator.set_state(kept["generator"])\n'
        '    ema.model.load_state_dict(kept["ema"])\n'
        "    return denoise, opt, ema, generator",
        "def without(part, kept):\n"  # that part alone
        "    denoise, opt, ema, generator = fresh(seed=3)\n"
        "    denoise.net.load_state_dict(weights)\n"
        '    if part == "optimizer":\n'
        '        opt.load_state_dict(kept["optimizer"])\n'
        '    if part == "generator":\n'
        '        generator.set_state(kept["generator"])\n'
        '    if part == "ema":\n'
        '        ema.model.load_state_dict(kept["ema"])\n'
        "    return denoise, opt, ema, generator",
        "def without(part, kept):\n"  # the average is never put back
        "    denoise, opt, ema, generator = fresh(seed=3)\n"
        "    denoise.net.load_state_dict(weights)\n"
        '    if part != "optimizer":\n'
        '        opt.load_state_dict(kept["optimizer"])\n'
        '    if part != "generator":\n'
        '        generator.set_state(kept["generator"])\n'
        "    return denoise, opt, ema, generator",
        "def without(part, kept):\n"  # the optimizer's settings without its moments
        "    denoise, opt, ema, generator = fresh(seed=3)\n"
        "    denoise.net.load_state_dict(weights)\n"
        '    opt.load_state_dict({**kept["optimizer"], "state": {}})\n'
        '    if part != "generator":\n'
        '        generator.set_state(kept["generator"])\n'
        '    if part != "ema":\n'
        '        ema.model.load_state_dict(kept["ema"])\n'
        "    return denoise, opt, ema, generator",
        without(begin="denoise, opt, ema, generator = fresh()"),
        without(generator=f"generator.manual_seed(0)\n    {PUT_BACK['generator']}"),
        without(
            generator='if part == "generator": generator = torch.Generator()\n'
            '    else: generator.set_state(kept["generator"])'
        ),
        without(
            optimizer='if part == "optimizer": opt = torch.optim.AdamW(denoise.net.parameters())\n'
            '    else: opt.load_state_dict(kept["optimizer"])'
        ),
        without(
            optimizer='opt.load_state_dict({**kept["optimizer"], "state": {}} if part == "optimizer" else '
            'kept["optimizer"])'
        ),
        without(ema='ema.model.load_state_dict(weights if part == "ema" else kept["ema"])'),
        without(
            optimizer='if part != "optimizer":\n'
            '        opt.load_state_dict(kept["optimizer"])\n'
            '        if part != "nothing":\n'
            "            for s in opt.state.values():\n"
            '                s["exp_avg"].zero_()'
        ),
        "def without(part, kept):\n"
        "    run = fresh(seed=3)\n"
        "    run[0].net.load_state_dict(weights)\n"
        '    if part != "optimizer": run[1].load_state_dict(kept["optimizer"])\n'
        '    if part != "generator": run[3].set_state(kept["generator"])\n'
        "    ema = run[2]\n"
        '    if part == "ema": ema = EMA(run[0].net)\n'
        '    else: ema.model.load_state_dict(kept["ema"])\n'
        "    return run[0], run[1], ema, run[3]",
        without(  # from the cell above, whatever is in `kept`
            optimizer='if part != "optimizer": opt.load_state_dict(copy.deepcopy(moments))',
            generator='if part != "generator": generator.set_state(noise)',
        ),
    ],
    ("93", 1): [
        f"def second(n, seed): return {f}"
        for f in (
            '["--n", n, "--seed", seed]',
            '["--first", n, "--seed", seed, "--n", 2 * n]',
            '["--n", n, "--first", n + 1, "--seed", seed]',
            '["--n", n, "--first", n]',
            '["--n", n, "--first", n, "--seed", seed + 1]',
            '["--n", n, "--start", n, "--seed", seed]',
            '["--n", 2, "--first", 2, "--seed", 5]',
        )
    ]
    + ['def second(n, seed): return ["--n", n, "--first", n, "--seed", seed, "--steps", 50]'],
    ("94", 1): [
        f"def copies(levels, blocks): return {f}"
        for f in (
            "levels * blocks",
            "levels * blocks + 1",
            "levels * (blocks + 1) + 1",
            "levels * (blocks + 1) - 1",
            "(levels - 1) * (blocks + 1)",
            "levels * (blocks + 2)",
            "12",
        )
    ],
    ("94b", 1): [
        f"def last_part(f, gamma): return {f}"
        for f in (
            "f",
            "f ** (gamma + 1)",  # what the first steps count
            "1 - f ** (gamma + 1)",
            "(1 - f) ** (gamma + 1)",
            "1 - (1 - f) ** gamma",
            "min(1, (gamma + 1) * f)",  # as if all of them counted what the last one does
            "1 - torch.tensor(-(gamma + 1) * f).exp()",  # that of an EMA
            "1 - (1 - f) ** (gamma_to_sigma_rel(gamma) + 1)",
            "power_profile(1000, gamma)[-round(1000 * f):].sum()",  # all of them for f = 0
        )
    ]
    + [
        "def last_part(f, gamma): return power_profile(20, gamma)[20 - round(20 * f):].sum()",
        "def last_part(f, gamma): return power_profile(1000, gamma)[1000 - round(1000 * f):].sum().item()",
    ],
    ("94b", 2): [
        f"def same_length(d, sigma_rel): return {f}"
        for f in (
            "1 / (1 - d)",
            "1 / (1 - d) / sigma_rel",
            "d / (1 - d) / sigma_rel",  # the mean taken for the length
            "d / (1 - d) ** 2 / sigma_rel",  # the variance
            "(d / (1 - d)) ** 0.5 / sigma_rel",
            "sigma_rel * d**0.5 / (1 - d)",
            "d**0.5 / (1 - d)",
            "-torch.tensor(2.0).log() / torch.tensor(d).log() / sigma_rel",  # the half-life
            "1 / (1 - d ** (1 / (sigma_rel_to_gamma(sigma_rel) + 1)))",  # where the decays are equal
            "round(d**0.5 / (1 - d) / sigma_rel)",
        )
    ]
    + [
        "def same_length(d, sigma_rel):\n"
        "    k = torch.arange(20_000, dtype=torch.float64); c = (1 - d) * d**k\n"
        "    return ((c * k**2).sum() - (c * k).sum() ** 2).sqrt() / sigma_rel",
    ],
    ("94b", 3): [
        "from ddpm_abc.averaging import posthoc_weights\n"
        f"def without_start(t_a, t_b, gamma):\n    r = (t_a / t_b) ** (gamma + 1)\n    return {x}"
        for x in (
            "-1, 1",
            "0, 1",
            "-r, 1",  # a sum below 1
            "-r, 1 + r",  # some of the start is left
            "r / (1 - r), 1 / (1 - r)",
            "1 / (1 - r), -r / (1 - r)",
            "-r / (1 + r), 1 / (1 + r)",
            "-t_a / (t_b - t_a), t_b / (t_b - t_a)",  # right for the plain mean alone
            "1 - 1 / (1 - (t_a / t_b) ** gamma), 1 / (1 - (t_a / t_b) ** gamma)",  # the profile, not its area
            "posthoc_weights(torch.tensor([t_a, t_b]), torch.tensor([gamma, gamma]), t_b, gamma)",
            "posthoc_weights(torch.tensor([t_a, t_b]), torch.tensor([gamma, gamma]), t_b - t_a, gamma)",
        )
    ],
    ("94c", 1): [
        f"def factor(d, x): return {f}"
        for f in (
            "torch.outer(d, x)",
            "torch.outer(d, x).sign()",
            "torch.outer(d, x) / d.norm()",
            "torch.outer(d, x) / (d.norm() * x.norm()) ** 2",
            "torch.outer(x, d) / (d.norm() * x.norm())",
            "orthogonal(torch.outer(d, x))",  # its singular value is near 1, not 1
            "torch.eye(len(d), len(x), dtype=d.dtype)",
        )
    ]
    + [
        "def factor(d, x):\n    g = torch.outer(d, x)\n    return g / g.norm().clamp(min=1)",
        "def factor(d, x): return torch.outer(d, x) / (d.norm() * x.norm() + 1e-5)",
        "def factor(d, x): return torch.outer(d, x) / torch.outer(d, x).norm().clamp(min=0.1)",
    ],
    ("94c", 2): [
        f"def rounds_for(sigma): return {f}"
        for f in (
            "5",
            "math.ceil(math.log(0.68 / sigma) / math.log(3.4445))",  # as if phi were its tangent at 0
            "max(0, math.ceil(math.log(0.68 / sigma) / math.log(3.4445)))",
            "max(0, math.ceil(math.log(1 / sigma) / math.log(3.4445)))",
            "math.log(0.68 / sigma) / math.log(3.4445)",
            "next(n for n in range(1, 100) if phi(sigma, n) > 0.68)",
            "next(n for n in range(100) if 3.4445**n * sigma > 0.68)",
        )
    ]
    + [
        "def rounds_for(sigma):\n    n = 0\n    while phi(sigma, n) < 0.68:\n        n += 1\n    return n",
        "def rounds_for(sigma): return max(0, math.ceil(math.log(0.72 / sigma) / math.log(3.4445)))",
        "def rounds_for(sigma): return max(0, math.ceil(math.log(0.68 / sigma) / math.log(3.3)))",
        "def rounds_for(sigma):\n"
        "    n = 0\n"
        "    while n < 10 and phi(sigma, n) <= 0.68:\n"
        "        n += 1\n"
        "    return n",
        "def rounds_for(sigma): return next(n for n in range(100) if phi(sigma, n) > 0.7)",
        "def rounds_for(sigma):\n"
        "    n = 0\n"
        "    while sigma <= 0.68:\n"
        "        sigma = 3.4445 * sigma - 4.775 * sigma**3\n"
        "        n += 1\n"
        "    return n",
    ],
    ("94c", 3): [
        f"def theirs(lr, m, n): return {f}"
        for f in (
            "lr",
            "lr * max(m, n) ** 0.5",
            "lr * m**0.5",
            "lr * n",
            "lr * min(m, n) ** 0.5",
            "lr * max(1, m / n) ** 0.5",
            "0.2 * lr * n**0.5",
            "lr / n**0.5",
            "0.004 * n**0.5",  # right for the rate of the chapter alone
        )
    ]
    + ["def theirs(lr, m, n): return -lr * n**0.5"],
    ("95", 1): [
        f"def enough(error, z): return {f}"
        for f in (
            "math.ceil((z / error) ** 2)",
            "math.ceil(2 * z / error)",
            "math.ceil((z / error) ** 2 / 2)",
            "int(2 * (z / error) ** 2)",
            "2 * (z / error) ** 2",
            "math.ceil(2 * (z * error) ** 2)",
            "20_000",
        )
    ]
    + [
        "def enough(error, z): return math.floor(2 * (z / error) ** 2) + 1",
        "def enough(error, z):\n"
        "    n = 2\n"
        "    while not error > z * (2 / n) ** 0.5:\n"
        "        n += 1\n"
        "    return n",
        "def enough(error, z): return int(2 * (z / error) ** 2 + 1)",
    ],
    ("98", 1): [
        "def sure(images): return 1.0",
        "def sure(images): return 0.1",
        "def sure(images): return 0.9998704",  # what was asked for once, and nothing else
        "@torch.no_grad()\ndef sure(images): return net(x).softmax(1).amax(1).mean()",  # of digits alone
        "@torch.no_grad()\ndef sure(images): return net(images).softmax(1).amax()",
        "@torch.no_grad()\ndef sure(images): return net(images).softmax(1).mean()",
        "@torch.no_grad()\ndef sure(images): return net(images).softmax(0).amax(1).mean()",
        "@torch.no_grad()\ndef sure(images): return net(images).sigmoid().amax(1).mean()",
        "@torch.no_grad()\ndef sure(images): return net(images).softmax(1).amax(1).median()",
        "@torch.no_grad()\n"
        "def sure(images): return torch.stack([net(p).softmax(1).amax(1).mean() for p in "
        "images.split(500)]).mean().item()",
        "@torch.no_grad()\n"
        "def sure(images): return sum(net(p).softmax(1).amax(1).mean().item() for p in "
        "images.split(100)) / len(images.split(100))",
        "@torch.no_grad()\n"
        "def sure(images): return torch.cat([net(p).softmax(1).amax(1) for p in images.split(500) if "
        "len(p) == 500 or len(images) < 500]).mean().item()",
        "@torch.no_grad()\ndef sure(images): return net(images[:1000]).softmax(1).amax(1).mean().item()",
        "@torch.no_grad()\ndef sure(images): return net(images[:500]).softmax(1).amax(1).mean().item()",
    ],
}

RIGHT = {
    ("00", 1): [
        "def from_v(xt, v, ab):\n"
        "    turn = torch.stack([ab.sqrt(), -(1 - ab).sqrt(), (1 - ab).sqrt(), ab.sqrt()]).reshape(2, 2)\n"
        "    return turn @ torch.stack([xt, v])"
    ],
    ("00", 2): [
        "def floor_of_loss(s, ab): return 1 - (1 - ab) / (ab * s + 1 - ab)",
        "def floor_of_loss(s, ab):\n"
        "    k = (1 - ab).sqrt() / (ab * s + 1 - ab)\n"
        "    return (1 - k * (1 - ab).sqrt()) ** 2 + (k * ab.sqrt() * s.sqrt()) ** 2",
    ],
    ("01", 1): [
        "beta_const = 2 * math.log(100) / 250",
        "beta_const = 1 - 0.0001 ** (1 / 250)",
        "beta_const = torch.tensor([0.0362])",
        "from fractions import Fraction\nbeta_const = Fraction(362, 10000)",
    ],
    ("01", 2): [
        "t_like = next(t for t in range(1, 1001) if linear.snr[t] <= linear.snr[100] / 4)",
        "t_like = torch.tensor(191.0)",
    ],
    ("01", 3): [
        "roots = 0.00085**0.5 + torch.arange(1000, dtype=torch.float64) / 999 * (0.012**0.5 - 0.00085**0.5)\n"
        "with warnings.catch_warnings():\n"
        "    warnings.simplefilter('ignore')\n"
        "    sd = schedule_from_beta(roots**2)",
        "with warnings.catch_warnings():\n"  # in float32
        "    warnings.simplefilter('ignore')\n"
        "    sd = schedule_from_beta(torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)",
    ],
    ("02", 1): [
        "def weight(sched, t): return 1 + 1 / sched.snr[t]",
        "def weight(sched, t): return 1 / sched.alpha_bar[t].float()",
    ],
    ("02", 3): [
        "def two_steps(x0, xt, t):\n"
        "    mean_1, var_1 = q_posterior(linear, x0, xt, t)\n"
        "    mean_2, var_2 = q_posterior(linear, x0, mean_1, t - 1)\n"
        "    slope = q_posterior(linear, 0 * x0, torch.ones_like(xt), t - 1)[0].mean()\n"
        "    return mean_2, slope**2 * var_1 + var_2",
        "def two_steps(x0, xt, t):\n"
        "    mean_1, var_1 = q_posterior(linear, x0, xt, t)\n"
        "    mean_2, var_2 = q_posterior(linear, x0, mean_1, t - 1)\n"
        "    k = linear.alpha[t - 1].sqrt() * (1 - linear.alpha_bar[t - 2]) / (1 - "
        "linear.alpha_bar[t - 1])\n"
        "    return mean_2, (k**2 * var_1 + var_2).expand_as(xt)",
        "def two_steps(x0, xt, t):\n"
        "    t = torch.full((len(xt),), t)\n"
        "    mean_1, var_1 = q_posterior(linear, x0, xt, t)\n"
        "    mean_2, var_2 = q_posterior(linear, x0, mean_1, t - 1)\n"
        "    k = (linear.alpha[t - 1].sqrt() * (1 - linear.alpha_bar[t - 2]) / (1 - "
        "linear.alpha_bar[t - 1])).view(-1, 1, 1, 1)\n"
        "    return mean_2, k**2 * var_1 + var_2",
        "def two_steps(x0, xt, t):\n"
        "    m1, v1 = q_posterior(linear, x0, xt, t)\n"
        "    m2, v2 = q_posterior(linear, x0, m1, t - 1)\n"
        "    k = q_posterior(linear, x0, m1 + 1, t - 1)[0] - m2\n"
        "    return m2, k * k * v1 + v2",
    ],
    ("03", 3): [
        "def predict_any_size(net, xt, t):\n"
        "    b, c, h, w = xt.shape\n"
        "    canvas = xt.new_zeros(b, c, 4 * ((h + 3) // 4), 4 * ((w + 3) // 4))\n"
        "    canvas[:, :, :h, :w] = xt\n"
        "    return net(canvas, t)[..., :h, :w]",
        "def predict_any_size(net, xt, t):\n"
        "    h, w = xt.shape[2:]\n"
        "    return torch.cat([net(F.pad(x[None], (0, -w % 4, 0, -h % 4)), s[None])[:, :, :h, :w] "
        "for x, s in zip(xt, t)])",
    ],
    ("04", 1): ["half_life = 693", "half_life = round(math.log(2) / 0.001)"],
    ("04", 2): ["loss_centred = 1 - (1 - ab) / (ab * x.var(0).mean() + 1 - ab)"],
    ("04", 3): [
        "def constant(step): return min((step + 1) / 100, 1)",
        "ramp = torch.linspace(0, 1, 101)\ndef constant(step): return ramp[min(step, 100)]",
        "ramp = torch.linspace(0.01, 1, 100)\ndef constant(step): return ramp[min(step, 99)].item()",
        "def constant(step):\n    f = 0.0\n    for _ in range(min(step, 100)): f += 0.01\n    return f",
        "ramp = torch.arange(101) * 0.01\ndef constant(step): return ramp[min(step, 100)]",
    ],
    ("05", 2): [
        "def mean_only(denoise, x, times, noise):\n"
        "    for t, s in pairwise(times):\n"
        "        with torch.no_grad():\n"
        "            x = q_posterior(denoise.sched, denoise(x, t).x0.clamp(-1, 1), x, t, s)[0]\n"
        "        yield x"
    ],
    ("06", 1): [
        "torch.manual_seed(1)\n"
        "covariance = torch.cov(reference.T) + 1e-9 * torch.eye(64, dtype=torch.float64)\n"
        "fake = torch.distributions.MultivariateNormal(reference.mean(0), covariance).sample((3000,))",
        "import numpy as np\n"
        "fake = np.random.default_rng(0).multivariate_normal(reference.mean(0).numpy(), "
        "torch.cov(reference.T).numpy(), 3000)",
    ],
    ("06", 2): [
        'falls, kept = "recall", 4 / 5',
        'falls, kept = "Recall", 0.8',
    ],
    ("06", 3): [
        "def floor_at(n, first, second):\n"
        "    (n1, f1), (n2, f2) = first, second\n"
        "    end = (n1 * f1 - n2 * f2) / (n1 - n2)\n"
        "    return end + n1 * (f1 - end) / n",
        "def floor_at(n, first, second):\n"
        "    A = torch.tensor([[1, 1 / first[0]], [1, 1 / second[0]]])\n"
        "    end, c = torch.linalg.solve(A, torch.tensor([first[1], second[1]]))\n"
        "    return end + c / n",
        "def floor_at(n, first, second):\n"
        "    n1, f1 = torch.tensor(first); n2, f2 = torch.tensor(second)\n"
        "    c = (f1 - f2) / (1 / n1 - 1 / n2)\n"
        "    return f1 + c * (1 / n - 1 / n1)",
    ],
    ("07", 2): [
        "trainings = int(8 * 6.5**2 / 5**2) + 1",
        "trainings = 14.0",
        "import numpy as np\ntrainings = np.ceil(8 * 6.5**2 / 25)",
        "trainings = torch.tensor(8 * 6.5**2 / 25).ceil()",
        "trainings = -(-8 * 6.5**2 // 25)",
    ],
    ("07", 3): ["import math\nluck = math.erfc(5 / (2 * 6.5))"],
    ("08", 3): [
        "def min_snr_v(sched):\n    ab = sched.alpha_bar\n    return torch.minimum(ab, 5 * (1 - ab))"
    ],
    ("09", 3): [
        "def guided_between(denoise, y, w, low, high):\n"
        "    def net(xt, t):\n"
        "        scale = torch.where((t < low) | (t > high), 0.0, w)[:, None, None, None]\n"
        "        told, nothing = denoise.net(xt, t, y), denoise.net(xt, t, torch.full_like(y, NULL))\n"
        "        return (1 + scale) * told - scale * nothing\n"
        "    return replace(denoise, net=net)"
    ],
    ("10", 1): ["def calls(n): return n + (n - 1)"],
    ("11", 2): [
        "def total(terms, t, p): return sum(a / p[k] for a, k in zip(terms, t)) / len(t)",
        "def total(terms, t, p): return (terms / p[t]).mean(0, keepdim=True)",
        "def total(terms, t, p): return torch.tensor([(a / p[k]).item() for a, k in zip(terms, t)]).mean()",
    ],
    ("11", 3): [
        "def cost(v):\n"
        "    zero = torch.zeros_like(v)\n"
        "    return (kl_gaussian(zero, v, zero, v.mean()).mean() / math.log(2)).item()"
    ],
    ("12", 2): ["quarter = torch.zeros(28, 28, dtype=torch.bool)\nquarter[::2, ::2] = True"],
    ("12", 3): [
        "def mix(noises, weights): return sum(w * x for w, x in zip(weights, noises)) / weights.norm()",
        "def mix(noises, weights): return torch.tensordot(weights, noises, dims=1).float() / weights.norm()",
    ],
    ("90a", 1): [
        "from ddpm_abc.data import labelled_batches\n"
        "def n_different(start):\n"
        "    pairs = islice(labelled_batches(pixels, torch.arange(10_000), 64, start=start), 156)\n"
        "    return len({number for _, numbers in pairs for number in numbers.tolist()})"
    ],
    ("91", 1): [
        "def late(window): return (window - 1) / 2",
        "def late(window):\n    y = -torch.arange(1000.0)\n    return (y[-window:].mean() - y[-1])",
        "def late(window): return torch.arange(window).float().mean()",
        "def late(window): return (torch.tensor(window) - 1) / 2",
    ],
    ("91", 2): [
        "deviation = states.flatten(1).std(1, correction=0)[:, None, None, None]\n"
        "normed = 0.5 * (states - states.flatten(1).mean(1)[:, None, None, None]) / deviation"
    ],
    ("92d", 1): [
        "def without(part, kept):\n"
        "    run = fresh(seed=3)\n"
        "    run[0].net.load_state_dict(weights)\n"
        "    loads = {'optimizer': run[1].load_state_dict, 'generator': run[3].set_state}\n"
        "    loads['ema'] = run[2].model.load_state_dict\n"
        "    for name in kept.keys() - {part}:\n"
        "        loads[name](kept[name])\n"
        "    return run"
    ],
    ("93", 1): ["def second(n, seed): return f'--seed={seed} --first={n} --n={n}'.split()"],
    ("94", 1): ["def copies(levels, blocks): return 1 + levels * blocks + (levels - 1)"],
    ("94b", 1): [
        "def last_part(f, gamma): return power_profile(6000, gamma)[round(6000 * (1 - f)):].sum()",
        "def last_part(f, gamma):\n"
        "    tau = torch.linspace(1 - f, 1, 100_001, dtype=torch.float64)\n"
        "    return torch.trapezoid((gamma + 1) * tau**gamma, tau).item()",
    ],
    ("94b", 2): [
        "def same_length(d, sigma_rel):\n"
        "    k = torch.arange(50_000, dtype=torch.float64)\n"
        "    counts = (1 - d) * d**k\n"
        "    return ((counts * k**2).sum() - (counts * k).sum() ** 2).sqrt() / sigma_rel"
    ],
    ("94b", 3): [
        "import math\n"
        "def without_start(t_a, t_b, gamma):\n"
        "    x = 1 / (1 - math.prod(power_ema_decay(n, gamma) for n in range(t_a + 1, t_b + 1)))\n"
        "    return 1 - x, x",
        "def without_start(t_a, t_b, gamma):\n"
        "    rows = torch.zeros(t_b, 2, dtype=torch.float64)\n"
        "    rows[:t_a, 0], rows[:, 1] = power_profile(t_a, gamma), power_profile(t_b, gamma)\n"
        "    wanted = rows[:, 1].clone()\n"
        "    wanted[:t_a] = 0\n"
        "    return torch.linalg.lstsq(rows, wanted / wanted.sum()).solution",
    ],
    ("94c", 1): [
        "def factor(d, x): return torch.outer(d, x) / (d.square().sum() * x.square().sum()).sqrt()",
        "def factor(d, x): return torch.outer(d / d.norm(), x / x.norm()).float().numpy()",
    ],
    ("94c", 2): ["def rounds_for(sigma): return next(n for n in range(100) if phi(sigma, n) > 0.68)"],
    ("94c", 3): [
        "def theirs(lr, m, n): return lr * (max(m, n) / max(1, m / n)) ** 0.5",
        "def theirs(lr, m, n): return lr * torch.sqrt(torch.tensor(float(n)))",
        "def theirs(lr, m, n):\n    import numpy as np\n    return np.float32(lr * n**0.5)",
    ],
    ("95", 1): [
        "def enough(error, z): return next(n for n in range(2, 10**6) if error >= z * (2 / n) ** 0.5)"
    ],
    ("98", 1): [
        "def sure(images):\n"
        "    return torch.cat([F.softmax(net(part), 1).max(1).values for part in images.split(7)]).mean()"
    ],
    ("02", 2): [
        "t_grey = (0.01 * linear.snr.rsqrt() > 1 / 127.5).nonzero()[0]",
        "t_grey = torch.tensor(215.0)",
    ],
    ("03", 2): [
        "def depth(size): return (2 * size - 2) / 2",
        "import numpy as np\ndef depth(size): return np.ceil(((2 * size - 1) - 1) / 2)",
    ],
    ("05", 3): [
        "T_min = np.ceil(785 / 100) * 100",
        "T_min = 8e2",
        "T_min = torch.tensor(800.0)",
    ],
    ("07", 1): [
        "L = torch.linalg.eigvalsh(covariance).clamp(min=0).float()\n"
        "def best_linear(sched):\n"
        "    ab = sched.alpha_bar[1:, None].float()\n"
        "    return (ab * L / (ab * L + 1 - ab)).mean(1)",
        "L = torch.linalg.eigvalsh(covariance.float()).clamp(min=0)\n"
        "def best_linear(sched):\n"
        "    ab = sched.alpha_bar[1:, None].float()\n"
        "    return (ab * L / (ab * L + 1 - ab)).mean(1)",
    ],
    ("08", 1): [
        "t_limit = 794.0",
        "import numpy as np\nt_limit = np.ceil(793.4)",
    ],
    ("08", 2): [
        "def parts(x0_hat, eps_hat, x0, eps):\n"
        "    return (x0_hat.double() - x0).square() + (eps_hat.double() - eps).square()",
    ],
    ("11", 1): [
        "def in_bits(p, shape): return (math.log2(127.5) - torch.tensor(p) / "
        "torch.zeros(shape).numel() / math.log(2)).item()",
        "import numpy as np\n"
        "def in_bits(p, shape): return np.log2(np.float32(127.5)) - p / (math.prod(shape) * np.log(2))",
    ],
    ("92c", 1): [
        'save_weights(here / "a.safetensors", denoise, dtype=torch.float32); save_weights(here / '
        '"b.safetensors", denoise, dtype=torch.float16)\n'
        "with torch.no_grad():\n"
        '    denoise, info = load_weights(here / "a.safetensors")\n'
        "    A = denoise(xt, t).eps\n"
        '    denoise, info = load_weights(here / "b.safetensors")\n'
        "    B = denoise(xt, t).eps\n"
        "moved = (A - B).square().mean().sqrt().item()\n"
        "print(moved)",
    ],
}
