"""Charts as SVG text: what the page about an evaluation shows. No files here."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from navloop.envs.simulator import Action
from navloop.geometry import Vector
from navloop.training.rows import Row

COLOURS = ("#0072b2", "#c2540a", "#00805f", "#a3478a", "#8a6d00", "#3a86a8", "#5b5f66")
"""Of the agents in turn; told apart by the colour-blind too (after Okabe and Ito), dark enough on white."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")

_STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a93a0",
    "axes.labelcolor": "#3b434e",
    "xtick.color": "#3b434e",
    "ytick.color": "#3b434e",
    "axes.grid": True,
    "grid.color": "#e6e9ee",
    "axes.axisbelow": True,
    "legend.frameon": False,
}

Results = Mapping[str, Sequence[Row]]


def success_by_distance(results: Results, name: str) -> str:
    """Return a chart of the success rate against the geodesic distance from start to goal, with 95% Wilson intervals."""
    lengths = np.concatenate([_start_distances(rows) for rows in results.values()])
    edges = _edges(lengths[np.isfinite(lengths)])
    with _chart(name, "Success rate in percent against the geodesic distance from start to goal") as (axes, svg):
        for number, (agent, rows) in enumerate(results.items()):
            points = list(_rates(rows, edges, offset=(number - (len(results) - 1) / 2) * 0.06))
            if not points:
                continue
            x, mean, low, high = np.array(points).T
            axes.errorbar(
                x,
                mean,
                yerr=np.maximum([mean - low, high - mean], 0),
                color=COLOURS[number % 7],
                marker=MARKERS[number % 7],
                markersize=5,
                linewidth=1.6,
                elinewidth=1,
                label=agent,
            )
        axes.set(xlabel="geodesic distance, m", ylabel="success, %", ylim=(-4, 104))
        _legend(axes, results)
    return svg[0]


def cumulative(results: Results, values: Mapping[str, Vector], label: str, name: str, mark: float | None = None) -> str:
    """Return a chart of the share of episodes at or below each value.

    Args:
        results: Names the agents.
        values: (N,) of each agent.
        label: Of the horizontal axis, with the unit.
        name: Unique on the page.
        mark: A value to draw a line at.
    """
    with _chart(name, f"Share of episodes at or below each value of {label}") as (axes, svg):
        for number, agent in enumerate(results):
            ordered = np.sort(values[agent][np.isfinite(values[agent])])
            shares = 100 * np.arange(len(ordered) + 1) / max(len(values[agent]), 1)
            axes.step(np.r_[0, ordered], shares, where="post", color=COLOURS[number % 7], linewidth=1.8, label=agent)
        if mark is not None:
            axes.axvline(mark, color="#5a626e", linewidth=1, linestyle=(0, (4, 3)))
            axes.annotate(
                f"success below {mark:g} m", (mark, 2), (4, 0), textcoords="offset points", fontsize=9, color="#5a626e"
            )
        axes.set(xlabel=label, ylabel="episodes, %", ylim=(0, 103), xlim=(0, None))
        _legend(axes, results)
    return svg[0]


def action_shares(results: Results, name: str) -> str:
    """Return a chart of how often each agent takes each action."""
    codes = sorted({int(code) for rows in results.values() for row in rows for code in np.unique(row.actions)})
    width = 0.8 / len(results)
    with _chart(name, "Share of each action in percent") as (axes, svg):
        for number, (agent, rows) in enumerate(results.items()):
            taken = np.concatenate([row.actions for row in rows]) if rows else np.zeros(0, dtype=np.int64)
            shares = [100 * float(np.mean(taken == code)) if len(taken) else 0.0 for code in codes]
            places = np.arange(len(codes)) + (number - (len(results) - 1) / 2) * width
            axes.bar(places, shares, width * 0.9, color=COLOURS[number % 7], label=agent)
        axes.set_xticks(range(len(codes)), [Action(code).name.lower().replace("_", " ") for code in codes])
        axes.set(ylabel="actions, %")
        axes.grid(axis="x", visible=False)
        _legend(axes, results)
    return svg[0]


@contextmanager
def _chart(name: str, description: str) -> Iterator[tuple[Axes, list[str]]]:
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(5.2, 3.5), layout="constrained")
        svg: list[str] = []
        yield figure.add_subplot(), svg
        svg.append(to_svg(figure, name, description))


def to_svg(figure: Figure, name: str, description: str) -> str:
    """Return a figure as an SVG element that scales with the page.

    Args:
        figure: What to draw.
        name: Prefix of the ids, unique on the page.
        description: For those who cannot see it.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    text = re.sub(r'href="#', f'href="#{name}-', text)
    opening, rest = text.split(">", 1)
    opening = re.sub(r' (width|height)="[^"]*"', "", opening)
    return f'{opening} role="img" aria-label="{description}">{rest.strip()}'


def _legend(axes: Axes, results: Results) -> None:
    if len(results) > 1 and axes.get_legend_handles_labels()[0]:
        axes.legend(
            loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=min(len(results), 4), fontsize=9, handlelength=1.4
        )


def _start_distances(rows: Sequence[Row]) -> Vector:
    return np.array([row.distances[0] for row in rows], dtype=np.float64)


def _edges(lengths: Vector) -> Vector:
    """Edges of up to six bins of about equal many episodes."""
    if len(lengths) == 0:
        return np.array([0.0, 1.0])
    return np.unique(np.round(np.quantile(lengths, np.linspace(0, 1, min(7, len(lengths) // 8 + 2))), 2))


def _rates(rows: Sequence[Row], edges: Vector, offset: float) -> Iterator[tuple[float, float, float, float]]:
    lengths = _start_distances(rows)
    success = np.array([bool(row.metrics.success) for row in rows])
    for low, high in itertools.pairwise(edges):
        inside = (lengths >= low) & ((lengths < high) | (high == edges[-1]))
        if count := int(inside.sum()):
            wins = int(success[inside].sum())
            interval = stats.binomtest(wins, count).proportion_ci(method="wilson")
            yield float(lengths[inside].mean()) + offset, 100 * wins / count, 100 * interval.low, 100 * interval.high
