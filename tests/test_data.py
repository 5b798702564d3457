"""Data: pixels to [-1, 1] and back, batches that resume, and each data set, or a message that helps."""

import hashlib
import struct
from itertools import islice
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision.datasets.mnist
from PIL import Image

from ddpm_abc import data
from ddpm_abc.data import (
    batches,
    digits,
    fashion_mnist,
    folder,
    labelled_batches,
    load,
    mnist,
    to_uint8,
    to_unit,
)

# --- pixels ----------------------------------------------------------------------------------------------------------


@pytest.mark.equation("90.1", by="to_unit")
def test_every_pixel_value_survives_the_round_trip():
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    x = to_unit(pixels)
    assert x.dtype == torch.float32
    assert (x.min(), x.max()) == (-1, 1)
    assert torch.allclose(x.double(), pixels.double() * 2 / 255 - 1, atol=1e-7)
    assert torch.equal(to_uint8(x), pixels)


def test_to_uint8_clips_and_rounds_to_the_nearest():
    x = torch.tensor([-7.0, -1.0, -1 + 0.4 / 127.5, -1 + 0.6 / 127.5, 1.0, 7.0], dtype=torch.float64)
    assert to_uint8(x).tolist() == [0, 0, 0, 1, 255, 255]


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_to_unit_names_a_wrong_type(dtype):
    with pytest.raises(TypeError, match=str(dtype)):
        to_unit(torch.zeros(1, 1, 2, 2, dtype=dtype))


# --- batches ---------------------------------------------------------------------------------------------------------


def numbered(n):
    "n images of one pixel, whose value is their number."
    return torch.arange(n, dtype=torch.uint8).reshape(n, 1, 1, 1)


def take(k, *args, **kwargs):
    it = batches(*args, **kwargs)
    return [to_uint8(next(it)).flatten().tolist() for _ in range(k)]


def test_an_epoch_holds_each_image_once_and_leaves_out_the_short_batch():
    got = take(6, numbered(10), 3)
    for epoch in (got[:3], got[3:]):
        seen = sum(epoch, [])
        assert len(seen) == len(set(seen)) == 9
    assert got[:3] != got[3:]


def test_batches_are_float_in_the_unit_range():
    x = next(batches(numbered(10), 4))
    assert (x.dtype, x.shape) == (torch.float32, (4, 1, 1, 1))
    assert x.min() >= -1


def test_batch_k_depends_on_seed_and_k_alone():
    got = take(11, numbered(10), 3, seed=5)
    torch.manual_seed(123)
    for start in range(11):
        assert take(11 - start, numbered(10), 3, seed=5, start=start) == got[start:]
    assert take(11, numbered(10), 3, seed=6) != got


def test_batches_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    take(5, numbered(10), 3)
    assert torch.equal(torch.get_rng_state(), before)


def test_batches_name_a_wrong_shape_type_or_start():
    for images, start in ((torch.zeros(10, 4, 4, dtype=torch.uint8), 0), (numbered(10), -1)):
        with pytest.raises(ValueError, match="shape"):
            next(batches(images, 2, start=start))
    with pytest.raises(TypeError, match="uint8"):
        next(batches(numbered(10).float(), 2))


@pytest.mark.parametrize("size", [0, 11, -1])
def test_batches_name_a_wrong_size(size):
    with pytest.raises(ValueError, match=rf"1\.\.10.*got {size}"):
        next(batches(numbered(10), size))


def test_labelled_batches_are_the_same_and_each_image_has_its_label():
    pairs = labelled_batches(numbered(10), torch.arange(10) * 7, 3, seed=5, start=2)
    for x, (same, y) in zip(islice(batches(numbered(10), 3, seed=5, start=2), 8), pairs, strict=False):
        assert torch.equal(x, same)
        assert (to_uint8(same).flatten().long() * 7).tolist() == y.tolist()


def test_labelled_batches_name_labels_of_another_number():
    with pytest.raises(ValueError, match=r"shape \(10,\), one for each image, got \(9,\)"):
        next(labelled_batches(numbered(10), torch.arange(9), 3))


# --- the bundled digits ----------------------------------------------------------------------------------------------


def test_digits_are_a_thousand_of_each():
    d = digits()
    assert (d.images.shape, d.images.dtype) == ((10_000, 1, 28, 28), torch.uint8)
    assert d.labels.dtype == torch.int64
    assert d.labels.bincount().tolist() == [1000] * 10
    assert d.classes == tuple("0123456789")
    assert d.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]  # as MNIST's training set begins
    assert (d.images.flatten(1).amin(1) == 0).all()
    assert (d.images.flatten(1).amax(1) > 100).all()
    assert 30 < d.images.float().mean() < 37  # MNIST's is 33.3


