"""Watching a run and judging what it draws, when no packaged judge knows such images."""

import hashlib
import math
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from shell import gray_images
from small_networks import small

from ddpm_abc.data import Images, Mapped, digits, emoji, to_unit
from ddpm_abc.parameterization import Denoiser
from ddpm_abc.run import config
from ddpm_abc.run import judge as room
from ddpm_abc.run.config import TrainConfig, saved_settings
from ddpm_abc.run.images import images_digest, split
from ddpm_abc.run.judge import Real, judge, real_for
from ddpm_abc.run.opening import open_run
from ddpm_abc.run.report import beside_neighbours
from ddpm_abc.run.settings import ConfigError
from ddpm_abc.run.watch import log_scalars, losses_by_t, preview
from ddpm_abc.schedule import cosine_schedule


def deal(a, b):
    return digits().part(torch.arange(a, b))


def real_ones():
    return Real(deal(0, 1000), deal(4000, 4500))


@pytest.fixture(scope="module")
def real():
    return real_ones()


def test_copies_are_found_however_good_they_look(real):
    copies, others = (judge(deal(a, a + 200).images, real) for a in (300, 6000))
    assert copies.near_copies == 1
    assert others.near_copies < 0.06
    assert copies.looked_through == 1000
    assert 0.3 < copies.accuracy < 1
    assert copies.report.novelty < 0.8 < copies.floor.novelty  # the floor's are not compared with themselves
    assert others.report.novelty > 0.8
    noise = torch.randint(0, 256, (200, 1, 28, 28), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    )
    assert judge(noise, real).report.fid > 5 * others.report.fid


def test_the_floor_is_of_images_that_the_classifier_did_not_see():
    with pytest.MonkeyPatch.context() as monkeypatch:
        check_who_sees_what(real_ones(), monkeypatch)


def check_who_sees_what(real, monkeypatch):
    seen = []
    learn = room.train_classifier
    monkeypatch.setattr(room, "train_classifier", lambda x, y, **kw: seen.append(x) or learn(x, y, steps=2))
    judged = []
    measure = room.evaluate
    monkeypatch.setattr(room, "evaluate", lambda x, r: judged.append(x) or measure(x, r))
    judge(deal(6000, 6200).images, real)
    (learned,), (floor, _) = seen, judged
    assert len(learned) == 800
    assert len(floor) == 200
    together = {x.numpy().tobytes() for x in (*learned, *floor)}
    assert together == {x.numpy().tobytes() for x in to_unit(real.train.images)}


def test_a_classifier_is_asked_for_classes_by_their_names(real, monkeypatch):
    "A folder of other images may have fewer classes, or none: their numbers mean something else."
    learn = room.train_classifier
    monkeypatch.setattr(room, "train_classifier", lambda x, y, **kw: learn(x, y, **{**kw, "steps": 20}))
    train, held = (replace(part, classes=tuple("abcdefghij")) for part in real)
    of_nine = held.part((held.labels == 9).nonzero()[:, 0])
    same, one, none = (
        judge(deal(6000, 6200).images, Real(train, those)).accuracy
        for those in (
            of_nine,
            replace(of_nine, labels=torch.zeros_like(of_nine.labels), classes=("j",)),
            replace(held, labels=torch.zeros_like(held.labels), classes=("new",)),
        )
    )
    assert (one, none) == (same, None)
    assert same > 0


def test_without_classes_there_are_neighbours_alone(real):
    one = Images("one", real.train.images, torch.zeros(1000, dtype=torch.int64), ("all",))
    found = judge(real.train.images[:50], Real(one, real.held))
    assert found.near_copies == 1
    assert (found.report, found.floor, found.accuracy) == (None, None, None)
    with pytest.raises(ValueError, match="the training images are not there"):
        judge(real.train.images[:50], Real(None, real.held))


