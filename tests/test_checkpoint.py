"""A run goes on from its checkpoint as if it had never stopped, and its folder always holds a whole one."""

import copy
import dataclasses
import json
import os
import random
import re
import warnings
from itertools import islice

import numpy as np
import pytest
import safetensors.torch
import torch
from small_networks import KINDS, LINEAR, eps, small
from torch import nn
from torch.nn.utils import prune

from ddpm_abc.averaging import PowerEMA
from ddpm_abc.data import batches
from ddpm_abc.muon import Muon
from ddpm_abc.parameterization import Denoiser
from ddpm_abc.schedule import Schedule, cosine_schedule, linear_schedule
from ddpm_abc.storage import (
    checkpoint,
    checkpoint_path,
    checkpoints,
    keep_last,
    load_checkpoint,
    load_weights,
    newest_checkpoint,
    read_metadata,
    save_checkpoint,
    save_weights,
)
from ddpm_abc.storage import format as sealed
from ddpm_abc.training import EMA, train, warmup_cosine
from ddpm_abc.unet import UNet

every_kind = pytest.mark.parametrize("cls", KINDS, ids=KINDS.get)
IMAGES = torch.randint(0, 256, (20, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
SCHED = cosine_schedule(50)


@dataclasses.dataclass
class Run:
    denoise: Denoiser
    opt: torch.optim.Optimizer
    ema: EMA | None
    generator: torch.Generator
    done: int = 0

    @property
    def net(self):
        return self.denoise.net

    def save(self, path, **info):
        save_checkpoint(
            path, self.denoise, self.opt, step=self.done, ema=self.ema, generator=self.generator, **info
        )

    def load(self, path):
        self.done = load_checkpoint(path, self.denoise, self.opt, ema=self.ema, generator=self.generator)


def start(
    seed=0,
    optimizer=torch.optim.AdamW,
    layout=torch.channels_last,
    predicts="eps",
    wrap=lambda net: net,
    **kwargs,
):
    net = wrap(small(seed, **kwargs).to(memory_format=layout))
    momentum = {"momentum": 0.9} if optimizer is torch.optim.SGD else {}
    opt = optimizer(net.parameters(), lr=1e-3, **momentum)
    return Run(Denoiser(net, SCHED, predicts), opt, EMA(net, decay=0.99), torch.Generator().manual_seed(seed))


def go(run, steps, total=6):
    "Some steps; their losses."
    loop = train(
        run.denoise,
        islice(batches(IMAGES, 6, seed=3, start=run.done), steps),
        run.opt,
        ema=run.ema,
        generator=run.generator,
        lr_factor=lambda step: warmup_cosine(step / total, warmup=0.3),
        start=run.done,
    )
    out = [(done.step, done.loss, done.lr) for done in loop]
    run.done += steps
    return out


def same(a, b):
    for x, y in ((a.net, b.net), (a.ema.model, b.ema.model)):
        assert all(torch.equal(p, q) for p, q in zip(x.parameters(), y.parameters(), strict=True))
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


# --- the same run -------------------------------------------------------------------------------------------


def resumed(path, stop, **how):
    "A run that stopped and one that never did, with all their losses."
    whole = start(**how)
    losses = go(whole, 6)

    first = start(**how)
    before = go(first, stop)
    first.save(path)
    go(first, 2)  # what happens after saving plays no part

    second = start(seed=9, **how)  # other weights, other noise
    second.load(path)
    assert second.done == stop
    assert before + go(second, 6 - stop) == losses
    same(whole, second)


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("stop", [0, 1, 3])  # three batches an epoch: 3 stops between two
def test_a_resumed_run_equals_the_uninterrupted_one_to_the_bit(stop, layout, optimizer, tmp_path):
    resumed(tmp_path / "c.safetensors", stop, layout=layout, optimizer=optimizer)


@every_kind
@pytest.mark.parametrize("predicts", ["eps", "x0", "v"])
def test_so_does_any_network_whatever_it_predicts(cls, predicts, tmp_path):
    resumed(tmp_path / "c.safetensors", 2, cls=cls, predicts=predicts)
    found = read_metadata(tmp_path / "c.safetensors")
    assert (found.net["kind"], found.predicts) == (KINDS[cls], predicts)


def test_a_run_on_the_global_generator_resumes_too(tmp_path):
    path, run = tmp_path / "c.safetensors", start()
    torch.manual_seed(5)
    save_checkpoint(path, run.denoise, run.opt, step=0)
    want = torch.randn(3)
    torch.manual_seed(6)
    load_checkpoint(path, run.denoise, run.opt)
    assert torch.equal(torch.randn(3), want)


def test_every_generator_goes_on_where_it_was(tmp_path):
    path, run = tmp_path / "c.safetensors", start()

    def draw():
        numpy = np.random.rand(3).tolist(), np.random.randn()  # noqa: NPY002
        return (
            torch.randn(3).tolist(),
            random.random(),
            random.gauss(0, 1),
            numpy,
            torch.randn(2, generator=run.generator).tolist(),
        )

    draw()
    random.gauss(0, 1)  # which keeps a second number for later
    run.save(path)
    want = draw()
    assert draw() != want
    run.load(path)
    assert draw() == want


def test_a_change_of_place_is_a_warning(tmp_path, monkeypatch):
    path, run = tmp_path / "c.safetensors", start()
    run.save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.load(path)
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    monkeypatch.setattr(sealed, "__version__", "9.9")
    changes = rf"threads was '{threads}' and is '{threads + 1}', ddpm_abc was '.*' and is '9.9'"
    with pytest.warns(UserWarning, match=rf"{changes}\. The run goes on, but its bits may differ") as caught:
        run.load(path)
    assert caught[0].filename == __file__


def test_what_a_checkpoint_says_of_itself(tmp_path):
    run = start()
    go(run, 2)
    run.save(tmp_path / "c.safetensors", data="squares")
    found = read_metadata(tmp_path / "c.safetensors")
    assert (found.kind, found.state["step"], found.info["data"]) == ("checkpoint", 2, "squares")
    assert found.state["ema"] == {"n": 2, "decay": 0.99}
    assert found.sched == SCHED.recipe
    assert found.info["versions"]["torch"] == torch.__version__


def test_weights_and_checkpoints_are_not_mixed_up(tmp_path):
    run = start()
    run.save(tmp_path / "c.safetensors")
    save_weights(tmp_path / "w.safetensors", run.denoise)
    with pytest.raises(
        RuntimeError, match="c.safetensors is a checkpoint file, not a weights file.*load_checkpoint"
    ):
        load_weights(tmp_path / "c.safetensors")
    with pytest.raises(
        RuntimeError, match="w.safetensors is a weights file, not a checkpoint file.*load_weights"
    ):
        run.load(tmp_path / "w.safetensors")


# --- wrapped networks, and what cannot be kept --------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel])
def test_a_wrapped_network_goes_on_wrapped_or_not(cls, wrap, tmp_path):
    "The wrapper is not called here: what it computes is its own affair."
    path, run = tmp_path / "c.safetensors", start(cls=cls)
    go(run, 2)
    wrapped = start(seed=5, cls=cls, wrap=wrap)  # the optimizer and the average are those of the wrapper
    run.save(path)
    wrapped.load(path)
    wrapped.save(path)  # under the plain names again
    plain = start(seed=6, cls=cls)
    plain.load(path)
    same(plain, run)
    assert go(plain, 2) == go(run, 2)


def refused(run, error, named, path):
    before = os.listdir(path.parent)
    with pytest.raises(error, match=named):
        run.save(path)
    assert os.listdir(path.parent) == before


def test_a_network_that_no_file_can_hold_is_refused(tmp_path):
    path, run = tmp_path / "c.safetensors", start()
    stranger = nn.Conv2d(1, 1, 1)
    refused(
        dataclasses.replace(run, denoise=Denoiser(stranger, SCHED)),
        TypeError,
        "this is a torch.*Conv2d: keep its",
        path,
    )
    refused(dataclasses.replace(run, ema=EMA(stranger)), TypeError, "this is a torch.*Conv2d: keep its", path)
    refused(dataclasses.replace(run, denoise=run.net), TypeError, "expected a Denoiser, got UNet", path)
    pruned = start()
    prune.l1_unstructured(pruned.net.conv_in, "weight", 0.5)
    refused(pruned, TypeError, "this UNet was changed after it was built", path)
    other = start(channels=(16, 48))
    refused(
        dataclasses.replace(run, ema=other.ema),
        ValueError,
        "not written, for it could not be read.*does not fit the network",
        path,
    )
    with pytest.raises(TypeError, match="expected a Denoiser"):
        load_checkpoint(path, run.net, run.opt)


def test_a_schedule_without_recipe_is_refused(tmp_path):
    run = start()
    run.denoise = Denoiser(run.net, Schedule(SCHED.beta, SCHED.alpha_bar))
    refused(run, ValueError, "does not say how it was built.*schedule_from_beta", tmp_path / "c.safetensors")


def test_an_optimizer_of_another_network_is_refused(tmp_path):
    path, run = tmp_path / "c.safetensors", start()
    message = "not written.*parameters are not the network's, and a checkpoint would lose them: build it over"
    refused(dataclasses.replace(run, opt=start().opt), ValueError, message, path)
    more = torch.optim.AdamW([*run.net.parameters(), nn.Parameter(torch.zeros(1))])
    refused(dataclasses.replace(run, opt=more), ValueError, ": 1 of the optimizer's parameters are not", path)
    run.save(path)
    with pytest.raises(ValueError, match="parameters are not the network's"):
        dataclasses.replace(run, opt=start().opt).load(path)


def test_an_optimizer_that_no_reader_would_take_is_refused(tmp_path):
    "Adafactor keeps rows and columns, which are not shaped like their parameter."
    run = start()
    run.opt = torch.optim.Adafactor(run.net.parameters())
    run.ema = EMA(run.net)
    go(run, 1)
    refused(
        run,
        ValueError,
        "not written, for it could not be read again: .* has shape",
        tmp_path / "c.safetensors",
    )


@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        (lambda run: setattr(run, "done", -1), ValueError, "cannot be"),
        (lambda run: setattr(run, "done", 1.5), ValueError, "cannot be"),
        (lambda run: setattr(run, "done", torch.tensor(1)), ValueError, "numbers, strings"),
        (lambda run: setattr(run.ema, "decay", 1.0), ValueError, "cannot be"),
        (lambda run: run.opt.param_groups[0].update(lr=torch.tensor(0.1)), ValueError, "numbers, strings"),
        (lambda run: run.opt.param_groups[0].update(lr=float("nan")), ValueError, "JSON|float"),
        (
            lambda run: run.net.conv_in.bias.data.fill_(float("nan")),
            FloatingPointError,
            "net.conv_in.bias holds",
        ),
        (
            lambda run: run.ema.model.conv_in.bias.data.fill_(float("inf")),
            FloatingPointError,
            "ema.conv_in.bias holds",
        ),
        (
            lambda run: run.opt.state[run.net.conv_in.bias]["exp_avg"].fill_(float("inf")),
            FloatingPointError,
            "exp_avg holds",
        ),
    ],
)
def test_a_state_that_no_reader_would_take_is_refused(change, error, named, tmp_path):
    run = start()
    go(run, 1)
    change(run)
    refused(run, error, named, tmp_path / "c.safetensors")


