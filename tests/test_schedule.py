"The schedule's tables against formulas computed with plain floats, its ends, its warning, and its look-ups."

import json
import math
import re
import warnings

import numpy as np
import pytest
import torch

from ddpm_abc.gaussian import GaussianMixture, mixture_eps_model
from ddpm_abc.guidance import drop_labels
from ddpm_abc.parameterization import Denoiser
from ddpm_abc.schedule import (
    LARGEST_T,
    Schedule,
    broadcast,
    build_schedule,
    cosine_schedule,
    extract,
    linear_schedule,
    schedule_from_beta,
)
from ddpm_abc.solvers import karras_times, log_snr_times
from ddpm_abc.training import sample_t

TS = (1, 2, 10, 1000)
KINDS = {"linear": linear_schedule, "cosine": cosine_schedule}


def quietly(make, *args, **kwargs):
    "Build a schedule that may stop short of noise."
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="the schedule stops short of noise")
        return make(*args, **kwargs)


def warned(make, *args, **kwargs):
    "The messages of all warnings raised while building."
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make(*args, **kwargs)
    return [str(w.message) for w in caught]


@pytest.fixture(params=[(k, T) for k in KINDS for T in TS], ids=lambda p: f"{p[0]}-{p[1]}")
def sched(request):
    kind, T = request.param
    return quietly(KINDS[kind], T)


# --- tables -------------------------------------------------------------------------------------------------


def test_shape_precision_and_row_zero(sched):
    tables = {name: getattr(sched, name) for name in ("beta", "alpha", "alpha_bar", "beta_tilde", "snr")}
    for name, table in tables.items():
        assert table.shape == (sched.T + 1,), name
        assert table.dtype == torch.float64, name
        assert table.device.type == "cpu", name
    assert [table[0].item() for table in tables.values()] == [0, 1, 1, 0, math.inf]
    assert torch.equal(sched.alpha + sched.beta, torch.ones_like(sched.beta))


def test_bounds_and_monotone(sched):
    assert ((sched.beta[1:] > 0) & (sched.beta[1:] < 1)).all()
    assert (sched.beta[1:].diff() >= 0).all()
    assert (sched.alpha_bar > 0).all()
    assert (sched.alpha_bar.diff() < 0).all()
    assert (sched.snr.diff() < 0).all()
    assert (sched.beta_tilde[1:] < sched.beta[1:]).all()
    assert (sched.beta_tilde >= 0).all()


@pytest.mark.equation("1.2", by="schedule_from_beta")
def test_alpha_bar_is_the_product_of_the_alphas(sched):
    product = 1.0
    for t, beta in enumerate(sched.beta.tolist()):
        product *= 1 - beta
        assert sched.alpha_bar[t].item() == pytest.approx(product, rel=1e-12)


@pytest.mark.equation("1.3", by="Schedule.beta_tilde")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("T", TS)
def test_beta_tilde_against_bayes(kind, T):
    "Precisions add: 1 / beta_tilde_t = alpha_t / beta_t + 1 / (1 - alpha_bar_{t-1})."
    sched = quietly(KINDS[kind], T)
    assert sched.beta_tilde[1] == 0
    beta, alpha_bar = sched.beta.tolist(), sched.alpha_bar.tolist()
    for t in range(2, sched.T + 1):
        precision = (1 - beta[t]) / beta[t] + 1 / (1 - alpha_bar[t - 1])
        assert sched.beta_tilde[t].item() == pytest.approx(1 / precision, rel=1e-9)


@pytest.mark.equation("1.4", by="Schedule.snr")
def test_snr(sched):
    for t in range(1, sched.T + 1):
        ab = sched.alpha_bar[t].item()
        assert sched.snr[t].item() == pytest.approx(ab / (1 - ab), rel=1e-15)


# --- linear -------------------------------------------------------------------------------------------------


@pytest.mark.equation("1.6", by="linear_schedule")
@pytest.mark.parametrize("T", TS)
def test_linear_against_the_formula(T):
    sched = quietly(linear_schedule, T)
    for t in range(1, T + 1):
        expected = 1e-4 + (0.02 - 1e-4) * ((t - 1) / (T - 1) if T > 1 else 0)
        assert sched.beta[t].item() == pytest.approx(expected, rel=1e-12)


def test_linear_golden_numbers():
    sched = linear_schedule()
    assert sched.T == 1000
    assert sched.beta[1].item() == 1e-4
    assert sched.beta[1000].item() == 0.02
    assert sched.alpha_bar[1000].item() == pytest.approx(4.0358e-5, rel=1e-5)


