"""Batches of walks to learn from: of about the same length side by side, the same for the same seed, from any batch on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from navloop.agent.policies import ACTIONS
from navloop.training.walks import Walk, WalkFolder

BUCKETS = 16
"""Batches whose walks are sorted by length together; fewer mix lengths more and waste more."""

Tour = tuple[str, str]
"""Scene and trajectory id: what wordings share."""


@dataclass(frozen=True, slots=True)
class LessonBatch:
    """B walks of at most S steps, with what is to be learned at each; zeros behind a walk's end."""

    percepts: Tensor | None
    """float16 (B, S, n, D); None where the encoder learns too."""
    frames: Tensor | None
    """uint8 (B, S, H, W, 3); None where it does not."""
    depth: Tensor | None
    """float32 (B, S, H, W, 1), with frames of a depth camera."""
    texts: list[str]
    """B instructions."""
    previous_actions: Tensor
    """int64 (B, S), the action taken before each step; `ACTIONS` at a walk's first."""
    expert_actions: Tensor
    """int64 (B, S)."""
    progress: Tensor
    """float (B, S), in [-1, 1]."""
    valid: Tensor
    """bool (B, S), True where a walk has that step."""

    def to(self, device: torch.device) -> LessonBatch:
        """Return it with what losses are made of on a device; frames and percepts stay where they are."""
        moved = (getattr(self, name).to(device) for name in ("expert_actions", "progress", "valid"))
        return replace(self, **dict(zip(("expert_actions", "progress", "valid"), moved, strict=True)))


class _Item(NamedTuple):
    folder: int
    part: int
    place: int
    start: int
    walk: Walk


class Lessons:
    """All walks so far, as batches.

    Args:
        folders: Of the iterations so far.
        texts: Wordings of each tour.
        own: Text of each episode, for walks that are learned with the wording that was followed.
        digest: Of the perception whose features are read; None reads frames.
        batch: Walks a batch.

    Raises:
        WalksError: If walks cannot be read.
    """

    def __init__(
        self,
        folders: Sequence[WalkFolder],
        texts: Mapping[Tour, Sequence[str]],
        own: Mapping[str, str] | None,
        digest: str | None,
        batch: int,
    ) -> None:
        self._folders, self._texts, self._own, self._batch = folders, texts, own, batch
        self._items: list[_Item] = []
        self._features: dict[tuple[int, int], NDArray[np.float16]] = {}
        for number, folder in enumerate(folders):
            for part in folder.parts:
                ends = np.cumsum([len(walk) for walk in part.walks]).tolist()
                rows = zip(part.walks, [0, *ends[:-1]], strict=True)
                self._items += [_Item(number, part.number, i, start, walk) for i, (walk, start) in enumerate(rows)]
                if digest is not None:
                    path = folder.features_file(digest, part.number)
                    self._features[number, part.number] = np.load(path, mmap_mode="r", allow_pickle=False)

    def __len__(self) -> int:
        """Batches of a pass."""
        return math.ceil(len(self._items) / self._batch)

    @property
    def walks(self) -> int:
        """Walks of a pass."""
        return len(self._items)

    def order(self, seed: Sequence[int]) -> list[list[int]]:
        """Return the batches of a pass as places of walks; every walk is in one."""
        rng = np.random.default_rng(seed)
        drawn = rng.permutation(len(self._items)).tolist()
        batches = []
        for start in range(0, len(drawn), BUCKETS * self._batch):
            bucket = sorted(drawn[start : start + BUCKETS * self._batch], key=lambda i: len(self._items[i].walk))
            batches += [bucket[i : i + self._batch] for i in range(0, len(bucket), self._batch)]
        return [batches[i] for i in rng.permutation(len(batches))]

    def batch(self, places: Sequence[int], seed: Sequence[int]) -> LessonBatch:
        """Return walks as a batch; wordings are drawn with the seed."""
        rng = np.random.default_rng(seed)
        items = [self._items[place] for place in places]
        walks = [item.walk for item in items]
        previous = [np.concatenate([[ACTIONS], walk.actions[:-1]]) for walk in walks]
        frames = [] if self._features else [self._folders[i.folder].frames_of(i.part, i.place) for i in items]
        depths = [seen.depth for seen in frames if seen.depth is not None]
        return LessonBatch(
            percepts=_padded([self._seen(item) for item in items]) if self._features else None,
            frames=_padded([seen.rgb for seen in frames]) if frames else None,
            depth=_padded(depths) if depths else None,
            texts=[self._text(walk, rng) for walk in walks],
            previous_actions=_padded(previous),
            expert_actions=_padded([walk.expert_actions for walk in walks]),
            progress=_padded([walk.progress.astype(np.float32) for walk in walks]),
            valid=_padded([np.ones(len(walk), dtype=bool) for walk in walks]),
        )

    def _seen(self, item: _Item) -> NDArray[np.float16]:
        return self._features[item.folder, item.part][item.start : item.start + len(item.walk)]

    def _text(self, walk: Walk, rng: np.random.Generator) -> str:
        if self._own is not None:
            return self._own[walk.episode_id]
        wordings = self._texts[walk.scene_id, walk.trajectory_id]
        return wordings[int(rng.integers(len(wordings)))]


def _padded(rows: Sequence[NDArray[np.generic]]) -> Tensor:
    """Return rows (S_i, ...) as one tensor (B, S, ...), zeros behind the shorter ones."""
    longest = max(len(row) for row in rows)
    whole = np.zeros((len(rows), longest, *rows[0].shape[1:]), dtype=rows[0].dtype)
    for place, row in enumerate(rows):
        whole[place, : len(row)] = row
    return torch.from_numpy(whole)
