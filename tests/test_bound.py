"""The variational bound, term by term, where it can be known exactly: Gaussian data and the best network.

The bound is assembled from the library's own posterior and reverse step; the entropy, the likelihood and the
KL that it must meet come from the closed forms in oracle.py alone.
"""

import math
from functools import partial
from itertools import pairwise

import pytest
import torch
from oracle import (
    COARSE,
    MEANS,
    VARIANCES,
    bound,
    coarse_schedule,
    entropy,
    exact_eps,
    kl,
    marginal_var,
    model_moments,
    negative_log_likelihood,
    posterior_map,
    reverse_var,
    step_by_eps,
)

from ddpm_abc.data import to_unit
from ddpm_abc.forward import predict_eps, predict_x0, q_mean_var, q_posterior, q_sample
from ddpm_abc.parameterization import Denoiser
from ddpm_abc.sampling import ddpm_step, sample
from ddpm_abc.schedule import cosine_schedule, linear_schedule, schedule_from_beta

pytestmark = pytest.mark.filterwarnings(
    "ignore:the schedule stops short of noise"
)  # few, coarse steps, on purpose
FIFTY = torch.linspace(1e-3, 0.3, 50, dtype=torch.float64)
SCHEDULES = {
    "linear": linear_schedule,
    "cosine": cosine_schedule,
    "fifty": lambda: schedule_from_beta(FIFTY),
    "coarse": coarse_schedule,
}
every_schedule = pytest.mark.parametrize("name", SCHEDULES)


@pytest.mark.equation("0.21", "0.40")
@every_schedule
def test_bound_misses_the_entropy_by_the_prior_term_alone(name):
    "With the exact reverse variance the terms telescope: VLB - entropy = KL(q(x_T) || N(0, I))."
    sched = SCHEDULES[name]()
    last, between, decoder = bound(sched, "exact")
    ab = sched.alpha_bar[-1]
    prior = kl(ab.sqrt() * MEANS, marginal_var(sched, -1), torch.zeros(4), torch.ones(4, dtype=torch.float64))
    gap = last + sum(between) + decoder - entropy()
    assert (gap - prior).abs().max() < 1e-10


@pytest.mark.equation("0.17")
@every_schedule
@pytest.mark.parametrize("kind", ["beta", "beta_tilde", "exact"])
def test_bound_is_above_the_likelihood_and_that_above_the_entropy(name, kind):
    sched = SCHEDULES[name]()
    last, between, decoder = bound(sched, kind)
    nll = negative_log_likelihood(sched, kind)
    assert (last + sum(between) + decoder - nll).min() > -1e-10
    assert (nll - entropy()).min() > -1e-10
    assert min(x.min() for x in between) > -1e-12  # each L_{t-1} is a KL


@pytest.mark.equation("0.39")
def test_the_two_variances_bracket_the_exact_one():
    """Ho et al. 2020, section 3.2: beta is right for data N(0, I), beta_tilde for data of no variance.

    Neither is for any other.
    """
    sched = coarse_schedule()
    for t in range(2, sched.T + 1):
        beta, tilde = (reverse_var(sched, t, kind) for kind in ("beta", "beta_tilde"))
        for s, expected in ((1.0, beta), (0.0, tilde)):
            assert (
                abs(reverse_var(sched, t, "exact", torch.tensor([s], dtype=torch.float64)).item() - expected)
                < 1e-15
            )
        assert tilde < reverse_var(sched, t, "exact", torch.tensor([0.3], dtype=torch.float64)).item() < beta
        assert abs(posterior_map(sched, t)[2] - tilde) < 1e-15


@pytest.mark.parametrize("kind", ["beta", "beta_tilde"])
def test_the_exact_variance_gives_the_least_bound(kind):
    sched = coarse_schedule()
    _, exact, _ = bound(sched, "exact")
    _, other, _ = bound(sched, kind)
    assert all((o - e).min() > -1e-12 for o, e in zip(other, exact, strict=True))
    assert sum((o - e).max() for o, e in zip(other, exact, strict=True)) > 0.1  # and here the choice matters


def with_the_exact_variance(denoise, x, times, noise):
    "A sampler of our own, which takes the mean from the library and the variance from q(x_{t-1} | x_t)."
    sched = denoise.sched
    for t, s in pairwise(times):
        mean = ddpm_step(sched, x, denoise(x, t).x0, t, s, torch.zeros_like(x), clip=False)
        x = mean + (reverse_var(sched, t, "exact").sqrt() * noise(x) if s else 0)
        yield x


