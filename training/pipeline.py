"""The command that runs recipes one after the other: houses, their films, every stage of the encoders, agents, and what these came to."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from navloop.configs.entries import read_entry
from navloop.configs.imitation import ImitationConfig, TrainConfig
from navloop.configs.kinds import Recipe
from navloop.configs.loader import RecipeError, dump, load
from navloop.configs.perception import PerceptionEvalConfig
from navloop.configs.pipeline import PipelineConfig, StepConfig
from navloop.configs.pretraining import PretrainConfig
from navloop.configs.reinforcement import ReinforcementConfig
from navloop.configs.schema import EvalConfig
from navloop.files import write_text
from navloop.runs import RunFolder
from navloop.training.perception.results import Score
from navloop.training.pipeline_steps import do_step, why_not

_OF_A_SEED = PretrainConfig | PerceptionEvalConfig | TrainConfig | EvalConfig
"""What is done once for each seed."""
SUMMARY = "summary.json"
"""File in a pipeline's folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a step came to.

    Attributes:
        step: Its name.
        seed: Which of the pipeline's seeds it was done with; None for steps that are done once.
        seconds: What it took, over all starts of the pipeline that came to its end.
        metrics: The last ones of a step that learns.
        scores: Of a step that measures, by task and metric: "classification top-1".
    """

    step: str
    seed: int | None
    seconds: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    scores: Mapping[str, Score] = field(default_factory=dict)


class _Job(NamedTuple):
    step: StepConfig
    seed: int | None
    recipe: Recipe
    folder: Path

    def __str__(self) -> str:
        return self.step.name if self.seed is None else f"{self.step.name}, seed {self.seed}"


def run_pipeline(config: PipelineConfig, folder: Path, console: Console) -> list[Done]:
    """Run what is left of a pipeline into a folder, a folder a step; what finished steps left is not made again.

    All steps of one seed come before those of the next. `summary.json` says what each came to; of steps that this start has
    not come to yet, what an earlier one found.

    Args:
        config: The recipe.
        folder: Of the run, new or begun.
        console: Where to show the progress.

    Returns:
        What each step came to, as often as it was done.

    Raises:
        RecipeError: If a step's recipe is wrong, or an input is not there. All are read before the first one runs.
        ValueError: If the folder holds another run.
        OSError: If something cannot be written.
    """
    jobs = _plan(config, folder)
    _require_inputs(config)
    done: list[Done] = []
    with RunFolder(folder).open(dump(config), {}, config.RESUMABLE):
        earlier = _earlier(folder / SUMMARY)
        for number, job in enumerate(jobs, start=1):
            console.print(f"step {number} of {len(jobs)}: {job} ({job.step.recipe})", highlight=False)
            began = time.perf_counter()
            metrics, scores = do_step(job.recipe, job.folder, console)
            before = earlier.pop((job.step.name, job.seed), {"seconds": 0.0})
            seconds = round(before["seconds"] + time.perf_counter() - began, 3)
            done.append(Done(step=job.step.name, seed=job.seed, seconds=seconds, metrics=metrics, scores=scores))
            steps = [*map(asdict, done), *earlier.values()]
            said = {"name": config.name, "complete": number == len(jobs), "steps": steps}
            write_text(folder / SUMMARY, json.dumps(said, indent=1) + "\n")
    return done


def _earlier(summary: Path) -> dict[tuple[str, int | None], dict[str, Any]]:
    """Return what a summary says of each step and seed; nothing, where there is none.

    Raises:
        ValueError: If it is no summary.
    """
    if not summary.is_file():
        return {}
    try:
        steps = json.loads(summary.read_text())["steps"]
        return {(step["step"], step["seed"]): {**step, "seconds": float(step["seconds"])} for step in steps}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{summary}: not the summary of a pipeline ({error!r}); delete it, and it is written again"
        ) from None


def _require_inputs(config: PipelineConfig) -> None:
    """Refuse inputs that are not there before hours of learning, not after."""
    for name, path in config.inputs.items():
        if not Path(path).exists():
            raise RecipeError(f"inputs.{name}: {path} is not there; name a file or folder: inputs.{name}=PATH")


def _plan(config: PipelineConfig, folder: Path) -> list[_Job]:
    """Return what is to be done, every recipe read."""
    many = {step.name for step in config.steps if config.seeds and isinstance(_load(config, step, folder), _OF_A_SEED)}
    jobs = []
    for turn, seed in enumerate(config.seeds or (None,)):
        for step in config.steps:
            if step.name in many:
                jobs.append(_Job(step, seed, _load(config, step, folder, seed, many), _place(folder / step.name, seed)))
            elif turn == 0:
                jobs.append(_Job(step, None, _load(config, step, folder), folder / step.name))
    return jobs


def _place(step: Path, seed: int | None) -> Path:
    return step if seed is None else step / f"seed_{seed}"


def _load(
    config: PipelineConfig, step: StepConfig, folder: Path, seed: int | None = None, many: Collection[str] = ()
) -> Recipe:
    """Return a step's recipe; what it takes from the steps of `many` is of this seed."""
    taken = [_found(setting, config.inputs, folder, seed, many) for setting in step.take]
    try:
        recipe = load(step.recipe, [*step.set, *taken])
        if seed is not None and not isinstance(recipe, EvalConfig):  # its seed decides which episodes: the same for all
            key = "engine.seed" if isinstance(recipe, PretrainConfig) else "seed"
            eyes = [f"agent.perception.seed={seed}"] if _draws_eyes(recipe) else []
            recipe = load(step.recipe, [*eyes, *step.set, *taken, f"{key}={seed}"])
    except RecipeError as error:
        raise RecipeError(f"step {step.name}: {error}") from None
    if isinstance(recipe, PipelineConfig):
        raise RecipeError(f"step {step.name}: {step.recipe} is a pipeline itself; name its steps here")
    if why := why_not(recipe):
        raise RecipeError(f"step {step.name}: {step.recipe}: {why}")
    return recipe


def _draws_eyes(recipe: Recipe) -> bool:
    """Whether a recipe makes an agent over an encoder of random weights, which are as much a seed's as those of its policy."""
    return isinstance(recipe, (ImitationConfig, ReinforcementConfig)) and not (
        recipe.start or recipe.agent.perception.weights
    )


def _found(setting: str, inputs: Mapping[str, str], folder: Path, seed: int | None, many: Collection[str]) -> str:
    """Return a setting with its inputs, and what it takes from earlier steps, found, each a path or an agent of `navloop eval`."""
    key, _, listed = setting.partition("=")
    found = []
    for text in listed.split(","):
        entry = read_entry(text.strip())
        name, *rest = Path(entry.source).parts
        place = Path(inputs[name]) if name in inputs else _place(folder / name, seed if name in many else None)
        path = place.joinpath(*rest)
        found.append(f"{entry.name and f'{entry.name}='}{path}{entry.control and f'+{entry.control}'}")
    return f"{key}={','.join(found)}"
