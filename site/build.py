"""Build the site: nbs/ and ddpm_abc/ -> _build/source (MyST Markdown, figures) -> _build/html.

    python site/build.py

Runs no notebook and imports neither torch nor ddpm_abc: figures are those that the notebooks carry, and the API is read
from source. A warning is an error. Works without a network once _build/vendor is there.
"""

import base64
import configparser
import html
import json
import re
import shutil
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))

import api  # noqa: E402
import figures  # noqa: E402
import maths  # noqa: E402
import vendor  # noqa: E402
from course import BIBLIOGRAPHY, CARDS, CITATIONS, MODULE_ORDER, UNLINKED, WIDGETS  # noqa: E402
from notebooks import CITATION, CITED, Links, Page, Reader, raw, term_anchor  # noqa: E402

SOURCE, HTML = ROOT / "_build" / "source", ROOT / "_build" / "html"
STATIC = SOURCE / "_static"


def settings() -> dict[str, str]:
    ini = configparser.ConfigParser(delimiters=["="])
    ini.read(ROOT / "settings.ini", encoding="utf-8")
    return dict(ini["DEFAULT"])


def linear_alpha_bar(T: int, beta_min: float = 1e-4, beta_max: float = 0.02) -> list[float]:
    out = [1.0]
    for t in range(T):
        out.append(out[-1] * (1 - beta_min - (beta_max - beta_min) * t / max(T - 1, 1)))
    return out


def digits_js(images, labels) -> str:
    "One digit of each class for the widgets, as a script, so that it also loads from a disk."
    chosen = [images[(labels == k).nonzero()[0][0]] for k in range(10)]
    packed = base64.b64encode(b"".join(x.tobytes() for x in chosen)).decode()
    return f'window.DDPM_DIGITS="{packed}";\n'


def widget_html(kind: str) -> str:
    alt = {
        "schedule": "One digit at t = 0, 125, 250, ... 1000 of the paper's linear schedule: by t = 500 little can be seen, at the end nothing",
        "forward": "One digit at t = 0, 125, 250, ... 1000 of the paper's linear schedule, always with the same noise",
    }[kind]
    title = {"schedule": "Schedule explorer", "forward": "Noise a digit yourself"}[kind]
    w, h = figures.size((STATIC / "strip.png").read_bytes())
    return (f'<section class="widget" data-widget="{kind}" aria-label="{title}"><p class="widget-title">{title}</p>'
            f'<figure class="fig"><img src="_static/strip.png" width="{w}" height="{h}" alt="{alt}" loading="lazy"></figure>'
            f'<noscript><p>With JavaScript this picture answers to sliders.</p></noscript></section>')


def write(path: str, text: str) -> None:
    out = SOURCE / path
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")


def head(page: Page, cfg: dict[str, str]) -> str:
    "What stands between a chapter's title and its text."
    at = f"{cfg['user']}/{cfg['repo']}/blob/{cfg['branch']}/nbs/{page.name}.ipynb"
    facts = [f'<span class="fact">Run time: {html.escape(page.runtime)}</span>'] if page.runtime else []
    if page.module:
        facts.append(f'<span class="fact">Module: <a class="api" href="api/{page.module}.html"><code>ddpm_abc.{page.module}</code></a></span>')
    return (
        f'<p class="lede">{html.escape(page.question)}</p><div class="actions">'
        f'<a class="button primary" href="https://colab.research.google.com/github/{at}">Open in Colab</a>'
        f'<a class="button" href="_downloads/{page.name}.ipynb" download>Download notebook</a>'
        f'<a class="button" href="https://github.com/{at}">View source</a></div>' + (f'<p class="facts">{" ".join(facts)}</p>' if facts else ""))


def equations_page(pages: list[Page], links: Links, reader: Reader, docs: set[str]) -> str:
    parts = ["# Equations\n", raw('<p class="lede">Every numbered equation of the course. Each is followed, in its chapter, by a cell that checks it.</p>')]
    if truth := next((p for p in pages if p.name == "95_truth"), None):
        parts.append(f"The tests that prove them are listed in [{truth.title}]({truth.name}.md).\n")
    for page in (p for p in pages if p.equations):
        parts.append(f"## {page.title}\n")
        for e in page.equations:
            said = links.relative(reader_sentence(e["before"]), docs)
            parts.append(
                raw(f'<div class="eq-entry"><a class="eqref number" href="{links.equations[e["n"]]}">({e["n"]})</a><div class="said">') + f"\n{links.prose(said)}\n"
                + raw("</div>") + f"\n$$\n{e['tex']}\n$$\n" + raw("</div>"))
    return "\n".join(parts)


