"""The loss, the average and the loop, against independent computations; and a small training that learns."""

import copy
import math
import re
from contextlib import contextmanager
from itertools import islice

import pytest
import torch
from small_networks import small
from torch import nn

from ddpm_abc.data import batches, digits, to_unit
from ddpm_abc.forward import q_sample
from ddpm_abc.parameterization import Denoiser
from ddpm_abc.sampling import sample, spaced_times
from ddpm_abc.schedule import cosine_schedule, linear_schedule
from ddpm_abc.storage import load_checkpoint, save_checkpoint
from ddpm_abc.training import EMA, draw_batch, joined_batch, sample_t, simple_loss, train, warmup_cosine
from ddpm_abc.unet import UNet

pytestmark = pytest.mark.filterwarnings(
    "ignore:the schedule stops short of noise"
)  # one or two steps, on purpose
SCHED = linear_schedule()


class Tiny(nn.Module):
    "The smallest network that depends on x and t."

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(0.1)), nn.Parameter(torch.tensor(0.2))
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, xt, t):
        self.calls += 1
        return self.a * xt + self.b * (t / 1000).view(-1, *[1] * (xt.ndim - 1))


def setup(lr=1e-2, steps=5, seed=0):
    torch.manual_seed(seed)
    net = Tiny()
    data = [torch.rand(8, 1, 4, 4) * 2 - 1 for _ in range(steps)]
    return net, torch.optim.SGD(net.parameters(), lr=lr), data


@pytest.mark.parametrize("t", [[0, 5], [5, 1001], [-1, 5]])
def test_times_outside_of_the_schedule_are_refused(t):
    "torch.randint(0, T) draws a 0, which no network is asked about, and never draws T."
    x0 = torch.zeros(2, 1, 4, 4)
    with pytest.raises(IndexError, match=r"t must lie in [01]\.\.1000"):
        simple_loss(Denoiser(lambda xt, t: xt, SCHED), x0, torch.tensor(t), x0)


@pytest.mark.equation("0.30", "4.1", by="simple_loss")
def test_loss_is_the_mean_square_error_of_each_item():
    g = torch.Generator().manual_seed(0)
    x0, eps = (
        torch.rand(3, 2, 4, 4, generator=g, dtype=torch.float64),
        torch.randn(3, 2, 4, 4, generator=g, dtype=torch.float64),
    )
    t = torch.tensor([1, 500, 1000])
    losses = simple_loss(Denoiser(lambda xt, t: 0.5 * xt, SCHED), x0, t, eps)
    assert losses.shape == (3,)
    assert losses.dtype == torch.float64
    for i in range(3):
        ab = SCHED.alpha_bar[t[i]]
        by_hand = ((0.5 * (ab.sqrt() * x0[i] + (1 - ab).sqrt() * eps[i]) - eps[i]) ** 2).sum() / 32
        assert abs(losses[i] - by_hand) < 1e-12


def test_the_network_sees_the_noisy_image_and_its_time():
    seen = {}

    def spy(xt, t):
        seen.update(xt=xt, t=t)
        return xt

    x0, eps, t = torch.rand(4, 1, 2, 2), torch.randn(4, 1, 2, 2), torch.tensor([1, 2, 999, 1000])
    simple_loss(Denoiser(spy, SCHED), x0, t, eps)
    assert torch.equal(seen["t"], t)
    assert torch.equal(seen["xt"], q_sample(SCHED, x0, t, eps))


@pytest.mark.equation("4.4", by="sample_t")
@pytest.mark.parametrize("T", [1, 2, 7, 1000])
def test_every_time_is_drawn_and_no_other(T):
    drawn = sample_t(cosine_schedule(T), 100 * T + 10, torch.Generator().manual_seed(0))
    assert set(drawn.tolist()) == set(range(1, T + 1))
    assert drawn.dtype == torch.int64


@pytest.mark.equation("0.30", "4.4", by="sample_t")
def test_times_are_uniform():
    counts = torch.bincount(sample_t(SCHED, 100_000, torch.Generator().manual_seed(1)))[1:].double()
    chi2 = ((counts - 100) ** 2 / 100).sum()
    assert abs(chi2 - 999) < 4 * math.sqrt(2 * 999)


