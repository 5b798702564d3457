"""Train `mnist-bits`: the packaged mnist-v, its answer widened by a variance, on the whole variational bound.

    python benchmarks/train_bits.py --root data --out out/mnist-bits --minutes 76

Every term of the bound is a loss, and times are drawn in proportion to the root of its mean square, which is
kept up to date as the training goes (Nichol & Dhariwal 2021, section 3.3). Nothing is detached. x0_hat is
clipped in training as it is in the measurement. The learning rate follows the clock. One thread of torch.
"""

import argparse
import time
from pathlib import Path

import torch
from torch import nn

from ddpm_abc.data import mnist, to_unit
from ddpm_abc.likelihood import bound_term
from ddpm_abc.parameterization import Denoiser
from ddpm_abc.storage import pretrained, save_weights
from ddpm_abc.training import EMA, warmup_cosine
from ddpm_abc.unet import UNet

GROUPS = 60  # of neighbouring times, which share a mean square


class Times:
    "Draws times in proportion to the root of the mean square of the loss there, and a tenth of them evenly."

    def __init__(self, T: int):
        edges = torch.logspace(0, torch.log10(torch.tensor(T + 1.0)).item(), GROUPS).long().unique()
        edges[-1] = T + 1
        self.group = torch.bucketize(torch.arange(1, T + 1), edges, right=True) - 1  # of each time
        self.square = torch.full((len(edges) - 1,), torch.nan)
        self.T = T

    def probabilities(self) -> torch.Tensor:  # (T,)
        unknown = self.square.isnan().any()
        p = 1 / (torch.arange(1, self.T + 1) + 3.0) if unknown else self.square.sqrt()[self.group]
        return 0.9 * p / p.sum() + 0.1 / self.T

    def update(self, t: torch.Tensor, losses: torch.Tensor) -> None:
        for k, square in zip(self.group[t - 1].tolist(), losses.square().tolist(), strict=True):
            old = self.square[k]
            self.square[k] = square if old.isnan() else 0.98 * old + 0.02 * square


def widened(name: str) -> Denoiser:
    "A packaged network that also answers with a share of the variance, zero at first, which is half way."
    old = pretrained(name).denoise
    net = UNet(**{**old.net.config, "learn_variance": True})
    state = old.net.state_dict()
    for key in ("conv_out.weight", "conv_out.bias"):
        state[key] = torch.cat([state[key], torch.zeros_like(state[key])])
    net.load_state_dict(state)
    return Denoiser(net.train(), old.sched, old.predicts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--root", default="data")
    parser.add_argument("--out", type=Path, default=Path("out/mnist-bits"))
    parser.add_argument("--minutes", type=float, default=76)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    denoise, images = widened("mnist-v"), to_unit(mnist(args.root).in_memory())
    net, times, g = denoise.net, Times(denoise.sched.T), torch.Generator().manual_seed(args.seed)
    opt, ema = torch.optim.AdamW(net.parameters(), lr=args.lr, betas=(0.9, 0.99)), EMA(net, 0.999)
    begun, step, losses = time.monotonic(), 0, []
    order, progress = torch.empty(0, dtype=torch.int64), 0.0
    while progress < 1:
        progress = min((time.monotonic() - begun) / 60 / args.minutes, 1.0)
        opt.param_groups[0]["lr"] = args.lr * warmup_cosine(progress)
        if len(order) < args.batch_size:
            order = torch.randperm(len(images), generator=g)
        x0, order = images[order[: args.batch_size]], order[args.batch_size :]
        p = times.probabilities()
        at = (torch.arange(len(x0)) + torch.rand(len(x0), generator=g)) / len(x0)  # one in each even part
        t = torch.searchsorted(p.cumsum(0), at).clamp(max=times.T - 1) + 1
        terms = bound_term(denoise, x0, t, torch.randn(x0.shape, generator=g))
        loss = (terms / p[t - 1]).mean()
        opt.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        if torch.isfinite(loss + norm):
            opt.step()
            ema.update(net)
        times.update(t, terms.detach())
        step, losses = step + 1, [*losses, loss.item()]
        if step % 200 == 0:
            print(f"step {step}: {sum(losses[-1000:]) / len(losses[-1000:]):.4f} bits", flush=True)
        if step % 1000 == 0 or progress == 1:
            run = {"data": "mnist", "batch_size": args.batch_size, "lr": args.lr, "minutes": args.minutes,
                   "schedule": "cosine", "T": times.T, "channels": list(net.config["channels"]),
                   "predict": denoise.predicts, "learn_variance": True, "ema": ema.decay}  # fmt: skip
            about = {
                "data": "MNIST (training set)",
                "steps": step,
                "seed": args.seed,
                "begun_with": "mnist-v",
            }
            how = "the bound, all of it, with t drawn by importance: benchmarks/train_bits.py"
            averaged = Denoiser(ema.model, denoise.sched, denoise.predicts)
            save_weights(args.out / "weights.safetensors", averaged, **about, loss=how, run=run)


if __name__ == "__main__":
    main()
