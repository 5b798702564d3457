"The measures against other ways to compute them, and against makers that must fail."

import hashlib
from importlib.resources import files

import numpy as np
import pytest
import torch

from ddpm_abc.data import digits, to_unit
from ddpm_abc.evaluation import (
    EYES,
    EYES_SHA256,
    HELD_OUT,
    REFERENCE,
    Classifier,
    evaluate,
    eyes,
    features,
    fid_and_floor,
    frechet_distance,
    kernel_distance,
    manifolds,
    nearest,
    table,
    train_classifier,
)


def cloud(n, d=6, seed=0):
    "Features with a mean and a covariance of their own."
    g = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=g, dtype=torch.float64)
    return torch.randn(n, d, generator=g, dtype=torch.float64) @ mix + torch.randn(d, generator=g, dtype=torch.float64)


@pytest.fixture(scope="module")
def real():
    return to_unit(digits().images)


@pytest.fixture(scope="module")
def net():
    return eyes()


# --- the eyes --------------------------------------------------------------------------------------------------------


def test_the_packaged_eyes_are_the_released_ones_and_see(net, real):
    data = (files("ddpm_abc") / "assets/eyes.safetensors").read_bytes()
    assert hashlib.sha256(data).hexdigest() == EYES_SHA256
    with torch.no_grad():
        others = torch.cat([REFERENCE, HELD_OUT])
        right = net(real[others]).argmax(1) == digits().labels[others]
    assert right.double().mean() > 0.98


def test_damaged_eyes_are_refused(monkeypatch):
    monkeypatch.setattr("ddpm_abc.evaluation.EYES_SHA256", "0" * 64)
    with pytest.raises(RuntimeError, match=r"damaged .*install ddpm_abc again"):
        eyes()


def test_the_three_piles_share_nothing_and_are_alike():
    piles = (EYES, REFERENCE, HELD_OUT)
    assert [len(p) for p in piles] == [4000, 3000, 3000]
    assert len(torch.cat(piles).unique()) == 10_000
    for pile in (*piles, HELD_OUT[:1000]):
        share = torch.bincount(digits().labels[pile], minlength=10) / len(pile)
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


# --- distances -------------------------------------------------------------------------------------------------------


@pytest.mark.equation("6.2", by="frechet_distance")
@pytest.mark.parametrize("d", [2, 6, 64])
def test_frechet_distance_is_that_of_scipy(d):
    linalg = pytest.importorskip("scipy.linalg", reason="scipy comes with the peers extra")
    a, b = cloud(300, d, 0), cloud(200, d, 1)
    c1, c2 = np.cov(a.numpy().T), np.cov(b.numpy().T)
    root = linalg.sqrtm(c1 @ c2).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum().item() + np.trace(c1 + c2 - 2 * root)
    assert abs(frechet_distance(a, b) / expected - 1) < 1e-8
    assert abs(frechet_distance(b, a) / expected - 1) < 1e-8


@pytest.mark.equation("6.2", by="frechet_distance")
def test_frechet_distance_where_a_covariance_is_singular():
    "Fewer points than dimensions, or a feature that is always 0, as those after a ReLU may be."
    a, b = cloud(5, 20, 0), cloud(400, 20, 1)
    a[:, 3] = b[:, 3] = 0
    assert frechet_distance(a, a) < 1e-4  # the root of a rounding error
    moved = a + torch.eye(20, dtype=torch.float64)[7] * 3
    assert abs(frechet_distance(a, moved) - 9) < 1e-4  # a shift is its squared length
    assert frechet_distance(a, b) > 1


