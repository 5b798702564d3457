"""Code on the page, with a tag only around what the style sheet colours: names and punctuation are most of
a program, and look like the text around them."""

import html
import re
from collections.abc import Iterable
from typing import Any, TextIO

from docutils import nodes
from pygments.formatters import HtmlFormatter
from pygments.token import STANDARD_TYPES, Text
from sphinx.highlighting import PygmentsBridge

# Pygments' short names of tokens, as site.css has them
COLOURED = {
    *("k", "kn", "kc", "kd", "ow", "nb", "bp", "nf", "nc", "nd"),
    *("s", "s1", "s2", "sd", "sa", "sb", "si", "se", "mi", "mf", "mh", "mb"),
    *("c", "c1", "cm", "ch"),
}


class Listing(HtmlFormatter):
    "Pygments' own, which sees all other tokens as text."

    def format_unencoded(self, tokensource: Iterable[tuple[Any, str]], outfile: TextIO) -> None:
        tokens = ((t if STANDARD_TYPES.get(t) in COLOURED else Text, value) for t, value in tokensource)
        super().format_unencoded(tokens, outfile)


LONG = 30  # characters: what is longer may be wider than the place that a phone has for it


def visit_literal(translator, node) -> None:
    """Code within a line: what is short stays whole. A long word breaks after its stops, and after its
    underscores where a name in it is as long as a line."""
    if len(node.astext()) <= LONG:
        short = ' class="nobr"' if re.search(r"[- /]|\)[(\[]", node.astext()) else ""
        translator.body.append(f"<code{short}>{html.escape(node.astext())}</code>")
        raise nodes.SkipNode
    words = []
    for word in node.astext().split(" "):
        shown = html.escape(word)
        if len(word) > LONG:
            stops = "/" if "://" in word else "[._/(]" if re.search(r"\w{34,}", word) else "[./(]"
            shown = re.sub(rf"{stops}(?=[\w&])", r"\g<0><wbr>", shown)
        elif re.search(r"[-/]|\)[(\[]", word):
            shown = f'<span class="nobr">{shown}</span>'
        words.append(shown)
    translator.body.append(f"<code>{' '.join(words)}</code>")
    raise nodes.SkipNode


def setup(app) -> dict:
    app.add_node(nodes.literal, override=True, html=(visit_literal, None))
    PygmentsBridge.html_formatter = Listing
    return {"parallel_read_safe": True, "parallel_write_safe": True}
