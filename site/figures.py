"""Figures for the page: dark twins, pictures for the cards, and the frames of the live picture."""

import io
import re
from collections.abc import Iterable
from itertools import pairwise, product
from pathlib import Path

import formulas
import numpy as np
from house import palette
from PIL import Image, ImageColor, ImageDraw, ImageSequence
from scipy import ndimage

HERE = Path(__file__).resolve().parent
PALETTE = {name: ImageColor.getrgb(color) for name, color in palette().items()}
CSS = (HERE / "static" / "site.css").read_text(encoding="utf-8")
PAPER = re.findall(r"--paper: (#\w+)", CSS)  # light, dark
DARK = ImageColor.getrgb(PAPER[1])
BARS = formulas.paper_bars()


def size(png: bytes) -> tuple[int, int]:
    "Width and height."
    return Image.open(io.BytesIO(png)).size


def is_animation(png: bytes) -> bool:
    return b"acTL" in png[:4096]


def _data(colours: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Where a figure shows data as a picture: rectangles well filled with greys, or with a colour map that is
    not the palette's.

    Or with anything, where it is large, full, and in part black. Text, axes and curves are tinted (the
    palette has no neutral grey), and fill little of the rectangle around them.
    """
    tint = colours.max(-1) - colours.min(-1)
    inked = ((colours.min(-1) < 240) | (tint > 12))[which]
    tint, foreign = tint[which], _foreign(colours)[which]
    out = np.zeros(which.shape, bool)
    pieces, _ = ndimage.label(inked, np.ones((3, 3)))
    for k, box in enumerate(ndimage.find_objects(pieces), start=1):
        short, long = sorted(s.stop - s.start for s in box)
        piece = pieces[box] == k
        fill, shades = piece.mean(), which[box][piece]
        grey = short >= 14 and (short >= 24 or fill > 0.75) and tint[box][piece].mean() <= 8
        if short < 8 or long < 14 or fill < 0.5:
            continue
        painted = (
            short >= 40
            and fill > 0.9
            and len(np.unique(shades)) > 5
            and (colours[shades].max(-1) < 60).mean() > 0.05
        )
        if grey or painted or (fill > 0.7 and foreign[box][piece].mean() > 0.4):
            out[_without_ticks(box, piece)] = True
    return _whole_grids(out, tint, inked)


def _whole_grids(data: np.ndarray, tint: np.ndarray, inked: np.ndarray) -> np.ndarray:
    "Pictures of one size in rows and columns, and with them the white ones that ink alone does not show."
    sizes: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for y, x in ndimage.find_objects(ndimage.label(data)[0]):
        sizes.setdefault((y.stop - y.start, x.stop - x.start), []).append((y.start, x.start))
    for (height, width), corners in sizes.items():
        places = list(product(*(sorted(set(starts)) for starts in zip(*corners, strict=True))))
        if min(height, width) < 24 or len(corners) < max(4, 0.6 * len(places)):
            continue
        for y, x in places:
            cell = np.s_[y : y + height, x : x + width]
            if tint[cell].mean() <= 8 and inked[cell].mean() > 0.1:
                data[cell] = True
    return data


def _without_ticks(box: tuple[slice, slice], piece: np.ndarray) -> tuple[slice, slice]:
    "A picture's rectangle, less the rows and columns at its edges that hold only the marks of an axis."
    spans = []
    for side, axis in zip(box, (1, 0), strict=True):
        full = np.flatnonzero(piece.mean(axis) > 0.3)
        spans.append(slice(side.start + full[0], side.start + full[-1] + 1))
    return spans[0], spans[1]


def _foreign(colours: np.ndarray) -> np.ndarray:
    """Which colours are strong, and no tint of the palette's. The greys at the edges of letters are not
    strong."""
    depth = 255 - colours
    foreign = (depth.max(-1) > 40) & (depth.max(-1) - depth.min(-1) > 24)
    for c in PALETTE.values():
        full = 255 - np.array(c)
        share = (depth @ full / (full @ full)).clip(0, 1.3)[:, None]
        foreign &= np.abs(depth - share * full).max(-1) > 14
    return foreign


def _remap_lightness(colours: np.ndarray) -> np.ndarray:
    "White becomes the dark page, dark ink becomes light; the hue stays."
    x = colours / 255
    light = (x.max(-1) + x.min(-1)) / 2
    new = np.interp(
        light, [0, 0.12, 0.38, 0.56, 0.92, 1], [0.93, 0.87, 0.67, 0.62, 0.19, 0]
    )  # 0 is the page itself
    share = np.minimum(new, 1 - new) / np.maximum(np.minimum(light, 1 - light), 1e-6)
    toned = new[:, None] + (x - light[:, None]) * share[:, None]
    paper = np.array(DARK) / 255
    return ((paper + (1 - paper) * toned.clip(0, 1)) * 255).round().clip(0, 255).astype(np.uint8)


def dark_frame(image: Image.Image) -> Image.Image:
    """A figure drawn on white, for a dark page: pictures of data stay as they are, all else changes its
    lightness and keeps its hue."""
    rgb = np.asarray(image.convert("RGB"))
    packed, which = np.unique(rgb @ np.array([65536, 256, 1]), return_inverse=True)
    colours = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], -1)  # (n, 3): a figure has few
    which = which.reshape(rgb.shape[:2])
    out = _remap_lightness(colours)[which]
    data = _data(colours, which)
    out[data] = rgb[data]
    return Image.fromarray(out)


def dark(png: bytes) -> bytes:
    "The dark twin of a figure, animated or not."
    image = Image.open(io.BytesIO(png))
    out = io.BytesIO()
    if is_animation(png):
        first_is_still = bool(image.info.get("default_image"))  # seen only where pictures do not move
        pairs = [
            (dark_frame(f).quantize(64, dither=Image.Dither.NONE), int(f.info.get("duration", 100)))
            for f in ImageSequence.Iterator(image)
        ]
        times = [t for _, t in pairs[first_is_still:]]
        pairs[0][0].save(
            out,
            "PNG",
            save_all=True,
            append_images=[f for f, _ in pairs[1:]],
            duration=times,
            loop=0,
            optimize=True,
            default_image=first_is_still,
        )
    else:
        frame = dark_frame(image)
        few = (
            frame.quantize(255, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
            if frame.getcolors(255)
            else frame
        )
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
    image = Image.open(io.BytesIO(png))
    out = io.BytesIO()
    image.crop(tuple(round(share * side) for share, side in zip(box, image.size * 2, strict=True))).save(
        out, "PNG", optimize=True
    )
    return out.getvalue()


def sprite(
    animation: list[np.ndarray], side: int = 28, gap: int = 2, columns: int = 5, n: int = 10
) -> tuple[Image.Image, int]:
    """The first n digits of each frame of a grid, laid out again `columns` wide; all frames below each other,
    and the height of one."""
    h, w = animation[0].shape
    step = side + gap
    scale = next(
        (k for k in range(1, 9) if (h + gap * k) % (step * k) == 0 == (w + gap * k) % (step * k)), None
    )
    if scale is None:
        raise ValueError(
            f"the front page needs frames that show a grid of {side} x {side} digits with gaps of {gap}, "
            f"got {w} x {h}"
        )
    grid = np.stack(animation)[:, ::scale, ::scale]
    tiles = [
        grid[:, y : y + side, x : x + side]
        for y in range(0, grid.shape[1], step)
        for x in range(0, grid.shape[2], step)
    ]
    rows = [np.concatenate(tiles[k : k + columns], 2) for k in range(0, n, columns)]
    sheet = np.concatenate(rows, 1)  # (frames, height, width)
    return Image.fromarray(sheet.reshape(-1, sheet.shape[2])), sheet.shape[1]


def strip(digit: np.ndarray, times: Iterable[int], scale: int = 3, gap: int = 4) -> Image.Image:
    """One digit, (28, 28) uint8, at several times of the paper's schedule, with the same noise; side by side
    on white."""
    signal = np.sqrt(BARS)
    x0, eps = digit / 127.5 - 1, np.random.default_rng(0).standard_normal(digit.shape)
    cells = []
    for t in times:
        xt = signal[t] * x0 + np.sqrt(1 - signal[t] ** 2) * eps
        cell = ((xt.clip(-1, 1) + 1) * 127.5).round().astype(np.uint8).repeat(scale, 0).repeat(scale, 1)
        cells += [cell, np.full((len(cell), gap), 255, np.uint8)]
    return Image.fromarray(np.hstack(cells[:-1]))


def walks(steps: int = 10, points: int = 40, side: int = 480, half: float = 2.6) -> Image.Image:
    "Ways of DDIM from noise to two crescents of Gaussians, as static/walk.js draws them; on white."
    angle, variance = np.pi * np.arange(7) / 6, 0.006
    upper = np.stack([0.7 * np.cos(angle) - 0.35, 0.7 * np.sin(angle) - 0.15], 1)
    centres = np.concatenate([upper, -upper])
    states = [np.random.default_rng(0).standard_normal((points, 2))]
    times = [1000 - round(1000 * i / steps) for i in range(steps + 1)]
    for ab, ab_s in ((BARS[t], BARS[s]) for t, s in pairwise(times)):
        apart, c = states[-1][:, None] - ab**0.5 * centres, ab * variance + 1 - ab  # (points, 14, 2)
        far = (apart**2).sum(2) / (2 * c)
        share = np.exp(far.min(1, keepdims=True) - far)
        share /= share.sum(1, keepdims=True)
        eps = (1 - ab) ** 0.5 / c * (share[:, :, None] * apart).sum(1)
        x0 = (states[-1] - (1 - ab) ** 0.5 * eps) / ab**0.5
        states.append(ab_s**0.5 * x0 + (1 - ab_s) ** 0.5 * eps)

    def place(x: np.ndarray) -> np.ndarray:
        return (x * (1, -1) + half) / (2 * half) * 2 * side

    picture = Image.new("RGB", (2 * side, 2 * side), "white")
    pen = ImageDraw.Draw(picture)
    for x in place(centres):
        pen.circle(tuple(x), 3 * variance**0.5 * side / half, fill=(247, 231, 204))
    for way in np.stack([place(x) for x in states], 1):
        pen.line([tuple(x) for x in way], fill=PALETTE["noise"], width=2)
        pen.circle(tuple(way[-1]), 5, fill=PALETTE["signal"])
    return picture.resize((side, side), Image.Resampling.LANCZOS)


def load_digits(npz: Path) -> tuple[np.ndarray, np.ndarray]:
    "Images (N, 28, 28) uint8 and labels (N,) of the bundled digits."
    with np.load(npz, allow_pickle=False) as f:
        return f["images"], f["labels"]
