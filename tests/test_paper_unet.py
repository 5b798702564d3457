"""The paper's network: wiring and loading against diffusers' UNet2DModel.

Whole trajectories are checked against its scheduler. Weights are random everywhere, also where either side
starts at zero or one, so that no tensor can be left out, swapped or put in the wrong place without a trace in
the output.
"""

import copy
import inspect
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from ddpm_abc.paper_unet import PaperDown, PaperUNet, PaperUp, diffusers_names, load_diffusers
from ddpm_abc.parameterization import Denoiser
from ddpm_abc.sampling import ddpm, sample, seeded_noise
from ddpm_abc.schedule import linear_schedule
from ddpm_abc.unet import Attention, Down, GroupNorm

SMALL = {"size": 16, "channels": (32, 64), "blocks": 2, "attention_at": (8,), "groups": 8}
SMALL_DIFFUSERS = {
    "sample_size": 16,
    "block_out_channels": (32, 64),
    "norm_num_groups": 8,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
}
CIFAR_DIFFUSERS = {  # google/ddpm-cifar10-32
    "sample_size": 32,
    "block_out_channels": (128, 256, 256, 256),
    "norm_num_groups": 32,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
}
COMMON_DIFFUSERS = {
    "in_channels": 3,
    "out_channels": 3,
    "layers_per_block": 2,
    "norm_eps": 1e-6,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "attention_head_dim": None,
    "act_fn": "silu",
}


def wake(net: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    "Random numbers for every parameter, of a size that keeps activations near 1."
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in net.named_parameters():
            x = torch.randn(p.shape, generator=g)
            is_scale = p.ndim == 1 and "norm" in name and name.endswith("weight")
            p.copy_(x / x[0].numel() ** 0.5 if p.ndim > 1 else 0.3 * x + is_scale)
    return net.eval()


def peer(config):
    diffusers = pytest.importorskip("diffusers")
    return wake(diffusers.UNet2DModel(**COMMON_DIFFUSERS, **config))


@pytest.fixture(scope="module")
def theirs():
    return peer(SMALL_DIFFUSERS)


@pytest.fixture
def ours(theirs):
    return load_diffusers(theirs.state_dict(), PaperUNet(**SMALL))


@pytest.fixture(scope="module")
def cifar():
    return peer(CIFAR_DIFFUSERS)


def inputs(size, n=4, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, size, size, generator=g), torch.tensor([1, 2, 500, 1000])[:n]


def off(got, want):
    "Root mean square error, relative to the size of what is wanted."
    return ((got - want).square().mean() / want.square().mean()).sqrt().item()


# --- the network alone --------------------------------------------------------------------------------------


def test_size_of_the_published_network():
    with torch.device("meta"):
        net = PaperUNet()
    assert sum(p.numel() for p in net.parameters()) == 35_746_307
    names = [n for ours in net.state_dict() for n in diffusers_names(ours)]
    assert len(names) == len(set(names)) == 328


def test_config_rebuilds_the_network():
    net = PaperUNet(**SMALL, in_channels=1)
    again = PaperUNet(**net.config)
    again.load_state_dict(net.state_dict())
    xt = torch.randn(2, 1, 16, 16)
    assert again.config == net.config
    assert again(xt, torch.tensor([1, 9])).shape == xt.shape


def test_every_norm_has_the_epsilon_of_the_paper():
    norms = [m for m in PaperUNet(**SMALL).modules() if isinstance(m, GroupNorm)]
    assert len(norms) > 10
    assert {m.eps for m in norms} == {1e-6}


def test_new_network_answers_zero_as_the_paper_starts():
    xt, t = inputs(16)
    assert (PaperUNet(**SMALL)(xt, t) == 0).all()


def test_down_and_up_against_plain_loops():
    x, down, up = torch.randn(1, 2, 6, 6), PaperDown(2), PaperUp(2)
    padded = torch.zeros(1, 2, 7, 7)
    padded[..., :6, :6] = x
    want = torch.empty(1, 2, 3, 3)
    for i in range(3):
        for j in range(3):
            want[0, :, i, j] = (down.conv.weight * padded[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]).sum(
                (1, 2, 3)
            ) + down.conv.bias
    torch.testing.assert_close(down(x), want)

    big = torch.stack([x[:, :, i // 2, j // 2] for i in range(12) for j in range(12)], -1).view(1, 2, 12, 12)
    torch.testing.assert_close(up(x), F.conv2d(big, up.conv.weight, up.conv.bias, padding=1))


def test_float64_is_kept_and_a_batch_is_its_items():
    net = wake(PaperUNet(**SMALL)).double()
    xt, t = inputs(16)
    out = net(xt.double(), t)
    assert out.dtype == torch.float64
    for i in range(len(xt)):
        torch.testing.assert_close(
            net(xt[i : i + 1].double(), t[i : i + 1])[0], out[i], rtol=1e-10, atol=1e-10
        )


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"size": 18, "channels": (32, 64, 64)}, "18"),
        ({"size": 0}, "0"),
        ({"channels": ()}, "channels"),
        ({"blocks": 0}, "blocks"),
        ({"groups": 0}, "groups"),
        ({"channels": (32, 60)}, "60"),
        ({"channels": (8, 64)}, "8"),
        ({"attention_at": (7,)}, "7"),
    ],
)
def test_bad_configuration_is_named(config, named):
    with pytest.raises(ValueError, match=rf"got .*{named}|{named}.*got"):
        PaperUNet(**{**SMALL, **config})


