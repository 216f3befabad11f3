"""Two agents side by side over the same episodes: what they differ by, and whether that may be luck."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from navloop.envs.metrics import SHARES, MetricInfo, Metrics
from navloop.training.results import (
    Evaluation,
    compare_rows,
    intervals,
    read_evaluation,
    require_comparable_results,
)
from navloop.training.rows import Row
from navloop.training.statistics import Comparison, Interval
from navloop.training.tables import heading, metrics_named, number, unpaired_note

COMPARED = ("success", "spl", "ndtw", "navigation_error")
"""Metrics of the paired comparison."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A comparison in words.

    Attributes:
        mean: With its sign, shares in percent points; "–" where there is nothing to compare, and then all else is "".
        span: Its 95% interval; "–" where there is none.
        p: Of no difference, as `Comparison.p_value`; "" where nothing can be said.
        exact: Who won where, and McNemar's test; "" for metrics that are not 0 or 1.
        verdict: "better" or "worse" where p < 0.05, else "".
    """

    mean: str = "–"
    span: str = ""
    p: str = ""
    exact: str = ""
    verdict: str = ""


def describe(comparison: Comparison | None, metric: MetricInfo) -> Difference:
    """Return a comparison in words."""
    if comparison is None:
        return Difference()
    found, share = comparison.difference, metric.name in SHARES
    scale, digits = (100, 1) if share else (1, 2)
    good = (found.mean > 0) == (metric.better == "up")
    sure = comparison.p_value is not None and comparison.p_value < 0.05
    exact = ""
    if comparison.mcnemar_p_value is not None:
        exact = f"{comparison.first_only} won, {comparison.second_only} lost; McNemar {_p(comparison.mcnemar_p_value)}"
    return Difference(
        mean=f"{scale * found.mean:+.{digits}f}".replace("-", "−"),
        span=_span(found, share, scale, digits),
        p="" if comparison.p_value is None else _p(comparison.p_value),
        exact=exact,
        verdict=("better" if good else "worse") if sure and found.mean else "",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two agents that may be compared.

    Attributes:
        first: Who is compared; with a `*`, all of that name together, as `over_seeds` has it.
        second: With whom.
        ours: Evaluation that the first is in.
        theirs: Evaluation that the second is in; may be the same.
    """

    first: str
    second: str
    ours: Evaluation
    theirs: Evaluation

    @property
    def rows(self) -> tuple[Sequence[Row], Sequence[Row]]:
        """Of both."""
        return over_seeds(self.ours, self.first), over_seeds(self.theirs, self.second)

    @property
    def seeds(self) -> tuple[int, int]:
        """How many agents each name is of."""
        return len(agents_named(self.ours, self.first)), len(agents_named(self.theirs, self.second))

    @property
    def names(self) -> tuple[str, str]:
        """Short names that tell both apart."""
        if self.first != self.second:
            return self.first, self.second
        return f"{self.first}, {self.ours.folder}", f"{self.second}, {self.theirs.folder}"


def single_differences(pair: Pair, metric: MetricInfo) -> list[Comparison | None]:
    """Return how the agents of two names differ one by one, in order; nothing where the names are not of as many, or of one."""
    ours, theirs = agents_named(pair.ours, pair.first), agents_named(pair.theirs, pair.second)
    if len(ours) != len(theirs) or len(ours) < 2:
        return []
    return [
        compare_rows(list(pair.ours.rows[a]), list(pair.theirs.rows[b]), metric)
        for a, b in zip(ours, theirs, strict=True)
    ]


def seeds_note(pair: Pair) -> list[str]:
    """Return the single differences in words, which no interval over episodes has."""
    (spl,) = metrics_named(("spl",))
    singles = [describe(found, spl).mean for found in single_differences(pair, spl)]
    if not singles:
        return []
    return [
        f"They are of these {len(singles)} seeds of learning, whose single differences in {heading(spl)} are {', '.join(singles)}."
    ]


def grounds(pair: Pair) -> str:
    """Return what a comparison rests on: the data, and of both sides the run, its seed, and who walked, by the digest of the weights."""
    data = pair.ours.header
    sides = [
        f"{word}: {run.folder}, seed {run.header.seed}{run.header.drawn}, {', '.join(_known_as(run, name))}"
        for word, run, name in (("First", pair.ours, pair.first), ("second", pair.theirs, pair.second))
    ]
    return f"Episodes {data.data['episodes']}, chosen {data.selection}. {'; '.join(sides)}."


def _known_as(run: Evaluation, name: str) -> list[str]:
    header = run.header
    return [
        f"{agent} {header.weights[agent] or header.sources.get(agent, '')}".rstrip()
        for agent in agents_named(run, name)
    ]


def agents_named(evaluation: Evaluation, name: str) -> list[str]:
    """Return the agents of a name that have episodes: one, or of a pattern such as `loop_*` all that it fits, under the same control."""
    base, _, control = name.partition("+")
    named = {agent: agent.partition("+") for agent, rows in evaluation.rows.items() if rows}
    return [agent for agent, (own, _, under) in named.items() if fnmatchcase(own, base) and under == control]


def over_seeds(evaluation: Evaluation, name: str) -> Sequence[Row]:
    """Return the rows of an agent; of several that a pattern fits, one row an episode, each metric the mean over them.

    What one of them has no finite value for has none. Actions and places are the first one's.
    """
    tables = [{row.episode_id: row for row in evaluation.rows[agent]} for agent in agents_named(evaluation, name)]
    if len(tables) == 1:
        return list(tables[0].values())
    return [
        replace(row, metrics=_mean_metrics([table[episode].metrics for table in tables]))
        for episode, row in tables[0].items()
        if all(episode in table for table in tables)
    ]


