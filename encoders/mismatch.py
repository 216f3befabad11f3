"""What is wrong between two sets of named tensors, in one message that a person can read."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

_LAYER = re.compile(r"(.*?\.|)(\d+)(\..*|)")  # the first number in a name is the layer's


@dataclass(slots=True)
class Mismatch:
    """Faults found so far, with their names."""

    missing: list[str] = field(default_factory=list)
    """Names that should be there."""
    unexpected: list[str] = field(default_factory=list)
    """Names that should not."""
    faults: list[str] = field(default_factory=list)
    """Sentences about anything else: a shape, a value, a number of layers."""

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.faults)

    def message(self, known: Iterable[str]) -> str:
        """Return all of it, a line a fault; unexpected names come with the nearest that are missing or `known`."""
        known = list(known)
        lines = [*self.faults, *_listed("missing", self.missing)]
        if self.unexpected:
            lines.append(f"unexpected ({len(self.unexpected)}):")
        for line, first in _groups(self.unexpected):
            like = nearest(first, self.missing, 0.8) or nearest(first, known)
            lines.append(f"  {line} (nearest: {like})" if like else f"  {line}")
        return "\n".join(f"  {line}" for line in lines)


def grouped(names: Iterable[str]) -> list[str]:
    """Return a line a group of names: layers as a range, what they have in common once, `.*` a weight and its bias.

    >>> grouped(["a.0.norm.bias", "a.1.norm.bias", "a.0.proj", "a.1.proj", "head.weight", "head.bias"])
    ['a.{0-1}.{norm.bias, proj}', 'head.*']
    """
    return [line for line, _ in _groups(names)]


def nearest(name: str, known: Sequence[str], likeness: float = 0.6) -> str | None:
    """Return the known name most like `name`, None if none is as like as that, in [0, 1]."""
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=likeness)), None)


def _listed(title: str, names: Sequence[str]) -> list[str]:
    return [f"{title} ({len(names)}):", *(f"  {line}" for line in grouped(names))] if names else []


def _groups(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return each group's line and the first of its names."""
    numbers: dict[tuple[str, str], set[int]] = {}
    firsts: dict[tuple[str, str], str] = {}
    for name in _paired(names):
        match = _LAYER.fullmatch(name)
        start, number, end = match.groups() if match else (name, None, "")
        numbers.setdefault((start, end), set()).update([] if number is None else [int(number)])
        firsts.setdefault((start, end), name)
    ends: dict[tuple[str, str], list[str]] = {}
    for (start, end), found in numbers.items():
        ends.setdefault((start, _ranges(found)), []).append(end)
    return [
        (_line(start, layers, tails), firsts[start, tails[0]].replace("*", "weight"))
        for (start, layers), tails in ends.items()
    ]


def _paired(names: Iterable[str]) -> list[str]:
    """Return the names, each weight and its bias as one that ends in `.*`."""
    there = dict.fromkeys(names)
    pairs = {name.removesuffix(".bias") for name in there if name.endswith(".bias")}
    pairs &= {name.removesuffix(".weight") for name in there if name.endswith(".weight")}
    folded = (name.rpartition(".") for name in there)
    return list(
        dict.fromkeys(
            f"{base}.*" if base in pairs and end in ("weight", "bias") else f"{base}{dot}{end}"
            for base, dot, end in folded
        )
    )


def _line(start: str, layers: str, tails: Sequence[str]) -> str:
    layer = layers if layers.isdigit() or not layers else f"{{{layers}}}"
    return f"{start}{layer}{tails[0]}" if len(tails) == 1 else f"{start}{layer}.{{{', '.join(t[1:] for t in tails)}}}"


def _ranges(numbers: Iterable[int]) -> str:
    """Return "0-3, 7" for 0, 1, 2, 3, 7."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
