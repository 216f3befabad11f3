"""What a step of an agent over a policy costs: perception and policy together, over environments and along the walk.

Frames are noise of 128 x 128 pixels that wait in memory; no world is simulated.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from navloop.agent.policies import ACTIONS
from navloop.agent.policy_agent import PolicyAgent, create_policy_agent
from navloop.configs.agents import AgentConfig, PerceptionConfig, PolicyConfig

ENCODER = "internvideo_mm_tiny_p16_t4"
TEXT = (
    "Leave the bedroom and turn left. Walk down the hall, past the paintings, and stop at the second door on the right."
)
EARLY, LATE, AROUND = 10, 400, 5
"""Steps of a walk that are compared, each by the lower quartile of those around it: other work only ever adds."""
ROUNDS = 5


def run(console: Console, folder: Path, seconds: float) -> None:
    console.print(_along_batches(seconds))
    console.print(_along_walks())


def _along_batches(seconds: float) -> Table:
    table = Table(title=f"Steps/s of perception ({ENCODER}) and policy (width 128), {torch.get_num_threads()} threads")
    table.add_column("policy")
    for environments in (1, 4, 16):
        table.add_column(f"E = {environments}", justify="right")
    table.add_column("perception's share, E = 16", justify="right")
    for kind in ("seq2seq", "cma", "streaming"):
        agent = _agent(kind)
        paces, share = [], 0.0
        for environments in (1, 4, 16):
            steps, spent, seeing = 0, 0.0, 0.0
            walk = _Walk(agent, environments)
            walk.step()
            while spent < seconds:
                total, saw = walk.step()
                steps, spent, seeing = steps + environments, spent + total, seeing + saw
            paces.append(f"{steps / spent:,.0f}")
            share = seeing / spent
        table.add_row(kind, *paces, f"{share:.0%}")
    return table


def _along_walks() -> Table:
    table = Table(title="A policy's step along the walk, perception apart")
    for column in ("policy", "environments", f"step {EARLY}", f"step {LATE}", "ratio"):
        table.add_column(column, justify="left" if column == "policy" else "right")
    for kind in ("cma", "streaming"):
        agent = _agent(kind)
        for environments in (1, 16):
            early, late = _ages(agent, environments)
            table.add_row(
                kind, str(environments), f"{early * 1e3:.2f} ms", f"{late * 1e3:.2f} ms", f"{late / early:.2f}"
            )
    return table


def _ages(agent: PolicyAgent, environments: int) -> tuple[float, float]:
    """Return the seconds of early and late steps; a fresh walk takes turns with a long one, step by step."""
    policy, layout = agent.policy, agent.perception.layout
    percepts = torch.randn(environments, layout.tokens, layout.width, generator=torch.Generator().manual_seed(0))
    previous = torch.ones(environments, dtype=torch.int64)
    instructions = policy.read([TEXT] * environments)
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        old, young = policy.begin(instructions), policy.begin(instructions)
        for _ in range(LATE - EARLY):
            policy.step(percepts, previous, old)
        for _ in range(EARLY - AROUND):
            policy.step(percepts, previous, young)
            policy.step(percepts, previous, old)
        for _ in range(2 * AROUND):
            for state, spent in ((young, times[0]), (old, times[1])):
                began = time.perf_counter()
                policy.step(percepts, previous, state)
                spent.append(time.perf_counter() - began)
    return statistics.quantiles(times[0])[0], statistics.quantiles(times[1])[0]


def _agent(kind: str) -> PolicyAgent:
    config = AgentConfig(
        perception=PerceptionConfig(encoder=ENCODER),
        policy=PolicyConfig.model_validate({"kind": kind, "turn_deg": 15.0}),
    )
    return create_policy_agent(config, [TEXT]).eval()


class _Walk:
    """E environments that never end."""

    def __init__(self, agent: PolicyAgent, environments: int) -> None:
        rng = np.random.default_rng(0)
        self._agent = agent
        self._frames = rng.integers(0, 256, (8, environments, 128, 128, 3), dtype=np.uint8)
        self._previous = torch.full((environments,), ACTIONS)
        self._steps = 0
        agent.perception.start(environments)
        self._state = agent.policy.begin(agent.policy.read([TEXT] * environments))

    def step(self) -> tuple[float, float]:
        """Take a step; return its seconds, and those of perception."""
        began = time.perf_counter()
        percepts = self._agent.perception.see(self._frames[self._steps % 8])
        saw = time.perf_counter()
        output = self._agent.policy.step(percepts, self._previous, self._state)
        self._previous = output.logits[:, 1:].argmax(-1) + 1
        self._steps += 1
        return time.perf_counter() - began, saw - began
