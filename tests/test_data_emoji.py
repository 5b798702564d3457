"""The bundled emoji: each glyph where it belongs, and a file that is not the released one refused."""

import io
from importlib.resources import files
from sys import modules

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_abc.data import emoji, load

module = modules["ddpm_abc.data.emoji"]  # the package's `emoji` is the function


def test_glyphs_are_cut_from_the_sheet_row_by_row():
    data = emoji()
    assert data.images.shape == (3781, 3, 32, 32)
    assert data.images.dtype == torch.uint8
    raw = (files("ddpm_abc") / "assets/emoji.webp").read_bytes()
    sheet = np.array(Image.open(io.BytesIO(raw)).convert("RGB"))
    for k in (0, 1, 64, 777, 3780):
        y, x = 32 * (k // 64), 32 * (k % 64)
        assert np.array_equal(data.images[k].permute(1, 2, 0).numpy(), sheet[y : y + 32, x : x + 32])
    assert torch.equal(load("emoji").images, data.images)


def test_groups_are_those_of_unicode():
    data = emoji()
    counts = dict(zip(data.classes, data.labels.bincount().tolist(), strict=True))
    assert counts == {
        "activities": 85, "animals-nature": 159, "flags": 270, "food-drink": 131, "objects": 264,
        "people-body": 2261, "smileys-emotion": 169, "symbols": 224, "travel-places": 218,
    }  # fmt: skip
    flags = data.images[data.labels == data.classes.index("flags")].float() / 255
    assert flags[:, :, :3].mean() > 0.99  # a waving flag leaves the top of its picture white


@pytest.mark.parametrize("name", ["emoji.webp", "emoji.json"])
def test_another_file_is_refused(name, monkeypatch):
    monkeypatch.setitem(module.EMOJI_SHA256, name, "0" * 64)
    with pytest.raises(RuntimeError, match=rf"the bundled {name} is damaged .*install ddpm_abc again"):
        emoji()
