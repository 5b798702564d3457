"""Closed forms for the tests: what diffusion does to Gaussian data, written out without the library's help.

Data N(m, s) in each dimension, as in chapter 00. Everything is float64. `step_map` and `posterior_map` are
the exceptions: they read the coefficients of the library's own, affine functions off by feeding them zeros
and ones.
"""

import math

import torch

from ddpm_abc.forward import predict_x0, q_posterior
from ddpm_abc.sampling import ddpm_step
from ddpm_abc.schedule import schedule_from_beta

VARIANCES = torch.tensor([0.01, 0.25, 1.0, 4.0], dtype=torch.float64)  # of the data, one a dimension
MEANS = torch.tensor([0.0, -0.5, 0.3, 2.0], dtype=torch.float64)
COARSE = torch.linspace(
    0.02, 0.6, 10, dtype=torch.float64
)  # few, large steps: a fault of one step in time shows


def coarse_schedule():
    return schedule_from_beta(COARSE)


def marginal_var(sched, t, s=VARIANCES):
    "c_t: the variance of x_t."
    ab = sched.alpha_bar[t]
    return ab * s + 1 - ab


def exact_eps(sched, m=MEANS, s=VARIANCES):
    "E[eps | x_t]: the best prediction of the noise there is."

    def model(xt, t):
        ab = sched.alpha_bar[t].reshape(-1, *[1] * (xt.ndim - 1))
        return (1 - ab).sqrt() * (xt - ab.sqrt() * m) / (ab * s + 1 - ab)

    return model


def reverse_var(sched, t, kind, s=VARIANCES):
    "The variance of the reverse step: one of the paper's two choices, or that of q(x_{t-1} | x_t) itself."
    beta, ab, ab_prev = sched.beta[t], sched.alpha_bar[t], sched.alpha_bar[t - 1]
    return {
        "beta": beta,
        "beta_tilde": beta * (1 - ab_prev) / (1 - ab),
        "exact": beta * marginal_var(sched, t - 1, s) / marginal_var(sched, t, s),
    }[kind]


def step_by_eps(sched, xt, eps_hat, t, s, noise, **options):
    "The library's reverse step, from a guess of the noise."
    return ddpm_step(sched, xt, predict_x0(sched, xt, t, eps_hat), t, s, noise, **options)


def step_map(sched, t, m=MEANS, variances=VARIANCES):
    "The mean of the library's reverse step with the exact network, as a * x_t + b."
    zero, one = torch.zeros(1, len(m), dtype=torch.float64), torch.ones(1, len(m), dtype=torch.float64)
    model, times = exact_eps(sched, m, variances), torch.tensor([t])
    at_zero, at_one = (
        step_by_eps(sched, x, model(x, times), t, t - 1, zero, clip=False)[0] for x in (zero, one)
    )
    return at_one - at_zero, at_zero


def posterior_map(sched, t):
    "The library's q(x_{t-1} | x_t, x_0): the factors of x_0 and x_t in its mean, and its variance."
    zero, one = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    k0, var = q_posterior(sched, one, zero, t)
    kt, _ = q_posterior(sched, zero, one, t)
    return k0.item(), kt.item(), var.item()


def kl(m1, v1, m2, v2):
    "KL(N(m1, v1) || N(m2, v2))."
    return (v1 / v2 - 1 - (v1 / v2).log() + (m1 - m2) ** 2 / v2) / 2


def entropy(s=VARIANCES):
    return (2 * math.pi * math.e * s).log() / 2


def bound(sched, kind, first="exact", m=MEANS, s=VARIANCES):
    """The variational bound of Ho et al. 2020, Eq. 5, on data N(m, s), in nats a dimension.

    The network is the exact one. `kind` is the variance of the reverse steps and `first` that of the last
    one, from x_1 to x_0, where beta_tilde is 0. Returns L_T, the list of L_{t-1} for t = 2..T, and L_0, each
    an expectation over the data.
    """
    abT = sched.alpha_bar[-1]
    last = (abT * (s + m**2) - abT - (1 - abT).log()) / 2  # E KL(N(sqrt(ab) x_0, 1 - ab) || N(0, 1))
    between = []
    for t in range(2, sched.T + 1):
        ab, var = sched.alpha_bar[t], reverse_var(sched, t, kind, s)
        k0, kt, var_q = posterior_map(sched, t)
        a, b = step_map(sched, t, m=m, variances=s)
        of_x0, of_eps = (
            k0 + (kt - a) * ab.sqrt(),
            (kt - a) * (1 - ab).sqrt(),
        )  # the means' difference, in x_0 and eps
        distance = (of_x0 * m - b) ** 2 + of_x0**2 * s + of_eps**2
        between.append((var_q / var - 1 - (var_q / var).log() + distance / var) / 2)
    ab, var = sched.alpha_bar[1], reverse_var(sched, 1, first, s)
    a, b = step_map(sched, 1, m=m, variances=s)
    of_x0, of_eps = 1 - a * ab.sqrt(), -a * (1 - ab).sqrt()
    decoder = ((2 * math.pi * var).log() + ((of_x0 * m - b) ** 2 + of_x0**2 * s + of_eps**2) / var) / 2
    return last, between, decoder


def model_moments(sched, kind, first="exact", m=MEANS, s=VARIANCES):
    "Mean and variance of p(x_0), the model's own distribution, its last step's noise included."
    mean, var = torch.zeros_like(m), torch.ones_like(s)
    for t in range(sched.T, 0, -1):
        a, b = step_map(sched, t, m=m, variances=s)
        mean, var = a * mean + b, a**2 * var + reverse_var(sched, t, first if t == 1 else kind, s)
    return mean, var


def negative_log_likelihood(sched, kind, first="exact", m=MEANS, s=VARIANCES):
    "E[-log p(x_0)] over the data, in nats a dimension."
    mean, var = model_moments(sched, kind, first, m, s)
    return ((2 * math.pi * var).log() + (s + (m - mean) ** 2) / var) / 2
