"""Following: an agent is told descriptions, and how near it comes to the walks that they describe is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from navloop.records import Episode
from navloop.training.collection import Crew, Trial
from navloop.training.controls import shuffle_instructions
from navloop.training.rows import Row


def follow(agent: Path, episodes: Sequence[Episode], crew: Crew, seed: int, part: int = 32) -> dict[str, Row]:
    """Walk episodes with an agent alone and return the row of each, by episode id.

    A row's "ndtw" is with the way of the walk that is described, where the episode is one of `relabel` or of new ground.

    Args:
        agent: Folder of a saved agent.
        episodes: With the descriptions as instructions.
        crew: Who walks.
        seed: Of draws.
        part: Episodes that a process is handed at a time.
    """
    trials = [Trial(agent, tuple(episodes[i : i + part]), seed) for i in range(0, len(episodes), part)]
    return {row.episode_id: row for rows in crew.measure(trials) for row in rows}


def follow_others(agent: Path, episodes: Sequence[Episode], crew: Crew, seed: int) -> dict[str, Row]:
    """Walk episodes as `follow` does, each told of another one's walk; nothing where no two of them differ.

    What is followed so is followed without its words: by chance, or because there is but one way to go.
    """
    try:
        told = shuffle_instructions(episodes, seed)
    except ValueError:  # an episode that has no other to draw from
        return {}
    return follow(agent, [replace(one, instruction=told[one.episode_id]) for one in episodes], crew, seed)


def follow_scores(row: Row) -> Mapping[str, float]:
    """Return what filters ask of a row: "ndtw", "success", and "geodesic", metres from the start to the goal (inf: no way)."""
    metrics = row.metrics
    geodesic = float("inf") if metrics.unreachable else float(row.distances[0])
    return {"ndtw": metrics.ndtw or 0.0, "success": metrics.success or 0.0, "geodesic": geodesic}
