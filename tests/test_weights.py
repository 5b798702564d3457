"""Weights come back as they were, with all that belongs to them; what could not come back is not written."""

import dataclasses
import hashlib
import os
import re

import pytest
import torch
from small_networks import KINDS, LINEAR, SMALL, answer, described, eps, small, write
from torch import nn
from torch.nn.utils import parametrizations, prune

from ddpm_abc import __version__, schedule
from ddpm_abc.data import digits, to_unit
from ddpm_abc.forward import q_sample
from ddpm_abc.guidance import guided
from ddpm_abc.paper_unet import PaperUNet
from ddpm_abc.parameterization import Denoiser
from ddpm_abc.schedule import Schedule, build_schedule, cosine_schedule, linear_schedule, schedule_from_beta
from ddpm_abc.storage import load_weights, pretrained, read_metadata, save_weights, unwrap, weights
from ddpm_abc.training import EMA
from ddpm_abc.unet import UNet

every_kind = pytest.mark.parametrize("cls", KINDS, ids=KINDS.get)


def same_weights(a, b):
    a, b = a.state_dict(), b.state_dict()
    assert a.keys() == b.keys()
    for name, v in a.items():
        assert torch.equal(v, b[name]), name


# --- what goes in comes out ---------------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    "kwargs", [{}, {"in_channels": 3, "blocks": 2, "attention_at": (4,)}, {"n_classes": 3}]
)
def test_weights_come_back_as_they_were(cls, layout, kwargs, tmp_path):
    net = small(cls=cls, **kwargs).to(memory_format=layout)
    save_weights(tmp_path / "w.safetensors", eps(net, cosine_schedule(30)), data="squares", steps=7, seed=3)
    before = torch.get_rng_state()
    denoise, info = load_weights(tmp_path / "w.safetensors")
    assert torch.equal(torch.get_rng_state(), before)
    loaded = denoise.net
    assert (type(loaded), loaded.config, loaded.training) == (cls, net.config, False)
    assert all(
        p.requires_grad and p.dtype == torch.float32 and p.device.type == "cpu" for p in loaded.parameters()
    )
    same_weights(loaded, net)
    assert torch.equal(answer(loaded.to(memory_format=layout)), answer(net))
    assert torch.equal(denoise.sched.beta, cosine_schedule(30).beta)
    assert {k: info[k] for k in ("data", "steps", "seed")} == {"data": "squares", "steps": 7, "seed": 3}
    assert info["versions"]["ddpm_abc"] == __version__
    assert info["versions"]["torch"] == torch.__version__
    assert read_metadata(tmp_path / "w.safetensors").net["kind"] == KINDS[cls]


@pytest.mark.parametrize("predicts", ["eps", "x0", "v"])
def test_files_remember_what_the_network_predicts(predicts, tmp_path):
    denoise = Denoiser(small(), LINEAR, predicts)
    save_weights(tmp_path / "w.safetensors", denoise)
    found = load_weights(tmp_path / "w.safetensors").denoise
    assert found.predicts == read_metadata(tmp_path / "w.safetensors").predicts == predicts
    xt, t = torch.randn(2, 1, 8, 8), torch.tensor([1, 900])
    with torch.no_grad():
        for mine, its in zip(denoise(xt, t)[:2], found(xt, t)[:2], strict=True):
            assert torch.equal(mine, its)


@pytest.mark.parametrize(
    "sched",
    [
        linear_schedule(50, 0.002, 0.4),
        cosine_schedule(20, 0.01),
        schedule_from_beta(torch.rand(40, generator=torch.Generator().manual_seed(0)) * 0.3 + 0.1),
        schedule_from_beta(torch.tensor([0.5, 0.9, 1.0])),  # zero terminal SNR
        build_schedule({"kind": "linear"}),
    ],
)
def test_any_schedule_comes_back_to_the_bit(sched, tmp_path):
    save_weights(tmp_path / "w.safetensors", Denoiser(small(), sched, "v"))
    found = load_weights(tmp_path / "w.safetensors").denoise.sched
    assert torch.equal(found.beta, sched.beta)
    assert torch.equal(found.alpha_bar, sched.alpha_bar)


