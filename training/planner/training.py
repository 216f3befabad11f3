"""The command that trains a planner: where one can walk, then walks with an oracle, learned from and judged, again and again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from navloop.agent.planner_agent import PlannerAgent
from navloop.agent.planner_saving import load_planner, save_planner
from navloop.configs.loader import dump
from navloop.configs.planning import PlannerTrainConfig
from navloop.provenance import usable_processors
from navloop.runs import RunFolder
from navloop.training.agent_learner import AGENT
from navloop.training.checkpoints import LAST, Checkpoint
from navloop.training.collection import Ground, Workforce
from navloop.training.courses import Judge
from navloop.training.devices import find_device
from navloop.training.iterations import Iterations, IterationsReport, Parts
from navloop.training.planned_walks import DecidedWalk, DecidedWalks
from navloop.training.planner.course import PlannerCourse
from navloop.training.planner.crew import PlannerHand, PlannerOrder
from navloop.training.planner.learner import PlannerLearner
from navloop.training.planner.lessons import DecisionLessons
from navloop.training.planning import Lesson
from navloop.training.progress import FilmProgress
from navloop.training.steps import draw_seed


def train_by_oracle(config: PlannerTrainConfig, folder: Path, console: Console | None = None) -> IterationsReport:
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


class _Run(Iterations[Sequence[Lesson]]):
    """A run in progress; `findings` are what is known of the waypoint predictor."""

    learner: PlannerLearner
    crew: Workforce[PlannerOrder, tuple[int, int]]

    def __init__(self, course: PlannerCourse, folder: Path, console: Console | None) -> None:
        self.planner_course, self.config = course, course.config
        self.device = find_device(course.config.device)
        super().__init__(course, folder, console)

    @property
    def agent(self) -> PlannerAgent:
        """Who learns."""
        return self.learner.agent

    def begin(self) -> PlannerLearner:
        """Return the learner of a new planner, whose waypoint predictor is trained first, or of the one to start from."""
        config = self.config.predictor
        if self.config.start is None and self.config.predictor_from is None:
            self._say(f"learning where one can walk: {config.places:,} places, {config.steps:,} steps")
        agent, self.findings = self.planner_course.begin(self.device)
        if self.findings:
            walkable, chance = (100 * self.findings[f"predictor_{name}"] for name in ("walkable", "chance"))
            self._say(
                f"{walkable:.0f}% of the candidates in unseen houses can be walked to; of all places {chance:.0f}%"
            )
        return PlannerLearner(agent, self.config.learning, self.ends[-1])

    def load(self, checkpoint: Checkpoint) -> PlannerLearner:
        """Return the learner of a checkpoint's planner."""
        return PlannerLearner(
            load_planner(checkpoint.checked(AGENT), device=self.device), self.config.learning, self.ends[-1]
        )

    def hire(self) -> Judge:
        """Hire a crew, and return who has it measure."""
        config = self.config
        ground = Ground(config.episodes, True, config.lanes, self.device)
        self.crew = Workforce(ground, config.workers or usable_processors(), PlannerHand)
        return Judge(self.course, self.crew, self.folder, config.select, save_planner)

    def walked(self, iteration: int) -> set[int]:
        """Return the numbers of the parts that are there."""
        return set(self._walks(iteration).numbers())

    def walk(self, iteration: int, parts: Parts) -> None:
        """Make missing parts."""
        oracle, seed = self.config.oracle, draw_seed(self.config.seed, 4, iteration)
        agent, folder = (self.folder / LAST).resolve() / AGENT, self.walks_folder(iteration)
        share, limit = oracle.p ** (iteration + oracle.walked), oracle.max_steps
        orders = [PlannerOrder(folder, n, episodes, agent, share, seed, limit) for n, episodes in parts]
        sizes = {n: len(episodes) for n, episodes in parts}
        total = self.course.tours_an_iteration
        progress = FilmProgress(self.console, total - sum(sizes.values()), total)
        try:
            for number, actions in self.crew.collect(orders):
                for walk in range(sizes[number]):
                    progress.add(actions * (walk + 1) // sizes[number] - actions * walk // sizes[number])
        finally:
            progress.close()

    def describe(self, iteration: int) -> dict[str, float]:
        """Return how many decisions there are, and where the walks ended."""
        return _describe(self._walks(iteration).all())

    def lessons(self, iteration: int) -> DecisionLessons:
        """Return the walks up to an iteration."""
        walks = [walk for k in range(iteration + 1) for walk in self._walks(k).all()]
        return DecisionLessons(walks, self.course.tours, self.agent, self.config.learning)

    def _walks(self, iteration: int) -> DecidedWalks:
        return DecidedWalks(self.walks_folder(iteration))

    def _say(self, words: str) -> None:
        if self.console is not None:
            self.console.print(words, soft_wrap=True, highlight=False)


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