@pytest.mark.parametrize(("T", "left"), [(200, 0.36), (50, 0.78)])
def test_the_same_betas_over_fewer_steps_stop_short(T, left):
    sched = quietly(linear_schedule, T)
    assert sched.alpha_bar[-1].sqrt().item() == pytest.approx(left, abs=0.005)


# --- cosine -------------------------------------------------------------------------------------------------


def cosine_by_hand(T, s):
    "Nichol & Dhariwal 2021, Eq. 17, with floats: (beta_1..beta_T, alpha_bar_0..alpha_bar_T)."

    def f(t):
        return math.cos((t / T + s) / (1 + s) * math.pi / 2) ** 2

    betas = [min(1 - (f(t) / f(0)) / (f(t - 1) / f(0)), 0.999) for t in range(1, T + 1)]
    alpha_bars = [1.0]
    for b in betas:
        alpha_bars.append(alpha_bars[-1] * (1 - b))
    return betas, alpha_bars


@pytest.mark.equation("1.10", "1.11", by="cosine_schedule")
@pytest.mark.parametrize("T", TS)
@pytest.mark.parametrize("s", [0, 0.008, 0.1])
def test_cosine_against_the_formula(T, s):
    sched = quietly(cosine_schedule, T, s)
    betas, alpha_bars = cosine_by_hand(T, s)
    assert sched.beta[1:].tolist() == pytest.approx(betas, rel=1e-9)
    assert sched.alpha_bar.tolist() == pytest.approx(alpha_bars, rel=1e-9)


def test_cosine_is_divided_by_f0_and_capped_once():
    sched = cosine_schedule()
    f0, f500 = (math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 for t in (0, 500))
    assert f0 < 0.9999
    assert sched.alpha_bar[500].item() == pytest.approx(f500 / f0, rel=1e-12)
    assert (sched.beta == 0.999).nonzero().flatten().tolist() == [1000]
    assert sched.alpha_bar[-1].item() == pytest.approx(2.4288e-9, rel=1e-4)


def test_cosine_destroys_more_evenly():
    "Noise outweighs signal in the middle, where the linear schedule has long been there."
    first_below = {kind: (make().snr < 1).int().argmax().item() for kind, make in KINDS.items()}
    assert first_below == {"linear": 260, "cosine": 497}


# --- warning ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "args"),
    [
        (linear_schedule, ()),
        (linear_schedule, (200, 5e-4, 0.1)),
        (linear_schedule, (21, 0.1 / 21, 20 / 21)),
        (cosine_schedule, ()),
        (cosine_schedule, (3,)),
        (schedule_from_beta, (torch.full((7,), 0.7),)),
        (schedule_from_beta, (torch.tensor([0.9997]),)),  # sqrt(alpha_bar_T) = 0.0173
        (schedule_from_beta, ([1.0],)),
    ],
)
def test_silent_when_the_schedule_reaches_noise(make, args):
    assert warned(make, *args) == []


@pytest.mark.parametrize(
    ("make", "args", "left"),
    [
        (linear_schedule, (200,), "0.364"),
        (linear_schedule, (50,), "0.776"),
        (cosine_schedule, (2,), "0.022"),
        (schedule_from_beta, (torch.tensor([0.9995]),), "0.022"),
    ],
)
def test_warns_when_the_schedule_stops_short(make, args, left):
    (message,) = warned(make, *args)
    sched = quietly(make, *args)
    for part in (
        "stops short of noise",
        f"sqrt(alpha_bar_T) = {left}",
        f"T = {sched.T}",
        "0.02",
        "cosine_schedule(T)",
    ):
        assert part in message


@pytest.mark.parametrize(
    "call", ["linear_schedule(50)", "cosine_schedule(1)", "schedule_from_beta(torch.tensor([0.5]))"]
)
def test_the_warning_points_at_the_caller(call):
    with pytest.warns(UserWarning, match="stops short") as record:
        eval(compile(call, "the_users_file.py", "eval"))
    assert record[0].filename == "the_users_file.py"


@pytest.mark.equation("1.8", by="linear_schedule")
def test_the_warnings_remedy_works():
    for T in (25, 50, 100, 200, 500):
        assert warned(linear_schedule, T) != []
        assert warned(linear_schedule, T, 0.1 / T, 20 / T) == []


