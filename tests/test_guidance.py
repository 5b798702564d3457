"""Guidance against closed forms: Bayes' rule for Gaussians, and a network whose answers are known."""

import copy
import math
from dataclasses import dataclass
from functools import partial
from multiprocessing.reduction import ForkingPickler

import pytest
import torch
from torch import nn

from ddpm_abc.gaussian import GaussianMixture
from ddpm_abc.guidance import drop_labels, guided
from ddpm_abc.parameterization import Denoiser
from ddpm_abc.sampling import ddpm, sample, spaced_times
from ddpm_abc.schedule import cosine_schedule
from ddpm_abc.unet import UNet


class Classes(nn.Module):
    "Stands for a trained network: one Gaussian a class, its best answer known, and the mixture for no label."

    config = {"n_classes": 3}

    def __init__(self, sched):
        super().__init__()
        self.ab = sched.alpha_bar
        one = [mixture(m) for m in (-0.7, 0.7)]
        self.data = [*one, mixture(-0.7, 0.7)]
        self.calls = 0

    def forward(self, xt, t, y):
        self.calls += 1
        answers = torch.stack([d.eps(xt, self.ab[t]) for d in self.data])
        return answers[y, torch.arange(len(y))]


def denoiser():
    return Denoiser(Classes(cosine_schedule()), cosine_schedule())


def mixture(*means):
    k = len(means)
    return GaussianMixture(
        torch.full((k,), 1 / k, dtype=torch.float64),
        torch.tensor(means, dtype=torch.float64)[:, None],
        torch.full((k,), 0.16, dtype=torch.float64),
    )


@pytest.mark.equation("9.1", "9.2", by="guided, GaussianMixture")
def test_the_difference_is_the_gradient_of_the_posterior():
    denoise = denoiser()
    net = denoise.net
    x, t, y = (
        torch.linspace(-3, 3, 41, dtype=torch.float64)[:, None],
        torch.full((41,), 400),
        torch.ones(41, dtype=torch.int64),
    )
    with torch.no_grad():
        difference = guided(denoise, y, 2, 1.0).net(x, t) - guided(denoise, y, 2, 0.0).net(x, t)
    ab = net.ab[400]

    def log_posterior(x):  # of y = 1, written out: the logistic function of the distance
        c = ab * 0.16 + 1 - ab
        return -torch.log1p(torch.exp(-2 * 0.7 * ab.sqrt() * x / c))

    slope = (log_posterior(x + 1e-5) - log_posterior(x - 1e-5)) / 2e-5
    assert torch.allclose(difference, -(1 - ab).sqrt() * slope, atol=1e-8)


@pytest.mark.equation("9.3", by="guided")
def test_guided_is_the_formula():
    denoise = denoiser()
    net = denoise.net
    x, t, y = torch.randn(8, 1, dtype=torch.float64), torch.randint(1, 1001, (8,)), torch.tensor([0, 1] * 4)
    told, untold = net(x, t, y), net(x, t, torch.full_like(y, 2))
    for w in (-1, 0, 0.5, 3):
        assert torch.allclose(guided(denoise, y, 2, w).net(x, t), (1 + w) * told - w * untold, atol=1e-12)
    assert torch.allclose(guided(denoise, y, 2, -1).net(x, t), untold, atol=1e-12)
    assert torch.equal(guided(denoise, y, 2).net(x, t), guided(denoise, y, 2, 1.0).net(x, t))  # by default
    assert torch.allclose(
        guided(denoise, y, 0, 2).net(x, t), 3 * told - 2 * net(x, t, torch.zeros_like(y)), atol=1e-12
    )


def test_a_learned_variance_is_that_of_the_label():
    "The second half of the channels is not steered."

    def net(x, t, y):
        return torch.cat([x + y[:, None], 0.1 * x - y[:, None]], 1)

    net.config = {"n_classes": 3}
    x, t, y = (
        torch.randn(4, 2, dtype=torch.float64),
        torch.tensor([1, 9, 99, 999]),
        torch.tensor([0, 1, 1, 0]),
    )
    got, told = guided(Denoiser(net, cosine_schedule()), y, 2, 3.0).net(x, t), net(x, t, y)
    assert torch.allclose(got[:, :2], 4 * told[:, :2] - 3 * net(x, t, torch.full_like(y, 2))[:, :2])
    assert torch.equal(got[:, 2:], told[:, 2:])


def test_each_guided_network_is_itself_alone():
    "As any function: a set or a cache may hold it."
    y = torch.tensor([0, 1])
    one, other = (guided(denoiser(), y, 2).net for _ in range(2))
    assert one != other
    assert len({one, other, one}) == 2


