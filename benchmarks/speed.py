"""Images a second, memory and GFLOP/s, beside the peers: alternating in one run, medians and ratios.

    pip install -e ".[peers,bench]"
    python benchmarks/speed.py             # about five minutes on two cores
    python benchmarks/speed.py --rounds 3
    python benchmarks/speed.py --inside    # where our own step spends its time, and what each lever is worth

Each contender trains as its authors do, on the bundled digits in batches of 64, and samples in equal steps:

- ddpm_abc, with the network of chapter 03: cosine schedule, clipping, a learning-rate schedule, EMA after
  every step; bfloat16 where it pays.
- The peers of contenders.py, as their authors use them: the Hugging Face diffusion course, unit 1, with a
  `UNet2DModel` of block_out_channels (32, 64, 64); denoising-diffusion-pytorch with `Unet(32, (1, 2, 2))`;
  smalldiffusion with a `Unet` of ch 32 and ch_mult (1, 2, 2).
- The first attempt of chapter 03, repaired. It is fast, and learns nothing (chapter 07).

A contender whose package is not installed is left out, and the script says so. Nothing else may run beside
this. What the digits are worth, quality.py says.
"""

import argparse
import multiprocessing
import platform
import resource
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from types import MethodType
from typing import Any

import torch
from contenders import BATCH, PEERS, Contender, count, missing
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from ddpm_abc.data import batches, digits
from ddpm_abc.device import describe, has_fast_bf16, prepare
from ddpm_abc.muon import Muon
from ddpm_abc.parameterization import Denoiser
from ddpm_abc.sampling import sample, spaced_times
from ddpm_abc.schedule import cosine_schedule, linear_schedule
from ddpm_abc.training import EMA, simple_loss, train, warmup_cosine
from ddpm_abc.unet import Attention, GroupNorm, ResBlock, UNet

STEPS = 5  # reverse steps, of a batch as large as in training


WIDE = (32, 64, 96)  # the network of chapter 03


class OneCallEMA(EMA):
    "All weights averaged in one call, where EMA takes them one after another."

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self.n += 1
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1 - self.past())


def ours(
    data: Tensor,
    change: Callable[[UNet], object] = lambda net: None,
    averaging: type[EMA] | None = EMA,
    batch: int = BATCH,
    channels: tuple[int, ...] = WIDE,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW,
) -> Contender:
    net, sched = prepare(UNet(channels=channels), "cpu"), cosine_schedule()
    print(describe(net))
    change(net)
    ema, progress = (averaging or EMA)(net), 0.0
    averaged_net = Denoiser(ema.model, sched)
    opt = optimizer(net.parameters(), lr=2e-3, weight_decay=0.01)
    loop = train(
        Denoiser(net, sched), batches(data, batch), opt,
        ema=ema if averaging else None, lr_factor=lambda _: warmup_cosine(progress),
    )  # fmt: skip

    def step(done: float) -> None:
        nonlocal progress
        progress = done
        next(loop)

    return Contender(count(net), step, lambda n, steps: digits_of(averaged_net, n, steps))


def digits_of(denoise: Denoiser, n: int, steps: int) -> Tensor:
    return sample(denoise, (n, 1, 28, 28), times=spaced_times(1000, steps))


class FirstAttempt(nn.Module):
    "SimpleUNet of chapter 03, with its channel count mended."

    def __init__(self) -> None:
        super().__init__()
        self.down_conv1, self.down_conv2 = nn.Conv2d(1, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)
        self.time, self.mid_conv = nn.Linear(1, 64), nn.Conv2d(64, 64, 3, padding=1)
        self.up_conv1, self.up_conv2, self.conv_out = (
            nn.Conv2d(96, 64, 3, padding=1),
            nn.Conv2d(64, 32, 3, padding=1),
            nn.Conv2d(32, 1, 1),
        )

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        skip = F.max_pool2d(F.relu(self.down_conv1(xt)), 2)
        h = F.max_pool2d(F.relu(self.down_conv2(skip)), 2) + self.time(t.float()[:, None])[:, :, None, None]
        h = F.relu(
            self.up_conv1(torch.cat([F.interpolate(F.relu(self.mid_conv(h)), scale_factor=2), skip], 1))
        )
        return self.conv_out(F.relu(self.up_conv2(F.interpolate(h, scale_factor=2))))


