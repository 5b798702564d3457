"""The network: shapes, what it says before and after it can speak.

Every part is checked against an independent computation.
"""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ddpm_abc.paper_unet import PaperUNet
from ddpm_abc.unet import (
    Attention,
    Down,
    GroupNorm,
    Level,
    ResBlock,
    UNet,
    Up,
    timestep_embedding,
    zero_init,
)

SMALL = {"channels": (8, 16, 24), "groups": 4}


def wake(net: nn.Module, seed: int = 0) -> nn.Module:
    "Random numbers for every parameter, also for those that start at zero or one."
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in net.parameters():
            scale = 1 / math.sqrt(p[0].numel()) if p.ndim > 1 else 0.3
            p.copy_(
                torch.randn(p.shape, generator=g, dtype=torch.float64) * scale
                + (p.ndim == 1 and bool((p == 1).all()))
            )
    return net


def inputs(n: int = 3, channels: int = 1, size: int = 28, seed: int = 0, dtype: torch.dtype = torch.float32):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, channels, size, size, generator=g, dtype=torch.float64).to(dtype), torch.randint(
        1, 1001, (n,), generator=g
    )


# --- the time embedding -------------------------------------------------------------------------------------


@pytest.mark.equation("3.2", by="timestep_embedding")
@pytest.mark.parametrize("dim", [4, 8, 32, 64])
def test_embedding_against_plain_python(dim):
    got = timestep_embedding(torch.tensor([0, 1, 2, 37, 500, 1000]), dim)
    assert got.shape == (6, dim)
    assert got.dtype == torch.float32
    half = dim // 2
    for row, t in zip(got.tolist(), [0, 1, 2, 37, 500, 1000], strict=True):
        angles = [t / 10_000 ** (k / (half - 1)) for k in range(half)]
        assert row == pytest.approx([math.sin(a) for a in angles] + [math.cos(a) for a in angles], abs=2e-4)


def test_embedding_tells_all_times_apart():
    e = timestep_embedding(torch.arange(1, 1001), 32).double()
    assert torch.cdist(e, e).fill_diagonal_(math.inf).min() > 0.5
    assert torch.allclose(e.square().sum(1), torch.full((1000,), 16.0, dtype=torch.float64), atol=1e-4)


@pytest.mark.equation("3.3", by="timestep_embedding")
def test_embedding_products_depend_on_the_difference_alone():
    e = timestep_embedding(torch.arange(0, 1001, 50), 16).double()
    for i, row in enumerate((e @ e.T).tolist()):
        want = [sum(math.cos(50 * (i - j) / 10_000 ** (k / 7)) for k in range(8)) for j in range(len(row))]
        assert row == pytest.approx(want, abs=1e-3)


def test_embedding_depends_on_its_own_time_only():
    "A table filled along the wrong axis gives one time two codes, by its place in the batch."
    e = timestep_embedding(torch.tensor([700, 700, 3, 700]), 16)
    assert torch.equal(e[0], e[1])
    assert torch.equal(e[0], e[3])
    assert torch.equal(e[2], timestep_embedding(torch.tensor([3]), 16)[0])


def test_embedding_max_period():
    e = timestep_embedding(torch.tensor([5]), 4, max_period=100.0)[0]
    assert e.tolist() == pytest.approx([math.sin(5), math.sin(0.05), math.cos(5), math.cos(0.05)], abs=1e-6)


@pytest.mark.parametrize("dim", [0, 2, 7, 33])
def test_embedding_refuses_dim(dim):
    with pytest.raises(ValueError, match=rf"even and at least 4, got {dim}$"):
        timestep_embedding(torch.tensor([1]), dim)


# --- the blocks ---------------------------------------------------------------------------------------------


@pytest.mark.equation("3.5", by="GroupNorm")
def test_group_norm_by_hand():
    norm = wake(GroupNorm(4, 12)).double()
    x = torch.randn(2, 12, 5, 6, dtype=torch.float64) * 7 + 3
    want = torch.empty_like(x)
    for b in range(2):
        for c in range(12):
            first = c // 3 * 3
            group = x[b, first : first + 3]
            mean = group.sum() / group.numel()
            var = ((group - mean) ** 2).sum() / group.numel()
            want[b, c] = (x[b, c] - mean) / (var + 1e-5) ** 0.5 * norm.weight[c] + norm.bias[c]
    torch.testing.assert_close(norm(x), want)


