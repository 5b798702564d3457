"""From a notebook, as nbdev means it, to a page of MyST Markdown."""

import ast
import base64
import html
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from course import CITATIONS

DIRECTIVE = re.compile(r"^#\|[ \t]*([\w-]+):?[ \t]*(.*?)[ \t]*$\n?", re.M)
SHIELD = re.compile(r"^\[!\[[^\]]*\]\([^)]*\)\]\([^)]*\)[ \t]*\n?", re.M)
TAGGED = re.compile(r"^\$\$((?:(?!\$\$).)*?)\\tag\{([\d.]+)\}((?:(?!\$\$).)*?)\$\$[ \t]*$", re.S | re.M)
EQUATION = re.compile(r"\((\d+\.\d+)\)")
CODE_NAME = re.compile(r"(?<!`)`([A-Za-z_][\w.]*)(\([^`]*\))?`(?!`)")
CITATION = re.compile("|".join(f"(?P<c{i}>{p})" for i, p in enumerate(CITATIONS)))
CITED = list(CITATIONS.values())
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
    without_alt: list[str] = field(default_factory=list)  # first lines of figure cells that neither title nor fig-alt describes
    markdown: str = ""


def outside(pattern: re.Pattern, repl, text: str, safe: str = SAFE) -> str:
    "Substitute everywhere but in what `safe` matches."
    out, last = [], 0
    for m in re.finditer(safe, text, re.S | re.M):
        out += [pattern.sub(repl, text[last : m.start()]), m[0]]
        last = m.end()
    return "".join([*out, pattern.sub(repl, text[last:])])


def raw(text: str) -> str:
    return f"\n```{{raw}} html\n{text}\n```\n"


class Links:
    "Equations, names and citations of the whole project, and how a page's prose links to them."

    def __init__(self, names: dict[str, str], settings: dict[str, str]):
        self.names = names  # `q_sample` -> api/forward.html#ddpm_abc.forward.q_sample
        self.chapters: dict[str, str] = {}  # 04 -> 04_training
        self.glossary: list[tuple[re.Pattern, str]] = []  # how a term is written -> its anchor
        self.here = ""  # the page that is being read
        self.equations: dict[str, str] = {}  # 1.1 -> 01_schedule.html#eq-1.1
        self.blob = f"{settings['git_url']}/blob/{settings['branch']}"

    def name(self, m: re.Match, up: str) -> str:
        url = self.names.get(m[1]) or self.names.get(m[1].removeprefix("ddpm_abc."))
        return f'<a class="api" href="{up}{url}"><code>{html.escape(m[0].strip("`"))}</code></a>' if url else m[0]

    def equation(self, m: re.Match, up: str) -> str:
        url = self.equations.get(m[1])
        return f'<a class="eqref" href="{up}{url}">({m[1]})</a>' if url else m[0]

    def citation(self, m: re.Match, up: str) -> str:
        key = CITED[next(i for i in range(len(CITED)) if m[f"c{i}"])]
        return f'<a class="cite" href="{up}bibliography.html#{key}">{m[0]}</a>'

    def prose(self, text: str, up: str = "") -> str:
        "Link what a text names. `up` leads from its page to the site's root."
        text = outside(CODE_NAME, lambda m: self.name(m, up), text)
        code = SAFE + r"|`[^`\n]+`"
        text = outside(EQUATION, lambda m: self.equation(m, up), text, code)
        if not up:
            text = outside(re.compile(r"\b([Cc]hapter|[Aa]ppendix) (\d\d)\b"), self.chapter, text, code)
        return outside(CITATION, lambda m: self.citation(m, up), text, code)

    def chapter(self, m: re.Match) -> str:
        name = self.chapters.get(m[2])
        return f'<a href="{name}.html">{m[0]}</a>' if name and name != self.here else m[0]

    def terms(self, text: str) -> str:
        "Link the first use of each glossary term on a page."
        for pattern, anchor in self.glossary:
            safe = SAFE + r"|`[^`\n]+`|^\|[^\n]*$|^> [^\n]*$"
            first = [True]

            def once(m: re.Match, anchor: str = anchor, first: list[bool] = first) -> str:
                if not first[0]:
                    return m[0]
                first[0] = False
                return f'<a class="term-link" href="00_math.html#{anchor}">{m[0]}</a>'

            text = outside(pattern, once, text, safe)
        return text

    def relative(self, text: str, docs: set[str]) -> str:
        "Links between notebooks become links between pages; links to other files of the project lead to GitHub."
        def moved(m: re.Match) -> str:
            target, anchor = (m[2].split("#", 1) + [""])[:2]
            if re.match(r"[a-z]+:|/", m[2]) or not target:
                return m[0]
            stem = Path(target).stem
            if target.endswith(".ipynb") and stem in docs:
                stem = "library" if stem == "index" else stem
                return f"{m[1]}{stem}.md{'#' + anchor if anchor else ''}{m[3]}"
            path = target.removeprefix("../") if target.startswith("../") else f"nbs/{target}"
            return f"{m[1]}{self.blob}/{path}{'#' + anchor if anchor else ''}{m[3]}"
        return outside(re.compile(r"(\]\()([^)\s]+)(\))"), moved, text, FENCES)