@pytest.mark.parametrize(("name", "ratios"), [("linear", (0.9901, 0.9996, 0.9999, 1.0000))])
def test_sampler_with_the_exact_variance(monkeypatch, name, ratios):
    """A sampler with the exact variance, through the public function.

    Reads the map off without statistics: item k of the batch gets a 1 in its k-th draw of noise.
    """
    sched = SCHEDULES[name]()

    draws = iter(torch.eye(sched.T + 1, dtype=torch.float64)[:, : sched.T].T)
    monkeypatch.setattr(torch, "randn", lambda shape, **_: next(draws)[:, None].expand(shape))
    x0 = sample(
        Denoiser(exact_eps(sched), sched),
        (sched.T + 1, 4),
        sampler=with_the_exact_variance,
        dtype=torch.float64,
    )
    monkeypatch.undo()
    factors = x0[:-1] - x0[-1]
    factors[0] *= marginal_var(
        sched, -1
    ).sqrt()  # x_T as q makes it: then nothing is lost but the last step's noise
    var = factors.square().sum(0)
    assert (var + reverse_var(sched, 1, "exact") - VARIANCES).abs().max() < 1e-10
    assert (var / VARIANCES - torch.tensor(ratios, dtype=torch.float64)).abs().max() < 6e-5


def test_coarse_monte_carlo_with_the_exact_variance():
    sched, n = coarse_schedule(), 20_000

    x = sample(
        Denoiser(exact_eps(sched), sched),
        (n, 4),
        sampler=with_the_exact_variance,
        generator=torch.Generator().manual_seed(0),
        dtype=torch.float64,
    )
    mean, var = model_moments(sched, "exact")
    var = var - reverse_var(sched, 1, "exact")
    assert ((x.var(0) - var) / (var * math.sqrt(2 / n))).abs().max() < 4.5
    assert ((x.mean(0) - mean) / (var / n).sqrt()).abs().max() < 4.5


@pytest.mark.equation("0.29", "1.4", by="Schedule.snr")
@pytest.mark.equation("0.14", by="Schedule.beta_tilde")
@every_schedule
def test_weight_of_the_bound_is_half_the_loss_of_snr(name):
    """Ho et al. 2020, Eq. 8-10 and 12, against Kingma et al. 2021.

    With sigma^2 = beta_tilde the weight of the noise error, beta^2 / (2 sigma^2 alpha (1 - alpha_bar)), is
    (SNR_{t-1} - SNR_t) / 2 for the error of x_0. It is infinite at t = 1.
    """
    sched = SCHEDULES[name]()
    t = torch.arange(2, sched.T + 1)
    beta, ab = sched.beta[t], sched.alpha_bar[t]
    of_eps = beta**2 / (2 * sched.beta_tilde[t] * sched.alpha[t] * (1 - ab))
    of_x0 = of_eps * ab / (1 - ab)  # x_0 - x0_hat = -(eps - eps_hat) sqrt((1 - ab) / ab)
    assert (of_x0 / ((sched.snr[t - 1] - sched.snr[t]) / 2) - 1).abs().max() < 1e-9
    assert sched.beta_tilde[1] == 0
    assert sched.snr[0] == math.inf


@pytest.mark.equation("0.29", by="q_posterior")
@pytest.mark.parametrize(("t", "s"), [(10, 9), (2, 1), (10, 3), (7, 1)])
def test_kl_of_two_posteriors_is_the_snr_weighted_error(t, s):
    """L_{t-1} through the library: the KL of q(x_s | x_t, x_0) from the same with x0_hat.

    For neighbours and for strides.
    """
    sched = coarse_schedule()
    g = torch.Generator().manual_seed(0)
    x0, eps, eps_hat = torch.randn(3, 5, 2, generator=g, dtype=torch.float64)
    xt = q_sample(sched, x0, t, eps)
    x0_hat = predict_x0(sched, xt, t, eps_hat)
    (mean, var), (mean_hat, var_hat) = q_posterior(sched, x0, xt, t, s), q_posterior(sched, x0_hat, xt, t, s)
    expected = (sched.snr[s] - sched.snr[t]) / 2 * (x0 - x0_hat) ** 2
    assert (kl(mean, var, mean_hat, var_hat) - expected).abs().max() < 1e-10
    in_eps = (sched.snr[s] / sched.snr[t] - 1) / 2 * (eps - eps_hat) ** 2
    assert (kl(mean, var, mean_hat, var_hat) - in_eps).abs().max() < 1e-10


def test_l_simple_puts_less_weight_on_small_t_than_the_bound():
    """Ho et al. 2020, section 3.4: the bound's weight of the noise error falls with t, for both variances.

    That of L_simple is 1.
    """
    sched = linear_schedule()
    t = torch.arange(2, 1001)
    beta, ab, alpha = sched.beta[t], sched.alpha_bar[t], sched.alpha[t]
    for sigma2 in (beta, sched.beta_tilde[t]):
        weight = beta**2 / (2 * sigma2 * alpha * (1 - ab))
        assert weight[0] > 20 * weight[200]
        assert (weight[:200].diff() < 0).all()


