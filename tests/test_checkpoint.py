"""Files that hold networks: whole or not there at all, the same bits back, and no stranger's code."""

import dataclasses
import json
import os
import pickle
import random
import stat
import subprocess
import sys
import warnings
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from ddpm_abc import __version__, checkpoint
from ddpm_abc.checkpoint import (
    about,
    build_schedule,
    checkpoint_path,
    checkpoints,
    clear_leftovers,
    drop_older,
    load_checkpoint,
    load_weights,
    newest_checkpoint,
    only_owner,
    pretrained,
    save_checkpoint,
    save_weights,
    write_atomically,
)
from ddpm_abc.data import batches, digits, to_unit
from ddpm_abc.forward import q_sample
from ddpm_abc.schedule import cosine_schedule, linear_schedule
from ddpm_abc.training import EMA, train, warmup_cosine
from ddpm_abc.unet import UNet

LINEAR = {"kind": "linear", "T": 1000}
SMALL = {"size": 8, "channels": (16, 32)}


def small(seed=0, **kwargs):
    "A small network, all of whose weights are random, those that start at zero too."
    torch.manual_seed(seed)
    net = UNet(**SMALL | kwargs)
    with torch.no_grad():
        for p in net.parameters():
            p.normal_(0, 0.1)
    return net


def answer(net, seed=1):
    g = torch.Generator().manual_seed(seed)
    c = net.config["in_channels"]
    with torch.no_grad():
        return net.eval()(torch.randn(2, c, 8, 8, generator=g), torch.tensor([1, 900]))


# --- writing ---------------------------------------------------------------------------------------------------------


def test_write_replaces_the_whole_file(tmp_path):
    path = tmp_path / "f"
    for data in (b"a long first content", b"short", b""):
        write_atomically(path, data)
        assert path.read_bytes() == data
        assert os.listdir(tmp_path) == ["f"]


def test_write_gives_the_file_the_usual_permissions(tmp_path):
    write_atomically(tmp_path / "a", b"")
    (tmp_path / "b").write_bytes(b"")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE((tmp_path / "b").stat().st_mode)


def test_write_forces_the_bytes_to_the_disk_before_they_take_the_name(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (done.append("folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else f"file of {os.fstat(fd).st_size} bytes"), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("name"), replace(a, b)))
    write_atomically(tmp_path / "f", b"content")
    assert done == ["file of 7 bytes", "name", "folder"]


@pytest.mark.parametrize("where", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(where, error, tmp_path, monkeypatch):
    path = tmp_path / "f"
    path.write_bytes(b"old")

    def fail(*args):
        raise error

    monkeypatch.setattr(os, where, fail)
    with pytest.raises(type(error)):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]


def test_write_names_a_missing_folder(tmp_path):
    with pytest.raises(OSError, match="there is no folder .*nowhere"):
        write_atomically(tmp_path / "nowhere" / "f", b"")


# --- schedules -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "want"),
    [
        (LINEAR, linear_schedule(1000)),
        ({"kind": "linear", "T": 50, "beta_min": 0.002, "beta_max": 0.4}, linear_schedule(50, 0.002, 0.4)),
        ({"kind": "cosine", "T": 20, "s": 0.01}, cosine_schedule(20, 0.01)),
        ({"kind": "linear"}, linear_schedule()),
    ],
)
def test_build_schedule(config, want):
    kept = dict(config)
    assert torch.equal(build_schedule(config).beta, want.beta)
    assert torch.equal(build_schedule(json.loads(json.dumps(config))).beta, want.beta)
    assert config == kept


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"kind": "square", "T": 10}, "'square'.*linear or cosine"),
        ({"T": 10}, "None.*linear or cosine"),
        ({"kind": "linear", "steps": 10}, "steps"),
        ({"kind": "cosine", "T": 0}, "got 0"),
        ({"kind": "cosine", "T": "ten"}, "ten"),
    ],
)
def test_build_schedule_names_what_is_wrong(config, named):
    with pytest.raises(ValueError, match=named):
        build_schedule(config)


