"""Frames out of video files (decord), frame folders and images (Pillow): only those asked for, uint8, or a named fault."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import av
import decord
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from navloop.training.manifests import ClipRow

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
PREFIXES = ("img_", "image_")
"""Of frame files: img_00001.jpg (default, Something-Something), image_000001.jpg (AVA)."""
FRAME_FILE = re.compile(r"^(.*?)(\d+)\.(?:jpg|jpeg|png)$", re.IGNORECASE)
WORTH_SHRINKING = 1.5
"""A video is decoded at reduced size where it is this much larger: below, little is saved, and frames keep their own pixels."""

LONGEST = 1e9
"""Seconds; a time stamp beyond is none."""
FAULTS = (
    *(OSError, ValueError, RuntimeError, AssertionError, IndexError, SyntaxError),
    *(decord.DECORDError, Image.DecompressionBombError),
)
"""What decord, PyAV and Pillow raise on files that they cannot read."""

Frames = NDArray[np.uint8]
Indices = NDArray[np.int64]
Seconds = NDArray[np.float64]


class UnreadableError(ValueError):
    """A video that cannot be read as its list says; the message names the file and what is wrong with it."""


class Video(Protocol):
    """A video, or a part of one."""

    @property
    def num_frames(self) -> int:
        """How many frames there are, at least one."""
        ...

    def read(self, indices: Indices) -> Frames:
        """Return uint8 (K, H, W, 3) RGB. Raises UnreadableError."""
        ...

    def seconds(self, indices: Indices) -> Seconds:
        """Return float64 (K,): when the frames are shown, from the start of the file."""
        ...


@dataclass(frozen=True, slots=True)
class Decoding:
    """How frames are decoded.

    Attributes:
        side: Short side in pixels that much larger videos are reduced to; None keeps the size of the file.
        squash: Both sides are reduced to `side`.
        folder_fps: Frames a second of frame folders.
    """

    side: int | None = None
    squash: bool = False
    folder_fps: float = 12.0

    def size_for(self, height: int, width: int) -> tuple[int, int]:
        """Return (height, width) to decode a frame of that size at."""
        if self.side is None or min(height, width) < WORTH_SHRINKING * self.side:
            return height, width
        if self.squash:
            return self.side, self.side
        scale = self.side / min(height, width)
        return round(height * scale), round(width * scale)


def open_video(row: ClipRow, decoding: Decoding) -> Video:
    """Open what a row names, narrowed to its segment.

    Raises:
        UnreadableError: If it is missing, no video, or has no frame in the segment.
    """
    path = Path(row.path)
    video: Video
    with _explained(row.path):
        if path.is_dir():
            video = FrameFolder(path, row, decoding)
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            video = FrameFiles([path], decoding)
        else:
            video = VideoFile(path, decoding)
        return _segment(video, row)


class VideoFile:
    """A file that FFmpeg can decode. Constant or variable frame rate; the rotation that cameras note is applied."""

    def __init__(self, path: Path, decoding: Decoding) -> None:
        self._path = str(path)
        decord.logging.set_level(decord.logging.FATAL)  # what goes wrong is raised; FFmpeg's own lines name no file
        with _explained(self._path):
            (height, width), stated = _probe(self._path, decoding)
            self._reader = decord.VideoReader(self._path, height=height, width=width, num_threads=1, fault_tol=1)
            self.num_frames: int = len(self._reader)
            self._stamps = self._read_stamps()
        if stated - self._stamps[-1] > 0.5 + 2 * np.diff(self._stamps).max(initial=0.0):
            raise UnreadableError(f"{path}: is cut off at {self._stamps[-1]:.1f} of {stated:.1f} s")

    def read(self, indices: Indices) -> Frames:
        """Return uint8 (K, H, W, 3) RGB."""
        with _explained(self._path):
            frames: Frames = self._reader.get_batch(indices).asnumpy()
        return frames

    def seconds(self, indices: Indices) -> Seconds:
        """Return when the frames are shown, by the file's own time stamps."""
        seconds: Seconds = self._stamps[indices] - self._stamps[0]
        return seconds

    def _read_stamps(self) -> Seconds:
        stamps: Seconds = self._reader.get_frame_timestamp(range(self.num_frames))[:, 0].astype(np.float64)
        if not _rising(stamps):  # decord finds none in some Matroska files
            stamps = _packet_stamps(self._path)
        if len(stamps) != self.num_frames or not _rising(stamps):  # AVI need not say
            stamps = np.arange(self.num_frames) / float(self._reader.get_avg_fps())
        return stamps


class FrameFiles:
    """Image files, a frame each, in order."""

    def __init__(self, paths: Sequence[Path], decoding: Decoding) -> None:
        self._paths = paths
        self._decoding = decoding
        self.num_frames = len(paths)

    def read(self, indices: Indices) -> Frames:
        """Return uint8 (K, H, W, 3) RGB; a frame asked for twice is decoded once."""
        distinct, places = np.unique(indices, return_inverse=True)
        frames = [self._decode(self._paths[index]) for index in distinct]
        sizes = {frame.shape for frame in frames}
        if len(sizes) > 1:
            raise UnreadableError(f"{self._paths[0].parent}: frames have several sizes: {sorted(sizes)}")
        return np.stack(frames)[places]

    def seconds(self, indices: Indices) -> Seconds:
        """Return frame numbers over the frame rate of folders."""
        return indices / self._decoding.folder_fps

    def _decode(self, path: Path) -> Frames:
        with _explained(str(path)), Image.open(path) as image:
            height, width = self._decoding.size_for(image.height, image.width)
            if (height, width) == (image.height, image.width):
                return np.asarray(image.convert("RGB"))
            image.draft("RGB", (width, height))  # a JPEG is decoded at an eighth, a quarter or half its size
            return np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR))