def test_trained_times_are_the_sampled_times():
    sched, sampled, trained = cosine_schedule(20), set(), set()

    def model(xt, t):
        sampled.update(t.tolist())
        return xt

    sample(Denoiser(model, sched), (1, 1, 2, 2))
    net, opt, _ = setup()
    for out in train(Denoiser(net, sched), (torch.zeros(64, 1, 2, 2) for _ in range(20)), opt):
        trained.update(out.t.tolist())
    assert trained == sampled == set(range(1, 21))


@pytest.mark.equation("4.5", by="EMA.update")
def test_ema_is_its_formula():
    net = Tiny()
    ema = EMA(net, decay=0.8)
    by_hand = net.a.item()
    for n in range(1, 30):
        net.a.data.fill_(math.sin(n))
        net.calls.fill_(n)
        ema.update(net)
        d = min(0.8, (1 + n) / (10 + n))
        by_hand = d * by_hand + (1 - d) * math.sin(n)
    assert abs(ema.model.a.item() - by_hand) < 1e-6
    assert ema.model.calls.item() == 29
    assert ema.n == 29


def test_ema_is_a_frozen_copy_in_evaluation_mode():
    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
    before = copy.deepcopy(net.state_dict())
    ema = EMA(net)
    assert not ema.model.training
    assert not any(p.requires_grad for p in ema.model.parameters())
    assert net.training
    ema.update(net)
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert not any(p.requires_grad for p in ema.model.parameters())


@pytest.mark.parametrize(
    "more", [nn.Linear(2, 2), nn.BatchNorm1d(2, affine=False)], ids=["weights", "buffers"]
)
def test_an_average_takes_no_network_with_more_in_it_than_its_own(more):
    net = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="argument 2 is longer"):
        EMA(net).update(nn.Sequential(*net, more))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_an_average_moves_however_few_digits_the_weights_have(dtype):
    net = nn.Linear(1, 1, bias=False).to(dtype)
    nn.init.ones_(net.weight)
    ema = EMA(net)
    ema.n = 10_000
    nn.init.constant_(net.weight, 2)
    for _ in range(100):
        ema.update(net)
    assert ema.model.weight.dtype == torch.promote_types(dtype, torch.float32)
    assert ema.model.weight.item() == pytest.approx(2 - 0.999**100, abs=1e-3)


@pytest.mark.parametrize("decay", [-0.1, 1.0, 2])
def test_ema_refuses_a_decay_out_of_range(decay):
    with pytest.raises(ValueError, match=rf"\[0, 1\), got {decay}"):
        EMA(Tiny(), decay)


def test_an_average_without_a_past_is_the_network():
    net = Tiny()
    ema = EMA(net, decay=0)
    nn.init.constant_(net.a, 7)
    ema.update(net)
    assert ema.model.a == 7


@pytest.mark.equation("4.7", by="warmup_cosine")
def test_warmup_cosine():
    assert warmup_cosine(0.05, warmup=0.1) == pytest.approx(0.5)
    assert warmup_cosine(0.1, warmup=0.1) == 1
    assert warmup_cosine(0.55, warmup=0.1, floor=0) == pytest.approx(0.5)
    assert warmup_cosine(1.0, floor=0.03) == pytest.approx(0.03)
    assert warmup_cosine(1.7, floor=0.03) == pytest.approx(0.03)
    values = [warmup_cosine(u / 1000) for u in range(1001)]
    assert all(0 < v <= 1 for v in values)
    top = values.index(1.0)
    assert values[:top] == sorted(values[:top])
    assert values[top:] == sorted(values[top:], reverse=True)
    assert warmup_cosine(0, warmup=0) == 1  # none at all
    for wrong in (-0.1, 1.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match=r"warmup must lie in \[0, 1\), got"):
            warmup_cosine(1.0, warmup=wrong)


def test_yields_after_the_step():
    net, opt, data = setup()
    before = net.a.item()
    out = next(train(Denoiser(net, SCHED), data, opt))
    assert out.step == 1
    assert net.a.item() != before