def flat(n, numbers):
    "As many black images of so many numbers, in the memory of one."
    images = torch.zeros(1, 1, 8, numbers // 8, dtype=torch.uint8).expand(n, -1, -1, -1)
    return Images("black", images, torch.arange(n) % 2, ("a", "b"))


def test_a_classifier_is_promised_only_where_memory_bears_enough_images():
    "`train_classifier` needs 128; of larger images 512 MB hold fewer, and it would fail after the drawing."
    fits = {}
    for numbers in (64, room.LARGEST, room.LARGEST + 8):
        real = Real(flat(500, numbers), flat(50, numbers))
        fits[numbers] = room.can_measure(real, 20)
        assert fits[numbers] == (room._most(real.train) >= 128)
    assert list(fits.values()) == [True, True, False]
    huge = Real(flat(500, 2**23), flat(50, 2**23))  # of these not even 20 are compared with
    assert not room.can_measure(huge, 20, net=object())


def test_weights_that_say_too_little_are_refused(tmp_path):
    for info in ({}, {"run": None}, {"run": {"data": "mine"}}):
        with pytest.raises(ConfigError, match="w does not say which images it was trained on"):
            real_for(info, "w")
    mnist = {"run": saved_settings(TrainConfig(data="fashion"))}
    with pytest.raises(ConfigError, match="w was trained on fashion: data elsewhere cannot judge it"):
        real_for(mnist, "w", "elsewhere")


def test_emoji_have_no_test_set_and_are_judged_by_those_held_out():
    told = TrainConfig(data="emoji", labels=True)
    kept, held = split(emoji(), told)
    info = {"run": saved_settings(told), "images_sha256": images_digest(kept, told)}
    real = real_for(info, "w")
    assert (len(kept), len(held)) == (3403, 378)
    assert torch.equal(real.held.images, held.images)
    assert torch.equal(real.train.images, kept.images)
    with pytest.raises(ConfigError, match="the images in emoji are no longer those that w was trained on"):
        real_for(info | {"images_sha256": "0" * 64}, "w")


@pytest.mark.parametrize(("labels", "even"), [(False, False), (True, False), (False, True), (True, True)])
def test_images_are_found_again_as_the_run_noted_them(labels, even, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        gray_images(f"mine/{name}", 20)
    told = TrainConfig(data="mine", labels=labels, even=even, batch_size=4, channels=(16,), device="cpu")
    with open_run(told) as run:
        info = {"run": saved_settings(run.config), **run.digests}
    assert len(real_for(info, "w").train) == len(run.data) == 36
    Path("mine/b/0.png").rename("mine/a/last.png")  # the same images in the same order, one in another class
    changed = real_for(info, "w", "mine").train is None
    assert changed == (labels or even)


def test_a_digest_holds_few_of_the_images_at_once(tmp_path, monkeypatch):
    shape = n, *image = (100, 3, 512, 512)
    with open(tmp_path / "x.part", "wb") as f:
        f.truncate(math.prod(shape))
    data = Images("x", Mapped((tmp_path / "x.part",), n, shape), torch.arange(n), tuple(map(str, range(n))))
    read, seen = Mapped.__getitem__, []
    monkeypatch.setattr(Mapped, "__getitem__", lambda self, of: seen.append(len(of)) or read(self, of))
    digest = images_digest(data, TrainConfig(data="x", labels=False))
    assert digest == hashlib.sha256(bytes(math.prod(shape))).hexdigest()
    assert sum(seen) == n
    assert max(seen) * math.prod(image) <= 2**26
    other = replace(data, images=torch.ones(1, *image, dtype=torch.uint8), labels=torch.zeros(1).long())
    assert len(room._unseen(other, data, "w")) == 1
    assert max(seen) * math.prod(image) <= 2**26


def test_what_is_held_out_is_a_function_of_how_many_there_are():
    pixels = torch.arange(60, dtype=torch.uint8)[:, None, None, None]
    everything = Images("numbers", pixels, torch.arange(60), tuple(map(str, range(60))))
    for asked, n in ((None, 6), (25, 25), (0, 0)):
        parts = split(everything, TrainConfig(data="mine", hold_out=asked))
        assert [len(part) for part in parts] == [60 - n, n]
        told = TrainConfig(data="others", hold_out=asked, seed=3, labels=True)
        again = split(everything, told)
        assert [images_digest(part, told) for part in again] == [images_digest(part, told) for part in parts]
        assert sorted(x.item() for part in parts for x in part.images) == list(range(60))
        assert all(torch.equal(part.labels, part.images.flatten().long()) for part in parts)


@pytest.mark.parametrize("labels", [False, True])
def test_the_loss_by_t_is_that_of_each_time(labels):
    net = small(n_classes=3 if labels else None)
    denoise = Denoiser(net, cosine_schedule(200))
    g = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (500, 1, 8, 8), generator=g).to(torch.uint8)
    data = Images("noise", pixels, torch.arange(500) % 2, ("a", "b"))
    got = losses_by_t(denoise, data, labels=labels)
    assert len(got) == 10
    assert got == losses_by_t(denoise, data, labels=labels)

    order = torch.randperm(500, generator=torch.Generator().manual_seed(0))  # the same by hand, one by one
    eps = torch.randn(256, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    losses, times = [], []
    for k, i in enumerate(order[:256].tolist()):
        t = 1 + int(200 * (k + 0.5) / 256)  # the middle of the k-th of 256 equal parts of 1..200
        times.append(t)
        a = denoise.sched.alpha_bar[t].float()
        xt = a.sqrt() * to_unit(pixels[i : i + 1]) + (1 - a).sqrt() * eps[k : k + 1]
        told = [data.labels[i : i + 1]] if labels else []
        with torch.no_grad():
            losses.append((net(xt, torch.tensor([t]), *told) - eps[k : k + 1]).square().mean().item())
    assert (min(times), max(times)) == (1, 200)
    want = [sum(part) / len(part) for part in (losses[:26], losses[-25:])]
    assert math.isclose(got[0], want[0], rel_tol=1e-4)
    assert math.isclose(got[-1], want[1], rel_tol=1e-4)


def test_few_images_are_measured_at_the_same_times_as_many():
    denoise = Denoiser(small(), cosine_schedule(200))
    one = torch.full((1, 1, 8, 8), 90, dtype=torch.uint8)
    few, many = (Images("grey", one.expand(n, -1, -1, -1), torch.zeros(n).long(), ("a",)) for n in (3, 400))
    assert losses_by_t(denoise, few) == losses_by_t(denoise, many)


def test_a_preview_is_the_same_at_each_call_and_each_image_its_own():
    denoise = Denoiser(small(), cosine_schedule(30))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, many = preview(denoise, (1, 8, 8), n=3), preview(denoise, (1, 8, 8), n=8)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.allclose(one, many[:3], atol=1e-5)
    told = Denoiser(small(n_classes=3), cosine_schedule(30))
    classes = preview(told, (1, 8, 8), n=4, n_classes=2)
    assert classes.shape == (4, 1, 8, 8)


def test_neighbours_stand_below_the_images_that_are_nearest():
    x = to_unit(digits().images[:40])
    drawn = torch.cat([x[5:6] + 0.1, x[7:8], x[9:10] + 0.4])
    pairs = beside_neighbours(drawn, x[:20], n=2)
    assert torch.equal(pairs, torch.cat([drawn[[1, 0]], x[[7, 5]]]))


def test_tensorboard_is_told_the_numbers(tmp_path, monkeypatch):
    "Through a stand-in: the package itself is not one that the library needs."
    written = []

    class SummaryWriter:
        def __init__(self, folder):
            assert folder == tmp_path

        def __enter__(self):
            return self

        def __exit__(self, *_):
            written.append("closed")

        def add_scalar(self, *args):
            written.append(args)

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=SummaryWriter))
    log_scalars(tmp_path, {"step": 500, "loss": 0.5, "loss_by_t": [1.0, 2.0], "held_out_by_t": None})
    assert written == [("loss", 0.5, 500), ("loss_by_t", 1.5, 500), "closed"]


def test_tensorboard_is_asked_for_before_the_first_step(monkeypatch):
    monkeypatch.setattr(config, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="log tensorboard needs the package tensorboard: pip install"):
        TrainConfig(log="tensorboard")
