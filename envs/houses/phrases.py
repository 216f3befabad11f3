"""The words of `phrases.yaml`, and how a phrase is drawn from its pattern."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any, NamedTuple, TypeVar

import numpy as np
import yaml

_CHOICE = re.compile(r"\(([^()]*)\)")
_SLOT = re.compile(r"\{(\w+)\}")
T = TypeVar("T")


class Clause(NamedTuple):
    """A phrase with where it may stand: "" anywhere, "*" at the start of a sentence, "!" as a sentence alone."""

    text: str
    place: str


@cache
def lexicon() -> Mapping[str, Any]:
    """Return the tables of `phrases.yaml`."""
    text = resources.files("navloop.envs.houses").joinpath("phrases.yaml").read_text(encoding="utf-8")
    tables: dict[str, Any] = yaml.safe_load(text)
    return tables


def pick(choices: Sequence[T], rng: np.random.Generator) -> T:
    """Draw one of several, evenly."""
    return choices[int(rng.integers(len(choices)))]


def expand(pattern: str, slots: Mapping[str, str], rng: np.random.Generator) -> str:
    """Fill in a pattern: each (a|b) becomes one of its alternatives, each {slot} its words.

    Raises:
        KeyError: If a slot is neither given nor among the lexicon's words.
    """
    words = lexicon()["words"]
    while True:
        chosen = _CHOICE.sub(lambda found: pick(found[1].split("|"), rng), pattern)
        chosen = _SLOT.sub(lambda found: slots[found[1]] if found[1] in slots else pick(words[found[1]], rng), chosen)
        if chosen == pattern:
            return re.sub(r"\s+([,.])", r"\1", re.sub(r"\s{2,}", " ", chosen)).strip(" ,")
        pattern = chosen


def draw_clause(kind: str, slots: Mapping[str, str], rng: np.random.Generator, remarks: bool = True) -> Clause:
    """Draw a clause of one kind.

    Args:
        kind: Key of the lexicon's clauses.
        slots: What is filled in. Patterns that need more are left out.
        rng: Source of randomness.
        remarks: Whether statements ("!") may be drawn, where the kind has anything else.
    """
    known = slots.keys()
    patterns = [p for p in lexicon()["clauses"][kind] if _needs(p) <= known]
    if not remarks:
        patterns = [p for p in patterns if not p.startswith("!")] or patterns
    pattern = pick(patterns, rng)
    place = pattern[0] if pattern[0] in "*!" else ""
    return Clause(expand(pattern.lstrip("*!"), slots, rng), place)


@cache
def _needs(pattern: str) -> frozenset[str]:
    """Return the slots that the lexicon's own words do not fill."""
    return frozenset(_SLOT.findall(pattern)) - frozenset(lexicon()["words"])


def with_article(words: str) -> str:
    """Return "a" or "an" and the words; plurals stay bare."""
    last = words.split(" ")[0]
    if is_plural(words):
        return words
    return f"{'an' if last[0].lower() in 'aeiou' and not last.startswith(('uni', 'uti')) else 'a'} {words}"


def is_plural(words: str) -> bool:
    """Whether words name more than one thing: "drapes"."""
    head = re.split(r" (?:with|in) ", words)[0].split(" ")[-1]
    return head in ("curtains", "drapes", "boxes", "flowers") and not words.startswith(("stack", "vase"))