def test_what_training_needs_may_be_given_by_name_and_its_options_by_name_alone():
    net, opt, data = setup()
    assert next(train(denoise=Denoiser(net, SCHED), batches=data, opt=opt)).step == 1
    with pytest.raises(TypeError, match="positional arguments"):
        train(Denoiser(net, SCHED), data, opt, EMA(net))


def test_what_was_drawn_and_what_a_step_did_stay_as_they_are():
    net, opt, data = setup()
    batch, other = (draw_batch(SCHED, data[0]) for _ in range(2))
    done = next(train(Denoiser(net, SCHED), [batch], opt))
    for record in (batch, done):
        with pytest.raises(AttributeError, match="cannot assign to field"):
            record.t = other.t
    assert batch != other
    assert len({batch, other}) == 2  # each batch is itself alone, whatever it holds


@pytest.mark.equation("4.6", by="train")
def test_one_step_is_gradient_descent_on_the_clipped_mean_loss():
    net, opt, data = setup(lr=0.1)
    by_hand = copy.deepcopy(net)
    out = next(
        train(Denoiser(net, SCHED), data, opt, generator=torch.Generator().manual_seed(0), clip_norm=0.01)
    )
    g = torch.Generator().manual_seed(0)
    t = torch.randint(1, 1001, (8,), generator=g)
    eps = torch.randn(8, 1, 4, 4, generator=g)
    ab = SCHED.alpha_bar[t].float().view(-1, 1, 1, 1)
    loss = (by_hand(ab.sqrt() * data[0] + (1 - ab).sqrt() * eps, t) - eps).square().mean()
    loss.backward()
    norm = math.hypot(by_hand.a.grad.item(), by_hand.b.grad.item())
    assert norm > 0.01
    assert out.grad_norm.item() == pytest.approx(norm, rel=1e-5)
    assert out.loss == pytest.approx(loss.item(), rel=1e-5)
    assert net.a.item() == pytest.approx(0.1 - 0.1 * 0.01 * by_hand.a.grad.item() / norm, rel=1e-5)
    assert torch.equal(out.t, t)


def test_a_step_follows_a_gradient_of_norm_1_at_most_if_nothing_else_is_said():
    net, opt, data = setup(lr=1.0)
    before = torch.stack([*net.parameters()]).detach()
    out = next(train(Denoiser(net, SCHED), data, opt, weight=torch.full((1001,), 100.0)))
    assert out.grad_norm > 2
    assert (torch.stack([*net.parameters()]) - before).norm().item() == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("clip_norm", [1.0, math.inf])
def test_gradients_of_parameters_that_the_optimizer_leaves_alone_do_not_add_up(clip_norm):
    "Nor do those that a pass before the training left."
    net, batch = small(), draw_batch(SCHED, torch.randn(3, 1, 8, 8).clamp(-1, 1))
    simple_loss(Denoiser(net, SCHED), batch.x0, batch.t, batch.eps).sum().backward()
    opt = torch.optim.SGD(net.time_mlp.parameters(), lr=1e-9)
    norms = [out.grad_norm for out in train(Denoiser(net, SCHED), [batch] * 4, opt, clip_norm=clip_norm)]
    net.zero_grad()
    simple_loss(Denoiser(net, SCHED), batch.x0, batch.t, batch.eps).mean().backward()
    norm = torch.stack([p.grad.norm() for p in net.parameters()]).norm()
    assert torch.allclose(torch.stack(norms), norm.expand(4), rtol=1e-4)


def test_learning_rate_follows_the_factor_of_the_0_based_step():
    net, opt, data = setup(lr=0.5)
    rates = [out.lr for out in train(Denoiser(net, SCHED), data, opt, lr_factor=lambda step: 1 / (1 + step))]
    assert rates == pytest.approx([0.5, 0.25, 0.5 / 3, 0.125, 0.1])


def test_each_group_of_parameters_has_its_own_rate_and_the_first_is_told():
    net, _, data = setup()
    opt = torch.optim.SGD([{"params": [net.a], "lr": 0.5}, {"params": [net.b], "lr": 0.1}])
    told, kept = [], []
    for out in train(Denoiser(net, SCHED), data[:3], opt, lr_factor=lambda step: 1 / (1 + step)):
        told.append(out.lr)
        kept.append([group["lr"] for group in opt.param_groups])
    assert torch.allclose(torch.tensor(kept), torch.tensor([[0.5, 0.1], [0.25, 0.05], [0.5 / 3, 0.1 / 3]]))
    assert told == [first for first, _ in kept]