# --- weights ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kwargs", [{}, {"in_channels": 3, "blocks": 2, "attention_at": (4,)}])
def test_weights_come_back_as_they_were(layout, kwargs, tmp_path):
    net = small(**kwargs).to(memory_format=layout)
    save_weights(tmp_path / "w.safetensors", net, {"kind": "cosine", "T": 30}, data="squares", steps=7, seed=3)
    before = torch.get_rng_state()
    loaded, sched, info = load_weights(tmp_path / "w.safetensors")
    assert torch.equal(torch.get_rng_state(), before)
    assert loaded.config == net.config
    assert not loaded.training
    assert all(p.requires_grad and p.dtype == torch.float32 and p.device.type == "cpu" for p in loaded.parameters())
    for (name, a), (other, b) in zip(net.state_dict().items(), loaded.state_dict().items(), strict=True):
        assert name == other
        assert torch.equal(a, b), name
    assert torch.equal(answer(loaded.to(memory_format=layout)), answer(net))
    assert torch.equal(sched.beta, cosine_schedule(30).beta)
    assert {k: info[k] for k in ("data", "steps", "seed")} == {"data": "squares", "steps": 7, "seed": 3}
    assert info["versions"]["ddpm_abc"] == __version__
    assert info["versions"]["torch"] == torch.__version__


def test_weights_of_a_conditional_network(tmp_path):
    save_weights(tmp_path / "w.safetensors", small(n_classes=3), LINEAR)
    assert load_weights(tmp_path / "w.safetensors").net.config["n_classes"] == 3


def test_weights_can_be_stored_in_half_precision(tmp_path):
    net = small()
    save_weights(tmp_path / "full.safetensors", net, LINEAR)
    save_weights(tmp_path / "half.safetensors", net, LINEAR, dtype=torch.float16)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.6 * (tmp_path / "full.safetensors").stat().st_size
    loaded = load_weights(tmp_path / "half.safetensors").net
    assert all(p.dtype == torch.float32 for p in loaded.parameters())
    assert (answer(loaded) - answer(net)).abs().max() < 0.02 * answer(net).abs().max()
    assert all(p.dtype == torch.float32 for p in net.parameters())


def test_loaded_network_trains_on(tmp_path):
    "Its memory is its own, not the file's."
    path = tmp_path / "w.safetensors"
    save_weights(path, small(), LINEAR)
    content = path.read_bytes()
    net = load_weights(path).net
    torch.optim.SGD(net.parameters(), lr=1.0)
    net(torch.randn(2, 1, 8, 8), torch.tensor([1, 2])).square().mean().backward()
    assert all(p.grad is not None for p in net.parameters())
    with torch.no_grad():
        for p in net.parameters():
            p.add_(1)
    assert path.read_bytes() == content


def test_a_safetensors_file_is_readable_without_this_library(tmp_path):
    net = small()
    save_weights(tmp_path / "w.safetensors", net, LINEAR)
    tensors = safetensors.torch.load_file(tmp_path / "w.safetensors")
    assert tensors.keys() == net.state_dict().keys()


def test_about_reads_no_tensor(tmp_path):
    save_weights(tmp_path / "w.safetensors", small(), LINEAR, note="hello")
    found = about(tmp_path / "w.safetensors")
    assert found.kind == "weights"
    assert UNet(**found.net).config == small().config
    assert found.sched == LINEAR
    assert found.info["note"] == "hello"


@pytest.mark.parametrize(("info", "named"), [({"x": object()}, "object"), ({"x": float("nan")}, "float|JSON")])
def test_save_refuses_what_json_cannot_hold(info, named, tmp_path):
    with pytest.raises(ValueError, match=named):
        save_weights(tmp_path / "w.safetensors", small(), LINEAR, **info)
    assert os.listdir(tmp_path) == []


def test_save_refuses_a_schedule_that_cannot_be_built(tmp_path):
    with pytest.raises(ValueError, match="'square'"):
        save_weights(tmp_path / "w.safetensors", small(), {"kind": "square"})
    assert os.listdir(tmp_path) == []


# --- files that are not what they should be ---------------------------------------------------------------------------


def description(**changed):
    fields = {"format": 2, "sha256": "0" * 64, "kind": "weights", "net": small().config, "sched": LINEAR, "info": {}, "state": {}}
    return {"ddpm_abc": json.dumps(fields | changed)}


