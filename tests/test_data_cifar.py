"""CIFAR-10's binary files: read as they are laid out, damaged ones named, and what to do without a net."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from ddpm_abc.data import cifar, cifar10, load


def made_up(tmp_path, monkeypatch):
    "Files in the form of CIFAR-10, of twenty images each instead of ten thousand."
    monkeypatch.setattr(cifar, "_IMAGES", 20)
    rng = np.random.default_rng(0)
    home = tmp_path / "cifar-10-batches-bin"
    home.mkdir()
    for k, name in enumerate((*cifar._TRAIN, *cifar._TEST)):
        records = rng.integers(0, 256, (20, 3073), np.uint8)
        records[:, 0] = (np.arange(20) + k) % 10
        records.tofile(home / name)
    return home


@pytest.fixture
def files(tmp_path, monkeypatch):
    return made_up(tmp_path, monkeypatch)


def test_classes_planes_and_rows_are_where_they_belong():
    with tempfile.TemporaryDirectory() as tmp, pytest.MonkeyPatch.context() as monkeypatch:
        files = made_up(Path(tmp), monkeypatch)
        d = cifar10(files.parent)
        assert d.images.shape == (100, 3, 32, 32)
        raw = (files / "data_batch_3.bin").read_bytes()[7 * 3073 : 8 * 3073]
        assert d.labels[47] == raw[0]
        for channel, y, x in ((0, 0, 0), (1, 5, 31), (2, 31, 2)):
            assert d.images[47, channel, y, x] == raw[1 + 1024 * channel + 32 * y + x]
        assert d.classes[0] == "airplane"
        assert d.classes[9] == "truck"
        assert "CIFAR-10 (training set), 100 images, 3x32x32" in d.describe()
        test = cifar10(files.parent, train=False)
        assert len(test) == 20
        assert test.labels.tolist() == [(k + 5) % 10 for k in range(20)]
        assert torch.equal(load("cifar10", files.parent).images, d.images)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda raw: raw[:-1],
            r"data_batch_2\.bin is damaged: it has 61,459 bytes instead of 61,460\. Delete it, and",
        ),
        (lambda raw: bytes([10]) + raw[1:], r"data_batch_2\.bin is damaged: a class is 10, above 9"),
    ],
)
def test_a_damaged_file_is_named(spoil, said, files):
    path = files / "data_batch_2.bin"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(RuntimeError, match=said):
        cifar10(files.parent)


def test_a_tilde_is_the_home_of_whoever_asks(files, monkeypatch):
    monkeypatch.setenv("HOME", str(files.parent))
    assert cifar10("~").source == f"from {files}"


def test_without_the_files_and_without_a_net_it_says_what_to_copy(tmp_path, monkeypatch):
    def fail(url, root, md5):
        assert (url, root, md5) == (cifar.CIFAR10_URL, str(tmp_path), cifar.CIFAR10_MD5)
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.datasets.utils.download_and_extract_archive", fail)
    with pytest.raises(RuntimeError, match=r"copy cifar-10-binary\.tar\.gz to .*no route to host"):
        cifar10(tmp_path)
