"""Two encoders side by side over the same videos: what they differ by, task by task, and whether that may be luck."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from navloop.training.perception.outcomes import Outcome, Perception, read_perception
from navloop.training.statistics import Comparison, Interval, compare

RANKED = {"videos": "top", "texts": "text→video R@"}
"""Details that hold a rank a unit, and what the share of ranks up to k is called."""

UP_TO = (1, 5)
ALIKE = ("classes", "gallery", "captions")
"""What a rank is among: where a task's protocol says it, both have to say the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreDifference:
    """What two encoders differ by in one number of one task.

    Attributes:
        task: Name of the task.
        metric: Name of the number.
        first: Of the first encoder, over the units that both have.
        second: Of the second.
        comparison: First minus second, paired.
    """

    task: str
    metric: str
    first: float
    second: float
    comparison: Comparison


def is_perception(folder: Path) -> bool:
    """Return whether a folder holds a run that measured an encoder."""
    return (folder / "results.json").is_file()


def compare_perception(first: Path, second: Path) -> tuple[Perception, Perception, list[ScoreDifference]]:
    """Return two runs and what their encoders differ by in the tasks of both that rank answers: classes, neighbours, retrieval.

    Raises:
        ValueError: If a folder has no such run, they have no such task in common, or a task of both was measured on different videos, or
            ranks other things, naming what.
    """
    ours, theirs = read_perception(first), read_perception(second)
    others = {outcome.title: outcome for outcome in theirs.outcomes}
    found = [
        difference
        for outcome in ours.outcomes
        if outcome.title in others
        for difference in _differences(outcome, others[outcome.title])
    ]
    if not found:
        names = [", ".join(outcome.title for outcome in run.outcomes) or "no task" for run in (ours, theirs)]
        raise ValueError(f"{first} has {names[0]}, {second} has {names[1]}: no task in common that can be compared")
    return ours, theirs, found


def print_perception_comparison(
    first: Perception, second: Perception, differences: Sequence[ScoreDifference], console: Console
) -> None:
    """Print what two encoders differ by, with intervals."""
    table = Table(
        box=SIMPLE_HEAD,
        title=f"{first.folder}  against  {second.folder}\n[not bold]{_named(first)}  against  {_named(second)}[/]",
        title_justify="left",
        title_style="bold",
        padding=(0, 1, 0, 1),
        caption="First minus second, percent points, paired over the same units; intervals over scenes and videos.",
        caption_justify="left",
    )
    table.add_column("task", style="bold")
    for column in ("", "first", "second", "difference", "95% interval", "p", "over"):
        table.add_column(column, justify="left" if not column else "right", no_wrap=True)
    for place, one in enumerate(differences):
        gap = one.comparison.difference
        last = place == len(differences) - 1 or differences[place + 1].task != one.task
        before = place and differences[place - 1].task == one.task
        table.add_row(
            "" if before else one.task,
            f"{one.metric} %",
            f"{100 * one.first:.1f}",
            f"{100 * one.second:.1f}",
            f"[bold]{_signed(gap.mean)}[/]",
            f"[dim]{_span(gap)}[/]",
            _p(one.comparison.p_value),
            str(gap.episodes),
            end_section=last,
        )
    console.print(table)


def _differences(ours: Outcome, theirs: Outcome) -> list[ScoreDifference]:
    kinds = [kind for kind in RANKED if kind in ours.findings.details and kind in theirs.findings.details]
    if kinds and ours.data["videos"]["fingerprint"] != theirs.data["videos"]["fingerprint"]:
        raise ValueError(f"task {ours.title} was measured on different videos in the two runs; they cannot be compared")
    found = []
    for kind in kinds:
        units, others = _units(ours, kind), _units(theirs, kind)
        _require_alike(ours, theirs, same_units=units.keys() == others.keys())
        common = [unit for unit in units if unit in others]
        if not common:
            places = [next(iter(each), ("none",))[0] for each in (units, others)]
            raise ValueError(
                f"task {ours.title}: the two runs have none of their {kind} in common; the first has such as {places[0]}, the second "
                f"{places[1]}; measure both on lists of one name, from one folder"
            )
        scenes = [units[unit]["scene"] for unit in common]
        videos = [units[unit]["video"] for unit in common]
        for k in UP_TO:
            first, second = (np.array([_within(side[unit], k) for unit in common]) for side in (units, others))
            if k > 1 and min(first.min(), second.min()) == 1:
                continue  # all are among so many
            gap = compare(first, second, scenes, videos)
            name = f"{RANKED[kind]}{'' if kind == 'texts' else '-'}{k}"
            found.append(
                ScoreDifference(task=ours.title, metric=name, first=first.mean(), second=second.mean(), comparison=gap)
            )
    return found


def _within(unit: Mapping[str, Any], k: int) -> float:
    """Return whether a rank is up to k; of several searches by one text, in how many of them."""
    return float(unit["within"][str(k)] if "within" in unit else unit["rank"] <= k)


def _require_alike(ours: Outcome, theirs: Outcome, *, same_units: bool) -> None:
    """Refuse ranks among other things. Chance follows from labels too, and so tells them apart over the same units."""
    protocols = ours.findings.protocol, theirs.findings.protocol
    faults = [
        f"{name} is {protocols[0].get(name)} and {protocols[1].get(name)}"
        for name in ALIKE
        if protocols[0].get(name) != protocols[1].get(name)
    ]
    chances = [{score.metric: score.chance for score in one.findings.scores} for one in (ours, theirs)]
    for metric in [metric for metric in chances[0] if same_units and metric in chances[1]]:
        first, second = chances[0][metric], chances[1][metric]
        if first is not None and second is not None and not math.isclose(first, second, rel_tol=1e-9):
            faults.append(f"chance of {metric} is {first:.4g} and {second:.4g}")
    if faults:
        raise ValueError(f"task {ours.title} of the two runs cannot be compared: {'; '.join(faults)}")


def _units(outcome: Outcome, kind: str) -> Mapping[tuple[str, str], dict[str, Any]]:
    return {(unit["place"], unit.get("text", "")): unit for unit in outcome.findings.details[kind]}


def _span(gap: Interval) -> str:
    if gap.low is None or gap.high is None:
        return "–"
    return f"{_signed(max(gap.low, -1))} to {_signed(min(gap.high, 1))}"


def _p(value: float | None) -> str:
    if value is None:
        return "–"
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _named(run: Perception) -> str:
    return f"{run.encoder}, {run.weights or 'random weights'}"


def _signed(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", "−")
