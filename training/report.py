"""The page about an evaluation: one HTML file that needs nothing else, with tables, charts, maps and films."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from rich.console import Console
from rich.progress import track

from navloop.configs.loader import load
from navloop.configs.schema import EvalConfig
from navloop.envs.episodes import read_episodes
from navloop.envs.metrics import SHARES, MetricInfo
from navloop.envs.protocols import get_protocol
from navloop.files import write_text
from navloop.runs import RunFolder
from navloop.training import plots
from navloop.training.comparison import COMPARED, describe
from navloop.training.results import (
    Evaluation,
    compare_rows,
    intervals,
    pace,
    read_evaluation,
    require_comparable_results,
)
from navloop.training.rollout import ReplayError
from navloop.training.rows import Row
from navloop.training.statistics import Interval
from navloop.training.stories import Story, choose_rows, tell
from navloop.training.tables import SHOWN, ends, heading, metrics_named, number, unpaired_note, unreachable_note


def write_report(
    run: Path, against: Path | None = None, output: Path | None = None, console: Console | None = None
) -> Path:
    """Write the page about an evaluation and return where it lies.

    Args:
        run: Folder of the evaluation.
        against: Another evaluation of the same episodes, to compare each agent of the same name with.
        output: Where the page goes; None takes `report.html` in the folder.
        console: Where to show progress and warnings; None shows nothing.

    Raises:
        ValueError: If the folder holds no evaluation, or the two cannot be compared.
        OSError: If the page cannot be written.
    """
    evaluation = read_evaluation(run)
    other = None if against is None else read_evaluation(against)
    if other is not None:
        require_comparable_results(evaluation, other)
    config = load(run / "config.yaml", kind="eval")
    assert isinstance(config, EvalConfig)
    rows = {agent: listed for agent, listed in evaluation.rows.items() if listed}
    if not rows:
        raise ValueError(f"{run}: no episode is done yet; run the evaluation first")
    stories, left_out = _stories(evaluation, config, _best_first(rows), console)
    starts = RunFolder(run).starts()
    context = {
        "name": config.name,
        "header": evaluation.header,
        "missing": evaluation.missing,
        "starts": starts,
        "config": config.model_dump(mode="json"),
        "results": _results_table(rows),
        "comparison": _comparison(evaluation, other, config.report.agent),
        "charts": _charts(rows, get_protocol(config.protocol).success_distance),
        "stories": stories,
        "left_out": left_out,
        "pace": _pace(evaluation),
        "colours": {agent: plots.COLOURS[place % len(plots.COLOURS)] for place, agent in enumerate(rows)},
    }
    page = output or run / "report.html"
    write_text(page, _render(context))
    return page


def _render(context: Mapping[str, Any]) -> str:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = (files("navloop.training") / "report.html.j2").read_text(encoding="utf-8")
    return str(environment.from_string(template).render(context))


def _best_first(rows: Mapping[str, Sequence[Row]]) -> dict[str, Sequence[Row]]:
    def score(agent: str) -> float:
        return float(np.mean([row.metrics.spl or 0.0 for row in rows[agent]]))

    return {agent: rows[agent] for agent in sorted(rows, key=score, reverse=True)}


def _results_table(rows: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    metrics = metrics_named(SHOWN)
    table = {agent: intervals(listed) for agent, listed in rows.items()}
    best = {metric.name: _best(table, metric) for metric in metrics}
    lines = [
        {
            "agent": agent,
            "episodes": len(rows[agent]),
            "note": unreachable_note(rows[agent]),
            "cells": [_cell(found[metric.name], metric, agent in best[metric.name]) for metric in metrics],
        }
        for agent, found in table.items()
    ]
    first = next(iter(table.values()))
    some = next((interval for interval in first.values() if interval is not None), None)
    return {"headings": [heading(metric) for metric in metrics], "lines": lines, "size": some}


def _best(table: Mapping[str, Mapping[str, Interval | None]], metric: MetricInfo) -> set[str]:
    means = {agent: found.mean for agent, row in table.items() if (found := row[metric.name]) is not None}
    if not metric.better or len(means) < 2:
        return set()
    top = max(means.values()) if metric.better == "up" else min(means.values())
    return {agent for agent, mean in means.items() if mean == top}


def _cell(interval: Interval | None, metric: MetricInfo, best: bool) -> dict[str, Any]:
    if interval is None:
        return {"mean": "–", "span": "", "best": False, "share": None}
    span = ends(interval, metric)
    low, high = span or (interval.mean, interval.mean)
    return {
        "mean": number(interval.mean, metric),
        "span": "" if span is None else f"{number(low, metric)} – {number(high, metric)}",
        "best": best,
        "share": (100 * interval.mean, 100 * low, 100 * high) if metric.name in SHARES else None,
    }


def _comparison(evaluation: Evaluation, other: Evaluation | None, chosen: str | None) -> dict[str, Any] | None:
    """Pairs of agents in one run, or of the same agent in two, metric by metric."""
    rows = {agent: listed for agent, listed in evaluation.rows.items() if listed}
    if other is None:
        if chosen is not None and chosen not in rows:
            raise ValueError(f"report.agent is {chosen!r}, but the run has {', '.join(rows)}")
        base = chosen or next(iter(_best_first(rows)))
        pairs = {agent: (listed, rows[base]) for agent, listed in rows.items() if agent != base}
        against = base
    else:
        pairs = {agent: (listed, other.rows[agent]) for agent, listed in rows.items() if other.rows.get(agent)}
        against = f"the same agent in {other.folder}"
        if not pairs:
            raise ValueError(f"{evaluation.folder} and {other.folder} have no agent in common")
    metrics = metrics_named(COMPARED)
    lines = [
        {
            "agent": agent,
            "note": unpaired_note(ours, theirs),
            "cells": [describe(compare_rows(ours, theirs, metric), metric) for metric in metrics],
        }
        for agent, (ours, theirs) in pairs.items()
    ]
    return {"against": against, "headings": [heading(metric) for metric in metrics], "lines": lines} if lines else None


def _charts(rows: Mapping[str, Sequence[Row]], threshold: float) -> list[dict[str, str]]:
    errors = {
        agent: np.array([_finite(row.metrics.navigation_error) for row in listed]) for agent, listed in rows.items()
    }
    steps = {agent: np.array([float(row.metrics.steps) for row in listed]) for agent, listed in rows.items()}
    return [
        {"title": "Success by distance", "svg": plots.success_by_distance(rows, "success"),
         "note": "Bins of equally many episodes; bars are 95% Wilson intervals, each episode taken by itself."},
        {"title": "Where walks end", "svg": plots.cumulative(rows, errors, "navigation error, m", "errors", threshold),
         "note": "Share of episodes that end within each distance of the goal. Higher and further left is better."},
        {"title": "How long walks are", "svg": plots.cumulative(rows, steps, "steps", "steps"),
         "note": "Share of episodes that end within each number of actions, STOP counted."},
        {"title": "What agents do", "svg": plots.action_shares(rows, "actions"), "note": "Share of each action over all episodes."},
    ]  # fmt: skip


def _finite(value: float | None) -> float:
    return float("nan") if value is None else value


def _stories(
    evaluation: Evaluation, config: EvalConfig, rows: Mapping[str, Sequence[Row]], console: Console | None
) -> tuple[list[Story], str]:
    """Maps and films, or why there are none: a page of numbers is still worth having where the scenes are not."""
    count = max(config.report.maps, config.report.videos)
    chosen = choose_rows(rows, count, config.seed, config.report.agent)
    try:
        file = read_episodes(_locate(config.episodes, evaluation))
        if file.fingerprint != evaluation.header.data["episodes"]:
            raise ValueError(
                f"{config.episodes} is not the file that the run walked; its fingerprint is {file.fingerprint}"
            )
        episodes = {episode.episode_id: episode for episode in file.episodes}
        telling: Iterable[Story] = tell(config, _locate(config.scenes, evaluation), episodes, chosen)
        if console is not None:
            telling = track(telling, "maps and films", total=len(chosen), console=console, transient=True)
        return list(telling), ""
    except (ValueError, OSError, ReplayError) as error:
        if console is not None:
            console.print(f"the page has no maps and films: {error}", style="yellow", soft_wrap=True, markup=False)
        return [], str(error)


def _locate(path: str, evaluation: Evaluation) -> Path:
    """Find a path of the config from here, or else from where the run was started."""
    starts = RunFolder(evaluation.folder).starts()
    if not Path(path).exists() and starts and (Path(starts[-1]["folder"]) / path).exists():
        return Path(starts[-1]["folder"]) / path
    return Path(path)


def _pace(evaluation: Evaluation) -> str:
    sessions = evaluation.header.sessions
    steps, seconds = sum(session.steps for session in sessions), sum(session.seconds for session in sessions)
    return f"{steps:,} steps in {seconds:,.0f} s, {pace(evaluation.header, sessions)}" if seconds else ""