def _mean_metrics(found: Sequence[Metrics]) -> Metrics:
    means: dict[str, Any] = {}
    for name in (one.name for one in fields(Metrics)):
        values = [getattr(one, name) for one in found]
        means[name] = None if None in values else sum(values) / len(values)
    return Metrics(**{**means, "unreachable": any(one.unreachable for one in found)})


def pair_up(runs: Sequence[Path], agents: Sequence[str] = ()) -> list[Pair]:
    """Return who of two runs is compared with whom, or which two of one run.

    Args:
        runs: Folders of evaluations, one or two.
        agents: None for every agent of both runs, or the only one of each; one that is in both; or one of the first and one of the second.
            `loop_*` takes all whose names begin so: the seeds of one recipe.

    Raises:
        ValueError: If there are no such agents, one has episodes to walk yet, or the runs measured different things, naming what.
    """
    if not 1 <= len(runs) <= 2 or len(agents) > 2:
        raise ValueError(
            f"{len(runs)} runs and {len(agents)} agents are given; give one run and two of its agents, or two runs and at most two agents"
        )
    first, second = read_evaluation(runs[0]), read_evaluation(runs[-1])
    chosen = [(agents[0], agents[-1])] if agents else _in_common(first, second)
    for evaluation, name in ((e, name) for pair in chosen for e, name in zip((first, second), pair, strict=True)):
        if not agents_named(evaluation, name):
            known = ", ".join(agent for agent, rows in evaluation.rows.items() if rows) or "none"
            raise ValueError(f"{evaluation.folder}: has no episodes of agent {name!r}, but of {known}; see --agent")
    if first.folder == second.folder and any(
        set(agents_named(first, a)) & set(agents_named(second, b)) for a, b in chosen
    ):
        raise ValueError(
            f"{first.folder}: an agent is not compared with itself; name two with --agent, or a second run"
        )
    each = [(x, y) for a, b in chosen for x in agents_named(first, a) for y in agents_named(second, b)]
    require_comparable_results(first, second, each)
    return [Pair(first=a, second=b, ours=first, theirs=second) for a, b in chosen]


def _in_common(first: Evaluation, second: Evaluation) -> list[tuple[str, str]]:
    ours, theirs = ([agent for agent, rows in run.rows.items() if rows] for run in (first, second))
    common = [(agent, agent) for agent in ours if agent in theirs]
    if common:
        return common
    if len(ours) == len(theirs) == 1:
        return [(ours[0], theirs[0])]
    raise ValueError(
        f"{first.folder} has {', '.join(ours) or 'no agent'}, {second.folder} has {', '.join(theirs) or 'no agent'}: none in common; "
        "name one of each with --agent"
    )


def print_comparisons(pairs: Sequence[Pair], console: Console) -> None:
    """Print a table for each pair: both means, their difference over the same episodes, its interval, and what it is worth."""
    for pair in pairs:
        console.print(_table(pair))


def _places(pair: Pair) -> str:
    """The world of both, or the two worlds where they differ."""
    ours, theirs = pair.ours.header, pair.theirs.header
    return ours.place if ours.world == theirs.world else f"  {ours.world or '?'} against {theirs.world or '?'}"


def _table(pair: Pair) -> Table:
    header = pair.ours.header
    first, second = (
        name if count < 2 else f"{name} (mean of {count})" for name, count in zip(pair.names, pair.seeds, strict=True)
    )
    table = Table(
        box=SIMPLE_HEAD,
        title=f"{first}  against  {second}\n[not bold]{header.protocol}{_places(pair)}  {header.split}  {header.episodes} episodes[/]",
        title_justify="left",
        title_style="bold",
        padding=(0, 0, 0, 1),
        caption_justify="left",
    )
    table.add_column("", style="bold", no_wrap=True)
    for name in ("first", "second", "difference", "95% interval", "", ""):
        table.add_column(name, justify="left" if not name else "right", no_wrap=True)
    ours, theirs = pair.rows
    means = intervals(ours), intervals(theirs)
    notes = [f"{note}."] if (note := unpaired_note(ours, theirs)) else []
    size: Interval | None = None
    for metric in metrics_named(COMPARED):
        comparison = compare_rows(ours, theirs, metric)
        found = describe(comparison, metric)
        size = size or (None if comparison is None else comparison.difference)
        notes += [f"{metric.label}: {found.exact}."] if found.exact and metric.name == "success" else []
        values = [_mean(mean[metric.name], metric) for mean in means]
        table.add_row(heading(metric), *values, f"[bold]{found.mean}[/]", found.span, found.p, _coloured(found.verdict))
    if size is not None:
        counts = f"{size.episodes} episodes of {size.trajectories} walks in {size.scenes} scenes"
        table.caption = " ".join(
            [
                f"First minus second, paired over {counts}; intervals over scenes and walks.",
                *notes,
                *seeds_note(pair),
                grounds(pair),
            ]
        )
    return table


def _mean(interval: Interval | None, metric: MetricInfo) -> str:
    return "–" if interval is None else number(interval.mean, metric)


def _coloured(verdict: str) -> str:
    return {"better": "[green]better[/]", "worse": "[red]worse[/]"}.get(verdict, "")


def _span(found: Interval, share: bool, scale: int, digits: int) -> str:
    if found.low is None or found.high is None:
        return "–"
    low, high = (max(found.low, -1.0), min(found.high, 1.0)) if share else (found.low, found.high)
    return f"{scale * low:+.{digits}f} to {scale * high:+.{digits}f}".replace("-", "−")


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"