def reader_sentence(text: str) -> str:
    "The last sentence before an equation."
    text = re.sub(r"^[#>*-]+ |<[^>]+>|\[!\[.*", "", text)
    if text.startswith(("```", "|", "$$")):
        return ""
    guarded = re.sub(r"(\bal|Eq|Fig|Sec|vs|i\.e|e\.g)\. ", "\\1.\u00a0", text)
    return re.split(r"(?<=[.!?])[*_]* (?=[A-Z(\[*])", guarded)[-1].replace("\u00a0", " ").strip()


def bibliography_page(cited: dict[str, set[str]], titles: dict[str, str]) -> str:
    parts = ["# Bibliography\n", raw('<p class="lede">The works that the chapters cite, and where.</p>'), raw('<ul class="bib">')]
    for key, entry in sorted(BIBLIOGRAPHY.items(), key=lambda kv: (kv[1][1], kv[1][0])):
        if key not in cited:
            continue
        where = ", ".join(f'<a href="{n}.html">{html.escape(titles[n])}</a>' for n in sorted(cited[key]))
        parts.append(raw(f'<li id="{key}">{bib_html(entry)}<span class="where">Cited in {where}.</span></li>'))
    return "\n".join([*parts, raw("</ul>")])


def bib_html(entry: tuple) -> str:
    authors, year, title, venue, url = entry
    label = "arXiv:" + url.rsplit("/", 1)[-1] if "arxiv" in url else "doi:" + url.split("doi.org/")[-1]
    return f'<span class="authors">{html.escape(authors)}</span> ({year}). <cite>{html.escape(title)}.</cite> {html.escape(venue)}. <a href="{url}">{label}</a>. '


def teach_page(pages: list[Page], cfg: dict[str, str]) -> str:
    text = (HERE / "pages" / "teach.md").read_text(encoding="utf-8")
    chapters = [p for p in pages if p.number and int(p.number) < 90]
    parts = []
    for p in chapters:
        facts = [f"{p.exercises} exercises"] if p.exercises else []
        facts += [p.runtime] if p.runtime else []
        able = "\n".join(f"- {a}" for a in p.abilities)
        parts.append(f"### {p.number} · [{p.title}]({p.name}.md)\n\n*{p.question}*\n\n{able}\n" + (raw(f'<p class="facts">{html.escape(" · ".join(facts))}</p>') if facts else ""))
    words = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
    text = text.replace("SITTINGS", words[len(chapters)] if len(chapters) < len(words) else str(len(chapters)))
    text = text.replace("PLAN", "\n".join(parts))
    return text.replace("GIT_URL", cfg["git_url"]).replace("BRANCH", cfg["branch"])


def term_patterns(terms: list[tuple[str, str]]) -> list[tuple[re.Pattern, str]]:
    "How each term is written in prose: its names between commas, as whole words, with a plural s."
    out = []
    for term, _ in terms:
        forms = [f.strip() for f in re.sub(r"\([^)]*\)|\$[^$]*\$", "", term).split(",")]
        forms = [re.escape(f) for f in forms if len(f) > 2 and f.lower() not in UNLINKED]
        if forms:
            out.append((re.compile(rf"(?<![\w-])(?:{'|'.join(forms)})s?(?![\w-])"), term_anchor(term)))
    return out