@pytest.mark.equation("6.1", by="frechet_distance")
def test_one_dimension_is_the_best_pairing_in_order():
    "Pair the points of two samples in their order: the cost is (6.1) for normal ones. A second, constant dimension adds nothing."
    z = torch.linspace(0.5 / 20_000, 1 - 0.5 / 20_000, 20_000, dtype=torch.float64)
    z = 2**0.5 * torch.erfinv(2 * z - 1)
    a, b = (torch.stack([x, torch.zeros_like(x)], 1) for x in (1 + 2 * z, -0.5 + 0.7 * z))
    paired = (a[:, 0].sort().values - b[:, 0].sort().values).square().mean().item()
    assert abs(frechet_distance(a, b) - paired) < 1e-3
    assert abs(paired - (1.5**2 + 1.3**2)) < 1e-3


@pytest.mark.equation("6.3", by="frechet_distance")
def test_the_floor_falls_as_one_over_n():
    "Two piles from one Gaussian: ten times the points, a tenth of the distance."
    g = torch.Generator().manual_seed(0)
    piles = [[torch.randn(n, 16, generator=g, dtype=torch.float64) for _ in range(20)] for n in (200, 2000)]
    small, large = (sum(frechet_distance(a, b) for a, b in zip(p[::2], p[1::2], strict=True)) / 10 for p in piles)
    assert 8 < small / large < 12.5


@pytest.mark.equation("6.4", by="kernel_distance")
def test_kernel_distance_pair_by_pair():
    a, b = cloud(20, 3, 0), cloud(30, 3, 1)

    def k(x, y):
        return (x @ y / 3 + 1) ** 3

    own = [sum(k(p[i], p[j]) for i in range(len(p)) for j in range(len(p)) if i != j) / (len(p) * (len(p) - 1)) for p in (a, b)]
    expected = (own[0] + own[1] - 2 * sum(k(x, y) for x in a for y in b) / 600).item()
    assert abs(kernel_distance(a, b)[0] / expected - 1) < 1e-9


@pytest.mark.equation("6.4", by="kernel_distance")
def test_kernel_distance_is_unbiased_and_knows_its_error():
    "Forty pairs of piles of one Gaussian: the mean is 0 within its error, and they scatter as the jackknife says."
    g = torch.Generator().manual_seed(0)
    found = torch.tensor([kernel_distance(*torch.randn(2, 100, 8, generator=g, dtype=torch.float64)) for _ in range(40)], dtype=torch.float64)
    values, errors = found.T
    assert abs(values.mean()) < 4 * values.std() / 40**0.5
    assert 0.7 < errors.mean() / values.std() < 1.6


@pytest.mark.equation("6.5", "6.6", by="manifolds")
def test_manifolds_point_by_point():
    made, real, k = cloud(30, 3, 0), cloud(40, 3, 0) + 0.5, 5

    def radius(p, i):
        return sorted((p[i] - q).norm().item() for q in p)[k]

    r_made, r_real = [radius(made, i) for i in range(30)], [radius(real, j) for j in range(40)]
    apart = [[(x - y).norm().item() for y in real] for x in made]
    in_real = np.array([[d <= r for d, r in zip(row, r_real, strict=True)] for row in apart])
    in_made = np.array([[d <= r for d in row] for row, r in zip(apart, r_made, strict=True)])
    expected = in_real.any(1).mean(), in_made.any(0).mean(), in_real.sum() / (k * 30), in_real.any(0).mean()
    assert all(abs(a - b) < 1e-12 for a, b in zip(manifolds(made, real), expected, strict=True))


@pytest.mark.equation("6.5", "6.6", by="manifolds")
def test_manifolds_say_which_way_a_maker_fails():
    g = torch.Generator().manual_seed(0)
    real = torch.randn(400, 8, generator=g, dtype=torch.float64)
    good, few, wide = torch.randn(400, 8, generator=g, dtype=torch.float64), real[:4].repeat(100, 1) + 1e-3, 5 * torch.randn(400, 8, generator=g, dtype=torch.float64)
    m = {name: manifolds(x, real) for name, x in {"good": good, "few": few, "wide": wide}.items()}
    assert m["few"].precision > 0.9
    assert m["few"].recall < 0.2
    assert m["few"].coverage < 0.2
    assert m["wide"].precision < 0.3
    assert 0.9 < m["good"].density < 1.1
    assert m["good"].coverage > 0.9


