"""Data sets of generated houses and of the tours through them, in the R2R-VLNCE schema; resumable, the same for any number of workers.

A data set is a folder: `scenes/<name>/<house>/<house>.glb` and `.json`, `episodes/<split>/<split>.json.gz` and `<split>_gt.json.gz`, and,
once everything is there, `dataset.json`. While it is made, `parts/` holds the tours of finished houses.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import navloop
from navloop.configs.schema import HousesConfig, LengthsConfig
from navloop.envs.houses.generate import generate_house, write_house
from navloop.envs.houses.language import tell
from navloop.envs.houses.sites import Site
from navloop.envs.houses.splits import episodes_of, tour_to_json, write_splits
from navloop.envs.houses.tours import Tour, draw_tours
from navloop.envs.protocols import get_protocol
from navloop.files import fingerprint, write_text
from navloop.processes import end_with_the_parent

FORMAT = "navloop-houses-1"
"""Raised whenever the same config would give other houses, tours or words."""

GROUPS = ("train", "val_unseen", "extra")
"""Groups of houses, in the order of their seeds."""

SPLITS = ("train", "val_seen", "val_unseen")

Progress = Callable[[int, int], None]

_log = logging.getLogger(__name__)


class House(NamedTuple):
    """One house to be made: its group and its number there."""

    group: str
    number: int

    @property
    def name(self) -> str:
        """Its folder and the stem of its files."""
        return f"{self.group}_{self.number:03d}"


def generate_dataset(config: HousesConfig, folder: Path, workers: int = 1, progress: Progress | None = None) -> None:
    """Generate a data set, or what is missing of one; a finished one is left as it is.

    Args:
        config: What to generate.
        folder: Where.
        workers: Processes.
        progress: Called with (houses done, houses in all) after each house.

    Raises:
        ValueError: If the folder holds a data set of another config, or the config asks for no house.
        OSError: If it cannot be written. Houses that are finished are kept.
    """
    if not any(getattr(config, f"{group}_houses") for group in GROUPS):
        raise ValueError("train_houses, val_unseen_houses and extra_houses are all 0; ask for at least one house")
    if is_finished(config, folder):
        return
    houses = [House(group, i) for group in GROUPS for i in range(getattr(config, f"{group}_houses"))]
    missing = [house for house in houses if not _has_part(config, folder, house)]
    done = len(houses) - len(missing)
    for _ in _each(partial(_make_house, config, folder), missing, workers):
        done += 1
        if progress is not None:
            progress(done, len(houses))
    files = _write_splits(config, folder, houses)
    tours = _count_tours(config, folder, houses)
    manifest = {
        "format": FORMAT,
        "navloop": navloop.__version__,
        "config": _identity(config),
        "houses": len(houses),
        "tours": {split: {"wanted": wanted, "drawn": drawn} for split, (wanted, drawn) in tours.items()},
        "files": files,
        "scenes": {house.name: fingerprint(_glb(config, folder, house)) for house in houses},
        "descriptions": {house.name: fingerprint(_glb(config, folder, house).with_suffix(".json")) for house in houses},
    }
    write_text(folder / "dataset.json", json.dumps(manifest, indent=1) + "\n")
    shutil.rmtree(folder / "parts", ignore_errors=True)


def is_finished(config: HousesConfig, folder: Path) -> bool:
    """Whether a folder holds the whole data set of a config; a manifest whose files are gone, or are not what was written, does not count.

    Raises:
        ValueError: If it holds another one.
    """
    path = folder / "dataset.json"
    if not path.is_file():
        return False
    try:
        manifest = json.loads(path.read_text())
        found = {"format": manifest["format"], **manifest["config"]}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: not a data set's manifest ({error}); choose another folder or delete this one"
        ) from error
    wanted = {"format": FORMAT, **_identity(config)}
    other = {key: (found.get(key), wanted.get(key)) for key in {**wanted, **found} if found.get(key) != wanted.get(key)}
    if other:
        listed = "; ".join(f"{key} is {there!r} there, {here!r} here" for key, (there, here) in other.items())
        raise ValueError(f"{folder} holds another data set: {listed}; choose another folder or delete this one")
    scenes = folder / "scenes" / config.name
    expected: dict[Path, str | None] = {folder / file: told["fingerprint"] for file, told in manifest["files"].items()}
    for house, told in manifest["scenes"].items():
        expected[scenes / house / f"{house}.glb"] = told
        expected[scenes / house / f"{house}.json"] = manifest.get("descriptions", {}).get(house)  # not told by old ones
    for file, told in expected.items():
        if not file.is_file() or (told is not None and fingerprint(file) != told):
            _log.warning("%s is %s, so the data set is not whole", file, "damaged" if file.is_file() else "lost")
            return False
    return True


def _identity(config: HousesConfig) -> dict[str, Any]:
    """The fields of a config that the data set depends on. A later field is there where it is not at its default: what was made is as it was."""
    later = {"lengths"} if config.lengths == LengthsConfig() else set()
    return config.model_dump(mode="json", exclude={*config.RESUMABLE, "kind", *later})


def _each(make: Callable[[House], None], houses: Sequence[House], workers: int) -> Iterator[None]:
    if workers <= 1 or len(houses) <= 1:
        for house in houses:
            make(house)
            yield
        return
    context = multiprocessing.get_context("spawn")
    # A worker that outlived a killed parent would write into a folder that somebody else may hold by then.
    pool = ProcessPoolExecutor(min(workers, len(houses)), mp_context=context, initializer=end_with_the_parent)
    try:
        for future in as_completed([pool.submit(make, house) for house in houses]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _make_house(config: HousesConfig, folder: Path, house: House) -> None:
    """Write a house, and then the part that says it is finished."""
    seed = np.random.SeedSequence((config.seed, GROUPS.index(house.group), house.number))
    for_house, *for_tours = seed.spawn(1 + len(SPLITS))
    built = generate_house(for_house)
    write_house(built, folder / "scenes" / config.name, house.name)
    counts = _tours_of(config, house)
    rows: dict[str, list[dict[str, Any]]] = {split: [] for split in counts}
    if sum(counts.values()):
        site = Site(built.model, built.description, get_protocol("houses").body)
        for split, count in counts.items():
            # Each split has its own numbers, so that more tours for one do not change the other.
            rng = np.random.default_rng(for_tours[SPLITS.index(split)])
            told = _told_tours(site, count, config, rng)
            rows[split] = [tour_to_json(tour, texts) for tour, texts in told]
    part = {"format": FORMAT, "config": _identity(config), "tours": rows}
    write_text(_part(folder, house), json.dumps(part))


def _told_tours(site: Site, count: int, config: HousesConfig, rng: np.random.Generator) -> list[tuple[Tour, list[str]]]:
    """Draw tours that can be told so that only one place is meant, with their instructions."""
    texts: list[list[str]] = []

    def accept(tour: Tour) -> bool:
        told = tell(site, tour, config.instructions_per_tour, rng)
        texts.extend([told] if told is not None else [])
        return told is not None

    return list(zip(draw_tours(site, count, rng, accept, config.lengths), texts, strict=True))


def _tours_of(config: HousesConfig, house: House) -> dict[str, int]:
    """How many tours of a house go to which split."""
    if house.group == "train":
        return {"val_seen": config.val_seen_tours, "train": config.train_tours}
    return {"val_unseen": config.val_unseen_tours} if house.group == "val_unseen" else {}


def _count_tours(config: HousesConfig, folder: Path, houses: Sequence[House]) -> dict[str, tuple[int, int]]:
    """Return how many tours were wanted of each split and how many were drawn, and warn where a house had too few."""
    wanted, drawn = dict.fromkeys(SPLITS, 0), dict.fromkeys(SPLITS, 0)
    for house in houses:
        part = json.loads(_part(folder, house).read_text())
        for split, count in _tours_of(config, house).items():
            wanted[split] += count
            drawn[split] += len(part["tours"][split])
    for split in SPLITS:
        if drawn[split] < wanted[split]:
            _log.warning("%s: %d of %d tours; some houses are too small for more", split, drawn[split], wanted[split])
    return {split: (wanted[split], drawn[split]) for split in SPLITS}


def _part(folder: Path, house: House) -> Path:
    return folder / "parts" / f"{house.name}.json"


def _glb(config: HousesConfig, folder: Path, house: House) -> Path:
    return folder / "scenes" / config.name / house.name / f"{house.name}.glb"


def _has_part(config: HousesConfig, folder: Path, house: House) -> bool:
    path = _part(folder, house)
    glb = _glb(config, folder, house)
    if not (path.is_file() and glb.is_file() and glb.with_suffix(".json").is_file()):
        return False
    part = json.loads(path.read_text())
    return bool(part["format"] == FORMAT and part["config"] == _identity(config))


def _write_splits(config: HousesConfig, folder: Path, houses: Sequence[House]) -> dict[str, dict[str, Any]]:
    """Write the episode files and return their fingerprints and counts."""
    parts = {house: json.loads(_part(folder, house).read_text())["tours"] for house in houses}
    splits = {}
    for split in SPLITS:
        rows = [(f"{config.name}/{house.name}/{house.name}.glb", parts[house].get(split, ())) for house in houses]
        splits[split] = list(episodes_of(rows))
    written = {}
    for path, count in write_splits(folder / "episodes", splits):
        written[path.relative_to(folder).as_posix()] = {"episodes": count, "fingerprint": fingerprint(path)}
    return written
