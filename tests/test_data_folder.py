"""Folders of images: what is read, what is passed over, and what is said about it."""

import os
import struct
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from ddpm_abc.data import folder, image_folder

# --- own images ---------------------------------------------------------------------------------------------


def paint(path, colour, size=(40, 30), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


def test_folder_reads_in_the_order_of_names(tmp_path):
    for name, grey in [("b.png", 20), ("a.JPG", 10), ("c.bmp", 30)]:
        paint(tmp_path / name, (grey,) * 3)
    (tmp_path / "notes.txt").write_text("not an image")
    d = image_folder(tmp_path)
    assert (d.images.shape, d.images.dtype) == ((3, 1, 28, 28), torch.uint8)
    assert (d.images.float().mean((1, 2, 3)) - torch.tensor([10.0, 20, 30])).abs().max() < 1.5
    assert d.labels.tolist() == [0, 0, 0]
    assert d.classes == (tmp_path.name,)


def test_subfolders_are_classes(tmp_path):
    for name in ("dog/1.png", "cat/2.png", "cat/1.png"):
        paint(tmp_path / name, (0, 0, 0))
    (tmp_path / "empty").mkdir()
    d = image_folder(tmp_path)
    assert d.classes == ("cat", "dog")
    assert d.labels.tolist() == [0, 0, 1]


def test_folder_keeps_colour_and_takes_a_size(tmp_path):
    paint(tmp_path / "a.png", (200, 100, 50))
    d = image_folder(tmp_path, size=32, channels=3)
    assert d.images.shape == (1, 3, 32, 32)
    assert d.images[0, :, 5, 5].tolist() == [200, 100, 50]


def test_another_shape_is_cropped_to_its_middle_or_padded():
    with tempfile.TemporaryDirectory() as tmp:
        tmp_path = Path(tmp)
        wide = np.zeros((28, 84), np.uint8)
        wide[:, 28:56] = 255
        Image.fromarray(wide).save(tmp_path / "wide.png")
        Image.new("L", (28, 28), 7).save(tmp_path / "square.png")
        cropped, padded = image_folder(tmp_path), image_folder(tmp_path, fit="pad", background="#404040")
        assert (cropped.images[1] == 255).all()
        assert cropped.notes[0].startswith("1 of 2 images had another shape than 28x28: what was left over")
        assert (padded.images[1, 0, [0, 8, -9, -1]] == 0x40).all()  # rows above and below a strip of 28x9
        assert padded.images[1, 0, 14, 14] == 255
        assert padded.images[1, 0, 14, 2] == 0
        assert "padded with #404040" in padded.notes[0]
        assert (cropped.images[0] == 7).all()
        assert (padded.images[0] == 7).all()


@pytest.mark.parametrize("size", [(2000, 10), (7, 1000), (1, 57), (129, 1)])
def test_of_a_line_that_is_padded_a_line_is_left(tmp_path, size):
    paint(tmp_path / "a.png", (0, 0, 0), size=size)
    found = image_folder(tmp_path, fit="pad")
    across = int(size[0] < size[1])  # a wide one has one pixel in each column, a tall one in each row
    assert ((found.images[0, 0] == 0).sum(across) == 1).all()
    assert not any("constant" in note for note in found.notes)


def test_a_rectangle_is_height_by_width():
    with tempfile.TemporaryDirectory() as tmp:
        tmp_path = Path(tmp)
        upper = np.zeros((24, 40, 3), np.uint8)
        upper[:12] = (200, 100, 50)
        upper[:, 36:] = (0, 0, 255)
        Image.fromarray(upper).save(tmp_path / "a.png")
        d = image_folder(tmp_path, size=(24, 40), channels=3)
        assert d.images.shape == (1, 3, 24, 40)
        assert d.notes == ()
        assert d.images[0, :, 3, 30].tolist() == [200, 100, 50]
        assert d.images[0, :, 20, 30].tolist() == [0, 0, 0]
        assert d.images[0, :, 20, 38].tolist() == [0, 0, 255]
        assert "3x24x40" in d.describe()


def test_enlarged_images_are_counted(tmp_path):
    paint(tmp_path / "a.png", (9, 9, 9), size=(16, 16))
    paint(tmp_path / "b.png", (9, 9, 9), size=(64, 64))
    note = "1 of 2 images had a smaller height or width than 32x32: enlarged"
    assert note in image_folder(tmp_path, size=32).notes
    paint(tmp_path / "a.png", (9, 9, 9), size=(16, 64))  # cropping enlarges it, padding does not
    assert note in image_folder(tmp_path, size=32).notes
    assert note not in image_folder(tmp_path, size=32, fit="pad").notes


@pytest.mark.parametrize("turn", [1, 3, 6, 8])
def test_a_photograph_is_turned_as_its_camera_says(turn):
    "EXIF's orientation: 3 is upside down, 6 and 8 lie on a side. The upper half of each is bright."
    with tempfile.TemporaryDirectory() as tmp:
        tmp_path = Path(tmp)
        upright = np.zeros((32, 32), np.uint8)
        upright[:16] = 255
        stored = np.rot90(upright, {1: 0, 3: 2, 6: 1, 8: 3}[turn])
        exif = Image.Exif()
        exif[0x0112] = turn
        Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.jpg", exif=exif, quality=95)
        found = image_folder(tmp_path, size=32).images[0, 0].float()
        assert found[:15].mean() > 240
        assert found[17:].mean() < 15


@pytest.mark.parametrize(
    "entry",
    [
        struct.pack("<HHI4s", 0x100, 2, 4, b"abc"),  # a width in letters
        struct.pack("<HHII", 0x128, 4, 1, 100_000),  # a unit that does not fit into its 16 bits
        struct.pack("<HHI4s", 0x11B, 2, 4, b"72/1"),  # a fraction in letters
    ],
)
def test_what_a_camera_wrote_wrong_costs_no_photograph(entry, tmp_path):
    "Pillow cannot write such a note again, and the pixels are good."
    turn = struct.pack("<HHIHH", 0x112, 3, 1, 6, 0)
    entries = b"".join(sorted([turn, entry], key=lambda e: struct.unpack("<H", e[:2])))
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + bytes(4)
    Image.new("RGB", (6, 4)).save(tmp_path / "a.jpg", exif=exif)
    Image.new("RGB", (4, 6)).save(tmp_path / "b.jpg")
    assert "another shape" not in str(image_folder(tmp_path, (6, 4)).notes)


def test_real_kinds_of_photographs(tmp_path):
    "Progressive, CMYK with its inverted bytes, a palette, and one far larger than it is wanted."
    slope = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (64, 1))
    colour = Image.merge("RGB", [Image.fromarray(x) for x in (slope, slope.T.copy(), 255 - slope)])
    colour.save(tmp_path / "a.jpg", progressive=True, quality=95)
    colour.convert("CMYK").save(tmp_path / "b.jpg", quality=95)
    colour.quantize(256).save(tmp_path / "c.png")
    colour.resize((4000, 4000)).save(tmp_path / "d.png")
    d = image_folder(tmp_path, size=32, channels=3)
    small = np.array(colour.resize((32, 32), Image.Resampling.LANCZOS))
    want = torch.from_numpy(small).permute(2, 0, 1).float()
    for image, mean, name in zip(d.images.float(), (3, 3, 12, 6), "abcd", strict=True):
        assert (image - want).abs().mean() < mean, name


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_folder_takes_images_of_every_8_bit_kind(mode, tmp_path):
    paint(tmp_path / ("a.tif" if mode == "CMYK" else "a.png"), 0, mode=mode)
    for channels in (1, 3):
        assert image_folder(tmp_path, channels=channels).images.shape == (1, channels, 28, 28)