def write(path, metadata, state=None):
    "A file as a stranger would write it: anything may stand in it, and its digest is right."
    path.write_bytes(checkpoint._seal(safetensors.torch.save(small().state_dict() if state is None else state, metadata)))


def test_the_files_written_for_these_tests_are_good(tmp_path):
    write(tmp_path / "w.safetensors", description())
    assert torch.equal(answer(load_weights(tmp_path / "w.safetensors").net), answer(small()))


def test_a_missing_file_is_named(tmp_path):
    for read in (load_weights, about):
        with pytest.raises(RuntimeError, match="there is no file .*w.safetensors: train first"):
            read(tmp_path / "w.safetensors")
    with pytest.raises(RuntimeError, match="there is no file"):
        load_weights(tmp_path)  # a folder


@pytest.mark.parametrize("keep", [0, 1, 8, 100, 0.5, -1])
def test_a_file_cut_short_is_named(keep, tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(path, small(), LINEAR)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep) if isinstance(keep, float) else keep])
    for read in (load_weights, about):
        with pytest.raises(RuntimeError, match="w.safetensors is damaged"):
            read(path)


def test_every_bit_and_every_length_counts(tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(path, small(), LINEAR)
    good = path.read_bytes()
    header = 8 + int.from_bytes(good[:8], "little")
    rng = random.Random(0)
    for place in [*range(0, 150, 3), *(rng.randrange(header) for _ in range(50)), *(rng.randrange(len(good)) for _ in range(50))]:
        flipped = bytearray(good)
        flipped[place] ^= 1 << rng.randrange(8)
        for bad in (bytes(flipped), good[:place], good[:place] + bytes(1) + good[place:]):
            path.write_bytes(bad)
            for read in (load_weights, about):
                with pytest.raises(RuntimeError, match="w.safetensors"):
                    read(path)
    path.write_bytes(good)
    load_weights(path)


def test_the_digest_is_that_of_the_file_with_zeros_in_its_place(tmp_path):
    import hashlib
    import re

    path = tmp_path / "w.safetensors"
    save_weights(path, small(), LINEAR, note={"sha256": "f" * 64})  # one of the caller's own does not confuse it
    content = path.read_bytes()
    found = re.search(rb'sha256\\": \\"([0-9a-f]{64})', content)
    assert hashlib.sha256(content.replace(found[1], b"0" * 64)).hexdigest() == found[1].decode()
    assert about(path).info["note"] == {"sha256": "f" * 64}


def test_no_length_of_the_header_looks_like_a_pickle(tmp_path):
    "A header of 128 bytes, modulo 256, makes the file begin with the byte 80, as pickles do."
    starts = set()
    for n in range(0, 300, 4):
        save_weights(tmp_path / "w.safetensors", small(), LINEAR, note="x" * n)
        starts.add((tmp_path / "w.safetensors").read_bytes()[0])
        load_weights(tmp_path / "w.safetensors")
    assert 0x80 in starts


def test_a_file_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    save_weights(tmp_path / "w.safetensors", small(), LINEAR)
    monkeypatch.setattr(checkpoint, "LARGEST_FILE", 1000)
    with pytest.raises(RuntimeError, match="at most 1,000 are read"):
        load_weights(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"size": 8, "channels": [16] * 4, "blocks": 10**6}, "more than the file's"),
        ({"size": 8, "channels": [10**9]}, "does not fit|cannot be built"),
        ({"size": 8, "channels": [2**62]}, "whole numbers"),
        ({"size": 2**30, "channels": [16, 32]}, "size must be at most"),
        ({"size": 8.0, "channels": [16, 32]}, "size must be made of whole numbers, got 8.0"),
        ({"size": True, "channels": [16, 32]}, "size must be made of whole numbers"),
    ],
)
def test_a_configuration_takes_no_more_than_the_file_is_worth(config, named, tmp_path):
    write(tmp_path / "w.safetensors", description(net=config))
    with pytest.raises(ValueError, match=named):
        load_weights(tmp_path / "w.safetensors")


