"""The fast samplers against the exact answer: on a line a walk without noise keeps every point's share of the
density to its left, and on Gaussian data every walk is linear."""

import math
from functools import partial
from itertools import pairwise

import pytest
import torch
from walks import F64, SCHED, best, gaussian, last, stream

from ddpm_abc.cli import drawing
from ddpm_abc.gaussian import GaussianMixture, mixture_eps_model
from ddpm_abc.parameterization import Denoiser
from ddpm_abc.sampling import ddpm, sample, spaced_times
from ddpm_abc.schedule import cosine_schedule, schedule_from_beta
from ddpm_abc.solvers import (
    SAMPLERS,
    TAKES_ETA,
    analytic_dpm,
    bent_times,
    ddim,
    ddim_inversion,
    dpm_solver,
    heun,
    karras_times,
    log_snr_times,
    times_for,
    x0_errors,
)

WEIGHTS, MEANS, VARS = (torch.tensor(v, **F64) for v in ([0.4, 0.6], [-0.8, 0.7], [0.05, 0.02]))
HUMPS = GaussianMixture(WEIGHTS, MEANS[:, None], VARS)
EXACT = best(HUMPS)
SHARES = torch.linspace(0.02, 0.98, 25, **F64)


def share_left(x, ab):
    "The share of q(x_t) to the left of x."
    return (WEIGHTS * torch.special.ndtr((x - ab**0.5 * MEANS) / (ab * VARS + 1 - ab).sqrt())).sum(-1)


def mark(ab, shares=SHARES):
    "Where q(x_t) has these shares to the left, by halving an interval."
    low, high = torch.full_like(shares, -8), torch.full_like(shares, 8)
    for _ in range(60):
        middle = (low + high) / 2
        left = share_left(middle[:, None], ab) < shares
        low, high = torch.where(left, middle, low), torch.where(left, high, middle)
    return middle[:, None]


def end_variance(sampler, denoise, start, times, **options):
    "Of x_0, for x_T of this variance: the walk is linear in x_T and each noise, so send a 1 for each alone."
    basis = torch.eye(len(times), **F64)
    draws = iter(basis[1:])
    ends = last(
        sampler(denoise, basis[0][:, None] * start**0.5, times, lambda _: next(draws)[:, None], **options)
    )
    return ends.square().sum().item()


# --- the ODE ------------------------------------------------------------------------------------------------


@pytest.mark.equation("10.1", by="GaussianMixture.eps")
@pytest.mark.equation("10.2", by="GaussianMixture.eps")
@pytest.mark.parametrize("sigma", [0.05, 0.3, 1.0, 5.0])
def test_the_best_guess_of_the_noise_moves_the_points_as_the_density_moves(sigma):
    """The share to the left of a point that follows dy/dsigma = eps* does not change.

    So d share/d sigma = -p eps*, at every y = x_t / sqrt(alpha_bar).
    """
    y, h = torch.linspace(-3, 3, 41, **F64)[:, None], 1e-5

    def share(sigma):
        ab = torch.tensor(1 / (1 + sigma**2), **F64)
        return share_left(ab.sqrt() * y, ab)

    ab = torch.tensor(1 / (1 + sigma**2), **F64)
    density = HUMPS.log_prob(ab.sqrt() * y, ab).exp() * ab.sqrt()
    flow = density * HUMPS.eps(ab.sqrt() * y, ab)[:, 0]
    change = (share(sigma + h) - share(sigma - h)) / (2 * h)
    assert (change + flow).abs().max() < 1e-7


@pytest.mark.equation("10.3")
@pytest.mark.parametrize("clip", [False, True])
def test_ddim_is_eulers_method(clip):
    "In y and sigma, with the noise that belongs to a clipped guess."
    denoise = Denoiser(lambda xt, t: 3 * xt, SCHED, "x0") if clip else EXACT
    x = euler = mark(SCHED.alpha_bar[-1])
    times = [1000, 900, 650, 300, 50]
    for t, s in pairwise(times):
        a_t, a_s = SCHED.alpha_bar[[t, s]].sqrt()
        b_t, b_s = (1 - SCHED.alpha_bar[[t, s]]).sqrt()
        x0 = denoise(euler, t).x0
        x0 = x0.clamp(-1, 1) if clip else x0
        slope = (euler - a_t * x0) / b_t
        euler = a_s * (euler / a_t + (b_s / a_s - b_t / a_t) * slope)
    assert torch.allclose(last(ddim(denoise, x, times, None, clip=clip)), euler, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("name", "order"), [("ddim", 1), ("heun", 2), ("dpm_solver", 2)])
