"""The exactly solvable case against computations that share nothing with it.

These are autograd, PyTorch's distributions, and sums by hand.
"""

import math
import re

import pytest
import torch
from torch.distributions import (
    Categorical,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    kl_divergence,
)

from ddpm_abc.gaussian import (
    GaussianMixture,
    check_levels,
    decoder_log_prob,
    gaussian_log_prob,
    gaussian_product,
    kl_gaussian,
    mixture_eps_model,
)
from ddpm_abc.schedule import linear_schedule, schedule_from_beta

F64 = torch.float64
ALPHA_BARS = (1 - 1e-4, 0.9, 0.3, 4e-5, 0.0)


def f64(*values):
    return torch.tensor(values, dtype=F64)


def rand(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def mixture(kind, k=4, d=3):
    "A mixture of each kind that the class accepts."
    root = rand(k, d, d, seed=1)
    covs = {
        "full": 0.3 * root @ root.mT,
        "flat": root[:, :, :1] @ root[:, :, :1].mT,  # rank one: no width in the other directions
        "diagonal": rand(k, d, seed=2).square(),
        "scalar": rand(k, seed=3).square(),
        "points": torch.zeros(k, dtype=F64),
    }[kind]
    return GaussianMixture(f64(0.1, 0.2, 0.3, 0.4), 1.5 * rand(k, d, seed=4), covs)


def full_covs(m):
    "The covariances of any mixture as (K, D, D)."
    d = m.means.shape[1]
    return m.covs if m.covs.ndim == 3 else torch.diag_embed(m.covs.reshape(len(m.covs), -1).expand(-1, d))


every_kind = pytest.mark.parametrize("kind", ["full", "flat", "diagonal", "scalar", "points"])
every_alpha_bar = pytest.mark.parametrize("ab", ALPHA_BARS)


# --- Gaussians ----------------------------------------------------------------------------------------------


@pytest.mark.equation("0.1", by="gaussian_log_prob")
@pytest.mark.equation("0.11", "0.12", by="kl_gaussian")
def test_log_prob_and_kl_agree_with_torch_distributions():
    mean1, mean2, var1, var2 = rand(4, 5, 7)
    var1, var2 = var1.exp(), var2.exp()
    n1, n2 = Normal(mean1, var1.sqrt()), Normal(mean2, var2.sqrt())
    assert (gaussian_log_prob(mean2, mean1, var1) - n1.log_prob(mean2)).abs().max() < 1e-12
    assert (kl_gaussian(mean1, var1, mean2, var2) / kl_divergence(n1, n2) - 1).abs().max() < 1e-11


@pytest.mark.equation("0.11", by="kl_gaussian")
def test_kl_is_zero_between_equals_and_positive_else():
    mean, var = rand(2, 100)
    var = var.exp()
    assert (kl_gaussian(mean, var, mean, var) == 0).all()
    assert (kl_gaussian(mean, var, mean + 0.1, var) > 0).all()
    assert (kl_gaussian(mean, var, mean, 1.1 * var) > 0).all()
    assert kl_gaussian(f64(0.0), f64(1.0), f64(0.0), f64(4.0)) != kl_gaussian(
        f64(0.0), f64(4.0), f64(0.0), f64(1.0)
    )


@pytest.mark.equation("0.10", by="gaussian_product")
def test_product_adds_precisions_and_is_the_product():
    mean1, mean2, var1, var2 = rand(4, 50)
    var1, var2 = var1.exp(), var2.exp()
    mean, var = gaussian_product(mean1, var1, mean2, var2)
    assert ((1 / var1 + 1 / var2) * var - 1).abs().max() < 1e-12
    x, y = rand(2, 50, seed=5)
    factors = [
        gaussian_log_prob(p, mean1, var1)
        + gaussian_log_prob(p, mean2, var2)
        - gaussian_log_prob(p, mean, var)
        for p in (x, y)
    ]
    assert (
        factors[0] - factors[1]
    ).abs().max() < 1e-10  # the constant of proportionality does not depend on x


def test_product_with_a_certain_factor_is_certain():
    mean, var = gaussian_product(f64(0.3), f64(0.0), f64(-2.0), f64(0.7))
    assert (mean, var) == (0.3, 0)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_functions_keep_dtype_and_broadcast(dtype):
    x, var = rand(4, 1, 8, 8).to(dtype), rand(4, 1, 1, 1).exp().to(dtype)
    outs = [
        gaussian_log_prob(x, x + 1, var),
        kl_gaussian(x, var, x + 1, 2 * var),
        gaussian_product(x, var, x + 1, var)[0],
        decoder_log_prob(x.clamp(-1, 1), x, var),
    ]
    assert all(o.shape == x.shape and o.dtype == dtype for o in outs)


# --- the decoder, Ho et al. 2020, Eq. 13 --------------------------------------------------------------------


LEVELS = torch.arange(256, dtype=F64) / 127.5 - 1


@pytest.mark.equation("0.31", by="decoder_log_prob")
@pytest.mark.parametrize("mean", [-3.0, -1.0, -0.2, 0.0, 0.5001, 1.0, 2.0])
@pytest.mark.parametrize("var", [1e-5, 1e-4, 0.01, 1.0])
def test_decoder_shares_out_all_probability(mean, var):
    assert abs(decoder_log_prob(LEVELS, f64(mean), f64(var)).exp().sum() - 1) < 1e-12


@pytest.mark.equation("0.31", by="decoder_log_prob")
def test_decoder_is_the_area_under_the_bell():
    n = Normal(f64(0.1), f64(0.2))
    area = n.cdf(LEVELS + 1 / 255) - n.cdf(LEVELS - 1 / 255)
    area[0], area[-1] = n.cdf(LEVELS[0] + 1 / 255), 1 - n.cdf(LEVELS[-1] - 1 / 255)
    assert (decoder_log_prob(LEVELS, f64(0.1), f64(0.04)).exp() - area).abs().max() < 1e-14


def test_decoder_stays_finite_and_right_in_the_far_tail():
    """Far out the area of a bin is the integral of the density.

    At 60 standard deviations both cdf values are exactly 1.
    """
    x, var = LEVELS[128], f64(1e-4)
    for offset in (-0.6, 0.6):
        got = decoder_log_prob(x, x + offset, var)
        edges = torch.linspace(-1 / 255, 1 / 255, 100_001, dtype=F64)
        log_area = torch.logsumexp(
            gaussian_log_prob((edges[1:] + edges[:-1]) / 2 + x, x + offset, var), 0
        ) + math.log(2 / 255 / 100_000)
        assert abs(got / log_area - 1) < 1e-6
    assert decoder_log_prob(x, x + 0.6, var) == pytest.approx(
        decoder_log_prob(x, x - 0.6, var).item(), rel=1e-9
    )


@pytest.mark.parametrize("far", [3.0, 40.5, 44.0])
def test_decoders_bins_in_the_tails_of_the_bell(far):
    "The mean is that many standard deviations from the bin's edge; of the open ends the area is a tail."
    edge, std = LEVELS[-1] - 1 / 255, 2.0**-6
    for end in (-1, 1):
        got = decoder_log_prob(end * LEVELS[-1], end * (edge - far * std), f64(std**2))
        assert got == pytest.approx(torch.special.log_ndtr(f64(-far)).item(), rel=1e-9)
    x, var = LEVELS[10], f64(std**2)  # and of an inner bin the mirror image is as likely
    mean = x + 1 / 255 + far * std
    assert decoder_log_prob(x, mean, var) == pytest.approx(decoder_log_prob(-x, -mean, var).item(), rel=1e-9)


def test_decoder_has_finite_gradients():
    x0 = LEVELS.float()
    mean = torch.full_like(x0, 0.3, requires_grad=True)
    log_var = torch.full_like(x0, -9.0, requires_grad=True)
    decoder_log_prob(x0, mean, log_var.exp()).sum().backward()
    assert mean.grad.isfinite().all()
    assert log_var.grad.isfinite().all()


def test_decoder_takes_the_pixels_that_the_data_module_makes():
    from ddpm_abc.data import to_unit

    x0 = to_unit(torch.arange(256, dtype=torch.uint8)[None])[0]
    assert abs(decoder_log_prob(x0.double(), f64(0.2), f64(0.5)).exp().sum() - 1) < 1e-6  # float32 levels


@pytest.mark.parametrize("end", [-1.0, 1.0])
def test_grey_levels_end_at_minus_one_and_one(end):
    "Each may be off by 0.3 of a level; one level beyond an end there is none."
    for off in (-0.29, 0.29):
        check_levels(LEVELS + off / 127.5)
    for off in (-0.31, 0.31):
        with pytest.raises(ValueError, match="x0 must hold 256 grey levels"):
            check_levels(LEVELS[[100]] + off / 127.5)
    beyond, inside = end * (1 + 1 / 127.5), LEVELS[3].item()
    seen = f"in numbers from {min(beyond, inside):.4g} to {max(beyond, 0.0):.4g}: "
    with pytest.raises(ValueError, match=re.escape(f"got {beyond:.4g}, {seen}")):
        check_levels(f64(inside, beyond, 0.0))


# --- the best guess of the noise ----------------------------------------------------------------------------


@pytest.mark.equation("0.34", by="GaussianMixture.eps, GaussianMixture.log_prob")
@every_kind
@every_alpha_bar
def test_best_eps_is_the_slope_of_the_log_density(kind, ab):
    m = mixture(kind)
    xt = (2 * rand(64, 3)).requires_grad_()
    slope = torch.autograd.grad(m.log_prob(xt, ab).sum(), xt)[0]
    eps = m.eps(xt.detach(), ab)
    scale = eps.abs().max().clamp(min=1)
    assert (eps + math.sqrt(1 - ab) * slope).abs().max() < 1e-10 * scale


@every_kind
@every_alpha_bar
def test_log_prob_is_that_of_torch_distributions(kind, ab):
    m = mixture(kind)
    covs = ab * full_covs(m) + (1 - ab) * torch.eye(3, dtype=F64)
    peer = MixtureSameFamily(Categorical(m.weights), MultivariateNormal(math.sqrt(ab) * m.means, covs))
    xt = rand(64, 3)
    want = peer.log_prob(xt)
    assert ((m.log_prob(xt, ab) - want) / want.abs().clamp(min=1)).abs().max() < 1e-8


@every_kind
def test_alpha_bar_one_by_one(kind):
    "A batch with its own noise level each equals its items, one at a time."
    m, xt, ab = mixture(kind), rand(4, 3), f64(0.99, 0.7, 0.2, 0.0)
    assert torch.equal(m.eps(xt, ab), torch.cat([m.eps(xt[i : i + 1], ab[i].item()) for i in range(4)]))
    assert torch.equal(m.log_prob(xt, ab), torch.cat([m.log_prob(xt[i : i + 1], ab[i]) for i in range(4)]))


def test_pure_noise_is_all_noise():
    assert (mixture("full").eps(rand(16, 3), 0.0) - rand(16, 3)).abs().max() < 1e-12


def test_standard_normal_data():
    "Data N(0, I) stay N(0, I); the best guess is a fixed share of x_t."
    m = GaussianMixture(f64(1.0), torch.zeros(1, 5, dtype=F64), f64(1.0))
    xt = rand(8, 5)
    for ab in (0.9, 0.1):
        assert (m.eps(xt, ab) - math.sqrt(1 - ab) * xt).abs().max() < 1e-14
        assert (
            m.log_prob(xt, ab) - Independent(Normal(torch.zeros(5, dtype=F64), 1.0), 1).log_prob(xt)
        ).abs().max() < 1e-12


@pytest.mark.equation("0.41", by="GaussianMixture.eps")
@every_alpha_bar
def test_finite_data_set_is_the_posterior_mean(ab):
    m, xt = mixture("points"), rand(32, 3)
    r = torch.stack(
        [
            w * torch.exp(-((xt - math.sqrt(ab) * x) ** 2).sum(1) / (2 * (1 - ab)) + 0.0)
            for w, x in zip(m.weights, m.means, strict=True)
        ],
        1,
    )
    if (
        r.sum(1) == 0
    ).any():  # underflow of the plain formula close to clean data: take the nearest, which has it all
        distance = torch.cdist(xt, math.sqrt(ab) * m.means)
        r = torch.nn.functional.one_hot(distance.argmin(1), 4).double()
    x0_hat = (r / r.sum(1, keepdim=True)) @ m.means
    eps = (xt - math.sqrt(ab) * x0_hat) / math.sqrt(1 - ab)
    assert ((m.eps(xt, ab) - eps) / eps.abs().clamp(min=1)).abs().max() < 1e-10


@pytest.mark.equation("0.32", by="GaussianMixture.eps")
def test_best_eps_is_the_mean_of_the_noise_that_made_xt():
    "Monte Carlo, no formula: regress the noise on bins of x_t."
    m, ab, n = GaussianMixture(f64(0.3, 0.7), f64(-1.0, 1.0)[:, None], f64(0.1, 0.02)), 0.5, 1_000_000
    g = torch.Generator().manual_seed(0)
    eps = torch.randn(n, generator=g, dtype=F64)
    xt = math.sqrt(ab) * m.sample(n, g)[:, 0] + math.sqrt(1 - ab) * eps
    residual = eps - m.eps(xt[:, None], ab)[:, 0]
    for low in torch.linspace(-2, 1.8, 20).tolist():
        inside = residual[(xt > low) & (xt < low + 0.2)]
        assert abs(inside.mean() / (inside.std() / len(inside) ** 0.5)) < 4.5


@every_kind
def test_forms_of_covariance_agree(kind):
    m, xt = mixture(kind), rand(16, 3)
    same = GaussianMixture(m.weights, m.means, full_covs(m))
    assert (m.eps(xt, 0.6) - same.eps(xt, 0.6)).abs().max() < 1e-12
    assert (m.log_prob(xt, 0.6) - same.log_prob(xt, 0.6)).abs().max() < 1e-12


@every_kind
def test_sample_has_the_moments(kind):
    m, n = mixture(kind), 200_000
    x = m.sample(n, torch.Generator().manual_seed(0))
    mean = m.weights @ m.means
    second = torch.einsum("k,kij->ij", m.weights, full_covs(m) + m.means[:, :, None] * m.means[:, None])
    centred = x[:, :, None] * x[:, None]
    assert (x.shape, x.dtype) == ((n, 3), F64)
    assert ((x.mean(0) - mean) / (x.std(0) / n**0.5)).abs().max() < 4.5
    assert ((centred.mean(0) - second) / (centred.std(0) / n**0.5)).abs().max() < 4.5


def test_sample_is_a_function_of_the_generator():
    m = mixture("full")
    a, b, c = (m.sample(5, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_a_variance_that_rounding_left_below_zero_counts_as_zero():
    m, sure = (GaussianMixture(f64(1.0), f64(0.3)[:, None], f64(v)) for v in (-9e-13, 0.0))
    x, almost_clean = f64(-0.2, 0.3)[:, None], 1 - 1e-13
    assert torch.equal(m.log_prob(x, almost_clean), sure.log_prob(x, almost_clean))
    assert torch.equal(m.eps(x, almost_clean), sure.eps(x, almost_clean))
    assert (m.sample(5) == 0.3).all()


# --- as a network -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_model_takes_images_and_keeps_shape_and_dtype(dtype):
    sched = linear_schedule(50, 0.1 / 50, 0.4)
    m = GaussianMixture(f64(0.5, 0.5), rand(2, 48), torch.zeros(2, dtype=F64))
    xt, t = rand(6, 3, 4, 4).to(dtype), torch.tensor([1, 2, 3, 25, 49, 50])
    out = mixture_eps_model(m, sched.alpha_bar)(xt, t)
    assert (out.shape, out.dtype) == (xt.shape, dtype)
    assert out.isfinite().all()
    assert (out.double() - m.eps(xt.double(), sched.alpha_bar[t])).abs().max() < (
        1e-12 if dtype == F64 else 1e-4
    )


@pytest.mark.parametrize("t", [0, -1, 51, 1000])
def test_model_refuses_times_outside_the_chain(t):
    model = mixture_eps_model(mixture("full"), linear_schedule(50, 0.1 / 50, 0.4).alpha_bar)
    with pytest.raises(IndexError, match=rf"1\.\.50, got {t}"):
        model(rand(4, 3), torch.tensor([5, t, 7, 60]))
    for no_times in (torch.tensor([5.0, 6.5]), torch.tensor([True, True])):
        with pytest.raises(TypeError, match=f"whole numbers .int64., got {no_times.dtype}"):
            model(rand(2, 3), no_times)


# --- the reverse chain on Gaussian data ---------------------------------------------------------------------


VARIANCES = f64(0.01, 0.25, 1.0, 4.0)  # of the data, one a dimension
TABLE = {  # final variance over that of the data, T = 1000, linear
    "beta": (1.0154, 1.0030, 0.9999, 0.9976),
    "beta_tilde": (0.9276, 0.9845, 0.9911, 0.9937),
    "exact": (0.9901, 0.9996, 0.9999, 1.0000),
}


def reverse_tables(sched, choice):
    "Factor and variance of each step t = 1..T on data N(0, VARIANCES): (T, 4) both."
    beta, ab = sched.beta[:, None], sched.alpha_bar[:, None]
    c = ab * VARIANCES + 1 - ab
    factor = (1 - beta[1:] / c[1:]) / (1 - beta[1:]).sqrt()
    sigma2 = {
        "beta": beta[1:].expand_as(factor),
        "beta_tilde": (beta[1:] * (1 - ab[:-1]) / (1 - ab[1:])).expand_as(factor),
        "exact": beta[1:] * c[:-1] / c[1:],
    }
    return factor, sigma2[choice]


@pytest.mark.equation("0.39", by="mixture_eps_model")
@pytest.mark.parametrize("choice", TABLE)
def test_reverse_chain_with_the_best_eps_has_the_known_end_variance(choice):
    """One chain of basis vectors through the model.

    It is linear, so its final states are the factors of the noises.
    """
    sched = linear_schedule()
    model = mixture_eps_model(
        GaussianMixture(f64(1.0), torch.zeros(1, 4, dtype=F64), torch.diag(VARIANCES)[None]), sched.alpha_bar
    )
    _, sigma2 = reverse_tables(sched, choice)
    x = torch.ones(1, 4, dtype=F64)  # row k: what noise number k has become; x_T is number 0
    for t in range(1000, 0, -1):
        beta, ab = sched.beta[t], sched.alpha_bar[t]
        x = (x - beta / (1 - ab).sqrt() * model(x, torch.full((len(x),), t))) / (1 - beta).sqrt()
        if t > 1:
            x = torch.cat([x, sigma2[t - 1].sqrt()[None]])
    assert ((x.square().sum(0) / VARIANCES) - f64(*TABLE[choice])).abs().max() < 6e-5


@pytest.mark.equation("0.17", "0.40", by="kl_gaussian")
@pytest.mark.parametrize("choice", TABLE)
def test_bound_is_above_the_likelihood_is_above_the_entropy(choice):
    """The three terms of Ho et al. 2020, Eq. 5, by kl_gaussian.

    With the exact variance only the start of the chain is lost.
    """
    sched = schedule_from_beta(torch.linspace(1e-3, 0.3, 50, dtype=F64))
    beta, ab = sched.beta, sched.alpha_bar
    factor, sigma2 = reverse_tables(sched, choice)
    if choice == "beta_tilde":  # zero at t = 1, where a density needs a width
        sigma2 = torch.cat([reverse_tables(sched, "exact")[1][:1], sigma2[1:]])
    # x_0 and x_t are Gaussian together, and all terms are quadratic in them:
    # two points each, +-1 standard deviation, average exactly.
    signs = torch.tensor([[a, b] for a in (-1, 1) for b in (-1, 1)], dtype=F64)
    bound = torch.zeros(4, dtype=F64)
    for sign0, sign in signs:
        x0 = sign0 * VARIANCES.sqrt()
        bound += (
            kl_gaussian(
                ab[-1].sqrt() * x0,
                (1 - ab[-1]).expand(4),
                torch.zeros(4, dtype=F64),
                torch.ones(4, dtype=F64),
            )
            / 4
        )
        for t in range(1, sched.T + 1):
            xt = ab[t].sqrt() * x0 + (1 - ab[t]).sqrt() * sign
            mean, var = factor[t - 1] * xt, sigma2[t - 1]
            if t == 1:
                bound -= gaussian_log_prob(x0, mean, var) / 4
            else:
                post = gaussian_product(
                    xt / (1 - beta[t]).sqrt(), beta[t] / (1 - beta[t]), ab[t - 1].sqrt() * x0, 1 - ab[t - 1]
                )
                bound += kl_gaussian(*post, mean, var) / 4
    V = torch.ones(4, dtype=F64)
    for t in range(sched.T, 0, -1):
        V = factor[t - 1] ** 2 * V + sigma2[t - 1]
    nll = 0.5 * ((2 * math.pi * V).log() + VARIANCES / V)
    entropy = 0.5 * (2 * math.pi * math.e * VARIANCES).log()
    assert (bound >= nll - 1e-12).all()
    assert (nll >= entropy - 1e-12).all()
    lost = kl_gaussian(
        torch.zeros(4, dtype=F64),
        ab[-1] * VARIANCES + 1 - ab[-1],
        torch.zeros(4, dtype=F64),
        torch.ones(4, dtype=F64),
    )
    if choice == "exact":
        assert (bound - entropy - lost).abs().max() < 2e-13
    else:
        assert (
            bound - entropy - lost > 1e-13
        ).sum() >= 3  # all but the direction, if any, in which this choice is exact


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_the_decoders_open_ends_have_slopes_that_are_numbers(dtype):
    x0 = torch.tensor([-1.0, 0.2, 1.0], dtype=dtype).mul(127.5).round().div(127.5)[:, None]
    mean = torch.tensor([-1.3, -1.0, 0.1, 1.0, 1.3], dtype=dtype, requires_grad=True)
    var = torch.full((5,), 0.01, dtype=dtype, requires_grad=True)
    with torch.autograd.detect_anomaly(check_nan=True):
        decoder_log_prob(x0, mean, var).sum().backward()
    assert mean.grad.isfinite().all()
    assert var.grad.isfinite().all()


# --- bad input ----------------------------------------------------------------------------------------------


def test_bad_mixtures_are_refused():
    w, mu, cov = f64(0.5, 0.5), rand(2, 3), torch.eye(3, dtype=F64).expand(2, 3, 3)
    for args, message in (
        ((w[:1], mu, cov), r"\(1,\), \(2, 3\) and \(2, 3, 3\)"),
        ((f64(0.5, 0.3, 0.2), mu, cov), r"got \(3,\), \(2, 3\)"),
        ((w, mu[0], cov), r"got \(2,\), \(3,\)"),
        ((w, mu[None], cov), r"got \(2,\), \(1, 2, 3\)"),
        ((w, mu, cov[:, :2]), r"\(2, 2, 3\)"),
        ((w, mu[:, :0], torch.zeros(2, dtype=F64)), r"\(2, 0\)"),
        ((w, mu.float(), cov), r"float32.*\.double\(\)"),
        ((w.float(), mu.float(), cov.float()), "float32, torch.float32 and torch.float32: call"),
        ((2 * w, mu, cov), "sum of 2"),
        ((f64(0.0, 1.0), mu, cov), "minimum of 0 and"),
        ((f64(1.5, -0.5), mu, cov), "minimum of -0.5"),
        ((w, mu, cov + torch.triu(torch.ones(3, 3, dtype=F64), 1)), "symmetric, got a difference of 1 "),
        ((w, mu, cov + 0.3 + 0.1 * torch.ones(3, 3, dtype=F64).tril(-1)), "got a difference of 0.1 to"),
        ((w, mu, -0.25 * cov), "no negative variance, got -0.25"),
        ((w, mu, f64(0.1, -0.2)), "no negative variance, got -0.2"),
    ):
        with pytest.raises(ValueError, match=message):
            GaussianMixture(*args)


def test_bad_calls_are_refused():
    m = mixture("points")
    with pytest.raises(ValueError, match=r"3 dimensions, got xt of shape \(2, 4\)"):
        m.eps(rand(2, 4), 0.5)
    with pytest.raises(ValueError, match=r"3 dimensions, got xt of shape \(2, 1\)"):
        m.eps(rand(2, 1), 0.5)  # which would broadcast
    for levels in (f64(0.5, 0.5, 0.5), f64(0.5), f64(0.5, 0.5)[:, None]):
        shape = re.escape(str(tuple(levels.shape)))
        with pytest.raises(ValueError, match=f"or 2, one for each item, got shape {shape}"):
            m.eps(rand(2, 3), levels)
    with pytest.raises(ValueError, match=r"\[0, 1\], got 0\.5 to 1\.5"):
        m.log_prob(rand(2, 3), f64(0.5, 1.5))
    with pytest.raises(ValueError, match=r"\[0, 1\], got -0\.5 to 0\.5"):
        m.log_prob(rand(2, 3), f64(0.5, -0.5))
    with pytest.raises(ValueError, match="must be below 1"):
        m.eps(rand(2, 3), f64(0.5, 1.0))
    with pytest.raises(ValueError, match="no density"):
        m.log_prob(rand(2, 3))
    assert mixture("full").log_prob(rand(2, 3)).isfinite().all()  # clean data with a width do have one


def test_mixture_is_frozen():
    m = mixture("full")
    with pytest.raises(AttributeError):
        m.means = m.means + 1
    assert m != mixture("full")  # tables are not compared
