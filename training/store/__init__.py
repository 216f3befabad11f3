"""Stores of walks: LeRobotDataset v3.0 folders that any number of processes write and none can tear."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from typing_extensions import Self

from navloop.training.decoding import UnreadableError
from navloop.training.listings import is_store
from navloop.training.store.exports import export_episodes, export_manifest, list_episodes, list_walks, walk_folder
from navloop.training.store.folder import WRITERS, found, shared, sweep
from navloop.training.store.joined import Joined
from navloop.training.store.joining import join_parts
from navloop.training.store.parts import PARTS, read_told, write_copy, write_record
from navloop.training.store.reader import Store, Where, open_store
from navloop.training.store.schema import Record, StoreAbout, StoredEpisode, StoreError, told_to_json
from navloop.training.store.splitting import Unit, deal
from navloop.training.store.viewing import export_rerun
from navloop.training.unseen import refuse_scenes

__all__ = [
    "Record",
    "Store",
    "StoreAbout",
    "StoreError",
    "StoreWriter",
    "StoredEpisode",
    "export_episodes",
    "export_manifest",
    "export_rerun",
    "list_episodes",
    "list_walks",
    "merge_stores",
    "open_store",
    "split_store",
    "walk_folder",
]


class StoreWriter:
    """Writes walks into a store; there may be any number of writers, in any number of processes.

    Args:
        folder: Of the store, new or begun.
        about: What all its walks share.

    Raises:
        StoreError: If the folder holds walks of another kind, or something else.
        OSError: If it cannot be written.
    """

    def __init__(self, folder: Path, about: StoreAbout) -> None:
        self.folder, self.about = Path(folder), about
        found(self.folder, about)
        (self.folder / PARTS).mkdir(exist_ok=True)
        sweep(self.folder)
        self._held = ExitStack()
        self._held.enter_context(shared(self.folder / WRITERS))
        self._joined = self._read_joined()

    def append(self, record: Record) -> str:
        """Write a walk and return its key, once it is on disk: from then on no kill loses it. A walk that is there is left as it is.

        Raises:
            StoreError: If the walk does not fit the store, or one of other weights is there that is known as it is.
            OSError: If it cannot be written; then nothing of it is left.
        """
        key = record.about.key
        if key in self._joined:
            _require_same_walker(self.folder, self._joined[key], record.about)
        elif not write_record(self.folder, record, self.about):
            with suppress(FileNotFoundError):  # joined just now
                _require_same_walker(self.folder, read_told(self.folder, key, self.about).episode, record.about)
        return key

    def adopt(self, store: Store, index: int, **changes: Any) -> str:
        """Write a walk of another store, its films as they are, and return its key once it is on disk.

        Args:
            store: Of the same kind.
            index: Of the walk in it.
            changes: Fields of `StoredEpisode` to be told otherwise, such as why, round or source. A new `instruction` makes the one it
                replaces its `original_instruction`.

        Raises:
            StoreError: If the store is of another kind, or the walk cannot be read.
            OSError: If it cannot be written; then nothing of it is left.
        """
        if faults := self.about.differences(store.about):
            raise StoreError(f"{store.folder}: is not of the kind of {self.folder}: {'; '.join(faults)}")
        told = store.told(index)
        before = told.episode
        if changes.get("instruction", before.instruction) != before.instruction and not before.relabelled:
            changes = {"original_instruction": before.instruction, **changes}
        told = replace(told, episode=replace(before, index=-1, **changes))
        films = {video: store.stretch(index, video) for video in self.about.videos}
        try:
            write_copy(self.folder, told, store.rows(index), films, self.about)
        except UnreadableError as error:
            raise StoreError(f"{error}; take it from a copy of the store") from error
        return told.episode.key

    def finish(self) -> None:
        """Join all parts into files that LeRobot reads; whoever is killed at it loses nothing, and joins again.

        Raises:
            StoreError: If a part is damaged, naming its file.
            OSError: If something cannot be written.
        """
        join_parts(self.folder, self.about)
        self._joined = self._read_joined()

    def close(self) -> None:
        """Let go of the folder."""
        self._held.close()

    def _read_joined(self) -> dict[str, StoredEpisode]:
        return {episode.key: episode for episode in Joined(self.folder, self.about).episodes}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def merge_stores(
    stores: Sequence[Store], folder: Path, where: Where | None = None, *, never: Collection[str] = ()
) -> Store:
    """Write the walks of stores of one kind into one, films as they are, and return it finished. A walk that is in two is there once.

    A walk is known by its episode, walker, seed, source and round.

    Args:
        stores: At least one.
        folder: New, or a store that they are added to.
        where: Which walks; None: all.
        never: Scenes that are kept for validation.

    Raises:
        StoreError: If they are of several kinds, one cannot be read, or two hold different walks that would be known as one.
        ValueError: If there is none, or a walk is in a scene that is kept for validation. Nothing is written then.
    """
    if not stores:
        raise ValueError("no stores to merge; name at least one")
    chosen = [(store, range(len(store)) if where is None else store.select(where)) for store in stores]
    for store, indices in chosen:
        refuse_scenes({store.episodes[index].scene_id for index in indices}, never, str(store.folder))
    _require_distinct([*((store, range(len(store))) for store in _there(folder)), *chosen])
    return _copy(chosen, folder)


def split_store(
    store: Store,
    folder: Path,
    shares: Mapping[str, float],
    unit: Unit = "scene",
    *,
    seed: int = 0,
    where: Where | None = None,
) -> dict[str, Store]:
    """Write the walks of a store into several, films as they are, and return these finished: no scene, or no tour, is in two of them.

    Args:
        store: To split.
        folder: Of the new stores; each is a folder in it by its name.
        shares: Of the walks, by the name of the part; together 1. Kept as nearly as whole scenes or tours allow.
        unit: What is in one part alone.
        seed: Of the draw.
        where: Which walks; None: all.

    Raises:
        StoreError: If a part would hold nothing, one is there already and holds other walks, or the store cannot be read.
        ValueError: If the shares are none. Nothing is written then.
    """
    parts = deal(store, range(len(store)) if where is None else store.select(where), shares, unit, seed)
    for name, indices in parts.items():
        _require_no_others(folder / name, store, indices)
    return {name: _copy([(store, indices)], folder / name) for name, indices in parts.items()}


def _copy(chosen: Sequence[tuple[Store, Sequence[int]]], folder: Path) -> Store:
    with StoreWriter(folder, chosen[0][0].about) as writer:
        for store, indices in chosen:
            for index in indices:
                writer.adopt(store, index)
        writer.finish()
    return open_store(folder)


def _there(folder: Path) -> list[Store]:
    return [open_store(folder)] if is_store(folder) else []


def _require_no_others(folder: Path, store: Store, indices: Sequence[int]) -> None:
    """Refuse a part that is there and holds what is not dealt to it: that may be in another part too."""
    keys = {store.episodes[index].key for index in indices}
    for there in _there(folder):
        if others := sum(episode.key not in keys for episode in there.episodes):
            raise StoreError(
                f"{folder}: holds {others:,} walks already that are not of this part, as it is drawn from {store.folder}; split into another folder"
            )


def _require_distinct(chosen: Sequence[tuple[Store, Sequence[int]]]) -> None:
    """Refuse walks that differ and have one key: but one of them would be kept."""
    known: dict[str, tuple[Path, StoredEpisode]] = {}
    for store, indices in chosen:
        for index in indices:
            episode = replace(store.told(index).episode, index=-1)
            before, same = known.setdefault(episode.key, (store.folder, episode))
            if told_to_json(same) != told_to_json(episode):  # nan is no other nan
                raise StoreError(
                    f"{before} and {store.folder}: walks of episode {episode.episode_id} by {episode.policy} with seed {episode.seed} differ, "
                    "and a store holds but one; collect one of them with another seed"
                )


def _require_same_walker(folder: Path, there: StoredEpisode, new: StoredEpisode) -> None:
    if there.weights != new.weights:
        raise StoreError(
            f"{folder}: holds a walk of episode {new.episode_id} by {new.policy} with seed {new.seed} already, with weights {there.weights}, and this "
            f"one is with {new.weights}; give it another policy, seed, source or round"
        )
