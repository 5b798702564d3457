"""The command line: what it writes, what it says, and that no wrong value or Ctrl-C ends in a traceback."""

import csv
import io
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_abc import cli
from ddpm_abc.checkpoint import (
    PRETRAINED_SHA256,
    about,
    checkpoints,
    load_weights,
    pretrained,
    save_weights,
)
from ddpm_abc.unet import UNet

ROOT = Path(__file__).parent.parent
SMALL = ["--channels", "16,32", "--batch-size", "8", "--T", "30", "--device", "cpu"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(capsys, *args):
    "Exit status, standard output, and standard error less its progress bars."
    status = cli.main([str(a) for a in args])
    out, err = capsys.readouterr()
    err = "\n".join(line for line in re.split(r"[\r\n]+", err) if line.strip() and not re.search(r"\d+/\d+ \[|\d+step \[", line))
    assert "Traceback" not in out + err
    return status, out, err


def trained(capsys, *args):
    status, out, err = run(capsys, "train", *SMALL, *args)
    assert (status, err) == (0, "")
    return out


def refused(capsys, *args, status=2):
    "The one line that it says."
    got, _, err = run(capsys, *args)
    assert got == status
    assert err.count("\n") == 0
    assert re.match(rf"ddpm-abc( {args[0]})?: error: ", err)
    return err


def files():
    return sorted(p.name for p in Path("out").iterdir())


def losses(folder="out"):
    with open(f"{folder}/loss.csv", newline="") as f:
        rows = list(csv.reader(f))
    assert rows[0] == ["step", "loss"]
    return {int(step): float(loss) for step, loss in rows[1:]}


# --- help --------------------------------------------------------------------------------------------------------------


def test_help_needs_no_torch():
    script = "import sys; from ddpm_abc.cli import main; assert main(['--help']) == 0; assert main(['train', '--help']) == 0; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ddpm-abc")


@pytest.mark.parametrize("command", ["train", "sample", "demo"])
def test_help_gives_defaults_and_an_example(command, capsys):
    status, out, _ = run(capsys, command, "--help")
    assert status == 0
    assert f"example:\n  ddpm-abc {command}" in out
    options = re.split(r"\n  (?=--)", " ".join(out.split("options:")[1].split("example:")[0].splitlines()).replace("  --", "\n  --"))[1:]
    assert len(options) >= 3
    assert [o.split()[0] for o in options if "(default: " not in o] == ["--resume"] * (command == "train")


def test_the_example_in_each_help_is_valid(capsys):
    for command in ("train", "sample", "demo"):
        _, out, _ = run(capsys, command, "--help")
        cli._parser().parse_args(out.split("example:\n  ddpm-abc ")[1].split())


def test_no_command_shows_the_help(capsys):
    status, out, err = run(capsys)
    assert (status, out) == (2, "")
    assert "commands:" in err


# --- train -------------------------------------------------------------------------------------------------------------


def test_train_writes_what_it_says(capsys):
    out = trained(capsys, "--steps", 6, "--seed", 4)
    assert files() == ["checkpoint-6.safetensors", "loss.csv", "loss.png", "weights.safetensors"]
    for name in files():
        assert f"out/{name}" in out
    assert "data: digits" in out
    assert "network: " in out
    line = next(line for line in out.splitlines() if "mean training loss" in line)
    assert re.match(r"6 steps of 8 images in \d+ s, \d+ images/s; mean training loss of the last 1: \d\.\d{4} .*seed 4", line)
    assert list(losses()) == [1, 2, 3, 4, 5, 6]
    assert f"{losses()[6]:.4f}" in line
    with Image.open("out/loss.png") as im:
        assert im.size[0] > 300

    found = load_weights("out/weights.safetensors")
    assert found.net.config["channels"] == (16, 32)
    assert found.sched.T == 30
    assert (found.info["steps"], found.info["seed"]) == (6, 4)
    assert "digits" in found.info["data"]


def test_weights_are_the_averaged_ones(capsys):
    import safetensors.torch

    trained(capsys, "--steps", 6)
    tensors = safetensors.torch.load_file("out/checkpoint-6.safetensors")
    for name, v in load_weights("out/weights.safetensors").net.state_dict().items():
        assert torch.equal(v, tensors[f"ema.{name}"])
    assert not torch.equal(tensors["ema.conv_in.weight"], tensors["net.conv_in.weight"])


def test_the_same_seed_trains_the_same_network(capsys):
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        trained(capsys, "--steps", 4, "--seed", seed, "--out", out)
    assert losses("a") == losses("b") != losses("c")
    assert Path("a/weights.safetensors").read_bytes() == Path("b/weights.safetensors").read_bytes()


def test_the_loss_falls(capsys):
    trained(capsys, "--steps", 60, "--lr", "5e-3")
    got = list(losses().values())
    assert np.mean(got[-10:]) < 0.5 < 0.8 < np.mean(got[:3])


def test_the_linear_schedule_reaches_noise_at_every_T(capsys):
    for T in ("25", "1000"):
        status, _, err = run(capsys, "train", *SMALL[:4], "--T", T, "--steps", 1, "--out", T)
        assert (status, err) == (0, "")
        assert load_weights(f"{T}/weights.safetensors").sched.alpha_bar[-1].sqrt() < 0.02
    assert about("1000/weights.safetensors").sched == {"kind": "linear", "T": 1000, "beta_min": 1e-4, "beta_max": 0.02}  # the paper's


