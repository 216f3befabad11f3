"""The command that runs recipes one after the other: houses, their films, and every stage of the encoders."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from navloop.configs.kinds import Recipe
from navloop.configs.loader import RecipeError, dump, load
from navloop.configs.pipeline import PipelineConfig, StepConfig
from navloop.configs.pretraining import PretrainConfig
from navloop.configs.replay import ReplayConfig
from navloop.configs.schema import HousesConfig
from navloop.runs import RunFolder
from navloop.training.houses import make_houses
from navloop.training.metrics import last_metrics
from navloop.training.pretraining import pretrain
from navloop.training.replaying import replay_walks

_SHOWN = ("loss", "accuracy", "baseline")
"""Of the metrics of a stage, those in the table, on held-out clips where there are any."""


def run_pipeline(config: PipelineConfig, folder: Path, console: Console) -> list[tuple[str, dict[str, float], float]]:
    """Run what is left of a pipeline into a folder, a folder a step; what finished steps left is not made again.

    Args:
        config: The recipe.
        folder: Of the run, new or begun.
        console: Where to show the progress.

    Returns:
        Name, last metrics and seconds of each step; no metrics of steps that train nothing.

    Raises:
        RecipeError: If a step's recipe is wrong. All are read before the first one runs.
        ValueError: If the folder holds another run.
        OSError: If something cannot be written.
    """
    recipes = [_load(step, folder) for step in config.steps]
    done = []
    with RunFolder(folder).open(dump(config), {}, config.RESUMABLE):
        for number, (step, recipe) in enumerate(zip(config.steps, recipes, strict=True), start=1):
            console.print(f"step {number} of {len(recipes)}: {step.name} ({step.recipe})", highlight=False)
            began = time.perf_counter()
            metrics = _run(recipe, folder / step.name, console)
            done.append((step.name, metrics, time.perf_counter() - began))
    return done


def print_pipeline(done: Sequence[tuple[str, dict[str, float], float]], console: Console) -> None:
    """Print what each step came to: its last loss and accuracy, on clips that were held out."""
    table = Table(title="Last metrics of each step, on held-out clips where there are any")
    for column in ("step", *_SHOWN, "seconds"):
        table.add_column(column, justify="left" if column == "step" else "right")
    for name, metrics, seconds in done:
        values = [metrics.get(f"held_out_{shown}", metrics.get(shown)) for shown in _SHOWN]
        table.add_row(name, *("" if value is None else f"{value:.3f}" for value in values), f"{seconds:.0f}")
    console.print(table)


def _load(step: StepConfig, folder: Path) -> Recipe:
    taken = [_inside(setting, folder) for setting in step.take]
    try:
        recipe = load(step.recipe, [*step.set, *taken])
    except RecipeError as error:
        raise RecipeError(f"step {step.name}: {error}") from None
    if not isinstance(recipe, HousesConfig | ReplayConfig | PretrainConfig):
        raise RecipeError(
            f"step {step.name}: {step.recipe} is a recipe of kind {recipe.kind}; a pipeline takes houses, replay and pretrain"
        )
    return recipe


def _inside(setting: str, folder: Path) -> str:
    key, _, paths = setting.partition("=")
    return f"{key}={','.join(str(folder / path.strip()) for path in paths.split(','))}"


def _run(recipe: Recipe, folder: Path, console: Console) -> dict[str, float]:
    if isinstance(recipe, HousesConfig):
        make_houses(recipe, folder, console)
    elif isinstance(recipe, ReplayConfig):
        replay_walks(recipe, folder, console)
    elif isinstance(recipe, PretrainConfig):
        pretrain(recipe, folder, console)
        return last_metrics(folder)  # the report of a step that was finished before has none
    return {}
