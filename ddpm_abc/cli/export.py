"""`ddpm-abc export`: a trained network for other programs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ddpm_abc.cli.console import say
from ddpm_abc.cli.errors import Failed, Refused, refusing
from ddpm_abc.cli.options import Command, options, typed
from ddpm_abc.run.config import PACKAGED
from ddpm_abc.run.settings import Choice, setting

_FORMAT = """onnx, a file for browsers and most other runtimes, or diffusers, a folder for its DDPMPipeline,
which takes only the paper's network"""
_DTYPE = "how an ONNX file stores the weights: float16, half the size, or float32"
AGREES = 1e-3  # more than that between the file and torch, and something is wrong


@dataclass(frozen=True)
class ExportConfig:
    "What `export` is told beside the names of two files."

    format: str = setting("onnx", Choice(("onnx", "diffusers")), _FORMAT)
    dtype: str = setting("float16", Choice(("float16", "float32")), _DTYPE)


_HELP = f"""Write a trained network for browsers and other programs.

WEIGHTS is the weights.safetensors of a training run, or {PACKAGED}.
OUT is the file or the folder to write."""


@click.command(
    "export", cls=Command, help=_HELP, example="ddpm-abc export out/weights.safetensors digits.onnx"
)
@click.argument("weights")
@click.argument("out")
@options(ExportConfig)
def command(
    weights: str,  # a file, or the name of weights in the package
    out: str,  # the file or the folder to write
    **given: Any,  # the options by name, None for one that was not typed
) -> int:  # exit status
    "Write a trained network for browsers and other programs."
    given = typed(given)
    if given.get("format") == "diffusers" and "dtype" in given:
        raise Refused("--dtype is of ONNX files, and the folder of diffusers keeps float32: leave it out")
    return export(weights, Path(out), ExportConfig(**given))


def export(
    weights: str,  # a file, or the name of weights in the package
    out: Path,  # where to: an .onnx file, or a folder for diffusers
    config: ExportConfig,  # which format, and how it stores numbers
) -> int:  # exit status
    "Write the network, and say by how much it differs from torch."
    from ddpm_abc.export import save_diffusers
    from ddpm_abc.run.setup import check_writable, weights_of

    with refusing():
        if config.format == "onnx" and out.suffix != ".onnx":
            raise Refused(f"OUT must end in .onnx, got {out}: or give --format diffusers, for a folder")
        taken = out if config.format == "onnx" or out.is_file() else out / "model_index.json"
        if taken.exists():
            raise Refused(f"{taken} is there already: give another OUT, or move it away")
        found = weights_of(weights)
        check_writable(out.parent)
    if config.format == "onnx":
        return _onnx(found, out, config.dtype == "float16")
    try:
        save_diffusers(out, found.denoise)
    except (TypeError, ValueError) as e:
        raise Refused(e) from e
    say(f"{out}: read it with diffusers.DDPMPipeline.from_pretrained({str(out)!r})")
    return 0


def _onnx(found: Any, out: Path, half: bool) -> int:
    from ddpm_abc.export import onnx_error, save_onnx

    save_onnx(out, found.denoise, half=half, info=found.info)
    error = onnx_error(out, found.denoise)
    megabytes = out.stat().st_size / 1e6
    say(
        f"{out}: {megabytes:.1f} MB; its answers and torch's differ by {error:.1e} at most, 8 inputs compared"
    )
    if error > AGREES and not half:
        raise Failed(
            f"{out} does not answer as torch does: they differ by {error:.1e}, and {AGREES:g} is the limit"
        )
    return 0