def test_order_of_convergence(name, order):
    "The slope of the error in a log-log plot, from t = 1000 to t = 50, where steps are smooth."
    sampler = globals()[name]
    x, goal, errors = mark(SCHED.alpha_bar[-1]), mark(SCHED.alpha_bar[50]), []
    for n in (40, 160):
        times = [50 + t for t in spaced_times(950, n)]
        errors.append((last(sampler(EXACT, x, times, None, clip=False)) - goal).square().mean().sqrt())
    assert abs(math.log(errors[0] / errors[1], 4) - order) < 0.25
    assert errors[1] < (0.01 if order == 1 else 0.001)


@pytest.mark.equation("10.5")
def test_heun_is_the_trapezium_of_two_slopes():
    t, s, x = 1000, 900, mark(SCHED.alpha_bar[-1])
    sigma = ((1 - SCHED.alpha_bar) / SCHED.alpha_bar).sqrt()
    slope = EXACT(x, t).eps
    there = (x / SCHED.alpha_bar[t].sqrt() + (sigma[s] - sigma[t]) * slope) * SCHED.alpha_bar[s].sqrt()
    mean = (slope + EXACT(there, s).eps) / 2
    want = (x / SCHED.alpha_bar[t].sqrt() + (sigma[s] - sigma[t]) * mean) * SCHED.alpha_bar[s].sqrt()
    assert torch.allclose(last(heun(EXACT, x, [t, s], None, clip=False)), want, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("sampler", "calls"), [(ddim, 9), (dpm_solver, 9), (heun, 17)])
def test_calls_of_the_network(sampler, calls):
    asked = []
    denoise = Denoiser(lambda xt, t: asked.append(t[0].item()) or 0 * xt, SCHED)
    states = list(sampler(denoise, torch.zeros(2, 1), spaced_times(1000, 9), None))
    assert len(asked) == calls
    assert len(states) == 9
    assert min(asked) >= 1


@pytest.mark.equation("10.6")
def test_a_guess_that_stands_still_makes_every_solver_exact():
    "Data at one point: x0_hat is that point, and one step from anywhere to anywhere is as good as many."
    point = torch.full((5, 1), 0.3, **F64)
    denoise = Denoiser(lambda xt, t: point, SCHED, "x0")
    noise = torch.linspace(-2, 2, 5, **F64)[:, None]
    for t, s in ((1000, 400), (400, 30), (30, 0)):
        at, to = (SCHED.alpha_bar[k].sqrt() * point + (1 - SCHED.alpha_bar[k]).sqrt() * noise for k in (t, s))
        middle = (t + s) // 2
        for sampler in (ddim, heun, dpm_solver):
            for times in ([t, s], [t, middle, s]):
                assert torch.allclose(last(sampler(denoise, at, times, None)), to, rtol=0, atol=1e-12)


@pytest.mark.equation("10.7")
def test_dpm_solver_looks_half_a_step_ahead():
    "A guess that is a straight line in lambda: 2M is as if it had been asked in the middle of its step."
    lam = (SCHED.alpha_bar / (1 - SCHED.alpha_bar)).log() / 2
    line = Denoiser(lambda xt, t: (0.1 + 0.05 * lam[t])[:, None].expand_as(xt), SCHED, "x0")
    x, (r, t, s) = torch.zeros(3, 1, **F64), (900, 700, 450)
    got = last(dpm_solver(line, x, [r, t, s], None, clip=False))
    at_t = last(ddim(line, x, [r, t], None, clip=False))
    ahead = 0.1 + 0.05 * (lam[t] + lam[s]) / 2
    a, b = SCHED.alpha_bar.sqrt(), (1 - SCHED.alpha_bar).sqrt()
    want = b[s] / b[t] * at_t - a[s] * torch.expm1(lam[t] - lam[s]) * ahead
    assert torch.allclose(got, want, rtol=0, atol=1e-12)


# --- noise on the way ---------------------------------------------------------------------------------------


@pytest.mark.equation("10.4")
@pytest.mark.parametrize("steps", [1000, 30])
def test_eta_1_is_ancestral_sampling(steps):
    "To rounding, with the same noise, clipped and not, in unit steps and in strides."
    x = mark(SCHED.alpha_bar[-1])
    for clip in (False, True):
        ours, theirs = (
            last(sampler(EXACT, x, spaced_times(1000, steps), stream(), clip=clip))
            for sampler in (partial(ddim, eta=1.0), ddpm)
        )
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-11)


