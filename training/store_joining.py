"""Parts of a store joined into a LeRobotDataset v3.0."""

from __future__ import annotations

from pathlib import Path

from navloop.training.store_schema import StoreAbout


def join_parts(folder: Path, about: StoreAbout) -> None:
    """Join them."""
