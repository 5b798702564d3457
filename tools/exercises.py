"""The exercises of the chapters: their cells, and what of the chapter they need.

An exercise is a text, a cell that checks and a folded solution. The first statement of the cell that checks
is a gap, `name = None  # your answer`; the solution gives that name its value. Tests and `tools/student.py`
read them here, so nothing is written twice.
"""

import ast
import re
import symtable
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
GAP = "# your answer"
TEXT = re.compile(r"^\*\*(\d+)\.", re.M)


@dataclass(frozen=True)
class Exercise:
    number: int  # from 1, in each chapter
    text: str  # the question, in Markdown
    check: str  # the source of the cell that checks, gap and all
    solution: str  # the source of the folded cell after it
    at: tuple[int, int]  # which cells these two are

    @property
    def names(self) -> list[str]:
        "What the reader is to define."
        return sorted(defines(ast.parse(self.check).body[0]))

    def filled(self, answer: str) -> str:
        "An answer in the place of the gap, and the cell's last statement, which has it checked."
        return f"{answer}\n{ast.unparse(ast.parse(self.check).body[-1])}"


def exercises(nb: nbformat.NotebookNode) -> list[Exercise]:
    "Of one notebook, in order."
    found: list[Exercise] = []
    for i, cell in enumerate(nb.cells):
        if cell.cell_type == "code" and GAP in cell.source:
            text, solution = nb.cells[i - 1].source, nb.cells[i + 1].source
            (begin,) = TEXT.finditer(text)
            found.append(Exercise(int(begin[1]), text[begin.start() :], cell.source, solution, (i, i + 1)))
    return found


# --- what a cell needs of those before it ---


def scopes(code: ast.AST) -> tuple[set[str], set[str]]:
    "The names that a piece of code binds, and those that it reads, also in the functions that it defines."
    outer = symtable.symtable(ast.unparse(code), "<cell>", "exec")
    bound = {s.get_name() for s in outer.get_symbols() if s.is_assigned() or s.is_imported()}
    read = {s.get_name() for s in outer.get_symbols() if s.is_referenced()}
    inner = outer.get_children()
    for table in inner:
        inner += table.get_children()
        read |= {s.get_name() for s in table.get_symbols() if s.is_global()}
    return bound, read


def defines(statement: ast.stmt) -> set[str]:
    "The names that a statement binds."
    return scopes(statement)[0]


def uses(statements: Iterable[ast.stmt]) -> set[str]:
    "The names that statements, run one after the other, read before they bind them."
    bound: set[str] = set()
    found: set[str] = set()
    for statement in statements:
        match statement:
            case ast.For(target=target, iter=source, body=body):
                parts = [ast.Assign([target], source, lineno=0), *body, *statement.orelse]
            case ast.With(items=items, body=body):
                parts = [
                    ast.Assign([i.optional_vars or ast.Name("_")], i.context_expr, lineno=0) for i in items
                ]
                parts += body
            case ast.If(test=test, body=body, orelse=orelse):
                parts = [ast.Expr(test), *body, *orelse]
            case ast.AugAssign(target=ast.Name(name)):
                found |= {name} - bound
                parts = []
            case _:
                parts = []
        read = uses(parts) if parts else scopes(statement)[1]
        found |= read - bound
        bound |= defines(statement)
    return found


def segments(source: str) -> list[tuple[list[ast.stmt], str]]:
    """Each top-level statement of a cell, with the comments that lead to it; all of a cell that is exported,
    where functions call those below them; none of a magic."""
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return []
    if source.startswith("#| export"):
        return [(body, source)]
    lines, end, found = source.splitlines(), 0, []
    for node in body:
        found.append(([node], "\n".join(lines[end : node.end_lineno]).strip("\n")))
        end = node.end_lineno or end
    return found


def sets(statement: ast.stmt) -> bool:
    "Whether a statement decides how all others run: `torch.set_default_dtype(torch.float64)`, for instance."
    match statement:
        case ast.ImportFrom(module="__future__"):
            return True
        case ast.Expr(ast.Call(func=function)):
            return ast.unparse(function).startswith("torch.set_")
    return False


def needed(nb: nbformat.NotebookNode) -> list[str]:
    """The statements of a chapter that its exercises rest on, in order.

    What binds no name that they need is left out: drawings, for instance.
    """
    own = exercises(nb)
    cells = [c.source for c in nb.cells[: own[0].at[0]] if c.cell_type == "code"]
    parts = [pair for source in cells for pair in segments(source)]
    binds = [{name for node in nodes for name in defines(node)} for nodes, _ in parts]
    changes = [
        isinstance(nodes[0], (ast.If, ast.For, ast.While, ast.With, ast.AugAssign)) for nodes, _ in parts
    ]
    asked = uses(n for e in own for source in (e.check, e.solution) for n in ast.parse(source).body)
    chosen = {i for i, (nodes, _) in enumerate(parts) if any(map(sets, nodes))}
    todo = [(len(parts), name) for name in asked] + [(i, name) for i in chosen for name in uses(parts[i][0])]
    while todo:
        at, name = todo.pop()
        before = [i for i in range(at) if name in binds[i]]
        last = max((i for i in before if not changes[i]), default=0)
        later = [i for i in range(at + 1, len(parts)) if name in binds[i]]  # a function calls one below it
        for i in {i for i in before if i >= last} or set(later[:1]):
            if i not in chosen:
                chosen.add(i)
                todo += [(i, other) for other in uses(parts[i][0]) - {name}]
    return [parts[i][1] for i in sorted(chosen)]