def test_start_continues_the_count():
    net, opt, data = setup()
    seen = []
    out = list(
        train(Denoiser(net, SCHED), data, opt, start=7, lr_factor=lambda step: seen.append(step) or 1.0)
    )
    assert [o.step for o in out] == [8, 9, 10, 11, 12]
    assert seen == [7, 8, 9, 10, 11]


def test_one_seed_one_run_and_the_global_generator_is_left_alone():
    def run():
        net, opt, data = setup()
        state = torch.get_rng_state()
        losses = [
            o.loss for o in train(Denoiser(net, SCHED), data, opt, generator=torch.Generator().manual_seed(4))
        ]
        assert torch.equal(state, torch.get_rng_state())
        return losses, net.a.item()

    assert run() == run()


def test_labels_reach_the_network_with_their_images():
    class Told(Tiny):
        def forward(self, xt, t, y):
            told.append(y)
            return super().forward(xt, t) + self.b * y.view(-1, 1, 1, 1)

    told = []
    _, _, data = setup()
    labels = [torch.arange(8) + k for k in range(5)]
    net = Told()
    opt = torch.optim.SGD(net.parameters(), lr=1e-2)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.cat(data), torch.cat(labels)), batch_size=8
    )  # its pairs are lists
    out = list(train(Denoiser(net, SCHED), loader, opt, generator=torch.Generator().manual_seed(4)))
    assert len(out) == 5
    assert all(torch.equal(a, b) for a, b in zip(told, labels, strict=True))
    plain, opt, data = setup()
    same = list(train(Denoiser(plain, SCHED), data, opt, generator=torch.Generator().manual_seed(4)))
    assert all(torch.equal(a.t, b.t) for a, b in zip(out, same, strict=True))  # labels draw no noise


def test_ema_is_updated_once_a_step():
    net, opt, data = setup()
    ema = EMA(net)
    assert [ema.n for _ in train(Denoiser(net, SCHED), data, opt, ema=ema)] == [1, 2, 3, 4, 5]


def test_sets_training_mode():
    net, opt, data = setup()
    trained = []
    net.register_forward_pre_hook(lambda net, _: trained.append(net.training))
    for _ in train(Denoiser(net, SCHED), data, opt):
        net.eval()  # to look at samples, say
    assert trained == [True] * 5


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_stops_before_the_step(bad):
    net, opt, data = setup()
    ema = EMA(net)
    data[2][3, 0, 0, 0] = bad
    loop = train(Denoiser(net, SCHED), data, opt, ema=ema)
    next(loop), next(loop)
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(FloatingPointError, match="step 3"):
        next(loop)
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items() if k != "calls")
    assert ema.n == 2


def test_a_loss_that_is_not_finite_is_refused_whatever_its_gradient():
    net, opt, data = setup()

    def learned(more):  # nothing to learn is no error: loss and gradient are zero
        return lambda denoise, x0, t, eps: 0 * simple_loss(denoise, x0, t, eps) + more

    assert next(train(Denoiser(net, SCHED), data, opt, loss=learned(0.0))).grad_norm == 0
    with pytest.raises(FloatingPointError, match="the loss is not finite"):
        next(train(Denoiser(net, SCHED), data, opt, loss=learned(math.inf)))


def frechet(a, b):
    "Squared Frechet distance of Gaussians fitted to two sets of vectors."
    (ma, ca), (mb, cb) = ((x.mean(0), torch.cov(x.T)) for x in (a, b))
    root = torch.linalg.eigvals(ca @ cb).real.clamp(min=0).sqrt().sum()
    return ((ma - mb).square().sum() + ca.trace() + cb.trace() - 2 * root).item()


