"""What walks to learn from cost: the bare environment, the expert's walks, DAgger's, each on one thread of one process."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.data import dataset, episodes
from navloop.agent.policy_agent import PolicyAgent, create_policy_agent
from navloop.configs.agents import AgentConfig, PolicyConfig
from navloop.configs.imitation import EpisodesConfig
from navloop.envs.episodes import read_episodes
from navloop.envs.navigation import NavigationEnv
from navloop.envs.worlds import create_simulator
from navloop.records import Episode
from navloop.training.rollouts import Rollouts, Rules, protocol_of

LANES, PIXELS, STEPS = 16, 64, 60


def run(console: Console, folder: Path, seconds: float) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    config = EpisodesConfig(scenes=str(dataset(folder) / "scenes"), train=str(episodes(folder)), pixels=PIXELS)
    walked = list(read_episodes(episodes(folder)).episodes)
    agent = create_policy_agent(
        AgentConfig(policy=PolicyConfig(turn_deg=15.0)), [e.instruction.text for e in walked]
    ).eval()
    table = Table(title=f"Walks to learn from, {PIXELS} px, frames/s")
    table.add_column("what")
    table.add_column("frames/s", justify="right")
    bare = _bare(config, walked, seconds)
    table.add_row("the environment alone, random actions", f"{bare:,.0f}")
    for words, acts, beta in (
        ("the expert's walks, frames kept", None, 1.0),
        (f"DAgger, beta 0.5, streaming policy, {LANES} lanes, frames and percepts kept", agent, 0.5),
    ):
        pace = _collected(config, walked, acts, beta, seconds)
        table.add_row(words, f"{pace:,.0f} ({pace / bare:.0%})")
    console.print(table)
    torch.set_num_threads(threads)


def _bare(config: EpisodesConfig, walked: Sequence[Episode], seconds: float) -> float:
    protocol = protocol_of(config)
    env = NavigationEnv(create_simulator("embedded", config.scenes, protocol), walked, protocol)
    rng, steps, spent = np.random.default_rng(0), 0, 0.0
    for episode in _one_a_scene(walked):
        env.reset(options={"episode": walked.index(episode)})
    for number in itertools.cycle(range(len(walked))):
        began = time.perf_counter()
        env.reset(options={"episode": number})
        for _ in range(STEPS):
            env.step(int(rng.integers(1, 4)))
        steps, spent = steps + STEPS, spent + time.perf_counter() - began
        if spent > seconds:
            break
    env.close()
    return steps / spent


def _collected(
    config: EpisodesConfig, walked: Sequence[Episode], agent: PolicyAgent | None, beta: float, seconds: float
) -> float:
    """Return frames a second, after one walk in each scene has loaded them all."""
    rollouts = Rollouts(config, protocol_of(config), LANES)
    rules = Rules(beta=beta, early_stop=True, max_steps=STEPS)
    for _ in rollouts.collect(None, _one_a_scene(walked), Rules(beta=1.0), 0):
        pass
    frames, spent = 0, 0.0
    for seed in itertools.count():
        if spent > seconds:
            break
        began = time.perf_counter()  # whole collections: walks under way would be paid for and not counted
        frames += sum(len(rollout.walk.actions) for rollout in rollouts.collect(agent, walked, rules, seed))
        spent += time.perf_counter() - began
    rollouts.close()
    return frames / spent


def _one_a_scene(walked: Sequence[Episode]) -> list[Episode]:
    return list({episode.scene_id: episode for episode in walked}.values())
