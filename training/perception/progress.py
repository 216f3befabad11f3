"""What a person watches while videos are embedded: a bar, or a line now and then where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from typing_extensions import Self

from navloop.training.progress import LINE_INTERVAL


class EmbeddingProgress:
    """Shows how many videos of some lists an encoder has seen.

    Args:
        console: Where; None shows nothing.
        lists: What is embedded.
        total: Videos.
        views: Of each.
    """

    def __init__(self, console: Console | None, lists: Sequence[str], total: int, views: int) -> None:
        self._console, self._total, self._done = console, total, 0
        names = ", ".join(str(Path(*Path(name).parts[-2:])) for name in lists)
        self._words = f"{names}, {views} views" if views > 1 else names
        self._began = self._told = time.monotonic()
        self._bar: Progress | None = None
        if console is not None and console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            self._bar = Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console)
            self._task = self._bar.add_task(self._words, total=total)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, videos: int) -> None:
        """Count videos."""
        self._done += videos
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done)
            return
        late = time.monotonic() - self._told > LINE_INTERVAL or self._done == self._total
        if self._console is not None and late:
            self._told = time.monotonic()
            rate = self._done / max(self._told - self._began, 1e-9)
            self._console.print(
                f"{self._words}: {self._done}/{self._total} videos, {rate:.1f} a second", highlight=False
            )
