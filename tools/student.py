"""The chapters without their solutions, and the solutions apart: for a class, from the same source.

    python tools/student.py --out student

`student/` gets each chapter, less the folded solutions; `student/solutions/` a notebook for
each with the exercises, their solutions, and what of the chapter these need to run.
"""

import argparse
import copy
import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

from tools.exercises import ROOT, exercises, needed


def student(nb: NotebookNode) -> NotebookNode:
    "A chapter as it is handed out."
    nb, solutions = copy.deepcopy(nb), {e.at[1] for e in exercises(nb)}
    nb.cells = [cell for i, cell in enumerate(nb.cells) if i not in solutions]
    return nb


def solutions(nb: NotebookNode, name: str) -> NotebookNode:
    "The exercises of the chapter in the file `name` with their solutions, and what they need of it."
    title = nb.cells[0].source.splitlines()[0]
    about = f"From [the chapter](../{name}), as are the lines below, which its exercises need."
    cells = [new_markdown_cell(f"{title}: solutions\n\n{about}"), nb.cells[1]]  # which installs the package
    cells.append(new_code_cell("\n".join(re.sub(r"^#\|.*\n", "", text, flags=re.M) for text in needed(nb))))
    for e in exercises(nb):
        text = re.sub(r"(\]\()(?![a-z]+:|#)", r"\1../", e.text)  # one folder deeper
        cells += [new_markdown_cell(text), *(nb.cells[i] for i in e.at)]
    made = nbformat.v4.new_notebook(cells=copy.deepcopy(cells), metadata=nb.metadata)
    for i, cell in enumerate(made.cells):
        cell.id = f"solution-{i}"
    return made


def write(folder: Path) -> list[Path]:
    "Write both notebooks of every chapter."
    (folder / "solutions").mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for path in sorted((ROOT / "nbs").glob("[01][0-9]_*.ipynb")):
        nb = nbformat.read(path, 4)
        made = {folder / path.name: student(nb), folder / "solutions" / path.name: solutions(nb, path.name)}
        for target, notebook in made.items():
            nbformat.write(notebook, target)
        written += made
    return written


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "student", help="the folder to write to")
    out = parser.parse_args().out
    print(f"{out}: {len(write(out)) // 2} chapters, and their solutions in {out / 'solutions'}")


if __name__ == "__main__":
    main()
