"""`ddpm-abc sample` and `demo`: what they draw, where it goes, and what is kept when they are stopped."""

import re
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from shell import CPU, done, gray_images, interrupt_after, losses, names, pixels, refused, run, trained

from ddpm_abc.cli import demo as demo_module
from ddpm_abc.cli.drawing import DEFAULT_WEIGHTS
from ddpm_abc.parameterization import Denoiser
from ddpm_abc.run import draw as room
from ddpm_abc.run import pictures
from ddpm_abc.schedule import cosine_schedule
from ddpm_abc.storage import load_weights, save_weights
from ddpm_abc.unet import UNet


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def save(path, net, **info):
    save_weights(path, Denoiser(net, cosine_schedule(30)), **info)


@pytest.fixture
def weights():
    torch.manual_seed(0)
    net = UNet(channels=(16, 32))
    torch.nn.init.normal_(net.conv_out.weight, std=0.1)
    save("w.safetensors", net, data="squares", steps=7)


def sampled(*args):
    return done("sample", "--weights", "w.safetensors", *CPU, *args)


def image(k, seed=0, folder="out", label=""):
    return pixels(f"{folder}/seed-{seed}-{label}{k:04}.png").astype(int)


# --- files --------------------------------------------------------------------------------------------------


def test_sample_writes_images_an_overview_and_a_film(weights):
    out = sampled("--n", 20, "--seed", 3, "--sampler", "ddpm")
    assert names() == [*(f"seed-3-{k:04}.png" for k in range(20)), "seed-3-film.png", "seed-3-grid.png"]
    assert "trained on squares, 7 steps" in out
    assert "20 images" in out
    assert "30 reverse steps of ddpm, seed 3" in out
    assert "out/seed-3-0000.png to seed-3-0019.png" in out
    for word in ("film", "grid"):
        assert f"out/seed-3-{word}.png" in out
    first = image(0, 3)
    assert first.shape == (28, 28)
    with Image.open("out/seed-3-grid.png") as im:
        assert im.size == (3 * (4 * 30 - 2), 3 * (5 * 30 - 2))
        grid = np.asarray(im)[::3, ::3]
    assert np.array_equal(grid[:28, :28], first)
    assert np.array_equal(grid[-28:, -28:], image(19, 3))
    with Image.open("out/seed-3-film.png") as im:
        assert im.n_frames == 25  # 24 that move, and the last one for viewers that show no motion
        im.seek(24)
        assert im.info["duration"] >= 1000
        last = np.asarray(im.convert("L"))[::2, ::2]
    assert last.shape == (2 * 30 - 2, 8 * 30 - 2)
    assert np.abs(last[:28, :28].astype(int) - first).max() <= 9  # 16 levels of grey


def test_one_image_is_the_image_itself(weights):
    out = sampled("--n", 1, "--steps", 5)
    assert "5 reverse steps of dpm-solver" in out
    assert names() == ["seed-0-0000.png", "seed-0-film.png"]
    with Image.open("out/seed-0-0000.png") as im:
        assert (im.size, im.mode) == ((28, 28), "L")
    with Image.open("out/seed-0-film.png") as im:
        assert im.n_frames == 7  # six states, and the last one again


def test_each_sampler_draws_images_of_its_own(weights):
    "Told nothing, it is dpm-solver in 20 steps. ddpm takes all of them; ddim has no noise."
    asked = {
        "told nothing": [],
        "the same": ["--sampler", "dpm-solver", "--steps", 20, "--eta", 0.75],
        "eta": ["--eta", "0.2"],
        "ddim": ["--sampler", "ddim"],
        "eta 0": ["--sampler", "ddim", "--eta", 0],
        "ddpm": ["--sampler", "ddpm"],
    }
    said = {name: sampled("--n", 1, "--out", name, *args) for name, args in asked.items()}
    assert "(20 reverse steps of dpm-solver, seed 0)" in said["told nothing"]
    assert "(30 reverse steps of ddpm, seed 0)" in said["ddpm"]
    drawn = {name: image(0, folder=name).tobytes() for name in asked}
    assert drawn["told nothing"] == drawn["the same"]
    assert drawn["ddim"] == drawn["eta 0"]
    assert len(set(drawn.values())) == 4
    err = refused("sample", "--weights", "w.safetensors", *CPU, "--n", 1, "--out", "ddim", "--eta", "0.5")
    assert "is of another run (weights" in err
    assert "ddim with eta 0)" in err


