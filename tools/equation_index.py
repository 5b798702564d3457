"""The equation index: every numbered equation of the course, its source, the function that computes it, the
tests that prove it.

    python tools/equation_index.py          # print the table
    python tools/equation_index.py --check  # say nothing, or fail: an equation without test, or the reverse

Equations are the `\\tag{n.m}` of the chapters. A test says which it proves, and which function of the package
computes it:

    @pytest.mark.equation("2.4", by="q_mean_var")
    def test_composed_steps_give_the_closed_form(): ...

Several numbers, several markers and no `by` are fine; without it, the function is the one that the chapter
exports right after the equation, if any. The source is what the prose around the equation cites. In the
chapter itself each equation is followed by an assert, which tests/test_notebooks.py enforces; the tests named
here are those of tests/.
"""

import argparse
import ast
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TAG = re.compile(r"\\tag\{(\d+[a-z]?\.\d+)\}")
NAMES = r"(?:(?:Yang|Jiaming) (?=Song))?[A-Z][\w-]+(?: et al\.| (?:&|and) [A-Z][\w-]+)?"
PLACE = (
    r"(?:Eq\. \d+(?:(?:, | and |-)(?:Eq\. )?\d+)*|sections? [\d.]+|Algorithm \d(?:, line \d)?|appendix [A-Z]|"
    r"(?:Theorem|Proposition) \d+(?:\.\d+)?)"
)
CITED = re.compile(rf"({NAMES}) \(?(20\d\d)\)?,? (before )?({PLACE})")  # "Ho et al. 2020, Eq. 4"
TURNED = re.compile(rf"({PLACE}) of ({NAMES}) (20\d\d)")  # "Eq. 6 and 7 of Ho et al. 2020"
SHORT = re.compile(
    rf"([A-Z][\w-]+ and [A-Z][\w-]+)[^()]*\((20\d\d), ({PLACE})\)"
)  # "Nichol and Dhariwal ... (2021, Eq. 17)"
THE_PAPER = re.compile(
    r"[Tt]he paper\b[^$]*?\bEquation \((\d+)\)"
)  # "The paper gives the mean twice. ... Equation (7)"
LINE = re.compile(r"line (\d) of the paper's (Algorithm \d)")
SECTION = re.compile(r"^The paper\b.*\((section [\d.]+|appendix [A-Z])\)", re.S)  # of the sentence after
WORK = re.compile(rf"\(({NAMES} (?:19|20)\d\d)\)")  # "(Wu & He 2018)"


@dataclass
class Equation:
    tag: str  # "2.4"
    notebook: str  # "02_forward"
    source: str  # "Ho et al. 2020, Eq. 4", or nothing
    exported: list[str]  # names that the chapter exports between this equation and the next
    by: list[str] = field(default_factory=list)  # what its tests say computes it
    tests: list[str] = field(default_factory=list)  # "test_forward.test_round_trips"

    @property
    def number(self) -> str:
        return self.notebook.partition("_")[0]

    @property
    def functions(self) -> list[str]:
        return self.by or self.exported


def cited(text: str) -> str:
    "The last citation of a place in a paper, or else of a paper."
    found = list(CITED.finditer(text))
    match: re.Match[str] | None
    if found:
        author, year, before, place = found[-1].groups()
        return f"{author} {year}, {before or ''}{place}"
    if match := TURNED.search(text):
        return f"{match[2]} {match[3]}, {match[1]}"
    if match := SHORT.search(text):
        return f"{match[1].replace(' and ', ' & ')} {match[2]}, {match[3]}"
    if match := LINE.search(text):
        return f"Ho et al. 2020, {match[2]}, line {match[1]}"
    if match := THE_PAPER.search(text):
        return f"Ho et al. 2020, Eq. {match[1]}"
    if match := SECTION.search(text):
        return f"Ho et al. 2020, {match[1]}"
    works = WORK.findall(text)
    return works[-1] if works else ""


def cite(before: str, after: str) -> str:
    "What a formula is from: cited in the paragraph that leads to it, or in the sentence that follows it."
    after = re.sub(r"\b(al|Eq)\. ", r"\1.~", after.strip())
    sentence = re.split(r"(?<=[.:])\s+(?=[A-Z*(])", after, maxsplit=1)[0].replace(".~", ". ")
    return cited(before.strip().split("\n\n")[-1]) or cited(sentence)


def exported_names(source: str) -> list[str]:
    if not re.search(r"^#\|\s*export\b", source, re.M):
        return []
    body = ast.parse(source).body
    return [
        n.name for n in body if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and not n.name.startswith("_")
    ]


