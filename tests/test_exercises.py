"""The exercises: each check refuses the wrong answers of answers.py and accepts the solution.

Checks, solutions and what they rest on are taken from the notebooks; of each chapter only that part runs.
"""

import ast
import functools
import re
import sys
import types
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
import torch
from answers import RIGHT, WRONG

from tools.exercises import exercises, needed

ROOT = Path(__file__).parent.parent
EVERY = {p.stem.partition("_")[0]: p for p in sorted((ROOT / "nbs").glob("[0-9]*.ipynb"))}
CHAPTERS = {n: p for n, p in EVERY.items() if n < "90" or exercises(nbformat.read(p, 4))}  # and appendices
EXERCISES = [(chapter, e) for chapter, path in CHAPTERS.items() for e in exercises(nbformat.read(path, 4))]

pytestmark = pytest.mark.filterwarnings("ignore:the schedule stops short of noise")  # wrong answers may
every_chapter = pytest.mark.parametrize("chapter", CHAPTERS)
every_exercise = pytest.mark.parametrize(
    ("chapter", "exercise"), [pytest.param(c, e, id=f"{c}-{e.number}") for c, e in EXERCISES]
)


def run(source, names, where):
    exec(compile("from __future__ import annotations\n" + source, where, "exec", dont_inherit=True), names)


@functools.cache
def namespace(chapter):
    "What the exercises of a chapter find there, and what their cells leave where nobody has answered."
    module = types.ModuleType(f"chapter_{chapter}")
    sys.modules[module.__name__] = module  # dataclasses look it up
    names, nb = vars(module), nbformat.read(CHAPTERS[chapter], 4)
    run("\n".join(needed(nb)), names, f"<chapter {chapter}>")
    for exercise in exercises(nb):
        run(exercise.check, names, f"<exercise {chapter}.{exercise.number}>")
    return names


@pytest.fixture
def names(chapter):
    "A chapter's namespace, to be written to; the precision and the figures of a chapter end with its test."
    dtype = torch.get_default_dtype()
    if "torch.set_default_dtype(torch.float64)" in CHAPTERS[chapter].read_text(encoding="utf-8"):
        torch.set_default_dtype(torch.float64)
    yield dict(namespace(chapter))
    torch.set_default_dtype(dtype)
    plt.close("all")


@every_chapter
def test_there_are_three_of_one_form(chapter):
    own = [e for c, e in EXERCISES if c == chapter]
    assert len(own) >= (3 if chapter < "90" else 1)
    assert [e.number for e in own] == list(range(1, len(own) + 1))
    for e in own:
        assert e.solution.startswith("#| code-fold: true\n"), "a folded solution follows the check"
        assert e.check.rstrip().count('print("not yet")') == e.check.count('print("right")') == 1


@every_exercise
def test_wrong_answers_are_refused(chapter, exercise, names):
    wrong, accepted = WRONG[chapter, exercise.number], []
    assert len({*wrong}) == len(wrong) >= 5
    for answer in wrong:
        try:
            run(exercise.filled(answer), dict(names), f"<answer to {chapter}.{exercise.number}>")
            accepted.append(answer)
        except AssertionError:
            continue
    assert not accepted, "\n".join(accepted)


@every_exercise
def test_right_answers_are_accepted(chapter, exercise, names, capsys):
    "The solution, and others; and no check prints what the solution says: a number, a word or a line."
    for answer in [*RIGHT.get((chapter, exercise.number), []), exercise.solution]:
        own = dict(names)
        for source in (exercise.check, exercise.filled(answer)):  # it may bind a name that the check reads
            capsys.readouterr()
            run(source, own, f"<answer to {chapter}.{exercise.number}>")
        assert capsys.readouterr().out.splitlines()[-1] == "right", answer

    constants = [n.value for n in ast.walk(ast.parse(exercise.check)) if isinstance(n, ast.Constant)]
    for value in (own[name] for name in exercise.names):  # of the solution
        assert not (isinstance(value, str) and value in constants)
        shown = [c for n in numbers(value) for c in numbers(constants) if c and abs(n / c - 1) < 0.005]
        assert not shown, f"{value} stands in its check"
    lines = re.findall(r"^ *return (.{9,}?)(?:  #.*)?$", exercise.solution, re.M)
    assert not [line for line in lines if line in exercise.check]


def numbers(value):
    "The numbers in an answer: a function or a tensor has none."
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return [value]
    return [n for v in value for n in numbers(v)] if isinstance(value, (list, tuple)) else []


def test_the_attack_is_of_200_and_more():
    assert {*RIGHT} <= {*WRONG} == {(chapter, e.number) for chapter, e in EXERCISES}
    assert sum(map(len, WRONG.values())) >= 200
