"""The episodes a page tells: which ones, and their maps and films."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

import numpy as np

from navloop.configs.schema import EvalConfig
from navloop.envs.episodes import select
from navloop.envs.navigation import NavigationEnv
from navloop.envs.protocols import get_protocol
from navloop.envs.worlds import create_simulator
from navloop.files import fingerprint
from navloop.records import Episode
from navloop.training.controls import shuffle_instructions
from navloop.training.films import film, film_protocol
from navloop.training.maps import episode_map
from navloop.training.rows import Row
from navloop.training.videos import write_video


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One episode on the page.

    Attributes:
        agent: Who walked.
        row: What was walked.
        instruction: What was asked.
        map: SVG.
        film: MP4, base64; None for a map alone.
    """

    agent: str
    row: Row
    instruction: str
    map: str
    film: str | None


def choose_rows(
    rows: Mapping[str, Sequence[Row]], count: int, seed: int, agent: str | None = None
) -> list[tuple[str, Row]]:
    """Return (agent, row) of episodes worth telling: successes and failures in turn, agents in turn, no episode twice.

    Args:
        rows: By agent, the best first.
        count: How many at most.
        seed: Of the choice.
        agent: Tell of this one only; None tells of all.
    """
    rng = np.random.default_rng(seed)
    piles: dict[bool, list[list[tuple[str, Row]]]] = {True: [], False: []}
    for name in rows if agent is None else [agent]:
        order = [rows[name][number] for number in rng.permutation(len(rows[name]))]
        for outcome, pile in piles.items():
            pile.append([(name, row) for row in order if bool(row.metrics.success) == outcome])
    turns = zip_longest(_in_turn(piles[True]), _in_turn(piles[False]))
    chosen: dict[str, tuple[str, Row]] = {}
    for pair in (pair for turn in turns for pair in turn if pair is not None):
        chosen.setdefault(f"{pair[1].scene_id} {pair[1].trajectory_id}", pair)
        if len(chosen) >= count:
            break
    return list(chosen.values())[:count]


def _in_turn(piles: Sequence[Sequence[tuple[str, Row]]]) -> list[tuple[str, Row]]:
    """Return the first of each pile, then the second of each, and so on."""
    return [pair for layer in zip_longest(*piles) for pair in layer if pair is not None]


def tell(
    config: EvalConfig, scenes: Path, episodes: Mapping[str, Episode], chosen: Sequence[tuple[str, Row]]
) -> Iterator[Story]:
    """Yield each chosen episode with its map, and the first ones with their films.

    Raises:
        SceneError: If a scene cannot be loaded.
        ReplayError: If a recorded walk cannot be reproduced.
    """
    report = config.report
    protocol = get_protocol(config.protocol)
    eyes = film_protocol(protocol, report.video_size)
    walked = _as_told(config, episodes, chosen)
    if not walked:
        return
    env = NavigationEnv(create_simulator(config.world, scenes, eyes, **config.world_settings), walked, eyes)
    try:
        for number, (agent, row) in enumerate(chosen):
            episode = walked[number]
            env.simulator.load_scene(row.scene_id)
            drawing = episode_map(env.simulator.floor_plan(), episode, row, protocol, _map_name(number, agent, row))
            moving = _encode(env, row, report.video_fps) if number < report.videos else None
            yield Story(agent=agent, row=row, instruction=episode.instruction.text, map=drawing, film=moving)
    finally:
        env.close()


def _map_name(number: int, agent: str, row: Row) -> str:
    """Return a name that no other walk's map has on a page with several lots of stories."""
    told = fingerprint(f"{agent} {row.scene_id}".encode(), row.positions.tobytes()).removeprefix("sha256:")
    return f"map{number}-{told}"


def _as_told(config: EvalConfig, episodes: Mapping[str, Episode], chosen: Sequence[tuple[str, Row]]) -> list[Episode]:
    """Return the chosen episodes with the instructions that their walkers were given."""
    walked = [episodes[row.episode_id] for _, row in chosen]
    if not any(agent.endswith("+shuffled") for agent, _ in chosen):
        return walked
    spoken = select(list(episodes.values()), languages=get_protocol(config.protocol).languages)
    told = shuffle_instructions(spoken, config.seed)
    return [
        replace(episode, instruction=told[episode.episode_id]) if agent.endswith("+shuffled") else episode
        for (agent, _), episode in zip(chosen, walked, strict=True)
    ]


def _encode(env: NavigationEnv, row: Row, fps: int) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        write_video(path, film(env, row, fps), fps)
        return base64.b64encode(path.read_bytes()).decode()
