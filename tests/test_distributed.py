"""One run in many processes: what each of them sees, how gradients are averaged, and how all of them end.

The shares need no processes: a `Team` says which one this is. The rest is `benchmarks/scale.py` in short.
"""

import shlex
import shutil
import sys
import warnings
from contextlib import nullcontext
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from shell import check_claims
from torch import nn
from torch.distributed.run import get_args_parser

from ddpm_abc import distributed
from ddpm_abc.cli import main
from ddpm_abc.cli.train import _again
from ddpm_abc.data import Images
from ddpm_abc.distributed import (
    Lost,
    Team,
    agreed,
    averaging,
    first_goes_first,
    gathered,
    noticing_loss,
    shard_generator,
    step_seconds,
)
from ddpm_abc.parameterization import Denoiser
from ddpm_abc.run import draw as drawing
from ddpm_abc.run import opening
from ddpm_abc.run.config import TrainConfig
from ddpm_abc.run.run import Run, _batches, steps
from ddpm_abc.run.settings import ConfigError
from ddpm_abc.schedule import cosine_schedule
from ddpm_abc.storage import pretrained
from ddpm_abc.training import EMA, train
from ddpm_abc.unet import UNet

FIXTURES = Path(__file__).parent / "fixtures"
SCHED = cosine_schedule(50)


# --- what each process sees ---------------------------------------------------------------------------------


def test_a_stream_is_a_function_of_seed_step_and_shard():
    def numbers(*which):
        return tuple(torch.randint(2**40, (4,), generator=shard_generator(*which)).tolist())

    which = [(seed, step, shard) for seed in (0, 1) for step in (0, 1, 2) for shard in (0, 1, 2)]
    assert len({numbers(*w) for w in which}) == len(which)
    assert numbers(1, 2, 0) == numbers(1, 2, 0)
    stream = np.random.SeedSequence(7, spawn_key=(5, 3))
    assert shard_generator(7, 5, 3).initial_seed() == int(stream.generate_state(1, np.uint64)[0])


def a_run(team=None, **told):
    "A run at step 3 that mirrors images and drops labels; images 0 to 39, each of one value."
    values = torch.arange(40, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 8, 8).clone()
    values[..., 0] += 100  # left and right differ
    data = Images("", values, torch.arange(40) % 3, ("a", "b", "c"))
    told = {"labels": True, "flip": True, "batch_size": 8, "seed": 4, "steps": 9, **told}
    config = TrainConfig(**told, channels=(16, 16), device="cpu")
    torch.manual_seed(0)
    net = UNet(size=8, channels=(16, 16), n_classes=4).double()
    opt = torch.optim.AdamW(net.parameters(), lr=config.lr)
    parts, generator = (data, data.part(torch.arange(0))), torch.Generator().manual_seed(4)
    run = Run(config, Denoiser(net, SCHED), *parts, opt, EMA(net), generator, {}, team=team or Team())
    run.step = 3
    return run


def seen(team=None, n=4, **told):
    "Images, times, noise and labels of n steps, as one process of a team sees them."
    batches = list(islice(_batches(a_run(team, **told)), n))
    return [[b.x0, b.t, b.eps, b.given["y"]] for b in batches]


@pytest.mark.parametrize("shards", [None, 4, 0])
@pytest.mark.parametrize("size", [2, 4])
def test_processes_see_the_shares_of_one_batch(size, shards):
    whole = seen(shards=shards)
    shares = [seen(Team(rank, size), shards=shards) for rank in range(size)]
    for step, parts in enumerate(whole):
        for k, all_of_it in enumerate(parts):
            assert torch.equal(torch.cat([share[step][k] for share in shares]), all_of_it)
    assert not torch.equal(whole[0][1], whole[1][1])  # other times at each step
    assert len({tuple(eps.flatten().tolist()) for _, _, noise, _ in whole for eps in noise}) == 32
    assert 0 < sum((x0[..., 0, 0] < x0[..., 0, -1]).sum() for x0, *_ in whole) < 32  # some are mirrored


@pytest.mark.parametrize("even", [False, True])
def test_a_step_sees_the_same_wherever_the_run_begins(even):
    run = a_run(even=even)
    run.step = 5
    later = next(_batches(run))
    assert torch.equal(later.eps, seen(even=even)[2][2])
    assert torch.equal(later.x0, seen(even=even)[2][0])
    assert torch.equal(later.x0, seen()[2][0]) != even  # so the run listens


