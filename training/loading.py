"""From lists of videos to batches of clips: decoded in workers, the same batches whatever the workers, from any batch on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from navloop.configs.videos import ClipsConfig
from navloop.training.augmentation import augment, view_crops
from navloop.training.clips import ClipBatch
from navloop.training.decoding import Decoding, UnreadableError
from navloop.training.manifests import ClipRow, read_manifests
from navloop.training.quarantine import Fault, Quarantine
from navloop.training.readers import Video, open_video
from navloop.training.samplers import TRAINING, VIEWS, Clip

MAX_STAND_INS = 16
"""Videos in a row that a place of a training batch tries; so many unreadable ones by chance means far more than any limit."""


class Sample(NamedTuple):
    """What a place of a batch holds: V copies or views of one clip, or none where it could not be read."""

    frames: NDArray[np.uint8]  # (V, T, H, W, 3)
    seconds: NDArray[np.float32]  # (V, T)
    row: int
    source: str
    text: str | None
    label: int | None


class Place(NamedTuple):
    """What came of a place of a batch."""

    sample: Sample | None
    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over the rows, as every process of a run sees it.

    Attributes:
        batch: Clips of a batch of all processes together, copies and views not counted.
        seed: Of the run.
        epoch: Number of the pass.
        rank: Number of this process.
        world: Number of processes.
        training: Random order, clips and crops, whole batches; else every row once, in order.
    """

    batch: int
    seed: int
    epoch: int
    rank: int
    world: int
    training: bool

    def batches(self, rows: int) -> int:
        """Return how many batches there are of so many rows."""
        return rows // self.batch if self.training else -(-rows // self.batch)

    def places(self, number: int, rows: int) -> range:
        """Return this process' part of a batch, as places in the order of the pass."""
        first, last = number * self.batch, min((number + 1) * self.batch, rows)
        share = -(-(last - first) // self.world)
        return range(min(first + self.rank * share, last), min(first + (self.rank + 1) * share, last))

    def order(self, rows: int) -> NDArray[np.int64]:
        """Return the row at each place."""
        return self.generator(0).permutation(rows) if self.training else np.arange(rows)

    def generator(self, *use: int) -> np.random.Generator:
        """Return the generator of one use: (0,) for the order, (1, place) for what a place holds."""
        return np.random.default_rng((self.seed, self.epoch, *use))


class ClipDataset(Dataset[Place]):
    """What each place of a pass holds: a function of (seed, epoch, place) and the files alone."""

    def __init__(
        self, rows: Sequence[ClipRow], config: ClipsConfig, plan: Pass, avoid: frozenset[tuple[str, int]]
    ) -> None:
        self._rows = rows
        self._config = config
        self._plan = plan
        self._avoid = avoid
        self._order = plan.order(len(rows))
        self._captioned = all(row.captions for row in rows)
        self._labelled = all(row.label is not None for row in rows)
        cropped = config.augmentation.crop in ("multiscale", "resized") and plan.training
        # A crop that is resized afterwards may come from a reduced frame, but from an undistorted one.
        side, squash = (config.short_side, False) if cropped else (config.resized_side, config.squash)
        self._decoding = Decoding(side, squash, config.folder_fps)

    def __len__(self) -> int:
        """Return the number of places."""
        return len(self._rows)

    def __getitem__(self, place: int) -> Place:
        """Return what place `place` holds. In training, another row stands in for one that cannot be read, and is told."""
        row = int(self._order[place])
        if not self._plan.training:
            try:
                return Place(self._view(row), ())
            except UnreadableError as error:
                return Place(None, (Fault(row, self._rows[row].path, str(error)),))
        rng = self._plan.generator(1, place)
        tried: list[tuple[int, str]] = []
        while len(tried) < MAX_STAND_INS:
            try:
                sample = self._clip(row, rng)
                return Place(sample, tuple(Fault(r, self._rows[r].path, why, sample.source) for r, why in tried))
            except UnreadableError as error:
                tried.append((row, str(error)))
                row = int(rng.integers(len(self._rows)))
        return Place(None, tuple(Fault(r, self._rows[r].path, why) for r, why in tried))

    def _open(self, row: int) -> Video:
        if (self._rows[row].path, row) in self._avoid:
            raise UnreadableError(f"{self._rows[row].path}: is on the list of unreadable videos")
        return open_video(self._rows[row], self._decoding)

    def _wanted(self, row: int) -> Clip:
        return Clip(self._config.frames, self._rows[row].stride or self._config.stride)

    def _clip(self, row: int, rng: np.random.Generator) -> Sample:
        config, video = self._config, self._open(row)
        indices = TRAINING[config.sampler](video.num_frames, self._wanted(row), rng)
        frames = video.read(indices)
        copies = np.stack([augment(frames, config, rng) for _ in range(config.repeats)])
        captions = self._rows[row].captions
        chosen = int(rng.integers(len(captions))) if captions and config.captions == "random" else 0
        return self._sample(row, copies, np.stack([video.seconds(indices)] * config.repeats), chosen)

    def _view(self, row: int) -> Sample:
        config, video = self._config, self._open(row)
        sampler, wanted = VIEWS[config.sampler], self._wanted(row)
        views = np.stack(
            [sampler(video.num_frames, wanted, view, config.clips) for view in range(config.clips)]
        )  # (clips, T)
        distinct, places = np.unique(views, return_inverse=True)
        frames = video.read(distinct)[places.reshape(views.shape)]
        crops = [crop for clip_frames in frames for crop in view_crops(clip_frames, config)]
        return self._sample(
            row, np.stack(crops), video.seconds(views.ravel()).reshape(views.shape).repeat(config.crops, 0), 0
        )

    def _sample(self, row: int, frames: NDArray[np.uint8], seconds: NDArray[np.float64], caption: int) -> Sample:
        listed = self._rows[row]
        return Sample(
            frames=frames,
            seconds=seconds.astype(np.float32),
            row=row,
            source=f"{listed.path} ({seconds.min():.2f} to {seconds.max():.2f} s)",
            text=listed.captions[caption] if self._captioned else None,
            label=listed.label if self._labelled else None,
        )


class ClipLoader:
    """The batches of one pass from `start_batch` on; iterate once, or again for the same batches."""

    def __init__(
        self, rows: Sequence[ClipRow], config: ClipsConfig, plan: Pass, quarantine: Quarantine, start_batch: int
    ) -> None:
        self._rows = rows
        self._config = config
        self._plan = plan
        self._start = start_batch
        self.quarantine = quarantine

    @property
    def num_batches(self) -> int:
        """Batches of the whole pass."""
        return self._plan.batches(len(self._rows))

    def __len__(self) -> int:
        """Return how many batches remain from `start_batch` on."""
        return max(self.num_batches - self._start, 0)

    def __iter__(self) -> Iterator[ClipBatch]:
        """Yield the batches.

        Raises:
            TooManyUnreadableError: If more videos than the config allows cannot be read.
        """
        parts = [self._plan.places(number, len(self._rows)) for number in range(self._start, self.num_batches)]
        workers = self._config.workers
        loader = DataLoader(
            ClipDataset(self._rows, self._config, self._plan, frozenset(self.quarantine.reasons)),
            batch_sampler=[list(part) for part in parts if part],
            num_workers=workers,
            collate_fn=collate,
            prefetch_factor=2 if workers else None,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator().manual_seed(self._plan.seed),  # the global one stays as it is
        )
        for loaded in loader:
            for fault in loaded.faults:
                self.quarantine.add(fault)
            if loaded.unfilled and self._plan.training:
                raise UnreadableError(
                    f"{MAX_STAND_INS} videos in a row could not be read; {self.quarantine.summary()} so far. "
                    f"The last: {loaded.faults[-1].reason}"
                )
            if loaded.batch is not None:
                yield loaded.batch


class Loaded(NamedTuple):
    """A batch, None where nothing of it could be read, and what could not."""

    batch: ClipBatch | None
    faults: Sequence[Fault]
    unfilled: int


def collate(places: Sequence[Place]) -> Loaded:
    """Stack what places hold; copies and views of a clip stay side by side."""
    faults = tuple(fault for place in places for fault in place.faults)
    samples = [place.sample for place in places if place.sample is not None]
    if not samples:
        return Loaded(None, faults, len(places))
    copies = len(samples[0].frames)
    texts = [sample.text for sample in samples for _ in range(copies)]
    labels = [sample.label for sample in samples for _ in range(copies)]
    frames = torch.from_numpy(np.concatenate([sample.frames for sample in samples]))
    batch = ClipBatch(
        frames=frames,
        valid_frames=torch.ones(frames.shape[:2], dtype=torch.bool),
        seconds=torch.from_numpy(np.concatenate([sample.seconds for sample in samples])),
        rows=torch.tensor([sample.row for sample in samples]).repeat_interleave(copies),
        sources=tuple(sample.source for sample in samples for _ in range(copies)),
        texts=None if None in texts else tuple(text for text in texts if text is not None),
        labels=None if None in labels else torch.tensor(labels),
    )
    return Loaded(batch, faults, len(places) - len(samples))


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

    Raises:
        ManifestError: If the lists are wrong.
        ValueError: If the batch does not split over the processes, or there are fewer rows than one batch.
    """
    if batch % world or not 0 <= rank < world:
        raise ValueError(f"a batch of {batch} does not split over {world} processes (this is number {rank})")
    rows = read_manifests(config) if rows is None else rows
    if training and len(rows) < batch:
        raise ValueError(f"{len(rows)} rows do not fill one batch of {batch}; take a smaller batch or more videos")
    if quarantine is None:
        quarantine = Quarantine(len(rows), config.max_unreadable)
    return ClipLoader(rows, config, Pass(batch, seed, epoch, rank, world, training), quarantine, start_batch)
