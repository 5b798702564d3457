"""Networks that predict eps, x0 or v, against the formulas, and wherever a denoiser is expected."""

from dataclasses import replace
from functools import partial
from itertools import islice
from types import SimpleNamespace

import pytest
import torch

from ddpm_abc.data import batches, digits
from ddpm_abc.forward import q_sample
from ddpm_abc.gaussian import GaussianMixture, mixture_eps_model
from ddpm_abc.parameterization import (
    PREDICTS,
    Denoiser,
    eps_from_v,
    learned_var,
    v_weight,
    velocity,
    x0_from_v,
)
from ddpm_abc.sampling import ddpm, sample, spaced_times
from ddpm_abc.schedule import cosine_schedule, linear_schedule, schedule_from_beta
from ddpm_abc.training import EMA, simple_loss, train
from ddpm_abc.unet import UNet

SCHED = linear_schedule()
CONFIG = {"size": 8, "channels": (16, 32)}


def awake(predicts="v", dtype=torch.float64, sched=SCHED):
    "A denoiser whose network does not answer zero."
    net = UNet(**CONFIG).to(dtype)
    torch.nn.init.normal_(net.conv_out.weight, std=0.1)
    return Denoiser(net.eval(), sched, predicts)


def noisy(dtype=torch.float64):
    g = torch.Generator().manual_seed(0)
    x0, eps = (
        torch.rand(4, 1, 8, 8, generator=g, dtype=dtype) * 2 - 1,
        torch.randn(4, 1, 8, 8, generator=g, dtype=dtype),
    )
    t = torch.tensor([1, 300, 700, 1000])
    return x0, eps, t, q_sample(SCHED, x0, t, eps)


@pytest.mark.parametrize("predicts", PREDICTS)
def test_a_network_that_knows_gives_both_guesses_right(predicts):
    "One that answers its target gives x0 and eps, for one time and for one an item."
    x0, eps, t, xt = noisy()
    knows = Denoiser(lambda xt, t: Denoiser(None, SCHED, predicts).target(x0, t, eps), SCHED, predicts)
    guess = knows(xt, t)
    assert torch.allclose(guess.x0, x0, atol=1e-9)
    assert torch.allclose(guess.eps, eps, atol=1e-9)
    assert simple_loss(knows, x0, t, eps).max() == 0
    for time in (1, 700):
        xt = q_sample(SCHED, x0, time, eps)
        knows = Denoiser(
            lambda xt, t, time=time: Denoiser(None, SCHED, predicts).target(x0, time, eps), SCHED, predicts
        )
        assert torch.allclose(knows(xt, time).x0, x0, atol=1e-9)
        assert torch.equal(knows(xt, time).eps, knows(xt, torch.full((4,), time)).eps)


def test_the_network_gets_an_int64_time_for_each_item_and_what_else_is_given():
    seen = {}

    def net(xt, t, y):
        seen.update(t=t, y=y)
        return xt

    y = torch.tensor([3, 1])
    for t in (7, torch.tensor([7, 7], dtype=torch.uint8)):
        Denoiser(net, SCHED)(torch.zeros(2, 1), t, y=y)
        assert seen["t"].tolist() == [7, 7]
        assert seen["t"].dtype == torch.int64
        assert seen["y"] is y


