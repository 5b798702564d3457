"""Pictures: what is drawn is what was given, and the files are what they say they are."""

import io
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from ddpm_abc.plot import (
    PALETTE,
    STYLE,
    Animation,
    animate,
    plain,
    plot_loss,
    plot_loss_by_t,
    save,
    save_images,
    show_images,
    tile,
    use_style,
)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_use_style_sets_every_entry():
    use_style()
    assert {k: plt.rcParams[k] for k in STYLE} == STYLE


# --- text ---------------------------------------------------------------------------------------------------

HOSTILE = [
    r"$\foo$", "$", "$$", r"a_$b_c", r"\$x", r"\frac{1}", "100 %", "one\ntwo", "\n" * 40, "a\tb\r\n",
    "\x00\x07",
    "\U0001f600", "\U0001f9ff", "犬", "\udcff", "e\u0301\u200d\ufe0f", "x" * 3000, "$" + "x" * 300, "", " ",
]  # fmt: skip


@pytest.fixture
def strictly():
    "No warning passes."
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def draw(fig):
    fig.savefig(io.BytesIO(), format="png")


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_any_text_can_be_drawn(text, strictly):
    use_style()
    for losses in ([1.0, 2.0], [1.0] * 200):
        draw(plot_loss(losses, title=text).figure)
    draw(plot_loss_by_t(torch.tensor([1, 2]), torch.ones(2), 2, title=text).figure)
    for n, columns in ((1, 8), (4, 2), (16, 8)):
        rows = -(-n // columns)
        draw(show_images(noise(n, 1, 28, 28), columns, text, [text] * rows, [text] * min(n, columns)))


def test_plain_text_is_drawn_as_it_stands():
    assert plain("cats and dogs_2, Größe 3 µ") == "cats and dogs_2, Größe 3 µ"
    assert plain(r"$\foo$") == plain(r"$\foo$", formulas=True) == r"\$\foo\$"
    assert plain("$x_t$") == r"\$x_t\$"
    assert plain("$x_t$", formulas=True) == "$x_t$"
    assert plain("5 $ for $x_t$", formulas=True) == r"5 \$ for \$x_t\$"  # three: no formula
    assert plain("a\n b\t\udcff犬") == "a b ??"
    assert plain("x" * 101) == "x" * 97 + "..."
    assert plain("x" * 100) == "x" * 100
    assert plain("$" * 30, width=10) == r"\$" * 7 + "..."


def test_labels_may_hold_formulas_and_one_line_break():
    fig = show_images(
        noise(2, 1, 8, 8), title="$x_t$\nbelow", row_labels=[r"$\hat x_0$"], column_labels=["a\nb\nc", "$"]
    )
    (ax,) = fig.axes
    assert ax.get_title() == "$x_t$\nbelow"
    assert [label.get_text() for label in ax.get_yticklabels()] == [r"$\hat x_0$"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a\nb c", r"\$"]


# --- grids --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_tile_puts_each_image_in_its_place(channels):
    images = torch.rand(5, channels, 4, 6) * 2 - 1
    canvas = tile(images, columns=3, gap=2)
    assert canvas.dtype == np.uint8
    assert canvas.shape == ((2 * 4 + 2, 3 * 6 + 4) if channels == 1 else (2 * 4 + 2, 3 * 6 + 4, 3))
    canvas = canvas.reshape(10, 22, channels)
    seen = np.zeros((10, 22), bool)
    for i, (y, x) in enumerate([(0, 0), (0, 8), (0, 16), (6, 0), (6, 8)]):
        expected = (images[i].permute(1, 2, 0).numpy() + 1) * 127.5
        assert np.abs(canvas[y : y + 4, x : x + 6] - expected).max() <= 0.51
        seen[y : y + 4, x : x + 6] = True
    assert (canvas[~seen] == 255).all()


def test_tile_clips_and_leaves_its_argument_alone():
    images = torch.tensor([-3.0, -1.0, 1.0, 3.0]).reshape(1, 1, 2, 2).requires_grad_()
    assert tile(images).tolist() == [[0, 0], [255, 255]]
    assert images.flatten().tolist() == [-3, -1, 1, 3]


def test_tile_takes_fewer_images_than_columns():
    assert tile(noise(2, 1, 4, 4), columns=8).shape == (4, 10)


@pytest.mark.parametrize("shape", [(4, 4), (1, 4, 4), (0, 1, 4, 4), (2, 2, 4, 4)])
def test_tile_names_a_wrong_shape(shape):
    with pytest.raises(ValueError, match=str(tuple(shape)).replace("(", r"\(").replace(")", r"\)")):
        tile(torch.zeros(shape))


def test_tile_names_wrong_columns():
    with pytest.raises(ValueError, match="columns = 0"):
        tile(noise(2, 1, 4, 4), columns=0)
    with pytest.raises(ValueError, match="gap = -1"):
        tile(noise(2, 1, 4, 4), gap=-1)


def test_tile_refuses_pixels_that_were_not_scaled():
    "Cast to floats and clipped, they would all be white."
    with pytest.raises(ValueError, match=r"floats in \[-1, 1\], got torch.uint8.*to_unit"):
        tile(torch.zeros(1, 1, 4, 4, dtype=torch.uint8))


def test_show_images_labels_rows_and_columns():
    fig = show_images(
        noise(6, 1, 8, 8), columns=3, title="six", row_labels=["a", "b"], column_labels=["1", "2", "3"]
    )
    assert isinstance(fig, Figure)
    (ax,) = fig.axes
    assert ax.get_title() == "six"
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "2", "3"]
    assert ax.get_xticks().tolist() == [4, 14, 24]
    assert ax.get_yticks().tolist() == [4, 14]
    assert np.array_equal(ax.images[0].get_array(), tile(noise(6, 1, 8, 8), columns=3))


def test_save_images_writes_the_pixels(tmp_path):
    images = noise(6, 3, 8, 8)
    save_images(images, tmp_path / "grid.png", columns=3, scale=2)
    with Image.open(tmp_path / "grid.png") as im:
        assert np.array_equal(np.asarray(im)[::2, ::2], tile(images, columns=3))
        assert np.array_equal(np.asarray(im)[1::2, 1::2], tile(images, columns=3))


@pytest.mark.parametrize("channels", [1, 3])
def test_save_images_writes_one_image_as_it_is(tmp_path, channels):
    image = noise(1, channels, 5, 7)
    save_images(image, tmp_path / "one.png", scale=1)
    pixels = ((image[0].clamp(-1, 1) + 1) * 127.5).round().permute(1, 2, 0).numpy()
    with Image.open(tmp_path / "one.png") as im:
        assert im.size == (7, 5)
        assert np.array_equal(np.asarray(im).reshape(5, 7, channels), pixels)


def test_save_images_takes_a_gap(tmp_path):
    images = noise(4, 1, 5, 7)
    save_images(images, tmp_path / "grid.png", columns=2, scale=1, gap=0)
    with Image.open(tmp_path / "grid.png") as im:
        assert np.array_equal(np.asarray(im), tile(images, columns=2, gap=0))
        assert im.size == (14, 10)
    with pytest.raises(ValueError, match="scale must be at least 1, got 0"):
        save_images(images, tmp_path / "none.png", scale=0)


def test_a_missing_folder_is_named(tmp_path):
    path = tmp_path / "none" / "a.png"
    fig = plt.figure()
    frame = np.zeros((2, 2), np.uint8)
    for write in (
        lambda: save(fig, path),
        lambda: save_images(noise(1, 1, 4, 4), path),
        lambda: animate([frame], path=path),
        lambda: animate([frame]).save(path),
    ):
        with pytest.raises(
            FileNotFoundError, match=r"cannot write .*a\.png.*no folder .*none.*make it first"
        ):
            write()
    assert not path.parent.exists()
    assert not plt.get_fignums()


# --- animations ---------------------------------------------------------------------------------------------


def decode(png):
    "The frames that move, how long each is shown, and the picture for viewers that cannot show motion."
    with Image.open(io.BytesIO(png)) as im:
        assert im.format == "PNG"
        assert im.default_image
        assert im.info["loop"] == 0
        pictures, times = [], []
        for i in range(im.n_frames):
            im.seek(i)
            pictures.append(np.asarray(im.convert("RGB")))
            times.append(im.info.get("duration"))
    return pictures[1:], times[1:], pictures[0]


@pytest.mark.parametrize(("channels", "off"), [(1, 8.5), (3, 7)])
def test_animation_shows_the_frames_in_order(channels, off):
    frames = [tile(noise(4, channels, 8, 8, seed=s) / 2, columns=2) for s in range(5)]
    animation = animate(frames, ms=50, hold=10, scale=3)
    pictures, times, still = decode(animation.png)
    assert times == [50, 50, 50, 50, 500]
    assert len(pictures) == 5
    for frame, picture in zip(frames, pictures, strict=True):
        assert picture.shape == (18 * 3, 18 * 3, 3)
        assert np.array_equal(picture, picture[::3, ::3].repeat(3, 0).repeat(3, 1))
        grey = frame[..., None] if channels == 1 else frame
        assert np.abs(picture[::3, ::3].astype(int) - grey).max() <= off
    assert np.array_equal(still, pictures[-1])


def test_animation_keeps_black_and_white():
    frame = np.array([[0, 255]], np.uint8)
    for f in (frame, np.stack([frame] * 3, -1)):
        pictures, _, _ = decode(animate([f, 255 - f], scale=1).png)
        assert [p[0, :, 0].tolist() for p in pictures] == [[0, 255], [255, 0]]


def test_animation_is_small():
    "At most 16 levels: half a byte a pixel of noise, and next to nothing for a picture that stays."
    frames = [tile(noise(16, 1, 28, 28, seed=s)) for s in range(10)]
    assert len(animate(frames, scale=1).png) < 0.55 * sum(f.size for f in frames)
    assert len(animate(frames, scale=2).png) < 0.6 * sum(f.size for f in frames)


def test_animation_is_shown_by_a_notebook_and_saved(tmp_path):
    frames = [np.full((2, 3), v, np.uint8) for v in (0, 90)]
    animation = animate(frames, path=tmp_path / "a.png")
    assert isinstance(animation, Animation)
    assert animation._repr_png_() == animation.png == (tmp_path / "a.png").read_bytes()
    animation.save(tmp_path / "b.png")
    assert (tmp_path / "b.png").read_bytes() == animation.png


def test_animation_of_one_frame():
    pictures, times, still = decode(animate([np.zeros((2, 2), np.uint8)], ms=10, hold=3, scale=1).png)
    assert times == [30]
    assert (still == 0).all()
    assert len(pictures) == 1


def test_animation_takes_frames_as_they_come():
    frames = [np.full((2, 3), v, np.uint8) for v in (0, 90)]
    assert animate(iter(frames)).png == animate(frames).png


@pytest.mark.parametrize(
    ("frames", "named"),
    [
        ([], r"got \[\]"),
        ([np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8)], r"\(2, 3\)"),
        ([np.zeros((2, 2), np.float32)], "float32"),
        ([np.zeros((2, 2, 2, 2), np.uint8)], r"\(2, 2, 2, 2\)"),
        ([np.zeros((2, 2, 4), np.uint8)], r"\(2, 2, 4\)"),
    ],
)
def test_animation_names_wrong_frames(frames, named):
    with pytest.raises(ValueError, match=named):
        animate(frames)


