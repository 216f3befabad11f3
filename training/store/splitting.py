"""Which walks of a store go into which part: a scene, or a tour, is in one part alone, so that what one part taught the other can ask."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from navloop.configs.schema import NAME
from navloop.training.store.reader import Store
from navloop.training.store.schema import StoredEpisode, StoreError

Unit = Literal["scene", "tour"]
"""What is not divided."""


def deal(
    store: Store, indices: Sequence[int], shares: Mapping[str, float], unit: Unit, seed: int
) -> dict[str, list[int]]:
    """Return the walks of each part, in their order.

    Scenes or tours are drawn one after the other, those of most walks first, and each goes to the part that lacks most; no part stays empty
    while there are as many of them as parts.

    Args:
        store: To split.
        indices: Of the walks that are dealt out.
        shares: Of the walks, by the name of the part; together 1.
        unit: What is in one part alone.
        seed: Of the order in which they are drawn.

    Raises:
        ValueError: If the shares are no shares, or a name is no name of a folder.
        StoreError: If a part would hold nothing.
    """
    _require_shares(shares)
    groups: dict[tuple[str, ...], list[int]] = {}
    for index in indices:
        groups.setdefault(_group(store.episodes[index], unit), []).append(index)
    lack = {name: share * len(indices) for name, share in shares.items()}
    parts: dict[str, list[int]] = {name: [] for name in shares}
    for number, names in enumerate(_drawn(groups, seed)):
        left, empty = len(groups) - number, [name for name, walks in parts.items() if not walks]
        # The last ones are for parts that have none yet, however small their share.
        part = max(empty if len(empty) >= left else lack, key=lambda name: lack[name])
        lack[part] -= len(groups[names])
        parts[part] += groups[names]
    if len(groups) < len(parts):
        mend = "take fewer parts" if unit == "tour" else "take fewer parts, or split by tour"
        raise StoreError(
            f"{store.folder}: {len(indices):,} walks in {len(groups):,} {unit}s are too few for {len(parts)} parts; {mend}"
        )
    return {name: sorted(walks) for name, walks in parts.items()}


def _drawn(groups: Mapping[tuple[str, ...], Sequence[int]], seed: int) -> list[tuple[str, ...]]:
    """Return the groups with the largest first, for small ones even out what those left; of equal ones the seed decides the order."""
    names = sorted(groups)
    order = np.random.default_rng(seed).permutation(len(names)).tolist()
    return sorted((names[number] for number in order), key=lambda name: -len(groups[name]))


def _group(episode: StoredEpisode, unit: Unit) -> tuple[str, ...]:
    return (episode.scene_id,) if unit == "scene" else (episode.scene_id, str(episode.trajectory_id))


def _require_shares(shares: Mapping[str, float]) -> None:
    if odd := [name for name in shares if not re.fullmatch(NAME, name)]:
        raise ValueError(f"{odd[0]!r} is no name of a part; it becomes a folder: letters, digits, _ and -")
    told = " ".join(f"{name}={share:g}" for name, share in shares.items())
    if (
        len(shares) < 2
        or any(not 0 < share < 1 for share in shares.values())
        or not math.isclose(sum(shares.values()), 1)
    ):
        raise ValueError(
            f"shares are {told or 'none'}; give two or more parts, each above 0 and together 1, such as train=0.9 val=0.1"
        )
