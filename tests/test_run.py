"""A run without the command line: its losses, its signals, its steps, and what it draws."""

import io
import signal
import sys
import threading
import warnings
from pathlib import Path

import pytest
import torch
from PIL import Image
from shell import gray_images

from ddpm_abc.data import Images, to_uint8
from ddpm_abc.muon import Muon
from ddpm_abc.parameterization import Denoiser
from ddpm_abc.run.config import TrainConfig
from ddpm_abc.run.draw import IN_SHARES, Drawing, draw, image_labels
from ddpm_abc.run.images import images_of
from ddpm_abc.run.judge import some_of
from ddpm_abc.run.log import draw_losses, read_losses, read_records, write_losses, write_records
from ddpm_abc.run.opening import RunExists, open_run
from ddpm_abc.run.pictures import image_name, read_kept, write_image, write_kept
from ddpm_abc.run.report import write_report
from ddpm_abc.run.run import Run, _mirrored, newest, save_run, steps
from ddpm_abc.run.settings import ConfigError
from ddpm_abc.run.setup import check_saved, memory_for
from ddpm_abc.run.signals import STOPPING, noted_signals
from ddpm_abc.schedule import cosine_schedule
from ddpm_abc.storage import LARGEST_SIZE, Metadata, Pretrained
from ddpm_abc.unet import UNet


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def tiny(**changed):
    told = {"channels": (16, 16), "batch_size": 4, "T": 30, "steps": 3, "device": "cpu", "data": "mine"}
    return TrainConfig(**{**told, **changed})


# --- losses -------------------------------------------------------------------------------------------------


def test_losses_come_back_as_far_as_a_step():
    write_losses("loss.csv", [0.5, 0.25, 0.125], first=1)
    assert Path("loss.csv").read_text() == "step,loss\n1,0.500000\n2,0.250000\n3,0.125000\n"
    assert read_losses("loss.csv", 2) == [0.5, 0.25]
    assert read_losses("loss.csv", 0) == []


@pytest.mark.parametrize(
    "content", [None, "", "step,loss\nx,y\n", "step,loss\n1\n", "step,loss\n1,0.5\n3,0.25\n"]
)
def test_a_gap_in_the_losses_is_a_warning(content):
    if content is not None:
        Path("loss.csv").write_text(content)
    with pytest.warns(UserWarning, match="loss.csv lacks the steps before"):
        got = read_losses("loss.csv", 3)
    assert got == ([0.25] if content and "3,0.25" in content else [])


@pytest.mark.parametrize("title", ["$\\foo$", "$", "a $x$ b", "\udcff", "\u732b\n\x1b[2J", "{x}%s", ""])
def test_any_title_is_drawn(title):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert draw_losses("loss.png", [1.0, 0.5], title=title)
    with Image.open("loss.png") as im:
        assert im.size[0] > 300


def test_a_picture_that_cannot_be_written_is_a_warning():
    with pytest.warns(UserWarning, match="nowhere.*could not be drawn"):
        assert not draw_losses("nowhere/loss.png", [1.0])


# --- signals ------------------------------------------------------------------------------------------------


def test_a_second_signal_stops_at_once():
    before = [signal.getsignal(n) for n in STOPPING]
    for first in STOPPING:
        with noted_signals() as seen:
            assert not seen
            signal.raise_signal(first)
            assert seen == [first]
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            with pytest.raises(SystemExit, match="143"):
                signal.raise_signal(signal.SIGTERM)
            with pytest.raises(SystemExit, match="129"):
                signal.raise_signal(signal.SIGHUP)
    assert [signal.getsignal(n) for n in STOPPING] == before


def test_a_signal_that_a_launcher_passes_on_is_heard_once():
    with noted_signals(once=True) as seen:
        for _ in range(3):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert seen == [signal.SIGINT]


@pytest.mark.parametrize("redirected", [False, True])
def test_the_first_signal_is_answered_and_no_other(redirected, capfd, monkeypatch):
    said = io.StringIO()
    monkeypatch.setattr("sys.stderr", said if redirected else sys.__stderr__)
    with noted_signals(once=True, reply="stopping") as seen:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    assert len(seen) == 1
    answers = said.getvalue(), capfd.readouterr().err
    assert answers == (("\nstopping\n", "") if redirected else ("", "\nstopping\n"))


