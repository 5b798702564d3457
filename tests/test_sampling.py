"""The sampler against what is known exactly: on Gaussian data every state of the chain has a closed form."""

import re
from functools import partial

import pytest
import torch
from torch import nn

from ddpm_abc.forward import predict_x0, q_posterior
from ddpm_abc.guidance import guided
from ddpm_abc.parameterization import Denoiser
from ddpm_abc.sampling import (
    check_times,
    ddpm,
    ddpm_step,
    image_generators,
    sample,
    seeded_noise,
    spaced_times,
)
from ddpm_abc.schedule import Schedule, cosine_schedule, linear_schedule, schedule_from_beta
from ddpm_abc.unet import UNet

pytestmark = pytest.mark.filterwarnings(
    "ignore:the schedule stops short of noise"
)  # few, coarse steps, on purpose
VARIANCES = torch.tensor([0.01, 0.25, 1.0, 4.0], dtype=torch.float64)  # of the data, one a dimension
FEW = schedule_from_beta(torch.linspace(1e-3, 0.3, 50, dtype=torch.float64))


def exact(sched: Schedule, mean: float = 0.0):
    "The best denoiser for data N(mean, diag(VARIANCES)): chapter 00."

    def eps(xt, t):
        ab = sched.alpha_bar[t][:, None]
        return (1 - ab).sqrt() * (xt - ab.sqrt() * mean) / (ab * VARIANCES + 1 - ab)

    return Denoiser(eps, sched)


def affine_map(monkeypatch, sched: Schedule, variance: str, mean: float = 0.0):
    """Read the public sampler's map off, no statistics.

    Item k of the batch has a 1 in its k-th draw of noise.
    Returns the offset (4,) and the factors (T, 4): x_0 = offset + sum_k factors[k] * draw_k.
    """
    draws = iter(
        torch.eye(sched.T + 1, dtype=torch.float64)[:, : sched.T].T
    )  # T draws: x_T, then z of steps T..2
    monkeypatch.setattr(torch, "randn", lambda shape, **_: next(draws)[:, None].expand(shape))
    sampler = partial(ddpm, variance=variance, clip=False)
    x0 = sample(exact(sched, mean), (sched.T + 1, 4), sampler=sampler, dtype=torch.float64)
    monkeypatch.undo()
    assert next(draws, None) is None, "the sampler must draw x_T and one z for each step but the last"
    return x0[-1], x0[:-1] - x0[-1]


def recursion(sched: Schedule, variance: str, mean: float = 0.0):
    "Mean and variance of x_0, from the step's formula in Ho et al. 2020, Algorithm 2, alone."
    m, v = torch.zeros(4, dtype=torch.float64), torch.ones(4, dtype=torch.float64)
    for t in range(sched.T, 0, -1):
        beta, ab, ab_prev = sched.beta[t], sched.alpha_bar[t], sched.alpha_bar[t - 1]
        c = ab * VARIANCES + 1 - ab
        a = (1 - beta / c) / (1 - beta).sqrt()
        m = a * m + beta / c * ab.sqrt() * mean / (1 - beta).sqrt()
        sigma2 = {"beta": beta, "beta_tilde": beta * (1 - ab_prev) / (1 - ab)}[variance]
        v = a**2 * v + (sigma2 if t > 1 else 0)
    return m, v


@pytest.mark.equation("0.8", by="ddpm")
@pytest.mark.equation("5.3")
@pytest.mark.parametrize("variance", ["beta", "beta_tilde"])
def test_sampler_is_the_exact_affine_map(monkeypatch, variance):
    offset, factors = affine_map(monkeypatch, FEW, variance, mean=0.7)
    m, v = recursion(FEW, variance, mean=0.7)
    assert (offset - m).abs().max() < 1e-10
    assert (factors.square().sum(0) - v).abs().max() < 1e-10


