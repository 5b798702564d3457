"""The wheel, built as pip would build it, holds what it should, and works alone. test_notebooks.py runs the
notebooks on it."""

import email
import json
import shlex
import zipfile
from pathlib import Path

import pytest
from alone import call, setup_arguments, site_packages
from packaging.requirements import Requirement

from tools.house import modules
from tools.links import config, project_files

ROOT = Path(__file__).parent.parent


def check_import(environment, empty):
    "Modules and command line come from the wheel alone."
    script = f"""
import importlib, importlib.util, json
modules = [importlib.import_module("ddpm_abc." + name) for name in {list(modules())!r}]
there = [name for name in ("nbdev", "fastcore", "execnb", "pytest") if importlib.util.find_spec(name)]
print(json.dumps([there, {{m.__name__: m.__file__ for m in modules}}]))
"""
    there, homes = json.loads(call(environment / "bin/python", "-c", script, cwd=empty))
    assert there == []
    installed = site_packages(environment) / "ddpm_abc"
    assert homes == {
        f"ddpm_abc.{m}": str(installed / p.relative_to(ROOT / "ddpm_abc")) for m, p in modules().items()
    }
    assert "usage" in call(environment / "bin/ddpm-abc", "--help", cwd=empty).lower()


def test_wheel_holds_the_package_and_no_more(wheel):
    with zipfile.ZipFile(wheel) as z:
        names = set(z.namelist())
        info = next(n for n in names if n.endswith("/METADATA")).rpartition("/")[0]
        metadata = email.message_from_string(z.read(f"{info}/METADATA").decode())
        entry_points = z.read(f"{info}/entry_points.txt").decode()
    package = {p.relative_to(ROOT).as_posix() for p in project_files(ROOT / "ddpm_abc")}
    assert {n for n in names if not n.startswith(info)} == package
    assert {"ddpm_abc/py.typed", "ddpm_abc/assets/digits.npz"} <= package
    assert wheel.stat().st_size < 20_000_000
    assert f"{info}/licenses/LICENSE" in names

    cfg = config()
    assert metadata["Name"] == cfg["lib_name"]
    assert metadata["Version"] == cfg["version"]
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == f">={cfg['min_python']}"
    assert metadata.get_payload().strip() == setup_arguments()["long_description"].strip()
    needed = {r for r in metadata.get_all("Requires-Dist") if "extra ==" not in r}
    assert {str(Requirement(r)) for r in needed} == {
        str(Requirement(r)) for r in shlex.split(cfg["requirements"])
    }
    assert "ddpm-abc = ddpm_abc.cli:main" in entry_points


def test_wheel_alone_can_be_imported(linked, empty):
    check_import(linked, empty)


@pytest.mark.slow
def test_wheel_in_a_fresh_environment(fresh, empty):
    check_import(fresh, empty)
