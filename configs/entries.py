"""How a recipe names who is measured: "NAME=SOURCE+CONTROL", of which SOURCE alone must be there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

COMMAND = "command:"
"""What the agent of another program begins with."""

PYTHON = "python:"
"""What the agent of a class of one's own begins with; "MODULE:CLASS" follows."""

CONTROLS: Mapping[str, str] = {
    "shuffled": "each episode has another walk's instruction",
    "blank": "every frame is black, and every depth 0",
}
"""What may follow an agent's name after a plus, and what it does."""

_NAMED = re.compile(r"^([A-Za-z0-9_-]+)=(.+)$", re.DOTALL)


class Entry(NamedTuple):
    """An entry of `EvalConfig.agents`, taken apart.

    Attributes:
        name: What it is to be called; "" where that follows from the source.
        source: A registered name, a folder, a command behind `COMMAND`, or a class behind `PYTHON`.
        control: One of `CONTROLS`, or "".
    """

    name: str
    source: str
    control: str

    @property
    def is_folder(self) -> bool:
        """Whether it looks like the folder of a saved agent."""
        return not self.source.startswith((COMMAND, PYTHON)) and ("/" in self.source or Path(self.source).exists())


def read_entry(text: str) -> Entry:
    """Take an entry apart."""
    match = _NAMED.match(text)
    name, source = match.groups() if match else ("", text)
    body, _, last = source.rpartition("+")
    return Entry(name, body, last) if body and last in CONTROLS else Entry(name, source, "")
