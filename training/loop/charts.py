"""Charts of a loop as SVG text: what arms reached round by round, who is better than whom, and how well descriptions are followed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from navloop.training.plots import COLOURS, MARKERS, to_svg

ARM_COLOURS: Mapping[str, str] = dict(
    zip(
        ("before", "loop", "old", "expert", "without_tours", "without_ground", "without_free"),
        (COLOURS[6], COLOURS[1], COLOURS[0], *COLOURS[2:6]),
        strict=True,
    )
)
"""Of the arms, on the whole page."""

_INK, _SOFT, _RULE = "#1b1f24", "#5a626e", "#e6e9ee"


def reached_chart(rounds: Sequence[Mapping[str, Any]], metric: str, label: str, name: str) -> str:
    """Return what each arm reached in each round, with 95% intervals; the single seeds as small dots."""
    arms = list(dict.fromkeys(one["arm"] for found in rounds for one in found["reached"]))
    with _chart(name, f"{label} of each arm in each round, percent") as (axes, svg):
        for place, arm in enumerate(arms):
            x, means, low, high = [], [], [], []
            for found in rounds:
                one = next((o for o in found["reached"] if o["arm"] == arm and o["metric"] == metric), None)
                if one is None:
                    continue
                spot = found["round"] + (place - (len(arms) - 1) / 2) * 0.14
                x.append(spot)
                means.append(100 * one["mean"])
                low.append(0.0 if one["low"] is None else 100 * (one["mean"] - one["low"]))
                high.append(0.0 if one["high"] is None else 100 * (one["high"] - one["mean"]))
                if len(one["seeds"]) > 1:
                    dots = [100 * seed for seed in one["seeds"]]
                    axes.plot([spot + 0.04] * len(dots), dots, ".", color=ARM_COLOURS[arm], alpha=0.5, markersize=5)
            style: Any = {"color": ARM_COLOURS[arm], "marker": MARKERS[place], "markersize": 7, "capsize": 3}
            axes.errorbar(x, means, yerr=[low, high], label=arm, linewidth=0, elinewidth=1.6, **style)
        axes.set_xticks([found["round"] for found in rounds], [f"round {found['round']}" for found in rounds])
        axes.set_xlim(0.5, max(found["round"] for found in rounds) + 0.5)
        axes.set_ylabel(f"{label}, %")
        axes.grid(axis="x", visible=False)
        axes.legend(
            loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=min(len(arms), 4), fontsize=9, handlelength=1.2
        )
    return svg[0]


def gains_chart(gaps: Sequence[Mapping[str, Any]], metric: str, label: str, name: str) -> str:
    """Return who is better than whom, a line a pair: the gain and its 95% interval."""
    rows = [one for one in gaps if one["metric"] == metric]
    with _chart(name, f"Gains in {label}, percent points", height=0.9 + 0.45 * len(rows)) as (axes, svg):
        axes.axvline(0, color=_SOFT, linewidth=1, linestyle=(0, (4, 3)))
        for place, one in enumerate(rows):
            colour = ARM_COLOURS[one["arm"]]
            y = len(rows) - 1 - place
            if one["low"] is not None:
                axes.plot(
                    [100 * one["low"], 100 * one["high"]], [y, y], color=colour, linewidth=2, solid_capstyle="butt"
                )
            axes.plot(100 * one["mean"], y, "o", color=colour, markersize=8, markeredgecolor="white")
            for seed in one["seeds"] if len(one["seeds"]) > 1 else ():
                axes.plot(100 * seed, y, "|", color=_INK, markersize=9)
        axes.set_yticks(range(len(rows)), [f"{one['arm']} against {one['against']}" for one in reversed(rows)])
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_xlabel(f"{label}, percent points; to the right of 0 is better")
        axes.grid(axis="y", visible=False)
    return svg[0]


def scores_chart(kept: Sequence[float], dropped: Sequence[float], label: str, name: str, bound: float | None) -> str:
    """Return how a score of descriptions is spread, those kept over those dropped."""
    edges = np.linspace(0, 1, 21)
    with _chart(name, f"Descriptions by {label}") as (axes, svg):
        axes.hist(
            [kept, dropped], bins=list(edges), stacked=True, color=[COLOURS[2], "#c9ced6"], label=["kept", "dropped"]
        )
        if bound is not None:
            axes.axvline(bound, color=_SOFT, linewidth=1, linestyle=(0, (4, 3)))
        axes.set(xlabel=label, ylabel="descriptions", xlim=(0, 1))
        axes.grid(axis="x", visible=False)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=9, handlelength=1.2)
    return svg[0]


@contextmanager
def _chart(name: str, description: str, height: float = 3.4) -> Iterator[tuple[Axes, list[str]]]:
    style: Any = {
        "svg.fonttype": "none", "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 10, "axes.spines.top": False,
        "axes.spines.right": False, "axes.edgecolor": "#8a93a0", "axes.grid": True, "grid.color": _RULE, "axes.axisbelow": True, "legend.frameon": False,
    }  # fmt: skip
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(5.4, height), layout="constrained")
        svg: list[str] = []
        yield figure.add_subplot(), svg
        svg.append(to_svg(figure, name, description))