# --- files that do not fit, or lie --------------------------------------------------------------------------


def resealed(path, change):
    "Change what a good checkpoint says of itself, or its tensors, and seal it again."
    with safetensors.safe_open(path, framework="pt") as f:
        said = json.loads(f.metadata()["ddpm_abc"])
        tensors = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118
    change(said["state"], tensors)
    said["sha256"] = "0" * 64
    path.write_bytes(sealed._seal(safetensors.torch.save(tensors, {"ddpm_abc": json.dumps(said)})))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda state, tensors: state.pop("step"), "lacks part of a run's state"),
        (lambda state, tensors: state.update(step=-1), "cannot be"),
        (lambda state, tensors: state.update(step=1.5), "cannot be"),
        (lambda state, tensors: state["ema"].update(decay=1), "cannot be"),
        (lambda state, tensors: state.update(opt=[3]), "lacks part of a run's state"),
        (lambda state, tensors: state["random"]["python"][1].pop(), "lacks part of a run's state"),
        (lambda state, tensors: state["random"]["numpy"][1].pop(), "lacks part of a run's state"),
        (lambda state, tensors: state["opt"][0].update(lr="fast"), "another optimizer: its lr is fast"),
        (lambda state, tensors: state["opt"][0].update(lr=True), "another optimizer: its lr is True"),
        (lambda state, tensors: state["opt"][0].update(lr=1e31), "another optimizer: its lr is 1e"),
        (
            lambda state, tensors: state["opt"][0].update(initial_lr="fast"),
            "another optimizer: its initial_lr is fast",
        ),
        (lambda state, tensors: state["opt"][0].update(betas=[0.9]), "another optimizer: its betas"),
        (lambda state, tensors: state["opt"][0].update(surprise=1), "another optimizer: its surprise"),
        (lambda state, tensors: state["opt"][0].pop("eps"), "another optimizer: its eps is missing"),
        (
            lambda state, tensors: tensors.update(generator=torch.zeros(7, dtype=torch.uint8)),
            "lacks part of a run's state",
        ),
        (lambda state, tensors: tensors.pop("global.cpu"), "lacks part of a run's state"),
        (lambda state, tensors: tensors.pop("opt.0.exp_avg"), "parameter 0 has exp_avg_sq, step"),
        (
            lambda state, tensors: tensors.update({"opt.0.step": torch.zeros_like(tensors["opt.0.exp_avg"])}),
            "step of parameter 0 has shape",
        ),
        (
            lambda state, tensors: tensors.update({"opt.999.step": torch.tensor(1.0)}),
            "a state of parameter 999",
        ),
        (lambda state, tensors: tensors.update({"opt.x.step": torch.tensor(1.0)}), "a state of parameter x"),
        (lambda state, tensors: tensors["opt.0.exp_avg"].fill_(float("nan")), "spoilt: exp_avg"),
        (
            lambda state, tensors: tensors.update({"opt.0.exp_avg": torch.zeros(3)}),
            "exp_avg of parameter 0 has shape",
        ),
    ],
)
@every_kind
def test_a_checkpoint_that_lies_changes_nothing(cls, change, named, tmp_path):
    path, run = tmp_path / "c.safetensors", start(cls=cls)
    go(run, 2)
    run.save(path)
    resealed(path, change)
    other = start(seed=5, cls=cls)
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match=named):
        other.load(path)
    assert torch.equal(torch.get_rng_state(), before)
    same(other, start(seed=5, cls=cls))


