"""Images a second, beside the peers: training steps and sampling steps, alternating in one run, medians and ratios.

    pip install -e ".[peers,bench]"
    python benchmarks/speed.py             # about five minutes on two cores
    python benchmarks/speed.py --rounds 3

Each contender trains as its authors do, on the bundled digits in batches of 64:

- ddpm_abc, as `ddpm-abc train` does: clipping, a learning-rate schedule, EMA after every step; bfloat16 where the CPU has it.
- The Hugging Face diffusion course, unit 1: `UNet2DModel` of diffusers, block_out_channels (32, 64, 64), with the noise
  schedule and the loop of its notebooks; no EMA, no clipping.
- denoising-diffusion-pytorch: `Unet(32, (1, 2, 2))` and `GaussianDiffusion`, with its Trainer's optimizer, clipping and EMA.
- The first attempt of chapter 03, repaired. It is fast, and learns nothing (chapter 04).

A contender whose package is not installed is left out, and the script says so. Nothing else may run beside this.
"""

import argparse
import platform
import time
from collections.abc import Callable
from importlib.util import find_spec
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ddpm_abc.data import batches, digits
from ddpm_abc.sampling import sample, strided_times
from ddpm_abc.schedule import linear_schedule
from ddpm_abc.training import EMA, eps_loss, train
from ddpm_abc.unet import UNet, speed_up

BATCH, SAMPLED, STEPS = 64, 64, 5


class Contender(NamedTuple):
    parameters: int
    step: Callable[[], object]  # one training step on a batch
    draw: Callable[[], Tensor]  # SAMPLED images in STEPS reverse steps


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def ours(data: Tensor) -> Contender:
    net, sched = speed_up(UNet()), linear_schedule()
    ema = EMA(net)
    loop = train(net, sched, batches(data, BATCH), torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=0.01), ema=ema)
    return Contender(count(net), lambda: next(loop), lambda: sample(ema.model, sched, (SAMPLED, 1, 28, 28), times=strided_times(1000, STEPS)))


def hugging_face(data: Tensor) -> Contender:
    from diffusers import DDPMScheduler, UNet2DModel

    net = UNet2DModel(
        sample_size=28, in_channels=1, out_channels=1, layers_per_block=2, block_out_channels=(32, 64, 64),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    scheduler, opt, source = DDPMScheduler(num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2"), torch.optim.AdamW(net.parameters(), 4e-4), batches(data, BATCH)

    def step() -> None:
        x, noise, t = next(source), torch.randn(BATCH, 1, 28, 28), torch.randint(0, 1000, (BATCH,))
        F.mse_loss(net(scheduler.add_noise(x, noise, t), t, return_dict=False)[0], noise).backward()
        opt.step()
        opt.zero_grad()

    @torch.no_grad()
    def draw() -> Tensor:
        scheduler.set_timesteps(STEPS)
        x = torch.randn(SAMPLED, 1, 28, 28)
        for t in scheduler.timesteps:
            x = scheduler.step(net(x, t).sample, t, x).prev_sample
        return x

    return Contender(count(net), step, draw)


def denoising_diffusion_pytorch(data: Tensor) -> Contender:
    from denoising_diffusion_pytorch import GaussianDiffusion, Unet
    from ema_pytorch import EMA as TheirEMA

    diffusion = GaussianDiffusion(Unet(dim=32, dim_mults=(1, 2, 2), channels=1), image_size=28, timesteps=1000, sampling_timesteps=STEPS)
    opt, ema = torch.optim.Adam(diffusion.parameters(), lr=1e-4, betas=(0.9, 0.99)), TheirEMA(diffusion, beta=0.995, update_every=10)
    source = batches(data, BATCH)

    def step() -> None:
        diffusion((next(source) + 1) / 2).backward()
        nn.utils.clip_grad_norm_(diffusion.parameters(), 1.0)
        opt.step()
        opt.zero_grad()
        ema.update()

    return Contender(count(diffusion.model), step, lambda: ema.ema_model.sample(batch_size=SAMPLED))


class FirstAttempt(nn.Module):
    "SimpleUNet of chapter 03, with its channel count mended."

    def __init__(self) -> None:
        super().__init__()
        self.down_conv1, self.down_conv2 = nn.Conv2d(1, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)
        self.time, self.mid_conv = nn.Linear(1, 64), nn.Conv2d(64, 64, 3, padding=1)
        self.up_conv1, self.up_conv2, self.conv_out = nn.Conv2d(96, 64, 3, padding=1), nn.Conv2d(64, 32, 3, padding=1), nn.Conv2d(32, 1, 1)

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        skip = F.max_pool2d(F.relu(self.down_conv1(xt)), 2)
        h = F.max_pool2d(F.relu(self.down_conv2(skip)), 2) + self.time(t.float()[:, None])[:, :, None, None]
        h = F.relu(self.up_conv1(torch.cat([F.interpolate(F.relu(self.mid_conv(h)), scale_factor=2), skip], 1)))
        return self.conv_out(F.relu(self.up_conv2(F.interpolate(h, scale_factor=2))))


def first_attempt(data: Tensor) -> Contender:
    net, sched, source = FirstAttempt(), linear_schedule(), batches(data, BATCH)
    opt = torch.optim.Adam(net.parameters(), 1e-3)

    def step() -> None:
        eps_loss(net, sched, next(source), torch.randint(1, 1001, (BATCH,)), torch.randn(BATCH, 1, 28, 28)).mean().backward()
        opt.step()
        opt.zero_grad()

    return Contender(count(net), step, lambda: sample(net, sched, (SAMPLED, 1, 28, 28), times=strided_times(1000, STEPS)))


BUILD = {"ddpm_abc": ours, "Hugging Face course": hugging_face, "denoising-diffusion-pytorch": denoising_diffusion_pytorch, "first attempt, repaired": first_attempt}
NEEDS = {"Hugging Face course": "diffusers", "denoising-diffusion-pytorch": "denoising_diffusion_pytorch"}


def rate(act: Callable[[], object], images: int, seconds: float = 3.0) -> float:
    "Images a second, over at least so many seconds."
    begun, n = time.perf_counter(), 0
    while (taken := time.perf_counter() - begun) < seconds:
        act()
        n += images
    return n / taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="how often each has its turn (default: 7)")
    rounds = parser.parse_args().rounds
    torch.manual_seed(0)
    data, contenders = digits().images, {}
    for name, build in BUILD.items():
        if find_spec(NEEDS.get(name, "torch")) is None:
            print(f"{name} is left out: {NEEDS[name]} is not installed")
            continue
        contenders[name] = build(data)
    training: dict[str, list[float]] = {name: [] for name in contenders}
    sampling: dict[str, list[float]] = {name: [] for name in contenders}
    for k in range(rounds + 1):  # the first round warms up
        for name, c in contenders.items():
            trained, drawn = rate(c.step, BATCH), rate(c.draw, SAMPLED * STEPS)
            if k:
                training[name].append(trained)
                sampling[name].append(drawn)
    print(f"\n{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}; medians of {rounds} rounds (lowest to highest)\n")
    print("| | parameters | training, images/s | ours is | sampling, image steps/s | ours is |\n|---|---|---|---|---|---|")
    for name, c in contenders.items():
        cells = []
        for table in (training, sampling):
            values = table[name]
            cells.append(f"{median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f}) | {median(table['ddpm_abc']) / median(values):.1f} times")
        print(f"| {name} | {c.parameters:,} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
