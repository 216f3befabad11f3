"""What many tests share: one small data set of generated houses, made once for all test processes."""

import fcntl
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import settings

from navloop.configs.schema import HousesConfig

# The same examples on every run and no deadlines: a failure is the change's, not the day's or the machine's.
settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("repeatable")

HOUSES = HousesConfig(
    name="small", seed=11, train_houses=2, val_unseen_houses=2, train_tours=6, val_seen_tours=2, val_unseen_tours=12
)

GOLDEN = Path(__file__).with_name("golden")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write the numbers in tests/golden anew; say why in the commit"
    )


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Keep small tensors from waiting for threads, and sums in one order."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def golden(request) -> Callable[[str, Sequence[tuple[int, float]]], None]:
    """Compare a curve, (step, loss) a point, with the file of that name in tests/golden; one that is missing is a fault."""

    def compare(name: str, curve: Sequence[tuple[int, float]]) -> None:
        path = GOLDEN / f"{name}.txt"
        if request.config.getoption("--update-golden"):
            GOLDEN.mkdir(exist_ok=True)
            path.write_text("".join(f"{step} {loss:.6g}\n" for step, loss in curve))
        if not path.is_file():
            pytest.fail(f"{path} is missing; python -m pytest --update-golden writes it")
        points = [line.split() for line in path.read_text().splitlines()]
        assert [step for step, _ in curve] == [int(step) for step, _ in points]
        assert [loss for _, loss in curve] == pytest.approx([float(loss) for _, loss in points], rel=1e-4)

    return compare


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
