"""A comparison as a file: every number of the table, and who was measured on what."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from navloop.envs.metrics import MetricInfo
from navloop.files import write_text
from navloop.training.comparison import COMPARED, Pair, agents_named, single_differences
from navloop.training.results import Evaluation, compare_rows, intervals
from navloop.training.tables import metrics_named

FORMAT = "navloop-comparison-1"


def write_comparisons(path: Path, pairs: Sequence[Pair]) -> None:
    """Write what pairs differ by, metric by metric, as JSON; shares are from 0 to 1.

    Raises:
        OSError: If the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    found = {"format": FORMAT, "pairs": [comparison_to_json(pair) for pair in pairs]}
    write_text(path, json.dumps(found, indent=1, allow_nan=False) + "\n")


def comparison_to_json(pair: Pair) -> dict[str, Any]:
    """Return what two agents differ by, and what that rests on."""
    header = pair.ours.header
    return {
        "first": _side(pair.ours, pair.first),
        "second": _side(pair.theirs, pair.second),
        "protocol": header.protocol,
        "protocol_fingerprint": header.protocol_fingerprint,
        "split": header.split,
        "episodes": header.episodes,
        "selection": header.selection,
        "data": header.data,
        "metrics": {metric.name: _difference(pair, metric) for metric in metrics_named(COMPARED)},
    }


def _side(evaluation: Evaluation, name: str) -> dict[str, Any]:
    header, agents = evaluation.header, agents_named(evaluation, name)
    return {
        "agent": name,
        "run": str(evaluation.folder),
        "weights": {agent: header.weights[agent] for agent in agents},
        "sources": {agent: header.sources[agent] for agent in agents if agent in header.sources},
        "seed": header.seed,
        "temperature": header.temperature,
        "world": header.world,
    }


def _difference(pair: Pair, metric: MetricInfo) -> dict[str, Any]:
    ours, theirs = pair.rows
    found = compare_rows(ours, theirs, metric)
    means = [intervals(rows)[metric.name] for rows in (ours, theirs)]
    return {
        **{side: mean and asdict(mean) for side, mean in zip(("first", "second"), means, strict=True)},
        **({"difference": None} if found is None else asdict(found)),
        "seeds": [one and one.difference.mean for one in single_differences(pair, metric)],
    }
