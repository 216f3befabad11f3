"""From lists of videos to batches of clips: decoded in workers, the same batches whatever the workers, from any batch on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from navloop.configs.videos import ClipsConfig
from navloop.processes import end_with_the_parent
from navloop.provenance import usable_processors
from navloop.training.clip_rows import ClipRow
from navloop.training.clips import ClipBatch
from navloop.training.decoding import UnreadableError
from navloop.training.manifests import read_manifests
from navloop.training.places import MAX_STAND_INS, ClipDataset, Pass, Place, Sample
from navloop.training.quarantine import Fault, Quarantine

LARGE = 1 << 20
"""Bytes of frames from which shared memory is cheaper than a pipe."""


class Decoders:
    """The processes that make clips, from pass to pass: what they have decoded stays with them.

    Args:
        config: How clips are made.
        rows: Of which videos.
        quarantine: Where videos that cannot be read are listed; what is on the list is tried all the same, as in an
            uninterrupted run: of a damaged file, some parts may be good.
        training: For training; else for evaluation.
    """

    def __init__(
        self, config: ClipsConfig, rows: Sequence[ClipRow], quarantine: Quarantine, *, training: bool = True
    ) -> None:
        self.config, self.rows, self.quarantine, self.training = config, rows, quarantine, training
        self._asked = _Asked(len(rows))
        workers = min(config.workers, usable_processors())  # more would wait for each other
        self._loader = DataLoader(
            ClipDataset(rows, config, training),
            batch_sampler=self._asked,
            num_workers=workers,
            collate_fn=collate,
            worker_init_fn=_watch_the_parent,
            prefetch_factor=2 if workers else None,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # the global one stays as it is
        )

    def load(self, plan: Pass, start: int) -> Iterator[Loaded]:
        """Yield the batches of a pass from number `start` on; a pass that was under way ends."""
        self._asked.plan, self._asked.start = plan, start
        yield from self._loader

    def close(self) -> None:
        """End the processes; there are no more clips then.

        In a cycle that is collected as garbage, their queues are closed before torch tells them through those to end: each would then be
        waited for in vain, 5 s long.
        """
        if isinstance(self._loader._iterator, _MultiProcessingDataLoaderIter):
            self._loader._iterator._shutdown_workers()


def _watch_the_parent(worker: int) -> None:
    """Let a worker end with who started it. torch's own watch waits for what is still in the pipe, which nobody will ever read."""
    end_with_the_parent()


