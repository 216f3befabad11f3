"""The table of what an encoder was measured to be."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from navloop.training.perception.outcomes import Outcome, Perception
from navloop.training.perception.results import Score

_ARROWS = {"up": " ↑", "down": " ↓", "none": ""}


def print_perception(run: Perception, console: Console) -> None:
    """Print every number of a run with its interval, and what it was measured on."""
    missing = run.tasks - len(run.outcomes)
    title = f"{run.encoder}, {run.weights or 'random weights'}" + (f"  ({missing} tasks missing)" if missing else "")
    table = Table(
        box=SIMPLE_HEAD,
        title=f"{title}\n[not bold]weights {run.digest}  seed {run.seed}[/]",
        title_justify="left",
        title_style="bold",
        padding=(0, 1, 0, 1),
        caption=_caption(run),
        caption_justify="left",
    )
    table.add_column("task", style="bold")
    for column in ("", "value", "95% interval", "chance", "over", "scenes"):
        table.add_column(column, justify="left" if not column else "right", no_wrap=True)
    for outcome in run.outcomes:
        for place, score in enumerate(outcome.findings.scores):
            last = place == len(outcome.findings.scores) - 1
            table.add_row(_words(outcome) if place == 0 else "", *_cells(score), end_section=last)
    console.print(table)


def _words(outcome: Outcome) -> str:
    return f"{outcome.title}\n[dim]{outcome.unreadable} unreadable[/dim]" if outcome.unreadable else outcome.title


def _cells(score: Score) -> list[str]:
    ends = (
        "–"
        if score.low is None or score.high is None
        else f"{number_of(score.low, score)} – {number_of(score.high, score)}"
    )
    chance = "" if score.chance is None else number_of(score.chance, score)
    unit = " %" if score.kind == "share" else ""
    return [
        f"{score.metric}{unit}{_ARROWS[score.better]}",
        number_of(score.value, score),
        f"[dim]{ends}[/dim]",
        f"[dim]{chance}[/dim]",
        str(score.units),
        str(score.scenes),
    ]


def number_of(value: float, score: Score) -> str:
    """Return a value as tables show those of a score: shares in percent."""
    if score.kind == "number":
        return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
    return "100" if value == 1 else f"{100 * value:.1f}"


def _caption(run: Perception) -> str:
    first = next((used for outcome in run.outcomes for used in outcome.data.values()), None)
    if first is None:
        return ""
    shown = first["shown"]
    views = f"{shown['clips']} x {shown['crops']} views" if shown["clips"] * shown["crops"] > 1 else "one view"
    words = f"{run.outcomes[0].title}: {shown['frames']} frames ({shown['sampler']}) of {shown['size']} px, {views}."
    return (
        f"{words} Intervals are over scenes and videos; chance is the best answer that looks at nothing.\n"
        f"All else: {run.folder / 'results.json'}"
    )
