"""The dark twins of figures, without a browser."""

import io

import figures
import numpy as np
from PIL import Image


def dark(pixels: np.ndarray) -> np.ndarray:
    out = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(out, "PNG")
    return np.asarray(Image.open(io.BytesIO(figures.dark(out.getvalue()))).convert("RGB")).astype(int)


def test_pictures_of_a_grid_keep_their_colours_and_the_page_around_them_turns_dark():
    "Also the one that is nearly white, and falls to pieces where only ink is looked at."
    sheet, mixed = np.full((70, 140, 3), 255), np.random.default_rng(0)
    pictures = np.zeros(sheet.shape[:2], bool)
    for x in (5, 38, 71, 104):
        for y in (5, 38):
            tile = 255 * (mixed.random((28, 28)) < (0.85 if (x, y) == (71, 38) else 0.3))
            sheet[y : y + 28, x : x + 28] = tile[..., None]
            pictures[y : y + 28, x : x + 28] = True
    out = dark(sheet)
    assert (out[pictures] == sheet[pictures]).all()
    assert (out[~pictures] == figures.DARK).all()


def test_a_plot_turns_dark_whole():
    sheet = np.full((70, 140, 3), 255)
    sheet[60, 10:130] = sheet[10:60, 10] = figures.PALETTE["ink"]
    out = dark(sheet)
    assert (out[0, 0] == figures.DARK).all()
    assert (out[60, 20] > 180).all()
