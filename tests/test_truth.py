"""What only a planted fault showed to be untested (see mutations.py).

The schedule's tables are also made again with numpy.
"""

import math
import re

import numpy as np
import pytest
import torch
from torch import nn

from ddpm_abc.data import batches, to_uint8, to_unit
from ddpm_abc.forward import predict_x0, q_mean_var, q_sample
from ddpm_abc.parameterization import Denoiser
from ddpm_abc.sampling import ddpm, ddpm_step, sample
from ddpm_abc.schedule import cosine_schedule, linear_schedule, schedule_from_beta
from ddpm_abc.training import simple_loss, train
from ddpm_abc.unet import UNet

pytestmark = pytest.mark.filterwarnings(
    "ignore:the schedule stops short of noise"
)  # few, coarse steps, on purpose


@pytest.mark.equation("1.6", by="linear_schedule")
@pytest.mark.equation("1.10", "1.11", by="cosine_schedule")
@pytest.mark.parametrize("T", [1000, 50])
def test_schedule_against_numpy(T):
    betas = 1e-4 + (0.02 - 1e-4) * np.arange(T) / (T - 1)
    linear = linear_schedule(T)
    assert abs(linear.beta[1:].numpy() - betas).max() < 1e-15
    assert abs(linear.alpha_bar[1:].numpy() - np.exp(np.cumsum(np.log1p(-betas)))).max() < 1e-13

    f = np.array([math.cos((t / T + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(T + 1)])
    cosine = cosine_schedule(T)
    assert (
        abs(cosine.alpha_bar[:-1].numpy() - f[:-1] / f[0]).max() < 1e-12
    )  # the cap acts on the last step alone
    assert abs(cosine.beta[-1].item() - 0.999) < 1e-15


def test_float32_coefficients_are_rounded_once():
    "1 - alpha_bar_1 = 0.0001 keeps all of float32's digits: it is computed in float64, only then rounded."
    sched = linear_schedule()
    for t in (1, 2, 10, 1000):
        _, var = q_mean_var(sched, torch.zeros(1, 1), t)
        assert var.dtype == torch.float32
        assert abs(var.double().item() / (1 - sched.alpha_bar[t].item()) - 1) < 6e-8
        noise = q_sample(sched, torch.zeros(1, 1), t, torch.ones(1, 1))
        assert abs(noise.double().item() / math.sqrt(1 - sched.alpha_bar[t].item()) - 1) < 6e-8


class Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.tensor(0.3, dtype=torch.float64))

    def forward(self, xt, t):
        return self.a * xt


def test_every_step_is_gradient_descent():
    """Twenty steps on a network of one weight, followed by hand.

    The loss is mean (a x_t - eps)^2, its gradient 2 mean (a x_t - eps) x_t.
    """
    sched, net, lr = linear_schedule(), Line(), 0.05
    a = net.a.item()
    opt = torch.optim.SGD(net.parameters(), lr=lr)
    data = [
        torch.randn(16, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(i)) for i in range(20)
    ]
    g = torch.Generator().manual_seed(7)
    loop = train(Denoiser(net, sched), data, opt, generator=torch.Generator().manual_seed(7), clip_norm=1e9)
    for x0, out in zip(data, loop, strict=True):
        t = torch.randint(1, 1001, (16,), generator=g)
        eps = torch.randn(16, 3, generator=g, dtype=torch.float64)
        ab = sched.alpha_bar[t][:, None]
        xt = ab.sqrt() * x0 + (1 - ab).sqrt() * eps
        grad = (2 * (a * xt - eps) * xt).mean().item()
        assert abs(out.grad_norm.item() - abs(grad)) < 1e-12
        a -= lr * grad
        assert abs(net.a.item() - a) < 1e-12


def test_each_step_draws_its_own_noise():
    """With a network that says 0 and no data, what a step adds is its noise.

    All must differ, and be standard normal.
    """
    sched, states = linear_schedule(40), []

    def watched(denoise, x, times, noise):
        states.append(x)
        for state in ddpm(denoise, x, times, noise, clip=False):
            states.append(state)
            yield state

    sample(Denoiser(lambda x, t: torch.zeros_like(x), sched), (200, 2), sampler=watched, dtype=torch.float64)
    zero, added = torch.zeros(200, 2, dtype=torch.float64), []
    for i, t in enumerate(range(40, 1, -1)):
        x0_hat = states[i] / sched.alpha_bar[t].sqrt()
        mean = ddpm_step(sched, states[i], x0_hat, t, t - 1, zero, clip=False)
        added.append((states[i + 1] - mean) / sched.beta_tilde[t].sqrt())
    z = torch.stack(added)
    correlation = torch.corrcoef(z.flatten(1))
    assert (correlation - torch.eye(39)).abs().max() < 0.25
    assert abs(z.std().item() - 1) < 0.02


def test_strided_beta_is_the_variance_of_the_stride():
    "sigma^2 = beta from t to s: the variance that steps s+1..t add together, 1 - alpha_bar_t / alpha_bar_s."
    sched = linear_schedule()
    zero, one = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    for t, s in ((1000, 900), (500, 499), (20, 0)):
        added = ddpm_step(sched, zero, zero, t, s, one, variance="beta") - ddpm_step(
            sched, zero, zero, t, s, zero, variance="beta"
        )
        var = 0.0
        for r in range(s + 1, t + 1):
            var = (1 - sched.beta[r].item()) * var + sched.beta[r].item()
        assert abs(added.item() ** 2 - var) < 1e-12


def test_clip_is_symmetric():
    sched = linear_schedule()
    x = torch.tensor([[-4.0, -0.2, 0.3, 4.0]], dtype=torch.float64)
    zero = torch.zeros_like(x)
    up, down = (ddpm_step(sched, y, predict_x0(sched, y, 500, zero), 500, 499, zero) for y in (x, -x))
    assert (up + down).abs().max() < 1e-15


def test_pixels_survive_the_round_trip():
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    x = to_unit(pixels)
    assert (x.min(), x.max()) == (-1, 1)
    assert torch.equal(to_uint8(x), pixels)
    assert torch.equal(to_uint8(x + 0.49 / 127.5), pixels)  # to the nearest
    assert torch.equal(to_uint8(torch.tensor([-7.0, 7.0])), torch.tensor([0, 255], dtype=torch.uint8))


def test_epochs_differ_and_each_shows_every_image_once():
    images = torch.arange(12, dtype=torch.uint8).view(12, 1, 1, 1)
    loop = batches(images, 4, seed=3)
    epochs = [[to_uint8(next(loop)).flatten().tolist() for _ in range(3)] for _ in range(4)]
    flat = [sum(epoch, []) for epoch in epochs]
    assert all(sorted(epoch) == list(range(12)) for epoch in flat)
    assert len({tuple(epoch) for epoch in flat}) == 4
    assert to_uint8(next(batches(images, 4, seed=3, start=7))).flatten().tolist() == epochs[2][1]
    assert to_uint8(next(batches(images, 4, seed=4))).flatten().tolist() != epochs[0][0]


def test_network_returns_the_precision_of_its_input_under_autocast():
    net = UNet(channels=(8, 16), groups=4, size=8)
    net.autocast_dtype = torch.bfloat16
    with torch.no_grad():
        net.conv_out.weight.normal_()
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([1, 1000])
    assert net(x, t).dtype == torch.float32
    sched = schedule_from_beta(torch.full((1000,), 0.01))
    assert simple_loss(Denoiser(net, sched), x, t, x).dtype == torch.float32


@pytest.mark.parametrize(
    ("times", "shown"),
    [([5, 4, 3, 2, 1, 1], "[5, 4, 3, 2, 1, 1]"), ([6, 5, 4, 3, 2, 1, 1], "[6, 5, 4]...[2, 1, 1]")],
)
def test_more_than_six_times_are_named_by_their_ends(times, shown):
    with pytest.raises(ValueError, match=re.escape(f"got {shown}") + "$"):
        sample(Denoiser(Line(), linear_schedule(10)), (2, 1), times=times)


@pytest.mark.parametrize(("n", "more"), [(3, ""), (8, ""), (9, ", ...")])
def test_eight_bad_times_are_named(n, more):
    line = Line()
    loop = train(
        Denoiser(line, linear_schedule()),
        [torch.full((n, 1), math.nan, dtype=torch.float64)],
        torch.optim.SGD(line.parameters(), lr=0.1),
    )
    named = rf"(\d+, ){{{min(n, 8) - 1}}}\d+" + re.escape(more)
    with pytest.raises(FloatingPointError, match=rf"at t = {named} \({n} of {n} in the batch\)"):
        next(loop)
