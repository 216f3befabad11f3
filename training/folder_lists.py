"""A folder as a list of videos: a folder a class in it, or videos side by side. What else is there is left out and told."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from navloop.training.clip_rows import ClipRow
from navloop.training.labels import Labels
from navloop.training.listings import VIDEO_SUFFIXES, ManifestError, class_folders

LOGGER = logging.getLogger(__name__)


def folder_rows(folder: Path, labels: Labels) -> list[ClipRow]:
    """Return the videos of each class folder, by name, with their labels; without any, those of the folder itself, with none.

    In class folders, folders of frames are videos too.

    Raises:
        ManifestError: If there are no videos, or the class folders are not those of the classes.
    """
    classes = class_folders(folder)
    rows = [
        ClipRow(path=str(entry), place=f"{folder}/{name}", label=_label(name, number, labels))
        for number, name in enumerate(classes)
        for entry in sorted((folder / name).iterdir())
        if entry.is_dir() or _is_video(entry)
    ]
    beside = sorted(entry for entry in folder.iterdir() if _is_video(entry) and entry.is_file())
    _tell_left_out(folder, classes, len(beside) if rows else 0)
    if rows:
        _check_classes(folder, classes, labels)
        return rows
    if not beside:
        raise ManifestError(
            f"{folder}: holds no videos; expected {folder}/<class>/<video>.mp4, or {folder}/<video>.mp4 where no labels are needed"
        )
    return [ClipRow(path=str(entry), place=f"{folder} (videos, no class folders)") for entry in beside]


def _is_video(entry: Path) -> bool:
    return entry.suffix.lower() in VIDEO_SUFFIXES


def _check_classes(folder: Path, classes: Sequence[str], labels: Labels) -> None:
    """Refuse class folders that are not among the classes, or whose numbers cannot be told."""
    unknown = sorted(set(classes) - set(labels.names)) if labels.names and labels.becomes is None else []
    count = labels.count if labels.becomes is None else len(labels.becomes)
    if unknown or (count is not None and len(classes) > count):
        raise ManifestError(f"{folder}: {len(classes)} class folders, {unknown or classes} are not all among {count}")
    if count is not None and len(classes) < count and not labels.names:
        ordered = f", or take them in alphabetical order, from 0 on (clips.num_classes={len(classes)})"
        raise ManifestError(
            f"{folder}: {len(classes)} class folders of {count} classes; which number each is cannot be told; name all classes in a file "
            f"(clips.classes){ordered if labels.becomes is None else ''}"
        )


def _tell_left_out(folder: Path, classes: Sequence[str], beside: int) -> None:
    """Say which files of class folders are no videos by their names, and how many videos lie beside the folders."""
    files = [entry for name in classes for entry in (folder / name).iterdir() if entry.is_file()]
    others = Counter(entry.suffix.lower() for entry in files if not entry.name.startswith("."))
    left = [
        f"{suffix or 'no suffix'} {count}" for suffix, count in sorted(others.items()) if suffix not in VIDEO_SUFFIXES
    ]
    if left:
        LOGGER.warning(
            "%s: files of class folders are left out, as they are none of %s: %s; name them in a list, if they are videos",
            folder,
            ", ".join(VIDEO_SUFFIXES),
            ", ".join(left),
        )
    if beside:
        LOGGER.warning("%s: %d videos beside the class folders are left out; they are in no class", folder, beside)


def _label(name: str, number: int, labels: Labels) -> int:
    if name in labels.names or labels.becomes is None or number >= len(labels.becomes):  # the last is refused
        return labels.names.get(name, number)
    return labels.becomes[number]