@pytest.mark.parametrize("predicts", PREDICTS)
def test_the_exact_mixture_is_a_denoiser(predicts):
    "Its x0 is the mean of x0 given xt, whatever it is asked for."
    f64 = partial(torch.tensor, dtype=torch.float64)
    data = GaussianMixture(f64([0.3, 0.7]), f64([[-0.5], [0.8]]), f64([0.04, 0.01]))
    eps_net = mixture_eps_model(data, SCHED.alpha_bar)
    exact = Denoiser(eps_net, SCHED)

    def net(xt, t):
        x0, eps, _ = exact(xt, t)
        return Denoiser(eps_net, SCHED, predicts).target(x0, t, eps)

    x = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    ab = SCHED.alpha_bar[400]
    var = ab * data.covs + 1 - ab  # of x_t, each component
    density = data.weights * (-((x - ab.sqrt() * data.means.T) ** 2) / (2 * var)).exp() / var.sqrt()
    share = density / density.sum(1, keepdim=True)
    mean = data.means.T + ab.sqrt() * data.covs / var * (x - ab.sqrt() * data.means.T)
    assert torch.allclose(
        Denoiser(net, SCHED, predicts)(x, 400).x0, (share * mean).sum(1, keepdim=True), atol=1e-9
    )


def test_a_network_in_the_place_of_its_schedule_is_refused():
    with pytest.raises(TypeError, match=r"sched must be a Schedule, got function: Denoiser\(net, sched\)"):
        Denoiser(SCHED, lambda xt, t: xt)


def test_a_denoiser_stays_as_it_is_and_equals_itself_alone():
    def net(xt, t):
        return xt

    denoise = Denoiser(net, SCHED)
    with pytest.raises(AttributeError):
        denoise.predicts = "v"
    assert denoise != Denoiser(net, SCHED)


def test_items_may_be_single_numbers():
    "They have no channels, so no variance can be learned."
    xt = torch.tensor([0.1, -0.3, 0.7])
    x0, eps, share = Denoiser(lambda xt, t: 0.5 * xt, SCHED)(xt, 5)
    assert torch.equal(eps, 0.5 * xt)
    assert x0.shape == (3,)
    assert share is None


@pytest.mark.parametrize("predicts", ["x0", "v"])
def test_where_nothing_of_the_image_is_left_x0_is_still_defined(predicts):
    "Zero terminal SNR: alpha_bar_T = 0. A walk from there ends at the one image that the network knows."
    sched = schedule_from_beta(
        torch.cat([torch.linspace(0.01, 0.3, 20, dtype=torch.float64), torch.ones(1, dtype=torch.float64)])
    )
    assert sched.alpha_bar[-1] == 0
    star = torch.linspace(-1, 1, 6, dtype=torch.float64).expand(3, -1)

    def net(xt, t):
        eps = (xt - sched.alpha_bar[t].sqrt()[:, None] * star) / (1 - sched.alpha_bar[t]).sqrt()[:, None]
        return Denoiser(None, sched, predicts).target(star, t, eps)

    denoise = Denoiser(net, sched, predicts)
    assert torch.allclose(denoise(torch.randn(3, 6, dtype=torch.float64), sched.T).x0, star, atol=1e-12)
    assert torch.allclose(sample(denoise, (3, 6), dtype=torch.float64), star, atol=1e-9)
    with pytest.raises(ValueError, match="eps says nothing of x0: predict v or x0"):
        Denoiser(net, sched)


@pytest.mark.parametrize(
    ("t", "error", "said"),
    [
        (0, IndexError, r"1\.\.1000, got 0"),
        (1001, IndexError, r"1\.\.1000, got 1001"),
        (torch.tensor([1, -3]), IndexError, "got -3"),
        (torch.tensor([-3, 1002]), IndexError, "got -3"),  # the first is named
        (torch.tensor([True, True]), TypeError, "whole numbers .int64., got torch.bool"),
        (0.5, TypeError, "whole numbers"),
        (torch.tensor([1.0, 2.0]), TypeError, "float32"),
        (torch.tensor([1, 2, 3]), ValueError, r"\(2, 1, 8, 8\), got times of shape \(3,\)"),
    ],
)
def test_other_times_are_refused_here_and_nowhere_else(t, error, said):
    with pytest.raises(error, match=said):
        awake(dtype=torch.float32)(torch.zeros(2, 1, 8, 8), t)