@pytest.mark.parametrize("wrong", [{"ms": 0}, {"hold": 0}, {"scale": 0}])
def test_animation_names_a_wrong_number(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name}.*0"):
        animate([np.zeros((2, 2), np.uint8)], **wrong)


# --- curves -------------------------------------------------------------------------------------------------


def lines(ax):
    return {line.get_label(): line for line in ax.lines}


@pytest.mark.parametrize("make", [list, np.array, torch.tensor])
def test_plot_loss_draws_each_step_and_the_running_mean(make):
    y = np.random.default_rng(0).random(30)
    ax = plot_loss(make(y), window=7, title="a loss")
    assert isinstance(ax, Axes)
    assert (ax.get_title(), ax.get_xlabel(), ax.get_ylabel()) == ("a loss", "step", "loss")
    drawn = lines(ax)
    assert drawn["each step"].get_xdata().tolist() == list(range(1, 31))
    assert np.allclose(drawn["each step"].get_ydata(), y)
    mean = drawn["mean of 7 steps"]
    assert mean.get_xdata().tolist() == list(range(7, 31))
    assert np.allclose(mean.get_ydata(), [y[i - 6 : i + 1].mean() for i in range(6, 30)], atol=1e-6)
    assert mean.get_color() == PALETTE["signal"]
    assert list(drawn["predict zero"].get_ydata()) == [1.0, 1.0]
    assert ax.get_legend() is not None


