"""Whether a list of videos, or a folder of them, still says what it said when a run was begun."""

from __future__ import annotations

from pathlib import Path

from navloop.files import fingerprint
from navloop.training.annotations import annotation_files


def list_fingerprint(path: Path) -> str:
    """Return the fingerprint of a list of videos, or of the names in a folder of them; "none" if it is not there.

    That of annotations is over the files that they name, too.
    """
    if path.is_dir():
        names = sorted(f"{entry.parent.name}/{entry.name}" for entry in path.glob("*/*"))
        return fingerprint(*(name.encode() for name in names))
    return fingerprint(path, *annotation_files(path)) if path.is_file() else "none"