def test_a_program_started_by_nohup_outlives_its_terminal():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with noted_signals() as seen:
            signal.raise_signal(signal.SIGHUP)
            assert seen == []
    finally:
        signal.signal(signal.SIGHUP, before)


def test_other_threads_receive_no_signals():
    seen = []

    def work():
        with noted_signals() as stop:
            seen.append(stop)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [[]]


# --- a run --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "minutes", "done", "seconds", "want"),
    [
        (100, None, 25, 9e9, 0.25),
        (None, 2, 9_000, 30, 0.25),
        (100, 2, 25, 90, 0.75),
        (100, 2, 75, 30, 0.75),
        (100, 2, 200, 30, 1.0),
    ],
)
def test_progress_is_the_larger_of_steps_and_time(n, minutes, done, seconds, want):
    run = Run(TrainConfig(steps=n, minutes=minutes), *[None] * 7, step=done, seconds=seconds)
    assert run.progress() == want


def test_a_run_is_taken_step_by_step():
    gray_images("mine")
    with open_run(tiny()) as run:
        assert (run.step, run.progress()) == (0, 0.0)
        assert newest(run) == "No checkpoint was written yet"
        for k, done in enumerate(steps(run), 1):
            assert done.step == run.step == len(run.losses) == k
        assert run.progress() == 1
        assert not run.path.exists()  # the end is for the caller to save
        save_run(run)
    assert run.path == Path("out/checkpoint-3.safetensors")
    assert run.path.exists()
    with (
        pytest.raises(
            RunExists, match="checkpoint-3.safetensors is there already: go on from it with resume"
        ),
        open_run(tiny()),
    ):
        pass
    with open_run(tiny(), resume=True) as again:
        assert (again.step, again.progress(), len(again.losses)) == (3, 1.0, 3)


def trained_and_gone_on_with(out):
    "The weights, and what was measured, of a run of two steps that goes on for a third."
    told = {"out": out, "hold_out": 2, "flip": True, "even": True, "preview": 3, "dropout": 0.1, "size": 8}
    for n in (2, 3):
        with open_run(tiny(steps=n, **told), resume=n == 3) as run:
            for _ in steps(run):
                pass
            save_run(run)
    assert write_report(run)
    return torch.cat([p.flatten() for p in run.net.parameters()]), run.records[-1]["loss_by_t"]


def test_a_run_does_not_depend_on_the_default_device_and_precision():
    "The meta device stands for a GPU, of which `torch.set_default_device` speaks."
    for name in ("mine/a", "mine/b"):
        gray_images(name, size=8)
    weights, measured = trained_and_gone_on_with("plain")
    with torch.device("meta"):
        again = trained_and_gone_on_with("elsewhere")
        assert len(some_of(images_of(tiny(labels=True))[0])[0]) == 17
    assert torch.equal(again[0], weights)
    assert again[1] == measured
    torch.set_default_dtype(torch.float64)
    assert trained_and_gone_on_with("double")[0].dtype == torch.float32


def test_two_runs_do_not_share_a_folder():
    gray_images("mine")
    with (
        open_run(tiny()),
        pytest.raises(RuntimeError, match="another run is at work in out"),
        open_run(tiny()),
    ):
        pass


# --- drawing ------------------------------------------------------------------------------------------------


@pytest.fixture
def drawing():
    torch.manual_seed(0)
    net = UNet(size=8, channels=(16,), n_classes=3)
    torch.nn.init.normal_(net.conv_out.weight, std=0.1)
    return Drawing(
        Pretrained(Denoiser(net.eval(), cosine_schedule(30)), {"classes": {"a": 1, "b": 3}}),
        "w",
        seed=5,
        steps=4,
    )


def test_images_are_the_same_in_any_company(drawing):
    whole = torch.cat([state.x for state in draw(drawing, 6) if state.done])
    parts = [
        torch.cat([s.x for s in draw(drawing, n, first) if s.done]) for first, n in ((0, 1), (1, 3), (4, 2))
    ]
    assert torch.allclose(torch.cat(parts), whole, atol=1e-4)
    other = torch.cat([s.x for s in draw(Drawing(drawing.found, "w", seed=6, steps=4), 6) if s.done])
    assert (other - whole).abs().amax((1, 2, 3)).min() > 0.1


def test_states_are_counted(drawing):
    got = [(state.first, state.step, state.done, len(state.x)) for state in draw(drawing, 2, first=7)]
    assert got == [(7, k, k == 4, 2) for k in range(5)]


