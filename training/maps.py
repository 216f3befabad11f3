"""Top-down maps of episodes as SVG text: free space, the reference and the walked path."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from navloop.envs.protocols import Protocol
from navloop.envs.simulator import FloorPlan
from navloop.geometry import Vector, heading_vector, quaternion_to_heading
from navloop.records import Episode
from navloop.training.plots import to_svg
from navloop.training.rows import Row

REFERENCE, WALKED, GOAL, INK = "#0072b2", "#c2540a", "#00805f", "#1b1f24"
MARGIN = 0.4
"""Metres around the free space."""


def episode_map(plan: FloorPlan, episode: Episode, row: Row, protocol: Protocol, name: str) -> str:
    """Return the map of a walk: north (-z) up, the success distance as a circle around the goal.

    Args:
        plan: Of the episode's scene.
        episode: What was asked.
        row: What was walked.
        protocol: For the success distance.
        name: Prefix of the ids in the SVG, unique on the page.
    """
    rows, columns = np.nonzero(plan.free)
    low = plan.origin + plan.cell * np.array([columns.min(), rows.min()]) - MARGIN
    high = plan.origin + plan.cell * np.array([columns.max() + 1, rows.max() + 1]) + MARGIN
    width, depth = high - low
    scale = 5.2 / max(width, depth * 1.15)
    with matplotlib.rc_context({"svg.fonttype": "none", "font.family": "sans-serif"}):
        figure = Figure(figsize=(width * scale, depth * scale))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(low[0], high[0]), ylim=(high[1], low[1]), aspect="equal")
        axes.axis("off")
        _draw_floor(axes, plan)
        _draw_paths(axes, episode, row)
        _draw_ends(axes, episode, row, protocol)
        _draw_scale(axes, low, high)
        what = f"Map of episode {episode.episode_id}: the walked path against the reference path"
        return to_svg(figure, name, what)


def _draw_floor(axes: Axes, plan: FloorPlan) -> None:
    padded = np.pad(plan.free.astype(float), 1)
    x = plan.origin[0] + plan.cell * (np.arange(padded.shape[1]) - 0.5)
    z = plan.origin[1] + plan.cell * (np.arange(padded.shape[0]) - 0.5)
    axes.contourf(x, z, padded, levels=[0.5, 1.5], colors=["#eef1f5"])
    axes.contour(x, z, padded, levels=[0.5], colors=["#9aa4b1"], linewidths=0.8)
    for label, (across, along) in plan.rooms:
        axes.text(
            across,
            along,
            label,
            ha="center",
            va="center",
            fontsize=8.5,
            color="#5a626e",
            style="italic",
            zorder=5,
            path_effects=[patheffects.withStroke(linewidth=2.5, foreground="#eef1f5")],
        )


def _draw_paths(axes: Axes, episode: Episode, row: Row) -> None:
    halo = [patheffects.withStroke(linewidth=5, foreground="white")]
    reference = episode.ground_truth.locations if episode.ground_truth is not None else episode.reference_path
    if reference is not None:
        axes.plot(reference[:, 0], reference[:, 2], color=REFERENCE, linewidth=2.2, linestyle=(0, (3, 2)), zorder=3)
    axes.plot(row.positions[:, 0], row.positions[:, 2], color=WALKED, linewidth=2.4, zorder=4, path_effects=halo)
    hits = row.positions[1:][row.collided]
    axes.plot(hits[:, 0], hits[:, 2], "x", color=WALKED, markersize=4, markeredgewidth=1, zorder=4)


def _draw_ends(axes: Axes, episode: Episode, row: Row, protocol: Protocol) -> None:
    start, end = row.positions[0], row.positions[-1]
    ahead = heading_vector(quaternion_to_heading(episode.start_rotation))
    arrow = {"arrowstyle": "-|>", "color": INK, "linewidth": 1.6, "mutation_scale": 12}
    axes.annotate("", start[[0, 2]] + 0.9 * ahead[[0, 2]], start[[0, 2]], arrowprops=arrow, zorder=6)
    axes.plot(start[0], start[2], "o", color="white", markeredgecolor=INK, markeredgewidth=1.8, markersize=8, zorder=6)
    if episode.goal_position is not None:
        goal = episode.goal_position
        axes.add_patch(
            Circle(
                (goal[0], goal[2]), protocol.success_distance, facecolor=GOAL, alpha=0.10, edgecolor="none", zorder=1
            )
        )
        axes.add_patch(
            Circle((goal[0], goal[2]), protocol.success_distance, fill=False, edgecolor=GOAL, linewidth=1.2, zorder=3)
        )
        axes.plot(goal[0], goal[2], "*", color=GOAL, markeredgecolor="white", markersize=15, zorder=9)
    axes.plot(end[0], end[2], "s", color=WALKED, markeredgecolor="white", markersize=8, zorder=8)


def _draw_scale(axes: Axes, low: Vector, high: Vector) -> None:
    left, bottom = low[0] + 0.15, high[1] - 0.12
    axes.plot([left, left + 2], [bottom, bottom], color=INK, linewidth=2, solid_capstyle="butt", zorder=9)
    axes.text(left + 2.12, bottom, "2 m", va="center", fontsize=8, color=INK, zorder=9)