def test_plot_loss_takes_a_short_run_a_first_step_and_a_given_axes():
    _, ax = plt.subplots()
    assert plot_loss([0.5, 0.25], ax=ax, first=101, predict_zero=False) is ax
    drawn = lines(ax)
    assert "predict zero" not in drawn
    assert drawn["each step"].get_xdata().tolist() == [101, 102]
    assert drawn["mean of 2 steps"].get_xdata().tolist() == [102]
    assert drawn["mean of 2 steps"].get_ydata().tolist() == [0.375]


def test_plot_loss_takes_a_tensor_as_a_training_leaves_it():
    "On a graph, in 16 bits, on another device: it draws the numbers."
    y = torch.tensor([1.0, 0.5, 0.25], requires_grad=True)
    for losses in (y, y.detach().bfloat16()):
        assert lines(plot_loss(losses))["each step"].get_ydata().tolist() == [1.0, 0.5, 0.25]


@pytest.mark.parametrize(
    ("losses", "means"),
    [
        ([1.0, 3.0, float("nan"), 2.0, 4.0], [2, None, None, 3]),
        ([1.0, 3.0, float("inf"), float("-inf"), 4.0, 6.0], [2, None, None, None, 5]),
    ],
)
def test_plot_loss_leaves_a_gap_where_a_loss_is_not_finite(losses, means, strictly):
    ax = plot_loss(losses, window=2)
    draw(ax.figure)
    drawn = lines(ax)["mean of 2 steps"].get_ydata()
    assert [None if np.isnan(y) else y for y in drawn] == means


