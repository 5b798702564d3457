"""Images and batches: pixels to [-1, 1] and back, batches that resume, and data sets by name."""

from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_abc.data import Form, Images, batches, digits, labelled_batches, load, source, to_uint8, to_unit

# --- pixels -------------------------------------------------------------------------------------------------


@pytest.mark.equation("90a.1", by="to_unit")
def test_every_pixel_value_survives_the_round_trip():
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    x = to_unit(pixels)
    assert x.dtype == torch.float32
    assert (x.min(), x.max()) == (-1, 1)
    assert torch.allclose(x.double(), pixels.double() * 2 / 255 - 1, atol=1e-7)
    assert torch.equal(to_uint8(x), pixels)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_every_pixel_value_survives_the_round_trip_in_any_precision(dtype):
    pixels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(to_unit(pixels).to(dtype)), pixels)


def test_to_uint8_clips_and_rounds_to_the_nearest():
    x = torch.tensor([-7.0, -1.0, -1 + 0.4 / 127.5, -1 + 0.6 / 127.5, 1.0, 7.0], dtype=torch.float64)
    assert to_uint8(x).tolist() == [0, 0, 0, 1, 255, 255]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            torch.zeros(1, 1, 2, 2),
            r"got a torch tensor of float32: to_uint8\(x\) makes pixels of floats in \[-1, 1\]",
        ),
        (torch.zeros(1, 1, 2, 2, dtype=torch.int64), r"got a torch tensor of int64: x.to\(torch.uint8\)"),
        (np.zeros((1, 1, 2, 2), np.uint8), r"got a numpy array of uint8: torch.from_numpy\(array\)"),
        (
            Images("a", torch.zeros(1), torch.zeros(1), ()),
            "got an object of type Images: its tensor is .images",
        ),
        ([1, 2], "got an object of type list: torch.stack"),
        (None, "got an object of type NoneType$"),
    ],
)
def test_to_unit_names_a_wrong_type_and_how_to_get_a_right_one(wrong, message):
    with pytest.raises(TypeError, match="to_unit takes a torch tensor of uint8 pixels, " + message):
        to_unit(wrong)


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        (
            torch.zeros(2, dtype=torch.uint8),
            "torch tensor of uint8",
        ),  # clipped to -1..1 it would be white and grey
        (np.zeros(2), "numpy array of float64"),
        (3, "object of type int"),
    ],
)
def test_to_uint8_names_a_wrong_type(wrong, kind):
    with pytest.raises(TypeError, match=f"to_uint8 takes a torch tensor of floats .*, got an? {kind}"):
        to_uint8(wrong)


# --- batches ------------------------------------------------------------------------------------------------


def numbered(n):
    "n images of one pixel, whose value is their number."
    return torch.arange(n, dtype=torch.uint8).reshape(n, 1, 1, 1)


def take(k, *args, **kwargs):
    it = batches(*args, **kwargs)
    return [to_uint8(next(it)).flatten().tolist() for _ in range(k)]


def test_an_epoch_holds_each_image_once_and_leaves_out_the_short_batch():
    got = take(6, numbered(10), 3)
    for epoch in (got[:3], got[3:]):
        seen = sum(epoch, [])
        assert len(seen) == len(set(seen)) == 9
    assert got[:3] != got[3:]


def test_batches_are_float_in_the_unit_range():
    x = next(batches(numbered(10), 4))
    assert (x.dtype, x.shape) == (torch.float32, (4, 1, 1, 1))
    assert x.min() >= -1


def test_batch_k_depends_on_seed_and_k_alone():
    got = take(11, numbered(10), 3, seed=5)
    torch.manual_seed(123)
    for start in range(11):
        assert take(11 - start, numbered(10), 3, seed=5, start=start) == got[start:]
    assert take(11, numbered(10), 3, seed=6) != got