def first_attempt(data: Tensor) -> Contender:
    net, source = FirstAttempt(), batches(data, BATCH)
    denoise = Denoiser(net, linear_schedule())
    opt = torch.optim.Adam(net.parameters(), 1e-3)

    def step(done: float) -> None:
        t, eps = torch.randint(1, 1001, (BATCH,)), torch.randn(BATCH, 1, 28, 28)
        simple_loss(denoise, next(source), t, eps).mean().backward()
        opt.step()
        opt.zero_grad()

    return Contender(count(net), step, lambda n, steps: digits_of(denoise, n, steps))


BUILD = {"ddpm_abc": ours, **PEERS, "first attempt, repaired": first_attempt}


def rate(act: Callable[[], object], amount: float, seconds: float = 3.0) -> float:
    "Amount a second, over at least so many seconds."
    begun, n = time.perf_counter(), 0
    while (taken := time.perf_counter() - begun) < seconds:
        act()
        n += 1
    return n * amount / taken


def peak_memory(name: str) -> float:
    "MiB that a process needs beyond its imports and the digits, to train three steps."
    data = digits().images
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step = BUILD[name](data).step
    for _ in range(3):
        step(0.5)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def gflop(act: Callable[[], object]) -> float:
    "Floating-point operations of matrix products and convolutions, in thousands of millions."
    with FlopCounterMode(display=False) as counter:
        act()
    return counter.get_total_flops() / 1e9


@torch.no_grad()
def roof(dtype: torch.dtype) -> dict[str, float]:
    "GFLOP/s of one large operation and nothing else: what this machine can reach."
    a, b = torch.randn(2048, 2048, dtype=dtype), torch.randn(2048, 2048, dtype=dtype)
    x, w = (
        torch.randn(BATCH, 64, 28, 28, dtype=dtype).to(memory_format=torch.channels_last),
        torch.randn(64, 64, 3, 3, dtype=dtype).to(memory_format=torch.channels_last),
    )
    acts = {
        "matrix product, 2048": lambda: a @ b,
        "3x3 convolution, 64 channels": lambda: F.conv2d(x, w, padding=1),
    }
    return {name: median(rate(act, gflop(act), 1.0) for _ in range(5)) for name, act in acts.items()}


@torch.no_grad()
def group_norm(dtype: torch.dtype) -> float:
    "Milliseconds that the normalisation of a batch takes, all of it in this precision."
    x, scale, shift = (
        torch.randn(BATCH, 64, 28, 28, dtype=dtype).to(memory_format=torch.channels_last),
        torch.ones(64, dtype=dtype),
        torch.zeros(64, dtype=dtype),
    )
    return median(1000 / rate(lambda: F.group_norm(x, 8, scale, shift), 1, 0.5) for _ in range(5))


def spread(values: list[float]) -> str:
    return f"{median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"


def plain_attention(net: UNet) -> None:
    "Attention as two products and a softmax, the weights in memory, instead of PyTorch's own function."

    def forward(self: Attention, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x).flatten(2).transpose(1, 2)).chunk(3, dim=-1)
        weights = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(-1)
        return x + self.out(weights @ v).transpose(1, 2).unflatten(2, x.shape[2:])

    for m in net.modules():
        if isinstance(m, Attention):
            m.forward = MethodType(forward, m)


def compiled(kind: type[nn.Module]) -> Callable[[UNet], None]:
    "Each layer of a kind compiled by itself."

    def change(net: UNet) -> None:
        for m in net.modules():
            if isinstance(m, kind):
                m.compile()

    return change


def float32(net: UNet) -> None:
    net.autocast_dtype = None


def bfloat16(net: UNet) -> None:
    net.autocast_dtype = torch.bfloat16


FUSED = partial(torch.optim.AdamW, fused=True)
THIN = {"batch": 32, "channels": (16, 48, 96)}  # the network and the batch of `ddpm-abc train`
LEVERS: dict[str, dict[str, Any]] = {  # what differs from the step of chapters 03 to 05
    "as it is": {},
    "float32": {"change": float32},
    "bfloat16": {"change": bfloat16},
    "default layout": {"change": lambda net: net.to(memory_format=torch.contiguous_format)},
    "without EMA": {"averaging": None},
    "EMA in one call": {"averaging": OneCallEMA},
    "fused AdamW": {"optimizer": FUSED},
    "attention as two products": {"change": plain_attention},
    "these three together": {"averaging": OneCallEMA, "optimizer": FUSED, "change": plain_attention},
    "GroupNorm compiled": {"change": compiled(GroupNorm)},
    "residual blocks compiled": {"change": compiled(ResBlock)},
    "the whole network compiled": {"change": lambda net: net.compile()},
    "batches of 32": {"batch": 32},
    "batches of 128": {"batch": 128},
    "(16, 48, 96) channels, batches of 32": THIN,
    "the same with Muon": THIN | {"optimizer": Muon},
}


