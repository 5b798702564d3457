"""Set LaTeX at build time with KaTeX: pages carry formulas and MathML, and run no script for them."""

import functools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from docutils import nodes
from sphinx.util import logging

log = logging.getLogger(__name__)
HERE = Path(__file__).resolve().parent
KATEX = HERE.parent / "_build" / "vendor" / "katex" / "katex.min.js"


@functools.cache
def _node() -> subprocess.Popen:
    node = shutil.which("node")
    if node is None:
        sys.exit(
            "node was not found: the site sets its maths with Node.js 18 or newer. Install it and run again."
        )
    return subprocess.Popen(
        [node, str(HERE / "katex.cjs"), str(KATEX)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


@functools.cache
def to_html(tex: str, display: bool, output: str = "htmlAndMathml") -> str:
    "HTML for one formula. Raises `ValueError` for LaTeX that KaTeX does not read."
    node = _node()
    node.stdin.write(json.dumps({"tex": tex, "display": display, "output": output}) + "\n")
    node.stdin.flush()
    answer = json.loads(node.stdout.readline())
    if "error" in answer:
        raise ValueError(answer["error"])
    return answer["html"]


def stop() -> None:
    "End the helper process."
    if _node.cache_info().currsize:
        _node().stdin.close()
        _node().wait()
        _node.cache_clear()


def _render(node, display: bool) -> str:
    try:
        return to_html(node.astext().strip(), display)
    except ValueError as e:
        log.warning("maths: %s in %s", e, node.astext(), location=node)
        return ""


def _is_short(tex: str) -> bool:
    "Whether a formula has so few signs that it need not break over two lines."
    return len(re.sub(r"\\[a-zA-Z]+|[{}\\,;! ]", lambda m: "x" * (m[0][1:].isalpha()), tex)) <= 16


def visit_inline(translator, node) -> None:
    whole = " nobr" if _is_short(node.astext()) else ""
    translator.body.append(f'<span class="math{whole}">{_render(node, False)}</span>')
    raise nodes.SkipNode


def visit_block(translator, node) -> None:
    translator.body.append(f'<div class="math">{_render(node, True)}</div>\n')
    raise nodes.SkipNode


def keep_punctuation(app, doctree, docname) -> None:
    """Keep a formula and the stop or suffix after it on one line: browsers break a line after any formula."""
    for node in list(doctree.findall(nodes.math)):
        parent, after = node.parent, node.parent.index(node) + 1
        follows = parent[after] if after < len(parent) else None
        mark = (
            re.match(r"[-–]\w+|[.,;:?!)\]’”]+", follows.astext()) if isinstance(follows, nodes.Text) else None
        )
        if mark:
            parent[after] = nodes.Text(follows.astext()[mark.end() :])
            if len(node.astext()) < 40:
                parent[after - 1] = nodes.inline("", "", node, nodes.Text(mark[0]), classes=["nobr"])
            else:  # it may break, but not before the mark
                parent[after - 1] = nodes.math("", rf"{node.astext()}\text{{{mark[0]}}}")


def setup(app) -> dict:
    app.add_html_math_renderer("katex", (visit_inline, None), (visit_block, None))
    app.connect("doctree-resolved", keep_punctuation)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
