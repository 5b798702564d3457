"""Every notebook runs and is fit to read.

It runs once, in fast mode, from an empty folder, where the wheel is installed and nothing undeclared, as in
Colab; the names that its exported cells define are taken from the wheel's module, so the rest of the notebook
tests the library. That modules are what the notebooks export is for test_project.py to say. `pytest -m slow`
runs them as written, where pip alone has installed the wheel. The other tests read the files: outputs,
opening, equations, links.
"""

import ast
import base64
import re
from pathlib import Path

import alone
import nbformat
import pytest
from alone import directives
from IPython.core.inputtransformer2 import TransformerManager
from nbclient.exceptions import CellExecutionError

from tools.links import settings

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "nbs").glob("*.ipynb"))
NUMBER = re.compile(r"\d\d[a-z]?(?=_)")  # "05" of 05_sampling, "90a" of 90a_images
NUMBERED = [p for p in NOTEBOOKS if NUMBER.match(p.stem)]
CHAPTERS = [p for p in NUMBERED if p.stem < "90"]

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
every_numbered = pytest.mark.parametrize("path", NUMBERED, ids=lambda p: p.stem)
every_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)


def cells(path, kind=None):
    return [c for c in nbformat.read(path, 4).cells if kind in (None, c.cell_type)]


# --- run ---


@every_notebook
def test_runs_against_the_module(path, forked_kernel, linked, empty):
    "From the wheel, in an empty folder, as in Colab; what it exports comes from the wheel's module."
    nb = alone.run_notebook(path, forked_kernel, empty)
    assert alone.pictures(nb) == alone.pictures(nbformat.read(path, 4))


def write_notebook(path, *sources):
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources]), path)
    return path


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("assert 1 == 2", "AssertionError"),
        ("import warnings; warnings.warn('look out')", "look out"),
        ("import sys; print('oh dear', file=sys.stderr)", "oh dear"),
        ("import os, time; os.write(2, b'oh dear'); time.sleep(1)", "oh dear"),
        ("#| code-fold: true\nassert False, 'a wrong solution'", "a wrong solution"),
        ("open('left.txt', 'w').close()", "left files behind"),
        ("import nbdev", "No module named 'nbdev'"),
    ],
)
def test_a_broken_notebook_fails(source, problem, forked_kernel, empty, tmp_path):
    path = write_notebook(tmp_path / "broken.ipynb", "x = 1", source)
    with pytest.raises((CellExecutionError, AssertionError), match=problem):
        alone.run_notebook(path, forked_kernel, empty)


def test_a_stale_module_fails(forked_kernel, empty, tmp_path):
    path = write_notebook(
        tmp_path / "stale.ipynb", "#| default_exp schedule", "#| export\ndef never_exported(): pass"
    )
    with pytest.raises(CellExecutionError, match="lacks .*never_exported.*run nbdev_export"):
        alone.run_notebook(path, forked_kernel, empty)


def test_a_kernel_starts_from_nothing(forked_kernel, linked, empty, tmp_path):
    "Its imports are behind it, and nothing else: not the package, not what the notebook before it left."
    rude = """
import builtins, os, sys, warnings, torch, matplotlib
builtins.left_behind = os.environ["LEFT_BEHIND"] = sys.modules["left_behind"] = "1"
warnings.simplefilter("ignore")
torch.manual_seed(7)
matplotlib.rcParams["lines.linewidth"] = 9"""
    asks = """
import builtins, os, sys
assert {"torch", "matplotlib.pyplot", "ipykernel.kernelapp"} <= sys.modules.keys()
early = [name for name in sys.modules if name.startswith("ddpm_abc")]
import ddpm_abc, matplotlib, torch, warnings
print(early, ddpm_abc.__file__, os.getcwd(), sys.path[:2])
assert not early and not hasattr(builtins, "left_behind")
assert "LEFT_BEHIND" not in os.environ and "left_behind" not in sys.modules
assert torch.initial_seed() != 7 and matplotlib.rcParams["lines.linewidth"] != 9
assert ("ignore", None, Warning) not in [f[:3] for f in warnings.filters]"""
    for source in (rude, asks):
        nb = alone.run_notebook(write_notebook(tmp_path / "rude.ipynb", source), forked_kernel, empty)
    said = nb.cells[0].outputs[0].text
    assert f" {alone.site_packages(linked) / 'ddpm_abc/__init__.py'} {empty} " in said


