"""The project keeps its own rules: what is generated is in sync, imports point one way, and everything public
is documented."""

import ast
import csv
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

import click
import nbformat
import pytest
from fastcore.docments import docments

import ddpm_abc
from benchmarks import board_page
from tools import house, links, readme

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "ddpm_abc"
MODULES = list(house.modules())  # "schedule", "data", "data.images"

# Which rooms each room may import, sub-packages being one room each. A new room takes its place here.
THEORY = {"gaussian", "schedule", "forward", "parameterization"}
PROCESSES = {"training", "sampling", "guidance", "solvers", "likelihood", "editing"}
NETWORKS = {"unet", "paper_unet"}
MAY_IMPORT = {
    "gaussian": set(),
    "schedule": set(),
    "unet": set(),
    "paper_unet": {"unet"},
    "data": set(),
    "plot": set(),
    "forward": {"gaussian", "schedule"},
    "parameterization": {"gaussian", "schedule", "forward"},
    **dict.fromkeys(PROCESSES, THEORY),
    **dict.fromkeys(("solvers", "likelihood", "editing"), {*THEORY, "sampling"}),
    "averaging": {"parameterization", "training", "storage"},
    "device": set(),
    "muon": set(),
    "classifier": set(),
    "inception": {"data"},
    "metrics": {"classifier"},
    "storage": {"schedule", "parameterization", *NETWORKS},
    "export": {"schedule", "parameterization", "sampling", *NETWORKS, "storage"},
    "distributed": set(),
    "run": {*THEORY, *PROCESSES, *NETWORKS, "data", "device", "distributed", "plot", "storage"},
    "cli": {*THEORY, *PROCESSES, *NETWORKS, "data", "device", "distributed", "plot", "storage"},
}
MAY_IMPORT["run"] |= {"classifier", "metrics", "muon"}
MAY_IMPORT["cli"] |= {"classifier", "inception", "metrics", "run", "export"}

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


# --- what is generated --------------------------------------------------------------------------------------


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


def same_files(a, b, suffix):
    found = {p.relative_to(root) for root in (a, b) for p in root.rglob(f"*{suffix}")}
    names = {n for n in found if "__pycache__" not in n.parts and ".ipynb_checkpoints" not in n.parts}
    return {
        str(n): (a / n).exists() and (b / n).exists() and filecmp.cmp(a / n, b / n, shallow=False)
        for n in names
    }


def test_only_the_skin_is_plain_python():
    """All that anybody learns from is exported from a notebook; `__init__`, `__main__` and the command line
    are not."""
    plain = [p.relative_to(PACKAGE) for p in PACKAGE.rglob("*.py") if not house.is_exported(p)]
    assert [str(p) for p in plain if p.parts[0] != "cli" and p.stem not in ("__init__", "__main__")] == []


def test_modules_are_what_the_notebooks_export(copy):
    "No module is edited by hand, none lacks its notebook, and none is behind it."
    exported = [path for path in (copy / "ddpm_abc").rglob("*.py") if house.is_exported(path)]
    assert len(exported) > 10
    for path in exported:
        path.unlink()
    nbdev("nbdev_export", copy)
    same = same_files(PACKAGE, copy / "ddpm_abc", ".py")
    assert all(same.values()), f"run nbdev_export: {[name for name, ok in same.items() if not ok]}"


def test_notebooks_are_clean(copy):
    nbdev("nbdev_clean", copy)
    same = same_files(ROOT / "nbs", copy / "nbs", ".ipynb")
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
                "# Title\n\n[math](00_math.ipynb), [how](../CONTRIBUTING.md), "
                "[paper](https://arxiv.org/abs/2006.11239), [here](#title)"
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
        "# Title\n\n[math](nbs/00_math.ipynb), [how](CONTRIBUTING.md), "
        "[paper](https://arxiv.org/abs/2006.11239), [here](#title)\n\n"
        f"{readme.NOTE}\n\n"
        "```python\nx\n```\n\n![a digit](index_files/figure-1.png)\n\n"
        "```text\nprinted\n```\n\n"
        "<details>\n<summary>Code</summary>\n\n```python\nfolded\n```\n\n</details>\n"
    )
    assert pictures == {"index_files/figure-1.png": b"\x89PNG\r\n"}


# --- one place for each fact --------------------------------------------------------------------------------


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


# --- the house ---


@every_module
def test_imports_point_one_way(module):
    "Wherever in a file they stand."
    own, others = house.imports(module)
    room = house.room(module)
    used = {house.room(other) for other in own if not other.startswith("_")} - {room}
    assert room in MAY_IMPORT, f"give {room} its place in MAY_IMPORT"
    assert used <= MAY_IMPORT[room], f"{module} may not import {used - MAY_IMPORT[room]}"
    assert "matplotlib" not in others or room == "plot"
    assert not others & {"nbdev", "fastcore", "execnb", "IPython"}


