"""The dark twins of figures, without a browser."""

import io

import figures
import numpy as np
from PIL import Image

SKIN = np.array([[245, 222, 179], [120, 72, 40]])  # the palette has neither


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(out, "PNG")
    return out.getvalue()


def dark(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(figures.dark(png(pixels)))).convert("RGB")).astype(int)


def discs() -> np.ndarray:
    "Two discs on white with a white middle, one light and one dark, each of sixty shades."
    sheet = np.full((80, 160, 3), 255)
    y, x = np.mgrid[:80, :80] - 40
    ring = (x**2 + y**2 < 30**2) & (x**2 + y**2 > 8**2)
    for k, colour in enumerate(SKIN):
        sheet[:, 80 * k : 80 * k + 80][ring] = (
            colour - (y + 30)[..., None] // 2 - [0, 0, 1] * (y % 2)[..., None]
        )[ring]
    return sheet


def test_a_picture_keeps_its_colours_and_the_page_around_it_turns_dark():
    sheet = discs()
    out = dark(sheet)
    ring = (sheet < 255).any(-1)
    assert np.abs(out - sheet)[ring].max() <= 4  # but for the rounding to 255 colours
    assert (out[40, [40, 120]] == 255).all()  # the middles belong to the discs
    assert (out[[0, 40], [0, 80]] == figures.DARK).all()
