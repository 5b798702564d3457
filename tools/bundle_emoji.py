"""Write ddpm_abc/assets/emoji.webp and .json: the glyphs of Noto Emoji at 32x32, on white, and their groups.

    python tools/bundle_emoji.py FOLDER      # FOLDER is the npm package emoji-datasource-google, unpacked

The glyphs are one lossless picture of 64 columns; the JSON holds the names of the groups, and the group of
each glyph, in the order of Unicode's list. If a second folder is named, the glyphs are copied into it as
well, one by one and as they came: PNG files of 64x64 with transparency, a group a sub-folder.

    python tools/bundle_emoji.py FOLDER PNGS      # PNGS/activities/0001.png and so on
"""

import io
import json
import shutil
import sys
from hashlib import sha256
from pathlib import Path

from PIL import Image

SIZE, COLUMNS = 32, 64
ASSETS = Path(__file__).parent.parent / "ddpm_abc/assets"


def glyphs(package: Path) -> list[tuple[str, Path]]:
    "(group, file) of each glyph, skin variations included, in Unicode's order."
    found = []
    listed = json.loads((package / "emoji.json").read_text(encoding="utf-8"))
    for entry in sorted(listed, key=lambda entry: entry["sort_order"]):
        if entry["category"] == "Component":
            continue
        for each in (entry, *entry.get("skin_variations", {}).values()):
            if each["has_img_google"]:
                group = entry["category"].lower().replace(" & ", "-")
                found.append((group, package / "img/google/64" / each["image"]))
    return found


def small(path: Path) -> Image.Image:
    "One glyph on white, 32x32."
    with Image.open(path) as opened:
        glyph = opened.convert("RGBA")
    white = Image.new("RGBA", glyph.size, "white")
    return Image.alpha_composite(white, glyph).convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def main(package: Path, pngs: Path | None) -> None:
    found = glyphs(package)
    rows = -(-len(found) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * SIZE, rows * SIZE), "white")
    for k, (group, path) in enumerate(found):
        sheet.paste(small(path), (k % COLUMNS * SIZE, k // COLUMNS * SIZE))
        if pngs:
            (pngs / group).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, pngs / group / f"{k:04}.png")
    groups = sorted({group for group, _ in found})
    labels = [groups.index(group) for group, _ in found]
    about = {"groups": groups, "labels": labels}
    file = io.BytesIO()
    sheet.save(file, "WEBP", lossless=True, quality=100, method=6)
    for name, data in (("emoji.webp", file.getvalue()), ("emoji.json", json.dumps(about).encode())):
        (ASSETS / name).write_bytes(data)
        print(f"{name}: {len(data):,} bytes, sha256 {sha256(data).hexdigest()}")
    for k, group in enumerate(groups):
        print(f"{group}: {labels.count(k):,}")
    print(f"{len(found):,} glyphs")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
