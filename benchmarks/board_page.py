"""board.md, from the rows of results/board.csv."""

from collections.abc import Callable
from statistics import mean, stdev

GOALS, READ = (20, 10, 5, 2.5), 0.95  # FIDs and the share read as ordered that "time to" asks for
HEAD = ("recipe", "seconds", "images seen", "seeds", "FID", "FID, test set", "read as ordered")
SCORES = {"fid": ".2f", "fid_test": ".2f", "read": ".1%"}
PREFACE = """How good are digits after so many seconds of training from nothing, on an idle machine?
`python benchmarks/board.py --mnist FOLDER` measures, and writes this page from results/board.csv; the
protocol stands at its top, and its ENTRIES say what each name stands for: "+ muon" is the recipe of
`ddpm-abc train`. w is the weight of guidance; a tuned peer draws with w = 1. ± is the standard deviation
over the seeds. One pile of a thousand real digits, held out, scores 0.71, and 0.72 against the test set;
98.5% of them are read as labelled. Three such piles score 0.81 in the mean (chapter 06). "Time to" names the
shortest of a recipe's trainings on the board that reaches the mark in the mean of its seeds, and "> 120 s"
says that none up to that time does. Each time is a training of its own; where a recipe has one time only,
nothing shorter was tried."""


def spread(values: list[str], form: str) -> str:
    numbers = [float(v) for v in values if v]
    if not numbers:
        return ""
    text = format(mean(numbers), form)
    return f"{text} ± {format(stdev(numbers), form)}" if len(numbers) > 1 else text


def score(of: list[dict], column: str) -> float:
    "The mean over the seeds."
    return mean(float(r[column]) for r in of)


def shortest(times: dict[float, list[dict]], good: Callable[[list[dict]], bool]) -> str:
    "The shortest of the trainings that are good enough, or that it takes longer than the longest."
    enough = [seconds for seconds, of in times.items() if good(of)]
    return f"{min(enough):g} s" if enough else f"> {max(times):g} s"


def goals(times: dict[float, list[dict]]) -> list[str]:
    "How long to each goal; empty where the recipe is not told which digit to draw."
    cells = [shortest(times, lambda of, bar=bar: score(of, "fid") <= bar) for bar in GOALS]
    told = all(r["read"] for of in times.values() for r in of)
    return [*cells, shortest(times, lambda of: score(of, "read") >= READ) if told else ""]


def page(found: list[dict]) -> str:
    "board.md: mean and standard deviation over the seeds, and how long to a given FID, by machine and N."
    lines = ["# The board", "", PREFACE]
    for machine, n in dict.fromkeys((r["machine"], r["n"]) for r in found):  # no FID is like one of another N
        by: dict[str, dict[float, list[dict]]] = {}  # recipe and seconds: a row for each seed
        for r in found:
            if (r["machine"], r["n"]) == (machine, n):
                by.setdefault(r["entry"], {}).setdefault(float(r["seconds"]), []).append(r)
        lines += ["", f"## {machine}, N = {int(n):,}", ""]
        lines += [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
        trained = [
            (seconds, score(of, "fid"), name) for name, times in by.items() for seconds, of in times.items()
        ]
        for seconds, _, name in sorted(trained):  # the best of each time first
            of = by[name][seconds]
            seeds = ", ".join(r["seed"] for r in of)
            scores = [spread([r[k] for r in of], form) for k, form in SCORES.items()]
            cells = [name, f"{seconds:g}", f"{int(of[0]['images']):,}", seeds, *scores]
            lines.append(f"| {' | '.join(cells)} |")
        lines += ["", f"| time to | {' | '.join(f'FID {g:g}' for g in GOALS)} | {READ:.0%} read as ordered |"]
        lines += ["|---" * (len(GOALS) + 2) + "|"]
        lines += [f"| {name} | {' | '.join(goals(by[name]))} |" for name in sorted(by)]
    return "\n".join(lines) + "\n"