def stage() -> dict:
    cfg = settings()
    blob = f"{cfg['git_url']}/blob/{cfg['branch']}"
    shutil.rmtree(SOURCE, ignore_errors=True)
    (STATIC / "figures").mkdir(parents=True)
    shutil.copytree(HERE / "static", STATIC, dirs_exist_ok=True)
    shutil.copytree(vendor.VENDOR / "katex", STATIC / "katex", ignore=shutil.ignore_patterns("*.js", ".package"))
    shutil.copytree(vendor.VENDOR / "fonts", STATIC / "fonts", ignore=shutil.ignore_patterns(".package"))
    images, labels = figures.load_digits(ROOT / "ddpm_abc" / "assets" / "digits.npz")
    write("_static/digits.js", digits_js(images, labels))
    five = images[(labels == 5).nonzero()[0][0]] / 127.5 - 1
    ab = linear_alpha_bar(1000)
    figures.strip(five, [ab[t] for t in range(0, 1001, 125)]).save(STATIC / "strip.png", optimize=True)

    modules = {p.stem: api.read(p) for p in sorted((ROOT / "ddpm_abc").glob("[a-z]*.py"))}
    order = [m for m in MODULE_ORDER if m in modules] + [m for m in modules if m not in MODULE_ORDER]
    links = Links(api.names(modules), cfg)
    paths = sorted((ROOT / "nbs").glob("[0-9]*.ipynb")) + [p for p in [ROOT / "nbs" / "index.ipynb"] if p.exists()]
    docs = {p.stem for p in paths}
    readers = [Reader(p, STATIC / "figures", links, figures.size) for p in paths]
    links.chapters = {r.page.number: r.page.name for r in readers if r.page.number}
    terms = next((r.glossary() for r in readers if r.page.number == "00"), [])
    links.glossary = term_patterns(terms)
    pages: list[Page] = []
    for reader in readers:
        page = reader.read(docs, WIDGETS.get(reader.path.stem, []), widget_html)
        pages.append(page)
        if page.name == "index":
            text = page.markdown.replace("<!--head-->", f'<p class="lede">{html.escape(page.question)}</p>').replace("# ddpm_abc\n", "# Install and use\n", 1)
            write("library.md", text)
        else:
            write(f"{page.name}.md", page.markdown.replace("<!--head-->", head(page, cfg)))
            (SOURCE / "_downloads").mkdir(exist_ok=True)
            shutil.copy(reader.path, SOURCE / "_downloads")
    if "index" not in docs:
        write("library.md", "# Install and use\n\nSee the README.\n")
    by_name = {p.name: p for p in pages}
    chapters = [p for p in pages if p.number]
    for f in [f for p in pages for f in p.figures]:
        png = STATIC / "figures" / f"{f.file}.png"
        if f.animated:
            png.with_name(f"{f.file}-still.png").write_bytes(figures.last_frame(png.read_bytes()))
    live = hero(by_name)
    cards = {p.name: card(p, live) for p in chapters}
    for png in sorted((STATIC / "figures").glob("*.png")):
        png.with_name(f"{png.stem}-dark.png").write_bytes(figures.dark(png.read_bytes()))

    owner = {p.module: (p.name, p.title) for p in pages if p.module}
    for m in order:
        write(f"api/{m}.md", api.page(m, *modules[m], owner.get(m), links, blob))
    rows = "".join(
        f'<li><a class="api" href="api/{m}.html"><code>ddpm_abc.{m}</code></a> <span>{html.escape(modules[m][0].splitlines()[0] if modules[m][0] else "")}</span></li>' for m in order)
    write("api/index.md", "# API reference\n" + raw('<p class="lede">Pure functions and one frozen dataclass. Every entry says where it is explained.</p>')
          + raw(f'<ul class="api-list">{rows.replace(chr(34) + "api/", chr(34))}</ul>') + "\n```{toctree}\n:hidden:\n" + "\n".join(order) + "\n```\n")
    write("equations.md", equations_page(chapters, links, readers[0], docs))
    cited: dict[str, set[str]] = {}
    for p in pages:
        for m in CITATION.finditer(p.markdown):
            key = CITED[next(i for i in range(len(CITATIONS)) if m[f"c{i}"])]
            cited.setdefault(key, set()).add("library" if p.name == "index" else p.name)
    titles = {("library" if p.name == "index" else p.name): p.title for p in pages}
    write("bibliography.md", bibliography_page(cited, titles))
    write("teach.md", teach_page(chapters, cfg))
    write("search.md", "---\norphan: true\n---\n# Search\n" + raw('<div id="search-page"></div><noscript><p>Search needs JavaScript.</p></noscript>'))
    write("404.md", "---\norphan: true\n---\n# Only noise here\n\nThere is no page at this address. The [front page](index.md) has the way back.\n")
    tree = [p.name for p in chapters] + ["library", "teach", "api/index", "equations", "bibliography"]
    write("index.md", "# DDPM from A to C\n\n```{toctree}\n:hidden:\n" + "\n".join(tree) + "\n```\n")

    course = {
        "settings": {k: cfg[k] for k in ("git_url", "branch", "user", "repo", "title", "description", "version", "copyright", "doc_host", "doc_baseurl")},
        "question": by_name["index"].question if "index" in by_name else cfg["description"],
        "chapters": [{"name": p.name, "number": p.number, "title": p.title, "question": p.question, "runtime": p.runtime, "module": p.module,
                      "appendix": int(p.number) >= 90, "card": cards[p.name]} for p in chapters],
        "modules": order,
        "hero": live,
        "without_alt": {p.name: p.without_alt for p in pages if p.without_alt},
        "equations": [dict(e, url=links.equations[e["n"]], title=p.title) for p in chapters for e in p.equations],
        "api": [{"name": i.full, "short": i.name, "kind": i.kind, "signature": i.signature, "summary": i.summary, "doc": i.doc, "url": f"api/{m}.html#{i.full}"}
                for m in order for top in modules[m][1] for i in (top, *top.members)],
        "bibliography": {k: bib_html(BIBLIOGRAPHY[k]) for k in cited},
        "glossary": [{"term": t, "anchor": term_anchor(t), "meaning": links.prose(m)} for t, m in terms],
        "widgets": list(WIDGETS),
    }
    write("course.json", json.dumps(course, indent=1))
    return course


