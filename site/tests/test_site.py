"""What a reader of the site relies on, checked in headless Chromium and in the files themselves."""

import itertools
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlparse

import pytest

ROOT = Path(__file__).resolve().parents[2]
HTML = ROOT / "_build" / "html"


def names() -> list[str]:
    return sorted(str(p.relative_to(HTML)) for p in HTML.rglob("*.html"))


def with_figures() -> str:
    "A chapter whose page has a figure."
    return next(
        n
        for n in names()
        if re.match(r"\d", n)
        and 'class="fig"' in (HTML / n).read_text(encoding="utf-8")
        and "only-dark" in (HTML / n).read_text(encoding="utf-8")
    )


class Tags(HTMLParser):
    def __init__(self, path: Path):
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


# ---- the files


def test_sizes(built):
    total = sum(p.stat().st_size for p in HTML.rglob("*") if p.is_file())
    # a hundred pages, the notebooks to download, and 5 MB that only the page Draw loads
    assert total <= 30e6, f"{total / 1e6:.1f} MB"


def test_code_has_tags_only_where_it_is_coloured(built):
    css = (HTML / "_static/site.css").read_text(encoding="utf-8")
    found = {
        kind
        for name in names()
        for pre in re.findall(r"<pre.*?</pre>", (HTML / name).read_text(encoding="utf-8"), re.S)
        for kind in re.findall(r'<span class="([^"]+)">', pre)
    }
    assert {"k", "s2", "c1", "mi", "nf", "nb"} <= found
    assert not [kind for kind in found if not re.search(rf"^\.{kind}\b", css, re.M)]


def test_code_is_as_it_is_typed_and_outputs_are_no_objects(built):
    for name in names():
        text = (HTML / name).read_text(encoding="utf-8")
        for code in re.findall(r"<code>(.*?)</code>", text):
            assert not re.search("[“”‘’–]", code), f"{name}: {code}"
        assert not re.search(r"&lt;[\w.]+ object", text), name


def test_every_chapter_has_its_page_buttons_and_download(built):
    from notebooks import typeset

    for notebook in sorted((ROOT / "nbs").glob("[0-9]*.ipynb")):
        text = (HTML / f"{notebook.stem}.html").read_text(encoding="utf-8")
        assert "colab.research.google.com/github/" in text
        assert f"nbs/{notebook.name}" in text
        have, want = (
            json.loads((folder / notebook.name).read_text(encoding="utf-8"))["cells"]
            for folder in (HTML / "_downloads", ROOT / "nbs")
        )
        assert have == [cell | ({"outputs": []} if "outputs" in cell else {}) for cell in want]
        assert f'href="_downloads/{notebook.name}"' in text
        assert 'rel="next"' in text or 'rel="prev"' in text
        first = "".join(json.loads(notebook.read_text(encoding="utf-8"))["cells"][0]["source"])
        title = typeset(re.search(r"^# (.+)$", first, re.M)[1])
        assert title.split("`")[0].strip() in re.sub(r"&[^;]+;", "", text)


def test_internal_links_and_anchors_resolve(built):
    ids, links = {}, []
    for name in names():
        tags = Tags(HTML / name).found
        ids[name] = [a["id"] for _, a in tags if a.get("id")]
        assert len(ids[name]) == len(set(ids[name])), (
            f"{name}: an id twice: {[i for i in ids[name] if ids[name].count(i) > 1][:5]}"
        )
        links += [
            (name, a.get("href") or a.get("src"))
            for t, a in tags
            if t in ("a", "link", "img", "script", "source", "use") and (a.get("href") or a.get("src"))
        ]
    dead = []
    for name, link in links:
        if name == "404.html":  # served at any depth, so its links begin at the host
            link = re.sub(r"^/[^/]+/", "", link)
        url = urlparse(urljoin(f"http://here/{name}", link))
        if url.scheme not in ("http", "https") or url.netloc != "here":
            continue
        path = unquote(url.path).lstrip("/") or "index.html"
        if not (HTML / path).is_file() or (
            url.fragment and path.endswith(".html") and unquote(url.fragment) not in ids[path]
        ):
            dead.append(f"{name}: {link}")
    assert not dead, "\n".join(dead[:30])


