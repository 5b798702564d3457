"""`ddpm-abc train`: what it writes and says, how it goes on, and how it ends."""

import math
import os
import re
import shutil
import signal
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from shell import CPU, SMALL, done, gray_images, interrupt_after, losses, names, refused, run, trained

from ddpm_abc.data import to_unit
from ddpm_abc.parameterization import Denoiser
from ddpm_abc.run import opening
from ddpm_abc.run import run as room
from ddpm_abc.schedule import build_schedule, cosine_schedule
from ddpm_abc.storage import (
    PRETRAINED_SHA256,
    checkpoints,
    load_weights,
    lock_folder,
    pretrained,
    read_metadata,
    save_checkpoint,
    save_weights,
)
from ddpm_abc.unet import UNet


@pytest.fixture(scope="module")
def six_steps(tmp_path_factory):
    "A run of six steps, and what was said; not to be changed."
    folder = tmp_path_factory.mktemp("six")
    return folder / "out", trained("--steps", 6, "--seed", 4, "--out", folder / "out")


@pytest.fixture(scope="module")
def one_step(tmp_path_factory):
    "A run of one step; not to be changed."
    folder = tmp_path_factory.mktemp("one")
    trained("--steps", 1, "--out", folder / "out")
    return folder / "out"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def out(one_step):
    "A copy of the run of one step, in `out`."
    shutil.copytree(one_step, "out")
    return Path("out")


@pytest.fixture
def two_classes():
    "Ten images that are bright above, and thirty that are bright below."
    for k in range(40):
        name = "above" if k % 4 == 0 else "below"
        image = Image.new("L", (28, 28), k)
        image.paste(255 - k, (0, 0, 28, 14) if name == "above" else (0, 14, 28, 28))
        (Path("pairs") / name).mkdir(parents=True, exist_ok=True)
        image.save(f"pairs/{name}/{k:02}.png")


# --- what it writes -----------------------------------------------------------------------------------------


def test_train_writes_what_it_says(six_steps):
    folder, out = six_steps
    assert names(folder) == ["checkpoint-6.safetensors", "loss.csv", "loss.png", "weights.safetensors"]
    for name in names(folder):
        assert f"{folder}/{name}" in out
    assert "data: digits" in out
    assert "network: " in out
    line = next(line for line in out.splitlines() if "mean training loss" in line)
    start = (
        r"6 steps of 8 images in \d+ s, \d+ images/s; mean training loss of the last 1: \d\.\d{4} .*seed 4"
    )
    assert re.match(start, line)
    assert list(losses(folder)) == [1, 2, 3, 4, 5, 6]
    assert f"{losses(folder)[6]:.4f}" in line
    with Image.open(folder / "loss.png") as im:
        assert im.size[0] > 300

    found = load_weights(folder / "weights.safetensors")
    assert found.denoise.net.config["channels"] == (16, 32)
    assert found.denoise.sched.T == 30
    assert (found.info["steps"], found.info["seed"]) == (6, 4)
    assert "digits" in found.info["data"]


def test_weights_are_the_averaged_ones(six_steps):
    import safetensors.torch

    folder, _ = six_steps
    tensors = safetensors.torch.load_file(folder / "checkpoint-6.safetensors")
    for name, v in load_weights(folder / "weights.safetensors").denoise.net.state_dict().items():
        assert torch.equal(v, tensors[f"ema.{name}"])
    assert not torch.equal(tensors["ema.conv_in.weight"], tensors["net.conv_in.weight"])


def test_the_same_seed_trains_the_same_network(six_steps):
    folder, _ = six_steps
    trained("--steps", 6, "--seed", 4, "--out", "b")
    trained("--steps", 6, "--seed", 2, "--out", "c")
    assert losses(folder) == losses("b") != losses("c")
    assert (folder / "weights.safetensors").read_bytes() == Path("b/weights.safetensors").read_bytes()


def test_the_loss_falls():
    trained("--steps", 60, "--lr", "5e-3")
    got = list(losses().values())
    assert np.mean(got[-10:]) < 0.5 < 0.8 < np.mean(got[:3])


