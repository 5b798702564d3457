"""One test for each equation of the course that no other test proves. The numbers are those of the chapters.

Where an equation is a statement about Gaussians, it is checked against another route to the same number:
numerical integration, quadrature that is exact for squares, or joint Gaussians in matrix form.
"""

import math
from functools import cache

import pytest
import torch
from oracle import (
    COARSE,
    MEANS,
    VARIANCES,
    bound,
    coarse_schedule,
    entropy,
    kl,
    marginal_var,
    reverse_var,
    step_by_eps,
    step_map,
)
from torch.utils.flop_counter import FlopCounterMode

from ddpm_abc.forward import predict_eps, predict_x0, q_mean_var, q_posterior, q_sample
from ddpm_abc.gaussian import (
    GaussianMixture,
    gaussian_log_prob,
    gaussian_product,
    kl_gaussian,
    mixture_eps_model,
)
from ddpm_abc.parameterization import Denoiser
from ddpm_abc.schedule import linear_schedule, schedule_from_beta
from ddpm_abc.training import simple_loss
from ddpm_abc.unet import Down, UNet, Up, timestep_embedding

pytestmark = pytest.mark.filterwarnings(
    "ignore:the schedule stops short of noise"
)  # few, coarse steps, on purpose
GRID = torch.linspace(-15, 15, 30_001, dtype=torch.float64)
DX = (GRID[1] - GRID[0]).item()


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


@cache
def two_humps() -> GaussianMixture:
    return GaussianMixture(numbers(0.3, 0.7), numbers(-1.0, 0.8)[:, None], numbers(0.04, 0.09)[:, None])


# --- 00: densities, products, divergences -------------------------------------------------------------------


@pytest.mark.equation("0.16", by="gaussian_log_prob, kl_gaussian")
def test_jensen():
    """The logarithm of a mean is above the mean of the logarithms.

    For u = p(x, z) / q(z), z drawn from q, they are log p(x), and less by the divergence of q from p(z | x).
    """
    x, zero, one, s, m, v = (numbers(value) for value in (0.7, 0.0, 1.0, 0.3, 0.2, 0.4))
    log_q = gaussian_log_prob(GRID, m, v)
    log_u = gaussian_log_prob(GRID, zero, one) + gaussian_log_prob(x, GRID, s) - log_q
    q = log_q.exp() * DX
    log_of_mean, mean_of_logs = (q * log_u.exp()).sum().log(), (q * log_u).sum()
    assert mean_of_logs < log_of_mean - 0.01
    assert abs(log_of_mean - gaussian_log_prob(x, zero, one + s)) < 1e-10
    gap = kl_gaussian(m, v, *gaussian_product(zero, one, x, s))
    assert abs(log_of_mean - mean_of_logs - gap) < 1e-9


# --- 00: the chain, as one Gaussian -------------------------------------------------------------------------
# A small model whose every joint distribution is known:
# three steps, one number, a bad "network" mu(x) = a x + b.

A, B, SIGMA2, X0 = 0.9, 0.05, (0.15, 0.2, 0.3), 0.6
SHORT = schedule_from_beta(torch.tensor([0.1, 0.3, 0.5], dtype=torch.float64))


def forward_joint():
    "q(x_1, x_2, x_3 | x_0): the map from the three noises, hence mean and covariance."
    mean, rows, current_mean = [], [], numbers(X0)
    row = torch.zeros(3, dtype=torch.float64)
    for t in (1, 2, 3):
        beta = SHORT.beta[t]
        row = (1 - beta).sqrt() * row
        row[t - 1] = beta.sqrt()
        current_mean = (1 - beta).sqrt() * current_mean
        mean.append(current_mean)
        rows.append(row.clone())
    factors = torch.stack(rows)
    return torch.cat(mean), factors @ factors.T


def reverse_joint():
    "p(x_0, x_1, x_2, x_3) of the small model, in this order."
    mean, factors = torch.zeros(4, dtype=torch.float64), torch.zeros(4, 4, dtype=torch.float64)
    factors[3, 3] = 1
    for t in (3, 2, 1):
        mean[t - 1] = A * mean[t] + B
        factors[t - 1] = A * factors[t]
        factors[t - 1, t - 1] = math.sqrt(SIGMA2[t - 1])
    return mean, factors @ factors.T