@pytest.mark.equation("6.7", by="nearest")
def test_nearest_finds_it():
    g = torch.Generator().manual_seed(0)
    among = torch.randn(700, 1, 5, 5, generator=g)
    images = among[[3, 650]] + 1e-3
    distance, which = nearest(images, among)
    assert which.tolist() == [3, 650]
    assert (distance - 5e-3).abs().max() < 1e-3
    with pytest.raises(ValueError, match=r"\(1, 5, 5\) and \(1, 4, 4\)"):
        nearest(images, torch.zeros(3, 1, 4, 4))


@pytest.mark.parametrize("measure", [frechet_distance, kernel_distance, manifolds])
def test_features_that_do_not_fit(measure):
    with pytest.raises(ValueError, match=r"\(30, 4\) and \(30, 5\)"):
        measure(torch.zeros(30, 4), torch.zeros(30, 5))
    with pytest.raises(ValueError, match=r"at least \d+ images are needed on each side, got 30 and 1"):
        measure(torch.zeros(30, 4), torch.zeros(1, 4))


# --- the report ------------------------------------------------------------------------------------------------------


def test_bad_makers_fail_where_they_should(real, net):
    held, labels = real[HELD_OUT], digits().labels[HELD_OUT]
    blur = torch.nn.functional.avg_pool2d(held[:600], 3, stride=1, padding=1)
    makers = {"floor": held[:600], "blurred": blur, "no four": held[labels != 4][:600], "by heart": real[:60].repeat(10, 1, 1, 1), "noise": torch.randn(600, 1, 28, 28, generator=torch.Generator().manual_seed(0))}
    r = {name: evaluate(x, real, net) for name, x in makers.items()}
    floor = r["floor"]
    assert abs(floor.kid) < 4.5 * floor.kid_error
    assert 0.9 < floor.novelty < 1.1
    for name in ("blurred", "no four", "by heart", "noise"):
        assert r[name].fid > 1.5 * floor.fid, name
        assert name == "by heart" or r[name].kid > 2 * r[name].kid_error, name  # so few points, so large an error
    assert r["no four"].class_kl > 5 * floor.class_kl
    assert r["by heart"].novelty < 0.01
    assert r["by heart"].coverage < floor.coverage / 2
    assert r["noise"].precision < 0.1
    assert r["noise"].fid > 50 * floor.fid
    text = table(r)
    assert len({len(line) for line in text.splitlines()}) == 1
    assert f"{floor.fid:.2f}" in text


def test_report_takes_only_the_bundled_digits(real, net):
    with pytest.raises(ValueError, match="10,000 bundled digits, got 500 images"):
        evaluate(real[:100], real[:500], net)
    with pytest.raises(ValueError, match="at least 20"):
        evaluate(real[:5], real, net)


def test_fid_beside_its_floor(net, real):
    "Real digits in the part of made ones score as the floor does; blurred ones above it. By hand: the three calls written out."
    train, test, made = real[EYES], real[REFERENCE], real[HELD_OUT[:500]]
    fid, floor = fid_and_floor(made, train, test)
    assert 0.4 < fid / floor < 2.5
    some = train[torch.randperm(4000, generator=torch.Generator().manual_seed(0))[:500]]
    assert floor == frechet_distance(features(net, some), features(net, test))
    assert fid == frechet_distance(features(net, made), features(net, test))
    blurred = torch.nn.functional.avg_pool2d(made, 3, 1, 1)
    assert fid_and_floor(2 * blurred, train, test, net)[0] == fid_and_floor((2 * blurred).clamp(-1, 1), train, test, net)[0] > 3 * floor
    with pytest.raises(ValueError, match="needs as many of the training set, got 400"):
        fid_and_floor(made, train[:400], test)
