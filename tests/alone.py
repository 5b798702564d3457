"""The wheel, an environment that holds it and nothing undeclared, and notebooks that run there.

An empty environment is simulated rather than filled, since torch alone takes minutes and gigabytes: a new
virtual environment gets links to the installed files of the wheel's declared requirements, of those they
require in turn, and of ipykernel, which Colab has; of nothing else. So what the wheel does not declare is not
there: no nbdev, no fastcore, no source tree. What this cannot show is that pip finds and installs those
requirements itself: `pytest -m slow` runs the same notebooks in an environment that pip alone has filled.
"""

import ast
import email
import json
import os
import re
import runpy
import subprocess
import symtable
import sys
import tempfile
import venv
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
import setuptools
from packaging.requirements import Requirement

from tools.links import project_files

ROOT = Path(__file__).parent.parent
FORKS = Path(__file__).with_name("forks.py")


def call(*command, **kwargs) -> str:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=1800, **kwargs)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


# --- the wheel and its environment ---


def build_wheel(folder: Path) -> None:
    """Into `folder`, in isolation, from a copy that no earlier build has touched: the source distribution,
    then the wheel."""
    for path in project_files(ROOT):
        copy = folder / "source" / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    call(sys.executable, "-m", "build", "--outdir", folder, folder / "source")


def setup_arguments() -> dict:
    "What setup.py says of the package, without building it."
    with pytest.MonkeyPatch.context() as patch:
        said: dict = {}
        patch.setattr(setuptools, "setup", lambda **arguments: said.update(arguments))
        runpy.run_path(str(ROOT / "setup.py"))
    return said


def closure(*names: str):
    "The installed distributions that these requirements bring, each with all that it requires in turn."
    found, queue = {}, [Requirement(name) for name in names]
    while queue:
        wanted = queue.pop()
        key = re.sub(r"[-_.]+", "-", wanted.name).lower(), frozenset(wanted.extras)
        if key in found:
            continue
        found[key] = dist = distribution(wanted.name)
        for line in dist.requires or []:
            needed = Requirement(line)
            if needed.marker is None or any(
                needed.marker.evaluate({"extra": extra}) for extra in ("", *wanted.extras)
            ):
                queue.append(needed)
    return found.values()


def wanted(requirement: str) -> bool:
    "Whether the wheel itself needs it, or appendix 97, which installs the extra `export`."
    return "extra ==" not in requirement or bool(re.search(r"extra == .export.", requirement))


def site_packages(environment: Path) -> Path:
    return next((environment / "lib").glob("python*/site-packages"))


def link_environment(environment: Path, wheel: Path, *more: str) -> None:
    "Make an environment in which the wheel is installed, and its requirements are linked from this one."
    venv.create(environment, with_pip=False, symlinks=True)
    with zipfile.ZipFile(wheel) as z:
        (metadata,) = (n for n in z.namelist() if n.endswith(".dist-info/METADATA"))
        requires = email.message_from_bytes(z.read(metadata)).get_all("Requires-Dist")
    target = site_packages(environment)
    for dist in closure(*filter(wanted, requires), "ipykernel", *more):
        tops = {file.parts[0] for file in dist.files}
        for top in tops - {"..", "__pycache__"}:
            origin = Path(dist.locate_file(top))
            if not top.endswith(".pth") and not (target / top).exists():
                (target / top).symlink_to(origin, target_is_directory=origin.is_dir())
    pip = [sys.executable, "-m", "pip", "--python", environment / "bin/python", "install"]
    call(*pip, "--no-index", "--no-deps", wheel)


# --- kernels ---


