"""The folder of a store: what all its walks share, and who may do what in it at a time."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from navloop.files import write_bytes
from navloop.training.listings import STORE_ABOUT
from navloop.training.store.schema import FORMAT, StoreAbout, StoreError, to_degrees

BESIDE = ("config.yaml", "provenance.json")
"""Files of a run (`navloop.runs`) that may be there before the store is."""

WRITERS, JOINER = ".writers", ".joiner"
"""Files that are locked: the first by each writer while it lives, the second by who joins parts."""


def is_store(folder: Path) -> bool:
    """Return whether a folder holds a store."""
    return (folder / STORE_ABOUT).is_file()


def read_about(folder: Path) -> StoreAbout:
    """Return what all walks of a store share.

    Raises:
        StoreError: If the folder holds no store, or one of a newer format.
    """
    path = folder / STORE_ABOUT
    try:
        data = json.loads(path.read_bytes())
        if data["format"] > FORMAT:
            raise StoreError(
                f"{path}: format {data['format']} is newer than {FORMAT}, the newest that this navloop reads; install a newer one"
            )
        about = StoreAbout(**data["about"])
        if data["format"] == 1 and about.protocol_fingerprint:  # imported walks have none
            return replace(about, turn=to_degrees(about.turn))
        return about
    except FileNotFoundError:
        raise StoreError(f"{folder}: holds no store, there is no {STORE_ABOUT}; name the folder of one") from None
    except StoreError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: does not say what the store holds ({error!r}); take it from a copy") from error


def found(folder: Path, about: StoreAbout) -> None:
    """Make a folder a store, or find that it is one of the same kind.

    Raises:
        StoreError: If it is a store of another kind, naming each difference, or holds something else.
        OSError: If it cannot be written.
    """
    if not is_store(folder):
        try:
            _require_empty(folder)
        except StoreError:
            if not is_store(folder):  # else another writer was faster, and these are its files
                raise
        create_folder(folder)
        _write_first(folder, {"format": FORMAT, "about": asdict(about)})
    faults = about.differences(read_about(folder))
    if faults:
        raise StoreError(
            f"{folder}: holds walks of another kind: {'; '.join(faults)}. Choose another folder, or the same kind"
        )


@contextmanager
def shared(path: Path) -> Iterator[None]:
    """Hold a lock together with others."""
    with _locked(path, fcntl.LOCK_SH):
        yield


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold a lock alone, waiting until it is free."""
    with _locked(path, fcntl.LOCK_EX):
        yield


def sweep(folder: Path) -> None:
    """Remove what killed writers left unfinished, unless somebody is writing."""
    handle = os.open(folder / WRITERS, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for torn in folder.glob("parts/.*"):
            shutil.rmtree(torn, ignore_errors=True)
    except BlockingIOError:
        pass  # one of them may be somebody's
    finally:
        os.close(handle)  # gives the lock back; so does the end of the process, however it comes


def sync(path: Path) -> None:
    """Force a file or a folder to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def create_folder(folder: Path) -> None:
    """Make a folder and those above it, and force them to disk, as `os.fsync` of what lies in them does not."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync(path.parent)


@contextmanager
def _locked(path: Path, kind: int) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, kind)
        yield
    finally:
        os.close(handle)


def _write_first(folder: Path, data: dict[str, object]) -> None:
    """Write the file unless somebody was faster: of two writers that begin at once, the first one decides what the store holds."""
    aside = folder / f".{STORE_ABOUT}.{uuid.uuid4().hex}"
    write_bytes(aside, (json.dumps(data, indent=1) + "\n").encode())
    try:
        os.link(aside, folder / STORE_ABOUT)
        sync(folder)
    except FileExistsError:
        pass
    finally:
        aside.unlink()


def _require_empty(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder}: not a folder; choose another")
    there = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    if others := [name for name in there if not name.startswith(".") and name not in BESIDE]:
        raise StoreError(f"{folder}: holds other files ({min(others)}, ...) and no store; choose another folder")
