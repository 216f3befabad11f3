"""Lists of videos as the family's users have them, read into rows. What is wrong is named: file, line, field, value, mend."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from navloop.configs.videos import ViewsConfig, check_label_maps
from navloop.training.annotations import SUFFIXES, read_annotations
from navloop.training.clip_rows import ClipRow, ClipRows
from navloop.training.folder_lists import folder_rows
from navloop.training.label_maps import read_index_list
from navloop.training.labels import Labels, integer, label_of, read_labels
from navloop.training.list_files import cut_at_blanks, guess_columns, open_list
from navloop.training.listings import (
    CAPTION_KEYS,
    VIDEO_KEYS,
    ManifestError,
    is_store,
    read_records,
    require_same_classes,
    shown,
)
from navloop.training.manifest_fields import check_fields, tell_unread

SHOWN_FAULTS = 5


def read_manifests(config: ViewsConfig, need: Sequence[Literal["label", "captions"]] = ()) -> ClipRows:
    """Return the rows of all lists of a config, in order.

    Args:
        config: Which lists, and which labels are right.
        need: What every row has to have.

    Raises:
        ManifestError: If a list is missing or empty, or lines are wrong: several at once, each with its mend.
    """
    if "label" in need:
        check_class_folders(config)
    labels = [replace(known, wanted="label" in need) for known in _labels_of_lists(config)]
    rows = ClipRows(
        row for path, known in zip(config.manifest, labels, strict=True) for row in _listed(Path(path), known)
    )
    for field in need:
        bare = rows.without(field)
        if bare.size:
            raise ManifestError(
                f"{rows[int(bare[0])].place}: has no {field}, nor have {bare.size - 1} of the other {len(rows) - 1} rows; "
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


def read_manifest(path: Path, labels: Labels) -> ClipRows:
    """Return the rows of one list, of a folder with a folder a class or of videos, or of a store of walks.

    Relative paths start at the folder of the list.

    Raises:
        ManifestError: If it cannot be read, or lines are wrong.
    """
    return ClipRows(_listed(path, labels))


def _listed(path: Path, labels: Labels) -> Iterator[ClipRow]:
    if is_store(path):
        yield from _walks(path, labels)
    elif path.is_dir():
        yield from folder_rows(path, labels)
    else:
        yield from _file_rows(path, labels)


def _file_rows(path: Path, labels: Labels) -> Iterator[ClipRow]:
    """Yield the rows of a list; what is wrong with others is told at the end. Each set of fields that lines have is looked at once."""
    faults: list[str] = []
    unread: set[str] = set()
    known: set[frozenset[str]] = set()
    good = wrong = 0
    folder = "" if path.suffix in SUFFIXES else path.parent  # annotations give paths that hold their folder already
    for place, record in _records(path):
        try:
            if isinstance(record, ManifestError):
                raise record
            if (
                path.suffix not in SUFFIXES
                and isinstance(record, Mapping)
                and (names := frozenset(record)) not in known
            ):
                known.add(names)
                unread |= check_fields(record, place)
            row = _row(record, place, folder, labels)
        except ManifestError as error:
            if wrong < SHOWN_FAULTS:
                faults.append(cut_at_blanks(path, place, record) or str(error))
            wrong += 1
        else:
            good += 1
            yield row
    tell_unread(path, unread)
    if wrong:
        more = [f"... and {wrong - SHOWN_FAULTS} more lines"] if wrong > SHOWN_FAULTS else []
        raise ManifestError("\n".join([*faults, *more, *guess_columns(path, faults[0])]))
    if not good:
        raise ManifestError(f"{path}: lists no videos")


def _records(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield (place, record) of a list, or of what an annotations file says; a list is never in memory whole."""
    with open_list(path) as file:
        said = file.read() if path.suffix in SUFFIXES else None
        if said is None:
            yield from read_records(path, file)
    if said is not None:
        yield from read_annotations(path, said)


def _walks(folder: Path, labels: Labels) -> list[ClipRow]:
    """The walks of a store, each with its instruction."""
    from navloop.training import store  # half a second that lists of files do not need

    try:
        records = store.list_walks(store.open_store(folder), folder)
    except store.StoreError as error:
        raise ManifestError(str(error)) from error
    if not records:
        raise ManifestError(f"{folder}: a store without walks")
    return [_row(record, f"{folder}, walk {number}", folder, labels) for number, record in enumerate(records)]


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


def _row(record: Any, place: str, folder: Path | str, labels: Labels) -> ClipRow:
    if not isinstance(record, Mapping):
        raise ManifestError(f'{place}: {shown(record)} is no object; write {{"video": "a.mp4", "caption": "..."}}')
    video = next((record[key] for key in VIDEO_KEYS if key in record), None)
    if not isinstance(video, str) or not video.strip():
        raise ManifestError(f"{place}: video is {shown(video)}; give the path of a video, a frame folder or an image")
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
        label=label_of(record.get("label"), place, labels),
        scene=None if record.get("scene_id") is None else str(record["scene_id"]),
    )


def _captions(record: Mapping[str, Any], place: str) -> tuple[str, ...]:
    keys = [key for key in CAPTION_KEYS if record.get(key) is not None]
    if not keys:
        return ()
    if {"caption", "captions"} <= set(keys):
        raise ManifestError(f"{place}: has both caption and captions; put all into captions")
    key = keys[0]
    captions = record[key] if isinstance(record[key], list) else [record[key]]
    for caption in captions:
        if not isinstance(caption, str) or not caption.strip():
            raise ManifestError(f"{place}: {key} holds {shown(caption)}; a caption is text, and not empty")
    if not captions:
        raise ManifestError(f"{place}: {key} is an empty list; give a caption, or leave the field out")
    return tuple(captions)


def _seconds(record: Mapping[str, Any], key: str, place: str) -> float | None:
    value = record.get(key)
    if value is None:
        return None
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ManifestError(f"{place}: {key} is {shown(value)}; give seconds from the start of the video")
    return seconds


def _count(record: Mapping[str, Any], key: str, place: str) -> int | None:
    value = record.get(key)
    if value is None:
        return None
    number = integer(value)
    if number is None or not {"first": number >= 0, "total": number != 0, "stride": number > 0}[key]:
        raise ManifestError(f"{place}: {key} is {shown(value)}; give a whole number of frames")
    return number
