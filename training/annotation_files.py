"""What annotation files are made of: JSON, tables, pickled lists of words, read as checked entries; and folders of videos."""

from __future__ import annotations

import csv
import io
import json
import os
import pickle
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from navloop.training.listings import VIDEO_SUFFIXES, ManifestError, shown

Parsed = TypeVar("Parsed")
Checked = TypeVar("Checked", bound=BaseModel)


class Entry(BaseModel):
    """Base of what an entry of a file has to say; further fields may be there."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


def read_text(path: Path, field: str) -> str:
    """Return the text of a file that `field` names.

    Raises:
        ManifestError: If it is missing or no UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ManifestError(f"{path}: no such file, which {field} names") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: cannot be read as UTF-8 text ({error})") from None


def read_json(path: Path, field: str) -> Any:
    """Return what a JSON file holds. Raises ManifestError."""
    try:
        return json.loads(read_text(path, field))
    except json.JSONDecodeError as error:
        raise ManifestError(f"{path}: not JSON ({error})") from None


def check(schema: type[Parsed], value: Any, place: str) -> Parsed:
    """Return a value as a schema has it.

    Raises:
        ManifestError: With the place, the field within it, and the value.
    """
    try:
        # Not JSON mode: what was read is already lists, numbers and text, and of these strict types.
        return TypeAdapter(schema).validate_python(value)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"])
        said = "" if fault["type"] == "missing" else f" is {shown(fault['input'])}"
        raise ManifestError(f"{place}{f', field {where}' if where else ''}{said}: {_mend(fault['msg'])}") from None


def read_table(path: Path, field: str, schema: type[Checked]) -> Iterator[tuple[str, Checked]]:
    """Yield (place, row) of a comma-separated file whose first line names the columns.

    Raises:
        ManifestError: If a column is missing, or a line is wrong.
    """
    reader = csv.DictReader(io.StringIO(read_text(path, field), newline=""))
    wanted = {name for name, info in schema.model_fields.items() if info.is_required()}
    missing = sorted(wanted - set(reader.fieldnames or ()))
    if missing:
        raise ManifestError(
            f"{path}, line 1: names no column {missing[0]}; it has {', '.join(reader.fieldnames or ()) or 'none'}"
        )
    for row in reader:
        place = f"{path}, line {reader.line_num}"
        yield place, check(schema, {name: value for name, value in row.items() if value is not None}, place)


def read_tabbed(path: Path, field: str, columns: tuple[tuple[str, ...], ...]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield (place, fields by name) of lines separated by tabs; each has as many fields as one of `columns`.

    Raises:
        ManifestError: If a line has another number of fields.
    """
    by_length = {len(names): names for names in columns}
    for number, line in enumerate(read_text(path, field).split("\n"), 1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        fields = [part.strip() for part in line.rstrip("\r").split("\t")]
        if len(fields) not in by_length:
            wanted = " or ".join(f"{len(names)} ({', '.join(names)})" for names in columns)
            raise ManifestError(f"{place}: has {len(fields)} fields between tabs, not {wanted}")
        yield place, dict(zip(by_length[len(fields)], fields, strict=True))


class _PlainData(pickle.Unpickler):
    """Reads pickles of lists, dictionaries, text and numbers; a pickle can make nothing else without naming a class."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}, which plain data never does")


def read_plain_pickle(path: Path, field: str) -> Any:
    """Return the lists, dictionaries and text of a pickle; one that would run anything is refused.

    Raises:
        ManifestError: If it is missing, no pickle, or holds more than plain data.
    """
    try:
        with path.open("rb") as file:
            return _PlainData(file).load()
    except FileNotFoundError:
        raise ManifestError(f"{path}: no such file, which {field} names") from None
    except (
        OSError,
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        IndexError,
        KeyError,
        AttributeError,
        TypeError,
    ) as error:
        raise ManifestError(f"{path}: not a pickle of captions ({error})") from None


def stem(name: str) -> str:
    """Return the name of a video without the ending of a video file; ids may hold other dots."""
    bare, dot, ending = name.rpartition(".")
    return bare if dot and f".{ending.lower()}" in VIDEO_SUFFIXES else name


class VideoFolder:
    """Where the videos of a data set are.

    Args:
        folder: Searched once, with its subfolders; video files, and folders of frames, are known by their names.
        suffix: How a file that is not there would end.
    """

    def __init__(self, folder: Path, suffix: str) -> None:
        if not folder.is_dir():
            raise ManifestError(f"{folder}: no such folder, which videos names")
        self._folder, self._suffix = folder, suffix
        self._files: dict[str, list[str]] = {}
        self._folders: dict[str, list[str]] = {}
        for parent, folders, files in os.walk(folder):
            for name in files:
                if stem(name) != name:
                    self._files.setdefault(stem(name), []).append(os.path.join(parent, name))
            for name in folders:
                self._folders.setdefault(name, []).append(os.path.join(parent, name))

    def has(self, video: str) -> bool:
        """Return whether there is a file or folder of that name."""
        return stem(video) in self._files or stem(video) in self._folders

    def path(self, video: str, place: str) -> str:
        """Return where a video is, or would be, from where the folder itself starts; what is not there is counted when it is read.

        Raises:
            ManifestError: If two files have its name.
        """
        found = self._files.get(stem(video)) or self._folders.get(stem(video)) or []
        if len(found) > 1:
            raise ManifestError(
                f"{place}: video {video} may be {found[0]} or {found[1]}; keep one of them in {self._folder}"
            )
        return found[0] if found else str(self._folder / f"{stem(video)}{self._suffix}")


def named_in(values: Iterable[str | None]) -> str:
    """Return distinct names in words, for a message."""
    return ", ".join(sorted({value for value in values if value is not None})) or "none"


def _mend(message: str) -> str:
    return message.removeprefix("Value error, ").removeprefix("Input should be ")