def test_nothing_is_loaded_from_elsewhere(built):
    for name in names():
        for tag, a in Tags(HTML / name).found:
            loads = a.get("src") or (a.get("href") if tag == "link" else None)
            assert not (loads and re.match(r"(https?:)?//", loads)), f"{name}: {loads}"
    for css in HTML.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//|@import", css.read_text(encoding="utf-8")), css


def test_no_latex_nor_markdown_is_left_in_the_text(built):
    for name in names():
        text = re.sub(
            r"<(pre|script|style|annotation)\b.*?</\1>|<code.*?</code>|<[^>]+>",
            " ",
            (HTML / name).read_text(encoding="utf-8"),
            flags=re.S,
        )
        for wrong in (r"\$\$", r"\\tag", r"\\frac", r"\]\(", r"\*\*", r"`", r"RUNTIME", r"\{py:", r"#\|"):
            assert not re.search(wrong, text), (
                f"{name}: {wrong} in {text[max(0, re.search(wrong, text).start() - 80) :][:160]!r}"
            )


def test_every_equation_is_numbered_once_and_in_the_index(built):
    index = (HTML / "equations.html").read_text(encoding="utf-8")
    count = 0
    for notebook in sorted((ROOT / "nbs").glob("[0-9]*.ipynb")):
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
        page = (HTML / f"{notebook.stem}.html").read_text(encoding="utf-8")
        for n in re.findall(r"\\tag\{([\da-z.]+)\}", text):
            count += 1
            assert page.count(f'id="eq-{n}"') == 1
            assert f'href="{notebook.stem}.html#eq-{n}"' in index
    assert count >= 10


def test_the_equation_index_names_source_function_and_test(built):
    index = (HTML / "equations.html").read_text(encoding="utf-8")
    entry = index[index.index('href="02_forward.html#eq-2.4"') :].split('class="eq-entry"')[0]
    assert 'href="bibliography.html#ho2020"' in entry
    assert 'href="api/forward.html#ddpm_abc.forward.q_mean_var"' in entry
    assert re.search(r'/tests/test_\w+\.py">test_\w+</a>', entry.replace("<wbr>", ""))


def test_the_glossary_has_each_term_and_pages_link_to_it(built):
    nb = json.loads((ROOT / "nbs" / "00_math.ipynb").read_text(encoding="utf-8"))
    table = next(t for t in ("".join(c["source"]) for c in nb["cells"]) if "Glossary" in t).split("Glossary")[
        1
    ]
    terms = re.findall(r"^\| ?([a-z][a-z -]+?) ?\|", table, re.M)
    page = (HTML / "glossary.html").read_text(encoding="utf-8")
    assert len(terms) > 10
    for term in set(terms) - {"term"}:
        assert f'id="term-{term.replace(" ", "-")}"' in page
    assert 'href="glossary.html#term-forward-process"' in (HTML / "01_schedule.html").read_text(
        encoding="utf-8"
    )


def test_every_work_that_is_cited_has_an_entry(built):
    from notebooks import CITATION as known

    for notebook in (ROOT / "nbs").glob("*.ipynb"):
        text = "\n".join(
            "".join(c["source"])
            for c in json.loads(notebook.read_text(encoding="utf-8"))["cells"]
            if c["cell_type"] == "markdown"
        )
        for m in re.finditer(r"[A-Z][a-z-]+ (?:et al\.|(?:and|&) [A-Z][a-z]+),? \(?(?:19|20)\d\d", text):
            assert known.match(text, m.start()) or known.search(text, max(0, m.start() - 25), m.end() + 2), (
                f"{notebook.name} cites {m[0]}: add it to site/course.py"
            )


def test_the_api_names_every_public_function_with_its_parameters(built):
    import ast

    import house

    for module, path in house.modules(ROOT).items():
        page = (HTML / "api" / f"{module}.html").read_text(encoding="utf-8")
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert f'id="ddpm_abc.{module}.{node.name}"' in page
                assert f"{path.relative_to(ROOT)}#L" in page
            if (
                path.name == "__init__.py"
                and isinstance(node, ast.ImportFrom)
                and node.level == 1
                and node.module
            ):
                for alias in node.names:  # what a sub-package passes on leads to where it is explained
                    name = f"{module}.{node.module}"
                    assert f'href="../api/{name}.html#ddpm_abc.{name}.{alias.name}"' in page
        assert f"{path.relative_to(ROOT)}" in page
    index = (HTML / "api" / "index.html").read_text(encoding="utf-8")
    assert all(f'href="{module}.html"' in index for module in house.modules(ROOT))
    forward = (HTML / "api" / "forward.html").read_text(encoding="utf-8")
    assert "standard normal noise" in forward
    assert 'href="../02_forward.html"' in forward
    config = (HTML / "api" / "run.config.html").read_text(encoding="utf-8")
    fields = "".join(re.findall(r'<div class="params">.*?</div>', config, re.S))
    assert "highest learning rate" in fields
    assert "setting(" not in fields