def test_the_linear_schedule_reaches_noise_at_every_T():
    for T in ("25", "1000"):
        done("train", *SMALL[:4], *CPU, "--schedule", "linear", "--T", T, "--steps", 1, "--out", T)
        assert load_weights(f"{T}/weights.safetensors").denoise.sched.alpha_bar[-1].sqrt() < 0.02
    paper = {"kind": "linear", "T": 1000, "beta_min": 1e-4, "beta_max": 0.02}
    assert read_metadata("1000/weights.safetensors").sched == paper


def test_cosine_schedule_and_own_images():
    gray_images("mine/a", 5, size=40)
    gray_images("mine/b", 4)
    out = trained("--data", "mine", "--schedule", "cosine", "--steps", 2)
    assert "folder mine, 9 images, 1x28x28" in out
    assert read_metadata("out/weights.safetensors").sched == dict(cosine_schedule(30).recipe)


def test_a_warning_is_a_note_in_one_line():
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what gets past the note
        status, _, err = run("train", *SMALL[:4], *CPU, "--T", 2, "--schedule", "cosine", "--steps", 1)
    assert status == 0
    assert re.fullmatch("note: the schedule stops short of noise.*", err)


def test_the_ground_behind_transparent_images_is_chosen_and_noted():
    Path("rings").mkdir()
    for k in range(9):
        ring = Image.new("RGBA", (28, 28), (0, 0, 0, 0))
        ring.paste((0, 0, 0, 255), (4, 4, 24, 10 + k))
        ring.save(f"rings/{k}.png")
    seen = {}
    for color in ("white", "black"):
        args = ["--data", "rings", "--background", color, "--steps", 1, "--out", color]
        status, _, err = run("train", *SMALL, *args)
        assert status == 0
        seen[color] = err
        assert read_metadata(f"{color}/weights.safetensors").info["run"]["background"] == color
    assert re.search("^note: .*transparent", seen["white"], re.M)
    assert "--background black is not what the run in" in refused(
        "train", "--out", "white", "--resume", "--background", "black"
    )


def test_minutes_stop_the_run():
    began = time.monotonic()
    out = trained("--minutes", "0.02")
    assert time.monotonic() - began < 60
    n = max(losses())
    assert n >= 1
    assert re.search(rf"^{n:,} steps of 8 images in \d+ s", out, re.M)
    info = read_metadata(checkpoints("out")[0]).info
    assert info["run"]["steps"] is None  # no limit of 4,000 crept in
    assert 1.2 <= info["seconds"] < 60


def test_a_checkpoint_every_so_many_steps_of_which_three_are_kept(monkeypatch):
    monkeypatch.setattr("ddpm_abc.run.run.SAVE_EVERY", 2)
    saved, save = [], room.save_run

    def spy(run):
        saved.append(run.step)
        save(run)

    monkeypatch.setattr(room, "save_run", spy)
    trained("--steps", 9)
    assert saved == [2, 4, 6, 8, 9]
    assert [p.name for p in checkpoints("out")] == [f"checkpoint-{k}.safetensors" for k in (9, 8, 6)]