@every_kind
def test_weights_can_be_stored_in_half_precision(cls, tmp_path):
    net = small(cls=cls)
    full, half = tmp_path / "full.safetensors", tmp_path / "half.safetensors"
    save_weights(full, eps(net))
    save_weights(half, eps(net), dtype=torch.float16)
    assert half.stat().st_size < 0.6 * full.stat().st_size
    loaded = load_weights(half).denoise.net
    assert all(p.dtype == torch.float32 for p in loaded.parameters())
    assert (answer(loaded) - answer(net)).abs().max() < 0.02 * answer(net).abs().max()
    assert all(p.dtype == torch.float32 for p in net.parameters())


def test_loaded_network_trains_on(tmp_path):
    "Its memory is its own, not the file's."
    path = tmp_path / "w.safetensors"
    save_weights(path, eps())
    content = path.read_bytes()
    net = load_weights(path).denoise.net
    net(torch.randn(2, 1, 8, 8), torch.tensor([1, 2])).square().mean().backward()
    assert all(p.grad is not None for p in net.parameters())
    with torch.no_grad():
        for p in net.parameters():
            p.add_(1)
    assert path.read_bytes() == content


# --- networks that are wrapped ------------------------------------------------------------------------------


@pytest.fixture
def one_process():
    "A group of one process, which DistributedDataParallel needs."
    if not torch.distributed.is_available():
        pytest.skip("this torch has no torch.distributed")
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


WRAPPERS = {
    "compiled": torch.compile,
    "data parallel": nn.DataParallel,
    "averaged": torch.optim.swa_utils.AveragedModel,
    "distributed": nn.parallel.DistributedDataParallel,
    "compiled and distributed": lambda net: nn.parallel.DistributedDataParallel(torch.compile(net)),
    "distributed and compiled": lambda net: torch.compile(nn.parallel.DistributedDataParallel(net)),
}


@every_kind
@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_wrapped_networks_are_saved_without_their_wrapper(cls, wrap, one_process, tmp_path):
    net = small(cls=cls)
    wrapped = wrap(net)
    own = wrapped.module if isinstance(wrapped, torch.optim.swa_utils.AveragedModel) else net
    assert unwrap(wrapped) is own
    save_weights(tmp_path / "w.safetensors", eps(wrapped))
    loaded = load_weights(tmp_path / "w.safetensors").denoise.net
    assert type(loaded) is cls
    same_weights(loaded, net)


def test_an_average_of_a_compiled_network_is_saved(tmp_path):
    net = small()
    ema = EMA(torch.compile(net))
    save_weights(tmp_path / "w.safetensors", eps(ema.model))
    same_weights(load_weights(tmp_path / "w.safetensors").denoise.net, net)


def test_a_network_compiled_in_place_is_saved(tmp_path):
    net = small()
    net.compile()
    save_weights(tmp_path / "w.safetensors", eps(net))
    same_weights(load_weights(tmp_path / "w.safetensors").denoise.net, net)


# --- networks that no file can hold -------------------------------------------------------------------------


class Stranger(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, xt, t):
        return self.conv(xt)


class Doubled(UNet):
    "Has all that a UNet has, and answers otherwise."

    def forward(self, xt, t, y=None):
        return 2 * super().forward(xt, t, y)


OTHERS = {
    "a stranger": (Stranger, "Stranger"),
    "a wrapped stranger": (lambda: torch.compile(Stranger()), "Stranger"),
    "a subclass": (lambda: Doubled(**SMALL[UNet]), "Doubled"),
    "a sequence": (lambda: nn.Sequential(small()), "Sequential"),
    "a function": (lambda: lambda xt, t: xt, "function"),
    "a guided network": (
        lambda: guided(eps(small(n_classes=3)), torch.zeros(1, dtype=torch.int64), 2).net,
        "_Guided",
    ),
    "an average": (lambda: EMA(small()), "EMA"),
    "nothing": (lambda: None, "NoneType"),
}