# --- schedule_from_beta and Schedule ------------------------------------------------------------------------


def test_from_beta_takes_any_precision_and_detaches():
    beta = torch.linspace(0.1, 0.9, 9, requires_grad=True)
    sched = schedule_from_beta(beta)
    assert sched.beta.dtype == torch.float64
    assert not sched.beta.requires_grad
    assert torch.equal(sched.beta[1:], beta.detach().double())


def test_from_beta_takes_lists_and_arrays():
    betas = [0.5, 0.9, 0.999]
    for given in (betas, tuple(betas), np.array(betas)):
        sched = schedule_from_beta(given)
        assert sched.beta[1:].tolist() == betas
        assert sched.recipe == {"kind": "betas", "beta": betas}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_whole_numbers_of_other_libraries_are_steps(make):
    "The recipe can be written as JSON all the same."
    for T in (np.int64(30), np.uint8(30), torch.tensor(30)):
        sched = quietly(make, T)
        assert sched.T == 30
        assert json.loads(json.dumps(sched.recipe))["T"] == 30


@pytest.mark.parametrize("number", [np.float32, torch.tensor])
def test_numbers_of_other_libraries_can_be_written_as_json(number):
    "So that a file can hold the schedule at the end of a training with it."
    for sched in (linear_schedule(1000, number(1e-4), number(0.02)), cosine_schedule(30, number(0.008))):
        again = build_schedule(json.loads(json.dumps(sched.recipe)))
        assert torch.equal(again.beta, sched.beta)


def test_tables_and_draws_are_on_the_cpu_whatever_the_default_device():
    "The meta device stands for a GPU, of which `torch.set_default_device` speaks."
    data, x, y = mixture_of_one(), torch.ones(3, 1), torch.tensor([0, 1, 2])
    with torch.device("meta"):
        scheds = [linear_schedule(), cosine_schedule(), schedule_from_beta([0.5, 0.9, 0.9999])]
        scheds += [build_schedule(sched.recipe) for sched in scheds]
        tables = [table for s in scheds for table in (s.beta, s.alpha, s.alpha_bar, s.beta_tilde, s.snr)]
        drawn = [sample_t(scheds[0], 3), data.sample(3), drop_labels(y, 3), extract(scheds[0].beta, 5)]
        drawn += [Denoiser(mixture_eps_model(data, scheds[0].alpha_bar), scheds[0])(x, 5).x0]
        assert {tensor.device.type for tensor in tables + drawn} == {"cpu"}
        assert len(log_snr_times(scheds[0], 5)) == len(karras_times(scheds[0], 5)) == 6


def mixture_of_one():
    one = torch.ones(1, dtype=torch.float64)
    return GaussianMixture(one, one[None], one)


@pytest.mark.equation("1.9", by="schedule_from_beta")
def test_respaced_schedule_keeps_alpha_bar():
    kept = linear_schedule().alpha_bar[::50]
    sched = schedule_from_beta(1 - kept[1:] / kept[:-1])
    assert sched.T == 20
    assert torch.allclose(sched.alpha_bar, kept, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("bad", "low", "high"),
    [
        ([0.1, 0.0], "0", "0.1"),
        ([0.1, 1.0, 0.1], "0.1", "1"),
        ([1.0, 0.5, 0.1], "0.1", "1"),
        ([-0.1], "-0.1", "-0.1"),
        ([0.1, math.nan], "nan", "nan"),
        ([1.5], "1.5", "1.5"),
        ([1.5, 0.3], "0.3", "1.5"),
    ],
)
def test_from_beta_rejects_values_outside_0_1(bad, low, high):
    with pytest.raises(ValueError, match=rf"beta\[1:\] must lie in \(0, 1\), .* a range of {low} to {high}$"):
        schedule_from_beta(torch.tensor(bad))


@pytest.mark.parametrize(("shape", "named"), [((2, 3), r"\(2, 3\)"), ((), r"\(\)"), ((0,), "T >= 1")])
def test_from_beta_rejects_shapes(shape, named):
    with pytest.raises(ValueError, match=named):
        schedule_from_beta(torch.full(shape, 0.5))


def test_a_schedule_without_signal_is_refused():
    with pytest.raises(ValueError, match="alpha_bar_T = .* leaves no signal"):
        linear_schedule(100_000)  # alpha_bar_T = exp(-1005) is zero in float64


