"""What a run remembers beside its weights: the optimizer, every generator, and where it ran."""

import random

import numpy as np
import pytest
import torch
from small_networks import small

from ddpm_abc.storage import state as remembered


def draw():
    numpy = np.random.rand(3).tolist(), np.random.randn()  # noqa: NPY002
    return torch.randn(3).tolist(), random.random(), random.gauss(0, 1), numpy


def test_every_global_generator_goes_back():
    net = small()
    draw()
    random.gauss(0, 1)  # which keeps a second number for later
    kept = remembered._global_generators(net), remembered._python_generators()
    want = draw()
    assert draw() != want
    remembered._set_global_generators(net, kept[0])
    remembered._set_python_generators(kept[1], random, np.random)
    assert draw() == want


def stepped(optimizer, **settings):
    "A network and its optimizer after a step, such that every parameter has a gradient."
    net = small()
    opt = optimizer(net.parameters(), **settings)
    net(torch.randn(2, 1, 8, 8), torch.tensor([1, 2])).square().mean().backward()
    opt.step()
    return net, opt


OPTIMIZERS = {
    "AdamW": (torch.optim.AdamW, {}),
    "AMSGrad": (torch.optim.AdamW, {"amsgrad": True}),
    "SGD": (torch.optim.SGD, {"lr": 0.1}),
    "momentum": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    "RMSprop": (torch.optim.RMSprop, {}),
    "Adagrad": (torch.optim.Adagrad, {}),
    "NAdam": (torch.optim.NAdam, {}),
    "Rprop": (torch.optim.Rprop, {}),  # two of its settings are tuples
}


@pytest.mark.parametrize(("optimizer", "settings"), OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_an_optimizer_goes_back_as_it_was(optimizer, settings):
    net, opt = stepped(optimizer, **settings)
    other = optimizer(small().parameters(), **settings)
    groups = [
        {k: list(v) if isinstance(v, tuple) else v for k, v in group.items()}
        for group in opt.state_dict()["param_groups"]
    ]
    moments = remembered._moments_of(opt)
    remembered._check_optimizer("f", other, groups, moments)
    other.load_state_dict(remembered._optimizer_state(other, groups, moments))
    assert other.state_dict()["param_groups"] == opt.state_dict()["param_groups"]
    for i, kept in opt.state_dict()["state"].items():
        for name, v in kept.items():
            assert v is None or torch.equal(other.state_dict()["state"][i][name], v)


def test_a_setting_of_an_optimizer_may_be_a_number_of_numpy():
    "As a schedule leaves it that computes the learning rate with NumPy."
    _, opt = stepped(torch.optim.SGD, lr=0.1)
    for rate in (np.float64(0.05), np.float32(0.05), np.int64(1)):
        opt.param_groups[0]["lr"] = rate
        remembered._check_optimizer("f", opt, [{**opt.state_dict()["param_groups"][0], "lr": 0.1}], {})


def test_moments_lie_in_memory_as_their_parameters_do():
    net = small().to(memory_format=torch.channels_last)
    opt = torch.optim.AdamW(net.parameters())
    net(torch.randn(2, 1, 8, 8), torch.tensor([1, 2])).square().mean().backward()
    opt.step()
    moments = {name: v.contiguous() for name, v in remembered._moments_of(opt).items()}
    state = remembered._optimizer_state(opt, opt.state_dict()["param_groups"], moments)["state"]
    for i, p in enumerate(net.parameters()):
        assert state[i]["exp_avg"].stride() == p.stride()


def test_an_optimizer_that_keeps_other_things_than_tensors_is_refused():
    net = small()
    opt = torch.optim.LBFGS(net.parameters(), max_iter=2)

    def closure():
        opt.zero_grad()
        loss = net(torch.ones(1, 1, 8, 8), torch.tensor([1])).square().mean()
        loss.backward()
        return loss

    opt.step(closure)
    with pytest.raises(ValueError, match="a checkpoint cannot hold what LBFGS keeps as .* such as AdamW"):
        remembered._moments_of(opt)


def test_what_has_changed_is_said():
    net = small()
    where, versions = remembered._where(net), remembered._versions()
    assert remembered._changes(where, versions, net) == ""
    assert remembered._changes(where, {**versions, "safetensors": "0"}, net) == ""
    assert remembered._changes({**where, "threads": 64}, versions, net).startswith(
        "threads was '64' and is '"
    )
    assert "torch was '1.0' and is" in remembered._changes(where, {**versions, "torch": "1.0"}, net)
    net.autocast_dtype = torch.bfloat16
    assert (
        remembered._changes(where, versions, net) == "precision was 'torch.float32' and is 'torch.bfloat16'"
    )
    assert remembered._changes({}, "nonsense", net).count("was 'unknown'") == 8