def term_anchor(term: str) -> str:
    return "term-" + re.sub(r"[^a-z0-9]+", "-", re.sub(r"\$.*?\$", "", term).lower()).strip("-")


def anchored_terms(markdown: str) -> str:
    "Give each row of the glossary's table an anchor."
    head, mark, body = markdown.partition("\n## Glossary")
    table, rest_mark, rest = body.partition("\n## ")
    seen: set[str] = set()

    def row(m: re.Match) -> str:
        anchor = term_anchor(m[1])
        if set(m[1].strip()) <= set("-: ") or m[1].strip() == "term" or anchor in seen:
            return m[0]
        seen.add(anchor)
        return f'| <span id="{anchor}"></span>{m[1].strip()} |'

    return head + mark + re.sub(r"^\|([^|\n]+)\|", row, table, flags=re.M) + rest_mark + rest


def _titles(source: str) -> list[str]:
    "The titles that a figure cell sets, as far as they are plain text."
    found = []
    try:
        tree = ast.parse(re.sub(r"^\s*[%!].*$", "pass", source, flags=re.M))
    except SyntaxError:
        return []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        values = [k.value for k in node.keywords if k.arg == "title"]
        if name in ("set_title", "suptitle", "title") and node.args:
            values.append(node.args[0])
        for v in values:
            if isinstance(v, ast.JoinedStr):
                text = "".join(p.value if isinstance(p, ast.Constant) else "…" for p in v.values)
            else:
                text = v.value if isinstance(v, ast.Constant) and isinstance(v.value, str) else ""
            if len(text.strip(" …")) > 2:
                found.append((name == "suptitle", node.lineno, text.replace("\n", " ")))
    return [t for _, _, t in sorted(found, key=lambda f: (not f[0], f[1]))]