def test_classes_in_turn_have_a_column_each(monkeypatch):
    monkeypatch.setattr(room, "SAMPLE_CHUNK", 4)
    save("w.safetensors", UNet(size=8, channels=(16,), n_classes=4), classes={"a": 1, "b": 2, "c": 9})
    sampled("--n", 6, "--in-turn", "--steps", 1)
    with Image.open("out/seed-0-grid.png") as im:
        width, height = im.size
        scale = width / (3 * 10 - 2)
        assert height == scale * (2 * 10 - 2)
    with Image.open("out/seed-0-film.png") as im:
        assert im.width / (3 * 10 - 2) == im.height / (2 * 10 - 2)  # the four of the first batch
    both = refused("sample", "--weights", "w.safetensors", "--in-turn", "--label", "b", *CPU)
    assert "--in-turn draws all classes, and --label b one: leave one of them out" in both
    save("w.safetensors", UNet(size=8, channels=(16,)))
    assert "--in-turn needs a network that is told classes" in refused(
        "sample", "--weights", "w.safetensors", "--in-turn", *CPU
    )


def test_a_class_that_was_all_held_out_is_not_drawn_in_turn(monkeypatch):
    guided, seen = room.guided, []
    monkeypatch.setattr(room, "guided", lambda *args: (seen.append(args[1].tolist()), guided(*args))[1])
    save("w.safetensors", UNet(size=8, channels=(16,), n_classes=4), classes={"a": 1, "b": 0, "c": 9})
    sampled("--n", 4, "--in-turn", "--steps", 1)
    assert seen == [[0, 2, 0, 2]]
    with Image.open("out/seed-0-grid.png") as im:
        assert im.width == im.height  # two columns


