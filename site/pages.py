"""The pages that are made from several notebooks at once, and what stands at the head of a chapter. All as
MyST Markdown."""

import html
import re
from pathlib import Path

from course import BIBLIOGRAPHY
from notebooks import CITATION, Links, Page, phrase, raw, term_anchor, typeset, work

HERE = Path(__file__).resolve().parent
NUMBERS = [
    "no",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
]
WIDGETS = {  # kind -> title, the picture that stands for it without JavaScript, and its alt text
    "schedule": (
        "Schedule explorer",
        "strip.png",
        "One digit at t = 0, 125, 250, ... 1000 of the paper's linear schedule: by t = 500 little can be "
        "seen, at the end nothing",
    ),
    "forward": (
        "Noise a digit yourself",
        "strip.png",
        "One digit at t = 0, 125, 250, ... 1000 of the paper's linear schedule, always with the same noise",
    ),
    "walk": (
        "Walk it yourself",
        "walks.png",
        "Two crescents of data, and forty ways that ten steps of DDIM take from noise to them",
    ),
    "field": (
        "Walk back from noise",
        "walks.png",
        "Two crescents of data, and forty ways that lead from noise to them",
    ),
    "hand": (
        "Your hand in it",
        "strip.png",
        "A digit disappears in noise step by step; a network can lead a drawing back from any of these steps",
    ),
    "draw": (
        "Draw a digit",
        "strip.png",
        "One digit at t = 0, 125, 250, ... 1000: noise takes it away. A network that has learned to see the "
        "noise leads back",
    ),
}


def lede(text: str) -> str:
    return raw(f'<p class="lede">{html.escape(typeset(text))}</p>')


def fact_line(facts: list[str]) -> str:
    "Facts beside each other, as HTML."
    return f'<p class="facts">{"".join(f"<span>{fact}</span>" for fact in facts)}</p>' if facts else ""


def widget(kind: str, sizes: dict[str, tuple[int, int]]) -> str:
    "The place of a widget: a still picture, whose size stands under its name; static/widgets.js replaces it."
    title, still, alt = WIDGETS[kind]
    width, height = sizes[still]
    return (
        f'<section class="widget" data-widget="{kind}" aria-label="{title}"><p '
        f'class="widget-title">{title}</p>'
        f'<figure class="fig"><img src="_static/{still}" width="{width}" height="{height}" alt="{alt}" '
        f'loading="lazy"></figure>'
        "<noscript><p>With JavaScript this picture answers to sliders.</p></noscript></section>"
    )


def head(page: Page, cfg: dict[str, str]) -> str:
    "What stands between a chapter's title and its text: its question, its buttons, its run time and module."
    at = f"{cfg['user']}/{cfg['repo']}/blob/{cfg['branch']}/nbs/{page.name}.ipynb"
    facts = []
    if page.runtime:
        facts.append(f"Run time: {html.escape(page.runtime)}")
    if page.module:
        facts.append(
            f'Module: <a class="api" href="api/{page.module}.html"><code>ddpm_abc.{page.module}</code></a>'
        )
    return lede(page.question) + raw(
        f'<div class="actions"><a class="button primary" '
        f'href="https://colab.research.google.com/github/{at}">Open in Colab</a>'
        f'<a class="button" href="_downloads/{page.name}.ipynb" download>Download notebook</a>'
        f'<a class="button" href="https://github.com/{at}">View source</a></div>' + fact_line(facts)
    )


def toctree(names: list[str]) -> str:
    return "\n```{toctree}\n:hidden:\n" + "\n".join(names) + "\n```\n"


def api_index(summaries: dict[str, str]) -> str:
    "Every module with its question, and the picture of which imports which."
    rows = "".join(
        f'<li><a class="api" href="{m}.html"><code>ddpm_abc.{m}</code></a> <span>{phrase(text)}</span></li>'
        for m, text in summaries.items()
    )
    size = re.search(
        r'width="(\d+)" height="(\d+)"', (HERE / "static" / "house.svg").read_text(encoding="utf-8")
    )
    images = "".join(
        f'<img class="only-{theme}" src="../_static/house{suffix}.svg" width="{size[1]}" height="{size[2]}" '
        f'loading="lazy" alt="The rooms of the package, each above those that it imports">'
        for theme, suffix in (("light", ""), ("dark", "-dark"))
    )
    caption = "<figcaption>Each room stands above those that it imports.</figcaption>"
    house = f'<figure class="fig wide">{images}{caption}</figure>'
    return (
        "# API reference\n"
        + lede(
            "Small, typed functions and a few frozen dataclasses. "
            "A module that was written in a chapter links to it."
        )
        + raw(f'<ul class="api-list">{rows}</ul>{house}')
        + toctree(list(summaries))
    )


def last_sentence(paragraph: str) -> str:
    "The sentence that leads to an equation, from the paragraph before it."
    if paragraph.startswith(("```", "|", "$$")):
        return ""
    text = re.sub(r"^[#>*-]+ |<[^>]+>|\[!\[.*", "", paragraph)
    kept = re.sub(r"(\bal|Eq|Fig|Sec|vs|i\.e|e\.g)\. ", "\\1.\u00a0", text)  # these stops end no sentence
    sentence = re.split(r"(?<=[.!?])[*_]* (?=[A-Z(\[*])", kept)[-1].replace("\u00a0", " ").strip()
    # some say nothing without what stands before them; one that names a term does
    lost = len(sentence.split()) < 4 or re.match(r"(It|That|This(?! is)|These|Their|They)\b|[a-z]", sentence)
    return sentence if not lost or "**" in sentence else ""