def test_a_figure_has_twice_the_pixels_that_it_takes_on_the_page(forked_kernel, linked, empty, tmp_path):
    draws = "from ddpm_abc.plot import use_style\nimport matplotlib.pyplot as plt\nuse_style()"
    path = write_notebook(tmp_path / "figure.ipynb", draws, "plt.subplots(figsize=(4, 3))\nplt.show()")
    shown = alone.run_notebook(path, forked_kernel, empty).cells[1].outputs[0]
    pixels, across = width(base64.b64decode(shown.data["image/png"])), shown.metadata["image/png"]["width"]
    assert pixels // 2 == across
    assert abs(across - 4 * 70) <= 10


def defined_too_late(sources):
    """Exported names that a cell needs as it runs, at once or in functions that it names, and a later cell
    defines. A run with the module in place cannot notice: the module has them all."""
    cells = [ast.parse(TransformerManager().transform_cell(source)).body for source in sources]
    of, where = {}, {}  # what a definition needs in turn; the cell of an exported one
    for i, (source, body) in enumerate(zip(sources, cells, strict=True)):
        for s in (s for s in body if isinstance(s, (ast.FunctionDef, ast.ClassDef))):
            of.setdefault(s.name, {n.id for n in ast.walk(s) if isinstance(n, ast.Name)})
            if source.startswith("#| export"):
                where.setdefault(s.name, i)
    late = set()
    for i, body in enumerate(cells):
        runs = [s for s in body if not isinstance(s, (ast.FunctionDef, ast.ClassDef))]
        queue, seen = {n.id for s in runs for n in ast.walk(s) if isinstance(n, ast.Name)} & of.keys(), set()
        while queue:
            seen |= queue
            queue = set().union(*(of[name] for name in queue)) & of.keys() - seen
        late |= {name for name in seen if where.get(name, i) > i}
    return late


@every_notebook
def test_nothing_is_needed_before_it_is_defined(path):
    assert not defined_too_late([c.source for c in cells(path, "code")])


def test_a_helper_below_its_first_call_is_found():
    helper, user = "#| export\ndef helper(): pass", "#| export\ndef user():\n    return helper()"
    assert defined_too_late([user, "x = user()", helper]) == {"helper"}
    assert defined_too_late([user, "def mine(): return user()", "mine()", helper]) == {"helper"}
    assert not defined_too_late([user, helper, "x = user()"])
    assert not defined_too_late(["%pip install -q torch", helper, user, "x = user()"])


@pytest.mark.slow
@every_notebook
def test_runs_as_written_in_a_fresh_environment(path, fresh, empty):
    nb = alone.run_notebook(path, alone.plain_kernel(fresh / "bin/python"), empty, as_written=True)
    assert alone.pictures(nb) == alone.pictures(nbformat.read(path, 4))


# --- read ---


def shows_something(source):
    "Whether a cell prints or draws in plain sight, at its top level."
    try:
        body = ast.parse(source).body
    except SyntaxError:  # a magic
        return False
    calls = [s.value.func for s in body if isinstance(s, ast.Expr) and isinstance(s.value, ast.Call)]
    return any(ast.unparse(f) in {"print", "plt.show", "show_images", "display"} for f in calls)


def width(png):
    assert png.startswith(b"\x89PNG\r\n\x1a\n"), "not a PNG"
    return int.from_bytes(png[16:20], "big")


@every_notebook
def test_outputs_are_fit_to_read(path):
    assert path.stat().st_size <= 600_000, (
        f"{path.name} has {path.stat().st_size:,} bytes; 600,000 is the limit"
    )
    for cell in cells(path, "code"):
        start = cell.source[:200]
        assert cell.outputs or not shows_something(cell.source), (
            f"this cell shows something, and its output is not committed: {start}"
        )
        for o in cell.outputs:
            assert o.output_type != "error", f"a committed error: {start}"
            assert o.get("name") != "stderr", f"committed stderr: {start}"
            if png := o.get("data", {}).get("image/png"):
                shown = o.metadata.get("image/png", {}).get("width") or width(base64.b64decode(png))
                assert shown <= 1000, f"a picture shown wider than 1000 pixels: {start}"
            seen = o.get("data", {}).keys()
            assert seen <= {"image/png", "text/plain", "text/html", "text/markdown", "text/latex"}, (
                f"an output that only some readers can show, {set(seen)}: {start}"
            )


@every_chapter
def test_chapter_has_pictures(path):
    assert any("image/png" in o.get("data", {}) for c in cells(path, "code") for o in c.outputs)