def test_a_label_is_found_in_either_spelling_of_unicode():
    "The accent of a letter may be a character of its own."
    apart, together = "A\u0308pfel", "\u00c4pfel"
    save("w.safetensors", UNet(size=8, channels=(16,), n_classes=3), classes={apart: 5, "b": 5})
    sampled("--n", 1, "--label", together, "--steps", 1, "--out", "one")
    sampled("--n", 1, "--label", apart, "--steps", 1, "--out", "two")
    (one,), (two,) = (list(Path(folder).glob("*000*.png")) for folder in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    save("w.safetensors", UNet(size=8, channels=(16,), n_classes=3), classes={apart: 5, together: 5})
    sampled("--n", 1, "--label", together, "--steps", 1, "--out", "both")


def test_colour_images_keep_their_colours():
    net = UNet(in_channels=3, size=8, channels=(16,))
    save("w.safetensors", net)
    sampled("--n", 2, "--steps", 2)
    with Image.open("out/seed-0-0001.png") as im:
        assert (im.size, im.mode) == ((8, 8), "RGB")


def test_image_k_depends_on_the_seed_and_on_k_alone(weights, monkeypatch):
    common = ["--steps", 5]
    sampled(*common, "--n", 7)
    sampled(*common, "--n", 1, "--out", "one")
    sampled(*common, "--n", 3, "--first", 4, "--out", "later")
    monkeypatch.setattr(room, "SAMPLE_CHUNK", 3)
    sampled(*common, "--n", 7, "--out", "chunks")
    assert np.abs(image(0) - image(0, folder="one")).max() <= 1  # batches of other sizes may round otherwise
    for k in range(7):
        assert np.abs(image(k) - image(k, folder="chunks")).max() <= 1
        if k >= 4:
            assert np.abs(image(k) - image(k, folder="later")).max() <= 1
    assert len({image(k).tobytes() for k in range(7)}) == 7
    sampled(*common, "--n", 1, "--seed", 1)
    assert np.abs(image(0) - image(0, seed=1)).max() > 20


def test_a_second_run_overwrites_nothing(weights):
    sampled("--n", 2, "--steps", 2)
    before = {name: Path("out", name).read_bytes() for name in names()}
    sampled("--n", 2, "--steps", 2, "--seed", 1)
    sampled("--n", 2, "--steps", 2, "--first", 2)
    assert {name: Path("out", name).read_bytes() for name in before} == before
    assert len(names()) == 12
    err = refused("sample", "--weights", "w.safetensors", "--n", 1, "--steps", 3, *CPU)
    assert "out/seed-0-0000.png is there already, and is of another run (weights " in err
    assert "give another --out" in err
    Image.new("L", (9, 9)).save("out/seed-5-0000.png")
    err = refused("sample", "--weights", "w.safetensors", "--n", 1, "--steps", 3, "--seed", 5, *CPU)
    assert "out/seed-5-0000.png is there already, and is of another run: " in err
    assert {name: Path("out", name).read_bytes() for name in before} == before


def test_all_in_one_file(weights, monkeypatch):
    monkeypatch.setattr(room, "SAMPLE_CHUNK", 3)
    sampled("--n", 7, "--steps", 2, "--out", "png")
    out = sampled("--n", 7, "--steps", 2, "--format", "npz")
    assert names() == ["seed-0-0000-to-0006.npz", "seed-0-film.png", "seed-0-grid.png"]
    assert "images: out/seed-0-0000-to-0006.npz" in out
    with np.load("out/seed-0-0000-to-0006.npz") as f:
        assert f["images"].shape == (7, 1, 28, 28)
        assert f["images"].dtype == np.uint8
        for k in range(7):
            assert np.array_equal(f["images"][k, 0], image(k, folder="png"))
    sampled("--n", 3, "--steps", 2, "--format", "npz")
    assert "seed-0-0000-to-0006.npz" in names()


def test_an_archive_that_grows_overwrites_no_other(weights, monkeypatch):
    monkeypatch.setattr(room, "SAMPLE_CHUNK", 3)
    sampled("--n", 6, "--steps", 2, "--format", "npz")
    before = {name: Path("out", name).read_bytes() for name in names()}
    asked = ["--weights", "w.safetensors", "--steps", 3, *CPU]
    for n, kind in ((8, "npz"), (5, "npz"), (5, "png")):  # five would leave it a sheet and a film of others
        err = refused("sample", *asked, "--n", n, "--format", kind)
        assert "out/seed-0-0000-to-0005.npz is there already, and is of another run (weights" in err
    assert {name: Path("out", name).read_bytes() for name in names()} == before
    done("sample", *asked, "--n", 5, "--first", 6)  # these have a sheet and a film of their own


@pytest.mark.parametrize("kind", ["png", "npz"])
def test_images_of_an_earlier_rule_are_not_mixed_with_others(kind, monkeypatch):
    monkeypatch.setattr(room, "SAMPLE_CHUNK", 4)
    save("w.safetensors", UNet(size=8, channels=(16,), n_classes=3), classes={"a": 1, "b": 3})
    more = ["--weights", "w.safetensors", "--steps", 1, "--format", kind, *CPU]
    with monkeypatch.context() as m:
        m.setattr(room, "IN_SHARES", "")  # the line of a release that drew classes at random
        done("sample", *more, "--n", 4)
    assert "is of another run (weights" in refused("sample", *more, "--n", 8, "--resume")
    done("sample", *more, "--n", 4, "--out", "new")
    said = done("sample", *more, "--n", 8, "--out", "new", "--resume")
    assert "4 of 8 images" in said
    assert "no new sheet and no new film" in said


@pytest.mark.parametrize("kind", ["png", "npz"])
def test_processes_draw_shares_that_merge_and_go_on(kind, weights, monkeypatch):
    "As torchrun starts them, one after the other; the second one is stopped, and starts again."
    monkeypatch.setattr("ddpm_abc.run.draw.SAMPLE_CHUNK", 4)
    command = ["sample", "--weights", "w.safetensors", "--n", 30, "--steps", 2, "--format", kind, *CPU]
    done(*command, "--out", "whole")
    for rank, stop in ((0, 0), (1, 5), (2, 0), (1, 0)):
        for name, value in {"RANK": rank, "WORLD_SIZE": 3, "LOCAL_RANK": rank}.items():
            monkeypatch.setenv(name, str(value))
        with monkeypatch.context() as m:
            if stop:
                interrupt_after(m, stop, "drawing")
            status, out, _ = run(*command, "--out", "many", "--resume")
        assert (status, out == "") == (130 if stop else 0, rank > 0)
    if kind == "png":
        assert names("many") == names("whole")
        for k in range(30):
            name = f"seed-0-{k:04}.png"
            assert Path("many", name).read_bytes() == Path("whole", name).read_bytes()
        before = {name: Path("many", name).stat().st_mtime_ns for name in names("many")}
        read, of_file = [], pictures._of_file
        monkeypatch.setattr(pictures, "_of_file", lambda path: read.append(path) or of_file(path))
        done(*command, "--out", "many", "--resume")
        assert len(read) == len(set(read)) == 12  # each image of this process, once
        assert before == {name: Path("many", name).stat().st_mtime_ns for name in names("many")}
    else:
        shards = sorted(Path("many").glob("*.npz"))
        assert [path.stem.split("-", 2)[2] for path in shards] == [
            "0000-to-0007",
            "0008-to-0019",
            "0020-to-0029",
        ]
        merged = np.concatenate([np.load(path)["images"] for path in shards])
        assert np.array_equal(merged, np.load("whole/seed-0-0000-to-0029.npz")["images"])


def test_labels_are_part_of_the_name():
    save("w.safetensors", UNet(channels=(16, 32), n_classes=3), classes={"T-shirt": 1, "ankle boot": 1})
    for label in ("T-shirt", "ankle boot"):
        sampled("--n", 1, "--steps", 2, "--label", label)
    want = [f"seed-0-label-{label}-{k}.png" for label in ("T_shirt", "ankle_boot") for k in ("0000", "film")]
    assert names() == want


# --- stopped ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
@pytest.mark.parametrize("kind", ["png", "npz"])
def test_a_signal_keeps_finished_images(sent, status, kind, weights, monkeypatch):
    monkeypatch.setattr(room, "SAMPLE_CHUNK", 3)
    real, calls = room.SAMPLERS["dpm-solver"], []

    def signalled(*args, **more):
        calls.append(args)
        for i, x in enumerate(real(*args, **more)):
            if (len(calls), i) == (3, 2):
                signal.raise_signal(sent)
            yield x

    monkeypatch.setitem(room.SAMPLERS, "dpm-solver", signalled)
    command = ["sample", "--weights", "w.safetensors", "--n", 20, "--steps", 5, "--format", kind, *CPU]
    got, out, err = run(*command)
    assert got == status
    assert "6 images in" in out
    start = "stopped: 6 of 20 images kept in out; draw the rest with: ddpm-abc sample "
    assert err.startswith(start)
    images = [f"seed-0-{k:04}.png" for k in range(6)] if kind == "png" else ["seed-0-0000-to-0005.npz"]
    assert names() == sorted([*images, "seed-0-film.png", "seed-0-grid.png"])

    monkeypatch.setitem(room.SAMPLERS, "dpm-solver", real)
    rest = err.removeprefix("stopped: ").split("draw the rest with: ddpm-abc ")[1].split()
    done(*rest)
    if kind == "png":
        assert [name for name in names() if re.search(r"\d\.png", name)] == [
            f"seed-0-{k:04}.png" for k in range(20)
        ]
    else:
        assert "seed-0-0006-to-0019.npz" in names()


def test_a_full_disk_says_how_many_are_kept(weights, monkeypatch):
    monkeypatch.setattr(room, "SAMPLE_CHUNK", 3)
    real, calls = pictures.write_image, []

    def full(*args):
        calls.append(args)
        if len(calls) == 5:
            raise OSError(28, "No space left on device")
        real(*args)

    monkeypatch.setattr(pictures, "write_image", full)
    err = refused("sample", "--weights", "w.safetensors", "--n", 7, "--steps", 2, *CPU, status=1)
    assert "No space left on device" in err
    assert "3 of 7 images kept" in err


def test_a_film_that_cannot_be_written_is_a_note(weights, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pictures, "save_overview", full)
    status, _, err = run("sample", "--weights", "w.safetensors", "--n", 2, "--steps", 2, *CPU)
    assert status == 0
    assert err.startswith("note: the overview or the film could not be written: ")
    assert names() == ["seed-0-0000.png", "seed-0-0001.png"]


# --- what goes wrong ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--n", "0"], "--n must be at least 1, got 0"),
        (["--n", "1000001"], "--n must be at most 1000000, got 1000001"),
        (["--first", "-1"], "--first must be at least 0, got -1"),
        (["--format", "gif"], "--format must be png or npz, got gif"),
        (["--weights", "two.safetensors"], "draws images of 2 channels"),
        (["--steps", "31"], "--steps must be at most 30, the T that these weights were trained with, got 31"),
        (["--sampler", "euler"], "--sampler must be dpm-solver or ddim or ddpm, got euler"),
        (["--eta", "1.5"], "--eta must be from 0, no noise on the way, to 1, as much as ddpm adds, got 1.5"),
        (
            ["--sampler", "ddpm", "--eta", "0"],
            "--eta is for --sampler dpm-solver and ddim: ddpm has none to set, leave --eta out",
        ),
        (["--weights", "nowhere.safetensors"], "there is no file nowhere.safetensors"),
        (["--weights", "pickled.pt"], "pickled.pt is a pickle"),
        (["--weights", "half.safetensors"], "half.safetensors is damaged"),
        (["--weights", "conditional.safetensors"], "told classes, but not which"),
        (
            ["--label", "7"],
            "--label needs a network that is told classes, and that of good.safetensors is not",
        ),
        (["--guidance", "1"], "--guidance needs a network that is told classes"),
        (["--guidance", "inf"], "--guidance must be a finite number, got inf"),
        (["--weights", "told.safetensors", "--label", "c"], "--label must be one of a, b, got c"),
        (["--weights", "sly.safetensors"], "told classes, but not which"),
        (["--device", "tpu9"], "--device: unknown device 'tpu9'"),
        (["--out", "file/out"], "file"),
    ],
)
def test_sample_names_a_wrong_value_in_one_line(args, said):
    save("good.safetensors", UNet(channels=(16, 32)))
    save("two.safetensors", UNet(in_channels=2, channels=(16, 32)))
    save("conditional.safetensors", UNet(channels=(16, 32), n_classes=2))
    save("told.safetensors", UNet(channels=(16, 32), n_classes=3), classes={"a": 1, "b": 1})
    save("sly.safetensors", UNet(channels=(16, 32), n_classes=3), classes={"a": 1, "b": -1})
    Path("half.safetensors").write_bytes(Path("good.safetensors").read_bytes()[:5000])
    torch.save({}, "pickled.pt")
    Path("file").touch()
    weights = [] if "--weights" in args else ["--weights", "good.safetensors"]
    assert said in refused("sample", *weights, *args)