def card(page: Page, live: dict | None) -> dict | None:
    "The picture for a chapter's card: a part of one of its figures."
    if live and live["notebook"] == page.name:
        shutil.copy(STATIC / "hero-last.png", STATIC / "figures" / f"card-{page.name}.png")
        return {"file": f"card-{page.name}", "width": live["width"] * 3, "height": live["height"] * 3, "fill": True}
    words, box = CARDS.get(page.name, ("", None))
    still = [f for f in page.figures if not f.animated]
    chosen = next((f for f in still if words and words in f.alt), None)
    if not chosen:
        box = None
        chosen = max(still, key=lambda f: f.width * f.height, default=None)
    if not chosen:
        return None
    png = figures.cropped((STATIC / "figures" / f"{chosen.file}.png").read_bytes(), box or (0, 0, 1, 1))
    (STATIC / "figures" / f"card-{page.name}.png").write_bytes(png)
    w, h = figures.size(png)
    return {"file": f"card-{page.name}", "width": w, "height": h, "fill": False}


def hero(pages: dict[str, Page]) -> dict | None:
    "Frames of the sampling chapter's animation, for the front page."
    moving = [f for f in pages["05_sampling"].figures if f.animated] if "05_sampling" in pages else []
    for f in reversed(moving):
        frames = figures.frames((STATIC / "figures" / f"{f.file}.png").read_bytes())
        if made := figures.sprite(frames):
            image, height = made
            image.save(STATIC / "hero.png", optimize=True)
            last = image.crop((0, image.height - height, image.width, image.height))
            last.resize((last.width * 3, last.height * 3), 0).save(STATIC / "hero-last.png", optimize=True)
            return {"frames": len(frames), "width": image.width, "height": height, "notebook": "05_sampling"}
    return None


def finish(course: dict) -> None:
    "Drop what Sphinx adds and no page asks for, and say what was built."
    for name in ("doctools.js", "sphinx_highlight.js", "documentation_options.js", "language_data.js", "searchtools.js", "pygments.css", "basic.css", "file.png", "minus.png", "plus.png"):
        (HTML / "_static" / name).unlink(missing_ok=True)
    for path in (HTML / "objects.inv", HTML / ".buildinfo"):
        path.unlink(missing_ok=True)
    (HTML / ".nojekyll").touch()
    shutil.copytree(SOURCE / "_downloads", HTML / "_downloads", dirs_exist_ok=True)


def main() -> int:
    start = time.time()
    vendor.main()
    fetched = time.time()
    course = stage()
    staged = time.time()
    shutil.rmtree(HTML, ignore_errors=True)
    from sphinx.cmd.build import main as sphinx
    if status := sphinx(["-q", "-W", "--keep-going", "-b", "html", "-c", str(HERE), "-d", str(ROOT / "_build" / "doctrees"), str(SOURCE), str(HTML)]):
        return status
    finish(course)
    maths.stop()
    total = sum(p.stat().st_size for p in HTML.rglob("*") if p.is_file())
    for name, cells in course["without_alt"].items():
        print(f"{name}: {len(cells)} figures have neither a title nor #| fig-alt:\n    " + "\n    ".join(c[:90] for c in cells))
    print(f"_build/html: {len(list(HTML.rglob('*.html')))} pages, {total / 1e6:.1f} MB, in {time.time() - start:.1f} s"
          f" (fetched in {fetched - start:.1f} s, read in {staged - fetched:.1f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