@pytest.mark.equation("10.8")
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("sampler", [ddim, dpm_solver])
def test_any_eta_keeps_the_variance_where_the_guess_is_perfect(sampler, eta):
    "Data at one point: the variance of x_s is 1 - alpha_bar_s, at every state."
    denoise = Denoiser(lambda xt, t: torch.zeros_like(xt), SCHED, "x0")
    for times in ([1000, 600, 200, 50], [700, 20], [1000, 0]):
        want = 1 - SCHED.alpha_bar[times[-1]].item()
        got = end_variance(sampler, denoise, 1 - SCHED.alpha_bar[times[0]].item(), times, eta=eta)
        assert got == pytest.approx(want, abs=1e-12)


def test_eta_sets_the_share_of_new_noise():
    "By Jiaming Song et al. 2021, Eq. 16, for DDIM; exp(-2 eta h) of the old variance stays for DPM-Solver++."
    t, s = 600, 400
    denoise = Denoiser(lambda xt, t: torch.zeros_like(xt), SCHED, "x0")
    ab_t, ab_s = SCHED.alpha_bar[t].item(), SCHED.alpha_bar[s].item()
    tilde = (1 - ab_s) / (1 - ab_t) * (1 - ab_t / ab_s)
    h = math.log(ab_s / (1 - ab_s) / (ab_t / (1 - ab_t))) / 2
    new = {ddim: lambda eta: eta**2 * tilde, dpm_solver: lambda eta: (1 - ab_s) * -math.expm1(-2 * eta * h)}
    for sampler, variance in new.items():
        for eta in (0.2, 0.7, 1.0):
            got = last(
                sampler(denoise, torch.zeros(1, 1, **F64), [t, s], lambda x: torch.ones_like(x), eta=eta)
            )
            assert got.item() ** 2 == pytest.approx(variance(eta), rel=1e-10)


def test_noise_from_a_time_on():
    "Before it the walk is that of eta 0, from it on that of the whole noise, and no other time is asked."
    times, asked = [50, 40, 25, 10, 0], []

    def noise(x):
        asked.append(len(states))
        return torch.ones_like(x)

    x, states = torch.full((1, 1), 0.5, **F64), []
    walk = partial(dpm_solver, EXACT, x, times, noise)
    for state in walk(eta=1.0, noise_from=SCHED.alpha_bar[25].item()):
        states.append(state)
    plain, all_along = list(walk(eta=0.0)), list(walk(eta=1.0))
    assert asked[:1] == [2], "steps from t = 50 and 40 have no noise, that from 25 has; the last adds none"
    assert torch.equal(torch.cat(states[:2]), torch.cat(plain[:2]))
    assert not torch.equal(states[2], plain[2])
    assert all(not torch.equal(a, b) for a, b in zip(states[:2], all_along[:2], strict=True))
    late = list(walk(eta=1.0, noise_from=0.0))
    assert torch.equal(torch.cat(late), torch.cat(all_along))


@pytest.mark.parametrize("noise_from", [-0.1, 1.1, math.nan])
def test_noise_from_no_alpha_bar(noise_from):
    with pytest.raises(ValueError, match=r"noise_from must lie in 0\.\.1"):
        last(dpm_solver(EXACT, torch.zeros(1, 1, **F64), [10, 0], stream(), noise_from=noise_from))


@pytest.mark.parametrize("sampler", [heun, ddim, dpm_solver])
def test_no_noise_is_asked_for_at_eta_0(sampler):
    def never(x):
        raise AssertionError("asked for noise")

    assert last(sampler(EXACT, mark(SCHED.alpha_bar[-1]), [1000, 500, 0], never)).isfinite().all()


@pytest.mark.equation("10.9")
def test_an_error_of_the_network_grows_without_noise_and_is_forgotten_with_it():
    v, e = 0.25, 0.05
    best = gaussian(v)
    spoilt = Denoiser(lambda xt, t: (1 + e) * best.net(xt, t), SCHED)
    start = (SCHED.alpha_bar[-1] * v + 1 - SCHED.alpha_bar[-1]).item()
    times = spaced_times(1000, 250)
    left = {
        eta: end_variance(dpm_solver, spoilt, start, times, eta=eta, clip=False) / v
        for eta in (0.0, 0.5, 1.0)
    }
    sigma2 = ((1 - SCHED.alpha_bar[-1]) / SCHED.alpha_bar[-1]).item()
    assert left[0.0] == pytest.approx((v / (v + sigma2)) ** e, rel=0.02)
    assert abs(left[1.0] - 1) < abs(left[0.5] - 1) < 0.5 * abs(left[0.0] - 1)