def test_digits_notice_a_damaged_file(monkeypatch):
    monkeypatch.setattr(data, "DIGITS_SHA256", "0" * 64)
    with pytest.raises(RuntimeError, match="damaged.*install ddpm_abc again"):
        digits()


# --- MNIST and Fashion-MNIST -----------------------------------------------------------------------------------------


def write_idx(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack(f">{array.ndim + 1}I", 0x800 + array.ndim, *array.shape) + array.tobytes())


@pytest.fixture
def no_network(monkeypatch):
    "Every download fails, as without a connection."
    tried = []

    def fail(url, **kwargs):
        tried.append(url)
        raise URLError("no route to host")

    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", fail)
    return tried


def complete(raw):
    "Files in the right format: a test set of 10,000, and a training set that is there but empty."
    labels = (np.arange(10_000) % 10).astype(np.uint8)
    images = np.zeros((10_000, 28, 28), np.uint8)
    images[:, 0, 0] = labels + 1
    write_idx(raw / "t10k-images-idx3-ubyte", images)
    write_idx(raw / "t10k-labels-idx1-ubyte", labels)
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        (raw / name).write_bytes(b"")


@pytest.mark.parametrize(("read", "kind", "first"), [(mnist, "MNIST", "0"), (fashion_mnist, "FashionMNIST", "T-shirt")])
def test_reads_the_files_where_torchvision_puts_them(read, kind, first, tmp_path, no_network, monkeypatch):
    raw = tmp_path / kind / "raw"
    complete(raw)
    with pytest.raises(RuntimeError, match="t10k-images-idx3-ubyte is damaged: its sha256 is not the published one"):
        read(tmp_path, train=False)  # the right form is not enough
    monkeypatch.setitem(data.IDX_SHA256, kind, {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in raw.iterdir()})
    d = read(tmp_path, train=False)
    assert not no_network
    assert (d.images.shape, d.images.dtype) == ((10_000, 1, 28, 28), torch.uint8)
    assert torch.equal(d.images[:, 0, 0, 0].long(), d.labels + 1)
    assert d.classes[0] == first
    assert len(d.classes) == 10
    assert "test set" in d.name


@pytest.mark.parametrize(("read", "kind"), [(mnist, "MNIST"), (fashion_mnist, "FashionMNIST")])
def test_a_failed_download_names_the_remedy(read, kind, tmp_path, no_network):
    with pytest.raises(RuntimeError) as e:
        read(tmp_path)
    assert no_network
    for part in ("--data digits", "needs no download", "copy the four files", str(tmp_path / kind / "raw"), "no route to host", "t10k-labels-idx1-ubyte"):
        assert part in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("train", [True, False])
def test_damaged_files_are_named(train, tmp_path, no_network):
    raw = tmp_path / "MNIST" / "raw"
    complete(raw)
    images = raw / "t10k-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-1000])  # and the training set's files are empty
    with pytest.raises(RuntimeError, match="cannot be read; delete them") as e:
        mnist(tmp_path, train=train)
    assert str(raw) in str(e.value)