def test_a_schedule_that_begins_without_noise_is_refused():
    betas = torch.tensor([1e-17, 0.5, 0.9999], dtype=torch.float64)
    with pytest.raises(ValueError, match=r"alpha_bar\[1:\] must be below 1, got 1 with beta_1 = 1e-17"):
        schedule_from_beta(betas)
    betas[0] = 1.2e-16
    assert schedule_from_beta(betas).beta_tilde.isfinite().all()
    sched = schedule_from_beta([1e-11, 0.5, 0.9999])
    rounded_up = replace(sched.alpha_bar.clone(), 1, 1 + 1e-10)
    with pytest.raises(ValueError, match=r"must be below 1, got 1\.0000000001.* with beta_1 = 1e-11"):
        Schedule(sched.beta, rounded_up)


def tables(T=5):
    sched = quietly(linear_schedule, T)
    return sched.beta.clone(), sched.alpha_bar.clone()


def test_schedule_takes_consistent_tables():
    beta, alpha_bar = tables()
    assert Schedule(beta, alpha_bar).T == 5


def replace(table, t, value):
    table[t] = value
    return table


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda b, a: (b[1:], a[1:]), r"beta\[0\] must be 0.*0\.0001"),
        (lambda b, a: (b, a[1:]), r"\(6,\) and \(5,\)"),
        (lambda b, a: (b[1:], a), r"\(5,\) and \(6,\)"),
        (lambda b, a: (b[:1], a[:1]), "T >= 1"),
        (lambda b, a: (b[0], a[0]), r"got \(\) and \(\)"),
        (lambda b, a: (b[None], a[None]), r"\(1, 6\)"),
        (lambda b, a: (b.expand(3, 6), a.expand(3, 6)), r"\(3, 6\) and \(3, 6\)"),
        (lambda b, a: (b.float(), a.float()), "float32 and torch.float32"),
        (lambda b, a: (b.float(), a), "float32 and torch.float64"),
        (lambda b, a: (b, a.float()), "float64 and torch.float32"),
        (lambda b, a: (replace(b, 0, -1e-4), a), r"beta\[0\] must be 0.*got -0\.0001 and 1\.0$"),
        (lambda b, a: (replace(b, 0, 1e-4), a), r"beta\[0\] must be 0.*got 0\.0001 and 1\.0$"),
        (lambda b, a: (b, replace(a, 0, 0.999)), r"alpha_bar\[0\] must be 1.*got 0\.0 and 0\.999$"),
        (lambda b, a: (b, replace(a, 0, 1.001)), r"alpha_bar\[0\] must be 1.*got 0\.0 and 1\.001$"),
        (lambda b, a: (replace(b, 2, 1.5), a), r"\(0, 1\), .* got a range of 0\.0001 to 1\.5"),
        (lambda b, a: (b, replace(a, 3, a[3] * (1 + 1e-6))), "schedule_from_beta"),
        (lambda b, a: (b, a.roll(-1)), r"alpha_bar\[0\] must be 1"),
    ],
)
def test_schedule_rejects_tables_that_disagree(spoil, named):
    with pytest.raises(ValueError, match=named):
        Schedule(*spoil(*tables()))


def test_schedule_is_frozen_and_says_what_it_is():
    sched = linear_schedule()
    with pytest.raises(AttributeError):
        sched.beta = sched.alpha
    assert repr(sched) == "Schedule(T=1000, sqrt(alpha_bar_T)=0.00635)"
    assert sched != linear_schedule()  # tables are not compared


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("T", [0, -1, 2.0, "10", None, True])
def test_T_must_be_a_positive_whole_number(make, T):
    with pytest.raises(ValueError, match=f"T must be a whole number of steps, at least 1, got {T!r}"):
        make(T)


@pytest.mark.parametrize(
    ("low", "high"), [(0, 0.02), (-1e-4, 0.02), (0.03, 0.02), (1e-4, 1), (1e-4, 1.5), (1e-4, math.nan)]
)
def test_linear_rejects_betas_out_of_range(low, high):
    with pytest.raises(ValueError, match=f"beta_min = {low}, beta_max = {high}"):
        linear_schedule(1000, low, high)


def test_a_linear_schedule_may_be_level():
    assert (linear_schedule(1000, 0.02, 0.02).beta[1:] == 0.02).all()


@pytest.mark.parametrize("s", [-0.001, math.nan, math.inf])
def test_cosine_rejects_s(s):
    with pytest.raises(ValueError, match=f"got {s}"):
        cosine_schedule(1000, s)


# --- extract ------------------------------------------------------------------------------------------------


