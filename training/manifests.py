"""Lists of videos as the family's users have them, read into rows. What is wrong is named: file, line, field, value, mend."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from navloop.configs.videos import ViewsConfig, check_label_maps
from navloop.training.annotations import SUFFIXES, read_annotations
from navloop.training.label_maps import read_index_list
from navloop.training.listings import (
    VIDEO_KEYS,
    VIDEO_SUFFIXES,
    ManifestError,
    class_folders,
    read_records,
    require_same_classes,
)

SHOWN_FAULTS = 5
CAPTION_KEYS = ("caption", "captions", "sentence", "text")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipRow:
    """One video, or one segment of it.

    Attributes:
        path: File, frame folder or image; absolute, or relative to the working folder.
        place: Where the row stands: file and line.
        start: Seconds at which the segment begins; None at the start.
        end: Seconds at which it ends; None at the end.
        first: Number of the first frame: that of its file in a frame folder, from 0 in a video; None for the lowest.
        total: How many frames there are from `first`; None for all.
        stride: In place of the config's, for lists that mix data sets; None takes the config's.
        captions: What happens in it, in other words each; empty where the list has none.
        label: Class; None where the list has none.
        scene: What it shares with other rows that are like it (`scene_id`); None where the list does not say.
    """

    path: str
    place: str
    start: float | None = None
    end: float | None = None
    first: int | None = None
    total: int | None = None
    stride: int | None = None
    captions: tuple[str, ...] = ()
    label: int | None = None
    scene: str | None = None


@dataclass(frozen=True, slots=True)
class Labels:
    """Which labels are right: numbers below `count`, and names if there are any; what the numbers of a list become."""

    count: int | None
    names: Mapping[str, int]
    becomes: tuple[int, ...] | None = None
    """For each number that a list may have, the label that it stands for; None: itself."""
    source: str = ""
    """File of `becomes`."""


def read_manifests(config: ViewsConfig, need: Sequence[Literal["label", "captions"]] = ()) -> tuple[ClipRow, ...]:
    """Return the rows of all lists of a config, in order.

    Args:
        config: Which lists, and which labels are right.
        need: What every row has to have.

    Raises:
        ManifestError: If a list is missing or empty, or lines are wrong: several at once, each with its mend.
    """
    if "label" in need:
        check_class_folders(config)
    rows = tuple(
        row
        for path, labels in zip(config.manifest, _labels_of_lists(config), strict=True)
        for row in read_manifest(Path(path), labels)
    )
    for field in need:
        bare = [row for row in rows if getattr(row, field) in (None, ())]
        if bare:
            raise ManifestError(
                f"{bare[0].place}: has no {field}, nor have {len(bare) - 1} of the other {len(rows) - 1} rows; "
                f"this stage needs {field} in every row"
            )
    return rows


def check_class_folders(*configs: ViewsConfig) -> None:
    """Refuse folders with a folder a class, among the lists of configs whose labels go together, that number other classes.

    Raises:
        ManifestError: Naming two of them, and the mend.
    """
    lists = [
        Path(name)
        for config in configs
        for name, mapped in zip(config.manifest, config.label_maps or [None] * len(config.manifest), strict=True)
        if mapped is None and config.classes is None
    ]
    require_same_classes([path for path in lists if path.is_dir()])


def read_manifest(path: Path, labels: Labels) -> list[ClipRow]:
    """Return the rows of one list, or of a folder with a folder a class.

    Relative paths start at the folder of the list.

    Raises:
        ManifestError: If it cannot be read, or lines are wrong.
    """
    if path.is_dir():
        return _class_folders(path, labels)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ManifestError(
            f"{path}: no such list of videos; name a .jsonl, .json, .csv, text or annotations .yaml file, or a folder"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    rows, faults = [], []
    records = read_annotations(path, text) if path.suffix in SUFFIXES else read_records(path, text)
    for place, record in records:
        try:
            if isinstance(record, ManifestError):
                raise record
            rows.append(_row(record, place, path.parent, labels))
        except ManifestError as error:
            faults.append(str(error))
    if faults:
        more = [f"... and {len(faults) - SHOWN_FAULTS} more lines"] if len(faults) > SHOWN_FAULTS else []
        raise ManifestError("\n".join(faults[:SHOWN_FAULTS] + more))
    if not rows:
        raise ManifestError(f"{path}: lists no videos")
    return rows


def read_labels(config: ViewsConfig) -> Labels:
    """Return which labels a config allows.

    Raises:
        ManifestError: If the file of class names is missing, names a class twice, or disagrees with num_classes.
    """
    if config.classes is None:
        return Labels(config.num_classes, {})
    names = read_class_names(Path(config.classes))
    numbers = {name: number for number, name in enumerate(names)}
    if len(numbers) < len(names):
        twice = next(name for number, name in enumerate(names) if numbers[name] != number)
        raise ManifestError(f"{config.classes}: the class {twice!r} is there twice; keep one")
    if config.num_classes not in (None, len(names)):
        raise ManifestError(f"{config.classes}: names {len(names)} classes, while num_classes is {config.num_classes}")
    return Labels(len(names), numbers)


def _labels_of_lists(config: ViewsConfig) -> list[Labels]:
    try:
        check_label_maps(config.label_maps, config.manifest, "clips.label_maps", "clips.manifest")
    except ValueError as error:
        raise ManifestError(str(error)) from None
    labels = read_labels(config)
    return [
        labels if name is None else replace(labels, becomes=read_index_list(Path(name), labels.count), source=name)
        for name in config.label_maps or [None] * len(config.manifest)
    ]


def read_class_names(path: Path) -> list[str]:
    """Return the names of a file of classes, in the order of their numbers.

    Raises:
        ManifestError: If it cannot be read, or holds no list of names.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        names = json.loads(text) if path.suffix == ".json" else [line.strip() for line in text.splitlines()]
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path}: class names cannot be read ({error})") from None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ManifestError(f'{path}: class names are a line each, or in a .json file ["stop", "turn left", ...]')
    return [name for name in names if name]


