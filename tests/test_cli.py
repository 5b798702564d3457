"""The command line: its help, its ways in, its errors, and consoles of every kind."""

import io
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from shell import CPU, ENVIRONMENT, PROGRAM, SMALL, done, gray_images, losses, names, refused, run

from ddpm_abc import __version__
from ddpm_abc.cli import main
from ddpm_abc.cli.console import Stream, say
from ddpm_abc.cli.main import COMMANDS, group
from ddpm_abc.cli.options import retyped, typed
from ddpm_abc.cli.sample import SampleConfig
from ddpm_abc.run.config import TrainConfig
from ddpm_abc.run.settings import settings_of
from ddpm_abc.storage import PRETRAINED_SHA256

every_command = pytest.mark.parametrize("command", COMMANDS)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


# --- ways in ------------------------------------------------------------------------------------------------


def test_help_and_version_need_neither_torch_nor_numpy():
    script = """
import sys
from ddpm_abc.cli import main
helps = [[command, "--help"] for command in sys.argv[1:]]
for arguments in (["--help"], ["--version"], [], ["train", "--nonsense"], *helps):
    assert main(arguments) == (0 if arguments and "--nonsense" not in arguments else 2), arguments
sys.exit("torch" in sys.modules or "numpy" in sys.modules)
"""
    command = [sys.executable, "-c", script, *COMMANDS]
    finished = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith("Usage: ddpm-abc")


def test_help_is_there_at_once():
    "In 0.3 s of processor time, which does not depend on what else the machine does."
    before = os.times()
    subprocess.run([*PROGRAM, "train", "--help"], env=ENVIRONMENT, check=True, capture_output=True)
    after = os.times()
    assert after.children_user + after.children_system - before.children_user - before.children_system < 0.3


@pytest.mark.parametrize("module", ["ddpm_abc", "ddpm_abc.cli"])
def test_modules_that_run(module):
    def said(*args):
        done = subprocess.run(
            [sys.executable, "-m", module, *args], env=ENVIRONMENT, capture_output=True, text=True
        )
        return done.returncode, done.stdout, done.stderr

    assert said("--version") == (0, f"ddpm-abc {__version__}\n", "")
    assert said("train", "--nonsense") == (
        2,
        "",
        "ddpm-abc train: error: unrecognized arguments: --nonsense\n",
    )


def test_main_runs_in_a_thread():
    seen = []
    thread = threading.Thread(target=lambda: seen.append(main(["train", "--steps", "0"])))
    thread.start()
    thread.join()
    assert seen == [2]


def test_shells_complete_options_and_choices():
    def completions(line):
        words = line.split(" ")
        shell = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), "_DDPM_ABC_COMPLETE": "bash_complete"}
        finished = subprocess.run(PROGRAM, env={**ENVIRONMENT, **shell}, capture_output=True, text=True)
        assert finished.returncode == 0, finished.stderr
        return finished.stdout.split()

    assert completions("ddpm-abc ") == [f"plain,{c}" for c in COMMANDS]
    assert completions("ddpm-abc train --schedule c") == ["plain,cosine"]
    assert completions("ddpm-abc sample --weights o") == ["file,o"]


# --- help ---------------------------------------------------------------------------------------------------


@every_command
def test_help_gives_defaults_and_an_example(command):
    status, out, _ = run(command, "--help")
    assert status == 0
    assert out.isascii()
    assert f"Example:\n    ddpm-abc {command}" in out
    options = re.findall(r"^  (--\S+)(.*\n(?: {6,}.*\n)*)", out, re.M)
    assert len(options) >= 3
    without = [name for name, help in options if "(default: " not in " ".join(help.split())]
    assert without == ["--resume"] * (command in ("train", "sample")) + ["--help"]


def test_help_for_training_begins_with_what_most_people_give():
    _, out, _ = run("train", "--help")
    groups = [re.findall(r"^  (--\S+)", group, re.M) for group in re.split(r"^\S.*:$", out, flags=re.M)[1:]]
    first = "--data --steps --minutes --out --size --colour --recipe --resume"
    assert groups[0] == first.split()
    assert groups[-1] == ["--help"]
    listed = [name for group in groups for name in group]
    assert len(listed) == len(set(listed)) == len(settings_of(TrainConfig)) + 3  # recipe, resume, help


