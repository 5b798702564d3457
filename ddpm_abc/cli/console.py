"""What the commands print. A closed pipe, a terminal that is gone or an old encoding never ends a run."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any, TextIO


class Stream:
    "A stream to print to, whose troubles are not the program's."

    def __init__(
        self,
        stream: TextIO | None,  # where the text goes; None where a program has no such stream
    ):
        self.stream = stream  # None, too, once it has failed
        self.encoding = getattr(stream, "encoding", None) or "utf-8"

    def write(
        self,
        text: str,  # any, with its own line breaks
    ) -> int:  # its length, as other streams give it
        "Write what the encoding has, and escapes for the rest."
        if self.stream is not None:
            try:
                self.stream.write(text.encode(self.encoding, "backslashreplace").decode(self.encoding))
            except (
                OSError,
                ValueError,
            ):  # a pipe that nobody reads any more, a terminal that hung up, a closed file
                self._give_up()
        return len(text)

    def flush(self) -> None:
        "Let nothing wait."
        if self.stream is not None:
            try:
                self.stream.flush()
            except (OSError, ValueError):
                self._give_up()

    def _give_up(self) -> None:
        "Write no more, and let the interpreter find an open stream to flush when it ends."
        if self.stream in (sys.__stdout__, sys.__stderr__) and self.stream is not None:
            with suppress(OSError, ValueError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self.stream.fileno())
                os.close(null)
        self.stream = None

    def fileno(self) -> int:  # the number that the system knows it by
        "Of the stream, for those that ask how wide it is. Raises `OSError` if there is none."
        if self.stream is None:
            raise OSError("there is no stream")
        return self.stream.fileno()


def quiet() -> bool:  # yes or no
    "Whether another process speaks for this one: the first of those that torchrun started."
    return os.environ.get("RANK", "0") != "0"


def say(
    text: str,  # the line, without its break
    error: bool = False,  # print to standard error, and from each of many processes
) -> None:
    "Print a line, to standard error if it is about one."
    if quiet() and not error:
        return
    stream = Stream(sys.stderr if error else sys.stdout)
    stream.write(f"{text}\n")
    stream.flush()


def note(
    text: object,  # a sentence, or a warning that holds one
) -> None:
    "Print what somebody should know, in one line, though nothing failed."
    if not quiet():
        say(f"note: {one_line(text)}", error=True)


def one_line(
    text: object,  # a string, or what `str` makes one of
) -> str:  # its words, with one space between two
    "Any text, with its line breaks taken out."
    return " ".join(str(text).split())


def progress(
    total: int | None,  # how many steps there are; None for a run without an end
    what: str,  # the word before the bar, such as training
    done: int = 0,  # steps that were taken earlier
) -> Any:  # the bar, of tqdm
    "A progress bar on standard error: a context manager with `update` and `set_postfix`."
    from tqdm import tqdm

    stream: Any = Stream(sys.stderr)
    return tqdm(
        total=total, initial=done, desc=what, unit="step", file=stream, dynamic_ncols=True, disable=quiet()
    )


def watched() -> bool:  # yes or no
    "Whether somebody may be looking: standard error is a terminal."
    with suppress(AttributeError, ValueError):
        return sys.stderr.isatty() and not quiet()
    return False
