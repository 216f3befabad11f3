"""Where a stage's clips come from: the recipe's lists of videos, or anything else that gives batches."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from accelerate.utils import gather_object
from typing_extensions import Self

from navloop.configs.pretraining import PretrainConfig
from navloop.training.clip_rows import ClipRows
from navloop.training.clips import ClipBatch
from navloop.training.decoding import UnreadableError
from navloop.training.loading import Decoders, create_loader
from navloop.training.manifests import check_class_folders, read_manifests
from navloop.training.overlaps import require_apart
from navloop.training.places import Pass
from navloop.training.quarantine import Fault, Quarantine
from navloop.training.stages.stage import Share, Stage

LOGGER = logging.getLogger(__name__)


class ClipSource(Protocol):
    """Gives batches: of each, the `share.clips` clips of this process."""

    def training(self, share: Share, epoch: int, start_batch: int) -> Iterable[ClipBatch]:
        """Return the batches of an epoch from number `start_batch` on, all of them whole."""
        ...

    def clips_per_epoch(self) -> int:
        """Return how many clips an epoch has over all processes, copies of one clip counted once."""
        ...

    def held_out(self, share: Share) -> Iterable[ClipBatch]:
        """Return the batches that are never trained on: as many, and as large, for each process, the same ones each time."""
        ...


class VideoSource:
    """The videos of a recipe.

    Args:
        config: The recipe; its lists are read at once.
        unreadable: File that videos which cannot be read are listed in; None keeps no list.

    Raises:
        ValueError: If a list is wrong or lacks what the stage needs, a held-out clip is also trained on, or more videos than the recipe
            allows are known to be unreadable.
    """

    def __init__(self, config: PretrainConfig, unreadable: Path | None = None) -> None:
        self._clips, self._seed = config.clips, config.engine.seed
        self._rows = read_manifests(self._clips, config.NEEDS)
        maps = {"manifest": config.held_out, "label_maps": config.held_out_label_maps}
        self._held_out = self._clips.model_copy(update=maps)
        self._held_out_rows = read_manifests(self._held_out, config.NEEDS) if config.held_out else ClipRows(())
        if "label" in config.NEEDS and config.held_out:
            check_class_folders(self._clips, self._held_out)
        require_apart(self._held_out_rows, self._rows, "held-out clips", "trained on")
        total = len(self._rows) + len(self._held_out_rows)
        self.quarantine = Quarantine(total, self._clips.max_unreadable, unreadable)
        self._decoders = Decoders(self._clips, self._rows, self.quarantine)
        self._held_out_decoders: Decoders | None = None
        self._unreadable: frozenset[int] = frozenset()

    def __deepcopy__(self, memo: object) -> Self:
        """Return the same source: copies of a stage (its moving average) share its data."""
        return self

    def close(self) -> None:
        """End the processes that make clips."""
        for decoders in (self._decoders, self._held_out_decoders):
            if decoders is not None:
                decoders.close()

    def training(self, share: Share, epoch: int, start_batch: int) -> Iterable[ClipBatch]:
        """Return the batches of an epoch, in an order of its own."""
        return create_loader(
            self._clips,
            batch=share.total,
            seed=self._seed,
            epoch=epoch,
            start_batch=start_batch,
            rank=share.rank,
            world=share.world,
            decoders=self._decoders,
        )

    def clips_per_epoch(self) -> int:
        """Return how many rows the lists have."""
        return len(self._rows)

    def held_out(self, share: Share) -> Iterable[ClipBatch]:
        """Return batches of all held-out videos that can be read, each at least as large as in training where there are as many.

        Before the first ones, all are read once, and processes tell each other what they could not: every process has the same
        number of clips in each batch, whatever could not be read. Where the videos do not divide among the processes, the last
        ones, fewer than there are processes, are left out, and it is said.

        Raises:
            TooManyUnreadableError: If more videos than the recipe allows cannot be read, in all processes alike.
            UnreadableError: If a video can no longer be read.
        """
        if not self._held_out_rows:
            return ()
        if self._held_out_decoders is None:
            self._held_out_decoders = Decoders(self._held_out, self._held_out_rows, self.quarantine, training=False)
            self._unreadable = self._try_held_out(self._held_out_decoders, share)
            self._tell_left_out(share)
        plan = Pass(
            share.total, self._seed, 0, share.rank, share.world, training=False, even=True, without=self._unreadable
        )
        return HeldOut(self._held_out_decoders, plan)

    def _try_held_out(self, decoders: Decoders, share: Share) -> frozenset[int]:
        """Return which held-out rows cannot be read; each process reads its part of them."""
        plan = Pass(share.total, self._seed, 0, share.rank, share.world, training=False)
        own = [fault for loaded in decoders.load(plan, 0) for fault in loaded.faults]
        faults: list[Fault] = gather_object(own)
        for fault in faults:
            self.quarantine.add(replace(fault, row=len(self._rows) + fault.row))
        return frozenset(fault.row for fault in faults)

    def _tell_left_out(self, share: Share) -> None:
        """Say how many held-out videos do not divide among the processes."""
        rows = len(self._held_out_rows) - len(self._unreadable)
        if rows % share.world and share.rank == 0:
            LOGGER.warning(
                "%d of the %d held-out videos that can be read are left out of what is measured: they do not divide among %d processes",
                rows % share.world,
                rows,
                share.world,
            )


class HeldOut:
    """The batches of a pass over held-out videos, all of which could be read before; iterate any number of times."""

    def __init__(self, decoders: Decoders, plan: Pass) -> None:
        self._decoders, self._plan = decoders, plan

    def __iter__(self) -> Iterator[ClipBatch]:
        """Yield the batches.

        Raises:
            UnreadableError: If a video can no longer be read.
        """
        for loaded in self._decoders.load(self._plan, 0):
            if loaded.faults:
                raise UnreadableError(f"{loaded.faults[0].reason}; it could be read when the run was started")
            if (batch := loaded.batch()) is not None:
                yield batch


class ClipStage(Stage):
    """A stage whose batches come from a source.

    Args:
        source: Where clips come from.
    """

    def __init__(self, source: ClipSource) -> None:
        super().__init__()
        self.source = source

    def loader(self, epoch: int, start_batch: int) -> Iterable[ClipBatch]:
        """Return the batches of an epoch."""
        return self.source.training(self.share, epoch, start_batch)

    def clips_per_epoch(self) -> int:
        """Return how many clips an epoch has."""
        return self.source.clips_per_epoch()

    def held_out(self) -> Iterable[ClipBatch]:
        """Return the batches of the recipe's `held_out`."""
        return self.source.held_out(self.share)