def test_a_picture_that_fails_is_a_note(monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("no font")

    monkeypatch.setattr("ddpm_abc.run.log.plot_loss", broken)
    status, out, err = run("train", *SMALL, "--steps", 1)
    assert (status, err) == (0, "note: the picture out/loss.png could not be drawn: no font")
    assert "loss of each step: out/loss.csv" in out


# --- going on -----------------------------------------------------------------------------------------------


def test_a_resumed_run_is_the_uninterrupted_one(six_steps, monkeypatch):
    whole, _ = six_steps
    with monkeypatch.context() as m:
        interrupt_after(m, 3)
        status, _, err = run("train", *SMALL, "--steps", 6, "--seed", 4)
    assert status == 130
    assert err == "stopped after step 3 of 6; go on with: ddpm-abc train --out out --resume --device cpu"
    assert list(losses()) == [1, 2, 3]
    assert names() == ["checkpoint-3.safetensors", "loss.csv", "loss.png", "weights.safetensors"]
    assert load_weights("out/weights.safetensors").info["steps"] == 3

    out = done(*err.split("go on with: ddpm-abc ")[1].split())
    assert re.search(r"^3 steps of 8 images", out, re.M)
    assert losses() == losses(whole)
    assert Path("out/weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_the_step_saves_and_gives_its_status(sent, status, monkeypatch):
    taken = room.train

    def signalled(*args, **kwargs):
        for step in taken(*args, **kwargs):
            if step.step == 2:
                signal.raise_signal(sent)
            yield step

    monkeypatch.setattr(room, "train", signalled)
    got, _, err = run("train", *SMALL, "--steps", 6)
    assert got == status
    heard, stopped = err.splitlines()
    assert heard.startswith("stopping after this step, and saving")
    assert stopped.startswith("stopped after step 2 of 6; go on with: ddpm-abc train")
    assert names() == ["checkpoint-2.safetensors", "loss.csv", "loss.png", "weights.safetensors"]


def test_a_second_signal_after_the_save_still_says_how_to_go_on(monkeypatch):
    def interrupted(run):
        raise KeyboardInterrupt

    monkeypatch.setattr(room, "draw_run", interrupted)
    status, _, err = run("train", *SMALL, "--steps", 2)
    assert status == 130
    saved, last = err.splitlines()
    assert last == "stopped"
    assert "out/checkpoint-2.safetensors" in saved
    assert saved.endswith("; go on with: ddpm-abc train --out out --resume --device cpu")
    assert names() == ["checkpoint-2.safetensors", "loss.csv", "weights.safetensors"]


def test_the_way_to_go_on_names_folders_as_a_shell_reads_them(one_step):
    shutil.copytree(one_step, "my digits")
    err = refused("train", *SMALL, "--out", "my digits", "--root", "else where")
    assert "`ddpm-abc train --out 'my digits' --resume --device cpu --root 'else where'`" in err


def test_a_run_killed_between_its_last_checkpoint_and_its_weights_gets_them(out):
    weights = out / "weights.safetensors"
    whole = weights.read_bytes()
    weights.unlink()
    assert "has done its 1 step" in done("train", "--resume", *CPU)
    assert weights.read_bytes() == whole


def test_resume_takes_more_steps_and_the_same_settings(out):
    done("train", "--resume", "--steps", 3, *SMALL)
    assert list(losses()) == [1, 2, 3]
    said = done("train", "--resume", *CPU)
    on = "to train on, give `ddpm-abc train --out out --resume --device cpu` more --steps or --minutes"
    assert re.search(rf"has done its 3 steps in \d+ s; {on}", said)
    said = done("train", "--resume", "--steps", 2, *CPU)
    assert re.search(rf"has done its 3 steps in \d+ s, more than --steps 2; {on}", said)


@pytest.mark.parametrize(
    "flag",
    [
        ["--lr", "0.1"],
        ["--seed", "3"],
        ["--channels", "16,48"],
        ["--T", "40"],
        ["--batch-size", "9"],
        ["--schedule", "linear"],
        ["--data", "mnist"],
        ["--predict", "eps"],
    ],
)
def test_resume_refuses_other_settings(flag, out):
    before = (out / "checkpoint-1.safetensors").read_bytes()
    err = refused("train", "--resume", "--steps", 2, *flag)
    assert " ".join(flag) in err
    assert "leave" in err
    assert (out / "checkpoint-1.safetensors").read_bytes() == before


def test_the_image_can_be_predicted_and_drawn():
    trained("--predict", "x0", "--steps", 2)
    assert load_weights("out/weights.safetensors")[0].predicts == "x0"
    done("sample", "--weights", "out/weights.safetensors", "--n", 1, "--steps", 2, "--out", "drawn", *CPU)


def test_resume_names_a_flag_that_the_run_began_without(out):
    began = "is not what the run in out/checkpoint-1.safetensors began with"
    assert f"--learn-variance {began} (without it)" in refused("train", "--resume", "--learn-variance")
    assert f"--seed 1 {began} (0)" in refused("train", "--resume", "--seed", 1, "--steps", 2)


def test_resume_without_the_record_of_losses(out):
    (out / "loss.csv").unlink()
    status, _, err = run("train", "--resume", "--steps", 3, *CPU)
    assert status == 0
    assert err.startswith("note: out/loss.csv lacks the steps before 2")
    assert list(losses()) == [2, 3]


def test_resume_drops_losses_later_than_the_checkpoint(out):
    with open("out/loss.csv", "a") as f:
        f.write("2,99.0\n")  # as after a crash between the two files
    run("train", "--resume", "--steps", 2, *CPU)
    assert list(losses()) == [1, 2]
    assert losses()[2] < 10


def test_an_existing_checkpoint_is_not_overwritten(out):
    before = (out / "checkpoint-1.safetensors").read_bytes()
    err = refused("train", *SMALL, "--steps", 1)
    for part in ("out/checkpoint-1.safetensors is there already", "--resume", "another --out"):
        assert part in err
    assert (out / "checkpoint-1.safetensors").read_bytes() == before


def test_resume_needs_a_checkpoint():
    assert "there is no folder out" in refused("train", "--resume")
    Path("out").mkdir()
    assert "there is no checkpoint in out" in refused("train", "--resume")


def test_resume_says_what_it_skips_and_why(out):
    (out / "checkpoint-3.safetensors").write_bytes(b"half of some")
    net = UNet(channels=(16, 32))
    save_weights(out / "checkpoint-4.safetensors", Denoiser(net, cosine_schedule(30)))
    (out / ".checkpoint-5.safetensors.123.tmp").write_bytes(b"left by a run that was killed")
    status, said, err = run("train", "--resume", "--steps", 2, *CPU)
    assert status == 0
    assert "going on from out/checkpoint-1.safetensors" in said
    notes = err.splitlines()
    assert len(notes) == 2
    assert re.match(
        "note: SKIPPED a checkpoint. out/checkpoint-4.safetensors is not a checkpoint but a weights", notes[0]
    )
    assert re.match("note: SKIPPED a checkpoint. out/checkpoint-3.safetensors is damaged", notes[1])
    assert not list(out.glob(".*"))

    for path in checkpoints("out"):
        path.write_bytes(path.read_bytes()[:-1])
    status, _, err = run("train", "--resume", "--steps", 3)
    assert status == 2
    assert len(err.splitlines()) == 5
    assert "none of the 4 checkpoints in out can be read" in err.splitlines()[-1]


def test_a_folder_in_use_is_refused():
    Path("out").mkdir()
    with lock_folder("out"):
        err = refused("train", *SMALL, "--steps", 1)
    assert f"another run is at work in out (process {os.getpid()})" in err
    trained("--steps", 1)


def test_resume_elsewhere_gives_a_note(out, monkeypatch):
    from ddpm_abc.storage import state

    there = state._versions()
    monkeypatch.setattr(state, "_versions", lambda: {**there, "torch": "9.9"})
    status, _, err = run("train", "--resume", "--steps", 2, *CPU)
    assert status == 0
    start = "note: out/checkpoint-1.safetensors was written elsewhere: .*torch was '.*' and is '9.9'"
    assert re.match(start, err)


def test_resume_of_another_programs_checkpoint_says_so():
    Path("out").mkdir()
    denoise = Denoiser(UNet(channels=(16, 32)), cosine_schedule(30))
    save_checkpoint(
        "out/checkpoint-1.safetensors", denoise, torch.optim.AdamW(denoise.net.parameters()), step=1
    )
    assert "was not written by `ddpm-abc train`" in refused("train", "--resume")


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"blocks": "x"},
        {"blocks": 10**9},
        {"attention_at": 5},
        {"attention_at": ["x"]},
        {"groups": None},
        {"kind": ["unet"]},
    ],
)
def test_a_checkpoint_with_an_odd_network_is_refused(odd, out, monkeypatch):
    newest = opening.newest_checkpoint

    def hostile(folder):
        path, saved = newest(folder)
        return path, saved._replace(net={**saved.net, **odd} if odd else {"in_channels": 1})

    monkeypatch.setattr(opening, "newest_checkpoint", hostile)
    assert "was not written by `ddpm-abc train`" in refused("train", "--resume", "--steps", 2)


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ({"lr": -1.0}, "holds lr -1.0, which is not allowed: start anew in another --out"),
        ({"T": 10**9}, "holds T 1000000000, which"),
        ({"seed": "0"}, "was not written by"),
        ({"steps": 0}, "holds steps 0, which"),
        ({"extra": 1}, "was not written by"),
    ],
)
def test_a_checkpoint_with_odd_settings_is_refused(odd, said, out, monkeypatch):
    newest = opening.newest_checkpoint

    def hostile(folder):
        path, saved = newest(folder)
        return path, saved._replace(info={**saved.info, "run": {**saved.info["run"], **odd}})

    monkeypatch.setattr(opening, "newest_checkpoint", hostile)
    assert said in refused("train", "--resume", "--steps", 2)