def test_a_small_training_learns_and_its_samples_beat_noise():
    """150 steps of a small network.

    Stated measure: the Frechet distance to real digits in the 16 main directions of the digits. Noise, even
    noise of the digits' own mean and variance for each pixel, must be several times further away.
    """
    data = digits()
    torch.manual_seed(0)
    net = UNet(channels=(16, 32, 32))
    opt, ema = torch.optim.AdamW(net.parameters(), lr=3e-3), EMA(net, decay=0.98)
    sched, steps = cosine_schedule(200), 150
    loop = train(
        Denoiser(net, sched),
        islice(batches(data.images, 64), steps),
        opt,
        ema=ema,
        generator=torch.Generator().manual_seed(0),
        lr_factor=lambda step: warmup_cosine(step / steps),
    )
    losses = [out.loss for out in loop]
    assert losses[0] == pytest.approx(1, abs=0.05)
    assert sum(losses[-30:]) / 30 < 0.25

    real = to_unit(data.images).flatten(1)
    mean, std = real.mean(0), real.std(0)
    main = torch.linalg.eigh(torch.cov(real.T)).eigenvectors[:, -16:]
    g = torch.Generator().manual_seed(1)
    fake = sample(
        Denoiser(ema.model, sched), (192, 1, 28, 28), times=spaced_times(sched.T, 40), generator=g
    ).flatten(1)
    white = torch.randn(192, 784, generator=g).clamp(-1, 1)
    fitted = (mean + std * torch.randn(192, 784, generator=g)).clamp(-1, 1)
    distance = {
        name: frechet((x - mean) @ main, (real - mean) @ main)
        for name, x in (("fake", fake), ("white", white), ("fitted", fitted), ("floor", real[:192]))
    }
    assert distance["floor"] < distance["fake"] < distance["fitted"] / 2 < distance["white"], distance


# --- mistakes that would train nothing, and say nothing -----------------------------------------------------


def test_an_optimizer_of_another_network_is_refused():
    net, other = Tiny(), Tiny()
    before = other.a.item()
    with pytest.raises(ValueError, match=r"holds no parameter of this network.*SGD\(net.parameters\(\)"):
        next(train(Denoiser(net, SCHED), [torch.zeros(2, 1, 2, 2)], torch.optim.SGD(other.parameters())))
    assert other.a.item() == before
    part = torch.optim.SGD([net.a])  # some of the network is fine: the rest is frozen
    assert next(train(Denoiser(net, SCHED), [torch.zeros(2, 1, 2, 2)], part)).step == 1


class Alone:
    "A team of one process, which notes the gradient before and after what it is to average."

    def __init__(self):
        self.seen = []

    @contextmanager
    def averaging(self, net):
        before = net.a.grad.clone()
        yield
        self.seen.append((before, net.a.grad.clone()))

    def pooled(self, *ours):
        return list(ours)


@pytest.mark.parametrize("parts", [2, 3])
def test_a_team_averages_once_at_the_last_part(parts):
    net, opt, data = setup()
    team = Alone()
    done = next(train(Denoiser(net, SCHED), data, opt, accumulate=parts, team=team, clip_norm=math.inf))
    [(before, after)] = team.seen
    assert len(done.losses) == 8
    assert before != 0 != after - before
    assert after == net.a.grad


@pytest.mark.parametrize(
    ("told", "sizes"),
    [({}, [8]), ({"accumulate": 3}, [3, 3, 2]), ({"accumulate": 4}, [2] * 4), ({"accumulate": 99}, [1] * 8)],
)
def test_a_batch_is_computed_in_the_parts_asked_for_and_they_make_one_step(told, sizes):
    seen, done = [], []

    def loss(denoise, x0, t, eps):
        seen.append(len(t))
        return simple_loss(denoise, x0, t, eps)

    for options in ({"loss": loss, **told}, {"accumulate": 1}):
        net, opt, data = setup()
        g = torch.Generator().manual_seed(4)
        done.append(next(train(Denoiser(net, SCHED), data, opt, generator=g, **options)))
    assert seen == sizes
    assert torch.allclose(done[0].losses, done[1].losses)
    assert torch.allclose(done[0].grad_norm, done[1].grad_norm)


