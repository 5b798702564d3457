"""Legible digits after one minute of training: train by the clock, order digits, let a classifier read them.

    python benchmarks/minute.py                              # three trainings of 60 s: 8 minutes on two cores

The network is that of chapter 09, told the label, on the bundled digits; each training begins with nothing.
"read as ordered" is the share of its digits that the packaged classifier reads as the digit that was ordered;
"and certain" asks for a certainty of 90% or more besides, and "and like real ones" for a place among real
digits (6.5) besides. Real digits and white noise say what the figures are worth. The first digits of each
seed go to OUT as a picture. Nothing else may run beside this.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch
from quality import legible
from torch import Tensor

from ddpm_abc.classifier import HELD_OUT
from ddpm_abc.data import digits, to_unit
from ddpm_abc.device import describe, prepare
from ddpm_abc.guidance import drop_labels, guided
from ddpm_abc.metrics import Reference, evaluate, reference_digits
from ddpm_abc.parameterization import Denoiser
from ddpm_abc.plot import save_images
from ddpm_abc.sampling import sample, spaced_times
from ddpm_abc.schedule import cosine_schedule
from ddpm_abc.training import EMA, sample_t, simple_loss, warmup_cosine
from ddpm_abc.unet import UNet

CHANNELS, BATCH, LR, NULL = (16, 32, 64), 16, 3e-3, 10
SCHED = cosine_schedule()


def fit(images: Tensor, labels: Tensor, seconds: float, seed: int) -> tuple[Denoiser, int]:
    "Train for so long, from building the network on; return the denoiser of the average, and the steps."
    begun, step = time.perf_counter(), 0
    torch.manual_seed(seed)
    net = prepare(UNet(channels=CHANNELS, n_classes=11), "cpu")
    print(describe(net))
    denoise = Denoiser(net, SCHED, "v")
    ema, opt = EMA(net), torch.optim.AdamW(net.parameters(), lr=LR, weight_decay=0.01)
    while (done := (time.perf_counter() - begun) / seconds) < 1:
        i = torch.randint(len(images), (BATCH,))
        x0, t, y = to_unit(images[i]), sample_t(SCHED, BATCH), drop_labels(labels[i], NULL)
        loss = simple_loss(denoise, x0, t, torch.randn(x0.shape), y=y).mean()
        opt.param_groups[0]["lr"] = LR * warmup_cosine(done)
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        opt.step()
        ema.update(net)
        step += 1
    return replace(denoise, net=ema.model), step


def row(name: str, seed: str, images: Tensor, ordered: Tensor, reference: Reference) -> None:
    images = images.clamp(-1, 1)
    with torch.no_grad():
        p, read = reference.net(images).softmax(1).max(1)
    as_ordered = read == ordered
    certain = as_ordered & (p >= 0.9)
    print(
        f"| {name} | {seed} | {as_ordered.double().mean():.1%} | {certain.double().mean():.1%} "
        f"| {legible(images, certain, reference):.1%} | {evaluate(images, reference).fid:.1f} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60, help="of training (default: 60)")
    parser.add_argument("--seeds", type=int, default=3, help="trainings (default: 3)")
    parser.add_argument("--n", type=int, default=500, help="digits to order for each row (default: 500)")
    parser.add_argument("--steps", type=int, default=50, help="reverse steps (default: 50)")
    parser.add_argument(
        "--out", type=Path, default=Path("out/minute"), help="folder for the pictures (default: out/minute)"
    )
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    data = digits()
    real, ordered, held = to_unit(data.images), torch.arange(args.n) % 10, HELD_OUT[: args.n]
    reference = reference_digits(real)
    print(
        f"{args.seconds:.0f} s of training, N = {args.n}, {args.steps} reverse steps, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    fitted = [fit(data.images, data.labels, args.seconds, seed) for seed in range(args.seeds)]
    print(f"steps of {BATCH}: {', '.join(f'{steps:,}' for _, steps in fitted)}\n")
    print("| | seed | read as ordered | and certain | and like real ones | FID |\n|---|---|---|---|---|---|")
    row("real digits, read as labelled", "", real[held], data.labels[held], reference)
    row(
        "white noise",
        "",
        torch.randn(args.n, 1, 28, 28, generator=torch.Generator().manual_seed(0)),
        ordered,
        reference,
    )
    for w in (0, 1, 3):
        for seed, (denoise, _) in enumerate(fitted):
            g, times = torch.Generator().manual_seed(seed), spaced_times(SCHED.T, args.steps)
            drawn = [
                sample(
                    guided(denoise, y, NULL, w), (len(y), 1, 28, 28), times=times, generator=g, device="cpu"
                )
                for y in ordered.split(50)
            ]
            generated = torch.cat(drawn)
            row(f"guided, w = {w}", str(seed), generated, ordered, reference)
            save_images(generated[:100].clamp(-1, 1), args.out / f"w{w}-seed{seed}.png", columns=10)


if __name__ == "__main__":
    main()