def test_a_huge_schedule_is_refused_before_it_takes_memory(tmp_path):
    write(tmp_path / "w.safetensors", description(sched={"kind": "cosine", "T": 10**12}))
    with pytest.raises(ValueError, match="T must be at most 1,000,000"):
        load_weights(tmp_path / "w.safetensors")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_neither_written_nor_read(bad, tmp_path):
    net = small()
    with torch.no_grad():
        net.conv_in.bias[3] = bad
    with pytest.raises(FloatingPointError, match="conv_in.bias holds numbers that are not finite"):
        save_weights(tmp_path / "w.safetensors", net, LINEAR)
    assert os.listdir(tmp_path) == []
    write(tmp_path / "w.safetensors", description(), net.state_dict())
    with pytest.raises(ValueError, match="spoilt: conv_in.bias"):
        load_weights(tmp_path / "w.safetensors")
    write(tmp_path / "w.safetensors", description(), {**small().state_dict(), "conv_in.bias": torch.zeros(16, dtype=torch.int8)})
    with pytest.raises(ValueError, match="conv_in.bias holds torch.int8"):
        load_weights(tmp_path / "w.safetensors")


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (self.path,))


@pytest.mark.parametrize("pickled", ["torch", "pickle", "old torch"])
def test_a_pickle_stays_closed(pickled, tmp_path):
    path, crater = tmp_path / "w.pt", tmp_path / "crater"
    if pickled == "pickle":
        path.write_bytes(pickle.dumps(Bomb(str(crater))))
    else:
        torch.save(Bomb(str(crater)), path, _use_new_zipfile_serialization=pickled == "torch")
    with pytest.raises(RuntimeError, match="w.pt is a pickle.*save_weights"):
        load_weights(path)
    assert not crater.exists()


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"format": "pt"},
        {"ddpm_abc": "not json"},
        {"ddpm_abc": "[]"},
        {"ddpm_abc": '{"kind": "weights"}'},
        description(format=1),
        description(format=3),
        description(kind=1),
        description(info={"deep": None}) | {"ddpm_abc": "[" * 100_000},
        description(net=[1]),
        description(sched=None),
    ],
)
def test_a_file_without_its_description_is_named(metadata, tmp_path):
    write(tmp_path / "w.safetensors", metadata)
    with pytest.raises(RuntimeError, match="w.safetensors does not say how its network is built"):
        load_weights(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"net": {"channels": [16, 33]}}, "33"),
        ({"net": {"channels": [16, 32], "predicts": "x0"}}, "predicts must be eps or v, got x0"),
        ({"net": {"channels": [16, 32], "predicts": ["v"]}}, "predicts must be eps or v"),
        ({"net": {"chanels": [16, 32]}}, "chanels"),
        ({"net": {"channels": 16}}, "int"),
        ({"net": {"channels": ["a"]}}, "cannot be built"),
        ({"sched": {"kind": "square"}}, "'square'"),
        ({"sched": {"kind": "linear", "T": -1}}, "-1"),
    ],
)
def test_a_configuration_that_cannot_be_built_is_named(changed, named, tmp_path):
    write(tmp_path / "w.safetensors", description(**changed))
    with pytest.raises(ValueError, match=f"w.safetensors.*{named}"):
        load_weights(tmp_path / "w.safetensors")


def test_tensors_that_do_not_fit_are_named(tmp_path):
    path = tmp_path / "w.safetensors"
    write(path, description(), small(channels=(16, 48)).state_dict())
    with pytest.raises(ValueError, match=r"w.safetensors does not fit the network.*\(48,\) in the file and \(32,\) in the network"):
        load_weights(path)
    state = small().state_dict()
    del state["conv_in.weight"]
    write(path, description(), state | {"extra": torch.zeros(1)})
    with pytest.raises(ValueError, match="2 tensors differ, the first is conv_in.weight, missing in the file"):
        load_weights(path)


def test_a_huge_network_is_refused_before_it_takes_memory(tmp_path):
    write(tmp_path / "w.safetensors", description(net={"size": 8, "channels": [16, 2**20]}))
    with pytest.raises(ValueError, match="does not fit"):  # 2^20 channels would be 36 TB
        load_weights(tmp_path / "w.safetensors")


