"""From a notebook, as nbdev means it, to a page of MyST Markdown."""

import ast
import base64
import html
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import figures
from course import AS_DRAWN, CITATIONS

HEAD, SETUP = "<!--head-->", "<!--set-up-->"  # where other parts of a page go

DIRECTIVE = re.compile(r"^#\|[ \t]*([\w-]+):?[ \t]*(.*?)[ \t]*$\n?", re.M)
SHIELD = re.compile(r"^\[!\[[^\]]*\]\([^)]*\)\]\([^)]*\)[ \t]*(?:· |\n)?", re.M)
TAGGED = re.compile(r"^\$\$((?:(?!\$\$).)*?)\\tag\{([\da-z.]+)\}((?:(?!\$\$).)*?)\$\$[ \t]*$", re.S | re.M)
EQUATION = re.compile(r"(?<!\w)\((\d+[a-z]?\.\d+)\)")  # sqrt(0.5) is none
CODE_NAME = re.compile(r"(?<!`)`([A-Za-z_][\w.]*)(\([^`]*\))?`(?!`)")
# With the year as 2020, (2020) or (2020, Eq. 4).
CITED = [re.sub(r" (\S+)$", r" (?:\1|\(\1\)?)", cited) for cited in CITATIONS]
CITATION = re.compile("|".join(f"(?P<c{i}>{cited})" for i, cited in enumerate(CITED)))
# What stays on one line: a number and its unit, a mean and its spread, the two parts of a name.
LASTS = re.compile(r"(\d) (seconds?|minutes?|[kMG]B|ms)\b")
SPREAD = re.compile(r"(\d%?) ± (\d)")
HYPHENED = re.compile(
    r"\b(?:U-Nets?|2-Wasserstein|CIFAR-10|[Cc]lassifier-free|DPM-Solver(?:\+\+)?|\d[\d.]*e-\d+)"
)
# A picture that a cell shows as HTML, with its own words.
PICTURE = re.compile(
    r'<p>(?P<about>[^<]*)</p><img alt="(?P<alt>[^"]*)" src="data:image/png;base64,(?P<png>[^"]*)">'
)
LARGER = 1.3  # a figure on the page than in the notebook: so its letters are as large as the code's
# In what a cell printed: columns, or one thing after the other; padding after ":" or "=" is neither.
LISTED = re.compile(r"[^\s:=] {2,}[^\s:]")
PIECE = re.compile(r"\S+(?:(?: |(?<==) +)\S+)*")
UNBROKEN = re.compile(  # an option, a small number, a name with a number, a mean and its error, t = 5
    r"(?<![\w&-])--?[a-z][\w-]*|\b\d[\d.]*e[-+]\d+|\b\w+-\d+\b"
    r"|-?\d[\d.]* \+- \d[\d.]*|\b[A-Za-z] = -?\d[\d.,]*"
)
PHONE = 43  # characters of a printed line on a phone
FOR_TOOLS = re.compile(r"[ \t]*# (?:fmt|noqa): ?[^\n]*")  # comments
CHAPTER = re.compile(r"\b([Cc]hapter|[Aa]ppendix) (\d\d[a-z]?)\b")
LINKED_CHAPTER = re.compile(r"\[([Cc]hapter|[Aa]ppendix) (\d\d[a-z]?)\]")
# What no rule may touch: fences, display and inline maths, links, HTML, headings.
FENCES = r"^(?P<fence>`{3,}|~{3,}).*?^(?P=fence)[ \t]*$"
SAFE = FENCES + r"|\$\$.*?\$\$|\$[^$\n]+\$|!?\[[^\]]*\]\([^)]*\)|<a .*?</a>|<[^>\n]+>|^\#{1,6} [^\n]*$"


@dataclass
class Figure:
    file: str
    alt: str
    width: int
    height: int
    animated: bool
    as_drawn: bool  # on dark pages too


