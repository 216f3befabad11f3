"""What a training run says of itself: metrics.jsonl, TensorBoard, and a bar or lines for whoever watches."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from torch.utils.tensorboard.writer import SummaryWriter

from navloop.files import write_text
from navloop.training.progress import LINE_INTERVAL, create_bar


class MetricsLog:
    """Appends a line of JSON a time, and the same numbers for TensorBoard.

    metrics.jsonl holds nothing but what follows from the recipe: an interrupted run ends with the bytes of one that was not.

    Args:
        folder: Of the run.
        step: Steps that the run has done; lines beyond them, which a killed process left, are cut off. -1 where that of step 0 is to come, too.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.path = folder / "metrics.jsonl"
        write_text(self.path, "".join(f"{line}\n" for line in _lines_until(self.path, step)))
        self._file = self.path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def add(self, step: int, metrics: Mapping[str, float], rate: float, unit: str = "clips") -> None:
        """Write the metrics of a step; of how fast it went, `rate` units a second, TensorBoard alone is told.

        A metric that is not defined there, NaN (of what there was none, or what did not vary), is left out of the line.

        Raises:
            ValueError: If one is infinite, for which JSON has no word; nothing is written. A loss that diverges does not come here:
                whoever trains has raised `DivergedError`.
        """
        told = {name: value for name, value in metrics.items() if not math.isnan(value)}
        if infinite := [name for name, value in told.items() if math.isinf(value)]:
            raise ValueError(f"step {step}: {', '.join(infinite)} not finite, which a line of JSON cannot say")
        line = json.dumps({"step": step, **told}, allow_nan=False)
        try:
            self._file.write(f"{line}\n")
            self._file.flush()
        except OSError as error:
            error.filename = str(self.path)
            raise
        for name, value in {**told, f"{unit}_per_s": rate}.items():
            self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Put everything on disk."""
        self._board.close()
        self._file.close()


def last_metrics(folder: Path) -> dict[str, float]:
    """Return the last value of each metric that a run has written; none if it has not begun."""
    found: dict[str, float] = {}
    for line in (folder / "metrics.jsonl").read_text().splitlines() if (folder / "metrics.jsonl").is_file() else []:
        found |= json.loads(line)
    return found


def _lines_until(path: Path, step: int) -> list[str]:
    """Return the whole lines of steps up to `step`."""
    kept: list[str] = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            if json.loads(line)["step"] > step:
                break
        except (ValueError, KeyError, TypeError):  # the line that a killed process was writing
            break
        kept.append(line)
    return kept


class TrainingProgress:
    """Shows how far a run is, how fast, how long it will take, and its loss.

    Args:
        console: Where; None shows nothing.
        steps: Steps in all.
        done: Steps done before.
        unit: What is counted beside steps.
        resumes: Whether it was an earlier start that did them.
    """

    def __init__(
        self, console: Console | None, steps: int, done: int, unit: str = "clips", resumes: bool = True
    ) -> None:
        self._console, self._steps, self._unit = console, steps, unit
        self._done = self._first = done
        self._clips = 0
        self._began = self._told = time.monotonic()
        self._words = ""
        self._bar = None
        if console is None:
            return
        if done and resumes:
            console.print(f"resuming after step {done} of {steps}", highlight=False)
        if console.is_terminal:
            self._bar = create_bar(console)
            self._task = self._bar.add_task("training", total=steps, completed=done, words="")
            self._bar.start()

    @property
    def clips_per_s(self) -> float:
        """Clips, or whatever is counted, a second since the start."""
        return self._clips / max(time.monotonic() - self._began, 1e-9)

    def advance(self, clips: int) -> None:
        """Count a step and its clips."""
        self._done += 1
        self._clips += clips
        if self._bar is not None:
            rate = f"{self.clips_per_s:.1f} {self._unit}/s"
            self._bar.update(self._task, completed=self._done, words=f"{self._words}  {rate}")

    def tell(self, metrics: Mapping[str, float]) -> None:
        """Show metrics; where there is no terminal, now and then."""
        self._words = f"loss {metrics['loss']:.4f}" if "loss" in metrics else self._words
        late = time.monotonic() - self._told > LINE_INTERVAL or self._done == self._steps
        if self._console is not None and self._bar is None and late:
            self._told = time.monotonic()
            left = (self._steps - self._done) * (self._told - self._began) / (self._done - self._first)
            rest = f"{self.clips_per_s:.1f} {self._unit}/s, {left / 60:.1f} min left"
            self._console.print(f"step {self._done}/{self._steps}: {self._words}, {rest}", highlight=False)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()
