"""The page Draw and the exact field against Python, whose answers tools/page_data.py writes to truth.json."""

import base64
import itertools
import json
from pathlib import Path

import formulas
import pytest
from test_site import ROOT, pixels, violations

TRUTH = json.loads((Path(__file__).parent / "truth.json").read_text(encoding="utf-8"))
WIDGET = '.widget[data-widget="draw"]'
SEEDS = itertools.count(100)
PATIENCE = 180_000  # milliseconds, on a machine that does other things too


def shown(page, frame):
    page.wait_for_function(
        "([widget, frame]) => document.querySelector(widget).dataset.frame === frame",
        arg=[WIDGET, str(frame)],
        timeout=PATIENCE,
    )


@pytest.fixture(scope="module")
def loaded(chromium, base):
    "A page whose network is at work, for all tests that need one: to load it takes long."
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    page = context.new_page()
    page.errors, page.outside = [], []
    page.on("console", lambda m: page.errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: page.errors.append(str(e)))
    page.on("request", lambda r: None if r.url.startswith(base) else page.outside.append(r.url))
    page.goto(base + "draw.html?digit=4&steps=2&go=1", wait_until="load")
    shown(page, 2)
    yield page
    context.close()


@pytest.fixture
def drawing(loaded):
    "That page, after a walk of six steps from a seed of the test's own."
    page, seed = loaded, next(SEEDS)
    page.evaluate(f"location.hash = 'digit=4&guidance=1&steps=6&sampler=ddim&seed={seed}'")
    page.wait_for_function(f"document.querySelector('.seed input').value === '{seed}'")
    shown(page, 6)
    yield page
    assert not page.errors
    assert not page.outside


def differences(page, cases):
    "The largest difference in levels of grey between the page's images and Python's, of each case."
    found = []
    for case in cases:
        ours = page.evaluate(
            "settings => drawImages(settings)", {k: v for k, v in case.items() if k != "pixels"}
        )
        theirs = base64.b64decode(case["pixels"])
        assert len(ours) == len(theirs)
        found.append(max(abs(a - b) for a, b in zip(ours, theirs, strict=True)))
    return found


# ---- against Python


def test_noise_schedules_and_times_are_those_of_python(open_page):
    page = open_page("10_solvers.html")
    normals = page.evaluate("[...portableNormals(2 ** 32 - 5, 3, 7, 11)]")
    assert normals == pytest.approx(TRUTH["normals"], abs=1e-12)
    assert page.evaluate("cosineBar().filter((_, t) => t % 50 === 0)") == pytest.approx(
        TRUTH["cosine"], rel=1e-9
    )
    assert page.evaluate("linearBar(50, 1e-3, 0.3)") == pytest.approx(TRUTH["linear"], rel=1e-12)
    for kind, steps, times in TRUTH["times"]:
        assert page.evaluate("([kind, n]) => timesFor(kind, 1000, n)", [kind, steps]) == times


def test_schedules_are_written_from_their_python():
    source = (ROOT / "ddpm_abc" / "schedule.py").read_text(encoding="utf-8")
    assert "Math.min(0.999, (1 - (f(i + 1) / f(i))))" in formulas.javascript(source)
    assert "Math.min(0.5, " in formulas.javascript(source.replace("max=0.999", "max=0.5"))
    assert "beta_min: 0.0003, " in formulas.javascript(source.replace("1e-4", "3e-4"))
    with pytest.raises(SystemExit, match=r"schedule\.py says torch\.sin\("):
        formulas.javascript(source.replace("torch.cos(", "torch.sin("))
    bars = formulas.paper_bars(source)
    assert len(bars) == 1001
    assert bars[-1] == pytest.approx(4.0358e-5, rel=1e-4)


def test_walks_in_the_exact_field_are_those_of_python(open_page):
    page = open_page("10_solvers.html")
    walk = """({kind, steps, eta}) => {
      let draw = 0;
      const noise = n => portableNormals(2, 0, draw++, n);
      return [...samplerWalk(crescents(), kind, steps, eta, noise(16), noise).states.at(-1)];
    }"""
    for case in TRUTH["walks"]:
        assert page.evaluate(walk, case) == pytest.approx(case["end"], abs=1e-6), case


def test_images_are_those_of_python(drawing):
    "One of each sampler, with and without guidance, and sixteen at once; the other images are slow."
    first = {(c["kind"], c["w"], c["n"]): c for c in reversed(TRUTH["images"])}
    cases = [c for key, c in first.items() if key[1] != 2]
    assert len(cases) == 7
    assert max(differences(drawing, cases)) <= 1


@pytest.mark.slow
def test_all_fifty_images_are_those_of_python(drawing):
    assert sum(c["n"] for c in TRUTH["images"]) == 50
    assert max(differences(drawing, TRUTH["images"])) <= 1


