"""The project keeps its own rules: what is generated is in sync, imports point one way, and everything public is documented."""

import ast
import filecmp
import importlib
import inspect
import json
import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import is_dataclass
from pathlib import Path

import nbformat
import pytest
from fastcore.docments import docments

import ddpm_abc
from tools import links, readme

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "ddpm_abc"
MODULES = sorted(p.stem for p in PACKAGE.glob("*.py") if not p.stem.startswith("_"))

# Which of the project's modules each may import. A new module takes its place here.
MAY_IMPORT = {
    "gaussian": set(),
    "schedule": set(),
    "unet": set(),
    "data": set(),
    "plot": set(),
    "forward": {"gaussian", "schedule"},
    "training": {"gaussian", "schedule", "forward"},
    "sampling": {"gaussian", "schedule", "forward"},
    "paper_unet": {"unet"},
    "evaluation": set(),
    "prediction": {"gaussian", "schedule", "forward", "unet"},
    "guidance": {"gaussian", "schedule", "forward", "unet"},
    "checkpoint": {"gaussian", "schedule", "forward", "unet", "prediction"},
    "cli": {
        "gaussian",
        "schedule",
        "forward",
        "training",
        "sampling",
        "unet",
        "data",
        "plot",
        "prediction",
        "guidance",
        "checkpoint",
        "evaluation",
    },
}

every_module = pytest.mark.parametrize("module", MODULES)


def files():
    "The files that git holds or would take; where there is no git, those that look so."
    found = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if found.returncode:
        return list(links.project_files())
    return [ROOT / name for name in found.stdout.split("\0") if name and (ROOT / name).is_file()]


def texts():
    for path in files():
        try:
            yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


# --- what is generated -----------------------------------------------------------------------------------------------


@pytest.fixture
def copy(tmp_path, monkeypatch):
    "A copy of what nbdev and the tools read and write."
    for name in ("nbs", "ddpm_abc", "tools"):
        shutil.copytree(
            ROOT / name,
            tmp_path / name,
            ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", ".last_checked"),
        )
    for name in ("settings.ini", "setup.py", "README.md", "CONTRIBUTING.md"):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.delenv("IN_TEST", raising=False)  # nbdev_export does nothing where it is set
    return tmp_path


def nbdev(command, folder):
    subprocess.run(
        [Path(sysconfig.get_path("scripts")) / command],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=120,
    )


def same_files(a, b, pattern):
    names = {
        p.relative_to(root) for root in (a, b) for p in root.glob(pattern) if "__pycache__" not in p.parts
    }
    return {
        str(n): (a / n).exists() and (b / n).exists() and filecmp.cmp(a / n, b / n, shallow=False)
        for n in names
    }


def test_modules_are_what_the_notebooks_export(copy):
    "No module is edited by hand, none lacks its notebook, and none is behind it."
    for path in (copy / "ddpm_abc").glob("*.py"):
        path.unlink()
    nbdev("nbdev_export", copy)
    same = same_files(PACKAGE, copy / "ddpm_abc", "*.py")
    assert all(same.values()), f"run nbdev_export: {[name for name, ok in same.items() if not ok]}"


def test_notebooks_are_clean(copy):
    nbdev("nbdev_clean", copy)
    same = same_files(ROOT / "nbs", copy / "nbs", "*.ipynb")
    assert all(same.values()), f"run nbdev_clean: {[name for name, ok in same.items() if not ok]}"


def test_readme_is_the_index_notebook():
    done = subprocess.run(
        [sys.executable, ROOT / "tools/readme.py", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_readme_renders_each_kind_of_cell():
    code = nbformat.v4.new_code_cell
    shown = code(
        "#| fig-alt: a digit\nx",
        outputs=[nbformat.v4.new_output("display_data", {"image/png": "iVBORw0K", "text/plain": "<Figure>"})],
    )
    nb = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell(
                "# Title\n\n[math](00_math.ipynb), [how](../CONTRIBUTING.md), [paper](https://arxiv.org/abs/2006.11239), [here](#title)"
            ),
            code("#| hide\nsecret"),
            code("#| default_exp secret"),
            shown,
            code(
                "#| echo: false\nsecret",
                outputs=[nbformat.v4.new_output("stream", name="stdout", text="printed\n")],
            ),
            code("#| code-fold: true\nfolded"),
        ]
    )
    text, pictures = readme.render(nb)
    assert text == (
        "# Title\n\n[math](nbs/00_math.ipynb), [how](CONTRIBUTING.md), [paper](https://arxiv.org/abs/2006.11239), [here](#title)\n\n"
        f"{readme.NOTE}\n\n"
        "```python\nx\n```\n\n![a digit](index_files/figure-1.png)\n\n"
        "```text\nprinted\n```\n\n"
        "<details>\n<summary>Code</summary>\n\n```python\nfolded\n```\n\n</details>\n"
    )
    assert pictures == {"index_files/figure-1.png": b"\x89PNG\r\n"}


# --- one place for each fact -----------------------------------------------------------------------------------------


def test_version_is_that_of_settings():
    assert ddpm_abc.__version__ == links.config()["version"]


def test_links_name_the_user_and_repo_of_settings():
    want, every = links.settings(), dict(texts())
    names = links.names_in(every.values())
    wrong = {name: found for name, text in every.items() if (found := links.rewrite(text, names, want)[1])}
    assert not wrong, f"run `make links`: {wrong}"
    assert any(
        f"github.com/{want['user']}/{want['repo']}" in text
        for name, text in every.items()
        if name.endswith(".ipynb")
    )