@dataclass
class Page:
    name: str
    title: str
    question: str = ""
    number: str = ""
    runtime: str = ""
    module: str = ""
    abilities: list[str] = field(default_factory=list)
    exercises: int = 0
    figures: list[Figure] = field(default_factory=list)
    equations: list[dict] = field(default_factory=list)
    markdown: str = ""

    @property
    def appendix(self) -> bool:
        return self.number >= "90"

    @property
    def address(self) -> str:
        "Of its page, without the ending."
        return "library" if self.name == "index" else self.name


def outside(pattern: re.Pattern, repl, text: str, safe: str = SAFE) -> str:
    "Substitute everywhere but in what `safe` matches."
    out, last = [], 0
    for m in re.finditer(safe, text, re.S | re.M):
        out += [pattern.sub(repl, text[last : m.start()]), m[0]]
        last = m.end()
    return "".join([*out, pattern.sub(repl, text[last:])])


def work(m: re.Match) -> str:
    "The bibliography's key for what CITATION found."
    return next(key for i, key in enumerate(CITATIONS.values()) if m[f"c{i}"])


def typeset(text: str) -> str:
    "Text that Sphinx does not see, with the apostrophes that it would give it."
    return text.replace("'", "’")


def phrase(text: str) -> str:
    "A line of prose as HTML, where no Markdown is read: its `code` as code."
    parts = html.escape(text, quote=False).split("`")
    return "".join(f"<code>{part}</code>" if i % 2 else typeset(part) for i, part in enumerate(parts))


def raw(text: str) -> str:
    return f"\n```{{raw}} html\n{text}\n```\n"


class Links:
    "Equations, names and citations of the whole project, and how a page's prose links to them."

    def __init__(self, names: dict[str, str], settings: dict[str, str]):
        self.names = names  # `q_sample` -> api/forward.html#ddpm_abc.forward.q_sample
        self.addresses: dict[
            str, str
        ] = {}  # of each notebook's page: 04_training -> 04_training, index -> library
        self.glossary: list[tuple[re.Pattern, str]] = []  # how a term is written -> its anchor
        self.equations: dict[str, str] = {}  # 1.1 -> 01_schedule.html#eq-1.1
        self.blob = f"{settings['git_url']}/blob/{settings['branch']}"

    def prose(self, text: str, up: str = "", here: str = "") -> str:
        """Link what a text names. `up` leads from its page to the site's root; `here` is the notebook it
        stands in."""
        chapters: dict[str, str] = {}  # "05" and "90a"; "90" is the first of those that begin so
        for other in sorted(self.addresses):
            number = other.partition("_")[0]
            chapters |= {number: other, number[:2]: chapters.get(number[:2], other)}
        chapters = {number: other for number, other in chapters.items() if other != here}

        def name(m: re.Match) -> str:
            url = self.names.get(m[1]) or self.names.get(m[1].removeprefix("ddpm_abc."))
            return f'<a class="api" href="{up}{url}">{m[0]}</a>' if url else m[0]

        def equation(m: re.Match) -> str:
            url = self.equations.get(m[1])
            return f'<a class="eqref" href="{up}{url}">({m[1]})</a>' if url else m[0]

        def chapter(m: re.Match) -> str:
            words = f"{m[1]}\u00a0{m[2]}"
            return f'<a href="{up}{chapters[m[2]]}.html">{words}</a>' if m[2] in chapters else words

        text = outside(CODE_NAME, name, text)
        for pattern, link in (
            (LASTS, "\\1\u00a0\\2"),
            (SPREAD, "\\1\u00a0±\u00a0\\2"),
            (HYPHENED, '<span class="nobr">\\g<0></span>'),
            (EQUATION, equation),
            (CHAPTER, chapter),
            (CITATION, lambda m: f'<a class="cite" href="{up}bibliography.html#{work(m)}">{m[0]}</a>'),
        ):
            text = outside(pattern, link, text, SAFE + r"|`[^`\n]+`")
        return text

    def terms(self, text: str) -> str:
        "Link the first use of each glossary term on a page."
        for pattern, anchor in self.glossary:
            fresh = iter([True])  # spent by the first use
            text = outside(
                pattern,
                lambda m, a=anchor, fresh=fresh: (
                    f'<a class="term-link" href="glossary.html#{a}">{m[0]}</a>'
                    if next(fresh, False)
                    else m[0]
                ),
                text,
                SAFE + r"|`[^`\n]+`|^\|[^\n]*$|^> [^\n]*$",
            )
        return text

    def relative(self, text: str) -> str:
        """Links between notebooks become links between pages; links to other files of the project lead to
        GitHub."""

        def moved(m: re.Match) -> str:
            target, hash, anchor = m[2].partition("#")
            if re.match(r"[a-z]+:|/", target) or not target:
                return m[0]
            if address := self.addresses.get(target.removesuffix(".ipynb")):
                return f"{m[1]}{address}.md{hash}{anchor}{m[3]}"
            path = target.removeprefix("../") if target.startswith("../") else f"nbs/{target}"
            return f"{m[1]}{self.blob}/{path}{hash}{anchor}{m[3]}"

        return outside(re.compile(r"(\]\()([^)\s]+)(\))"), moved, text, FENCES)


