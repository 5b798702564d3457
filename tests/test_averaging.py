"""Averages of weights that grow with the run, and those that are rebuilt afterwards from files.

Profiles are also made step by step in exact fractions, and mixtures by least squares over all steps in numpy.
"""

import functools
import math
import tempfile
from fractions import Fraction

import numpy as np
import pytest
import torch
from small_networks import small
from torch import nn

from ddpm_abc.averaging import (
    WIDEST,
    PowerEMA,
    gamma_to_sigma_rel,
    posthoc_weights,
    power_ema_decay,
    power_profile,
    profile_overlap,
    rebuild,
    save_snapshot,
    sigma_rel_to_gamma,
)
from ddpm_abc.parameterization import Denoiser
from ddpm_abc.schedule import linear_schedule
from ddpm_abc.storage import load_weights, save_weights
from ddpm_abc.training import train

SCHED = linear_schedule()


def gaussian_nodes(low, high, n=60):
    "Nodes and weights of an integral from low to high."
    x, w = np.polynomial.legendre.leggauss(n)
    return (high - low) * (x + 1) / 2 + low, (high - low) * w / 2


@pytest.mark.equation("94b.1", by="power_ema_decay")
@pytest.mark.equation("94b.2", by="power_profile")
@pytest.mark.parametrize("gamma", [0, 1, 7])
def test_the_decays_give_each_step_the_area_of_its_profile(gamma):
    "In exact fractions: the average is built up by (94b.1), and what each step weighs is read off."
    weights = []
    for t in range(1, 41):
        past = Fraction(t - 1, t) ** (gamma + 1)
        assert abs(power_ema_decay(t, gamma) - past) < 1e-15
        weights = [past * w for w in weights] + [1 - past]
    assert sum(weights) == 1
    found = power_profile(40, gamma).tolist()
    assert max(abs(a - b) for a, b in zip(found, weights, strict=True)) < 1e-15
    for i in (1, 17, 40):  # by quadrature of the power function over one step
        tau, w = gaussian_nodes(i - 1, i)
        area = (w * (gamma + 1) * tau**gamma).sum() / 40 ** (gamma + 1)
        assert abs(found[i - 1] - area) < 1e-14


@pytest.mark.equation("94b.3", by="gamma_to_sigma_rel")
@pytest.mark.parametrize("gamma", [0.0, 0.5, 6.94, 40.0])
def test_the_width_is_the_standard_deviation_of_the_profile(gamma):
    tau, w = gaussian_nodes(0, 1)
    p = w * (gamma + 1) * tau**gamma
    mean = (p * tau).sum()
    width = math.sqrt((p * (tau - mean) ** 2).sum())
    assert abs(gamma_to_sigma_rel(gamma) - width) < 1e-6
    assert abs(sigma_rel_to_gamma(min(width, WIDEST)) - gamma) < 1e-4


def test_the_papers_two_widths():
    "Karras et al. 2024, section 3.2: sigma_rel 0.05 and 0.10 are gamma 16.97 and 6.94."
    assert round(sigma_rel_to_gamma(0.05), 2) == 16.97
    assert round(sigma_rel_to_gamma(0.10), 2) == 6.94
    assert sigma_rel_to_gamma(WIDEST) < 1e-6


@pytest.mark.parametrize("width", [0.0, -0.1, 0.29, math.nan, math.inf])
def test_a_width_that_no_profile_has_is_refused(width):
    with pytest.raises(ValueError, match=r"sigma_rel must lie in \(0, 0.2887\], got"):
        PowerEMA(nn.Linear(1, 1), width)


@pytest.mark.equation("94b.5", by="profile_overlap")
@pytest.mark.parametrize("a", [(3.0, 6.94), (10.0, 2.0)])
@pytest.mark.parametrize("b", [(3.0, 16.97), (7.5, 0.0), (10.0, 6.94)])
def test_the_overlap_is_the_integral_of_the_product(a, b):
    tau, w = gaussian_nodes(0, min(a[0], b[0]))
    p, q = ((gamma + 1) * tau**gamma / t ** (gamma + 1) for t, gamma in (a, b))
    found = profile_overlap(*(torch.tensor(v, dtype=torch.float64) for v in (*a, *b))).item()
    assert found == pytest.approx((w * p * q).sum(), rel=1e-9)


