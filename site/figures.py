"""Figures for the page: dark twins, pictures for the cards, and the frames of the live picture."""

import io
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence

DARK = (16, 21, 31)  # --paper of the dark theme, in static/site.css


def size(png: bytes) -> tuple[int, int]:
    "Width and height."
    return Image.open(io.BytesIO(png)).size


def is_animation(png: bytes) -> bool:
    return b"acTL" in png[:4096]


def _components(within: np.ndarray) -> np.ndarray:
    "A number for each pixel of `within`, the same for pixels that a path inside it joins; -1 elsewhere."
    label = np.where(within, np.arange(within.size).reshape(within.shape), -1)
    while True:
        before = label
        for flip in (False, True):
            mask, values = (within.T, label.T) if flip else (within, label)
            walls = np.concatenate([~mask, np.ones((len(mask), 1), bool)], 1).ravel()  # a wall ends each row
            run = np.cumsum(walls)  # pixels between two walls share a number
            flat = np.concatenate([np.where(mask, values, within.size), np.full((len(mask), 1), within.size)], 1).ravel()
            least = np.full(run[-1] + 1, within.size)
            np.minimum.at(least, run, flat)
            new = least[run].reshape(len(mask), -1)[:, :-1]
            label = np.where(mask, new, -1)
            label = label.T if flip else label
        if (label == before).all():
            return label


def _share(mask: np.ndarray, radius: int) -> np.ndarray:
    "The share of true pixels in the square around each pixel."
    side = 2 * radius + 1
    padded = np.pad(mask.astype(float), ((radius + 1, radius), (radius + 1, radius)), mode="edge").cumsum(0).cumsum(1)
    return (padded[side:, side:] - padded[:-side, side:] - padded[side:, :-side] + padded[:-side, :-side]) / side**2


def _data(rgb: np.ndarray) -> np.ndarray:
    """The pixels that belong to pictures of data: grey, or white and walled in by grey.

    Text, axes and curves are tinted (the palette has no neutral grey), so that grey in quantity is data.
    """
    white = rgb.min(-1) == 255
    grey = (rgb.max(-1) == rgb.min(-1)) & ~white
    if grey.mean() < 0.01:
        return np.zeros_like(white)
    label = _components(white)
    names, inverse = np.unique(label, return_inverse=True)
    inverse = inverse.reshape(label.shape)
    walls, greys = np.zeros(len(names)), np.zeros(len(names))
    open_ = np.zeros(len(names), bool)  # reaches the border of the figure
    for edge in (inverse[0], inverse[-1], inverse[:, 0], inverse[:, -1]):
        open_[edge] = True
    for here, there in ((np.s_[1:], np.s_[:-1]), (np.s_[:-1], np.s_[1:]), (np.s_[:, 1:], np.s_[:, :-1]), (np.s_[:, :-1], np.s_[:, 1:])):
        wall = white[here] & ~white[there]
        walls += np.bincount(inverse[here][wall], minlength=len(names))
        greys += np.bincount(inverse[here][wall & grey[there]], minlength=len(names))
    walled = (greys > 0.8 * walls) & ~open_ & (names >= 0)
    data = grey | (walled[inverse] & white)
    return data & (_share(data, 3) > 0.4)


def _remap_lightness(rgb: np.ndarray) -> np.ndarray:
    "White becomes the dark page, dark ink becomes light; the hue stays."
    x = rgb.astype(float) / 255
    high, low = x.max(-1), x.min(-1)
    light = (high + low) / 2
    new = np.interp(light, [0, 0.12, 0.38, 0.56, 0.92, 1], [0.93, 0.87, 0.67, 0.62, 0.19, 0])  # 0 is the page itself
    centred = x - light[..., None]
    room = np.minimum(light, 1 - light)
    share = np.minimum(new, 1 - new) / np.maximum(room, 1e-6)
    mono = new[..., None] + centred * share[..., None]
    dark = np.array(DARK) / 255
    return ((dark + (1 - dark) * mono.clip(0, 1)) * 255).round().clip(0, 255).astype(np.uint8)


def dark_frame(image: Image.Image) -> Image.Image:
    "A figure drawn on white, for a dark page: pictures of data stay as they are, all else changes its lightness and keeps its hue."
    rgb = np.asarray(image.convert("RGB"))
    data = _data(rgb)
    out = _remap_lightness(rgb)
    out[data] = rgb[data]
    return Image.fromarray(out)


def dark(png: bytes) -> bytes:
    "The dark twin of a figure, animated or not."
    image = Image.open(io.BytesIO(png))
    out = io.BytesIO()
    if is_animation(png):
        frames = [f.convert("RGB") for f in ImageSequence.Iterator(image)]
        times = [int(f.info.get("duration", 100)) for f in ImageSequence.Iterator(image)]
        frames = [dark_frame(f) for f in frames]
        frames[0].save(out, "PNG", save_all=True, append_images=frames[1:], duration=times, loop=0, optimize=True)
    else:
        frame = dark_frame(image)
        few = frame.quantize(255, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE) if frame.getcolors(255) else frame
        few.save(out, "PNG", optimize=True)
    return out.getvalue()


def frames(png: bytes) -> list[np.ndarray]:
    "The frames of an animation, grey, (H, W) uint8 each."
    return [np.asarray(f.convert("L")) for f in ImageSequence.Iterator(Image.open(io.BytesIO(png)))]


def sprite(animation: list[np.ndarray], side: int = 28, gap: int = 2, columns: int = 4) -> tuple[Image.Image, int] | None:
    "The frames of a grid of digits, laid out again `columns` wide and put below each other; None for another layout."
    h, w = animation[0].shape
    step = side + gap
    if (h + gap) % step or (w + gap) % step:
        return None
    across, down = (w + gap) // step, (h + gap) // step
    n = across * down // columns * columns
    rows = n // columns
    out = np.zeros((len(animation), rows * side, columns * side), np.uint8)
    for k in range(n):
        y, x = k // across * step, k % across * step
        r, c = k // columns * side, k % columns * side
        for f, frame in enumerate(animation):
            out[f, r : r + side, c : c + side] = frame[y : y + side, x : x + side]
    return Image.fromarray(out.reshape(-1, columns * side)), rows * side


def noised(x0: np.ndarray, alpha_bar: float, eps: np.ndarray) -> np.ndarray:
    "x_t as uint8, from x0 and eps as floats."
    x = math.sqrt(alpha_bar) * x0 + math.sqrt(1 - alpha_bar) * eps
    return ((x.clip(-1, 1) + 1) * 127.5).round().astype(np.uint8)


def strip(x0: np.ndarray, alpha_bars: list[float], scale: int = 3, gap: int = 4, seed: int = 0) -> Image.Image:
    "One digit at several noise levels, side by side on white."
    eps = np.random.default_rng(seed).standard_normal(x0.shape)
    side = x0.shape[0] * scale
    out = np.full((side, len(alpha_bars) * (side + gap) - gap), 255, np.uint8)
    for i, ab in enumerate(alpha_bars):
        out[:, i * (side + gap) : i * (side + gap) + side] = noised(x0, ab, eps).repeat(scale, 0).repeat(scale, 1)
    return Image.fromarray(out)


def load_digits(npz: Path) -> tuple[np.ndarray, np.ndarray]:
    "Images (N, 28, 28) uint8 and labels (N,) of the bundled digits."
    with np.load(npz, allow_pickle=False) as f:
        return f["images"], f["labels"]
