"The measures against other ways to compute them, and against makers that must fail."

import re
import warnings

import numpy as np
import pytest
import torch

from ddpm_abc.classifier import (
    CLASSIFIER_SPLIT,
    HELD_OUT,
    REFERENCE,
    digit_classifier,
    features,
    train_classifier,
)
from ddpm_abc.data import digits, to_unit
from ddpm_abc.metrics import (
    evaluate,
    fid,
    fid_and_floor,
    frechet,
    kid,
    measure_reference,
    nearest_neighbors,
    prdc,
    radii,
    reference_digits,
    table,
)


def cloud(n, d=6, seed=0):
    "Features with a mean and a covariance of their own."
    g = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=g, dtype=torch.float64)
    return torch.randn(n, d, generator=g, dtype=torch.float64) @ mix + torch.randn(
        d, generator=g, dtype=torch.float64
    )


@pytest.fixture(scope="module")
def real():
    return to_unit(digits().images)


@pytest.fixture(scope="module")
def net():
    return digit_classifier()


@pytest.fixture(scope="module")
def reference(real):
    return reference_digits(real)


# --- distances ----------------------------------------------------------------------------------------------


@pytest.mark.equation("6.2", by="fid")
@pytest.mark.parametrize("d", [2, 6, 64])
def test_fid_is_that_of_scipy(d):
    linalg = pytest.importorskip("scipy.linalg", reason="scipy comes with the peers extra")
    a, b = cloud(300, d, 0), cloud(200, d, 1)
    c1, c2 = np.cov(a.numpy().T), np.cov(b.numpy().T)
    root = linalg.sqrtm(c1 @ c2).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum().item() + np.trace(c1 + c2 - 2 * root)
    assert abs(fid(a, b) / expected - 1) < 1e-8
    assert abs(fid(b, a) / expected - 1) < 1e-8
    given = a.mean(0), torch.from_numpy(c1), b.mean(0), torch.from_numpy(c2)
    assert abs(frechet(*given) / expected - 1) < 1e-8


@pytest.mark.equation("6.2", by="fid")
def test_fid_where_a_covariance_is_singular():
    "Fewer points than dimensions, or a feature that is always 0, as those after a ReLU may be."
    a, b = cloud(5, 20, 0), cloud(400, 20, 1)
    a[:, 3] = b[:, 3] = 0
    assert fid(a, a) < 1e-4  # the root of a rounding error
    moved = a + torch.eye(20, dtype=torch.float64)[7] * 3
    assert abs(fid(a, moved) - 9) < 1e-4  # a shift is its squared length
    assert fid(a, b) > 1


def test_fid_is_never_below_0():
    "Of one set against itself what is left is a rounding error, of either sign."
    found = [fid(a, a) for a in (cloud(40, seed=seed) for seed in range(20))]
    assert min(found) == 0
    assert max(found) < 1e-8
    assert fid(cloud(2), cloud(2, seed=1)) > 0  # two points are enough


@pytest.mark.equation("6.1", by="fid")
def test_one_dimension_is_the_best_pairing_in_order():
    """Pair the points of two samples in their order: the cost is (6.1) for normal ones.

    A second, constant dimension adds nothing.
    """
    z = torch.linspace(0.5 / 20_000, 1 - 0.5 / 20_000, 20_000, dtype=torch.float64)
    z = 2**0.5 * torch.erfinv(2 * z - 1)
    a, b = (torch.stack([x, torch.zeros_like(x)], 1) for x in (1 + 2 * z, -0.5 + 0.7 * z))
    paired = (a[:, 0].sort().values - b[:, 0].sort().values).square().mean().item()
    assert abs(fid(a, b) - paired) < 1e-3
    assert abs(paired - (1.5**2 + 1.3**2)) < 1e-3


@pytest.mark.equation("6.3", by="fid")
def test_the_floor_falls_as_one_over_n():
    "Two samples of one Gaussian: ten times the points, a tenth of the distance."
    g = torch.Generator().manual_seed(0)
    samples = [[torch.randn(n, 16, generator=g, dtype=torch.float64) for _ in range(20)] for n in (200, 2000)]
    small, large = (sum(fid(a, b) for a, b in zip(p[::2], p[1::2], strict=True)) / 10 for p in samples)
    assert 8 < small / large < 12.5


