"""The network of published FIDs: its file, its features, and what is judged through them."""

import hashlib
import math
import re
from pathlib import Path

import pytest
import torch
from shell import CPU, done, refused, run
from test_cli_images import TINY, paint
from torch import nn

from ddpm_abc import inception
from ddpm_abc.data import Images, digits, to_unit
from ddpm_abc.inception import INCEPTION_SHA256, INCEPTION_URL, Inception, inception_weights
from ddpm_abc.metrics import fid, kid, table
from ddpm_abc.run.judge import Real, can_measure, judge


def test_only_the_published_file_is_taken(tmp_path):
    other = tmp_path / "other.pth"
    other.write_bytes(b"other")
    got = hashlib.sha256(b"other").hexdigest()[:12]
    with pytest.raises(RuntimeError, match=rf"other.pth does not hold the weights .* {got}\.\.\., "):
        inception_weights(other)
    with pytest.raises(RuntimeError, match=r"none.pth cannot be read \(.*No such file.*\): fetch https:"):
        inception_weights(tmp_path / "none.pth")


def test_the_file_is_downloaded_once_and_compared(tmp_path, monkeypatch):
    asked = []

    def download(url, path, digest):
        asked.append((url, digest))
        Path(path).write_bytes(b"published")

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    with pytest.raises(RuntimeError, match="does not hold the weights"):
        inception_weights(root=tmp_path)
    assert asked == [(INCEPTION_URL, INCEPTION_SHA256)]
    monkeypatch.setattr(inception, "INCEPTION_SHA256", hashlib.sha256(b"published").hexdigest())
    assert inception_weights(root=tmp_path).read_bytes() == b"published"
    assert len(asked) == 1


def test_offline_the_message_says_what_to_fetch(tmp_path, monkeypatch):
    def fail(*args):
        raise OSError("no route")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(RuntimeError, match=r"cannot be read \(no route\): fetch https://.*name the file"):
        inception_weights(root=tmp_path)


def test_the_extra_is_named_where_it_is_missing(monkeypatch):
    def missing(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(inception, "import_module", missing)
    with pytest.raises(RuntimeError, match=r"pip install \"ddpm_abc\[fid\]\""):
        Inception("w.pth")


def test_features_are_those_of_the_library(tmp_path, monkeypatch):
    "With random weights in the library's format: the published ones are a download."
    room = pytest.importorskip("torch_fidelity", reason="the fid extra is not installed")
    extractor = room.FeatureExtractorInceptionV3
    torch.manual_seed(0)
    with monkeypatch.context() as m:
        m.setattr(torch, "load", lambda *args, **kwargs: None)
        m.setattr(extractor, "load_state_dict", lambda self, state: None)
        theirs = extractor("any", ["2048"], feature_extractor_weights_path="any")
    for layer in theirs.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
    path = tmp_path / "w.pth"
    torch.save(theirs.state_dict(), path)
    monkeypatch.setattr(inception, "INCEPTION_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    net = Inception(path)
    pixels = digits().images[:3]
    want = theirs(pixels.repeat(1, 3, 1, 1))[0]
    assert want.std() > 0.01
    got = net.features(to_unit(pixels))
    assert got.shape == (3, 2048)
    assert torch.allclose(got, want, rtol=1e-4, atol=1e-4 * want.abs().max())


class Means(nn.Module):
    "Sees the means of seven columns."

    def __init__(self, *args, **kwargs):
        super().__init__()

    def features(self, x):
        return x.mean((1, 2))[:, :28].unflatten(1, (7, -1)).mean(2)


def one_class(a, b):
    found = digits()
    return Images("some", found.images[a:b], torch.zeros(b - a, dtype=torch.int64), ("all",))


def test_other_features_need_no_classes():
    real, drawn = Real(one_class(0, 300), one_class(4000, 4100)), digits().images[6000:6050]
    found = judge(drawn, real, net=Means())
    a, b = (Means().features(to_unit(x)).double() for x in (drawn, real.held.images))
    assert found.report.fid == pytest.approx(fid(a, b))
    assert found.report.kid == pytest.approx(kid(a, b)[0])
    assert found.floor.n == 50
    assert found.floor.fid < 1
    assert found.accuracy is None
    assert math.isnan(found.report.class_kl)
    assert re.search(r" - +\d", table({"these": found.report}))
    assert judge(drawn, real).report is None
    assert can_measure(real, 299, Means())
    assert not can_measure(real, 300, Means())
    assert not can_measure(Real(real.train, one_class(0, 19)), 50, Means())


def test_by_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(inception, "Inception", Means)
    paint("mine", 260, (28, 28), kinds=("all",))
    done("train", "--data", "mine", "--steps", 2, *TINY)
    command = ["evaluate", "--weights", "out/weights.safetensors", "--steps", 2, *CPU]
    status, out, err = run(*command, "--n", 40, "--features", "inception")
    assert status == 0
    assert re.search(r"^real, of the training +40 ", out, re.M)
    assert re.search(r"^these weights +40 ", out, re.M)
    assert f"seen by Inception-v3, 2,048 features, weights with sha256 {INCEPTION_SHA256[:12]}" in out
    assert "compared with: folder mine, 26 images" in out
    assert err == "note: 2,048 features of 26 images give too large a FID: read it beside its floor"
    said = refused(*command, "--n", 234, "--features", "inception:w.pth")
    assert (
        "--n 234 needs 235 images of the training, and there are 234; 20 held out, and there are 26" in said
    )
    for wrong in ("resnet", "inception:", "classifier:w.pth"):
        assert f"inception:FILE, got {wrong}" in refused(*command, "--features", wrong)