def test_group_norm_keeps_float32_under_autocast():
    x = torch.randn(2, 8, 6, 6) + 20
    with torch.autocast("cpu", torch.bfloat16):
        low = nn.Conv2d(8, 8, 1)(x)
        out = GroupNorm(2, 8)(low)
    assert low.dtype == torch.bfloat16
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, F.group_norm(low.float(), 2))


@pytest.mark.equation("3.4", "3.6", by="ResBlock")
def test_res_block_by_hand():
    block = wake(ResBlock(8, 12, 10, groups=4)).double()
    x, e = torch.randn(3, 8, 6, 5, dtype=torch.float64), torch.randn(3, 10, dtype=torch.float64)

    def norm(h, layer):
        return F.group_norm(h, 4, layer.weight, layer.bias)

    def swish(h):
        return h / (1 + (-h).exp())

    def conv(h, layer):  # 3x3, as nine shifted 1x1 products
        h = F.pad(h, (1, 1, 1, 1))
        return layer.bias.reshape(-1, 1, 1) + sum(
            torch.einsum("oc,bcij->boij", layer.weight[:, :, i, j], h[:, :, i : i + 6, j : j + 5])
            for i in range(3)
            for j in range(3)
        )

    h = conv(swish(norm(x, block.norm1)), block.conv1)
    h = h + (swish(e) @ block.emb.weight.T + block.emb.bias)[:, :, None, None]
    want = conv(swish(norm(h, block.norm2)), block.conv2)
    want = (
        want
        + torch.einsum("oc,bcij->boij", block.skip.weight[:, :, 0, 0], x)
        + block.skip.bias.reshape(-1, 1, 1)
    )
    assert block(x, e).shape == (3, 12, 6, 5)
    torch.testing.assert_close(block(x, e), want)


def test_new_blocks_pass_their_input_on():
    x = torch.randn(2, 16, 6, 6)
    assert torch.equal(ResBlock(16, 16, 32)(x, torch.randn(2, 32)), x)
    assert torch.equal(Attention(16)(x), x)


def test_zero_init_returns_the_layer():
    layer = nn.Linear(3, 2)
    assert zero_init(layer) is layer
    assert not any(p.any() for p in layer.parameters())


