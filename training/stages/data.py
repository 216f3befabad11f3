"""Where a stage's clips come from: the recipe's lists of videos, or anything else that gives batches."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from typing_extensions import Self

from navloop.configs.pretraining import PretrainConfig
from navloop.training.clips import ClipBatch
from navloop.training.loading import Decoders, create_loader
from navloop.training.manifests import check_class_folders, read_manifests
from navloop.training.quarantine import Quarantine
from navloop.training.stages.stage import Share, Stage


class ClipSource(Protocol):
    """Gives batches: of each, the `share.clips` clips of this process."""

    def training(self, share: Share, epoch: int, start_batch: int) -> Iterable[ClipBatch]:
        """Return the batches of an epoch from number `start_batch` on, all of them whole."""
        ...

    def clips_per_epoch(self) -> int:
        """Return how many clips an epoch has over all processes, copies of one clip counted once."""
        ...

    def held_out(self, share: Share) -> Iterable[ClipBatch]:
        """Return the batches that are never trained on, as many for each process, the same ones each time."""
        ...


class VideoSource:
    """The videos of a recipe.

    Args:
        config: The recipe; its lists are read at once.
        unreadable: File that videos which cannot be read are listed in; None keeps no list.

    Raises:
        ValueError: If a list is wrong or lacks what the stage needs, or more videos of it than the recipe allows are known to be unreadable.
    """

    def __init__(self, config: PretrainConfig, unreadable: Path | None = None) -> None:
        self._clips, self._seed = config.clips, config.engine.seed
        self._rows = read_manifests(self._clips, config.NEEDS)
        maps = {"manifest": config.held_out, "label_maps": config.held_out_label_maps}
        self._held_out = self._clips.model_copy(update=maps)
        self._held_out_rows = read_manifests(self._held_out, config.NEEDS) if config.held_out else ()
        if "label" in config.NEEDS and config.held_out:
            check_class_folders(self._clips, self._held_out)
        total = len(self._rows) + len(self._held_out_rows)
        self.quarantine = Quarantine(total, self._clips.max_unreadable, unreadable)
        self._decoders = Decoders(self._clips, self._rows, self.quarantine)
        self._held_out_decoders: Decoders | None = None

    def __deepcopy__(self, memo: object) -> Self:
        """Return the same source: copies of a stage (its moving average) share its data."""
        return self

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
        """Return whole batches of the held-out lists, or one smaller batch where they do not fill one."""
        batch = min(share.total, len(self._held_out_rows) // share.world * share.world)
        rows = self._held_out_rows[: len(self._held_out_rows) // max(batch, 1) * batch]
        if not rows:
            return ()
        if self._held_out_decoders is None or len(self._held_out_decoders.rows) != len(rows):
            self._held_out_decoders = Decoders(self._held_out, rows, self.quarantine, training=False)
        return create_loader(
            self._held_out,
            batch=batch,
            seed=self._seed,
            epoch=0,
            rank=share.rank,
            world=share.world,
            training=False,
            decoders=self._held_out_decoders,
        )


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
