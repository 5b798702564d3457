"""Other small implementations, twice each: as their authors use them, and tuned to learn fast.

As used: batches of 64, and the optimizer, learning rate, averaging and sampler of their own examples. Tuned:
none of their code is touched, but what an expert would turn on is on: batches of 32, compiled, channels_last,
bfloat16 where it pays, a learning rate that climbs and falls, clipping, an average of the weights, and
the labels, one in ten dropped, with guidance w = 1 when digits are drawn.
"""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ddpm_abc.data import Images, batches, labelled_batches
from ddpm_abc.device import has_fast_bf16
from ddpm_abc.guidance import drop_labels
from ddpm_abc.training import EMA, warmup_cosine

BATCH, TUNED_BATCH, SHAPE = 64, 32, (1, 28, 28)
CLASSES, NULL = 10, 10  # of digits; the class of no label


class Contender(NamedTuple):
    "What speed.py, quality.py and board.py compare."

    parameters: int
    step: Callable[[float], object]  # one training step on a batch, when this share of the training is done
    draw: Callable[..., Tensor]  # so many images in so many reverse steps, in about [-1, 1]; perhaps w


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def in_turn(n: int) -> Tensor:
    "Labels 0 to 9, again and again."
    return torch.arange(n) % CLASSES


# --- as their authors use them ---


def hugging_face_net(**labels: Any) -> nn.Module:
    from diffusers import UNet2DModel

    return UNet2DModel(
        sample_size=28,
        in_channels=1,
        out_channels=1,
        layers_per_block=2,
        block_out_channels=(32, 64, 64),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        **labels,
    )


