"""What all tests share: fast mode, figures without a screen, a fresh state for each test, the wheel and its
kernels."""

import os
import random
import signal
import venv

if "PYTEST_XDIST_WORKER" in os.environ:  # one core a worker, and for the processes that its tests start
    os.environ["OMP_NUM_THREADS"] = "1"

import alone
import coverage
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from filelock import FileLock

os.environ["DDPM_ABC_FAST"] = "1"
matplotlib.use("agg")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    "`-n auto` means every core that this process may use, hyperthreads too."
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def pytest_collection_modifyitems(items):
    "What takes longest begins first, so that no worker is left alone with it at the end."
    long = ("test_runs_against_the_module[", "test_what_is_killed")
    items.sort(key=lambda item: not item.name.startswith(long))


@pytest.fixture(autouse=True)
def fresh_state():
    """Each test starts from the same seeds, and leaves no figure, style, precision or thread count to the
    next. A hangup ends what it starts, even where the tests themselves are to survive one, under `nohup`.
    """
    hangup = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (some library may still draw from it)
    torch.manual_seed(0)
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    deterministic = torch.are_deterministic_algorithms_enabled()
    with matplotlib.rc_context():
        yield
    plt.close("all")
    torch.set_num_threads(threads)
    torch.set_default_dtype(dtype)
    if torch.are_deterministic_algorithms_enabled() != deterministic:  # the call imports torch's compiler
        torch.use_deterministic_algorithms(deterministic)
    torch.set_grad_enabled(True)
    signal.signal(signal.SIGHUP, hangup)


# --- the wheel, alone; see alone.py ---


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """once(name, fill): a folder that `fill(folder)` has filled, by whichever worker came first, for all
    workers."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent

    def made(name, fill):
        folder, done = base / name, base / f"{name}.done"
        with FileLock(base / f"{name}.lock"):
            if not done.exists():
                folder.mkdir()
                fill(folder)
                done.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def wheel(once):
    "The wheel, built once in a session."
    (found,) = once("dist", alone.build_wheel).glob("*.whl")
    return found


@pytest.fixture(scope="session")
def linked(wheel, once):
    "An environment in which the wheel is installed, and its requirements are linked from this one."
    measuring = ["coverage"] if coverage.Coverage.current() else []
    return once("linked", lambda folder: alone.link_environment(folder, wheel, *measuring))


@pytest.fixture(scope="session")
def fresh(wheel, once):
    "An environment that pip alone has filled: gigabytes, from the network. For slow tests."

    def fill(folder):
        venv.create(folder, with_pip=True, symlinks=True)
        alone.call(folder / "bin/python", "-m", "pip", "install", f"{wheel}[export]", "ipykernel")

    return once("fresh", fill)


@pytest.fixture
def empty(tmp_path, monkeypatch):
    "An empty folder, and an environment that leads to nothing of this one."
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("PYTHONNOUSERSITE", "1")
    monkeypatch.setenv("DDPM_ABC_FAST", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    if measuring := coverage.Coverage.current():
        monkeypatch.setenv("COVERAGE_FILE_OF_KERNELS", os.path.abspath(measuring.config.data_file))
        monkeypatch.setenv("COVERAGE_RCFILE", str(alone.ROOT / "pyproject.toml"))
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def forked_kernel(linked):
    "A kernel of that environment, which starts at once."
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"PYTHONNOUSERSITE": "1"}
    forks = alone.Forks(linked / "bin/python", environment)
    yield forks.command
    forks.close()
