"""What `navloop store` does, and what it prints."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import track
from rich.table import Table

from navloop.training.listings import is_store
from navloop.training.store import (
    Store,
    StoredEpisode,
    StoreError,
    StoreWriter,
    export_episodes,
    export_manifest,
    export_rerun,
    merge_stores,
    open_store,
    split_store,
    walk_folder,
)
from navloop.training.store.checking import Checked, check_walks, require_told
from navloop.training.store.imports import import_annotations
from navloop.training.unseen import scenes_of

_TOLD = 20
"""Damaged walks that are listed."""

_MEANS = {"SPL %": "spl", "nDTW %": "ndtw"}


def run_store(options: argparse.Namespace, console: Console) -> None:
    """Do what was asked.

    Raises:
        ValueError: If a store or file cannot be read as asked, or walks are damaged.
        OSError: If something cannot be written.
    """
    if options.action == "import":
        never = scenes_of(*options.never)
        store = import_annotations(options.annotations, options.into, turn=options.turn, step=options.step, never=never)
        _tell(console, store)
        return
    stores = [open_store(folder) for folder in options.stores]
    if options.action in ("merge", "split", "walks", "export") and not any(
        _chosen(store, options.where) for store in stores
    ):
        raise StoreError(
            f"{', '.join(map(str, options.stores))}: no walk is meant by {' '.join(options.where or ['that'])}; see `navloop store show`"
        )
    if options.action == "show":
        _show(stores[0], options.where, console)
    elif options.action == "check":
        _check(stores[0], console)
    elif options.action == "join":
        _join(stores[0], console)
    elif options.action == "merge":
        _tell(console, merge_stores(stores, options.into, options.where, never=scenes_of(*options.never)))
    elif options.action == "walks":
        _walks(stores[0], options.into, options.where, console)
    elif options.action == "split":
        _split(stores[0], options, console)
    else:
        _export(stores[0], options.to, options.where, console)


def _show(store: Store, where: Sequence[str] | None, console: Console) -> None:
    episodes = [store.episodes[index] for index in _chosen(store, where)]
    about = store.about
    depth = ", with depth" if about.depth else ""
    console.print(
        f"{store.folder}: {about.protocol} in {about.world}, {about.width} x {about.height} pixels{depth}, "
        f"turns of {about.turn:g} degrees, steps of {about.step:g} m",
        soft_wrap=True,
        highlight=False,
    )
    chosen_of = f"of {len(store):,} walks: " if where is not None else ""
    parts = f"; {store.unjoined:,} of all are not joined yet" if store.unjoined else ""
    console.print(f"{chosen_of}{_count(episodes)}{parts}", soft_wrap=True, highlight=False)
    if episodes:
        console.print(_table(episodes))
    console.print(f"columns: {', '.join(store.table().column_names)}", soft_wrap=True, highlight=False)


def _chosen(store: Store, where: Sequence[str] | None) -> Sequence[int]:
    return range(len(store)) if where is None else store.select(where)


def _count(episodes: Sequence[StoredEpisode]) -> str:
    scenes = len({episode.scene_id for episode in episodes})
    tours = len({(episode.scene_id, episode.trajectory_id) for episode in episodes})
    texts = len({episode.instruction for episode in episodes})
    frames = sum(episode.length for episode in episodes)
    return f"{len(episodes):,} walks, {frames:,} frames, {tours:,} tours, {texts:,} instructions, {scenes:,} scenes"


def _table(episodes: Sequence[StoredEpisode]) -> Table:
    """A row for each round, source and policy, with means over its walks."""
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for name in ("round", "source", "policy", "walks", "frames", "relabelled", "SR %", *_MEANS):
        table.add_column(name, justify="left" if name in ("source", "policy") else "right", overflow="fold")
    groups: dict[tuple[Any, ...], list[StoredEpisode]] = {}
    for episode in sorted(episodes, key=lambda one: one.order):
        groups.setdefault((episode.round, episode.source, episode.policy), []).append(episode)
    for (number, source, policy), ones in groups.items():
        table.add_row(
            "" if number is None else str(number),
            source,
            policy,
            f"{len(ones):,}",
            f"{sum(one.length for one in ones):,}",
            f"{sum(one.relabelled for one in ones):,}",
            f"{100 * fmean(one.success for one in ones):.1f}",
            *(_mean(ones, metric) for metric in _MEANS.values()),
        )
    return table


def _mean(episodes: Sequence[StoredEpisode], metric: str) -> str:
    """A mean, or nothing where it is not known of every walk."""
    if any(metric not in episode.metrics for episode in episodes):
        return ""
    return f"{100 * fmean(episode.metrics[metric] for episode in episodes):.1f}"


def _check(store: Store, console: Console) -> None:
    found = list(track(check_walks(store), "checking", len(store), console=console, transient=True))
    if damaged := [one for one in found if one.fault]:
        raise StoreError(_tell_damage(store, damaged))
    require_told(store)
    undigested = sum(any(store.stretch(i, v).digest is None for v in store.about.videos) for i in range(len(store)))
    decoded = f"; films of {undigested} walks have no digest and were decoded" if undigested else ""
    console.print(f"{store.folder}: all {len(found)} walks are whole{decoded}", soft_wrap=True, highlight=False)


def _join(store: Store, console: Console) -> None:
    with StoreWriter(store.folder, store.about) as writer:
        writer.finish()
    _tell(console, open_store(store.folder))


def _split(store: Store, options: argparse.Namespace, console: Console) -> None:
    parts = split_store(
        store, options.into, _shares(options.shares), options.by, seed=options.seed, where=options.where
    )
    for part in parts.values():
        _tell(console, part)


def _walks(store: Store, into: Path, where: Sequence[str] | None, console: Console) -> None:
    chosen = _chosen(store, where)
    into.mkdir(parents=True, exist_ok=True)
    export_episodes(store, into / "train.json.gz", chosen)  # first: it refuses imported walks before any is decoded
    walk_folder(store, into / "walks", chosen)
    console.print(f"{len(chosen):,} walks: {into}", soft_wrap=True, highlight=False)


def _shares(words: Sequence[str]) -> dict[str, float]:
    shares: dict[str, float] = {}
    for word in words:
        name, _, share = word.partition("=")
        try:
            number = float(share)
        except ValueError:
            raise ValueError(f"--shares: {word!r} is not NAME=SHARE, such as train=0.9") from None
        if name in shares:
            raise ValueError(f"--shares: names {name!r} twice")
        shares[name] = number
    return shares


def _tell_damage(store: Store, damaged: Sequence[Checked]) -> str:
    lines = [f"{len(damaged)} of {len(store)} walks are damaged:"]
    lines += [f"walk {one.number}: {one.fault}" for one in damaged[:_TOLD]]
    if len(damaged) > _TOLD:
        lines.append(f"and {len(damaged) - _TOLD} more")
    if store.unjoined:
        return "\n  ".join(lines)  # numbers of walks that are not joined change
    others = " ".join(f"'index!={one.number}'" for one in damaged)
    return "\n  ".join([*lines, f"the others: navloop store merge {store.folder} --into NEW --where {others}"])


def _export(store: Store, to: Path, where: Sequence[str] | None, console: Console) -> None:
    chosen = _chosen(store, where)
    if to.suffix == ".jsonl":
        export_manifest(store, to, chosen)
    elif to.name.endswith((".json", ".json.gz")):
        to.parent.mkdir(parents=True, exist_ok=True)
        export_episodes(store, to, chosen)
    elif not to.suffix and not is_store(to):
        export_rerun(store, to, chosen)
    else:
        raise StoreError(
            f"{to}: expected a .jsonl file for a list of videos, .json.gz for episodes, or a folder for recordings that has no dot and is no store"
        )
    console.print(f"{len(chosen):,} walks: {to}", soft_wrap=True, highlight=False)


def _tell(console: Console, store: Store) -> None:
    console.print(f"{store.folder}: {_count(store.episodes)}", soft_wrap=True, highlight=False)
