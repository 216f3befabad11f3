"""navloop: InternVideo encoders as the eyes of agents that follow directions in Habitat, and the loop back.

The names below are the public surface; each is loaded from its home when it is first asked for.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

__version__ = version("navloop")
__all__ = [
    "Agent",
    "EncoderOutput",
    "Episode",
    "NavigationEnv",
    "Protocol",
    "Trajectory",
    "VectorNavigationEnv",
    "VideoEncoder",
    "create_agent",
    "create_encoder",
    "create_simulator",
    "create_stream",
    "evaluate",
    "generate_dataset",
    "get_protocol",
    "list_agents",
    "list_encoders",
    "list_protocols",
    "load_config",
    "load_encoder",
    "make_houses",
    "make_vln",
    "read_episodes",
    "save_encoder",
]

if TYPE_CHECKING:
    from navloop.agent import Agent, create_agent, list_agents
    from navloop.configs.loader import load as load_config
    from navloop.encoders import (
        EncoderOutput,
        VideoEncoder,
        create_encoder,
        create_stream,
        list_encoders,
        load_encoder,
        save_encoder,
    )
    from navloop.envs.episodes import read_episodes
    from navloop.envs.houses.datasets import generate_dataset
    from navloop.envs.navigation import NavigationEnv
    from navloop.envs.protocols import Protocol, get_protocol, list_protocols
    from navloop.envs.vector import VectorNavigationEnv
    from navloop.envs.worlds import create_simulator, make_houses, make_vln
    from navloop.records import Episode, Trajectory
    from navloop.training.evaluation import evaluate
else:
    _HOME = {
        "Agent": "agent:Agent",
        "EncoderOutput": "encoders:EncoderOutput",
        "Episode": "records:Episode",
        "NavigationEnv": "envs.navigation:NavigationEnv",
        "Protocol": "envs.protocols:Protocol",
        "Trajectory": "records:Trajectory",
        "VectorNavigationEnv": "envs.vector:VectorNavigationEnv",
        "VideoEncoder": "encoders:VideoEncoder",
        "create_agent": "agent:create_agent",
        "create_encoder": "encoders:create_encoder",
        "create_simulator": "envs.worlds:create_simulator",
        "create_stream": "encoders:create_stream",
        "evaluate": "training.evaluation:evaluate",
        "generate_dataset": "envs.houses.datasets:generate_dataset",
        "get_protocol": "envs.protocols:get_protocol",
        "list_agents": "agent:list_agents",
        "list_encoders": "encoders:list_encoders",
        "list_protocols": "envs.protocols:list_protocols",
        "load_config": "configs.loader:load",
        "load_encoder": "encoders:load_encoder",
        "make_houses": "envs.worlds:make_houses",
        "make_vln": "envs.worlds:make_vln",
        "read_episodes": "envs.episodes:read_episodes",
        "save_encoder": "encoders:save_encoder",
    }

    def __getattr__(name):
        if name not in _HOME:
            raise AttributeError(f"module 'navloop' has no attribute {name!r}")
        module, attribute = _HOME[name].split(":")
        return getattr(import_module(f"navloop.{module}"), attribute)

    def __dir__():
        # What the facade is made with would stand in the way of what it offers.
        return sorted({*globals(), *__all__} - {"TYPE_CHECKING", "import_module", "version"})