def test_a_run_of_a_release_that_knew_fewer_settings_goes_on(monkeypatch):
    "Neither v nor labels, nor weights to begin with; and later, `weights` for what is now `init_from`."
    save, later = room.save_checkpoint, ("predict", "labels", "init_from", "background")
    for first in (True, False):
        with monkeypatch.context() as m:

            def old(*args, run, first=first, **rest):
                run = {name: value for name, value in run.items() if name not in later}
                return save(
                    *args,
                    run=run if first else {**run, "predict": "eps", "labels": False, "weights": ""},
                    **rest,
                )

            m.setattr(room, "save_checkpoint", old)
            trained("--predict", "eps", "--no-labels", "--steps", 1, "--out", str(first))
        assert "init_from" not in read_metadata(f"{first}/checkpoint-1.safetensors").info["run"]
        done("train", "--resume", "--steps", 2, "--out", str(first), *CPU)
        now = read_metadata(f"{first}/checkpoint-2.safetensors").info["run"]
        assert (now["predict"], now["labels"], now["init_from"]) == ("eps", False, "")


def test_a_no_is_named_as_it_is_typed():
    trained("--steps", 1)
    began = "is not what the run in out/checkpoint-1.safetensors began with"
    err = refused("train", "--resume", "--no-labels")
    assert f"--no-labels {began} (--labels): leave --no-labels out" in err
    err = refused("train", "--init-from", "emoji", "--data", "emoji", "--grey", "--out", "grey", *CPU)
    assert "--grey is not what emoji was trained with (--colour): leave --grey out" in err