def test_cosine_schedule_and_own_images(capsys):
    for k in range(9):
        (Path("mine") / "ab"[k % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (20 * k,) * 3).save(f"mine/{'ab'[k % 2]}/{k}.png")
    out = trained(capsys, "--data", "mine", "--schedule", "cosine", "--steps", 2)
    assert "folder mine, 9 images, 1x28x28" in out
    assert about("out/weights.safetensors").sched == {"kind": "cosine", "T": 30}


def test_a_warning_is_a_note_in_one_line(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what gets past the note
        status, _, err = run(capsys, "train", *SMALL[:4], "--T", 2, "--schedule", "cosine", "--steps", 1)
    assert status == 0
    assert re.fullmatch("note: the schedule stops short of noise.*", err)


def test_minutes_stop_the_run(capsys):
    began = time.monotonic()
    out = trained(capsys, "--minutes", "0.02")
    assert time.monotonic() - began < 60
    n = max(losses())
    assert n >= 1
    assert re.search(rf"^{n:,} steps of 8 images in \d+ s", out, re.M)
    assert about(checkpoints("out")[0]).info["run"]["steps"] is None  # no limit of 4,000 crept in
    assert 1.2 <= about(checkpoints("out")[0]).info["seconds"] < 60


@pytest.mark.parametrize(
    ("steps", "minutes", "done", "seconds", "want"),
    [(100, None, 25, 9e9, 0.25), (None, 2, 9_000, 30, 0.25), (100, 2, 25, 90, 0.75), (100, 2, 75, 30, 0.75), (100, 2, 200, 30, 1.0)],
)
def test_progress_is_the_larger_of_steps_and_time(steps, minutes, done, seconds, want):
    r = cli._Run(*[None] * 9, step=done, seconds=seconds)
    r.settings = {"steps": steps, "minutes": minutes}
    assert r.progress() == want


def test_a_checkpoint_every_so_many_steps(capsys, monkeypatch):
    monkeypatch.setattr(cli, "SAVE_EVERY", 2)
    kept = []
    keep = cli._Run.keep
    monkeypatch.setattr(cli._Run, "keep", lambda self: (kept.append(self.step), keep(self)))
    trained(capsys, "--steps", 5)
    assert kept == [2, 4, 5]


# --- resume ------------------------------------------------------------------------------------------------------------


def interrupt_after(monkeypatch, steps):
    "As Ctrl-C would, in the given step."

    @contextmanager
    def signals():
        class Seen(list):
            asked = 0

            def __bool__(self):
                self.asked += 1
                return self.asked >= steps

        yield Seen([signal.SIGINT])

    monkeypatch.setattr(cli, "_signals", signals)


def test_a_resumed_run_is_the_uninterrupted_one(capsys, monkeypatch):
    trained(capsys, "--steps", 6, "--out", "whole")
    with monkeypatch.context() as m:
        interrupt_after(m, 3)
        status, _, err = run(capsys, "train", *SMALL, "--steps", 6)
    assert status == 130
    assert err == "stopped after step 3 of 6; go on with: ddpm-abc train --out out --resume --device cpu"
    assert list(losses()) == [1, 2, 3]
    assert files() == ["checkpoint-3.safetensors", "loss.csv", "loss.png", "weights.safetensors"]
    assert load_weights("out/weights.safetensors").info["steps"] == 3

    status, out, err = run(capsys, *err.split("go on with: ddpm-abc ")[1].split())
    assert (status, err) == (0, "")
    assert re.search(r"^3 steps of 8 images", out, re.M)
    assert losses() == losses("whole")
    assert Path("out/weights.safetensors").read_bytes() == Path("whole/weights.safetensors").read_bytes()


def test_the_way_to_go_on_names_folders_as_a_shell_reads_them(capsys):
    trained(capsys, "--steps", 1, "--out", "my digits", "--root", "else where")
    err = refused(capsys, "train", *SMALL, "--out", "my digits", "--root", "else where")
    assert "`ddpm-abc train --out 'my digits' --resume --device cpu --root 'else where'`" in err


def test_resume_takes_more_steps_and_the_same_settings(capsys):
    trained(capsys, "--steps", 2)
    status, _, err = run(capsys, "train", "--resume", "--steps", 4, *SMALL)
    assert (status, err) == (0, "")
    assert list(losses()) == [1, 2, 3, 4]
    status, out, err = run(capsys, "train", "--resume")
    assert (status, err) == (0, "")
    assert "has done its 4 steps" in out
    assert "--steps" in out


@pytest.mark.parametrize("flag", [["--lr", "0.1"], ["--seed", "3"], ["--channels", "16,48"], ["--T", "40"], ["--batch-size", "9"], ["--schedule", "cosine"], ["--data", "mnist"]])
def test_resume_refuses_other_settings(flag, capsys):
    trained(capsys, "--steps", 1)
    before = Path("out/checkpoint-1.safetensors").read_bytes()
    err = refused(capsys, "train", "--resume", "--steps", 2, *flag)
    assert " ".join(flag) in err
    assert "leave" in err
    assert Path("out/checkpoint-1.safetensors").read_bytes() == before


def test_resume_without_the_record_of_losses(capsys):
    trained(capsys, "--steps", 2)
    Path("out/loss.csv").unlink()
    status, _, err = run(capsys, "train", "--resume", "--steps", 4)
    assert status == 0
    assert err.startswith("note: out/loss.csv lacks the steps before 3")
    assert list(losses()) == [3, 4]


def test_resume_drops_losses_later_than_the_checkpoint(capsys):
    trained(capsys, "--steps", 3, "--out", "whole")
    trained(capsys, "--steps", 2)
    with open("out/loss.csv", "a") as f:
        f.write("3,99.0\n")  # as after a crash between the two files
    run(capsys, "train", "--resume", "--steps", 3)
    assert list(losses()) == [1, 2, 3]
    assert losses()[3] < 10


def test_resume_notices_that_the_images_changed(capsys):
    Path("mine").mkdir()
    for k in range(9):
        Image.new("L", (28, 28), k).save(f"mine/{k}.png")
    trained(capsys, "--data", "mine", "--steps", 1)
    Path("mine/0.png").unlink()
    assert "began with 9 images, and now there are 8" in refused(capsys, "train", "--resume", "--steps", 2)


def test_an_existing_checkpoint_is_not_overwritten(capsys):
    trained(capsys, "--steps", 1)
    before = Path("out/checkpoint-1.safetensors").read_bytes()
    err = refused(capsys, "train", *SMALL, "--steps", 1)
    for part in ("out/checkpoint-1.safetensors is there already", "--resume", "another --out"):
        assert part in err
    assert Path("out/checkpoint-1.safetensors").read_bytes() == before


def test_resume_needs_a_checkpoint(capsys):
    assert "there is no folder out" in refused(capsys, "train", "--resume")
    Path("out").mkdir()
    assert "there is no checkpoint in out" in refused(capsys, "train", "--resume")


def test_resume_says_what_it_skips_and_why(capsys):
    trained(capsys, "--steps", 2, "--out", "whole")
    trained(capsys, "--steps", 1)
    Path("out/checkpoint-3.safetensors").write_bytes(b"half of some")
    save_weights("out/checkpoint-4.safetensors", UNet(channels=(16, 32)), {"kind": "linear", "T": 1000})
    Path("out/.checkpoint-5.safetensors.123.tmp").write_bytes(b"left by a run that was killed")
    status, out, err = run(capsys, "train", "--resume", "--steps", 2)
    assert status == 0
    assert "going on from out/checkpoint-1.safetensors" in out
    notes = err.splitlines()
    assert len(notes) == 2
    assert re.match("note: SKIPPED a checkpoint. out/checkpoint-4.safetensors is not a checkpoint but a weights file", notes[0])
    assert re.match("note: SKIPPED a checkpoint. out/checkpoint-3.safetensors is damaged", notes[1])
    assert not list(Path("out").glob(".*"))
    assert Path("out/weights.safetensors").read_bytes() == Path("whole/weights.safetensors").read_bytes()

    for path in checkpoints("out"):
        path.write_bytes(path.read_bytes()[:-1])
    status, _, err = run(capsys, "train", "--resume", "--steps", 3)
    assert status == 2
    assert len(err.splitlines()) == 5
    assert "none of the 4 checkpoints in out can be read" in err.splitlines()[-1]


def test_a_run_keeps_its_last_three_checkpoints(capsys, monkeypatch):
    monkeypatch.setattr(cli, "SAVE_EVERY", 2)
    trained(capsys, "--steps", 9)
    assert [p.name for p in checkpoints("out")] == [f"checkpoint-{step}.safetensors" for step in (9, 8, 6)]


def test_a_folder_in_use_is_refused(capsys):
    from ddpm_abc.checkpoint import only_owner

    Path("out").mkdir()
    with only_owner("out"):
        assert f"another run is at work in out (process {os.getpid()})" in refused(capsys, "train", *SMALL, "--steps", 1)
    trained(capsys, "--steps", 1)


def test_resume_notices_other_images_of_the_same_number(capsys):
    Path("mine").mkdir()
    for k in range(9):
        Image.new("L", (28, 28), k).save(f"mine/{k}.png")
    trained(capsys, "--data", "mine", "--steps", 1)
    Image.new("L", (28, 28), 200).save("mine/0.png")
    assert "began with 9 other images" in refused(capsys, "train", "--resume", "--steps", 2)


def test_resume_elsewhere_gives_a_note(capsys, monkeypatch):
    from ddpm_abc import checkpoint

    trained(capsys, "--steps", 1)
    monkeypatch.setattr(checkpoint, "__version__", "9.9")
    status, _, err = run(capsys, "train", "--resume", "--steps", 2)
    assert status == 0
    assert re.fullmatch("note: out/checkpoint-1.safetensors was written elsewhere: ddpm_abc was '.*' and is '9.9'. .* bits may differ .*", err)


def test_resume_of_another_programs_checkpoint_says_so(capsys):
    from ddpm_abc.checkpoint import save_checkpoint

    Path("out").mkdir()
    net = UNet(channels=(16, 32))
    save_checkpoint("out/checkpoint-1.safetensors", net, torch.optim.AdamW(net.parameters()), {"kind": "linear", "T": 1000}, step=1)
    assert "was not written by `ddpm-abc train`" in refused(capsys, "train", "--resume")


def test_a_training_that_blows_up_keeps_what_it_had(capsys, monkeypatch):
    monkeypatch.setattr(cli, "SAVE_EVERY", 1)
    trained(capsys, "--steps", 2)
    from ddpm_abc import training

    monkeypatch.setattr(training, "eps_loss", lambda model, sched, x0, t, eps: model(x0, t).flatten(1).mean(1) * float("nan"))
    err = refused(capsys, "train", "--resume", "--steps", 4, status=1)
    assert "step 3, on batch 2: the loss is not finite at t = " in err
    assert "The newest checkpoint is out/checkpoint-2.safetensors" in err
    assert [p.name for p in checkpoints("out")] == ["checkpoint-2.safetensors", "checkpoint-1.safetensors"]


# --- Ctrl-C ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_a_checkpoint_to_go_on_from(sent, status, tmp_path, capsys):
    script = "import sys; from ddpm_abc.cli import main; sys.exit(main())"
    with open("stderr", "w") as err:
        process = subprocess.Popen(
            [sys.executable, "-c", script, "train", *SMALL, "--steps", "100000"],
            env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL, stderr=err,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + 120
            while not re.search(r" [1-9]\d*/100000 \[", Path("stderr").read_text()):
                assert process.poll() is None, Path("stderr").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)
            process.send_signal(sent)
            assert process.wait(60) == status
        finally:
            process.kill()
            process.wait()
    said = Path("stderr").read_text()
    assert "Traceback" not in said
    last = said.splitlines()[-1]
    step = int(re.fullmatch(r"stopped after step ([\d,]+) of 100,000; go on with: ddpm-abc train --out out --resume --device cpu", last)[1].replace(",", ""))
    assert step >= 1
    assert files() == [f"checkpoint-{step}.safetensors", "loss.csv", "loss.png", "weights.safetensors"]
    status, out, err = run(capsys, "train", "--resume", "--steps", step + 2)
    assert (status, err) == (0, "")
    assert out.count("2 steps of 8 images") == 1
    assert max(losses()) == step + 2


def test_a_second_ctrl_c_stops_at_once():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    for first in (signal.SIGINT, signal.SIGTERM):
        with cli._signals() as seen:
            assert not seen
            signal.raise_signal(first)
            assert seen == [first]
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            with pytest.raises(SystemExit, match="143"):
                signal.raise_signal(signal.SIGTERM)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize("where", ["_set_up", "_steps"])
def test_ctrl_c_elsewhere_says_so(where, capsys, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, where, interrupted)
    status, _, err = run(capsys, "train", *SMALL)
    assert (status, err) == (130, "stopped")


# --- what goes wrong -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--steps", "0"], "--steps must be at least 1, got 0"),
        (["--steps", "-5"], "--steps must be at least 1, got -5"),
        (["--steps", "1.5"], "--steps must be a whole number, at least 1, got 1.5"),
        (["--steps", "many"], "--steps must be a whole number, at least 1, got many"),
        (["--steps"], "--steps needs a value"),
        (["--minutes", "0"], "--minutes must be a number greater than 0, got 0"),
        (["--minutes", "nan"], "--minutes must be a number greater than 0, got nan"),
        (["--lr", "-1"], "--lr must be a number greater than 0, got -1"),
        (["--lr", "inf"], "--lr must be a number greater than 0, got inf"),
        (["--batch-size", "0"], "--batch-size must be at least 1, got 0"),
        (["--batch-size", "10001"], "--batch-size must be at most 10000, the number of images, got 10001"),
        (["--seed", "-1"], "--seed must be at least 0, got -1"),
        (["--seed", str(2**63)], f"--seed must be less than 2^63, got {2**63}"),
        (["--T", "0"], "--T must be at least 1, got 0"),
        (["--T", "1000001"], "--T must be at most 1000000, got 1000001"),
        (["--steps", "9" * 5000], "--steps must be at most"),
        (["--steps", "-" + "9" * 5000], "--steps must be at least 1"),
        (["--channels", "100000"], "parameters: at most 1,000,000,000"),
        (["--out", ""], "--out must be a name that can be written"),
        (["--data", "a\0b"], "--data must be a name that can be written"),
        (["--out", "\udcff"], "--out must be a name that can be written"),
        (["--T", "20"], "--T must be at least 21 with the linear schedule.*cosine"),
        (["--schedule", "square"], "--schedule must be linear or cosine, got square"),
        (["--predict", "x0"], "--predict must be eps or v, got x0"),
        (["--channels", "16;32"], "--channels must be whole numbers with commas.*got 16;32"),
        (["--channels", "16,20"], "got 20"),
        (["--channels", "16,16,16,16"], "28"),
        (["--device", "tpu9"], "tpu9.*auto, cpu, cuda or mps"),
        (["--device", "cuda:77"], "cuda:77.*auto or cpu"),
        (["--data", "cifar"], "unknown data set 'cifar'.*digits, mnist, fashion"),
        (["--epochs", "3"], "unrecognized arguments: --epochs 3"),
        (["--step", "3"], "unrecognized arguments: --step 3"),
    ],
)
def test_train_names_a_wrong_value_in_one_line(args, said, capsys):
    assert re.search(f"error: .*{re.escape(said) if '.*' not in said else said}", refused(capsys, "train", *args))
    assert not Path("out").exists() or not list(Path("out").iterdir())


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--n", "0"], "--n must be at least 1, got 0"),
        (["--n", "10001"], "--n must be at most 10000, got 10001"),
        (["--weights", "two.safetensors"], "draws images of 2 channels"),
        (["--steps", "31"], "--steps must be at most 30, the T that these weights were trained with, got 31"),
        (["--weights", "nowhere.safetensors"], "there is no file nowhere.safetensors"),
        (["--weights", "pickled.pt"], "pickled.pt is a pickle"),
        (["--weights", "half.safetensors"], "half.safetensors is damaged"),
        (["--weights", "conditional.safetensors"], "told classes, but not which"),
        (["--label", "7"], "--label needs a network that is told classes, and that of good.safetensors is not"),
        (["--guidance", "1"], "--guidance needs a network that is told classes"),
        (["--guidance", "inf"], "--guidance must be a finite number, got inf"),
        (["--weights", "told.safetensors", "--label", "c"], "--label must be one of a, b, got c"),
        (["--weights", "sly.safetensors"], "told classes, but not which"),
        (["--device", "tpu9"], "tpu9"),
        (["--out", "file/out"], "file"),
    ],
)
def test_sample_names_a_wrong_value_in_one_line(args, said, capsys):
    config = {"kind": "cosine", "T": 30}
    save_weights("good.safetensors", UNet(channels=(16, 32)), config)
    save_weights("two.safetensors", UNet(in_channels=2, channels=(16, 32)), config)
    save_weights("conditional.safetensors", UNet(channels=(16, 32), n_classes=2), config)
    save_weights("told.safetensors", UNet(channels=(16, 32), n_classes=3), config, classes={"a": 1, "b": 1})
    save_weights("sly.safetensors", UNet(channels=(16, 32), n_classes=3), config, classes={"a": 1, "b": -1})
    Path("half.safetensors").write_bytes(Path("good.safetensors").read_bytes()[:5000])
    torch.save({}, "pickled.pt")
    Path("file").touch()
    weights = [] if "--weights" in args else ["--weights", "good.safetensors"]
    assert said in refused(capsys, "sample", *weights, *args)


