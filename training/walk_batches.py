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
from navloop.configs.imitation import LearningConfig
from navloop.records import Tour
from navloop.training.mirroring import mirror_actions, mirror_frames
from navloop.training.sides import mirror_text
from navloop.training.walks import Frames, Walk, WalkFolder

BUCKETS = 16
"""Batches whose walks are sorted by length together; fewer mix lengths more and waste more."""

Actions = NDArray[np.int64]


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

    def __len__(self) -> int:
        return len(self.texts)

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
        own: Text of each episode.
        digest: Of the perception whose features are read; None reads frames.
        config: Walks a batch, which wordings, whether in a mirror.

    Raises:
        WalksError: If walks cannot be read.
    """

    def __init__(
        self,
        folders: Sequence[WalkFolder],
        texts: Mapping[Tour, Sequence[str]],
        own: Mapping[str, str],
        digest: str | None,
        config: LearningConfig,
    ) -> None:
        self._folders, self._texts, self._own, self._config = folders, texts, own, config
        self._batch = config.batch
        self._items: list[_Item] = []
        self._features: dict[tuple[int, int, bool], NDArray[np.float16]] = {}
        for number, folder in enumerate(folders):
            for part in folder.parts:
                ends = np.cumsum([len(walk) for walk in part.walks]).tolist()
                rows = zip(part.walks, [0, *ends[:-1]], strict=True)
                self._items += [_Item(number, part.number, i, start, walk) for i, (walk, start) in enumerate(rows)]
                if digest is None:
                    continue
                for turned in (False, True)[: 1 + config.mirror]:
                    path = folder.features_file(digest, part.number, turned)
                    self._features[number, part.number, turned] = np.load(path, mmap_mode="r", allow_pickle=False)

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
        """Return walks as a batch; wordings, and who stands in a mirror, are drawn with the seed."""
        rng = np.random.default_rng(seed)
        items = [self._items[place] for place in places]
        turned = (rng.random(len(items)) < 0.5 * self._config.mirror).tolist()
        told = [self._told(item.walk, turn, rng) for item, turn in zip(items, turned, strict=True)]
        frames = [] if self._features else [self._frames(item, turn) for item, turn in zip(items, turned, strict=True)]
        seen = [self._seen(item, turn) for item, turn in zip(items, turned, strict=True)] if self._features else []
        depths = [both.depth for both in frames if both.depth is not None]
        return LessonBatch(
            percepts=_padded(seen) if seen else None,
            frames=_padded([both.rgb for both in frames]) if frames else None,
            depth=_padded(depths) if depths else None,
            texts=[text for text, _, _ in told],
            previous_actions=_padded([previous for _, previous, _ in told]),
            expert_actions=_padded([actions for _, _, actions in told]),
            progress=_padded([item.walk.progress.astype(np.float32) for item in items]),
            valid=_padded([np.ones(len(item.walk), dtype=bool) for item in items]),
        )

    def _seen(self, item: _Item, turned: bool) -> NDArray[np.float16]:
        return self._features[item.folder, item.part, turned][item.start : item.start + len(item.walk)]

    def _frames(self, item: _Item, turned: bool) -> Frames:
        frames = self._folders[item.folder].frames_of(item.part, item.place)
        return mirror_frames(frames) if turned else frames

    def _told(self, walk: Walk, turned: bool, rng: np.random.Generator) -> tuple[str, Actions, Actions]:
        """Return the instruction, the action before each step, and the expert's."""
        wordings = self._texts[walk.tour]
        drawn = wordings[int(rng.integers(len(wordings)))]
        text = drawn if self._config.wordings else self._own[walk.episode_id]
        previous = np.concatenate([[ACTIONS], walk.actions[:-1]])
        if not turned:
            return text, previous, walk.expert_actions
        return mirror_text(text), mirror_actions(previous), mirror_actions(walk.expert_actions)


def _padded(rows: Sequence[NDArray[np.generic]]) -> Tensor:
    """Return rows (S_i, ...) as one tensor (B, S, ...), zeros behind the shorter ones."""
    longest = max(len(row) for row in rows)
    whole = np.zeros((len(rows), longest, *rows[0].shape[1:]), dtype=rows[0].dtype)
    for place, row in enumerate(rows):
        whole[place, : len(row)] = row
    return torch.from_numpy(whole)
