"""Labels of one data set as those of a union of several: files of numbers, one for each class of the former."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from navloop.training.listings import ManifestError


def read_index_list(path: Path, count: int | None = None) -> tuple[int, ...]:
    """Return the numbers of a file: for each class of a data set, that of the union (Kinetics-600 in Kinetics-710).

    The same file chooses, from a classifier of the union, the rows that are one of the data set.

    Args:
        path: A .json list, or text with a number a line.
        count: Classes of the union, if they are known.

    Raises:
        ManifestError: If it cannot be read, or a number is none, or not among the classes.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        numbers = json.loads(text) if path.suffix == ".json" else [_number(line) for line in text.split()]
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path}: numbers of classes cannot be read ({error})") from None
    if not isinstance(numbers, list) or not numbers:
        raise ManifestError(f"{path}: numbers of classes are a line each, or in a .json file [0, 4, 2, ...]")
    for place, number in enumerate(numbers):
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise ManifestError(f"{path}: entry {place} is {number!r}; give the number of a class, from 0 on")
        if count is not None and number >= count:
            raise ManifestError(f"{path}: entry {place} is {number}; classes are from 0 to {count - 1}")
    return tuple(numbers)


def _number(word: str) -> Any:
    try:
        return int(word)
    except ValueError:
        return word
