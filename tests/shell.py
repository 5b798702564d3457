"""What the tests of the command line share: commands run in this process, and tiny trainings."""

import contextlib
import csv
import io
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from ddpm_abc.cli import main

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
PROGRAM = [sys.executable, "-m", "ddpm_abc"]
CPU = ["--device", "cpu"]
SMALL = ["--channels", "16,32", "--batch-size", "8", "--T", "30", *CPU]


def check_claims(script, claims, timeout):
    "Run a script of benchmarks/ in its quick form, and find each claim, a pattern, in what it prints."
    done = subprocess.run(
        [sys.executable, "-W", "ignore", ROOT / "benchmarks" / script, "all", "--quick"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for claim in claims:
        assert re.search(rf"^{claim}", done.stdout, re.M), done.stdout


def without_bars(text):
    "Lines that are neither empty nor a progress bar."
    lines = re.split(r"[\r\n]+", text)
    return "\n".join(s for s in lines if s.strip() and not re.search(r"\d+/\d+ \[|\d+step \[", s))


def run(*args):
    "Exit status, standard output, and standard error less its progress bars."
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([str(a) for a in args])
    assert "Traceback" not in out.getvalue() + err.getvalue()
    return status, out.getvalue(), without_bars(err.getvalue())


def done(*args):
    "What a command says that ends well and has nothing to remark."
    status, out, err = run(*args)
    assert (status, err) == (0, "")
    return out


def trained(*args):
    "What `train` says of a tiny network."
    return done("train", *SMALL, *args)


def refused(*args, status=2):
    "The one line that a command says which refuses or fails."
    got, _, err = run(*args)
    assert got == status
    assert err.count("\n") == 0
    assert re.match(rf"ddpm-abc( {args[0]})?: error: ", err)
    return err


def names(folder="out"):
    "Of the files in a folder."
    return sorted(p.name for p in Path(folder).iterdir())


def losses(folder="out"):
    "The loss of each step on record."
    with open(f"{folder}/loss.csv", newline="") as f:
        rows = list(csv.reader(f))
    assert rows[0] == ["step", "loss"]
    return {int(step): float(loss) for step, loss in rows[1:]}


def pixels(path):
    "Of a picture in grey."
    with Image.open(path) as im:
        return np.asarray(im.convert("L"))


def gray_images(folder, n=9, size=28):
    "A folder of n grey squares, darker below."
    Path(folder).mkdir(parents=True, exist_ok=True)
    for k in range(n):
        image = Image.new("L", (size, size), 20 * k + 40)
        image.paste(20 * k, (0, size // 2, size, size))
        image.save(f"{folder}/{k}.png")


def interrupt_after(monkeypatch, steps, module="train"):
    "As Ctrl-C would, in the given step."

    @contextmanager
    def signals(once=False, reply=""):
        class Seen(list):
            asked = 0

            def __bool__(self):
                self.asked += 1
                return self.asked >= steps

        yield Seen([signal.SIGINT])

    monkeypatch.setattr(f"ddpm_abc.cli.{module}.noted_signals", signals)
