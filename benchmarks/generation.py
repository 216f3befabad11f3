"""How fast houses, tours and free space are made, in one process."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.data import CONFIG
from navloop.envs.embedded.simulator import Scene
from navloop.envs.houses.datasets import generate_dataset
from navloop.envs.houses.generate import generate_house, write_house
from navloop.envs.simulator import Body

HOUSES = 12


def run(console: Console, folder: Path, seconds: float) -> None:
    table = Table(title=f"Making things, one process, {HOUSES} houses (milliseconds each)")
    for column in ("what", "mean", "slowest"):
        table.add_column(column, justify="left" if column == "what" else "right")
    houses: list = []
    paths: list[Path] = []

    def row(name: str, make: Callable[[int], object]) -> None:
        spent = []
        for i in range(HOUSES):
            began = time.perf_counter()
            make(i)
            spent.append((time.perf_counter() - began) * 1000)
        table.add_row(name, f"{np.mean(spent):,.0f}", f"{max(spent):,.0f}")

    row("house (plan, shell, furniture, checks)", lambda i: houses.append(generate_house(i)))
    row("writing it (GLB and JSON)", lambda i: paths.append(write_house(houses[i], folder / "rates", f"house_{i}")))
    row("loading it with its free space", lambda i: Scene(paths[i], Body()).free)
    console.print(table)
    config = CONFIG.model_copy(update={"val_unseen_houses": 2, "instructions_per_tour": 3})
    began = time.perf_counter()
    generate_dataset(config, folder / "rates" / "tours", workers=1)
    spent, tours = time.perf_counter() - began, 2 * config.val_unseen_tours
    console.print(
        f"a data set of 2 houses, {tours} tours, {3 * tours} episodes: {spent:.1f} s, {3 * tours / spent:.0f} episodes/s\n"
    )
