"""New ground: walks drawn through houses that nobody has described. They have a way and a goal, and no words."""

from __future__ import annotations

import multiprocessing
import zlib
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from navloop.configs.schema import LengthsConfig
from navloop.envs.houses.splits import episodes_of, tour_to_json
from navloop.envs.houses.tours import draw_tours
from navloop.processes import end_with_the_parent
from navloop.records import Episode
from navloop.training.subwalks import read_site


class _Job(NamedTuple):
    scenes: Path
    scene_id: str
    walks: int
    seed: int
    lengths: LengthsConfig


def draw_ground(
    scenes: Path,
    count: int,
    seed: int,
    lengths: LengthsConfig = LengthsConfig(),  # noqa: B008 (frozen)
    *,
    among: Sequence[str] | None = None,
    never: Collection[str] = (),
    workers: int = 1,
) -> list[Episode]:
    """Draw walks as tours are drawn, evenly over houses; fewer only where houses are too small for more.

    What does not divide evenly is drawn in houses that the seed decides. Ids are "g1", "g2", ... A house's walks follow from the seed, its
    scene id and how many are drawn in it.

    Args:
        scenes: Folder that scene ids are relative to.
        count: Walks in all.
        seed: Source of randomness.
        lengths: How long they are.
        among: Scene ids to draw in; None takes all generated houses below `scenes`.
        never: Scene ids that are kept for validation.
        workers: Processes.

    Returns:
        Episodes with an empty instruction, with goal, reference path and ground truth; in the order of their scenes.

    Raises:
        ValueError: If there is no house, or one of `among` is kept for validation or is no generated house.
    """
    houses = _houses(scenes, among, frozenset(never))
    more = set(np.random.default_rng(seed).permutation(len(houses))[: count % len(houses)].tolist())
    shares = [count // len(houses) + (number in more) for number in range(len(houses))]
    jobs = [_Job(scenes, scene, share, seed, lengths) for scene, share in zip(houses, shares, strict=True) if share]
    found = [episode for drawn in _each(jobs, workers) for episode in drawn]
    return [replace(e, episode_id=f"g{i}", trajectory_id=f"g{i}") for i, e in enumerate(found, start=1)]


def _houses(scenes: Path, among: Sequence[str] | None, never: frozenset[str]) -> list[str]:
    if among is None:
        found = sorted(
            p.relative_to(scenes).as_posix() for p in scenes.rglob("*.glb") if p.with_suffix(".json").is_file()
        )
        houses = [scene for scene in found if scene not in never]
    else:
        houses = list(dict.fromkeys(among))
        if kept := [scene for scene in houses if scene in never]:
            raise ValueError(f"{kept[0]} is kept for validation; no walks may be drawn there, choose other houses")
        if absent := [scene for scene in houses if not (scenes / scene).with_suffix(".json").is_file()]:
            raise ValueError(
                f"{scenes / absent[0]}: has no description beside it, so it is no generated house; choose others"
            )
    if not houses:
        raise ValueError(
            f"{scenes}: holds no generated house to draw walks in; generate some with extra_houses, or choose another folder"
        )
    return houses


def _each(jobs: Sequence[_Job], workers: int) -> Iterator[list[Episode]]:
    if workers <= 1 or len(jobs) <= 1:
        yield from map(_draw, jobs)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), context, initializer=end_with_the_parent) as pool:
        yield from pool.map(_draw, jobs)


def _draw(job: _Job) -> list[Episode]:
    site = read_site(job.scenes / job.scene_id)
    assert site is not None
    rng = np.random.default_rng((job.seed, zlib.crc32(job.scene_id.encode()), job.walks))
    rows = [tour_to_json(tour, [""]) for tour in draw_tours(site, job.walks, rng, lengths=job.lengths)]
    return list(episodes_of([(job.scene_id, rows)]))
