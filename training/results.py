"""A finished or half-finished evaluation as it lies in its run folder: read, checked, averaged, compared."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from navloop.envs.metrics import METRICS, SHARES, MetricInfo, aggregate
from navloop.envs.protocols import Terms, require_comparable
from navloop.files import fingerprint, write_text
from navloop.training.rows import Row, read_rows
from navloop.training.statistics import Comparison, Interval, compare, mean_intervals

FORMAT = "navloop-evaluation-2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One start of an evaluation that ended in order, or by Ctrl-C or an error; a killed one leaves none.

    Attributes:
        workers: Processes.
        episodes: Episodes walked, over all agents.
        steps: Actions taken.
        seconds: Wall time of the walking, the start of the workers included.
        agents: Who walked.
    """

    workers: int
    episodes: int
    steps: int
    seconds: float
    agents: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What holds for every row of an evaluation. Results may be compared only if protocol, data and selection agree.

    Attributes:
        protocol: Label, such as "houses@1".
        protocol_fingerprint: Over every field of the protocol.
        protocol_fields: Every field of the protocol by its dotted name (`Protocol.fields`).
        data: Fingerprint by what it is of: "episodes", "ground truth", "scenes".
        selection: Fingerprint over the ids of the episodes asked for.
        split: Name of the split, "" where the file does not say.
        episodes: How many were asked for.
        seed: Of the run.
        weights: Digest of each agent's weights, None for agents without.
        cameras: Names of the cameras that each agent looks at; no others were rendered for it.
        temperature: Of the softmax that saved agents draw from; 0 of those that take the likeliest action, and of runs that did not say it yet.
        sources: Who each agent without weights is, "named:random", "program:python mine.py"; others are known by their weights.
        world: "embedded", or Habitat's with both of its versions; "" of runs that did not say it yet.
        sessions: What it took.
    """

    protocol: str
    protocol_fingerprint: str
    protocol_fields: dict[str, Any]
    data: dict[str, str]
    selection: str
    split: str
    episodes: int
    seed: int
    weights: dict[str, str | None]
    cameras: dict[str, list[str]]
    world: str = ""
    temperature: float = 0.0
    sources: dict[str, str] = field(default_factory=dict)
    sessions: list[Session] = field(default_factory=list)

    @property
    def place(self) -> str:
        """The world for a title, with two blanks before it; nothing for the embedded one, and where it is not known."""
        return "" if self.world in ("", "embedded") else f"  {self.world}"

    @property
    def drawn(self) -> str:
        """For a title, with two blanks before it, how actions are drawn; nothing where the likeliest is taken."""
        return f"  temperature {self.temperature:g}" if self.temperature else ""

    @property
    def terms(self) -> Terms:
        """The protocol as it was when the rows were made."""
        return Terms(self.protocol, self.protocol_fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Rows of each agent, and what holds for all.

    Attributes:
        folder: Where it lies.
        header: What holds for every row.
        rows: By agent: those of the config in its order, then those that only earlier starts asked for.
    """

    folder: Path
    header: Header
    rows: Mapping[str, Sequence[Row]]

    @property
    def missing(self) -> dict[str, int]:
        """How many episodes each agent has still to walk, for those that have any."""
        counts = {agent: self.header.episodes - len(rows) for agent, rows in self.rows.items()}
        return {agent: count for agent, count in counts.items() if count}


def rows_file(folder: Path, agent: str) -> Path:
    """Return where an agent's rows lie."""
    return folder / "rows" / f"{agent}.jsonl"


def read_evaluation(folder: Path) -> Evaluation:
    """Return the evaluation in a run folder, whole or not.

    Raises:
        ValueError: If there is none, naming the folder.
    """
    file = folder / "header.json"
    try:
        data = json.loads(file.read_text())
        if (found := data.pop("format")) != FORMAT:
            raise ValueError(f"its format is {found}, here it is {FORMAT}")
        sessions = [Session(**session) for session in data.pop("sessions")]
        header = Header(**data, sessions=sessions)
    except FileNotFoundError:
        raise ValueError(
            f"{folder}: no evaluation here (no header.json); make one with: navloop eval RECIPE --run-dir {folder}"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file}: not the header of an evaluation ({error}); evaluate into another folder") from error
    return Evaluation(
        folder=folder, header=header, rows={agent: read_rows(rows_file(folder, agent)) for agent in header.weights}
    )


def write_header(folder: Path, header: Header) -> None:
    """Write the header of an evaluation."""
    write_text(folder / "header.json", json.dumps({"format": FORMAT, **asdict(header)}, indent=1) + "\n")


def intervals(rows: Sequence[Row]) -> dict[str, Interval | None]:
    """Return the mean and interval of every metric over the episodes that have it; None where none has.

    Averages are those of `navloop.envs.metrics.aggregate`: an unreachable goal is a failure, and stays out of the errors alone.
    """
    # Metrics of the same episodes, most often all of them, share their clusters.
    having: dict[tuple[bool, ...], list[MetricInfo]] = {}
    for metric in METRICS:
        having.setdefault(tuple(_finite(row, metric) for row in rows), []).append(metric)
    found: dict[str, Interval | None] = {metric.name: None for metric in METRICS}
    for mask, metrics in having.items():
        if any(mask):
            among = [row for row, has in zip(rows, mask, strict=True) if has]
            found |= zip([metric.name for metric in metrics], _intervals(among, metrics), strict=True)
    return found