def test_firefox_draws_the_images_of_python(firefox, base):
    "All fifty, in a browser whose arithmetic is of another make."
    firefox.goto(base + "draw.html?digit=4&steps=2&go=1")
    shown(firefox, 2)
    assert max(differences(firefox, TRUTH["images"])) <= 1
    assert not firefox.errors


# ---- the page


def test_the_network_is_loaded_after_the_click_and_again_if_it_failed(open_page, base):
    page, size = open_page("404.html"), {}
    page.on("response", lambda r: size.update({r.url: int(r.headers.get("content-length", 0))}))
    page.goto(base + "draw.html", wait_until="networkidle")
    assert sum(size.values()) <= 1e6
    assert not [url for url in size if "onnx" in url or "/ort" in url]
    before, note = set(size), page.locator(".gate-note").inner_text()
    front = (ROOT / "_build/html/index.html").read_text(encoding="utf-8")
    page.route("**/*.onnx", lambda route: route.fulfill(status=503))
    page.get_by_role("button", name="Draw a").click()
    page.get_by_role("button", name="Try again").wait_for(timeout=PATIENCE)
    assert "mnist-labels.onnx: 503" in page.locator(".gate").inner_text()
    page.unroute("**/*.onnx")
    page.get_by_role("button", name="Try again").click()
    shown(page, 20)
    loaded = {url: n for url, n in size.items() if url not in before}
    megabytes = sum(loaded.values()) / 1e6
    assert 4 < megabytes <= 6, loaded
    for told in (note, front):
        assert f"{megabytes:.0f} MB" in told
    assert not page.outside


def test_settings_are_folded_away_until_a_link_sets_one(open_page):
    page = open_page("draw.html?digit=3")
    guidance = page.locator(WIDGET).get_by_role("slider", name="Guidance")
    assert page.locator(WIDGET).get_by_label("3", exact=True).is_checked()
    assert not guidance.is_visible()
    page.locator(f"{WIDGET} summary").press("Enter")
    assert guidance.is_visible()
    for setting in ("guidance=2", "guidance=1~3:2", "steps=9", "sampler=dpm", "seed=5", "images=16"):
        assert open_page(f"draw.html?digit=3&{setting}").locator(f"{WIDGET} details[open]").count(), setting


def test_a_walk_is_scrubbed_and_its_address_gives_it_again(drawing):
    assert "6 calls of the network" in drawing.locator(f"{WIDGET} .verdict").inner_text()
    digit = pixels(drawing, ".stage canvas")
    drawing.get_by_role("slider", name="Step of the walk").fill("2")
    assert "t = 667" in drawing.locator(".stage").first.inner_text()
    drawing.wait_for_function("location.hash.includes('at=2')")
    middle, address = pixels(drawing, ".stage canvas"), drawing.evaluate("location.hash")
    assert middle != digit
    drawing.evaluate("location.hash = 'digit=9&steps=1&seed=1'")
    shown(drawing, 1)
    drawing.evaluate(f"location.hash = '{address}'")
    shown(drawing, 2)
    drawing.get_by_role("img", name="The network’s guess of the digit").wait_for()  # where a walk stops, too
    assert pixels(drawing, ".stage canvas") == middle
    drawing.get_by_role("button", name="Go on").click()
    shown(drawing, 6)
    assert pixels(drawing, ".stage canvas") == digit
    assert "6 calls of the network" in drawing.locator(f"{WIDGET} .verdict").inner_text()


def test_a_step_that_is_asked_for_twice_is_taken_once(drawing):
    twice = """async () => {
      const walk = beginWalk({kind: "ddim", steps: 2, seed: 1, n: 1, digit: 1});
      await Promise.all([takeStep(walk, 0), takeStep(walk, 0)]);
      return [walk.frames.length, walk.calls];
    }"""
    assert drawing.evaluate(twice) == [2, 1]


def test_guidance_turns_on_the_way_and_single_steps_go_on(drawing):
    digit = pixels(drawing, ".stage canvas")
    drawing.get_by_role("slider", name="Step of the walk").fill("3")
    drawing.get_by_role("slider", name="Guidance").fill("4")
    shown(drawing, 6)
    assert pixels(drawing, ".stage canvas") != digit
    drawing.wait_for_function("decodeURIComponent(location.hash).includes('guidance=1~3:4')")
    drawing.get_by_role("button", name="Back to the noise").click()
    shown(drawing, 0)
    drawing.get_by_role("button", name="One step").click()
    shown(drawing, 1)
    drawing.get_by_label("16", exact=True).check()
    shown(drawing, 6)
    assert "These 16 digits were stored nowhere" in drawing.locator(f"{WIDGET} .verdict").inner_text()
    assert drawing.evaluate("document.querySelector('.stage canvas').width") == 4 * 28