def test_noise_of_the_device_leaves_everything_else_as_it_is():
    ours, theirs = seen(), seen(noise="device")
    for a, b in zip(ours, theirs, strict=True):
        assert all(torch.equal(a[k], b[k]) for k in (0, 1, 3))
        assert not torch.equal(a[2], b[2])
    noise = torch.cat([noise for _, _, noise, _ in theirs])
    assert abs(noise.mean()) < 4 / noise.numel() ** 0.5
    assert abs(noise.var() - 1) < 4 * (2 / noise.numel()) ** 0.5


def test_a_run_of_an_earlier_release_goes_on_with_its_one_stream(tmp_path):
    "The bits of the library's own loop, which test_fixtures compares with those of that release."
    shutil.copytree(FIXTURES / "run-eps", tmp_path / "out")
    with np.load(FIXTURES / "expected.npz") as f:
        t = torch.from_numpy(f["t_eps"])
    config = TrainConfig(out=str(tmp_path / "out"), steps=6, device="cpu", preview=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it was written elsewhere
        with opening.open_run(config, resume=True) as run:
            assert (run.step, run.config.n_shards) == (3, 0)
            assert torch.equal(torch.stack([done.t for done in steps(run)]), t)


@pytest.mark.parametrize("size", [2, 3, 4])
def test_processes_that_draw_together_take_batches_in_turn(size, monkeypatch):
    monkeypatch.setattr(drawing, "SAMPLE_CHUNK", 4)
    what = drawing.Drawing(pretrained("mnist"), "mnist", steps=2, sampler="ddim")
    alone = torch.cat([state.x for state in drawing.draw(what, 10, 5) if state.done])
    turns = [list(drawing.draw(what, 10, 5, Team(rank, size))) for rank in range(size)]
    each = [state for states in zip(*turns, strict=True) for state in states]  # as many of each process
    assert torch.equal(torch.cat([state.x for state in each if state.done]), alone)


# --- parts, and their mean ----------------------------------------------------------------------------------


def gradients(*, accumulate=1, weight=None):
    "After a step on seven items in double precision; and their losses."
    torch.manual_seed(0)
    net = UNet(size=8, channels=(16, 16)).double()
    nn.init.normal_(net.conv_out.weight, std=0.1)
    g = torch.Generator().manual_seed(1)
    x0 = torch.rand(7, 1, 8, 8, generator=g, dtype=torch.float64) * 2 - 1
    opt = torch.optim.SGD(net.parameters(), lr=0.0)
    told = {"accumulate": accumulate, "weight": weight, "generator": g, "clip_norm": 1e9}
    done = next(train(Denoiser(net, SCHED), [x0], opt, **told))
    return torch.cat([p.grad.flatten() for p in net.parameters()]), done.losses


def test_a_batch_in_parts_has_the_gradient_of_the_whole():
    weight = torch.linspace(0, 2, 51, dtype=torch.float64)
    for told in ({}, {"weight": weight}):
        whole, losses = gradients(**told)
        for parts in (2, 3, 7, 9):  # of unequal sizes; more than there are items
            grads, again = gradients(accumulate=parts, **told)
            assert (grads - whole).norm() < 1e-12 * whole.norm()
            assert torch.allclose(again, losses, rtol=1e-12)


class Sent:
    "In place of a collective: as if another process had sent three times as much."

    def __init__(self, x, async_op=False):
        x *= 4

    def wait(self):
        pass


def test_gradients_become_means_in_buckets_that_leave_early():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    net.unused = nn.Parameter(torch.ones(5))
    net[1].weight.data = net[1].weight.data.t()  # laid out in memory in another order
    x, left = torch.randn(6, 3), []
    net(x).square().sum().backward()
    want = [None if p.grad is None else 2 * p.grad.clone() for p in net.parameters()]

    def all_reduce(flat, async_op=False):
        left.append((len(flat), net[0].weight.grad is None))
        return Sent(flat)

    net.zero_grad()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distributed.dist, "all_reduce", all_reduce)
        patch.setattr(distributed, "BUCKET", 100)  # bytes
        with averaging(net, 2):
            net(x).square().sum().backward()
    for p, mean in zip(net.parameters(), want, strict=True):
        assert p.grad is mean is None or torch.allclose(p.grad, mean)
    assert sum(n for n, _ in left) == sum(p.numel() for p in net.parameters())
    assert [early for _, early in left][0]  # before the last gradient was there
    assert max(n for n, _ in left) <= 25


