"""What many tests share: one small data set of generated houses, made once for all test processes."""

import fcntl
from pathlib import Path

import pytest
from hypothesis import settings

from navloop.configs.schema import HousesConfig

# The same examples on every run and no deadlines: a failure is the change's, not the day's or the machine's.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

HOUSES = HousesConfig(
    name="small", seed=11, train_houses=2, val_unseen_houses=2, train_tours=6, val_seen_tours=2, val_unseen_tours=12
)


@pytest.fixture(scope="session")
def houses(tmp_path_factory, worker_id) -> Path:
    """The folder of a data set of four furnished houses with tours in all splits."""
    from navloop.envs.houses.datasets import generate_dataset

    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    with (shared / "houses.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "houses" / "dataset.json").is_file():
            generate_dataset(HOUSES, shared / "houses", workers=1)
    return shared / "houses"


@pytest.fixture(scope="session")
def val_unseen(houses) -> Path:
    """The episode file of the split val_unseen."""
    return houses / "episodes" / "val_unseen" / "val_unseen.json.gz"