@pytest.mark.parametrize("shape", [(1000,), (1002,), (1001, 1)])
def test_a_weight_that_is_not_one_number_a_time_is_refused(shape):
    net, opt, data = setup()
    got = re.escape(f"weight must have shape (1001,), one number for each t from 0 to T, got {shape}")
    with pytest.raises(ValueError, match=got):
        next(train(Denoiser(net, SCHED), data, opt, weight=torch.ones(shape)))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"clip_norm": 0.0}, "clip_norm must be above 0, got 0.0: math.inf clips nothing"),
        ({"clip_norm": -1.0}, "clip_norm must be above 0, got -1.0"),
        ({"clip_norm": math.nan}, "clip_norm must be above 0, got nan"),
        ({"start": -1}, "start must be at least 0 and accumulate at least 1, got -1 and 1"),
        ({"accumulate": 0}, "start must be at least 0 and accumulate at least 1, got 0 and 0"),
    ],
)
def test_numbers_that_train_nothing_or_the_wrong_way_are_refused(wrong, said):
    net, opt, data = setup()
    with pytest.raises(ValueError, match=said):
        next(train(Denoiser(net, SCHED), data, opt, **wrong))
    assert next(train(Denoiser(net, SCHED), data, opt, clip_norm=math.inf)).step == 1


@pytest.mark.parametrize(("mean", "shape"), [(lambda e: e, r"\(8, 1, 4, 4\)"), (torch.mean, r"\(\)")])
def test_a_loss_that_is_not_one_number_an_item_is_refused(mean, shape):
    net, opt, data = setup()

    def loss(denoise, x0, t, eps):
        return mean((denoise.net(x0, t) - eps).square())

    with pytest.raises(ValueError, match=rf"loss must return shape \(8,\), one number .* got {shape}"):
        next(train(Denoiser(net, SCHED), data, opt, loss=loss))


def test_a_network_without_parameters_is_refused():
    with pytest.raises(TypeError, match="needs a network with parameters.*got function"):
        next(
            train(
                Denoiser(lambda xt, t: xt, SCHED),
                [torch.zeros(2, 1, 2, 2)],
                torch.optim.SGD(Tiny().parameters()),
            )
        )


@pytest.mark.parametrize(
    ("low", "high"),
    [(0, 1), (0.001, 0.999), (0, 255), (0.2, 0.7), (-5, 5), (-1.2, 0.3), (-0.3, 1.2)],
)
def test_images_in_another_range_are_noticed(low, high):
    net, opt, _ = setup()
    x0 = torch.linspace(low, high, 64).view(4, 1, 4, 4)
    said = re.escape(f"the first batch lies in [{low}, {high}]")
    with pytest.warns(UserWarning, match=f"{said}.*to_unit") as caught:
        assert len(list(train(Denoiser(net, SCHED), [x0] * 3, opt))) == 3
    assert [warning.filename for warning in caught] == [__file__]  # once, and where it was called


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "x0",
    [
        torch.linspace(-1, 1, 16),
        torch.linspace(-1.01, 1.01, 16, dtype=torch.float64),  # rounded, say
        torch.zeros(16),
        torch.ones(16),
        -torch.ones(16),
        torch.linspace(-1, -0.5, 16),
    ],
)
def test_images_in_the_right_range_are_not(x0):
    net, opt, _ = setup()
    next(train(Denoiser(net, SCHED), [x0.view(1, 1, 4, 4)], opt))


def test_raw_pixels_are_refused_with_the_remedy():
    net, opt, _ = setup()
    with pytest.raises(TypeError, match=r"floating-point images in \[-1, 1\], got torch.uint8: .*to_unit"):
        next(train(Denoiser(net, SCHED), [torch.zeros(2, 1, 2, 2, dtype=torch.uint8)], opt))


def test_labels_that_the_network_does_not_know_are_refused():
    net = UNet(size=8, channels=(16, 32), n_classes=3)
    opt, x0, good = torch.optim.SGD(net.parameters()), torch.zeros(2, 1, 8, 8), torch.tensor([0, 2])
    for bad in ([0, 3], [-1, 0], [0, 5]):
        with pytest.raises(
            ValueError, match=rf"labels must lie in 0\.\.2.*got a range of {min(bad)} to {max(bad)}"
        ):
            list(train(Denoiser(net, SCHED), [(x0, good), (x0, torch.tensor(bad))], opt))
    for good in ([0, 2], [1, 1], [2, 1]):
        assert next(train(Denoiser(net, SCHED), [(x0, torch.tensor(good))], opt)).step == 1