def test_images_do_not_depend_on_the_default_device_and_precision(drawing):
    expected = torch.cat([state.x for state in draw(drawing, 6) if state.done])
    with torch.device("meta"):
        assert torch.equal(torch.cat([state.x for state in draw(drawing, 6) if state.done]), expected)
    torch.set_default_dtype(torch.float64)
    assert torch.equal(torch.cat([state.x for state in draw(drawing, 6) if state.done]), expected)


def test_large_images_are_drawn_few_at_once():
    def chunk(size):
        return Drawing(
            Pretrained(Denoiser(UNet(size=size, channels=(16,)), cosine_schedule(30)), {}), "w"
        ).chunk()

    assert [chunk(size) for size in (8, 28, 56, 1024)] == [64, 64, 16, 1]


MNISTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


@pytest.mark.parametrize("often", [[1, 0, 3], MNISTS, [1] * 100])
@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1])
def test_any_run_of_images_has_each_class_as_often_as_it_should(often, seed):
    labels = image_labels(seed, 8000, 0, often)
    for first, n in ((0, 64), (0, 8000), (123, 1000), (7001, 10)):
        part = labels[first : first + n]
        assert part == image_labels(seed, n, first, often)
        assert all(abs(part.count(c) - n * share / sum(often)) < 4 for c, share in enumerate(often))
    assert labels[:100] != image_labels(seed // 2 + 5, 100, 0, often)
    assert image_labels(seed, 3, 0, [0, 1]) == [1, 1, 1]


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"steps": 20}, "dpm-solver with eta 0.75"),
        ({"steps": 15}, "dpm-solver with eta 0.75"),
        ({"steps": 14}, "dpm-solver with eta 1 from alpha_bar 0.333 on"),
        ({"steps": 14, "eta": 0.5}, "dpm-solver with eta 0.5 from alpha_bar 0.333 on"),
        ({"steps": 14, "eta": 0.0}, "dpm-solver with eta 0"),
        ({"steps": 14, "noise_from": 0.0}, "dpm-solver with eta 1"),
        ({"steps": 20, "eta": 0.5, "noise_from": 0.2}, "dpm-solver with eta 0.5 from alpha_bar 0.2 on"),
        ({"steps": 14, "sampler": "ddim"}, "ddim with eta 0"),
    ],
)
def test_noise_comes_late_in_few_steps(drawing, asked, line):
    found = Drawing(drawing.found, "w", **{"sampler": "dpm-solver", **asked})
    assert found.of.endswith(", " + line)


def test_what_images_depend_on_is_kept_with_them(drawing):
    x = to_uint8(torch.zeros(2, 1, 8, 8))
    write_kept("kept.npz", x, drawing.of)
    assert torch.equal(read_kept("kept.npz", drawing.of, 9), x)
    write_kept("later.npz", x, drawing.of, first=2)
    assert torch.equal(read_kept("later.npz", drawing.of, 2, first=2), x)
    with pytest.raises(ConfigError, match="begins with image 2, and image 0 is wanted first: give another"):
        read_kept("later.npz", drawing.of, 2)
    plain = ({"seed": 6}, {"steps": 5}, {"label": "a"}, {"guidance": 1.0}, {"sampler": "ddim"})
    for changed in (*plain, {"in_turn": True}):
        other = Drawing(drawing.found, "w", **{"seed": 5, "steps": 4, **changed})
        with pytest.raises(ConfigError, match="holds images of weights"):
            read_kept("kept.npz", other.of, 2)
    assert drawing.of.endswith(", classes in their shares")
    for earlier in ("8 bits", "64 at once, 8 bits"):  # lines of earlier rules
        write_kept("old.npz", x, drawing.of.replace(IN_SHARES, "").replace("8 bits", earlier))
        assert torch.equal(read_kept("old.npz", drawing.of, 2), x)
        with pytest.raises(ConfigError, match="holds images of weights"):
            read_kept("old.npz", drawing.of, 3)  # its images are not mixed with others
    told = (Drawing(drawing.found, "w", **how).of for how in ({"label": "a"}, {"in_turn": True}))
    plain = Pretrained(Denoiser(UNet(size=8, channels=(16,)), cosine_schedule(30)), {})
    assert all(IN_SHARES not in of for of in (*told, Drawing(plain, "w").of))
    write_image("one.png", x[0], drawing.of)
    with Image.open("one.png") as im:
        assert im.info["ddpm_abc"] == drawing.of