def steps_log_prob(path):
    "log p(x_0, x_1, x_2, x_3), step by step, for a path (4,)."
    total = gaussian_log_prob(path[3], numbers(0), numbers(1))
    for t in (3, 2, 1):
        total = total + gaussian_log_prob(path[t - 1], A * path[t] + B, numbers(SIGMA2[t - 1]))
    return total.item()


def chain_log_prob(path):
    "log q(x_1, x_2, x_3 | x_0), step by step."
    return sum(
        gaussian_log_prob(path[t], (1 - SHORT.beta[t]).sqrt() * path[t - 1], SHORT.beta[t]).item()
        for t in (1, 2, 3)
    )


def some_paths():
    return torch.cat(
        [
            torch.full((5, 1), X0, dtype=torch.float64),
            torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64),
        ],
        dim=1,
    )


def cross_entropy(mean_q, cov_q, mean_p, cov_p):
    "E_q[-log p] of two Gaussians in any dimension."
    d = mean_q - mean_p
    inverse = torch.linalg.inv(cov_p)
    return ((inverse @ cov_q).trace() + d @ inverse @ d + torch.logdet(2 * math.pi * cov_p)) / 2


def small_bound():
    "The variational bound of the small model at x_0, from joint Gaussians: E_q[-log p(x_{0:3})] - H(q)."
    mean_q, cov_q = forward_joint()
    mean_p, cov_p = reverse_joint()
    whole_mean, whole_cov = torch.cat([numbers(X0), mean_q]), torch.zeros(4, 4, dtype=torch.float64)
    whole_cov[1:, 1:] = cov_q
    return cross_entropy(whole_mean, whole_cov, mean_p, cov_p) - cross_entropy(mean_q, cov_q, mean_q, cov_q)


@pytest.mark.equation("0.2", "0.3", by="gaussian_log_prob")
def test_joint_of_the_chain_is_the_product_of_its_steps():
    mean, cov = forward_joint()
    joint = torch.distributions.MultivariateNormal(mean, cov)
    for path in some_paths():
        assert abs(joint.log_prob(path[1:]).item() - chain_log_prob(path)) < 1e-12


@pytest.mark.equation("0.8", by="ddpm, ddpm_step")
def test_joint_of_the_model_is_the_product_of_its_steps():
    mean, cov = reverse_joint()
    joint = torch.distributions.MultivariateNormal(mean, cov)
    for path in some_paths():
        assert abs(joint.log_prob(path).item() - steps_log_prob(path)) < 1e-12


@pytest.mark.equation("0.9")
def test_marginal_of_the_model_is_the_integral_over_all_ways():
    "The integral over x_3, x_2 and x_1 on a grid, one after the other."
    grid = torch.linspace(-8, 8, 1201, dtype=torch.float64)
    density = gaussian_log_prob(grid, numbers(0), numbers(1)).exp()
    for t in (3, 2, 1):
        kernel = gaussian_log_prob(grid[:, None], A * grid[None] + B, numbers(SIGMA2[t - 1])).exp()
        density = kernel @ density * (grid[1] - grid[0])
    mean, cov = reverse_joint()
    assert (density - gaussian_log_prob(grid, mean[0], cov[0, 0]).exp()).abs().max() < 1e-10


@pytest.mark.equation("0.17", "0.18")
def test_bound_is_the_likelihood_and_a_divergence():
    """L = -log p(x_0) + KL(q(x_{1:3} | x_0) || p(x_{1:3} | x_0)).

    The model's posterior comes from conditioning its joint.
    """
    mean_q, cov_q = forward_joint()
    mean_p, cov_p = reverse_joint()
    gain = cov_p[1:, 0] / cov_p[0, 0]
    mean_given, cov_given = mean_p[1:] + gain * (X0 - mean_p[0]), cov_p[1:, 1:] - gain[:, None] * cov_p[0, 1:]
    divergence = cross_entropy(mean_q, cov_q, mean_given, cov_given) - cross_entropy(
        mean_q, cov_q, mean_q, cov_q
    )
    nll = -gaussian_log_prob(numbers(X0), mean_p[0], cov_p[0, 0]).item()
    assert divergence > 0.01
    assert abs(small_bound().item() - (nll + divergence.item())) < 1e-12


