"""The command that makes a data set of houses: its folder is a run folder, so that it is locked, recorded and resumed as one."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from navloop.configs.loader import dump
from navloop.configs.schema import HousesConfig
from navloop.envs.houses.datasets import generate_dataset
from navloop.provenance import usable_processors
from navloop.runs import RunFolder


def make_houses(config: HousesConfig, folder: Path, console: Console) -> None:
    """Generate a data set into a folder, with a progress bar where there is a terminal.

    Raises:
        ValueError: If the folder holds another data set.
        OSError: If it cannot be written.
    """
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with (
        RunFolder(folder).open(dump(config), {}, config.RESUMABLE),
        Progress(*columns, console=console, disable=not console.is_terminal) as bar,
    ):
        task = bar.add_task("houses", total=None)
        generate_dataset(
            config,
            folder,
            workers=config.workers or usable_processors(),
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    console.print(f"houses, tours and episodes: {folder}", soft_wrap=True, highlight=False)