@pytest.mark.parametrize("content", [b"<html>not found</html>", b"\0\0\x08\x01", b"\0\0\x0a\x03" + bytes(40)])
def test_files_of_another_kind_are_named(content, tmp_path, no_network):
    raw = tmp_path / "MNIST" / "raw"
    complete(raw)
    (raw / "t10k-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(RuntimeError, match="cannot be read; delete them"):
        mnist(tmp_path, train=False)


def test_labels_and_images_in_different_numbers_are_named(tmp_path, no_network):
    raw = tmp_path / "MNIST" / "raw"
    complete(raw)
    write_idx(raw / "t10k-labels-idx1-ubyte", np.zeros(9_999, np.uint8))
    with pytest.raises(RuntimeError, match="9999"):
        mnist(tmp_path, train=False)


def test_labels_out_of_range_are_named(tmp_path, no_network):
    raw = tmp_path / "MNIST" / "raw"
    complete(raw)
    write_idx(raw / "t10k-labels-idx1-ubyte", np.full(10_000, 10, np.uint8))
    with pytest.raises(RuntimeError, match="a file is damaged"):
        mnist(tmp_path, train=False)


def test_old_torchvision_files_stay_closed(tmp_path, no_network):
    "torchvision would call torch.load on them."
    processed = tmp_path / "MNIST" / "processed"
    processed.mkdir(parents=True)
    for name in ("training.pt", "test.pt"):
        (processed / name).write_bytes(b"a pickle")
    with pytest.raises(RuntimeError, match="not safe to read: delete .*processed"):
        mnist(tmp_path)


def test_a_root_that_is_a_file_is_named(tmp_path, no_network):
    (tmp_path / "data").write_text("")
    with pytest.raises(RuntimeError, match="--data digits"):
        mnist(tmp_path / "data")


# --- own images ------------------------------------------------------------------------------------------------------


def paint(path, colour, size=(40, 30), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


def test_folder_reads_in_the_order_of_names(tmp_path):
    for name, grey in [("b.png", 20), ("a.JPG", 10), ("c.bmp", 30)]:
        paint(tmp_path / name, (grey,) * 3)
    (tmp_path / "notes.txt").write_text("not an image")
    d = folder(tmp_path)
    assert (d.images.shape, d.images.dtype) == ((3, 1, 28, 28), torch.uint8)
    assert (d.images.float().mean((1, 2, 3)) - torch.tensor([10.0, 20, 30])).abs().max() < 1.5
    assert d.labels.tolist() == [0, 0, 0]
    assert d.classes == (tmp_path.name,)


def test_subfolders_are_classes(tmp_path):
    for name in ("dog/1.png", "cat/2.png", "cat/1.png"):
        paint(tmp_path / name, (0, 0, 0))
    (tmp_path / "empty").mkdir()
    d = folder(tmp_path)
    assert d.classes == ("cat", "dog")
    assert d.labels.tolist() == [0, 0, 1]


def test_folder_keeps_colour_and_takes_a_size(tmp_path):
    paint(tmp_path / "a.png", (200, 100, 50))
    d = folder(tmp_path, size=32, channels=3)
    assert d.images.shape == (1, 3, 32, 32)
    assert d.images[0, :, 5, 5].tolist() == [200, 100, 50]


def test_folder_crops_to_the_middle_square(tmp_path):
    wide = np.zeros((28, 84), np.uint8)
    wide[:, 28:56] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    assert (folder(tmp_path).images == 255).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_folder_takes_images_of_every_8_bit_kind(mode, tmp_path):
    paint(tmp_path / ("a.tif" if mode == "CMYK" else "a.png"), 0, mode=mode)
    for channels in (1, 3):
        assert folder(tmp_path, channels=channels).images.shape == (1, channels, 28, 28)


def test_folder_errors(tmp_path):
    with pytest.raises(RuntimeError, match="no folder .*nowhere"):
        folder(tmp_path / "nowhere")
    with pytest.raises(RuntimeError, match="holds no images.*png"):
        folder(tmp_path)
    paint(tmp_path / "good.png", (0, 0, 0))
    with pytest.raises(ValueError, match="got 2 and 28"):
        folder(tmp_path, channels=2)
    with pytest.raises(ValueError, match="got 1 and 0"):
        folder(tmp_path, size=0)
    (tmp_path / "bad.png").write_bytes((tmp_path / "good.png").read_bytes()[:60])
    with pytest.raises(RuntimeError, match=r"bad\.png"):
        folder(tmp_path)
    (tmp_path / "bad.png").write_text("<html>")
    with pytest.raises(RuntimeError, match=r"bad\.png"):
        folder(tmp_path)
    (tmp_path / "bad.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nquit\n")  # Pillow would run ghostscript
    with pytest.raises(RuntimeError, match=r"cannot identify image file.*bad\.png"):
        folder(tmp_path)
    (tmp_path / "bad.png").unlink()
    paint(tmp_path / "deep.png", 40_000, mode="I;16")
    with pytest.raises(RuntimeError, match=r"deep\.png.*more than 8 bits"):
        folder(tmp_path)
    (tmp_path / "deep.png").unlink()
    paint(tmp_path / "sub" / "a.png", (0, 0, 0))
    with pytest.raises(RuntimeError, match=r"also folders of images \(sub\)"):
        folder(tmp_path)


# --- by name ---------------------------------------------------------------------------------------------------------


def test_load_says_in_one_line_which_data_set_it_is(tmp_path, capsys, monkeypatch):
    assert torch.equal(load("digits").images, digits().images)
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    for part in ("digits", "10,000 images", "1x28x28", "package"):
        assert part in said

    paint(tmp_path / "cats" / "a.png", (0, 0, 0))
    assert len(load(str(tmp_path / "cats")).images) == 1
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    for part in (str(tmp_path / "cats"), "1 images", "1x28x28"):
        assert part in said

    asked = []
    for name in ("mnist", "fashion_mnist"):
        monkeypatch.setattr(data, name, lambda root, name=name: asked.append((name, root)) or digits())
    load("mnist", "here")
    load("fashion", "there")
    assert asked == [("mnist", "here"), ("fashion_mnist", "there")]
    said = capsys.readouterr().out.splitlines()
    assert "from here" in said[0]
    assert "from there" in said[1]


@pytest.mark.parametrize("name", ["MNIST", "nowhere/at/all", ""])
def test_load_names_an_unknown_data_set(name):
    with pytest.raises(RuntimeError, match=f"{name!r}.*digits, mnist, fashion"):
        load(name)
