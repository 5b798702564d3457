"""Every notebook runs, twice, and is fit to read.

Once as written, as `nbdev_test` would, and once with its exported cells left out and the names that they define taken
from the exported module: the rest of the notebook then tests the library, and proves the export complete. Both start
from an empty folder, in fast mode. The other tests read the files: outputs, opening, equations, links.
"""

import ast
import base64
import builtins
import importlib
import os
import re
import symtable
import sys
import textwrap
import warnings
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import nbformat
import pytest
from execnb.shell import CaptureShell
from IPython.core.interactiveshell import InteractiveShell

from tools.execute import beyond_progress
from tools.links import settings

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "nbs").glob("*.ipynb"))
NUMBERED = [p for p in NOTEBOOKS if p.stem[:2].isdigit()]
CHAPTERS = [p for p in NUMBERED if p.stem < "90"]

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
every_numbered = pytest.mark.parametrize("path", NUMBERED, ids=lambda p: p.stem)
every_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)


def cells(path, kind=None):
    return [c for c in nbformat.read(path, 4).cells if kind in (None, c.cell_type)]


def directives(cell):
    "The `#| key: value` and `#| key value` lines of a code cell."
    return (
        {m[1]: m[2].strip() for m in re.finditer(r"^#\|\s*([\w-]+):?(.*)$", cell.source, re.M)}
        if cell.cell_type == "code"
        else {}
    )


def is_exported(cell):
    return bool(directives(cell).keys() & {"export", "exporti", "exports"})


# --- run -------------------------------------------------------------------------------------------------------------


@contextmanager
def fresh_shell(folder, monkeypatch):
    "What a new Jupyter kernel started in `folder` is to a notebook; the process is as it was afterwards."
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "displayhook", sys.displayhook)
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    environment, names = dict(os.environ), dict(vars(builtins))
    with warnings.catch_warnings(record=True) as caught:
        warnings.resetwarnings()  # Python's own filters, not pytest's
        for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", category)
        try:
            yield CaptureShell(mpl_format="png"), caught
        finally:
            InteractiveShell._instance = None
            matplotlib.use("agg")
            os.environ.clear()
            os.environ.update(environment)
            for name in vars(builtins).keys() - names.keys():
                delattr(builtins, name)


def reached(source):
    "Source less what stands under `if TYPE_CHECKING:`, which no run reaches."
    tree = ast.parse(source)
    tree.body = [
        n for n in tree.body if not (isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
    ]
    return ast.unparse(tree)


def run(path, folder, monkeypatch, against_module=False):
    "Run a notebook's cells in order; fail as a reader would see it fail, with the cell."
    module = None
    with fresh_shell(folder, monkeypatch) as (shell, caught):
        for number, cell in enumerate(cells(path)):
            options = directives(cell)
            if cell.cell_type != "code" or options.get("eval") == "false":
                continue
            if against_module and "default_exp" in options:
                module = importlib.import_module(f"ddpm_abc.{options['default_exp']}")
            if against_module and is_exported(cell):
                table = symtable.symtable(reached(cell.source), path.name, "exec")
                names = [s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()]
                missing = [name for name in names if not hasattr(module, name)]
                assert not missing, (
                    f"{module.__name__} lacks {missing}, which cell {number} of {path.name} exports: run nbdev_export"
                )
                shell.user_ns.update({name: getattr(module, name) for name in names})
                continue
            outputs = shell.run(cell.source)
            problem = "".join("".join(o["traceback"]) for o in outputs if o["output_type"] == "error")
            problem += beyond_progress(
                "".join("".join(o["text"]) for o in outputs if o.get("name") == "stderr")
            )
            problem += "".join(f"{w.category.__name__}: {w.message}\n" for w in caught)
            if problem:
                pytest.fail(f"{path.name}, cell {number}:\n{cell.source}\n---\n{problem}", pytrace=False)
    assert list(folder.iterdir()) == [], f"{path.name} left files behind"


@pytest.fixture(autouse=True)
def own_ipython(tmp_path_factory, monkeypatch):
    "No one's IPython profile or history plays a part."
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))


@every_notebook
def test_runs_as_written(path, tmp_path, monkeypatch):
    run(path, tmp_path, monkeypatch)


@every_notebook
def test_runs_against_the_module(path, tmp_path, monkeypatch):
    if not any(is_exported(c) for c in cells(path)):
        pytest.skip("exports nothing")
    run(path, tmp_path, monkeypatch, against_module=True)


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
        ("#| code-fold: true\nassert False, 'a wrong solution'", "a wrong solution"),
        ("open('left.txt', 'w').close()", "left files behind"),
    ],
)
def test_a_broken_notebook_fails(source, problem, tmp_path_factory, tmp_path, monkeypatch):
    path = write_notebook(tmp_path_factory.mktemp("nb") / "broken.ipynb", "x = 1", source)
    with pytest.raises((pytest.fail.Exception, AssertionError), match=problem):
        run(path, tmp_path, monkeypatch)


def test_a_stale_module_fails(tmp_path_factory, tmp_path, monkeypatch):
    path = write_notebook(
        tmp_path_factory.mktemp("nb") / "stale.ipynb",
        "#| default_exp schedule",
        "#| export\ndef never_exported(): pass",
    )
    with pytest.raises(AssertionError, match="never_exported"):
        run(path, tmp_path, monkeypatch, against_module=True)


def test_notebooks_leave_the_process_as_it_was(tmp_path_factory, tmp_path, monkeypatch):
    source = """
        import builtins, os, sys, warnings
        import matplotlib.pyplot as plt
        from tqdm import tqdm
        os.environ["LEFT_BEHIND"] = "1"
        sys.path.insert(0, "left-behind")
        warnings.simplefilter("ignore")
        for _ in tqdm(range(3)): pass
        plt.plot([1, 2])
        plt.show()
    """
    before = (
        sys.modules["__main__"],
        sys.path[:],
        os.getcwd(),
        warnings.filters[:],
        dict(vars(builtins)),
        matplotlib.get_backend(),
    )
    with monkeypatch.context() as m:
        run(
            write_notebook(tmp_path_factory.mktemp("nb") / "rude.ipynb", textwrap.dedent(source)), tmp_path, m
        )
    after = (
        sys.modules["__main__"],
        sys.path[:],
        os.getcwd(),
        warnings.filters[:],
        dict(vars(builtins)),
        matplotlib.get_backend(),
    )
    assert after == before
    assert "LEFT_BEHIND" not in os.environ
    assert plt.get_fignums() == []


# --- read ------------------------------------------------------------------------------------------------------------


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
    assert path.stat().st_size <= 300_000, (
        f"{path.name} has {path.stat().st_size:,} bytes; 300,000 is the limit"
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
                assert width(base64.b64decode(png)) <= 1000, f"a picture wider than 1000 pixels: {start}"
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
        url = f"https://colab.research.google.com/github/{s['user']}/{s['repo']}/blob/{s['branch']}/nbs/{path.name}"
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
    assert tags(path) == [f"{int(path.stem[:2])}.{i}" for i in range(1, len(tags(path)) + 1)]
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
    unknown = {ref for ref in re.findall(r"\((\d+\.\d+)\)", text) if ref not in known}
    assert not unknown, (
        f"no equation is tagged {sorted(unknown)} (a plain number alone in brackets reads as an equation's: write it without them)"
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
