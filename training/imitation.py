"""The command that trains an agent by imitation: walks are made, learned from, judged; again and again, and resumed exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from navloop.agent.policy_agent import create_policy_agent
from navloop.agent.refitting import change_encoder
from navloop.agent.saving import load_agent
from navloop.configs.imitation import ImitationConfig
from navloop.configs.loader import dump
from navloop.provenance import usable_processors
from navloop.records import SOURCES, Episode
from navloop.runs import RunFolder
from navloop.training.apprentice import AGENT, Apprentice, load_apprentice, means
from navloop.training.checkpoints import list_checkpoints, remove_unfinished
from navloop.training.collection import Crew, Ground, Order, encode_missing
from navloop.training.courses import Course, Judge
from navloop.training.metrics import MetricsLog, TrainingProgress
from navloop.training.progress import FilmProgress
from navloop.training.recollection import Texts, join_texts, recall
from navloop.training.rollouts import Rules
from navloop.training.steps import draw_seed
from navloop.training.walk_batches import Lessons, Tour
from navloop.training.walks import Walk, WalkFolder, WalksError


class DivergedError(RuntimeError):
    """A loss that is not a number; the message names the step and what to change."""


@dataclass(frozen=True, slots=True)
class ImitationReport:
    """What a run came to."""

    folder: Path
    """Of the run; `folder / "last" / "agent"` and `folder / "best"` are agents."""
    steps: int
    """Optimiser steps done, those of earlier starts included."""
    resumed: int
    """Steps that earlier starts had done."""
    curve: list[dict[str, float]] = field(default_factory=list)
    """A line of metrics an iteration, of those of this start."""


def train_by_imitation(config: ImitationConfig, folder: Path, console: Console | None = None) -> ImitationReport:
    """Train an agent into a run folder, or go on with it.

    The folder gets metrics.jsonl, tensorboard/, walks/ (a folder an iteration), evaluations/ (rows of each), checkpoints step_N/ with the
    agent in `agent`, `last`, a link to the newest, and the agent `best`. All randomness follows from (seed, iteration, step, episode), so
    that a run that was killed and resumed, with however many workers, equals one that was not.

    Raises:
        ValueError: If the recipe does not fit its data, its agent, or what the folder holds.
        DivergedError: If the loss is not finite; the last checkpoint is from before.
        OSError: If something cannot be written.
    """
    school = School(config)
    with RunFolder(folder).open(dump(config), school.fingerprints, config.RESUMABLE), torch.random.fork_rng():
        return _Run(school, folder, console).run()


class School(Course):
    """What a recipe's episodes come to: tours to learn from, and episodes to be judged by.

    Raises:
        ValueError: As `Course`.
    """

    def __init__(self, config: ImitationConfig) -> None:
        super().__init__(config, config.agent)
        self.config: ImitationConfig = config
        self.recollections = [recall(recorded) for recorded in config.walks]
        for recorded, recollection in zip(config.walks, self.recollections, strict=True):
            self.fingerprints[recorded.folder] = recollection.fingerprint
        self._tours: dict[Tour, list[Episode]] = {}
        for episode in self.episodes:
            self._tours.setdefault((episode.scene_id, episode.trajectory_id), []).append(episode)

    @property
    def tours_an_iteration(self) -> int:
        """Walks that each iteration adds."""
        return min(self.config.collection.tours or len(self._tours), len(self._tours))

    @cached_property
    def told(self) -> Texts:
        """What walkers are told, on recorded walks too.

        Raises:
            WalksError: If one episode id stands for two instructions.
        """
        recorded = (episode for recollection in self.recollections for episode in recollection.episodes)
        return join_texts([*self.episodes, *recorded])

    @property
    def texts(self) -> dict[Tour, list[str]]:
        """Wordings of each tour."""
        return self.told.tours

    @property
    def own(self) -> dict[str, str]:
        """Text of each episode."""
        return self.told.own

    def ends(self) -> list[int]:
        """Return the optimiser steps after which each iteration is done; where nobody walks, recorded walks make one."""
        learning, recorded = self.config.learning, sum(recollection.walks for recollection in self.recollections)
        iterations = self.config.collection.iterations
        walks = [recorded + self.tours_an_iteration * (k + 1) for k in range(iterations)] or [recorded]
        steps = [learning.steps or math.ceil(learning.epochs * -(-count // learning.batch)) for count in walks]
        return [int(end) for end in np.cumsum(steps)]

    def parts(self, iteration: int) -> list[tuple[Episode, ...]]:
        """Return the episodes of an iteration, in parts of few scenes: of each tour that is drawn, one wording."""
        rng = np.random.default_rng((self.config.seed, 1, iteration))
        tours = sorted(self._tours)
        drawn = np.sort(rng.permutation(len(tours))[: self.tours_an_iteration]).tolist()
        walked = [self._tours[tours[number]] for number in drawn]
        chosen = [wordings[int(rng.integers(len(wordings)))] for wordings in walked]
        size = self.config.collection.part
        return [tuple(chosen[i : i + size]) for i in range(0, len(chosen), size)]


class _Run:
    """A run in progress."""

    def __init__(self, school: School, folder: Path, console: Console | None) -> None:
        self.school, self.config, self.folder, self.console = school, school.config, folder, console
        config = self.config
        self.device = config.device if config.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        self.ends = school.ends()
        self.done = self.first = 0
        self.best = -math.inf
        restored = self._restored()
        self.apprentice = restored or self._begun()
        perception = self.apprentice.agent.perception
        self.digest = None if perception.config.trainable else perception.digest
        ground = Ground(config.episodes, perception.config.depth, config.lanes, self.device)
        self.crew = Crew(ground, config.workers or usable_processors())
        self.judge = Judge(school, self.crew, folder, config.select)
        self.judge.best = self.best
        if restored is None:
            self._save()  # who walks first, walks with these weights
        self.curve: list[dict[str, float]] = []

    def run(self) -> ImitationReport:
        """Do what is left."""
        log = MetricsLog(self.folder, self.first)
        try:
            for iteration, end in enumerate(self.ends):
                if self.done < end:
                    self._iterate(iteration, log)
        finally:
            log.close()
            self.crew.close()
        return ImitationReport(self.folder, self.done, self.first, self.curve)

    def _iterate(self, iteration: int, log: MetricsLog) -> None:
        """Make the walks of an iteration, learn from all there are, and judge what was learned."""
        walks = self._collect(iteration)
        lessons = self._lessons(iteration)
        start, end = ([0, *self.ends][iteration], self.ends[iteration])
        progress = TrainingProgress(
            self.console, self.ends[-1], self.done, "walks", resumes=start < self.done == self.first
        )
        try:
            last = self._learn(lessons, iteration, log, progress)
        finally:
            progress.close()
        last |= {**(_describe(walks) if walks else {}), **self.judge.judge(self.apprentice.agent, iteration)}
        log.add(end, last, progress.clips_per_s, "walks")
        self._save()
        self.curve.append({"iteration": iteration, "step": end, **last})
        self._tell(iteration, last)

    def _learn(self, lessons: Lessons, iteration: int, log: MetricsLog, progress: TrainingProgress) -> dict[str, float]:
        """Take the steps of an iteration that are left; return the last window's metrics, which are not logged yet."""
        seed, start, end = self.config.seed, [0, *self.ends][iteration], self.ends[iteration]
        window: list[dict[str, Tensor]] = []
        found: dict[str, float] = {}
        order: tuple[int, list[list[int]]] = (-1, [])
        for number in range(self.done + 1, end + 1):
            epoch, place = divmod(number - 1 - start, len(lessons))
            if order[0] != epoch:
                order = epoch, lessons.order((seed, 2, iteration, epoch))
            batch = lessons.batch(order[1][place], (seed, 3, number))
            window.append(self.apprentice.step(number, batch, draw_seed(seed, number)))
            self.done = number
            progress.advance(len(batch.texts))
            keeps = number % self.config.checkpoint_every == 0
            if number == end or keeps or number % self.config.log_every == 0:
                found = {"iteration": iteration, "lr": self.apprentice.lr, **self._means(window)}
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
            raise DivergedError(
                f"step {self.done}: the loss is {found['loss']}; try a lower learning.lr, or learning.precision=fp32"
            )
        return found

    def _collect(self, iteration: int) -> list[Walk]:
        """Make the walks of an iteration that are missing; return all of them."""
        if not self.config.collection.iterations:
            return []
        folder = self._walks(iteration)
        parts = self.school.parts(iteration)
        there = {part.number for part in folder.parts}
        missing = [number for number in range(len(parts)) if number not in there]
        if missing and self.done > [0, *self.ends][iteration]:
            raise WalksError(f"{folder.path}: has lost walks that this run was learning from; begin another run")
        if missing:
            self._walk(folder, iteration, [(number, parts[number]) for number in missing], len(there))
        return [walk for part in folder.parts for walk in part.walks]

    def _walk(
        self, folder: WalkFolder, iteration: int, parts: Sequence[tuple[int, tuple[Episode, ...]]], there: int
    ) -> None:
        rules = Rules.of(self.config.collection, iteration)
        seed = draw_seed(self.config.seed, 4, iteration)
        agent = (self.folder / "last").resolve() / AGENT
        keeps, mirrors = self.digest is not None, self.config.learning.mirror
        orders = [Order(folder.path, n, e, agent, rules, seed, keeps, mirrors) for n, e in parts]
        size = self.config.collection.part
        progress = FilmProgress(self.console, there * size, there * size + sum(len(episodes) for _, episodes in parts))
        try:
            for number, walks in self.crew.collect(orders):
                folder.append(number, walks)
                for walk in walks:
                    progress.add(len(walk))
        finally:
            progress.close()
        folder.sort()

    def _lessons(self, iteration: int) -> Lessons:
        folders = [recollection.folder for recollection in self.school.recollections]
        folders += [self._walks(k) for k in range(min(iteration + 1, self.config.collection.iterations))]
        if self.digest is not None:
            for folder in folders:
                encode_missing(folder, self.apprentice.agent.perception, self.config.learning.mirror)
        return Lessons(folders, self.school.texts, self.school.own, self.digest, self.config.learning)

    def _save(self) -> None:
        self.apprentice.save(self.folder, self.done, self.config.keep, {"best": self.judge.best})

    def _restored(self) -> Apprentice | None:
        """Return what the newest checkpoint holds, if there is one."""
        remove_unfinished(self.folder)
        found = list_checkpoints(self.folder)
        if not found:
            return None
        apprentice = Apprentice(load_apprentice(found[-1], self.device), self.config.learning, self.ends[-1])
        self.best = apprentice.restore(found[-1])["best"]
        self.done = self.first = found[-1].step
        return apprentice

    def _begun(self) -> Apprentice:
        config = self.config
        if config.start is not None:
            agent = load_agent(config.start)
            if config.start_encoder is not None:
                agent = change_encoder(agent, Path(config.start_encoder))
            agent.protocol = self.school.protocol.label
        else:
            texts = list(self.school.own.values())
            agent = create_policy_agent(config.agent, texts, protocol=self.school.protocol.label, seed=config.seed)
        return Apprentice(agent.to(self.device), config.learning, self.ends[-1])

    def _walks(self, iteration: int) -> WalkFolder:
        return WalkFolder(self.folder / "walks" / f"{iteration:02d}")

    def _tell(self, iteration: int, metrics: dict[str, float]) -> None:
        if self.console is None:
            return
        scores = [
            f"{split} SR {100 * metrics[f'{split}_success']:.1f} SPL {100 * metrics[f'{split}_spl']:.1f}"
            for split in self.school.validation
        ]
        words = [f"accuracy {metrics['accuracy']:.3f}", *scores]
        self.console.print(f"iteration {iteration}: {', '.join(words)}", soft_wrap=True, highlight=False)


def _describe(walks: Sequence[Walk]) -> dict[str, float]:
    """Return what is to be known of an iteration's walks."""
    sources = np.concatenate([walk.sources for walk in walks])
    shares = {f"walks_by_{name}": float((sources == code).mean()) for code, name in enumerate(SOURCES)}
    return {
        "walks": len(walks),
        "walks_frames": len(sources),
        "walks_success": float(np.mean([walk.success for walk in walks])),
        **shares,
    }