def test_batches_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    take(5, numbered(10), 3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("even", [False, True])
def test_batches_do_not_depend_on_the_default_device(even):
    "The meta device stands for a GPU, of which `torch.set_default_device` speaks."

    def drawn(source):
        batch = next(labelled_batches(source, labels, 4, even=even))
        return torch.cat([x.flatten() for x in (*batch, next(batches(source, 4)))])

    pixels, labels = numbered(10), torch.arange(10) % 3
    data = Images("mine", pixels, labels, ("a", "b", "c"))
    expected = drawn(pixels)
    with torch.device("meta"):
        assert torch.equal(drawn(pixels), expected)
        assert torch.equal(drawn(data), expected)


def test_data_are_on_the_cpu_whatever_the_default_device(tmp_path):
    for k in range(3):
        Image.new("L", (8, 8), 80 * k).save(tmp_path / f"{k}.png")
    with torch.device("meta"):
        for name in ("digits", "emoji", str(tmp_path)):
            data = load(name)
            assert (data.in_memory().device.type, data.labels.device.type) == ("cpu", "cpu")
    assert data.images[:, 0, 0, 0].tolist() == [0, 80, 160]


def test_batches_name_a_wrong_shape_type_or_start():
    with pytest.raises(ValueError, match=r"shape \(N, C, H, W\), got \(10, 4, 4\): images\[:, None\]"):
        batches(torch.zeros(10, 4, 4, dtype=torch.uint8), 2)
    with pytest.raises(ValueError, match=r"shape \(N, C, H, W\), got \(10, 4\)$"):
        batches(torch.zeros(10, 4, dtype=torch.uint8), 2)
    with pytest.raises(ValueError, match="start must be at least 0, got -1"):
        batches(numbered(10), 2, start=-1)
    with pytest.raises(TypeError, match=r"got a torch tensor of float32: to_uint8\(x\)"):
        batches(numbered(10).float(), 2)


@pytest.mark.parametrize("size", [0, 11, -1])
def test_batches_name_a_wrong_size(size):
    with pytest.raises(ValueError, match=rf"1\.\.10.*got {size}"):
        next(batches(numbered(10), size))


def test_labelled_batches_are_the_same_and_each_image_has_its_label():
    pairs = labelled_batches(numbered(10), torch.arange(10) * 7, 3, seed=5, start=2)
    for x, (same, y) in zip(islice(batches(numbered(10), 3, seed=5, start=2), 8), pairs, strict=False):
        assert torch.equal(x, same)
        assert (to_uint8(same).flatten().long() * 7).tolist() == y.tolist()


def test_even_batches_show_each_class_as_often_as_another():
    "Class 0 has 6 of 10 images, class 7 three, class 9 one; a count is four standard deviations at most off."
    labels = torch.tensor([0, 0, 0, 7, 0, 9, 7, 0, 7, 0])
    even = {"seed": 5, "even": True}
    pairs = [
        (x.flatten(), y)
        for x, y in islice(labelled_batches(to_uint8(to_unit(numbered(10))), labels, 5, **even), 1200)
    ]
    shown, classes = torch.cat([to_uint8(x) for x, _ in pairs]).long(), torch.cat([y for _, y in pairs])
    assert torch.equal(labels[shown], classes)
    for k, label in enumerate(labels.tolist()):
        chance = 1 / (3 * (labels == label).sum().item())
        assert abs((shown == k).sum() - 6000 * chance) < 4 * (6000 * chance * (1 - chance)) ** 0.5
    later = labelled_batches(numbered(10), labels, 5, start=7, share=slice(1, 3), **even)
    for k, (x, y) in enumerate(islice(later, 4), 7):  # number k is the same wherever one begins
        assert torch.equal(x.flatten(), pairs[k][0][1:3])
        assert torch.equal(y, pairs[k][1][1:3])


@pytest.mark.slow  # 1.5 GB
def test_even_batches_of_more_images_than_torch_has_categories():
    n = 2**24 + 1
    labels = torch.zeros(n, dtype=torch.int64)
    labels[-1] = 3
    _, y = next(labelled_batches(torch.zeros(n, 1, 1, 1, dtype=torch.uint8), labels, 4000, even=True))
    assert abs((y == 3).sum() - 2000) < 4 * 1000**0.5


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (torch.arange(9), ValueError, r"shape \(10,\), one for each image, got \(9,\)"),
        (
            torch.zeros(10, 10, dtype=torch.int64),
            ValueError,
            r"shape \(10,\), one for each image, got \(10, 10\)",
        ),
        (torch.arange(10) - 1, ValueError, "from 0 on, got -1"),
        (torch.arange(10, device="meta"), ValueError, "on cpu, as the images are, not on meta"),
        (torch.arange(10.0), TypeError, r"int64, got a torch tensor of float32: labels.long\(\)"),
        (
            torch.arange(10, dtype=torch.int32),
            TypeError,
            r"int64, got a torch tensor of int32: labels.long\(\)",
        ),
        (np.arange(10), TypeError, r"int64, got a numpy array of int64: torch.as_tensor\(labels\).long\(\)"),
        (
            list(range(10)),
            TypeError,
            r"int64, got an object of type list: torch.as_tensor\(labels\).long\(\)",
        ),
    ],
)
def test_labelled_batches_name_wrong_labels_at_once(labels, error, message):
    with pytest.raises(error, match=message):
        labelled_batches(numbered(10), labels, 3)


