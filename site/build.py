"""Build the site: nbs/ and ddpm_abc/ -> _build/source (MyST Markdown, figures) -> _build/html.

    python site/build.py

Runs no notebook and imports neither torch nor ddpm_abc: figures are those that the notebooks carry, and the
API is read from source. A warning is an error. Works without a network once _build/vendor is there.
"""

import base64
import configparser
import gzip
import json
import re
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from sphinx.cmd.build import main as sphinx

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE), str(ROOT / "tools")]

import api  # noqa: E402
import equation_index  # noqa: E402
import figures  # noqa: E402
import formulas  # noqa: E402
import house  # noqa: E402
import maths  # noqa: E402
import pages  # noqa: E402
import vendor  # noqa: E402
from course import AS_DRAWN, CARDS, MODULE_ORDER, UNLINKED, WIDGETS  # noqa: E402
from notebooks import HEAD, Links, Page, Reader, raw, term_anchor, typeset  # noqa: E402

SOURCE, HTML = ROOT / "_build" / "source", ROOT / "_build" / "html"
STATIC, FIGURES = SOURCE / "_static", SOURCE / "_static" / "figures"
PUBLIC = (
    "git_url",
    "branch",
    "user",
    "repo",
    "title",
    "description",
    "version",
    "copyright",
    "doc_host",
    "doc_baseurl",
)


def settings() -> dict[str, str]:
    ini = configparser.ConfigParser(delimiters=["="])
    ini.read(ROOT / "settings.ini", encoding="utf-8")
    return {key: ini["DEFAULT"][key] for key in PUBLIC}


def write(path: str, text: str) -> None:
    out = SOURCE / path
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")


def assets() -> None:
    "A fresh _build/source with all that is served as it is, and ten digits for the widgets."
    shutil.rmtree(SOURCE, ignore_errors=True)
    FIGURES.mkdir(parents=True)
    shutil.copytree(HERE / "static", STATIC, dirs_exist_ok=True)
    colours = "".join(f"--{name}: {colour}; " for name, colour in house.palette().items())
    css = re.sub(r"/\* palette: [^*]*\*/", colours.strip(), figures.CSS, count=1)
    dark = re.search(r'\[data-theme="dark"\] \{(.*?)\}', css, re.S)[1]
    write("_static/site.css", re.sub(r"/\* dark: [^*]*\*/", dark.strip(), css, count=1))
    svg = (HERE / "static" / "house.svg").read_text(encoding="utf-8")
    write("_static/house-dark.svg", house.recoloured(svg, dict(re.findall(r"--([\w-]+): (#\w+)", dark))))
    write("_static/schedule.js", formulas.javascript())
    for name in ("katex", "fonts"):
        shutil.copytree(
            vendor.VENDOR / name, STATIC / name, ignore=shutil.ignore_patterns("*.js", ".package")
        )
    ort = vendor.VENDOR / "ort"
    shutil.copytree(ort, STATIC / "ort", ignore=shutil.ignore_patterns(".package", "*.wasm"))
    # Packed, and under a name that no server takes for packed: draw/worker.js unpacks it.
    runtime = (ort / "ort-wasm-simd-threaded.wasm").read_bytes()
    (STATIC / "ort" / "runtime.bin").write_bytes(gzip.compress(runtime, 9, mtime=0))
    images, labels = figures.load_digits(ROOT / "ddpm_abc" / "assets" / "digits.npz")
    ten = [images[labels == k][0] for k in range(10)]
    packed = base64.b64encode(b"".join(x.tobytes() for x in ten)).decode()
    write("_static/digits.js", f'window.DDPM_DIGITS="{packed}";\n')  # a script also loads from a disk
    figures.strip(ten[5], range(0, 1001, 125)).save(STATIC / "strip.png", optimize=True)
    figures.walks().save(STATIC / "walks.png", optimize=True)


def term_patterns(terms: list[tuple[str, str]]) -> list[tuple[re.Pattern, str]]:
    "How each term is written in prose: its names between commas, as whole words, with a plural s."
    out = []
    for term, _ in terms:
        forms = [f.strip() for f in re.sub(r"\([^)]*\)|\$[^$]*\$", "", term).split(",")]
        forms = [re.escape(f) for f in forms if len(f) > 2 and f.lower() not in UNLINKED]
        if forms:
            out.append((re.compile(rf"(?<![\w-])(?:{'|'.join(forms)})s?(?![\w-])"), term_anchor(term)))
    return out