def hugging_face(data: Tensor) -> Contender:
    "Unit 1 of the diffusion course, with the schedule and the loop of its notebooks: no EMA, no clipping."
    from diffusers import DDPMScheduler

    net, source = hugging_face_net(), batches(data, BATCH)
    scheduler = DDPMScheduler(num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2")
    opt = torch.optim.AdamW(net.parameters(), 4e-4)

    def step(done: float) -> None:
        x, noise, t = next(source), torch.randn(BATCH, *SHAPE), torch.randint(0, 1000, (BATCH,))
        F.mse_loss(net(scheduler.add_noise(x, noise, t), t, return_dict=False)[0], noise).backward()
        opt.step()
        opt.zero_grad()

    @torch.no_grad()
    def draw(n: int, steps: int) -> Tensor:
        scheduler.set_timesteps(steps)
        x = torch.randn(n, *SHAPE)
        for t in scheduler.timesteps:
            x = scheduler.step(net(x, t).sample, t, x).prev_sample
        return x

    return Contender(count(net), step, draw)


def denoising_diffusion_pytorch(data: Tensor) -> Contender:
    "With its Trainer's optimizer, clipping and EMA, and its DDIM sampler."
    from denoising_diffusion_pytorch import GaussianDiffusion, Unet
    from ema_pytorch import EMA as TheirEMA

    net = Unet(dim=32, dim_mults=(1, 2, 2), channels=1)
    diffusion = GaussianDiffusion(net, image_size=28, timesteps=1000, sampling_timesteps=50)
    opt = torch.optim.Adam(diffusion.parameters(), lr=1e-4, betas=(0.9, 0.99))
    ema, source = TheirEMA(diffusion, beta=0.995, update_every=10), batches(data, BATCH)

    def step(done: float) -> None:
        diffusion((next(source) + 1) / 2).backward()
        nn.utils.clip_grad_norm_(diffusion.parameters(), 1.0)
        opt.step()
        opt.zero_grad()
        ema.update()

    def draw(n: int, steps: int) -> Tensor:
        ema.ema_model.sampling_timesteps = steps
        return 2 * ema.ema_model.sample(batch_size=n) - 1

    return Contender(count(net), step, draw)


def smalldiffusion_net(**labels: Any) -> nn.Module:
    from smalldiffusion import Scaled, Unet

    return Scaled(Unet)(28, 1, 1, ch=32, ch_mult=(1, 2, 2), attn_resolutions=(14,), **labels)


def smalldiffusion(data: Tensor) -> Contender:
    "Its Fashion-MNIST example with a network of half the width, smaller batches, and no mirrored images."
    from smalldiffusion import ScheduleDDPM, generate_train_sample, samples

    net, schedule, source = smalldiffusion_net(), ScheduleDDPM(), batches(data, BATCH)
    opt, ema = torch.optim.AdamW(net.parameters(), lr=7e-4), EMA(net, 0.99)

    def step(done: float) -> None:
        x0, sigma, eps, _ = generate_train_sample(next(source), schedule)
        opt.zero_grad()
        net.get_loss(x0, sigma, eps).backward()
        opt.step()
        ema.update(net)

    def draw(n: int, steps: int) -> Tensor:
        *_, x0 = samples(ema.model, schedule.sample_sigmas(steps), gam=1.6, batchsize=n)
        return x0

    return Contender(count(net), step, draw)


# --- tuned ---


def tuned(
    data: Images,
    seed: int,
    net: nn.Module,  # what trains
    loss: Callable[[Tensor, Tensor], Tensor],  # of images in [-1, 1] and labels
    draw: Callable[[nn.Module, Tensor, int], Tensor],  # images of the averaged network, labels and steps
    lr: float = 1e-3,
) -> Contender:
    "A peer's network with everything on."
    net.to(memory_format=torch.channels_last)
    ema, opt = EMA(net), torch.optim.AdamW(net.parameters(), lr)
    net.compile()
    ema.model.compile()
    source: Iterator[tuple[Tensor, Tensor]] = labelled_batches(
        data.images, data.labels, TUNED_BATCH, seed=seed
    )
    fast = has_fast_bf16(torch.device("cpu"))

    def step(done: float) -> None:
        for group in opt.param_groups:
            group["lr"] = lr * warmup_cosine(done)
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            found = loss(*next(source))
        found.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        opt.step()
        opt.zero_grad()
        ema.update(net)

    @torch.no_grad()
    def drawn(n: int, steps: int) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            return draw(ema.model, in_turn(n), steps)

    return Contender(count(net), step, drawn)


def hugging_face_tuned(data: Images, seed: int) -> Contender:
    "Its scheduler spaces the steps from the last time on, so that the first one sees noise alone."
    from diffusers import DDPMScheduler

    net = hugging_face_net(num_class_embeds=CLASSES + 1)
    scheduler = DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2", timestep_spacing="trailing")

    def loss(x0: Tensor, y: Tensor) -> Tensor:
        noise, t = torch.randn_like(x0), torch.randint(0, 1000, (len(x0),))
        out = net(scheduler.add_noise(x0, noise, t), t, drop_labels(y, NULL), return_dict=False)[0]
        return F.mse_loss(out, noise)

    def draw(averaged: nn.Module, y: Tensor, steps: int) -> Tensor:
        scheduler.set_timesteps(steps)
        x, both = torch.randn(len(y), *SHAPE), torch.cat([y, torch.full_like(y, NULL)])
        for t in scheduler.timesteps:
            told, untold = averaged(torch.cat([x, x]), t, both).sample.float().chunk(2)
            x = scheduler.step(2 * told - untold, t, x).prev_sample
        return x

    return tuned(data, seed, net, loss, draw)


def denoising_diffusion_pytorch_tuned(data: Images, seed: int) -> Contender:
    "Its variant for labels, whose `cond_scale` is 1 + w."
    from denoising_diffusion_pytorch.classifier_free_guidance import GaussianDiffusion, Unet

    net = Unet(dim=32, num_classes=CLASSES, cond_drop_prob=0.1, dim_mults=(1, 2, 2), channels=1)
    diffusion = GaussianDiffusion(net, image_size=28, timesteps=1000, sampling_timesteps=50)

    def draw(averaged: nn.Module, y: Tensor, steps: int) -> Tensor:
        diffusion.model, diffusion.sampling_timesteps = averaged, steps
        x = 2 * diffusion.sample(y, cond_scale=2.0, rescaled_phi=0.0) - 1
        diffusion.model = net
        return x

    return tuned(data, seed, net, lambda x0, y: diffusion((x0 + 1) / 2, classes=y), draw)


class Clipped:
    """What smalldiffusion's sampler asks of a network, with the guess of the image kept in [-1, 1], as with
    the other two. At sigma = 157, where it begins, a guess of the noise that is off by 0.01 moves the image
    by 1.6, and without the limit most images ended black or white all over."""

    def __init__(self, net: nn.Module):
        self.net, self.eval, self.rand_input = net, net.eval, net.rand_input

    def predict_eps_cfg(self, x: Tensor, sigma: Tensor, cond: Tensor, cfg_scale: float) -> Tensor:
        eps = self.net.predict_eps_cfg(x, sigma, cond, cfg_scale)
        return (x - (x - sigma * eps).clamp(-1, 1)) / sigma


def smalldiffusion_tuned(data: Images, seed: int) -> Contender:
    "Its own dropping of labels and guidance; `gam` and `mu` are those of ancestral sampling."
    from smalldiffusion import CondEmbedderLabel, ScheduleDDPM, generate_train_sample, samples

    net, schedule = smalldiffusion_net(cond_embed=CondEmbedderLabel(128, CLASSES)), ScheduleDDPM()

    def loss(x0: Tensor, y: Tensor) -> Tensor:
        x0, sigma, eps, cond = generate_train_sample((x0, y), schedule, conditional=True)
        return net.get_loss(x0, sigma, eps, cond=cond)

    def draw(averaged: nn.Module, y: Tensor, steps: int) -> Tensor:
        sigmas = schedule.sample_sigmas(steps)
        *_, x0 = samples(Clipped(averaged), sigmas, gam=1.0, mu=0.5, cfg_scale=1.0, batchsize=len(y), cond=y)
        return x0

    return tuned(data, seed, net, loss, draw)


PEERS = {
    "Hugging Face course": hugging_face,
    "denoising-diffusion-pytorch": denoising_diffusion_pytorch,
    "smalldiffusion": smalldiffusion,
}
TUNED = {
    "Hugging Face course, tuned": hugging_face_tuned,
    "denoising-diffusion-pytorch, tuned": denoising_diffusion_pytorch_tuned,
    "smalldiffusion, tuned": smalldiffusion_tuned,
}
NEEDS = {
    "Hugging Face course": "diffusers",
    "denoising-diffusion-pytorch": "denoising_diffusion_pytorch",
    "smalldiffusion": "smalldiffusion",
}


def missing() -> list[str]:
    "The peers that cannot run here; of each it says why."
    found = [name for name, package in NEEDS.items() if find_spec(package) is None]
    for name in found:
        print(f"{name} is left out: {NEEDS[name]} is not installed")
    return found
