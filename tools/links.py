"""Make every link to this project name the user, repo and branch of settings.ini.

    python tools/links.py           # rewrite, after a change of settings.ini (or in a fork)
    python tools/links.py --check   # write nothing; list the links that differ, exit status 1 if any do

How a link to this project is told from a link to another: a Colab badge and a `git+https` install line are
always ours, and so is any link that names a user and repo that those name today. The modules are left to
`nbdev_export`.
"""

import argparse
import os
import re
import sys
from collections.abc import Iterable, Iterator
from configparser import ConfigParser, SectionProxy
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)] * (str(ROOT) not in sys.path)

from tools.house import is_exported  # noqa: E402

NAME = r"(?P<user>[\w.-]+)/(?P<repo>[\w-]+)"
BRANCH = r"(?P<branch>(?![0-9a-f]{40})[\w.-]+)"  # a link to a commit stays where it points
OURS = [
    re.compile(p)
    for p in (
        rf"colab\.research\.google\.com/github/{NAME}/blob/{BRANCH}",
        rf"git\+https://github\.com/{NAME}@{BRANCH}",
    )
]
MAYBE = [
    re.compile(p)
    for p in (
        rf"(?<![+\w.])(?:https?://|git@)github\.com[/:]{NAME}(?:/(?:blob|tree)/{BRANCH})?",
        rf"raw\.githubusercontent\.com/{NAME}/{BRANCH}",
        r"(?P<user>[\w-]+)\.github\.io/(?P<repo>[\w-]+)",
    )
]
TEXT = {".ipynb", ".md", ".yml", ".toml", ".py", ".html", ".ini", ".css", ".cfg", ".txt", ".in", ".cff", ""}
MADE = {"build", "dist", "out", "runs", "student", "htmlcov", "_build", "_docs", "_proc"}
MADE |= {"__pycache__", "node_modules"}


def project_files(root: Path = ROOT) -> Iterator[Path]:
    "The project's own files: nothing that a command makes, no environment, nothing of git's."
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(
            d
            for d in folders
            if d not in MADE
            and not d.endswith(".egg-info")
            and (not d.startswith(".") or d in {".github", ".ci"})
            and not (Path(folder) / d / "pyvenv.cfg").exists()
        )
        yield from (Path(folder) / name for name in sorted(names) if name != ".coverage")


def config() -> SectionProxy:
    "settings.ini."
    parser = ConfigParser(delimiters=["="])
    parser.read(ROOT / "settings.ini", encoding="utf-8")
    return parser["DEFAULT"]


def settings() -> dict[str, str]:
    "user, repo and branch, as settings.ini has them."
    return {key: config()[key] for key in ("user", "repo", "branch")}


def names_in(texts: Iterable[str]) -> set[tuple[str, str]]:
    "Every (user, repo) that the links which are surely ours name."
    return {(m["user"], m["repo"]) for text in texts for pattern in OURS for m in pattern.finditer(text)}


def rewrite(text: str, names: set[tuple[str, str]], want: dict[str, str]) -> tuple[str, list[str]]:
    "The text with its links to this project put right, and those that were wrong."
    names = names | {(want["user"], want["repo"])}
    found = [m for pattern in OURS for m in pattern.finditer(text)]
    found += [
        m
        for pattern in MAYBE
        for m in pattern.finditer(text)
        if (m["user"], m["repo"]) in names or m["repo"] == want["repo"]
    ]
    edits, wrong = [], []
    for m in found:
        changes = [
            (m.span(key), want[key]) for key, value in m.groupdict().items() if value not in (None, want[key])
        ]
        edits += changes
        wrong += [m[0]] if changes else []
    for (start, end), value in sorted(edits, reverse=True):
        text = text[:start] + value + text[end:]
    return text, wrong


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="list the links that differ and write nothing")
    args = parser.parse_args()

    want = settings()
    paths = [p for p in project_files() if p.suffix in TEXT and not (p.suffix == ".py" and is_exported(p))]
    texts = {path: path.read_text(encoding="utf-8") for path in paths}
    names = names_in(texts.values())
    total = 0
    for path, text in texts.items():
        new, wrong = rewrite(text, names, want)
        total += len(wrong)
        for link in wrong:
            print(f"{path.relative_to(ROOT)}: {link}")
        if wrong and not args.check:
            path.write_text(new, encoding="utf-8")
    print(
        f"{total} links {'differ from' if args.check else 'rewritten to'} {want['user']}/{want['repo']}, "
        f"branch {want['branch']}"
    )
    return total > 0 and args.check


if __name__ == "__main__":
    sys.exit(main())
