"""Run notebooks in full, each in a fresh Jupyter kernel from an empty folder, and keep their outputs, clean
to commit.

    python tools/execute.py                        # all of nbs/
    python tools/execute.py nbs/01_schedule.ipynb  # this one
    python tools/execute.py --check [NOTEBOOK ...] # write nothing; fail where an output differs by a byte

Progress bars are dropped, figures are kept in 32 colours, and what `nbdev_clean` strips is stripped. Anything
else on stderr is a warning that a reader would see: it fails the run. So do an error and a file left behind.
A notebook that fails stays as it was on disk.

Outputs are the same to the byte on the same machine with the same packages. Another processor or another
release of torch or matplotlib may change the last digits, or a picture's compression.
"""

import argparse
import base64
import difflib
import io
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import numpy as np
from execnb.nbio import loads, nb2str
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbdev.clean import clean_nb
from nbdev.config import get_config
from PIL import Image, ImageColor

from ddpm_abc.plot import PALETTE

NBS = Path(__file__).resolve().parent.parent / "nbs"
BAR = re.compile(
    r"\[\d+:\d+(:\d+)?(<[^,\]]*)?, [^\]]*\]"
)  # how tqdm's line ends, as in "9/10 [00:01<00:00, 8.1it/s]"


class Failed(Exception):
    "A notebook did not run as a reader should see it."


def beyond_progress(text: str) -> str:
    "What a cell wrote to stderr, less its progress bars."
    return "\n".join(line for line in re.split(r"[\r\n]+", text) if line.strip() and not BAR.search(line))


SHOWS = 24  # of 255: a colour channel that is further off than this can be seen


def few_colours(png: str) -> str:
    """A picture in 32 colours, white, black and the course's palette among them: a quarter of the bytes, and
    hardly a difference to the eye. Where one shows in more than a pixel in 250, as in smooth colour maps, in
    256. Animations stay as they are."""
    image, small = Image.open(io.BytesIO(base64.b64decode(png))), io.BytesIO()
    if getattr(image, "is_animated", False):
        return png
    drawn, share = in_colours(image.convert("RGB"), 32)
    if share > 1 / 250:
        drawn, _ = in_colours(image.convert("RGB"), 256)
    drawn.save(small, "PNG", optimize=True)
    return base64.b64encode(small.getvalue()).decode()


def in_colours(rgb: Image.Image, n: int) -> tuple[Image.Image, float]:
    "A picture in n colours, and the share of its pixels in which that shows."
    own = [ImageColor.getrgb(color) for color in ("white", "black", *PALETTE.values())]
    found = np.array(rgb.quantize(n - len(own)).getpalette()).reshape(-1, 3)[: n - len(own)]
    palette = np.concatenate([own, found])
    pixels = np.asarray(rgb).reshape(-1, 3).astype(int)
    colours, where = np.unique(pixels, axis=0, return_inverse=True)
    nearest = (  # Pillow's own matching takes near-white for white
        np.square(with_hue(colours)[:, None] - with_hue(palette)).sum(2).argmin(1)
    )
    chosen = nearest[where.reshape(rgb.height, rgb.width)].astype(np.uint8)
    drawn = Image.fromarray(chosen)
    drawn.putpalette(palette.astype(np.uint8).tobytes())
    return drawn, float((abs(pixels - palette[chosen.ravel()]).max(1) > SHOWS).mean())


def with_hue(colours: np.ndarray) -> np.ndarray:
    "Colours (N, 3) and, doubled, how their channels differ, so that no grey turns into a colour."
    return np.concatenate([colours, 2 * np.diff(colours)], axis=1)


def run(path: Path) -> str:
    "Run a notebook from its source alone and return the file that ought to be on disk."
    nb = nbformat.read(path, 4)
    with tempfile.TemporaryDirectory() as empty:
        client = NotebookClient(
            nb,
            timeout=3600,
            kernel_name="python3",
            record_timing=False,
            coalesce_streams=True,  # else the kernel's clock decides how a cell's text is cut into pieces
            extra_arguments=["--log-level=ERROR"],
            resources={"metadata": {"path": empty}},
        )
        try:
            client.execute()
        except CellExecutionError as e:
            raise Failed(str(e)) from None
        if left := sorted(p.name for p in Path(empty).iterdir()):
            raise Failed(f"it left files behind: {', '.join(left)}")
    for cell in nb.cells:
        if cell.cell_type == "code":
            stderr = "".join(o.text for o in cell.outputs if o.output_type == "stream" and o.name == "stderr")
            if said := beyond_progress(stderr):
                raise Failed(f"this cell wrote to stderr:\n{cell.source}\n---\n{said}")
            cell.outputs = [o for o in cell.outputs if not (o.output_type == "stream" and o.name == "stderr")]
            for data in (o.data for o in cell.outputs if "image/png" in o.get("data", {})):
                data["image/png"] = few_colours(data["image/png"])
    return clean(nbformat.writes(nb))


def clean(text: str) -> str:
    "A notebook as `nbdev_clean` leaves it."
    cfg, nb = get_config(path=NBS), loads(text)
    clean_nb(
        nb,
        cfg.clear_all,
        cfg.allowed_metadata_keys.split(),
        cfg.allowed_cell_metadata_keys.split(),
        cfg.clean_ids,
    )
    return nb2str(nb)


def difference(committed: str, made: str) -> str:
    "The first cell whose outputs differ, shown as a diff with long lines cut short."
    old, new = nbformat.reads(committed, 4), nbformat.reads(made, 4)
    for i, (a, b) in enumerate(zip(old.cells, new.cells, strict=True)):
        if a != b:
            lines = [nbformat.from_dict(c).get("outputs", []) for c in (a, b)]
            before, after = (nb2str([dict(o) for o in x]).splitlines() for x in lines)
            diff = difflib.unified_diff(before, after, "committed", "made now", lineterm="", n=1)
            return f"cell {i}, which begins {a.source.splitlines()[:1]}:\n" + "\n".join(
                line[:160] for line in list(diff)[:40]
            )
    return "only the file's layout differs: run nbdev_clean"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("notebooks", nargs="*", type=Path, help="all of nbs/ when none is named")
    parser.add_argument(
        "--check", action="store_true", help="compare with the committed outputs and write nothing"
    )
    args = parser.parse_args()

    os.environ.pop("DDPM_ABC_FAST", None)  # committed outputs come from full runs
    os.environ.pop("MPLBACKEND", None)  # a backend of the shell's would draw no picture into a notebook
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # else the kernel's debugger may print a warning
    bad = []
    for path in args.notebooks or sorted(NBS.glob("*.ipynb")):
        start, committed = time.time(), path.read_text(encoding="utf-8")
        try:
            made = run(path)
            if args.check and made != committed:
                raise Failed(f"it no longer gives its committed outputs; {difference(committed, made)}")
        except Failed as e:
            bad.append(path.name)
            print(f"{path.name}: FAILED. {e}", flush=True)
            continue
        if not args.check:
            path.write_text(made, encoding="utf-8")
        print(
            f"{path.name}: {time.time() - start:.0f} s, {len(made.encode()) / 1000:.0f} "
            f"KB{', as committed' if args.check else ''}",
            flush=True,
        )
    if bad:
        print(f"{len(bad)} failed: {', '.join(bad)}")
    return len(bad) > 0


if __name__ == "__main__":
    sys.exit(main())
