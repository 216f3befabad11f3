"""What a round keeps: one store of walks with what is said of them, and from it all that learning reads."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from navloop.agent.policies.words import split_words
from navloop.configs.imitation import RecordedConfig
from navloop.configs.loop import ToursConfig
from navloop.envs.simulator import Action
from navloop.training.filters import Corrected
from navloop.training.loop.descriptions import Account
from navloop.training.loop.sources import DESCRIBED
from navloop.training.spoken_walks import FAITHFUL
from navloop.training.store import (
    Store,
    StoredEpisode,
    StoreWriter,
    export_episodes,
    export_manifest,
    open_store,
    walk_folder,
)
from navloop.training.walks import WalkFolder

STORE, WALKS, EPISODES, MANIFEST = "store", "walks", "train.json.gz", "manifest.jsonl"
"""Files of a folder of kept walks."""

SLACK = 0.01
"""Metres by which a walk that stopped where it was to stop may seem farther."""


class NothingKept(ValueError):
    """No walk of a round is kept; the message names the round and the mend."""


def rule_of(tours: ToursConfig | None, stop_within: float | None) -> Corrected | None:
    """Return what labelled tours are kept by; None keeps all.

    Args:
        tours: What the recipe says of them.
        stop_within: Metres from the goal at which the expert stops them; None: a step. No walk that it ends comes nearer.
    """
    if tours is None or tours.keep == "all":
        return None
    rule = Corrected()
    return rule if stop_within is None else replace(rule, reach=max(rule.reach, stop_within + SLACK))


def why_left_out(store: Store, rule: Corrected | None) -> list[str]:
    """Return why each walk of a store that nobody describes is not kept; empty for those that are."""
    return ["" if rule is None else rule.why_not(store.trajectory(index)) for index in range(len(store))]


def keep(
    stores: Mapping[str, Store],
    accounts: Sequence[Account],
    number: int,
    folder: Path,
    rule: Corrected | None = None,
    stop_within: float | None = None,
) -> dict[str, Any]:
    """Write what a round keeps into a folder, ready to be learned from.

    Of sources that are described, that is what no filter dropped, with the description as instruction; of others, everything, or what
    the rule lets pass.

    Args:
        stores: The round's walks, by source.
        accounts: What is said of those that are described.
        number: Of the round.
        rule: For walks that nobody describes; None keeps all.
        stop_within: As `lay_out` takes it.
        folder: Gets a store, `walks` and `train.json.gz` to imitate, and `manifest.jsonl`, films with words that say what they show.

    Returns:
        What is kept of each source (`count`), what the rule dropped ("dropped", numbers by source and reason), and together walks, frames that are learned from,
        and frames of films.

    Raises:
        NothingKept: If nothing at all is kept.
    """
    told = {source: store for source, store in stores.items() if source not in DESCRIBED}
    verdicts = {source: why_left_out(store, rule) for source, store in told.items()}
    chosen = _choose(verdicts, accounts)
    if not chosen:
        reasons = Counter(
            why for why in [*(one.dropped for one in accounts), *itertools.chain(*verdicts.values())] if why
        )
        told_why = ", ".join(f"{why} {count}" for why, count in reasons.most_common())
        raise NothingKept(
            f"{folder}: no walk of round {number} is kept ({told_why}), so there is nothing to learn from; loosen `filters`, or walk labelled "
            "tours too and keep them (sources.tours, with keep: all)"
        )
    with StoreWriter(folder / STORE, next(iter(stores.values())).about) as writer:
        for source, index, changes in chosen:
            writer.adopt(stores[source], index, round=number, **changes)
        writer.finish()
    kept = open_store(folder / STORE)
    films = lay_out(kept, folder, stop_within=stop_within)
    learned = [len(walk) for part in WalkFolder(folder / WALKS).parts for walk in part.walks]
    counts = {source: _count_of(source, kept, learned) for source in stores}
    return {
        "sources": counts,
        "dropped": {source: dict(Counter(why for why in found if why)) for source, found in verdicts.items()},
        "walks": len(kept),
        "frames": sum(learned),
        "films": films,
    }


def _count_of(source: str, kept: Store, learned: Sequence[int]) -> dict[str, int]:
    """Return how much of a source is kept, in frames that are learned from: described walks end where labelled tours would."""
    own = [number for number, walk in enumerate(kept.episodes) if walk.source == source]
    return {**count([kept.episodes[number] for number in own]), "frames": sum(learned[number] for number in own)}


def leave_out(source: str, kept: Path, folder: Path, stop_within: float | None = None) -> dict[str, Any]:
    """Write what a round kept, but for one source, into a folder, ready to be learned from; return how much that is (`count`).

    Args:
        source: Which.
        kept: Folder of the round's kept walks.
        folder: Gets what `keep` leaves; nothing at all where every kept walk is of that source.
        stop_within: As `lay_out` takes it.
    """
    store = open_store(kept / STORE)
    others = [number for number, walk in enumerate(store.episodes) if walk.source != source]
    if others:
        with StoreWriter(folder / STORE, store.about) as writer:
            for number in others:
                writer.adopt(store, number)
            writer.finish()
        lay_out(open_store(folder / STORE), folder, stop_within=stop_within)
    return count([store.episodes[number] for number in others])


def count(walks: Sequence[StoredEpisode]) -> dict[str, int]:
    """Return how much walks are, and how different: houses, texts that no other has, words."""
    texts = {walk.instruction for walk in walks}
    return {
        "walks": len(walks),
        "frames": sum(walk.length for walk in walks),
        "houses": len({walk.scene_id for walk in walks}),
        "texts": len(texts),
        "words": len({word for text in texts for word in split_words(text)}),
    }


def lay_out(store: Store, folder: Path, films: int | None = None, stop_within: float | None = None) -> int:
    """Write walks of a finished store as imitation and the stages of pretraining read them, into the folder that holds it.

    Args:
        store: Of the walks.
        folder: That holds it.
        films: Frames that the films of the list have together, the nearest number that whole walks give; None: all that there are.
        stop_within: Metres from its end at which a walk that was described stops, as those of labelled tours do; None: at its end.

    Returns:
        The frames of those films.
    """
    export_episodes(store, folder / EPISODES)
    walk_folder(store, folder / WALKS, stop_within=stop_within)
    showing = [number for number in range(len(store)) if _shows_its_words(store, number)]
    ends = np.cumsum([0, *(store.episodes[number].length for number in showing)])
    count = len(showing) if films is None else int(np.abs(ends - films).argmin())
    export_manifest(store, folder / MANIFEST, showing[:count])
    return int(ends[count])


def recorded(folder: Path) -> RecordedConfig:
    """Return the walks of a folder of kept ones, as imitation names them."""
    return RecordedConfig(folder=str(folder / WALKS), episodes=str(folder / EPISODES))


def filmed(folder: Path) -> tuple[str, ...]:
    """Return the list of the films of a folder of kept walks, as the stages of pretraining take it; none where no walk shows its words."""
    manifest = folder / MANIFEST
    return (str(manifest),) if manifest.stat().st_size else ()


def _choose(
    verdicts: Mapping[str, Sequence[str]], accounts: Sequence[Account]
) -> list[tuple[str, int, dict[str, Any]]]:
    """Return source, number and what is to be told otherwise of each walk that is kept."""
    chosen: list[tuple[str, int, dict[str, Any]]] = [
        (source, index, {"why": "an expert says what is right at every step"})
        for source, found in verdicts.items()
        for index, why in enumerate(found)
        if not why
    ]
    for account in accounts:
        if not account.dropped:
            why = (
                f"followed again, nDTW {account.scores['ndtw']:.2f}"
                if "ndtw" in account.scores
                else "no filter dropped it"
            )
            extra = {name: float(value) for name, value in account.scores.items()}
            told = {"instruction": account.text, "original_instruction": account.original}
            chosen.append((account.source, account.index, {**told, "why": why, "extra": extra}))
    return chosen


def _shows_its_words(store: Store, index: int) -> bool:
    """Whether a walk did what its words say: it was described afterwards, or went where the expert would stop, and hardly by a detour.

    To be within the metres that count as success is not enough: of short tours the last room is seldom entered there.
    """
    episode = store.episodes[index]
    if episode.relabelled:
        return True
    arrived = store.walk(index).expert_actions[-1] == Action.STOP
    return episode.success and bool(arrived) and episode.metrics.get("spl", 0.0) >= FAITHFUL