@pytest.mark.parametrize("t", [torch.tensor([5]), torch.tensor([5, 5, 5]), torch.tensor([[5, 5]])])
def test_times_of_another_shape_are_refused_before_the_network_is_asked(t):
    def never(xt, t):
        raise AssertionError("asked")

    with pytest.raises(ValueError, match=r"each item of a batch of shape \(2, 3\), got times of shape"):
        Denoiser(never, SCHED)(torch.zeros(2, 3), t)


@pytest.mark.parametrize("s", [5, 7])
def test_a_learned_variance_of_no_step_down_is_refused(s):
    with pytest.raises(ValueError, match=f"s must be a time before t, got s = {s} and t = 5"):
        learned_var(SCHED, torch.zeros(2, 3), 5, torch.zeros(2, 3), s)


def test_other_predictions_and_answers_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="one of eps, x0, v, got 'noise'"):
        Denoiser(UNet(**CONFIG), SCHED, "noise")
    with pytest.raises(ValueError, match=r"xt and answer must have the same shape, got \(2, 3\) and \(2,\)"):
        Denoiser(lambda xt, t: xt[:, 0], SCHED)(torch.zeros(2, 3), 5)
    for answer, name in ((None, "NoneType"), (SimpleNamespace(sample=0), "SimpleNamespace"), ((0,), "tuple")):
        with pytest.raises(
            TypeError, match=rf"must return a tensor like xt, got {name}: wrap it .*t - 1\)\.s"
        ):
            Denoiser(lambda xt, t, answer=answer: answer, SCHED)(torch.zeros(2, 3), 5)


@pytest.mark.equation("8.1", by="Denoiser, UNet")
def test_a_new_network_that_predicts_v_gives_the_best_multiple_of_its_input():
    "For pixels of mean square 1: least squares over many draws finds the factor."
    g = torch.Generator().manual_seed(0)
    x0, eps = (
        torch.randn(2, 200_000, generator=g, dtype=torch.float64).sign(),
        torch.randn(2, 200_000, generator=g, dtype=torch.float64),
    )
    new = Denoiser(UNet(**CONFIG).double(), SCHED, "v")
    for t in (100, 600):
        xt = q_sample(SCHED, x0, t, eps)
        best = (xt * eps).sum() / xt.square().sum()
        answer = new(torch.ones(1, 1, 8, 8, dtype=torch.float64), t).eps
        assert abs(answer.mean() - best) < 5e-3
        assert answer.std() == 0


@pytest.mark.equation("8.2", "8.3", by="Denoiser, eps_from_v, velocity")
def test_the_guesses_are_those_of_v():
    denoise = awake()
    x0, eps, t, xt = noisy()
    with torch.no_grad():
        guess, v_hat = denoise(xt, t), denoise.net(xt, t)
    a, b = (SCHED.alpha_bar[t].sqrt().view(-1, 1, 1, 1), (1 - SCHED.alpha_bar[t]).sqrt().view(-1, 1, 1, 1))
    assert torch.allclose(guess.eps, b * xt + a * v_hat, atol=1e-12)
    assert torch.allclose(guess.x0, (xt - b * guess.eps) / a, atol=1e-8)
    assert torch.allclose(velocity(SCHED, x0, t, eps), (eps - b * xt) / a, atol=1e-8)
    assert torch.equal(guess.x0, x0_from_v(SCHED, xt, t, v_hat))
    assert torch.equal(guess.eps, eps_from_v(SCHED, xt, t, v_hat))


@pytest.mark.equation("8.4", by="v_weight, simple_loss")
def test_the_weight_makes_an_error_of_eps_one_of_v():
    denoise = awake()
    x0, eps, t, xt = noisy()
    with torch.no_grad():
        in_v = simple_loss(denoise, x0, t, eps)
        in_eps = (denoise(xt, t).eps - eps).square().flatten(1).mean(1)
    assert torch.allclose(v_weight(SCHED)[t] * in_eps, in_v, rtol=1e-8)
    assert v_weight(SCHED)[0] == 1