@pytest.mark.equation("3.7", by="Attention")
def test_attention_by_hand():
    block = wake(Attention(8, groups=2)).double()
    x = torch.randn(2, 8, 3, 4, dtype=torch.float64)
    h = F.group_norm(x, 2, block.norm.weight, block.norm.bias)
    want = x.clone()
    w, b = block.qkv.weight, block.qkv.bias
    for n in range(2):
        tokens = [h[n, :, i, j] for i in range(3) for j in range(4)]
        q, k, v = ([w[a : a + 8] @ token + b[a : a + 8] for token in tokens] for a in (0, 8, 16))
        for p, query in enumerate(q):
            scores = [math.exp((query @ key).item() / math.sqrt(8)) for key in k]
            mean = sum(s / sum(scores) * value for s, value in zip(scores, v, strict=True))
            want[n, :, p // 4, p % 4] += block.out.weight @ mean + block.out.bias
    torch.testing.assert_close(block(x), want)


@pytest.mark.equation("3.8", by="Up")
def test_down_and_up():
    x = torch.randn(2, 8, 12, 8)
    down, up = Down(8, 6), Up(8, 6)
    assert down(x).shape == (2, 6, 6, 4)
    torch.testing.assert_close(
        down(x), F.conv2d(x, down.conv.weight, down.conv.bias, padding=1)[:, :, ::2, ::2]
    )
    assert up(x).shape == (2, 6, 24, 16)
    for i in range(2):
        for j in range(2):
            torch.testing.assert_close(up(x)[:, :, i::2, j::2], up.conv(x))


def test_level_runs_its_blocks_in_turn():
    a, b, c = wake(ResBlock(8, 16, 5, 4)), wake(Attention(16, 4), 1), wake(ResBlock(16, 16, 5, 4), 2)
    x, e = torch.randn(2, 8, 4, 4), torch.randn(2, 5)
    torch.testing.assert_close(Level([a, b, c])(x, e), c(b(a(x, e)), e))


# --- the U-Net ----------------------------------------------------------------------------------------------

CONFIGS = {
    "default": {},
    "colour 32x32": {"in_channels": 3, "size": 32},
    "16x16": {"size": 16},
    "attention": {**SMALL, "attention_at": (14, 7)},
    "two blocks": {**SMALL, "blocks": 2, "attention_at": (14,)},
    "one level": {"channels": (8,), "groups": 2, "size": 7},
    "four levels": {"channels": (8, 8, 16, 16), "groups": 4, "size": 16},
    "classes": {**SMALL, "n_classes": 10},
}


def labels(net: UNet, n: int):
    return None if net.config["n_classes"] is None else torch.arange(n) % net.config["n_classes"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_shape_and_dtype_are_kept(config, dtype):
    net = wake(UNet(**config)).to(dtype)
    xt, t = inputs(2, net.config["in_channels"], net.config["size"], dtype=dtype)
    out = net(xt, t, labels(net, 2))
    assert out.shape == xt.shape
    assert out.dtype == dtype
    assert out.isfinite().all()
    assert out.std() > 1e-3


def test_default_size():
    assert UNet().config == {
        "in_channels": 1,
        "size": 28,
        "channels": (32, 64, 96),
        "blocks": 1,
        "attention_at": (),
        "groups": 8,
        "n_classes": None,
        "learn_variance": False,
    }
    assert sum(p.numel() for p in UNet().parameters()) == 1_224_929


def test_other_sizes_than_the_one_it_was_built_for():
    net = wake(UNet(**SMALL))
    for h, w in ((28, 28), (16, 16), (4, 12), (32, 20)):
        assert net(torch.randn(1, 1, h, w), torch.tensor([5])).shape == (1, 1, h, w)


@pytest.mark.parametrize("cls", [UNet, PaperUNet])
def test_attention_is_where_the_height_says(cls):
    "Of images that are wider or higher: 16 is the height of the second level, and the width of the first."
    net = cls(size=(32, 16), channels=(8, 16), groups=4, attention_at=(16,))
    ways = (net.down_levels, net.up_levels)
    found = [[any(isinstance(m, Attention) for m in level.modules()) for level in way] for way in ways]
    assert found == [[False, True], [True, False]]
    assert wake(net)(torch.zeros(1, net.config["in_channels"], 32, 16), torch.tensor([5])).isfinite().all()
    with pytest.raises(ValueError, match=r"got 8, its sizes are \[32, 16\]"):
        cls(size=(32, 16), channels=(8, 16), groups=4, attention_at=(8,))


@pytest.mark.equation("3.1", by="UNet")
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_new_network_answers_zero(config):
    net = UNet(**config)
    xt, t = inputs(2, net.config["in_channels"], net.config["size"])
    out = net(xt, t, labels(net, 2))
    assert torch.equal(out, torch.zeros_like(xt))


@pytest.mark.parametrize("config", [CONFIGS["attention"], CONFIGS["classes"]], ids=["attention", "classes"])
def test_batch_equals_its_items(config):
    net = wake(UNet(**config)).double()
    xt, t = inputs(5, dtype=torch.float64)
    xt[2] *= 100  # a loud neighbour
    y = labels(net, 5)
    for mode in (net.train(), net.eval()):
        batch = mode(xt, t, y)
        for i in range(5):
            torch.testing.assert_close(
                batch[i : i + 1],
                mode(xt[i : i + 1], t[i : i + 1], None if y is None else y[i : i + 1]),
                rtol=1e-9,
                atol=1e-9,
            )


def test_output_depends_on_t_in_every_pixel():
    net = wake(UNet(**SMALL)).double()
    xt, _ = inputs(1, dtype=torch.float64)
    with torch.no_grad():
        outs = [net(xt, torch.tensor([t])) for t in (1, 2, 500, 1000)]
    for i in range(4):
        for j in range(i):
            assert (outs[i] - outs[j]).abs().median() > 1e-4


def test_output_depends_on_y():
    net = wake(UNet(**CONFIGS["classes"])).double()
    xt, t = inputs(1, dtype=torch.float64)
    with torch.no_grad():
        a, b, again = (net(xt, t, torch.tensor([y])) for y in (3, 7, 3))
    assert (a - b).abs().median() > 1e-4
    assert torch.equal(a, again)


def test_every_pixel_is_passed_and_every_pixel_is_seen():
    "The gradient of one output pixel: largest at the same place, and zero nowhere."
    net = wake(UNet()).double()
    xt, t = inputs(1, dtype=torch.float64)
    xt.requires_grad_()
    (grad,) = torch.autograd.grad(net(xt, t)[0, 0, 14, 14], xt)
    assert (grad != 0).all()
    row, column = divmod(grad.abs().argmax().item(), 28)
    assert max(abs(row - 14), abs(column - 14)) <= 2


def test_full_size_skip_passes_a_shift_by_one_pixel():
    """A checkerboard and its negative are one and the same after pooling.

    The full-size skip alone must tell them apart. Alone: what comes up from the lower levels is silenced.
    After pooling, only the border is left to differ, by 0.001.
    """
    net = wake(UNet(**SMALL)).double()
    for p in net.ups[-1].parameters():
        nn.init.zeros_(p)
    i = torch.arange(28)
    board = ((i[:, None] + i) % 2 * 2.0 - 1).double()[None, None]
    with torch.no_grad():
        a, b = net(board, torch.tensor([9])), net(-board, torch.tensor([9]))
    assert (a - b)[..., 4:-4, 4:-4].abs().min() > 0.01


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_every_parameter_gets_a_gradient(config):
    net = wake(UNet(**config)).double()
    n = max(2, net.config["n_classes"] or 0)
    xt, t = inputs(n, net.config["in_channels"], net.config["size"], dtype=torch.float64)
    net(xt, t, labels(net, n)).square().mean().backward()
    for name, p in net.named_parameters():
        assert p.grad is not None, name
        # A key's bias adds the same number to all of a query's scores, and a softmax does not see it.
        dead = torch.zeros_like(p.grad, dtype=torch.bool)
        if name.endswith("qkv.bias"):
            dead[len(p) // 3 : 2 * len(p) // 3] = True
        assert (p.grad[~dead] != 0).all(), name


def test_learns_one_batch_by_heart():
    torch.manual_seed(0)
    net = UNet(channels=(16, 32), groups=4, size=12)
    xt, t = inputs(8, size=12)
    eps = torch.randn(xt.shape, generator=torch.Generator().manual_seed(1))
    opt = torch.optim.Adam(net.parameters(), 3e-3)
    losses = []
    for _ in range(80):
        loss = (net(xt, t) - eps).square().mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
    assert losses[0] == eps.square().mean().item()
    assert losses[-1] < 0.3


# --- building it again --------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_config_builds_the_same_network(config):
    net = wake(UNet(**config))
    again = UNet(**net.config)
    again.load_state_dict(net.state_dict(), strict=True)
    assert again.config == net.config
    xt, t = inputs(2, net.config["in_channels"], net.config["size"])
    assert torch.equal(net(xt, t, labels(net, 2)), again(xt, t, labels(net, 2)))


def test_config_is_plain_data():
    net = UNet(channels=[8, 16], attention_at=[14], groups=4)
    assert net.config["channels"] == (8, 16)
    assert net.config["attention_at"] == (14,)
    numpys = UNet(
        size=np.array([28, 28]), channels=np.array([8, 16]), groups=np.int64(4), n_classes=np.uint8(3)
    )
    assert json.loads(json.dumps(numpys.config))["size"] == [28, 28]
    assert UNet(size=np.int64(28), **SMALL).image_shape == (1, 28, 28)


def test_state_dict_keys():
    "A checkpoint outlives the code that wrote it: to rename a key is to break it."

    def both(*names):
        return [f"{name}.{kind}" for name in names for kind in ("weight", "bias")]

    def res(name, skip=False):
        return both(
            *(f"{name}.{part}" for part in ("norm1", "conv1", "emb", "norm2", "conv2")),
            *([f"{name}.skip"] if skip else []),
        )

    def attention(name):
        return both(*(f"{name}.{part}" for part in ("norm", "qkv", "out")))

    want = [
        *both("time_mlp.0", "time_mlp.2"), "class_emb.weight", *both("conv_in"),
        *res("down_levels.0.0"), *res("down_levels.0.1"),
        *res("down_levels.1.0"), *attention("down_levels.1.1"),
        *res("down_levels.1.2"), *attention("down_levels.1.3"),
        *both("downs.0.conv"),
        *res("middle.0"), *attention("middle.1"), *res("middle.2"),
        *res("up_levels.0.0", skip=True), *attention("up_levels.0.1"),
        *res("up_levels.0.2"), *attention("up_levels.0.3"),
        *res("up_levels.1.0", skip=True), *res("up_levels.1.1"),
        *both("ups.0.conv", "norm_out", "conv_out"),
    ]  # fmt: skip
    net = UNet(channels=(8, 16), groups=4, blocks=2, attention_at=(14,), n_classes=3)
    assert list(net.state_dict()) == want


# --- what it refuses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"size": 30}, r"divisible by 4, since 2 levels halve them, got 30x30\. Pad or resize .* to 32x32"),
        ({"size": (28, 30)}, r"divisible by 4.*got 28x30\. .*to 28x32"),
        ({"size": 0}, r"divisible by 4.*got 0x0\. .*to 4x4"),
        ({"size": (8, 8, 8)}, r"size must be one number or \(height, width\), got \(8, 8, 8\)"),
        ({"channels": (32, 65, 96)}, r"multiple of groups = 8.*got 65"),
        ({"channels": (6, 12), "groups": 4}, r"multiple of groups = 4.*got 6"),
        ({"channels": (2,), "groups": 1}, r"at least 4.*got 2"),
        ({"channels": (8, 16)}, r"erases the time\), got 8"),
        ({"channels": ()}, r"channels not empty, got 1, 1, 8 and \(\)"),
        ({"blocks": 0}, r"at least 1.*got 1, 0, 8"),
        ({"in_channels": 0}, r"at least 1.*got 0, 1, 8"),
        ({"groups": 0}, r"at least 1.*got 1, 1, 0"),
        ({"attention_at": (8,)}, r"got 8, its sizes are \[28, 14, 7\]"),
        ({"n_classes": 0}, r"n_classes must be at least 1 or None, got 0"),
    ],
)
def test_bad_configuration(config, message):
    with pytest.raises(ValueError, match=message):
        UNet(**config)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"size": 8.0}, r"size must be a whole number or \(height, width\), got 8\.0"),
        ({"size": "28"}, "an entry of size must be a whole number, got '2'"),
        ({"channels": 32}, r"channels must be a tuple of whole numbers, such as .*, got 32"),
        ({"channels": (32, 64.0)}, r"an entry of channels must be a whole number, got 64\.0"),
        ({"attention_at": 14}, r"attention_at must be a tuple of whole numbers, such as \(14,\), got 14"),
        ({"blocks": 1.5}, r"blocks must be a whole number, got 1\.5"),
        ({"groups": None}, "groups must be a whole number, got None"),
        ({"n_classes": 10.0}, r"n_classes must be a whole number or None, got 10\.0"),
        ({"learn_variance": 2}, "learn_variance must be True or False, got 2"),
    ],
)
def test_arguments_of_other_types(config, message):
    for build in (UNet, PaperUNet):
        with pytest.raises(TypeError, match=message):
            build(**config)