@pytest.mark.equation("5.3", by="ddpm, ddpm_step")
@pytest.mark.parametrize(
    ("variance", "ratios"),
    [("beta", (1.0154, 1.0030, 0.9999, 0.9976)), ("beta_tilde", (0.9276, 0.9845, 0.9911, 0.9937))],
)
def test_full_length_chain_has_the_known_end_variance(monkeypatch, variance, ratios):
    _, factors = affine_map(monkeypatch, linear_schedule(), variance)
    assert (
        factors.square().sum(0) / VARIANCES - torch.tensor(ratios, dtype=torch.float64)
    ).abs().max() < 6e-5


@pytest.mark.parametrize("variance", ["beta", "beta_tilde"])
def test_coarse_monte_carlo(variance):
    "Few, large steps: a fault of one step in time would be off by more than 20 standard errors."
    sched, n = schedule_from_beta(torch.linspace(0.02, 0.6, 10, dtype=torch.float64)), 20_000
    sampler, g = partial(ddpm, variance=variance, clip=False), torch.Generator().manual_seed(0)
    x = sample(exact(sched), (n, 4), sampler=sampler, generator=g, dtype=torch.float64)
    _, v = recursion(sched, variance)
    assert ((x.var(0) - v) / (v * (2 / n) ** 0.5)).abs().max() < 4.5
    assert (x.mean(0) / (v / n).sqrt()).abs().max() < 4.5


def test_visits_every_time_once_in_order_with_int64_batches():
    seen = []

    def net(xt, t):
        seen.append(t)
        return torch.zeros_like(xt)

    shapes = []

    def counted(*args):
        for x in ddpm(*args):
            shapes.append(x.shape)
            yield x

    sample(Denoiser(net, FEW), (3, 2), sampler=counted)
    assert shapes == [(3, 2)] * FEW.T  # the state after each step
    assert [t.tolist() for t in seen] == [[t] * 3 for t in range(FEW.T, 0, -1)]
    assert all(t.dtype == torch.int64 for t in seen)


def test_starts_from_noise_and_returns_the_last_state():
    g = [torch.Generator().manual_seed(3) for _ in range(3)]
    x = torch.randn(5, 4, generator=g[1], dtype=torch.float64)
    *_, last = ddpm(exact(FEW), x, range(FEW.T, -1, -1), seeded_noise(g[1]))
    starts = []

    def watched(denoise, x, times, noise):
        starts.append(x)
        return ddpm(denoise, x, times, noise)

    got = sample(exact(FEW), (5, 4), sampler=watched, generator=g[0], dtype=torch.float64)
    assert torch.equal(starts[0], x)
    assert torch.equal(got, last)
    assert torch.equal(got, sample(exact(FEW), (5, 4), generator=g[2], dtype=torch.float64, progress=True))


def test_starts_from_any_state_at_any_time_and_stops_where_it_is_told():
    "A walk in two parts is the walk."
    g = [torch.Generator().manual_seed(3) for _ in range(2)]
    x = torch.randn(5, 4, generator=g[0], dtype=torch.float64)
    *_, whole = ddpm(exact(FEW), x, [50, 40, 20, 5, 0], seeded_noise(g[0]))
    noise = seeded_noise(g[1])
    x = noise(x)
    *_, half = ddpm(exact(FEW), x, [50, 40, 20], noise)
    *_, end = ddpm(exact(FEW), half, [20, 5, 0], noise)
    assert torch.equal(end, whole)


def test_last_step_adds_no_noise_even_with_the_larger_variance():
    calls, seed = [], torch.Generator().manual_seed(0)

    def noise(x):
        calls.append(x)
        return torch.randn(x.shape, generator=seed, dtype=x.dtype)

    start = torch.ones(2, 4, dtype=torch.float64)
    *_, before, last = ddpm(exact(FEW), start, range(50, -1, -1), noise, variance="beta")
    assert len(calls) == 49
    x0_hat = exact(FEW)(before, 1).x0.clamp(-1, 1)
    assert torch.allclose(last, q_posterior(FEW, x0_hat, before, 1)[0], atol=1e-14)


