"""The command that makes a data set of houses, and exports it: its folder is a run folder, so that it is locked, recorded and resumed."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from navloop.configs.loader import dump
from navloop.configs.schema import HousesConfig
from navloop.envs.habitat.export import Export, export_houses
from navloop.envs.houses.datasets import generate_dataset
from navloop.provenance import usable_processors
from navloop.runs import RunFolder

_HELD_BY_MANIFEST = ("lengths",)
"""Fields that a data set compares by itself, so that a folder from before there was such a field is still its own."""


def make_houses(config: HousesConfig, folder: Path, console: Console) -> None:
    """Generate a data set into a folder, with a progress bar where there is a terminal.

    Raises:
        ValueError: If the folder holds another data set.
        OSError: If it cannot be written.
    """
    with (
        RunFolder(folder).open(dump(config), {}, (*config.RESUMABLE, *_HELD_BY_MANIFEST)),
        _progress(console) as bar,
    ):
        task = bar.add_task("houses", total=None)
        generate_dataset(
            config,
            folder,
            workers=config.workers or usable_processors(),
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    console.print(f"houses, tours and episodes: {folder}", soft_wrap=True, highlight=False)


def export_for_habitat(dataset: Path, console: Console) -> Export:
    """Write a finished data set for Habitat into its folder `habitat`, with a progress bar where there is a terminal.

    Raises:
        ValueError: If the data set is not finished, or the folder holds something else.
        OSError: If it cannot be written.
    """
    with _progress(console) as bar:
        task = bar.add_task("export", total=None)
        export = export_houses(
            dataset,
            dataset / "habitat",
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    console.print(f"for Habitat: {export.folder} (README.md there says how)", soft_wrap=True, highlight=False)
    return export


def _progress(console: Console) -> Progress:
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal)
