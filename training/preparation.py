"""What worker processes will need, loaded while this one prepares their work. Light itself: importing it costs nothing."""

from __future__ import annotations

from navloop.configs.entries import read_entry
from navloop.configs.schema import EvalConfig
from navloop.training.pool import start_server

_EMBEDDED = ("navloop.envs.embedded.simulator", "navloop.envs.embedded.renderer")


def prepare_workers(config: EvalConfig) -> None:
    """Begin to load, in the background, what the workers of an evaluation need (`navloop.training.pool.start_server`).

    Where no agent has a network, that is no torch, and no renderer: the others look at nothing.
    """
    sees = any(read_entry(entry).is_folder for entry in config.agents)
    modules = ["navloop.training.workers", "navloop.agent.baselines", "navloop.agent.experts"]
    if config.world == "embedded":
        modules += _EMBEDDED if sees else _EMBEDDED[:1]
    if sees:
        modules.append("navloop.agent.saving")
    start_server(modules)


def prepare_crew(world: str) -> None:
    """Begin to load, in the background, what the workers need that make walks to learn from: seconds, spent once and not by each of them."""
    modules = ["navloop.training.collection"]
    if world == "embedded":
        modules += _EMBEDDED
    start_server(modules)