@pytest.mark.parametrize(("build", "named"), OTHERS.values(), ids=OTHERS)
def test_another_network_is_refused_by_name(build, named, tmp_path):
    message = rf"a file can hold a UNet or a PaperUNet, .* this is a .*{named}: .*state_dict"
    with pytest.raises(TypeError, match=message):
        save_weights(tmp_path / "w.safetensors", Denoiser(build(), LINEAR))
    assert os.listdir(tmp_path) == []


def test_a_network_without_its_schedule_is_refused(tmp_path):
    with pytest.raises(TypeError, match=r"expected a Denoiser, got UNet: .* Denoiser\(net, sched"):
        save_weights(tmp_path / "w.safetensors", small())
    assert os.listdir(tmp_path) == []


def replaced(net):
    net.middle[1] = nn.Identity()


def in_part_compiled(net):
    net.middle = torch.compile(net.middle)


def regrouped(net):
    next(m for m in net.modules() if isinstance(m, nn.GroupNorm)).num_groups = 1


CHANGES = {
    "parametrized": lambda net: parametrizations.weight_norm(net.conv_in),
    "spectral norm": lambda net: nn.utils.spectral_norm(net.conv_in),
    "pruned": lambda net: prune.l1_unstructured(net.conv_in, "weight", 0.5),
    "a layer replaced": replaced,
    "other groups": regrouped,
    "a layer added": lambda net: net.add_module("extra", nn.Linear(2, 2)),
    "a buffer added": lambda net: net.register_buffer("extra", torch.zeros(2)),
    "compiled in part": in_part_compiled,
}


@every_kind
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_network_that_was_changed_is_refused(cls, change, tmp_path):
    net = small(cls=cls)
    change(net)
    message = rf"this {cls.__name__} was changed after it was built \((layer|tensor) \S+ was .*undo"
    with pytest.raises(TypeError, match=message):
        save_weights(tmp_path / "w.safetensors", eps(net))
    assert os.listdir(tmp_path) == []


def test_a_change_that_is_undone_is_none(tmp_path):
    net = small()
    prune.l1_unstructured(net.conv_in, "weight", 0.5)
    prune.remove(net.conv_in, "weight")
    save_weights(tmp_path / "w.safetensors", eps(net))
    same_weights(load_weights(tmp_path / "w.safetensors").denoise.net, net)


def test_a_network_that_no_reader_would_build_is_refused(tmp_path):
    message = "was not written, for it could not be read again: size must be at most 4096"
    with pytest.raises(ValueError, match=message):
        save_weights(tmp_path / "w.safetensors", eps(small(size=8192)))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("sched", "named"),
    [
        (Schedule(LINEAR.beta, LINEAR.alpha_bar), "does not say how it was built.*schedule_from_beta"),
        (dataclasses.replace(LINEAR, recipe={"kind": "cosine", "T": 1000}), "is not what its recipe builds"),
        (dataclasses.replace(LINEAR, recipe={"kind": "square"}), "'square'"),
    ],
)
def test_a_schedule_that_no_file_can_hold_is_refused(sched, named, tmp_path):
    with pytest.raises(ValueError, match=named):
        save_weights(tmp_path / "w.safetensors", Denoiser(small(), sched, "v"))
    assert os.listdir(tmp_path) == []


def test_a_schedule_longer_than_any_reader_takes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(schedule, "LARGEST_T", 500)
    with pytest.raises(ValueError, match="T must be at most 500, got 1,000"):
        save_weights(tmp_path / "w.safetensors", eps())
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_what_overflows_in_half_precision_is_refused(dtype, tmp_path):
    net, large = small(), 1e5 if dtype == torch.float16 else 3.4e38
    with torch.no_grad():
        net.conv_in.bias[3] = -large
    save_weights(tmp_path / "full.safetensors", eps(net))
    message = re.escape(
        f"half.safetensors was not written: conv_in.bias holds {large:.3g}, and {dtype} ends at"
    )
    with pytest.raises(FloatingPointError, match=message):
        save_weights(tmp_path / "half.safetensors", eps(net), dtype=dtype)
    assert os.listdir(tmp_path) == ["full.safetensors"]


