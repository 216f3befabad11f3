"""What the engine trains: a model, the data it learns from, and what it is judged by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from navloop.training.clips import ClipBatch

CLIPS = "clips"
"""Name of the feed that every stage has."""

_UNDECAYED = (
    "token",
    "tokens.weight",
    "positions",
    "query",
    "queries",
    "scale",
    "temperature",
    "gate",
    "class_embedding",
)
"""Ends of the names of parameters that are not matrices, whatever their shape."""


@dataclass(frozen=True, slots=True)
class Share:
    """Which clips of each batch belong to this process: `clips` of them, copies not counted, after those of lower ranks."""

    clips: int
    rank: int = 0
    world: int = 1

    @property
    def total(self) -> int:
        """Clips of a batch, over all processes."""
        return self.clips * self.world

    def mine(self, rows: Tensor) -> Tensor:
        """Return this process's part of rows that were drawn for the clips of all, one equal part a process."""
        return rows.chunk(self.world)[self.rank]


@dataclass(frozen=True, slots=True)
class Feed:
    """One kind of data that a stage learns from."""

    share: Share
    """What of each of its batches is this process's."""
    clips_per_epoch: int
    """Clips of a pass over it, over all processes."""
    load: Callable[[Share, int, int], Iterable[ClipBatch]]
    """Returns, for a share, the batches of an epoch from a number on: (share, epoch, start_batch)."""


class Stage(nn.Module, ABC):
    """A model with its losses and its data.

    Attributes:
        share: What of each batch is this process's; the engine sets it before it asks for data.
        leaves_unused: Whether some parameters that are trained have no part in the loss of some batches; many processes then
            search for them in each step.
        clips_multiple: What the number of clips of a process's part has to be a multiple of: 2 where clips are paired.
    """

    share: Share = Share(1)
    leaves_unused: bool = False
    clips_multiple: int = 1

    @abstractmethod
    def parts(self) -> Mapping[str, nn.Module]:
        """Return what the model consists of, by name, for the count of parameters."""

    @abstractmethod
    def losses(self, batch: ClipBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return scalars by name: "loss" is minimised, all are logged; each is a mean over the batch's clips.

        Args:
            batch: Clips on the device of the parameters.
            generator: Of the CPU, and in the same state in all processes. What differs between clips is drawn for
                len(batch) * share.world of them, and `share.mine` taken: it then does not depend on the number of processes.
        """

    @abstractmethod
    def loader(self, epoch: int, start_batch: int) -> Iterable[ClipBatch]:
        """Return the epoch's batches of `share.clips` clips each, from number `start_batch` on; no smaller one at the end."""

    @abstractmethod
    def clips_per_epoch(self) -> int:
        """Return how many clips an epoch has over all processes, copies of one clip counted once."""

    def feeds(self) -> Mapping[str, Feed]:
        """Return the kinds of data by name; epochs are counted by the first, which is what `loader` gives."""
        own = Feed(
            self.share, self.clips_per_epoch(), lambda share, epoch, start_batch: self.loader(epoch, start_batch)
        )
        return {CLIPS: own}

    def feed_of(self, step: int) -> str:
        """Return the name of the feed that a step, counted from 1, takes all its clips from; it depends on nothing else."""
        return CLIPS

    def held_out(self) -> Iterable[ClipBatch]:
        """Return the batches of `share.clips` clips that are never trained on, the same ones each time; none by default."""
        return ()

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write what outlives the training, with `save_encoder`, into an existing folder."""

    @abstractmethod
    def layer_of(self, name: str) -> int:
        """Return which layer a parameter belongs to, for layer decay: 0 embeds, 1 to L are blocks, L + 1 is all after them."""

    def undecayed(self) -> frozenset[str]:
        """Return the parameters without weight decay besides those of one dimension: tokens, positions, scales."""
        return frozenset(name for name, _ in self.named_parameters() if name.endswith(_UNDECAYED))

    def forward(self, batch: ClipBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return `losses`; wrappers for many processes call it so."""
        return self.losses(batch, generator)

    def group_matcher(self, coarse: bool = False) -> Callable[[str], int]:
        """Return `layer_of`, under the name that timm asks for."""
        return self.layer_of