def test_figures_and_headings_are_for_everyone(built):
    for name in names():
        tags = Tags(HTML / name).found
        for tag, a in tags:
            if tag == "img":
                assert a.get("alt") or (name == "index.html" and "alt" in a), (
                    f"{name}: {a.get('src')} has no alt text"
                )
                assert {"width", "height"} <= a.keys(), f"{name}: {a.get('src')} would make the text jump"
        levels = [int(t[1]) for t, _ in tags if re.fullmatch(r"h[1-6]", t)]
        assert levels.count(1) == 1, f"{name}: {levels.count(1)} main headings"
        assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False)), (
            f"{name}: a level of heading is skipped: {levels}"
        )


# ---- in the browser

PARTS = 8  # of the pages, so that two workers share them evenly; an even number, for the themes


def violations(page) -> list[str]:
    "What axe finds serious in a page; what KaTeX made of its formulas is left to KaTeX."
    import vendor

    page.evaluate((vendor.VENDOR / "axe" / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run({exclude: ['.katex']}, {resultTypes: ['violations']})")["violations"]
    return [
        f"{v['id']} ({len(v['nodes'])}): {v['help']}: {v['nodes'][0]['html'][:140]} "
        f"{v['nodes'][0].get('failureSummary', '')[:200]}"
        for v in found
        if v["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("part", range(PARTS))
def test_every_page_is_clean_for_everyone(open_page, part):
    """It loads without an error and asks nobody outside; axe finds nothing serious in it; a phone shows it
    without overflow. One visit for all of it, and one run of axe, in light and dark pages by turns: there is
    one style sheet, and this is what takes long."""
    wrong, theme = [], ("light", "dark")[part % 2]
    for name in names()[part::PARTS]:
        page = open_page(name)
        page.evaluate("document.querySelectorAll('img').forEach(i => i.loading = 'eager')")
        page.wait_for_function("[...document.images].every(i => i.complete)")
        page.wait_for_timeout(100)
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        page.emulate_media(color_scheme=theme)
        wrong += [f"{name}, {theme}: {problem}" for problem in violations(page)]
        page.set_viewport_size({"width": 390, "height": 900})
        if (wide := page.evaluate("document.documentElement.scrollWidth")) > 390:
            wrong.append(f"{name}, {theme}: {wide} px wide on a phone of 390")
        wrong += [f"{name}: {error}" for error in page.errors]
        wrong += [f"{name} asks {url}" for url in page.outside]
        page.context.close()
    assert not wrong, "\n".join(wrong)


def test_an_address_that_is_not_there(open_page):
    page = open_page("no/such/page.html")
    assert page.locator("h1").inner_text().startswith("Only noise here")
    assert (
        page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(252, 251, 248)"
    )  # its style was found
    page.get_by_role("link", name="front page").click()
    page.wait_for_selector(".hero")


def test_front_page_is_light(open_page, chromium, base):
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page, size = context.new_page(), []
    page.on("response", lambda r: size.append((len(r.body()), r.url)))
    page.goto(base + "index.html", wait_until="networkidle")
    total = sum(s for s, _ in size)
    print(f"front page before interaction: {total / 1e3:.0f} KB in {len(size)} files")
    assert total <= 1e6, sorted(size)[-6:]
    context.close()


def test_maths_is_set(open_page):
    page = open_page("01_schedule.html")
    page.evaluate("document.fonts.ready")
    assert page.locator(".katex").count() > 30
    assert page.locator(".katex-error").count() == 0
    assert page.evaluate("document.fonts.check('16px KaTeX_Main') && document.fonts.check('16px KaTeX_Math')")
    equation = page.locator("#eq-1\\.1 .katex-html").bounding_box()
    assert equation["width"] > 150
    assert 20 < equation["height"] < 200


def test_an_equation_previews_on_hover_and_on_focus(open_page):
    page = open_page("01_schedule.html")
    link = page.locator("main a.eqref").first
    link.hover()
    page.wait_for_selector(".card-hover .katex")
    assert link.inner_text().strip() in page.locator(".card-hover .what").inner_text()
    page.keyboard.press("Escape")
    assert page.locator(".card-hover").count() == 0
    page.mouse.move(0, 0)
    name = page.locator('main p a.api[href*="#"]').first
    name.hover()
    page.wait_for_selector(".card-hover pre")
    assert name.inner_text().split(".")[-1].split("(")[0] in page.locator(".card-hover").inner_text()


def pixels(page, selector: str) -> list[int]:
    return page.evaluate(
        "s => { const c = document.querySelector(s); return [...c.getContext('2d').getImageData(0, 0, "
        "c.width, c.height).data] }",
        selector,
    )


def test_the_schedule_explorer_computes_and_warns(open_page):
    page = open_page("01_schedule.html")
    box = page.locator('.widget[data-widget="schedule"]')
    box.scroll_into_view_if_needed()

    def left(T, lo, hi):
        return math.sqrt(math.prod(1 - (lo + (hi - lo) * t / (T - 1)) for t in range(T)))

    def shown():
        return float(box.get_attribute("data-left"))

    assert shown() == pytest.approx(left(1000, 1e-4, 0.02), rel=1e-6)
    assert "stops short" not in box.inner_text()
    box.get_by_role("button", name="Same betas, T = 200").click()
    assert shown() == pytest.approx(left(200, 1e-4, 0.02), rel=1e-2)
    assert "stops short of noise" in box.locator("[role=status]").inner_text()
    box.get_by_role("button", name="T = 50, betas rescaled").click()
    assert shown() < 0.02
    assert "stops short" not in box.inner_text()
    before = pixels(page, ".widget .strip canvas")
    box.get_by_label("Digit", exact=True).select_option("3")
    assert pixels(page, ".widget .strip canvas") != before
    box.get_by_role("button", name="The paper").click()
    at = box.get_by_label("Look at step")
    before = pixels(page, ".widget .plots canvas"), at.input_value()
    at.press("ArrowRight")
    assert at.input_value() != before[1]
    assert pixels(page, ".widget .plots canvas") != before[0]
    assert box.get_by_role("slider", name="the last").is_visible()
    box.get_by_label("cosine").check()
    assert shown() < 0.001
    assert not box.get_by_role("slider", name="the last").is_visible()  # a cosine has no betas to set
    assert not page.errors


def test_the_forward_slider_changes_the_picture(open_page):
    page = open_page("02_forward.html")
    box = page.locator('.widget[data-widget="forward"]')
    last = '.widget[data-widget="forward"] .sum .term:last-child canvas'
    slider = box.locator("input[type=range]")
    slider.fill("0")
    clean = pixels(page, last)
    assert clean == pixels(page, '.widget[data-widget="forward"] .sum figure canvas')  # at t = 0, x_t is x_0
    slider.fill("1000")
    noisy = pixels(page, last)
    assert noisy != clean
    assert "0.006" in box.inner_text()
    box.get_by_role("button", name="Other noise").click()
    assert pixels(page, last) != noisy


def test_the_walk_explorer_walks_as_the_chapter_does(open_page):
    "On N(0, 1) a step of DDIM is a multiplication; calls are counted; more steps end on the data more often."
    page = open_page("10_solvers.html")
    box = page.locator('.widget[data-widget="walk"]')
    bars = [1.0]
    for t in range(1000):
        bars.append(bars[-1] * (1 - 1e-4 - (0.02 - 1e-4) * t / 999))
    for steps in (1, 10, 50):
        times = [1000 - round(1000 * i / steps) for i in range(steps + 1)]
        kept = math.prod(
            math.sqrt(bars[s] * bars[t]) + math.sqrt((1 - bars[s]) * (1 - bars[t]))
            for t, s in itertools.pairwise(times)
        )
        walk = (
            "n => samplerWalk({centres: [[0, 0]], variance: 1}, 'ddim', n, 0, [1, 0], null).states.at(-1)[0]"
        )
        assert page.evaluate(walk, steps) == pytest.approx(kept, rel=1e-9)

    counts = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100)  # and on, to 1,000

    def shown(sampler, steps):
        box.get_by_label("Sampler").select_option(sampler)
        box.get_by_role("slider", name="Steps").fill(str(counts.index(steps)))
        return int(box.get_attribute("data-calls")), float(box.get_attribute("data-share"))

    for sampler in ("ddpm", "ddim", "heun", "dpm"):
        (few, bad), (many, good) = shown(sampler, 4), shown(sampler, 60)
        assert (few, many) == ((7, 119) if sampler == "heun" else (4, 60))
        assert bad < 0.8 < 0.97 < good, sampler
    assert "60 calls of the network" in box.locator(".verdict").inner_text()
    noise = box.get_by_role("slider", name="Noise")
    assert noise.is_visible()
    before = pixels(page, ".walk")
    noise.fill("1")
    assert pixels(page, ".walk") != before
    box.get_by_label("Sampler").select_option("heun")
    assert not noise.is_visible()
    assert not page.errors


def test_without_javascript_the_page_is_whole(open_page):
    page = open_page("01_schedule.html", javascript=False)
    assert page.locator(".widget img").is_visible()
    assert page.locator(".katex").count() > 30
    assert page.locator(".side a").count() > 8


@pytest.mark.parametrize(
    ("query", "kind", "where"),
    [
        ("q_sample", "function", "api/forward.html#ddpm_abc.forward.q_sample"),
        ("linear_sched", "function", "api/schedule.html#ddpm_abc.schedule.linear_schedule"),
        ("1.4", "equation", "01_schedule.html#eq-1.4"),
        ("equation snr", "equation", "01_schedule.html#eq-1.4"),
        ("cosine schedule", "section", "01_schedule.html#the-cosine-schedule"),
    ],
)
def test_search_finds(open_page, query, kind, where):
    page = open_page("index.html")
    page.keyboard.press("Control+k")
    page.keyboard.type(query)
    page.wait_for_selector("dialog.search li a")
    found = page.eval_on_selector_all(
        "dialog.search li a",
        "a => a.map(x => [x.querySelector('.kind').textContent, x.getAttribute('href')])",
    )
    assert [kind, where] in found[:4], found[:6]
    page.locator(f'dialog.search a[href="{where}"]').click()
    page.wait_for_url(f"**/{where}")
    page.go_back()
    assert not page.errors


def test_search_page_and_disk(open_page, built):
    page = open_page("search.html?q=q_posterior")
    page.wait_for_selector("#search-page li a")
    assert "q_posterior" in page.locator("#search-page li a").first.inner_text()
    page = open_page(
        (HTML / "01_schedule.html").as_uri()
    )  # from a disk, without a server: everything but the typefaces
    page.keyboard.press("Control+k")
    page.keyboard.type("q_sample")
    page.wait_for_selector("dialog.search li a")
    assert page.locator(".widget canvas").count() > 9
    assert not [e for e in page.errors if "font" not in e and "ERR_FAILED" not in e]


def test_dark_and_light(open_page):
    page = open_page(with_figures(), "dark")
    background = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(background) == "rgb(16, 21, 31)"
    assert page.locator(".fig img.only-dark").first.is_visible()
    assert not page.locator(".fig img.only-light").first.is_visible()
    page.locator("button.theme").click()
    assert page.evaluate(background) == "rgb(252, 251, 248)"
    page.reload()
    assert page.evaluate(background) == "rgb(252, 251, 248)"  # remembered
    assert page.locator(".fig img.only-light").first.is_visible()
    assert not page.errors


def test_keyboard(open_page):
    page = open_page("01_schedule.html", width=390)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.locator(".side").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator(".side").is_visible()


def test_the_live_picture_plays_pauses_and_scrubs(open_page):
    page = open_page("index.html")
    page.wait_for_selector(".live canvas")
    button, slider = page.locator(".live button"), page.locator(".live input")
    digits = pixels(page, ".live canvas")
    assert button.inner_text() == "Play"  # a reader who asked for less motion
    slider.fill("0")
    noise = pixels(page, ".live canvas")
    assert noise != digits
    button.click()
    page.wait_for_timeout(900)
    assert pixels(page, ".live canvas") != noise
    button.click()
    assert button.inner_text() == "Play"


def test_print(open_page):
    page = open_page(with_figures(), "dark")
    page.emulate_media(media="print")
    assert not page.locator(".top").is_visible()
    assert not page.locator(".side").is_visible()
    assert page.locator(".fig img.only-light").first.is_visible()