@every_command
def test_the_example_in_each_help_is_valid(command):
    _, out, _ = run(command, "--help")
    words = out.split("Example:\n    ddpm-abc ")[1].split()
    with group.commands.get(command, group.get_command(None, command)).make_context(
        command, words[1:]
    ) as context:
        assert context.params


FILLED = {"steps": 5, "channels": (16, 32)}  # a configuration fills these in, as if typed


@pytest.mark.parametrize(
    ("config", "flags"),
    [
        (SampleConfig(in_turn=True, guidance=1.5, label="ankle boot"), {"--in-turn"}),
        (TrainConfig(**FILLED, labels=True, colour=True, flip=True), {"--labels", "--colour", "--flip"}),
        (TrainConfig(**FILLED, labels=False), {"--no-labels"}),
    ],
)
def test_a_command_that_is_printed_can_be_typed(config, flags):
    name = "sample" if isinstance(config, SampleConfig) else "train"
    line = shlex.split(retyped(name, config))
    assert flags <= set(line)
    params = group.get_command(None, name).make_context(name, line[2:]).params
    assert type(config)(**typed({k: v for k, v in params.items() if hasattr(config, k)})) == config
    assert "--grey" in retyped("train", TrainConfig(), colour=False)


def test_no_command_shows_the_help():
    status, out, err = run()
    assert (status, out) == (2, "")
    assert "Commands:" in err


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("train", "--init-from FILE"),
        ("sample", "--weights FILE"),
        ("evaluate", "--weights FILE"),
        ("export", "WEIGHTS is"),
    ],
)
def test_help_names_every_network_of_the_package(command, option):
    _, out, _ = run(command, "--help")
    said = re.sub(r"\(default.*?\)", "", out.split(f"  {option}")[1].split("\n  --")[0], flags=re.S)
    said = re.sub(r"-\n\s+", "-", said)  # a line may break behind a hyphen
    assert set(re.findall(r"\bmnist[-\w]*|\bemoji\b", said)) == set(PRETRAINED_SHA256)


def test_a_command_to_type_again_has_flags_without_values():
    config = SampleConfig(in_turn=True, first=3)
    assert retyped("sample", config, n=5) == "ddpm-abc sample --in-turn --first 3 --n 5"
    assert " --no-labels --steps 2" in retyped("train", TrainConfig(labels=False, steps=2))