def profile_of(step: Callable[[float], object]) -> None:
    "Print where a training step spends its time."
    step(0.5)
    with torch.profiler.profile() as profile:
        for _ in range(5):
            step(0.5)
    events = sorted(profile.key_averages(), key=lambda e: -e.self_cpu_time_total)
    whole = sum(e.self_cpu_time_total for e in events)
    print("\nShare of a step's time:")
    for e in events[:10]:
        print(f"{e.self_cpu_time_total / whole:6.1%}  {e.key}")


def inside(data: Tensor, rounds: int) -> None:
    "Where a training step spends its time; and the same step with one lever turned back, or one more pulled."
    contenders = {name: ours(data, **lever) for name, lever in LEVERS.items()}
    profile_of(contenders["as it is"].step)
    print(
        f"\nGroupNorm of {BATCH} images of 64 channels, 28x28, channels_last: "
        f"{group_norm(torch.float32):.1f} ms in float32, {group_norm(torch.bfloat16):.1f} ms in bfloat16"
    )
    widths = {name: lever.get("channels", WIDE) for name, lever in LEVERS.items()}
    work = {}  # of an image; compiled code cannot be counted, and does as much
    for channels in set(widths.values()):
        plain = ours(data, channels=channels)
        work[channels] = gflop(lambda plain=plain: plain.step(0.5)) / BATCH
    training: dict[str, list[float]] = {name: [] for name in contenders}
    for k in range(rounds + 1):  # the first round warms up, and compiles
        for name, c in contenders.items():
            trained = rate(lambda c=c: c.step(0.5), LEVERS[name].get("batch", BATCH))
            if k:
                training[name].append(trained)
    print("\n| | training, images/s | GFLOP an image | GFLOP/s | of as it is |\n|---|---|---|---|---|")
    done = {name: work[widths[name]] * median(v) for name, v in training.items()}
    for name, values in training.items():
        each = work[widths[name]]
        against = done[name] / done["as it is"]
        print(f"| {name} | {spread(values)} | {each:.3f} | {done[name]:.0f} | {against:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7, help="how often each has its turn (default: 7)")
    parser.add_argument(
        "--inside", action="store_true", help="look into our own training step, instead of beside"
    )
    args = parser.parse_args()
    rounds = args.rounds
    print(
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}; medians of {rounds} rounds (lowest to highest)"
    )
    if args.inside:
        inside(digits().images, rounds)
        return
    left_out = missing()
    names = [name for name in BUILD if name not in left_out]
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        memory = {name: pool.apply(peak_memory, (name,)) for name in names}
    torch.manual_seed(0)
    data = digits().images
    contenders = {name: BUILD[name](data) for name in names}
    training: dict[str, list[float]] = {name: [] for name in names}
    sampling: dict[str, list[float]] = {name: [] for name in names}
    for k in range(rounds + 1):  # the first round warms up
        for name, c in contenders.items():
            trained, drawn = (
                rate(lambda c=c: c.step(0.5), BATCH),
                rate(lambda c=c: c.draw(BATCH, STEPS), BATCH * STEPS),
            )
            if k:
                training[name].append(trained)
                sampling[name].append(drawn)
    print(
        "\n| | parameters | training, images/s | ours is | sampling, image steps/s | ours is "
        "| training, peak MiB | GFLOP an image | GFLOP/s |\n"
        "|---|---|---|---|---|---|---|---|---|"
    )
    for name, c in contenders.items():
        cells = []
        for table in (training, sampling):
            values = table[name]
            cells.append(f"{spread(values)} | {median(table[names[0]]) / median(values):.1f} times")
        work = gflop(lambda c=c: c.step(0.5)) / BATCH
        print(
            f"| {name} | {c.parameters:,} | {' | '.join(cells)} "
            f"| {memory[name]:,.0f} | {work:.3f} | {work * median(training[name]):,.0f} |"
        )
    print("\nThe roof, GFLOP/s:")
    for dtype in [torch.float32] + [torch.bfloat16] * has_fast_bf16(torch.device("cpu")):
        for name, speed in roof(dtype).items():
            print(f"{str(dtype).removeprefix('torch.'):9} {name}: {speed:,.0f}")


if __name__ == "__main__":
    main()