def test_weights_and_checkpoints_are_not_mixed_up(tmp_path):
    run = start()
    save(tmp_path / "c.safetensors", run)
    save_weights(tmp_path / "w.safetensors", run.net, LINEAR)
    with pytest.raises(RuntimeError, match="c.safetensors holds a checkpoint file, not a weights file.*load_checkpoint"):
        load_weights(tmp_path / "c.safetensors")
    with pytest.raises(RuntimeError, match="w.safetensors holds a weights file, not a checkpoint file.*load_weights"):
        load_checkpoint(tmp_path / "w.safetensors", run.net, run.opt)


# --- checkpoints -----------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Run:
    net: UNet
    opt: torch.optim.Optimizer
    ema: EMA
    generator: torch.Generator
    done: int = 0


IMAGES = torch.randint(0, 256, (20, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
SCHED = cosine_schedule(50)


def start(seed=0, optimizer=torch.optim.AdamW, layout=torch.channels_last, **kwargs):
    net = small(seed, **kwargs).to(memory_format=layout)
    opt = optimizer(net.parameters(), lr=1e-3) if optimizer is torch.optim.AdamW else optimizer(net.parameters(), lr=1e-3, momentum=0.9)
    return Run(net, opt, EMA(net, decay=0.99), torch.Generator().manual_seed(seed))


def go(run, steps, total=6):
    "Some steps; their losses."
    loop = train(
        run.net, SCHED, islice(batches(IMAGES, 6, seed=3, start=run.done), steps), run.opt, ema=run.ema, generator=run.generator,
        lr_factor=lambda step: warmup_cosine(step / total, warmup=0.3), start=run.done,
    )  # fmt: skip
    out = [(done.step, done.loss, done.lr) for done in loop]
    run.done += steps
    return out


def save(path, run, **info):
    save_checkpoint(path, run.net, run.opt, {"kind": "cosine", "T": 50}, step=run.done, ema=run.ema, generator=run.generator, **info)


def same(a, b):
    for x, y in ((a.net, b.net), (a.ema.model, b.ema.model)):
        assert all(torch.equal(p, q) for p, q in zip(x.state_dict().values(), y.state_dict().values(), strict=True))
    left, right = a.opt.state_dict(), b.opt.state_dict()
    assert left["param_groups"] == right["param_groups"]
    assert left["state"].keys() == right["state"].keys()
    for i, state in left["state"].items():
        assert state.keys() == right["state"][i].keys()
        for name, v in state.items():
            other = right["state"][i][name]
            assert (torch.equal(v, other), v.dtype, v.stride()) == (True, other.dtype, other.stride()), name
    assert (a.ema.n, a.ema.decay) == (b.ema.n, b.ema.decay)
    assert torch.equal(a.generator.get_state(), b.generator.get_state())


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("stop", [0, 1, 3])  # three batches an epoch: 3 stops between two
def test_a_resumed_run_equals_the_uninterrupted_one_to_the_bit(stop, layout, optimizer, tmp_path):
    whole = start(optimizer=optimizer, layout=layout)
    losses = go(whole, 6)

    first = start(optimizer=optimizer, layout=layout)
    before = go(first, stop)
    save(tmp_path / "c.safetensors", first)
    go(first, 2)  # what happens after saving plays no part

    second = start(seed=9, optimizer=optimizer, layout=layout)  # other weights, other noise
    second.done = load_checkpoint(tmp_path / "c.safetensors", second.net, second.opt, ema=second.ema, generator=second.generator)
    assert second.done == stop
    assert before + go(second, 6 - stop) == losses
    same(whole, second)


def test_a_run_on_the_global_generator_resumes_too(tmp_path):
    path = tmp_path / "c.safetensors"
    run = start()
    torch.manual_seed(5)
    save_checkpoint(path, run.net, run.opt, LINEAR, step=0)
    want = torch.randn(3)
    torch.manual_seed(6)
    load_checkpoint(path, run.net, run.opt)
    assert torch.equal(torch.randn(3), want)


def test_every_generator_goes_on_where_it_was(tmp_path):
    path, run = tmp_path / "c.safetensors", start()

    def draw():
        return torch.randn(3).tolist(), random.random(), random.gauss(0, 1), np.random.rand(3).tolist(), np.random.randn(), torch.randn(2, generator=run.generator).tolist()  # noqa: NPY002

    draw()
    random.gauss(0, 1)  # which keeps a second number for later
    save(path, run)
    want = draw()
    assert draw() != want
    load_checkpoint(path, run.net, run.opt, ema=run.ema, generator=run.generator)
    assert draw() == want


def test_a_change_of_place_is_a_warning(tmp_path, monkeypatch):
    path, run = tmp_path / "c.safetensors", start()
    save(path, run)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_checkpoint(path, run.net, run.opt, ema=run.ema, generator=run.generator)
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    monkeypatch.setattr(checkpoint, "__version__", "9.9")
    with pytest.warns(UserWarning, match=rf"threads was '{threads}' and is '{threads + 1}', ddpm_abc was '.*' and is '9.9'\. The run goes on, but its bits may differ"):
        load_checkpoint(path, run.net, run.opt, ema=run.ema, generator=run.generator)


def resealed(path, change):
    "Change what a good checkpoint says of itself, or its tensors, and seal it again."
    with safetensors.safe_open(path, framework="pt") as f:
        said, tensors = json.loads(f.metadata()["ddpm_abc"]), {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118
    change(said["state"], tensors)
    said["sha256"] = "0" * 64
    path.write_bytes(checkpoint._seal(safetensors.torch.save(tensors, {"ddpm_abc": json.dumps(said)})))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda state, tensors: state.pop("step"), "lacks part of a run's state"),
        (lambda state, tensors: state.update(step=-1), "cannot be"),
        (lambda state, tensors: state.update(step=1.5), "cannot be"),
        (lambda state, tensors: state["ema"].update(decay=1), "cannot be"),
        (lambda state, tensors: state["random"]["python"][1].pop(), "lacks part of a run's state"),
        (lambda state, tensors: state["random"]["numpy"][1].pop(), "lacks part of a run's state"),
        (lambda state, tensors: state["opt"][0].update(lr="fast"), "another optimizer: its lr is fast"),
        (lambda state, tensors: state["opt"][0].update(lr=True), "another optimizer: its lr is True"),
        (lambda state, tensors: state["opt"][0].update(betas=[0.9]), "another optimizer: its betas"),
        (lambda state, tensors: state["opt"][0].update(surprise=1), "another optimizer: its surprise"),
        (lambda state, tensors: state["opt"][0].pop("eps"), "another optimizer: its eps is missing"),
        (lambda state, tensors: tensors.update(generator=torch.zeros(7, dtype=torch.uint8)), "lacks part of a run's state"),
        (lambda state, tensors: tensors.pop("global.cpu"), "lacks part of a run's state"),
        (lambda state, tensors: tensors.pop("opt.0.exp_avg"), "parameter 0 has exp_avg_sq, step"),
        (lambda state, tensors: tensors.update({"opt.999.step": torch.tensor(1.0)}), "a state of parameter 999"),
        (lambda state, tensors: tensors.update({"opt.x.step": torch.tensor(1.0)}), "a state of parameter x"),
        (lambda state, tensors: tensors["opt.0.exp_avg"].fill_(float("nan")), "spoilt: exp_avg"),
        (lambda state, tensors: tensors.update({"opt.0.exp_avg": torch.zeros(3)}), "exp_avg of parameter 0 has shape"),
    ],
)
def test_a_checkpoint_that_lies_changes_nothing(change, named, tmp_path):
    path, run = tmp_path / "c.safetensors", start()
    go(run, 2)
    save(path, run)
    resealed(path, change)
    other = start(seed=5)
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match=named):
        load_checkpoint(path, other.net, other.opt, ema=other.ema, generator=other.generator)
    assert torch.equal(torch.get_rng_state(), before)
    same(other, start(seed=5))