# --- errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--steps", "0"], "--steps must be at least 1, got 0"),
        (["--steps", "-5"], "--steps must be at least 1, got -5"),
        (["--steps", "1.5"], "--steps must be a whole number, at least 1, got 1.5"),
        (["--steps", "many"], "--steps must be a whole number, at least 1, got many"),
        (["--steps"], "--steps needs a value"),
        (["--steps", "--minutes"], "--steps needs a value, got --minutes"),
        (["--out", "--resume"], "--out needs a value, got --resume"),
        (["--resume=yes"], "--resume takes no value"),
        (["--minutes", "0"], "--minutes must be a finite number greater than 0, got 0"),
        (["--minutes", "nan"], "--minutes must be a finite number greater than 0, got nan"),
        (["--lr", "-1"], "--lr must be a finite number greater than 0, got -1"),
        (["--lr", "inf"], "--lr must be a finite number greater than 0, got inf"),
        (["--batch-size", "0"], "--batch-size must be at least 1, got 0"),
        (["--batch-size", "10001"], "--batch-size must be at most 10000, the number of images, got 10001"),
        (["--seed", "-1"], "--seed must be at least 0, got -1"),
        (["--seed", str(2**63)], f"--seed must be less than 2^63, got {2**63}"),
        (["--T", "0"], "--T must be at least 1, got 0"),
        (["--T", "1000001"], "--T must be at most 1000000, got 1000001"),
        (["--steps", "9" * 5000], "--steps must be at most"),
        (["--steps", "-" + "9" * 5000], "--steps must be at least 1"),
        (
            ["--channels", "16,1000000000"],
            "--channels 16,1000000000 makes a network of more than 10^18 parameters: at most 1,000,000,000",
        ),
        (["--channels", "100000"], "parameters: at most 1,000,000,000"),
        (["--out", ""], "--out must not be empty"),
        (["--data", "a\0b"], "--data must be a name that can be printed"),
        (["--out", "\udcff"], "--out must be a name that can be printed"),
        (
            ["--T", "20", "--schedule", "linear"],
            "--T must be at least 21 with the linear schedule.*--schedule cosine",
        ),
        (["--schedule", "square"], "--schedule must be cosine or linear, got square"),
        (["--predict", "y"], "--predict must be v or x0 or eps, got y"),
        (["--channels", "16;32"], "--channels must be whole numbers with commas.*got 16;32"),
        (
            ["--channels", "16,20"],
            "--channels must be multiples of 8 from 16 on, as in 16,48,96, got 20 in 16,20",
        ),
        (["--channels", "3"], "--channels must be multiples of 8 from 16 on, as in 16,48,96, got 3 in 3"),
        (
            ["--channels", "16,16,16,16"],
            "--channels must name at most 3 levels for images of 28x28.*got 4.*16,16,16",
        ),
        (["--device", "tpu9"], "--device: .*tpu9.*auto, cpu, cuda or mps"),
        (["--device", "cuda:77"], "--device: .*cuda:77.*auto or cpu"),
        (["--data", "cifar"], "unknown data set 'cifar'.*digits, mnist, fashion"),
        (["--data", "./cats"], "there is no folder './cats': use digits, mnist, fashion"),
        (["--epochs", "3"], "unrecognized arguments: --epochs 3"),
        (["--step", "3"], "unrecognized arguments: --step 3; is it --steps?"),
        (["--weights", "w"], "unrecognized arguments: --weights w"),
        (["more"], "unrecognized arguments: more"),
    ],
)
def test_train_names_a_wrong_value_in_one_line(args, said):
    pattern = said if ".*" in said else re.escape(said)
    assert re.search(f"error: .*{pattern}", refused("train", *args))
    assert not Path("out").exists()


def test_a_colour_that_is_none_is_named_by_its_flag():
    gray_images("mine")
    assert "error: --background must be" in refused(
        "train", *SMALL, "--data", "mine", "--background", "reddish"
    )


@pytest.mark.parametrize(("args", "missing"), [([], "WEIGHTS"), (["w.safetensors"], "OUT")])
def test_an_argument_that_is_missing_is_named(args, missing):
    example = "`ddpm-abc export out/weights.safetensors digits.onnx`"
    assert refused("export", *args).endswith(f"error: {missing} is missing: give it as in {example}")


def test_unknown_command():
    known = "demo, train, sample, evaluate or export"
    assert refused("trian") == f"ddpm-abc: error: unknown command 'trian': use {known}"
    assert refused("--nonsense") == "ddpm-abc: error: unrecognized arguments: --nonsense"


def test_a_type_that_diffusers_would_not_get_is_refused():
    err = refused("export", "mnist", "folder", "--format", "diffusers", "--dtype", "float16")
    assert err.endswith("--dtype is of ONNX files, and the folder of diffusers keeps float32: leave it out")


def test_an_unusable_out_is_named(monkeypatch):
    import tempfile

    Path("file").touch()
    said = "error: file is a file, where a folder is to be: give another folder, or move the file away"
    for out in ("file", "file/out"):
        assert refused("train", *SMALL, "--out", out).endswith(said)
        assert refused("sample", *CPU, "--out", out).endswith(said)

    def denied(*args, **kwargs):
        raise PermissionError(13, "Permission denied", str(kwargs["dir"]))

    monkeypatch.setattr(tempfile, "TemporaryFile", denied)
    said = "error: cannot write to locked (Permission denied): give another folder or make it writable"
    assert refused("train", *SMALL, "--out", "locked").endswith(said)


