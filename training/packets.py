"""Where the frames of a video file are, and how to come to some of them without decoding the others (PyAV)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

WORTH_SEEKING = 64
"""Packets; so many are read past sooner than the file is searched."""

VP8_SHOWN = 0x10
"""Bit of a VP8 frame's first byte. The frames without it are only referred to. Source: RFC 6386, section 9.1."""

Indices = NDArray[np.int64]
Seconds = NDArray[np.float64]


class Run(NamedTuple):
    """Consecutive packets to decode, by their numbers: from a key frame on, the last one included."""

    key: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Index:
    """Where the frames of a file are.

    Attributes:
        seconds: float64 (N,): when each frame is shown, rising.
        stamped: Whether the file gives every frame a time stamp of its own; else frames are counted.
        stamps: int64 (N,): when each frame is shown, in the units of the file.
        packets: int64 (N,): number of the packet that each frame is in, in the order of the file.
        keys: int64 (K,): numbers of the packets that decoding can begin at, rising.
        key_stamps: int64 (K,): when those are shown.
        key_seeks: int64 (K,): when those are decoded, if the file says.
        end: Seconds at which the last frame is shown no longer, as its packet says.
    """

    seconds: Seconds
    stamped: bool
    stamps: Indices
    packets: Indices
    keys: Indices
    key_stamps: Indices
    key_seeks: Indices
    end: float

    def runs(self, wanted: Indices) -> Iterator[Run]:
        """Yield what has to be decoded for some frames, in order."""
        # Frames before a key frame in time may come after it in the file, and need what is before it.
        by_time = np.searchsorted(self.key_stamps, self.stamps[wanted], side="right") - 1
        by_place = np.searchsorted(self.keys, self.packets[wanted], side="right") - 1
        begin = np.maximum(np.minimum(by_time, by_place), 0)
        run: Run | None = None
        for key, last in sorted(zip(begin.tolist(), self.packets[wanted].tolist(), strict=True)):
            first = int(self.keys[key])
            if run is None or first > run.last + 1:
                if run is not None:
                    yield run
                run = Run(key, first, last)
            run = run._replace(last=max(run.last, last))
        if run is not None:
            yield run


class Reel:
    """The packets of a file, run after run."""

    def __init__(self, container: Any, stream: Any, index: Index) -> None:
        self._container, self._stream, self._index = container, stream, index
        self._packets: Iterator[Any] = container.demux(stream)
        self._number = 0

    def decode(self, run: Run, rows: Mapping[int, int]) -> Iterator[tuple[int, Any]]:
        """Yield the frames of a run that have the time stamps in `rows`, each with what `rows` has for it."""
        codec, mode = self._stream.codec_context, ""
        for packet in self._read(run):
            # What nothing refers to and nobody asked for is not decoded.
            if mode != (mode := "DEFAULT" if packet.pts in rows else "NONREF"):
                codec.skip_frame = mode
            yield from _among(codec.decode(packet), rows)
        yield from _among(codec.decode(None), rows)
        codec.flush_buffers()

    def _read(self, run: Run) -> Iterator[Any]:
        if run.first - self._number > WORTH_SEEKING:
            self._seek(run)
        for packet in self._packets:
            if not packet.size:
                continue
            self._number += 1
            if self._number > run.first:
                yield packet
            if self._number > run.last:
                return

    def _seek(self, run: Run) -> None:
        """Go to the run's key frame, or to one before it; where the file cannot be searched, stay."""
        index = self._index
        numbers = dict(zip(index.key_stamps.tolist(), index.keys.tolist(), strict=True))
        for stamp in (index.key_stamps[run.key], index.key_seeks[run.key], index.key_seeks[0]):
            with suppress(av.FFmpegError):
                self._container.seek(int(stamp), stream=self._stream)
                packets = self._container.demux(self._stream)
                found = next((packet for packet in packets if packet.is_keyframe and packet.pts in numbers), None)
                if found is not None and numbers[found.pts] <= run.first:
                    self._number, self._packets = numbers[found.pts], chain((found,), packets)
                    return


def _among(frames: Iterable[Any], rows: Mapping[int, int]) -> Iterator[tuple[int, Any]]:
    return ((rows[frame.pts], frame) for frame in frames if frame.pts in rows)


class _Packet(NamedTuple):
    """What a packet says of itself."""

    stamp: int | None
    length: int
    decoded: int | None
    key: bool
    shown: bool


def read_index(container: Any, stream: Any) -> Index:
    """Return where the frames of a stream are, read off its packets; none is decoded.

    Raises:
        ValueError: If there are none.
    """
    vp8 = stream.codec_context.name == "vp8"
    packets = [
        _Packet(
            packet.pts,
            packet.duration or 0,
            packet.dts,
            packet.is_keyframe,
            not packet.is_discard and not (vp8 and not bytes(packet)[0] & VP8_SHOWN),
        )
        for packet in container.demux(stream)
        if packet.size
    ]
    keys = [number for number, packet in enumerate(packets) if packet.key]
    if not keys:
        raise ValueError("it has no frames")
    shown = [number for number, packet in enumerate(packets) if packet.shown and number >= keys[0]]
    stamps = _distinct([packets[number].stamp for number in shown])
    key_stamps = _distinct([packets[number].stamp for number in keys])
    # An AVI has no stamps, and FFmpeg counts its packets: where pictures are reordered, that is when they are shown of MPEG-4 alone.
    codec = stream.codec_context
    made_up = container.format.name == "avi" and codec.has_b_frames and codec.name != "mpeg4"
    if made_up or stamps is None or key_stamps is None or (np.diff(key_stamps) < 0).any():
        numbers = np.arange(len(shown))
        rate = float(stream.average_rate or stream.guessed_rate)
        places = np.array(keys)
        return Index(numbers / rate, False, numbers, np.array(shown), places, places, places, len(shown) / rate)
    order = np.argsort(stamps)
    order = order[stamps[order] >= key_stamps[0]]  # what is shown before the first key frame cannot be decoded
    decoded = [packets[number].decoded for number in keys]
    last = packets[shown[order[-1]]].length
    return Index(
        seconds=stamps[order] * float(stream.time_base),
        stamped=True,
        stamps=stamps[order],
        packets=np.array(shown)[order],
        keys=np.array(keys),
        key_stamps=key_stamps,
        key_seeks=np.array([k if d is None else d for k, d in zip(key_stamps.tolist(), decoded, strict=True)]),
        end=float((stamps[order[-1]] + last) * stream.time_base),
    )


def _distinct(stamps: Sequence[int | None]) -> Indices | None:
    """Return time stamps as an array; None if any is missing or not the only one of its kind."""
    known = [stamp for stamp in stamps if stamp is not None]
    return np.array(known, np.int64) if len(set(known)) == len(stamps) else None


def stated_end(stream: Any) -> float:
    """Return when the pictures end as the file says, in seconds from its start; 0 if it does not."""
    if stream.duration is not None:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    hours, minutes, seconds = map(float, stream.metadata.get("DURATION", "0:0:0").split(":"))
    return 3600 * hours + 60 * minutes + seconds