@every_notebook
def test_opening(path):
    nb, s = nbformat.read(path, 4), settings()
    assert re.match(r"# \S.*\n\n> \S.*(\n|\Z)", nb.cells[0].source), (
        "the first cell must begin with `# Title`, a blank line, and `> a one-line question`"
    )
    if path in NUMBERED:
        at = f"{s['user']}/{s['repo']}/blob/{s['branch']}"
        url = f"https://colab.research.google.com/github/{at}/nbs/{path.name}"
        assert (
            f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({url})"
            in nb.cells[0].source.splitlines()
        )
    assert nb.metadata.kernelspec.name == "python3"
    assert nb.metadata.accelerator == "GPU"
    assert nb.metadata.colab.provenance == []


@every_numbered
def test_installs_itself_where_it_is_missing(path):
    s = settings()
    assert cells(path)[1].source == (
        "#| hide\n"
        "# On a new machine, Colab for instance: install the package if it is missing.\n"
        "import importlib.util\n"
        'if importlib.util.find_spec("ddpm_abc") is None:\n'
        f'    %pip install -q "ddpm_abc @ git+https://github.com/{s["user"]}/{s["repo"]}@{s["branch"]}"'
    )


@every_chapter
def test_chapter_ends_as_chapters_do(path):
    headings = re.findall(r"^## (.+)$", "\n".join(c.source for c in cells(path, "markdown")), re.M)
    assert "Check yourself" in headings
    assert "What we learned" in headings
    assert any(directives(c).get("code-fold") == "true" for c in cells(path, "code")), "no folded solution"
    if path != CHAPTERS[-1]:
        following = CHAPTERS[CHAPTERS.index(path) + 1].name
        assert f"]({following})" in cells(path, "markdown")[-1].source, (
            f"the last cell must link to the next chapter, {following}"
        )


@every_notebook
def test_needs_nothing_but_the_package(path):
    for cell in cells(path, "code"):
        for wrong in ("nbdev_export(", "import *", "fastcore", "%matplotlib", "tqdm.auto", "tqdm.notebook"):
            assert wrong not in cell.source, f"{wrong} in {cell.source[:200]}"


def prose(markdown):
    "Markdown without its code and its formulas."
    return re.sub(r"```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$", " ", markdown, flags=re.S)


def tags(path):
    return [tag for c in cells(path, "markdown") for tag in re.findall(r"\\tag\{([^}]*)\}", c.source)]


@every_numbered
def test_equations_are_numbered_in_order(path):
    number = NUMBER.match(path.stem)[0].removeprefix("0")  # 00 begins with (0.1), 90a with (90a.1)
    assert tags(path) == [f"{number}.{i}" for i in range(1, len(tags(path)) + 1)]
    for cell in cells(path, "markdown"):
        for formula in re.findall(r"\$\$(.*?)\$\$", cell.source, re.S):
            assert formula.count(r"\tag") <= 1, f"two tags in one formula: {formula}"


@every_notebook
def test_equation_references_resolve(path):
    known = {tag for p in NUMBERED for tag in tags(p)}
    text = "\n".join(
        prose(c.source) if c.cell_type == "markdown" else "\n".join(re.findall(r"#.*$", c.source, re.M))
        for c in cells(path)
    )
    unknown = {ref for ref in re.findall(r"\((\d+[a-z]?\.\d+)\)", text) if ref not in known}
    assert not unknown, (
        f"no equation is tagged {sorted(unknown)} (a plain number alone in brackets reads as an equation's: "
        f"write it without them)"
    )


@every_numbered
def test_every_equation_is_checked(path):
    "Between an equation and the next section stands a code cell with an assert."
    waiting = []
    for cell in [*cells(path), nbformat.v4.new_markdown_cell("## end")]:
        if cell.cell_type == "markdown":
            if re.search(r"^## ", cell.source, re.M):
                assert not waiting, f"no assert follows {waiting} in its section"
            waiting += re.findall(r"\\tag\{([^}]*)\}", cell.source)
        elif re.search(r"^\s*assert ", cell.source, re.M):
            waiting = []


@every_notebook
def test_links_resolve(path):
    text = "\n".join(
        re.sub(r"```.*?```|`[^`\n]*`", " ", c.source, flags=re.S) for c in cells(path, "markdown")
    )
    targets = re.findall(r"\]\(([^)\s]+)", text) + re.findall(r"""(?:src|href)=["']([^"']+)""", text)
    missing = [
        t
        for t in targets
        if not re.match(r"[a-z]+:|#", t) and not (path.parent / t.partition("#")[0]).exists()
    ]
    assert not missing, f"links to nothing: {missing}"