def test_what_muon_relies_on_must_be_in_a_checkpoint(tmp_path):
    "Its momentum for hidden weights, and what Adam needs for the others."
    path, run = tmp_path / "c.safetensors", start(optimizer=Muon)
    go(run, 1)
    run.save(path)
    tensors = safetensors.torch.load_file(path)
    gone = {next(key for key in tensors if key.endswith(end)) for end in ("momentum", ".step", "exp_avg_sq")}
    for key in gone:
        name = key.split(".")[2]
        resealed(path, lambda state, tensors, key=key: tensors.update({f"{key}_old": tensors.pop(key)}))
        with pytest.raises(ValueError, match=f"does not fit the optimizer.*Muon needs .*{name}"):
            start(optimizer=Muon).load(path)
        run.save(path)


def test_the_generator_of_a_gpu_is_tried_out_before_anything_is_changed(tmp_path):
    "With a GPU or without one: three bytes are the state of no generator."
    path, run = tmp_path / "c.safetensors", start()
    go(run, 1)
    run.save(path)
    (*_, state), tensors = sealed._read_sealed(path, "checkpoint")
    parts = checkpoint._parts({**tensors, "global.cuda": torch.zeros(3, dtype=torch.uint8)})
    checkpoint._check_state(path, state, parts, torch.device("cpu"))  # which has no use for it
    with pytest.raises(ValueError, match="lacks part of a run's state"):
        checkpoint._check_state(path, state, parts, torch.device("cuda"))


