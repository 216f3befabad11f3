"""What a person watches while an evaluation or a filming runs: a bar with live scores, or a line now and then where there is no terminal."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from navloop.training.rows import Row

LINE_INTERVAL = 10.0
"""Seconds between lines where no terminal shows a bar."""


class EvaluationProgress:
    """Shows how far each agent is, with its SR and SPL so far.

    Args:
        console: Where; None shows nothing.
        done: Rows that each agent has already.
        total: Episodes an agent.
    """

    def __init__(self, console: Console | None, done: Mapping[str, Sequence[Row]], total: int) -> None:
        self._console = console
        self._total = total
        self._scores: dict[str, list[tuple[float, float]]] = {
            agent: [_scores(row) for row in rows] for agent, rows in done.items()
        }
        self._resumed = sum(len(rows) for rows in done.values())
        self._bar: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._steps = 0
        self._began = self._told = time.monotonic()

        if self._console is not None and self._console.is_terminal:
            self._bar = create_bar(self._console)
            for agent, scores in self._scores.items():
                self._tasks[agent] = self._bar.add_task(
                    agent, total=self._total, completed=len(scores), words=self._words(agent)
                )
            self._bar.start()
        if self._console is not None and self._resumed:
            self._console.print(f"resuming: {self._resumed} of {self._total * len(self._scores)} episodes are done")

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()

    def add(self, agent: str, row: Row) -> None:
        """Count a finished episode."""
        self._scores[agent].append(_scores(row))
        self._steps += len(row.actions)
        if self._bar is not None:
            self._bar.update(self._tasks[agent], advance=1, words=self._words(agent))
        elif self._console is not None and (
            time.monotonic() - self._told > LINE_INTERVAL or len(self._scores[agent]) == self._total
        ):
            self._told = time.monotonic()
            rate = self._steps / max(self._told - self._began, 1e-9)
            count = f"{len(self._scores[agent])}/{self._total} episodes"
            self._console.print(f"{agent}: {count}, {self._words(agent)}, {rate:.0f} steps/s", highlight=False)

    def _words(self, agent: str) -> str:
        scores = self._scores[agent]
        if not scores:
            return ""
        success, spl = (math.fsum(column) / len(scores) for column in zip(*scores, strict=True))
        return f"SR {100 * success:5.1f}  SPL {100 * spl:5.1f}"


class FilmProgress:
    """Shows how many walks are filmed, and how many frames a second that takes.

    Args:
        console: Where; None shows nothing.
        done: Walks that are there already.
        total: Walks in all.
    """

    def __init__(self, console: Console | None, done: int, total: int) -> None:
        self._console = console
        self._done, self._total, self._frames = done, total, 0
        self._began = self._told = time.monotonic()
        self._bar: Progress | None = None
        if console is not None and done:
            console.print(f"resuming: {done} of {total} walks are done", highlight=False)
        if console is not None and console.is_terminal:
            self._bar = create_bar(console)
            self._task = self._bar.add_task("walks", total=total, completed=done, words="")
            self._bar.start()

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()

    def add(self, frames: int) -> None:
        """Count a finished walk of so many frames."""
        self._done += 1
        self._frames += frames
        now = time.monotonic()
        rate = f"{self._frames / max(now - self._began, 1e-9):.0f} frames/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, words=rate)
        elif self._console is not None and (now - self._told > LINE_INTERVAL or self._done == self._total):
            self._told = now
            self._console.print(f"walks: {self._done}/{self._total}, {rate}", highlight=False)

    def tell(self, text: str) -> None:
        """Say something above the bar."""
        if self._console is not None:
            self._console.print(text, soft_wrap=True, highlight=False)


def create_bar(console: Console) -> Progress:
    """Return a bar whose tasks have a field `words`: what is said of them beside how far they are."""
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[words]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console)


def _scores(row: Row) -> tuple[float, float]:
    return row.metrics.success or 0.0, row.metrics.spl or 0.0