@pytest.mark.equation("6.4", by="kid")
def test_kid_pair_by_pair():
    a, b = cloud(20, 3, 0), cloud(30, 3, 1)

    def k(x, y):
        return (x @ y / 3 + 1) ** 3

    def mean_of_pairs(p):
        return sum(k(x, y) for i, x in enumerate(p) for j, y in enumerate(p) if i != j) / (
            len(p) * (len(p) - 1)
        )

    own = [mean_of_pairs(p) for p in (a, b)]
    expected = (own[0] + own[1] - 2 * sum(k(x, y) for x in a for y in b) / 600).item()
    assert abs(kid(a, b)[0] / expected - 1) < 1e-9


@pytest.mark.equation("6.4", by="kid")
def test_kid_is_unbiased_and_knows_its_error():
    "Forty pairs of samples of one Gaussian: the mean is 0 within its error, the scatter as estimated."
    g = torch.Generator().manual_seed(0)
    pairs = [torch.randn(2, 100, 8, generator=g, dtype=torch.float64) for _ in range(40)]
    values, errors = torch.tensor([kid(*pair) for pair in pairs], dtype=torch.float64).T
    assert abs(values.mean()) < 4 * values.std() / 40**0.5
    assert 0.7 < errors.mean() / values.std() < 1.6


def test_the_error_of_kid_is_that_of_leaving_out_a_tenth_at_a_time():
    g = torch.Generator().manual_seed(1)
    a, b = (torch.randn(n, 4, generator=g, dtype=torch.float64) for n in (40, 50))
    deal = torch.Generator().manual_seed(0)
    in_a, in_b = (torch.randperm(len(x), generator=deal) % 10 for x in (a, b))
    without = torch.tensor([kid(a[in_a != i], b[in_b != i])[0] for i in range(10)], dtype=torch.float64)
    expected = (9 * without.var(correction=0)).sqrt().item()
    assert kid(a, b)[1] == pytest.approx(expected, rel=1e-9)


def test_the_error_of_kid_does_not_depend_on_the_order():
    "Ten classes far apart, as images may come that were drawn in turn."
    g = torch.Generator().manual_seed(0)
    centres = 3 * torch.randn(10, 8, generator=g, dtype=torch.float64)
    a, b = (centres[torch.arange(200) % 10] + torch.randn(200, 8, generator=g) for _ in range(2))
    in_turn, mixed = kid(a, b), kid(a[torch.randperm(200, generator=g)], b)
    assert in_turn[0] == pytest.approx(mixed[0], rel=1e-9)
    assert 0.4 < in_turn[1] / mixed[1] < 2.5


@pytest.mark.equation("6.5", "6.6", by="prdc")
def test_prdc_point_by_point():
    generated, real, k = cloud(30, 3, 0), cloud(40, 3, 0) + 0.5, 5

    def radius(p, i):
        return sorted((p[i] - q).norm().item() for q in p)[k]

    r_generated, r_real = [radius(generated, i) for i in range(30)], [radius(real, j) for j in range(40)]
    apart = [[(x - y).norm().item() for y in real] for x in generated]
    in_real = np.array([[d <= r for d, r in zip(row, r_real, strict=True)] for row in apart])
    in_generated = np.array([[d <= r for d in row] for row, r in zip(apart, r_generated, strict=True)])
    precision, recall = in_real.any(1).mean(), in_generated.any(0).mean()
    expected = precision, recall, in_real.sum() / (k * 30), in_real.any(0).mean()
    assert all(abs(a - b) < 1e-12 for a, b in zip(prdc(generated, real), expected, strict=True))


@pytest.mark.equation("6.5", "6.6", by="prdc")
def test_prdc_says_which_way_a_maker_fails():
    g = torch.Generator().manual_seed(0)
    real = torch.randn(400, 8, generator=g, dtype=torch.float64)
    good, wide = torch.randn(2, 400, 8, generator=g, dtype=torch.float64)
    makers = {"good": good, "few": real[:4].repeat(100, 1) + 1e-3, "wide": 5 * wide}
    m = {name: prdc(x, real) for name, x in makers.items()}
    assert m["few"].precision > 0.9
    assert m["few"].recall < 0.2
    assert m["few"].coverage < 0.2
    assert m["wide"].precision < 0.3
    assert 0.9 < m["good"].density < 1.1
    assert m["good"].coverage > 0.9