def hero(library: Page) -> dict:
    "The digits 0 to 9 of the library's animation, as frames for the front page."
    stem = [f.file for f in library.figures if f.animated][0]
    frames = figures.frames((FIGURES / f"{stem}.png").read_bytes())
    sheet, height = figures.sprite(frames)
    sheet.save(STATIC / "hero.png", optimize=True)
    last = sheet.crop((0, sheet.height - height, sheet.width, sheet.height))
    last.resize((last.width * 3, last.height * 3), 0).save(STATIC / "hero-last.png", optimize=True)
    return {"frames": len(frames), "width": sheet.width, "height": height}


def card(page: Page) -> dict:
    "The picture for a chapter's card: a part of one of its figures."
    whole = (0, 0, 1, 1)
    words, box = CARDS.get(page.name, ("", whole))
    fitting = [f for f in page.figures if words in f.alt]
    if not fitting:
        raise ValueError(
            f"{page.name} has no figure for its card, with {words!r} in its title or alt text: see CARDS in "
            f"site/course.py"
        )
    figure = max(fitting, key=lambda f: f.width * f.height)
    if box == whole and not figure.animated:
        dark = figure.file if figure.as_drawn else f"{figure.file}-dark"
        return {"file": figure.file, "dark": dark, "width": figure.width, "height": figure.height}
    name = f"card-{page.name}"
    png = figures.cropped((FIGURES / f"{figure.file}.png").read_bytes(), box)
    (FIGURES / f"{name}.png").write_bytes(png)
    width, height = figures.size(png)
    return {"file": name, "dark": f"{name}-dark", "width": width, "height": height}


