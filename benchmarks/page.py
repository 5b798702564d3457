"""How fast the page Draw draws: from the click to the first digit, and twenty calls of the network.

    make site && .venv-site/bin/python benchmarks/page.py                      # in Chromium
    make site && .venv-site/bin/python benchmarks/page.py --browser firefox

Needs the site's own environment with its tests' driver (make test-site), and an idle machine. The first visit
fills the browser's cache; the others are measured.
"""

import argparse
import functools
import http.server
import statistics
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "site/tests"))
from bidi import Firefox  # noqa: E402
from conftest import FLAGS, find_chromium, find_firefox  # noqa: E402

ROUNDS, WIDGET = 7, '.widget[data-widget="draw"]'


class Pages(http.server.SimpleHTTPRequestHandler):
    "The built site, which browsers may keep."

    def end_headers(self):
        self.send_header("Cache-Control", "max-age=3600")
        super().end_headers()

    def log_message(self, *args):
        pass


def visit(page: Page | Firefox, address: str) -> tuple[float, float]:
    "Seconds from the click to the first digit, and of its twenty calls."
    page.goto(address, wait_until="load")
    seconds = page.evaluate(f"""() => new Promise(done => {{
      const start = performance.now(), widget = document.querySelector('{WIDGET}');
      new MutationObserver(() => {{
        if (widget.dataset.frame === "20") done((performance.now() - start) / 1e3);
      }}).observe(widget, {{ attributes: true }});
      document.querySelector('.gate button').click();
    }})""")
    return seconds, page.evaluate(f"() => +document.querySelector('{WIDGET}').dataset.milliseconds") / 1e3


@contextmanager
def chromium() -> Iterator[tuple[str, Page]]:
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        yield browser.version, browser.new_page()
        browser.close()


@contextmanager
def firefox() -> Iterator[tuple[str, Firefox]]:
    if (path := find_firefox()) is None:
        sys.exit("no Firefox was found: apt-get install firefox-esr, or FIREFOX=/path/to/firefox")
    page = Firefox(path)
    yield page.version, page
    page.close()


BROWSERS = {"chromium": chromium, "firefox": firefox}


def main() -> None:
    parser = argparse.ArgumentParser(description="From the click to the first digit of the page Draw.")
    parser.add_argument("--browser", choices=BROWSERS, default="chromium", help="default: %(default)s")
    name = parser.parse_args().browser
    handler = functools.partial(Pages, directory=str(ROOT / "_build/html"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/draw.html"
    with BROWSERS[name]() as (version, page):
        visit(page, address)
        rounds = [visit(page, address) for _ in range(ROUNDS)]
    print(f"{name.capitalize()} {version}, {ROUNDS} visits from a warm cache, DDIM, 20 steps, guidance 1\n")
    print("| | median, s | range, s |\n|---|---|---|")
    for name, values in zip(
        ("click to first digit", "its twenty calls of the network"), zip(*rounds, strict=True), strict=True
    ):
        print(f"| {name} | {statistics.median(values):.2f} | {min(values):.2f} to {max(values):.2f} |")


if __name__ == "__main__":
    main()