def spoilt():
    net = UNet(channels=(16, 32))
    with torch.no_grad():
        net.conv_in.weight.fill_(3e38)  # finite, but not for long
        net.conv_out.weight.fill_(1.0)
    save("w.safetensors", net)


def test_what_is_no_weights_file_is_named_with_the_file_that_is():
    folder = Path("my runs")
    done("train", "--channels", "16,32", "--T", 30, "--steps", 1, "--out", folder, *CPU)
    path = folder / "checkpoint-1.safetensors"
    for command in (["sample", "--weights", path], ["export", path, "a.onnx"]):
        err = refused(*command)
        assert "my runs/checkpoint-1.safetensors is a checkpoint file, not a weights file" in err
        assert "take my runs/weights.safetensors instead; to train on, `ddpm-abc train --resume`" in err
    err = refused("sample", "--weights", folder)
    assert err.endswith("my runs is a folder: name a file in it, as my runs/weights.safetensors")
    err = refused("sample", "--weights", "mnist_labels")
    assert "there is no file mnist_labels, and no network of that name in the package: give mnist-" in err


def test_weights_that_give_no_numbers_say_so():
    spoilt()
    err = refused("sample", "--weights", "w.safetensors", "--n", 1, *CPU, status=1)
    assert "not finite" in err


