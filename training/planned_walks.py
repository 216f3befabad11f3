"""Walks of planners on disk: what was seen at each decision, as features, and what the oracle would have done."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from navloop.agent.policies.planner_tokens import PanoramaFeatures
from navloop.agent.waypoints import Candidates
from navloop.records import Tour
from navloop.training.planning import Lesson
from navloop.training.walks import WalksError
from navloop.weights import read_weights, write_weights

_NAME = re.compile(r"part_(\d+)\.safetensors")
_CELLS = ("angle_cells", "distance_cells", "heat", "valid")
_ABOUT = "walks"


@dataclass(frozen=True, slots=True)
class DecidedWalk:
    """A walk of a planner, and whose it was."""

    episode_id: str
    trajectory_id: str
    scene_id: str
    lesson: Lesson
    success: bool
    """Whether it stopped at the goal, whoever decided."""

    @property
    def tour(self) -> Tour:
        """What it shares with the episodes that tell it."""
        return self.scene_id, self.trajectory_id


class DecidedWalks:
    """A folder of walks, in parts that are whole or absent.

    Features are kept at half precision; a part of 64 short walks at the published sizes is about 12 MB.

    Args:
        path: The folder; it need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def numbers(self) -> list[int]:
        """Return the numbers of the parts that are there."""
        return sorted(int(found[1]) for entry in self.path.glob("part_*") if (found := _NAME.fullmatch(entry.name)))

    def write(self, number: int, walks: Sequence[DecidedWalk]) -> None:
        """Write a part; once this returns it outlives a kill.

        Raises:
            OSError: If it cannot be written.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lessons = [walk.lesson for walk in walks]
        state = {
            "decisions": torch.tensor([len(lesson) for lesson in lessons]),
            "words": torch.tensor([len(lesson.ids) for lesson in lessons]),
            "ids": torch.cat([lesson.ids for lesson in lessons]),
            "rgb": torch.cat([lesson.seen.rgb for lesson in lessons]).half(),
            "depth": torch.cat([lesson.seen.depth for lesson in lessons]).half(),
            "wanted": torch.cat([lesson.wanted for lesson in lessons]),
            "taken": torch.cat([lesson.taken for lesson in lessons]),
            **{name: torch.cat([getattr(lesson.candidates, name) for lesson in lessons]) for name in _CELLS},
        }
        about = [[w.episode_id, w.trajectory_id, w.scene_id, w.success] for w in walks]
        write_weights(self._file(number), state, {_ABOUT: json.dumps(about)})

    def read(self, number: int) -> list[DecidedWalk]:
        """Return the walks of a part.

        Raises:
            WalksError: If it is no part of walks.
        """
        file = self._file(number)
        found = read_weights(file)
        try:
            about = json.loads(found.metadata[_ABOUT])
            return [
                DecidedWalk(str(episode), str(trajectory), str(scene), lesson, bool(done))
                for (episode, trajectory, scene, done), lesson in zip(about, _lessons(found.state), strict=True)
            ]
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            raise WalksError(f"{file}: holds no walks of a planner ({error!r}); begin another run") from error

    def all(self) -> list[DecidedWalk]:
        """Return the walks of all parts."""
        return [walk for number in self.numbers() for walk in self.read(number)]

    def _file(self, number: int) -> Path:
        return self.path / f"part_{number:04d}.safetensors"


def _lessons(state: dict[str, Tensor]) -> list[Lesson]:
    steps, words = state["decisions"].tolist(), state["words"].tolist()
    parts = {name: state[name].split(steps) for name in ("rgb", "depth", "wanted", "taken", *_CELLS)}
    ids = state["ids"].split(words)
    return [
        Lesson(
            ids[row],
            PanoramaFeatures(parts["rgb"][row], parts["depth"][row]),
            Candidates(*(parts[name][row] for name in _CELLS)),
            parts["wanted"][row],
            parts["taken"][row],
        )
        for row in range(len(steps))
    ]
