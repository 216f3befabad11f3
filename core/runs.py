"""Run folders: one config, one writer at a time, and a record of every start."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from navloop.files import write_text
from navloop.provenance import provenance

_locks: set[int] = set()
"""Descriptors of the locks that this process holds."""


def _inherit_no_locks() -> None:
    """Close them in a forked child: one that outlived its killed parent, as workers do for seconds, would hold the folder."""
    while _locks:
        os.close(_locks.pop())


os.register_at_fork(after_in_child=_inherit_no_locks)

_FIRST_FILES = (".lock", "provenance.json", ".provenance.json.", ".config.yaml.")
"""Beginnings of names that a run killed in its first moments leaves behind."""


class RunError(ValueError):
    """A run folder that cannot be used as asked; the message names the folder and the mend."""


class RunFolder:
    """A folder that holds what one config led to.

    `config.yaml` is the resolved config and itself a recipe; `provenance.json` lists each start of the run (`navloop.provenance`)
    with the fingerprints of the data it read.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def config_file(self) -> Path:
        """The resolved config."""
        return self.path / "config.yaml"

    @contextmanager
    def open(self, config: str, data: Mapping[str, str], resumable: Sequence[str] = ()) -> Iterator[None]:
        """Hold the folder for writing: begin a run, or go on with one of the same config and data.

        Args:
            config: The resolved config, YAML.
            data: Fingerprint of each file that the results depend on, by name.
            resumable: Fields, or dotted paths of fields ("clips.workers"), in which the config may differ from that of the earlier starts.

        Raises:
            RunError: If another process writes here, the folder holds something else, or config or data differ, naming each difference.
                A run that has left nothing yet, as where its recipe named no encoder that there is, may be begun anew with others.
            OSError: If the folder cannot be written.
        """
        self._check_is_ours()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise type(error)(
                error.errno,
                f"cannot write to the run folder ({error.strerror}); choose another with --run-dir",
                str(self.path),
            ) from error
        _locks.add(lock)
        try:
            self._take(lock)
            other = self._other(yaml.safe_load(config), data, resumable)
            # Without a record of starts the config is somebody's own, and not to be written over.
            if other is not None and (self._made() or not self.starts()):
                raise RunError(f"{self.path}: {other}")
            earlier = self.starts() if other is None else []
            starts = [*earlier, {**provenance(), "data": dict(data)}]
            write_text(self.path / "provenance.json", json.dumps({"starts": starts}, indent=1) + "\n")
            write_text(self.config_file, config)  # last: a folder without it holds no run, whenever it was killed
            yield
        finally:
            if lock in _locks:
                _locks.remove(lock)
                os.close(lock)  # gives the lock back; so does the end of the process, however it comes

    def starts(self) -> list[dict[str, Any]]:
        """Return the record of each start, the first one first."""
        file = self.path / "provenance.json"
        if not file.is_file():
            return []
        try:
            return list(json.loads(file.read_text())["starts"])
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{file}: not a record of starts ({error!r}); choose another folder with --run-dir"
            ) from error

    def _check_is_ours(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path}: not a folder; choose another with --run-dir")
        if self.path.is_dir() and not self.config_file.exists() and (others := self._made()):
            raise RunError(
                f"{self.path}: holds other files ({others[0]}, ...) and no run; choose another with --run-dir"
            )

    def _made(self) -> list[str]:
        """Return the names of what lies in the folder besides the record of a run. Where nothing does, another run may begin."""
        names = (entry.name for entry in self.path.iterdir())
        return [name for name in names if not name.startswith(_FIRST_FILES) and name != self.config_file.name]

    def _take(self, lock: int) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(lock, 100, 0).decode(errors="replace").strip()
            raise RunError(
                f"{self.path}: process {owner or '?'} is writing here; wait for it or choose another --run-dir"
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)

    def _other(self, config: dict[str, Any], data: Mapping[str, str], resumable: Sequence[str]) -> str | None:
        """Say why the run of this folder is another one than asked for; None if it is the same, or there is none."""
        if not self.config_file.exists():
            return None
        old = yaml.safe_load(self.config_file.read_text())
        if not isinstance(old, dict):
            raise RunError(f"{self.config_file}: not a config; choose another folder with --run-dir")
        if old.get("kind") != config.get("kind"):
            return f"holds a run of kind {old.get('kind')}, not {config.get('kind')}; choose another with --run-dir"
        faults = [
            f"{path} was {before}, now {now}"
            for path, before, now in _differences(old, config)
            if not any(f"{path}.".startswith(f"{field}.") for field in resumable)
        ]
        unknown = bool(faults) and all(" was absent, now " in fault for fault in faults)
        earlier = self.starts()[-1]["data"] if self.starts() else {}
        faults += [f"data of {path} was {before}, now {now}" for path, before, now in _differences(earlier, dict(data))]
        if not faults:
            return None
        began = f"holds a run that began differently: {'; '.join(faults)}. Take the old values or another --run-dir"
        return f"{began}; what was absent the version that began it did not know{self._version()}" if unknown else began

    def _version(self) -> str:
        """Return the version of the last start in words."""
        code = self.starts()[-1].get("code", {}) if self.starts() else {}
        told = " ".join(str(code[name]) for name in ("navloop", "commit") if name in code)
        return f" (navloop {told}), which can go on with it" if told else ""


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield what differs. A field that one of the two versions did not know yet, and that says nothing (null, false or empty), does not."""
    for key in [*old, *(key for key in new if key not in old)]:
        path, before, now = f"{prefix}{key}", old.get(key, "absent"), new.get(key, "absent")
        if isinstance(before, dict) and isinstance(now, dict):
            yield from _differences(before, now, f"{path}.")
        elif before != now and not ("absent" in (before, now) and any(_says_nothing(one) for one in (before, now))):
            yield path, str(before), str(now)


def _says_nothing(value: Any) -> bool:
    return value is None or value is False or value in ({}, [])
