"""A run that makes walks, learns from all there are, and is judged by what it learned; again and again, and resumed exactly."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from rich.console import Console
from torch import Tensor

from navloop.agent.agents import BatchAgent
from navloop.records import Episode
from navloop.training.checkpoints import Checkpoint, list_checkpoints, remove_unfinished
from navloop.training.collection import Workforce
from navloop.training.courses import IteratedCourse, Judge
from navloop.training.learner import Learner
from navloop.training.metrics import MetricsLog, TrainingProgress
from navloop.training.steps import draw_seed
from navloop.training.walks import WalksError

Parts = Sequence[tuple[int, tuple[Episode, ...]]]
"""Parts of an iteration by number."""


@dataclass(frozen=True, slots=True)
class IterationsReport:
    """What a run came to."""

    folder: Path
    """Of the run; `folder / "last" / "agent"` and `folder / "best"` are agents."""
    steps: int
    """Optimiser steps done, those of earlier starts included."""
    resumed: int
    """Steps that earlier starts had done."""
    curve: list[dict[str, float]] = field(default_factory=list)
    """A line of metrics an iteration, of those of this start."""


class SizedBatch(Protocol):
    """Whatever a learner takes a step on; its length is that in walks."""

    def __len__(self) -> int: ...


B = TypeVar("B", bound=SizedBatch)
B_co = TypeVar("B_co", bound=SizedBatch, covariant=True)


class LessonSource(Protocol[B_co]):
    """Walks as batches; its length is that of a pass over them."""

    def __len__(self) -> int: ...

    def order(self, seed: Sequence[int]) -> list[list[int]]:
        """Return the batches of a pass as places of walks; every walk is in one."""

    def batch(self, places: Sequence[int], seed: Sequence[int]) -> B_co:
        """Return walks as a batch; what is drawn for it follows from the seed."""


class Iterations(ABC, Generic[B]):
    """A run in progress.

    All randomness follows from (seed, iteration, step, episode), so that a run that was killed and resumed, with however many workers,
    equals one that was not.

    Args:
        course: What it learns from and is judged by.
        folder: Of the run.
        console: Where it is shown; None shows nothing.

    Attributes:
        learner: Who learns.
        crew: Who walks; set by `hire`, which `begin` and `load` come before, and all other methods after.
        judge: Who measures.
        ends: Optimiser steps after which each iteration is done.
        done: Those done.
        findings: Numbers that stay as they are over the run: each checkpoint and the last line of each iteration have them.
    """

    crew: Workforce[Any, Any]

    def __init__(self, course: IteratedCourse, folder: Path, console: Console | None) -> None:
        self.course, self.folder, self.console = course, folder, console
        self.ends = course.ends()
        self.findings: dict[str, float] = {}
        self.curve: list[dict[str, float]] = []
        remove_unfinished(folder)
        found = list_checkpoints(folder)
        self.done = self.first = found[-1].step if found else 0
        self.learner = self.load(found[-1]) if found else self.begin()
        if found:
            self.findings = self.learner.restore(found[-1])
        best = self.findings.pop("best", -math.inf)
        self.judge = self.hire()
        self.judge.best = best
        if not found:
            self._save()  # who walks first, walks with these weights

    @abstractmethod
    def begin(self) -> Learner[B]:
        """Return who learns in a new run."""

    @abstractmethod
    def load(self, checkpoint: Checkpoint) -> Learner[B]:
        """Return who learns, with the weights of a checkpoint."""

    @abstractmethod
    def hire(self) -> Judge:
        """Set `crew`, and return who has it measure."""

    @property
    @abstractmethod
    def agent(self) -> BatchAgent:
        """Who is measured."""

    @abstractmethod
    def walked(self, iteration: int) -> set[int]:
        """Return the numbers of the parts of an iteration that are there."""

    @abstractmethod
    def walk(self, iteration: int, parts: Parts) -> None:
        """Make missing parts of an iteration, with the agent of the newest checkpoint."""

    @abstractmethod
    def describe(self, iteration: int) -> dict[str, float]:
        """Return what is to be known of an iteration's walks, which are there."""

    @abstractmethod
    def lessons(self, iteration: int) -> LessonSource[B]:
        """Return all walks up to an iteration."""

    def walks_folder(self, iteration: int) -> Path:
        """Return where the walks of an iteration are."""
        return self.folder / "walks" / f"{iteration:02d}"

    def run(self) -> IterationsReport:
        """Do what is left."""
        log = MetricsLog(self.folder, self.first)
        try:
            for iteration, end in enumerate(self.ends):
                if self.done < end:
                    self._iterate(iteration, log)
        finally:
            log.close()
            self.crew.close()
        return IterationsReport(self.folder, self.done, self.first, self.curve)

    def _iterate(self, iteration: int, log: MetricsLog) -> None:
        """Make the walks of an iteration, learn from all there are, and judge what was learned."""
        self._collect(iteration)
        lessons = self.lessons(iteration)
        start, end = self._span(iteration)
        progress = TrainingProgress(
            self.console, self.ends[-1], self.done, "walks", resumes=start < self.done == self.first
        )
        try:
            last = self._learn(lessons, iteration, log, progress)
        finally:
            progress.close()
        last |= {**self.describe(iteration), **self.findings, **self.judge.judge(self.agent, iteration)}
        log.add(end, last, progress.clips_per_s, "walks")
        self._save()
        self.curve.append({"iteration": iteration, "step": end, **last})
        self._tell(iteration, last)

    def _learn(
        self, lessons: LessonSource[B], iteration: int, log: MetricsLog, progress: TrainingProgress
    ) -> dict[str, float]:
        """Take the steps of an iteration that are left; return the last window's metrics, which are not logged yet."""
        config, seed, (start, end) = self.course.config, self.course.config.seed, self._span(iteration)
        window: list[dict[str, Tensor]] = []
        found: dict[str, float] = {}
        order: tuple[int, list[list[int]]] = (-1, [])
        for number in range(self.done + 1, end + 1):
            epoch, place = divmod(number - 1 - start, len(lessons))
            if order[0] != epoch:
                order = epoch, lessons.order((seed, 2, iteration, epoch))
            batch = lessons.batch(order[1][place], (seed, 3, number))
            window.append(self.learner.step(number, batch, draw_seed(seed, number)))
            self.done = number
            progress.advance(len(batch))
            keeps = number % config.checkpoint_every == 0
            if number == end or keeps or number % config.log_every == 0:
                found = {"iteration": iteration, "lr": self.learner.lr, **self.learner.means(window, number)}
                progress.tell(found)
                window = []
                if number < end:  # the last line of an iteration waits for what it is judged by
                    log.add(number, found, progress.clips_per_s, "walks")
            if keeps and number < end:
                self._save()
        return found

    def _collect(self, iteration: int) -> None:
        """Make the walks of an iteration that are missing."""
        parts, there = self.course.parts(iteration), self.walked(iteration)
        missing = [(number, part) for number, part in enumerate(parts) if number not in there]
        if missing and self.done > self._span(iteration)[0]:
            raise WalksError(
                f"{self.walks_folder(iteration)}: has lost walks that this run was learning from; begin another run"
            )
        if missing:
            self.walk(iteration, missing)

    def _span(self, iteration: int) -> tuple[int, int]:
        """Return the steps that are done before an iteration and after it."""
        return [0, *self.ends][iteration], self.ends[iteration]

    def _save(self) -> None:
        place = {"best": self.judge.best, **self.findings}
        self.learner.save(self.folder, self.done, self.course.config.keep, place)

    def _tell(self, iteration: int, metrics: dict[str, float]) -> None:
        if self.console is None:
            return
        arrived = [f"walks arrived {100 * metrics['walks_success']:.0f}%"] if "walks_success" in metrics else []
        words = [f"accuracy {metrics['accuracy']:.3f}", *arrived, *self.judge.words(metrics)]
        self.console.print(f"iteration {iteration}: {', '.join(words)}", soft_wrap=True, highlight=False)