def test_rooms_are_where_the_table_says():
    "No line of the table allows a circle, and none speaks of a room that is gone."
    assert not house.cycle(MAY_IMPORT)
    rooms = set(house.rooms())
    assert rooms == set(MAY_IMPORT), f"not both in the table and there: {rooms ^ set(MAY_IMPORT)}"


def test_no_module_imports_itself():
    "Not through any other, sub-packages and their `__init__` included."
    assert not (found := house.cycle(house.graph())), " -> ".join(found)


def test_imports_are_found_wherever_they_stand(tmp_path):
    files = {
        "__init__.py": "",
        "a.py": "import os.path\nfrom ddpm_abc.b.c import f",
        "b/__init__.py": "from .c import f\nfrom ddpm_abc.b import d",
        "b/c.py": "def f():\n    from .. import e\n    from ..a import g\n    import ddpm_abc.e as e",
        "b/d.py": "from . import c\nfrom torch import nn",
        "e.py": "if False:\n    import ddpm_abc",
    }
    for name, source in files.items():
        path = tmp_path / "ddpm_abc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    assert list(house.modules(tmp_path)) == ["a", "b", "b.c", "b.d", "e"]
    assert house.graph(tmp_path) == {
        "": set(), "a": {"b", "b.c"}, "b": {"b.c", "b.d"}, "b.c": {"a", "e"}, "b.d": {"b.c"}, "e": set(),
    }  # fmt: skip
    assert house.imports("b.d", tmp_path)[1] == {"torch"}
    assert house.rooms(tmp_path) == {"a": {"b"}, "b": {"a", "e"}, "e": set()}
    assert house.cycle(house.graph(tmp_path)) == ["a", "b", "b.c", "a"]


def test_the_picture_of_the_house_is_that_of_the_imports():
    assert (ROOT / house.PICTURE).read_text(encoding="utf-8") == house.picture(house.rooms()), (
        "run python tools/house.py"
    )
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert f"]({house.PICTURE})" in text
    unnamed = [room for room in house.rooms() if f"`{room}`" not in text and f"`{room}/`" not in text]
    assert not unnamed, f"CONTRIBUTING.md does not say what goes to {unnamed}"


def test_the_board_is_that_of_its_rows():
    with (ROOT / "benchmarks" / "results" / "board.csv").open(newline="") as f:
        page = board_page.page(list(csv.DictReader(f)))
    assert (ROOT / "benchmarks" / "board.md").read_text(encoding="utf-8") == page, (
        "run python benchmarks/board.py --table"
    )


def imported(*names, run=""):
    "The modules that a new interpreter holds once it has imported these."
    script = f"""
import importlib, json, sys
sys.path.insert(0, {str(ROOT)!r})
for name in {names!r}:
    importlib.import_module(name)
{run}
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_import_is_light():
    "A program that imports the library pays for torch, and for no tool of the notebooks or of drawing."
    heavy = {"nbdev", "fastcore", "execnb", "IPython", "ipykernel", "matplotlib", "torchvision"}
    light = [f"ddpm_abc.{m}" for m in MODULES if house.room(m) not in ("plot", "run", "cli")]
    assert len(light) > 5
    if loaded := heavy & imported("ddpm_abc", *light):
        guilty = [name for name in light if loaded & imported(name)]
        pytest.fail(f"{guilty} import {loaded}")


LIGHT = ["ddpm_abc", *(f"ddpm_abc.{m}" for m in ("run", "run.config", "cli", "cli.main") if m in MODULES)]


@pytest.mark.parametrize("name", LIGHT)
def test_import_needs_no_torch(name):
    "`ddpm-abc --help` answers at once."
    slow = {"torch", "numpy", "matplotlib", "PIL", "tqdm", "safetensors"}
    loaded = slow & imported(name)
    assert not loaded, f"importing {name} loads {loaded}"


def test_help_needs_no_torch():
    loaded = imported(
        "ddpm_abc.cli",
        run="""
