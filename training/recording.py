"""One part of a collection at a time: walked, measured and stored. What a worker of `navloop collect` does."""

from __future__ import annotations

import math
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from navloop.agent.agents import BatchAgent, SeparateAgents, cameras_of
from navloop.configs.collect import CollectConfig
from navloop.envs.metrics import evaluate
from navloop.records import Episode
from navloop.training.entrants import Entrant
from navloop.training.rollout import episode_seed
from navloop.training.rollouts import Rollout, Rollouts, Rules, protocol_of
from navloop.training.store import Record, StoreAbout, StoredEpisode, StoreWriter

EXPERT = "expert"
"""Name of the agent that is the expert itself."""


class Part(NamedTuple):
    """Some episodes of one scene, walked side by side.

    Attributes:
        key: Its number.
        episodes: In the order they begin.
        keys: What the store calls their walks.
    """

    key: int
    episodes: tuple[Episode, ...]
    keys: tuple[str, ...]

    @property
    def group(self) -> str:
        """Its scene."""
        return self.episodes[0].scene_id

    def __str__(self) -> str:
        return (
            f"part {self.key} ({self.group}, episodes {self.episodes[0].episode_id} and {len(self.episodes) - 1} more)"
        )


class Recorder:
    """Walks parts and stores them, holding the worlds and the agent in memory.

    Args:
        config: Who walks what.
        folder: Of the store.
        entrant: Who walks; None is the expert alone.
        place: Of the worker.
    """

    def __init__(self, config: CollectConfig, folder: Path, entrant: Entrant | None, place: int) -> None:
        self._config, self._entrant = config, entrant
        ground = config.ground(place)
        self._protocol = protocol_of(ground, depth_of(config, entrant))
        self._agent = None if entrant is None else _make(config, entrant, place)
        if self._agent is not None:
            cameras_of(self._agent, self._protocol)
        about = StoreAbout.of(
            self._protocol, config.world, fps=config.fps, quality=config.quality, gop=config.gop, depth=config.depth
        )
        self._writer = StoreWriter(folder, about)
        self._rollouts = Rollouts(ground, self._protocol, min(config.lanes, config.part))

    def do(self, part: Part) -> list[int]:
        """Walk a part, store its walks as each ends, and return how long they are.

        Raises:
            ValueError: If it cannot be walked.
            OSError: If it cannot be stored.
        """
        lengths = []
        rules = rules_of(self._config, self._entrant)
        for rollout in self._rollouts.collect(self._agent, part.episodes, rules, self._config.seed):
            self._writer.append(self._record(rollout))
            lengths.append(len(rollout.walk))
        return lengths

    def close(self) -> None:
        """Give everything back."""
        self._rollouts.close()
        self._writer.close()

    def _record(self, rollout: Rollout) -> Record:
        episode = rollout.episode
        metrics = evaluate(rollout.trajectory, episode, self._protocol)
        values = {field.name: getattr(metrics, field.name) for field in fields(metrics)}
        told = blank(self._config, self._entrant, episode)
        return Record.of(
            rollout,
            policy=told.policy,
            seed=told.seed,
            source=told.source,
            round=told.round,
            weights=told.weights,
            metrics={name: float(value) for name, value in values.items() if value is not None},
        )


def rules_of(config: CollectConfig, entrant: Entrant | None) -> Rules:
    """Return who acts when."""
    acting = config.acting
    return Rules(
        beta=1.0 if entrant is None else acting.beta,
        off_path=math.inf if acting.off_path is None else acting.off_path,
        early_stop=acting.early_stop,
        late_stop=acting.late_stop,
        max_steps=acting.max_steps,
        stop_within=acting.stop_within,
    )


def depth_of(config: CollectConfig, entrant: Entrant | None) -> bool:
    """Return whether depth is drawn: to be stored, or because the agent looks at it."""
    return config.depth or (entrant is not None and "depth" in entrant.cameras and entrant.kind == "saved")


def blank(config: CollectConfig, entrant: Entrant | None, episode: Episode) -> StoredEpisode:
    """Return what is told of a walk before it is walked."""
    return StoredEpisode(
        episode_id=episode.episode_id,
        trajectory_id=episode.trajectory_id,
        scene_id=episode.scene_id,
        instruction=episode.instruction.text,
        policy=EXPERT if entrant is None else entrant.label,
        weights=None if entrant is None else entrant.weights,
        seed=episode_seed(config.seed, episode.episode_id),
        source=config.source,
        round=config.round,
        success=False,
    )


def _make(config: CollectConfig, entrant: Entrant, place: int) -> BatchAgent:
    if entrant.kind in ("named", "class"):
        return SeparateAgents(partial(entrant.make, config.entry(), place))
    import torch  # workers of agents without networks load none of it

    torch.set_num_threads(1)  # what is computed is then the same in any number of workers
    agent: Any = entrant.make(config.entry(), place)
    made: BatchAgent = agent
    return made
