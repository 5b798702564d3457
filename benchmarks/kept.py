"""Rows that a benchmark adds to a CSV file as it measures them, so that nothing is measured twice."""

import csv
from pathlib import Path


def rows(path: Path) -> list[dict]:
    "Those that are there."
    if not path.exists():
        return []
    with path.open(newline="") as f:
        return list(csv.DictReader(f))


def matching(path: Path, key: dict) -> list[dict]:
    "Those that say of each column of the key what the key says."
    return [row for row in rows(path) if all(row[k] == str(v) for k, v in key.items())]


def keep(path: Path, row: dict) -> None:
    "Add one at the end."
    new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="") as f:
        writer = csv.DictWriter(f, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)
