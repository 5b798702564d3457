"""Do the tests notice any small change of the core? Mutants by cosmic-ray, and the share that is killed.

    python tools/mutants.py --python .venv/bin/python --n 100          # a random sample
    python tools/mutants.py --python .venv/bin/python --n 0            # all of them: many hours

A mutant is a module with one operator, number, comparison or decorator changed. The tests of the core run on
it, those of its own module first, and the first that fails kills it. All happens in a copy of the project.
Results are kept in the file that `--session` names; a second call goes on from there, so a sample can grow.

Left out are changes that say nothing: in annotations, which are never evaluated, and of operators that
tensors of floats do not have (shifts, bits) or that nobody confuses (`is` with `<`). What survives is either
a hole in the tests or the same program, written otherwise: tools/same_mutants.txt says which, and why.
"""

import argparse
import ast
import os
import random
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

from cosmic_ray.commands import init
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkResult

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)] * (str(ROOT) not in sys.path)

from tools.links import project_files  # noqa: E402

CORE = ["gaussian", "schedule", "forward", "parameterization", "training", "sampling", "guidance", "metrics"]
TESTS = [*CORE, "bound", "properties", "truth", "equations", "likelihood"]
LONG = "tests/test_training.py::test_a_small_training_learns_and_its_samples_beat_noise"
IDLE = re.compile(
    r"Binary\w+_(\w+Shift|RShift|Bit\w+|FloorDiv|Mod)$|BinaryOperator_Bit(Or|Xor)"
    r"|Comparison\w+_(Eq|NotEq|Lt|LtE|Gt|GtE)_Is|Comparison\w+_Is(Not)?_(Eq|NotEq|Lt|LtE|Gt|GtE)$"
    r"|UnaryOperator_\w+_(Not|Invert|UAdd)$"
)


def annotations(path: Path) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    "Where the annotations of a module begin and end, as (line, column)."
    nodes: list[ast.expr | None] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.arg, ast.AnnAssign)):
            nodes.append(node.annotation)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            nodes.append(node.returns)
    return [((n.lineno, n.col_offset), (n.end_lineno or n.lineno, n.end_col_offset or 0)) for n in nodes if n]


def tells(mutation: MutationSpec) -> bool:
    "Whether a mutant can say something about the tests."
    if IDLE.search(mutation.operator_name):
        return False
    places = annotations(Path(mutation.module_path))
    return not any(begin <= tuple(mutation.start_pos) < end for begin, end in places)


def command(python: str, module: str) -> str:
    "The tests of the core, those of the module first."
    files = [f"tests/test_{name}.py" for name in sorted(TESTS, key=lambda name: name != module)]
    return f"{python} -m pytest -x -q -p no:cacheprovider --deselect {LONG} {' '.join(files)}"


def changed(result: WorkResult) -> tuple[str, str]:
    "The line that a mutant changes, before and after."
    lines = [line for line in (result.diff or "").splitlines() if re.match(r"[-+](?![-+])", line)]
    before, after = ([line[1:].strip() for line in lines if line[0] == sign] for sign in "-+")
    return " ".join(before).strip(), " ".join(after).strip()


def examine(db: WorkDB, python: str, n: int, seed: int, timeout: float) -> int:
    "Test a sample of the mutants; those that an earlier call has tested are not tested again."
    items = [item for item in db.work_items if all(tells(m) for m in item.mutations)]
    items.sort(key=lambda item: str([(m.module_path, m.operator_name, m.occurrence) for m in item.mutations]))
    random.Random(seed).shuffle(items)
    done = {job for job, _ in db.results}
    for k, item in enumerate(items[: n or None], 1):
        if item.job_id in done:
            continue
        module = Path(item.mutations[0].module_path).stem
        result = mutate_and_test(item.mutations, command(python, module), timeout)
        db.set_result(item.job_id, result)
        said = "killed" if result.test_outcome == TestOutcome.KILLED else str(result.test_outcome)
        print(f"{k:4d}  {module:16s} {said.split('.')[-1].lower():10s} {changed(result)[1]}", flush=True)
    return len(items)


def same() -> dict[tuple[str, str], str]:
    "A module and a changed line -> why it is the same program."
    found, module, why = {}, "", ""
    for line in (ROOT / "tools" / "same_mutants.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("    "):
            found[module, line.strip()] = why
        elif line and not line.startswith("#"):
            module, _, why = line.partition(": ")
    return found


def report(db: WorkDB, total: int) -> int:
    "Print the score and what survived; 1 if anything survived for no known reason."
    known = same()
    results = db.completed_work_items
    outcomes = Counter(result.test_outcome for _, result in results)
    killed, unexplained = outcomes[TestOutcome.KILLED], 0
    print(f"\n{killed} of {len(results)} mutants killed ({killed / len(results):.1%}), of {total:,} in all")
    for item, result in results:
        if result.test_outcome == TestOutcome.KILLED:
            continue
        module, (before, after) = Path(item.mutations[0].module_path).stem, changed(result)
        why = known.get((module, after))
        unexplained += why is None
        print(f"\n{module}, line {item.mutations[0].start_pos[0]}: {result.test_outcome}")
        print(f"  - {before}\n  + {after}\n  {f'the same program: {why}' if why else 'NOT EXPLAINED'}")
    print(f"\n{len(results) - killed - unexplained} survivors are the same program, {unexplained} are not")
    if differ := killed + unexplained:
        print(f"{killed / differ:.1%} of those that are another program were killed")
    return unexplained > 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has torch and pytest")
    parser.add_argument("--n", type=int, default=100, help="how many mutants; 0 for all")
    parser.add_argument("--seed", type=int, default=0, help="of the order in which they are drawn")
    parser.add_argument("--timeout", type=float, default=300, help="seconds; a mutant that hangs is killed")
    parser.add_argument(
        "--session", type=Path, default=Path("out/mutants.sqlite"), help="results are kept here"
    )
    args = parser.parse_args()

    python, session = str(Path(args.python).absolute()), args.session.absolute()
    session.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        for path in project_files(ROOT):
            copy = Path(folder) / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
        os.chdir(folder)
        os.environ |= {"PYTHONPATH": folder, "OMP_NUM_THREADS": "1"}
        with use_db(str(session)) as db:
            if not db.num_work_items:
                init([Path(f"ddpm_abc/{name}.py") for name in CORE], db, {})
            return report(db, examine(db, python, args.n, args.seed, args.timeout))


if __name__ == "__main__":
    sys.exit(main())
