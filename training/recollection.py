"""Recorded walks as something to learn from: folders of walks, each with the episode file that says what its walkers were told."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from navloop.configs.imitation import RecordedConfig
from navloop.envs.episodes import read_episodes
from navloop.files import fingerprint
from navloop.records import Episode, Tour
from navloop.training.walks import WalkFolder, WalksError


class Recollection(NamedTuple):
    """The walks of one folder.

    Attributes:
        folder: Where they lie.
        episodes: Those that they are of, or that share a tour with them.
        fingerprint: Of all of them.
    """

    folder: WalkFolder
    episodes: tuple[Episode, ...]
    fingerprint: str

    @property
    def walks(self) -> int:
        """How many they are."""
        return sum(len(part.walks) for part in self.folder.parts)

    @property
    def scenes(self) -> frozenset[str]:
        """Ids of the scenes that they are in."""
        return frozenset(walk.scene_id for part in self.folder.parts for walk in part.walks)

    @property
    def frames(self) -> int:
        """How many frames they have."""
        return sum(len(walk) for part in self.folder.parts for walk in part.walks)


class Texts(NamedTuple):
    """What is told.

    Attributes:
        tours: All wordings of each tour.
        own: Text of each episode, by its id.
    """

    tours: dict[Tour, list[str]]
    own: dict[str, str]


def recall(config: RecordedConfig) -> Recollection:
    """Return the walks that a recipe names.

    Raises:
        WalksError: If there are none, they cannot be read, or the episode file lacks one of them.
    """
    folder, path = WalkFolder(Path(config.folder)), Path(config.episodes)
    walks = [walk for part in folder.parts for walk in part.walks]
    if not walks:
        raise WalksError(
            f"{config.folder}: holds no walks (no whole part in index.jsonl); name a folder that has some, such as walks/00 of a run"
        )
    file = read_episodes(path)
    told: dict[Tour, set[str]] = {}
    for episode in file.episodes:
        told.setdefault(episode.tour, set()).add(episode.episode_id)
    for walk in walks:
        if walk.episode_id not in told.get(walk.tour, ()):
            raise WalksError(
                f"{config.folder}: has a walk of episode {walk.episode_id} ({walk.scene_id}, trajectory {walk.trajectory_id}), which "
                f"{path} lacks; name the episode file that the walks are of"
            )
    tours = {walk.tour for walk in walks}
    kept = tuple(e for e in file.episodes if e.tour in tours)
    parts: list[bytes | Path] = [folder.index, path]
    return Recollection(folder, kept, fingerprint(*parts))


def join_texts(episodes: Iterable[Episode]) -> Texts:
    """Return the words of episodes that several files may have.

    Raises:
        WalksError: If one id stands for two instructions.
    """
    tours: dict[Tour, list[str]] = {}
    own: dict[str, str] = {}
    for episode in episodes:
        text, tour = episode.instruction.text, episode.tour
        if own.setdefault(episode.episode_id, text) != text:
            raise WalksError(
                f"episode {episode.episode_id} is told {own[episode.episode_id]!r} in one file and {text!r} in another; give the episodes "
                "of recorded walks ids of their own"
            )
        wordings = tours.setdefault(tour, [])
        if text not in wordings:
            wordings.append(text)
    return Texts(tours, own)