@pytest.mark.equation("0.13", "0.19", "0.20", by="q_posterior, q_mean_var")
def test_a_step_turned_round():
    "Bayes' rule for each step, point by point; and then the whole sum telescopes on each single path."
    for path in some_paths():
        x0 = path[:1, None]

        def log_q(t, path=path, x0=x0):
            mean, var = q_mean_var(SHORT, x0, t)
            return gaussian_log_prob(path[t], mean, var).item()

        turned = gaussian_log_prob(path[3], numbers(0), numbers(1)).item() * -1 + log_q(3)
        for t in (2, 3):
            step = gaussian_log_prob(path[t], (1 - SHORT.beta[t]).sqrt() * path[t - 1], SHORT.beta[t]).item()
            mean, var = q_posterior(SHORT, x0, path[t].view(1, 1), t)
            back = gaussian_log_prob(path[t - 1], mean, var).item()
            assert abs(step - (back + log_q(t) - log_q(t - 1))) < 1e-10
            turned += back - gaussian_log_prob(path[t - 1], A * path[t] + B, numbers(SIGMA2[t - 1])).item()
        turned -= gaussian_log_prob(path[0], A * path[1] + B, numbers(SIGMA2[0])).item()
        assert abs(turned - (chain_log_prob(path) - steps_log_prob(path))) < 1e-10


@pytest.mark.equation("0.21", by="kl_gaussian, q_posterior")
def test_bound_is_its_three_terms():
    """L_T + L_1 + L_2 + L_0 of the small model, against the joint Gaussians.

    The terms come from the library's posterior and divergence.
    """
    x0 = numbers(X0)[:, None]
    mean, var = q_mean_var(SHORT, x0, 3)
    total = kl_gaussian(mean, var, numbers(0), numbers(1)).item()
    nodes, weights = (
        numbers(-math.sqrt(3), 0, math.sqrt(3))[:, None],
        numbers(1 / 6, 2 / 3, 1 / 6),
    )  # exact up to x^5
    for t in (2, 3):
        xt = q_sample(SHORT, x0.expand(3, 1), t, nodes)
        mean, var = q_posterior(SHORT, x0.expand(3, 1), xt, t)
        total += (weights * kl_gaussian(mean, var, A * xt + B, numbers(SIGMA2[t - 1])).flatten()).sum().item()
    x1 = q_sample(SHORT, x0.expand(3, 1), 1, nodes)
    total -= (weights * gaussian_log_prob(x0, A * x1 + B, numbers(SIGMA2[0])).flatten()).sum().item()
    assert abs(total - small_bound().item()) < 1e-12


# --- 00: a term of the bound --------------------------------------------------------------------------------


@pytest.mark.equation("0.22", by="kl_gaussian")
@pytest.mark.equation("0.23", "0.24", "0.25", by="ddpm_step, q_posterior, predict_x0")
@pytest.mark.equation("0.26", by="ddpm_step")
@pytest.mark.parametrize("variance", ["beta", "beta_tilde"])
@pytest.mark.parametrize("t", [2, 5, 10])
def test_a_term_is_a_weighted_error_of_the_noise(variance, t):
    sched, dims = coarse_schedule(), 6
    x0, eps, eps_hat = torch.randn(
        3, 1, dims, generator=torch.Generator().manual_seed(t), dtype=torch.float64
    )
    xt = q_sample(sched, x0, t, eps)
    beta, ab, alpha = sched.beta[t], sched.alpha_bar[t], sched.alpha[t]
    sigma2 = reverse_var(sched, t, variance)
    mean, var = q_posterior(sched, x0, xt, t)
    assert (predict_x0(sched, xt, t, eps) - x0).abs().max() < 1e-12  # (0.23)
    assert (mean - (xt - beta / (1 - ab).sqrt() * eps) / alpha.sqrt()).abs().max() < 1e-12  # (0.24)
    mu = step_by_eps(sched, xt, eps_hat, t, t - 1, torch.zeros_like(xt), variance=variance, clip=False)
    assert (mu - (xt - beta / (1 - ab).sqrt() * eps_hat) / alpha.sqrt()).abs().max() < 1e-12  # (0.25)
    constant = dims / 2 * (var / sigma2 - 1 - (var / sigma2).log()).item()
    term = kl_gaussian(mean, var, mu, sigma2).sum().item()
    assert abs(term - ((mean - mu).square().sum() / (2 * sigma2)).item() - constant) < 1e-10  # (0.22)
    weight = beta**2 / (2 * sigma2 * alpha * (1 - ab))
    assert abs(term - constant - (weight * (eps - eps_hat).square().sum()).item()) < 1e-10  # (0.26)