def test_extract_takes_numbers_and_tensors():
    sched = linear_schedule()
    times = [0, 1, 17, 1000]
    together = extract(sched.alpha_bar, torch.tensor(times))
    assert together.shape == (4,)
    assert together.dtype == torch.float64
    for t, value in zip(times, together, strict=True):
        for given in (t, torch.tensor(t), np.int64(t)):
            single = extract(sched.alpha_bar, given)
            assert single.shape == ()
            assert single == value == sched.alpha_bar[t]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_extract_takes_every_whole_number_type(dtype):
    "A uint8 index would be taken for a mask."
    table = linear_schedule().beta
    assert torch.equal(extract(table, torch.tensor([0, 1, 1, 5], dtype=dtype)), table[[0, 1, 1, 5]])


def test_extract_takes_no_times():
    assert extract(linear_schedule().beta, torch.empty(0, dtype=torch.int64)).shape == (0,)


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("T", TS)
def test_extract_refuses_times_outside(make, T):
    table = quietly(make, T).alpha_bar
    for bad in (-1, T + 1):
        with pytest.raises(IndexError, match=rf"0\.\.{T}, got {bad}$"):
            extract(table, bad)
        with pytest.raises(IndexError, match=rf"0\.\.{T}, got {bad}$"):
            extract(table, torch.tensor([0, T, bad, T + 9]))  # the first is named
    with pytest.raises(IndexError, match=rf"0\.\.{T}, got {T + 9}$"):
        extract(table, T + 9)


def test_no_limit_wraps_in_a_small_type():
    "T = 1000 is 232 in uint8 and -24 in int8."
    sched = linear_schedule()
    eps_model = mixture_eps_model(mixture_of_one(), sched.alpha_bar)
    for t in (torch.tensor([240, 255], dtype=torch.uint8), torch.tensor([100, 127], dtype=torch.int8)):
        x = torch.ones(2, 1)
        assert torch.equal(extract(sched.beta, t), sched.beta[t.long()])
        assert torch.equal(eps_model(x, t), eps_model(x, t.long()))
        assert torch.equal(Denoiser(eps_model, sched)(x, t).x0, Denoiser(eps_model, sched)(x, t.long()).x0)


@pytest.mark.parametrize("bad", [0.5, 1.0, torch.tensor([1.0, 2.0]), torch.tensor([True, False]), True])
def test_extract_refuses_what_is_no_whole_number(bad):
    with pytest.raises(TypeError, match="whole numbers"):
        extract(linear_schedule().alpha_bar, bad)


# --- broadcast ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3,), (3, 2), (3, 1, 4, 5), (3, 3, 3, 3)])
def test_broadcast_gives_each_item_its_coefficient(dtype, shape):
    "The last shape is the trap: a bare product would spread the coefficients over the columns."
    coef, x = torch.tensor([0.5, 2.0, 8.0], dtype=torch.float64), torch.ones(shape, dtype=dtype)
    shaped = broadcast(coef, x)
    assert shaped.shape == (3,) + (1,) * (len(shape) - 1)
    assert shaped.dtype == dtype
    product = shaped * x
    assert product.shape == shape
    assert product.dtype == dtype
    for i in range(3):
        assert (product[i] == coef[i].to(dtype)).all()


def test_broadcast_of_one_coefficient_is_a_number():
    x = torch.ones(3, 1, 4, 5)
    shaped = broadcast(torch.tensor(0.1, dtype=torch.float64), x)
    assert shaped.shape == ()
    assert shaped.dtype == torch.float32
    assert shaped == torch.tensor(0.1, dtype=torch.float32)


def test_broadcast_rounds_once():
    "1 - alpha_bar_1 = 1e-4 keeps float32's full precision, which 1 - float32(alpha_bar_1) does not."
    ab = extract(linear_schedule().alpha_bar, 1)
    assert broadcast(1 - ab, torch.ones(1)).item() == np.float32(1e-4)
    assert (1 - ab.float()).item() != np.float32(1e-4)


@pytest.mark.parametrize(
    ("coef_shape", "x_shape"), [((3,), (4, 1, 2, 2)), ((1,), (4, 1, 2, 2)), ((3, 1), (3, 1)), ((2,), ())]
)
def test_broadcast_refuses_a_wrong_number_of_coefficients(coef_shape, x_shape):
    with pytest.raises(ValueError, match=r"one time.*got times of shape \(" + str(coef_shape[0])):
        broadcast(torch.ones(coef_shape, dtype=torch.float64), torch.ones(x_shape))


