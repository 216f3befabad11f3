"""Walks with what is said of them, as batches for a speaker to learn from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from navloop.envs.simulator import Action
from navloop.records import Tour
from navloop.training.mirroring import mirror_actions
from navloop.training.sides import mirror_text
from navloop.training.walks import Walk, WalkFolder

FAITHFUL = 0.8
"""Share of the walked length that the way to the goal must be, for a walk to be what its instruction says."""

Texts = Mapping[Tour, Sequence[str]]


class SpokenBatch(NamedTuple):
    """B walks and a text of each."""

    percepts: list[NDArray[np.float16]]
    """Of each walk, (S, n, D)."""
    actions: list[NDArray[np.int64]]
    """Of each walk, (S,)."""
    texts: list[str]


class SpokenWalks:
    """All walks of some folders that did what they were told, with the wordings of their tours.

    Args:
        sources: Folders, each with the wordings of its tours. Tours without any are left out.
        digest: Of the perception whose features are read; they must be there.
        step: Metres of a FORWARD.
        mirror: Whether half of the walks stand in a mirror; their features must be there too.

    Attributes:
        left_out: How many walks did something else, or have no words.

    Raises:
        WalksError: If walks cannot be read.
        ValueError: If no walk is left.
    """

    def __init__(
        self, sources: Sequence[tuple[WalkFolder, Texts]], digest: str, step: float, mirror: bool = False
    ) -> None:
        self._mirror = mirror
        self._walks: list[Walk] = []
        self._texts: list[Sequence[str]] = []
        self._seen: list[dict[bool, NDArray[np.float16]]] = []
        self.left_out = 0
        for folder, texts in sources:
            self._add(folder, texts, digest, step)
        if not self._walks:
            named = ", ".join(str(folder.path) for folder, _ in sources)
            raise ValueError(f"{named}: of no walk there it is known what is said; name the episode files that tell")

    def __len__(self) -> int:
        """Walks."""
        return len(self._walks)

    @property
    def references(self) -> list[Sequence[str]]:
        """All wordings of each walk."""
        return self._texts

    def order(self, batch: int, seed: Sequence[int]) -> list[list[int]]:
        """Return the batches of a pass as places of walks; every walk is in one, and none is smaller than the others by more than one."""
        drawn = np.random.default_rng(seed).permutation(len(self))
        return [part.tolist() for part in np.array_split(drawn, math.ceil(len(self) / batch))]

    def batch(self, places: Sequence[int], seed: Sequence[int]) -> SpokenBatch:
        """Return walks as a batch; wordings, and who stands in a mirror, are drawn with the seed."""
        rng = np.random.default_rng(seed)
        turned = (rng.random(len(places)) < 0.5 * self._mirror).tolist()
        chosen = [self._texts[place][int(rng.integers(len(self._texts[place])))] for place in places]
        return SpokenBatch(
            percepts=[self._seen[place][turn] for place, turn in zip(places, turned, strict=True)],
            actions=[
                mirror_actions(self._walks[place].actions) if turn else self._walks[place].actions
                for place, turn in zip(places, turned, strict=True)
            ],
            texts=[mirror_text(text) if turn else text for text, turn in zip(chosen, turned, strict=True)],
        )

    def whole(self) -> SpokenBatch:
        """Return every walk as it is, with its first wording."""
        seen = [both[False] for both in self._seen]
        return SpokenBatch(seen, [walk.actions for walk in self._walks], [row[0] for row in self._texts])

    def walks(self) -> list[Walk]:
        """Return the walks, in the order of `whole`."""
        return list(self._walks)

    def _add(self, folder: WalkFolder, texts: Texts, digest: str, step: float) -> None:
        for part in folder.parts:
            features = {
                turned: np.load(folder.features_file(digest, part.number, turned), mmap_mode="r", allow_pickle=False)
                for turned in (False, True)[: 1 + self._mirror]
            }
            ends = np.cumsum([len(walk) for walk in part.walks]).tolist()
            for walk, start, end in zip(part.walks, [0, *ends], ends, strict=False):
                said = [text for text in texts.get(walk.tour, ()) if text.strip()]
                if not said or not is_faithful(walk, step):
                    self.left_out += 1
                    continue
                self._walks.append(walk)
                self._texts.append(said)
                self._seen.append({turned: whole[start:end] for turned, whole in features.items()})


def is_faithful(walk: Walk, step: float) -> bool:
    """Return whether a walk did what its instruction says: it went where the expert would stop, and hardly by a detour.

    Args:
        walk: The walk.
        step: Metres of a FORWARD.
    """
    walked = step * int((walk.actions == Action.FORWARD).sum())
    arrived = walk.success and walk.expert_actions[-1] == Action.STOP
    return bool(arrived) and FAITHFUL * (walked - step) <= float(walk.distances[0])