# --- from data to noise -------------------------------------------------------------------------------------


def test_there_and_back_again():
    "eta = 0 leads back to the point it came from, with an error that falls with the steps."
    x, errors = mark(SCHED.alpha_bar[0]), []
    for n in (50, 200, 1000):
        times = spaced_times(1000, n)
        noise = last(ddim_inversion(EXACT, x, times[::-1]))
        errors.append((last(ddim(EXACT, noise, times, None, clip=False)) - x).abs().mean().item())
        off = (noise - mark(SCHED.alpha_bar[-1])).abs().mean().item()
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert errors[2] < 5e-3
    assert off < 0.05  # the noise is the one that the ODE has for this point


def test_inversion_is_eulers_step_upwards():
    "With the noise that the network sees where it stands; from clean data, at t = 1."
    a, b = SCHED.alpha_bar.sqrt(), (1 - SCHED.alpha_bar).sqrt()
    for t, s in ((500, 700), (0, 40)):
        x = mark(SCHED.alpha_bar[t])
        eps = EXACT(x, max(t, 1)).eps
        want = a[s] * (x / a[t] + (b[s] / a[s] - b[t] / a[t]) * eps)
        assert torch.allclose(last(ddim_inversion(EXACT, x, [t, s])), want, rtol=0, atol=1e-12)


# --- edges --------------------------------------------------------------------------------------------------


ALL = SAMPLERS | {"heun": heun}


@pytest.mark.parametrize("name", ALL)
def test_starts_from_any_time_and_ends_at_any(name):
    times = range(700, 19, -20)
    states = list(ALL[name](EXACT, mark(SCHED.alpha_bar[700]), times, stream(), clip=False))
    assert len(states) == len(times) - 1
    if name != "ddpm":  # which has noise on the way
        assert (share_left(states[-1], SCHED.alpha_bar[20]) - SHARES).abs().max() < 0.05


@pytest.mark.parametrize("name", ALL)
def test_drawn_through_sample(name):
    "In float32, from a seed, on times of its own."
    times = times_for(name, SCHED, 12) if name in SAMPLERS else spaced_times(1000, 12)
    draws = [
        sample(EXACT, (400, 1), sampler=ALL[name], times=times, generator=torch.Generator().manual_seed(0))
        for _ in range(2)
    ]
    assert torch.equal(*draws)
    assert draws[0].dtype == torch.float32
    assert 0.5 < (draws[0] > 0).double().mean() < 0.7
    assert not draws[0].requires_grad


@pytest.mark.parametrize("sampler", [ddim, dpm_solver])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_zero_terminal_snr(sampler, eta):
    "From alpha_bar = 0, where a network that predicts v or x0 has something to say."
    sched = schedule_from_beta(torch.cat([cosine_schedule(50).beta[1:-1], torch.ones(1, **F64)]))
    best = mixture_eps_model(HUMPS, sched.alpha_bar)
    mean = (WEIGHTS * MEANS).sum()

    def x0(xt, t):
        ab = sched.alpha_bar[t][:, None]
        return torch.where(ab > 0, (xt - (1 - ab).sqrt() * best(xt, t)) / ab.clamp(min=1e-9).sqrt(), mean)

    x = torch.randn(2000, 1, generator=torch.Generator().manual_seed(0), **F64)
    end = last(sampler(Denoiser(x0, sched, "x0"), x, range(50, -1, -1), stream(), eta=eta))
    assert end.isfinite().all()
    assert (end > 0).double().mean().item() == pytest.approx(0.6, abs=0.05)
    with pytest.raises(ValueError, match="heun cannot start at t = 50, where alpha_bar is 0"):
        last(heun(Denoiser(x0, sched, "x0"), x, [50, 0], None))
    for spacing in (log_snr_times, karras_times):
        with pytest.raises(ValueError, match="infinitely far in log-SNR: use bent_times"):
            spacing(sched, 5)


