"""The data set that the benchmarks share: a few generated houses, made once a run."""

from __future__ import annotations

from pathlib import Path

from navloop.configs.schema import HousesConfig
from navloop.envs.houses.datasets import generate_dataset

CONFIG = HousesConfig(
    name="bench", seed=7, train_houses=0, val_unseen_houses=4, val_unseen_tours=50, instructions_per_tour=1, workers=2
)
SPLIT = "val_unseen"


def dataset(folder: Path) -> Path:
    """Return the folder of the data set, generating it on the first call."""
    target = folder / "houses"
    if not (target / "dataset.json").is_file():
        generate_dataset(CONFIG, target, workers=2)
    return target


def episodes(folder: Path) -> Path:
    """Return the data set's episode file."""
    return dataset(folder) / "episodes" / SPLIT / f"{SPLIT}.json.gz"