def test_progress_is_shown_where_it_is_asked_for_and_counts_the_steps(capsys):
    sample(exact(FEW), (2, 4), times=[50, 20, 0])
    assert capsys.readouterr() == ("", "")
    sample(exact(FEW), (2, 4), times=[50, 20, 0], progress=True)
    assert "sampling: 100%|" in (shown := capsys.readouterr().err)
    assert " 2/2 [" in shown


def test_what_a_sampler_needs_may_be_given_by_name_and_its_options_by_name_alone():
    x, noise, times = torch.zeros(1, 4, dtype=torch.float64), torch.zeros_like, [50, 20, 0]
    step = {"sched": FEW, "xt": x + 1, "x0_hat": x, "t": 50, "s": 20, "noise": x}
    assert torch.equal(ddpm_step(**step), ddpm_step(*step.values()))
    walk = {"denoise": exact(FEW), "x": x + 1, "times": times, "noise": noise}
    assert all(map(torch.equal, ddpm(**walk), ddpm(*walk.values())))
    assert sample(denoise=exact(FEW), shape=(1, 4), times=times).shape == (1, 4)
    for call in (
        lambda: ddpm_step(*step.values(), "beta"),
        lambda: next(ddpm(*walk.values(), "beta")),
        lambda: sample(exact(FEW), (1, 4), ddpm),
    ):
        with pytest.raises(TypeError, match="positional arguments"):
            call()


def test_dtype_and_device_follow_the_request_and_the_model():
    net = nn.Linear(1, 1).double()
    scaled = Denoiser(lambda x, t: x * net.weight.float(), FEW)
    assert sample(exact(FEW), (2, 4), dtype=torch.float64).dtype == torch.float64
    x = sample(scaled, (2, 4))
    assert x.dtype == torch.float32
    assert not x.requires_grad


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_images_have_the_dtype_of_the_network(dtype):
    "Also under guidance; and of what takes any dtype, the one that is asked for."
    denoise = Denoiser(UNet(size=8, channels=(16, 32), n_classes=2).to(dtype), FEW)
    told = guided(denoise, torch.tensor([0, 1]), 1)
    assert sample(told, (2, 1, 8, 8), times=[50, 20, 0]).dtype == dtype
    with pytest.raises(ValueError, match=f"xt must be {dtype}"):
        sample(told, (2, 1, 8, 8), times=[50, 20, 0], dtype=torch.float32)
    assert sample(Denoiser(lambda x, t: x, FEW), (2, 4), dtype=dtype).dtype == dtype


def test_noise_is_drawn_on_the_cpu_whatever_the_default_device():
    with torch.device("meta"):
        for generator in (torch.Generator(), image_generators(0, 2)):
            assert sample(exact(FEW), (2, 4), times=[50, 20, 0], generator=generator).device.type == "cpu"


def test_no_images_have_no_generators():
    assert sample(exact(FEW), (0, 4), times=[50, 20, 0], generator=image_generators(3, 0)).shape == (0, 4)


def test_noise_for_pixels_is_refused():
    with pytest.raises(TypeError, match=r"got torch.uint8: convert pixels with ddpm_abc.data.to_unit"):
        seeded_noise(None)(torch.zeros(2, 4, dtype=torch.uint8))


@pytest.mark.parametrize(("wrong", "name"), [(0, "int"), ([0, 1], "int"), (seeded_noise(None), "function")])
def test_what_is_no_generator_is_refused(wrong, name):
    with pytest.raises(TypeError, match=f"one for each image, or None, got {name}: torch.Generator"):
        sample(exact(FEW), (2, 4), generator=wrong)


def test_image_k_depends_on_the_seed_and_on_k_alone():
    def drawn(n, first=0, seed=5):
        g = image_generators(seed, n, first)
        return sample(exact(FEW), (n, 4), generator=g, dtype=torch.float64)

    together = drawn(6)
    assert torch.equal(drawn(1), together[:1])
    assert torch.equal(drawn(2, first=3), together[3:5])
    others = torch.cat([together, drawn(6, seed=6), drawn(6, first=6)])
    assert torch.pdist(others).min() > 1e-6  # no two alike
    with pytest.raises(ValueError, match="must be at least 0, got -1, 2 and 0"):
        image_generators(-1, 2)
    for n in (2, 4):
        with pytest.raises(ValueError, match=f"one generator for each image, 3 in all, got {n}"):
            sample(exact(FEW), (3, 4), generator=image_generators(0, n))