@pytest.mark.parametrize("dtype", [torch.int8, torch.complex64, torch.float8_e4m3fn, "float16"])
def test_a_precision_that_no_reader_takes_is_refused(dtype, tmp_path):
    with pytest.raises(ValueError, match="dtype must be one of torch.float16, .*torch.float64, got"):
        save_weights(tmp_path / "w.safetensors", eps(), dtype=dtype)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_neither_written_nor_read(bad, tmp_path):
    path, net = tmp_path / "w.safetensors", small()
    with torch.no_grad():
        net.conv_in.bias[3] = bad
    with pytest.raises(FloatingPointError, match="conv_in.bias holds numbers that are not finite"):
        save_weights(path, eps(net))
    assert os.listdir(tmp_path) == []
    write(path, described(), net.state_dict())
    with pytest.raises(ValueError, match="spoilt: conv_in.bias"):
        load_weights(path)
    write(path, described(), {**small().state_dict(), "conv_in.bias": torch.zeros(16, dtype=torch.int8)})
    with pytest.raises(ValueError, match="conv_in.bias holds torch.int8"):
        load_weights(path)


# --- what a stranger's file may ask for ---------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"size": 8, "channels": [16] * 4, "blocks": 10**6}, "more tensors than the file has"),
        ({"size": 8, "channels": [10**9]}, "does not fit|cannot be built"),
        (
            {"size": 8, "channels": [16, 2**20]},
            "does not fit|cannot be built",
        ),  # 2^20 channels would be 36 TB
        ({"size": 8, "channels": [2**62]}, "whole numbers"),
        ({"size": 8, "channels": [16] * 10**5}, "more tensors than the file has"),
        ({"size": 8, "channels": [16] * 10**5, "blocks": [1] * 10**5}, "more tensors than the file has"),
        ({"size": 2**30, "channels": [16, 32]}, "size must be at most"),
        ({"size": 8.0, "channels": [16, 32]}, "size must be made of whole numbers, got 8.0"),
        ({"size": True, "channels": [16, 32]}, "size must be made of whole numbers"),
        ({"size": 8, "channels": [16, 32], "n_classes": 2**39}, "does not fit"),
    ],
)
def test_a_configuration_takes_no_more_than_the_file_is_worth(cls, config, named, tmp_path):
    groups = {} if cls is UNet else {"groups": 8, "attention_at": []}
    write(tmp_path / "w.safetensors", described(cls, net={"kind": KINDS[cls], **groups, **config}))
    with pytest.raises(ValueError, match=named):
        load_weights(tmp_path / "w.safetensors")


@pytest.mark.parametrize("sched", [{"kind": "cosine", "T": 10**12}, {"kind": "linear", "T": 10**6 + 1}])
def test_a_huge_schedule_is_refused_before_it_takes_memory(sched, tmp_path):
    write(tmp_path / "w.safetensors", described(sched=sched))
    with pytest.raises(ValueError, match="T must be at most 1,000,000"):
        load_weights(tmp_path / "w.safetensors")


@every_kind
@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"net": {"channels": [16, 33]}}, "33"),
        ({"net": {"chanels": [16, 32]}}, "chanels"),
        ({"net": {"channels": 16}}, "channels must be a tuple .*, got 16"),
        ({"net": {"channels": ["a"]}}, "whole numbers"),
        ({"net": {"size": None}}, "size must be .*, got None"),
        ({"net": {"blocks": [1]}}, r"blocks must be a whole number, got \[1\]"),
        ({"net": {"kind": "resnet"}}, "unknown kind of network 'resnet': use unet or paper_unet"),
        ({"net": {"kind": None}}, "unknown kind of network 'None'"),
        ({"net": {"kind": ["unet"]}}, "unknown kind of network"),
        ({"predicts": "x1"}, "predicts must be .*x1"),
        ({"predicts": "eps", "sched": {"kind": "betas", "beta": [0.5, 1.0]}}, "alpha_bar = 0"),
        ({"sched": {"kind": "square"}}, "'square'"),
        ({"sched": {"kind": "linear", "T": -1}}, "-1"),
        ({"sched": {"kind": "betas", "beta": [0.5, "a"]}}, "beta"),
    ],
)
def test_a_description_that_cannot_be_built_is_named(cls, changed, named, tmp_path):
    if "net" in changed:
        changed = {"net": {"kind": KINDS[cls], **small(cls=cls).config, **changed["net"]}}
    write(tmp_path / "w.safetensors", described(cls, **changed), small(cls=cls).state_dict())
    message = f"w.safetensors describes a network or a schedule that cannot be built: .*{named}"
    with pytest.raises(ValueError, match=message):
        load_weights(tmp_path / "w.safetensors")