def term_anchor(term: str) -> str:
    return "term-" + re.sub(r"[^a-z0-9]+", "-", re.sub(r"\$.*?\$", "", term).lower()).strip("-")


def _titles(source: str) -> list[str]:
    "The titles that a figure cell sets, as far as they are plain text."
    found = []
    try:
        tree = ast.parse(re.sub(r"^\s*[%!].*$", "pass", source, flags=re.M))
    except SyntaxError:
        return []
    named = {}  # what the cell calls its texts
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, value = node.targets[0], node.value
            both = isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
            pairs = zip(target.elts, value.elts, strict=False) if both else [(target, value)]
            named |= {name.id: text for name, text in pairs if isinstance(name, ast.Name)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        values = [k.value for k in node.keywords if k.arg == "title"]
        if name in ("set_title", "suptitle", "title") and node.args:
            values.append(node.args[0])
        for v in values:
            v = named.get(v.id) if isinstance(v, ast.Name) else v
            if isinstance(v, ast.JoinedStr):
                text = "".join(p.value if isinstance(p, ast.Constant) else "…" for p in v.values)
            else:
                text = v.value if isinstance(v, ast.Constant) and isinstance(v.value, str) else ""
            if len(text.strip(" …")) > 2:
                found.append(
                    (name == "suptitle", node.lineno, re.sub(r"[$\\{}]", "", text.replace("\n", " ")))
                )
    return [t for _, _, t in sorted(found, key=lambda f: (not f[0], f[1]))]


def joined(outputs: list[dict]) -> list[dict]:
    "What a cell printed between two figures is one output."
    out: list[dict] = []
    for o in outputs:
        if out and "text" in o and o.get("name") == out[-1].get("name"):
            out[-1] = o | {"text": [*out[-1]["text"], *o["text"]]}
        else:
            out.append(o)
    return out


def printed(text: str) -> str:
    """What a cell printed. A table keeps its lines, and the sentences beside it fold; elsewhere a line breaks
    between what it lists, not within, and not in an option or a number."""
    lines = text.splitlines()
    listed = [line for line in lines if LISTED.search(line)]
    table, rows = len(listed) > 1, {_shape(line) for line in listed}

    def folds(line: str) -> bool:
        return len(line) >= 60 and line not in listed and line[:3].strip() != "" and _shape(line) not in rows

    if table:
        shown = [f'<span class="fold">{html.escape(s)}</span>' if folds(s) else html.escape(s) for s in lines]
    else:
        shown = [_pieces(line) if line in listed else _unbroken(line) for line in lines]
        if len(lines) > 1:
            shown = [f'<span class="line">{line}\n</span>' for line in shown]
    body = ("\n" if table else "").join(shown)
    return raw(f'<pre class="printed{" columns" if table else ""}">{body}</pre>')


def _shape(line: str) -> tuple[int, str]:
    "What the rows of a table have in common: how many words, and the last of them, but for its digits."
    words = re.sub(r"\d", "0", line).split()
    return len(words), words[-1] if words else ""


def _unbroken(text: str) -> str:
    return UNBROKEN.sub(r'<span class="nobr">\g<0></span>', html.escape(text))


def _pieces(line: str) -> str:
    "A line that lists things, each of them whole where a phone has room for it."

    def piece(m: re.Match) -> str:
        whole = len(m[0]) <= PHONE
        return f'<span class="piece">{_unbroken(m[0])}</span>' if whole else _unbroken(m[0])

    return PIECE.sub(piece, line)


class Reader:
    "One notebook. It is opened first, for what other pages link to, and read when all are open."

    def __init__(self, path: Path, folder: Path, links: Links):
        self.path, self.folder, self.links = path, folder, links  # folder: where its figures go
        self.cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        for c in self.cells:
            c["source"] = "".join(c["source"])
        first = self.cells[0]["source"]

        def said(pattern: str, text: str = first) -> str:
            m = re.search(pattern, text, re.M)
            return m[1].strip() if m else ""

        self.page = Page(path.stem, said(r"^# (.+)$"), said(r"^> (.+)$"), said(r"^(\d+[a-z]?)_", path.stem))
        self.page.runtime = said(r"^Run time: *(.+?)\.?$")
        self.page.module = next(
            (m for c in self.cells if (m := said(r"^#\| default_exp ([\w.]+)", c["source"]))), ""
        )
        links.addresses[self.page.name] = self.page.address
        self._equations()

    def _text(self) -> list[str]:
        return [c["source"] for c in self.cells if c["cell_type"] == "markdown"]

    def _equations(self) -> None:
        for text in self._text():
            for m in TAGGED.finditer(text):
                before = re.sub(r"\s+", " ", text[: m.start()].rstrip().rsplit("\n\n", 1)[-1])
                if m[2] in self.links.equations:
                    raise ValueError(
                        f"equation ({m[2]}) is numbered twice: in {self.path.name} and at "
                        f"{self.links.equations[m[2]]}"
                    )
                self.page.equations.append({"n": m[2], "tex": (m[1] + m[3]).strip(), "before": before})
                self.links.equations[m[2]] = f"{self.page.name}.html#eq-{m[2]}"
            if stray := re.search(
                r".{,80}\\tag\{.{,40}", TAGGED.sub("", re.sub(FENCES, "", text, flags=re.S | re.M))
            ):
                raise ValueError(
                    f"{self.path.name}: a \\tag that is not in a $$ block of its own lines: {stray[0]}"
                )

    def glossary(self) -> list[tuple[str, str]]:
        "The rows of the table under a heading Glossary: term, meaning."
        m = re.search(r"^#+ Glossary[ \t]*$(.*?)(?=^#+ |\Z)", "\n".join(self._text()), re.M | re.S)
        rows = re.findall(r"^\|\s*\**([^|*]+?)\**\s*\|\s*(.+?)\s*\|[ \t]*$", m[1], re.M) if m else []
        return [r for r in rows if not set(r[0]) <= set("-: ") and r[0] != "term"]

    def markdown(self, text: str) -> str:
        "A cell's text with its links, its equations numbered, its badges dropped."
        text = SHIELD.sub("", text)
        text = re.sub(
            r"\[!\[([^\]]*)\]\(https?:[^)]*\)\]\(([^)]*)\)", r"[\1](\2)", text
        )  # a badge within a line: its words, not its picture
        text = LINKED_CHAPTER.sub("[\\1\u00a0\\2]", text)
        text = self.links.prose(self.links.relative(text), here=self.page.name)
        text = re.sub(
            r"(?<=\| )([<>] [\d.e+-]+)(?= \|)",
            lambda m: f'<span class="nobr">{html.escape(m[0])}</span>',
            text,
        )  # a limit in a table
        text = re.sub(
            r"^\$\$[ \t]*(.+?)[ \t]*\$\$[ \t]*$",
            lambda m: m[0] if "\\tag" in m[0] else f"$$\n{m[1].strip()}\n$$",
            text,
            flags=re.S | re.M,
        )
        return TAGGED.sub(
            lambda m: (
                raw(f'<div class="eq" id="eq-{m[2]}">')
                + f"\n$$\n{(m[1] + m[3]).strip()}\n$$\n"
                + raw(
                    f'<a class="eqno" href="#eq-{m[2]}" aria-label="Link to equation '
                    f'{m[2]}">({m[2]})</a></div>'
                )
            ),
            text,
        )

    def _head(self, text: str) -> str:
        "The first cell without what the page's head shows in its own way."
        text = re.sub(r"^# .+\n|^> .+\n?|^Run time:.*\n?", "", text, flags=re.M)
        m = re.search(
            r"^After this (?:chapter|appendix) you can.*?\n\n?((?:[-*] .+\n?(?:  .+\n?)*)+)", text, re.M
        )
        if not m:
            return self.markdown(text)
        items = re.split(r"^[-*] ", m[1], flags=re.M)
        self.page.abilities = [re.sub(r"\s+", " ", a).strip().rstrip(".;,") for a in items if a.strip()]
        listed = raw('<div class="abilities">') + "\n" + self.markdown(m[0].strip()) + "\n" + raw("</div>")
        return self.markdown(text[: m.start()]) + listed + "\n" + self.markdown(text[m.end() :])

    def _alt(self, source: str, options: dict[str, str]) -> str:
        "A figure's alt text: `#| fig-alt`, or else the titles within it."
        alt = options.get("fig-alt", "").strip("\"'")
        if not alt:
            titles = _titles(source)
            whole = [t for t in titles if "…" not in t] or [
                t for t in titles if len(t) > 12
            ]  # a title may have parts that only a run knows
            alt = ". ".join(dict.fromkeys(t.strip().rstrip(".") for t in whole))
        if not alt:
            first = source.partition("\n")[0]
            raise ValueError(
                f"{self.path.name}: a figure has neither a title nor `#| fig-alt: what it shows`, in the "
                f"cell that begins {first!r}"
            )
        return alt if len(alt) <= 240 else alt[:237].rsplit(" ", 1)[0] + " …"

    def _figure(self, png: bytes, alt: str, shown: int | None, bare: bool = False) -> str:
        """The picture, and its dark twin. `shown`: its width on the page, where that is not its own.
        `bare`: it is a grid of images without a word in it."""
        page = self.page
        stem = f"{page.name}-{len(page.figures) + 1}"
        (self.folder / f"{stem}.png").write_bytes(png)
        width, height = figures.size(png)
        moves = figures.is_animation(png)
        as_drawn = any(words in alt for words in AS_DRAWN)
        page.figures.append(Figure(stem, alt, width, height, moves, as_drawn))
        images = ""
        for theme, suffix in (("light", ""), ("dark", "" if as_drawn else "-dark")):
            image = (
                f'<img class="only-{theme}" src="_static/figures/{stem}{suffix}.png" width="{width}" '
                f'height="{height}" alt="{html.escape(alt)}" loading="lazy" decoding="async">'
            )
            if moves:
                image = (
                    '<picture><source media="(prefers-reduced-motion: reduce)" '
                    f'srcset="_static/figures/{stem}{suffix}-still.png">{image}</picture>'
                )
            images += image
        small, across = width < 330, round(LARGER * shown) if shown else width
        if small:  # a bare grid, whose pixels are shown larger
            across = min(700, width * (2 if width > 160 else 3))
        pixels = " pixels" if small or bare else ""
        return raw(f'<figure class="fig{pixels}" style="--w:{across}px">{images}</figure>')

    def _output(self, output: dict, source: str, options: dict[str, str]) -> str:
        data = {kind: "".join(value) for kind, value in output.get("data", {}).items()}
        if output["output_type"] == "stream" and output["name"] == "stdout":
            return printed("".join(output["text"]).rstrip())
        if "image/png" in data:
            shown = output.get("metadata", {}).get("image/png", {}).get("width")
            return self._figure(base64.b64decode(data["image/png"]), self._alt(source, options), shown)
        if shown := PICTURE.fullmatch(data.get("text/html", "")):
            png = base64.b64decode(shown["png"])
            return f"\n{shown['about']}\n" + self._figure(png, shown["alt"], None, bare=True)
        if "text/plain" in data and "text/html" not in data:
            return raw(f'<pre class="printed">{html.escape(data["text/plain"])}</pre>')
        raise ValueError(f"{self.path.name}: an output that the site does not show: {str(output)[:200]}")

    def _code(self, cell: dict) -> tuple[str, str, dict[str, str]]:
        "A code cell as nbdev's directives say: what it shows of itself, its outputs, and the directives."
        options = dict(DIRECTIVE.findall(cell["source"]))
        code = FOR_TOOLS.sub("", DIRECTIVE.sub("", cell["source"])).strip("\n")
        if options.keys() & {"hide", "default_exp"} or not code.strip():
            return "", "", options
        outputs = (
            ""
            if options.get("output") == "false"
            else "".join(self._output(o, code, options) for o in joined(cell["outputs"]))
        )
        if options.get("echo") == "false":
            return "", outputs, options
        exported = options.keys() & {"export", "exports", "exporti"}
        mark = (
            raw(f'<a class="mark" href="api/{self.page.module}.html">in ddpm_abc.{self.page.module}</a>')
            if exported
            else ""
        )
        return f"{mark}\n`````python\n{code}\n`````\n", outputs, options

    def read(self, widgets: list[tuple[str, str]], widget: Callable[[str], str]) -> Page:
        "The whole page. `widgets`: kind, and the heading to put it before; `widget`: kind -> HTML."
        page, heading, setup, parts = self.page, "", "", []
        waiting = {f"## {before}": kind for kind, before in widgets}
        for i, cell in enumerate(self.cells):
            source = cell["source"]
            if cell["cell_type"] == "markdown":
                for line in [line for line in source.split("\n") if line in waiting]:
                    source = source.replace(line, raw(widget(waiting.pop(line))) + "\n" + line)
                heads = re.findall(r"^#+ (.+)$", re.sub(FENCES, "", source, flags=re.S | re.M), re.M)
                heading = heads[-1] if heads else heading
                if heading == "Check yourself":
                    page.exercises += len(re.findall(r"^\*\*(?:Exercise )?\d+\.?", source, re.M))
                parts.append(self.markdown(source) if i else self._head(source))
                continue
            block, outputs, options = self._code(cell)
            if heading == page.title and re.search(
                r"^`````python\n(from|import) ", block, re.M
            ):  # before the first section
                setup += block
                parts += [SETUP] * (SETUP not in parts) + [outputs]
            elif options.get("code-fold") == "true":
                solution = heading == "Check yourself"  # what else is folded shows what it prints or draws
                title = "Solution" if solution else "Set-up: helpers" if heading == page.title else "Code"
                parts.append(
                    raw('<div class="cell">')
                    + raw(f'<details class="fold"><summary>{title}</summary>')
                    + block
                    + (outputs if solution else "")
                    + raw("</details>")
                    + ("" if solution else outputs)
                    + raw("</div>")
                )
            elif block or outputs:
                exported = " exported" if 'class="mark"' in block else ""
                parts.append(raw(f'<div class="cell{exported}">') + block + outputs + raw("</div>"))
        if waiting:
            raise ValueError(
                f"{self.path.name}: no heading {list(waiting)} to put a widget before; see WIDGETS in "
                f"site/course.py"
            )
        folded = (
            raw('<details class="fold setup"><summary>Set-up: imports</summary>') + setup + raw("</details>")
        )
        body = "\n\n".join(p for p in parts if p.strip()).replace(SETUP, folded)
        page.markdown = f"# {page.title}\n{HEAD}\n{self.links.terms(body)}\n"
        return page