@pytest.mark.parametrize("config", [None, object()])
def test_a_network_of_ones_own_need_not_have_a_config_that_is_a_dict(config):
    net, opt, data = setup()
    net.config = config
    assert len(list(train(Denoiser(net, SCHED), data, opt))) == 5


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        ({"images": torch.zeros(2, 1, 4, 4)}, r"\['dict'\]"),
        ([torch.zeros(2, 1, 4, 4), [0, 1]], r"\[\(2, 1, 4, 4\), 'list'\]"),
        ([torch.zeros(2, 1, 4, 4), torch.zeros(2), torch.zeros(2)], r"\[.*, \(2,\), \(2,\)\]"),
        (torch.zeros(0, 1, 4, 4), r"\[\(0, 1, 4, 4\)\]"),
        ([torch.zeros(0, 1, 4, 4), torch.zeros(2)], r"\[\(0, 1, 4, 4\), \(2,\)\]"),
        (torch.tensor(0.0), r"\[\(\)\]"),
        ([torch.tensor(0.0), torch.zeros(2)], r"\[\(\), \(2,\)\]"),
        ([], r"\[\]"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_batch_in_another_form_is_refused(batch, said, first):
    net, opt, data = setup()
    with pytest.raises(TypeError, match=f"a batch must be images, at least one.* got {said}"):
        list(train(Denoiser(net, SCHED), [batch] if first else [data[0], batch], opt))


def test_parts_with_labels_and_without_are_not_joined():
    told = draw_batch(SCHED, torch.zeros(2, 1, 4, 4), given={"y": torch.tensor([0, 1])})
    untold = draw_batch(SCHED, torch.zeros(2, 1, 4, 4))
    for parts in ([told, untold], [untold, told]):
        with pytest.raises(KeyError, match="y"):
            joined_batch(parts)


def test_what_a_batch_brings_beside_labels_is_not_taken_for_labels():
    class Told(Tiny):
        def forward(self, xt, t, size, y=None):
            return super().forward(xt, t) * size.view(-1, 1, 1, 1)

    net, x0 = Told(), torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1)
    net.config = {"n_classes": 3}
    opt, size = torch.optim.SGD(net.parameters()), {"size": torch.tensor([28.0, 64.0])}
    for given in (size, {**size, "y": torch.tensor([0, 2])}):
        batch = draw_batch(SCHED, x0, given=given)
        assert next(train(Denoiser(net, SCHED), [batch], opt)).step == 1
    wrong = draw_batch(SCHED, x0, given={**size, "y": torch.tensor([0, 3])})
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.2.* got a range of 0 to 3"):
        next(train(Denoiser(net, SCHED), [wrong], opt))


def half(seed=0):
    "A network that computes in float16, its optimizer, and batches of one fixed kind."
    net = small(seed)
    net.autocast_dtype = torch.float16
    g = torch.Generator().manual_seed(seed)
    data = [torch.rand(4, 1, 8, 8, generator=g) * 2 - 1 for _ in range(8)]
    return Denoiser(net, linear_schedule()), torch.optim.AdamW(net.parameters(), lr=1e-3), data


def test_float16_scales_the_loss_and_not_the_step():
    "A small gradient that float16 alone would lose comes through; what is reported has no scale in it."
    denoise, opt, data = half()
    weight = torch.full((1001,), 1e-6)
    (step,) = train(denoise, data[:1], opt, generator=torch.Generator().manual_seed(1), weight=weight)
    assert opt.param_groups[0]["loss_scale"] == 2**16
    other, opt, data = half()
    other.net.autocast_dtype = None
    (want,) = train(other, data[:1], opt, generator=torch.Generator().manual_seed(1), weight=weight)
    assert "loss_scale" not in opt.param_groups[0]
    assert step.grad_norm.item() == pytest.approx(want.grad_norm.item(), rel=0.02)
    assert step.loss == pytest.approx(want.loss, rel=0.02)


