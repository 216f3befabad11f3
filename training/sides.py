"""What is said of a walk or a clip, as it is said of it in a mirror: left and right change places."""

from __future__ import annotations

import re
from collections.abc import Mapping

from navloop.training.listings import ManifestError

_SIDE = re.compile(r"\b(left|right)(?=(s|most|wards?)?\b)", re.IGNORECASE)
_AT_ONCE = re.compile(
    r"\s+(after|ahead|as|at|away|before|behind|beside|by|down|in|inside|near|next|past|there|up|where)\b", re.IGNORECASE
)
_EXACTLY = re.compile(r"\s+(on|to)\s+(its|the|your)\s+(left|right)\b", re.IGNORECASE)
_GONE = re.compile(r"\b(had|has|have|having|just|you)\s+$", re.IGNORECASE)
_TURNING = re.compile(
    r"\b(a|an|bear|bearing|go|going|hard|head|heading|immediate|keep|keeping|on|onto|sharp|slight|slightly|stay|staying|the|to|turn|turning"
    r"|turns|veer|veering|your)\s+$",
    re.IGNORECASE,
)


def mirror_text(text: str) -> str:
    """Return an instruction with left and right swapped; but neither where they mean other things.

    "Stop right beside the bed" and "the room that you left" stay as they are.
    """
    return _SIDE.sub(lambda found: _other(found, text), text)


def mirror_classes(names: Mapping[str, int]) -> dict[int, int]:
    """Return which class each is in a mirror: that of its name with left and right swapped, `turn_left` like `turn left`.

    Raises:
        ManifestError: If there is no such class.
    """
    numbers = {name.replace("_", " "): number for name, number in names.items()}
    mirrored = {name: _SIDE.sub(_swapped, name) for name in numbers}
    if alone := [name for name, other in mirrored.items() if other not in numbers]:
        raise ManifestError(
            f"class {alone[0]!r} is {mirrored[alone[0]]!r} in a mirror, and no class is; add it, or set clips.augmentation.mirror to 0"
        )
    return {number: numbers[mirrored[name]] for name, number in numbers.items()}


def _other(found: re.Match[str], text: str) -> str:
    word = found[0]
    before, after = text[: found.start()], text[found.end() :]
    if word.lower() == "right" and _EXACTLY.match(after):  # "is right on your left"
        return word
    if word.lower() == "right" and _AT_ONCE.match(after) and not _TURNING.search(before):
        return word
    if word.lower() == "left" and _GONE.search(before):
        return word
    return _swapped(found)


def _swapped(found: re.Match[str]) -> str:
    other = {"left": "right", "right": "left"}[found[0].lower()]
    return other.capitalize() if found[0][0].isupper() else other