def test_guided_images_are_drawn_on_the_device_of_the_labels():
    "The meta device stands for a GPU."
    denoise = guided(denoiser(), torch.tensor([0, 1]), 2)
    assert denoise.net.device == torch.device("cpu")
    denoise.net.y = torch.zeros(2, device="meta")
    seen = []

    def walk(denoise, x, times, noise):
        seen.append(x.device.type)
        yield x

    sample(denoise, (2, 1), sampler=walk)
    sample(denoise, (2, 1), sampler=walk, device="cpu")
    assert seen == ["meta", "cpu"]


def test_without_guidance_the_network_is_called_once():
    denoise = denoiser()
    net = denoise.net
    x, t, y = torch.randn(2, 1, dtype=torch.float64), torch.tensor([5, 900]), torch.tensor([0, 1])
    for w, calls in ((0, 1), (0.0, 1), (1, 2)):
        net.calls = 0
        guided(denoise, y, 2, w).net(x, t)
        assert net.calls == calls


@pytest.mark.equation("9.4", by="guided")
def test_guided_follows_the_gradient_of_the_tilted_density():
    denoise = denoiser()
    net = denoise.net
    x, y = torch.linspace(-3, 3, 41, dtype=torch.float64)[:, None], torch.ones(41, dtype=torch.int64)
    for time in (100, 700):
        ab = net.ab[time]

        def log_tilted(x, ab=ab):  # log q(x|y) + 4 log q(y|x), written out
            c = ab * 0.16 + 1 - ab
            return -((x - 0.7 * ab.sqrt()) ** 2) / (2 * c) - 4 * torch.log1p(
                torch.exp(-2 * 0.7 * ab.sqrt() * x / c)
            )

        slope = (log_tilted(x + 1e-5) - log_tilted(x - 1e-5)) / 2e-5
        assert torch.allclose(
            guided(denoise, y, 2, 4).net(x, torch.full((41,), time)), -(1 - ab).sqrt() * slope, atol=1e-7
        )


def test_sampling_with_guidance_moves_points_away_from_the_other_class():
    "Further than (9.4) at t = 0 would have it, whose mean a grid gives: chapter 09 says so."
    denoise, y = denoiser(), torch.ones(1500, dtype=torch.int64)
    line = torch.linspace(-3, 4, 7001, dtype=torch.float64)
    drawn, tilted = [], []
    for w in (0, 1, 4):
        sampler, times, g = (
            partial(ddpm, clip=False),
            spaced_times(1000, 100),
            torch.Generator().manual_seed(0),
        )
        x = sample(
            guided(denoise, y, 2, w),
            (1500, 1),
            sampler=sampler,
            times=times,
            generator=g,
            dtype=torch.float64,
        )
        p = torch.exp(-((line - 0.7) ** 2) / 0.32) * torch.sigmoid(2 * 0.7 * line / 0.16) ** w
        drawn.append(x.mean().item())
        tilted.append(((p * line).sum() / p.sum()).item())
    assert abs(drawn[0] - tilted[0]) < 0.04
    assert tilted[0] + 0.06 < tilted[2] < drawn[2] - 0.1
    assert drawn[0] < drawn[1] < drawn[2]


def test_guided_refuses_what_it_cannot_do():
    y, sched = torch.tensor([1, 2]), cosine_schedule()
    with pytest.raises(ValueError, match="build it with n_classes"):
        guided(Denoiser(UNet(size=8, channels=(16, 32)), sched), y, 3)
    denoise = Denoiser(UNet(size=8, channels=(16, 32), n_classes=4), sched)
    with pytest.raises(ValueError, match="scale must be finite, got nan"):
        guided(denoise, y, 3, math.nan)
    for null in (-1, 4, 5):
        with pytest.raises(
            ValueError, match=rf"null_class must be of the network's classes 0\.\.3, got {null}"
        ):
            guided(denoise, y, null)
    for strange in ([1, 4], [4, 5, 1, 6]):  # the first is named
        with pytest.raises(ValueError, match=r"y must be of the network's classes 0\.\.3, got 4$"):
            guided(denoise, torch.tensor(strange), 3)
    with pytest.raises(ValueError, match=r"of shape \(3,\)"):
        guided(denoise, y, 3)(torch.zeros(3, 1, 8, 8), torch.tensor([1, 1, 1]))


@dataclass
class Settings:
    "As many a network of one's own is described."

    width: int = 16


@pytest.mark.parametrize("config", [None, Settings(), {"width": 16}], ids=["none", "object", "dict"])
def test_a_network_of_ones_own_need_not_say_how_many_classes_it_has(config):
    def net(xt, t, y):
        return xt * (1 + y[:, None])

    net.config = config
    denoise, y = Denoiser(net, cosine_schedule(20)), torch.tensor([0, 1, 2])
    xt, t = torch.randn(3, 2), torch.tensor([1, 10, 20])
    want = 3 * net(xt, t, y) - 2 * net(xt, t, torch.full_like(y, 3))
    assert torch.allclose(guided(denoise, y, 3, 2.0).net(xt, t), want)
    assert sample(guided(denoise, y, 3), (3, 2)).isfinite().all()