@pytest.mark.equation("0.2", "0.5", "2.1", "2.4", by="q_mean_var")
@every_schedule
def test_the_chain_of_single_steps_has_the_closed_form_moments(name):
    "Ho et al. 2020, Eq. 2 composed t times, against Eq. 4 of the library."
    sched = SCHEDULES[name]()
    x0 = torch.tensor([[1.7]], dtype=torch.float64)
    mean, var = x0.clone(), torch.zeros_like(x0)
    for t in range(1, sched.T + 1):
        beta = sched.beta[t]
        mean, var = (1 - beta).sqrt() * mean, (1 - beta) * var + beta
        got_mean, got_var = q_mean_var(sched, x0, t)
        assert (got_mean - mean).abs().max() < 1e-12
        assert (got_var - var).abs().max() < 1e-12
    assert abs(q_mean_var(linear_schedule(), x0, 1000)[0].item() / 1.7 - math.sqrt(4.0358e-5)) < 1e-7


@pytest.mark.equation("0.13", "0.14", "0.15", by="q_posterior")
def test_posterior_is_bayes_rule():
    "q(x_t | x_{t-1}) times q(x_{t-1} | x_0), normalised on a grid: no algebra in common with Eq. 7."
    sched = coarse_schedule()
    grid = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    for t in range(2, sched.T + 1):
        x0, xt = torch.tensor(0.8, dtype=torch.float64), torch.tensor(-0.4, dtype=torch.float64)
        ab, beta = sched.alpha_bar[t - 1], sched.beta[t]
        log_p = -((xt - (1 - beta).sqrt() * grid) ** 2) / (2 * beta) - (grid - ab.sqrt() * x0) ** 2 / (
            2 * (1 - ab)
        )
        p = (log_p - log_p.max()).exp()
        p /= p.sum()
        mean = (p * grid).sum()
        var = (p * (grid - mean) ** 2).sum()
        got_mean, got_var = q_posterior(sched, x0.view(1, 1), xt.view(1, 1), t)
        assert abs(got_mean.item() - mean) < 1e-9
        assert abs(got_var.item() - var) < 1e-9


@pytest.mark.equation("1.5")
def test_mnist_prior_term():
    "L_T for digits is 2.7e-5 bits a dimension: the linear schedule's x_T is as good as noise."
    from ddpm_abc.data import digits

    x0 = to_unit(digits().images[::10]).double()
    mean, var = q_mean_var(linear_schedule(), x0, 1000)
    bits = kl(mean, var, torch.zeros_like(mean), torch.ones_like(mean)).mean() / math.log(2)
    assert 2.5e-5 < bits < 2.9e-5


@pytest.mark.equation("0.34")
def test_optimal_eps_is_minus_the_scaled_score():
    "The closed form that all of this rests on, against automatic differentiation of log q(x_t)."
    sched = coarse_schedule()
    for t in range(1, sched.T + 1):
        x = torch.linspace(-2, 2, 4, dtype=torch.float64).view(1, 4).requires_grad_()
        ab = sched.alpha_bar[t]
        log_q = torch.distributions.Normal(ab.sqrt() * MEANS, marginal_var(sched, t).sqrt()).log_prob(x).sum()
        (score,) = torch.autograd.grad(log_q, x)
        eps = exact_eps(sched)(x.detach(), torch.tensor([t]))
        assert (eps + (1 - ab).sqrt() * score).abs().max() < 1e-13
        assert (
            predict_eps(sched, x.detach(), t, predict_x0(sched, x.detach(), t, eps)) - eps
        ).abs().max() < 1e-12


@pytest.mark.equation("0.35", "0.39", by="ddpm_step")
def test_mean_of_the_step_is_the_true_conditional_mean():
    """With the exact network the library's step has the mean of q(x_{t-1} | x_t).

    Conditioning two joint Gaussians gives that mean.
    """
    sched = schedule_from_beta(COARSE)
    step = partial(step_by_eps, clip=False)
    for t in range(1, sched.T + 1):
        xt = torch.linspace(-1, 2, 4, dtype=torch.float64).view(1, 4)
        ab, ab_prev, beta = sched.alpha_bar[t], sched.alpha_bar[t - 1], sched.beta[t]
        covariance = (1 - beta).sqrt() * marginal_var(sched, t - 1)
        mean = ab_prev.sqrt() * MEANS + covariance / marginal_var(sched, t) * (xt - ab.sqrt() * MEANS)
        got = step(sched, xt, exact_eps(sched)(xt, torch.tensor([t])), t, t - 1, torch.zeros_like(xt))
        assert (got - mean).abs().max() < 1e-12
