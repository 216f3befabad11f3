"""Files that are whole or absent: written aside, then renamed."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yield a fresh path beside `path`; on success it is flushed to disk and takes `path`'s place at once, on failure it is removed.

    Raises:
        OSError: If the folder cannot be written, naming it, or if the disk is full, naming the file.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    except OSError as error:
        raise type(error)(
            error.errno, f"cannot write to the folder ({error.strerror}); choose another or free it", str(path.parent)
        ) from error
    os.close(handle)
    aside = Path(name)
    try:
        yield aside
        os.chmod(aside, 0o666 & ~_umask())
        with aside.open("rb") as file:  # or a machine that fails soon after would leave the name and half of the file
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        if error.filename is None:  # a failed write knows no name: on a full disk, say which file it was
            error.filename = str(path)
        raise
    finally:
        aside.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file or none."""
    with written_aside(path) as aside:
        aside.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 file or none."""
    write_bytes(path, text.encode())


def fingerprint(*parts: bytes | Path) -> str:
    """Return "sha256:" and the first 16 hex digits over the contents of files and bytes, in order."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, Path) else part
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return f"sha256:{digest.hexdigest()[:16]}"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
