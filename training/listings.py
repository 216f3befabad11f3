"""The text of a list of videos as records with their places: JSON lines, a JSON array, or lines of fields. No field is judged here."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, dropwhile
from pathlib import Path
from typing import Any, TextIO

COLUMNS: dict[int, tuple[str, ...]] = {
    1: ("video",),
    2: ("video", "label"),
    3: ("video", "total", "label"),
    4: ("video", "first", "total", "label"),
    5: ("video", "duration", "start", "end", "label"),
}
"""What the fields of a line without names are. Source: Kinetics, Something-Something, VideoMAE and ActivityNet lists."""
SEPARATORS = (",", "\t", ";")
"""What may stand between fields. A semicolon only where the first line names a column of videos: else it is a part of a name."""
STORE_ABOUT = "navloop.json"
"""File that makes a folder a store of walks: its format, and what all of its walks share."""
VIDEO_SUFFIXES = (".mp4", ".webm", ".avi", ".mkv", ".mov", ".m4v")
VIDEO_KEYS = ("video", "path", "image", "video_path", "file")
CAPTION_KEYS = ("caption", "captions", "sentence", "text")


class ManifestError(ValueError):
    """A list of videos that cannot be used; the message names each fault with its place and mend."""


def is_store(path: Path) -> bool:
    """Whether a folder is a store of walks (`navloop.training.store`), whose walks are a list of videos too."""
    return (path / STORE_ABOUT).is_file()


def read_records(path: Path, file: TextIO) -> Iterator[tuple[str, Any]]:
    """Yield (place, record) of a list that is open, line by line; a record is a mapping, or the error that stands there."""
    if path.suffix == ".json":
        yield from _json_records(path, file)
        return
    if path.suffix in (".jsonl", ".ndjson"):
        yield from _json_lines(path, file)
        return
    yield from _table_records(path, file)


def shown(value: Any) -> str:
    """Return a value for a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def class_folders(folder: Path) -> list[str]:
    """Return the names of the classes of a folder with a folder a class, in the order of their numbers."""
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def require_same_classes(folders: Sequence[Path]) -> None:
    """Refuse folders with a folder a class whose numbers, their places by name, would be of other classes in each.

    Raises:
        ManifestError: Naming two of them, a class that only one has, and the mend.
    """
    for folder in folders[1:]:
        ours, theirs = class_folders(folders[0]), class_folders(folder)
        if ours != theirs:
            odd = min({*ours} ^ {*theirs})
            raise ManifestError(
                f"{folders[0]} and {folder}: have {len(ours)} and {len(theirs)} class folders with different names, such as {odd!r}; "
                "their numbers would be of different classes; name all classes in a file (clips.classes)"
            )


def _json_lines(path: Path, lines: Iterable[str]) -> Iterator[tuple[str, Any]]:
    # Lines of a file, not of splitlines: captions may hold other separators of Unicode.
    for number, line in enumerate(lines, 1):
        place = f"{path}, line {number}"
        try:
            if line.strip():
                yield place, json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            yield place, ManifestError(f"{place}: not JSON ({error}); write one object a line")


def _json_records(path: Path, file: TextIO) -> Iterator[tuple[str, Any]]:
    try:
        data = json.load(file)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ManifestError(f"{path}: not JSON ({error})") from None
    if not isinstance(data, list):
        raise ManifestError(f'{path}: a JSON list of videos is [{{"video": ..., "caption": ...}}, ...]')
    for number, record in enumerate(data):
        yield f"{path}, entry {number}", record


def _table_records(path: Path, lines: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Read lines of fields, separated by what the first line has of comma, tab and semicolon, else by blanks."""
    columns: Sequence[str] | None = None
    first = True
    for place, fields in _fields(path, lines):
        if first and any(field.lower() in VIDEO_KEYS for field in fields):
            columns, first = [field.lower() for field in fields], False
            continue
        first = False
        names = columns or COLUMNS.get(len(fields), ())
        if len(names) == len(fields):
            yield place, {name: field for name, field in zip(names, fields, strict=True) if field}
        else:
            yield place, ManifestError(f"{place}: has {len(fields)} fields, not {_wanted(columns)}")


def _fields(path: Path, lines: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the fields of each line that has any, and where it begins: a quoted caption may go on over several.

    Raises:
        ManifestError: If a quotation mark is left open, after which no line can be told from the next.
    """
    numbered = dropwhile(lambda entry: not entry[1].strip(), enumerate(lines, 1))
    number, first = next(numbered, (1, ""))
    separator, skipped = _separator(first.lstrip()), number - 1
    rest = chain([first], (line for _, line in numbered))
    if separator is None:
        blanks = ((number, line.split()) for number, line in enumerate(rest, skipped + 1))
        yield from ((f"{path}, line {number}", found) for number, found in blanks if found)
        return
    reader = csv.reader(rest, delimiter=separator, strict=True)
    try:
        for fields in reader:
            if any(field.strip() for field in fields):
                yield f"{path}, line {number}", [field.strip() for field in fields]
            number = skipped + reader.line_num + 1
    except csv.Error as error:
        raise ManifestError(
            f"{path}, line {number}: its quotation marks do not pair up ({error}); close them, and double those within a field"
        ) from None


def _separator(line: str) -> str | None:
    """Return what separates the fields of a list that begins with this line; None for blanks."""
    found = [mark for mark in SEPARATORS if mark in line]
    if found == [";"] and not any(field.strip().lower() in VIDEO_KEYS for field in line.split(";")):
        return None
    return found[0] if found else None


def _wanted(columns: Sequence[str] | None) -> str:
    if columns is not None:
        return f"{len(columns)} fields ({', '.join(columns)})"
    known = "; ".join(" ".join(names) for names in COLUMNS.values())
    return (
        f"1 to 5 fields: {known}; a path with blanks needs commas, and other fields a first line that names them, "
        f"one of them {', '.join(VIDEO_KEYS[:-1])} or {VIDEO_KEYS[-1]}"
    )