# --- content, not spelling ----------------------------------------------------------------------------------


@pytest.fixture
def moved():
    "A run on a folder that has another name now."
    gray_images("mine")
    trained("--data", "mine", "--steps", 1)
    Path("mine").rename("there")


def test_resume_finds_a_data_folder_that_moved(moved):
    err = refused("train", "--resume", "--steps", 2)
    assert (
        "was trained on mine, which is not there any more: name its new place with --data, or put it back"
        in err
    )
    done("train", "--resume", "--steps", 2, "--data", "there", *CPU)
    assert read_metadata("out/checkpoint-2.safetensors").info["run"]["data"] == "there"
    done("train", "--resume", "--steps", 3, *CPU)
    done("train", "--resume", "--steps", 4, "--data", Path("there").resolve(), *CPU)
    assert list(losses()) == [1, 2, 3, 4]


def test_resume_refuses_another_folder_and_changed_images(moved):
    gray_images("more", 8)
    gray_images("others", 9, size=20)
    for name in ("more", "others", "digits"):
        err = refused("train", "--resume", "--steps", 2, "--data", name)
        assert f"--data {name} is not what the run in out/checkpoint-1.safetensors began with (mine)" in err
    Path("there").rename("mine")
    Image.new("L", (28, 28), 200).save("mine/0.png")
    assert "began with 9 images that are no longer the same, or no longer in the same order" in refused(
        "train", "--resume", "--steps", 2
    )
    Path("mine/0.png").unlink()
    assert "began with 9 images to train on, and now finds 8" in refused("train", "--resume", "--steps", 2)


