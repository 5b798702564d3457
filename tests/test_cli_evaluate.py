"""`ddpm-abc evaluate`: its figures, what it refuses to judge, and digits that are kept."""

import io
import re
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from shell import CPU, done, refused, run

from ddpm_abc.classifier import HELD_OUT
from ddpm_abc.data import digits, to_unit
from ddpm_abc.likelihood import bits_per_dim, mean_error, pilot_times
from ddpm_abc.parameterization import Denoiser
from ddpm_abc.run import draw as room
from ddpm_abc.schedule import cosine_schedule
from ddpm_abc.storage import save_weights
from ddpm_abc.unet import UNet

COMMAND = ["evaluate", "--weights", "w.safetensors", "--n", 100, "--steps", 2, *CPU]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def save(path="w.safetensors", net=None, **info):
    save_weights(path, Denoiser(net or UNet(channels=(16, 32)), cosine_schedule(30)), **info)


@pytest.fixture
def weights():
    torch.manual_seed(0)
    net = UNet(channels=(16, 32))
    torch.nn.init.normal_(net.conv_out.weight, std=0.1)
    save(net=net, data="digits, or so", steps=7)


def test_evaluate_prints_a_report_beside_its_floor(weights):
    out = done(*COMMAND)
    floor, these = re.findall(r"^(?:real digits, held out|these weights) +100 +([\d.]+) ", out, re.M)
    assert float(floor) < float(these) / 10
    assert "100 images in" in out
    assert "classifier with sha256" in out
    assert not Path("out").exists()


def test_evaluate_judges_digits_only():
    save(net=UNet(size=32, channels=(16, 32)))
    assert "w.safetensors draws images of 1x32x32" in refused(
        "evaluate", "--weights", "w.safetensors", "--steps", 30
    )
    assert "--steps must be at most 30" in refused("evaluate", "--weights", "w.safetensors", "--steps", 31)
    assert "--n must be at least 20, got 5" in refused("evaluate", "--n", 5)
    assert "--n must be at most 3000 with --data digits, got 3001: use --data mnist" in refused(
        "evaluate", "--n", 3001
    )
    assert "--n must be at most 10000, got 10001" in refused("evaluate", "--data", "mnist", "--n", 10001)
    assert "unrecognized arguments: --keep kept.npz" in refused("evaluate", "--keep", "kept.npz")


@pytest.mark.parametrize(
    ("info", "trained_on"),
    [
        ({"data": "folder rings", "run": {"data": "rings"}}, "folder rings"),
        ({"data": "Fashion-MNIST (training set)", "run": {"data": "fashion"}}, "Fashion-MNIST"),
        ({"data": "folder MNIST", "run": {"data": "MNIST"}}, "folder MNIST"),
        ({"data": "Fashion-MNIST (training set)"}, "Fashion-MNIST"),
    ],
)
def test_weights_that_were_trained_on_something_else_are_refused(info, trained_on):
    save(**info)
    err = refused(*COMMAND, "--data", "digits")
    assert f"w.safetensors was trained on {trained_on}" in err
    assert "which digits cannot judge: leave --data out, or name others" in err
    assert "w.safetensors does not say which images it was trained on" in refused(*COMMAND)


@pytest.mark.parametrize("info", [{}, {"data": "squares"}, {"data": 3}, {"run": 5}])
def test_weights_of_unknown_origin_give_a_note(info, monkeypatch):
    monkeypatch.setattr("ddpm_abc.cli.evaluate._judge_digits", lambda *args: None)
    save(**info)
    status, _, err = run(*COMMAND)
    assert (status, err.count("\n")) == (0, 0)
    assert err.startswith("note: w.safetensors does not say that it was trained on digits")


@pytest.fixture
def tiny_mnist(monkeypatch):
    "Two thousand bundled digits in the part of MNIST: one thousand to train on, one thousand to test with."
    found = digits()
    dealt = torch.arange(2000) * 7919 % 10_000
    parts = {True: dealt[:1000], False: dealt[1000:]}
    monkeypatch.setattr(
        "ddpm_abc.data.mnist", lambda root, train: replace(found, images=found.images[parts[train]])
    )


def test_evaluate_against_the_test_set_prints_fid_floor_and_ratio(weights, tiny_mnist):
    out = done(*COMMAND, "--data", "mnist")
    patterns = (r"test set: ([\d.]+)", r"the floor: ([\d.]+)", r"ratio ([\d.]+)")
    fid, floor, ratio = (float(re.search(pattern, out)[1]) for pattern in patterns)
    assert floor < fid / 10
    assert abs(ratio - fid / floor) < 0.01 * ratio


