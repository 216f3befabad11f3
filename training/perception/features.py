"""What an encoder makes of lists of videos: computed once, kept in the run folder, told which videos could not be read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor
from torch.nn import functional as F

from navloop.configs.perception import PerceptionEvalConfig
from navloop.configs.videos import ClipsConfig, ViewsConfig
from navloop.encoders.pixels import VERSION
from navloop.files import fingerprint
from navloop.training.clip_rows import ClipRow
from navloop.training.clips import ClipBatch
from navloop.training.fingerprints import list_fingerprint
from navloop.training.loading import create_loader
from navloop.training.manifests import read_manifests
from navloop.training.perception.progress import EmbeddingProgress
from navloop.training.perception.readouts import Readout, read_out, readings
from navloop.training.perception.results import Groups, groups_of
from navloop.training.perception.subject import Subject
from navloop.training.quarantine import Quarantine
from navloop.weights import read_weights, write_weights

Seen = TypeVar("Seen")
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """What an encoder makes of the N videos of some lists that could be read, in their order.

    Attributes:
        values: float32 (N, D) features or (N, J) pooled, means over the views; (N, views, classes) logits.
        rows: N rows.
        listed: How many videos the lists have.
        fingerprint: Over which part of which files they show, and the sizes of these.
        files: Fingerprint of each list.
        read: How the lists were read: fields of `ViewsConfig` by which `read_manifests` gives their rows again.
        protocol: How the videos were shown: every field of `ViewsConfig` that decides it.
    """

    values: NDArray[np.float32]
    rows: tuple[ClipRow, ...]
    listed: int
    fingerprint: str
    files: Mapping[str, str]
    read: Mapping[str, object]
    protocol: Mapping[str, object]

    @property
    def unreadable(self) -> int:
        """How many videos could not be read."""
        return self.listed - len(self.rows)

    @property
    def labels(self) -> NDArray[np.int64]:
        """Classes, (N,).

        Raises:
            ValueError: If a row has none.
        """
        bare = [row for row in self.rows if row.label is None]
        if bare:
            raise ValueError(f"{bare[0].place}: has no label, and this task needs one in every row")
        return np.array([row.label for row in self.rows], dtype=np.int64)

    @property
    def groups(self) -> Groups:
        """Which of the videos are alike."""
        return groups_of(self.rows)


class FeatureStore:
    """Embeds lists of videos, each readout of each once.

    Args:
        recipe: The run's.
        subject: What is measured.
        folder: Of the run: values go into its `features/`, what cannot be read into its `unreadable/`.
        console: Where to show the progress; None shows nothing.
    """

    def __init__(self, recipe: PerceptionEvalConfig, subject: Subject, folder: Path, console: Console | None) -> None:
        self._recipe, self._subject, self._folder, self._console = recipe, subject, folder, console

    def embed(
        self, readout: Readout, views: ViewsConfig, need: Sequence[Literal["label", "captions"]] = ()
    ) -> Embedded:
        """Return what the encoder makes of lists, from the run folder if it is there.

        Raises:
            ManifestError: If a list is wrong.
            ValueError: If the readout needs a classifier and there is none, nothing can be read, or the encoder gives what is not
                finite.
            TooManyUnreadableError: If more videos than `views.max_unreadable` allows cannot be read.
        """
        return self.embed_rows(readout, views, read_manifests(self.clips(views), need))

    def embed_rows(self, readout: Readout, views: ViewsConfig, rows: Sequence[ClipRow]) -> Embedded:
        """Return what the encoder makes of rows that were read from the lists of `views`, as `embed` does."""
        clips = self.clips(views)
        shown = [_protocol(clips), video_fingerprint(rows)]
        said = json.dumps([self._subject.digest, self._recipe.precision, VERSION, *shown]).encode()
        key = fingerprint(said).removeprefix("sha256:")
        file = self._folder / "features" / f"{key}_{readout}.safetensors"
        if not file.is_file():
            self._compute(readout, clips, rows, key)
        state = read_weights(file).state
        return self._embedded(state["values"].numpy(), state["rows"].tolist(), rows, clips)

    def clips(self, views: ViewsConfig) -> ClipsConfig:
        """Return views with the frames and the size that the encoder takes filled in.

        Where the recipe says no size, frames come as large as the encoder's own preprocessing resizes them to, and it cuts
        the centre out of them: the way of released evaluations.
        """
        encoder = self._subject.encoder
        pixels = encoder.pixels
        shape = {"frames": views.frames or encoder.num_frames, "size": views.size or pixels.resize_to or pixels.size}
        return ClipsConfig.model_validate({**views.model_dump(), **shape})

    def watch(
        self, views: ViewsConfig, rows: Sequence[ClipRow], see: Callable[[ClipBatch], Sequence[Seen]]
    ) -> tuple[Embedded, list[Seen]]:
        """Return what a function sees in each video that can be read, and the videos without values; nothing is kept.

        Args:
            views: Of one view a video.
            rows: Of the videos.
            see: Given a batch, returns one thing a clip.

        Raises:
            ValueError: If `views` has several views a video, or nothing can be read.
            TooManyUnreadableError: If more videos than `views.max_unreadable` allows cannot be read.
        """
        clips = self.clips(views)
        if clips.clips * clips.crops > 1:
            raise ValueError(f"videos come as {clips.clips} clips of {clips.crops} crops; one view each is seen here")
        data = video_fingerprint(rows)
        seen: list[Seen] = []
        kept: list[int] = []
        with torch.inference_mode(), self._autocast():
            for batch in self._batches(clips, rows, data.removeprefix("sha256:")):
                seen += see(batch)
                kept += batch.rows.tolist()
        none = np.empty((len(kept), 0), dtype=np.float32)
        return self._embedded(none, kept, rows, clips), seen

    def _embedded(
        self, values: NDArray[np.float32], kept: Sequence[int], rows: Sequence[ClipRow], clips: ClipsConfig
    ) -> Embedded:
        return Embedded(
            values=values,
            rows=tuple(rows[row] for row in kept),
            listed=len(rows),
            fingerprint=video_fingerprint(rows),
            files=file_fingerprints(clips),
            read={name: getattr(clips, name) for name in ("manifest", "label_maps", "num_classes", "classes")},
            protocol=_protocol(clips),
        )

    def _compute(self, readout: Readout, clips: ClipsConfig, rows: Sequence[ClipRow], key: str) -> None:
        """Run the encoder over the videos, for one readout and those that come with it, and write them."""
        reading = readings(readout, self._subject)
        views = clips.clips * clips.crops
        parts: dict[Readout, list[Tensor]] = {name: [] for name in reading}
        kept: list[Tensor] = []
        with torch.inference_mode(), self._autocast():
            for batch in self._batches(clips, rows, key):
                read = read_out(self._subject.to_pixels(batch.frames, batch.valid_frames), reading, self._subject)
                for name, values in read.items():
                    values = values.float().cpu()
                    self._require_finite(name, values, batch)
                    parts[name].append(_of_videos(name, values, views))
                kept.append(batch.rows[::views])
        for name, tensors in parts.items():
            file = self._folder / "features" / f"{key}_{name}.safetensors"
            write_weights(file, {"values": torch.cat(tensors), "rows": torch.cat(kept)}, {})

    def _require_finite(self, readout: Readout, values: Tensor, batch: ClipBatch) -> None:
        """Refuse what is not finite, of B clips, (B, ...): it would be kept, and a NaN is below no score of another class."""
        broken = ~values.isfinite().flatten(1).all(1)
        if broken.any():
            raise ValueError(
                f"{batch.sources[int(broken.nonzero()[0])]}: the encoder's {readout} are not finite at precision "
                f"{self._recipe.precision}; take precision fp32 (bf16 instead of fp16), or check the weights"
            )

    def _batches(self, clips: ClipsConfig, rows: Sequence[ClipRow], key: str) -> Iterator[ClipBatch]:
        """Yield the videos that can be read, showing how far it is; the others are listed in `unreadable/`."""
        quarantine = Quarantine(len(rows), clips.max_unreadable, self._folder / "unreadable" / f"{key}.jsonl")
        loader = create_loader(
            clips,
            batch=self._recipe.batch,
            seed=self._recipe.seed,
            epoch=0,
            training=False,
            rows=rows,
            quarantine=quarantine,
        )
        views, any_read = clips.clips * clips.crops, False
        with EmbeddingProgress(self._console, clips.manifest, len(rows), views) as progress:
            for batch in loader:
                any_read = True
                yield batch
                progress.advance(len(batch) // views)
        if not any_read:
            raise ValueError(f"{quarantine.summary()}; there is nothing to measure in {', '.join(clips.manifest)}")

    def _autocast(self) -> AbstractContextManager[object]:
        dtype = _DTYPES.get(self._recipe.precision)
        return nullcontext() if dtype is None else torch.autocast(self._subject.device.type, dtype)


def video_fingerprint(rows: Sequence[ClipRow]) -> str:
    """Return the fingerprint of what rows show: which part of which file, and how large that is."""
    sizes = {path: _size(path) for path in dict.fromkeys(row.path for row in rows)}
    shown = [[row.path, sizes[row.path], row.start, row.end, row.first, row.total, row.stride] for row in rows]
    return fingerprint(json.dumps(shown).encode())


def file_fingerprints(clips: ViewsConfig) -> dict[str, str]:
    """Return the fingerprint of each list, and of what else says what its labels are; of a folder, of the names in it."""
    names = [*clips.manifest, *(name for name in (*clips.label_maps, clips.classes) if name is not None)]
    return {name: list_fingerprint(Path(name)) for name in names}


def _size(path: str) -> int:
    """Bytes of a file; -1 if it is not there. Of a frame folder, how many entries it has."""
    try:
        return sum(1 for _ in Path(path).iterdir()) if Path(path).is_dir() else Path(path).stat().st_size
    except OSError:
        return -1


def _protocol(clips: ClipsConfig) -> dict[str, object]:
    fields = (
        "frames",
        "size",
        "sampler",
        "stride",
        "clips",
        "crops",
        "short_side",
        "squash",
        "interpolation",
        "folder_fps",
    )
    return {name: getattr(clips, name) for name in fields}


def _of_videos(readout: Readout, values: Tensor, views: int) -> Tensor:
    """Gather the views of each video, (B * views, ...): scores side by side, vectors as their mean."""
    values = values.unflatten(0, (-1, views))  # (B, views, ...)
    if readout == "logits":
        return values
    mean = values.mean(1)
    return F.normalize(mean, dim=-1) if readout == "pooled" else mean


class Rehearsed(Exception):
    """A task came as far as the first of its videos."""


class Rehearsal(FeatureStore):
    """Reads lists as the store does, and ends a task where it would look at videos."""

    def embed_rows(self, readout: Readout, views: ViewsConfig, rows: Sequence[ClipRow]) -> Embedded:
        """See `FeatureStore.embed_rows`."""
        readings(readout, self._subject)
        raise Rehearsed

    def watch(
        self, views: ViewsConfig, rows: Sequence[ClipRow], see: Callable[[ClipBatch], Sequence[Seen]]
    ) -> tuple[Embedded, list[Seen]]:
        """See `FeatureStore.watch`."""
        raise Rehearsed