def test_broadcast_refuses_raw_pixels():
    with pytest.raises(TypeError, match=r"torch\.uint8.*to_unit"):
        broadcast(torch.ones((), dtype=torch.float64), torch.zeros(2, 1, 4, 4, dtype=torch.uint8))


# --- recipes ------------------------------------------------------------------------------------------------


def zero_terminal():
    "Betas whose last step leaves nothing of the data."
    return schedule_from_beta(
        torch.cat([torch.linspace(0.01, 0.3, 20, dtype=torch.float64), torch.ones(1, dtype=torch.float64)])
    )


@pytest.mark.parametrize(
    "make",
    [
        linear_schedule,
        lambda: linear_schedule(50, 0.002, 0.4),
        cosine_schedule,
        lambda: cosine_schedule(7, 0.1),
        lambda: schedule_from_beta(torch.linspace(0.02, 0.6, 10)),
        zero_terminal,
    ],
)
def test_a_schedule_is_built_again_from_its_recipe(make):
    "To the bit, and after a trip through JSON."
    sched = make()
    again = build_schedule(json.loads(json.dumps(sched.recipe)))
    assert torch.equal(again.beta, sched.beta)
    assert again.recipe == sched.recipe


def test_recipes_of_older_files_are_understood():
    assert torch.equal(build_schedule({"kind": "linear", "T": 200}).beta, quietly(linear_schedule, 200).beta)
    assert torch.equal(build_schedule({"kind": "cosine", "T": 200}).beta, cosine_schedule(200).beta)


@pytest.mark.parametrize(
    ("recipe", "named"),
    [
        ("linear", 'a recipe must be a mapping such as {"kind": "linear", "T": 1000}, got str'),
        ({}, "unknown schedule None: use linear or cosine or betas"),
        ({"kind": "quadratic", "T": 1000}, "unknown schedule 'quadratic'"),
        ({"kind": ["linear"]}, "unknown schedule"),
        ({"kind": "linear", "T": LARGEST_T + 1}, "T must be at most 1,000,000, got 1,000,001"),
        ({"kind": "linear", "T": "1000"}, "T must be a whole number"),
        ({"kind": "linear", "T": 1000, "beta": 1}, "linear schedule cannot be built"),
        ({"kind": "cosine", "T": 1000, "s": "x"}, "cosine schedule cannot be built"),
        ({"kind": "cosine", "T": 1000, "s": 10**400}, "cosine schedule cannot be built"),
        ({"kind": "betas"}, "betas schedule cannot be built from {}: missing a required argument: 'beta'"),
        ({"kind": "betas", "beta": "0.1"}, "a list of at most"),
        ({"kind": "betas", "beta": [0.1, "0.2"]}, "a list of at most"),
        ({"kind": "betas", "beta": [0.1, 2.0]}, "must lie in"),
        ({"kind": "betas", "beta": []}, "T >= 1"),
    ],
)
def test_a_recipe_that_cannot_be_followed_says_why(recipe, named):
    with pytest.raises(ValueError, match=re.escape(named)):
        build_schedule(recipe)


def test_a_recipe_may_have_as_many_steps_as_the_limit(monkeypatch):
    monkeypatch.setattr("ddpm_abc.schedule.LARGEST_T", 3)
    for T in (3, 4, 5):
        betas = {"kind": "betas", "beta": [0.5, 0.9, 0.9, 0.9, 0.9][:T]}
        cosine = {"kind": "cosine", "T": T}
        for recipe, refused in ((betas, "list of at most 3"), (cosine, f"at most 3, got {T}")):
            if T == 3:
                assert quietly(build_schedule, recipe).T == 3
                continue
            with pytest.raises(ValueError, match=refused):
                build_schedule(recipe)


def test_a_last_beta_of_one_leaves_nothing():
    sched = zero_terminal()
    assert sched.alpha_bar[-1] == 0
    assert sched.snr[-1] == 0
    assert sched.beta_tilde[-1] == 1 - sched.alpha_bar[-2]
    assert sched.beta_tilde.isfinite().all()
    gone_before = torch.cat(
        [torch.full((100,), 0.9, dtype=torch.float64), torch.ones(1, dtype=torch.float64)]
    )
    with pytest.raises(ValueError, match=r"alpha_bar_\{T-1\} = .* leaves no signal"):
        schedule_from_beta(gone_before)