@pytest.mark.parametrize("sampler", ALL.values())
@pytest.mark.parametrize("times", [[3], [5, 5], [3, 7], [1001, 0], [5, -1]])
def test_times_that_do_not_fall_are_refused(sampler, times):
    with pytest.raises(ValueError, match="times must fall strictly, from at most T = 1000"):
        last(sampler(EXACT, torch.zeros(1, 1, **F64), times, stream()))


@pytest.mark.parametrize("times", [[], [3], [5, 5], [7, 3], [0, 1001], [-1, 5], [*range(9), 0]])
def test_times_that_do_not_rise_are_refused_by_the_inversion(times):
    with pytest.raises(ValueError, match=r"times must rise strictly, .* at most T = 1000, got \["):
        last(ddim_inversion(EXACT, torch.zeros(1, 1, **F64), times))


@pytest.mark.parametrize("sampler", [SAMPLERS[name] for name in TAKES_ETA])
@pytest.mark.parametrize("eta", [-0.1, 1.1, math.nan])
def test_eta_out_of_range(sampler, eta):
    with pytest.raises(ValueError, match=r"eta must lie in 0\.\.1"):
        last(sampler(EXACT, torch.zeros(1, 1, **F64), [10, 0], stream(), eta=eta))


@pytest.mark.parametrize("name", [*ALL, "analytic_dpm", "ddim_inversion"])
def test_a_caller_may_change_a_state(name):
    "As one who scales it in place for a picture: the walk goes on from its own."
    sampler, times, x = ALL.get(name), [700, 400, 100, 20], mark(SCHED.alpha_bar[700])
    if name == "ddim_inversion":
        walks = [ddim_inversion(EXACT, x, times[::-1]) for _ in range(2)]
    else:
        errors = {"errors": torch.full((3, 1), 0.1, **F64)} if name == "analytic_dpm" else {}
        walks = [(sampler or analytic_dpm)(EXACT, x, times, stream(), **errors) for _ in range(2)]
    for state, spoilt in zip(*walks, strict=True):
        assert torch.equal(state, spoilt)
        spoilt.zero_()


@pytest.mark.parametrize("name", ["ddpm", "ddim", "heun", "dpm_solver", "analytic_dpm", "x0_errors"])
def test_every_guess_is_clipped_unless_that_is_turned_off(name):
    "As if a network had said 1 that says 3, in each of its calls."
    errors = {"errors": torch.full((3, 1), 0.1, **F64)} if name == "analytic_dpm" else {}
    use, x, times = globals()[name], mark(SCHED.alpha_bar[700]), [700, 400, 100, 20]

    def found(x0_hat, **options):
        denoise = Denoiser(lambda xt, t: torch.full_like(xt, x0_hat), SCHED, "x0")
        return torch.stack(list(use(denoise, x, times, stream(), **errors, **options)))

    assert torch.equal(found(3.0), found(1.0))
    assert torch.equal(found(-3.0), found(-1.0))
    assert (found(3.0, clip=False) - found(1.0)).abs().min() > 1e-3


# --- times --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spacing", [bent_times, log_snr_times, karras_times])
@pytest.mark.parametrize("sched", [SCHED, cosine_schedule(1000), cosine_schedule(30)], ids=repr)
def test_times_fall_from_T_to_0(spacing, sched):
    for steps in {1, 2, 3, 10, sched.T - 1, sched.T} & set(range(sched.T + 1)):
        times = spacing(sched, steps)
        assert len(times) == steps + 1
        assert (times[0], times[-1]) == (sched.T, 0)
        assert all(t > s for t, s in pairwise(times))
        assert all(type(t) is int for t in times)
    for wrong in (0, sched.T + 1):
        with pytest.raises(ValueError, match=rf"steps must lie in 1\.\.{sched.T}"):
            spacing(sched, wrong)


