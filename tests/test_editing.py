"""Editing where the answer is known: Gaussian data, and a mixture whose first coordinate is given."""

import math
import warnings
from functools import partial
from itertools import pairwise

import pytest
import torch
from walks import F64, SCHED, best, gaussian, last, stream

from ddpm_abc.editing import image_to_image, inpaint, slerp
from ddpm_abc.forward import q_sample
from ddpm_abc.gaussian import GaussianMixture
from ddpm_abc.parameterization import Denoiser
from ddpm_abc.sampling import ddpm, sample, spaced_times
from ddpm_abc.schedule import linear_schedule
from ddpm_abc.solvers import ddim, dpm_solver

FREE = partial(ddpm, clip=False)
SHORT = linear_schedule(50, 0.002, 0.4)


def silent(x):
    return torch.zeros_like(x)


# --- image to image -----------------------------------------------------------------------------------------


@pytest.mark.equation("12.1", by="image_to_image")
@pytest.mark.parametrize("t", [1, 300, 1000])
def test_the_walk_starts_from_the_noised_image(t):
    "And goes on with the noise that comes next: by hand."
    image, seen = torch.linspace(-1, 1, 12, **F64).view(3, 4), []
    model = Denoiser(lambda xt, _: seen.append(xt) or 0.1 * xt, SCHED)
    x = last(image_to_image(model, image, [t, 0], stream()))
    noise = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), **F64)
    ab = SCHED.alpha_bar[t]
    assert torch.allclose(seen[0], ab.sqrt() * image + (1 - ab).sqrt() * noise, atol=1e-14)
    assert len(seen) == 1
    assert torch.allclose(x, last(ddpm(model, seen[0], [t, 0], stream())))


