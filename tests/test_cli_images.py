"""Images of your own by command alone: train, stop, go on, sample, evaluate; rectangles, colour, classes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from shell import CPU, done, interrupt_after, losses, names, refused, run

from ddpm_abc.cli import bits
from ddpm_abc.run.config import TrainConfig
from ddpm_abc.run.images import images_of
from ddpm_abc.storage import load_weights, read_metadata

TINY = ["--channels", "16,16", "--batch-size", 8, "--T", 30, *CPU]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ddpm_abc.run.run.PREVIEWED", 8)
    monkeypatch.setattr("ddpm_abc.run.report.PREVIEWED", 8)


def paint(folder, n, shape, kinds=("bright", "dark")):
    "Pictures of some classes, each with a bar of its own: (H, W) is grey, (H, W, 3) in colour."
    rng = np.random.default_rng(0)
    for c, kind in enumerate(kinds):
        (Path(folder) / kind).mkdir(parents=True)
        for k in range(n // len(kinds)):
            image = np.full(shape, 20 + 150 * c, np.uint8)
            at = rng.integers(0, shape[1] - 4)
            image[:, at : at + 4] = rng.integers(200, 256, shape[2:])
            Image.fromarray(image).save(f"{folder}/{kind}/{k:03}.png")


@pytest.mark.parametrize(
    ("shape", "asked", "want"),
    [
        ((24, 40), ["--size", "24x40"], (1, 24, 40)),
        ((48, 48, 3), ["--size", "32", "--colour", "--flip"], (3, 32, 32)),
    ],
)
def test_a_round_trip(shape, asked, want, monkeypatch):
    "Stopped and gone on with it is the run that was never stopped, to the bit; then drawn with, and judged."
    paint("mine", 300, shape)
    command = ["train", "--data", "mine", *asked, "--labels", "--steps", 4, "--preview", 2, *TINY]
    done(*command, "--out", "whole")
    with monkeypatch.context() as m:
        interrupt_after(m, 3)
        status, _, err = run(*command, "--out", "half")
    assert status == 130
    again = err.splitlines()[-1].split("go on with: ddpm-abc ")[1].split()
    assert "--preview 2" in " ".join(again)
    done(*again)
    assert losses("half") == losses("whole")
    one, other = (Path(f"{f}/weights.safetensors").read_bytes() for f in ("half", "whole"))
    assert one == other
    size = "x".join(map(str, want))
    assert load_weights("half/weights.safetensors").denoise.net.image_shape == want

    weights = ["--weights", "half/weights.safetensors", "--steps", 2, *CPU]
    out = done("sample", *weights, "--n", 3, "--out", "drawn")
    assert "3 images in" in out
    with Image.open("drawn/seed-0-0001.png") as im:
        assert (im.size, im.mode) == ((want[2], want[1]), "RGB" if want[0] == 3 else "L")
    out = done("evaluate", *weights, "--n", 100)
    assert f"compared with: folder mine, 30 images, {size}" in out
    assert "near copies:" in out
    assert "these weights" in out
    assert "seen by a classifier trained on 170 of the training images" in out
    assert "of 270 training images looked through, and of 30 held out" in out


def test_previews_and_measurements():
    paint("mine", 100, (16, 16, 3))
    told = ["--data", "mine", "--size", 16, "--colour", "--preview", 2, "--steps", 5, *TINY]
    out = done("train", *told)
    assert "held out, to measure on and not to train on: 10 more" in out
    assert names("out/previews") == ["step-000002.png", "step-000004.png"]
    with Image.open("out/previews/step-000002.png") as im:
        assert im.mode == "RGB"
        assert im.size == (8 * 6 * 16 + 7 * 6 * 2, 6 * 16)
    rows = [json.loads(line) for line in Path("out/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4]
    on_record = losses()
    assert rows[0]["loss"] == pytest.approx((on_record[1] + on_record[2]) / 2, abs=1e-5)
    for row in rows:
        assert len(row["held_out_by_t"]) == len(row["loss_by_t"]) == 10
        assert row["grad_norm"] > 0
        assert row["images_per_second"] > 0
    done("train", "--resume", "--steps", 7, "--preview", 3, *CPU)
    rows = [json.loads(line) for line in Path("out/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4, 6]


def test_previews_that_were_cleared_away_cost_no_report():
    paint("mine", 60, (16, 16))
    done("train", "--data", "mine", "--size", 16, "--preview", 1, "--steps", 2, *TINY)
    assert "As it learned" in Path("out/report.html").read_text()
    Path("out/previews/step-000001.png").unlink()
    out = done("train", "--resume", "--steps", 3, "--preview", 1, *CPU)
    assert "all of it on one page, to open in a browser: out/report.html" in out
    assert "The same noise after 2, 3 steps, top to bottom." in Path("out/report.html").read_text()
    for path in Path("out/previews").iterdir():
        path.unlink()
    done("train", "--resume", "--steps", 4, "--preview", 0, *CPU)
    page = Path("out/report.html").read_text()
    assert ("As it learned" in page, "Beside their neighbours" in page) == (False, True)


def test_looking_changes_nothing():
    paint("mine", 60, (16, 16))
    for preview in (0, 1):
        done("train", "--data", "mine", "--size", 16, "--dropout", 0.1, "--steps", 3, "--preview", preview,
             "--labels", "--flip", *TINY, "--out", preview)  # fmt: skip
    assert losses("0") == losses("1")
    assert "previews" not in names("0")
    assert not Path("0/metrics.jsonl").exists()


def test_what_is_held_out_is_not_trained_on():
    paint("mine", 40, (16, 16))
    for held, n in ((None, 36), (0, 40), (15, 25)):
        asked = [] if held is None else ["--hold-out", held]
        done("train", "--data", "mine", "--size", 16, "--steps", 1, *asked, *TINY, "--out", str(held))
        path = next(Path(str(held)).glob("checkpoint-*"))
        assert read_metadata(path).info["n_images"] == n
    assert "held no images out: train with --hold-out" in refused(
        "evaluate", "--weights", "0/weights.safetensors", "--n", 20, "--steps", 2, *CPU
    )
    one_class = refused("train", "--data", "mine/bright", "--size", 16, "--even", *TINY, "--out", "one")
    assert "--even needs images of two classes or more, and --data mine/bright has one" in one_class
    assert "--batch-size must be at most 36, the number of images without the 4 held out, got 40" in refused(
        "train", "--data", "mine", *TINY, "--batch-size", 40
    )
    assert "--hold-out must be less than 40, the number of images, got 40" in refused(
        "train", "--data", "mine", "--size", 16, "--hold-out", 40, *TINY, "--out", "none"
    )


def test_another_folder_judges_what_the_training_held_in():
    paint("mine", 60, (16, 16))
    paint("others", 24, (18, 18))
    done("train", "--data", "mine", "--size", 16, "--hold-out", 0, "--steps", 1, *TINY)
    command = ["evaluate", "--weights", "out/weights.safetensors", "--n", 20, "--steps", 2, *CPU]
    status, out, err = run(*command, "--data", "others")
    assert status == 0
    assert "compared with: folder others, 24 images, 1x16x16" in out
    assert "and of 24 held out, so few that the two nearest of them alone set the limit)" in out
    needs = (
        "2 classes or more, 256 images to train on and 20 held out (here 2, 60 and 24), from 8x8 to 1,048,576"
    )
    assert needs in err
    assert "--features inception needs no classes" in err
    Path("mine").rename("moved")
    gone = "out/weights.safetensors was trained on, in mine, to look for copies among, are gone or changed"
    assert gone in refused(*command, "--data", "others")
    assert "was trained on mine, which is not there any more" in refused(*command)
    Path("moved").rename("mine")
    Path("mine/dark/000.png").unlink()
    assert "the images in mine are no longer those that" in refused(*command)


def test_the_bits_of_a_few_images_are_of_all_classes(monkeypatch):
    "Held-out images lie in the order of their classes."
    paint("mine", 400, (16, 16))
    done("train", "--data", "mine", "--size", 16, "--steps", 1, *TINY)
    means = []
    monkeypatch.setattr(
        bits,
        "_bits",
        lambda c, d, images, t: means.extend(images.float().mean((1, 2, 3))) or torch.rand(20, 4),
    )
    done("evaluate", "--weights", "out/weights.safetensors", "--bits", "--n", 20, *CPU)
    assert len(means) == 20
    assert 4 < sum(mean > 120 for mean in means) < 16


def test_one_class_and_weights_that_are_told_some():
    paint("one", 40, (16, 16), kinds=("bright",))
    paint("two", 40, (16, 16))
    done("train", "--data", "two", "--size", 16, "--steps", 1, "--labels", *TINY)
    again = ["--data", "one", "--init-from", "out/weights.safetensors", "--out", "next", "--steps", 1, *CPU]
    said = "is told classes, and the images of --data have one: leave --init-from out"
    assert said in refused("train", *again)
    assert "--labels needs images of several classes" in refused("train", *again, "--labels")


def test_images_of_another_folder_that_were_trained_on_are_left_out():
    paint("mine", 100, (16, 16))
    done("train", "--data", "mine", "--size", 16, "--steps", 1, *TINY)
    known = {image.numpy().tobytes() for image in images_of(TrainConfig(data="mine", size="16x16"))[0].images}
    for n, path in enumerate(sorted(Path("mine/bright").iterdir())):
        pixels = np.asarray(Image.open(path)).tobytes()
        folder = Path("seen" if pixels in known else "new")
        folder.mkdir(exist_ok=True)
        (folder / f"{n}.png").write_bytes(path.read_bytes())
    seen, new = len(names("seen")), len(names("new"))
    assert (seen + new, 0 < new < 10) == (50, True)
    command = ["evaluate", "--weights", "out/weights.safetensors", "--n", 20, *CPU]
    said = f"left out: {seen} of the 50 images of folder mine/bright, which out/weights.safetensors was"
    for more in (["--steps", 2], ["--bits"]):
        status, out, err = run(*command, "--data", "mine/bright", *more)
        assert (status, said in err) == (0, True)
        assert f"folder mine/bright, {new} images" in out
    assert "was trained on every image of --data: name a folder of others" in refused(
        *command, "--data", "seen"
    )
    Path("mine").rename("moved")
    _, _, err = run(*command, "--data", "new", "--bits")
    assert "nobody can tell which of them out/weights.safetensors was trained on" in err


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--size", "30"], "at most 2 levels for images of 30x30.* as in 16,16, or with --size 32x32"),
        (["--size", "27"], "at most 1 level for images of 27x27"),
        (["--size", "24x42"], "at most 2 levels for images of 24x42.*got 3.*or with --size 24x44"),
        (["--size", "0"], "--size must be from 1 to 4096 pixels, got 0"),
        (["--size", "a"], "--size must be a number, such as 32, or height and width, such as 24x40, got a"),
        (["--size", "32", "--attention", "7"], "--attention must name heights .* 32,16,8, got 7"),
        (["--size", "32", "--net", "paper"], "--channels must be multiples of 32 from 64 on.*got 16"),
        (["--dropout", "1"], "--dropout must be a number at least 0 and less than 1, got 1"),
        (["--fit", "squeeze"], "--fit must be crop or pad, got squeeze"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(asked, said):
    import re

    paint("mine", 20, (16, 16))
    err = refused("train", "--data", "mine", "--channels", "16,16,16", *asked, "--batch-size", 8, *CPU)
    assert re.search(said, err)


def test_channels_that_nobody_typed_are_said_to_be_those_of_the_network():
    paint("mine", 20, (16, 16))
    for net in (["--net", "paper"], ["--recipe", "ddpm-cifar10"]):
        err = refused("train", *net, *CPU)
        assert "--net paper has 4 levels, and images of 28x28 can have 3 levels, since each after" in err
        assert "it is for --data cifar10, or a folder with --colour --size 32; or give --channels 128," in err
    err = refused("train", "--data", "mine", "--size", "30", "--batch-size", 8, *CPU)
    assert "--net small has 3 levels, and images of 30x30 can have 2 levels, since" in err
    assert err.endswith("give --size 32x32, or --channels 16,48")


@pytest.mark.parametrize("asked", [["--size", "32"], ["--colour"], ["--fit", "pad"], ["--background", "red"]])
def test_a_form_is_for_folders(asked):
    err = refused("train", "--steps", 1, *asked, *TINY)
    assert f"{asked[0]} is for a folder of your own images, and --data digits has a fixed form" in err


def test_a_run_writes_nothing_into_the_folder_of_its_images():
    paint("mine", 20, (16, 16))
    command = ["train", "--data", "mine", "--size", 16, "--steps", 1, *TINY]
    for out in ("mine", "mine/run", "other/../mine/bright"):
        err = refused(*command, "--out", out)
        assert f"--out {out} lies in --data mine, and the run's pictures would become images of the" in err
    assert names("mine") == ["bright", "dark"]
    done(*command, "--out", "mine-2")
    Path("mine-2").rename("mine/run")
    assert "a run that is there already can be moved" in refused("train", "--resume", "--out", "mine/run")


def test_presets():
    paint("mine", 20, (32, 32, 3))
    told = ["--data", "mine", "--size", 32, "--colour", "--batch-size", 4, "--T", 30, "--steps", 1, *CPU]
    done("train", *told, "--net", "medium", "--out", "medium")
    net = read_metadata("medium/weights.safetensors").net
    assert (net["channels"], net["blocks"], net["attention_at"]) == ([64, 128, 192], 2, [16])
    out = done("train", *told, "--net", "paper", "--channels", "64,64", "--out", "paper")
    net = read_metadata("paper/weights.safetensors").net
    assert (net["kind"], net["blocks"], net["attention_at"], net["groups"]) == ("paper_unet", 2, [16], 32)
    assert "MB for a step of 4 images" in out
    done("train", *told, "--attention", "32,8", "--ema", 0.5, "--out", "own")
    assert read_metadata("own/weights.safetensors").net["attention_at"] == [32, 8]
    begun = ["train", "--data", "mine", "--batch-size", 4, "--steps", 1, *CPU, "--out", "more"]
    begun += ["--init-from", "paper/weights.safetensors"]
    assert "--net is for a new network, and --init-from" in refused(*begun, "--net", "small")
    done(*begun)
    assert read_metadata("more/weights.safetensors").net["kind"] == "paper_unet"


def test_size_and_colour_come_with_the_weights_to_begin_with():
    paint("mine", 20, (24, 16, 3))
    told = ["--data", "mine", "--steps", 1, "--batch-size", 4, *CPU]
    done("train", *told, "--size", "24x16", "--colour", "--channels", "16,16", "--T", 30, "--out", "first")
    out = done("train", *told, "--init-from", "first/weights.safetensors", "--out", "second")
    assert "18 images, 3x24x16" in out
    said = refused("train", *told, "--init-from", "first/weights.safetensors", "--size", 24, "--out", "third")
    assert "--size 24x24 is not what first/weights.safetensors was trained with (24x16)" in said


def test_the_recipe_of_the_paper_on_files_in_its_form(monkeypatch):
    "All its settings but for the size of the network, the batch and the number of steps, which are typed."
    from ddpm_abc.data import cifar

    monkeypatch.setattr(cifar, "_IMAGES", 8)
    home = Path("data/cifar-10-batches-bin")
    home.mkdir(parents=True)
    for name in (*cifar._TRAIN, *cifar._TEST):
        records = np.random.default_rng(0).integers(0, 256, (8, 3073), np.uint8)
        records[:, 0] = range(8)
        records.tofile(home / name)
    small = ["--channels", "64,64", "--batch-size", 4, "--steps", 2, "--preview", 0, *CPU]
    out = done("train", "--data", "cifar10", "--recipe", "ddpm-cifar10", *small)
    assert "CIFAR-10 (training set), 40 images, 3x32x32" in out
    about = read_metadata("out/weights.safetensors")
    assert (about.net["kind"], about.net["attention_at"]) == ("paper_unet", [16])
    told = about.info["run"]
    assert (told["lr"], told["decay"], told["dropout"], told["ema"], told["flip"]) == (
        2e-4,
        "none",
        0.1,
        0.9999,
        True,
    )
    assert about.sched == {"kind": "linear", "T": 1000, "beta_min": 1e-4, "beta_max": 0.02}
    again = ["train", "--resume", "--recipe", "ddpm-cifar10", "--channels", "64,64", "--batch-size", 4, *CPU]
    assert "has done its 3 steps" not in done(*again, "--steps", 3)
    assert "--lr 0.001 is not what the run in" in refused(*again, "--lr", 0.001)


def test_a_folder_with_the_name_of_a_data_set_is_mentioned():
    paint("emoji", 4, (8, 8))
    with pytest.warns(UserWarning, match=r"--data emoji is the data set .* here is --data \./emoji"):
        data, held = images_of(TrainConfig(data="emoji"))
    assert len(data) + len(held) == 3781
