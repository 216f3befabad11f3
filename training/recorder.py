"""The command that records walks: an agent on episodes to train on, in any number of processes, into a store that no kill can tear."""

from __future__ import annotations

import re
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console

from navloop.configs.collect import CollectConfig
from navloop.configs.loader import dump
from navloop.envs.protocols import Protocol
from navloop.provenance import usable_processors
from navloop.records import Episode
from navloop.runs import RunFolder
from navloop.training.entrants import Entrant, find_entrants
from navloop.training.evaluation import read_selection, select_episodes
from navloop.training.pool import Hire, do_jobs
from navloop.training.progress import FilmProgress
from navloop.training.recording import EXPERT, Part, Recorder, blank, depth_of
from navloop.training.rollouts import protocol_of
from navloop.training.store import Store, StoreAbout, StoreError, StoreWriter, open_store
from navloop.training.tours import by_tour
from navloop.training.unseen import refuse_scenes, scenes_of

MEASURING = re.compile(r"(val|test)(_(seen|unseen|train|challenge|standard|public|guide|follower))*", re.IGNORECASE)
"""Names of splits that agents are measured on, which nobody may learn from."""

TRAINING = re.compile(r"train.*", re.IGNORECASE)
"""Names of splits to learn from."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection came to.

    Attributes:
        folder: Of the store, finished.
        walks: In it.
        frames: In it.
        new: Walks of this start.
        seconds: That this start took.
        success: Share of the walks that ended in success.
    """

    folder: Path
    walks: int
    frames: int
    new: int
    seconds: float
    success: float


def record_walks(config: CollectConfig, folder: Path, console: Console | None = None) -> Collected:
    """Walk the episodes of a config that the store in a folder does not hold yet, store them, and join what is stored.

    What is stored depends on config, data and weights alone, not on workers or interruptions.

    Args:
        config: Who walks what.
        folder: Of the store, new or begun.
        console: Where to show the progress; None shows nothing.

    Raises:
        ValueError: If the config names what does not exist or what agents are measured on, or the folder holds something else.
        WorkerError: If an episode cannot be walked. What was finished is kept.
        StoreError: If walks that workers stored are not in the folder. The others are kept.
        OSError: If the folder cannot be written.
    """
    began = time.monotonic()
    refuse_measuring(config)
    entrant = find_walker(config)
    selection = read_selection(config.entry())
    episodes = draw_episodes(config, selection.spoken)
    refuse_scenes({e.scene_id for e in episodes}, scenes_of(*config.never), config.episodes)
    protocol = protocol_of(config.ground(), depth_of(config, entrant))
    about = about_of(config, protocol)
    data = selection.data | ({} if entrant is None or entrant.weights is None else {"weights": entrant.weights})
    with RunFolder(folder).open(dump(config), data, config.RESUMABLE), StoreWriter(folder, about) as writer:
        new = _walk_missing(config, folder, entrant, episodes, console)
        writer.finish()
    store = open_store(folder)
    _require_arrived(new, store)
    frames = sum(episode.length for episode in store.episodes)
    success = sum(episode.success for episode in store.episodes) / max(len(store), 1)
    if console is not None:
        told = f"{len(store)} walks, {frames} frames, {100 * success:.1f}% successful"
        console.print(f"{told}: {folder}", soft_wrap=True, highlight=False)
    return Collected(folder, len(store), frames, len(new), time.monotonic() - began, success)


def refuse_measuring(config: CollectConfig) -> None:
    """Check that a config's episodes are of a split to train on.

    Raises:
        ValueError: If the file is named as one that agents are measured on, or its folder is and the file's own name tells no split.
    """
    path = Path(config.episodes)
    own = path.name.partition(".")[0]
    for name in (own,) if TRAINING.fullmatch(own) else (own, path.parent.name):
        if MEASURING.fullmatch(name):
            raise ValueError(
                f"{path}: {name} is a split that agents are measured on, and walks are recorded to learn from; "
                "name the file of a train split"
            )


def find_walker(config: CollectConfig) -> Entrant | None:
    """Return who walks; None is the expert alone.

    Raises:
        ValueError: If there is no such agent, or its walks cannot be recorded.
    """
    if config.agent == EXPERT:
        return None
    entrant = find_entrants(config.entry())[0]
    if entrant.kind == "program" or entrant.control:
        raise ValueError(f"agent {config.agent!r}: programs and controls are measured, not recorded; name an agent")
    return entrant