def test_what_each_spacing_spaces():
    lam = (SCHED.alpha_bar[1:] / (1 - SCHED.alpha_bar[1:])).log() / 2
    gaps = torch.tensor([lam[t - 1] for t in log_snr_times(SCHED, 6)[:-1]]).diff()
    assert gaps.max() / gaps.min() < 1.05
    gaps = torch.tensor([(-lam[t - 1]).exp() ** (1 / 7) for t in karras_times(SCHED, 6)[:-1]]).diff()
    assert gaps.max() / gaps.min() < 1.05
    assert bent_times(SCHED, 10, power=1) == spaced_times(1000, 10)
    assert bent_times(SCHED, 5) == [1000, 855, 667, 458, 235, 0]
    for wrong in (0, -1, math.inf, math.nan):
        with pytest.raises(ValueError, match="power must be a finite number above 0"):
            bent_times(SCHED, 5, power=wrong)
        with pytest.raises(ValueError, match="rho must be a finite number above 0"):
            karras_times(SCHED, 5, rho=wrong)
    assert times_for("dpm-solver", SCHED, 5) == bent_times(SCHED, 5)
    assert times_for("ddpm", SCHED, 5) == times_for("ddim", SCHED, 5) == spaced_times(1000, 5)
    with pytest.raises(ValueError, match="must be one of dpm-solver, ddim, ddpm, got 'dpmsolver'"):
        times_for("dpmsolver", SCHED, 5)


def test_the_command_line_has_the_same_names():
    assert tuple(SAMPLERS) == drawing.SAMPLERS


# --- the best variance --------------------------------------------------------------------------------------


@pytest.mark.equation("10.10", by="analytic_dpm")
@pytest.mark.parametrize("v", [0.01, 0.25, 2.0])
def test_ancestral_sampling_with_the_best_variance_is_exact_on_a_gaussian(v):
    """However long the strides: x_s has variance c_s after each. A 1 is sent for x_T and for each noise. With
    a tenth less than what the network is unsure of, less than that comes out."""
    denoise, times = gaussian(v), [1000, 700, 300, 50]
    ab = SCHED.alpha_bar
    c = ab * v + 1 - ab
    errors = torch.stack([v * (1 - ab[t]) / c[t] for t in times[:-1]])[:, None]
    for scale, holds in ((1.0, True), (0.9, False)):
        sent = iter(torch.eye(4, **F64)[1:])
        x = torch.eye(4, **F64)[0][:, None] * c[1000].sqrt()
        walk = analytic_dpm(
            denoise, x, times, lambda _, sent=sent: next(sent)[:, None], errors=scale * errors, clip=False
        )
        ends = [x.square().sum().item() for x in walk]
        assert len(ends) == 3
        same = [end == pytest.approx(c[s].item(), rel=1e-10) for end, s in zip(ends, times[1:], strict=True)]
        assert all(same) if holds else not any(same)


def test_the_errors_are_those_of_each_pixel():
    "Against the posterior variance of Gaussian data; a pixel that never changes has none."
    v, n = 0.25, 20_000
    data = GaussianMixture(torch.ones(1, **F64), torch.zeros(1, 2, **F64), torch.tensor([[v, 0.0]], **F64))
    x0, times = data.sample(n, torch.Generator().manual_seed(0)), [900, 400, 100, 0]
    errors = x0_errors(best(data), x0, times, stream(), clip=False)
    ab = SCHED.alpha_bar[times[:-1]]
    want = v * (1 - ab) / (ab * v + 1 - ab)
    assert errors.shape == (3, 2)
    assert ((errors[:, 0] / want - 1).abs() < 4.5 * (2 / n) ** 0.5).all()
    assert (errors[:, 1] < 1e-12).all()


def test_errors_of_another_walk_are_refused():
    x, errors = torch.zeros(4, 1, **F64), torch.zeros(3, 1, **F64)
    with pytest.raises(ValueError, match=r"errors must have shape \(2, 1\), one for each step, got \(3, 1\)"):
        next(analytic_dpm(EXACT, x, [1000, 500, 0], stream(), errors=errors))
    with pytest.raises(ValueError, match="times must fall strictly"):
        x0_errors(EXACT, x, [0, 500], stream())
    with pytest.raises(ValueError, match="x0 must hold at least one image, got 0"):
        x0_errors(EXACT, x[:0], [500, 0], stream())


def test_errors_of_another_precision_leave_that_of_the_images():
    x, times = torch.zeros(4, 1), [1000, 500, 0]
    states = analytic_dpm(EXACT, x, times, stream(), errors=torch.full((2, 1), 0.1, **F64))
    assert {state.dtype for state in states} == {torch.float32}


def test_without_errors_it_is_ancestral_sampling():
    x, times = torch.randn(5, 1, generator=torch.Generator().manual_seed(0), **F64), spaced_times(1000, 6)
    errors = torch.zeros(6, 1, **F64)
    got = list(analytic_dpm(EXACT, x, times, stream(), errors=errors))
    want = list(ddpm(EXACT, x, times, stream()))
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(got, want, strict=True))
