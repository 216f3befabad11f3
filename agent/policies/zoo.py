"""Policies by the kind that a configuration names."""

from __future__ import annotations

from collections.abc import Callable

import torch

from navloop.agent.percepts import Layout
from navloop.agent.policies.cma import CMAPolicy
from navloop.agent.policies.policy import Policy
from navloop.agent.policies.seq2seq import Seq2SeqPolicy
from navloop.agent.policies.streaming import StreamingPolicy
from navloop.agent.policies.words import Reader
from navloop.configs.agents import PolicyConfig
from navloop.encoders.text import TextTower

_POLICIES: dict[str, Callable[[PolicyConfig, Layout, Reader, TextTower | None], Policy]] = {
    "seq2seq": Seq2SeqPolicy,
    "cma": CMAPolicy,
    "streaming": StreamingPolicy,
}


def create_policy(
    config: PolicyConfig, layout: Layout, reader: Reader, tower: TextTower | None = None, *, seed: int = 0
) -> Policy:
    """Return a policy with random weights, on the CPU, in training mode.

    Args:
        config: Sizes and options.
        layout: Of the percepts that it reads, `Perception.layout`.
        reader: What turns texts into ids, from `create_reader`.
        tower: The encoder's text tower, `Perception.tower`; needed where `words.encoder` is tower.
        seed: The weights follow from it.

    Raises:
        ValueError: If it is to read by a tower and there is none.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _POLICIES[config.kind](config, layout, reader, tower)
