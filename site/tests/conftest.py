"""The site in a real browser. Run with `make test-site`, which has an environment of its own."""

import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HTML = ROOT / "_build" / "html"
# A browser that asks nobody outside for anything.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


def find_chromium() -> str:
    "A Chromium on this machine; installed with apt-get where that is possible."
    def found() -> str | None:
        names = (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
        return next((path for name in names if name and (path := shutil.which(name))), None)

    if path := found():
        return path
    if shutil.which("apt-get") and os.geteuid() == 0:
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"], check=True, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, stdout=subprocess.DEVNULL)
        if path := found():
            return path
    pytest.exit("The site's tests need Chromium, and none was found. Install it (on Debian: apt-get install chromium) or name one: CHROMIUM=/path/to/chromium make test-site", returncode=1)


@pytest.fixture(scope="session")
def built() -> float:
    "Builds the site; how many seconds it took."
    start = time.time()
    done = subprocess.run([sys.executable, str(ROOT / "site" / "build.py")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return time.time() - start


@pytest.fixture(scope="session")
def base(built: float) -> str:
    "The address of a server on this machine that has the site."
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(HTML)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
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
def open_page(chromium, base):
    "open_page(name, theme=..., width=...): a page that has loaded, with what it logged and asked for in .errors and .outside."
    contexts = []

    def open_(name: str, theme: str = "light", width: int = 1280, javascript: bool = True, **more):
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=theme, reduced_motion="reduce", java_script_enabled=javascript, **more)
        contexts.append(context)
        page = context.new_page()
        page.errors, page.outside, page.bytes = [], [], 0
        page.on("console", lambda m: page.errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: page.errors.append(str(e)))
        page.on("request", lambda r: page.outside.append(r.url) if not r.url.startswith((base, "data:", "file:")) else None)
        page.on("requestfailed", lambda r: page.errors.append(f"failed: {r.url}") if r.failure != "net::ERR_ABORTED" else None)  # aborted: by leaving the page
        page.goto(name if "://" in name else base + name, wait_until="load")
        return page

    yield open_
    for context in contexts:
        context.close()
