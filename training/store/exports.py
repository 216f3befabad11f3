"""Walks of a store as others take them: lists of videos with captions, episode files, and folders of walks to learn from."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from navloop.envs.episodes import ground_truth_path, write_episodes, write_ground_truth
from navloop.envs.simulator import Action
from navloop.files import write_text
from navloop.geometry import Vector
from navloop.records import Episode, GroundTruth, Instruction, Trajectory
from navloop.training.store.films import Stretch
from navloop.training.store.reader import Store
from navloop.training.store.schema import StoredEpisode, StoreError
from navloop.training.walks import Frames, Walk, WalkFolder, write_frames

MANIFEST = "manifest.jsonl"
PART = 64
"""Walks a file of a folder of walks."""

SPACING = 2.0
"""Metres between the places of a path that is made from a walk; those of R2R's graph are about as far apart."""


def export_manifest(store: Store, path: str | Path, keep: Sequence[int] | None = None) -> Path:
    """Write a list of videos with captions, a walk a line, as the stages of `navloop pretrain` read it; return its file.

    Args:
        store: With all walks joined.
        path: A .jsonl file, or a folder for one.
        keep: Numbers of the walks; None: all.

    Raises:
        StoreError: If walks are not joined: the list would name files that go when they are.
        OSError: If it cannot be written.
    """
    path = Path(path)
    file = path if path.suffix == ".jsonl" else path / MANIFEST
    rows = list_walks(store, file.parent, keep)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return file


def list_walks(store: Store, folder: Path, keep: Sequence[int] | None = None) -> list[dict[str, object]]:
    """Return the lines of a list of videos that lies in a folder; the rest as of `export_manifest`."""
    if store.unjoined:
        raise StoreError(
            f"{store.folder}: {store.unjoined} walks are not joined yet; run `navloop store join` on it, or finish it in Python"
        )
    numbers = range(len(store)) if keep is None else keep
    return [_line(store.episodes[index], store.stretch(index), store.about.fps, folder) for index in numbers]


def _line(episode: StoredEpisode, stretch: Stretch, fps: float, folder: Path) -> dict[str, object]:
    return {
        "video": os.path.relpath(stretch.path, folder),
        "start": stretch.first / fps,
        "end": (stretch.first + stretch.length) / fps,
        **({"captions": [episode.instruction]} if episode.instruction else {}),  # of free walks nobody said a word yet
        "episode_id": episode.episode_id,
        "trajectory_id": episode.trajectory_id,
        "scene_id": episode.scene_id,
        "source": episode.source,
        "key": episode.key,
    }


def export_episodes(store: Store, path: str | Path, keep: Sequence[int] | None = None) -> Path:
    """Write walks as an R2R-VLNCE episode file, with what was done as its ground truth beside it; return the file.

    Walks whose instruction was written afterwards become episodes of their own, whose goal and reference path are where they went.

    Args:
        store: What to write of.
        path: A .json.gz or .json file.
        keep: Numbers of the walks; None: all.

    Raises:
        StoreError: If a walk cannot be read, or nobody knows where in its scene it was.
        OSError: If they cannot be written.
    """
    if not store.about.protocol_fingerprint:
        raise StoreError(
            f"{store.folder}: its walks are imported, and their places were reckoned from an origin, so that as episodes they would begin "
            "elsewhere in their scenes; write a .jsonl file, or take the episodes that they were made from"
        )
    path, episodes = Path(path), list_episodes(store, keep)
    write_ground_truth(ground_truth_path(path), episodes)
    write_episodes(path, episodes)
    return path


def list_episodes(store: Store, keep: Sequence[int] | None = None) -> list[Episode]:
    """Return the episodes that `export_episodes` writes."""
    numbers = list(range(len(store)) if keep is None else keep)
    names = names_of([store.episodes[index] for index in numbers])
    return [
        replace(_episode(store, index), episode_id=episode_id)
        for index, (episode_id, _) in zip(numbers, names, strict=True)
    ]


