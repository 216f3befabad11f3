"""What the tests of imitation share: a handful of short tours, and a recipe for an agent that can learn them by heart."""

from __future__ import annotations

import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from navloop.configs.imitation import ImitationConfig
from navloop.configs.schema import HousesConfig, LengthsConfig
from navloop.envs.houses.datasets import generate_dataset

SHORT = LengthsConfig(mean=4.2, deviation=1.0, shortest=3.25, longest=5.0)
HOUSES = HousesConfig(
    name="short",
    seed=5,
    train_houses=2,
    val_unseen_houses=1,
    train_tours=4,
    val_seen_tours=1,
    val_unseen_tours=3,
    instructions_per_tour=2,
    lengths=SHORT,
)


@cache
def _made() -> tempfile.TemporaryDirectory:
    """The data set, made once a process; it goes with the process."""
    folder = tempfile.TemporaryDirectory(prefix="navloop-tours-")
    generate_dataset(HOUSES, Path(folder.name) / "short")
    return folder


def make_tours(folder: Path) -> Path:
    """Write the data set."""
    shutil.copytree(Path(_made().name) / "short", folder)
    return folder


def recipe(tours: Path, **fields: Any) -> ImitationConfig:
    """Return a recipe of seconds; `learning` and `collection` add to what is there."""
    episodes = tours / "episodes"
    perception = {"encoder": "internvideo_mm_tiny_p16_t4", "size": 32, "grid": 2}
    policy = {"kind": "streaming", "width": 64, "layers": 1, "turn_deg": 15.0, "dropout": 0.0}
    base: dict[str, Any] = {
        "name": "short",
        "episodes": {
            "scenes": str(tours / "scenes"),
            "train": str(episodes / "train" / "train.json.gz"),
            "val_seen": str(episodes / "val_seen" / "val_seen.json.gz"),
            "val_unseen": str(episodes / "val_unseen" / "val_unseen.json.gz"),
            "pixels": 32,
        },
        "agent": {"perception": perception, "policy": policy},
        "device": "cpu",
        "workers": 1,
        "lanes": 4,
        "evaluate": 3,
        "checkpoint_every": 3,
        "log_every": 2,
    }
    collection = {"iterations": 2, "p": 0.5, "max_steps": 60, "part": 3} | fields.pop("collection", {})
    learning = {"epochs": 2, "batch": 3, "lr": 3e-3} | fields.pop("learning", {})
    return ImitationConfig.model_validate(base | {"collection": collection, "learning": learning} | fields)
