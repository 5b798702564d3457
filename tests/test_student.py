"""`make student`: chapters without solutions, and solutions that run without the rest of the chapter."""

import nbformat
import pytest

from tools import student
from tools.exercises import ROOT, exercises


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("student")
    assert len(student.write(folder)) >= 24
    return folder


def test_solutions_are_left_out_and_nothing_else(folder):
    for path in sorted(folder.glob("*.ipynb")):
        whole, handed_out = nbformat.read(ROOT / "nbs" / path.name, 4), nbformat.read(path, 4)
        nbformat.validate(handed_out)
        left_out = [e.solution for e in exercises(whole)]
        assert [c.source for c in whole.cells if c.source not in left_out] == [
            c.source for c in handed_out.cells
        ]
        assert len(whole.cells) == len(handed_out.cells) + len(left_out)
        assert (folder / "solutions" / path.name).exists()


def test_solutions_run_alone(folder, capsys):
    nb = nbformat.read(folder / "solutions/01_schedule.ipynb", 4)
    nbformat.validate(nb)
    names = {"__name__": "__main__"}
    for cell in nb.cells:
        if cell.cell_type == "code" and "%pip" not in cell.source:
            exec(compile(cell.source, cell.id, "exec", dont_inherit=True), names)
    assert capsys.readouterr().out.count("not yet") == 3
    assert names["t_like"] == 191


def test_links_of_a_solution_lead_one_folder_up(folder):
    text = "\n".join(c.source for c in nbformat.read(folder / "solutions/07_ladder.ipynb", 4).cells)
    assert "](../04_training.ipynb)" in text
    assert "](../07_ladder.ipynb)" in text
