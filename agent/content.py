"""What an instruction is about, without its wording: the rooms and turns that it names, in order."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from navloop.envs.houses.phrases import lexicon

_TURN = re.compile(
    r"\b(?:turn|turning|pivot|spin|swivel|rotate|go|going|head|heading|bear|veer|take|taking|make|hang|swing)\b"
    r"(?:\W+(?!on\b|stop|wait|halt|pause|stand|left\b|right\b)\w+){0,4}?\W+(left|right|around)\b"
    r"|\b(u-turn|one-eighty|opposite direction|other way)\b",
    re.IGNORECASE,
)


def rooms_named(text: str) -> tuple[str, ...]:
    """Return the rooms that a text names, in order, each by its label: "restroom" is a bathroom."""
    return tuple(label for _, label in _rooms_at(text))


def turns_named(text: str) -> tuple[str, ...]:
    """Return the turns that a text names, in order: "left", "right", "around". Sides on which things are do not count."""
    return tuple(side for _, side in _turns_at(text))


def plan_of(text: str) -> str:
    """Return what a text is about, in words of its own: "left kitchen living room" for a turn and two rooms."""
    return " ".join(word for _, word in sorted([*_rooms_at(text), *_turns_at(text)]))


def _rooms_at(text: str) -> list[tuple[int, str]]:
    pattern, labels = _rooms()
    return [(found.start(), labels[found[0].lower()]) for found in pattern.finditer(text)]


def _turns_at(text: str) -> list[tuple[int, str]]:
    return [(found.start(), (found[1] or "around").lower()) for found in _TURN.finditer(text)]


@cache
def _rooms() -> tuple[re.Pattern[str], Mapping[str, str]]:
    labels = {name.lower(): label for label, names in lexicon()["rooms"].items() for name in (label, *names)}
    names = sorted(labels, key=len, reverse=True)
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, names))})\b", re.IGNORECASE), labels