class Forks:
    """An environment's kernels, each a fork of one process that has imported torch and matplotlib; see
    forks.py."""

    def __init__(self, python: Path, environment: dict[str, str]):
        self.folder = tempfile.TemporaryDirectory(prefix="forks-")  # a socket's path must be short
        self.address = f"{self.folder.name}/socket"
        self.command = [str(python), "-E", "-S", str(FORKS), self.address, "-f", "{connection_file}"]
        self.server = subprocess.Popen(
            [str(python), str(FORKS), self.address],
            env=environment, cwd=self.folder.name, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self.server.stdout.readline() == "ready\n", "no kernels: the imports failed"

    def close(self) -> None:
        self.server.stdin.close()
        self.server.wait(30)
        self.server.stdout.close()
        self.folder.cleanup()


def plain_kernel(python: Path) -> list[str]:
    "A kernel of an environment as Jupyter starts it."
    return [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]


# --- notebooks ---


def directives(cell) -> dict[str, str]:
    "The `#| key: value` and `#| key value` lines of a code cell."
    if cell.cell_type != "code":
        return {}
    return {m[1]: m[2].strip() for m in re.finditer(r"^#\|\s*([\w-]+):?(.*)$", cell.source, re.M)}


def is_exported(cell) -> bool:
    return bool(directives(cell).keys() & {"export", "exporti", "exports"})


def defined(source: str, name: str) -> list[str]:
    "The names that a cell binds, but for what stands under `if TYPE_CHECKING:`, which no run reaches."
    tree = ast.parse(source)
    tree.body = [
        n for n in tree.body if not (isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
    ]
    table = symtable.symtable(ast.unparse(tree), name, "exec")
    return [s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()]


def from_module(cell, module: str, name: str) -> str:
    "An exported cell that, once it has run, gives way to the module: what it defines is taken from there."
    names = defined(cell.source, name)
    return (
        f"{cell.source}\n"
        "def _taken(module, names):\n"
        "    import importlib\n"
        "    module = importlib.import_module(module)\n"
        "    lacks = [name for name in names if not hasattr(module, name)]\n"
        "    assert not lacks, f'{module.__name__} lacks {lacks}, which this notebook exports: run "
        "nbdev_export'\n"
        "    return {name: getattr(module, name) for name in names}\n"
        f"globals().update(_taken('ddpm_abc.{module}', {names!r}))\n"
        "del _taken"
    )


def pictures(nb) -> int:
    return sum("image/png" in o.get("data", {}) for c in nb.cells for o in c.get("outputs", []))


def run_notebook(path: Path, kernel: list[str], folder: Path, as_written: bool = False):
    """Run a notebook whole, in a new kernel and the empty `folder`; return it with the outputs of this run.

    What its exported cells define gives way to what the installed module has, so the rest of the notebook
    tests the library, and shows that the export is complete; or all cells run `as_written`. An error, a
    warning or any other line on stderr, and a file left behind, fail it.
    """
    import nbformat  # with the next two, seconds that the tests of a module do without
    from nbclient import NotebookClient

    from tools.execute import beyond_progress

    nb = nbformat.read(path, 4)
    module = next((d["default_exp"] for c in nb.cells if "default_exp" in (d := directives(c))), "")
    for cell in nb.cells:
        if is_exported(cell) and not as_written:
            cell.source = from_module(cell, module, path.name)
    specs = Path(os.environ["JUPYTER_PATH"]) / "kernels/alone"
    specs.mkdir(parents=True, exist_ok=True)
    spec = {"argv": kernel, "display_name": "alone", "language": "python"}
    (specs / "kernel.json").write_text(json.dumps(spec))
    NotebookClient(
        nb, timeout=600, kernel_name="alone",
        extra_arguments=["--log-level=ERROR"], resources={"metadata": {"path": str(folder)}},
    ).execute()  # fmt: skip
    for number, cell in enumerate(nb.cells):
        stderr = "".join(o.text for o in cell.get("outputs", []) if o.get("name") == "stderr")
        said = beyond_progress(stderr)
        assert said == "", f"{path.name}, cell {number}:\n{cell.source}\n---\n{said}"
    left = sorted(p.name for p in folder.iterdir())
    assert not left, f"{path.name} left files behind: {left}"
    return nb