def test_resume_takes_another_root_and_another_spelling_of_weights(weights):
    shutil.copy("w.safetensors", "v.safetensors")
    done("train", "--init-from", "w.safetensors", "--steps", 1, "--batch-size", 8, *CPU)
    done("train", "--resume", "--root", "elsewhere", "--init-from", "./w.safetensors", "--steps", 2, *CPU)
    done("train", "--resume", "--init-from", "v.safetensors", "--steps", 3, *CPU)
    for other in ("other.safetensors", "mnist-v"):
        err = refused("train", "--resume", "--init-from", other, "--steps", 4)
        assert f"--init-from {other} is not what the run in" in err


# --- what goes wrong on the way -----------------------------------------------------------------------------


def test_a_training_that_blows_up_keeps_what_it_had(out, monkeypatch):
    real = room.simple_loss
    monkeypatch.setattr(room, "simple_loss", lambda *args, **kwargs: real(*args, **kwargs) * math.nan)
    err = refused("train", "--resume", "--steps", 4, *CPU, status=1)
    assert "step 2, on batch 1: the loss is not finite at t = " in err
    assert "The newest checkpoint is out/checkpoint-1.safetensors" in err
    assert [p.name for p in checkpoints("out")] == ["checkpoint-1.safetensors"]


def test_a_training_that_blows_up_says_so():
    err = refused("train", *SMALL, "--steps", 20, "--lr", "1e30", status=1)
    assert "not finite" in err
    assert "learning rate" in err


