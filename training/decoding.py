"""Frames out of video files (PyAV): only what is asked for is decoded, from the key frame before it, or a named fault."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray
from PIL import Image

WORTH_SHRINKING = 1.5
"""A video is decoded at reduced size where it is this much larger: below, little is saved, and frames keep their own pixels."""

WORTH_SEEKING = 64
"""Packets; so many are read past sooner than the file is searched."""

MISSING = 0.5
"""Seconds that may be lacking at the end of a file, and twice its longest frame, before it counts as cut off."""

VP8_SHOWN = 0x10
"""Bit of a VP8 frame's first byte. The frames without it are only referred to. Source: RFC 6386, section 9.1."""

FAULTS = (
    *(OSError, ValueError, RuntimeError, AssertionError, IndexError, SyntaxError),
    *(av.FFmpegError, Image.DecompressionBombError),
)
"""What PyAV and Pillow raise on files that they cannot read."""

Frames = NDArray[np.uint8]
Indices = NDArray[np.int64]
Seconds = NDArray[np.float64]


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
            stated = _stated(stream)
            self._index = _read_index(container, stream)
        self._counted = not self._index.stamped
        stamps = self._index.seconds
        if stated - stamps[-1] > MISSING + 2 * np.diff(stamps).max(initial=0.0):
            raise UnreadableError(f"{path}: is cut off at {stamps[-1]:.1f} of {stated:.1f} s")

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
                self._counted = True
                frames = self._by_number(distinct)
        return frames if np.array_equal(distinct, indices) else frames[places]

    def seconds(self, indices: Indices) -> Seconds:
        """Return when the frames are shown, by the file's own time stamps."""
        seconds: Seconds = self._index.seconds[indices] - self._index.seconds[0]
        return seconds

    @contextmanager
    def _open(self) -> Iterator[_Reel]:
        """Give the packets of the file from its start."""
        container, self._opened = self._opened, None
        if container is not None:
            container.seek(0)
        with container or av.open(self._path) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1  # workers are the threads
            yield _Reel(container, stream, self._index)

    def _by_stamp(self, wanted: Indices) -> Frames | None:
        """Return the frames, each known by its time stamp; None if the decoder stamps them otherwise than the file."""
        rows = {int(stamp): row for row, stamp in enumerate(self._index.stamps[wanted])}
        taken = _Taken(self._size, self._path)
        with self._open() as reel:
            for run in self._index.runs(wanted):
                reel.decode(run, rows, taken)
        return taken.stacked() if len(taken) == len(wanted) else None

    def _by_number(self, wanted: Indices) -> Frames:
        """Return the frames, counted from the start of the file."""
        rows = {int(number): row for row, number in enumerate(wanted)}
        taken, count = _Taken(self._size, self._path), 0
        with av.open(self._path) as container:
            for frame in container.decode(video=0):
                taken.offer(rows.get(count), frame)
                count += 1
        if count != self.num_frames:
            raise UnreadableError(f"{self._path}: cannot be decoded (gives {count} of {self.num_frames} frames)")
        return taken.stacked()


class _Run(NamedTuple):
    """Consecutive packets to decode, by their numbers: from a key frame on, the last one included."""

    key: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class _Index:
    """Where the frames of a file are.

    Attributes:
        seconds: float64 (N,): when each frame is shown, rising.
        stamped: Whether the file gives every frame a time stamp of its own; else frames are counted.
        stamps: int64 (N,): when each frame is shown, in the units of the file.
        packets: int64 (N,): number of the packet that each frame is in, in the order of the file.
        keys: int64 (K,): numbers of the packets that decoding can begin at, rising.
        key_stamps: int64 (K,): when those are shown.
        key_seeks: int64 (K,): when those are decoded, if the file says.
    """

    seconds: Seconds
    stamped: bool
    stamps: Indices
    packets: Indices
    keys: Indices
    key_stamps: Indices
    key_seeks: Indices

    def runs(self, wanted: Indices) -> Iterator[_Run]:
        """Yield what has to be decoded for some frames, in order."""
        # Frames before a key frame in time may come after it in the file, and need what is before it.
        by_time = np.searchsorted(self.key_stamps, self.stamps[wanted], side="right") - 1
        by_place = np.searchsorted(self.keys, self.packets[wanted], side="right") - 1
        begin = np.maximum(np.minimum(by_time, by_place), 0)
        run: _Run | None = None
        for key, last in sorted(zip(begin.tolist(), self.packets[wanted].tolist(), strict=True)):
            first = int(self.keys[key])
            if run is None or first > run.last + 1:
                if run is not None:
                    yield run
                run = _Run(key, first, last)
            run = run._replace(last=max(run.last, last))
        if run is not None:
            yield run


