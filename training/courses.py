"""What a recipe's episodes come to: those that an agent learns from, and those that it is judged by on the way."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from navloop.agent.agents import BatchAgent
from navloop.agent.policy_agent import check_turn
from navloop.agent.saving import save_agent
from navloop.configs.agents import AgentConfig
from navloop.configs.imitation import TrainConfig
from navloop.configs.iterations import LessonsConfig, WalkingConfig
from navloop.envs import protocols
from navloop.envs.episodes import read_episodes, select
from navloop.envs.metrics import aggregate
from navloop.envs.worlds import require_world
from navloop.files import write_text
from navloop.records import Episode
from navloop.training.collection import Trial
from navloop.training.evaluation import select_episodes
from navloop.training.rollouts import protocol_of
from navloop.training.rows import Row
from navloop.training.steps import draw_seed
from navloop.training.tours import by_tour, draw_parts
from navloop.training.unseen import refuse_scenes, scenes_of

BEST = "best"
"""Folder of the agent that did best on the split that selects."""
JUDGED = "judged.json"
"""File in it that says after which iteration, and how well."""

_SHOWN = ("success", "spl", "oracle_success", "navigation_error", "ndtw", "path_length", "steps")


class Course:
    """Episodes to learn from, and episodes to be judged by.

    Args:
        config: Names them.
        agent: Who is to walk them.

    Attributes:
        protocol: With the cameras that the agent looks at.
        fingerprints: Of each episode file, by split.
        episodes: To learn from.
        unseen: Ids of the scenes of `val_unseen`, in which nothing may be learned, whether or not anybody is judged there.
        validation: To be judged by, by split.

    Raises:
        ValueError: If a file is missing or broken, or has no episode in a language of the protocol, or no goals; if an episode to learn
            from is in a scene of `val_unseen`.
    """

    def __init__(self, config: TrainConfig, agent: AgentConfig) -> None:
        require_world(config.episodes.world)
        self.config = config
        self.protocol = self._walked_under(agent)
        self.fingerprints: dict[str, str] = {}
        self.episodes = self._read("train", config.episodes.train)
        unseen = config.episodes.val_unseen
        self.unseen = frozenset() if unseen is None else scenes_of(unseen)
        self.refuse_unseen((episode.scene_id for episode in self.episodes), config.episodes.train)
        splits = {"val_seen": config.episodes.val_seen, "val_unseen": config.episodes.val_unseen}
        self.validation = {
            split: select_episodes(self._read(split, file), config.evaluate, config.seed)
            for split, file in splits.items()
            if file is not None and config.evaluate
        }

    def refuse_unseen(self, scenes: Iterable[str], source: str) -> None:
        """Refuse scenes to learn in that are among those of `val_unseen`.

        Args:
            scenes: Their ids.
            source: File or folder that has them, for the message.

        Raises:
            ValueError: If there is one, naming it.
        """
        refuse_scenes(scenes, self.unseen, f"{source} and episodes.val_unseen {self.config.episodes.val_unseen}")

    def _walked_under(self, agent: AgentConfig) -> protocols.Protocol:
        """Return the recipe's protocol with the cameras that the agent looks at."""
        protocol = protocol_of(self.config.episodes, agent.perception.depth)
        check_turn(agent.policy, protocol)
        return protocol

    def _read(self, split: str, name: str) -> tuple[Episode, ...]:
        file = read_episodes(Path(name))
        self.fingerprints[split] = file.fingerprint
        spoken = tuple(select(file.episodes, languages=self.protocol.languages))
        if not spoken:
            raise ValueError(
                f"{name}: none of its episodes is in a language of {self.protocol.label}; choose another file"
            )
        if spoken[0].goal_position is None:
            raise ValueError(f"{name}: its episodes have no goals, so nobody can say how to walk; choose another file")
        if split == "train":
            self._require_mirrored(spoken, name)
        return spoken

    def _require_mirrored(self, episodes: Sequence[Episode], name: str) -> None:
        """Refuse walks in a mirror whose instructions would stay as they are: they would teach the wrong side."""
        if not self.config.mirrors:
            return
        for episode in episodes:
            if not episode.instruction.language.startswith("en"):
                raise ValueError(
                    f"{name}: episode {episode.episode_id} is told in {episode.instruction.language!r}, and learning.mirror swaps left and right in "
                    "English alone; add learning.mirror=false"
                )


