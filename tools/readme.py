"""Write README.md from nbs/index.ipynb, and its pictures into index_files/.

    python tools/readme.py           # write
    python tools/readme.py --check   # write nothing; exit status 1 if they are out of date

What `nbdev_readme` does, without Quarto. A cell's directives decide what is shown: `#| hide` and `#|
default_exp` leave it out, `#| echo: false` shows its output alone, `#| code-fold: true` folds its code, and
`#| fig-alt: text` says what its picture shows to those who cannot see it.
"""

import argparse
import base64
import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
PICTURES = "index_files"
NOTE = "<!-- Written by tools/readme.py from nbs/index.ipynb: edit that. -->"


def directives(source: str) -> dict[str, str]:
    "The `#| key: value` and `#| key value` lines of a code cell."
    return {m[1]: m[2].strip() for m in re.finditer(r"^#\|\s*([\w-]+):?(.*)$", source, re.M)}


def from_root(markdown: str) -> str:
    "Links that were relative to nbs/, made relative to the project's root."

    def moved(target: str) -> str:
        if re.match(r"[a-z]+:|[#/]", target):
            return target
        return target.removeprefix("../") if target.startswith("../") else f"nbs/{target}"

    markdown = re.sub(r"(\]\()([^)\s]+)", lambda m: m[1] + moved(m[2]), markdown)
    return re.sub(r"""((?:src|href)=["'])([^"']+)""", lambda m: m[1] + moved(m[2]), markdown)


def block(text: str, language: str = "") -> str:
    return f"```{language}\n{text.strip()}\n```"


def code(source: str, folded: bool) -> str:
    text = block(re.sub(r"^#\|.*\n?", "", source, flags=re.M), "python")
    return f"<details>\n<summary>Code</summary>\n\n{text}\n\n</details>" if folded else text


def render(nb: nbformat.NotebookNode) -> tuple[str, dict[str, bytes]]:
    "The README's text, and its pictures by path."
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            parts.append(from_root(cell.source.strip()))
            continue
        options = directives(cell.source)
        if cell.cell_type != "code" or options.keys() & {"hide", "default_exp"}:
            continue
        if options.get("echo") != "false":
            parts.append(code(cell.source, options.get("code-fold") == "true"))
        for output in cell.outputs:
            if output.output_type == "stream":
                if output.name == "stdout":
                    parts.append(block(output.text, "text"))
                continue
            data = output.get("data", {})
            if "image/png" in data:
                path = f"{PICTURES}/figure-{len(pictures) + 1}.png"
                pictures[path] = base64.b64decode(data["image/png"])
                parts.append(f"![{options.get('fig-alt', '')}]({path})")
            elif "text/markdown" in data:
                parts.append(from_root(data["text/markdown"].strip()))
            elif "text/plain" in data:
                parts.append(block(data["text/plain"], "text"))
    return "\n\n".join([*parts[:1], NOTE, *parts[1:]]) + "\n", pictures


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="compare with the files on disk and write nothing"
    )
    args = parser.parse_args()

    text, wanted = render(nbformat.read(ROOT / "nbs/index.ipynb", 4))
    wanted["README.md"] = text.encode()
    there = {f"{PICTURES}/{p.name}": p for p in (ROOT / PICTURES).glob("*")} | {
        "README.md": ROOT / "README.md"
    }
    stale = [
        name
        for name, data in wanted.items()
        if name not in there or not there[name].exists() or there[name].read_bytes() != data
    ]
    extra = sorted(there.keys() - wanted.keys())
    if args.check:
        if stale or extra:
            print(f"out of date: {', '.join(stale + extra)}. Run: python tools/readme.py")
        return bool(stale or extra)
    for name in extra:
        there[name].unlink()
    for name in stale:
        (ROOT / name).parent.mkdir(exist_ok=True)
        (ROOT / name).write_bytes(wanted[name])
    print(
        f"README.md: {len(wanted) - 1} pictures, "
        f"{f'wrote {len(stale)} files' if stale or extra else 'as it was'}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
