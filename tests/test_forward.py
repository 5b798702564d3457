"The forward process against the chain it shortens, Bayes' rule, and its own inverses."

import math
import re
import warnings

import pytest
import torch

from ddpm_abc.forward import predict_eps, predict_x0, q_mean_var, q_posterior, q_sample
from ddpm_abc.parameterization import eps_from_v, velocity, x0_from_v
from ddpm_abc.schedule import cosine_schedule, linear_schedule, schedule_from_beta

KINDS = {"linear": linear_schedule, "cosine": cosine_schedule}
THREE = {f.__name__: f for f in (q_sample, predict_x0, predict_eps, velocity, x0_from_v, eps_from_v)}
ALL = ("q_mean_var", "q_posterior", *THREE)


@pytest.fixture(params=[(k, T) for k in KINDS for T in (1, 2, 10, 1000)], ids=lambda p: f"{p[0]}-{p[1]}")
def sched(request):
    kind, T = request.param
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="the schedule stops short of noise")
        return KINDS[kind](T)


def coarse():
    "Ten large steps: an index that is one off cannot hide in them."
    return schedule_from_beta(torch.linspace(0.02, 0.9, 10, dtype=torch.float64))


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def call(name, sched, a, t, b):
    "Each function with its two tensors in order; all results as one tuple."
    if name == "q_mean_var":
        return q_mean_var(sched, a, t)
    if name == "q_posterior":
        return q_posterior(sched, a, b, t)
    return (THREE[name](sched, a, t, b),)


def kernel(sched, t):
    "Factor and variance of one step, q(x_t | x_{t-1}), from beta alone."
    beta = sched.beta[t].item()
    return math.sqrt(1 - beta), beta