def test_folder_errors(tmp_path):
    with pytest.raises(RuntimeError, match="no folder .*nowhere"):
        image_folder(tmp_path / "nowhere")
    with pytest.raises(RuntimeError, match="holds no images.*png"):
        image_folder(tmp_path)
    paint(tmp_path / "good.png", (0, 0, 0))
    with pytest.raises(ValueError, match="channels must be 1, for grey, or 3, for colour, got 2"):
        image_folder(tmp_path, channels=2)
    with pytest.raises(ValueError, match=r"two whole numbers above 0, height and width, got \(0, 0\)"):
        image_folder(tmp_path, size=0)
    (tmp_path / "bad.png").write_bytes((tmp_path / "good.png").read_bytes()[:60])
    with pytest.raises(RuntimeError, match=r"bad\.png"):
        image_folder(tmp_path)
    (tmp_path / "bad.png").write_text("<html>")
    with pytest.raises(RuntimeError, match=r"bad\.png"):
        image_folder(tmp_path)
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nquit\n"
    (tmp_path / "bad.png").write_bytes(postscript)  # Pillow would run ghostscript
    with pytest.raises(RuntimeError, match=r"bad\.png: its content is none of"):
        image_folder(tmp_path)
    (tmp_path / "bad.png").unlink()
    paint(tmp_path / "sub" / "a.png", (0, 0, 0))
    with pytest.raises(RuntimeError, match=r"also folders of images \(sub\)"):
        image_folder(tmp_path)


