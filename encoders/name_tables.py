"""What a table of a released format's names consists of. The tables are in `navloop.encoders.layouts`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Transform:
    """A tensor that they store in another shape: the way to ours and the way back."""

    to_ours: Callable[[Tensor], Tensor]
    to_theirs: Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Computed:
    """A tensor that they store and we compute; one of another value is refused."""

    of: tuple[str, ...]
    """Our names of what it follows from."""
    make: Callable[..., Tensor]
    """From those tensors to theirs."""


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """The names of one released format, once whatever the file wraps them in is off (`navloop.weights.unwrap`)."""

    name: str
    about: str
    """Which files are so, in a few words."""
    keys: Mapping[str, str]
    """Their name to ours, for a model as the class of `navloop.encoders` that holds all of it names its parameters."""
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What a file may lack, each whole or not at all: its name to the beginnings of our names."""
    transforms: Mapping[str, Transform] = field(default_factory=dict)
    """By their name."""
    computed: Mapping[str, Computed] = field(default_factory=dict)
    """By their name."""

    def part_of(self, ours: str) -> str | None:
        """Return the part to which one of our names belongs."""
        return next((part for part, starts in self.parts.items() if ours.startswith(starts)), None)


def under(theirs: str, ours: str, table: Mapping[str, str]) -> dict[str, str]:
    """Return a table with both sides' names below a prefix, and `.*` written out."""
    keys = {}
    for their_name, our_name in table.items():
        for end in ("weight", "bias") if their_name.endswith(".*") else ("*",):
            keys[f"{theirs}{their_name}".replace("*", end)] = f"{ours}{our_name}".replace("*", end)
    return keys
