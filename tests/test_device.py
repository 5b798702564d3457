"""Where a network runs, in which order of memory and which numbers, and the memory that a training takes."""

import copy
import re

import pytest
import torch
from small_networks import small

from ddpm_abc import device
from ddpm_abc.device import describe, fast_precision, has_fast_bf16, pick_device, prepare, training_memory


def test_pick_device_cpu():
    assert pick_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize(
    ("cuda", "mps", "want"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_pick_device_auto(monkeypatch, cuda, mps, want):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert pick_device() == torch.device(want)


def test_pick_device_refuses(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name in ("cuda", "cuda:1", "mps", "meta"):
        with pytest.raises(ValueError, match=f"'{name}' is not available on this machine: use auto or cpu"):
            pick_device(name)
    with pytest.raises(ValueError, match="unknown device 'gpu': use auto, cpu, cuda or mps"):
        pick_device("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ValueError, match="'cuda:2' is not available"):
        pick_device("cuda:2")


def test_has_fast_bf16(monkeypatch):
    for capabilities, want in (
        ({"avx512_bf16": True}, True),
        ({"avx512_bf16": True, "avx512_fp16": True, "amx_bf16": True}, True),
        ({"avx512_bf16": True, "avx512_fp16": True, "amx_bf16": False}, False),  # AMX is hidden
        ({"amx_bf16": True}, True),
        ({"avx512_bf16": False}, False),
        ({}, False),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda c=capabilities: c, raising=False)
        assert has_fast_bf16(torch.device("cpu")) is want
    for capability, want in (((7, 5), False), ((8, 0), True), ((9, 0), True)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, c=capability: c)
        assert has_fast_bf16(torch.device("cuda")) is want
    assert has_fast_bf16(torch.device("mps")) is False


@pytest.mark.parametrize(
    ("capability", "want"),
    [((6, 1), None), ((7, 0), torch.float16), ((7, 5), torch.float16), ((8, 0), torch.bfloat16)],
)
def test_a_gpu_without_bfloat16_gets_float16(monkeypatch, capability, want):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert fast_precision(torch.device("cuda")) == want
    assert fast_precision(torch.device("mps")) is None


@pytest.mark.parametrize(("bf16", "tolerance"), [(False, 1e-4), (True, 0.03)])
def test_prepare_keeps_the_outputs(monkeypatch, capsys, bf16, tolerance):
    monkeypatch.setattr(device, "has_fast_bf16", lambda device: bf16)
    plain = small(size=28, channels=(32, 64, 96), n_classes=10)
    fast = copy.deepcopy(plain)
    assert prepare(fast, "cpu") is fast
    said = describe(fast)
    assert capsys.readouterr().out == ""
    assert "1,226,209 parameters on cpu" in said
    assert "channels_last" in said
    assert ("bfloat16 autocast" if bf16 else "float32") in said
    assert "default layout, float32" in describe(plain)
    assert fast.conv_in.weight.dtype == torch.float32
    assert fast.down_levels[1][0].conv1.weight.is_contiguous(memory_format=torch.channels_last)

    g = torch.Generator().manual_seed(0)
    xt, t, y = torch.randn(4, 1, 28, 28, generator=g), torch.tensor([1, 10, 500, 1000]), torch.arange(4)
    with torch.no_grad():
        want, got = plain(xt, t, y), fast(xt, t, y)
    assert got.dtype == torch.float32
    assert (got - want).abs().max() < tolerance * want.abs().max()
    assert not (bf16 and torch.equal(got, want))  # bfloat16 was really used


def test_prepare_refuses(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="'cuda' is not available"):
        prepare(small(), "cuda")


def test_prepare_takes_any_module_and_claims_nothing_for_it(monkeypatch):
    monkeypatch.setattr(device, "has_fast_bf16", lambda device: True)
    other = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Conv2d(4, 1, 3))
    assert prepare(other, "cpu") is other
    assert not hasattr(other, "autocast_dtype")
    assert re.fullmatch(
        r"network: 77 parameters on cpu \(\d+ threads?\), channels_last, float32", describe(other)
    )
    assert describe(other.double()).endswith("channels_last, float64")
    assert describe(torch.nn.Identity()).startswith("network: 0 parameters on cpu")


def test_prepare_takes_kernels_in_three_dimensions():
    "For volumes and videos: torch has channels_last for images alone."
    net = torch.nn.Sequential(torch.nn.Conv3d(1, 4, 3), torch.nn.BatchNorm3d(4))
    x = torch.randn(2, 1, 4, 4, 4)
    expected = net(x)
    assert torch.allclose(prepare(net, "cpu")(x), expected, atol=1e-6)
    assert "default layout" in describe(net)


def test_training_memory_counts_what_autograd_saves():
    x, first, last = torch.randn(1, 6), torch.nn.Linear(6, 5), torch.nn.Linear(5, 4)
    n = sum(p.numel() for p in (*first.parameters(), *last.parameters()))
    # The input, and once what the activation gives: the last layer needs the same.
    net = torch.nn.Sequential(first, torch.nn.ReLU(), last)
    assert training_memory(net, 10, x) == 4 * (5 * n + 10 * (6 + 5))
    assert training_memory(net, 10, x, averages=1) == 4 * (4 * n + 10 * (6 + 5))


def test_training_memory_of_a_labelled_network_grows_with_the_batch():
    net = small(n_classes=10)
    one = torch.randn(1, 1, 8, 8), torch.tensor([5]), torch.tensor([3])
    none, some, more = (training_memory(net, batch, *one) for batch in (0, 3, 6))
    assert none == 20 * sum(p.numel() for p in net.parameters())
    assert more - some == some - none > 3 * 64 * 4


def test_training_memory_is_that_of_a_training_wherever_it_is_asked():
    net, one = small(), (torch.randn(1, 1, 8, 8), torch.tensor([5]))
    expected = training_memory(net, 3, *one)
    with torch.no_grad():
        assert training_memory(net, 3, *one) == expected