class _Reel:
    """The packets of a file, run after run."""

    def __init__(self, container: Any, stream: Any, index: _Index) -> None:
        self._container, self._stream, self._index = container, stream, index
        self._packets, self._number = container.demux(stream), 0

    def decode(self, run: _Run, rows: Mapping[int, int], taken: _Taken) -> None:
        """Decode a run, and keep the frames with the time stamps in `rows`."""
        codec, mode = self._stream.codec_context, ""
        for packet in self._read(run):
            # What nothing refers to and nobody asked for is not decoded.
            if mode != (mode := "DEFAULT" if packet.pts in rows else "NONREF"):
                codec.skip_frame = mode
            for frame in codec.decode(packet):
                taken.offer(rows.get(frame.pts), frame)
        for frame in codec.decode(None):
            taken.offer(rows.get(frame.pts), frame)
        codec.flush_buffers()

    def _read(self, run: _Run) -> Iterator[Any]:
        if run.first - self._number > WORTH_SEEKING:
            self._seek(run)
        for packet in self._packets:
            self._number += 1
            if self._number > run.first and packet.size:
                yield packet
            if self._number > run.last:
                return

    def _seek(self, run: _Run) -> None:
        """Go to the run's key frame, or to one before it."""
        index = self._index
        for stamp in (index.key_stamps[run.key], index.key_seeks[run.key]):
            self._container.seek(int(stamp), stream=self._stream)
            for packet in self._container.demux(self._stream):
                found = np.flatnonzero(index.key_stamps == packet.pts) if packet.is_keyframe and packet.size else ()
                if len(found) == 0:
                    continue
                if index.keys[found[0]] > run.first:
                    break
                self._number = int(index.keys[found[0]])
                self._packets = self._from(packet)
                return
        self._container.seek(0)
        self._packets, self._number = self._container.demux(self._stream), 0

    def _from(self, packet: Any) -> Iterator[Any]:
        yield packet
        yield from self._container.demux(self._stream)


class _Taken:
    """The frames that were asked for, as they come out of the decoder."""

    def __init__(self, size: tuple[int, int], path: str) -> None:
        self._size, self._path = size, path
        self._reformatter = VideoReformatter()  # one for all frames: to set it up costs as much as to use it
        self._frames: dict[int, Frames] = {}

    def __len__(self) -> int:
        return len(self._frames)

    def offer(self, row: int | None, frame: Any) -> None:
        """Keep a frame as number `row`; None leaves it."""
        if row is None:
            return
        if frame.is_corrupt:
            raise UnreadableError(
                f"{self._path}: cannot be decoded (the picture at {frame.time or 0:.2f} s is damaged)"
            )
        height, width = self._size
        # Threads that share the work on a picture take longer to begin than to do it.
        rgb = self._reformatter.reformat(frame, width=width, height=height, format="rgb24", threads=1).to_ndarray()
        self._frames[row] = np.rot90(rgb, frame.rotation // 90) if frame.rotation else rgb

    def stacked(self) -> Frames:
        """Return uint8 (K, H, W, 3)."""
        return np.stack([self._frames[row] for row in range(len(self._frames))])


class _Packet(NamedTuple):
    """What a packet says of itself."""

    stamp: int | None
    decoded: int | None
    key: bool
    shown: bool


def _read_index(container: Any, stream: Any) -> _Index:
    vp8 = stream.codec_context.name == "vp8"
    packets = [
        _Packet(
            packet.pts,
            packet.dts,
            packet.is_keyframe,
            not packet.is_discard and not (vp8 and not bytes(packet)[0] & VP8_SHOWN),
        )
        for packet in container.demux(stream)
        if packet.size
    ]
    keys = [number for number, packet in enumerate(packets) if packet.key]
    if not keys:
        raise UnreadableError(f"{container.name}: has no frames")
    shown = [number for number, packet in enumerate(packets) if packet.shown and number >= keys[0]]
    stamps = _distinct([packets[number].stamp for number in shown])
    key_stamps = _distinct([packets[number].stamp for number in keys])
    if stamps is None or key_stamps is None or (np.diff(key_stamps) < 0).any():
        numbers = np.arange(len(shown))
        rate = stream.average_rate or stream.guessed_rate
        return _Index(numbers / float(rate), False, numbers, np.array(shown), *[np.array(keys)] * 3)
    order = np.argsort(stamps)
    order = order[stamps[order] >= key_stamps[0]]  # what is shown before the first key frame cannot be decoded
    decoded = [packets[number].decoded for number in keys]
    return _Index(
        seconds=stamps[order] * float(stream.time_base),
        stamped=True,
        stamps=stamps[order],
        packets=np.array(shown)[order],
        keys=np.array(keys),
        key_stamps=key_stamps,
        key_seeks=np.array([k if d is None else d for k, d in zip(key_stamps.tolist(), decoded, strict=True)]),
    )


def _distinct(stamps: Sequence[int | None]) -> Indices | None:
    """Return time stamps as an array; None if any is missing or not the only one of its kind."""
    known = [stamp for stamp in stamps if stamp is not None]
    return np.array(known, np.int64) if len(set(known)) == len(stamps) else None


def _stated(stream: Any) -> float:
    """Return when the pictures end as the file says, in seconds from its start; 0 if it does not."""
    if stream.duration is not None:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    hours, minutes, seconds = map(float, stream.metadata.get("DURATION", "0:0:0").split(":"))
    return 3600 * hours + 60 * minutes + seconds


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
