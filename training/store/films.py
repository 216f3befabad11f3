"""Films of a store: written with a key frame every other frame, joined and cut without coding them anew, read at any place."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from navloop.training.decoding import explained

OPENED = 16
"""Films that a reader holds open."""

TICKS = 512
"""Units of a film's clock a frame. A file's clock counts `TICKS * fps` a second, so that every frame falls on a whole unit."""


class Stretch(NamedTuple):
    """Some consecutive frames of a film, the first one a key frame.

    Attributes:
        path: Of the film.
        first: Number of the first frame.
        length: How many frames.
        digest: SHA-256 of their packets, as `film_digest` has it; None where nobody wrote it down.
    """

    path: Path
    first: int
    length: int
    digest: str | None = None


def join_films(stretches: Iterable[Stretch], fps: int, path: Path) -> None:
    """Write the packets of films one after the other into the film `path`, as they are.

    Raises:
        UnreadableError: If one of them cannot be read, ends too soon, or is not what its digest says, naming it.
        OSError: If the film cannot be written.
    """
    clock, done = Fraction(1, TICKS * fps), 0
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as joined:
        stream: Any = None
        for stretch in stretches:
            with explained(str(stretch.path)), av.open(str(stretch.path)) as film:
                if stream is None:
                    stream = joined.add_stream_from_template(film.streams.video[0])
                    stream.time_base = clock
                for packet in _packets(film, stretch, fps):
                    packet.stream, packet.time_base = stream, clock
                    packet.pts = packet.dts = done * TICKS
                    packet.duration = TICKS
                    joined.mux(packet)
                    done += 1


def film_digest(stretch: Stretch, fps: int) -> str:
    """Return the SHA-256 of a stretch's packets and of its coder's parameter sets, whatever film they are in. 64 hex digits.

    Raises:
        UnreadableError: If it cannot be read or ends too soon, naming the film.
    """
    with explained(str(stretch.path)), av.open(str(stretch.path)) as film:
        digest = _begin_digest(film.streams.video[0])
        for packet in _packets(film, stretch._replace(digest=None), fps):
            digest.update(bytes(packet))
    return digest.hexdigest()


def check_film(stretch: Stretch, fps: int) -> None:
    """Read the packets of a stretch, and decode none.

    Raises:
        UnreadableError: If they cannot be read, are too few, or are not what the stretch's digest says, naming the film.
    """
    with explained(str(stretch.path)), av.open(str(stretch.path)) as film:
        for _ in _packets(film, stretch, fps):
            pass


def film_parameters(path: Path) -> bytes:
    """Return what films must share to be joined: codec, size and the coder's parameter sets."""
    with explained(str(path)), av.open(str(path)) as film:
        stream = film.streams.video[0]
        context = stream.codec_context
        return repr((context.name, stream.width, stream.height, context.pix_fmt, context.extradata)).encode()


def _packets(film: Any, stretch: Stretch, fps: int) -> Iterator[Any]:
    """Yield the packets of a stretch; there is one a frame, in the order they are shown."""
    stream = film.streams.video[0]
    _seek(film, stream, stretch.first, fps)
    count, seen = 0, None if stretch.digest is None else _begin_digest(stream)
    for packet in film.demux(stream):
        if packet.size and _number(packet, fps) >= stretch.first:
            if seen is not None:
                seen.update(bytes(packet))
            yield packet
            count += 1
            if count == stretch.length:
                break
    else:
        raise ValueError(f"has {count} of the {stretch.length} frames from number {stretch.first} on")
    if seen is not None and seen.hexdigest() != stretch.digest:
        raise ValueError(f"frames {stretch.first} to {stretch.first + stretch.length} are not those that were written")


def _begin_digest(stream: Any) -> hashlib._Hash:
    """A digest of what every packet of a stream is decoded with."""
    return hashlib.sha256(stream.codec_context.extradata or b"")


def _number(shown: Any, fps: int) -> int:
    """Number of a packet's or a frame's picture."""
    number: int = round(shown.pts * shown.time_base * fps)
    return number


def _seek(film: Any, stream: Any, number: int, fps: int) -> None:
    if number:
        film.seek(round(number / fps / stream.time_base), stream=stream)


class FilmReader:
    """Reads frames of films by their numbers, holding the last films open. Threads take turns; forked and spawned processes open their own.

    Args:
        fps: Of all of them.
    """

    def __init__(self, fps: int) -> None:
        self._fps = fps
        self._begin()

    def _begin(self) -> None:
        self._turn = Lock()
        self._films: OrderedDict[Path, Any] = OrderedDict()
        self._process = os.getpid()  # last: whoever sees it sees the others

    def __reduce__(self) -> tuple[type[FilmReader], tuple[int]]:
        return FilmReader, (self._fps,)

    def read(self, path: Path, first: int, count: int, pixels: str = "rgb24") -> NDArray[Any]:
        """Return `count` frames from number `first` on, (T, H, W, 3) uint8, or as `pixels` has them; only the key frame before is decoded besides.

        Raises:
            UnreadableError: If the film is missing, damaged or too short, naming it.
        """
        if (
            self._process != os.getpid()
        ):  # a forked child shares the places in its parent's files: what one seeks the other reads
            self._begin()
        with self._turn, explained(str(path)):
            film = self._open(path)
            stream = film.streams.video[0]
            film.seek(round(first / self._fps / stream.time_base), stream=stream)
            frames: list[NDArray[Any]] = []
            try:
                self._decode(film, first, count, pixels, frames)
            except BaseException:
                self._films.pop(path).close()  # nobody knows where its decoder stands
                raise
            if len(frames) < count:
                raise ValueError(f"has {len(frames)} of the {count} frames from number {first} on")
        return np.stack(frames)

    def close(self) -> None:
        """Close all films."""
        with self._turn:
            while self._films:
                self._films.popitem()[1].close()

    def _decode(self, film: Any, first: int, count: int, pixels: str, frames: list[NDArray[Any]]) -> None:
        with closing(film.decode(video=0)) as shown:
            for frame in shown:
                if _number(frame, self._fps) >= first:
                    if frame.is_corrupt:
                        raise ValueError(f"frame {first + len(frames)} is damaged")
                    frames.append(frame.to_ndarray(format=pixels))
                    if len(frames) == count:
                        return

    def _open(self, path: Path) -> Any:
        film = self._films.pop(path, None)
        if film is None:
            film = av.open(str(path))
            film.streams.video[0].codec_context.thread_count = 1  # readers are the threads
        self._films[path] = film
        if len(self._films) > OPENED:
            self._films.popitem(last=False)[1].close()
        return film
