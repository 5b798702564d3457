"""A network that predicts v, against the formulas of v, and wherever a network that predicts the noise is expected."""

import pytest
import torch

from ddpm_abc.checkpoint import (
    build_schedule,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
)
from ddpm_abc.data import batches, digits
from ddpm_abc.forward import predict_x0, q_sample, velocity, x0_from_v
from ddpm_abc.prediction import VUNet, v_weight
from ddpm_abc.sampling import sample
from ddpm_abc.schedule import cosine_schedule, linear_schedule
from ddpm_abc.training import EMA, eps_loss, train
from ddpm_abc.unet import UNet

SCHED = linear_schedule()
CONFIG = {"size": 8, "channels": (16, 32)}
LINEAR = {"kind": "linear", "T": 1000}


def pair(dtype=torch.float64):
    "A network that predicts v, and one of the same weights whose answer is v itself."
    net, bare = VUNet(SCHED, **CONFIG).to(dtype), UNet(**CONFIG).to(dtype)
    torch.nn.init.normal_(net.conv_out.weight, std=0.1)
    bare.load_state_dict(net.state_dict())
    return net.eval(), bare.eval()


def noisy(dtype=torch.float64):
    g = torch.Generator().manual_seed(0)
    x0, eps = torch.rand(4, 1, 8, 8, generator=g, dtype=dtype) * 2 - 1, torch.randn(4, 1, 8, 8, generator=g, dtype=dtype)
    t = torch.tensor([1, 300, 700, 1000])
    return x0, eps, t, q_sample(SCHED, x0, t, eps)


@pytest.mark.equation("8.1", by="VUNet")
def test_a_new_network_gives_the_best_multiple_of_its_input():
    "For pixels of mean square 1: least squares over many draws finds the factor."
    g = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 200_000, generator=g, dtype=torch.float64).sign(), torch.randn(2, 200_000, generator=g, dtype=torch.float64)
    for t in (100, 600):
        xt = q_sample(SCHED, x0, t, eps)
        best = (xt * eps).sum() / xt.square().sum()
        answer = VUNet(SCHED, **CONFIG).double()(torch.ones(1, 1, 8, 8, dtype=torch.float64), torch.tensor([t]))
        assert abs(answer.mean() - best) < 5e-3
        assert answer.std() == 0


@pytest.mark.equation("8.2", "8.3", by="VUNet")
def test_the_answer_implies_the_image_of_v():
    net, bare = pair()
    _, _, t, xt = noisy()
    with torch.no_grad():
        eps_hat, v_hat = net(xt, t), bare(xt, t)
    by_hand = (1 - SCHED.alpha_bar[t]).sqrt().view(-1, 1, 1, 1) * xt + SCHED.alpha_bar[t].sqrt().view(-1, 1, 1, 1) * v_hat
    assert torch.allclose(eps_hat, by_hand, atol=1e-12)
    assert torch.allclose(predict_x0(SCHED, xt, t, eps_hat), x0_from_v(SCHED, xt, t, v_hat), atol=1e-8)


@pytest.mark.equation("8.4", by="v_weight, eps_loss")
def test_the_weight_makes_an_error_of_eps_one_of_v():
    net, bare = pair()
    x0, eps, t, xt = noisy()
    with torch.no_grad():
        in_v = (bare(xt, t) - velocity(SCHED, x0, t, eps)).square().flatten(1).mean(1)
        in_eps = eps_loss(net, SCHED, x0, t, eps)
    assert torch.allclose(v_weight(SCHED)[t] * in_eps, in_v, rtol=1e-8)
    assert v_weight(SCHED)[0] == 1


def test_in_single_precision_the_weight_holds_up_to_the_last_step():
    "alpha_bar falls to 2e-9 with the cosine schedule: the error of the noise is then near float32's rounding, and still the gradient is that of v."
    sched = cosine_schedule()
    net, bare = VUNet(sched, **CONFIG), UNet(**CONFIG)
    torch.nn.init.normal_(net.conv_out.weight, std=0.1)
    bare.load_state_dict(net.state_dict())
    x0, eps, _, _ = noisy(torch.float32)
    t = torch.tensor([1000, 999, 998, 990])
    (v_weight(sched)[t].float() * eps_loss(net, sched, x0, t, eps)).mean().backward()
    xt = q_sample(sched, x0, t, eps)
    (bare(xt, t) - velocity(sched, x0, t, eps)).square().mean().backward()
    a, b = (torch.cat([p.grad.flatten() for p in n.parameters()]) for n in (net, bare))
    assert 0 < (a - b).norm() < 0.01 * b.norm()


