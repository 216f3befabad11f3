"""Semantic ids of habitat-sim as ours: 0 for nothing, v for the label v - 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NOTHING = frozenset({"", "unknown", "unlabeled", "void"})
"""Category names that say that nobody knows what it is."""


@dataclass(frozen=True, slots=True)
class SemanticLabels:
    """What the values of a scene's semantic frames stand for.

    Attributes:
        names: Label of each of our ids, less one.
        table: int32 (largest id of habitat-sim's + 1,), ours for each of theirs.
    """

    names: tuple[str, ...]
    table: NDArray[np.int32]

    @classmethod
    def of(cls, scene: Any) -> SemanticLabels:
        """Read habitat-sim's semantic scene; a scene without semantics has no labels."""
        named = {}
        for thing in [] if scene is None else scene.objects:
            label = "" if thing is None or thing.category is None else str(thing.category.name())
            if label.lower() not in NOTHING and thing.semantic_id >= 0:
                named[int(thing.semantic_id)] = label
        table = np.zeros(max(named, default=0) + 1, dtype=np.int32)
        for number, theirs in enumerate(sorted(named), start=1):
            table[theirs] = number
        return cls(tuple(named[theirs] for theirs in sorted(named)), table)

    def number(self, seen: NDArray[Any]) -> NDArray[np.int32]:
        """Return a frame of habitat-sim's ids as one of ours, int32 of the same shape."""
        known = seen < len(self.table)
        ours: NDArray[np.int32] = np.where(known, self.table[np.where(known, seen, 0)], 0).astype(np.int32)
        return ours