@pytest.mark.parametrize("predicts", PREDICTS)
def test_the_loss_is_that_of_what_is_predicted(predicts):
    denoise = awake(predicts)
    x0, eps, t, xt = noisy()
    target = {"eps": eps, "x0": x0, "v": velocity(SCHED, x0, t, eps)}[predicts]
    by_hand = (denoise.net(xt, t) - target).square().mean((1, 2, 3))
    assert torch.allclose(simple_loss(denoise, x0, t, eps), by_hand, atol=1e-14)


def test_training_takes_the_weight():
    """One step of gradient descent with a weight is one without it on the weighted loss.

    What is reported is not weighted.
    """
    x0 = noisy(torch.float32)[0]
    t = torch.randint(1, 1001, (4,), generator=torch.Generator().manual_seed(3))
    after = []
    for by_hand in (False, True):
        torch.manual_seed(0)
        net, g = UNet(**CONFIG), torch.Generator().manual_seed(3)
        opt = torch.optim.SGD(net.parameters(), lr=0.1)
        weight = torch.linspace(0.5, 2, 1001, dtype=torch.float64)
        if by_hand:
            assert torch.equal(torch.randint(1, 1001, (4,), generator=g), t)
            losses = simple_loss(Denoiser(net, SCHED), x0, t, torch.randn(x0.shape, generator=g))
            (weight[t].float() * losses).mean().backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            opt.step()
            reported = losses.detach()
        else:
            (done,) = train(Denoiser(net, SCHED), [x0], opt, generator=g, weight=weight)
            reported = done.losses
        after.append((net.conv_out.weight.detach().clone(), reported))
    assert torch.allclose(after[0][0], after[1][0], atol=1e-7)
    assert torch.equal(after[0][1], after[1][1])
    assert after[0][0].abs().sum() > 0


def test_a_weight_of_another_length_is_refused_before_the_first_step():
    net = UNet(**CONFIG)
    with pytest.raises(ValueError, match=r"weight must have shape \(1001,\).*got \(1000,\)"):
        next(
            train(
                Denoiser(net, SCHED),
                [noisy(torch.float32)[0]],
                torch.optim.SGD(net.parameters()),
                weight=torch.ones(1000),
            )
        )


def test_it_learns_and_samples_where_a_denoiser_is_expected():
    sched = cosine_schedule(50)
    torch.manual_seed(0)
    denoise = Denoiser(UNet(channels=(16, 32)), sched, "v")
    ema, opt = EMA(denoise.net), torch.optim.AdamW(denoise.net.parameters(), lr=3e-3)
    steps, g = islice(batches(digits().images, 16), 40), torch.Generator().manual_seed(0)
    losses = [done.loss for done in train(denoise, steps, opt, ema=ema, generator=g)]
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])
    averaged = replace(denoise, net=ema.model)
    generated = sample(averaged, (8, 1, 28, 28), generator=torch.Generator().manual_seed(0))
    corners = generated[:, :, :4, :4]
    assert (corners < -0.5).double().mean() > 0.8  # already black where digits are


def test_samplers_do_not_ask_what_is_predicted():
    "The same guesses, said as eps, as x0 and as v, give the same walk."
    awake_eps = awake("eps")
    walks = []
    for predicts in PREDICTS:

        def net(xt, t, predicts=predicts):
            x0, eps, _ = awake_eps(xt, t)
            return Denoiser(None, SCHED, predicts).target(x0, t, eps)

        g = torch.Generator().manual_seed(0)
        with torch.no_grad():
            walks.append(
                sample(
                    Denoiser(net, SCHED, predicts),
                    (2, 1, 8, 8),
                    sampler=ddpm,
                    times=spaced_times(1000, 20),
                    generator=g,
                    dtype=torch.float64,
                )
            )
    assert torch.allclose(walks[0], walks[1], atol=1e-8)
    assert torch.allclose(walks[0], walks[2], atol=1e-8)
