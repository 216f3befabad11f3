"""The command that trains an agent by imitation: walks are made, learned from, judged; again and again, and resumed exactly."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from navloop.agent.policy_agent import PolicyAgent, create_policy_agent
from navloop.agent.refitting import change_encoder
from navloop.agent.saving import load_agent
from navloop.configs.imitation import ImitationConfig
from navloop.configs.loader import dump
from navloop.provenance import usable_processors
from navloop.records import SOURCES
from navloop.runs import RunFolder
from navloop.training.agent_learner import AGENT, AgentLearner
from navloop.training.checkpoints import LAST, Checkpoint
from navloop.training.collection import Crew, Ground, Order, encode_missing, walk_parts
from navloop.training.courses import IteratedCourse, Judge
from navloop.training.devices import find_device
from navloop.training.iterations import Iterations, IterationsReport, Parts
from navloop.training.recollection import Texts, join_texts, recall
from navloop.training.rollouts import Rules
from navloop.training.starts import load_start, tell_agent
from navloop.training.steps import draw_seed
from navloop.training.walk_batches import LessonBatch, Lessons
from navloop.training.walks import Walk, WalkFolder


def train_by_imitation(config: ImitationConfig, folder: Path, console: Console | None = None) -> IterationsReport:
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


class School(IteratedCourse):
    """What a recipe's episodes come to: tours to learn from, recorded walks besides, and episodes to be judged by.

    Raises:
        ValueError: As `Course`; if recorded walks are in scenes of `val_unseen`.
    """

    def __init__(self, config: ImitationConfig) -> None:
        self.start, digests = load_start(config)
        agent = config.agent if self.start is None else self.start.config
        super().__init__(config, agent, config.collection, config.learning)
        self.config: ImitationConfig = config
        self.fingerprints |= digests
        self.recollections = [recall(recorded) for recorded in config.walks]
        for recorded, recollection in zip(config.walks, self.recollections, strict=True):
            self.refuse_unseen(recollection.scenes, recorded.folder)
            self.fingerprints[recorded.folder] = recollection.fingerprint

    @property
    def recorded(self) -> int:
        """Walks that are there before the first."""
        return sum(recollection.walks for recollection in self.recollections)

    @cached_property
    def told(self) -> Texts:
        """What walkers are told, on recorded walks too.

        Raises:
            WalksError: If one episode id stands for two instructions.
        """
        recorded = (episode for recollection in self.recollections for episode in recollection.episodes)
        return join_texts([*self.episodes, *recorded])


class _Run(Iterations[LessonBatch]):
    """A run in progress."""

    learner: AgentLearner
    crew: Crew

    def __init__(self, school: School, folder: Path, console: Console | None) -> None:
        self.school, self.config = school, school.config
        self.device = find_device(school.config.device)
        super().__init__(school, folder, console)

    @property
    def agent(self) -> PolicyAgent:
        """Who learns."""
        return self.learner.agent

    def begin(self) -> AgentLearner:
        """Return the learner of a new agent, or of the one to start from."""
        config, protocol = self.config, self.school.protocol.label
        texts = list(self.school.told.own.values())
        agent = self.school.start
        if agent is None:
            agent = create_policy_agent(config.agent, texts, seed=config.seed)
        elif config.start_encoder is not None:
            agent = change_encoder(agent, Path(config.start_encoder))
        agent.protocol = protocol
        tell_agent(agent, texts, self.console)
        return AgentLearner(agent.to(self.device), config.learning, self.ends[-1])

    def load(self, checkpoint: Checkpoint) -> AgentLearner:
        """Return the learner of a checkpoint's agent."""
        return AgentLearner(
            load_agent(checkpoint.checked(AGENT), device=self.device), self.config.learning, self.ends[-1]
        )

    def hire(self) -> Judge:
        """Hire a crew, and return who has it measure."""
        config, perception = self.config, self.agent.perception
        self.digest = None if perception.config.trainable else perception.digest  # of the features that are kept
        ground = Ground(config.episodes, perception.config.depth, config.lanes, self.device)
        self.crew = Crew(ground, config.workers or usable_processors())
        return Judge(self.school, self.crew, self.folder, config.select)

    def walked(self, iteration: int) -> set[int]:
        """Return the numbers of the parts that are there."""
        return {part.number for part in self._walks(iteration).parts}

    def walk(self, iteration: int, parts: Parts) -> None:
        """Make missing parts."""
        collection, folder = self.config.collection, self._walks(iteration)
        keeps, mirrors = self.digest is not None, self.config.learning.mirror
        rules, seed = Rules.of(collection, iteration), draw_seed(self.config.seed, 4, iteration)
        agent = (self.folder / LAST).resolve() / AGENT
        orders = [Order(folder.path, n, e, agent, rules, seed, keeps, mirrors) for n, e in parts]
        walk_parts(self.crew, folder, orders, self.school.tours_an_iteration, self.console)

    def describe(self, iteration: int) -> dict[str, float]:
        """Return how many walks there are, where they ended and who walked them."""
        walks = [walk for part in self._walks(iteration).parts for walk in part.walks]
        return _describe(walks) if walks else {}

    def lessons(self, iteration: int) -> Lessons:
        """Return the walks up to an iteration, and those recorded before."""
        folders = [recollection.folder for recollection in self.school.recollections]
        folders += [self._walks(k) for k in range(min(iteration + 1, self.config.collection.iterations))]
        if self.digest is not None:
            for folder in folders:
                encode_missing(folder, self.agent.perception, self.config.learning.mirror)
        return Lessons(folders, self.school.told.tours, self.school.told.own, self.digest, self.config.learning)

    def _walks(self, iteration: int) -> WalkFolder:
        return WalkFolder(self.walks_folder(iteration))


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