def test_streams_of_images_are_normal_and_independent():
    z = seeded_noise(image_generators(0, 400))(torch.empty(400, 50, dtype=torch.float64))
    assert abs(z.mean()) < 4 / 20_000**0.5
    assert abs(z.var() - 1) < 4 * (2 / 20_000) ** 0.5
    apart = torch.corrcoef(z)[*torch.triu_indices(400, 400, 1)]
    assert apart.abs().max() < 6 / 50**0.5
    assert abs(apart.square().mean() * 49 - 1) < 0.05  # as large as chance makes them


@pytest.mark.equation("0.24", "0.25", "5.1", "5.2", by="ddpm_step")
@pytest.mark.parametrize("t", [1, 2, 25, 50])
@pytest.mark.parametrize("variance", ["beta", "beta_tilde"])
def test_step_is_algorithm_2(t, variance):
    x, eps_hat, z = torch.randn(
        3, 6, 1, 4, 4, generator=torch.Generator().manual_seed(t), dtype=torch.float64
    )
    beta, ab = FEW.beta[t], FEW.alpha_bar[t]
    sigma2 = beta if variance == "beta" else beta * (1 - FEW.alpha_bar[t - 1]) / (1 - ab)
    expected = (x - beta / (1 - ab).sqrt() * eps_hat) / (1 - beta).sqrt() + sigma2.sqrt() * z
    got = ddpm_step(FEW, x, predict_x0(FEW, x, t, eps_hat), t, t - 1, z, variance=variance, clip=False)
    assert torch.allclose(got, expected, atol=1e-12, rtol=0)


@pytest.mark.equation("5.2", by="q_posterior")
def test_clip_acts_on_the_estimate_of_x0_and_nothing_else():
    x, z = torch.full((1, 1, 2, 2), 3.0, dtype=torch.float64), torch.zeros(1, 1, 2, 2, dtype=torch.float64)
    x0_hat = predict_x0(FEW, x, 30, torch.zeros_like(x))
    assert x0_hat.min() > 1
    mean, _ = q_posterior(FEW, torch.ones_like(x), x, 30)
    clipped = ddpm_step(FEW, x, x0_hat, 30, 29, z)
    assert torch.allclose(clipped, mean)
    assert clipped.min() > 1  # x_29 itself is not clipped


def test_strided_step_is_bayes_for_the_pair():
    "q(x_s | x_t, x_0) by adding precisions, for s far from t."
    t, s = 40, 10
    x0, xt = torch.randn(2, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64).clamp(-1, 1)
    ab_t, ab_s = FEW.alpha_bar[t], FEW.alpha_bar[s]
    alpha = ab_t / ab_s
    precision = 1 / (1 - ab_s) + alpha / (1 - alpha)
    mean = (ab_s.sqrt() * x0 / (1 - ab_s) + alpha.sqrt() * xt / (1 - alpha)) / precision
    got = ddpm_step(FEW, xt, x0, t, s, torch.zeros_like(xt))
    assert torch.allclose(got, mean, atol=1e-12, rtol=0)
    with_noise = ddpm_step(FEW, xt, x0, t, s, torch.ones_like(xt))
    assert torch.allclose(with_noise - got, (1 / precision).sqrt().expand(5), atol=1e-12, rtol=0)