def pairs(T):
    "Some pairs of times s < t, neighbours and ends among them."
    return sorted(
        {(s, t) for t in (1, 2, 3, T // 2, T - 1, T) for s in (0, 1, t // 2, t - 2, t - 1) if 0 <= s < t <= T}
    )


# --- the closed form ----------------------------------------------------------------------------------------


@pytest.mark.equation("2.1", "2.4", by="q_mean_var")
def test_composed_steps_give_the_closed_form(sched):
    "Ho et al. 2020, Eq. 2 composed t times is Eq. 4."
    x0 = draw(2, 3)
    mean, var = x0.clone(), 0.0
    for t in range(1, sched.T + 1):
        factor, noise = kernel(sched, t)
        mean, var = factor * mean, factor**2 * var + noise
        closed_mean, closed_var = q_mean_var(sched, x0, t)
        assert (closed_mean - mean).abs().max() < 1e-12
        assert abs(closed_var.item() - var) < 1e-12


def test_simulated_chain_has_the_closed_forms_moments():
    "Coarse steps, so that a table read one place off would be tens of standard errors away."
    sched, n = coarse(), 20_000
    g = torch.Generator().manual_seed(0)
    x = torch.full((n,), 0.9, dtype=torch.float64)
    for t in range(1, sched.T + 1):
        factor, noise = kernel(sched, t)
        x = factor * x + math.sqrt(noise) * torch.randn(n, generator=g, dtype=torch.float64)
        mean, var = q_mean_var(sched, torch.tensor([0.9], dtype=torch.float64), t)
        assert abs((x.mean() - mean) / (var / n).sqrt()) < 4.5
        assert abs((x.var() - var) / (var * math.sqrt(2 / n))) < 4.5


def test_clean_data_and_last_state():
    x0, eps = draw(2, 1, 4, 4), draw(2, 1, 4, 4, seed=1)
    sched = linear_schedule()
    mean, var = q_mean_var(sched, x0, 0)
    assert torch.equal(mean, x0)
    assert var == 0
    assert torch.equal(q_sample(sched, x0, 0, eps), x0)
    assert (q_sample(sched, x0, 1000, eps) - eps).abs().max() < 0.02


@pytest.mark.equation("2.5", by="q_sample")
def test_q_sample_scales_and_shifts_the_noise(sched):
    x0, eps = draw(2, 3), draw(2, 3, seed=1)
    for t in {0, 1, sched.T // 2, sched.T}:
        mean, var = q_mean_var(sched, x0, t)
        assert torch.allclose(q_sample(sched, x0, t, eps), mean + var.sqrt() * eps, atol=1e-14)


# --- two views of one equation ------------------------------------------------------------------------------


@pytest.mark.equation("2.7", by="predict_x0")
@pytest.mark.equation("2.8", by="predict_eps")
def test_round_trips(sched):
    x0, eps = draw(2, 3), draw(2, 3, seed=1)
    for t in {1, sched.T // 2 or 1, sched.T}:
        xt = q_sample(sched, x0, t, eps)
        limit = 1e-12 + 1e-15 / math.sqrt(
            sched.alpha_bar[t]
        )  # dividing by sqrt(alpha_bar) magnifies the rounding
        assert (predict_x0(sched, xt, t, eps) - x0).abs().max() < limit
        assert (predict_eps(sched, xt, t, x0) - eps).abs().max() < 1e-12
        assert (predict_x0(sched, xt, t, predict_eps(sched, xt, t, x0)) - x0).abs().max() < limit


@pytest.mark.equation("2.9", by="predict_x0")
def test_errors_grow_by_the_snr():
    sched, xt, eps, delta = linear_schedule(), draw(2, 3), draw(2, 3, seed=1), draw(2, 3, seed=2)
    for t in (1, 500, 1000):
        off_x0 = predict_x0(sched, xt, t, eps + delta) - predict_x0(sched, xt, t, eps)
        off_eps = predict_eps(sched, xt, t, eps + delta) - predict_eps(sched, xt, t, eps)
        root = math.sqrt(sched.snr[t])
        assert torch.allclose(off_x0, -delta / root, rtol=1e-9, atol=1e-11)
        assert torch.allclose(off_eps, -delta * root, rtol=1e-9, atol=1e-11)


def test_predict_x0_at_zero_is_the_data():
    x = draw(2, 3)
    assert torch.equal(predict_x0(linear_schedule(), x, 0, draw(2, 3, seed=1)), x)


# --- the posterior ------------------------------------------------------------------------------------------


def bayes(sched, x0, xt, t, s):
    "q(x_s | x_t, x_0) by adding precisions; q(x_t | x_s) is composed from the single steps."
    factor, noise = 1.0, 0.0
    for k in range(s + 1, t + 1):
        f, b = kernel(sched, k)
        factor, noise = f * factor, f**2 * noise + b
    prior_mean, prior_var = q_mean_var(sched, x0, s)
    precision = 1 / prior_var + factor**2 / noise
    return (prior_mean / prior_var + factor * xt / noise) / precision, 1 / precision


@pytest.mark.equation("2.11", "2.12", by="q_posterior")
def test_posterior_is_bayes_rule_for_any_two_times(sched):
    x0, xt = draw(2, 3), draw(2, 3, seed=1)
    for s, t in pairs(sched.T):
        mean, var = q_posterior(sched, x0, xt, t, s)
        if s == 0:  # x_0 is known
            assert torch.allclose(mean, x0, atol=1e-12)
            assert var == 0
            continue
        by_mean, by_var = bayes(sched, x0, xt, t, s)
        assert (mean - by_mean).abs().max() < 1e-12
        assert (var - by_var).abs().max() < 1e-12


@pytest.mark.equation("2.12", by="q_posterior")
def test_posterior_is_eq_6_and_7_of_the_paper(sched):
    x0, xt = draw(2, 3), draw(2, 3, seed=1)
    beta, ab = sched.beta.tolist(), sched.alpha_bar.tolist()
    for t in range(1, sched.T + 1):
        mean, var = q_posterior(sched, x0, xt, t)
        c0 = math.sqrt(ab[t - 1]) * beta[t] / (1 - ab[t])
        ct = math.sqrt(1 - beta[t]) * (1 - ab[t - 1]) / (1 - ab[t])
        assert (mean - (c0 * x0 + ct * xt)).abs().max() < 1e-11
        assert abs(var - sched.beta_tilde[t]) < 1e-12


@pytest.mark.equation("2.13", by="q_posterior")
def test_posterior_undoes_the_forward_process(sched):
    "Averaging q(x_s | x_t, x_0) over q(x_t | x_0) gives q(x_s | x_0)."
    x0 = draw(2, 3)
    for s, t in pairs(sched.T):
        mean_t, var_t = q_mean_var(sched, x0, t)
        mean, var = q_posterior(sched, x0, mean_t, t, s)
        slope = q_posterior(sched, x0, mean_t + 1, t, s)[0] - mean
        mean_s, var_s = q_mean_var(sched, x0, s)
        assert torch.allclose(mean, mean_s, atol=1e-12)
        assert torch.allclose(slope**2 * var_t + var, var_s.expand_as(slope), atol=1e-12)


@pytest.mark.parametrize("t", [2, 3, 500, 1000])
def test_two_posterior_steps_are_one_of_two(t):
    sched, x0, xt = linear_schedule(), draw(2, 3), draw(2, 3, seed=1)
    mean_1, var_1 = q_posterior(sched, x0, xt, t)
    mean_2, var_2 = q_posterior(sched, x0, mean_1, t - 1)
    slope = q_posterior(sched, x0, mean_1 + 1, t - 1)[0] - mean_2
    mean, var = q_posterior(sched, x0, xt, t, t - 2)
    assert torch.allclose(mean, mean_2, atol=1e-12)
    assert torch.allclose(slope**2 * var_1 + var_2, var.expand_as(slope), atol=1e-12)


def test_posterior_by_brute_force():
    "Two densities multiplied on a grid, no formula for products of Gaussians."
    sched, t, s = coarse(), 6, 3
    a = (1 - sched.beta[s + 1 : t + 1]).prod()
    grid = torch.linspace(-8, 8, 20_001, dtype=torch.float64)
    log_density = -((grid - sched.alpha_bar[s].sqrt() * 0.9) ** 2) / (2 * (1 - sched.alpha_bar[s])) - (
        -0.4 - a.sqrt() * grid
    ) ** 2 / (2 * (1 - a))
    weights = log_density.softmax(0)
    mean, var = q_posterior(
        sched, torch.tensor([0.9], dtype=torch.float64), torch.tensor([-0.4], dtype=torch.float64), t, s
    )
    by_grid = (weights * grid).sum()
    assert abs(mean - by_grid) < 1e-9
    assert abs(var - (weights * (grid - by_grid) ** 2).sum()) < 1e-9


# --- times, shapes, types -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 1, 4, 4), (4, 4, 4, 4)])
def test_shape_and_dtype_are_kept(name, dtype, shape):
    a, b = draw(*shape, dtype=dtype), draw(*shape, seed=1, dtype=dtype)
    for t, var_shape in ((3, ()), (torch.tensor([1, 5, 1000, 2]), (4,) + (1,) * (len(shape) - 1))):
        results = call(name, linear_schedule(), a, t, b)
        assert results[0].shape == shape
        assert all(r.dtype == dtype for r in results)
        if len(results) == 2:
            assert results[1].shape == var_shape


@pytest.mark.parametrize("name", ALL)
def test_number_and_tensor_of_times_agree(name):
    sched, a, b = linear_schedule(), draw(4, 1, 4, 4), draw(4, 1, 4, 4, seed=1)
    for t in (1, 2, 500, 1000):
        one = call(name, sched, a, t, b)
        for given in (torch.tensor(t), torch.full((4,), t), torch.full((4,), t, dtype=torch.int32)):
            for x, y in zip(one, call(name, sched, a, given, b), strict=True):
                assert torch.equal(x.expand_as(a), y.expand_as(a))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_batch_of_times_is_items_one_by_one(name, dtype):
    "As many items as rows and columns, so that times on a wrong axis would go through without an error."
    sched, a, b = linear_schedule(), draw(4, 4, 4, 4, dtype=dtype), draw(4, 4, 4, 4, seed=1, dtype=dtype)
    t = torch.tensor([1, 2, 500, 1000])
    together = call(name, sched, a, t, b)
    for i in range(4):
        alone = call(name, sched, a[i : i + 1], t[i].item(), b[i : i + 1])
        for x, y in zip(together, alone, strict=True):
            assert torch.equal(x[i : i + 1].expand_as(a[:1]), y.expand_as(a[:1]))


def test_posterior_takes_a_batch_of_both_times():
    sched, x0, xt = linear_schedule(), draw(3, 2, 2), draw(3, 2, 2, seed=1)
    t, s = torch.tensor([1, 500, 1000]), torch.tensor([0, 100, 999])
    mean, var = q_posterior(sched, x0, xt, t, s)
    assert var.shape == (3, 1, 1)
    for i in range(3):
        one_mean, one_var = q_posterior(sched, x0[i : i + 1], xt[i : i + 1], t[i].item(), s[i].item())
        assert torch.equal(mean[i : i + 1], one_mean)
        assert torch.equal(var[i], one_var.expand(1, 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_coefficients_are_rounded_once(dtype):
    "At t = 1 the noise has variance 1e-4, however coarse the images' type."
    x0 = torch.ones(1, 2, dtype=dtype)
    _, var = q_mean_var(linear_schedule(), x0, 1)
    assert var == torch.tensor(1e-4, dtype=dtype)


def test_gradients_flow_to_the_inputs():
    sched = linear_schedule()
    x0, eps = draw(2, 3).requires_grad_(), draw(2, 3, seed=1).requires_grad_()
    q_sample(sched, x0, 500, eps).sum().backward()
    assert torch.allclose(x0.grad, sched.alpha_bar[500].sqrt().expand(2, 3))
    assert torch.allclose(eps.grad, (1 - sched.alpha_bar[500]).sqrt().expand(2, 3))


# --- bad input ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("bad", [-1, 1001])
def test_times_outside_the_schedule(name, bad):
    a, b = draw(2, 3), draw(2, 3, seed=1)
    for t in (bad, torch.tensor([5, bad])):
        with pytest.raises(IndexError, match=rf"0\.\.1000, got {bad}"):
            call(name, linear_schedule(), a, t, b)


@pytest.mark.parametrize("name", ALL)
def test_times_that_are_no_whole_numbers(name):
    with pytest.raises(TypeError, match=r"torch\.float32"):
        call(name, linear_schedule(), draw(2, 3), torch.tensor([1.0, 2.0]), draw(2, 3, seed=1))


@pytest.mark.parametrize("name", ALL)
def test_one_time_too_many(name):
    with pytest.raises(ValueError, match=r"shape \(2, 3\), got times of shape \(3,\)"):
        call(name, linear_schedule(), draw(2, 3), torch.tensor([1, 2, 3]), draw(2, 3, seed=1))


@pytest.mark.parametrize("name", ALL)
def test_raw_pixels(name):
    pixels = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    with pytest.raises(TypeError, match=r"torch\.uint8.*to_unit"):
        call(name, linear_schedule(), pixels, 5, pixels)


@pytest.mark.parametrize("name", ALL[1:])
@pytest.mark.parametrize("shape", [(3, 4, 4), (1, 1, 4, 4), (4, 4), ()])
def test_shapes_that_would_broadcast(name, shape):
    with pytest.raises(ValueError, match="same shape, got .*" + re.escape(str(shape))):
        call(name, linear_schedule(), draw(3, 1, 4, 4), 5, draw(*shape))


def test_predict_eps_at_zero():
    for t in (0, torch.tensor([5, 0])):
        with pytest.raises(ValueError, match="t = 0 there is no noise"):
            predict_eps(linear_schedule(), draw(2, 3), t, draw(2, 3, seed=1))


def test_predict_x0_where_nothing_is_left():
    "The schedule's last beta is 1, so that its alpha_bar ends at 0."
    sched, x = schedule_from_beta([0.5, 0.9, 1.0]), draw(2, 3)
    for t in (3, torch.tensor([2, 3])):
        with pytest.raises(ValueError, match="needs alpha_bar > 0"):
            predict_x0(sched, x, t, x)
    assert predict_x0(sched, x, 2, x).isfinite().all()


@pytest.mark.parametrize(
    ("t", "s", "got"),
    [
        (5, 5, "5, s = 5"),
        (5, 6, "5, s = 6"),
        (torch.tensor([5, 7]), torch.tensor([4, 7]), "7, s = 7"),
        (torch.tensor([7, 8]), torch.tensor([7, 9]), "7, s = 7"),  # the first is named
        (5, torch.tensor([4, 5]), "5, s = 5"),
    ],
)
def test_posterior_needs_an_earlier_time(t, s, got):
    with pytest.raises(ValueError, match=f"needs s < t, got t = {got}$"):
        q_posterior(linear_schedule(), draw(2, 3), draw(2, 3, seed=1), t, s)


@pytest.mark.parametrize("t", [0, torch.tensor([5, 0])])
def test_posterior_of_clean_data(t):
    with pytest.raises(ValueError, match="nothing comes before t = 0"):
        q_posterior(linear_schedule(), draw(2, 3), draw(2, 3, seed=1), t)


def test_posterior_with_a_negative_earlier_time():
    with pytest.raises(IndexError, match="got -1"):
        q_posterior(linear_schedule(), draw(2, 3), draw(2, 3, seed=1), 5, -1)