class FrameFolder(FrameFiles):
    """A folder of numbered frames, img_00001.jpg or the like; a list may say which numbers are meant."""

    def __init__(self, path: Path, row: ClipRow, decoding: Decoding) -> None:
        files = _numbered(path)
        first = min(files) if row.first is None else row.first
        if row.first == 0 and 0 not in files:
            first = 1  # lists that count from 0, files that count from 1
        total = max(files) - first + 1 if row.total is None else row.total
        missing = [number for number in range(first, first + total) if number not in files]
        if missing or total < 1:
            raise UnreadableError(
                f"{path}: frame {missing[0] if missing else first} of {first} to {first + total - 1} is missing; "
                f"there are {len(files)} files, {min(files)} to {max(files)}"
            )
        super().__init__([files[number] for number in range(first, first + total)], decoding)


@dataclass(frozen=True, slots=True)
class _Part:
    """Some consecutive frames of a video."""

    video: Video
    first: int
    num_frames: int

    def read(self, indices: Indices) -> Frames:
        return self.video.read(indices + self.first)

    def seconds(self, indices: Indices) -> Seconds:
        return self.video.seconds(indices + self.first)


def _segment(video: Video, row: ClipRow) -> Video:
    """Narrow a video to the frames shown in [start, end) seconds; in a file, list columns start and total count frames."""
    first, last = 0, video.num_frames
    if isinstance(video, VideoFile) and row.total is not None:
        first = row.first or 0
        last = min(last, first + row.total)
    if row.start is not None or row.end is not None:
        seconds = video.seconds(np.arange(video.num_frames))
        first = int(np.searchsorted(seconds, (row.start or 0.0) - 1e-6))
        last = int(np.searchsorted(seconds, math.inf if row.end is None else row.end - 1e-6))
    if first >= last:
        raise UnreadableError(
            f"{row.path}: no frame of {video.num_frames} lies in the segment that {row.place} gives "
            f"(start {row.start}, end {row.end}, first {row.first}, total {row.total})"
        )
    return video if (first, last) == (0, video.num_frames) else _Part(video, first, last - first)


def _probe(path: str, decoding: Decoding) -> tuple[tuple[int, int], float]:
    """Return (height, width) to ask decord for, -1 being the file's own, and the seconds that the file says it lasts, or 0.

    Only Matroska says so of its pictures, and needs to: what is cut off of such a file is not missed when it is read.
    """
    with av.open(path) as container:
        if not container.streams.video:
            raise UnreadableError(f"{path}: has no video stream")
        stream = container.streams.video[0]
        hours, minutes, seconds = map(float, stream.metadata.get("DURATION", "0:0:0").split(":"))
        stated = 3600 * hours + 60 * minutes + seconds
        shown = (stream.height, stream.width)
        if decoding.size_for(*shown) == shown:
            return (-1, -1), stated
        # decord scales to the size as shown, and only a decoded frame says which way up that is.
        frame = next(container.decode(stream), None)
        return decoding.size_for(*(shown[::-1] if frame is not None and frame.rotation % 180 else shown)), stated


def _rising(stamps: Seconds) -> bool:
    return bool((np.diff(stamps) > 0).all()) and abs(float(stamps[0])) < LONGEST


def _packet_stamps(path: str) -> Seconds:
    """Return when each frame is shown, in order, read off the packets without decoding them."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        times = [packet.pts * packet.time_base for packet in container.demux(stream) if packet.pts is not None]
    return np.sort(np.array(times or [0.0], np.float64))


def _numbered(folder: Path) -> dict[int, Path]:
    found: dict[str, dict[int, Path]] = {}
    for name in os.listdir(folder):
        if match := FRAME_FILE.match(name):
            found.setdefault(match[1], {})[int(match[2])] = folder / name
    if not found:
        raise UnreadableError(f"{folder}: holds no frames (img_00001.jpg, ...)")
    if len(found) == 1:
        return next(iter(found.values()))
    prefix = next((prefix for prefix in PREFIXES if prefix in found), None)
    if prefix is None:
        raise UnreadableError(f"{folder}: holds frames of several names ({', '.join(sorted(found))}); keep one")
    return found[prefix]


@contextmanager
def _explained(path: str) -> Iterator[None]:
    """Turn whatever the libraries raise on a bad file into an UnreadableError that names it."""
    try:
        yield
    except UnreadableError:
        raise
    except FileNotFoundError:
        raise UnreadableError(f"{path}: no such file") from None
    except FAULTS as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UnreadableError(f"{path}: cannot be decoded ({reason.removesuffix(f': {path!r}')})") from error