def test_an_unusable_out_is_named(capsys, monkeypatch):
    Path("file").touch()
    assert "file" in refused(capsys, "train", *SMALL, "--out", "file")
    assert "file" in refused(capsys, "train", *SMALL, "--out", "file/out")

    def denied(*args, **kwargs):
        raise PermissionError(13, "Permission denied", str(kwargs["dir"]))

    monkeypatch.setattr(cli.tempfile, "TemporaryFile", denied)
    assert "Permission denied: 'locked'" in refused(capsys, "train", *SMALL, "--out", "locked")


def test_unreachable_data_names_the_remedy(capsys, monkeypatch):
    import torchvision.datasets.mnist

    def fail(*args, **kwargs):
        raise RuntimeError("no\nconnection")

    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", fail)
    err = refused(capsys, "train", "--data", "mnist")
    for part in ("--data digits", "copy the four files", "data/MNIST/raw", "no connection"):
        assert part in err


def test_unknown_command(capsys):
    assert refused(capsys, "trian") == "ddpm-abc: error: unknown command 'trian': use demo, train, sample or evaluate"


def test_a_training_that_blows_up_says_so(capsys):
    err = refused(capsys, "train", *SMALL, "--steps", 20, "--lr", "1e30", status=1)
    assert "not finite" in err
    assert "learning rate" in err


