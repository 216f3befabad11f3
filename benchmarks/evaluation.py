"""How evaluations scale: the expert's over workers, start of all processes included; a saved agent's over lanes."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.data import dataset, episodes
from navloop.agent.policy_agent import create_policy_agent
from navloop.agent.saving import save_agent
from navloop.configs.agents import AgentConfig
from navloop.configs.loader import dump
from navloop.configs.schema import EvalConfig
from navloop.training.evaluation import evaluate
from navloop.training.results import Evaluation, read_evaluation

EPISODES = 200
TURNS = 3
WALKED_BY_NETWORK = 16
"""Episodes of 500 steps each: the agent never stops, so that both ways walk the same."""


def run(console: Console, folder: Path, seconds: float) -> None:
    console.print(_workers(folder))
    console.print(_lanes(folder))


def _workers(folder: Path) -> Table:
    """Time the command as it ships (workers of another program would load again what that had loaded), both ways a user meets it.

    "walking" is what the command itself says it took, from the start of its processes to the last row; "from the shell" adds Python's
    own start, the loading of libraries and the closing table, about a second that no worker shortens.
    """
    table = Table(title=f"navloop eval, the expert, {EPISODES} episodes, houses@1, medians of {TURNS} turns")
    for column in ("workers", "walking", "steps/s", "SPL", "against one", "from the shell", "against one"):
        table.add_column(column, justify="right")
    _command(folder, 1)  # the files are in memory from then on
    turns = [[_command(folder, workers) for workers in (1, 2)] for _ in range(TURNS)]
    first: tuple[float, float] | None = None
    for workers, runs in zip((1, 2), zip(*turns, strict=True), strict=True):
        shell = statistics.median(spent for spent, _ in runs)
        walking = statistics.median(done.header.sessions[-1].seconds for _, done in runs)
        rows = runs[0][1].rows["expert"]
        first = first or (walking, shell)
        table.add_row(
            str(workers),
            f"{walking:.1f} s",
            f"{sum(len(row.actions) for row in rows) / walking:,.0f}",
            f"{sum(row.metrics.spl or 0.0 for row in rows) / len(rows):.3f}",
            f"{first[0] / walking:.2f} x",
            f"{shell:.1f} s",
            f"{first[1] / shell:.2f} x",
        )
    return table


def _command(folder: Path, workers: int) -> tuple[float, Evaluation]:
    run_dir = folder / f"eval_{workers}"
    shutil.rmtree(run_dir, ignore_errors=True)
    recipe = folder / "eval.yaml"
    recipe.write_text(dump(_config(folder, agents=("expert",), max_episodes=EPISODES, workers=workers)))
    command = [sys.executable, "-m", "navloop.training.cli", "eval", str(recipe), "--run-dir", str(run_dir)]
    began = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return time.perf_counter() - began, read_evaluation(run_dir)


def _lanes(folder: Path) -> Table:
    agent = create_policy_agent(AgentConfig(), ["walk past the sofa and stop at the door"])
    with torch.no_grad():
        agent.policy.heads.action.bias[0] = -100.0  # type: ignore[index, union-attr, operator]
    save_agent(agent, folder / "agent")
    table = Table(
        title=f"Evaluation of a saved tiny agent, {WALKED_BY_NETWORK} episodes of 500 steps, 64 px, one worker"
    )
    for column in ("lanes", "seconds", "steps/s", "against one lane"):
        table.add_column(column, justify="right")
    first = 0.0
    for lanes in (1, 4, 16):
        config = _config(
            folder, agents=(f"agent={folder}/agent",), max_episodes=WALKED_BY_NETWORK, workers=1, pixels=64, lanes=lanes
        )
        result, spent = _timed(config, folder / f"eval_lanes_{lanes}")
        first = first or spent
        steps = sum(len(row.actions) for row in result.rows["agent"])
        table.add_row(str(lanes), f"{spent:.1f}", f"{steps / spent:,.0f}", f"{first / spent:.2f} x")
    return table


def _config(folder: Path, **fields: object) -> EvalConfig:
    scenes, file = dataset(folder) / "scenes", episodes(folder)
    values = {"scenes": str(scenes), "episodes": str(file), "protocol": "houses", **fields}
    return EvalConfig.model_validate(values)


def _timed(config: EvalConfig, run_dir: Path) -> tuple[Evaluation, float]:
    began = time.perf_counter()
    result = evaluate(config, run_dir)
    return result, time.perf_counter() - began
