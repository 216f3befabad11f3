"""How an evaluation of the expert scales from one worker to two, start of the processes included."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.data import dataset, episodes
from navloop.configs.schema import EvalConfig
from navloop.training.evaluation import evaluate

EPISODES = 200


def run(console: Console, folder: Path, seconds: float) -> None:
    table = Table(title=f"Evaluation of the expert, {EPISODES} episodes, houses@1")
    for column in ("workers", "seconds", "steps/s", "SPL", "against one worker"):
        table.add_column(column, justify="right")
    first = 0.0
    for workers in (1, 2):
        config = EvalConfig(
            scenes=str(dataset(folder) / "scenes"),
            episodes=str(episodes(folder)),
            protocol="houses",
            agents=("expert",),
            max_episodes=EPISODES,
            workers=workers,
        )
        began = time.perf_counter()
        result = evaluate(config, folder / f"eval_{workers}")
        spent = time.perf_counter() - began
        first = first or spent
        rows = result.rows["expert"]
        steps, spl = sum(len(row.actions) for row in rows), sum(row.metrics.spl or 0.0 for row in rows) / len(rows)
        table.add_row(str(workers), f"{spent:.1f}", f"{steps / spent:,.0f}", f"{spl:.3f}", f"{first / spent:.2f} x")
    console.print(table)
