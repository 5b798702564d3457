"""What must hold for any schedule, any time and any data: hypothesis looks for a case where it does not."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import step_by_eps

from ddpm_abc.forward import predict_eps, predict_x0, q_mean_var, q_posterior, q_sample
from ddpm_abc.parameterization import Denoiser, eps_from_v, velocity, x0_from_v
from ddpm_abc.sampling import ddpm_step, sample, spaced_times
from ddpm_abc.schedule import broadcast, cosine_schedule, extract, linear_schedule, schedule_from_beta
from ddpm_abc.training import sample_t, simple_loss
from ddpm_abc.unet import timestep_embedding

pytestmark = pytest.mark.filterwarnings(
    "ignore:the schedule stops short of noise"
)  # any schedule will do here
few = settings(derandomize=True, deadline=None, max_examples=40, database=None, report_multiple_bugs=False)

beta_tables = st.lists(st.floats(1e-4, 0.9), min_size=1, max_size=12).map(
    lambda b: torch.tensor(b, dtype=torch.float64)
)
schedules = st.one_of(
    beta_tables.map(schedule_from_beta),
    st.integers(1, 2000).map(cosine_schedule),
    st.integers(1, 1500).map(linear_schedule),
)
dtypes = st.sampled_from([torch.float32, torch.float64])
shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


def normal(shape, seed, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@st.composite
def chains(draw):
    "A schedule, times t > s for a batch, and the batch: x0, eps, z."
    sched, shape, seed = draw(schedules), draw(shapes), draw(st.integers(0, 10**6))
    t = torch.tensor(draw(st.lists(st.integers(1, sched.T), min_size=shape[0], max_size=shape[0])))
    return sched, t, (t * draw(st.floats(0, 0.999))).long(), *(normal(shape, seed + i) for i in range(3))


@pytest.mark.equation("0.4", "1.2", by="schedule_from_beta")
@few
@given(schedules)
def test_any_schedule(sched):
    "Padded, falling, within its bounds; every table follows from beta."
    assert len(sched.beta) == len(sched.alpha_bar) == sched.T + 1
    assert sched.beta.dtype == sched.alpha_bar.dtype == torch.float64
    assert sched.beta[0] == 0
    assert sched.alpha_bar[0] == 1
    assert (sched.alpha_bar.diff() < 0).all()
    assert 0 < sched.alpha_bar[-1] < 1
    assert (sched.snr.diff() < 0).all()
    assert (sched.beta_tilde[2:] > 0).all()
    assert (sched.beta_tilde <= sched.beta).all()
    assert sched.beta_tilde[:2].tolist() == [0, 0]
    one_by_one = 1.0
    for t in range(1, sched.T + 1):
        one_by_one *= sched.alpha[t].item()
        assert abs(sched.alpha_bar[t].item() / one_by_one - 1) < 1e-10


@pytest.mark.equation("0.6", "1.1", "2.5", by="q_sample")
@few
@given(chains())
def test_q_sample_is_its_mean_and_standard_deviation(chain):
    "x_t, built from alpha_bar by hand, item by item."
    sched, t, _, x0, eps, _ = chain
    mean, var = q_mean_var(sched, x0, t)
    xt = q_sample(sched, x0, t, eps)
    for i, time in enumerate(t.tolist()):
        ab = sched.alpha_bar[time].item()
        assert (xt[i] - (ab**0.5 * x0[i] + (1 - ab) ** 0.5 * eps[i])).abs().max() < 1e-12
        assert (xt[i] - (mean[i] + var.expand(x0.shape)[i].sqrt() * eps[i])).abs().max() < 1e-12
    assert torch.equal(q_sample(sched, x0, 0, eps), x0)


@pytest.mark.equation("2.7", by="predict_x0")
@pytest.mark.equation("2.8", by="predict_eps")
@pytest.mark.equation("2.14", by="velocity")
@pytest.mark.equation("2.15", by="x0_from_v, eps_from_v")
@few
@given(chains())
def test_round_trips(chain):
    """eps -> x_0 -> eps, and through v and back.

    v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x_0 (Salimans & Ho 2022).
    """
    sched, t, _, x0, eps, _ = chain
    xt = q_sample(sched, x0, t, eps)
    ab = broadcast(extract(sched.alpha_bar, t), x0)
    loss = (
        1e-13 / ab.sqrt().min().item()
    )  # x_0 is xt less noise, over sqrt(alpha_bar): digits are lost, no more than that
    assert (predict_x0(sched, xt, t, eps) - x0).abs().max() < 1e-12 + 10 * loss
    noise = (1 - ab).sqrt().min().item()
    assert (predict_eps(sched, xt, t, x0) - eps).abs().max() < 1e-12 / noise
    v = velocity(sched, x0, t, eps)
    assert (v - (ab.sqrt() * eps - (1 - ab).sqrt() * x0)).abs().max() < 1e-12
    assert (x0_from_v(sched, xt, t, v) - x0).abs().max() < 1e-12
    assert (eps_from_v(sched, xt, t, v) - eps).abs().max() < 1e-12
    assert (predict_x0(sched, xt, t, eps_from_v(sched, xt, t, v)) - x0).abs().max() < 1e-12 + 10 * loss
    assert (
        velocity(sched, x0_from_v(sched, xt, t, v), t, eps_from_v(sched, xt, t, v)) - v
    ).abs().max() < 1e-12


@pytest.mark.equation("0.15", "2.11", "2.12", by="q_posterior")
@few
@given(chains())
def test_posterior_is_bayes(chain):
    """Precisions add: q(x_s | x_t, x_0) from the two Gaussians q(x_t | x_s) and q(x_s | x_0).

    For neighbours and strides.
    """
    sched, t, s, x0, eps, _ = chain
    xt = q_sample(sched, x0, t, eps)
    mean, var = q_posterior(sched, x0, xt, t, s)
    var = var.expand(x0.shape)
    for i, (time, earlier) in enumerate(zip(t.tolist(), s.tolist(), strict=True)):
        ab_t, ab_s = sched.alpha_bar[time].item(), sched.alpha_bar[earlier].item()
        alpha = ab_t / ab_s
        if earlier == 0:  # x_0 is known
            assert var[i].abs().max() == 0
            assert (mean[i] - x0[i]).abs().max() < 1e-12
            continue
        precision = 1 / (1 - ab_s) + alpha / (1 - alpha)
        expected = (ab_s**0.5 * x0[i] / (1 - ab_s) + alpha**0.5 * xt[i] / (1 - alpha)) / precision
        assert abs(var[i].max().item() * precision - 1) < 1e-9
        assert (mean[i] - expected).abs().max() < 1e-9


@pytest.mark.equation("2.13", by="q_posterior")
@few
@given(chains())
def test_posterior_of_the_marginal_is_the_marginal(chain):
    "Draw x_t from q(x_t | x_0), then x_s from the posterior: mean and variance are those of q(x_s | x_0)."
    sched, t, s, x0, _, _ = chain
    (mean_t, var_t), (mean_s, var_s) = q_mean_var(sched, x0, t), q_mean_var(sched, x0, s)
    mean, var = q_posterior(sched, x0, mean_t, t, s)  # affine in x_t
    factor = q_posterior(sched, torch.zeros_like(x0), torch.ones_like(x0), t, s)[0]
    assert (mean - mean_s).abs().max() < 1e-12
    assert (factor**2 * var_t + var - var_s).abs().max() < 1e-12


@few
@given(chains(), st.sampled_from(["beta", "beta_tilde"]), st.booleans())
def test_a_batch_is_its_items(chain, variance, clip):
    sched, t, s, x0, eps, z = chain

    def everything(rows):
        a, b = x0[rows], eps[rows]
        xt = q_sample(sched, a, t[rows], b)
        mean, var = q_posterior(sched, a, xt, t[rows], s[rows])
        return (
            xt,
            *q_mean_var(sched, a, t[rows]),
            predict_x0(sched, xt, t[rows], b),
            predict_eps(sched, xt, t[rows], a),
            mean,
            var,
            simple_loss(Denoiser(lambda x, _: 0.5 * x, sched), a[..., None], t[rows], b[..., None]),
        )

    together = everything(slice(None))
    for i in range(len(x0)):
        for whole, item in zip(together, everything(slice(i, i + 1)), strict=True):
            assert torch.allclose(whole[i : i + 1], item, rtol=1e-13, atol=1e-13)
    time, earlier = int(t[0]), int(s[0])
    whole = step_by_eps(sched, x0, eps, time, earlier, z, variance=variance, clip=clip)
    for i in range(len(x0)):
        item = step_by_eps(
            sched, x0[i : i + 1], eps[i : i + 1], time, earlier, z[i : i + 1], variance=variance, clip=clip
        )
        assert torch.allclose(whole[i : i + 1], item, rtol=1e-13, atol=1e-13)


@few
@given(chains(), dtypes)
def test_dtype_and_device_are_kept(chain, dtype):
    sched, t, s, x0, eps, z = chain
    x0, eps, z = x0.to(dtype), eps.to(dtype), z.to(dtype)
    xt = q_sample(sched, x0, t, eps)
    out = [
        xt,
        *q_mean_var(sched, x0, t),
        predict_x0(sched, xt, t, eps),
        predict_eps(sched, xt, t, x0),
        *q_posterior(sched, x0, xt, t, s),
    ]
    out += [
        ddpm_step(sched, xt, x0, int(t[0]), int(s[0]), z),
        simple_loss(Denoiser(lambda x, _: x, sched), x0[..., None], t, eps[..., None]),
    ]
    assert {o.dtype for o in out} == {dtype}
    assert {o.device for o in out} == {x0.device}
    exact = q_sample(sched, x0.double(), t, eps.double())
    assert (xt.double() - exact).abs().max() <= (1e-6 if dtype == torch.float32 else 0) * (
        1 + exact.abs().max()
    )


@few
@given(chains())
def test_meta_device_is_kept(chain):
    "Tables live on the CPU; results live with the data. The meta device stands for any other."
    sched, t, s, x0, eps, z = (
        x.to("meta") if isinstance(x, torch.Tensor) and x.is_floating_point() else x for x in chain
    )
    xt = q_sample(sched, x0, t, eps)
    out = [
        xt,
        *q_mean_var(sched, x0, t),
        predict_x0(sched, xt, t, eps),
        predict_eps(sched, xt, t, x0),
        *q_posterior(sched, x0, xt, t, s),
    ]
    out += [ddpm_step(sched, xt, x0, int(t[0]), int(s[0]), z)]
    assert {o.device.type for o in out} == {"meta"}


@few
@given(chains())
def test_one_time_for_all_equals_a_time_for_each(chain):
    sched, t, s, x0, eps, _ = chain
    time, earlier = int(t[0]), int(s[0])
    each, each_s = torch.full_like(t, time), torch.full_like(t, earlier)
    xt = q_sample(sched, x0, time, eps)
    assert torch.equal(xt, q_sample(sched, x0, each, eps))
    assert torch.equal(predict_x0(sched, xt, time, eps), predict_x0(sched, xt, each, eps))
    assert torch.equal(predict_eps(sched, xt, time, x0), predict_eps(sched, xt, each, x0))
    assert torch.equal(
        q_posterior(sched, x0, xt, time, earlier)[0], q_posterior(sched, x0, xt, each, each_s)[0]
    )


@few
@given(schedules, st.integers(-(2**40), 2**40), st.booleans())
def test_times_outside_are_refused(sched, wild, as_tensor):
    outside = wild if not 0 <= wild <= sched.T else sched.T + 1 + wild
    x = torch.zeros(1, 2)
    for bad in (outside, -1, sched.T + 1):
        t = torch.tensor([bad]) if as_tensor else bad
        for call in (
            lambda t=t: q_mean_var(sched, x, t),
            lambda t=t: q_sample(sched, x, t, x),
            lambda t=t: predict_x0(sched, x, t, x),
            lambda t=t: predict_eps(sched, x, t, x),
            lambda t=t: extract(sched.beta, t),
        ):
            with pytest.raises(IndexError, match=rf"0..{sched.T}, got {bad}"):
                call()
    with pytest.raises((IndexError, ValueError)):
        q_posterior(sched, x, x, 0)
    with pytest.raises(TypeError, match="whole numbers"):
        q_sample(sched, x, torch.tensor([0.5]), x)


@few
@given(chains())
def test_s_must_be_earlier(chain):
    sched, t, _, x0, eps, z = chain
    time = int(t[0])
    for s in {time, sched.T}:
        with pytest.raises(ValueError, match=f"s < t, got t = {time}, s = {s}"):
            ddpm_step(sched, x0, eps, time, s, z)


@few
@given(st.integers(1, 2000), st.data())
def test_any_stride(T, data):
    steps = data.draw(st.integers(1, T))
    times = spaced_times(T, steps)
    assert times[0] == T
    assert times[-1] == 0
    gaps = [a - b for a, b in zip(times, times[1:], strict=False)]
    assert len(gaps) == steps
    assert max(gaps) - min(gaps) <= 1  # even
    assert min(gaps) >= 1


@few
@given(schedules, st.integers(1, 60), st.integers(0, 10**6))
def test_drawn_times_are_in_range(sched, n, seed):
    t = sample_t(sched, n, torch.Generator().manual_seed(seed))
    assert t.shape == (n,)
    assert t.min() >= 1
    assert t.max() <= sched.T


@few
@given(st.lists(st.integers(0, 2000), min_size=1, max_size=6), st.integers(2, 40).map(lambda k: 2 * k))
def test_embedding_of_a_batch_is_that_of_its_times(times, dim):
    e = timestep_embedding(torch.tensor(times), dim)
    for row, t in zip(e, times, strict=True):
        assert torch.equal(row, timestep_embedding(torch.tensor([t]), dim)[0])
    assert torch.allclose(e.square().sum(1), torch.full((len(times),), dim / 2), rtol=1e-5)


@settings(few, max_examples=15)
@given(st.integers(1, 60), st.data())
def test_sampler_finds_the_one_image_whatever_the_times(T, data):
    "With the exact network for a data set of one image, any walk from T to 0 ends there."
    sched = cosine_schedule(T)
    times = sorted({T, *data.draw(st.sets(st.integers(1, T), max_size=5)), 0}, reverse=True)
    image = torch.linspace(-1, 1, 6, dtype=torch.float64).view(1, 1, 2, 3)

    def model(xt, t):
        ab = extract(sched.alpha_bar, t).view(-1, 1, 1, 1)
        return (xt - ab.sqrt() * image) / (1 - ab).sqrt()

    x0 = sample(Denoiser(model, sched), (2, 1, 2, 3), times=times, dtype=torch.float64)
    assert (x0 - image).abs().max() < 1e-6
