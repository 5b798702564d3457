"""The equation index has no hole, and the tables of 95_truth are those of the code."""

import json
from pathlib import Path

import pytest

from tools import equation_index, truth

ROOT = Path(__file__).parent.parent


def test_every_equation_has_a_test_and_every_mark_an_equation():
    found, wrong = equation_index.index()
    assert not wrong, "\n".join(wrong)
    assert len(found) > 60


def test_committed_tables_are_current():
    wrong = truth.stale()
    assert not wrong, "\n".join(wrong)


@pytest.fixture
def project(tmp_path):
    "A course of two equations and one test."
    (tmp_path / "nbs").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / "ddpm_abc").mkdir()
    cells = [
        {
            "cell_type": "markdown",
            "source": [
                "## One\n",
                "It is so (Ho et al. 2020, Eq. 4):\n\n$$\na = b \\tag{1.1}\n$$\n\n"
                "and hence\n\n$$\nb = a. \\tag{1.2}\n$$\n\nThat is all.",
            ],
        },
        {"cell_type": "code", "source": ["#| export\n", "def f(x): return x\n", "def _g(x): return x"]},
    ]
    (tmp_path / "nbs/01_one.ipynb").write_text(json.dumps({"cells": cells}))
    (tmp_path / "ddpm_abc/one.py").write_text("def f(x): return x\nclass C:\n    def m(self): ...\n")
    (tmp_path / "tests/test_one.py").write_text(
        "import pytest\n"
        '@pytest.mark.equation("1.1", by="C.m")\n@pytest.mark.equation("1.2")\n'
        "def test_it(): ...\n"
    )
    return tmp_path


def test_index_of_a_small_course(project):
    found, wrong = equation_index.index(project)
    assert wrong == []
    assert [(e.tag, e.source, e.functions, e.tests) for e in found.values()] == [
        ("1.1", "Ho et al. 2020, Eq. 4", ["C.m"], ["test_one.test_it"]),
        ("1.2", "", ["f"], ["test_one.test_it"]),
    ]
    assert "| (1.2) | derived here | [01](01_one.ipynb) | `f` | `test_one.test_it` |" in equation_index.table(
        found
    )


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('@pytest.mark.equation("1.2")\n', "", "equation 1.2 of 01_one has no test"),
        ('"1.2"', '"1.2", "1.3"', "test_one.test_it names equation 1.3, which no chapter has"),
        ("C.m", "C.n", "test_one.test_it names C.n, which ddpm_abc does not define"),
        ('"1.1", by="C.m"', "", "test_one.test_it is marked with no equation"),
    ],
)
def test_holes_are_found(project, old, new, complaint):
    path = project / "tests/test_one.py"
    path.write_text(path.read_text().replace(old, new))
    assert complaint in equation_index.index(project)[1]


@pytest.mark.parametrize(
    ("text", "source"),
    [
        (
            "what Ho et al. 2020 found in Eq. 3. It is (Ho et al. 2020, Eq. 6 and Eq. 7):",
            "Ho et al. 2020, Eq. 6 and Eq. 7",
        ),
        ("What comes out are Eq. 6 and 7 of Ho et al. 2020:", "Ho et al. 2020, Eq. 6 and 7"),
        (
            "Nichol and Dhariwal saw it. So they wrote it down (2021, Eq. 17):",
            "Nichol & Dhariwal 2021, Eq. 17",
        ),
        ("It is line 4 of the paper's Algorithm 2:", "Ho et al. 2020, Algorithm 2, line 4"),
        ("The paper gives it twice. Equation (7) has another form:", "Ho et al. 2020, Eq. 7"),
        ("GroupNorm (Wu & He 2018) splits the channels. So:", "Wu & He 2018"),
        ("Integrated, this is (Lu et al. 2022, Proposition 4.1)", "Lu et al. 2022, Proposition 4.1"),
        ("That is the SDE of Yang Song et al. (2021, Eq. 11):", "Yang Song et al. 2021, Eq. 11"),
        ("One gradient is enough (Hutchinson 1990):", "Hutchinson 1990"),
        ("Kingma et al. (2021) write it otherwise. For us:", ""),
    ],
)
def test_sources_are_read_from_the_prose(text, source):
    assert equation_index.cite(f"An older paragraph (Song et al. 2021, Eq. 1).\n\n{text}\n\n", "") == source
    assert equation_index.cite("We have\n\n", "\n\nThis is new.") == ""
    assert (
        equation_index.cite(
            "We have\n\n", "\n\n(Ho et al. 2020, Eq. 15). There are two (Song et al. 2021, Eq. 9)."
        )
        == "Ho et al. 2020, Eq. 15"
    )
