"""Figures for the page: dark twins, pictures for the cards, and the frames of the live picture."""

import io
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence

PALETTE = [tuple(int(c[i : i + 2], 16) for i in (1, 3, 5)) for c in ("#1b2a41", "#d1495b", "#2e6f95", "#e0a030", "#4c956c", "#8d99ae")]  # ddpm_abc.plot.PALETTE
DARK = (16, 21, 31)  # --paper of the dark theme, in static/site.css


def size(png: bytes) -> tuple[int, int]:
    "Width and height."
    return Image.open(io.BytesIO(png)).size


def is_animation(png: bytes) -> bool:
    return b"acTL" in png[:4096]


def _components(within: np.ndarray) -> np.ndarray:
    "A number for each pixel of `within`, the same for pixels that a path inside it joins, corners included; -1 elsewhere."
    joined = within.copy()  # where two pixels meet at a corner, a bridge
    for a, b in ((within[:-1, :-1] & within[1:, 1:], np.s_[:-1, 1:]), (within[:-1, 1:] & within[1:, :-1], np.s_[:-1, :-1])):
        joined[b] |= a
    label = np.where(joined, np.arange(joined.size).reshape(joined.shape), -1)
    while True:
        before = label
        for flip in (False, True):
            mask, values = (joined.T, label.T) if flip else (joined, label)
            wall = np.ones((len(mask), 1), bool)
            flat = np.concatenate([np.where(mask, values, joined.size), wall * joined.size], 1).ravel()
            starts = np.concatenate([[0], np.flatnonzero(np.concatenate([~mask, wall], 1).ravel())])  # each run ends at a wall
            least = np.minimum.reduceat(flat, starts[starts < flat.size])
            run = np.zeros(flat.size, int)
            run[starts[1:]] = 1
            new = least[np.cumsum(run)].reshape(len(mask), -1)[:, :-1]
            # a run starts at the wall before it, which holds no label
            label = np.where(mask, new, -1)
            label = label.T if flip else label
        if (label == before).all():
            return np.where(within, label, -1)


def _data(rgb: np.ndarray) -> np.ndarray:
    """The pictures of data in a figure: rectangles well filled with greys, or with a colour map that is not the palette's.

    Text, axes and curves are tinted (the palette has no neutral grey), and fill little of the rectangle around them.
    """
    spread = rgb.max(-1).astype(int) - rgb.min(-1)
    inked = (rgb.min(-1) < 240) | (spread > 12)
    out = np.zeros(inked.shape, bool)
    label = _components(inked)
    ys, xs = np.nonzero(label >= 0)
    if not len(ys):
        return out
    _, which = np.unique(label[ys, xs], return_inverse=True)
    n = which.max() + 1
    size = np.bincount(which)
    tint = np.bincount(which, spread[ys, xs]) / size
    foreign = np.bincount(which, _foreign(rgb)[ys, xs]) / size
    top, left = np.full(n, inked.shape[0]), np.full(n, inked.shape[1])
    bottom, right = np.zeros(n, int), np.zeros(n, int)
    np.minimum.at(top, which, ys)
    np.minimum.at(left, which, xs)
    np.maximum.at(bottom, which, ys)
    np.maximum.at(right, which, xs)
    height, width = bottom - top + 1, right - left + 1
    short, long = np.minimum(height, width), np.maximum(height, width)
    is_grey, is_map = (tint <= 8) & (short >= 14), (foreign > 0.4) & (short >= 8) & (long >= 14)
    for k in np.flatnonzero((is_grey | is_map) & (size >= 0.5 * height * width)):
        out[top[k] : bottom[k] + 1, left[k] : right[k] + 1] = True
    return out


def _foreign(rgb: np.ndarray) -> np.ndarray:
    "Pixels whose colour is no tint of the palette's."
    x = rgb.astype(float)
    depth = 255 - x
    foreign = depth.max(-1) > 40
    for c in PALETTE:
        full = 255 - np.array(c, float)
        t = ((depth * full).sum(-1) / (full * full).sum()).clip(0, 1.3)[..., None]
        foreign &= np.abs(depth - t * full).max(-1) > 14
    return foreign


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
        first_is_still = bool(image.info.get("default_image"))  # seen only where pictures do not move
        pairs = [(dark_frame(f).quantize(64, dither=Image.Dither.NONE), int(f.info.get("duration", 100))) for f in ImageSequence.Iterator(image)]
        times = [t for _, t in pairs[first_is_still:]]
        pairs[0][0].save(out, "PNG", save_all=True, append_images=[f for f, _ in pairs[1:]], duration=times, loop=0, optimize=True, default_image=first_is_still)
    else:
        frame = dark_frame(image)
        few = frame.quantize(255, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE) if frame.getcolors(255) else frame
        few.save(out, "PNG", optimize=True)
    return out.getvalue()


def frames(png: bytes) -> list[np.ndarray]:
    "The frames of an animation, grey, (H, W) uint8 each."
    image = Image.open(io.BytesIO(png))
    skip = bool(image.info.get("default_image"))
    return [np.asarray(f.convert("L")) for f in ImageSequence.Iterator(image)][skip:]


def last_frame(png: bytes) -> bytes:
    "The last frame of an animation, for readers who asked for less motion."
    image = Image.open(io.BytesIO(png))
    image.seek(image.n_frames - 1)
    out = io.BytesIO()
    image.convert("RGB").save(out, "PNG", optimize=True)
    return out.getvalue()


def cropped(png: bytes, box: tuple[float, float, float, float]) -> bytes:
    "The part of a figure between the given shares of its width and height."
    image = Image.open(io.BytesIO(png)).convert("RGB")
    w, h = image.size
    out = io.BytesIO()
    image.crop((round(box[0] * w), round(box[1] * h), round(box[2] * w), round(box[3] * h))).save(out, "PNG", optimize=True)
    return out.getvalue()


def sprite(animation: list[np.ndarray], side: int = 28, gap: int = 2, columns: int = 4) -> tuple[Image.Image, int] | None:
    "The frames of a grid of digits, laid out again `columns` wide and put below each other; None for another layout."
    h, w = animation[0].shape
    step = side + gap
    scale = next((k for k in range(1, 9) if (h + gap * k) % (step * k) == 0 and (w + gap * k) % (step * k) == 0), 0)
    if not scale:
        return None
    animation = [frame[::scale, ::scale] for frame in animation]
    h, w = animation[0].shape
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