@pytest.mark.parametrize("scale", [0.5, 2.0, 2.0**10])
def test_the_norm_of_a_step_does_not_depend_on_the_scale(scale):
    norms = []
    for started in (1.0, scale):
        denoise, opt, data = half()
        opt.param_groups[0]["loss_scale"] = started
        (step,) = train(denoise, data[:1], opt, generator=torch.Generator().manual_seed(1))
        norms.append(step.grad_norm.item())
    assert norms[1] == pytest.approx(norms[0], rel=0.01)


def test_a_step_that_float16_cannot_hold_is_left_out_and_said():
    denoise, _, data = half()
    one, *others = denoise.net.parameters()
    opt = torch.optim.AdamW([{"params": [one]}, {"params": others}], lr=1e-3)  # the first group keeps count
    opt.param_groups[0]["loss_scale"] = 2.0**40
    before = [p.clone() for p in denoise.net.parameters()]
    steps = train(denoise, data, opt, generator=torch.Generator().manual_seed(1))
    with pytest.warns(
        UserWarning, match=r"step 1 is left out: .* too large for float16. The next .* 5\.49756e\+11"
    ) as caught:
        first = next(steps)
    assert not first.grad_norm.isfinite()
    assert first.losses.isfinite().all()
    assert all(torch.equal(a, b) for a, b in zip(before, denoise.net.parameters(), strict=True))
    assert not opt.state
    assert caught[0].filename == __file__
    assert (opt.param_groups[0]["loss_scale"], opt.param_groups[0]["good_steps"]) == (2.0**39, 0)
    opt.param_groups[0]["loss_scale"] = 2.0**10
    second = next(steps)
    assert second.grad_norm.isfinite()
    assert not any(torch.equal(a, b) for a, b in zip(before, denoise.net.parameters(), strict=True))
    opt.param_groups[0] |= {"good_steps": 2000}
    next(steps)
    assert (opt.param_groups[0]["loss_scale"], opt.param_groups[0]["good_steps"]) == (2.0**11, 1)


@pytest.mark.parametrize("scale", [2.0, 1.5])
def test_a_gradient_that_is_infinite_at_any_scale_is_refused_in_the_end(scale):
    "Once the scale is 1 or less it has no part in it; where there is none, at once."
    denoise, opt, data = half()
    opt.param_groups[0]["loss_scale"] = scale

    def steep(denoise, x0, t, eps):  # adds a root of 0, which has no finite slope there
        bias = denoise.net.conv_out.bias
        return simple_loss(denoise, x0, t, eps) + (bias - bias.detach()).sqrt().sum()

    steps = train(denoise, data, opt, loss=steep)
    with pytest.warns(UserWarning, match=f"step 1 is left out.* The next is taken with {scale / 2:g}$"):
        next(steps)
    said = r"the gradient is not finite \(loss [\d.]+, t from \d+ to \d+\)"
    with pytest.raises(FloatingPointError, match=f"step 2, on batch 1: {said}"):
        next(steps)
    denoise, opt, data = half()
    denoise.net.autocast_dtype = None
    with pytest.raises(FloatingPointError, match=f"step 1, on batch 0: {said}"):
        next(train(denoise, data, opt, loss=steep))


@pytest.mark.parametrize("scale", [1.0, 2.0**10])
def test_float16_excuses_no_loss_that_is_not_finite(scale):
    denoise, opt, data = half()
    opt.param_groups[0]["loss_scale"] = scale
    with torch.no_grad():
        denoise.net.conv_out.bias.fill_(1e30)  # its square overflows
    with pytest.raises(FloatingPointError, match="the loss is not finite"):
        next(train(denoise, data, opt))


def test_the_scale_goes_on_with_the_run(tmp_path):
    denoise, opt, data = half()
    opt.param_groups[0]["loss_scale"] = 2.0**12
    for _ in train(denoise, data[:3], opt, generator=torch.Generator().manual_seed(1)):
        pass
    save_checkpoint(tmp_path / "c.safetensors", denoise, opt, step=3)
    again, new, _ = half(1)
    assert load_checkpoint(tmp_path / "c.safetensors", again, new) == 3
    assert [new.param_groups[0][key] for key in ("loss_scale", "good_steps")] == [2.0**12, 3]
