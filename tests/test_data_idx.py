"""The bundled digits, MNIST and Fashion-MNIST: read and checked, or a message that says what to do."""

import gzip
import hashlib
import struct
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision.datasets.mnist

from ddpm_abc.data import digits, fashion_mnist, idx, mnist

# --- the bundled digits -------------------------------------------------------------------------------------


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
    monkeypatch.setattr(idx, "DIGITS_SHA256", "0" * 64)
    with pytest.raises(RuntimeError, match="damaged.*install ddpm_abc again"):
        digits()


# --- MNIST and Fashion-MNIST --------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("read", "kind", "first"), [(mnist, "MNIST", "0"), (fashion_mnist, "FashionMNIST", "T-shirt")]
)
def test_reads_the_files_where_torchvision_puts_them(read, kind, first, tmp_path, no_network, monkeypatch):
    raw = tmp_path / kind / "raw"
    complete(raw)
    with pytest.raises(
        RuntimeError, match="t10k-images-idx3-ubyte is damaged: its sha256 is not that of the published file"
    ):
        read(tmp_path, train=False)  # the right form is not enough
    monkeypatch.setitem(
        idx.IDX_SHA256, kind, {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in raw.iterdir()}
    )
    d = read(tmp_path, train=False)
    assert not no_network
    assert (d.images.shape, d.images.dtype) == ((10_000, 1, 28, 28), torch.uint8)
    assert torch.equal(d.images[:, 0, 0, 0].long(), d.labels + 1)
    assert d.classes[0] == first
    assert len(d.classes) == 10
    assert d.describe() == f"data: {d.name}, 10,000 images, 1x28x28, from {tmp_path / kind}"
    assert "test set" in d.name
    assert d.notes == ()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read("~", train=False).source == d.source  # torchvision looks there, too


@pytest.mark.parametrize(("read", "kind"), [(mnist, "MNIST"), (fashion_mnist, "FashionMNIST")])
def test_a_failed_download_names_the_remedy(read, kind, tmp_path, no_network):
    with pytest.raises(RuntimeError) as e:
        read(tmp_path)
    assert no_network
    for part in (
        "--data digits",
        "needs no download",
        "copy the four files",
        str(tmp_path / kind / "raw"),
        "no route to host",
        "t10k-labels-idx1-ubyte",
    ):
        assert part in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("train", [True, False])
def test_damaged_files_are_named(train, tmp_path, no_network):
    raw = tmp_path / "MNIST" / "raw"
    complete(raw)
    images = raw / "t10k-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-1000])  # and the training set's files are empty
    with pytest.raises(RuntimeError, match="damaged files cannot be read; delete them") as e:
        mnist(tmp_path, train=train)
    assert str(raw) in str(e.value)
    part = "train" if train else "t10k"
    assert f"delete them: {part}-images-idx3-ubyte, {part}-labels-idx1-ubyte. " in str(e.value)


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


def message(root, train=False):
    with pytest.raises(RuntimeError) as e:
        mnist(root, train=train)
    assert "\n" not in str(e.value)
    return str(e.value)


@pytest.fixture
def published(tmp_path, no_network, monkeypatch):
    "The folder of four good files: what lies there counts as published."
    raw = tmp_path / "MNIST" / "raw"
    complete(raw)
    sums = {n: hashlib.sha256((raw / n).read_bytes()).hexdigest() for n in idx.IDX_SHA256["MNIST"]}
    monkeypatch.setitem(idx.IDX_SHA256, "MNIST", sums)
    return raw


@pytest.mark.parametrize(
    "name",
    [
        "t10k-images.idx3-ubyte",
        "t10k_images_idx3_ubyte",
        "T10K-IMAGES-IDX3-UBYTE",
        "t10k-images-idx3-ubyte (1)",
        "t10k-images-idx3-ubyte.bin",
        "t10k-images",
        "test-images-idx3-ubyte",
    ],
)
def test_a_misnamed_file_is_recognised(name, published):
    (published / "t10k-images-idx3-ubyte").rename(published / name)
    said = message(published.parent.parent)
    assert ": t10k-images-idx3-ubyte is not there, and the download failed. " in said
    assert f"{published / name} looks like t10k-images-idx3-ubyte: rename it to {published}" in said
    assert "delete" not in said
    assert "labels-idx1-ubyte looks" not in said


def test_all_four_misnamed_are_recognised(published):
    for path in list(published.iterdir()):
        path.rename(published / path.name.replace("-idx", ".idx"))
    said = message(published.parent.parent)
    assert said.count(": rename it to ") == 4
    assert "delete" not in said


@pytest.mark.parametrize("place", ["..", "../..", "sub", "../../raw"])
def test_a_misplaced_file_is_found(place, published):
    "Unpacked into a folder of its own, or copied to one of the folders above."
    name = "t10k-labels-idx1-ubyte"
    (published / place).mkdir(exist_ok=True)
    (published / name).rename(published / place / name)
    said = message(published.parent.parent)
    assert f"{name} looks like {name}: move it to {published / name}" in said
    assert "delete" not in said


def test_a_folder_with_the_name_of_a_file_is_not_the_file(published):
    name = "t10k-labels-idx1-ubyte"
    (published / name).rename(published / "kept")
    (published / name).mkdir()
    (published / "kept").rename(published / name / name)
    said = message(published.parent.parent)
    assert f"{name} is not there" in said
    assert f"{published / name / name} looks like {name}: move it" in said


@pytest.mark.parametrize("ending", [".gz", ".GZ", ".zip"])
def test_a_packed_file_is_recognised(ending, published):
    path = published / "train-labels-idx1-ubyte"
    (published / (path.name + ending)).write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    said = message(published.parent.parent)
    assert f"{path}{ending} looks like {path.name}, packed: unpack it and name it {path}" in said
    assert "delete" not in said


def test_missing_files_are_named(published):
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        (published / name).unlink()
    said = message(published.parent.parent)
    assert (
        ": train-images-idx3-ubyte, train-labels-idx1-ubyte are not there, and the download failed. Use "
        in said
    )
    assert "looks like" not in said
    assert "delete" not in said


def test_only_the_damaged_file_is_to_be_deleted(published):
    (published / "t10k-labels-idx1-ubyte").write_bytes(b"<html>")
    said = message(published.parent.parent)
    assert "damaged files cannot be read; delete them: t10k-labels-idx1-ubyte. " in said


def test_good_files_that_cannot_be_read_are_not_to_be_deleted(published, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError("not for you")

    monkeypatch.setattr(torchvision.datasets.mnist, "read_image_file", refuse)
    said = message(published.parent.parent)
    assert "its files cannot be read. Use" in said
    assert "not for you" in said
    assert "delete" not in said
    monkeypatch.setattr(idx, "_damaged", refuse)
    assert "its files cannot be read. Use" in message(published.parent.parent)
