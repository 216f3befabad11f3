"""What each place of a batch holds: a clip of one video, the same whatever process makes it, or what is wrong with the video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from navloop.configs.videos import ClipsConfig
from navloop.training.augmentation import augment, view_crops
from navloop.training.clip_rows import ClipRow, ClipRows
from navloop.training.decoding import Decoding, UnreadableError
from navloop.training.labels import read_labels
from navloop.training.quarantine import Fault
from navloop.training.readers import Films, Video, open_video
from navloop.training.samplers import TRAINING, VIEWS, Clip, each_second
from navloop.training.sides import mirror_classes, mirror_text

MAX_STAND_INS = 16
"""Videos in a row that a place of a training batch tries; so many unreadable ones by chance means far more than any limit."""


class Sample(NamedTuple):
    """What a place of a batch shows: which row, where in its video, and what is said of it."""

    row: int
    source: str
    text: str | None
    label: int | None


class MadeClip(NamedTuple):
    """V copies or views of one clip."""

    frames: NDArray[np.uint8]  # (V, T, H, W, 3)
    valid: NDArray[np.bool_]  # (V, T)
    seconds: NDArray[np.float32]  # (V, T)
    sample: Sample


class Place(NamedTuple):
    """What came of a place of a batch; no clip where it could not be read."""

    clip: MadeClip | None
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
        even: Only where `training` is false: batches of `batch` rows or somewhat more, all processes' parts of each alike; up to
            `world` - 1 rows at the end fall out.
        without: Rows that are left out of an even pass.
    """

    batch: int
    seed: int
    epoch: int
    rank: int
    world: int
    training: bool
    even: bool = False
    without: frozenset[int] = frozenset()

    def batches(self, rows: int) -> int:
        """Return how many batches there are of so many rows."""
        if self.even:
            shares = (rows - len(self.without)) // self.world
            return min(max(shares * self.world // self.batch, 1), shares)
        return rows // self.batch if self.training else -(-rows // self.batch)

    def places(self, number: int, rows: int) -> range:
        """Return this process' part of a batch, as places in the order of the pass."""
        if self.even:
            shares, batches = (rows - len(self.without)) // self.world, self.batches(rows)
            first, last = (shares * n // batches for n in (number, number + 1))
            begin = first * self.world + self.rank * (last - first)
            return range(begin, begin + last - first)
        first, last = number * self.batch, min((number + 1) * self.batch, rows)
        share = -(-(last - first) // self.world)
        return range(min(first + self.rank * share, last), min(first + (self.rank + 1) * share, last))

    def order(self, rows: int) -> NDArray[np.int64]:
        """Return the row at each place."""
        if self.training:
            return self.generator(0).permutation(rows)
        return np.array([row for row in range(rows) if row not in self.without], dtype=np.int64)

    def generator(self, *use: int) -> np.random.Generator:
        """Return the generator of one use: (0,) for the order, (1, place) for what a place holds, (1, place, n) for its n-th stand-in."""
        return np.random.default_rng((self.seed, self.epoch, *use))


class ClipDataset(Dataset[Place]):
    """What each place of a pass holds: a function of (seed, epoch, place) and the files alone."""

    def __init__(self, rows: Sequence[ClipRow], config: ClipsConfig, training: bool) -> None:
        self._rows = ClipRows(rows)
        self._config = config
        self._plan: Pass | None = None
        self._order = np.arange(0)
        self._captioned = not self._rows.without("captions").size
        self._labelled = not self._rows.without("label").size
        cropped = config.augmentation.crop in ("multiscale", "resized") and training
        # A crop that is resized afterwards may come from a reduced frame, but from an undistorted one.
        side, squash = (config.short_side, False) if cropped else (config.resized_side, config.squash)
        self._decoding = Decoding(side, squash, config.folder_fps)
        self._films = Films(self._decoding, config.memory_mb << 20)
        self._mirror = config.augmentation.mirror if training else 0.0
        self._opposite = mirror_classes(read_labels(config).names) if self._mirror else {}

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
                clip = self._clip(row, rng)
                return Place(clip, tuple(Fault(r, self._rows[r].path, why, clip.sample.source) for r, why in tried))
            except UnreadableError as error:
                tried.append((row, str(error)))
                rng = plan.generator(1, place, len(tried))  # whatever the last one drew before it failed
                row = int(rng.integers(len(self._rows)))
        return Place(None, tuple(Fault(r, self._rows[r].path, why) for r, why in tried))

    def _open(self, row: int) -> Video:
        return open_video(self._rows[row], self._decoding, self._films)

    def _wanted(self, row: int) -> Clip:
        listed, config = self._rows[row], self._config
        by_path = (stride for word, stride in config.strides.items() if word in listed.path)
        return Clip(config.frames, listed.stride or next(by_path, config.stride))

    def _clip(self, row: int, rng: np.random.Generator) -> MadeClip:
        config, video = self._config, self._open(row)
        if config.sampler == "seconds":
            indices = self._each_second(video)
        else:
            indices = TRAINING[config.sampler](video.num_frames, self._wanted(row), rng)
        frames = video.read(indices)
        mirrored = self._mirror > 0 and rng.random() < self._mirror
        if mirrored:
            frames = np.ascontiguousarray(frames[:, :, ::-1])
        copies = np.stack([augment(frames, config, rng) for _ in range(config.repeats)])
        captions = self._rows[row].captions
        chosen = int(rng.integers(len(captions))) if captions and config.captions == "random" else 0
        made = self._made(row, copies, np.stack([video.seconds(indices)] * config.repeats), chosen)
        return made._replace(sample=self._in_mirror(made.sample)) if mirrored else made

    def _in_mirror(self, sample: Sample) -> Sample:
        """Return what is said of a clip in a mirror; no class, where classes have no names."""
        text = None if sample.text is None else mirror_text(sample.text)
        return sample._replace(text=text, label=None if sample.label is None else self._opposite.get(sample.label))

    def _view(self, row: int) -> MadeClip:
        config, video = self._config, self._open(row)
        if config.sampler == "seconds":
            views = self._each_second(video)[None]
        else:
            sampler, wanted = VIEWS[config.sampler], self._wanted(row)
            views = np.stack([sampler(video.num_frames, wanted, view, config.clips) for view in range(config.clips)])
        distinct, places = np.unique(views, return_inverse=True)
        frames = video.read(distinct)[places.reshape(views.shape)]  # (clips, T, H, W, 3)
        crops = [crop for clip_frames in frames for crop in view_crops(clip_frames, config)]
        return self._made(
            row, np.stack(crops), video.seconds(views.ravel()).reshape(views.shape).repeat(config.crops, 0), 0
        )

    def _each_second(self, video: Video) -> NDArray[np.int64]:
        return each_second(video.seconds(np.arange(video.num_frames)), self._config.frames)

    def _made(self, row: int, frames: NDArray[np.uint8], seconds: NDArray[np.float64], caption: int) -> MadeClip:
        listed = self._rows[row]
        count = frames.shape[1]
        padding = (0, self._config.frames - count)
        return MadeClip(
            frames=np.pad(frames, ((0, 0), padding, (0, 0), (0, 0), (0, 0))) if padding[1] else frames,
            valid=np.broadcast_to(np.arange(self._config.frames) < count, (len(frames), self._config.frames)),
            seconds=np.pad(seconds.astype(np.float32), ((0, 0), padding), mode="edge"),
            sample=Sample(
                row=row,
                source=f"{listed.path} ({seconds.min():.2f} to {seconds.max():.2f} s)",
                text=listed.captions[caption] if self._captioned else None,
                label=listed.label if self._labelled else None,
            ),
        )