def test_a_full_disk_says_so(capsys, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    err = refused(capsys, "train", *SMALL, "--steps", 1, status=1)
    assert "No space left on device" in err
    assert files() == []


def test_weights_that_give_no_numbers_say_so(capsys):
    net = UNet(channels=(16, 32))
    with torch.no_grad():
        net.conv_in.weight.fill_(3e38)  # finite, but not for long
        net.conv_out.weight.fill_(1.0)
    save_weights("w.safetensors", net, {"kind": "cosine", "T": 30})
    assert "not finite" in refused(capsys, "sample", "--weights", "w.safetensors", "--n", 1, "--device", "cpu", status=1)
    assert "not finite" in refused(capsys, "evaluate", "--weights", "w.safetensors", "--steps", 2, "--keep", "made.npz", "--device", "cpu", status=1)
    assert not Path("made.npz").exists()


# --- sample and demo -----------------------------------------------------------------------------------------------------


def sampled(capsys, *args):
    status, out, err = run(capsys, "sample", "--weights", "w.safetensors", "--device", "cpu", *args)
    assert (status, err) == (0, "")
    return out


@pytest.fixture
def weights():
    torch.manual_seed(0)
    net = UNet(channels=(16, 32))
    torch.nn.init.normal_(net.conv_out.weight, std=0.1)
    save_weights("w.safetensors", net, {"kind": "cosine", "T": 30}, data="squares", steps=7)


def test_sample_writes_a_grid_and_an_animation(weights, capsys):
    out = sampled(capsys, "--n", 20, "--seed", 3)
    assert files() == ["reverse.png", "samples.png"]
    assert "trained on squares, 7 steps" in out
    assert "20 images" in out
    assert "30 reverse steps, seed 3" in out
    for name in files():
        assert f"out/{name}" in out
    with Image.open("out/samples.png") as im:
        assert im.size == (3 * (4 * 30 - 2), 3 * (5 * 30 - 2))
        grid = np.asarray(im)[::3, ::3]
    with Image.open("out/reverse.png") as im:
        assert im.n_frames == 25  # 24 that move, and the last one for viewers that show no motion
        im.seek(24)
        assert im.info["duration"] >= 1000
        last = np.asarray(im.convert("L"))[::2, ::2]
    assert last.shape == (2 * 30 - 2, 8 * 30 - 2)
    assert np.abs(last[:28, :28].astype(int) - grid[:28, :28]).max() <= 9  # 16 levels of grey


def test_sample_follows_its_seed(weights, capsys):
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        sampled(capsys, "--n", 4, "--seed", seed, "--out", out)
    a, b, c = (Path(f"{k}/samples.png").read_bytes() for k in "abc")
    assert a == b != c


def test_sample_takes_fewer_steps_and_few_images(weights, capsys):
    out = sampled(capsys, "--n", 1, "--steps", 5)
    assert "5 reverse steps" in out
    with Image.open("out/reverse.png") as im:
        assert im.n_frames == 7  # six states, and the last one again


def test_sample_in_several_chunks(weights, capsys, monkeypatch):
    monkeypatch.setattr(cli, "SAMPLE_CHUNK", 3)
    sampled(capsys, "--n", 7, "--steps", 2)
    with Image.open("out/samples.png") as im:
        grid = np.asarray(im)[::3, ::3]
    assert grid.shape == (3 * 30 - 2, 3 * 30 - 2)
    cells = [grid[30 * (k // 3) : 30 * (k // 3) + 28, 30 * (k % 3) : 30 * (k % 3) + 28].tobytes() for k in range(7)]
    assert len(set(cells)) == 7


def test_sample_uses_the_packaged_weights_by_default(weights, capsys, monkeypatch):
    from ddpm_abc import checkpoint

    monkeypatch.setattr(checkpoint, "pretrained", {cli.DEFAULT_WEIGHTS: load_weights("w.safetensors")}.get)
    status, out, _ = run(capsys, "sample", "--n", 2, "--steps", 2)
    assert status == 0
    assert f"weights: {cli.DEFAULT_WEIGHTS}, trained on squares" in out


def test_help_names_every_network_of_the_package(capsys):
    for command in ("train", "sample", "evaluate"):
        _, out, _ = run(capsys, command, "--help")
        said = re.sub(r"\(default.*?\)", "", out.split("  --weights FILE")[1].split("\n  --")[0])
        assert set(re.findall(r"\bmnist[-\w]*", said)) == set(PRETRAINED_SHA256)


# --- labels --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def two_classes():
    "Ten images that are bright above, and thirty that are bright below."
    for k in range(40):
        name = "above" if k % 4 == 0 else "below"
        image = Image.new("L", (28, 28), k)
        image.paste(255 - k, (0, 0, 28, 14) if name == "above" else (0, 14, 28, 28))
        (Path("pairs") / name).mkdir(parents=True, exist_ok=True)
        image.save(f"pairs/{name}/{k:02}.png")


def test_a_network_that_is_told_classes_draws_the_one_asked_for(two_classes, capsys):
    trained(capsys, "--data", "pairs", "--labels", "--predict", "v", "--schedule", "cosine", "--steps", 300, "--lr", "5e-3")
    net, _, info = load_weights("out/weights.safetensors")
    assert net.config["n_classes"] == 3
    assert info["classes"] == {"above": 10, "below": 30}
    above = {}
    for name in ("above", "below", "any"):
        args = [] if name == "any" else ["--label", name]
        status, _, err = run(capsys, "sample", "--weights", "out/weights.safetensors", "--n", 16, "--out", name, "--device", "cpu", *args)
        assert (status, err) == (0, "")
        with Image.open(f"{name}/samples.png") as im:
            grid = np.asarray(im.convert("L"))[::3, ::3].astype(float)
        cells = [grid[30 * (k // 4) : 30 * (k // 4) + 28, 30 * (k % 4) : 30 * (k % 4) + 28] for k in range(16)]
        above[name] = sum(c[:14].mean() > c[14:].mean() for c in cells)
    assert (above["above"], above["below"]) == (16, 0)
    assert 0 < above["any"] < 10  # one of four among the images


def test_one_label_in_ten_is_dropped_and_a_resumed_run_is_the_same(two_classes, capsys, monkeypatch):
    from ddpm_abc import training

    train, told = training.train, []

    def spy(net, sched, batches, *args, **rest):
        return train(net, sched, ((x0, told.append(y) or y) for x0, y in batches), *args, **rest)

    monkeypatch.setattr(training, "train", spy)
    command = ["--data", "pairs", "--labels"]
    trained(capsys, *command, "--steps", 20, "--out", "whole")
    y = torch.cat(told)
    assert set(y.tolist()) == {0, 1, 2}
    assert 4 <= (y == 2).sum() <= 32  # of 160
    with monkeypatch.context() as m:
        interrupt_after(m, 10)
        status, _, _ = run(capsys, "train", *SMALL, *command, "--steps", 20)
    assert status == 130
    status, _, _ = run(capsys, "train", "--resume", "--device", "cpu")
    assert status == 0
    assert torch.equal(torch.cat(told[-10:]), torch.cat(told[10:20]))
    assert Path("out/weights.safetensors").read_bytes() == Path("whole/weights.safetensors").read_bytes()


def test_a_resumed_run_notices_other_labels(two_classes, capsys):
    trained(capsys, "--data", "pairs", "--labels", "--steps", 1)
    Path("pairs/below").rename("pairs/below-1")
    Path("pairs/below-2").mkdir()
    Path("pairs/below-1/39.png").rename("pairs/below-2/39.png")  # the same images in the same order
    assert "other images or labels" in refused(capsys, "train", "--resume", "--steps", 2)


@pytest.mark.parametrize("odd", [{}, {"blocks": "x"}, {"blocks": 10**9}, {"attention_at": 5}, {"attention_at": ["x"]}, {"groups": None}])
def test_a_checkpoint_with_an_odd_network_is_refused(odd, capsys, monkeypatch):
    from ddpm_abc import checkpoint

    trained(capsys, "--steps", 1)
    newest = checkpoint.newest_checkpoint

    def hostile(folder):
        path, saved = newest(folder)
        return path, saved._replace(net={**saved.net, **odd} if odd else {"in_channels": 1})

    monkeypatch.setattr(checkpoint, "newest_checkpoint", hostile)
    assert "was not written by `ddpm-abc train`" in refused(capsys, "train", "--resume", "--steps", 2)


def test_labels_need_several_classes(capsys):
    Path("one").mkdir()
    for k in range(9):
        Image.new("L", (28, 28), 20 * k).save(f"one/{k}.png")
    assert "--labels needs images of several classes, and one has one" in refused(capsys, "train", *SMALL, "--data", "one", "--labels")


def test_guidance_reaches_the_sampler(two_classes, capsys, monkeypatch):
    from ddpm_abc import guidance

    guided, seen = guidance.guided, []
    monkeypatch.setattr(guidance, "guided", lambda net, y, none, scale: seen.append((y.tolist(), none, scale)) or guided(net, y, none, scale))
    trained(capsys, "--data", "pairs", "--labels", "--steps", 2)
    status, _, _ = run(capsys, "sample", "--weights", "out/weights.safetensors", "--n", 3, "--label", "below", "--guidance", "1.5", "--device", "cpu")
    assert status == 0
    status, _, _ = run(capsys, "evaluate", "--weights", "out/weights.safetensors", "--n", 100, "--steps", 2, "--guidance", "-0.5", "--device", "cpu")
    assert status == 0
    assert seen[0] == ([1, 1, 1], 2, 1.5)
    assert [scale for *_, scale in seen[1:]] == [-0.5, -0.5]
    assert 55 <= sum(y == 1 for ys, *_ in seen[1:] for y in ys) <= 95  # of 100, each class as often as among the images


# --- beginning with other weights ---------------------------------------------------------------------------------------


@pytest.fixture
def others():
    "Weights that no run begins with by itself."
    torch.manual_seed(1)
    net = UNet(channels=(16, 32), blocks=2, attention_at=(14,))
    torch.nn.init.normal_(net.conv_out.weight, std=0.1)
    save_weights("w.safetensors", net, {"kind": "cosine", "T": 30})


def test_a_run_begins_with_the_weights_it_is_given(others, capsys):
    status, out, err = run(capsys, "train", "--weights", "w.safetensors", "--steps", 1, "--lr", "1e-20", "--batch-size", 8, "--device", "cpu")
    assert (status, err) == (0, "")
    assert "beginning with the weights of w.safetensors" in out
    given, got = load_weights("w.safetensors"), load_weights("out/weights.safetensors")
    assert given.net.config == got.net.config
    assert torch.equal(given.sched.alpha_bar, got.sched.alpha_bar)
    for a, b in zip(given.net.state_dict().values(), got.net.state_dict().values(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("name", sorted(PRETRAINED_SHA256))
def test_a_run_begins_with_a_network_of_the_package(name, capsys):
    status, _, err = run(capsys, "train", "--weights", name, "--steps", 1, "--lr", "1e-20", "--batch-size", 4, "--device", "cpu")
    assert (status, err) == (0, "")
    given, got = pretrained(name), load_weights("out/weights.safetensors")
    assert given.net.predicts == got.net.predicts
    assert torch.equal(given.sched.alpha_bar, got.sched.alpha_bar)
    x, t = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 500, 1000])
    y = [torch.tensor([0, 7, 10])] if given.net.config["n_classes"] else []
    with torch.no_grad():
        assert torch.allclose(got.net(x, t, *y), given.net(x, t, *y), atol=1e-4)


def test_weights_that_know_no_labels_can_learn_them(others, two_classes, capsys):
    status, _, err = run(capsys, "train", "--weights", "w.safetensors", "--data", "pairs", "--labels", "--steps", 1, "--lr", "1e-20", "--batch-size", 8, "--device", "cpu")
    assert (status, err) == (0, "")
    given, got = load_weights("w.safetensors").net, load_weights("out/weights.safetensors").net
    x, t = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 15, 30])
    with torch.no_grad():
        assert torch.allclose(got(x, t, torch.tensor([0, 1, 2])), given(x, t), atol=1e-5)


def test_a_resumed_run_that_began_with_weights_is_the_same(others, capsys, monkeypatch):
    command = ["train", "--batch-size", 8, "--device", "cpu"]
    status, _, _ = run(capsys, *command, "--weights", "w.safetensors", "--steps", 4, "--out", "whole")
    assert status == 0
    with monkeypatch.context() as m:
        interrupt_after(m, 2)
        run(capsys, *command, "--weights", "w.safetensors", "--steps", 4)
    status, _, _ = run(capsys, *command, "--resume")
    assert status == 0
    assert Path("out/weights.safetensors").read_bytes() == Path("whole/weights.safetensors").read_bytes()
    assert "--weights other.safetensors is not what the run in" in refused(capsys, *command, "--resume", "--weights", "other.safetensors", "--steps", 6)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--channels", "16,16"], "--channels 16,16 is not what w.safetensors was trained with (16,32): leave --channels out"),
        (["--predict", "v"], "--predict v is not what w.safetensors was trained with (eps)"),
        (["--schedule", "linear"], "--schedule linear is not what w.safetensors was trained with (cosine)"),
        (["--T", "50"], "--T 50 is not what w.safetensors was trained with (30)"),
        (["--weights", "large.safetensors"], "--weights large.safetensors draws images of 1x32x32, and those of --data are 1x28x28"),
        (["--weights", "nowhere"], "there is no file nowhere"),
    ],
)
def test_weights_that_do_not_fit_are_named(args, said, weights, capsys):
    save_weights("large.safetensors", UNet(channels=(16, 32), size=32), {"kind": "cosine", "T": 30})
    assert said in refused(capsys, "train", "--weights", "w.safetensors", *args)


def test_weights_that_know_labels_go_on_with_labels(two_classes, capsys):
    trained(capsys, "--data", "pairs", "--labels", "--steps", 2)
    command = ["train", "--weights", "out/weights.safetensors", "--steps", 1, "--batch-size", 8, "--device", "cpu"]
    assert "is told 2 classes, and the images of --data have 10" in refused(capsys, *command, "--out", "ten")
    Path("pairs").rename("others")
    Path("others/below").rename("others/underneath")
    status, _, err = run(capsys, *command, "--data", "others", "--out", "two")
    assert (status, err) == (0, "note: where out/weights.safetensors was told above,below, it is now told above,underneath")
    assert list(load_weights("two/weights.safetensors").info["classes"]) == ["above", "underneath"]


def test_resume_names_a_flag_that_the_run_began_without(capsys):
    trained(capsys, "--steps", 1)
    assert "--labels is not what the run in out/checkpoint-1.safetensors began with (without it)" in refused(capsys, "train", "--resume", "--labels", "--steps", 2)
    assert "--seed 1 is not what the run in out/checkpoint-1.safetensors began with (0)" in refused(capsys, "train", "--resume", "--seed", 1, "--steps", 2)


def test_evaluate_prints_a_report_beside_its_floor(weights, capsys):
    status, out, err = run(capsys, "evaluate", "--weights", "w.safetensors", "--n", 100, "--steps", 2, "--device", "cpu")
    assert (status, err) == (0, "")
    floor, these = re.findall(r"^(?:real digits, held out|these weights) +100 +([\d.]+) ", out, re.M)
    assert float(floor) < float(these) / 10
    assert "100 images in" in out
    assert "classifier with sha256" in out
    assert not Path("out").exists()


def test_evaluate_judges_digits_only(capsys):
    save_weights("w.safetensors", UNet(size=32, channels=(16, 32)), {"kind": "cosine", "T": 30})
    assert "w.safetensors draws images of 1x32x32" in refused(capsys, "evaluate", "--weights", "w.safetensors", "--steps", 30)
    assert "--steps must be at most 30" in refused(capsys, "evaluate", "--weights", "w.safetensors", "--steps", 31)
    assert "--n must be at least 100, got 5" in refused(capsys, "evaluate", "--n", 5)
    assert "--n must be at most 3000 with --data digits, got 3001: use --data mnist" in refused(capsys, "evaluate", "--n", 3001)
    assert "--n must be at most 10000, got 10001" in refused(capsys, "evaluate", "--data", "mnist", "--n", 10001)


@pytest.fixture
def tiny_mnist(monkeypatch):
    "Two thousand bundled digits in the part of MNIST: one thousand to train on, one thousand to test with."
    from ddpm_abc import data

    found = data.digits()
    dealt = torch.arange(2000) * 7919 % 10_000
    monkeypatch.setattr(data, "mnist", lambda root, train: found._replace(images=found.images[dealt[:1000] if train else dealt[1000:]]))


def test_evaluate_against_the_test_set_prints_fid_floor_and_ratio(weights, capsys, tiny_mnist):
    status, out, err = run(capsys, "evaluate", "--weights", "w.safetensors", "--data", "mnist", "--n", 100, "--steps", 2, "--device", "cpu")
    assert (status, err) == (0, "")
    fid, floor, ratio = (float(re.search(pattern, out)[1]) for pattern in (r"test set: ([\d.]+)", r"the floor: ([\d.]+)", r"ratio ([\d.]+)"))
    assert floor < fid / 10
    assert abs(ratio - fid / floor) < 0.01 * ratio


def test_evaluate_goes_on_with_the_digits_it_kept(weights, capsys, monkeypatch):
    "Stopped in the second batch, it draws the rest only, and ends with the figures of a run that was not stopped."
    monkeypatch.setattr(cli, "SAMPLE_CHUNK", 40)
    command = ["evaluate", "--weights", "w.safetensors", "--n", 100, "--steps", 2, "--device", "cpu"]
    _, whole, _ = run(capsys, *command)
    from ddpm_abc import sampling

    real, calls = sampling.samples, []

    def interrupted(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    with monkeypatch.context() as m:
        m.setattr(sampling, "samples", interrupted)
        status, _, _ = run(capsys, *command, "--keep", "kept/made.npz")
    assert status == 130
    status, out, err = run(capsys, *command, "--keep", "kept/made.npz")
    assert (status, err) == (0, "")
    assert re.search(r"^60 images in .* and 40 from kept/made.npz$", out, re.M)
    assert out.splitlines()[-3:] == whole.splitlines()[-3:]
    status, out, _ = run(capsys, *command, "--keep", "kept/made.npz")  # and once more: nothing is left to draw
    assert "0 images in" in out
    assert out.splitlines()[-3:] == whole.splitlines()[-3:]

    before = Path("kept/made.npz").read_bytes()
    with np.load("kept/made.npz") as f:
        assert f["images"].shape == (100, 1, 28, 28)
        assert f["images"].dtype == np.uint8
    status, _, _ = run(capsys, *command, "--n", 110, "--keep", "kept/made.npz")  # three batches of 40 would hold 120
    assert status == 0
    status, _, _ = run(capsys, *command, "--keep", "kept/made.npz")
    assert status == 0
    assert len(Path("kept/made.npz").read_bytes()) > len(before)  # a shorter run takes none of a longer one's away

    for other in (["--steps", 3], ["--seed", 1]):  # the last of two counts
        assert "holds digits of another run" in refused(capsys, *command, *other, "--keep", "kept/made.npz")
    flipped = bytearray(before)
    flipped[len(before) // 2] ^= 1
    bare = io.BytesIO()
    np.save(bare, np.zeros(3))
    other_arrays = io.BytesIO()
    np.savez(other_arrays, labels=np.zeros(3))
    for bad in (b"", b"no zip", before[: len(before) // 2], bytes(flipped), bare.getvalue(), other_arrays.getvalue(), Path("w.safetensors").read_bytes()):
        Path("kept/made.npz").write_bytes(bad)
        assert "is damaged, or holds no digits" in refused(capsys, *command, "--keep", "kept/made.npz")
        assert Path("kept/made.npz").read_bytes() == bad


def test_training_to_predict_v(capsys, monkeypatch):
    from ddpm_abc import training
    from ddpm_abc.prediction import VUNet, v_weight

    train, weights = training.train, []
    monkeypatch.setattr(training, "train", lambda *args, weight, **rest: [weights.append(weight)] and train(*args, weight=weight, **rest))
    trained(capsys, "--steps", 1, "--out", "eps")
    assert weights == [None]
    trained(capsys, "--steps", 3, "--predict", "v")
    assert torch.equal(weights[1], v_weight(load_weights("out/weights.safetensors").sched))
    assert isinstance(load_weights("out/weights.safetensors").net, VUNet)
    assert "--predict eps is not what the run in out/checkpoint-3.safetensors began with (v)" in refused(capsys, "train", "--resume", "--predict", "eps", "--steps", 5)
    trained(capsys, "--steps", 6, "--predict", "v", "--out", "whole")
    status, _, _ = run(capsys, "train", "--resume", "--steps", 6, "--device", "cpu")
    assert status == 0
    first, second = (load_weights(f"{out}/weights.safetensors") for out in ("out", "whole"))
    assert first.info["run"] | {"steps": 6} == second.info["run"]


def test_a_run_of_a_release_that_knew_neither_v_nor_labels_goes_on(capsys, monkeypatch):
    from ddpm_abc import checkpoint

    save = checkpoint.save_checkpoint
    with monkeypatch.context() as m:
        m.setattr(checkpoint, "save_checkpoint", lambda *args, run, **rest: save(*args, run={key: value for key, value in run.items() if key not in ("predict", "labels", "weights")}, **rest))
        trained(capsys, "--steps", 2)
    assert "predict" not in about("out/checkpoint-2.safetensors").info["run"]
    status, _, err = run(capsys, "train", "--resume", "--steps", 3)
    assert (status, err) == (0, "")
    assert about("out/checkpoint-3.safetensors").info["run"]["predict"] == "eps"


def test_demo_trains_samples_and_goes_on(capsys, monkeypatch):
    monkeypatch.setattr(cli, "RUN", {**cli.RUN, "channels": [16, 32], "T": 30, "batch_size": 8})
    monkeypatch.setattr(cli, "DEMO_STEPS", 4)
    with monkeypatch.context() as m:
        interrupt_after(m, 2)
        status, _, _ = run(capsys, "demo", "--device", "cpu")
    assert status == 130
    assert "samples.png" not in files()

    status, out, err = run(capsys, "demo", "--device", "cpu")  # the same again goes on where it stopped
    assert (status, err) == (0, "")
    assert list(losses()) == [1, 2, 3, 4]
    assert files() == ["checkpoint-2.safetensors", "checkpoint-4.safetensors", "loss.csv", "loss.png", "reverse.png", "samples.png", "weights.safetensors"]
    for name in files()[1:]:
        assert f"out/{name}" in out

    Path("out/samples.png").unlink()
    status, out, err = run(capsys, "demo", "--device", "cpu")  # and once more draws again, without training
    assert (status, err) == (0, "")
    assert "has done its 4 steps" in out
    assert "samples.png" in files()
