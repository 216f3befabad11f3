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
from navloop.training.readers import Films, Video, open_video
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
        self, rows: Sequence[ClipRow], config: ClipsConfig, training: bool, avoid: frozenset[tuple[str, int]]
    ) -> None:
        self._rows = rows
        self._config = config
        self._avoid = avoid
        self._plan: Pass | None = None
        self._order = np.arange(0)
        self._captioned = all(row.captions for row in rows)
        self._labelled = all(row.label is not None for row in rows)
        cropped = config.augmentation.crop in ("multiscale", "resized") and training
        # A crop that is resized afterwards may come from a reduced frame, but from an undistorted one.
        side, squash = (config.short_side, False) if cropped else (config.resized_side, config.squash)
        self._decoding = Decoding(side, squash, config.folder_fps)
        self._films = Films(self._decoding, config.memory_mb << 20)

    def __len__(self) -> int:
        """Return the number of places of a pass."""
        return len(self._rows)

    def __getitem__(self, asked: tuple[Pass, int]) -> Place:
        """Return what a place of a pass holds. In training, another row stands in for one that cannot be read, and is told."""
        plan, place = asked
        if plan != self._plan:
            self._plan, self._order = plan, plan.order(len(self._rows))
        row = int(self._order[place])
        if not plan.training:
            try:
                return Place(self._view(row), ())
            except UnreadableError as error:
                return Place(None, (Fault(row, self._rows[row].path, str(error)),))
        rng = plan.generator(1, place)
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
        return open_video(self._rows[row], self._decoding, self._films)

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


class Decoders:
    """The processes that make clips, from pass to pass: what they have decoded stays with them.

    Args:
        config: How clips are made.
        rows: Of which videos.
        quarantine: Videos on its list are not tried.
        training: For training; else for evaluation.
    """

    def __init__(
        self, config: ClipsConfig, rows: Sequence[ClipRow], quarantine: Quarantine, *, training: bool = True
    ) -> None:
        self.config, self.rows, self.quarantine, self.training = config, rows, quarantine, training
        self._asked = _Asked(len(rows))
        workers = config.workers
        self._loader = DataLoader(
            ClipDataset(rows, config, training, frozenset(quarantine.reasons)),
            batch_sampler=self._asked,
            num_workers=workers,
            collate_fn=collate,
            prefetch_factor=2 if workers else None,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # the global one stays as it is
        )

    def load(self, plan: Pass, start: int) -> Iterator[Loaded]:
        """Yield the batches of a pass from number `start` on; a pass that was under way ends."""
        self._asked.plan, self._asked.start = plan, start
        yield from self._loader


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
