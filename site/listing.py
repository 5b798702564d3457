"""Code on the page, with a tag only around what the style sheet colours: names and punctuation are most of
a program, and look like the text around them."""

from collections.abc import Iterable
from typing import Any, TextIO

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


def setup(app) -> dict:
    PygmentsBridge.html_formatter = Listing
    return {"parallel_read_safe": True, "parallel_write_safe": True}