# --- a run's folder ----------------------------------------------------------------------------------------------------


def steps_in(folder):
    return [int(p.stem.split("-")[1]) for p in checkpoints(folder)]


def test_checkpoints_are_found_by_their_step(tmp_path):
    assert checkpoints(tmp_path / "nowhere") == []
    for step in (5, 1000, 20):
        checkpoint_path(tmp_path, step).touch()
    for other in ("checkpoint.safetensors", "checkpoint-x.safetensors", "checkpoint-7.tmp", ".checkpoint-8.safetensors.1.tmp"):
        (tmp_path / other).touch()
    assert steps_in(tmp_path) == [1000, 20, 5]


def test_old_checkpoints_go_once_the_new_one_is_seen_to_be_whole(tmp_path):
    run = start()
    for step in range(1, 7):
        save(checkpoint_path(tmp_path, step), run)
    damaged = checkpoint_path(tmp_path, 5)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(RuntimeError, match="checkpoint-5.safetensors is damaged"):
        drop_older(damaged)
    assert steps_in(tmp_path) == [6, 5, 4, 3, 2, 1]
    drop_older(checkpoint_path(tmp_path, 4), keep=2)  # later ones are another's business
    assert steps_in(tmp_path) == [6, 5, 4, 3]
    drop_older(checkpoint_path(tmp_path, 6))
    assert steps_in(tmp_path) == [6, 5, 4]
    drop_older(checkpoint_path(tmp_path, 6), keep=0)
    assert steps_in(tmp_path) == [6]