# --- what batches are drawn from ----------------------------------------------------------------------------


class Squares:
    "Images that are made when they are asked for: image k is one pixel of value k * k."

    def __init__(self, n, give=lambda pixels: pixels.to(torch.uint8)):
        self.n, self.give, self.asked = n, give, []

    def __len__(self):
        return self.n

    def __getitem__(self, indices):
        self.asked.append(len(indices))
        return self.give((indices**2).reshape(-1, 1, 1, 1))


def test_any_source_gives_the_batches_of_a_tensor():
    lazy, whole = Squares(10), torch.arange(10).square().to(torch.uint8).reshape(10, 1, 1, 1)
    labels = torch.arange(10)
    mine = Images("mine", whole, labels, tuple("0123456789"))
    for data in (lazy, mine):
        assert take(8, data, 3, seed=4, start=2) == take(8, whole, 3, seed=4, start=2)
        for (x, y), (same, label) in islice(
            zip(labelled_batches(data, labels, 3), labelled_batches(whole, labels, 3), strict=False), 5
        ):
            assert torch.equal(x, same)
            assert torch.equal(y, label)
    assert set(lazy.asked) == {1, 3}  # one image to see what it gives, then batches
    assert torch.equal(mine[torch.tensor([3, 1])], whole[[3, 1]])
    assert len(mine) == 10


@pytest.mark.parametrize("make", [batches, lambda images, n: labelled_batches(images, torch.arange(10), n)])
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            np.zeros((10, 1, 2, 2), np.uint8),
            r"got a numpy array of uint8: torch.from_numpy\(array\) makes a tensor of it",
        ),
        (
            np.zeros((10, 1, 2, 2)),
            r"got a numpy array of float64: torch.from_numpy\(array\) makes a tensor of it",
        ),
        (torch.zeros(10, 1, 2, 2, dtype=torch.int32), r"got a torch tensor of int32: x.to\(torch.uint8\)"),
        (
            list(torch.zeros(10, 1, 2, 2, dtype=torch.uint8)),
            r"got an object of type list: torch.stack\(images\)",
        ),
        ({"images": 1}, "got an object of type dict$"),
        ("digits", "got an object of type str$"),
        (7, "got an object of type int$"),
        (iter([1]), "got an object of type list_iterator$"),
        (
            Squares(10, lambda pixels: pixels.float()),
            "Squares must give uint8 pixels .* gives a torch tensor of float32",
        ),
        (
            Squares(10, lambda pixels: (pixels, 3)),
            "Squares must give uint8 pixels .* gives an object of type tuple",
        ),
        (
            Squares(10, lambda pixels: {}["a"]),
            "asks its data for a tensor of indices, and Squares says: ",
        ),
    ],
)
def test_batches_name_what_is_no_source_at_once(make, images, message):
    with pytest.raises(TypeError, match=message):
        make(images, 2)


