"""Bits, learned variance and the score, where they can be known exactly: mixtures of Gaussians, on a line or
in the plane, with sums over nodes in the place of random draws; and a second program, in plain Python."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from small_networks import small
from walks import F64, best, last, stream

from ddpm_abc.classifier import HELD_OUT
from ddpm_abc.data import digits, to_unit
from ddpm_abc.device import pick_device
from ddpm_abc.gaussian import GaussianMixture
from ddpm_abc.likelihood import (
    BOUND_WEIGHT,
    best_share,
    bits_per_dim,
    bound_term,
    hybrid_loss,
    mean_error,
    ode_bits,
    ode_log_prob,
    pilot_times,
    prior_bits,
    score,
    uniform_times,
    x0_var,
)
from ddpm_abc.parameterization import PREDICTS, Denoiser, learned_var, split_answer
from ddpm_abc.sampling import ddpm, ddpm_step
from ddpm_abc.schedule import cosine_schedule, linear_schedule, schedule_from_beta
from ddpm_abc.storage import pretrained
from ddpm_abc.training import simple_loss
from ddpm_abc.unet import UNet

pytestmark = pytest.mark.filterwarnings("ignore:the schedule stops short of noise")
LN2 = math.log(2)
WEIGHTS, MEANS, VARS = (torch.tensor(v, **F64) for v in ([0.4, 0.6], [-0.8, 0.7], [0.05, 0.02]))
HUMPS = GaussianMixture(WEIGHTS, MEANS[:, None], VARS)
PLANE = GaussianMixture(
    WEIGHTS,
    torch.tensor([[-0.5, 0.3], [0.6, -0.2]], **F64),
    torch.tensor([[[0.09, 0.03], [0.03, 0.05]], [[0.04, -0.01], [-0.01, 0.08]]], **F64),
)
LINE = torch.linspace(-7, 7, 1401, **F64)
WIDTH = 0.01


def paper(T):
    "The paper's betas in proportion to T."
    return linear_schedule(T, 0.1 / T, 20 / T)


def of_log_snr(T, bend=1.0):
    "T levels between the same two signal-to-noise ratios, spaced evenly or not."
    at = torch.linspace(0, 1, T, **F64) ** bend
    ab = torch.cat([torch.ones(1, **F64), torch.sigmoid(6 - 11 * at)])
    return schedule_from_beta(1 - ab[1:] / ab[:-1])


def nodes(n=40):
    "x0, eps and weights that stand for all pairs of a point of the humps and a noise: Gauss and Hermite's."
    z, w = (torch.from_numpy(v) for v in np.polynomial.hermite_e.hermegauss(n))
    w = w / w.sum()
    x0 = torch.cat([m + v.sqrt() * z for m, v in zip(MEANS, VARS, strict=True)])
    of_x0 = torch.cat([share * w for share in WEIGHTS])
    return x0.repeat_interleave(n)[:, None], z.repeat(2 * n)[:, None], (of_x0[:, None] * w).flatten()


def expected(denoise, t, **options):
    "The mean of one term of the bound over all data and noise, in bits."
    x0, eps, w = nodes()
    options = {"clip": False, "levels": False, **options}
    return (w * bound_term(denoise, x0, torch.full((len(x0),), t), eps, **options)).sum().item()


def expected_bound(denoise, **options):
    x0, _, w = nodes()
    prior = (w * prior_bits(denoise.sched, x0)).sum().item()
    return prior + sum(expected(denoise, t, **options) for t in range(1, denoise.sched.T + 1))


def entropy(ab=1.0):
    "Of q(x_t), in bits."
    log_q = HUMPS.log_prob(LINE[:, None], ab)
    return -(log_q.exp() * log_q).sum().item() * WIDTH / LN2


def sure(mixture, sched):
    "The best denoiser, which also knows the best variance at each place."
    plain = best(mixture, sched)

    def net(xt, t):
        return torch.cat([plain(xt, t).eps, 2 * best_share(plain, xt, t) - 1], 1)

    return Denoiser(net, sched)


def negative_log_likelihood(denoise, variance):
    "E[-log p(x_0)] in bits: the model's chain, carried out on a fine grid, step by step."
    sched, x = denoise.sched, LINE[:, None]
    p = (-(LINE**2) / 2).exp() / math.sqrt(2 * math.pi)
    for t in range(sched.T, 0, -1):
        guess = denoise(x, t)
        mean = ddpm_step(sched, x, guess.x0, t, t - 1, torch.zeros_like(x), clip=False)
        if variance == "beta":
            var = sched.beta[t].expand(len(x), 1)
        elif variance == "beta_tilde":
            var = sched.beta_tilde[max(t, 2)].expand(len(x), 1)
        else:
            var = learned_var(sched, x, t, guess.share)
        p = p @ ((-((LINE - mean) ** 2) / (2 * var)).exp() / (2 * math.pi * var).sqrt()) * WIDTH
    q = HUMPS.log_prob(x).exp()
    return -(q * p.clamp(min=1e-300).log()).sum().item() * WIDTH / LN2


# --- the bound on mixtures ----------------------------------------------------------------------------------


@pytest.mark.equation("11.1", by="bound_term")
@pytest.mark.parametrize(("T", "variance"), list(product((5, 20), ("beta", "beta_tilde", "learned"))))
def test_bound_is_above_the_likelihood_and_that_above_the_entropy(T, variance):
    denoise = sure(HUMPS, of_log_snr(T))
    nll = negative_log_likelihood(denoise, variance)
    assert entropy() - 1e-9 < nll < expected_bound(denoise, variance=variance) + 1e-9


@pytest.mark.equation("11.7", "11.8", by="best_share")
@pytest.mark.parametrize(("variance", "order"), [("beta", 1), ("beta_tilde", 1), ("learned", 2)])
def test_the_bound_converges_at_the_rate_of_theory(variance, order):
    """A step of length beta misses its variance by a share of order beta, which costs beta^2. With the best
    variance at each place what is left is skewness, of order beta^3/2, which costs beta^3. There are T steps.

    From x_T to x_1 the bound misses what x_1 says of x_0 by these costs and the end's alone.
    """
    gaps = []
    for T in (50, 100):
        denoise = sure(HUMPS, of_log_snr(T))
        ab_1, ab_T = denoise.sched.alpha_bar[[1, T]]
        log_q, log_p = HUMPS.log_prob(LINE[:, None], ab_T), -(LINE**2) / 2
        end = (log_q.exp() * (log_q - log_p + math.log(2 * math.pi) / 2)).sum().item() * WIDTH / LN2
        of_noise = math.log2(2 * math.pi * math.e * (1 - ab_1)) / 2
        bound = expected_bound(denoise, variance=variance) - expected(denoise, 1, variance=variance)
        gaps.append(bound - (entropy(ab_1) - of_noise) - end)
    assert abs(math.log2(gaps[0] / gaps[1]) - order) < 0.25
    assert 0 < gaps[1] < (0.2 if order == 1 else 0.005)


@pytest.mark.equation("11.7", by="best_share")
def test_the_best_variance_is_the_least_bound():
    denoise = sure(HUMPS, paper(50))
    for t in (1, 2, 10, 30, 50):
        terms = [expected(denoise, t, variance=v) for v in ("learned", "beta", "beta_tilde")]
        other = replace(denoise, net=lambda xt, t: denoise.net(xt, t) + torch.tensor([0.0, 0.2], **F64))
        assert terms[0] < min(*terms[1:], expected(other, t))


@pytest.mark.equation("11.8", by="x0_var")
@pytest.mark.parametrize("t", [5, 20, 45])
def test_variance_of_x0_by_its_slope_is_that_of_the_posterior(t):
    "On a grid of x0, by Bayes' rule alone; and in the plane, by the law of total variance of two Gaussians."
    denoise = best(HUMPS, paper(50))
    ab = denoise.sched.alpha_bar[t]
    for x in (-1.0, 0.1, 0.8):
        log_p = HUMPS.log_prob(LINE[:, None]) - (x - ab.sqrt() * LINE) ** 2 / (2 * (1 - ab))
        p = log_p.softmax(0)
        mean = (p * LINE).sum()
        var = (p * (LINE - mean) ** 2).sum()
        got = x0_var(denoise, torch.tensor([[x]], **F64), t)
        assert abs(got.item() - var) < 1e-6 * max(1, var)
    x = torch.tensor([[0.2, -0.1]], **F64)
    means, vars_, logs = [], [], []
    for w, m, s in zip(PLANE.weights, PLANE.means, PLANE.covs, strict=True):
        c = ab * s + (1 - ab) * torch.eye(2, **F64)
        gain = ab.sqrt() * s @ torch.linalg.inv(c)
        means.append(m + gain @ (x[0] - ab.sqrt() * m))
        vars_.append((s - ab.sqrt() * gain @ s).diagonal())
        normal = torch.distributions.MultivariateNormal(ab.sqrt() * m, c)
        logs.append(w.log() + normal.log_prob(x[0]))
    r, means, vars_ = torch.stack(logs).softmax(0)[:, None], torch.stack(means), torch.stack(vars_)
    total = (r * (vars_ + means**2)).sum(0) - (r * means).sum(0) ** 2
    assert torch.allclose(x0_var(best(PLANE, denoise.sched), x, t)[0], total, rtol=1e-9)


def test_the_variance_of_x0_needs_some_signal():
    denoise = Denoiser(lambda xt, t: 0.3 * xt, schedule_from_beta([0.5, 0.5, 1.0]), "v")
    for measure in (x0_var, best_share):
        assert measure(denoise, torch.ones(1, 2), 2).isfinite().all()
        with pytest.raises(ValueError, match="x0_var needs alpha_bar > 0"):
            measure(denoise, torch.ones(1, 2), 3)


@pytest.mark.equation("11.17", by="bound_term")
def test_the_continuous_bound_knows_only_the_ends_of_the_schedule():
    "With beta_tilde each term is a width in SNR times an error: two spacings of one range have one limit."
    sums = {}
    for T, bend in product((100, 200), (1.0, 1.6)):
        denoise = best(HUMPS, of_log_snr(T, bend))
        sums[T, bend] = sum(expected(denoise, t, variance="beta_tilde") for t in range(2, T + 1))
    apart = [abs(sums[T, 1.0] - sums[T, 1.6]) for T in (100, 200)]
    assert apart[1] < 0.6 * apart[0]
    limits = [2 * sums[200, bend] - sums[100, bend] for bend in (1.0, 1.6)]  # what goes as 1/T cancels
    x0, eps, w = nodes()
    log_snr = torch.linspace(-5, 6, 1101, **F64)
    errors = []
    for ab in torch.sigmoid(log_snr):
        noise = HUMPS.eps(ab.sqrt() * x0 + (1 - ab).sqrt() * eps, ab)
        errors.append((w * ((noise - eps) ** 2)[:, 0]).sum())
    integral = torch.trapezoid(torch.stack(errors), log_snr).item() / 2 / LN2
    assert max(abs(limit - integral) for limit in limits) < 0.4 * apart[1]


# --- images: a second program, and what must not matter -----------------------------------------------------


def shaky(predicts="eps", sched=None):
    "A stand-in for a network: quick, not good, and never the same at two times."
    sched = of_log_snr(12) if sched is None else sched

    def net(xt, t):
        wave = torch.cos(t.to(xt)).reshape(-1, 1, 1, 1)
        return torch.cat([0.4 * xt + 0.1 * wave, 0.3 * xt - 0.5 * wave], 1)

    return Denoiser(net, sched, predicts)


def levels(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, generator=g).to(torch.float64) / 127.5 - 1


def normal_cdf(z):
    return 0.5 * math.erfc(-z / math.sqrt(2))


def by_hand(x0, eps, t, beta, variance):
    """A term of the bound in bits a number, pixel by pixel: Ho et al. 2020, Eq. 5, 7, 8 and 13, and Nichol &
    Dhariwal 2021, Eq. 15. Times count from 1; the network is the one of `shaky`, written again."""
    a = [1.0]
    for b in beta:
        a.append(a[-1] * (1 - b))
    tilde = [0.0, *(b * (1 - a[i]) / (1 - a[i + 1]) for i, b in enumerate(beta))]
    b, total = beta[t - 1], 0.0
    small = tilde[t] if t > 1 else tilde[2]
    for clean, noise in zip(x0.ravel(), eps.ravel(), strict=True):
        noisy = math.sqrt(a[t]) * clean + math.sqrt(1 - a[t]) * noise
        guess = (noisy - math.sqrt(1 - a[t]) * (0.4 * noisy + 0.1 * math.cos(t))) / math.sqrt(a[t])
        guess = max(-1.0, min(1.0, guess))
        nu = {"beta": 1.0, "beta_tilde": 0.0}.get(variance, (0.3 * noisy - 0.5 * math.cos(t) + 1) / 2)
        var = math.exp(nu * math.log(b) + (1 - nu) * math.log(small))
        of_x0, of_xt = math.sqrt(a[t - 1]) * b / (1 - a[t]), math.sqrt(1 - b) * (1 - a[t - 1]) / (1 - a[t])
        mean = of_x0 * guess + of_xt * noisy
        if t > 1:
            right = of_x0 * clean + of_xt * noisy
            total += (math.log(var / tilde[t]) + (tilde[t] + (right - mean) ** 2) / var - 1) / 2
            continue
        ends = [(clean + d / 255 - mean) / math.sqrt(var) for d in (-1, 1)]
        low, high = (-math.inf if clean < -0.999 else ends[0]), (math.inf if clean > 0.999 else ends[1])
        low, high = (-high, -low) if low + high > 0 else (low, high)
        total -= math.log(normal_cdf(high) - normal_cdf(low))
    return total / x0.size / math.log(2)


@pytest.mark.equation("11.1", by="bound_term")
@pytest.mark.equation("11.5", by="learned_var")
@pytest.mark.parametrize("variance", ["beta", "beta_tilde", "learned"])
def test_a_second_program_finds_the_same_terms(variance):
    denoise, x0 = shaky(), levels(3, 1, 4, 4)
    x0[0, 0, 0] = torch.tensor([-1.0, 1.0, -1.0, 1.0])
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(1), **F64)
    beta = denoise.sched.beta[1:].tolist()
    for t in range(1, denoise.sched.T + 1):
        got = bound_term(denoise, x0, torch.full((3,), t), eps, variance=variance)
        want = [by_hand(x.numpy(), e.numpy(), t, beta, variance) for x, e in zip(x0, eps, strict=True)]
        assert np.abs(got.numpy() - want).max() < 1e-10
    prior = [np.mean([(a + b * x**2 - 1 - math.log(a)) / 2 for x in image.numpy().ravel()]) / math.log(2)
             for b in denoise.sched.alpha_bar[-1:].tolist() for a in [1 - b] for image in x0]  # fmt: skip
    assert np.abs(prior_bits(denoise.sched, x0).numpy() - prior).max() < 1e-12


@pytest.mark.equation("11.1", by="bound_term")
def test_the_decoder_shares_one_between_256_levels():
    "The same x_1, and each level in turn: the probabilities sum to 1."
    denoise, x1 = shaky(), torch.tensor([-1.02, -0.3, 0.0, 0.999], **F64)
    x0 = (torch.arange(256, **F64) / 127.5 - 1)[:, None].repeat(1, 4)
    ab = denoise.sched.alpha_bar[1]
    eps = (x1 - ab.sqrt() * x0) / (1 - ab).sqrt()
    for variance in ("beta", "beta_tilde", "learned"):
        t = torch.ones(1024, dtype=torch.int64)
        bits = bound_term(denoise, x0.reshape(-1, 1, 1, 1), t, eps.reshape(-1, 1, 1, 1), variance=variance)
        assert torch.allclose((2**-bits).view(256, 4).sum(0), torch.ones(4, **F64), rtol=0, atol=1e-12)


@pytest.mark.equation("11.2", by="bits_per_dim")
def test_an_image_does_not_depend_on_its_batch_nor_on_its_place_in_it():
    denoise, x0 = shaky(), levels(7, 1, 4, 4)
    p = pilot_times(denoise, x0, points=5)
    whole = bits_per_dim(denoise, x0, times=p, draws=5, seed=3)
    for batch in (1, 4, 1000):
        again = bits_per_dim(denoise, x0, times=p, draws=5, seed=3, batch=batch)
        assert torch.allclose(again.each, whole.each, rtol=0, atol=1e-12)
    halves = [bits_per_dim(denoise, x0[k : k + 4], times=p, draws=5, seed=3, first=k) for k in (4, 0)]
    assert torch.allclose(torch.cat([halves[1].each, halves[0].each]), whole.each, rtol=0, atol=1e-12)
    other = bits_per_dim(denoise, x0, times=p, draws=5, seed=4)
    assert (other.each - whole.each).abs().min() > 1e-4
    assert torch.allclose(whole.part(1, 1) + whole.part(2, 6) + whole.part(7), whole.part(1))


def test_bits_of_images_with_labels_are_those_of_one_class_after_the_other():
    x0, y = levels(5, 1, 4, 4), torch.tensor([2, 0, 1, 1, 0])
    told = Denoiser(lambda xt, t, y: 0.3 * xt + 0.1 * y.view(-1, 1, 1, 1), of_log_snr(12))
    for batch in (1, 4, 1000):
        got = bits_per_dim(told, x0, y=y, draws=3, batch=batch).each
        for k, c in enumerate(y):
            one = replace(told, net=lambda xt, t, c=c: told.net(xt, t, c.expand(len(xt))))
            assert abs(bits_per_dim(one, x0[k : k + 1], draws=3, first=k).each - got[k]) < 1e-12
    with pytest.raises(ValueError, match=r"y must have shape \(5,\), a label for each image, got \(4,\)"):
        bits_per_dim(told, x0, y=y[:4])


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: (x + 1) / 2,
        lambda x: 127.5 * (x + 1),
        lambda x: 127 * x,
        lambda x: x + 0.5 / 127.5,
        lambda x: x * math.nan,
    ],
)
def test_bits_are_those_of_256_levels(wrong):
    denoise, x0, t = shaky(), levels(2, 1, 4, 4), torch.tensor([1, 3])
    times, words = range(1, 13), r"x0 must hold 256 grey levels, scaled to \[-1, 1\], got .*to_unit"
    for found in (
        lambda x: bound_term(denoise, x, t, 0 * x0),
        lambda x: bits_per_dim(denoise, x, draws=2),
        lambda x: pilot_times(denoise, x, points=2),
        lambda x: ode_bits(denoise, x, 0 * x0, times, torch.ones_like(x0)),
    ):
        found(x0)
        with pytest.raises(ValueError, match=words):
            found(wrong(x0))
    assert bound_term(denoise, x0.bfloat16().double(), t, 0 * x0).isfinite().all()
    assert bound_term(denoise, x0 / 2, t, 0 * x0, levels=False).isfinite().all()


def test_a_pilot_needs_an_image():
    with pytest.raises(ValueError, match="points and images must be at least 1, got 40 and 0"):
        pilot_times(shaky(), levels(0, 1, 4, 4))


@pytest.mark.parametrize(
    ("n", "told", "got"),
    [(2, {"draws": 0}, "0, 128 and 2"), (2, {"batch": 0}, "16, 0 and 2"), (0, {}, "16, 128 and 0")],
)
def test_bits_need_a_draw_and_an_image(n, told, got):
    with pytest.raises(ValueError, match=f"draws, batch and images must be at least 1, got {got}"):
        bits_per_dim(shaky(), levels(n, 1, 4, 4), **told)


def test_bits_do_not_depend_on_the_default_device():
    "The meta device stands for a GPU, of which `torch.set_default_device` speaks."

    def measured():
        p = pilot_times(denoise, x0, points=4)
        bits = [bits_per_dim(denoise, x0, draws=4, times=times).each for times in (p, None)]
        return [p, *bits, ode_bits(denoise, x0, torch.ones_like(x0), [1, 6, 12], torch.ones_like(x0))]

    denoise, x0 = shaky(), levels(2, 1, 4, 4)
    expected = measured()
    with torch.device("meta"):
        assert all(map(torch.equal, measured(), expected))


def test_times_that_miss_a_sum_of_one_are_shown_with_the_digits_that_matter():
    p = uniform_times(12) * (1 + 6e-8)
    with pytest.raises(ValueError, match="sum 1 to within 1e-9, got .*torch.float64 and sum 1.00000006"):
        bits_per_dim(shaky(), levels(1, 1, 4, 4), times=p)


@pytest.mark.equation("11.2", by="bits_per_dim")
def test_bits_do_not_depend_on_the_device():
    device = pick_device()
    if device.type == "cpu":
        pytest.skip("there is no second device")
    denoise, x0, found = Denoiser(small(), cosine_schedule()), levels(5, 1, 8, 8).float(), []
    for where in ("cpu", device):
        denoise.net.to(where)
        p = pilot_times(denoise, x0.to(where), points=5)
        found.append((p, bits_per_dim(denoise, x0.to(where), times=uniform_times(1000), seed=3).each))
    for a, b in zip(*found, strict=True):
        assert a.device == b.device == torch.device("cpu")
        assert torch.allclose(a, b, rtol=1e-3)


@pytest.mark.equation("11.2", by="bits_per_dim")
def test_as_many_uniform_draws_as_times_are_the_full_sum():
    denoise, x0 = shaky(), levels(2, 1, 4, 4)
    T = denoise.sched.T
    found = bits_per_dim(denoise, x0, draws=T, batch=5)
    assert (found.t == torch.arange(1, T + 1)).all()
    assert torch.allclose(found.each, found.prior + found.terms.sum(1), rtol=0, atol=1e-12)


@pytest.mark.equation("11.2", "11.3", by="pilot_times")
def test_drawing_the_large_terms_more_often_is_unbiased_and_gains():
    "Against the full sum of the same points; uniform times are unbiased too, and spread further."
    sched, g = linear_schedule(200, 5e-4, 0.1), torch.Generator().manual_seed(0)
    denoise, x0 = best(PLANE, sched), PLANE.sample(600, g)
    options = {"levels": False, "clip": False}
    full = bits_per_dim(denoise, x0, draws=200, batch=4000, **options).each
    p = pilot_times(denoise, PLANE.sample(100, g), **options)
    spread = {}
    for name, times in {"pilot": p, "uniform": uniform_times(200)}.items():
        off = bits_per_dim(denoise, x0, times=times, draws=3, seed=1, batch=4000, **options).each - full
        mean, error = mean_error(off)
        assert abs(mean) < 4 * error
        spread[name] = off.std().item()
    assert spread["pilot"] < 0.6 * spread["uniform"]


@pytest.mark.equation("11.3", by="pilot_times")
def test_the_pilot_follows_the_root_mean_square():
    "A network whose terms are known to grow: the proposal is in proportion to them, but for the even part."
    denoise, x0 = shaky(), levels(5, 1, 4, 4)
    p = pilot_times(denoise, x0, points=500)
    g, sizes = torch.Generator().manual_seed(0), []
    for t in range(1, 13):
        eps = torch.randn(x0.shape, generator=g, **F64)
        terms = bound_term(denoise, x0, torch.full((5,), t), eps)
        sizes.append(terms.square().mean().sqrt())
    sizes = torch.stack(sizes)
    assert torch.allclose(p[1:], 0.95 * sizes / sizes.sum() + 0.05 / 12, rtol=1e-12)
    assert p[0] == 0
    for wrong in (p[1:], p * 1.01, torch.cat([p[1:], p[:1]])):
        with pytest.raises(ValueError, match=r"times must have shape \(13,\), 0 first"):
            bits_per_dim(denoise, x0, times=wrong)


@pytest.mark.equation("11.4", by="bits_per_dim")
def test_rate_and_distortion_make_up_the_bound():
    "What is known at t is L_T and the later terms; the rest is what is lost."
    denoise, x0 = shaky(), levels(4, 1, 4, 4)
    found = bits_per_dim(denoise, x0, draws=12)
    for t in range(1, 12):
        rate = found.prior + found.part(t + 1)
        assert torch.allclose(rate + found.part(1, t), found.each, rtol=0, atol=1e-12)


# --- learned variance ---------------------------------------------------------------------------------------


@pytest.mark.equation("11.5", by="learned_var")
def test_shares_of_one_and_zero_are_the_papers_two_variances():
    for sched in (linear_schedule(), cosine_schedule(50), of_log_snr(7), of_log_snr(2)):
        x = torch.zeros(1, 1, **F64)
        for t in range(1, sched.T + 1):
            beta, tilde = (learned_var(sched, x, t, torch.full_like(x, v)).item() for v in (1.0, 0.0))
            assert beta == pytest.approx(sched.beta[t].item(), rel=1e-12)
            assert tilde == pytest.approx(sched.beta_tilde[max(t, 2)].item(), rel=1e-12)
            half = learned_var(sched, x, t, torch.full_like(x, 0.5)).item()
            assert half == pytest.approx(math.sqrt(beta * tilde), rel=1e-12)
        long = learned_var(sched, x, sched.T, torch.ones_like(x), s=1).item()
        assert long == pytest.approx(1 - (sched.alpha_bar[-1] / sched.alpha_bar[1]).item(), rel=1e-12)


@pytest.mark.equation("11.5", by="learned_var")
def test_a_chain_of_one_step_has_one_variance():
    "There is no t = 2 whose beta_tilde could stand in."
    x = torch.zeros(1, 1, **F64)
    for v in (0.0, 0.5, 1.0):
        got = learned_var(schedule_from_beta([0.9]), x, 1, torch.full_like(x, v))
        assert got.item() == pytest.approx(0.9, rel=1e-12)


def test_an_answer_with_twice_the_channels_is_a_guess_and_a_share():
    xt = torch.randn(2, 3, 4, 4)
    guess, share = split_answer(xt, torch.cat([xt, torch.zeros_like(xt)], 1))
    assert torch.equal(guess, xt)
    assert (share == 0.5).all()
    assert split_answer(xt, xt) == (xt, None)
    for wrong in (xt[:, :2], torch.cat([xt] * 3, 1), torch.cat([xt, xt], 2)):
        with pytest.raises(ValueError, match="xt and answer must have the same shape"):
            split_answer(xt, wrong)


@pytest.mark.equation("11.6", by="hybrid_loss")
@pytest.mark.parametrize("predicts", PREDICTS)
def test_the_guess_learns_from_l_simple_alone_and_the_variance_from_the_bound_alone(predicts):
    x0, sched = levels(4, 1, 4, 4), of_log_snr(12)
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(2), **F64)
    answer = torch.full((4, 2, 4, 4), 0.1, **F64, requires_grad=True)
    denoise, t = Denoiser(lambda xt, t: answer, sched, predicts), torch.tensor([1, 2, 7, 12])
    losses = hybrid_loss(denoise, x0, t, eps)
    simple, bound = simple_loss(denoise, x0, t, eps), bound_term(denoise, x0, t, eps, clip=False)
    assert torch.allclose(losses, simple + BOUND_WEIGHT * sched.T * bound)
    of_loss, of_simple, of_bound = (
        torch.autograd.grad(x.sum(), answer, retain_graph=True)[0] for x in (losses, simple, bound)
    )
    assert torch.allclose(of_loss[:, :1], of_simple[:, :1])
    assert torch.allclose(of_loss[:, 1:], BOUND_WEIGHT * sched.T * of_bound[:, 1:])
    assert of_bound[:, 1:].abs().min() > 0
    with pytest.raises(ValueError, match="learn_variance=True"):
        hybrid_loss(Denoiser(lambda xt, t: xt, sched), x0, t, eps)


def test_a_unet_that_learns_its_variance_has_twice_the_channels():
    net = UNet(channels=(16, 32), in_channels=3, size=8, learn_variance=True)
    x, t = torch.randn(2, 3, 8, 8), torch.tensor([1, 5])
    assert net(x, t).shape == (2, 6, 8, 8)
    guess = Denoiser(net, linear_schedule(50, 0.002, 0.4), "v")(x, t)
    assert (guess.share == 0.5).all()
    assert guess.x0.shape == x.shape


def test_sampling_uses_what_was_learned():
    "On a Gaussian the best variance of each step gives back the data's, as chapter 00 says."
    v = 0.25
    data = GaussianMixture(torch.ones(1, **F64), torch.zeros(1, 1, **F64), torch.tensor([v], **F64))
    denoise = sure(data, paper(60))
    basis, ab = torch.eye(60, **F64), denoise.sched.alpha_bar
    draws = iter(basis[1:])
    x = basis[0][:, None] * (ab[-1] * v + 1 - ab[-1]).sqrt()
    end = last(ddpm(denoise, x, range(60, 0, -1), lambda _: next(draws)[:, None], clip=False))
    assert abs(end.square().sum() - (ab[1] * v + 1 - ab[1])) < 1e-9


@pytest.mark.parametrize(("share", "variance"), [(1.0, "beta"), (0.0, "beta_tilde")])
def test_a_learned_share_is_one_of_each_strides_own_variances(share, variance):
    plain, x = best(PLANE, paper(60)), torch.tensor([[0.3, -0.2], [-1.0, 0.5]], **F64)

    def net(xt, t):
        return torch.cat([plain.net(xt, t), torch.full_like(xt, 2 * share - 1)], 1)

    got, want = (
        torch.stack(list(ddpm(denoise, x, [60, 41, 20, 3, 0], stream(), variance=given, clip=False)))
        for denoise, given in ((Denoiser(net, plain.sched), None), (plain, variance))
    )
    assert torch.allclose(got, want, rtol=0, atol=1e-12)


# --- the score and the ODE ----------------------------------------------------------------------------------


@pytest.mark.equation("11.9", by="score")
def test_the_score_is_the_gradient_of_the_log_density():
    denoise = best(PLANE, paper(50))
    for t in (1, 20, 50):
        x = torch.tensor([[0.3, -0.2], [-1.0, 0.5]], **F64).requires_grad_()
        (gradient,) = torch.autograd.grad(PLANE.log_prob(x, denoise.sched.alpha_bar[t]).sum(), x)
        assert torch.allclose(score(denoise, x.detach(), t), gradient, rtol=0, atol=1e-10)
        ab = denoise.sched.alpha_bar[t]
        tweedie = (ab.sqrt() * denoise(x.detach(), t).x0 - x.detach()) / (1 - ab)
        assert torch.allclose(tweedie, gradient, rtol=0, atol=1e-10)


@pytest.mark.equation("11.10", by="score")
def test_matching_the_score_of_the_noise_matches_the_score():
    "Vincent 2011: for every function the two errors differ by the same number."
    denoise, (x0, eps, w) = best(HUMPS, paper(50)), nodes(60)
    ab = denoise.sched.alpha_bar[20]
    xt = ab.sqrt() * x0 + (1 - ab).sqrt() * eps
    right, of_noise = score(denoise, xt, 20), -eps / (1 - ab).sqrt()
    apart = []
    for f in (right, 0 * xt, xt.sin(), 1 - 2 * xt):
        errors = [(w * (f - goal).square()[:, 0]).sum().item() for goal in (of_noise, right)]
        apart.append(errors[0] - errors[1])
    assert max(apart) - min(apart) < 1e-9 < 0.1 < apart[0]


@pytest.mark.equation("11.11")
@pytest.mark.equation("11.12", "11.13", by="score")
def test_the_chain_is_a_step_of_the_sde_and_the_ode_turns_by_v():
    "The chain's factor and variance, to the second order in beta; the ODE of t as a rotation in the angle."
    for T in (1000, 4000):
        sched = paper(T)
        beta = sched.beta[1:]
        assert (((1 - beta).sqrt() - (1 - beta / 2)).abs() <= beta**2 / 4).all()  # dx = -beta x / 2, and
        step = sched.alpha_bar[1:] / sched.alpha_bar[:-1]
        assert torch.allclose(1 - step, beta, rtol=1e-9)  # of the variance beta
    denoise, x = best(PLANE, sched), torch.tensor([[0.3, -0.2], [-1.0, 0.5]], **F64)
    for t in (50, 1000, 3000):
        ab, beta = sched.alpha_bar[t], sched.beta[t]
        per_step = -beta / 2 * (x + score(denoise, x, t))
        angle = (sched.alpha_bar[t + 1].sqrt().acos() - sched.alpha_bar[t - 1].sqrt().acos()) / 2
        x0, eps, _ = denoise(x, t)
        turned = angle * (ab.sqrt() * eps - (1 - ab).sqrt() * x0)
        assert torch.allclose(per_step, turned, rtol=0.01, atol=1e-7)


@pytest.mark.equation("11.13", "11.14", by="ode_log_prob")
def test_the_odes_density_is_the_exact_one_with_an_error_of_second_order():
    denoise = best(PLANE, cosine_schedule(960))
    x = torch.tensor([[0.3, -0.2], [-0.6, 0.5], [1.2, 0.1]], **F64)
    for start in (40, 240):
        exact = PLANE.log_prob(x, denoise.sched.alpha_bar[start])
        errors = []
        for stride in (40, 20, 10):
            found = ode_log_prob(denoise, x, range(start, 961, stride))
            errors.append((found - exact).abs().max().item())
        assert errors[2] < 0.01
        assert errors[0] / errors[1] > 3
        assert errors[1] / errors[2] > 3


def test_the_odes_density_of_data_at_one_point_needs_few_steps():
    "There the divergence is the cotangent of the angle, from 156 at t = 1 down."
    point = GaussianMixture(torch.ones(1, **F64), torch.tensor([[-1.0]], **F64), torch.zeros(1, **F64))
    denoise = best(point, cosine_schedule(1000))
    x = torch.linspace(-1.001, -0.999, 3, **F64)[:, None]
    exact = point.log_prob(x, denoise.sched.alpha_bar[1])
    times = [1, 2, 4, 8, 16, 32, 64, *range(100, 1001, 50)]
    assert (ode_log_prob(denoise, x, times) - exact).abs().max() < 0.01


@pytest.mark.equation("11.15", by="ode_log_prob")
def test_the_mean_over_all_signs_is_the_exact_divergence():
    denoise, x = best(PLANE, cosine_schedule(100)), torch.tensor([[0.3, -0.2], [-0.6, 0.5]], **F64)
    times = range(5, 101, 5)
    by_signs = []
    for signs in product((-1.0, 1.0), repeat=2):
        probe = torch.tensor(signs, **F64).expand_as(x)
        by_signs.append(ode_log_prob(denoise, x, times, probe))
    exact = ode_log_prob(denoise, x, times)
    assert torch.allclose(torch.stack(by_signs).mean(0), exact, rtol=0, atol=1e-12)
    assert (by_signs[0] - exact).abs().max() > 1e-3


def test_densities_are_measured_in_inference_mode_too():
    "And of tensors that were made there."
    denoise, t = best(PLANE, cosine_schedule(100)), [5, 50, 100]

    def measured(x, probe):
        return [ode_log_prob(denoise, x, t, probe), ode_log_prob(denoise, x, t), x0_var(denoise, x, 50)]

    given = torch.tensor([[0.3, -0.2]], **F64), torch.tensor([[1.0, -1.0]], **F64)
    expected = measured(*given)
    with torch.inference_mode():
        made_there = [v.clone() for v in given]
        assert all(map(torch.equal, measured(*given), expected))
    assert all(map(torch.equal, measured(*made_there), expected))


def test_the_odes_density_passes_no_gradient_on():
    "Its steps have none, and what is left without them would be another gradient."
    x = torch.tensor([[0.3, -0.2]], **F64, requires_grad=True)
    assert not ode_log_prob(best(PLANE, cosine_schedule(100)), x, [5, 50, 100]).requires_grad


def test_the_one_gradient_of_a_probe_keeps_no_graph(monkeypatch):
    "What `torch.compile` makes frees the numbers that a gradient needs, and refuses to keep them."
    kept, grad = [], torch.autograd.grad
    monkeypatch.setattr(
        torch.autograd, "grad", lambda *a, **k: kept.append(k["retain_graph"]) or grad(*a, **k)
    )
    x = torch.tensor([[0.3, -0.2]], **F64)
    ode_log_prob(best(PLANE, cosine_schedule(100)), x, [5, 100], x.sign())
    assert kept == [False, False]


@pytest.mark.parametrize("times", [[0, 50, 100], [1, 50], [1, 50, 50, 100]])
def test_times_of_the_ode_rise_to_the_end(times):
    denoise, x = best(PLANE, cosine_schedule(100)), torch.zeros(1, 2, **F64)
    with pytest.raises(ValueError, match="rise strictly from 1 or later to T = 100"):
        ode_log_prob(denoise, x, times)


@pytest.mark.equation("11.16", by="ode_bits")
def test_the_density_with_a_decoder_is_a_bound_on_grey_levels():
    "Three grey levels with known shares: at their entropy, if the decoder's variance is small enough."
    shares = torch.tensor([0.5, 0.3, 0.2], **F64)
    places = torch.tensor([[-1.0], [0.0], [0.2]], **F64).mul(127.5).round().div(127.5)
    places = (places * 127.5 + 127.5).round() / 127.5 - 1
    data = GaussianMixture(shares, places, torch.zeros(3, **F64))
    exact = best(data, cosine_schedule(400))
    sharp = Denoiser(lambda xt, t: torch.cat([exact.net(xt, t), 0 * xt - 20], 1), exact.sched)
    z, w = (torch.from_numpy(v) for v in np.polynomial.hermite_e.hermegauss(24))
    w = (shares[:, None] * w / w.sum()).flatten()
    x0, eps = places.repeat_interleave(24, 0), z.repeat(3)[:, None]
    truth = -(shares * shares.log2()).sum()
    by_ode = (w * ode_bits(sharp, x0, eps, range(1, 401))).sum()
    assert 0 < by_ode - truth < 0.002
    assert (w * ode_bits(sharp, x0, eps, range(1, 401), variance="beta_tilde")).sum() > truth + 0.5
    with pytest.raises(ValueError, match="times must begin at 1"):
        ode_bits(sharp, x0, eps, range(2, 401))


def test_the_density_has_the_decoder_of_the_bound():
    "Clipped or not, and of any variance: what changes is the bound's first term."
    denoise, x0, t = shaky(), levels(2, 1, 4, 4), torch.ones(2, dtype=torch.int64)
    x0[..., 0] = 1
    eps = 2 * x0  # which leads out of [-1, 1]
    apart = [
        ode_bits(denoise, x0, eps, [1, 6, 12], torch.ones_like(x0), **options)
        - bound_term(denoise, x0, t, eps, **options)
        for options in ({}, {"clip": False}, {"variance": "beta"}, {"variance": "beta_tilde"})
    ]
    assert all(torch.allclose(a, apart[0], rtol=0, atol=1e-9) for a in apart)
    first = [bound_term(denoise, x0, t, eps, clip=clip) for clip in (True, False)]
    assert (first[0] - first[1]).abs().min() > 1e-3


def test_a_variance_that_was_not_learned_is_refused():
    x0, t = levels(1, 1, 4, 4), torch.tensor([3])
    plain = Denoiser(lambda xt, t: 0 * xt, of_log_snr(12))
    for denoise, variance in ((plain, "learned"), (plain, "large"), (shaky(), "large")):
        with pytest.raises(ValueError, match="variance must be 'beta_tilde', 'beta' or"):
            bound_term(denoise, x0, t, x0, variance=variance)


def test_the_network_that_was_trained_for_it_has_the_fewest_bits():
    "On a few digits, with the same noise for both: by more than any error."
    x0 = to_unit(digits().images[HELD_OUT[:6]])
    bits = {}
    for name in ("mnist-bits", "mnist-v"):
        denoise = pretrained(name).denoise
        p = pilot_times(denoise, x0, points=10)
        bits[name] = bits_per_dim(denoise, x0, times=p, draws=16).each
    mean, error = mean_error(bits["mnist-v"] - bits["mnist-bits"])
    assert mean > 0.3 > 4 * error