def test_unreachable_data_names_the_remedy(monkeypatch):
    import torchvision.datasets.mnist

    def fail(*args, **kwargs):
        raise RuntimeError("no\nconnection")

    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", fail)
    err = refused("train", "--data", "mnist")
    for part in ("--data digits", "data/MNIST/raw", "no connection"):
        assert part in err


@pytest.mark.parametrize("where", ["ddpm_abc.run.opening.open_run", "ddpm_abc.cli.train._steps"])
def test_ctrl_c_elsewhere_says_so(where, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(where, interrupted)
    status, _, err = run("train", *SMALL)
    assert status == 130
    assert err.splitlines()[-1] == "stopped"
    assert ("No checkpoint was written yet" in err) == where.endswith("_steps")


# --- consoles -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_a_console_prints_what_it_can(encoding, monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    say("folder zdj\u0119cia \u732b \udcff")
    said = raw.getvalue().decode(encoding)
    assert said.startswith("folder zdj")
    assert said.endswith("\\udcff\n")


def test_no_console_at_all(monkeypatch):
    for stream in (None, io.StringIO()):
        if stream:
            stream.close()
        monkeypatch.setattr(sys, "stdout", stream)
        say("nobody reads this")
    with pytest.raises(OSError, match="no stream"):
        Stream(None).fileno()


def test_a_run_survives_odd_names_old_encodings_closed_pipes_and_a_hangup():
    "One training that meets all of them, in a process of its own: it is not failed, and SIGHUP saves it."
    name = "zdj\u0119cia $\\foo$ \u732b"
    gray_images(name)
    environment = {**ENVIRONMENT, "PYTHONIOENCODING": "ascii"}
    command = [*PROGRAM, "train", *SMALL, "--data", name, "--steps", "100000"]
    read, write = os.pipe()
    os.close(read)  # nobody reads what it prints
    with open("stderr", "w") as err:
        process = subprocess.Popen(command, env=environment, stdout=write, stderr=err)
    os.close(write)
    try:
        deadline = time.monotonic() + 120
        while not re.search(r" [1-9]\d*/100000 \[", Path("stderr").read_text()):
            assert process.poll() is None, Path("stderr").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGHUP)
        assert process.wait(60) == 129
    finally:
        process.kill()
        process.wait()
    said = Path("stderr").read_text()
    assert "Traceback" not in said
    last = (
        r"stopped after step ([\d,]+) of 100,000; go on with: ddpm-abc train --out out --resume --device cpu"
    )
    step = int(re.fullmatch(last, said.splitlines()[-1])[1].replace(",", ""))
    assert names() == [f"checkpoint-{step}.safetensors", "loss.csv", "loss.png", "weights.safetensors"]
    out = done("train", "--resume", "--steps", step + 2, *CPU)
    assert out.count("2 steps of 8 images") == 1
    assert max(losses()) == step + 2


def test_one_is_not_several():
    small = ["--channels", "16", "--batch-size", 1, "--T", 30, "--schedule", "cosine", *CPU]
    said = done("train", *small, "--steps", 1, "--preview", 1)
    said += done("train", "--resume", *CPU)
    said += done("sample", "--weights", "out/weights.safetensors", "--n", 1, "--steps", 1, *CPU)
    said += Path("out/report.html").read_text()
    assert not re.findall(r"\b1 (?:step|image|reverse step|thread)s\b(?!/)", said)
    for part in ("1 step of 1 image in", "a step of 1 image\n", "\n1 image in", "(1 reverse step", "1 step<"):
        assert part in said


def test_memory_that_is_full_is_no_traceback(monkeypatch):

    def full(*args, **kwargs):
        raise torch.cuda.OutOfMemoryError
        yield

    monkeypatch.setattr("ddpm_abc.run.run.train", full)
    err = refused("train", *SMALL, status=1)
    assert "full: give --accumulate 2 or more, a smaller --batch-size than 8, or smaller --channels" in err