def equations(root: Path = ROOT) -> dict[str, Equation]:
    "Every tagged equation, in the order of the course."
    found: dict[str, Equation] = {}
    for path in sorted((root / "nbs").glob("[0-9]*.ipynb")):
        open_tags: list[str] = []  # equations since the last exported cell
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            source = "".join(cell["source"])
            if cell["cell_type"] == "code":
                if names := exported_names(source):
                    for tag in open_tags:
                        found[tag].exported = names
                    open_tags = []
                continue
            if re.search(r"^## ", source, re.M):
                open_tags = []
            parts = re.split(r"(\$\$.*?\$\$)", source, flags=re.S)
            tagged = [i for i in range(1, len(parts), 2) if TAG.search(parts[i])]
            for i in tagged:
                for tag in TAG.findall(parts[i]):
                    found[tag] = Equation(tag, path.stem, cite(parts[i - 1], parts[i + 1]), [])
            if tagged:
                open_tags = [tag for i in tagged for tag in TAG.findall(parts[i])]
    return dict(sorted(found.items(), key=lambda item: place(item[0])))


def place(tag: str) -> tuple[int, str, int]:
    "Where an equation stands in the course: 2.10 after 2.9, 90a.1 before 90b.1."
    notebook, letter, number = re.split(r"(?<=\d)([a-z]?)\.", tag)
    return int(notebook), letter, int(number)


def markers(root: Path = ROOT) -> Iterator[tuple[str, str, list[str], list[str]]]:
    "Each `pytest.mark.equation` in tests/: (module, function, numbers, functions of the package)."
    for path in sorted((root / "tests").glob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.FunctionDef):
                continue
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.equation":
                    numbers = [ast.literal_eval(a) for a in mark.args]
                    by = [
                        n
                        for k in mark.keywords
                        if k.arg == "by"
                        for n in re.split(r",\s*", ast.literal_eval(k.value))
                    ]
                    yield path.stem, node.name, numbers, by


def members(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> list[ast.stmt]:
    "What a class defines, what the classes of its module that it is built on define first."
    above = [classes[b.id] for b in node.bases if isinstance(b, ast.Name) and b.id in classes]
    return [n for base in above for n in members(base, classes)] + node.body


def public_names(root: Path = ROOT) -> set[str]:
    names = set()
    for path in (root / "ddpm_abc").rglob("*.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        classes = {n.name: n for n in body if isinstance(n, ast.ClassDef)}
        names |= {n.name for n in body if isinstance(n, ast.FunctionDef)}
        for name, node in classes.items():
            names.add(name)
            for n in members(node, classes):
                if isinstance(n, ast.FunctionDef):
                    names.add(f"{name}.{n.name}")
                elif isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name):
                    names.add(f"{name}.{n.target.id}")
    return names


def index(root: Path = ROOT) -> tuple[dict[str, Equation], list[str]]:
    "The equations with their tests, and what is wrong."
    found, known, wrong = equations(root), public_names(root), []
    for module, function, numbers, by in markers(root):
        test = f"{module}.{function}"
        if not numbers:
            wrong.append(f"{test} is marked with no equation")
        wrong += [f"{test} names {name}, which ddpm_abc does not define" for name in by if name not in known]
        for number in numbers:
            if number not in found:
                wrong.append(f"{test} names equation {number}, which no chapter has")
                continue
            equation = found[number]
            equation.tests += [test] if test not in equation.tests else []
            equation.by += [name for name in by if name not in equation.by]
    wrong += [f"equation {e.tag} of {e.notebook} has no test" for e in found.values() if not e.tests]
    return found, wrong


def table(found: dict[str, Equation]) -> str:
    "Markdown, one row an equation."
    lines = ["| equation | source | chapter | computed by | proved by |", "|---|---|---|---|---|"]
    for e in found.values():
        functions = ", ".join(f"`{name}`" for name in e.functions) or "a step of the proof"
        tests = "<br>".join(f"`{t}`" for t in e.tests) or "**none**"
        lines.append(
            f"| ({e.tag}) | {e.source or 'derived here'} | [{e.number}]({e.notebook}.ipynb) | {functions} | "
            f"{tests} |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="fail for an equation with no test and for a test of no equation"
    )
    found, wrong = index()
    if not parser.parse_args().check:
        print(table(found))
    print("\n".join(wrong), end="\n" * bool(wrong), file=sys.stderr)
    return len(wrong) > 0


if __name__ == "__main__":
    sys.exit(main())