class Reader:
    def __init__(self, path: Path, figures: Path, links: Links, size):
        self.path, self.folder, self.links, self.size = path, figures, links, size
        self.nb = json.loads(path.read_text(encoding="utf-8"))
        for c in self.nb["cells"]:
            c["source"] = "".join(c["source"])
        first = self.nb["cells"][0]["source"]
        title = re.search(r"^# (.+)$", first, re.M)
        question = re.search(r"^> (.+)$", first, re.M)
        runtime = re.search(r"^Run time: *(.+)$", first, re.M)
        self.page = Page(path.stem, title[1].strip() if title else path.stem, question[1].strip() if question else "")
        if m := re.match(r"(\d+)_", path.stem):
            self.page.number = m[1]
        if runtime and "RUNTIME" not in runtime[1]:
            self.page.runtime = runtime[1].strip()
        for c in self.nb["cells"]:
            if c["cell_type"] == "markdown":
                for m in TAGGED.finditer(c["source"]):
                    self._equation(m, c["source"])
            elif m := re.search(r"^#\| default_exp (\w+)", c["source"], re.M):
                self.page.module = m[1]
        for c in self.nb["cells"]:
            stray = c["cell_type"] == "markdown" and re.sub(TAGGED, "", re.sub(FENCES, "", c["source"], flags=re.S | re.M))
            if stray and r"\tag{" in stray:
                raise ValueError(f"{path.name}: a \\tag that is not in a $$ block of its own lines: {stray[max(0, stray.index(chr(92) + 'tag') - 80):][:120]!r}")

    def _equation(self, m: re.Match, text: str) -> None:
        before = re.sub(r"\s+", " ", text[: m.start()].rstrip().rsplit("\n\n", 1)[-1])
        after = re.sub(r"\s+", " ", text[m.end() :].lstrip().split("\n\n", 1)[0])
        self.page.equations.append({"n": m[2], "tex": (m[1] + m[3]).strip(), "before": before, "after": after, "page": self.page.name})
        if m[2] in self.links.equations:
            raise ValueError(f"equation ({m[2]}) is numbered twice: in {self.path.name} and at {self.links.equations[m[2]]}")
        self.links.equations[m[2]] = f"{self.page.name}.html#eq-{m[2]}"

    def markdown(self, text: str, docs: set[str]) -> str:
        text = SHIELD.sub("", text)
        text = re.sub(r"\[!\[([^\]]*)\]\(https?:[^)]*\)\]\(([^)]*)\)", r"[\1](\2)", text)  # a badge within a line: its words, not its picture
        text = self.links.relative(text, docs)
        text = self.links.prose(text)
        text = re.sub(r"^\$\$[ \t]*(.+?)[ \t]*\$\$[ \t]*$", lambda m: m[0] if "\\tag" in m[0] else f"$$\n{m[1].strip()}\n$$", text, flags=re.S | re.M)
        text = TAGGED.sub(
            lambda m: raw(f'<div class="eq" id="eq-{m[2]}">')
            + f"\n$$\n{(m[1] + m[3]).strip()}\n$$\n"
            + raw(f'<a class="eqno" href="#eq-{m[2]}" aria-label="Link to equation {m[2]}">({m[2]})</a></div>'),
            text,
        )
        return re.sub(r"^```py\b", "```python", text, flags=re.M)

    def _head(self, text: str, docs: set[str]) -> str:
        "The first cell without what the page's head shows in its own way."
        text = re.sub(r"^# .+\n|^> .+\n?|^Run time:.*\n?", "", text, flags=re.M)
        text = SHIELD.sub("", text).strip()
        m = re.search(r"^After this (?:chapter|appendix) you can.*?\n\n?((?:[-*] .+\n?(?:  .+\n?)*)+)", text, re.M)
        if m:
            self.page.abilities = [re.sub(r"\s+", " ", a).strip().rstrip(".;,") for a in re.split(r"^[-*] ", m[1], flags=re.M) if a.strip()]
            listed = self.markdown(m[0].strip(), docs)
            return text[: m.start()] + raw('<div class="abilities">') + "\n" + listed + "\n" + raw("</div>") + "\n" + text[m.end() :]
        return self.markdown(text, docs)

    def _figure(self, png: bytes, source: str, options: dict[str, str], heading: str) -> str:
        page = self.page
        alt = options.get("fig-alt", "").strip("\"'")
        if not alt:
            titles = _titles(source)
            whole = [t for t in titles if "…" not in t] or [t for t in titles if len(t) > 12]  # a title may have parts that only a run knows
            alt = ". ".join(dict.fromkeys(t.strip().rstrip(".") for t in whole))
        if not alt:
            page.without_alt.append(next((line for line in source.splitlines() if line.strip() and not line.startswith("#|")), ""))
            alt = f"Figure in the section “{heading}”"
        if len(alt) > 240:
            alt = alt[:237].rsplit(" ", 1)[0] + " …"
        n = len(page.figures) + 1
        stem = f"{page.name}-{n}"
        (self.folder / f"{stem}.png").write_bytes(png)
        w, h = self.size(png)
        page.figures.append(Figure(stem, alt, w, h, b"acTL" in png[:4096]))
        small = w < 330  # a bare grid of images: show its pixels larger
        style = f' style="--w:{min(700, w * (2 if w > 160 else 3))}px"' if small else f' style="--w:{w}px"'
        moves = b"acTL" in png[:4096]
        pair = "".join(
            (f'<picture><source media="(prefers-reduced-motion: reduce)" srcset="_static/figures/{stem}-still{suffix}.png">' if moves else "")
            + f'<img class="only-{theme}" src="_static/figures/{stem}{suffix}.png" width="{w}" height="{h}" alt="{html.escape(alt)}" loading="lazy" decoding="async">'
            + ("</picture>" if moves else "")
            for theme, suffix in (("light", ""), ("dark", "-dark"))
        )
        return raw(f'<figure class="fig{" pixels" if small else ""}"{style}>{pair}</figure>')

    def _output(self, output: dict, source: str, options: dict[str, str], heading: str) -> str:
        if output["output_type"] == "stream":
            if output["name"] != "stdout":
                return ""
            return raw(f'<pre class="printed">{html.escape("".join(output["text"]).rstrip())}</pre>')
        if output["output_type"] == "error":
            lines = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(output["traceback"]))
            return raw(f'<pre class="printed">{html.escape(lines)}</pre>')
        data = {k: "".join(v) if isinstance(v, list) else v for k, v in output.get("data", {}).items()}
        if "image/png" in data:
            return self._figure(base64.b64decode(data["image/png"]), source, options, heading)
        if "text/markdown" in data:
            return "\n" + self.markdown(data["text/markdown"], set()) + "\n"
        if "text/html" in data and "<table" in data["text/html"]:
            return raw(re.sub(r"<style.*?</style>", "", data["text/html"], flags=re.S))
        if "text/plain" in data:
            return raw(f'<pre class="printed">{html.escape(data["text/plain"])}</pre>')
        return ""

    def glossary(self) -> list[tuple[str, str]]:
        "The rows of the table under a heading Glossary: term, meaning."
        text = "\n".join(c["source"] for c in self.nb["cells"] if c["cell_type"] == "markdown")
        m = re.search(r"^#+ Glossary[ \t]*$(.*?)(?=^#+ |\Z)", text, re.M | re.S)
        rows = re.findall(r"^\|\s*\**([^|*]+?)\**\s*\|\s*(.+?)\s*\|[ \t]*$", m[1], re.M) if m else []
        return [r for r in rows if not set(r[0]) <= set("-: ") and r[0] != "term"]

    def read(self, docs: set[str], widgets: list[tuple[str, str]], widget_html) -> Page:
        page, parts, heading = self.page, [], ""
        self.links.here = page.name
        waiting = {h: k for k, h in widgets}
        page_started = False  # past the first heading: what comes before are imports
        for i, cell in enumerate(self.nb["cells"]):
            source = cell["source"]
            if cell["cell_type"] == "markdown":
                for m in re.finditer(r'<div class="ddpm-explorer" data-kind="(\w+)"></div>', source):
                    source = source.replace(m[0], raw(widget_html(m[1])))
                    waiting = {h: k for h, k in waiting.items() if k != m[1]}
                for h in list(waiting):
                    if m := re.search(rf"^#+ {re.escape(h)}[ \t]*$", source, re.M):
                        source = source[: m.start()] + raw(widget_html(waiting.pop(h))) + "\n" + source[m.start() :]
                text = re.sub(FENCES, "", source, flags=re.S | re.M)
                heads = re.findall(r"^#+ (.+)$", text, re.M)
                page_started |= any(line.startswith("##") for line in text.splitlines())
                page.exercises += len(re.findall(r"^\*\*(?:Exercise )?\d+\.?", text, re.M)) if "Check yourself" in (heading, *heads) else 0
                heading = heads[-1] if heads else heading
                parts.append(self._head(source, docs) if i == 0 else self.markdown(source, docs))
                continue
            if cell["cell_type"] != "code":
                continue
            options = dict(DIRECTIVE.findall(source))
            if options.keys() & {"hide", "default_exp"}:
                continue
            code = DIRECTIVE.sub("", source).strip("\n")
            shown = options.get("echo") != "false" and code.strip()
            folded = options.get("code-fold") == "true"
            exported = bool(options.keys() & {"export", "exports", "exporti"})
            outputs = "" if options.get("output") == "false" else "".join(
                self._output(o, source, options, heading) for o in cell.get("outputs", []))
            block = ""
            if shown:
                mark = ""
                if exported and page.module:
                    mark = raw(f'<a class="mark" href="api/{page.module}.html">in ddpm_abc.{page.module}</a>')
                block = f"{mark}\n`````python\n{code}\n`````\n"
            if not page_started and re.match(r"(from|import) ", code):
                end = raw("</details>")
                if parts[-1].endswith(end):  # one fold for all of them
                    parts[-1] = parts[-1].removesuffix(end) + block + end + outputs
                else:
                    parts.append(raw('<details class="fold setup"><summary>Set-up: imports</summary>') + block + end + outputs)
            elif folded:
                label = options.get("code-summary", "").strip("\"'") or ("Solution" if re.search(r"solution", code[:120], re.I) or heading == "Check yourself" else "Code")
                parts.append(raw(f'<details class="fold"><summary>{html.escape(label)}</summary>') + block + outputs + raw("</details>"))
            else:
                parts.append(raw(f'<div class="cell{" exported" if exported else ""}">') + block + outputs + raw("</div>"))
        if waiting:
            raise ValueError(f"{self.path.name}: no heading {list(waiting)} to put a widget before; see WIDGETS in site/course.py")
        head = raw("<!--head-->")
        page.markdown = f"# {page.title}\n{head}\n" + "\n\n".join(p for p in parts if p.strip()) + "\n"
        if page.name == "00_math":
            page.markdown = anchored_terms(page.markdown)
        else:
            page.markdown = self.links.terms(page.markdown)
        return page