@pytest.mark.equation("6.7", by="nearest_neighbors")
def test_nearest_neighbors_finds_them():
    g = torch.Generator().manual_seed(0)
    among = torch.randn(700, 1, 5, 5, generator=g)
    images = among[[3, 650]] + 1e-3
    distance, which = nearest_neighbors(images, among)
    assert which.tolist() == [3, 650]
    assert (distance - 5e-3).abs().max() < 1e-3
    near = among[:1] + torch.linspace(1e-2, 2e-3, 5).view(-1, 1, 1, 1)
    distance, which = nearest_neighbors(among[:1], torch.cat([near, among]))
    assert (which.item(), distance.item()) == (5, 0)  # itself, and not the nearest of its near copies
    for wrong in ((3, 1, 4, 4), (3, 1, 6, 6), (0, 1, 5, 5)):
        said = f"must have one shape, got (1, 5, 5) and {wrong[1:]} among {wrong[0]}"
        with pytest.raises(ValueError, match=re.escape(said)):
            nearest_neighbors(images, torch.zeros(wrong))


def test_a_point_at_the_edge_of_a_ball_lies_in_it():
    "Real balls reach 1: -1 is at the edge of one. Generated ones reach 2: 1 is at the edge of one."
    real = torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    generated = torch.tensor([[-1.0, 0.0], [-3.0, 0.0]], dtype=torch.float64)
    assert prdc(generated, real, 1) == (0.5, 1.0, 0.5, 0.5)


def test_a_ball_reaches_its_kth_neighbour():
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [4.0, 0.0]], dtype=torch.float64)
    assert radii(points, 1).tolist() == [1, 1, 3]
    assert radii(points, 2).tolist() == [4, 3, 4]


@pytest.mark.parametrize("k", [-1, 0, 8, 9])
def test_a_ball_without_a_neighbour_to_reach_is_refused(k):
    with pytest.raises(ValueError, match=f"k must lie in 1..7, as there are 8 points, got {k}"):
        radii(torch.randn(8, 3), k)
    said = f"at least {k + 1} images are needed on each side, got 8 and 8" if k >= 8 else "k must lie"
    with pytest.raises(ValueError, match=said):
        prdc(torch.randn(8, 3), torch.randn(8, 3), k)


@pytest.mark.parametrize("measure", [fid, kid, prdc])
def test_features_that_do_not_fit(measure):
    with pytest.raises(ValueError, match=r"\(30, 4\) and \(30, 5\)"):
        measure(torch.zeros(30, 4), torch.zeros(30, 5))
    with pytest.raises(ValueError, match=r"at least \d+ images are needed on each side, got 30 and 1"):
        measure(torch.zeros(30, 4), torch.zeros(1, 4))
    for wrong, right in (((30, 5), (30, 4)), ((30,), (30, 4)), ((30, 4, 4), (30, 4)), ((30, 1), (30, 1))):
        for shapes in ((wrong, right), (right, wrong)):
            said = re.escape("(N, D) and (M, D), D at least 2, got {} and {}".format(*shapes))
            with pytest.raises(ValueError, match=said):
                measure(*(torch.zeros(shape) for shape in shapes))


# --- the report ---------------------------------------------------------------------------------------------


