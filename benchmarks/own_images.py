"""A large folder of images: decoding on all cores, the memory of a training, the cost of a batch.

    python benchmarks/own_images.py FOLDER            # makes 100,000 JPEG files of 64x64 in FOLDER first
    python benchmarks/own_images.py FOLDER --n 5000   # fewer

Decoding is compared with the barest loop that does the same: Pillow alone, a process a core, nothing kept.
The two alternate, twice each. Memory is the most that `ddpm-abc train` held, on all images and on 1,000.
Nothing else may run beside this.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ddpm_abc.data import Form, batches, cached
from ddpm_abc.device import describe, prepare
from ddpm_abc.parameterization import Denoiser
from ddpm_abc.schedule import linear_schedule
from ddpm_abc.training import train
from ddpm_abc.unet import UNet

SIZE, BATCH, CHUNK = 64, 64, 500


def paint(task: tuple[Path, int]) -> None:
    "Make a few files: slopes of colour with noise, which compress about as photographs do."
    folder, first = task
    ramp = np.linspace(0, 1, SIZE)
    for k in range(first, first + CHUNK):
        rng = np.random.default_rng(k)
        slopes = ramp[:, None, None] * rng.uniform(0, 120, 3) + ramp[None, :, None] * rng.uniform(0, 120, 3)
        noisy = slopes + rng.normal(0, 8, (SIZE, SIZE, 3))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{k:06}.jpg", quality=90)


def bare(files: Sequence[Path]) -> int:
    "Decode a few files with Pillow alone."
    total = 0
    for path in files:
        with Image.open(path) as im:
            fitted = im.convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS)
        total += np.asarray(fitted).nbytes
    return total


def on_all_cores(files: Sequence[Path]) -> None:
    parts = [files[i : i + CHUNK] for i in range(0, len(files), CHUNK)]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        assert sum(pool.map(bare, parts)) == len(files) * SIZE * SIZE * 3


def seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def memory(folder: Path, out: Path, cache: Path) -> int:
    "The most that a training of 40 steps held, as its own record says."
    shutil.rmtree(out, ignore_errors=True)
    command = [
        sys.executable,
        "-m",
        "ddpm_abc",
        "train",
        "--data",
        folder,
        "--size",
        SIZE,
        "--colour",
        "--out",
        out,
    ]
    command += [
        "--steps",
        40,
        "--preview",
        40,
        "--hold-out",
        100,
        "--channels",
        "16,32,32",
        "--image-cache",
        cache,
    ]
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    return json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])["memory"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n", type=int, default=100_000)
    args = parser.parse_args()
    home, cache, few = args.folder / "images", args.folder / "cache", args.folder / "few"
    if not home.is_dir():
        home.mkdir(parents=True)
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(paint, [(home, k) for k in range(0, args.n, CHUNK)]))
    files = sorted(home.iterdir())[: args.n]
    print(f"{len(files):,} JPEG files of {SIZE}x{SIZE}, {os.cpu_count()} cores")

    def decode() -> None:
        shutil.rmtree(cache, ignore_errors=True)
        cached(home, files, Form((SIZE, SIZE), 3), cache)

    bare(files[:1000])  # so that neither begins with cold files
    for _ in range(2):
        loop, ours = seconds(lambda: on_all_cores(files)), seconds(decode)
        rates = f"{len(files) / loop:,.0f} images/s; into the cache {len(files) / ours:,.0f}"
        print(f"bare loop {rates}, {loop / ours:.0%} of it")
    again = seconds(lambda: cached(home, files, Form((SIZE, SIZE), 3), cache))
    print(f"opened again, all digests compared: {again:.1f} s")

    source, _ = cached(home, files, Form((SIZE, SIZE), 3), cache)
    torch.manual_seed(0)
    net = prepare(UNet(in_channels=3, size=SIZE), "cpu")
    print(describe(net))
    draw = batches(source, BATCH)
    batch = seconds(lambda: list(islice(draw, 50))) / 50
    denoise, opt = Denoiser(net, linear_schedule()), torch.optim.AdamW(net.parameters())
    steps = train(denoise, batches(source, BATCH), opt)
    next(steps)
    step = seconds(lambda: list(islice(steps, 5))) / 5
    print(f"a batch of {BATCH}: {1000 * batch:.1f} ms, {batch / step:.1%} of a step of {1000 * step:,.0f} ms")

    if not few.is_dir():
        few.mkdir()
        for path in files[:1000]:
            shutil.copyfile(path, few / path.name)
    held = {
        name: memory(folder, args.folder / "out", cache) for name, folder in (("few", few), ("all", home))
    }
    more = (held["all"] - held["few"]) / 1e6
    print(
        f"training held at most {held['few'] / 1e6:,.0f} MB on 1,000 images, and {more:,.0f} MB more on all"
    )


if __name__ == "__main__":
    main()
