"""The wheel, built as pip would build it, holds what it should and works alone, as in Colab.

The default test simulates an empty environment rather than filling one, since torch alone takes minutes and gigabytes:
a new virtual environment gets links to the installed files of the wheel's declared requirements, of those they require
in turn, and of ipykernel, which Colab has; of nothing else. So what the wheel does not declare is not there: no nbdev,
no fastcore, no source tree. What this cannot show is that pip finds and installs those requirements itself:
`pytest -m slow` does the same in an environment that pip alone has filled.
"""

import email
import json
import re
import shlex
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from packaging.requirements import Requirement

from tools.execute import beyond_progress
from tools.links import config, project_files

ROOT = Path(__file__).parent.parent
MODULES = sorted(p.stem for p in (ROOT / "ddpm_abc").glob("*.py") if not p.stem.startswith("_"))
NOTEBOOKS = sorted((ROOT / "nbs").glob("*.ipynb"))


def call(*command, **kwargs):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=1800, **kwargs)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    "Built in isolation from a copy that no earlier build has touched: first the source distribution, the wheel from that."
    source, dist = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for path in project_files(ROOT):
        copy = source / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    call(sys.executable, "-m", "build", "--outdir", dist, source)
    (found,) = dist.glob("*.whl")
    return found


def closure(*names):
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


def site_packages(environment):
    return next((environment / "lib").glob("python*/site-packages"))


@pytest.fixture(scope="module")
def linked(wheel, tmp_path_factory):
    "An environment in which the wheel is installed, and its requirements are linked from this one."
    environment = tmp_path_factory.mktemp("linked") / "env"
    venv.create(environment, with_pip=False, symlinks=True)
    with zipfile.ZipFile(wheel) as z:
        (metadata,) = (n for n in z.namelist() if n.endswith(".dist-info/METADATA"))
        requires = email.message_from_bytes(z.read(metadata)).get_all("Requires-Dist")
    target = site_packages(environment)
    for dist in closure(*(r for r in requires if "extra ==" not in r), "ipykernel"):
        tops = {file.parts[0] for file in dist.files}
        for top in tops - {"..", "__pycache__"}:
            origin = Path(dist.locate_file(top))
            if not top.endswith(".pth") and not (target / top).exists():
                (target / top).symlink_to(origin, target_is_directory=origin.is_dir())
    call(sys.executable, "-m", "pip", "--python", environment / "bin/python", "install", "--no-index", wheel)
    return environment


@pytest.fixture
def empty(tmp_path, monkeypatch):
    "An empty folder, and an environment that leads to nothing of this one."
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("PYTHONNOUSERSITE", "1")
    monkeypatch.setenv("DDPM_ABC_FAST", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def check_import(environment, empty):
    "Modules and command line come from the wheel alone."
    script = f"""
import importlib, importlib.util, json
modules = [importlib.import_module("ddpm_abc." + name) for name in {MODULES!r}]
there = [name for name in ("nbdev", "fastcore", "execnb", "pytest") if importlib.util.find_spec(name)]
print(json.dumps([there, sorted({{m.__file__.rpartition("/")[0] for m in modules}})]))
"""
    there, homes = json.loads(call(environment / "bin/python", "-c", script, cwd=empty))
    assert there == []
    assert homes == [str(site_packages(environment) / "ddpm_abc")]
    assert "usage" in call(environment / "bin/ddpm-abc", "--help", cwd=empty).lower()


def pictures(nb):
    return sum("image/png" in o.get("data", {}) for c in nb.cells for o in c.get("outputs", []))


def check_notebook(environment, path, empty):
    "A notebook runs whole in the empty folder, as in Colab, draws as many pictures as are committed, and leaves nothing there."
    spec = empty.parent / "kernels/alone"
    spec.mkdir(parents=True)
    argv = [str(environment / "bin/python"), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(
        json.dumps({"argv": argv, "display_name": "alone", "language": "python"})
    )
    nb = nbformat.read(path, 4)
    committed = pictures(nb)
    nb.cells.append(nbformat.v4.new_code_cell("import ddpm_abc; print(ddpm_abc.__file__)"))
    NotebookClient(
        nb,
        timeout=600,
        kernel_name="alone",
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(empty)}},
    ).execute()
    assert nb.cells[-1].outputs[0].text.strip() == str(site_packages(environment) / "ddpm_abc/__init__.py")
    for cell in nb.cells:
        stderr = "".join(o.text for o in cell.get("outputs", []) if o.get("name") == "stderr")
        assert beyond_progress(stderr) == "", cell.source
    assert pictures(nb) == committed > 0
    assert list(empty.iterdir()) == []


def test_wheel_holds_the_package_and_no_more(wheel):
    with zipfile.ZipFile(wheel) as z:
        names = set(z.namelist())
        info = next(n for n in names if n.endswith("/METADATA")).rpartition("/")[0]
        metadata = email.message_from_bytes(z.read(f"{info}/METADATA"))
        entry_points = z.read(f"{info}/entry_points.txt").decode()
    package = {p.relative_to(ROOT).as_posix() for p in project_files(ROOT / "ddpm_abc")}
    assert {n for n in names if not n.startswith(info)} == package
    assert {"ddpm_abc/py.typed", "ddpm_abc/assets/digits.npz"} <= package
    assert f"{info}/licenses/LICENSE" in names

    cfg = config()
    assert metadata["Name"] == cfg["lib_name"]
    assert metadata["Version"] == cfg["version"]
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == f">={cfg['min_python']}"
    assert metadata.get_payload().strip() == (ROOT / "README.md").read_text(encoding="utf-8").strip()
    needed = {r for r in metadata.get_all("Requires-Dist") if "extra ==" not in r}
    assert {str(Requirement(r)) for r in needed} == {
        str(Requirement(r)) for r in shlex.split(cfg["requirements"])
    }
    assert "ddpm-abc = ddpm_abc.cli:main" in entry_points


def test_wheel_alone_can_be_imported(linked, empty):
    check_import(linked, empty)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_wheel_alone_runs_every_notebook(path, linked, empty):
    check_notebook(linked, path, empty)


@pytest.mark.slow
def test_wheel_in_a_fresh_environment(wheel, tmp_path, empty):
    environment = tmp_path / "env"
    venv.create(environment, with_pip=True, symlinks=True)
    call(environment / "bin/python", "-m", "pip", "install", wheel, "ipykernel")
    check_import(environment, empty)
    check_notebook(environment, ROOT / "nbs/05_sampling.ipynb", empty)