def test_a_full_disk_says_so(monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    err = refused("train", *SMALL, "--steps", 1, status=1)
    assert "No space left on device" in err
    assert not Path("out").exists()


# --- labels, v, other weights -------------------------------------------------------------------------------


def test_one_label_in_ten_is_dropped_and_a_resumed_run_is_the_same(two_classes, monkeypatch):
    train, seen = room.train, []

    def spy(denoise, batches, *args, **rest):
        return train(denoise, (seen.append(b.given["y"]) or b for b in batches), *args, **rest)

    monkeypatch.setattr(room, "train", spy)
    command = ["--data", "pairs", "--labels"]
    trained(*command, "--steps", 20, "--out", "whole")
    y = torch.cat(seen)
    assert set(y.tolist()) == {0, 1, 2}
    assert 4 <= (y == 2).sum() <= 32  # of 160
    with monkeypatch.context() as m:
        interrupt_after(m, 10)
        status, _, _ = run("train", *SMALL, *command, "--steps", 20)
    assert status == 130
    done("train", "--resume", *CPU)
    assert torch.equal(torch.cat(seen[-10:]), torch.cat(seen[10:20]))
    assert Path("out/weights.safetensors").read_bytes() == Path("whole/weights.safetensors").read_bytes()


def test_a_resumed_run_notices_other_labels(two_classes):
    trained("--data", "pairs", "--labels", "--steps", 1)
    Path("pairs/below").rename("pairs/below-1")
    Path("pairs/below-2").mkdir()
    Path("pairs/below-1/39.png").rename("pairs/below-2/39.png")  # the same images in the same order
    assert "images or labels that are no longer the same" in refused("train", "--resume", "--steps", 2)


def test_a_resumed_run_says_of_other_images_that_they_are_others(two_classes):
    "Though they would be too few for its settings, or of one class, which were not typed again."
    trained("--data", "pairs", "--labels", "--hold-out", 8, "--steps", 1)
    gray_images("few", 8)
    began = "is not what the run in out/checkpoint-1.safetensors began with (pairs)"
    for other in ("pairs/below", "few"):
        assert f"--data {other} {began}" in refused("train", "--resume", "--steps", 2, "--data", other)
    shutil.rmtree("pairs/below")
    assert "bring the folder back to what it was" in refused("train", "--resume", "--steps", 2)


def test_a_class_of_which_all_is_held_out_is_named():
    gray_images("pairs/many", 20)
    gray_images("pairs/one", 1)
    status, _, err = run("train", *SMALL, "--data", "pairs", "--hold-out", 2, "--steps", 1)
    assert status == 0
    counts = load_weights("out/weights.safetensors")[1]["classes"]
    assert counts == {"many": 19, "one": 0}
    assert "no image of one is left to train on: all are held out" in err


def test_weights_whose_checkpoints_are_gone_are_not_overwritten():
    trained("--steps", 1)
    before = Path("out/weights.safetensors").read_bytes()
    Path("out/checkpoint-1.safetensors").unlink()
    said = refused("train", "--steps", 1, *CPU)
    assert "out/weights.safetensors is there already, without a checkpoint to go on from" in said
    assert Path("out/weights.safetensors").read_bytes() == before


def test_labels_need_several_classes():
    gray_images("one")
    err = refused("train", *SMALL, "--data", "one", "--labels")
    assert "--labels needs images of several classes, and one has one" in err


def test_training_to_predict_v():
    trained("--steps", 2, "--predict", "v")
    assert load_weights("out/weights.safetensors").denoise.predicts == "v"
    began = "--predict eps is not what the run in out/checkpoint-2.safetensors began with (v)"
    assert began in refused("train", "--resume", "--predict", "eps", "--steps", 4)
    trained("--steps", 4, "--predict", "v", "--out", "whole")
    done("train", "--resume", "--steps", 4, *CPU)
    first, second = (load_weights(f"{out}/weights.safetensors") for out in ("out", "whole"))
    assert first.info["run"] == second.info["run"]


@pytest.fixture
def weights():
    "Weights that no run begins with by itself."
    torch.manual_seed(1)
    net = UNet(channels=(16, 32), blocks=2, attention_at=(14,))
    torch.nn.init.normal_(net.conv_out.weight, std=0.1)
    save_weights("w.safetensors", Denoiser(net, build_schedule({"kind": "cosine", "T": 30})))


HARDLY = ["--steps", 1, "--lr", "1e-20", "--batch-size", 4, *CPU]


def test_a_run_begins_with_the_weights_it_is_given(weights):
    out = done("train", "--init-from", "w.safetensors", *HARDLY)
    assert "beginning with the weights of w.safetensors" in out
    given, got = (load_weights(path).denoise for path in ("w.safetensors", "out/weights.safetensors"))
    assert given.net.config == got.net.config
    assert torch.equal(given.sched.alpha_bar, got.sched.alpha_bar)
    for a, b in zip(given.net.state_dict().values(), got.net.state_dict().values(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("name", sorted(PRETRAINED_SHA256))
def test_a_run_begins_with_a_network_of_the_package(name):
    done("train", "--init-from", name, "--data", "emoji" if name == "emoji" else "digits", *HARDLY)
    given, got = pretrained(name).denoise, load_weights("out/weights.safetensors").denoise
    assert given.predicts == got.predicts
    assert torch.equal(given.sched.alpha_bar, got.sched.alpha_bar)
    x = torch.randn(3, *given.net.image_shape, generator=torch.Generator().manual_seed(0))
    t, n_classes = torch.tensor([1, 500, 1000]), given.net.config["n_classes"]
    y = [torch.tensor([0, 7, n_classes - 1])] if n_classes else []
    with torch.no_grad():
        assert torch.allclose(got.net(x, t, *y), given.net(x, t, *y), atol=1e-4)


def test_a_run_begins_with_a_network_of_the_paper():
    from ddpm_abc.paper_unet import PaperUNet

    net = PaperUNet(in_channels=1, size=28, channels=(16, 32), blocks=1, attention_at=(14,), groups=8)
    save_weights("w.safetensors", Denoiser(net, cosine_schedule(30)))
    done("train", "--init-from", "w.safetensors", *HARDLY)
    done("train", "--resume", "--steps", 2, *CPU)
    assert type(load_weights("out/weights.safetensors").denoise.net) is PaperUNet


def test_weights_that_know_no_labels_can_learn_them(weights, two_classes):
    done("train", "--init-from", "w.safetensors", "--data", "pairs", "--labels", *HARDLY)
    given, got = (load_weights(path).denoise.net for path in ("w.safetensors", "out/weights.safetensors"))
    x, t = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 15, 30])
    with torch.no_grad():
        assert torch.allclose(got(x, t, torch.tensor([0, 1, 2])), given(x, t), atol=1e-5)


def test_a_resumed_run_that_began_with_weights_is_the_same(weights, monkeypatch):
    command = ["train", "--init-from", "w.safetensors", "--steps", 4, "--batch-size", 8, *CPU]
    done(*command, "--out", "whole")
    with monkeypatch.context() as m:
        interrupt_after(m, 2)
        run(*command)
    done("train", "--batch-size", 8, *CPU, "--resume")
    assert Path("out/weights.safetensors").read_bytes() == Path("whole/weights.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (
            ["--channels", "16,16"],
            "--channels 16,16 is not what w.safetensors was trained with (16,32): leave --channels out",
        ),
        (["--predict", "v"], "--predict v is not what w.safetensors was trained with (eps)"),
        (["--schedule", "linear"], "--schedule linear is not what w.safetensors was trained with (cosine)"),
        (["--T", "50"], "--T 50 is not what w.safetensors was trained with (30)"),
        (
            ["--init-from", "large.safetensors"],
            "--init-from large.safetensors draws images of 1x32x32, and those of --data are 1x28x28",
        ),
        (["--init-from", "nowhere"], "there is no file nowhere"),
    ],
)
def test_weights_that_do_not_fit_are_named(args, said, weights):
    save_weights("large.safetensors", Denoiser(UNet(channels=(16, 32), size=32), cosine_schedule(30)))
    assert said in refused("train", "--init-from", "w.safetensors", *args)