class _Asked:
    """The places of each batch of the pass that is under way."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self.plan: Pass | None = None
        self.start = 0

    def __iter__(self) -> Iterator[list[tuple[Pass, int]]]:
        plan = self.plan
        assert plan is not None
        for number in range(self.start, plan.batches(self._rows)):
            if places := plan.places(number, self._rows):
                yield [(plan, place) for place in places]


class ClipLoader:
    """The batches of one pass from `start_batch` on; iterate once, or again for the same batches."""

    def __init__(self, decoders: Decoders, plan: Pass, start_batch: int) -> None:
        self._decoders = decoders
        self._plan = plan
        self._start = start_batch
        self.quarantine = decoders.quarantine

    @property
    def num_batches(self) -> int:
        """Batches of the whole pass."""
        return self._plan.batches(len(self._decoders.rows))

    def __len__(self) -> int:
        """Return how many batches remain from `start_batch` on."""
        return max(self.num_batches - self._start, 0)

    def __iter__(self) -> Iterator[ClipBatch]:
        """Yield the batches.

        Raises:
            TooManyUnreadableError: If more videos than the config allows cannot be read.
        """
        for loaded in self._decoders.load(self._plan, self._start):
            for fault in loaded.faults:
                self.quarantine.add(fault)
            if loaded.unfilled and self._plan.training:
                raise UnreadableError(
                    f"{MAX_STAND_INS} videos in a row could not be read; {self.quarantine.summary()} so far. "
                    f"The last: {loaded.faults[-1].reason}"
                )
            if (batch := loaded.batch()) is not None:
                yield batch


class Loaded(NamedTuple):
    """A batch as it comes out of a worker, and what could not be read.

    Arrays go through the pipe; a tensor goes round it, through shared memory, which pays for large ones alone.
    """

    frames: Tensor | NDArray[np.uint8] | None  # (B, T, H, W, 3); None where nothing could be read
    valid: NDArray[np.bool_]  # (B, T)
    seconds: NDArray[np.float32]  # (B, T)
    samples: tuple[Sample, ...]
    faults: tuple[Fault, ...]
    unfilled: int

    def batch(self) -> ClipBatch | None:
        """Return the batch; copies and views of a clip stay side by side."""
        if self.frames is None:
            return None
        copies = len(self.frames) // len(self.samples)
        samples = [sample for sample in self.samples for _ in range(copies)]
        texts = [sample.text for sample in samples]
        labels = [sample.label for sample in samples]
        batch = ClipBatch(
            frames=torch.as_tensor(self.frames),
            valid_frames=torch.from_numpy(self.valid),
            seconds=torch.from_numpy(self.seconds),
            rows=torch.tensor([sample.row for sample in samples]),
            sources=tuple(sample.source for sample in samples),
            texts=None if None in texts else tuple(text for text in texts if text is not None),
            labels=None if None in labels else torch.tensor(labels),
        )
        return batch.pin_memory() if torch.cuda.is_available() else batch


def collate(places: Sequence[Place]) -> Loaded:
    """Stack what places hold."""
    faults = tuple(fault for place in places for fault in place.faults)
    clips = [place.clip for place in places if place.clip is not None]
    if not clips:
        return Loaded(None, np.empty((0, 0), np.bool_), np.empty((0, 0), np.float32), (), faults, len(places))
    frames = np.concatenate([clip.frames for clip in clips])
    return Loaded(
        frames=torch.from_numpy(frames) if frames.nbytes > LARGE else frames,
        valid=np.concatenate([clip.valid for clip in clips]),
        seconds=np.concatenate([clip.seconds for clip in clips]),
        samples=tuple(clip.sample for clip in clips),
        faults=faults,
        unfilled=len(places) - len(clips),
    )


def create_loader(
    config: ClipsConfig,
    *,
    batch: int,
    seed: int,
    epoch: int,
    start_batch: int = 0,
    rank: int = 0,
    world: int = 1,
    training: bool = True,
    rows: Sequence[ClipRow] | None = None,
    quarantine: Quarantine | None = None,
    decoders: Decoders | None = None,
) -> ClipLoader:
    """Return the batches of one pass over the videos of a config.

    What a batch holds follows from (seed, epoch, its number) and the files alone: not from the workers, nor from where the
    pass was resumed. Processes of a run take consecutive equal parts of each batch.

    Args:
        config: Which videos, and how clips are made of them.
        batch: Clips of a batch over all processes, copies (`repeats`) and views (`clips` x `crops`) not counted; in
            training the last rows that fill no batch are left for another epoch.
        seed: Of the run.
        epoch: Number of the pass; each has its own order, clips and crops.
        start_batch: Number of the first batch to load.
        rank: Number of this process.
        world: Number of processes; divides `batch`.
        training: Random order, clips and crops; False takes every row once, in order, as `clips` x `crops` views.
        rows: The rows of the lists, if they have been read already (`read_manifests`).
        quarantine: Where unreadable videos are listed and counted; keep one over all epochs. None begins a new one.
        decoders: Who makes the clips, of their own rows and with their own quarantine; keep them over all epochs, as they keep
            what they decode. None starts new ones.

    Raises:
        ManifestError: If the lists are wrong.
        ValueError: If the batch does not split over the processes, there are fewer rows than one batch, or the decoders are
            for other clips.
    """
    if batch % world or not 0 <= rank < world:
        raise ValueError(f"a batch of {batch} does not split over {world} processes (this is number {rank})")
    if decoders is None:
        rows = read_manifests(config) if rows is None else rows
        quarantine = Quarantine(len(rows), config.max_unreadable) if quarantine is None else quarantine
        decoders = Decoders(config, rows, quarantine, training=training)
    elif (decoders.config, decoders.training) != (config, training):
        raise ValueError("the decoders are for clips of another config, or for evaluation and not training")
    if training and len(decoders.rows) < batch:
        raise ValueError(
            f"{len(decoders.rows)} rows do not fill one batch of {batch}; take a smaller batch or more videos"
        )
    return ClipLoader(decoders, Pass(batch, seed, epoch, rank, world, training), start_batch)