def test_the_newest_whole_checkpoint_is_found_and_the_others_are_named(tmp_path):
    with pytest.raises(RuntimeError, match="there is no checkpoint in"):
        newest_checkpoint(tmp_path)
    run = start()
    for step in (1, 2, 3):
        save(checkpoint_path(tmp_path, step), run)
    save_weights(checkpoint_path(tmp_path, 4), run.net, LINEAR)
    rotten = bytearray(checkpoint_path(tmp_path, 3).read_bytes())
    rotten[-100] ^= 1
    checkpoint_path(tmp_path, 3).write_bytes(rotten)
    with pytest.warns(UserWarning, match="SKIPPED") as seen:
        path, said = newest_checkpoint(tmp_path)
    assert (path, said.kind) == (checkpoint_path(tmp_path, 2), "checkpoint")
    assert [str(w.message)[:21] for w in seen] == ["SKIPPED a checkpoint."] * 2
    assert "checkpoint-4.safetensors is not a checkpoint but a weights file" in str(seen[0].message)
    assert "checkpoint-3.safetensors is damaged: its sha256 is" in str(seen[1].message)
    for step in (1, 2):
        checkpoint_path(tmp_path, step).write_bytes(b"")
    with pytest.warns(UserWarning, match="SKIPPED"), pytest.raises(RuntimeError, match="none of the 4 checkpoints"):
        newest_checkpoint(tmp_path)


def test_leftovers_of_a_killed_run_are_cleared(tmp_path):
    for name in (".checkpoint-3.safetensors.123.tmp", ".loss.csv.9.tmp", ".mine.tmp", "other.12.tmp", ".lock"):
        (tmp_path / name).touch()
    assert sorted(p.name for p in clear_leftovers(tmp_path)) == [".checkpoint-3.safetensors.123.tmp", ".loss.csv.9.tmp"]
    assert sorted(os.listdir(tmp_path)) == [".lock", ".mine.tmp", "other.12.tmp"]


needs_locks = pytest.mark.skipif(checkpoint.fcntl is None, reason="this system has no such locks")


@needs_locks
def test_a_folder_has_one_owner(tmp_path):
    with only_owner(tmp_path):
        with pytest.raises(RuntimeError, match=rf"another run is at work in .* \(process {os.getpid()}\): wait .* --out"), only_owner(tmp_path):
            pass
        assert os.listdir(tmp_path) == [".lock"]
    assert os.listdir(tmp_path) == []
    with only_owner(tmp_path):  # free again
        pass


@needs_locks
def test_the_lock_of_a_dead_process_is_taken_over(tmp_path):
    script = f"import os, sys; from ddpm_abc.checkpoint import only_owner; owner = only_owner({str(tmp_path)!r}); owner.__enter__(); print('mine', flush=True); os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-9, "mine\n"), done.stderr
    assert os.listdir(tmp_path) == [".lock"]
    with only_owner(tmp_path):
        assert (tmp_path / ".lock").read_text() == str(os.getpid())
    assert os.listdir(tmp_path) == []


def test_where_there_are_no_locks_a_warning_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "fcntl", None)
    with pytest.warns(UserWarning, match="cannot lock .*: see to it that no other run writes there"), only_owner(tmp_path):
        pass