def _row(record: Any, place: str, folder: Path, labels: Labels) -> ClipRow:
    if not isinstance(record, Mapping):
        raise ManifestError(f'{place}: {_short(record)} is no object; write {{"video": "a.mp4", "caption": "..."}}')
    video = next((record[key] for key in VIDEO_KEYS if key in record), None)
    if not isinstance(video, str) or not video.strip():
        raise ManifestError(f"{place}: video is {_short(video)}; give the path of a video, a frame folder or an image")
    start, end = _seconds(record, "start", place), _seconds(record, "end", place)
    if start is not None and end is not None and end <= start:
        raise ManifestError(f"{place}: end {end:g} is not after start {start:g}; both are seconds")
    first, total = _count(record, "first", place), _count(record, "total", place)
    if total is not None and total < 0:  # VideoMAE's lists: a video file, all of it
        first = total = None
    return ClipRow(
        path=os.path.join(folder, video),
        place=place,
        start=start,
        end=end,
        first=first,
        total=total,
        stride=_count(record, "stride", place),
        captions=_captions(record, place),
        label=_label(record.get("label"), place, labels),
        scene=None if record.get("scene_id") is None else str(record["scene_id"]),
    )


def _captions(record: Mapping[str, Any], place: str) -> tuple[str, ...]:
    key = next((key for key in CAPTION_KEYS if record.get(key) is not None), None)
    if key is None:
        return ()
    captions = record[key] if isinstance(record[key], list) else [record[key]]
    for caption in captions:
        if not isinstance(caption, str) or not caption.strip():
            raise ManifestError(f"{place}: {key} holds {_short(caption)}; a caption is text, and not empty")
    if not captions:
        raise ManifestError(f"{place}: {key} is an empty list; give a caption, or leave the field out")
    return tuple(captions)


def _label(value: Any, place: str, labels: Labels) -> int | None:
    if value is None:
        return None
    if isinstance(value, str) and value in labels.names:
        return labels.names[value]
    number = _integer(value)
    if number is None:
        mend = (
            "it is not among the class names" if labels.names else "give a number, or name the classes (clips.classes)"
        )
        raise ManifestError(f"{place}: label is {_short(value)}; {mend}")
    count = labels.count if labels.becomes is None else len(labels.becomes)
    if number < 0 or (count is not None and number >= count):
        known = f"from 0 to {count - 1}" if count is not None else "at least 0"
        why = f", of which {labels.source} has one each" if labels.becomes is not None else ""
        raise ManifestError(f"{place}: label {number} is out of range; labels are {known}{why}")
    return number if labels.becomes is None else labels.becomes[number]


def _seconds(record: Mapping[str, Any], key: str, place: str) -> float | None:
    value = record.get(key)
    if value is None:
        return None
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ManifestError(f"{place}: {key} is {_short(value)}; give seconds from the start of the video")
    return seconds


def _count(record: Mapping[str, Any], key: str, place: str) -> int | None:
    value = record.get(key)
    if value is None:
        return None
    number = _integer(value)
    if number is None or not {"first": number >= 0, "total": number != 0, "stride": number > 0}[key]:
        raise ManifestError(f"{place}: {key} is {_short(value)}; give a whole number of frames")
    return number


def _integer(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    try:
        return int(value)
    except ValueError:
        return None


def _class_folders(folder: Path, labels: Labels) -> list[ClipRow]:
    """A folder a class, by name; in it videos, or folders of frames."""
    classes = class_folders(folder)
    rows = [
        ClipRow(path=str(entry), place=f"{folder}/{name}", label=_folder_label(name, number, labels))
        for number, name in enumerate(classes)
        for entry in sorted((folder / name).iterdir())
        if entry.is_dir() or entry.suffix.lower() in VIDEO_SUFFIXES
    ]
    if not rows:
        raise ManifestError(f"{folder}: holds no videos; expected {folder}/<class>/<video>.mp4")
    unknown = sorted(set(classes) - set(labels.names)) if labels.names and labels.becomes is None else []
    count = labels.count if labels.becomes is None else len(labels.becomes)
    if unknown or (count is not None and len(classes) > count):
        raise ManifestError(f"{folder}: {len(classes)} class folders, {unknown or classes} are not all among {count}")
    if count is not None and len(classes) < count and not labels.names:
        raise ManifestError(
            f"{folder}: {len(classes)} class folders of {count} classes; which number each is cannot be told; name all classes in a file "
            "(clips.classes)"
        )
    return rows


def _folder_label(name: str, number: int, labels: Labels) -> int:
    if name in labels.names or labels.becomes is None or number >= len(labels.becomes):  # the last is refused
        return labels.names.get(name, number)
    return labels.becomes[number]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
