"""The steps of a loop: each is done once, in a folder of its own, and what it came to and took is written down when it is whole."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from navloop.files import write_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step that is done.

    Attributes:
        name: Its folder below the loop's: "round_01/tours".
        words: What it is, for people.
        seconds: Wall time of all its starts; of one that was killed as far as it wrote files.
        starts: How often it was begun; a step that was killed was begun again.
        number: Its place in the order of steps, from 1.
        found: What it came to, as JSON has it.
    """

    name: str
    words: str
    seconds: float
    starts: int
    number: int = 0
    found: Mapping[str, Any] = field(default_factory=dict)


Work = Callable[[Path], Mapping[str, Any]]
"""Does a step into a folder, or goes on with it, and returns what it came to."""


class Steps:
    """Does the steps of a loop, those that are not done yet.

    Args:
        folder: Of the loop.
        console: Where to say which step it is.
        about: How many there are likely to be, for whoever waits; 0 says nothing.
    """

    def __init__(self, folder: Path, console: Console, about: int = 0) -> None:
        self.folder, self._console, self._about = folder, console, about
        self._done: list[Step] = []

    @property
    def done(self) -> tuple[Step, ...]:
        """The steps so far, in the order in which they were asked for."""
        return tuple(self._done)

    def do(self, name: str, words: str, work: Work) -> Step:
        """Return a step, done now or by an earlier start.

        Args:
            name: Of its folder, below the loop's.
            words: What it is.
            work: Does it; called with its folder.
        """
        file = self.folder / "steps" / f"{name.replace('/', '.')}.json"
        step = _read(file)
        if step is None:
            step = self._work(file, name, words, work)
        self._done.append(step)
        return step

    def _work(self, file: Path, name: str, words: str, work: Work) -> Step:
        number = len(self._done) + 1
        among = f" of about {self._about}" if self._about >= number else ""
        self._console.print(f"[bold]step {number}{among}: {words}[/bold] ({name})", highlight=False, soft_wrap=True)
        begun = file.with_suffix(".begun")
        starts, spent = _begun(begun, self.folder / name)
        write_text(begun, json.dumps([starts + 1, spent]))
        began = time.monotonic()
        found = dict(work(self.folder / name))
        seconds = round(spent + time.monotonic() - began, 3)
        step = Step(name=name, words=words, seconds=seconds, starts=starts + 1, number=number, found=found)
        write_text(file, json.dumps(asdict(step), indent=1, allow_nan=False) + "\n")
        begun.unlink(missing_ok=True)
        return _read(file) or step  # as a later start finds it, lists for tuples


def read_steps(folder: Path) -> dict[str, Step]:
    """Return the steps of a loop that are done, by name, in the order in which they were.

    Raises:
        ValueError: If one of their files is broken, naming it.
    """
    # By age first, for those of an older version, which have no numbers.
    files = sorted((folder / "steps").glob("*.json"), key=lambda file: file.stat().st_mtime_ns)
    found = [step for file in files if (step := _read(file)) is not None]
    return {step.name: step for step in sorted(found, key=lambda step: step.number)}


def _begun(begun: Path, folder: Path) -> tuple[int, float]:
    """Return how often a step was begun before, and for how many seconds, given the note of it and the step's folder."""
    if not begun.is_file():
        return 0, 0.0
    noted = json.loads(begun.read_text())
    starts, spent = noted if isinstance(noted, list) else (noted, 0.0)  # older versions noted the starts alone
    last = max((file.lstat().st_mtime for file in folder.rglob("*")), default=0.0)
    return starts, spent + max(0.0, last - begun.stat().st_mtime)


def _read(file: Path) -> Step | None:
    if not file.is_file():
        return None
    try:
        return Step(**json.loads(file.read_text()))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file}: not the record of a step ({error}); delete it to do the step again") from error