from ddpm_abc.cli import main
for words in (["--help"], ["train", "--help"]):
    try:
        main(words)
    except SystemExit as e:
        assert not e.code, e.code""",
    )
    assert "torch" not in loaded, "ddpm-abc --help imports torch"


def test_a_drawing_pays_for_no_compiler_and_no_plots():
    "To import each of them takes half a second to two, and no image needs one."
    loaded = imported(
        "ddpm_abc.run.pictures",
        run="from ddpm_abc.storage import pretrained\nassert pretrained('mnist-labels').denoise.net",
    )
    assert not loaded & {"torch._dynamo", "sympy", "matplotlib"}


# --- sizes ---


def package_files():
    return {
        str(p.relative_to(ROOT)): p.read_text(encoding="utf-8")
        for p in PACKAGE.rglob("*.py")
        if p.stem != "_modidx"
    }


def test_no_file_is_long():
    long = {name: n for name, text in package_files().items() if (n := len(text.splitlines())) > 350}
    assert not long, f"more than 350 lines: {long}"


def test_no_function_is_long():
    "Decorators, parameters and docstring included."
    long = []
    for name, text in package_files().items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                length = node.end_lineno - first + 1
                long += [f"{name}:{first} {node.name}: {length}"] * (length > 60)
    assert not long, f"more than 60 lines: {long}"


def code_cells(path):
    return [c for c in nbformat.read(path, 4).cells if c.cell_type == "code"]


def test_no_exported_cell_is_long():
    "One thing to read at a time."
    long = []
    for path in sorted((ROOT / "nbs").glob("*.ipynb")):
        for cell in code_cells(path):
            length = len(cell.source.strip().splitlines())
            if re.search(r"^#\|\s*exports?i?\b", cell.source, re.M) and length > 40:
                first = next(line for line in cell.source.splitlines() if line and not line.startswith("#|"))
                long.append(f"{path.name}: {length}, {first!r}")
    assert not long, f"exported cells of more than 40 lines: {long}"


ALL = r"(?m)^# %% auto #0\n__all__ = \[.*?\]$"


def test_no_line_is_wide():
    "In every file of Python and every code cell, but for the `__all__` that nbdev writes."
    wide = {}
    for path in files():
        if path.suffix == ".ipynb":
            sources = [cell.source for cell in code_cells(path)]
        elif path.suffix == ".py" and path.name != "_modidx.py":
            sources = [path.read_text(encoding="utf-8")]
        else:
            continue
        lines = [line for source in sources for line in re.sub(ALL, "", source, flags=re.S).splitlines()]
        if count := sum(len(line) > 110 for line in lines):
            wide[path.relative_to(ROOT).as_posix()] = count
    assert not wide, f"lines of more than 110 columns: {wide}"


def test_plain_python_is_formatted():
    "As ruff formats it; exported modules are as nbdev writes them."
    plain = [path for path in files() if path.suffix == ".py" and not house.is_exported(path)]
    ruff = Path(sysconfig.get_path("scripts")) / "ruff"
    done = subprocess.run([ruff, "format", "--check", *plain], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"run make format: {re.findall('--> (.+?):', done.stdout + done.stderr)}"


# --- documentation ------------------------------------------------------------------------------------------


def definitions(module):
    """(name, syntax node, object) of each public function, class and method that a module defines.

    `__init__` counts. `forward` does not: its class's docstring says what a network does. Of a command, the
    object is its function.
    """
    m = importlib.import_module(f"ddpm_abc.{module}")
    for node in ast.parse(house.modules()[module].read_text(encoding="utf-8")).body:
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) or node.name.startswith("_"):
            continue
        obj = getattr(m, node.name)
        yield node.name, node, obj.callback if isinstance(obj, click.Command) else obj
        for n in node.body if isinstance(node, ast.ClassDef) else []:
            if not isinstance(n, ast.FunctionDef) or n.name == "forward":
                continue
            if n.name != "__init__" and n.name.startswith("_"):
                continue
            found = inspect.getattr_static(obj, n.name)
            found = getattr(found, "__func__", getattr(found, "fget", None)) or found
            yield f"{node.name}.{n.name}", n, found


@every_module
def test_public_names_have_docstrings(module):
    "Written ones: a dataclass or a named tuple without one makes up its own."
    source = house.modules()[module].read_text(encoding="utf-8")
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
    """Each parameter has its type and, on its own line, a comment that says what it is; so has what a
    function returns. Fields that `cli/` declares with `setting` have a help that says it."""
    lacking = []
    for name, node, obj in definitions(module):
        if isinstance(node, ast.ClassDef) and (not is_dataclass(obj) or house.room(module) == "cli"):
            continue  # its __init__ follows by itself
        plain_function = isinstance(node, ast.FunctionDef) and "." not in name
        inherited = {
            f for base in getattr(obj, "__mro__", ())[1:] for f in getattr(base, "__annotations__", {})
        }
        for param, doc in docments(
            inspect.unwrap(obj), full=True, args_kwargs=True, returns=plain_function
        ).items():
            if param == "self" or param in inherited or (param == "return" and doc.anno in (None, "None")):
                continue
            lacking += [f"{name}({param}): no annotation"] * (
                doc.anno is inspect.Parameter.empty and param not in ("args", "kwargs")
            )
            lacking += [f"{name}({param}): no comment"] * (not doc.docment)
    assert not lacking, "\n" + "\n".join(lacking)


# --- the repository -----------------------------------------------------------------------------------------


def test_no_file_is_large():
    "Of a network or a data set in the package 8 MB at most, of all else 2.5 MB."
    limits = {p: 8_000_000 if p.parent.name == "assets" else 2_500_000 for p in files()}
    large = {p.name: p.stat().st_size for p, limit in limits.items() if p.stat().st_size > limit}
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
