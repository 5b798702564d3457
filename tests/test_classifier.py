"""The classifier behind the measures: the packaged one, its splits of the digits, and how one is trained."""

import hashlib
import runpy
from importlib.resources import files

import pytest
import torch

from ddpm_abc import classifier
from ddpm_abc.classifier import (
    CLASSIFIER_SHA256,
    CLASSIFIER_SPLIT,
    HELD_OUT,
    REFERENCE,
    Classifier,
    digit_classifier,
    features,
    train_classifier,
)
from ddpm_abc.data import digits, to_unit


@pytest.fixture(scope="module")
def real():
    return to_unit(digits().images)


@pytest.fixture(scope="module")
def net():
    return digit_classifier()


def test_the_packaged_classifier_is_the_released_one_and_reads_digits(net, real):
    data = (files("ddpm_abc") / "assets/digit_classifier.safetensors").read_bytes()
    assert hashlib.sha256(data).hexdigest() == CLASSIFIER_SHA256
    with torch.no_grad():
        others = torch.cat([REFERENCE, HELD_OUT])
        right = net(real[others]).argmax(1) == digits().labels[others]
    assert right.double().mean() > 0.98


def test_a_damaged_classifier_is_refused(monkeypatch):
    monkeypatch.setattr("ddpm_abc.classifier.CLASSIFIER_SHA256", "0" * 64)
    with pytest.raises(RuntimeError, match=r"damaged .*install ddpm_abc again"):
        digit_classifier()


def test_the_three_splits_share_nothing_and_are_alike():
    splits = (CLASSIFIER_SPLIT, REFERENCE, HELD_OUT)
    assert [len(split) for split in splits] == [4000, 3000, 3000]
    assert len(torch.cat(splits).unique()) == 10_000
    for split in (*splits, HELD_OUT[:1000]):
        share = torch.bincount(digits().labels[split], minlength=10) / len(split)
        assert (share - 0.1).abs().max() < 0.03


def test_features_do_not_depend_on_the_batch(net, real):
    together = features(net, real[:7])
    assert together.dtype == torch.float64
    assert together.shape == (7, 64)
    assert (together - torch.cat([features(net, x[None]) for x in real[:7]])).abs().max() < 1e-5


@pytest.mark.parametrize("shape", [(2, 28, 28), (2, 3, 28, 28), (2, 1, 32, 32)])
def test_other_images_are_refused(net, shape):
    with pytest.raises(ValueError, match=r"\(B, 1, 28, 28\)"):
        features(net, torch.zeros(shape))
    with pytest.raises(ValueError, match="not finite"):
        features(net, torch.full((1, 1, 28, 28), float("nan")))


def test_a_classifier_is_a_function_of_its_seed_and_leaves_the_global_generator_alone(real):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    a, b, c = (train_classifier(real[:200], digits().labels[:200], steps=2, seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(a.head.weight, b.head.weight)
    assert not torch.equal(a.head.weight, c.head.weight)
    with pytest.raises(ValueError, match="at least 128 images, got 5"):
        train_classifier(real[:5], digits().labels[:5])


def test_a_classifier_learns(real):
    "Sixty steps: right far more often than the one time in ten of a guess."
    net = train_classifier(real[:2000], digits().labels[:2000], steps=60)
    with torch.no_grad():
        assert (net(real[5000:6000]).argmax(1) == digits().labels[5000:6000]).double().mean() > 0.6
    assert Classifier(3).head.out_features == 3


def test_pixels_that_were_not_scaled_are_refused(net):
    with pytest.raises(ValueError, match=r"got torch.uint8.*to_unit"):
        features(net, digits().images[:2, None])
    with pytest.raises(ValueError, match=r"got torch.uint8.*to_unit"):
        net(digits().images[:2, None])
    with pytest.raises(ValueError, match=r"got torch.uint8.*to_unit"):
        train_classifier(digits().images[:200, None], digits().labels[:200])


def test_the_packaged_classifier_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    digit_classifier()
    assert torch.equal(torch.get_rng_state(), before)


def test_labels_that_do_not_fit_the_images_are_refused(real):
    with pytest.raises(ValueError, match=r"labels must have shape \(200,\), one an image, got \(199,\)"):
        train_classifier(real[:200], digits().labels[:199])


def test_a_shape_may_be_a_list():
    assert Classifier(3, [1, 8, 8])(torch.zeros(2, 1, 8, 8)).shape == (2, 3)


def test_classifiers_are_on_the_cpu_and_in_the_precision_of_their_images(net, real):
    "Whatever the default device, for which the meta device stands, and the default precision."
    expected = features(net, real[:3])
    with torch.device("meta"):
        assert torch.equal(features(digit_classifier(), real[:3]), expected)
        own = train_classifier(real[:128], digits().labels[:128], steps=1)
        assert own.head.weight.device.type == "cpu"
        assert runpy.run_path(classifier.__file__)["REFERENCE"].device.type == "cpu"
    torch.set_default_dtype(torch.float64)
    assert torch.equal(features(digit_classifier(), real[:3]), expected)
    own = train_classifier(real[:128], digits().labels[:128], steps=1)
    assert own.head.weight.dtype == torch.float32