# --- 00: the best guess -------------------------------------------------------------------------------------


def by_quadrature(xt: float, ab: float, of):
    "E[of(x_0, eps) | x_t] for the two humps: an integral over x_0."
    eps = (xt - math.sqrt(ab) * GRID) / math.sqrt(1 - ab)
    w = (two_humps().log_prob(GRID[:, None]) - eps**2 / 2).exp()
    return ((w * of(GRID, eps)).sum() / w.sum()).item()


@pytest.mark.equation("0.32", "0.37", by="GaussianMixture.eps")
@pytest.mark.equation("0.33")
def test_best_guess_is_the_mean_of_the_noises():
    for ab in (0.99, 0.5, 0.03):
        for xt in (-1.3, 0.0, 0.4, 2.0):
            best = two_humps().eps(numbers(xt)[:, None], ab).item()
            assert abs(best - by_quadrature(xt, ab, lambda x0, eps: eps)) < 1e-9
            for other in (best + 0.3, 0.0):
                excess = by_quadrature(xt, ab, lambda x0, eps, f=other: (eps - f) ** 2) - by_quadrature(
                    xt, ab, lambda x0, eps, f=best: (eps - f) ** 2
                )
                assert abs(excess - (best - other) ** 2) < 1e-9


@pytest.mark.equation("0.36", by="GaussianMixture.eps, mixture_eps_model")
def test_best_guess_for_one_gaussian():
    """With a full covariance, by solving the linear system.

    With independent dimensions, by the formula in oracle.py.
    """
    sched = coarse_schedule()
    root = torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    cov = root @ root.T
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    t = torch.tensor([1, 3, 10, 10, 7])
    full = mixture_eps_model(GaussianMixture(numbers(1.0), MEANS[None], cov[None]), sched.alpha_bar)(x, t)
    diagonal = mixture_eps_model(
        GaussianMixture(numbers(1.0), MEANS[None], VARIANCES[None]), sched.alpha_bar
    )(x, t)
    for i in range(5):
        ab = sched.alpha_bar[t[i]]
        c = ab * cov + (1 - ab) * torch.eye(4, dtype=torch.float64)
        assert (
            full[i] - (1 - ab).sqrt() * torch.linalg.solve(c, x[i] - ab.sqrt() * MEANS)
        ).abs().max() < 1e-10
        assert (
            diagonal[i] - (1 - ab).sqrt() * (x[i] - ab.sqrt() * MEANS) / marginal_var(sched, t[i])
        ).abs().max() < 1e-12


@pytest.mark.equation("0.7", by="GaussianMixture.log_prob")
@pytest.mark.equation("0.35", by="ddpm_step")
@pytest.mark.parametrize("t", [2, 6, 10])
def test_mean_of_the_true_step_back(t):
    """q(x_{t-1} | x_t) of the two humps by Bayes' rule on a grid.

    It has mass 1, and the mean of the library's step.
    """
    sched = coarse_schedule()
    beta, before, now = sched.beta[t], sched.alpha_bar[t - 1].item(), sched.alpha_bar[t].item()
    for xt in (-1.0, 0.3, 1.4):
        log_joint = gaussian_log_prob(numbers(xt), (1 - beta).sqrt() * GRID, beta) + two_humps().log_prob(
            GRID[:, None], before
        )
        p = (log_joint - two_humps().log_prob(numbers(xt)[:, None], now)).exp() * DX
        assert abs(p.sum().item() - 1) < 1e-10
        x = numbers(xt)[:, None]
        mean = step_by_eps(
            sched, x, two_humps().eps(x, now), t, t - 1, torch.zeros_like(x), clip=False
        ).item()
        assert abs((p * GRID).sum().item() - mean) < 1e-9


@pytest.mark.equation("0.28", by="Schedule.snr")
def test_errors_of_noise_and_image_are_proportional():
    sched = coarse_schedule()
    x0, eps, eps_hat = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for t in (1, 4, 10):
        x0_hat = predict_x0(sched, q_sample(sched, x0, t, eps), t, eps_hat)
        assert abs((eps - eps_hat).square().sum() / (x0 - x0_hat).square().sum() / sched.snr[t] - 1) < 1e-12