def snapshots(T, n, widths=(0.05, 0.10)):
    "Ends and exponents of n snapshots of each width in a run of T steps, and what each step weighs in them."
    ends = [T * k // n for k in range(1, n + 1)] * len(widths)
    gammas = [sigma_rel_to_gamma(width) for width in widths for _ in range(n)]
    rows = np.zeros((len(ends), T))
    for row, end, gamma in zip(rows, ends, gammas, strict=True):
        row[:end] = np.diff((np.arange(end + 1) / end) ** (gamma + 1))
    return torch.tensor(ends), torch.tensor(gammas, dtype=torch.float64), rows


@pytest.mark.equation("94b.4", by="posthoc_weights")
@pytest.mark.parametrize("width", [0.03, 0.075, 0.15, 0.25])
def test_the_mixture_is_the_nearest_one(width):
    "Another program: least squares over all steps, without the closed form."
    T, gamma = 4000, sigma_rel_to_gamma(width)
    ends, gammas, rows = snapshots(T, 6)
    wanted = np.diff((np.arange(T + 1) / T) ** (gamma + 1))
    best = np.linalg.lstsq(rows.T, wanted, rcond=None)[0]
    found = posthoc_weights(ends, gammas, T, gamma).numpy()
    assert abs(found.sum() - 1) < 1e-12
    assert np.linalg.norm(rows.T @ (found - best / best.sum())) < 0.002 * np.linalg.norm(wanted)


@pytest.mark.equation("94b.4", by="posthoc_weights")
def test_what_is_stored_is_taken_as_it_is():
    ends, gammas, _ = snapshots(1000, 5)
    for k in (0, 4, 7):
        found = posthoc_weights(ends, gammas, ends[k].item(), gammas[k].item())
        assert (found - torch.eye(10, dtype=torch.float64)[k]).abs().max() < 1e-6
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    whole = posthoc_weights(ends, gammas, 1000, 4.0)
    assert torch.allclose(posthoc_weights(ends[order], gammas[order], 1000, 4.0), whole[order], atol=1e-6)


@pytest.mark.equation("94b.1", by="PowerEMA.past")
def test_the_average_of_a_training_is_the_profile_of_its_steps():
    torch.manual_seed(0)
    net = small()
    average = PowerEMA(net, 0.10)
    opt, steps = torch.optim.SGD(net.parameters(), lr=0.05), []
    for _ in train(Denoiser(net, SCHED), torch.rand(12, 4, 1, 8, 8) * 2 - 1, opt, ema=average):
        steps.append(nn.utils.parameters_to_vector(net.parameters()).detach().double().clone())
    by_profile = power_profile(12, average.gamma) @ torch.stack(steps)
    found = nn.utils.parameters_to_vector(average.model.parameters()).double()
    moved = (steps[-1] - steps[0]).abs().max()
    assert average.n == 12
    assert (found - by_profile).abs().max() < 1e-4 * moved


def flat(net):
    return nn.utils.parameters_to_vector(net.parameters()).double()


@functools.cache
def run():
    "120 steps of a small network, 12 snapshots of two averages, and a third average that is kept directly."
    folder = tempfile.TemporaryDirectory()
    net = small()
    denoise = Denoiser(net, SCHED)
    stored, direct = [PowerEMA(net, width) for width in (0.05, 0.10)], PowerEMA(net, 0.075)
    opt, g = torch.optim.Adam(net.parameters(), lr=5e-3), torch.Generator().manual_seed(0)
    data = (torch.rand(4, 1, 8, 8, generator=g) * 2 - 1 for _ in range(120))
    paths = []
    for out in train(denoise, data, opt, ema=direct, generator=g):
        for average in stored:
            average.update(net)
            if out.step % 10 == 0:
                paths.append(save_snapshot(folder.name, average, denoise))
    return net, paths, direct, folder  # which goes with the last reference to it


def off(rebuilt, direct, net):
    "The error of a rebuilt average, as a share of what averaging changes."
    wanted = flat(direct.model)
    return ((flat(rebuilt) - wanted).norm() / (flat(net) - wanted).norm()).item()


def test_rebuilt_averages_come_the_nearer_the_more_files_there_are():
    net, paths, direct, _ = run()
    errors = []
    for every in (4, 2, 1):  # of the snapshots: the last one of each width is always among them
        some = [path for i, path in enumerate(paths) if (i // 2 + 1) % every == 0]
        errors.append(off(rebuild(some, 0.075).denoise.net, direct, net))
    assert errors[2] < errors[1] < errors[0] < 0.1
    assert errors[2] < 0.01


def test_a_rebuilt_average_is_ready_to_draw():
    _, paths, *_ = run()
    denoise, info = rebuild(paths, 0.15, step=100)
    assert not denoise.net.training
    assert denoise.predicts == "eps"
    assert denoise.sched.recipe == SCHED.recipe
    assert info == {"steps": 100, "sigma_rel": 0.15, "files": 24}
    assert next(denoise.net.parameters()).dtype == torch.float32


def test_a_stored_average_is_rebuilt_as_it_is():
    _, paths, *_ = run()
    stored = load_weights(paths[-1])
    assert (stored.info["steps"], stored.info["sigma_rel"]) == (120, 0.10)
    assert (flat(rebuild(paths, 0.10).denoise.net) - flat(stored.denoise.net)).abs().max() < 1e-5


def test_widths_that_are_nearly_the_same_have_files_of_their_own(tmp_path):
    net, widths = small(), (0.1, 0.1000001)
    files = [save_snapshot(tmp_path, PowerEMA(net, width), Denoiser(net, SCHED)) for width in widths]
    assert [path.name for path in files] == [f"average-{width}-0.safetensors" for width in widths]


def test_what_cannot_be_rebuilt_is_refused(tmp_path):
    net, paths, *_ = run()
    with pytest.raises(ValueError, match="needs files of save_snapshot, got none"):
        rebuild([], 0.1)
    with pytest.raises(TypeError, match=r"a list of files of save_snapshot, got a single path, '.*-0.1-120"):
        rebuild(str(paths[-1]), 0.1)
    for step in (0, 9, 121):
        with pytest.raises(ValueError, match=rf"step must lie in 10\.\.120, where the files end, got {step}"):
            rebuild(paths, 0.1, step)
    with pytest.raises(ValueError, match=r"average-0.1-120.safetensors alone gives only its own average"):
        rebuild(paths[-1:], 0.05)
    assert rebuild((path for path in paths[-1:]), 0.1).info == {"steps": 120, "sigma_rel": 0.1, "files": 1}
    with pytest.raises(ValueError, match="sigma_rel must lie in"):
        rebuild(paths, 0.5)
    plain = tmp_path / "weights.safetensors"
    save_weights(plain, Denoiser(net, SCHED), steps=120)
    with pytest.raises(ValueError, match=r"weights.safetensors is no stored average: .* sigma_rel None"):
        rebuild([*paths, plain], 0.1)
    narrow = small(channels=(16, 16))
    for what, other in (
        ("network", Denoiser(narrow, SCHED)),
        ("target", Denoiser(net, SCHED, "v")),
        ("schedule", Denoiser(net, linear_schedule(500, 2e-4, 0.04))),
    ):
        average = PowerEMA(other.net)
        average.update(other.net)
        path = save_snapshot(tmp_path, average, other)
        with pytest.raises(ValueError, match=rf"average-0.1-1.safetensors holds another {what} than"):
            rebuild([*paths, path], 0.1)


def test_profiles_are_on_the_cpu_whatever_the_default_device():
    "The meta device stands for a GPU."
    t, gamma = torch.tensor([10, 20]), torch.tensor([3.0, 5.0])
    expected = power_profile(10, 3.0), posthoc_weights(t, gamma, 20, 4.0)
    with torch.device("meta"):
        got = power_profile(10, 3.0), posthoc_weights(t, gamma, 20, 4.0)
    assert all(map(torch.equal, got, expected))