def test_bad_makers_fail_where_they_should(real, reference):
    held, labels = real[HELD_OUT], digits().labels[HELD_OUT]
    blur = torch.nn.functional.avg_pool2d(held[:600], 3, stride=1, padding=1)
    makers = {
        "floor": held[:600],
        "blurred": blur,
        "no four": held[labels != 4][:600],
        "by heart": real[:60].repeat(10, 1, 1, 1),
        "noise": torch.randn(600, 1, 28, 28, generator=torch.Generator().manual_seed(0)),
    }
    r = {name: evaluate(x, reference) for name, x in makers.items()}
    floor = r["floor"]
    assert abs(floor.kid) < 4.5 * floor.kid_error
    assert 0.9 < floor.novelty < 1.1
    for name in ("blurred", "no four", "by heart", "noise"):
        assert r[name].fid > 1.5 * floor.fid, name
        assert name == "by heart" or r[name].kid > 2 * r[name].kid_error, (
            name
        )  # so few points, so large an error
    assert r["no four"].class_kl > 5 * floor.class_kl
    assert r["by heart"].novelty < 0.01
    assert r["by heart"].coverage < floor.coverage / 2
    assert r["noise"].precision < 0.1
    assert r["noise"].fid > 50 * floor.fid
    text = table(r)
    assert len({len(line) for line in text.splitlines()}) == 1
    assert f"{floor.fid:.2f}" in text


def test_a_class_that_nobody_draws_adds_nothing_and_one_that_is_not_real_is_infinitely_far(real, net):
    held = real[HELD_OUT[:400]]
    read = net(held).argmax(1)
    others = held[read != 4]
    reference = measure_reference(net, others[100:300], others, others[:100])
    report = evaluate(others[:100], reference)
    sides = (net(x).argmax(1) for x in (others[:100], others[100:300]))
    p, q = (torch.bincount(y, minlength=10).double() / len(y) for y in sides)
    assert p[4] == q[4] == 0
    kept = torch.arange(10) != 4
    assert report.class_kl == pytest.approx((p[kept] * (p[kept] / q[kept]).log()).sum().item())
    with_four = evaluate(torch.cat([others[:99], held[read == 4][:1]]), reference)
    assert with_four.class_kl == float("inf")
    assert table({"with four": with_four}).split()[-2] == "inf"


def test_report_takes_only_the_bundled_digits(real, net, reference):
    for wrong in (real[:500], torch.cat([real, real[:1]])):
        with pytest.raises(ValueError, match=f"10,000 bundled digits, got {len(wrong):,}"):
            reference_digits(wrong, net)
    with pytest.raises(ValueError, match="at least 20"):
        evaluate(real[:5], reference)


def test_the_reference_measured_once_is_what_each_measure_finds_itself(real, net, reference):
    held, points = real[HELD_OUT[:100]], features(net, real[REFERENCE])
    assert prdc(features(net, held), points) == prdc(features(net, held), points, real_radii=reference.radii)
    report = evaluate(held, reference)
    assert report.recall == prdc(features(net, held), points).recall
    own, usual = (nearest_neighbors(x, reference.searched)[0].median() for x in (held, real[HELD_OUT[:1000]]))
    assert report.novelty == pytest.approx((own / usual).item())
    read = net(real[REFERENCE]).argmax(1)
    assert torch.allclose(reference.shares, torch.stack([(read == y).double().mean() for y in range(10)]))


def test_fid_beside_its_floor(net, real):
    """Real digits in the part of generated ones score as the floor does; blurred ones above it.

    By hand: the three calls written out.
    """
    train, test, generated = real[CLASSIFIER_SPLIT], real[REFERENCE], real[HELD_OUT[:500]]
    value, floor = fid_and_floor(generated, train, test)
    assert 0.4 < value / floor < 2.5
    some = train[torch.randperm(4000, generator=torch.Generator().manual_seed(0))[:500]]
    assert floor == fid(features(net, some), features(net, test))
    assert value == fid(features(net, generated), features(net, test))
    blurred = 2 * torch.nn.functional.avg_pool2d(generated, 3, 1, 1)
    clipped = fid_and_floor(blurred.clamp(-1, 1), train, test, net)[0]
    assert fid_and_floor(blurred, train, test, net)[0] == clipped > 3 * floor
    with pytest.raises(ValueError, match="needs as many of the training set, got 400"):
        fid_and_floor(generated, train[:400], test)


def test_the_floor_of_all_of_the_training_set_is_its_own_fid(net, real):
    images, train, test = real[:60].split(20)
    assert fid_and_floor(images, train, test, net)[1] == pytest.approx(fid_and_floor(train, train, test)[0])


