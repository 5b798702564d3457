"""The command line: a thin skin of click over `ddpm_abc.run`. No torch before a command runs."""

from ddpm_abc.cli.main import main

__all__ = ["main"]