def test_training_takes_the_weight():
    "One step of gradient descent with a weight is one without it on the weighted loss; what is reported is not weighted."
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
            losses = eps_loss(net, SCHED, x0, t, torch.randn(x0.shape, generator=g))
            (weight[t].float() * losses).mean().backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            opt.step()
            reported = losses.detach()
        else:
            (done,) = train(net, SCHED, [x0], opt, generator=g, weight=weight)
            reported = done.losses
        after.append((net.conv_out.weight.detach().clone(), reported))
    assert torch.allclose(after[0][0], after[1][0], atol=1e-7)
    assert torch.equal(after[0][1], after[1][1])
    assert after[0][0].abs().sum() > 0


def test_a_weight_of_another_length_is_refused_before_the_first_step():
    net = UNet(**CONFIG)
    with pytest.raises(ValueError, match=r"weight must have shape \(1001,\).*got \(1000,\)"):
        next(train(net, SCHED, [noisy(torch.float32)[0]], torch.optim.SGD(net.parameters()), weight=torch.ones(1000)))


def test_it_learns_and_samples_where_an_eps_model_is_expected():
    sched = cosine_schedule(50)
    torch.manual_seed(0)
    net = VUNet(sched, channels=(16, 32))
    ema, opt, losses = EMA(net), torch.optim.AdamW(net.parameters(), lr=3e-3), []
    for done, _ in zip(train(net, sched, batches(digits().images, 16), opt, ema=ema, weight=v_weight(sched), generator=torch.Generator().manual_seed(0)), range(40), strict=False):
        losses.append(done.loss)
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])
    made = sample(ema.model, sched, (8, 1, 28, 28), generator=torch.Generator().manual_seed(0))
    corners = made[:, :, :4, :4]
    assert (corners < -0.5).double().mean() > 0.8  # already black where digits are


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_files_remember_what_the_network_predicts(kind, tmp_path):
    config = {"kind": kind, "T": 1000}
    net, _ = pair(torch.float32)
    net.sched = build_schedule(config)
    _, _, t, xt = noisy(torch.float32)
    save_weights(tmp_path / "v.safetensors", net, config)
    found = load_weights(tmp_path / "v.safetensors")
    assert isinstance(found.net, VUNet)
    assert torch.equal(found.net(xt, t), net(xt, t))
    assert found.net.config == net.config == UNet(**net.config).config

    save_weights(tmp_path / "eps.safetensors", UNet(**CONFIG), config)
    assert type(load_weights(tmp_path / "eps.safetensors").net) is UNet


def test_the_schedule_of_v_is_that_of_the_file(tmp_path):
    "v means something else under another schedule, and nothing would show it but bad images."
    net = VUNet(SCHED, **CONFIG)
    opt = torch.optim.AdamW(net.parameters())
    for other in ({"kind": "cosine", "T": 1000}, {"kind": "linear", "T": 500}):
        with pytest.raises(ValueError, match="predicts v under a schedule that is not"):
            save_weights(tmp_path / "w.safetensors", net, other)
        with pytest.raises(ValueError, match="predicts v under a schedule that is not"):
            save_checkpoint(tmp_path / "c.safetensors", net, opt, other, step=1)
    assert list(tmp_path.iterdir()) == []
    save_checkpoint(tmp_path / "c.safetensors", net, opt, LINEAR, step=1)
    cosine = VUNet(cosine_schedule(), **CONFIG)
    with pytest.raises(ValueError, match="predicts v under a schedule that is not"):
        load_checkpoint(tmp_path / "c.safetensors", cosine, torch.optim.AdamW(cosine.parameters()))


def test_a_checkpoint_of_the_other_kind_is_refused(tmp_path):
    "The weights would fit, and mean something else."
    nets = {"v": VUNet(SCHED, **CONFIG), "eps": UNet(**CONFIG)}
    opts = {name: torch.optim.AdamW(net.parameters()) for name, net in nets.items()}
    for mine, other in (("v", "eps"), ("eps", "v")):
        save_checkpoint(tmp_path / "c.safetensors", nets[mine], opts[mine], LINEAR, step=1)
        with pytest.raises(ValueError, match=f"trained to predict {mine}, and this one predicts {other}"):
            load_checkpoint(tmp_path / "c.safetensors", nets[other], opts[other])
        assert load_checkpoint(tmp_path / "c.safetensors", nets[mine], opts[mine]) == 1