@pytest.mark.equation("12.2", by="image_to_image")
@pytest.mark.filterwarnings("ignore:image ranges from 0 to 1")
@pytest.mark.parametrize("v", [0.01, 0.25, 1.0])
@pytest.mark.parametrize("t", [2, 20, 50])
def test_how_much_of_the_image_is_left(v, t):
    """With the exact way back: x_s and x_t are Gaussian, of variances c_s and c_t and covariance
    sqrt(ab_t / ab_s) c_s. The walk is linear in the image and in each noise: send a 1 for one at a time."""

    def way_back(denoise, x, times, noise):
        for t, s in pairwise(times):
            ab_t, ab_s = denoise.sched.alpha_bar[[t, s]]
            c_t, c_s, r = ab_t * v + 1 - ab_t, ab_s * v + 1 - ab_s, (ab_t / ab_s).sqrt()
            x = r * c_s / c_t * x + (c_s - r**2 * c_s**2 / c_t).sqrt() * noise(x)
            yield x

    sent = iter(torch.eye(4, **F64))
    image = next(sent)[:, None]
    times = [t, t // 2, 0]
    denoise = gaussian(v, SHORT)
    end = last(image_to_image(denoise, image, times, lambda _: next(sent)[:, None], sampler=way_back))
    ab = SHORT.alpha_bar[t]
    rho = ab * v / (ab * v + 1 - ab)
    assert abs(end[0].item() - rho) < 1e-12
    assert abs(end[1:].square().sum().item() - (1 - rho**2) * v) < 1e-12


def test_any_sampler_walks_it():
    image, times = torch.zeros(4, 1, **F64), [600, 300, 0]
    for sampler in (ddim, dpm_solver, partial(dpm_solver, eta=1.0)):
        noise = stream()
        x = q_sample(SCHED, image, 600, noise(image))
        want = list(sampler(gaussian(0.5), x, times, noise))
        got = list(image_to_image(gaussian(0.5), image, times, stream(), sampler=sampler))
        assert len(got) == 2
        assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


def test_times_that_do_not_fall():
    for walk in (
        image_to_image(gaussian(1.0), torch.zeros(1, 1, **F64), [0, 300], stream()),
        inpaint(
            gaussian(1.0),
            torch.zeros(1, 1, **F64),
            [300, 300],
            stream(),
            image=torch.zeros(1, 1, **F64),
            known=torch.tensor([True]),
        ),
    ):
        with pytest.raises(ValueError, match="times must fall strictly"):
            next(walk)


# --- inpainting ---------------------------------------------------------------------------------------------

ALONG, ACROSS = 0.6, 0.05
SUM, DIFFERENCE = (ALONG**2 + ACROSS**2) / 2, (ALONG**2 - ACROSS**2) / 2
RIDGES = GaussianMixture(
    torch.tensor([0.7, 0.3], **F64),
    torch.zeros(2, 2, **F64),
    torch.tensor([[[SUM, sign * DIFFERENCE], [sign * DIFFERENCE, SUM]] for sign in (1, -1)], **F64),
)
KNOWN = torch.tensor([True, False])


def completed(n, repeats, steps=100, seed=0):
    "The second coordinate of the ridges, n times, where the first is 0.4."
    image = torch.tensor([[0.4, 0.0]], **F64).expand(n, 2)
    sampler = partial(inpaint, image=image, known=KNOWN, repeats=repeats, sampler=FREE)
    g = torch.Generator().manual_seed(seed)
    x = sample(best(RIDGES), (n, 2), sampler=sampler, times=spaced_times(1000, steps), generator=g, **F64)
    assert (x[:, 0] == 0.4).all()
    return x[:, 1]


@pytest.mark.equation("12.4", by="GaussianMixture.log_prob")
def test_the_answer_of_half_a_mixture_is_that_of_bayes():
    "The density of the ridges along the line, over its integral, is that of the two conditional Gaussians."
    line = torch.linspace(-3, 3, 6001, **F64)
    joint = RIDGES.log_prob(torch.stack([torch.full_like(line, 0.4), line], 1)).exp()
    mean, var = DIFFERENCE / SUM * 0.4, SUM - DIFFERENCE**2 / SUM
    answer = GaussianMixture(
        RIDGES.weights, torch.tensor([[mean], [-mean]], **F64), torch.full((2,), var, **F64)
    )
    assert torch.allclose(joint / (joint.sum() * 0.001), answer.log_prob(line[:, None]).exp(), atol=1e-9)


def test_repeats_bring_the_halves_together():
    """Given 0.4 the other coordinate is within 0.2 of 0.4 or of -0.4 in 99.5% of cases, with variance 0.005
    about each, and it is the first in 70%."""
    wide, good = ((completed(2000, repeats).abs() - 0.4).abs() for repeats in (1, 10))
    assert (good < 0.2).double().mean() > 0.97 > 0.94 > (wide < 0.2).double().mean()
    up = (completed(2000, 10, seed=1) > 0).double().mean()
    assert abs(up - 0.7) < 4.5 * (0.7 * 0.3 / 2000) ** 0.5 + 0.02


@pytest.mark.equation("12.3", by="inpaint")
@pytest.mark.equation("12.5", by="inpaint")
def test_a_repeated_step_is_the_step_the_mask_and_the_way_back():
    "Two repeats from 30 to 20, written out, each noise in its turn; then the last step, which is taken once."
    image, x = (torch.randn(3, 4, generator=torch.Generator().manual_seed(s), **F64) for s in (1, 2))
    known = torch.tensor([True, False, True, False])
    model = Denoiser(lambda xt, _: 0.3 * xt, SHORT)
    got = list(inpaint(model, x, [30, 20, 0], stream(), image=image, known=known, repeats=2, sampler=FREE))

    noise, ab = stream(), SHORT.alpha_bar
    for again in (True, False):
        drawn = next(FREE(model, x, [30, 20], noise))
        seen = ab[20].sqrt() * image + (1 - ab[20]).sqrt() * noise(image)
        x = seen * known + drawn * ~known
        if again:
            ratio = ab[30] / ab[20]
            x = ratio.sqrt() * x + (1 - ratio).sqrt() * noise(x)
    assert torch.allclose(got[0], x, atol=1e-14)
    end = next(FREE(model, x, [20, 0], noise))
    assert torch.allclose(got[1], image * known + end * ~known, atol=1e-14)
    assert torch.equal(got[1][:, known], image[:, known])


def test_what_is_hidden_is_not_looked_at():
    known, x = torch.tensor([True, False]), torch.zeros(2, 2, **F64)
    images = (torch.tensor([[0.4, hidden]] * 2, **F64) for hidden in (-9.0, 9.0))
    one, other = (
        last(inpaint(best(RIDGES), x, spaced_times(1000, 5), stream(), image=i, known=known)) for i in images
    )
    assert torch.equal(one, other)


def test_nothing_known_is_sampling_and_all_known_is_the_image():
    x, times = torch.randn(2, 3, generator=torch.Generator().manual_seed(0), **F64), spaced_times(1000, 4)
    model = Denoiser(lambda xt, _: 0.2 * xt, SCHED)
    options = {"image": torch.ones_like(x), "repeats": 1}
    whole = last(inpaint(model, x, times, stream(), known=torch.ones(3, dtype=torch.bool), **options))
    assert torch.equal(whole, torch.ones_like(x))
    nothing = last(inpaint(model, x, times, silent, known=torch.zeros(3, dtype=torch.bool), **options))
    assert torch.equal(nothing, last(ddpm(model, x, times, silent)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image": torch.zeros(2, 3)}, r"image must be as x, got \(2, 3\) of torch.float32 and \(2, 2\)"),
        ({"image": torch.zeros(2, 2, **F64)}, r"image must be as x, got .*torch.float64"),
        ({"known": torch.tensor([1, 0])}, "known must be bool.*got torch.int64"),
        (
            {"known": torch.tensor([True, False, True])},
            r"known must broadcast to the shape \(2, 2\), got \(3,\)",
        ),
        ({"known": torch.ones(5, 1, 2, dtype=torch.bool)}, r"known must broadcast to the shape \(2, 2\)"),
        ({"repeats": 0}, "repeats must be at least 1, got 0"),
    ],
)
def test_what_inpaint_refuses(change, words):
    options = {"image": torch.zeros(2, 2), "known": KNOWN, **change}
    with pytest.raises(ValueError, match=words):
        next(inpaint(best(RIDGES), torch.zeros(2, 2), [500, 0], stream(), **options))


@pytest.mark.parametrize("scale", [1.0, 255.0])
def test_an_image_of_another_range_is_warned_of(scale):
    wrong, x = scale * torch.rand(1, 3, 2, **F64), torch.zeros(1, 3, 2, **F64)
    model = Denoiser(lambda xt, _: 0.1 * xt, SCHED)
    right = torch.where(KNOWN, 2 * wrong / scale - 1, wrong)  # what is hidden is not looked at
    right[..., 0, 0] = -1.0

    def walks(image):
        last(inpaint(model, x, [500, 0], stream(), image=image, known=KNOWN))
        last(image_to_image(model, image, [500, 0], stream()))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        walks(right)
    with pytest.warns(UserWarning, match=r"image ranges from .*, expected \[-1, 1\]: .*to_unit") as warned:
        walks(wrong)
    assert len(warned) == 2
    hidden = torch.where(KNOWN, wrong, -1.0)  # is not looked at here either
    with pytest.warns(UserWarning, match="image ranges from"):
        last(inpaint(model, x, [500, 0], stream(), image=hidden, known=KNOWN))


# --- between two noises -------------------------------------------------------------------------------------


@pytest.mark.equation("12.6", by="slerp")
@pytest.mark.parametrize("second", [0.302, 0.35, 2.1])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 1.0])
def test_slerp_divides_the_angle(share, second):
    "A small one too, where a straight line would be near."
    first = 0.3
    a, b, want = (
        torch.tensor([[3 * math.cos(x), 3 * math.sin(x)]], **F64)
        for x in (first, second, first + share * (second - first))
    )
    assert torch.allclose(slerp(a, b, share), want, atol=1e-12)