def test_arguments_are_checked_before_the_folder(tmp_path):
    for size in (0, -1, 2.0, "28", None, (28,), (28, 0), (28, 28, 3)):
        with pytest.raises(ValueError, match="size must be a tuple of two whole numbers above 0"):
            image_folder(tmp_path, size=size)
    with pytest.raises(ValueError, match="fit must be one of crop, pad, got 'squeeze'"):
        image_folder(tmp_path, fit="squeeze")
    paint(tmp_path / "a.png", 0)
    with pytest.raises(
        RuntimeError, match=r"100,000 GB of memory for 1 image of 1x10000000x10000000 .* smaller size"
    ):
        image_folder(tmp_path, size=10_000_000)
    with pytest.raises(RuntimeError, match=r"a\.png is not a folder: give one with images"):
        image_folder(tmp_path / "a.png")


# --- one image that cannot be read --------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "ending"), [("I;16", "png"), ("I;16", "tif"), ("I", "tif"), ("F", "tif")])
def test_more_than_8_bits_are_refused_with_the_remedy(mode, ending, tmp_path):
    paint(tmp_path / f"deep.{ending}", 40_000, mode=mode)
    with pytest.raises(RuntimeError, match=rf"deep\.{ending}: .*more than 8 bits") as e:
        image_folder(tmp_path)
    assert f"save as 8 bits, with ImageMagick for instance: magick deep.{ending} -depth 8" in str(e.value)
    assert "Repair it" not in str(e.value)  # there is nothing to mend


def test_the_remedy_for_more_than_8_bits_works(tmp_path, monkeypatch):
    deep = np.linspace(0, 65535, 28 * 28).astype(np.uint16).reshape(28, 28)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    with pytest.raises(RuntimeError) as e:
        image_folder(tmp_path)
    monkeypatch.chdir(tmp_path)
    exec(str(e.value).partition("in Python: ")[2], {"numpy": np, "Image": Image, "name": "deep.png"})
    (tmp_path / "deep.png").unlink()
    assert (image_folder(tmp_path).images[0, 0].float() - torch.from_numpy(deep / 257.0)).abs().max() <= 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda good: b"", "the file is empty"),
        (lambda good: good[: len(good) // 2], "Repair it, or take it out of the folder"),
        (lambda good: good[:20], "Repair it, or take it out of the folder"),
        (lambda good: b"<html>", "its content is none of PNG, JPEG, BMP, GIF, WEBP, TIFF"),
        (lambda good: b"\0\0\0\x1cftypheic" + bytes(99), "its content is none of PNG, JPEG"),
    ],
)
@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "gif", "webp", "tif"])
def test_a_damaged_file_is_named_in_one_line(content, reason, ending, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / f"a.{ending}")
    good = (tmp_path / f"a.{ending}").read_bytes()
    (tmp_path / f"b.{ending}").write_bytes(content(good))
    with pytest.raises(RuntimeError, match=rf"cannot read the image .*b\.{ending}: .*{reason}") as e:
        image_folder(tmp_path)
    assert "\n" not in str(e.value)


def test_content_decides_where_the_ending_is_wrong(tmp_path):
    paint(tmp_path / "a.png", (10, 10, 10))
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert (image_folder(tmp_path).images == 10).all()


# --- transparent pixels -------------------------------------------------------------------------------------


def ring(mode):
    "A black ring on a transparent ground, as files of each kind hold it."
    image = Image.new("RGBA", (84, 84), (0, 0, 0, 0))
    ImageDraw.Draw(image).ellipse((12, 12, 72, 72), outline=(0, 0, 0, 255), width=9)
    if mode in ("RGBA", "LA"):
        return image.convert(mode), {}
    grey = Image.alpha_composite(Image.new("RGBA", image.size, "#0000c8"), image).convert(
        "RGB"
    )  # its ground is blue
    if mode == "P":
        return grey.quantize(2), {"transparency": grey.quantize(2).getpixel((0, 0))}
    if mode == "P, alpha":
        p = grey.quantize(2)
        return p, {"transparency": bytes(0 if k == p.getpixel((0, 0)) else 255 for k in range(2))}
    if mode == "L":
        return grey.convert("L"), {"transparency": grey.convert("L").getpixel((0, 0))}
    return grey, {"transparency": (0, 0, 200)}


