"""Scenes that agents are measured in: nothing may be learned there."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from navloop.envs.episodes import read_episodes


def scenes_of(*files: str | Path) -> frozenset[str]:
    """Return the ids of all scenes of episode files: what `never` is for validation splits.

    Raises:
        EpisodeError: If a file cannot be read.
    """
    return frozenset(episode.scene_id for file in files for episode in read_episodes(Path(file), None).episodes)


def refuse_scenes(scenes: Iterable[str], never: Collection[str], what: str) -> None:
    """Refuse scenes that are kept to measure agents in.

    Args:
        scenes: Ids of those that something is to be learned in.
        never: Ids of those that agents are measured in.
        what: Name of the file or source that has them, for the message.

    Raises:
        ValueError: If there is one, naming it.
    """
    found = sorted(set(scenes) & set(never))
    if found:
        others = f" and {len(found) - 1} more" if len(found) > 1 else ""
        raise ValueError(
            f"{what}: {found[0]}{others} is kept to measure agents in; nothing may be learned there, choose other scenes"
        )
