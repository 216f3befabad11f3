"""The shipped command, run in this process: what it prints and how it ends."""

from __future__ import annotations

import contextlib
import io
from typing import NamedTuple

from navloop.training.cli import main


class Said(NamedTuple):
    """What is left of a command that has ended."""

    returncode: int
    stdout: str
    stderr: str


def navloop(*arguments: object) -> Said:
    """Run a command with these arguments, as the shell would, but for the seconds that a new interpreter takes."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stopped:  # as argparse stops
            code = int(stopped.code or 0)
    return Said(code, out.getvalue(), err.getvalue())
