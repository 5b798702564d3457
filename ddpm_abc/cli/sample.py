"""`ddpm-abc sample`: new images, each in a file of its own or all in one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ddpm_abc.cli.console import note, quiet, say
from ddpm_abc.cli.drawing import DrawConfig, draw_images, drawing_of, on_own_device
from ddpm_abc.cli.errors import Refused, refusing
from ddpm_abc.cli.options import Command, options, retyped, typed
from ddpm_abc.run.config import OUT
from ddpm_abc.run.settings import Choice, Flag, Name, Whole, counted, setting

if TYPE_CHECKING:
    from torch import Tensor

    from ddpm_abc.run.draw import Drawing
    from ddpm_abc.run.pictures import Film

_LABEL = "the class to draw, such as 7, by a network that is told the class"
_ALL = "all, each as often as among the training images"
_IN_TURN = "one class after the other, so that the sheet has a column for each"
_FIRST = "the number of the first image: image k of a seed is the same in every run, so runs can be merged"
_RESUME = "keep the images that are in --out already, and draw the rest"
_FORMAT = "png, one file for each image, or npz, one NumPy file of all, uint8 (N, C, H, W)"


@dataclass(frozen=True)
class SampleConfig(DrawConfig):
    "What `sample` is told."

    label: str | None = setting(None, Name(), _LABEL, otherwise=_ALL)
    in_turn: bool = setting(False, Flag(), _IN_TURN, otherwise="off")
    n: int = setting(64, Whole(1, 1_000_000), "how many images, at most 1000000")
    first: int = setting(0, Whole(0), _FIRST)
    format: str = setting("png", Choice(("png", "npz")), _FORMAT)
    out: str = setting("out", Name("FOLDER"), OUT)


@click.command(
    "sample", cls=Command, example="ddpm-abc sample --weights out/weights.safetensors --n 64 --out out"
)
@options(SampleConfig)
@click.option("--resume", is_flag=True, help=_RESUME)
def command(
    resume: bool,  # go on with the images that are not there yet
    **given: Any,  # the options by name, None for one that was not typed
) -> int:  # exit status
    "Draw new images with a trained network, and save an animation of how they emerge."
    return sample(SampleConfig(**typed(given)), resume=resume)


class Files:
    "The files of a drawing in a folder. Refuses to overwrite images of another one."

    def __init__(
        self,
        config: SampleConfig,  # which images these are, and their folder and format
        drawing: Drawing,  # what they are drawn with: each file of images says it
        overwrite: bool,  # take the place of another drawing's images, too
    ):
        from ddpm_abc.run.pictures import image_name

        self.config, self.drawing = config, drawing
        self.images: list[Tensor] = []  # all of them for npz, and as many as the overview shows for png
        self.names: list[Path] = []  # written so far
        self.earlier = set(Path(config.out).glob("*.npz"))  # of earlier runs, and to stay
        part = f"{config.first:04}-" if config.first else ""
        self.film, self.overview = (
            self._path(image_name(drawing, f"{part}{word}")) for word in ("film", "grid")
        )
        if not overwrite:
            self._check_free()

    def _path(self, name: str) -> Path:
        return Path(self.config.out) / name

    def _image(self, k: int) -> Path:
        from ddpm_abc.run.pictures import image_name

        return self._path(image_name(self.drawing, k))

    def _archive(self, n: int) -> Path:
        from ddpm_abc.run.pictures import image_name

        first = self.config.first
        return self._path(image_name(self.drawing, f"{first:04}-to-{first + n - 1:04}", "npz"))

    def _check_free(self) -> None:
        "Look at each file that will be written, and at images whose sheet and film would be overwritten."
        from ddpm_abc.run.pictures import check_free

        first, n, chunk = self.config.first, self.config.n, self.drawing.chunk()
        if self.config.format == "png":
            paths = map(self._image, range(first, first + n))
        else:  # an archive's earlier states included
            paths = map(self._archive, (*range(chunk, n, chunk), n))
        begins = self._archive(1).name.partition("to-")[0] + "to-"  # archives with a sheet of this name
        beside = [path for path in self.earlier if path.name.startswith(begins)]
        if self.config.format == "npz":
            beside.append(self._image(first))
        for path in (*paths, *beside):
            check_free(path, self.drawing.of)

    def finished(
        self,
        chunk: int,  # images in a batch
    ) -> int:
        "How many images from the first on are there already, in whole batches."
        from ddpm_abc.run.pictures import read_kept

        first, n = self.config.first, self.config.n
        if self.config.format == "npz":
            for done in sorted(range(min(chunk, n), n + 1), reverse=True):  # the longest
                images = read_kept(self._archive(done), self.drawing.of, n, first, setting="out")
                if images is not None:
                    self.images, self.names = [images], [self._archive(done)]
                    self.earlier.discard(self._archive(done))
                    return done
            return 0
        done = 0
        while done < n and self._image(first + done).exists():  # it is of this drawing, says _check_free
            done += 1
        done -= done % chunk if done < n else 0
        self.names = [self._image(k) for k in range(first, first + done)]
        return done

    def keep(
        self,
        first: int,  # the number of its first image
        pixels: Tensor,  # (B, C, H, W) uint8
    ) -> None:
        "Write a batch that is done."
        from ddpm_abc.run.pictures import OVERVIEW, write_image

        if self.config.format == "npz":
            self.images.append(pixels)
            self._keep_archive()
            return
        for k, image in enumerate(pixels, first):
            write_image(self._image(k), image, self.drawing.of)
            self.names.append(self._image(k))
        if sum(map(len, self.images)) < OVERVIEW:
            self.images.append(pixels)

    def _keep_archive(self) -> None:
        "Write all that is drawn so far, under a name that says how much, in place of the file before."
        import torch

        from ddpm_abc.run.pictures import write_kept

        images = torch.cat(self.images)
        path = self._archive(len(images))
        write_kept(path, images, self.drawing.of, self.config.first)
        for old in set(self.names) - self.earlier:
            old.unlink(missing_ok=True)
        self.names = [path]

    def shown(self) -> str:  # one path, or the first and the last of them
        "The names of what was written, for people."
        first, last = self.names[0], self.names[-1]
        return str(first) if first == last else f"{first} to {last.name}"


def sample(
    config: SampleConfig,  # which images to draw, with what, and where to
    overwrite: bool = False,  # images of other weights, too
    resume: bool = False,  # go on with those that are not there yet
) -> int:  # exit status
    "Draw images, and write each as soon as its batch is done. Of many processes each draws its own."
    from ddpm_abc.distributed import placed, portion
    from ddpm_abc.run.setup import check_writable

    team = placed()
    with refusing():
        config = on_own_device(config, team)
        drawing = drawing_of(config)
        if (c := drawing.net.config["in_channels"]) not in (1, 3):
            raise Refused(f"{config.weights} draws images of {c} channels: this command can show 1 or 3")
        check_writable(Path(config.out))
        mine = portion(team, config.n, drawing.chunk())
        if not mine:
            return 0
        share = replace(config, first=config.first + mine.start, n=len(mine))
        files = Files(share, drawing, overwrite)
        done = files.finished(drawing.chunk()) if resume else 0
    if done:
        say(f"there already: {files.shown()}, {done:,} of {counted(share.n, 'image')}")
    if done == share.n:
        return 0
    return _draw(share, drawing, files, done)


def _draw(config: SampleConfig, drawing: Drawing, files: Files, before: int = 0) -> int:
    from ddpm_abc.device import describe, prepare
    from ddpm_abc.run.pictures import Film

    say(describe(prepare(drawing.net, config.device)))
    film = Film(drawing.steps, drawing.columns)
    done, stopped = draw_images(drawing, config.n - before, config.first + before, files.keep, film)
    if done:
        say(f"images: {files.shown()}")
        if not before and not quiet():
            _save_pictures(config, files, film, done)
        elif not quiet():
            say("no new sheet and no new film: they begin with the first image, which was there already")
    if stopped:
        done += before
        rest = retyped("sample", config, first=config.first + done, n=config.n - done)
        kept = f"{done:,} of {counted(config.n, 'image')} kept in {config.out}"
        say(f"stopped: {kept}; draw the rest with: {rest}", error=True)
        return 128 + stopped
    return 0


def _save_pictures(config: SampleConfig, files: Files, film: Film, done: int) -> None:
    "The overview and the film; the images themselves are there."
    import torch

    from ddpm_abc.data import to_unit
    from ddpm_abc.run.pictures import OVERVIEW, save_overview

    try:
        if config.n > 1:
            save_overview(to_unit(torch.cat(files.images)), files.overview, files.drawing.columns)
            say(f"the first {min(OVERVIEW, done)} of them on one sheet: {files.overview}")
        film.save(files.film)
        came = f"how {min(film.n, done, files.drawing.chunk())} of them came about"
        say(f"{came}, an animation (open it in a browser): {files.film}")
    except OSError as e:
        note(f"the overview or the film could not be written: {e}")