@pytest.mark.parametrize(
    ("shape", "t", "message"),
    [
        ((2, 1, 30, 30), [1, 2], r"divisible by 4.*got 30x30\. Pad or resize the images to 32x32"),
        ((2, 1, 28, 27), [1, 2], r"got 28x27\. .*to 28x28"),
        ((2, 3, 28, 28), [1, 2], r"shape \(B, 1, H, W\), got \(2, 3, 28, 28\)"),
        ((28, 28), [1, 2], r"got \(28, 28\)"),
        ((2, 1, 28, 28), [1], r"of shape \(2,\).*got torch.int64 of shape \(1,\)"),
        ((2, 1, 28, 28), [0.5, 1.0], r"whole numbers.*got torch.float32"),
        ((2, 1, 28, 28), [True, True], r"whole numbers.*got torch.bool"),
    ],
)
def test_bad_input(shape, t, message):
    with pytest.raises(ValueError, match=message):
        UNet(**SMALL)(torch.zeros(shape), torch.tensor(t))


def test_bad_labels():
    xt, t = inputs(2)
    with pytest.raises(ValueError, match="built without n_classes"):
        UNet(**SMALL)(xt, t, torch.tensor([0, 1]))
    net = UNet(**SMALL, n_classes=10)
    with pytest.raises(ValueError, match=r"n_classes = 10: pass labels y.* guided\(denoise, y, "):
        net(xt, t)
    for beyond in (10, -1):  # those who bring labels look first: `guided`, `train`
        with pytest.raises(IndexError):
            net(xt, t, torch.tensor([3, beyond]))
    with pytest.raises(ValueError, match=r"got torch.int64 of shape \(1,\)"):
        net(xt, t, torch.tensor([3]))
    with pytest.raises(ValueError, match=r"got torch.float32"):
        net(xt, t, torch.tensor([3.0, 4.0]))
    with pytest.raises(ValueError, match=r"got torch.bool"):
        net(xt, t, torch.tensor([True, False]))
    net, y = wake(net), torch.tensor([3, 9])
    for dtype in (torch.uint8, torch.int16):
        assert torch.equal(net(xt, t, y.to(dtype)), net(xt, t, y))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.uint8])
