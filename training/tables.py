"""The table of results that a terminal shows."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from navloop.envs.metrics import METRICS, SHARES, MetricInfo
from navloop.training.results import Evaluation, intervals, pace
from navloop.training.rows import Row
from navloop.training.statistics import Interval

PRINTED = ("success", "spl", "oracle_success", "ndtw", "navigation_error", "path_length")
"""Metrics that fit a terminal of 80 columns."""

SHOWN = (
    "success",
    "spl",
    "oracle_success",
    "ndtw",
    "sdtw",
    "navigation_error",
    "path_length",
    "steps",
    "collision_rate",
)
"""Metrics of the page's table, in this order."""


def metrics_named(names: Sequence[str]) -> list[MetricInfo]:
    """Return metrics by name, in the order of the names."""
    known = {metric.name: metric for metric in METRICS}
    return [known[name] for name in names]


def heading(metric: MetricInfo) -> str:
    """Return what stands over a metric's column: "SR % ↑", "NE m ↓"."""
    unit = " %" if metric.name in SHARES else f" {metric.unit}" if metric.unit else ""
    return f"{metric.label.removesuffix(' rate')}{unit}{ {'up': ' ↑', 'down': ' ↓', '': ''}[metric.better] }"


def number(value: float, metric: MetricInfo) -> str:
    """Return a value as tables print it, shares in percent."""
    if metric.name in SHARES:
        return f"{100 * value:.1f}" if value < 1 else "100"
    return f"{value:.2f}" if metric.unit == "m" else f"{value:.1f}"


def ends(interval: Interval, metric: MetricInfo) -> tuple[float, float] | None:
    """Return the ends of an interval, cut to what the metric can be; None where it has none."""
    if interval.low is None or interval.high is None:
        return None
    high = min(interval.high, 1.0) if metric.name in SHARES else interval.high
    return max(interval.low, 0.0), high


def print_results(evaluation: Evaluation, console: Console) -> None:
    """Print the results of every agent with their intervals."""
    header = evaluation.header
    title = (
        f"{header.protocol}{header.place}  {header.split}  {header.episodes} episodes  seed {header.seed}{header.drawn}"
    )
    table = Table(
        box=SIMPLE_HEAD,
        title=title,
        title_justify="left",
        title_style="bold",
        padding=(0, 0, 0, 1),
        caption=_caption(evaluation),
        caption_justify="left",
    )
    table.add_column("agent", style="bold", no_wrap=True)
    metrics = metrics_named(PRINTED)
    for metric in metrics:
        table.add_column(heading(metric), justify="right", no_wrap=True)
    for agent, rows in evaluation.rows.items():
        means = intervals(rows) if rows else {}
        notes = [f"incomplete: {len(rows)}/{header.episodes}"] if agent in evaluation.missing else []
        notes += [note] if (note := unreachable_note(rows)) else []
        name = agent.replace("+", "\n+")  # a control stands below its agent's name
        table.add_row("\n".join([name, *notes]), *(_cell(means.get(metric.name), metric) for metric in metrics))
    console.print(table)


def unreachable_note(rows: Sequence[Row]) -> str:
    """Return what must be said of episodes whose goal nobody can reach: they fail, and stand in no mean of NE; "" if none."""
    count = sum(row.metrics.unreachable for row in rows)
    return f"{count} out of reach: failed, not in NE" if count else ""


def unpaired_note(first: Sequence[Row], second: Sequence[Row]) -> str:
    """Return what must be said where agents are compared and one of them was where no goal can be reached; "" if none was."""
    lost = [{row.episode_id for row in rows if row.metrics.unreachable} for rows in (first, second)]
    count = len(set.union(*lost) & {row.episode_id for row in first} & {row.episode_id for row in second})
    return f"{count} out of reach: failed, not in the difference of NE" if count else ""


def _cell(interval: Interval | None, metric: MetricInfo) -> str:
    if interval is None:
        return "–"
    span = ends(interval, metric)
    words = "–" if span is None else "–".join(number(end, metric) for end in span)
    return f"{number(interval.mean, metric)}\n[dim]{words}[/dim]"


def _caption(evaluation: Evaluation) -> str:
    words = "Below each mean, its 95% interval over scenes and trajectories."
    if last := evaluation.header.sessions[-1:]:
        words += (
            f" Last session: {last[0].episodes} episodes, {last[0].seconds:.1f} s, {pace(evaluation.header, last)}."
        )
    return words
