"""Muon against exact singular values in numpy, against torch's own where torch has it, and in a run that
stops and goes on."""

import math
from itertools import islice

import numpy as np
import pytest
import torch
from small_networks import small
from torch import nn

import ddpm_abc.muon
from ddpm_abc.data import batches
from ddpm_abc.muon import COEFFICIENTS, Muon, is_hidden, orthogonal
from ddpm_abc.parameterization import Denoiser
from ddpm_abc.schedule import cosine_schedule
from ddpm_abc.storage import load_checkpoint, save_checkpoint
from ddpm_abc.training import EMA, train, warmup_cosine
from ddpm_abc.unet import UNet

SHAPES = [(16, 16), (24, 60), (60, 24), (48, 432)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def matrix(m, n, seed=0, decay=1.0):
    "Of singular values 1, e^-decay, ... e^-4decay, in float64."
    rng = np.random.default_rng(seed)
    r = min(m, n)
    u, v = (np.linalg.qr(rng.normal(size=(k, r)))[0] for k in (m, n))
    return torch.from_numpy(u * np.exp(-decay * np.linspace(0, 4, r)) @ v.T)


def factors(g):
    u, s, vt = np.linalg.svd(g.double().numpy(), full_matrices=False)
    return u, s, vt


def weight(shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return nn.Parameter(torch.randn(shape, generator=g) / 10)


# --- the orthogonal factor ----------------------------------------------------------------------------------


@pytest.mark.equation("94c.2", by="orthogonal")
@every_shape
@pytest.mark.parametrize("steps", [0, 1, 5])
def test_each_round_is_a_polynomial_of_the_singular_values(shape, steps):
    "Another program: the singular values alone, in numpy."
    g = 7.3 * matrix(*shape)
    u, s, vt = factors(g)
    s = s / np.linalg.norm(s)
    for _ in range(steps):
        s = np.polynomial.Polynomial([0, COEFFICIENTS[0], 0, COEFFICIENTS[1], 0, COEFFICIENTS[2]])(s)
    assert np.abs(orthogonal(g, steps).numpy() - u * s @ vt).max() < 1e-12


@every_shape
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_singular_values_come_near_one(shape, dtype):
    "All above 0.0015 of the norm; in bfloat16 what comes out is rounded."
    g = matrix(*shape)
    slack = 0.01 if dtype == torch.bfloat16 else 1e-4
    assert factors(g)[1].min() / g.norm() > 0.0015
    found = orthogonal(g.to(dtype))
    assert found.dtype == dtype
    s = factors(found)[1]
    assert 0.68 - slack < s.min() <= s.max() < 1.203 + slack


def test_the_bounds_are_those_of_the_docstring():
    "The polynomial on a fine grid: from 0.0015 on between 0.68 and 1.203, below it lower and rising."
    low = torch.linspace(0, 0.0015, 1001, dtype=torch.float64)
    x = torch.cat([low, torch.logspace(math.log10(0.0015), 0, 100_001, dtype=torch.float64)])
    for _ in range(5):
        x = sum(c * x**k for c, k in zip(COEFFICIENTS, (1, 3, 5), strict=True))
    assert 0.679 < x[1001:].min() < 0.68 < 1.2 < x[1001:].max() < 1.203
    assert (x[:1001].diff() > 0).all()


@every_shape
def test_it_is_near_the_exact_factor(shape):
    u, _, vt = factors(g := matrix(*shape))
    found = orthogonal(g).numpy()
    assert np.linalg.norm(found - u @ vt, 2) < 0.33
    assert np.linalg.norm(orthogonal(g.T.contiguous()).numpy() - found.T) < 1e-12


@pytest.mark.equation("94c.1", by="orthogonal")
@every_shape
def test_no_step_of_equal_stretch_is_much_steeper(shape):
    "None lowers the loss by more than the sum of singular values; ours by 0.68 / 1.203 of that, or more."
    g = matrix(*shape, decay=1.25).numpy()
    u, s, vt = factors(torch.from_numpy(g))

    def gain(d):
        return (g * d).sum() / np.linalg.norm(d, 2)

    assert gain(u @ vt) == pytest.approx(s.sum(), rel=1e-12)
    rng = np.random.default_rng(0)
    for size in (1e-3, 0.03, 1.0):  # neighbours, and others
        for _ in range(20):
            assert gain(u @ vt + size * rng.normal(size=g.shape)) < s.sum()
    ours = gain(orthogonal(torch.from_numpy(g)).numpy())
    assert max(gain(g), 0.68 / 1.203 * s.sum()) < ours < s.sum()


def test_a_multiple_gives_the_same_and_zero_gives_zero():
    g = matrix(24, 60)
    assert torch.allclose(orthogonal(1e-4 * g), orthogonal(1e4 * g), atol=1e-12)
    assert orthogonal(torch.zeros(24, 60)).equal(torch.zeros(24, 60))


# --- a step -------------------------------------------------------------------------------------------------


@pytest.mark.equation("94c.3", by="Muon.step")
@every_shape
def test_a_step_has_the_size_of_the_learning_rate(shape):
    p = nn.Parameter(weight(shape).detach().double())
    before = p.detach().clone()
    p.grad = matrix(*shape, decay=0.5)
    Muon([p], lr=0.01, weight_decay=0).step()
    rms = (p.detach() - before).square().mean().sqrt().item() / 0.01
    s = factors(orthogonal(p.grad))[1]
    assert rms == pytest.approx(math.sqrt((s**2).mean()), rel=1e-9)
    assert 0.68 < rms < 1.203


def by_hand(w, grads, lr, momentum, decay):
    "Muon in numpy, for matrices, with the polynomial on singular values."
    m = np.zeros_like(w)
    for g in grads:
        m = momentum * m + (1 - momentum) * g
        u, s, vt = np.linalg.svd(momentum * m + (1 - momentum) * g, full_matrices=False)
        s = s / np.linalg.norm(s)
        for _ in range(5):
            s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
        w = (1 - lr * decay) * w - lr * max(w.shape) ** 0.5 * u * s @ vt
    return w


@pytest.mark.equation("94c.4", by="Muon.step")
@every_shape
def test_steps_are_those_of_numpy(shape):
    grads = [matrix(*shape, seed=k) for k in range(4)]
    p = nn.Parameter(weight(shape).detach().double())
    wanted = by_hand(p.detach().numpy(), [g.numpy() for g in grads], 0.02, 0.9, 0.1)
    opt = Muon([p], lr=0.02, momentum=0.9, weight_decay=0.1)
    for g in grads:
        p.grad = g
        opt.step()
    assert np.abs(p.detach().numpy() - wanted).max() < 1e-12


def rounds_in_bfloat16(g):
    "Without the detour over the square, and rounded as torch's own."
    x = g.bfloat16() if g.shape[0] <= g.shape[1] else g.bfloat16().T
    x = x / x.norm()
    for _ in range(5):
        s = x @ x.T
        x = torch.addmm(x, torch.addmm(s, s, s, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return (x if g.shape[0] <= g.shape[1] else x.T).to(g.dtype)


@every_shape
@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has it from 2.9 on")
def test_torchs_own_takes_the_same_steps(shape, monkeypatch):
    "With the scale of Liu et al. 2025, which is 0.2 of ours, and with its rounds in bfloat16."
    monkeypatch.setattr(ddpm_abc.muon, "orthogonal", rounds_in_bfloat16)
    ours, theirs = weight(shape), weight(shape)
    opts = (
        Muon([ours], lr=0.004, momentum=0.9, weight_decay=0.1),
        torch.optim.Muon([theirs], lr=0.02, momentum=0.9, weight_decay=0.02, adjust_lr_fn="match_rms_adamw"),
    )
    for k in range(6):
        for p, opt in zip((ours, theirs), opts, strict=True):
            p.grad = matrix(*shape, seed=k).float()
            opt.step()
        assert (ours - theirs).abs().max() < 1e-6


def test_other_parameters_take_the_steps_of_adamw():
    "And a table of many classes, if its group says so."
    ours, theirs = ([weight(s) for s in ((10, 64), (7,), (1, 16, 3, 3), (), (100, 64))] for _ in range(2))
    settings = {"lr": 0.01, "betas": (0.8, 0.99), "eps": 1e-6, "weight_decay": 0.1}
    groups = [{"params": ours[:4]}, {"params": ours[4:], "hidden": False}]
    opts = Muon(groups, **settings), torch.optim.AdamW(theirs, **settings)
    for k in range(5):
        for params, opt in zip((ours, theirs), opts, strict=True):
            for p in params:
                p.grad = weight(p.shape, seed=10 + k).detach()
            opt.step()
    for p, q in zip(ours, theirs, strict=True):
        assert torch.allclose(p, q, atol=1e-6)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("kernel", [1, 3])
def test_a_kernel_is_its_matrix(layout, kernel):
    shape = (20, 24, kernel, kernel)
    p = nn.Parameter(weight(shape).detach().to(memory_format=layout))
    q = nn.Parameter(weight(shape).detach().flatten(1).clone())
    opts = Muon([p]), Muon([q])
    for k in range(3):
        p.grad = weight(shape, seed=k + 1).detach().to(memory_format=layout)
        q.grad = weight(shape, seed=k + 1).detach().flatten(1)
        for opt in opts:
            opt.step()
    assert torch.equal(p.flatten(1), q)
    assert p.is_contiguous(memory_format=layout)
    assert opts[0].state[p]["momentum"].stride() == p.stride()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_matrix_is_made_orthogonal_in_its_own_precision(dtype, monkeypatch):
    used = []
    monkeypatch.setattr(ddpm_abc.muon, "orthogonal", lambda g: used.append(g.dtype) or g)
    p = nn.Parameter(weight((256, 256)).detach().to(dtype))
    p.grad = torch.ones_like(p)
    Muon([p]).step()
    assert used == [dtype]


def test_a_zero_gradient_moves_nothing():
    params = [weight((20, 24, 3, 3)), weight((20, 24)), weight((5,))]
    before = [p.detach().clone() for p in params]
    for p in params:
        p.grad = torch.zeros_like(p)
    Muon(params, weight_decay=0).step()
    assert all(torch.equal(p, q) for p, q in zip(params, before, strict=True))


def test_steps_are_counted_whatever_the_default_precision_and_device():
    "bfloat16 counts to 256 and no further. The meta device stands for a GPU."
    p = weight((3,))
    opt = Muon([p])
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("meta"):
        for _ in range(300):
            p.grad = torch.ones_like(p)
            opt.step()
    assert opt.state[p]["step"] == 300


def test_a_parameter_without_gradient_stays_as_it_is():
    p, q = weight((16, 16)), weight((16, 16))
    p.grad = matrix(16, 16).float()
    opt = Muon([p, q])
    opt.step()
    assert torch.equal(q, weight((16, 16)))
    assert [*opt.state] == [p]


def test_a_closure_gives_gradients_and_the_loss():
    p = weight((16, 16))
    opt = Muon([p])

    def closure():
        opt.zero_grad()
        loss = p.square().sum()
        loss.backward()
        return loss

    first = opt.step(closure)
    assert first == weight((16, 16)).square().sum()
    assert opt.step(closure) < first
    assert opt.step() is None


def test_which_weights_are_hidden():
    net = UNet(channels=(16, 32), n_classes=10)
    other = {name for name, p in net.named_parameters() if p.ndim >= 2 and not is_hidden(p)}
    assert other == {"class_emb.weight", "conv_in.weight", "conv_out.weight"}
    shapes = {(16, 16): True, (15, 16): False, (16, 15): False, (16, 2, 3, 3): True, (16, 1, 3, 3): False}
    shapes |= {(): False, (100,): False, (0, 16): False}
    assert {shape: is_hidden(torch.zeros(shape)) for shape in shapes} == shapes


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": 0.0}, r"lr must be finite and above 0, got 0.0: 0.002 is usual"),
        ({"lr": -1e-3}, r"lr must be finite and above 0, got -0.001"),
        ({"lr": math.nan}, r"lr must be finite and above 0, got nan"),
        ({"lr": math.inf}, r"lr must be finite and above 0, got inf"),
        ({"momentum": 1.0}, r"momentum must be finite and in \[0, 1\), got 1.0: 0.95 is usual"),
        ({"momentum": -0.1}, r"momentum must be finite and in \[0, 1\), got -0.1"),
        ({"betas": (1.0, 0.999)}, r"betas\[0\] must be finite and in \[0, 1\), got 1.0: 0.9 is usual"),
        ({"betas": (0.9, -0.1)}, r"betas\[1\] must be finite and in \[0, 1\), got -0.1: 0.999 is usual"),
        ({"eps": 0.0}, r"eps must be finite and above 0, got 0.0: 1e-08 is usual"),
        ({"weight_decay": -0.01}, r"weight_decay must be finite and 0 or above, got -0.01: 0.01 is usual"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Muon([weight((16, 16))], **settings)
    opt = Muon([weight((16, 16))])
    with pytest.raises(ValueError, match=message):
        opt.add_param_group({"params": [weight((5,))], **settings})
    assert len(opt.param_groups) == 1


# --- a run --------------------------------------------------------------------------------------------------

IMAGES = torch.randint(0, 256, (20, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
SCHED = cosine_schedule(50)


class Run:
    "A small network with Muon and all that a checkpoint keeps."

    def __init__(self, layout):
        self.net = small(channels=(16, 32)).to(memory_format=layout)
        self.denoise = Denoiser(self.net, SCHED, "v")
        self.opt, self.ema = Muon(self.net.parameters()), EMA(self.net)
        self.rest = {"ema": self.ema, "generator": torch.Generator().manual_seed(0)}
        self.done = 0

    def go(self, steps):
        data = islice(batches(IMAGES, 6, seed=3, start=self.done), steps)
        loop = train(
            self.denoise, data, self.opt, **self.rest,
            lr_factor=lambda step: warmup_cosine(step / 6, warmup=0.3), start=self.done,
        )  # fmt: skip
        losses = [out.loss for out in loop]
        self.done += steps
        return losses


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_a_run_goes_on_to_the_bit(layout, tmp_path):
    whole = Run(layout)
    losses = whole.go(6)
    first = Run(layout)
    assert first.go(2) == losses[:2]
    save_checkpoint(tmp_path / "c.safetensors", first.denoise, first.opt, step=2, **first.rest)
    second = Run(layout)
    second.done = load_checkpoint(tmp_path / "c.safetensors", second.denoise, second.opt, **second.rest)
    assert second.go(4) == losses[2:]
    for p, q in zip(whole.net.parameters(), second.net.parameters(), strict=True):
        assert torch.equal(p, q)
        kept, loaded = whole.opt.state[p], second.opt.state[q]
        assert kept.keys() == loaded.keys()
        assert kept.keys() == ({"momentum"} if is_hidden(p) else {"step", "exp_avg", "exp_avg_sq"})
        for name, v in kept.items():
            assert torch.equal(v, loaded[name])
            assert v.stride() == loaded[name].stride()


def test_two_runs_are_one():
    assert Run(torch.contiguous_format).go(6) == Run(torch.contiguous_format).go(6)
