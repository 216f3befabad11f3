"""The file of a list of videos: opened as text, and what it may have been meant to be where it is no list, or its first lines are wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from navloop.training.listings import VIDEO_SUFFIXES, ManifestError, shown
from navloop.training.manifest_fields import READ

LISTS = "a .jsonl, .json, .csv, text or annotations .yaml file, or a folder"
"""What a list of videos is, in words."""


@contextmanager
def open_list(path: Path) -> Iterator[TextIO]:
    """Open the file of a list.

    Raises:
        ManifestError: If it is missing, a video itself, or no text.
    """
    if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file():
        raise ManifestError(f"{path}: is a video, and not a list of videos; a list is {LISTS}; write its path into one")
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield file
    except FileNotFoundError:
        raise ManifestError(f"{path}: no such list of videos; name {LISTS}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: cannot be read as UTF-8 text ({error}); a list of videos is {LISTS}") from None


def guess_columns(path: Path, fault: str) -> list[str]:
    """Return what to try where the first line is wrong and looks like names of columns: no digit, path or object is in it."""
    if not fault.startswith(f"{path}, line 1: "):
        return []
    with open_list(path) as file:
        if re.search(r"[\d./{]", file.readline()):
            return []
    return [f"if line 1 names the columns, call that of the paths `video`; the others that are read: {', '.join(READ)}"]


def cut_at_blanks(path: Path, place: str, record: Any) -> str | None:
    """Return what is wrong with a record whose fields are the pieces of a path with blanks; None where they do not look like it.

    Args:
        path: File of the list.
        place: Of the record.
        record: That stands for nothing as it is.
    """
    if not isinstance(record, Mapping) or not all(isinstance(field, str) for field in record.values()):
        return None
    pieces = list(record.values())
    if not any("/" in piece or piece.lower().endswith(VIDEO_SUFFIXES) for piece in pieces[1:]):
        return None
    with open_list(path) as file:
        if not any(line.split() == pieces for line in file):  # a comma or a tab is between them
            return None
    line = " ".join(pieces)
    return (
        f"{place}: {shown(line)} is cut at each blank; a path with blanks needs a .csv with commas between its fields "
        f"(video,label in its first line) or a .jsonl ({json.dumps({'video': line}, ensure_ascii=False)} a line)"
    )