def test_batches_of_nothing_are_named():
    for nothing in (numbered(0), Squares(0)):
        with pytest.raises(ValueError, match="there are no images"):
            batches(nothing, 1)


def test_batches_take_whole_numbers_of_numpy():
    three, five, seven = np.int64([3, 5, 7])
    assert take(3, numbered(10), three, seed=five, start=seven) == take(3, numbered(10), 3, seed=5, start=7)


@pytest.mark.parametrize("wrong", [{"batch_size": 2.0}, {"batch_size": True}, {"seed": "7"}, {"start": None}])
def test_batches_name_what_is_no_whole_number(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(TypeError, match=f"{name} must be a whole number, got {value!r}"):
        batches(numbered(10), **{"batch_size": 2, **wrong})


# --- by name ------------------------------------------------------------------------------------------------


def test_data_say_in_one_line_what_they_are():
    one = Images(
        "mine", torch.zeros(1234, 3, 8, 9, dtype=torch.uint8), torch.zeros(1234, dtype=torch.int64), ("a",)
    )
    assert one.describe() == "data: mine, 1,234 images, 3x8x9"
    assert repr(one) == "<data: mine, 1,234 images, 3x8x9>"
    assert one.notes == ()
    line = "data: digits (10,000 of MNIST's training set, bundled), 10,000 images, 1x28x28, from the package"
    assert digits().describe() == line


def test_load_finds_data_by_name_and_prints_nothing(tmp_path, capfd, monkeypatch):
    assert torch.equal(load("digits").images, digits().images)
    (tmp_path / "cats").mkdir()
    Image.new("LA", (9, 9)).save(tmp_path / "cats" / "a.png")
    cats = load(str(tmp_path / "cats"), form=Form(background="#ff0000"))
    assert cats.describe() == f"data: folder {tmp_path / 'cats'}, 1 image, 1x28x28, read once into memory"
    assert any("put on #ff0000" in note for note in cats.notes)
    assert load(str(tmp_path / "cats"), form=Form((24, 40), 3)).images.shape == (1, 3, 24, 40)
    with pytest.raises(ValueError, match="a form is for a folder of images, and digits has its own"):
        load("digits", form=Form((32, 32)))

    asked = []
    for name in ("mnist", "fashion_mnist"):
        monkeypatch.setattr(source, name, lambda root, name=name: asked.append((name, root)) or digits())
    load("mnist", "here")
    load("fashion", "there")
    assert asked == [("mnist", "here"), ("fashion_mnist", "there")]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("MNIST", "unknown data set"),
        ("", "unknown data set"),
        ("nowhere/at/all", "there is no folder"),
        ("./digits", "there is no folder"),
    ],
)
def test_load_names_an_unknown_data_set(name, what):
    with pytest.raises(RuntimeError, match=f"{what} {name!r}.*digits, mnist, fashion"):
        load(name)


def test_a_tilde_is_the_home_of_whoever_asks(tmp_path, monkeypatch):
    "A shell leaves it as it is in --data=~/mine, and so does Python."
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "mine" / "a.png")
    assert load("~/mine").name == f"folder {tmp_path / 'mine'}"


def test_load_tells_a_file_from_a_folder(tmp_path):
    (tmp_path / "cats.zip").write_bytes(b"")
    with pytest.raises(RuntimeError, match=r"cats\.zip' is a file: use .* a folder of images"):
        load(str(tmp_path / "cats.zip"))