@pytest.mark.parametrize("wrong", [{"losses": []}, {"losses": [[1.0]]}, {"losses": [1.0], "window": 0}])
def test_plot_loss_refuses(wrong):
    with pytest.raises(ValueError, match="at least one loss"):
        plot_loss(**wrong)


@pytest.mark.parametrize(("T", "bins"), [(1000, 20), (50, 20), (7, 20), (10, 3)])
def test_plot_loss_by_t_averages_within_ranges_of_t(T, bins):
    g = torch.Generator().manual_seed(1)
    t = torch.cat([torch.arange(1, T + 1), torch.randint(1, T + 1, (500,), generator=g)])
    losses = torch.rand(len(t), generator=g)
    ax = plot_loss_by_t(t, losses, T, bins=bins, title="by t")
    assert (ax.get_title(), ax.get_xlabel()) == ("by t", "t")
    line = lines(ax)["the network"]
    bins = min(bins, T)
    groups = [[] for _ in range(bins)]
    for k, loss in zip(t.tolist(), losses.tolist(), strict=True):
        groups[int((k - 1) * bins / T + 1e-9)].append((k, loss))
    assert np.allclose(line.get_ydata(), [np.mean([loss for _, loss in g]) for g in groups], atol=1e-5)
    assert np.allclose(line.get_xdata(), [np.mean([min(g)[0], max(g)[0]]) for g in groups])
    assert list(lines(ax)["predict zero"].get_ydata()) == [1.0, 1.0]


def test_plot_loss_by_t_takes_times_in_few_bits():
    t, losses = torch.tensor([1, 50, 100, 200]), torch.arange(4.0)
    drawn = [lines(plot_loss_by_t(times, losses, 200))["the network"].get_ydata() for times in (t, t.byte())]
    assert np.array_equal(*drawn, equal_nan=True)


def test_plot_loss_by_t_leaves_a_gap_where_no_t_was_drawn():
    line = lines(plot_loss_by_t(torch.tensor([1, 10]), torch.tensor([0.5, 1.0]), 10, bins=5))["the network"]
    assert np.isnan(line.get_ydata()[1:4]).all()
    assert line.get_ydata()[[0, 4]].tolist() == [0.5, 1.0]


@pytest.mark.parametrize(
    ("t", "losses", "named"),
    [
        ([0], [1.0], "0 to 0"),
        ([1, 11], [1.0, 1.0], "1 to 11"),
        ([1, 2], [1.0], r"\(2,\) and \(1,\)"),
        ([], [], r"\(0,\)"),
    ],
)
def test_plot_loss_by_t_refuses(t, losses, named):
    with pytest.raises(ValueError, match=named):
        plot_loss_by_t(torch.tensor(t, dtype=torch.int64), torch.tensor(losses), 10)


def test_save_writes_and_closes(tmp_path):
    fig = plt.figure()
    save(fig, tmp_path / "fig.png")
    assert not plt.get_fignums()
    with Image.open(tmp_path / "fig.png") as im:
        assert im.format == "PNG"