def stage() -> None:
    "Write _build/source, and with it course.json: what conf.py, finder.py and the templates need to know."
    cfg = settings()
    assets()
    modules = {name: api.read(path, name) for name, path in house.modules(ROOT).items()}
    order = [*MODULE_ORDER, *sorted(house.rooms(ROOT).keys() - set(MODULE_ORDER))]
    modules = dict(sorted(modules.items(), key=lambda m: (order.index(house.room(m[0])), m[0])))
    links = Links(api.names(modules), cfg)

    # Every notebook is opened before any becomes a page: their prose links to each other's equations.
    paths = [*sorted((ROOT / "nbs").glob("[0-9]*.ipynb")), ROOT / "nbs" / "index.ipynb"]
    readers = [Reader(path, FIGURES, links) for path in paths]
    terms = readers[0].glossary()
    links.glossary = term_patterns(terms)
    stills = {name: figures.size((STATIC / name).read_bytes()) for name in ("strip.png", "walks.png")}
    everything = [
        r.read(WIDGETS.get(r.path.stem, []), lambda kind: pages.widget(kind, stills)) for r in readers
    ]
    by_name = {p.name: p for p in everything}
    library = by_name["index"]
    chapters = [p for p in everything if p.number]
    main = [p for p in chapters if not p.appendix]

    for page in chapters:
        write(f"{page.name}.md", page.markdown.replace(HEAD, pages.head(page, cfg)))
    titles = {p.address: p.title for p in chapters} | {"library": "Install and use"}
    write(
        "library.md",
        library.markdown.replace(f"# {library.title}\n", "# Install and use\n", 1).replace(
            HEAD, pages.lede(library.question)
        ),
    )
    owner = {p.module: (p.name, p.title) for p in chapters if p.module}
    for name, module in modules.items():
        write(f"api/{name}.md", api.page(module, modules, owner.get(name), links))
    write("api/index.md", pages.api_index({name: module.summary for name, module in modules.items()}))
    write("equations.md", pages.equations(chapters, equation_index.index(ROOT)[0], links))
    write("glossary.md", pages.glossary(terms, links))
    cited = pages.citations(everything)
    write("bibliography.md", pages.bibliography(cited, titles))
    write("teach.md", pages.teach(main, cfg))
    write("draw.md", pages.draw(stills))
    write(
        "search.md",
        "---\norphan: true\n---\n# Search\n"
        + raw('<div id="search-page"></div><noscript><p>Search needs JavaScript.</p></noscript>'),
    )
    write(
        "404.md",
        "---\norphan: true\n---\n# Only noise here\n"  # served at any depth
        + raw(
            f'<p>There is no page at this address. The <a href="{cfg["doc_baseurl"]}/index.html">front '
            f"page</a> has the way back.</p>"
        ),
    )
    write(
        "index.md",
        f"# {cfg['title']}\n"
        + pages.toctree(
            [
                *(p.name for p in chapters),
                "library",
                "draw",
                "teach",
                "api/index",
                "equations",
                "glossary",
                "bibliography",
            ]
        ),
    )

    cards, live = {p.name: card(p) for p in main}, hero(library)
    drawn = [f for p in everything for f in p.figures if f.as_drawn]
    if unknown := [words for words in AS_DRAWN if not any(words in f.alt for f in drawn)]:
        raise ValueError(f"no figure has {unknown} in its title or alt text: see AS_DRAWN in site/course.py")
    paths = sorted(set(FIGURES.glob("*.png")) - {FIGURES / f"{f.file}.png" for f in drawn})
    with ProcessPoolExecutor() as pool:
        for path, png in zip(paths, pool.map(figures.dark, (p.read_bytes() for p in paths)), strict=True):
            path.with_name(f"{path.stem}-dark.png").write_bytes(png)
    for path in sorted(FIGURES.glob("*.png")):
        if figures.is_animation(png := path.read_bytes()):
            path.with_name(f"{path.stem}-still.png").write_bytes(figures.last_frame(png))

    course = {
        "settings": cfg,
        "paper": figures.PAPER,
        "question": library.question,
        "chapters": [
            {
                "name": p.name,
                "number": p.number,
                "title": typeset(p.title),
                "question": typeset(p.question),
                "runtime": p.runtime,
                "appendix": p.appendix,
                "card": cards.get(p.name),
            }
            for p in chapters
        ],
        "modules": list(modules),
        "hero": live,
        "equations": [
            dict(e, url=links.equations[e["n"]], title=p.title) for p in chapters for e in p.equations
        ],
        "api": [
            {
                "name": i.full,
                "short": i.name,
                "kind": i.kind,
                "signature": i.signature,
                "summary": i.summary,
                "doc": i.doc,
                "url": i.url,
            }
            for module in modules.values()
            for top in module.items
            for i in (top, *top.members)
        ],
        "bibliography": {key: pages.entry(key) for key in cited},
        "glossary": [
            {"term": t, "anchor": term_anchor(t), "meaning": links.prose(meaning)} for t, meaning in terms
        ],
        "widgets": [*WIDGETS, "draw"],
    }
    write("course.json", json.dumps(course, indent=1))


def finish() -> None:
    "Add the notebooks to download, to be run, and drop what Sphinx adds and no page asks for."
    (HTML / ".nojekyll").touch()
    (HTML / "_downloads").mkdir()
    for path in (ROOT / "nbs").glob("[0-9]*.ipynb"):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            if "outputs" in cell:  # they are on the page
                cell["outputs"] = []
        text = json.dumps(notebook, indent=1, ensure_ascii=False)
        (HTML / "_downloads" / path.name).write_text(text, encoding="utf-8")
    for name in (
        "doctools.js",
        "sphinx_highlight.js",
        "documentation_options.js",
        "language_data.js",
        "searchtools.js",
        "pygments.css",
        "basic.css",
        "file.png",
        "minus.png",
        "plus.png",
        "../objects.inv",
        "../.buildinfo",
    ):
        (HTML / "_static" / name).unlink(missing_ok=True)


def main() -> int:
    vendor.main()
    start = time.time()
    stage()
    shutil.rmtree(HTML, ignore_errors=True)
    if status := sphinx(
        [
            "-q",
            "-W",
            "--keep-going",
            "-b",
            "html",
            "-c",
            str(HERE),
            "-d",
            str(ROOT / "_build" / "doctrees"),
            str(SOURCE),
            str(HTML),
        ]
    ):
        return status
    finish()
    maths.stop()
    total = sum(p.stat().st_size for p in HTML.rglob("*") if p.is_file())
    print(
        f"_build/html: {len(list(HTML.rglob('*.html')))} pages, {total / 1e6:.1f} MB, in "
        f"{time.time() - start:.0f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
