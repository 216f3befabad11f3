"""A step of a pipeline: the command of its recipe's kind, and what that came to as numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from navloop.configs.imitation import ImitationConfig
from navloop.configs.kinds import Recipe
from navloop.configs.perception import PerceptionEvalConfig
from navloop.configs.pretraining import PretrainConfig
from navloop.configs.reinforcement import ReinforcementConfig
from navloop.configs.replay import ReplayConfig
from navloop.configs.schema import EvalConfig, HousesConfig
from navloop.envs.metrics import METRICS
from navloop.training.evaluation import evaluate
from navloop.training.houses import make_houses
from navloop.training.imitation import train_by_imitation
from navloop.training.metrics import last_metrics
from navloop.training.perception.results import Score
from navloop.training.perception.run import evaluate_perception
from navloop.training.pretraining import pretrain
from navloop.training.replaying import replay_walks
from navloop.training.results import Evaluation, intervals
from navloop.training.tables import ends

NAVIGATION = ("success", "spl")
"""Metrics of agents that a pipeline tells."""


class Came(NamedTuple):
    """What a step came to."""

    metrics: Mapping[str, float]
    """The last ones, of a step that learns."""
    scores: Mapping[str, Score]
    """Of a step that measures, by task and metric, "classification top-1", or by agent and metric, "agent SR"."""


def do_step(recipe: Recipe, folder: Path, console: Console) -> Came:
    """Do what a recipe says into a folder, or what is left of it, and return what it came to.

    Raises:
        ValueError: As the recipe's own command.
        OSError: If something cannot be written.
    """
    for kind, make in _MAKERS.items():
        if isinstance(recipe, kind):
            make(recipe, folder, console)
            return Came({}, {})
    for kind, train in _TRAINERS.items():
        if isinstance(recipe, kind):
            train(recipe, folder, console)
            return Came(last_metrics(folder), {})  # the report of a step that was finished before has none
    if isinstance(recipe, PerceptionEvalConfig):
        outcomes = evaluate_perception(recipe, folder, console).outcomes
        return Came({}, {f"{one.title} {score.metric}": score for one in outcomes for score in one.findings.scores})
    if isinstance(recipe, EvalConfig):
        return Came({}, dict(_navigation_scores(evaluate(recipe, folder, console))))
    raise ValueError(why_not(recipe))


def why_not(recipe: Recipe) -> str:
    """Return why a recipe is no step of a pipeline; empty for those that are."""
    if isinstance(recipe, (*_MAKERS, *_TRAINERS, PerceptionEvalConfig, EvalConfig)):
        return ""
    algorithm = getattr(recipe, "algorithm", None)
    return f"a pipeline has no steps of kind {recipe.kind}{f', algorithm {algorithm}' if algorithm else ''}; run its recipe by itself"


def _navigation_scores(found: Evaluation) -> Mapping[str, Score]:
    scores = {}
    for agent, rows in found.rows.items():
        values = intervals(rows)
        for metric in METRICS:
            interval = values[metric.name]
            if metric.name in NAVIGATION and interval is not None:
                low, high = ends(interval, metric) or (None, None)
                scores[f"{agent} {metric.label}"] = Score(
                    metric=metric.label,
                    value=interval.mean,
                    low=low,
                    high=high,
                    units=interval.episodes,
                    scenes=interval.scenes,
                )
    return scores


_Command = Callable[[Any, Path, Console], object]

_MAKERS: Mapping[type[Recipe], _Command] = {HousesConfig: make_houses, ReplayConfig: replay_walks}


def _train_by_reward(recipe: ReinforcementConfig, folder: Path, console: Console) -> None:
    from navloop.training.reinforcement import train_by_reinforcement  # needs the extra `rl`, which other steps do not

    train_by_reinforcement(recipe, folder, console)


_TRAINERS: Mapping[type[Recipe], _Command] = {
    PretrainConfig: pretrain,
    ImitationConfig: train_by_imitation,
    ReinforcementConfig: _train_by_reward,
}