def test_a_checkpoint_that_does_not_fit_changes_nothing(tmp_path):
    path, run = tmp_path / "c.safetensors", start()
    go(run, 2)
    run.save(path)

    def misfit(other, named, **kwargs):
        before = copy.deepcopy(other.net.state_dict())
        with pytest.raises(ValueError, match=named):
            other.load(path)
        assert all(torch.equal(v, before[name]) for name, v in other.net.state_dict().items())
        if other.ema is not None:
            same(other, start(**kwargs))

    misfit(start(channels=(16, 48)), "does not fit the network", channels=(16, 48))
    misfit(start(groups=4), "does not fit the network: its groups is 8, and this one's 4", groups=4)
    misfit(start(size=16), "does not fit the network: its size is 8, and this one's 16", size=16)
    misfit(start(n_classes=3), "does not fit the network in 1 tensor, the first is class_emb", n_classes=3)
    no_average = start()
    no_average.ema = None
    misfit(no_average, "holds an average of the weights: pass ema")
    two_groups = start()
    parameters = list(two_groups.net.parameters())
    two_groups.opt = torch.optim.AdamW([{"params": parameters[:1]}, {"params": parameters[1:]}])
    with pytest.raises(ValueError, match="another optimizer"):
        two_groups.load(path)

    save_checkpoint(path, run.denoise, run.opt, step=2)
    misfit(start(), "holds no average of the weights: leave ema out")