@pytest.mark.parametrize(
    ("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_evaluate_goes_on_with_the_digits_it_kept(sent, status, weights, monkeypatch):
    "Stopped in the second batch, it draws the rest only, and judges what a run does that was not stopped."
    monkeypatch.setattr(room, "SAMPLE_CHUNK", 40)
    judged = []
    monkeypatch.setattr("ddpm_abc.cli.evaluate._judge_digits", lambda drawn, *real: judged.append(drawn))
    done(*COMMAND)
    real, calls = room.SAMPLERS["dpm-solver"], []

    def interrupted(*args, **more):
        calls.append(args)
        if len(calls) == 2:
            signal.raise_signal(sent)
        return real(*args, **more)

    with monkeypatch.context() as m:
        m.setitem(room.SAMPLERS, "dpm-solver", interrupted)
        got, _, err = run(*COMMAND, "--cache", "kept/drawn.npz")
    assert got == status
    assert err == "stopped: 40 of 100 images are drawn, and kept in kept/drawn.npz; the same command goes on"
    if sent != signal.SIGINT:
        return
    out = done(*COMMAND, "--cache", "kept/drawn.npz")
    assert re.search(r"^60 images in ", out, re.M)
    assert "60 images drawn now, and 40 from kept/drawn.npz" in out
    out = done(*COMMAND, "--cache", "kept/drawn.npz")  # and once more: nothing is left to draw
    assert "0 images in" in out
    assert torch.equal(judged[0], judged[1])
    assert torch.equal(judged[0], judged[2])


def test_a_signal_without_a_cache_says_so(weights, monkeypatch):
    monkeypatch.setattr(room, "SAMPLE_CHUNK", 40)
    real, calls = room.SAMPLERS["dpm-solver"], []

    def interrupted(*args, **more):
        calls.append(args)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return real(*args, **more)

    monkeypatch.setitem(room.SAMPLERS, "dpm-solver", interrupted)
    status, _, err = run(*COMMAND)
    assert (status, err) == (130, "stopped: 40 of 100 images are drawn, and lost; --cache FILE keeps them")


def test_kept_digits_are_those_of_one_drawing(weights, monkeypatch):
    monkeypatch.setattr("ddpm_abc.cli.evaluate._judge_digits", lambda *args: None)
    monkeypatch.setattr(room, "SAMPLE_CHUNK", 40)
    command = [*COMMAND, "--cache", "drawn.npz"]
    done(*command)
    before = Path("drawn.npz").read_bytes()
    with np.load("drawn.npz") as f:
        images, of = f["images"], str(f["of"])
    assert images.shape == (100, 1, 28, 28)
    assert images.dtype == np.uint8
    done(*command, "--n", 110)
    longer = Path("drawn.npz").read_bytes()
    assert len(longer) > len(before)
    done(*command)
    assert Path("drawn.npz").read_bytes() == longer  # a shorter run takes none of a longer one's away

    for other in (["--steps", 3], ["--seed", 1]):  # the last of two counts
        assert "holds images of weights" in refused(*command, *other)
    earlier = of.replace(", 8 bits", ", 64 at once, 8 bits")  # when the noise of a batch came from one stream
    np.savez_compressed("drawn.npz", images=images, of=earlier)
    done(*command)
    assert "holds images of weights" in refused(*command, "--n", 110)

    flipped = bytearray(before)
    flipped[len(before) // 2] ^= 1
    bare, other = io.BytesIO(), io.BytesIO()
    np.save(bare, np.zeros(3))
    np.savez(other, labels=np.zeros(3))
    weights = Path("w.safetensors").read_bytes()
    for bad in (
        b"",
        b"no zip",
        before[: len(before) // 2],
        bytes(flipped),
        bare.getvalue(),
        other.getvalue(),
        weights,
    ):
        Path("drawn.npz").write_bytes(bad)
        err = refused(*command)
        assert "is damaged, or holds no images" in err
        assert "give another --cache" in err
        assert Path("drawn.npz").read_bytes() == bad


def test_weights_that_give_no_numbers_are_not_kept():
    net = UNet(channels=(16, 32))
    with torch.no_grad():
        net.conv_in.weight.fill_(3e38)  # finite, but not for long
        net.conv_out.weight.fill_(1.0)
    save(net=net, data="digits")
    assert "not finite" in refused(*COMMAND, "--cache", "drawn.npz", status=1)
    assert not Path("drawn.npz").exists()


def test_compile_needs_a_compiler(weights, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert "--compile needs a C++ compiler, such as g++" in refused(*COMMAND, "--compile")


@pytest.mark.parametrize("learned", [False, True])
def test_bits_of_held_out_digits(learned):
    "A network that says zero: the bound is that of the library, for the same images and noise."
    net = UNet(channels=(16, 32), learn_variance=learned)
    save(net=net, data="digits, or so")
    out = done("evaluate", "--bits", "--weights", "w.safetensors", "--n", 24, "--seed", 3, *CPU)
    said, error = map(float, re.findall(r"at most ([\d.]+), standard error ([\d.]+) \(24 images of", out)[0])
    x0 = to_unit(digits().images)[HELD_OUT][:24]
    denoise = Denoiser(net.eval(), cosine_schedule(30))
    p = pilot_times(denoise, x0, seed=3)
    mean, wide = mean_error(bits_per_dim(denoise, x0, times=p, seed=3).each)
    assert (said, error) == pytest.approx((mean, wide), abs=1e-4)
    parts = [float(v) for v in re.search(r"L_0 (\S+), the steps between (\S+), L_T (\S+)", out).groups()]
    assert sum(parts) == pytest.approx(said, abs=2e-4)


def test_bits_take_no_options_of_drawing():
    save()
    err = refused("evaluate", "--bits", "--weights", "w.safetensors", "--steps", 5, "--guidance", 3, *CPU)
    assert "--bits draws nothing: leave --guidance, --steps out" in err


def test_bits_need_images_of_the_right_size():
    save(net=UNet(size=32, channels=(16, 32)))
    err = refused("evaluate", "--bits", "--weights", "w.safetensors", *CPU)
    assert "w.safetensors is for images of 1x32x32, and those of --data are 1x28x28" in err


def test_bits_of_a_network_that_is_told_classes_and_saw_these_digits():
    status, out, err = run("evaluate", "--bits", "--weights", "mnist-labels", "--n", 20, *CPU)
    assert status == 0
    assert "the bundled digits are of MNIST's training set, which these weights were trained on" in err
    assert 1.2 < float(re.search(r"at most ([\d.]+)", out)[1]) < 1.8