def test_links_follow_a_change_of_settings(copy):
    "In a fork: one edit of settings.ini, one command, and no link names the old home."
    old, new = links.settings(), {"user": "someone-else", "repo": "ddpm_fork", "branch": "trunk"}
    ini = (copy / "settings.ini").read_text()
    for key in new:
        ini = re.sub(rf"^{key} *=.*$", f"{key} = {new[key]}", ini, flags=re.M)
    (copy / "settings.ini").write_text(ini)
    tool = [sys.executable, copy / "tools/links.py"]
    assert subprocess.run([*tool, "--check"], capture_output=True).returncode == 1
    subprocess.run(tool, check=True, capture_output=True)
    assert subprocess.run([*tool, "--check"], capture_output=True).returncode == 0
    for path in [*(copy / "nbs").glob("*.ipynb"), *copy.glob("*.md")]:
        assert f"{old['user']}/{old['repo']}" not in path.read_text(encoding="utf-8"), path.name
        if path.suffix == ".ipynb":
            nbformat.validate(nbformat.read(path, 4))


# --- imports ---------------------------------------------------------------------------------------------------------


def imports(module):
    "Every import in a module, wherever it stands: (the project's own, top-level names of others)."
    own, others = set(), set()
    for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = f"ddpm_abc.{node.module or ''}".rstrip(".") if node.level else node.module
            names = [f"{base}.{alias.name}" for alias in node.names] if base == "ddpm_abc" else [base]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] != "ddpm_abc":
                others.add(parts[0])
            elif len(parts) > 1 and not parts[1].startswith("_"):
                own.add(parts[1])
    return own, others


@every_module
def test_imports_point_one_way(module):
    own, others = imports(module)
    assert module in MAY_IMPORT, f"give {module} its place in MAY_IMPORT"
    assert own <= MAY_IMPORT[module], f"{module} may not import {own - MAY_IMPORT[module]}"
    assert "matplotlib" not in others or module == "plot"
    assert not others & {"nbdev", "fastcore", "execnb", "IPython"}


def test_import_is_light():
    "A program that imports the library pays for torch, and for no tool of the notebooks or of drawing."
    heavy = {"nbdev", "fastcore", "execnb", "IPython", "ipykernel", "matplotlib", "torchvision"}
    script = f"""
import importlib, json, sys
sys.path.insert(0, {str(ROOT)!r})
found = {{}}
for name in ["ddpm_abc", *("ddpm_abc." + m for m in {[m for m in MODULES if m not in ("plot", "cli")]!r})]:
    importlib.import_module(name)
    found[name] = sorted({heavy!r} & sys.modules.keys())
print(json.dumps(found))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert len(found) > 5
    assert {name: names for name, names in found.items() if names} == {}


# --- documentation ---------------------------------------------------------------------------------------------------


def definitions(module):
    """(name, syntax node, object) of each public function, class and method that a module defines.

    `__init__` counts. `forward` does not: its class's docstring says what a network does.
    """
    m = importlib.import_module(f"ddpm_abc.{module}")
    for node in ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            yield node.name, node, getattr(m, node.name)
            for n in node.body if isinstance(node, ast.ClassDef) else []:
                if (
                    isinstance(n, ast.FunctionDef)
                    and (n.name == "__init__" or not n.name.startswith("_"))
                    and n.name != "forward"
                ):
                    found = inspect.getattr_static(getattr(m, node.name), n.name)
                    yield (
                        f"{node.name}.{n.name}",
                        n,
                        getattr(found, "__func__", getattr(found, "fget", None)) or found,
                    )


@every_module
def test_public_names_have_docstrings(module):
    "Written ones: a dataclass or a named tuple without one makes up its own."
    source = (PACKAGE / f"{module}.py").read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(source)), (
        f"{module} has no docstring: the `> quote` under its notebook's title becomes it"
    )
    lacking = [
        name
        for name, node, _ in definitions(module)
        if not name.endswith(".__init__") and not ast.get_docstring(node)
    ]
    assert not lacking


@every_module
def test_parameters_are_annotated_and_explained(module):
    "Each parameter has its type and, on its own line, a comment that says what it is; so has what a function returns."
    lacking = []
    for name, node, obj in definitions(module):
        if isinstance(node, ast.ClassDef) and not is_dataclass(obj):
            continue  # its __init__ follows by itself
        plain_function = isinstance(node, ast.FunctionDef) and "." not in name
        for param, doc in docments(
            inspect.unwrap(obj), full=True, args_kwargs=True, returns=plain_function
        ).items():
            if param == "self" or (param == "return" and doc.anno in (None, "None")):
                continue
            lacking += [f"{name}({param}): no annotation"] * (
                doc.anno is inspect.Parameter.empty and param not in ("args", "kwargs")
            )
            lacking += [f"{name}({param}): no comment"] * (not doc.docment)
    assert not lacking, "\n" + "\n".join(lacking)


# --- the repository --------------------------------------------------------------------------------------------------


def test_no_file_is_large():
    large = {p.name: p.stat().st_size for p in files() if p.stat().st_size > 2_500_000}
    assert not large


def test_no_path_of_one_machine():
    needles = ["/" + name + "/" for name in ("work", "root", "tmp/w", "opt/wheels")]
    found = [
        f"{name}: {needle}"
        for name, text in texts()
        for needle in needles
        if re.search(rf"(?<![\w.:/-]){re.escape(needle)}", text)
    ]
    assert not found


def test_no_file_is_unpickled():
    "A checkpoint from a stranger must not be able to run code."
    load, pickle = "torch." + "load(", "pickle." + "load"
    for name, text in texts():
        calls = re.findall(re.escape(load) + r"[^\n]*", text)
        assert all("weights_only=True" in call for call in calls), f"{name}: {calls}"
        assert pickle not in text, name
        assert "allow_" + "pickle=True" not in text, name