def test_slerp_keeps_the_variance_that_a_straight_line_loses():
    a, b = torch.randn(2, 8, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    shares = torch.linspace(0, 1, 8)
    assert (slerp(a, b, shares).square().flatten(1).mean(1) - 1).abs().max() < 0.2
    assert ((a + b) / 2).square().mean() < 0.6
    assert torch.equal(slerp(a, b, 0.0), a)
    assert torch.allclose(slerp(a, b, 1.0), b, atol=1e-6)
    assert torch.equal(slerp(a, b, shares)[3], slerp(a[3:4], b[3:4], shares[3].item())[0])
    assert slerp(a, b, shares).dtype == torch.float32


def test_slerp_where_there_is_no_angle_or_no_arc():
    a = torch.tensor([[1.0, 2.0]], **F64)
    assert torch.allclose(slerp(a, 3 * a, 0.25), 1.5 * a)
    with pytest.raises(ValueError, match="opposite directions"):
        slerp(a, -a, 0.5)
    for b in (0 * a, math.nan * a, math.inf * a):
        with pytest.raises(ValueError, match="b must be finite, and no item of it 0"):
            slerp(a, b, 0.5)
    with pytest.raises(TypeError, match="a must hold floating-point numbers, got torch.int64"):
        slerp(a.long(), a, 0.5)
    with pytest.raises(ValueError, match=r"share must be one number, or one for each of 1 items, got .*\(3,"):
        slerp(a, a, torch.linspace(0, 1, 3))
    with pytest.raises(ValueError, match=r"a and b must have the same shape, got \(1, 2\) and \(2, 2\)"):
        slerp(a, a.expand(2, 2), 0.5)