def test_a_pixel_says_its_numbers(drawing):
    drawing.get_by_label("ancestral").check()
    shown(drawing, 6)
    drawing.get_by_role("slider", name="Step of the walk").fill("3")
    drawing.locator(".stage canvas").first.focus()
    for _ in range(3):
        drawing.keyboard.press("ArrowRight")
    numbers = """() => [...document.querySelectorAll('.sumline b, .sumline small')]
      .map(e => +e.textContent.replace('−', '-').replace(/[()]/g, ''))"""
    *terms, total = drawing.evaluate(numbers)
    assert len(terms) == 6
    assert sum(a * b for a, b in zip(terms[::2], terms[1::2], strict=True)) == pytest.approx(total, abs=4e-3)
    assert "row 15, column 18" in drawing.locator(".pixel").inner_text()
    drawing.locator(".stage canvas").first.hover(position={"x": 60, "y": 4})
    assert "row 1, column" in drawing.locator(".pixel").inner_text()


def test_a_drawing_is_taken_back_and_completed(drawing):
    hand = drawing.locator('.widget[data-widget="hand"]')
    done = "n => document.querySelector('[data-widget=hand]').dataset.done === n"
    hand.get_by_role("button", name="Clear").click()
    paper = '.widget[data-widget="hand"] canvas'
    empty = pixels(drawing, paper)
    hand.locator("canvas").first.focus()
    for key in ("ArrowDown", " ", "ArrowDown", "ArrowDown", " ", "ArrowDown", "ArrowDown", " "):
        drawing.keyboard.press(key)
    mine = pixels(drawing, paper)
    assert mine != empty
    hand.get_by_role("slider", name="Noise up to").fill("300")
    hand.get_by_role("button", name="Give it to the network").click()
    drawing.wait_for_function(done, arg="1", timeout=PATIENCE)
    hand.get_by_label("half is erased").check()
    hand.get_by_role("button", name="Give it to the network").click()
    drawing.wait_for_function(done, arg="2", timeout=PATIENCE)
    result = pixels(drawing, '.widget[data-widget="hand"] figure:last-child canvas')
    known = [i for i in range(784) if i % 28 < 14]
    assert all(abs(result[4 * i] - mine[4 * i]) <= 1 for i in known)  # what was there is there still


def test_the_network_at_work_is_for_everyone(drawing):
    drawing.locator(".stage canvas").first.focus()
    drawing.keyboard.press("ArrowUp")
    try:
        for theme, width in (("light", 1280), ("dark", 390)):
            drawing.emulate_media(color_scheme=theme)
            drawing.set_viewport_size({"width": width, "height": 900})
            assert not violations(drawing)
            assert drawing.evaluate("document.documentElement.scrollWidth") <= width
    finally:
        drawing.emulate_media(color_scheme="light")
        drawing.set_viewport_size({"width": 1280, "height": 900})


def test_from_a_disk_it_says_what_to_do(open_page, built):
    page = open_page((Path(__file__).parents[2] / "_build/html/draw.html").as_uri())
    page.get_by_role("button", name="Draw a").click()
    assert "python -m http.server" in page.locator(".gate").inner_text()


def test_the_front_page_leads_to_a_digit(open_page):
    page = open_page("index.html")
    page.get_by_role("link", name="Draw a 6").click()
    page.wait_for_url("**/draw.html*")
    assert page.locator(WIDGET).get_by_label("6", exact=True).is_checked()
    page.wait_for_selector(".gate progress:visible")  # nobody has to click twice


def picture(page):
    return page.evaluate("document.querySelector('.walk').toDataURL()")


@pytest.mark.parametrize("name", ["00_math.html", "05_sampling.html"])
def test_smaller_fields_walk_too(open_page, name):
    page = open_page(name)
    box = page.locator('.widget[data-widget="field"]')
    assert not box.get_by_label("Sampler").is_visible()
    assert float(box.get_attribute("data-share")) > 0.95
    box.get_by_role("slider", name="Steps").fill("1")
    assert box.get_attribute("data-calls") == "2"
    assert float(box.get_attribute("data-share")) < 0.5
    assert not page.errors


def test_humps_are_placed_moved_and_asked_about(open_page):
    page = open_page("10_solvers.html")
    box = page.locator('.widget[data-widget="walk"]')
    box.get_by_role("button", name="Three humps").click()
    before = float(box.get_attribute("data-off"))
    box.get_by_role("button", name="Add a hump").click()
    moved = picture(page)
    box.locator("canvas").focus()
    page.keyboard.press("ArrowUp")
    assert picture(page) != moved
    box.get_by_role("slider", name="Steps").fill("16")
    assert float(box.get_attribute("data-off")) < before / 3
    start = picture(page)
    box.get_by_role("slider", name="Time").fill("600")
    assert picture(page) != start
    box.get_by_role("button", name="Three humps").click()
    box.get_by_role("button", name="fewer than a third").click()
    assert "You said fewer than a third: right" in box.locator(".quiz").inner_text()
    box.get_by_role("button", name="Another question").click()
    assert "Ancestral sampling, 10 steps" in box.locator(".quiz").inner_text()
    assert not page.errors
