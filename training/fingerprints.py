"""Whether a list of videos, or a folder of them, still says what it said when a run was begun."""

from __future__ import annotations

import os
from pathlib import Path

from navloop.files import fingerprint
from navloop.training.annotations import annotation_files
from navloop.training.listings import is_store


def list_fingerprint(path: Path) -> str:
    """Return the fingerprint of a list of videos, or of the names in a folder of them; "none" if it is not there.

    That of annotations is over the files that they name, too, and that of a store over the table of its walks.
    """
    if is_store(path):
        return fingerprint(*sorted(path.glob("meta/episodes/*/*")))
    if path.is_dir():
        entries = [*path.glob("*/*")] or path.iterdir()  # a folder a class, or videos alone
        names = sorted(entry.relative_to(path).as_posix() for entry in entries)
        return fingerprint(*(os.fsencode(name) for name in names))
    return fingerprint(path, *annotation_files(path)) if path.is_file() else "none"