@needs_locks
def test_a_drive_without_locks_too(tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(checkpoint.fcntl, "flock", fail)
    with pytest.warns(UserWarning, match="cannot lock"), only_owner(tmp_path):
        pass


def test_about_a_checkpoint(tmp_path):
    run = start()
    go(run, 2)
    save(tmp_path / "c.safetensors", run, data="squares")
    found = about(tmp_path / "c.safetensors")
    assert (found.kind, found.state["step"], found.info["data"]) == ("checkpoint", 2, "squares")
    assert found.state["ema"] == {"n": 2, "decay": 0.99}
    assert found.info["versions"]["torch"] == torch.__version__


def test_a_checkpoint_that_does_not_fit_changes_nothing(tmp_path):
    path = tmp_path / "c.safetensors"
    run = start()
    go(run, 2)
    save(path, run)

    def refused(other, named, **kwargs):
        untouched = start(**kwargs)
        with pytest.raises(ValueError, match=named):
            load_checkpoint(path, other.net, other.opt, ema=other.ema, generator=other.generator)
        if other.ema is not None:
            same(other, untouched)

    refused(start(channels=(16, 48)), "does not fit the network", channels=(16, 48))
    no_average = start()
    no_average.ema = None
    refused(no_average, "holds an average of the weights: pass ema")
    two_groups = start()
    parameters = list(two_groups.net.parameters())
    two_groups.opt = torch.optim.AdamW([{"params": parameters[:1]}, {"params": parameters[1:]}])
    with pytest.raises(ValueError, match="another optimizer"):
        load_checkpoint(path, two_groups.net, two_groups.opt, ema=two_groups.ema)

    save_checkpoint(path, run.net, run.opt, LINEAR, step=2)
    refused(start(), "holds no average of the weights: leave ema out")


def test_a_checkpoint_cut_in_half_is_named(tmp_path):
    path = tmp_path / "c.safetensors"
    run = start()
    save(path, run)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(RuntimeError, match="c.safetensors is damaged"):
        load_checkpoint(path, run.net, run.opt, ema=run.ema)


# --- the packaged network ----------------------------------------------------------------------------------------------


def test_pretrained_checks_what_it_reads(tmp_path, monkeypatch):
    import hashlib

    monkeypatch.setattr(checkpoint, "files", lambda package: tmp_path)
    with pytest.raises(RuntimeError, match="the package holds no mnist-v.safetensors.*ddpm-abc train"):
        pretrained()
    with pytest.raises(ValueError, match="'cifar'.*'mnist-labels' or 'mnist-v' or 'mnist'"):
        pretrained("cifar")

    (tmp_path / "assets").mkdir()
    path = tmp_path / "assets" / "mnist.safetensors"
    save_weights(path, small(), LINEAR)
    monkeypatch.setitem(checkpoint.PRETRAINED_SHA256, "mnist", "0" * 64)
    with pytest.raises(RuntimeError, match="damaged.*expected 000000000000.*install ddpm_abc again"):
        pretrained("mnist")
    monkeypatch.setitem(checkpoint.PRETRAINED_SHA256, "mnist", hashlib.sha256(path.read_bytes()).hexdigest())
    assert torch.equal(answer(pretrained("mnist").net), answer(small()))


@pytest.mark.parametrize(("name", "predicts"), [("mnist-labels", "v"), ("mnist-v", "v"), ("mnist", "eps")])
def test_a_packaged_network_removes_noise_from_digits(name, predicts):
    "A guess of zero would have a loss of 1."
    net, sched, info = pretrained(name)
    assert (net.predicts, info["data"]) == (predicts, "MNIST (training set)")
    g = torch.Generator().manual_seed(0)
    data = digits()
    x0, y = to_unit(data.images[::40]), [data.labels[::40]] if net.config["n_classes"] else []
    eps, t = torch.randn(x0.shape, generator=g), torch.randint(1, sched.T + 1, (len(x0),), generator=g)
    with torch.no_grad():
        loss = (net(q_sample(sched, x0, t, eps), t, *y) - eps).square().mean().item()
    assert loss < 0.06
