"""Videos that could not be read: kept in a list, counted, and a limit to how many a run puts up with."""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LOGGER = logging.getLogger(__name__)
SHOWN = 3
_BEGINNING = '{"video": '


class TooManyUnreadableError(ValueError):
    """More of the videos could not be read than the config allows; the message names some and the list of all."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A row whose video could not be read.

    Attributes:
        row: Its number in the lists; in a run's quarantine, held-out rows are counted on after those that are trained on.
        path: Its video.
        reason: What is wrong, with the file's name.
        instead: What a training batch shows in its place; None where the batch is shorter for it.
    """

    row: int
    path: str
    reason: str
    instead: str | None = None


class Quarantine:
    """What could not be read so far, by all processes of this run, and before it was resumed.

    Take the lines of videos that have been mended out of the file, or they still count.

    Args:
        total: Rows of the lists.
        limit: Share of them that may be unreadable.
        path: JSON lines file, appended to as faults are found; processes share it, and count what each finds. None keeps none.

    Raises:
        ValueError: If the file holds what is no list of unreadable videos.
        TooManyUnreadableError: If it holds more than the limit.
    """

    def __init__(self, total: int, limit: float, path: Path | None = None) -> None:
        self._total = total
        self._limit = limit
        self._path = path
        self._reasons: dict[tuple[str, int], str] = {}
        self._read_to = self._lines = 0  # bytes and lines of the file
        self._catch_up()
        self._check()

    @property
    def path(self) -> Path | None:
        """The list's file."""
        return self._path

    @property
    def reasons(self) -> Mapping[tuple[str, int], str]:
        """What is wrong with each unreadable video, by its path and row: of several segments of one, some may be good."""
        self._catch_up()
        return self._reasons

    @property
    def count(self) -> int:
        """How many rows could not be read."""
        return len(self.reasons)

    @property
    def share(self) -> float:
        """How much of the data could not be read, as far as it has been tried."""
        return self.count / self._total

    def summary(self) -> str:
        """Return the count in words: "3 of 1,200 videos (0.25%) could not be read"."""
        return f"{self.count:,} of {self._total:,} videos ({self.share:.2%}) could not be read"

    def add(self, fault: Fault) -> None:
        """Count a fault, report it, and put it on the list, once a row.

        Raises:
            TooManyUnreadableError: If that is one too many.
            OSError: If it cannot be written down, naming the list.
        """
        if (fault.path, fault.row) in self.reasons:
            return
        self._reasons[fault.path, fault.row] = fault.reason
        instead = f"; {fault.instead} stands in for it" if fault.instead else ""
        LOGGER.warning("unreadable: %s%s (%s)", fault.reason, instead, self.summary())
        if self._path is not None:
            self._append(fault)
        self._check()

    def _catch_up(self) -> None:
        """Read the lines that have come to the file, other processes' among them."""
        if self._path is None or not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._read_to)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read_to += len(whole)
        for line in whole.decode("utf-8", errors="replace").split("\n")[:-1]:
            self._lines += 1
            fault = _read(line, f"{self._path}, line {self._lines}")
            if fault is not None:
                self._reasons.setdefault((fault.path, fault.row), fault.reason)

    def _append(self, fault: Fault) -> None:
        assert self._path is not None
        self._path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"video": fault.path, "row": fault.row, "reason": fault.reason}) + "\n"
        # One write of a whole line: processes that share the file do not cut into each other's.
        handle = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            size = os.fstat(handle).st_size
            torn = size and os.pread(handle, 1, size - 1) != b"\n"
            data = f"\n{line}".encode() if torn else line.encode()
            if os.write(handle, data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        except OSError as error:
            error.filename = str(self._path)
            raise
        finally:
            os.close(handle)

    def _check(self) -> None:
        if self.count <= self._limit * self._total:
            return
        where = f"; all are listed in {self._path}" if self._path else ""
        mend = (
            f"Mend the files and delete their lines from {self._path}" if self._path else "Mend the files or the paths"
        )
        shown = "\n".join(list(self._reasons.values())[:SHOWN])
        raise TooManyUnreadableError(
            f"{self.summary()}, more than the {self._limit:.2%} that clips.max_unreadable allows{where}. "
            f"{mend}, or raise the limit. The first:\n{shown}"
        )


def _read(line: str, place: str) -> Fault | None:
    """Return what a line says; None for one that a full disk cut short: its video is tried again."""
    if not line or (line.startswith(_BEGINNING) and not line.endswith("}")):
        return None
    try:
        data = json.loads(line)
        return Fault(row=int(data["row"]), path=str(data["video"]), reason=str(data["reason"]))
    except (ValueError, TypeError, KeyError):
        raise ValueError(f"{place}: {line[:60]!r} is no unreadable video; delete the line") from None