def walk_folder(
    store: Store, path: str | Path, keep: Sequence[int] | None = None, stop_within: float | None = None
) -> WalkFolder:
    """Write walks as imitation reads them, frames decoded, and return their folder; one that is there is gone on with.

    Ids are those that `export_episodes` gives. Walks whose instruction was written afterwards teach what was done, as `learned_from` has it.

    Args:
        store: Of the walks.
        path: The folder.
        keep: Numbers of walks; None takes all.
        stop_within: As `learned_from` takes it.

    Raises:
        StoreError: If a walk cannot be read, or the folder holds other ones.
        OSError: If they cannot be written.
    """
    path = Path(path)
    folder = WalkFolder(path)
    numbers = list(range(len(store)) if keep is None else keep)
    names = names_of([store.episodes[index] for index in numbers])
    there = {part.number: part.walks for part in folder.parts}
    if others := [number for number in there if number * PART >= len(numbers)]:
        raise StoreError(
            f"{path}, part {others[0]}: holds other walks than these; name another folder, or remove it to write it anew"
        )
    path.mkdir(parents=True, exist_ok=True)
    for number, begin in enumerate(range(0, len(numbers), PART)):
        chosen = list(zip(numbers[begin : begin + PART], names[begin : begin + PART], strict=True))
        walks = [
            replace(learned_from(store, index, stop_within), episode_id=episode_id, trajectory_id=trajectory_id)
            for index, (episode_id, trajectory_id) in chosen
        ]
        if number in there:
            _require_same(walks, there[number], f"{path}, part {number}")
            continue
        seen = (store.frames(index)[: len(walk)] for (index, _), walk in zip(chosen, walks, strict=True))
        write_frames(folder.frames_file(number), [Frames(frames) for frames in seen])
        folder.append(number, walks)
    return folder


def _require_same(walks: Sequence[Walk], there: Sequence[Walk], where: str) -> None:
    """Refuse to go on with a folder that was begun with other walks."""
    if [walk.to_json() for walk in walks] != [walk.to_json() for walk in there]:
        raise StoreError(f"{where}: holds other walks than these; name another folder, or remove it to write it anew")


def learned_from(store: Store, index: int, stop_within: float | None = None) -> Walk:
    """Return what a walk teaches: what the expert would have done; where the instruction was written afterwards, what was done.

    The goal is then where the walk went, and what is left to it is counted along the way that was walked.

    Args:
        store: Of the walk.
        index: Its number.
        stop_within: Metres from the goal at which experts stop on the other walks that are learned from: one that was told afterwards
            ends there too, rather than teach to go on where those teach to stop. None: it goes to its end.

    Raises:
        StoreError: If the walk cannot be read.
    """
    walk = store.walk(index)
    if not store.episodes[index].relabelled:
        return walk
    moved = np.linalg.norm(np.diff(store.trajectory(index).positions, axis=0), axis=1)
    left: Vector = np.cumsum(moved[::-1])[::-1]
    steps = len(walk) if stop_within is None else int(np.argmax(left <= max(stop_within, left[-1]))) + 1
    done = walk.actions[:steps].copy()
    done[-1] = Action.STOP if steps < len(walk) else done[-1]
    return replace(
        walk, actions=done, expert_actions=done, sources=walk.sources[:steps], distances=left[:steps], success=True
    )


def names_of(episodes: Sequence[StoredEpisode]) -> list[tuple[str, str]]:
    """Return episode_id and trajectory_id that walks are exported under: their own, but for what would be there twice or means something else."""
    times = Counter(episode.episode_id for episode in episodes)
    names = []
    for episode in episodes:
        own = f"{episode.episode_id}-{episode.key[:8]}"
        if episode.relabelled:
            names.append((own, own))
        else:
            names.append((episode.episode_id if times[episode.episode_id] == 1 else own, episode.trajectory_id))
    return names


def _episode(store: Store, index: int) -> Episode:
    """The episode that a walk is one of, with what was done as its ground truth."""
    told, task, trajectory = store.episodes[index], store.task(index), store.trajectory(index)
    truth = _truth(trajectory)
    if not told.relabelled:
        return replace(task, ground_truth=truth)
    name = f"{told.episode_id}-{told.key[:8]}"
    return replace(
        task,
        trajectory_id=name,
        instruction=Instruction(text=told.instruction, language=task.instruction.language),
        goal_position=trajectory.positions[-1],
        reference_path=thin(trajectory.positions),
        ground_truth=truth,
        info={"geodesic_distance": float(np.linalg.norm(np.diff(trajectory.positions, axis=0), axis=1).sum())},
        extra={},
    )


def _truth(trajectory: Trajectory) -> GroundTruth:
    """What was done as a ground truth: a place at the start and after every FORWARD; a walk that was cut off stops where it ended."""
    moves = np.flatnonzero(trajectory.actions == Action.FORWARD) + 1
    actions = trajectory.actions if trajectory.stopped else np.append(trajectory.actions, int(Action.STOP))
    return GroundTruth(
        locations=trajectory.positions[np.concatenate([[0], moves])], actions=actions, forward_steps=len(moves)
    )


def thin(positions: Vector) -> Vector:
    """Return places of a walk `SPACING` metres apart along it, the first and the last ones among them."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(positions, axis=0), axis=1))])
    marks = np.searchsorted(along, np.arange(0.0, along[-1], SPACING))
    chosen: Vector = positions[[*dict.fromkeys([*marks.tolist(), len(positions) - 1])]]
    return chosen