def compare_rows(first: Sequence[Row], second: Sequence[Row], metric: MetricInfo) -> Comparison | None:
    """Return how two agents differ over the episodes that both have a finite value for; None where there are none."""
    others = {row.episode_id: row for row in second}
    pairs = [(row, others[row.episode_id]) for row in first if row.episode_id in others]
    pairs = [(a, b) for a, b in pairs if _finite(a, metric) and _finite(b, metric)]
    if not pairs:
        return None
    return compare(
        [_value(a, metric) for a, _ in pairs],
        [_value(b, metric) for _, b in pairs],
        [a.scene_id for a, _ in pairs],
        [a.trajectory_id for a, _ in pairs],
    )


def require_comparable_results(
    first: Evaluation, second: Evaluation, pairs: Sequence[tuple[str, str]] | None = None
) -> None:
    """Refuse to set two evaluations side by side that measured different things.

    Args:
        first: One of them.
        second: The other.
        pairs: Who of the first is compared with whom of the second; None takes every agent of both.

    Raises:
        ValueError: If protocol, data or episodes differ, or an agent that is compared is not complete, naming what.
    """
    ours, theirs = first.header, second.header
    try:
        require_comparable(ours.terms, theirs.terms)
    except ValueError as error:
        raise ValueError(f"{first.folder} and {second.folder}: {error}") from None
    faults = []
    for name in sorted({*ours.data, *theirs.data}):
        if ours.data.get(name) != theirs.data.get(name):
            faults.append(f"{name} differ: {ours.data.get(name)} and {theirs.data.get(name)}")
    if ours.selection != theirs.selection:
        faults.append(f"not the same episodes: {ours.episodes} and {theirs.episodes}, chosen differently")
    pairs = [(agent, agent) for agent in first.rows if agent in second.rows] if pairs is None else pairs
    for evaluation, agents in ((first, {a for a, _ in pairs}), (second, {b for _, b in pairs})):
        for agent, count in evaluation.missing.items():
            if agent in agents:
                lacking = f"{agent} lacks {count} of {evaluation.header.episodes} episodes"
                faults.append(f"{evaluation.folder}: {lacking}; resume it first")
    if faults:
        raise ValueError(f"{first.folder} and {second.folder} cannot be compared: {'; '.join(faults)}")


def write_summary(evaluation: Evaluation) -> None:
    """Write `summary.json`: the header, and each agent's averages with their intervals, marked where episodes are missing."""
    header = evaluation.header
    agents: dict[str, Any] = {}
    for agent, rows in evaluation.rows.items():
        whole = aggregate([row.metrics for row in rows])
        agents[agent] = {
            "episodes": len(rows),
            "complete": len(rows) == header.episodes,
            "unreachable": whole.unreachable,
            "weights": header.weights[agent],
            "cameras": header.cameras[agent],
            "metrics": {name: None if i is None else _plain(i) for name, i in intervals(rows).items()} if rows else {},
        }
    steps, seconds = sum(s.steps for s in header.sessions), math.fsum(s.seconds for s in header.sessions)
    summary = {
        "format": FORMAT,
        "complete": not evaluation.missing,
        **{name: value for name, value in asdict(header).items() if name not in ("weights", "cameras", "sources")},
        "seconds": round(seconds, 3),
        "steps_per_second": round(steps / seconds, 1) if seconds else None,
        "agents": agents,
    }
    write_text(evaluation.folder / "summary.json", json.dumps(summary, indent=1, allow_nan=False) + "\n")


def selection_fingerprint(episode_ids: Sequence[str]) -> str:
    """Return the fingerprint of a choice of episodes, whatever their order."""
    return fingerprint(*(episode_id.encode() for episode_id in sorted(episode_ids)))


def pace(header: Header, sessions: Sequence[Session]) -> str:
    """Return how fast sessions walked and what was rendered meanwhile: "1,314 steps/s with 2 workers, no frames rendered".

    Where agents differ in what they look at it is said of each; "" if the sessions took no time.
    """
    seconds = math.fsum(session.seconds for session in sessions)
    if not seconds:
        return ""
    workers = sorted({session.workers for session in sessions})
    crew = f"{' or '.join(map(str, workers))} worker{'s' if workers != [1] else ''}"
    seen: dict[str, list[str]] = {}
    for agent in dict.fromkeys(agent for session in sessions for agent in session.agents):
        cameras = header.cameras[agent]
        # A panorama has 24, which nobody reads.
        eyes = f"{len(cameras)} cameras" if len(cameras) > 3 else " and ".join(cameras) or "no frames"
        seen.setdefault(eyes, []).append(agent)
    rendered = [
        f"{eyes} rendered" + (f" for {', '.join(agents)}" if len(seen) > 1 else "") for eyes, agents in seen.items()
    ]
    words = [f"{sum(session.steps for session in sessions) / seconds:,.0f} steps/s with {crew}", "; ".join(rendered)]
    return ", ".join(filter(None, words))


def _intervals(rows: Sequence[Row], metrics: Sequence[MetricInfo]) -> list[Interval]:
    """Return the intervals of metrics that all these rows have."""
    return mean_intervals(
        [[_value(row, metric) for metric in metrics] for row in rows],
        [row.scene_id for row in rows],
        [row.trajectory_id for row in rows],
        shares=[metric.name in SHARES for metric in metrics],
    )


def _value(row: Row, metric: MetricInfo) -> float:
    return float(getattr(row.metrics, metric.name))


def _finite(row: Row, metric: MetricInfo) -> bool:
    value = getattr(row.metrics, metric.name)
    return value is not None and math.isfinite(value)


def _plain(interval: Interval) -> dict[str, float | int | None]:
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in asdict(interval).items()}