def test_an_average_of_another_kind_does_not_fit(tmp_path):
    "A decay of 0, which a `PowerEMA` sets anew at each step, would end the averaging of an `EMA`."
    path, net = tmp_path / "c.safetensors", small()
    denoise, opt = Denoiser(net, LINEAR), torch.optim.SGD(net.parameters(), lr=0.1)
    averages = {
        "EMA(net)": EMA(net),
        "PowerEMA(net, 0.05)": PowerEMA(net, 0.05),
        "PowerEMA(net, 0.2)": PowerEMA(net, 0.2),
    }
    for kind, saved in averages.items():
        save_checkpoint(path, denoise, opt, step=1, ema=saved)
        load_checkpoint(path, denoise, opt, ema=saved)
        for other in averages.keys() - {kind}:
            with pytest.raises(
                ValueError, match=re.escape(f"holds an average of another kind: pass ema={kind}")
            ):
                load_checkpoint(path, denoise, opt, ema=averages[other])


def test_a_network_of_the_other_kind_does_not_fit(tmp_path):
    path = tmp_path / "c.safetensors"
    paper, unet = KINDS.keys() - {UNet}, start()
    start(cls=paper.pop()).save(path)
    with pytest.raises(ValueError, match="does not fit the network"):
        unet.load(path)


def test_a_checkpoint_of_another_target_is_refused(tmp_path):
    "The weights would fit, and mean something else."
    path = tmp_path / "c.safetensors"
    for mine, other in (("v", "eps"), ("eps", "x0"), ("x0", "v")):
        start(predicts=mine).save(path)
        message = f"trained to predict {mine}, and this one predicts {other}. Build its Denoiser with"
        with pytest.raises(ValueError, match=f"{message} predicts='{mine}'"):
            start(predicts=other).load(path)


