"""Checkpoints: folders that are whole or absent, and that know whether they are still as they were written."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from navloop.files import write_text
from navloop.weights import read_weights, write_weights

LAST = "last"
"""Link to the newest checkpoint."""

_SUMS = "sha256.json"
_STATE = "state.pt"
_NAME = re.compile(r"step_(\d+)")
_CHUNK = 1 << 24  # bytes hashed at a time


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names it, and the mend."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint on disk."""

    step: int
    """Optimiser steps done."""
    folder: Path

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Return the tensors of one of its weight files, "model" or "ema".

        Raises:
            CheckpointError: If it has none, or one of them is not finite.
        """
        path = self.folder / f"{name}.safetensors"
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file; was the run begun with other settings?")
        tensors = read_weights(path).state
        broken = [key for key, tensor in tensors.items() if not tensor.isfinite().all()]
        if broken:
            raise CheckpointError(
                f"{path}: NaN or infinity is in {broken[0]} and {len(broken) - 1} of the other {len(tensors) - 1} tensors, "
                f"from which no training goes on; {self._mend()}, with a lower engine.lr, engine.clip=1 or engine.precision=bf16 "
                "if it comes again"
            )
        return tensors

    def state(self) -> dict[str, Any]:
        """Return all that is not weights. Nothing in the file is run.

        Raises:
            CheckpointError: If it cannot be read.
        """
        path = self.folder / _STATE
        try:
            return dict(torch.load(path, map_location="cpu", weights_only=True))
        except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
            raise CheckpointError(f"{path}: cannot be read ({str(error).splitlines()[0]}); {self._mend()}") from error

    def check(self) -> None:
        """Compare every file with its digest.

        Raises:
            CheckpointError: If one is missing or has changed since it was written.
        """
        try:
            sums = dict(json.loads((self.folder / _SUMS).read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise CheckpointError(f"{self.folder / _SUMS}: cannot be read ({error}); {self._mend()}") from error
        for name, digest in sums.items():
            path = self.folder / name
            if not path.is_file():
                raise CheckpointError(f"{path}: is gone; {self._mend()}")
            if _sha256(path) != digest:
                raise CheckpointError(f"{path}: has changed since it was written, or is damaged; {self._mend()}")

    def checked(self, name: str) -> Path:
        """Return a folder of it, after the digests of all its files were compared.

        Raises:
            CheckpointError: As `check`.
        """
        self.check()
        return self.folder / name

    def _mend(self) -> str:
        earlier = [other for other in list_checkpoints(self.folder.parent) if other.step < self.step]
        onward = f"go on from {earlier[-1].folder.name}" if earlier else "begin again"
        return f"remove {self.folder} to {onward}"


def list_checkpoints(folder: Path) -> list[Checkpoint]:
    """Return the whole checkpoints of a run, the newest last."""
    named = [(match, entry) for entry in folder.glob("step_*") if (match := _NAME.fullmatch(entry.name))]
    return sorted((Checkpoint(int(match[1]), entry) for match, entry in named), key=lambda found: found.step)


def remove_unfinished(folder: Path) -> None:
    """Remove what writers left that were killed, and link the newest checkpoint again. Nobody may be writing."""
    for entry in folder.glob(".step_*"):
        shutil.rmtree(entry)
    for entry in folder.glob(f".{LAST}.*"):
        entry.unlink()
    whole = list_checkpoints(folder)
    link = folder / LAST
    if whole and not (link.is_symlink() and link.readlink() == Path(whole[-1].folder.name)):
        _link(link, whole[-1].folder.name)


@contextmanager
def new_checkpoint(folder: Path, step: int, keep: int) -> Iterator[Path]:
    """Yield an empty folder; on success it becomes the newest checkpoint at once, on failure it is removed.

    Checkpoints beyond the `keep` newest are removed, but not before the new one is safe on disk.

    Raises:
        OSError: If it cannot be written, naming where; earlier checkpoints are as before.
    """
    final = folder / f"step_{step:06d}"
    folder.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=folder))
    try:
        yield aside
        files = sorted(path for path in aside.rglob("*") if path.is_file())
        sums = {path.relative_to(aside).as_posix(): _sha256(path) for path in files}
        write_text(aside / _SUMS, json.dumps(sums, indent=1) + "\n")
        _flush(aside)
        aside.chmod(folder.stat().st_mode & 0o777)
        aside.rename(final)
    except OSError as error:
        error.filename = str(final)  # which is where a person will look
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    _flush(folder)
    _link(folder / LAST, final.name)
    for old in list_checkpoints(folder)[:-keep]:
        shutil.rmtree(old.folder)


def write_state(folder: Path, state: dict[str, Any]) -> None:
    """Write all that is not weights, into a checkpoint's folder: numbers, texts, tensors, and lists and dicts of them."""
    with (folder / _STATE).open("wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # closing its archive fails too, and that hides what went wrong: a full disk, say
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None
        file.flush()
        os.fsync(file.fileno())


def write_tensors(folder: Path, name: str, tensors: Mapping[str, Tensor]) -> None:
    """Write a checkpoint's weight file."""
    write_weights(folder / f"{name}.safetensors", tensors)


def _link(link: Path, target: str) -> None:
    aside = link.with_name(f".{link.name}.{os.getpid()}")
    aside.unlink(missing_ok=True)
    aside.symlink_to(target)
    aside.replace(link)


def _flush(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