# --- which weights, which class -----------------------------------------------------------------------------


def test_sample_uses_the_packaged_weights_by_default(weights, monkeypatch):
    from ddpm_abc.run import setup

    monkeypatch.setattr(setup, "pretrained", {DEFAULT_WEIGHTS: load_weights("w.safetensors")}.get)
    out = done("sample", "--n", 2, "--steps", 2)
    assert f"weights: {DEFAULT_WEIGHTS}, trained on squares" in out


@pytest.fixture
def two_classes():
    "Ten images that are bright above, and thirty that are bright below."
    for k in range(40):
        name = "above" if k % 4 == 0 else "below"
        picture = Image.new("L", (28, 28), k)
        picture.paste(255 - k, (0, 0, 28, 14) if name == "above" else (0, 14, 28, 28))
        (Path("pairs") / name).mkdir(parents=True, exist_ok=True)
        picture.save(f"pairs/{name}/{k:02}.png")


def test_a_network_that_is_told_classes_draws_the_one_asked_for(two_classes):
    learn = ["--predict", "v", "--schedule", "cosine", "--steps", 200, "--lr", "7e-3"]
    trained("--data", "pairs", "--labels", "--hold-out", 0, *learn)
    denoise, info = load_weights("out/weights.safetensors")
    assert denoise.net.config["n_classes"] == 3
    assert info["classes"] == {"above": 10, "below": 30}
    above = {}
    for name in ("above", "below", "any"):
        args = [] if name == "any" else ["--label", name]
        how = ["--weights", "out/weights.safetensors", "--n", 16, "--sampler", "ddpm", "--out", name]
        done("sample", *how, *CPU, *args)
        label = "" if name == "any" else f"label-{name}-"
        drawn = [image(k, folder=name, label=label) for k in range(16)]
        above[name] = sum(x[:14].mean() > x[14:].mean() for x in drawn)
    assert (above["above"], above["below"]) == (16, 0)
    assert 0 < above["any"] < 10  # one of four among the images


