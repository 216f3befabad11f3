"""Frames out of video files (PyAV): only what is asked for is decoded, from the key frame before it, or a named fault."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray
from PIL import Image

from navloop.training.packets import Indices, Reel, Seconds, read_index, stated_end

WORTH_SHRINKING = 1.5
"""A video is decoded at reduced size where it is this much larger: below, little is saved, and frames keep their own pixels."""

MISSING = 0.5
"""Seconds that may be lacking at the end of a file, and twice its longest frame, before it counts as cut off."""

FAULTS = (
    *(OSError, ValueError, RuntimeError, AssertionError, IndexError, SyntaxError),
    *(av.FFmpegError, Image.DecompressionBombError),
)
"""What PyAV and Pillow raise on files that they cannot read."""

Frames = NDArray[np.uint8]


class UnreadableError(ValueError):
    """A video that cannot be read as its list says; the message names the file and what is wrong with it."""


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


class VideoFile:
    """A file that FFmpeg can decode. Constant or variable frame rate; the rotation that cameras note is applied.

    Opening reads where the frames are, without decoding any; the first reading closes the file, and later ones open it again.
    """

    def __init__(self, path: Path, decoding: Decoding) -> None:
        self._path = str(path)
        with explained(self._path):
            container = av.open(self._path)
            self._opened: Any = container  # to open it again would cost as much as to decode a few small frames
            if not container.streams.video:
                raise UnreadableError(f"{path}: has no video stream")
            stream = container.streams.video[0]
            self._size = decoding.size_for(stream.height, stream.width)
            stated = stated_end(stream)
            self._index = read_index(container, stream)
        self._counted = not self._index.stamped
        if stated - self._index.end > MISSING + 2 * np.diff(self._index.seconds).max(initial=0.0):
            raise UnreadableError(f"{path}: is cut off at {self._index.end:.1f} of {stated:.1f} s")

    @property
    def num_frames(self) -> int:
        """How many frames are shown."""
        return len(self._index.seconds)

    @property
    def num_bytes(self) -> int:
        """How much all frames take in memory."""
        return self.num_frames * self._size[0] * self._size[1] * 3

    def read(self, indices: Indices) -> Frames:
        """Return uint8 (K, H, W, 3) RGB; a frame asked for twice is decoded once."""
        distinct, places = np.unique(indices, return_inverse=True)
        with explained(self._path):
            frames = None if self._counted else self._by_stamp(distinct)
            if frames is None:
                frames = self._by_number(distinct)
                # Only now: its stamps are not the file's. Of one that is damaged, other frames may be read by them.
                self._counted = True
        return frames if np.array_equal(distinct, indices) else frames[places]

    def seconds(self, indices: Indices) -> Seconds:
        """Return when the frames are shown, by the file's own time stamps."""
        seconds: Seconds = self._index.seconds[indices] - self._index.seconds[0]
        return seconds

    @contextmanager
    def _open(self) -> Iterator[Reel]:
        """Give the packets of the file from its start."""
        container, self._opened = self._opened, None
        if container is not None:
            container.seek(0)
        with container or av.open(self._path) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1  # workers are the threads
            yield Reel(container, stream, self._index)

    def _by_stamp(self, wanted: Indices) -> Frames | None:
        """Return the frames, each known by its time stamp; None if the decoder stamps them otherwise than the file."""
        rows = {int(stamp): row for row, stamp in enumerate(self._index.stamps[wanted])}
        taken = _Taken(self._size, self._path)
        with self._open() as reel:
            for run in self._index.runs(wanted):
                for row, frame in reel.decode(run, rows):
                    taken.take(row, frame)
        return taken.stacked() if len(taken) == len(wanted) else None

    def _by_number(self, wanted: Indices) -> Frames:
        """Return the frames, counted from the start of the file."""
        rows = {int(number): row for row, number in enumerate(wanted)}
        taken, count = _Taken(self._size, self._path), 0
        with av.open(self._path) as container:
            for frame in container.decode(video=0):
                if count in rows:
                    taken.take(rows[count], frame)
                count += 1
        if count != self.num_frames:
            raise UnreadableError(f"{self._path}: cannot be decoded (gives {count} of {self.num_frames} frames)")
        return taken.stacked()


class _Taken:
    """The frames that were asked for, as they come out of the decoder."""

    def __init__(self, size: tuple[int, int], path: str) -> None:
        self._size, self._path = size, path
        self._reformatter = VideoReformatter()  # one for all frames: to set it up costs as much as to use it
        self._frames: dict[int, Frames] = {}

    def __len__(self) -> int:
        return len(self._frames)

    def take(self, row: int, frame: Any) -> None:
        """Keep a frame as number `row`."""
        if frame.is_corrupt:
            raise UnreadableError(
                f"{self._path}: cannot be decoded (the picture at {frame.time or 0:.2f} s is damaged)"
            )
        height, width = self._size
        # Threads that share the work on a picture take longer to begin than to do it.
        picture = self._reformatter.reformat(frame, width=width, height=height, format="rgb24", threads=1)
        rgb = np.asarray(picture.to_ndarray(), np.uint8)
        self._frames[row] = np.rot90(rgb, frame.rotation // 90) if frame.rotation else rgb

    def stacked(self) -> Frames:
        """Return uint8 (K, H, W, 3)."""
        return np.stack([self._frames[row] for row in range(len(self._frames))])


@contextmanager
def explained(path: str) -> Iterator[None]:
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