def test_labels_in_a_list_and_truths_are_refused():
    for use in (drop_labels, partial(guided, denoiser())):
        with pytest.raises(TypeError, match=r"y must be a tensor of labels, got list: use torch\.tensor"):
            use([0, 1], 2)
        for y in (torch.tensor([0.0, 1.0]), torch.tensor([False, True])):
            with pytest.raises(TypeError, match=f"y must be whole numbers .int64., got {y.dtype}"):
                use(y, 2)


def test_labels_in_a_column_are_refused():
    "They would broadcast: B times B labels."
    for y in (torch.tensor([[0], [1]]), torch.tensor(1)):
        for use in (drop_labels, partial(guided, denoiser())):
            with pytest.raises(ValueError, match=r"y must have shape \(B,\), one label for each .* got \("):
                use(y, 2)


@pytest.mark.parametrize("scale", [0.0, 1.5])
def test_an_answer_that_is_no_tensor_is_named(scale):
    "Such as those of diffusers."
    denoise = Denoiser(lambda xt, t, y: (xt,), cosine_schedule(20))
    with pytest.raises(TypeError, match="must return a tensor like xt, got tuple: wrap it"):
        guided(denoise, torch.tensor([0, 1]), 2, scale)(torch.zeros(2, 1), 5)


def test_any_type_of_whole_number_is_a_label():
    "Also a null class that the type of the labels cannot hold."
    y, x, t = torch.tensor([0, 1, 1]), torch.randn(3, 1, dtype=torch.float64), torch.tensor([5, 50, 500])
    for dtype in (torch.uint8, torch.int32):
        assert torch.equal(guided(denoiser(), y.to(dtype), 2)(x, t).eps, guided(denoiser(), y, 2)(x, t).eps)
        assert drop_labels(y.to(dtype), 300, 1.0).tolist() == [300] * 3


def test_a_guided_network_is_copied_whole_and_sent_to_other_processes():
    "A copy has weights of its own."
    denoise = Denoiser(UNet(size=8, channels=(16, 32), n_classes=3), cosine_schedule())
    steered = guided(denoise, torch.tensor([0, 1]), 2, 1.5)
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([5, 500])
    own = copy.deepcopy(steered)
    torch.nn.init.normal_(denoise.net.conv_out.bias)
    with torch.no_grad():
        sent = ForkingPickler.loads(ForkingPickler.dumps(steered))(x, t)
        assert torch.equal(sent.eps, steered(x, t).eps)
        assert own(x, t).eps.abs().max() == 0 < sent.eps.abs().max()


@pytest.mark.parametrize("predicts", ["eps", "x0", "v"])
def test_guidance_is_the_same_whatever_the_network_predicts(predicts):
    "The parts of (9.3) sum to 1, so it may be taken of eps, of x0 or of v."
    eps_net, sched = Classes(cosine_schedule()), cosine_schedule()
    as_eps = Denoiser(eps_net, sched)

    class Other(nn.Module):
        config = eps_net.config

        def forward(self, xt, t, y):
            x0, eps, _ = as_eps(xt, t, y=y)
            return Denoiser(eps_net, sched, predicts).target(x0, t, eps)

    x, t, y = torch.randn(8, 1, dtype=torch.float64), torch.randint(1, 900, (8,)), torch.tensor([0, 1] * 4)
    want = guided(as_eps, y, 2, 1.5)(x, t)
    got = guided(Denoiser(Other(), sched, predicts), y, 2, 1.5)(x, t)
    assert torch.allclose(got.x0, want.x0, atol=1e-9)
    assert torch.allclose(got.eps, want.eps, atol=1e-9)


def test_labels_are_dropped_in_the_share_asked_for():
    y = torch.arange(20_000) % 10
    g = torch.Generator().manual_seed(0)
    dropped = drop_labels(y, 10, 0.1, g)
    gone = dropped == 10
    assert torch.equal(dropped[~gone], y[~gone])
    assert abs(gone.double().mean() - 0.1) < 4 * (0.1 * 0.9 / 20_000) ** 0.5
    assert abs(y[gone].double().mean() - 4.5) < 4 * 2.9 / 2000**0.5  # whatever the label
    assert torch.equal(drop_labels(y, 10, 0.0), y)
    assert (drop_labels(y, 10, 1.0) == 10).all()
    assert torch.equal(dropped, drop_labels(y, 10, 0.1, torch.Generator().manual_seed(0)))
    for drop_prob in (-0.1, 1.5, math.nan):
        with pytest.raises(ValueError, match="drop_prob must lie in"):
            drop_labels(y, 10, drop_prob)


def test_a_label_that_is_never_to_be_dropped_is_kept_even_at_the_least_draw(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda n, **_: torch.zeros(n))
    y = torch.tensor([0, 1])
    assert torch.equal(drop_labels(y, 2, 0.0), y)
    assert drop_labels(y, 2, 1e-6).tolist() == [2, 2]