@pytest.mark.parametrize(
    ("mode", "ending"),
    [
        ("RGBA", "png"),
        ("LA", "png"),
        ("P", "png"),
        ("P, alpha", "png"),
        ("L", "png"),
        ("RGB", "png"),
        ("P", "gif"),
        ("RGBA", "tif"),
        ("RGBA", "webp"),
    ],
)
@pytest.mark.parametrize(
    ("background", "colour"),
    [
        ("white", (255, 255, 255)),
        ("black", (0, 0, 0)),
        ("#ff8000", (255, 128, 0)),
        ("#f80", (255, 136, 0)),
        ("Tomato", (255, 99, 71)),
    ],
)
def test_transparent_pixels_are_put_on_the_background(mode, ending, background, colour, tmp_path):
    image, options = ring(mode)
    image.save(tmp_path / f"ring.{ending}", **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        d = image_folder(tmp_path, size=84, channels=3, background=background)
        grey = image_folder(tmp_path, size=84, background=background)
    assert d.images[0, :, 0, 0].tolist() == list(colour)  # the ground
    assert d.images[0, :, 42, 42].tolist() == list(colour)
    assert d.images[0, :, 42, 16].tolist() == [0, 0, 0]  # the ring
    assert grey.images[0, 0, 0, 0] == Image.new("RGB", (1, 1), colour).convert("L").getpixel((0, 0))
    assert f"1 of 1 image had transparent pixels, which were put on {background}" in d.notes
    assert any("constant" in note for note in d.notes) == (background == "black")


def test_half_transparent_pixels_are_mixed(tmp_path):
    Image.new("LA", (9, 9), (0, 128)).save(tmp_path / "a.png")
    assert (image_folder(tmp_path).images == 127).all()
    assert (image_folder(tmp_path, background="black").images == 0).all()


def test_white_is_the_default_and_only_transparent_images_are_counted(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (28, 28, 4), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    noise[..., 3] = 255  # an alpha channel without transparency
    Image.fromarray(noise).save(tmp_path / "b.png")
    Image.fromarray(noise[..., :3]).save(tmp_path / "c.png")
    d = image_folder(tmp_path)
    assert d.notes == (
        "3 of 3 images had colours, which became grey (--colour keeps them; in Python: channels=3)",
        "1 of 3 images had transparent pixels, which were put on white",
    )
    assert torch.equal(d.images[1], d.images[2])
    assert torch.equal(d.images, image_folder(tmp_path, background="#ffffff").images)


@pytest.mark.parametrize(
    "background",
    ["no such colour", "#12", "#11223344", "rgb(300,0,0)", "", "transparent", None, 3, (0, 0, 0), [0, 0, 0]],
)
def test_a_background_that_is_no_colour_is_named(background, tmp_path):
    paint(tmp_path / "a.png", 0)
    with pytest.raises(ValueError, match="background must be an opaque colour") as e:
        image_folder(tmp_path, background=background)
    assert str(e.value).endswith(f"got {background!r}")


# --- images without content ---------------------------------------------------------------------------------


def test_constant_and_identical_images_are_noted(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    assert image_folder(tmp_path).notes == ()
    Image.fromarray(noise).save(tmp_path / "b.png")
    assert image_folder(tmp_path).notes == ("all 2 images are identical",)
    paint(tmp_path / "c.png", (200, 10, 10), (30, 30))
    grey = "1 of 3 images had colours, which became grey (--colour keeps them; in Python: channels=3)"
    constant = "1 of 3 images is constant, all pixels equal"
    assert image_folder(tmp_path).notes == (grey, constant)
    assert image_folder(tmp_path, channels=3).notes == (constant,)
    paint(tmp_path / "d.png", (0, 0, 0), (30, 30))
    assert image_folder(tmp_path).notes[1:] == ("2 of 4 images are constant, all pixels equal",)


def test_images_that_lose_their_colours_are_noted(tmp_path):
    for k, mode in enumerate(("L", "1", "LA", "P", "RGB", "RGBA", "CMYK")):  # grey in all of them
        Image.fromarray(np.arange(784, dtype=np.uint8).reshape(28, 28) // 4 * 85).convert(mode).save(
            tmp_path / f"{k}.{'tif' if mode == 'CMYK' else 'png'}"
        )
    assert not [n for n in image_folder(tmp_path).notes if "colours" in n]
    spotted = Image.new("RGB", (28, 28), "white")
    spotted.putpixel((20, 3), (255, 0, 0))
    spotted.convert("P").save(tmp_path / "p.png")
    spotted.save(tmp_path / "rgb.png")
    (note,) = [n for n in image_folder(tmp_path).notes if "colours" in n]
    assert note.startswith("2 of 9 images had colours, which became grey (--colour keeps them")
    assert not [n for n in image_folder(tmp_path, channels=3).notes if "colours" in n]


def test_a_ring_lost_on_its_background_is_noted_with_the_remedy(tmp_path):
    ring("RGBA")[0].save(tmp_path / "a.png")
    (note,) = [n for n in image_folder(tmp_path, background="black").notes if "constant" in n]
    assert "1 of 1 image is constant, all pixels equal: another background may show" in note


def test_more_frames_than_one_are_noted(tmp_path):
    first, second = (Image.fromarray(np.full((28, 28), k, np.uint8)) for k in (10, 200))
    for ending in ("gif", "tif", "webp", "png"):
        first.save(tmp_path / f"a.{ending}", save_all=True, append_images=[second])
    d = image_folder(tmp_path)
    assert "4 of 4 images had several frames or pages, of which the first was read" in d.notes
    assert (d.images.float() - 10).abs().max() <= 2


# --- what a folder did not give -----------------------------------------------------------------------------


def test_a_class_holds_its_images_at_any_depth(tmp_path):
    for name in ("dogs/batch1/1.png", "dogs/batch2/more/2.PNG", "cats/1.png", "dogs/3.Jpg"):
        paint(tmp_path / name, (len(name) * 5,) * 3)
    d = image_folder(tmp_path)
    assert d.classes == ("cats", "dogs")
    assert d.labels.tolist() == [0, 1, 1, 1]
    expected = [
        len(n) * 5 for n in ("cats/1.png", "dogs/3.Jpg", "dogs/batch1/1.png", "dogs/batch2/more/2.PNG")
    ]
    assert (
        d.images.float().mean((1, 2, 3)) - torch.tensor(expected)
    ).abs().max() < 1.5  # in the order of their paths


def test_folders_taken_together_are_noted(tmp_path):
    for name in ("dogs/batch1/1.png", "dogs/batch2/1.png", "cats/1.png"):
        paint(tmp_path / name, 0)
    d = image_folder(tmp_path)
    assert d.labels.tolist() == [0, 1, 1]
    assert "taken together as one class, with all the folders in it: dogs (batch1, batch2)" in d.notes


@pytest.mark.parametrize("above", ["train", "data/train", "a/b/c"])
def test_the_level_that_holds_the_classes_is_named(above, tmp_path):
    for name in ("cats/1.png", "dogs/deep/1.png"):
        paint(tmp_path / above / name, 0)
    (tmp_path / "labels").mkdir()
    with pytest.raises(
        RuntimeError, match=rf"in one folder only, {above}, and there in several \(cats, dogs\)"
    ) as e:
        image_folder(tmp_path)
    assert f": give {tmp_path / above}, " in str(e.value)
    assert image_folder(tmp_path / above).classes == ("cats", "dogs")


def test_a_single_class_is_read_at_any_depth(tmp_path):
    paint(tmp_path / "train" / "cats" / "1.png", 0)
    d = image_folder(tmp_path)
    assert (len(d), d.classes) == (1, ("train",))


def test_parts_of_a_data_set_are_not_taken_for_its_classes(tmp_path):
    for name in ("train/cats/1.png", "train/dogs/1.png", "Test/cats/1.png", "Test/dogs/1.png"):
        paint(tmp_path / name, 0)
    with pytest.raises(
        RuntimeError, match=r"parts of a data set \(Test, train\), .* \(cats, dogs\): give one"
    ) as e:
        image_folder(tmp_path)
    assert str(tmp_path / "train") in str(e.value)
    for part in ("train", "val"):
        paint(tmp_path / "flat" / part / "1.png", 0)
    d = image_folder(tmp_path / "flat")
    assert d.classes == ("train", "val")
    assert "train, val are taken for classes: give one of them to train on that part alone" in d.notes


def test_images_beside_folders_of_images_are_named(tmp_path):
    paint(tmp_path / "a.png", 0)
    paint(tmp_path / "cats" / "deep" / "a.png", 0)
    with pytest.raises(
        RuntimeError, match=r"holds images and also folders of images \(cats\): keep to one"
    ) as e:
        image_folder(tmp_path)
    assert str(tmp_path) in str(e.value)


def test_files_passed_over_are_counted_by_ending(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)
    for k in range(5):
        Image.fromarray(noise[k]).save(tmp_path / f"{k}.png")
    for k in range(20):
        (tmp_path / f"{k}.{'HEIC' if k % 2 else 'heic'}").write_bytes(b"x")
    d = image_folder(tmp_path)
    assert d.notes == ("passed over 20 files: 20 .heic. To use the .heic files, save them as PNG or JPEG",)
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "README").write_text("")
    (note,) = image_folder(tmp_path).notes
    assert note.startswith("passed over 22 files: 20 .heic, ")
    assert "1 .txt" in note
    assert "1 without an ending" in note
    assert note.endswith("Images need an ending, such as .png")


def test_files_passed_over_below_count_too(tmp_path):
    paint(tmp_path / "cats" / "1.png", 0)
    (tmp_path / "cats" / "deep").mkdir()
    for name in ("cats/deep/1.avif", "list.csv"):
        (tmp_path / name).write_text("")
    notes = image_folder(tmp_path).notes
    assert "passed over 2 files: 1 .avif, 1 .csv. To use the .avif files, save them as PNG or JPEG" in notes


@pytest.mark.parametrize(
    ("ending", "remedy"),
    [
        *[
            (e, "save them as PNG or JPEG")
            for e in (".heic", ".avif", ".svg", ".pdf", ".psd", ".dng", ".jxl", ".ppm")
        ],
        *[(e, "save each image in them as a PNG") for e in (".npy", ".npz", ".pt", ".h5")],
        *[(e, "unpack them") for e in (".zip", ".tar", ".gz")],
        (".mp4", "save their frames as PNG"),
    ],
)
def test_files_that_may_hold_images_come_with_a_remedy(ending, remedy, tmp_path):
    for k in range(2):
        (tmp_path / f"{k}{ending}").write_bytes(b"")
    with pytest.raises(RuntimeError, match="holds no images: their names end in .png") as e:
        image_folder(tmp_path)
    assert f"; passed over 2 files: 2 {ending}. To use the {ending} files, {remedy}" in str(e.value)


def test_many_kinds_of_files_make_a_short_note(tmp_path):
    paint(tmp_path / "a.png", 0)
    for k in range(30):
        (tmp_path / f"a.x{k}").write_text("")
    note = image_folder(tmp_path).notes[0]
    assert note.startswith("passed over 30 files: 1 .x0, ")
    assert note.endswith(" and 22 more")


def test_folders_without_images_are_named(tmp_path):
    paint(tmp_path / "cats" / "1.png", 0)
    for name in ("dogs", "mice/deep", "cats/none"):
        (tmp_path / name).mkdir(parents=True)
    none = os.path.join("cats", "none")
    assert f"no images in 3 folders: {none}, dogs, mice" in image_folder(tmp_path).notes


def test_a_class_of_which_nothing_can_be_read_is_named(tmp_path):
    paint(tmp_path / "cats" / "1.png", 0)
    (tmp_path / "dogs").mkdir()
    (tmp_path / "dogs" / "1.heic").write_bytes(b"x")
    d = image_folder(tmp_path)
    assert d.classes == ("cats",)
    assert "no images in 1 folder: dogs" in d.notes
    assert d.notes[0].startswith("passed over 1 file: 1 .heic. ")


def test_hidden_files_and_those_of_systems_are_skipped(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    home = tmp_path / ".cache" / "pictures"  # a hidden folder may be named
    for name in (
        "cats/1.png",
        "cats/._1.png",
        ".hidden/1.png",
        "__MACOSX/cats/._1.png",
        "cats/.ipynb_checkpoints/1.png",
        "@eaDir/1.png",
    ):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise).save(home / name)
    for name in ("Thumbs.db", "cats/.DS_Store", "desktop.ini", "cats/THUMBS.DB"):
        (home / name).write_bytes(b"")
    d = image_folder(home)
    assert (len(d), d.classes, d.notes) == (1, ("cats",), ())


def test_links_are_followed_and_loops_end(tmp_path):
    root = tmp_path / "root"
    paint(root / "cats" / "1.png", 0)
    paint(tmp_path / "elsewhere" / "1.png", 0)
    paint(tmp_path / "elsewhere" / "2.png", 0)
    (root / "dogs").symlink_to(tmp_path / "elsewhere")
    (root / "cats" / "again").symlink_to(root / "cats")
    (root / "cats" / "up").symlink_to(root)
    (root / "cats" / "top").symlink_to(tmp_path)
    (root / "all").symlink_to(root)
    (root / "self").symlink_to("self")
    (tmp_path / "elsewhere" / "back").symlink_to(root / "dogs")
    d = image_folder(root)
    assert d.classes == ("cats", "dogs")
    assert d.labels.tolist() == [0, 1, 1]
    (root / "pets").symlink_to(root / "cats")  # one folder under two names: no class is lost
    assert image_folder(root).classes == ("cats", "dogs", "pets")


def test_what_is_no_file_is_passed_over(tmp_path):
    paint(tmp_path / "a.png", 0)
    (tmp_path / "b.png").symlink_to("gone.png")
    os.mkfifo(tmp_path / "c.png")  # to open it would wait for ever
    d = image_folder(tmp_path)
    assert len(d) == 1
    assert d.notes[0] == "passed over 2 files: 1 linked to nothing, 1 of a special kind"


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    paint(tmp_path / "cats" / "a.png", 0)
    paint(tmp_path / "dogs" / "a.png", 0)
    listdir = os.listdir

    def refuse(path):
        if str(path).endswith("dogs"):
            raise PermissionError(13, "Permission denied")
        return listdir(path)

    monkeypatch.setattr(folder.os, "listdir", refuse)
    with pytest.raises(RuntimeError, match="cannot read the folder .*dogs: Permission denied"):
        image_folder(tmp_path)


def test_thousands_of_files_are_read_and_the_bad_one_is_named(tmp_path):
    for k in range(3000):
        (tmp_path / f"{k:05}.bmp").symlink_to(tmp_path / "00000.bmp") if k else paint(
            tmp_path / "00000.bmp", 7, (4, 4), "L"
        )
    d = image_folder(tmp_path, size=4)
    assert d.images.shape == (3000, 1, 4, 4)
    assert "all 3,000 images are identical" in d.notes
    (tmp_path / "02999.bmp").unlink()
    (tmp_path / "02999.bmp").write_bytes(b"BM")
    with pytest.raises(RuntimeError, match="02999.bmp"):
        image_folder(tmp_path, size=4)


def test_images_keep_their_order_whichever_is_read_first(tmp_path, capsys):
    "Several are read at a time, large and small ones in turn; a bar shows it where one is asked for."
    for k in range(40):
        Image.new("L", (900, 900) if k % 3 == 0 else (8, 8), 6 * k).save(tmp_path / f"{k:02}.png")
    found = image_folder(tmp_path, size=8, progress=True)
    assert found.images[:, 0, 0, 0].tolist() == [6 * k for k in range(40)]
    assert "40/40" in capsys.readouterr().err
    image_folder(tmp_path, size=8)
    assert capsys.readouterr().err == ""


def test_a_picture_of_too_many_pixels_is_named_with_a_remedy(tmp_path, monkeypatch):
    "Pillow refuses more than twice its limit."
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.new("L", (15, 14)).save(tmp_path / "huge.png")
    with pytest.raises(RuntimeError, match=r"huge\.png.* too many pixels\. Make it smaller, or take it out"):
        image_folder(tmp_path)


def test_the_first_damaged_image_is_named_and_the_others_are_left(tmp_path, monkeypatch):
    from ddpm_abc.data import folder

    tried = []
    read = folder.read_picture
    monkeypatch.setattr(folder, "read_picture", lambda path, **kw: tried.append(path) or read(path, **kw))
    for k in range(2000):
        (tmp_path / f"{k:04}.png").write_bytes(b"" if k == 3 else b"x")
    with pytest.raises(RuntimeError, match="0000.png"):
        image_folder(tmp_path)
    assert len(tried) < 1000