def test_a_class_of_which_no_image_was_seen_is_not_drawn(drawing):
    found = drawing.found._replace(info={"classes": {"a": 0, "b": 3}})
    assert Drawing(found, "w", label="b").often == [0, 1]
    with pytest.raises(ConfigError, match="label must be one of b, got a"):
        Drawing(found, "w", label="a")


def test_names_say_seed_class_and_number(drawing):
    assert image_name(drawing, 12) == "seed-5-0012.png"
    assert image_name(drawing, 123456) == "seed-5-123456.png"
    drawing.label = "ankle boot/../x"
    assert image_name(drawing, "grid") == "seed-5-label-ankle_boot____x-grid.png"


def test_half_of_the_images_are_mirrored():
    x0 = torch.rand(400, 3, 4, 6, generator=torch.Generator().manual_seed(1))
    got = _mirrored(x0, torch.Generator().manual_seed(0))
    mirrored = (got == x0.flip(3)).flatten(1).all(1)
    assert ((got == x0).flatten(1).all(1) ^ mirrored).all()
    assert 160 < mirrored.sum() < 240


def test_measurements_of_an_earlier_run_are_not_those_of_a_new_one():
    "Its checkpoints were cleared away, and the new run measures nothing."
    gray_images("mine", size=8)
    Path("out").mkdir()
    write_records("out/metrics.jsonl", [{"step": 1, "loss": 0.5}])
    with open_run(tiny(size=8, steps=1, preview=0)) as run:
        for _ in steps(run):
            pass
        save_run(run)
    with open_run(tiny(steps=1), resume=True) as again:
        assert again.records == []


def test_a_preview_that_cannot_be_written_does_not_end_the_run():
    gray_images("mine", size=8)
    with open_run(tiny(size=8, steps=2, preview=1)) as run:
        (run.out / "previews").write_text("a file of that name")
        with pytest.warns(UserWarning, match=r"what shows step \d could not be written"):
            assert [done.step for done in steps(run)] == [1, 2]
        assert len(run.records) == 2


def test_measurements_are_read_as_far_as_the_checkpoint_goes(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert read_records(path, 10) == []
    rows = [{"step": k, "held_out_by_t": None, "loss": 1 / 3} for k in (5, 10, 15)]
    write_records(path, rows)
    assert read_records(path, 10) == rows[:2]
    for damaged in ("[1]", "{", '{"loss": 1}'):
        path.write_text(damaged)
        with pytest.warns(UserWarning, match=r"metrics\.jsonl is damaged: the measurements begin anew"):
            assert read_records(path, 10) == []


def test_attention_may_be_at_any_height_that_images_can_have():
    info = {"seconds": 1.0, "n_images": 9, "images_sha256": ""}

    def check(**odd):
        net = {"kind": "unet", "blocks": 1, "groups": 8, "attention_at": [8], **odd}
        check_saved(Path("file"), Metadata("checkpoint", net, "v", {}, info, {}))

    check(attention_at=[LARGEST_SIZE, 8], blocks=1000, groups=1000)
    for odd in ({"attention_at": [LARGEST_SIZE + 1]}, {"blocks": 1001}, {"groups": 1001}):
        with pytest.raises(ConfigError, match="file was not written by"):
            check(**odd)


def test_the_memory_of_a_step_counts_what_the_optimizer_keeps():
    "Weights, gradients, averaged weights and the optimizer's state, by what is there after a step."
    images = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    data = Images("none", images, torch.zeros(2, dtype=torch.int64), ("a",))
    need = {}
    for name, kind in (("muon", Muon), ("adamw", torch.optim.AdamW)):
        net = UNet(size=8, channels=(16, 32))
        parameters = sum(p.numel() for p in net.parameters())
        opt = kind(net.parameters())
        net(images.float(), torch.tensor([1, 2])).square().mean().backward()
        opt.step()
        kept = sum(v.numel() for state in opt.state.values() for v in state.values())
        need[name] = memory_for(net, TrainConfig(optimizer=name, batch_size=1, labels=False), data)
        assert kept >= (1 if name == "muon" else 2) * parameters
    assert need["adamw"] - need["muon"] == 4 * parameters