def test_items_of_a_batch_do_not_meet(monkeypatch):
    noise = torch.randn(FEW.T, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def run(rows):
        draws = iter(noise)
        monkeypatch.setattr(torch, "randn", lambda shape, **_: next(draws)[rows])
        out = sample(exact(FEW), (len(rows), 4), dtype=torch.float64)
        monkeypatch.undo()
        return out

    together = run([0, 1, 2])
    assert all(torch.allclose(run([i])[0], together[i], atol=1e-14) for i in range(3))


@pytest.mark.parametrize(
    "times", [[50, 50, 0], [51, 0], [0], [], [10, 20, 0], [50, 25, -1], [*range(50, 45, -1), 46]]
)
def test_bad_times_are_refused(times):
    with pytest.raises(ValueError, match=re.escape(f"to at least 0, got {times}") + "$"):
        sample(exact(FEW), (2, 4), times=times)


def test_of_many_bad_times_both_ends_are_shown():
    with pytest.raises(
        ValueError,
        match=re.escape("fall strictly, from at most T = 50 to at least 0, got [50, 40, 30]...[10, 5, 5]"),
    ):
        sample(exact(FEW), (2, 4), times=[50, 40, 30, 20, 10, 5, 5])


@pytest.mark.parametrize("times", [[1, 4, 4, 10], [-1, 4, 10], [1, 4, 11], [10, 4, 1], [4]])
def test_the_times_of_a_walk_to_noise_rise(times):
    check_times([0, 1, 4, 10], 10, rising=True)
    check_times([4, 7], 10, rising=True)
    said = re.escape(f"times must rise strictly, from at least 0 to at most T = 10, got {times}")
    with pytest.raises(ValueError, match=said + "$"):
        check_times(times, 10, rising=True)


@pytest.mark.parametrize("times", [[49, 0], [50, 25], [40, 10], [45, 20, 5]])
def test_times_that_begin_or_end_on_the_way_are_for_samplers_alone(times):
    need = f"times must go from T = 50 to 0, got {times[0]} to {times[-1]}: .* call the sampler itself"
    with pytest.raises(ValueError, match=need):
        sample(exact(FEW), (2, 4), times=times)
    assert len(list(ddpm(exact(FEW), torch.zeros(2, 4), times, seeded_noise(None)))) == len(times) - 1


def test_what_is_no_sampler_is_refused():
    with pytest.raises(TypeError, match="a function such as ddpm, got 'ddim': see solvers.SAMPLERS"):
        sample(exact(FEW), (2, 4), sampler="ddim")
    with pytest.raises(ValueError, match="must yield a state after each step, got none"):
        sample(exact(FEW), (2, 4), sampler=lambda *given: iter(()))


@pytest.mark.parametrize("variance", ["alpha", "beta_bar", "fixed"])
def test_unknown_variance_is_refused(variance):
    with pytest.raises(ValueError, match=f"'beta_tilde' or 'beta', got '{variance}'"):
        ddpm_step(FEW, torch.zeros(1, 4), torch.zeros(1, 4), 5, 4, torch.zeros(1, 4), variance=variance)


@pytest.mark.parametrize("T", [1, 7, 1000])
def test_spaced_times(T):
    for steps in {1, min(3, T), T}:
        times = spaced_times(T, steps)
        assert len(times) == steps + 1
        assert times[0] == T
        assert times[-1] == 0
        assert all(t > s for t, s in zip(times, times[1:], strict=False))
    assert spaced_times(T, T) == list(range(T, -1, -1))
    for steps in (0, T + 1):
        with pytest.raises(ValueError, match=f"1..{T}.*got {steps}"):
            spaced_times(T, steps)


@pytest.mark.equation("0.41")
@pytest.mark.parametrize("sched", [linear_schedule(), cosine_schedule()], ids=["linear", "cosine"])
def test_a_known_image_comes_back(sched):
    "The optimum for a data set of one image: the chain must end exactly there."
    x_star = torch.linspace(-1, 1, 12, dtype=torch.float64).view(1, 1, 3, 4)

    def eps(xt, t):
        ab = sched.alpha_bar[t].view(-1, 1, 1, 1)
        return (xt - ab.sqrt() * x_star) / (1 - ab).sqrt()

    x0 = sample(Denoiser(eps, sched), (2, 1, 3, 4), times=spaced_times(sched.T, 20), dtype=torch.float64)
    assert (x0 - x_star).abs().max() < 1e-6