@pytest.mark.parametrize(
    ("shape", "t", "named"),
    [
        ((2, 1, 16, 16), torch.tensor([1, 1]), r"\(2, 1, 16, 16\)"),
        ((2, 3, 15, 16), torch.tensor([1, 1]), r"15x16.*16x16"),
        ((3, 16, 16), torch.tensor([1, 1, 1]), r"\(3, 16, 16\)"),
        ((2, 3, 16, 16), torch.tensor([1]), r"shape \(1,\)"),
        ((2, 3, 16, 16), torch.tensor([1.0, 2.0]), "float32"),
    ],
)
def test_bad_input_is_named(shape, t, named):
    with pytest.raises(ValueError, match=named):
        PaperUNet(**SMALL)(torch.zeros(shape), t)


# --- loading ------------------------------------------------------------------------------------------------


def state_dict():
    "Diffusers' names and shapes without diffusers."
    out = {}
    for ours, p in wake(PaperUNet(**SMALL)).state_dict().items():
        names = diffusers_names(ours)
        out.update(zip(names, p.chunk(len(names)), strict=True))
    return out


def test_loading_fills_every_parameter_with_a_copy():
    source = state_dict()
    net = load_diffusers(source, PaperUNet(**SMALL))
    assert not net.training
    want = wake(PaperUNet(**SMALL)).state_dict()
    assert all(torch.equal(p, want[name]) for name, p in net.state_dict().items())
    for p in source.values():
        p.zero_()
    assert all(torch.equal(p, want[name]) for name, p in net.state_dict().items())


@pytest.mark.parametrize(
    "name",
    ["conv_in.weight", "mid_block.attentions.0.to_k.bias", "up_blocks.1.resnets.2.conv_shortcut.weight"],
)
def test_missing_tensor_is_named(name):
    source = state_dict()
    del source[name]
    with pytest.raises(ValueError, match=f"has no '{name}'"):
        load_diffusers(source, PaperUNet(**SMALL))


def test_leftover_tensor_is_named():
    with pytest.raises(ValueError, match="no place for 'class_embedding.weight'"):
        load_diffusers({**state_dict(), "class_embedding.weight": torch.zeros(2)}, PaperUNet(**SMALL))


def test_wrong_shape_is_named():
    source = state_dict()
    source["down_blocks.1.resnets.0.conv1.weight"] = torch.zeros(64, 64, 3, 3)
    with pytest.raises(
        ValueError,
        match=r"'down_blocks.1.resnets.0.conv1.weight' has shape \(64, 64, 3, 3\), "
        r"the network needs \(64, 32, 3, 3\)",
    ):
        load_diffusers(source, PaperUNet(**SMALL))


def test_another_network_is_refused_and_left_as_it_was():
    net = PaperUNet(**{**SMALL, "attention_at": ()})
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(
        ValueError, match=r"no place for '(down|up)_blocks.*attentions.*google/ddpm-cifar10-32"
    ):
        load_diffusers(state_dict(), net)
    assert all(torch.equal(p, before[name]) for name, p in net.state_dict().items())