# --- 00: how loose the bound is -----------------------------------------------------------------------------


@pytest.mark.equation("0.38")
@pytest.mark.parametrize("kind", ["beta", "beta_tilde", "exact"])
def test_bound_is_entropy_and_the_price_of_each_step(kind):
    """By the three terms, and again by divergences.

    H + KL(q(x_T) || p(x_T)) + sum of E KL(q(x_{t-1} | x_t) || p(x_{t-1} | x_t)).
    """
    sched = coarse_schedule()
    last, between, decoder = bound(sched, kind, first="beta")
    ab = sched.alpha_bar[-1]
    price = kl(ab.sqrt() * MEANS, marginal_var(sched, -1), torch.zeros(4), torch.ones(4, dtype=torch.float64))
    for t in range(1, sched.T + 1):  # the means agree with the exact network, so only the variances differ
        exact, used = reverse_var(sched, t, "exact"), reverse_var(sched, t, "beta" if t == 1 else kind)
        price = price + (exact / used - 1 - (exact / used).log()) / 2
    assert (last + sum(between) + decoder - entropy() - price).abs().max() < 1e-10


@pytest.mark.equation("0.39")
def test_true_step_back_of_a_gaussian():
    """Mean and variance of q(x_{t-1} | x_t) from the 2 x 2 covariance of the two states.

    The library's step has that mean.
    """
    sched = schedule_from_beta(COARSE)
    for t in range(1, sched.T + 1):
        for i in range(4):
            c, c_prev, alpha = marginal_var(sched, t)[i], marginal_var(sched, t - 1)[i], sched.alpha[t]
            joint = torch.stack(
                [
                    torch.stack([c_prev, alpha.sqrt() * c_prev]),
                    torch.stack([alpha.sqrt() * c_prev, alpha * c_prev + sched.beta[t]]),
                ]
            )
            precision = torch.linalg.inv(joint)
            assert abs(1 / precision[0, 0] - sched.beta[t] * c_prev / c) < 1e-12
            a, _ = step_map(sched, t)
            assert abs(-precision[0, 1] / precision[0, 0] - alpha.sqrt() * c_prev / c) < 1e-12
            assert abs(a[i] - alpha.sqrt() * c_prev / c) < 1e-12


