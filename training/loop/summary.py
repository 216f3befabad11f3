"""What tells a loop's folder from others. Light: the page of an evaluation asks, and needs nothing else of a loop."""

from __future__ import annotations

import json
from pathlib import Path

FORMAT = "navloop-loop-1"
SUMMARY = "summary.json"
"""File in a loop's folder, written when a round is done."""


def is_loop(run: Path) -> bool:
    """Return whether a folder holds a loop that has finished a round.

    Raises:
        ValueError: If its summary is damaged.
    """
    file = run / SUMMARY
    if not file.is_file():
        return False
    try:
        return bool(json.loads(file.read_text()).get("format") == FORMAT)
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{file}: not a summary ({error}); run again what wrote it, which writes it anew") from error