def test_images_of_another_range_are_named(real, net):
    "Pixels of 0 to 255 and of 0 to 1 are warned of, integers refused; half precision is taken as it is."
    held, reference = real[HELD_OUT[:30]], measure_reference(net, *real[:120].split(40))
    with pytest.warns(
        UserWarning, match=r"images range from 0 to 255, expected \[-1, 1\].*to_unit"
    ) as caught:
        evaluate((held + 1) * 127.5, reference)
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match=r"images range from 0.25 to 0.75"):
        evaluate(held / 4 + 0.5, reference)
    with pytest.warns(UserWarning, match=r"images range from -10.5 to 10.5"):
        evaluate(held * 10.5, reference)
    with pytest.warns(UserWarning, match=r"images range from -127 to 127"):
        evaluate(held * 127, reference)
    with pytest.warns(UserWarning, match=r"train range from 0 to 1, expected \[-1, 1\]"):
        fid_and_floor(held, (real[:100] + 1) / 2, held, net)
    with pytest.raises(ValueError, match=r"real must be floats in \[-1, 1\], got torch.uint8"):
        reference_digits(digits().images[:, None], net)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert evaluate(held.bfloat16(), reference).n == 30
        assert evaluate(held * 10, reference).n == 30  # far out, as those of a bad network are


def test_references_on_another_scale(real, net):
    real, searched, held = real[:120].split(40)
    for scaled, name in (
        ((real + 1) / 2, "real"),
        (searched * 127, "searched"),
        ((held + 1) / 2, "held_out"),
    ):
        given = {"real": real, "searched": searched, "held_out": held} | {name: scaled}
        with pytest.warns(UserWarning, match=rf"{name} range from .*, expected \[-1, 1\]"):
            measure_reference(net, **given)
        with pytest.raises(ValueError, match=rf"{name} must be floats in \[-1, 1\], got torch.uint8"):
            measure_reference(net, **given | {name: digits().images[:40]})
    with pytest.raises(ValueError, match=r"must be floats in \[-1, 1\], got torch.uint8: scale pixels"):
        nearest_neighbors(held, digits().images[:40])


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_images_that_are_not_finite(bad, real, net):
    images, reference = real[HELD_OUT[:30]].clone(), measure_reference(net, *real[:120].split(40))
    images[3, 0, 5, 5] = bad
    with pytest.raises(ValueError, match="images must be finite numbers: leave out images with nan or inf"):
        evaluate(images, reference)
    with pytest.raises(ValueError, match="images must be finite numbers"):
        fid_and_floor(images, real[:100], real[100:140], net)


@pytest.mark.parametrize("measure", [fid, kid, prdc])
def test_features_that_are_not_finite(measure):
    with pytest.raises(ValueError, match="features hold numbers that are not finite"):
        measure(cloud(30), cloud(30) / torch.zeros(6))


def test_a_network_of_ones_own_reads_no_classes(real):
    class Corners:
        def features(self, x):
            return x[:, 0, 8:20:4, 8:20:4].flatten(1)

    reference = measure_reference(Corners(), real[:40], real[40:80], real[80:100])
    report = evaluate(real[100:140], reference)
    assert np.isnan(report.class_kl)
    assert np.isfinite(report[:-2]).all()
    heading, row = table({"corners": report}).splitlines()
    assert len(heading) == len(row)
    assert row.split()[-2] == "-"


def test_any_precision_of_images_has_the_same_measures(real):
    "As images are that come from numpy: a classifier that was trained on them, and the packaged one."
    images, labels = real[:240].double(), digits().labels[:240]
    doubles = train_classifier(images, labels, steps=2)
    for net in (doubles, digit_classifier()):
        parts = images[:80], images[80:160], images[160:240]
        in_32_bits = measure_reference(net, *(part.float() for part in parts))
        found = evaluate(images[:60], measure_reference(net, *parts))
        wanted = evaluate(images[:60].float(), in_32_bits)
        assert found == pytest.approx(wanted, rel=1e-3, abs=1e-4)


def test_the_default_device_changes_no_measure(real, net):
    "The meta device stands for a GPU."
    a, b = cloud(40, seed=1), cloud(30, seed=2)
    expected = kid(a, b), fid_and_floor(real[:20], real[20:60], real[60:90], net)
    with torch.device("meta"):
        assert (kid(a, b), fid_and_floor(real[:20], real[20:60], real[60:90], net)) == expected
