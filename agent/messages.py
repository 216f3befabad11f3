"""Messages between navloop and a program that acts: a JSON object, then plain arrays, over two pipes.

A message is 4 bytes, the length of the header, big-endian; the header, a JSON object in UTF-8; then the bytes of each array that
`header["arrays"]` lists, `{"name", "dtype", "shape"}` each, in its order, C-contiguous and little-endian, nothing between them.
Nothing that is received is executed or unpickled.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import struct
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

VERSION = 1
"""Of the protocol; both sides say theirs in their first message."""

MAX_HEADER = 1 << 20
"""Bytes. What is longer is no header, but most likely something that was printed."""

MAX_ARRAYS = 1 << 30
"""Bytes of all arrays of a message."""

DTYPES = {"uint8": "<u1", "float32": "<f4", "int32": "<i4"}
"""Types of arrays that may be sent, by name."""


class MessageError(ValueError):
    """What was received is no message; the text says what it begins with."""


class SilenceError(TimeoutError):
    """Nothing came, or nothing could be sent, in the time there was."""


class Channel:
    """Sends and receives messages over two file descriptors, which it does not own.

    Args:
        source: To read from.
        target: To write to.
    """

    def __init__(self, source: int, target: int) -> None:
        self._source, self._target = source, target
        os.set_blocking(target, False)

    def send(self, message: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], deadline: float | None) -> None:
        """Send a message.

        Args:
            message: JSON values.
            arrays: By name, of `DTYPES`.
            deadline: On the clock of `time.monotonic`; None waits for ever.

        Raises:
            SilenceError: If the other side has not read it by then.
            BrokenPipeError: If the other side is gone.
        """
        listed = [{"name": n, "dtype": a.dtype.name, "shape": list(a.shape)} for n, a in arrays.items()]
        header = json.dumps({**message, "arrays": listed} if listed else dict(message)).encode()
        plain = [np.ascontiguousarray(array, DTYPES[array.dtype.name]).tobytes() for array in arrays.values()]
        left = memoryview(b"".join([struct.pack(">I", len(header)), header, *plain]))
        while left:
            _, ready, _ = select.select([], [self._target], [], _seconds(deadline))
            if not ready:
                raise SilenceError
            with contextlib.suppress(BlockingIOError):
                left = left[os.write(self._target, left) :]

    def receive(self, deadline: float | None) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return the next message and its arrays by name.

        Raises:
            SilenceError: If it is not there by the deadline.
            EOFError: If the other side has closed its end.
            MessageError: If it is no message.
        """
        start = self._read(4, deadline)
        (length,) = struct.unpack(">I", start)
        if length > MAX_HEADER:
            begun = start + self._rest()
            raise MessageError(f"sent {begun.decode(errors='replace')!r} instead of a message")
        text = self._read(length, deadline)
        try:
            header = json.loads(text)
            listed = [_described(entry) for entry in header.pop("arrays", [])]
            str.encode(header["type"])
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise MessageError(f"sent a message that cannot be read ({error}): {text[:200]!r}") from error
        if sum(math.prod(shape) * dtype.itemsize for _, dtype, shape in listed) > MAX_ARRAYS:
            raise MessageError(f"sent arrays of more than {MAX_ARRAYS >> 20} MiB")
        arrays = {}
        for name, dtype, shape in listed:
            data = self._read(math.prod(shape) * dtype.itemsize, deadline)
            arrays[name] = np.frombuffer(data, dtype).reshape(shape)
        return header, arrays

    def _read(self, count: int, deadline: float | None) -> bytes:
        parts, left = [], count
        while left:
            ready, _, _ = select.select([self._source], [], [], _seconds(deadline))
            if not ready:
                raise SilenceError
            part = os.read(self._source, left)
            if not part:
                raise EOFError("the other side has closed its end")
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def _rest(self) -> bytes:
        """Return some of what lies ready."""
        ready, _, _ = select.select([self._source], [], [], 0.1)
        return os.read(self._source, 200) if ready else b""


def _seconds(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def _described(entry: Mapping[str, Any]) -> tuple[str, np.dtype[Any], tuple[int, ...]]:
    shape = tuple(entry["shape"])
    if not all(isinstance(side, int) and side >= 0 for side in shape):
        raise ValueError(f"shape {entry['shape']!r}")
    return str(entry["name"]), np.dtype(DTYPES[entry["dtype"]]), shape