@pytest.mark.parametrize(("dropout", "masks"), [(0, ""), (0.1, ", and the masks of dropout do")])
def test_a_run_that_goes_on_in_other_parts_says_what_may_differ(dropout, masks):
    trained("--dropout", dropout, "--steps", 1)
    _, _, err = run("train", "--resume", "--steps", 2, "--accumulate", 2, *CPU)
    assert f"but the last digits of the weights may differ{masks}\n" in f"{err}\n"


def test_weights_that_know_labels_go_on_with_labels(two_classes):
    trained("--data", "pairs", "--labels", "--steps", 1)
    command = ["train", "--init-from", "out/weights.safetensors", "--steps", 1, "--batch-size", 8, *CPU]
    assert "is told 2 classes, and the images of --data have 10" in refused(*command, "--out", "ten")
    Path("pairs").rename("others")
    Path("others/below").rename("others/underneath")
    status, _, err = run(*command, "--data", "others", "--out", "two")
    note = "note: out/weights.safetensors learned the classes above,below, which now mean above,underneath"
    assert (status, err) == (0, note)
    assert list(load_weights("two/weights.safetensors").info["classes"]) == ["above", "underneath"]


def test_the_data_reach_the_network_in_their_range(monkeypatch):
    train, seen = room.train, []

    def spy(denoise, batches, *args, **rest):
        return train(denoise, (seen.append(b.x0) or b for b in batches), *args, **rest)

    monkeypatch.setattr(room, "train", spy)
    gray_images("mine", 8)
    trained("--data", "mine", "--steps", 1)
    want = to_unit(torch.arange(40, 200, 20, dtype=torch.uint8))
    assert torch.equal(seen[0][:, 0, 0, 0].sort().values, want)


def test_a_learned_variance_is_kept_by_a_resume_and_saved_with_the_weights():
    trained("--no-labels", "--steps", 1, "--learn-variance")
    done("train", "--resume", "--steps", 2, *CPU)
    found = load_weights("out/weights.safetensors")
    assert found.denoise.net.config["learn_variance"] is True
    assert found.info["run"]["learn_variance"] is True
    assert found.denoise(torch.zeros(1, 1, 28, 28), 3).share.shape == (1, 1, 28, 28)


def test_weights_without_a_variance_can_learn_one(weights):
    done("train", "--init-from", "w.safetensors", "--learn-variance", *HARDLY)
    given, got = (load_weights(path).denoise for path in ("w.safetensors", "out/weights.safetensors"))
    x, t = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 15, 30])
    with torch.no_grad():
        before, after = given(x, t), got(x, t)
    assert torch.allclose(after.eps, before.eps, atol=1e-5)
    assert torch.allclose(after.share, torch.full_like(x, 0.5), atol=1e-5)
    done("train", "--init-from", "out/weights.safetensors", "--out", "more", *HARDLY)
    assert load_weights("more/weights.safetensors").denoise.net.config["learn_variance"] is True