def test_one_process_alone_waits_for_nobody():
    alone, x = Team(), torch.tensor([1.0])
    with first_goes_first(alone), alone.averaging(nn.Linear(1, 1)):
        assert alone.pooled(x, x) == [x, x]
    assert agreed(alone, 3.0, 15) == (3.0, 15)
    assert gathered(alone, x[:, None], 2).tolist() == [[1], [0]]
    assert [Team(1, 4).share(8), Team(3, 4).share(8)] == [range(2, 4), range(6, 8)]


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (3, (1, 3.0, [8.0], 1.0, 5.0)),  # nobody to wait for
        (5, (2, 3.0, [8.0], 4.0)),  # one bucket, which nothing hides: once around at 4 bytes a second
        (10, (4, 3.0, [8.0, 4.0], 6.0, 0.5)),  # 5 + 4 seconds, of which 2 are hidden
        (31, (2, 30.0, [8.0, 4.0], 4.0)),  # all but the last bucket is
    ],
)
def test_a_step_waits_for_what_the_backward_pass_cannot_hide(seconds, told):
    assert step_seconds(*told) == seconds


def test_an_error_of_a_peer_is_told_from_others():
    for words, lost in (("Connection closed by peer", True), ("[gloo] Timed out", True), ("singular", False)):
        kind, said = (Lost, "another of the 4 .* 9 seconds") if lost else (RuntimeError, words)
        with pytest.raises(kind, match=said), noticing_loss(Team(0, 4), 9):
            raise RuntimeError(words)
    with pytest.raises(RuntimeError, match="gloo"), noticing_loss(Team(), 9):
        raise RuntimeError("gloo")


# --- settings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "team", "words"),
    [
        ({"batch_size": 8}, Team(0, 3), "batch_size 8 in shards 8 cannot be dealt evenly to 3 processes"),
        ({"batch_size": 8, "shards": 2}, Team(0, 4), "in shards 2 cannot be dealt evenly to 4"),
        ({"batch_size": 8, "accumulate": 5}, Team(0, 2), "accumulate must be at most 4, the images of each"),
        ({"batch_size": 8, "shards": 3}, Team(), "shards must divide batch_size, which is 8, got 3"),
        ({"shards": 0, "noise": "device"}, Team(), "noise device needs shards"),
    ],
)
def test_shares_that_cannot_be(told, team, words, tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "joined", lambda timeout: nullcontext(team))
    given = {"channels": (16, 16), "device": "cpu", "out": str(tmp_path), **told}
    with pytest.raises(ConfigError, match=words), opening.open_run(TrainConfig(**given)):
        pass


@pytest.mark.parametrize(("batch", "n"), [(64, 64), (128, 64), (60, 60), (96, 48), (67, 1), (1, 1)])
def test_a_batch_has_as_many_micro_shards_as_divide_it(batch, n):
    assert TrainConfig(batch_size=batch).n_shards == n


# --- processes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["demo", "export"])
def test_of_many_processes_the_first_speaks_and_some_commands_want_one(command, monkeypatch, capfd):
    monkeypatch.setenv("WORLD_SIZE", "2")
    wants = (
        f"{command} is for one process: start it without torchrun, which is for train, sample and evaluate"
    )
    for rank, said in ((0, wants), (1, "")):
        monkeypatch.setenv("RANK", str(rank))
        assert main([command]) == 2
        err = capfd.readouterr().err
        assert said in err
        assert bool(err) == bool(said)


def test_the_command_that_goes_on_is_one_that_torchrun_takes(monkeypatch):
    "It would take --log, too, for an option of its own."
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setattr("ddpm_abc.run.config.find_spec", lambda name: name)  # whether it is installed or not
    _, *words = shlex.split(_again(TrainConfig(out="here", log="tensorboard")))
    told = get_args_parser().parse_args(words)
    assert (told.nproc_per_node, told.module, told.training_script) == ("4", True, "ddpm_abc")
    assert told.training_script_args == ["train", "--out", "here", "--resume", "--log", "tensorboard"]


@pytest.mark.skipif(sys.platform != "linux", reason="forks processes that have imported torch")
def test_one_run_in_many_processes():
    claims = (
        r"exact: 4 steps in double precision, relative to 1 process: 2: \S+e-1\d, 4: \S+e-1\d, 1 in 4 ",
        r"kills: 1 runs of 2 processes lost one of them, .* 1 went on, 0 from an earlier step than the "
        r"newest checkpoint's, 0 ends that differ by a bit",
        r"sizes: 2 changes of the number of processes",
        r"ends: 2 signals to the second of 2 processes, 2 runs saved once, by the first; a loss there that "
        r"is no number: both ended before the step",
        r"stopped: SIGSTOP for 15 s; .* with a message; the run went on from step \d",
        r"judged: 100 images by 1, 3 processes: images and figures equal; SIGTERM, then SIGKILL of one "
        r"of 2: 2 went on to the same images; images there that are no numbers: both ended",
    )
    check_claims("scale.py", claims, timeout=1200)  # seconds; it takes one minute on an idle machine
