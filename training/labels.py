"""Which labels a list of videos may have, by number and by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from navloop.configs.videos import ViewsConfig
from navloop.training.listings import ManifestError, shown


@dataclass(frozen=True, slots=True)
class Labels:
    """Which labels are right: numbers below `count`, and names if there are any; what the numbers of a list become."""

    count: int | None
    names: Mapping[str, int]
    becomes: tuple[int, ...] | None = None
    """For each number that a list may have, the label that it stands for; None: itself."""
    source: str = ""
    """File of `becomes`."""
    wanted: bool = True
    """Whether anybody asks for them; else names of classes that nobody listed are none, and no fault."""


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


def label_of(value: Any, place: str, labels: Labels) -> int | None:
    """Return the label that a list's value stands for; None for none.

    Raises:
        ManifestError: With the place, if it stands for no class.
    """
    if value is None:
        return None
    if isinstance(value, str) and value in labels.names:
        return labels.names[value]
    number = integer(value)
    if number is None and isinstance(value, str) and not (labels.wanted or labels.names):
        return None
    if number is None:
        mend = (
            "it is not among the class names"
            if labels.names
            else "give a whole number, or name the classes (clips.classes)"
        )
        raise ManifestError(f"{place}: label is {shown(value)}; {mend}")
    count = labels.count if labels.becomes is None else len(labels.becomes)
    if number < 0 or (count is not None and number >= count):
        known = f"from 0 to {count - 1}" if count is not None else "at least 0"
        why = f", of which {labels.source} has one each" if labels.becomes is not None else ""
        raise ManifestError(f"{place}: label {number} is out of range; labels are {known}{why}")
    return number if labels.becomes is None else labels.becomes[number]


def integer(value: Any) -> int | None:
    """Return a whole number of 64 bits, 3 or 3.0, or text that is one; None for all else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str):
        whole, _, rest = value.strip().partition(".")  # tables that pandas has written have 3.0
        value = value if rest.strip("0") else whole
    elif isinstance(value, float) and not value.is_integer():
        return None
    try:
        number = int(value)
    except ValueError:
        return None
    return number if -(1 << 63) <= number < 1 << 63 else None