@pytest.mark.equation("0.42", by="Schedule.snr")
def test_the_noise_level_of_edm():
    sched = linear_schedule()
    x0, eps = torch.randn(2, 1, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for t in (1, 300, 1000):
        unshrunk = q_sample(sched, x0, t, eps) / sched.alpha_bar[t].sqrt()
        assert (unshrunk - (x0 + eps / sched.snr[t].sqrt())).abs().max() < 1e-11


# --- 01 and 02 ----------------------------------------------------------------------------------------------


@pytest.mark.equation("1.5", by="kl_gaussian")
def test_prior_term_in_bits():
    x0 = torch.rand(1, 784, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    for sched in (linear_schedule(), linear_schedule(200), coarse_schedule()):
        mean, var = q_mean_var(sched, x0, sched.T)
        by_library = kl_gaussian(mean, var, numbers(0), numbers(1)).mean().item() / math.log(2)
        ab = sched.alpha_bar[-1].item()
        assert (
            abs(by_library - (ab * (x0.square().mean().item() - 1) - math.log1p(-ab)) / (2 * math.log(2)))
            < 1e-12
        )


@pytest.mark.equation("1.7", by="linear_schedule")
def test_sum_of_the_betas_decides_what_is_left():
    for T in (500, 1000, 4000):
        sched = linear_schedule(T, 0.1 / T, 20 / T)
        log_left, exponent = sched.alpha_bar[-1].log().item(), -T * (0.1 / T + 20 / T) / 2
        assert exponent == pytest.approx(-10.05)
        assert (
            exponent - 400 / 3 / T * 1.1 < log_left < exponent
        )  # ln(1 - b) = -b - b^2/2 - ..., and the squares sum to 400/3T
    assert sched.beta[1:].sum().item() == pytest.approx(10.05)


@pytest.mark.equation("2.2", by="q_mean_var")
def test_every_variance_moves_to_one():
    sched = linear_schedule()
    for v0 in (0.0, 0.3, 1.0, 5.0):
        v = v0
        for t in range(1, sched.T + 1):
            v = (1 - sched.beta[t].item()) * v + sched.beta[t].item()
            factor, noise = q_mean_var(sched, torch.ones(1, 1, dtype=torch.float64), t)
            assert abs(v - (factor.item() ** 2 * v0 + noise.item())) < 1e-12
            assert abs((v - 1) - sched.alpha_bar[t].item() * (v0 - 1)) < 1e-12


@pytest.mark.equation("2.3", by="q_sample")
def test_two_steps_are_one():
    sched = schedule_from_beta(numbers(0.2, 0.5))
    x0, e1, e2 = torch.randn(3, 1, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    a1, a2 = 0.8, 0.5
    x2 = math.sqrt(a2) * (math.sqrt(a1) * x0 + math.sqrt(1 - a1) * e1) + math.sqrt(1 - a2) * e2
    eps = (math.sqrt(a2 * (1 - a1)) * e1 + math.sqrt(1 - a2) * e2) / math.sqrt(1 - a1 * a2)
    assert (q_sample(sched, x0, 2, eps) - x2).abs().max() < 1e-14
    assert abs(a2 * (1 - a1) + (1 - a2) - (1 - a1 * a2)) < 1e-15  # unit variance


@pytest.mark.equation("2.6", by="q_mean_var")
def test_moments_over_a_data_set():
    "The law of total variance: mean of the variances and variance of the means."
    sched = linear_schedule()
    data = torch.rand(50, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    for t in (1, 400, 1000):
        mean, var = q_mean_var(sched, data, t)
        ab = sched.alpha_bar[t]
        assert (mean.mean(0) - ab.sqrt() * data.mean(0)).abs().max() < 1e-14
        assert (
            mean.var(0, correction=0) + var - (ab * data.var(0, correction=0) + 1 - ab)
        ).abs().max() < 1e-14


@pytest.mark.equation("2.10", by="Schedule.alpha_bar")
def test_many_steps_from_s_to_t():
    sched = coarse_schedule()
    for t, s in ((10, 9), (9, 4), (5, 0)):
        factor, var = 1.0, 0.0
        for r in range(s + 1, t + 1):
            factor, var = (
                math.sqrt(1 - sched.beta[r].item()) * factor,
                (1 - sched.beta[r].item()) * var + sched.beta[r].item(),
            )
        alpha = (sched.alpha_bar[t] / sched.alpha_bar[s]).item()
        assert abs(factor**2 - alpha) < 1e-14
        assert abs(var - (1 - alpha)) < 1e-14


# --- 03 -----------------------------------------------------------------------------------------------------


@pytest.mark.equation("3.1", by="UNet, simple_loss")
def test_answering_zero_costs_one():
    x0, t = (
        torch.zeros(400, 1, 8, 8),
        torch.randint(1, 1001, (400,), generator=torch.Generator().manual_seed(0)),
    )
    eps = torch.randn(400, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    net = UNet(channels=(8,), groups=2, size=8)
    loss = simple_loss(Denoiser(net, linear_schedule()), x0, t, eps)  # a new network answers zero
    assert torch.equal(loss, eps.square().flatten(1).mean(1))
    assert abs(loss.mean().item() - 1) < 4 * math.sqrt(2 / eps.numel())


@pytest.mark.equation("3.3", by="timestep_embedding")
def test_inner_product_of_embeddings_depends_on_the_distance():
    t, s = torch.tensor([1, 10, 400, 990]), torch.tensor([6, 15, 405, 995])
    a, b = timestep_embedding(t, 32).double(), timestep_embedding(s, 32).double()
    omega = torch.tensor([10_000 ** (-k / 15) for k in range(16)], dtype=torch.float64)
    assert ((a * b).sum(1) - (5 * omega).cos().sum()).abs().max() < 1e-3  # float32 angles of up to 995


@pytest.mark.equation("3.8", by="Up")
def test_mixing_channels_and_repeating_pixels_commute():
    up, x = Up(6, 3), torch.randn(2, 6, 4, 5)
    other_order = up.conv(x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    torch.testing.assert_close(up(x), other_order)


@pytest.mark.equation("3.9", by="Down")
def test_multiply_adds_of_a_convolution():
    x = torch.randn(1, 5, 12, 10)
    for layer, places in ((torch.nn.Conv2d(5, 7, 3, padding=1), 12 * 10), (Down(5, 7), 6 * 5)):
        with FlopCounterMode(display=False) as counter:
            layer(x)
        # it counts a multiplication and an addition as two
        assert counter.get_total_flops() == 2 * places * 7 * 5 * 9


# --- 04 and 05 ----------------------------------------------------------------------------------------------
# A mean over +-1 is the mean over a standard Gaussian for anything quadratic. So these few points are exact.


def sigma_points(cov):
    "Points with the mean 0 and the covariance `cov` (D, D), two a dimension."
    values, vectors = torch.linalg.eigh(cov)
    half = vectors * (values.clamp(min=0) * len(cov)).sqrt()
    return torch.cat([half.T, -half.T])


def mean_loss(model, sched, cov, t):
    "E of `simple_loss` over data N(0, cov) and noise, exact for a linear network."
    x0, eps = sigma_points(cov), sigma_points(torch.eye(len(cov), dtype=torch.float64))
    a, b = x0.repeat_interleave(len(eps), 0), eps.repeat(len(x0), 1)
    return simple_loss(Denoiser(model, sched), a, torch.full((len(a),), t), b).mean()


@pytest.mark.equation("4.2", by="simple_loss")
@pytest.mark.parametrize("t", [1, 100, 1000])
def test_best_scaling_of_the_input(t):
    sched, s = linear_schedule(), 0.3
    ab = sched.alpha_bar[t].item()
    k = torch.tensor(math.sqrt(1 - ab) / (ab * s + 1 - ab), dtype=torch.float64, requires_grad=True)
    loss = mean_loss(lambda x, _: k * x, sched, torch.tensor([[s]], dtype=torch.float64), t)
    (slope,) = torch.autograd.grad(loss, k)
    assert abs(slope.item()) < 1e-12
    assert abs(loss.item() - ab * s / (ab * s + 1 - ab)) < 1e-12


@pytest.mark.equation("4.3", by="simple_loss, mixture_eps_model")
@pytest.mark.parametrize("t", [1, 100, 1000])
def test_loss_of_the_best_linear_network(t):
    sched = linear_schedule()
    root = torch.randn(5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    cov = root @ root.T / 5
    model = mixture_eps_model(
        GaussianMixture(numbers(1.0), torch.zeros(1, 5, dtype=torch.float64), cov[None]), sched.alpha_bar
    )
    ab, values = sched.alpha_bar[t], torch.linalg.eigvalsh(cov)
    assert (
        abs(mean_loss(model, sched, cov, t).item() - (ab * values / (ab * values + 1 - ab)).mean().item())
        < 1e-12
    )


@pytest.mark.equation("2.8", by="predict_eps")
@pytest.mark.equation("0.27", by="predict_x0")
def test_a_guess_of_one_is_a_guess_of_the_other():
    sched = linear_schedule()
    xt, eps_hat = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = torch.tensor([1, 500, 1000])
    x0_hat = predict_x0(sched, xt, t, eps_hat)
    ab = sched.alpha_bar[t][:, None]
    assert (x0_hat * ab.sqrt() + (1 - ab).sqrt() * eps_hat - xt).abs().max() < 1e-12
    assert (predict_eps(sched, xt, t, x0_hat) - eps_hat).abs().max() < 1e-10


@pytest.mark.equation("13.1", by="q_sample")
def test_the_noise_of_an_area_averages_out_and_its_colour_does_not():
    sched, t, (h, w) = linear_schedule(), 700, (3, 4)
    area = torch.full((1, 1, h, w), 0.5, dtype=torch.float64)
    time = torch.tensor([t])
    mean = q_sample(sched, area, time, torch.zeros_like(area)).mean()
    unit = torch.eye(h * w, dtype=torch.float64).view(-1, 1, h, w)  # the noise of one pixel after another
    of_each = q_sample(sched, torch.zeros_like(unit), time.expand(h * w), unit).mean((1, 2, 3))
    var = of_each.square().sum()  # of independent noises
    assert mean == pytest.approx(sched.alpha_bar[t].sqrt().item() * 0.5, rel=1e-12)
    assert var == pytest.approx((1 - sched.alpha_bar[t]).item() / (h * w), rel=1e-12)
    assert (mean**2 / 0.25 / var).item() == pytest.approx(h * w * sched.snr[t].item(), rel=1e-12)
