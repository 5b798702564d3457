"""The site in a real browser. Run with `make test-site`, which has an environment of its own."""

import configparser
import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "site"), str(ROOT / "tools")]

import bidi  # noqa: E402
import vendor  # noqa: E402

HTML = ROOT / "_build" / "html"
# A browser that asks nobody outside for anything.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find(*names: str | None) -> str | None:
    "The first of these programs that this machine has."
    return next((path for name in names if name and (path := shutil.which(name))), None)


def find_chromium() -> str:
    "A Chromium on this machine."
    names = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
    if path := find(os.environ.get("CHROMIUM"), *names):
        return path
    pytest.exit(
        "The site's tests need Chromium, and none was found. Install it (on Debian: apt-get install "
        "chromium) or name one: CHROMIUM=/path/to/chromium make test-site",
        returncode=1,
    )


def find_firefox() -> str | None:
    "A Firefox on this machine."
    return find(os.environ.get("FIREFOX"), "firefox-esr", "firefox")


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> None:
    "Builds the site, once for all workers. build.py fails on any warning, and so do then all tests of it."
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    result = folder / "built.txt"
    with FileLock(folder / "built.lock"):
        if not result.exists():
            done = subprocess.run(
                [sys.executable, str(ROOT / "site" / "build.py")], capture_output=True, text=True
            )
            problem = f"{done.stdout}{done.stderr}" if done.returncode else ""
            result.write_text(problem)
            for package in vendor.PACKAGES:  # axe-core too
                vendor.fetch(*package)
    if problem := result.read_text():
        pytest.fail(f"The site does not build:\n{problem}", pytrace=False)


@pytest.fixture(scope="session")
def base(built: None) -> str:
    """The address of a server on this machine that has the site where GitHub Pages would: in a folder, with a
    page for what is not there."""
    ini = configparser.ConfigParser(delimiters=["="])
    ini.read(ROOT / "settings.ini", encoding="utf-8")
    folder = ini["DEFAULT"]["doc_baseurl"]

    class Pages(http.server.SimpleHTTPRequestHandler):
        error_message_format = (HTML / "404.html").read_text(encoding="utf-8").replace("%", "%%")

        def translate_path(self, path):
            return super().translate_path(
                path.removeprefix(folder) if path.startswith(folder) else "/nothing"
            )

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Pages, directory=str(HTML)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}{folder}/"
    server.shutdown()


@pytest.fixture(scope="session")
def chromium():
    from playwright import sync_api as playwright

    path = find_chromium()
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def firefox():
    "A page in Firefox."
    path = find_firefox()
    if path is None:
        pytest.skip("no Firefox was found: apt-get install firefox-esr, or FIREFOX=/path/to/firefox")
    page = bidi.Firefox(path)
    yield page
    page.close()


@pytest.fixture
def open_page(chromium, base):
    """open_page(name, theme=..., width=...): a page that has loaded, with what it logged and asked for in
    .errors and .outside."""
    contexts = []

    def open_(name: str, theme: str = "light", width: int = 1280, javascript: bool = True, **more):
        context = chromium.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=theme,
            reduced_motion="reduce",
            java_script_enabled=javascript,
            **more,
        )
        contexts.append(context)
        page = context.new_page()
        page.errors, page.outside, page.bytes = [], [], 0
        page.on("console", lambda m: page.errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: page.errors.append(str(e)))
        page.on(
            "request",
            lambda r: page.outside.append(r.url) if not r.url.startswith((base, "data:", "file:")) else None,
        )
        page.on(
            "requestfailed",
            lambda r: page.errors.append(f"failed: {r.url}") if r.failure != "net::ERR_ABORTED" else None,
        )  # aborted: by leaving the page
        page.goto(name if "://" in name else base + name, wait_until="load")
        return page

    yield open_
    for context in contexts:
        context.close()