def test_images_of_another_dtype_than_the_weights(dtype):
    net, (xt, t) = UNet(**SMALL), inputs(2)
    with pytest.raises(
        ValueError, match=rf"xt must be torch\.float32, as .* weights are, got {dtype}: convert"
    ):
        net(xt.to(dtype), t)
    if dtype.is_floating_point:
        assert net.to(dtype)(xt.to(dtype), t).dtype == dtype


# --- compiled and exported ----------------------------------------------------------------------------------


def graph_networks():
    from ddpm_abc.paper_unet import PaperUNet

    small = {"size": 16, "channels": (32, 64), "blocks": 1, "attention_at": (8,), "groups": 8}
    yield "plain", wake(UNet(channels=(16, 32))), 1, 28
    yield "labelled", wake(UNet(channels=(16, 32), n_classes=10)), 1, 28
    yield "the paper's", wake(PaperUNet(**small)), 3, 16
    yield "the paper's, labelled", wake(PaperUNet(**small, n_classes=4)), 3, 16


@pytest.mark.parametrize(
    ("name", "net", "c", "size"), list(graph_networks()), ids=lambda v: v if isinstance(v, str) else ""
)
def test_no_branch_hangs_on_a_value(name, net, c, size):
    """So the whole network is one graph, for a compiler and for an export with any batch size.

    The answers stay the same.
    """

    def arguments(n):
        labels = (torch.arange(n) % 4,) if net.config["n_classes"] else ()
        return (torch.randn(n, c, size, size), torch.arange(n) * 100 + 1, *labels)

    net, given = net.eval(), arguments(4)
    with torch.no_grad():
        want = net(*given)
        assert torch.equal(torch.compile(net, fullgraph=True, backend="eager")(*given), want)
        batch = torch.export.Dim("batch", min=1, max=64)
        program = torch.export.export(net, given, dynamic_shapes=tuple({0: batch} for _ in given))
        assert torch.allclose(program.module()(*given), want, atol=1e-6)
        more = arguments(7)
        assert torch.allclose(program.module()(*more), net(*more), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist", "mnist-v", "mnist-labels", "mnist-bits", "emoji"])
def test_packaged_networks_compile_and_export(name):
    from ddpm_abc.storage import pretrained

    net = pretrained(name).denoise.net
    labels = (torch.tensor([3, 7]),) if net.config["n_classes"] else ()
    given = (torch.randn(2, *net.image_shape), torch.tensor([5, 900]), *labels)
    with torch.no_grad():
        want = net(*given)
        assert torch.allclose(torch.compile(net, fullgraph=True)(*given), want, atol=1e-5)
        assert torch.allclose(torch.export.export(net, given).module()(*given), want, atol=1e-5)


def test_autocast_around_the_network_is_left_alone():
    "A caller who brings an autocast of their own gets it."
    net, (xt, t) = wake(UNet(**SMALL)), inputs(2)
    seen = []
    net.conv_in.register_forward_hook(lambda m, args, out: seen.append(out.dtype))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        net(xt, t)
    assert seen == [torch.bfloat16]
