"""Write the tables of nbs/95_truth.ipynb: the planted faults, the distances to other libraries, the equation
index.

    python tools/truth.py          # run the faults and the peers, write the tables
    python tools/truth.py --check  # fail if a row is missing or stale; measured numbers may differ

Needs the extras: pip install -e ".[dev,peers]". Takes half a minute.
"""

import argparse
import importlib
import re
import sys
import warnings
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [path for path in (str(ROOT), str(ROOT / "tests")) if path not in sys.path]

from tools import equation_index  # noqa: E402
from tools.execute import clean  # noqa: E402

NOTEBOOK = ROOT / "nbs/95_truth.ipynb"
TABLES = {"equations": "| equation |", "faults": "| fault |", "peers": "| compared |"}  # how each begins


def row(*cells: str) -> str:
    return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"


def fault_rows() -> list[list[str]]:
    "Name, place and test of each fault, without running it."
    return [[f.name, f"`{f.where}`", f"`{f.test}`"] for f in importlib.import_module("mutations").FAULTS]


def faults() -> str:
    mutations = importlib.import_module("mutations")
    lines = ["| fault | planted in | caught by | what the test says |", "|---|---|---|---|"]
    for f, cells in zip(mutations.FAULTS, fault_rows(), strict=True):
        said = mutations.outcome(f)
        if said is None:
            raise SystemExit(f"{f.test} does not notice: {f.name}")
        lines.append(row(*cells, re.sub(r"\s+", " ", said)))
    return "\n".join(lines)


def peers() -> str:
    peers = importlib.import_module("peers")
    lines = ["| compared | peer | deviation | limit | why |", "|---|---|---|---|---|"]
    for name, measure in peers.MEASURES.items():
        r = measure()
        peers.check(r)
        lines.append(
            row(name, r.peer, f"{r.deviation:.1e}", f"{'<' if r.agrees else '>'} {r.limit:.0e}", r.why)
        )
    numbers = ", ".join(f"{name} {version}" for name, version in peers.versions().items())
    return "\n".join([*lines, "", f"Measured with {numbers}."])


def put(nb, tables: dict[str, str]) -> None:
    "Each table is the end of its cell."
    for name, text in tables.items():
        (cell,) = [c for c in nb.cells if c.cell_type == "markdown" and TABLES[name] in c.source]
        cell.source = cell.source[: cell.source.index(TABLES[name])] + text


def first_cells(text: str, n: int) -> list[list[str]]:
    rows = [
        [c.strip().replace("\\|", "|") for c in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    return [r[:n] for r in rows[2:]]


def stale() -> list[str]:
    "What is wrong with the committed tables."
    nb = nbformat.read(NOTEBOOK, 4)
    cells = {
        name: next(c.source[c.source.index(start) :] for c in nb.cells if start in c.source)
        for name, start in TABLES.items()
    }
    found, wrong = equation_index.index()
    if cells["equations"] != equation_index.table(found):
        wrong.append("the equation index in nbs/95_truth.ipynb is not that of the chapters and tests")
    if first_cells(cells["faults"], 3) != fault_rows():
        wrong.append("the table of faults in nbs/95_truth.ipynb is not that of tests/mutations.py")
    if [r[0] for r in first_cells(cells["peers"], 1)] != list(importlib.import_module("peers").MEASURES):
        wrong.append("the table of peers in nbs/95_truth.ipynb is not that of tests/peers.py")
    return [f"{w}: run python tools/truth.py" if "95_truth" in w else w for w in wrong]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail if a row is missing or stale"
    )
    args = parser.parse_args()
    if args.check:
        wrong = stale()
        print("\n".join(wrong), end="\n" * bool(wrong), file=sys.stderr)
        return len(wrong) > 0
    warnings.simplefilter("ignore")
    found, wrong = equation_index.index()
    if wrong:
        print("\n".join(wrong), file=sys.stderr)
        return 1
    nb = nbformat.read(NOTEBOOK, 4)
    put(nb, {"equations": equation_index.table(found), "faults": faults(), "peers": peers()})
    NOTEBOOK.write_text(clean(nbformat.writes(nb)), encoding="utf-8")
    print(
        f"{NOTEBOOK.name}: {len(found)} equations, {len(fault_rows())} faults, "
        f"{len(importlib.import_module('peers').MEASURES)} comparisons"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
