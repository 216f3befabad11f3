"""Frames out of video files, frame folders and images (Pillow): only those asked for, uint8, or a named fault."""

from __future__ import annotations

import math
import os
import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from navloop.training.clip_rows import ClipRow
from navloop.training.decoding import Decoding, Frames, UnreadableError, VideoFile, explained
from navloop.training.packets import Indices, Seconds

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
PREFIXES = ("img_", "image_")
"""Of frame files: img_00001.jpg (default, Something-Something), image_000001.jpg (AVA)."""
LARGEST_SHARE = 1 / 16
"""Of the room for decoded videos, what one may take."""
OPENED = 256
"""Video files that a process remembers, beside those that it keeps decoded."""
FRAME_FILE = re.compile(r"^(.*?)(\d+)\.(?:jpg|jpeg|png)$", re.IGNORECASE)


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


def open_video(row: ClipRow, decoding: Decoding, films: Films | None = None) -> Video:
    """Open what a row names, narrowed to its segment.

    Args:
        row: What to open.
        decoding: How frames are decoded.
        films: Where video files that were opened before are found; None opens the file anew.

    Raises:
        UnreadableError: If it is missing, no video, or has no frame in the segment.
    """
    path = Path(row.path)
    video: Video
    with explained(row.path):
        if path.is_dir():
            video = FrameFolder(path, row, decoding)
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            video = FrameFiles([path], decoding)
        else:
            video = films.open(path) if films else VideoFile(path, decoding)
        return _segment(video, row)


class Films:
    """The video files that a process reads: where their frames are, and of small ones the frames, while there is room.

    Of many videos asked for in random order, those that came first are as likely to come again as those that came last: what
    is kept stays. What can be read of a file does not depend on what is kept: one that is damaged somewhere takes no room, and
    gives the frames that it has.

    Args:
        decoding: How frames are decoded.
        room: Bytes of frames that are kept.

    Attributes:
        room: Bytes that are left of it.
    """

    def __init__(self, decoding: Decoding, room: int) -> None:
        self._decoding = decoding
        self.room = room
        self._largest = room * LARGEST_SHARE
        self._kept: dict[Path, Video] = {}
        self._opened: OrderedDict[Path, VideoFile] = OrderedDict()
        self._damaged: set[Path] = set()

    def open(self, path: Path) -> Video:
        """Return a video file. Raises UnreadableError."""
        if path in self._kept:
            return self._kept[path]
        film = self._opened.pop(path, None) or VideoFile(path, self._decoding)
        if path not in self._damaged and film.num_bytes <= min(self.room, self._largest):
            try:
                kept = _Kept(film, film.read(np.arange(film.num_frames)))
            except UnreadableError:
                self._damaged.add(path)  # but perhaps not where frames are asked for, which must not depend on the room
                film = VideoFile(path, self._decoding)
            else:
                self.room -= film.num_bytes
                self._kept[path] = kept
                return kept
        self._opened[path] = film
        if len(self._opened) > OPENED:
            self._opened.popitem(last=False)
        return film


@dataclass(frozen=True, slots=True)
class _Kept:
    """A video whose frames have all been decoded."""

    video: VideoFile
    frames: Frames

    @property
    def num_frames(self) -> int:
        return len(self.frames)

    def read(self, indices: Indices) -> Frames:
        return self.frames[indices]

    def seconds(self, indices: Indices) -> Seconds:
        return self.video.seconds(indices)


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
        with explained(str(path)), Image.open(path) as image:
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
    """Narrow a video to the frames shown in [start, end) seconds; in a file, `first` and `total` count frames."""
    first, last = 0, video.num_frames
    if not isinstance(video, FrameFiles):
        first = row.first or 0
        last = last if row.total is None else min(last, first + row.total)
    if row.start is not None or row.end is not None:
        seconds = video.seconds(np.arange(video.num_frames))
        first = max(first, int(np.searchsorted(seconds, (row.start or 0.0) - 1e-6)))
        last = min(last, int(np.searchsorted(seconds, math.inf if row.end is None else row.end - 1e-6)))
    if first >= last:
        raise UnreadableError(
            f"{row.path}: no frame of {video.num_frames} lies in the segment that {row.place} gives "
            f"(start {row.start}, end {row.end}, first {row.first}, total {row.total})"
        )
    return video if (first, last) == (0, video.num_frames) else _Part(video, first, last - first)


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