class IteratedCourse(Course):
    """A course whose tours are walked in iterations, each learned from together with all before.

    Args:
        config: Names the episodes.
        agent: Who is to walk them.
        walking: How many walks each iteration adds.
        learning: How long each learns.

    Attributes:
        tours: Episodes of each tour.

    Raises:
        ValueError: As `Course`.
    """

    def __init__(
        self, config: TrainConfig, agent: AgentConfig, walking: WalkingConfig, learning: LessonsConfig
    ) -> None:
        super().__init__(config, agent)
        self._walking, self._learning = walking, learning
        self.tours = by_tour(self.episodes)

    @property
    def tours_an_iteration(self) -> int:
        """Walks that each iteration adds."""
        return min(self._walking.tours or len(self.tours), len(self.tours))

    @property
    def recorded(self) -> int:
        """Walks that are there before the first."""
        return 0

    def ends(self) -> list[int]:
        """Return the optimiser steps after which each iteration is done; where nobody walks, recorded walks make one."""
        learning, added = self._learning, self.tours_an_iteration
        walks = [self.recorded + added * (k + 1) for k in range(self._walking.iterations)] or [self.recorded]
        steps = [learning.steps or math.ceil(learning.epochs * -(-count // learning.batch)) for count in walks]
        return [int(end) for end in np.cumsum(steps)]

    def parts(self, iteration: int) -> list[tuple[Episode, ...]]:
        """Return the episodes that an iteration walks, in parts of few scenes: of each tour that is drawn, one wording."""
        if not self._walking.iterations:
            return []
        return draw_parts(self.tours, self.tours_an_iteration, self._walking.part, (self.config.seed, 1, iteration))


class Measures(Protocol):
    """Whoever measures agents; a crew, say."""

    def measure(self, trials: Sequence[Trial]) -> Iterator[list[Row]]:
        """Walk the episodes of trials and yield the rows of each as it is done."""


class Judge:
    """Measures an agent on the way, keeps the rows, and the agent that did best.

    Args:
        course: Whose validation episodes are walked.
        crew: Who walks them.
        folder: Of the run.
        select: Split whose SPL says who did best.
        save: Writes an agent of this sort into a folder.

    Attributes:
        best: SPL of the best so far; -inf before the first.
    """

    def __init__(
        self,
        course: Course,
        crew: Measures,
        folder: Path,
        select: str,
        save: Callable[[Any, Path], None] = save_agent,
    ) -> None:
        self._course, self._crew, self._folder, self._select, self._save = course, crew, folder, select, save
        self.best = -math.inf

    def judge(self, agent: BatchAgent, number: int) -> dict[str, float]:
        """Walk the validation episodes with an agent as it is, and return averages such as "val_seen_spl".

        Args:
            agent: It becomes `best` if it did better than all before.
            number: Of the measurement, for the names of the files of rows.
        """
        if not self._course.validation:
            return {}
        saved = self._folder / f".judged_{number:02d}"
        self._save(agent, saved)
        found: dict[str, float] = {}
        for split, episodes in self._course.validation.items():
            rows = self._walk(saved, episodes)
            write_text(
                self._folder / "evaluations" / f"{number:02d}_{split}.jsonl",
                "".join(f"{row.to_line()}\n" for row in rows),
            )
            averages = aggregate([row.metrics for row in rows])
            values = {name: averages.means[name] for name in _SHOWN}
            found |= {f"{split}_{name}": value for name, value in values.items() if value is not None}
            if averages.unreachable:  # failures that no mean distance has
                found[f"{split}_unreachable"] = float(averages.unreachable)
        shutil.rmtree(saved)
        score = found.get(f"{self._select}_spl")
        if score is not None and score > self.best:
            self.best = score
            self._save(agent, self._folder / BEST)
            told = {"number": number, "split": self._select, "spl": score}
            write_text(self._folder / BEST / JUDGED, json.dumps(told) + "\n")
        return found

    def words(self, metrics: Mapping[str, float]) -> list[str]:
        """Return SR and SPL on each split in words, from what `judge` returned."""
        return [
            f"{split} SR {100 * metrics[f'{split}_success']:.1f} SPL {100 * metrics[f'{split}_spl']:.1f}"
            for split in self._course.validation
        ]

    def _walk(self, agent: Path, episodes: Sequence[Episode]) -> list[Row]:
        config = self._course.config
        size, seed = 2 * config.lanes, draw_seed(config.seed, 5)
        trials = [Trial(agent, tuple(episodes[i : i + size]), seed) for i in range(0, len(episodes), size)]
        place = {episode.episode_id: number for number, episode in enumerate(episodes)}
        rows = [row for done in self._crew.measure(trials) for row in done]
        return sorted(rows, key=lambda row: place[row.episode_id])