@pytest.mark.parametrize("predicts", ["eps", "v"])
def test_a_checkpoint_of_another_schedule_is_refused(predicts, tmp_path):
    path, run = tmp_path / "c.safetensors", start(predicts=predicts)
    run.save(path)
    for sched in (LINEAR, cosine_schedule(51), linear_schedule(50, 0.002, 0.4)):
        run.denoise = Denoiser(run.net, sched, predicts)
        with pytest.raises(
            ValueError, match=r"another schedule, \{'kind': 'cosine', 'T': 50.*build that one"
        ):
            run.load(path)


def test_a_checkpoint_cut_in_half_is_named(tmp_path):
    path, run = tmp_path / "c.safetensors", start()
    run.save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(RuntimeError, match="c.safetensors is damaged"):
        run.load(path)


# --- a run's folder -----------------------------------------------------------------------------------------


def steps_in(folder):
    return [int(p.stem.split("-")[1]) for p in checkpoints(folder)]


def test_checkpoints_are_found_by_their_step(tmp_path):
    assert checkpoints(tmp_path / "nowhere") == []
    for step in (5, 1000, 20):
        checkpoint_path(tmp_path, step).touch()
    for other in (
        "checkpoint.safetensors",
        "checkpoint-x.safetensors",
        "checkpoint-7.tmp",
        ".checkpoint-8.safetensors.1.tmp",
    ):
        (tmp_path / other).touch()
    assert steps_in(tmp_path) == [1000, 20, 5]


def test_old_checkpoints_go_once_the_new_one_is_seen_to_be_whole(tmp_path):
    run = start()
    for step in range(1, 7):
        run.save(checkpoint_path(tmp_path, step))
    damaged = checkpoint_path(tmp_path, 5)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(RuntimeError, match="checkpoint-5.safetensors is damaged"):
        keep_last(damaged)
    assert steps_in(tmp_path) == [6, 5, 4, 3, 2, 1]
    keep_last(checkpoint_path(tmp_path, 4), keep=2)  # later ones are another's business
    assert steps_in(tmp_path) == [6, 5, 4, 3]
    keep_last(checkpoint_path(tmp_path, 6))
    assert steps_in(tmp_path) == [6, 5, 4]
    keep_last(checkpoint_path(tmp_path, 6), keep=0)
    assert steps_in(tmp_path) == [6]


def test_the_newest_whole_checkpoint_is_found_and_the_others_are_named(tmp_path):
    with pytest.raises(RuntimeError, match="there is no checkpoint in"):
        newest_checkpoint(tmp_path)
    run = start()
    for step in (1, 2, 3):
        run.save(checkpoint_path(tmp_path, step))
    save_weights(checkpoint_path(tmp_path, 4), eps())
    rotten = bytearray(checkpoint_path(tmp_path, 3).read_bytes())
    rotten[-100] ^= 1
    checkpoint_path(tmp_path, 3).write_bytes(rotten)
    with pytest.warns(UserWarning, match="SKIPPED") as seen:
        path, metadata = newest_checkpoint(tmp_path)
    assert (path, metadata.kind) == (checkpoint_path(tmp_path, 2), "checkpoint")
    assert [str(w.message)[:21] for w in seen] == ["SKIPPED a checkpoint."] * 2
    assert "checkpoint-4.safetensors is not a checkpoint but a weights file" in str(seen[0].message)
    assert "checkpoint-3.safetensors is damaged: its sha256 is" in str(seen[1].message)
    for step in (1, 2):
        checkpoint_path(tmp_path, step).write_bytes(b"")
    with (
        pytest.warns(UserWarning, match="SKIPPED"),
        pytest.raises(RuntimeError, match="none of the 4 checkpoints"),
    ):
        newest_checkpoint(tmp_path)