def about_of(config: CollectConfig, protocol: Protocol) -> StoreAbout:
    """Return what all walks of a config share."""
    return StoreAbout.of(
        protocol, config.world, fps=config.fps, quality=config.quality, gop=config.gop, depth=config.depth
    )


def draw_episodes(config: CollectConfig, spoken: Sequence[Episode]) -> list[Episode]:
    """Return the episodes to walk, in the file's order.

    Raises:
        ValueError: If one has no goal.
    """
    for episode in spoken:
        if episode.goal_position is None:
            raise ValueError(
                f"{config.episodes}: episode {episode.episode_id} has no goal, so nobody can say how to walk; choose another file"
            )
    if config.wordings == "all":
        return select_episodes(list(spoken), config.max_episodes, config.seed)
    rng = np.random.default_rng((config.seed, 7))
    chosen = [wordings[int(rng.integers(len(wordings)))] for wordings in by_tour(spoken).values()]
    return select_episodes(chosen, config.max_episodes, config.seed)


def _walk_missing(
    config: CollectConfig, folder: Path, entrant: Entrant | None, episodes: Sequence[Episode], console: Console | None
) -> frozenset[str]:
    """Walk the parts of which a walk is missing, and return the keys of the walks that are new."""
    there = open_store(folder).keys
    parts = _deal(config, entrant, episodes)
    missing = [part for part in parts if not there.issuperset(part.keys)]
    new = frozenset(key for part in missing for key in part.keys) - there
    walked = sum(len(part.keys) for part in missing)
    hire = partial(_hire, *_absolute(config, folder, entrant))
    on_gpu = config.device != "cpu" and entrant is not None and entrant.kind == "saved"
    with (
        closing(FilmProgress(console, len(episodes) - walked, len(episodes))) as progress,
        closing(_begin(config, hire, missing, on_gpu)) as done,
    ):
        for _, lengths in done if missing else ():
            for length in lengths:
                progress.add(length)
    return new


def _require_arrived(new: frozenset[str], store: Store) -> None:
    """Refuse a store without what was just stored: a machine that has another folder at its path stores walks there, and all seems well."""
    if missing := new - store.keys:
        raise StoreError(
            f"{store.folder}: {len(missing)} of {len(new)} walks that were walked just now are not there; "
            "all machines that walk have to see the same folder at this path: share it, and run the command again to walk those that are missing"
        )


def _deal(config: CollectConfig, entrant: Entrant | None, episodes: Sequence[Episode]) -> list[Part]:
    """Put episodes of a scene into parts; those of a part are walked together always, so that batches are the same in every start."""
    scenes: dict[str, list[Episode]] = {}
    for episode in episodes:
        scenes.setdefault(episode.scene_id, []).append(episode)
    told = partial(blank, config, entrant)
    dealt = [
        listed[begin : begin + config.part]
        for listed in scenes.values()
        for begin in range(0, len(listed), config.part)
    ]
    return [
        Part(number, tuple(chosen), tuple(told(episode).key for episode in chosen))
        for number, chosen in enumerate(dealt)
    ]


def _begin(
    config: CollectConfig, hire: Hire[Part, list[int]], parts: Sequence[Part], on_gpu: bool
) -> Generator[tuple[Part, list[int]], None, None]:
    if config.cluster is None:
        return do_jobs(hire, parts, config.workers or usable_processors())
    from navloop.training.cluster import do_jobs_on

    return do_jobs_on(config.cluster, hire, parts, config.workers, on_gpu)


def _absolute(
    config: CollectConfig, folder: Path, entrant: Entrant | None
) -> tuple[CollectConfig, Path, Entrant | None]:
    """Return the same with paths that hold wherever a worker stands."""
    paths = {name: str(Path(getattr(config, name)).absolute()) for name in ("scenes", "episodes")}
    if config.scene_dataset_config is not None:
        paths["scene_dataset_config"] = str(Path(config.scene_dataset_config).absolute())
    if entrant is not None and entrant.kind == "saved":
        entrant = replace(entrant, source=str(Path(entrant.source).absolute()))
    return config.model_copy(update=paths), folder.absolute(), entrant


def _hire(config: CollectConfig, folder: Path, entrant: Entrant | None, place: int) -> partial[Recorder]:
    return partial(Recorder, config, folder, entrant, place)