def test_guidance_and_labels_reach_the_sampler(monkeypatch):
    guided, seen = room.guided, []

    def spy(denoise, y, null_class, scale):
        seen.append((y.tolist(), null_class, scale))
        return guided(denoise, y, null_class, scale)

    monkeypatch.setattr(room, "guided", spy)
    save("w.safetensors", UNet(channels=(16, 32), n_classes=3), classes={"above": 10, "below": 30})
    sampled("--n", 3, "--label", "below", "--guidance", "1.5", "--steps", 1)
    assert seen.pop() == ([1, 1, 1], 2, 1.5)
    sampled("--n", 100, "--guidance", "-0.5", "--steps", 1)
    assert [scale for *_, scale in seen] == [-0.5, -0.5]
    whole = [y for ys, *_ in seen for y in ys]
    sampled("--n", 5, "--first", 3, "--in-turn", "--steps", 1, "--out", "turn")
    assert seen.pop()[0] == [1, 0, 1, 0, 1]
    assert 60 <= sum(whole) <= 90  # of 100, each class as often as among the images
    seen.clear()
    sampled("--n", 5, "--first", 62, "--guidance", "-0.5", "--steps", 1)
    assert seen[0][0] == whole[62:67]


# --- demo ---------------------------------------------------------------------------------------------------

TINY = {"channels": (16, 32), "T": 30, "batch_size": 8, "steps": 4}


def test_demo_trains_samples_and_goes_on(monkeypatch):
    monkeypatch.setattr(demo_module, "DEMO", {**demo_module.DEMO, **TINY})
    with monkeypatch.context() as m:
        interrupt_after(m, 2)
        status, _, err = run("demo", *CPU, "--seed", 3)
    assert status == 130
    assert err == "stopped after step 2 of 4; go on with: ddpm-abc demo --seed 3 --device cpu --out out"
    assert "seed-3-grid.png" not in names()

    out = done("demo", *CPU, "--seed", 3)  # the same again goes on where it stopped
    assert list(losses()) == [1, 2, 3, 4]
    said = [
        "checkpoint-4.safetensors",
        "loss.csv",
        "loss.png",
        "seed-3-film.png",
        "seed-3-grid.png",
        "weights.safetensors",
    ]
    assert {*said, "checkpoint-2.safetensors", "seed-3-0063.png"} <= set(names())
    for name in said:
        assert f"out/{name}" in out

    Path("out/seed-3-grid.png").unlink()
    out = done("demo", *CPU, "--seed", 3)  # and once more draws again, without training
    assert "has done its 4 steps" in out
    assert "seed-3-grid.png" in names()
    assert "--seed 4 is not what the run in" in refused("demo", *CPU, "--seed", 4)


def test_demo_leaves_images_of_others_alone():
    Path("out").mkdir()
    Path("out/seed-0-0003.png").write_bytes(b"of somebody")
    assert "error: out holds images that were drawn before: give another --out" in refused("demo", *CPU)
    assert names("out") == ["seed-0-0003.png"]


def test_demo_over_another_run_names_no_flag_that_it_lacks(monkeypatch):
    gray_images("mine")
    trained("--data", "mine", "--steps", 1)
    trained("--steps", 1, "--out", "small")
    for out in ("out", "small"):
        err = refused("demo", *CPU, "--out", out)
        assert re.search(rf"error: {out} holds another run, with .*: give another --out$", err)
        assert set(re.findall(r"--[a-z-]+", err)) == {"--out"}
