"""Fetch what the site serves from its own host: KaTeX, three typefaces, a runtime for networks; and axe-core
for the tests.

    python site/vendor.py            # into _build/vendor, once; later runs only check

Each package is packed by npm at the version named here and refused if its SHA-512 is another one.
"""

import base64
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent
VENDOR = ROOT / "_build" / "vendor"

# package, SHA-512 of its tarball (npm's own "integrity"), files to keep, folder under VENDOR
PACKAGES = [
    (
        "katex@0.19.1",
        "jG8uKntjSEcm2EpQOh0XturpPuuC9r3Sq5HLHdsFdWZT27E672SF19QEi+of0/YeOy15lDgRhKvr5614uRrEfA==",
        r"dist/katex\.min\.(js|css)|dist/fonts/.*\.woff2|LICENSE",
        "katex",
    ),
    (
        "@fontsource-variable/source-serif-4@5.3.1",
        "4Rtay22SC4lMvw11r/+9kxANB6P3M0X8s1NudBC2v0J1KU2y3DcMoNcT3lBoZ/CqLirzf+StlO6UlJilyrvaUg==",
        r"files/source-serif-4-latin-wght-(normal|italic)\.woff2|LICENSE",
        "fonts/source-serif-4",
    ),
    (
        "@fontsource-variable/inter@5.3.0",
        "OupL48va4JNofb97w6NYeF9S7W/kHNKM0Er8Dem5nqi4jeOLrVJDoE8tZEpnMJmtkvNbB1EIPPwHcdkF6b1oUA==",
        r"files/inter-latin-wght-normal\.woff2|LICENSE",
        "fonts/inter",
    ),
    (
        "@fontsource-variable/jetbrains-mono@5.3.0",
        "F32xpS2NsGYoQi2ADSkKTgpJj7ozajsGgDJ8woTnqjmIB+dxDIqImjl4pXZVEExu8UFZ2ndhmX18EBS/hdz3Lw==",
        r"files/jetbrains-mono-latin-wght-normal\.woff2|LICENSE",
        "fonts/jetbrains-mono",
    ),
    (  # MIT; the runtime of the page Draw. Later releases have a larger one: 14 MB in 1.30
        "onnxruntime-web@1.23.2",
        "T09JUtMn+CZLk3mFwqiH0lgQf+4S7+oYHHtk6uhaYAAJI95bTcKi5bOOZYwORXfS/RLZCjDDEXGWIuOCAFlEjg==",
        r"dist/ort\.wasm\.min\.js|dist/ort-wasm-simd-threaded\.(mjs|wasm)",
        "ort",
    ),
    (
        "axe-core@4.14.1",
        "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
        r"axe\.min\.js|LICENSE",
        "axe",
    ),
]


def fetch(package: str, sha512: str, keep: str, folder: str) -> None:
    target = VENDOR / folder
    stamp = target / ".package"
    if stamp.exists() and stamp.read_text() == package + sha512:
        return
    npm = shutil.which("npm")
    if npm is None:
        sys.exit(
            "npm was not found. The site needs Node.js 18 or newer with npm, to fetch KaTeX and the "
            "typefaces and to set the maths: install it and run again."
        )
    with tempfile.TemporaryDirectory() as tmp:
        done = subprocess.run([npm, "pack", "--silent", package], cwd=tmp, capture_output=True, text=True)
        tarballs = list(Path(tmp).glob("*.tgz"))
        if done.returncode or len(tarballs) != 1:
            sys.exit(f"npm could not fetch {package}:\n{done.stderr}")
        data = tarballs[0].read_bytes()
    found = base64.b64encode(hashlib.sha512(data).digest()).decode()
    if found != sha512:
        sys.exit(f"{package} is not the file that was reviewed: its SHA-512 is {found}, expected {sha512}")
    shutil.rmtree(target, ignore_errors=True)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            path = PurePosixPath(*PurePosixPath(member.name).parts[1:])
            if not member.isfile() or not re.fullmatch(keep, str(path)):
                continue
            out = target / ("fonts" if "fonts/" in str(path) else "") / path.name
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_bytes(tar.extractfile(member).read())
    css = target / "katex.min.css"
    if css.exists():  # every browser that the site supports reads woff2: drop the older formats
        css.write_text(re.sub(r",url\([^)]*\.(woff|ttf)\) format\(\"\w+\"\)", "", css.read_text()))
    stamp.write_text(package + sha512)


def main() -> None:
    os.environ.setdefault("npm_config_update_notifier", "false")
    for package in PACKAGES:
        if not package[0].startswith("axe-core"):  # the tests fetch it themselves
            fetch(*package)


if __name__ == "__main__":
    main()
