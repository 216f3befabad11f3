"""The command that trains a planner: where one can walk, then walks with an oracle, learned from and judged, again and again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from navloop.agent.planner_saving import save_planner
from navloop.configs.loader import dump
from navloop.configs.planning import PlannerTrainConfig
from navloop.provenance import usable_processors
from navloop.records import Episode
from navloop.runs import RunFolder
from navloop.training.apprentice import AGENT, means
from navloop.training.checkpoints import list_checkpoints, remove_unfinished
from navloop.training.collection import Ground, Workforce
from navloop.training.courses import Judge
from navloop.training.imitation import DivergedError
from navloop.training.metrics import MetricsLog, TrainingProgress
from navloop.training.planned_walks import DecidedWalk, DecidedWalks
from navloop.training.planner.course import PlannerCourse
from navloop.training.planner.crew import PlannerHand, PlannerOrder
from navloop.training.planner.lessons import DecisionLessons
from navloop.training.planner.pupil import PlannerPupil, load_pupil
from navloop.training.progress import FilmProgress
from navloop.training.steps import draw_seed
from navloop.training.walks import WalksError


@dataclass(frozen=True, slots=True)
class PlannerReport:
    """What a run came to."""

    folder: Path
    """Of the run; `folder / "last" / "agent"` and `folder / "best"` are planners."""
    steps: int
    """Optimiser steps done, those of earlier starts included."""
    resumed: int
    """Steps that earlier starts had done."""
    curve: list[dict[str, float]] = field(default_factory=list)
    """A line of metrics an iteration, of those of this start."""


def train_by_oracle(config: PlannerTrainConfig, folder: Path, console: Console | None = None) -> PlannerReport:
    """Train a planner into a run folder, or go on with it.

    The folder gets metrics.jsonl, tensorboard/, walks/ (a folder an iteration), evaluations/ (rows of each), checkpoints step_N/ with the
    planner in `agent`, `last`, a link to the newest, and the planner `best`. All randomness follows from (seed, iteration, step, episode),
    so that a run that was killed and resumed, with however many workers, equals one that was not.

    Raises:
        ValueError: If the recipe does not fit its data, a saved planner, or what the folder holds.
        DivergedError: If the loss is not finite; the last checkpoint is from before.
        OSError: If something cannot be written.
    """
    course = PlannerCourse(config)
    with RunFolder(folder).open(dump(config), course.fingerprints, config.RESUMABLE), torch.random.fork_rng():
        return _Run(course, folder, console).run()


class _Run:
    """A run in progress."""

    def __init__(self, course: PlannerCourse, folder: Path, console: Console | None) -> None:
        self.course, self.config, self.folder, self.console = course, course.config, folder, console
        config = self.config
        self.device = config.device if config.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        self.ends = course.ends()
        self.done = self.first = 0
        ground = Ground(config.episodes, True, config.lanes, self.device)
        self.crew: Workforce[PlannerOrder, tuple[int, int]]
        self.crew = Workforce(ground, config.workers or usable_processors(), PlannerHand)
        self.judge = Judge(course, self.crew, folder, config.select, save_planner)
        self.predictor: dict[str, float] = {}
        self.pupil = self._restored() or self._begun()
        self.curve: list[dict[str, float]] = []

    def run(self) -> PlannerReport:
        """Do what is left."""
        log = MetricsLog(self.folder, self.first)
        try:
            for iteration, end in enumerate(self.ends):
                if self.done < end:
                    self._iterate(iteration, log)
        finally:
            log.close()
            self.crew.close()
        return PlannerReport(self.folder, self.done, self.first, self.curve)

    def _iterate(self, iteration: int, log: MetricsLog) -> None:
        """Make the walks of an iteration, learn from all there are, and judge what was learned."""
        walks = self._collect(iteration)
        earlier = [walk for k in range(iteration) for walk in self._walks(k).all()]
        lessons = DecisionLessons([*earlier, *walks], self.course.tours, self.pupil.agent, self.config.learning)
        start, end = ([0, *self.ends][iteration], self.ends[iteration])
        progress = TrainingProgress(
            self.console, self.ends[-1], self.done, "walks", resumes=start < self.done == self.first
        )
        try:
            last = self._learn(lessons, iteration, log, progress)
        finally:
            progress.close()
        last |= {**_describe(walks), **self.predictor, **self.judge.judge(self.pupil.agent, iteration)}
        log.add(end, last, progress.clips_per_s, "walks")
        self._save()
        self.curve.append({"iteration": iteration, "step": end, **last})
        self._tell(iteration, last)

    def _learn(
        self, lessons: DecisionLessons, iteration: int, log: MetricsLog, progress: TrainingProgress
    ) -> dict[str, float]:
        """Take the steps of an iteration that are left; return the last window's metrics, which are not logged yet."""
        seed, start, end = self.config.seed, [0, *self.ends][iteration], self.ends[iteration]
        window: list[dict[str, Tensor]] = []
        found: dict[str, float] = {}
        for number in range(self.done + 1, end + 1):
            epoch, place = divmod(number - 1 - start, len(lessons))
            batch = lessons.batch(place, (seed, 2, iteration, epoch), (seed, 3, number))
            window.append(self.pupil.step(number, batch, draw_seed(seed, number)))
            self.done = number
            progress.advance(len(batch))
            keeps = number % self.config.checkpoint_every == 0
            if number == end or keeps or number % self.config.log_every == 0:
                found = {"iteration": iteration, "lr": self.pupil.lr, **self._means(window)}
                progress.tell(found)
                window = []
                if number < end:  # the last line of an iteration waits for what it is judged by
                    log.add(number, found, progress.clips_per_s, "walks")
            if keeps and number < end:
                self._save()
        return found

    def _means(self, window: list[dict[str, Tensor]]) -> dict[str, float]:
        found = means(window)
        if not math.isfinite(found["loss"]):
            raise DivergedError(f"step {self.done}: the loss is {found['loss']}; try a lower learning.lr")
        return found

    def _collect(self, iteration: int) -> list[DecidedWalk]:
        """Make the walks of an iteration that are missing; return all of them."""
        folder = self._walks(iteration)
        parts = self.course.parts(iteration)
        there = set(folder.numbers())
        missing = [number for number in range(len(parts)) if number not in there]
        if missing and self.done > [0, *self.ends][iteration]:
            raise WalksError(f"{folder.path}: has lost walks that this run was learning from; begin another run")
        if missing:
            self._walk(folder, iteration, [(number, parts[number]) for number in missing])
        return folder.all()

    def _walk(self, folder: DecidedWalks, iteration: int, parts: Sequence[tuple[int, tuple[Episode, ...]]]) -> None:
        oracle, seed = self.config.oracle, draw_seed(self.config.seed, 4, iteration)
        agent = (self.folder / "last").resolve() / AGENT
        share, limit = oracle.p**iteration, oracle.max_steps
        orders = [PlannerOrder(folder.path, n, episodes, agent, share, seed, limit) for n, episodes in parts]
        sizes = {n: len(episodes) for n, episodes in parts}
        total = self.course.tours_an_iteration
        progress = FilmProgress(self.console, total - sum(sizes.values()), total)
        try:
            for number, actions in self.crew.collect(orders):
                for walk in range(sizes[number]):
                    progress.add(actions * (walk + 1) // sizes[number] - actions * walk // sizes[number])
        finally:
            progress.close()

    def _save(self) -> None:
        place = {"best": self.judge.best, **self.predictor}
        self.pupil.save(self.folder, self.done, self.config.keep, place)

    def _restored(self) -> PlannerPupil | None:
        """Return what the newest checkpoint holds, if there is one."""
        remove_unfinished(self.folder)
        found = list_checkpoints(self.folder)
        if not found:
            return None
        pupil = PlannerPupil(load_pupil(found[-1], self.device), self.config.learning, self.ends[-1])
        self.predictor = pupil.restore(found[-1])
        self.judge.best = self.predictor.pop("best")
        self.done = self.first = found[-1].step
        return pupil

    def _begun(self) -> PlannerPupil:
        config = self.config.predictor
        if self.console is not None and self.config.start is None and self.config.predictor_from is None:
            words = f"learning where one can walk: {config.places:,} places, {config.steps:,} steps"
            self.console.print(words, soft_wrap=True, highlight=False)
        agent, self.predictor = self.course.begin(self.device)
        self.pupil = PlannerPupil(agent, self.config.learning, self.ends[-1])
        self._save()  # who walks first, walks with these weights
        if self.console is not None and self.predictor:
            shares = [f"{100 * self.predictor[f'predictor_{name}']:.0f}%" for name in ("walkable", "chance")]
            words = f"{shares[0]} of the candidates in unseen houses can be walked to; of all places {shares[1]}"
            self.console.print(words, soft_wrap=True, highlight=False)
        return self.pupil

    def _walks(self, iteration: int) -> DecidedWalks:
        return DecidedWalks(self.folder / "walks" / f"{iteration:02d}")

    def _tell(self, iteration: int, metrics: dict[str, float]) -> None:
        if self.console is None:
            return
        scores = [
            f"{split} SR {100 * metrics[f'{split}_success']:.1f} SPL {100 * metrics[f'{split}_spl']:.1f}"
            for split in self.course.validation
        ]
        led = f"walks arrived {100 * metrics['walks_success']:.0f}%"
        words = ", ".join([f"accuracy {metrics['accuracy']:.3f}", led, *scores])
        self.console.print(f"iteration {iteration}: {words}", soft_wrap=True, highlight=False)


def _describe(walks: Sequence[DecidedWalk]) -> dict[str, float]:
    """Return what is to be known of an iteration's walks."""
    decisions = sum(len(walk.lesson) for walk in walks)
    alike = sum(int((walk.lesson.wanted == walk.lesson.taken).sum()) for walk in walks)
    return {
        "walks": len(walks),
        "walks_decisions": decisions,
        "walks_as_wanted": alike / decisions,
        "walks_success": float(np.mean([walk.success for walk in walks])),
    }