def test_a_description_of_no_end_is_cut_short_in_the_message(tmp_path):
    write(tmp_path / "w.safetensors", described(predicts="v" * 10**6))
    with pytest.raises(ValueError, match="predicts") as e:
        load_weights(tmp_path / "w.safetensors")
    assert len(str(e.value)) < 1000


@every_kind
def test_tensors_that_do_not_fit_are_named(cls, tmp_path):
    path = tmp_path / "w.safetensors"
    write(path, described(cls), small(cls=cls, channels=(16, 48)).state_dict())
    message = r"w.safetensors does not fit the network.*\(48,.*\) in the file and \(32,.*\) in the network"
    with pytest.raises(ValueError, match=message):
        load_weights(path)
    state = small(cls=cls).state_dict()
    del state["conv_in.weight"]
    write(path, described(cls), state | {"extra": torch.zeros(1)})
    with pytest.raises(ValueError, match="in 2 tensors, the first is conv_in.weight, missing in the file"):
        load_weights(path)


def test_the_kinds_are_not_mixed_up(tmp_path):
    write(tmp_path / "w.safetensors", described(PaperUNet), small().state_dict())
    with pytest.raises(ValueError, match="does not fit the network"):
        load_weights(tmp_path / "w.safetensors")


# --- the packaged networks ----------------------------------------------------------------------------------


def test_pretrained_checks_what_it_reads(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "files", lambda package: tmp_path)
    with pytest.raises(RuntimeError, match="the package holds no mnist-v.safetensors.*ddpm-abc train"):
        pretrained()
    with pytest.raises(ValueError, match="'cifar'.*'mnist-labels' or 'mnist-v' or 'mnist'"):
        pretrained("cifar")

    (tmp_path / "assets").mkdir()
    path = tmp_path / "assets" / "mnist.safetensors"
    save_weights(path, eps())
    monkeypatch.setitem(weights.PRETRAINED_SHA256, "mnist", "0" * 64)
    with pytest.raises(RuntimeError, match="damaged.*expected 000000000000.*install ddpm_abc again"):
        pretrained("mnist")
    monkeypatch.setitem(weights.PRETRAINED_SHA256, "mnist", hashlib.sha256(path.read_bytes()).hexdigest())
    assert torch.equal(answer(pretrained("mnist").denoise.net), answer(small()))


@pytest.mark.parametrize(("name", "predicts"), [("mnist-labels", "v"), ("mnist-v", "v"), ("mnist", "eps")])
def test_a_packaged_network_removes_noise_from_digits(name, predicts):
    "A guess of zero would have a loss of 1."
    denoise, info = pretrained(name)
    assert (denoise.predicts, info["data"]) == (predicts, "MNIST (training set)")
    g = torch.Generator().manual_seed(0)
    data = digits()
    x0 = to_unit(data.images[::40])
    given = {"y": data.labels[::40]} if denoise.net.config["n_classes"] else {}
    eps = torch.randn(x0.shape, generator=g)
    t = torch.randint(1, denoise.sched.T + 1, (len(x0),), generator=g)
    with torch.no_grad():
        loss = (denoise(q_sample(denoise.sched, x0, t, eps), t, **given).eps - eps).square().mean().item()
    assert loss < 0.06