def equations(pages: list[Page], index: dict, links: Links) -> str:
    """Every numbered equation with its source, the functions that compute it and the tests that prove it.
    `index`: of tools/equation_index.py."""

    def tests(names: list[str]) -> str:
        parts = [name.split(".") for name in names]
        twice = {test for _, test in parts if sum(test == other for _, other in parts) > 1}
        return ", ".join(
            f'<a href="{links.blob}/tests/{file}.py">'
            + (f"{file}.{test}" if test in twice else test).replace("_", "_<wbr>")
            + "</a>"
            for file, test in parts
        )

    parts = [
        "# Equations\n",
        lede(
            "Every numbered equation of the course: where it is from, what computes it, and which test "
            "proves it."
        ),
    ]
    for page in (p for p in pages if p.equations):
        parts.append(f"## {page.title}\n")
        for e in page.equations:
            known = index[e["n"]]
            computed = ", ".join(f"`{name}`" for name in known.functions)
            facts = [
                known.source or "Derived here",
                f"computed by {computed}" if computed else "a step of the proof",
            ]
            facts += [f"proved by {tests(known.tests)}"] if known.tests else []
            parts += [
                raw(
                    f'<div class="eq-entry"><a class="eqref number" '
                    f'href="{links.equations[e["n"]]}">({e["n"]})</a><div class="said">'
                ),
                links.prose(links.relative(last_sentence(e["before"]))),
                raw("</div>"),
                f"$$\n{e['tex']}\n$$",
                raw('<div class="facts">'),
                links.prose("; ".join(facts) + "."),
                raw("</div></div>"),
            ]
    return "\n".join(parts)


def glossary(terms: list[tuple[str, str]], links: Links) -> str:
    "The terms of chapter 00's table."
    rows = []
    for term, meaning in sorted(terms, key=lambda t: t[0].lower().strip("$\\")):
        rows += [
            raw(f'<div id="{term_anchor(term)}"><dt>'),
            term,
            raw("</dt><dd>"),
            links.prose(links.relative(meaning)),
            raw("</dd></div>"),
        ]
    return "\n".join(
        [
            "# Glossary\n",
            lede("What the words of the course mean, in a sentence each."),
            raw('<dl class="glossary">'),
            *rows,
            raw("</dl>"),
        ]
    )


def citations(pages: list[Page]) -> dict[str, set[str]]:
    "Which pages cite each work of the bibliography."
    cited: dict[str, set[str]] = {}
    for page in pages:
        for m in CITATION.finditer(page.markdown):
            cited.setdefault(work(m), set()).add(page.address)
    return cited


def entry(key: str) -> str:
    "One entry of the bibliography, as HTML."
    authors, year, title, venue, url = BIBLIOGRAPHY[key]
    host, _, rest = url.removeprefix("https://").partition("/")
    names = {"arxiv.org": "arXiv:" + rest.rsplit("/", 1)[-1], "doi.org": "doi:" + rest}
    label = names.get(host, host)
    return (
        f'<span class="authors">{html.escape(authors)}</span> ({year}). '
        f'<cite>{html.escape(typeset(title))}.</cite> {html.escape(venue)}. <a href="{url}">{label}</a>. '
    )


def bibliography(cited: dict[str, set[str]], titles: dict[str, str]) -> str:
    "The works that are cited, the oldest first, and where."
    rows = []
    for key in sorted(cited, key=lambda k: (BIBLIOGRAPHY[k][1], BIBLIOGRAPHY[k][0])):
        where = ", ".join(
            f'<a href="{n}.html">{html.escape(typeset(titles[n]))}</a>' for n in sorted(cited[key])
        )
        rows.append(f'<li id="{key}">{entry(key)}<span class="where">Cited in {where}.</span></li>')
    return (
        "# Bibliography\n"
        + lede("The works that the chapters cite, and where.")
        + raw(f'<ul class="bib">{"".join(rows)}</ul>')
    )


def draw(sizes: dict[str, tuple[int, int]]) -> str:
    "pages/draw.md, with its widgets in their places."
    text = (HERE / "pages" / "draw.md").read_text(encoding="utf-8")
    return re.sub(r"^WIDGET:(\w+)$", lambda m: raw(widget(m[1], sizes)), text, flags=re.M)


def teach(chapters: list[Page], cfg: dict[str, str]) -> str:
    "pages/teach.md, with the plan filled in from the chapters."
    plan = []
    for p in chapters:
        facts = [f"{p.exercises} exercises"] * bool(p.exercises) + [html.escape(p.runtime)] * bool(p.runtime)
        able = "\n".join(f"- {a}" for a in p.abilities)
        plan.append(
            f"### {p.number} · [{p.title}]({p.name}.md)\n\n*{p.question}*\n\n{able}\n" + raw(fact_line(facts))
        )
    text = (HERE / "pages" / "teach.md").read_text(encoding="utf-8")
    number = NUMBERS[len(chapters)] if len(chapters) < len(NUMBERS) else str(len(chapters))
    return (
        text.replace("SITTINGS", number).replace("PLAN", "\n".join(plan)).replace("GIT_URL", cfg["git_url"])
    )