def test_a_file_of_their_weights_loads(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    source = {name: p.contiguous() for name, p in state_dict().items()}
    safetensors.save_file(source, tmp_path / "w.safetensors")
    a = load_diffusers(safetensors.load_file(tmp_path / "w.safetensors"), PaperUNet(**SMALL))
    assert all(
        torch.equal(p, q)
        for p, q in zip(a.parameters(), load_diffusers(source, PaperUNet(**SMALL)).parameters(), strict=True)
    )


# --- against diffusers --------------------------------------------------------------------------------------


@torch.no_grad()
def test_names_and_output_equal_diffusers(theirs, ours):
    assert {n for name in ours.state_dict() for n in diffusers_names(name)} == theirs.state_dict().keys()
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    xt, t = inputs(16)
    want = theirs(xt, t - 1).sample
    assert want.std() > 0.1
    torch.testing.assert_close(ours(xt, t), want, rtol=0, atol=1e-5)


@torch.no_grad()
def test_published_configuration_equals_diffusers(cifar):
    assert len(cifar.state_dict()) == 328
    assert sum(p.numel() for p in cifar.parameters()) == 35_746_307
    net = load_diffusers(cifar.state_dict())
    xt, t = inputs(32, n=3)
    want = cifar(xt, t - 1).sample
    assert want.std() > 0.1
    torch.testing.assert_close(net(xt, t), want, rtol=0, atol=1e-5)


@torch.no_grad()
def test_time_off_by_one_disagrees(theirs, ours):
    "Were the network to embed t, it would not be theirs: the conversion matters, and most at small t."
    xt, t = inputs(16)
    want = theirs(xt, t - 1).sample
    assert off(ours(xt, t), want) < 1e-6
    assert off(ours(xt, t + 1), want) > 1e-3
    assert off(theirs(xt, t).sample, want) > 1e-3


def pad_all_around(net):
    for i, down in enumerate(net.downs):
        c = down.conv.in_channels
        net.downs[i] = Down(c, c)
        net.downs[i].load_state_dict(down.state_dict())


def default_eps(net):
    for m in net.modules():
        if isinstance(m, GroupNorm):
            m.eps = 1e-5


def cosines_first(net):
    w = net.time_mlp[0].weight
    w.copy_(w.roll(w.shape[1] // 2, 1))


def keys_before_queries(net):
    for m in net.modules():
        if isinstance(m, Attention):
            for p in m.qkv.parameters():
                q, k, v = p.chunk(3)
                p.copy_(torch.cat([k, q, v]))


@torch.no_grad()
@pytest.mark.parametrize("mistake", [pad_all_around, default_eps, cosines_first, keys_before_queries])
def test_comparison_catches_what_strict_loading_does_not(theirs, ours, mistake):
    xt, t = inputs(16)
    want = theirs(xt, t - 1).sample
    mistake(ours)
    assert (ours(xt, t) - want).abs().max() > 1e-5


@torch.no_grad()
def test_old_names_of_attention(theirs, ours):
    "The renaming is that of diffusers itself: it turns the same old names into the same tensors."
    old = {}
    for name, p in theirs.state_dict().items():
        for new, was in (
            (".to_q.", ".query."),
            (".to_k.", ".key."),
            (".to_v.", ".value."),
            (".to_out.0.", ".proj_attn."),
        ):
            name = name.replace(new, was)
        old[name] = p
    assert old.keys() != theirs.state_dict().keys()
    net = load_diffusers(old, PaperUNet(**SMALL))
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), ours.parameters(), strict=True))

    fixed = dict(old)
    theirs._fix_state_dict_keys_on_load(fixed)
    assert fixed.keys() == theirs.state_dict().keys()


def their_trajectory(theirs, scheduler, steps, shape, seed):
    "Diffusers' own loop; its scheduler draws from the generator what `ddpm` draws from an equal one."
    g = torch.Generator().manual_seed(seed)
    scheduler.set_timesteps(steps)
    x = torch.randn(shape, generator=g)
    for k in scheduler.timesteps:
        x = scheduler.step(theirs(x, k).sample, k, x, generator=g).prev_sample
        yield x


@torch.no_grad()
@pytest.mark.parametrize(("variance", "their_name"), [("beta", "fixed_large"), ("beta_tilde", "fixed_small")])
@pytest.mark.parametrize(("T", "steps"), [(1000, 20), (25, 25)])
def test_whole_trajectory_equals_diffusers(theirs, ours, variance, their_name, T, steps):
    """Every state of the chain, from the same noise.

    The published schedule in 20 strides, and a short one step by step.
    """
    diffusers = pytest.importorskip("diffusers")
    betas = {"beta_min": 1e-4, "beta_max": 0.02} if T == 1000 else {"beta_min": 0.004, "beta_max": 0.6}
    scheduler = diffusers.DDPMScheduler(
        num_train_timesteps=T,
        beta_start=betas["beta_min"],
        beta_end=betas["beta_max"],
        beta_schedule="linear",
        variance_type=their_name,
        clip_sample=True,
    )
    shape, stride = (2, 3, 16, 16), T // steps
    times = [k + 1 for k in range(T - stride, -1, -stride)] + [0]  # their timesteps, plus 1
    noise = seeded_noise(torch.Generator().manual_seed(1))
    denoise = Denoiser(ours, linear_schedule(T, **betas))
    mine = ddpm(denoise, noise(torch.empty(shape)), times, noise, variance=variance)
    n = 0
    for a, b in zip(mine, their_trajectory(theirs, scheduler, steps, shape, seed=1), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-4)
        n += 1
    assert n == steps
    assert a.std() > 0.1


@torch.no_grad()
def test_trajectory_with_the_time_off_by_one_goes_elsewhere(theirs, ours):
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDPMScheduler(
        num_train_timesteps=25, beta_start=0.004, beta_end=0.6, variance_type="fixed_large"
    )
    *_, want = their_trajectory(theirs, scheduler, 25, (2, 3, 16, 16), seed=1)

    def run(model):
        sampler, g = partial(ddpm, variance="beta"), torch.Generator().manual_seed(1)
        return sample(
            Denoiser(model, linear_schedule(25, 0.004, 0.6)), (2, 3, 16, 16), sampler=sampler, generator=g
        )

    assert off(run(ours), want) < 1e-4
    assert off(run(lambda xt, t: ours(xt, t + 1)), want) > 0.01


def test_docs_say_the_time_convention():
    "The one trap a caller can fall into stands in both docstrings."
    for obj in (PaperUNet, load_diffusers):
        assert "1..T" in inspect.getdoc(obj)
        assert "subtract" in inspect.getdoc(obj)
