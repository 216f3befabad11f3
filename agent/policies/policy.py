"""What every policy is to the rest of the library: whole walks in training, one step of E environments when it acts.

Both ways give the same numbers. Axes: B walks, E environments, S steps, n tokens a step, D width of a token, L words.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from navloop.agent.policies.parts import ACTIONS
from navloop.agent.policies.words import Instructions, Reader
from navloop.configs.agents import PolicyConfig

__all__ = ["ACTIONS", "Instructions", "Policy", "PolicyOutput", "PolicyState", "WalkBatch"]


@dataclass(frozen=True, slots=True)
class WalkBatch:
    """B walks side by side, as long as the longest; what lies behind a walk's end changes nothing."""

    percepts: Tensor
    """float (B, S, n, D), of any float type, from `Perception`."""
    instructions: Instructions
    """Of the B walks."""
    previous_actions: Tensor
    """int64 (B, S), the action taken before each step; `ACTIONS` at a walk's first."""
    valid: Tensor
    """bool (B, S), True where a walk has that step; all of a walk's steps come first."""

    def __post_init__(self) -> None:
        shape = tuple(self.percepts.shape[:2])
        for name in ("previous_actions", "valid"):
            found = tuple(getattr(self, name).shape)
            if found != shape:
                raise ValueError(f"WalkBatch.{name} is {found}; percepts are of {shape[0]} walks of {shape[1]} steps")
        if len(self.instructions) != shape[0]:
            raise ValueError(f"WalkBatch.instructions are {len(self.instructions)}, for {shape[0]} walks")

    def to(self, device: torch.device | str) -> WalkBatch:
        """Return the batch on a device."""
        return WalkBatch(
            self.percepts.to(device, non_blocking=True),
            self.instructions.to(device),
            self.previous_actions.to(device, non_blocking=True),
            self.valid.to(device, non_blocking=True),
        )


@dataclass(frozen=True, slots=True)
class PolicyOutput:
    """What a policy makes of B walks of S steps, or of one step of E environments, where the axes are (E,)."""

    logits: Tensor
    """float (B, S, ACTIONS), of the next action; softmax gives probabilities."""
    progress: Tensor | None
    """float (B, S), predicted (d_start - d_now) / d_start; None if the policy does not predict it."""
    state: Tensor
    """float (B, S, W), what both were read from; other heads may read it too."""


@dataclass(slots=True)
class PolicyState:
    """What E environments carry from step to step. Each policy has its own parts; their first axis after any is E."""

    words: Any
    """What the policy made of the instructions."""
    memory: Any
    """What it keeps of the walks."""
    pose: Tensor
    """float (E, 4): forward and left of the start in steps, heading in radians, steps taken; reckoned from the actions."""


class Policy(nn.Module, ABC):
    """Chooses actions from percepts, an instruction, and what it remembers of the walk.

    Attributes:
        config: What it was made from.
        reader: What turns texts into `Instructions`; a `Vocabulary`, unless it reads by the encoder's tower.
    """

    config: PolicyConfig
    reader: Reader

    def read(self, texts: Sequence[str]) -> Instructions:
        """Return texts as this policy reads them, on the CPU."""
        return self.reader.read(texts)

    @abstractmethod
    def forward(self, batch: WalkBatch) -> PolicyOutput:
        """Return logits and progress at every step of whole walks; no step depends on later ones."""

    @abstractmethod
    def begin(self, instructions: Instructions) -> PolicyState:
        """Return the state of E environments at their starts, one for each of the E instructions."""

    @abstractmethod
    def restart(self, state: PolicyState, places: Sequence[int], instructions: Instructions) -> None:
        """Let the environments at `places` start anew, in place; the others go on.

        Args:
            state: Of E environments.
            places: Which of them, each in [0, E).
            instructions: One for each of the places.
        """

    @abstractmethod
    def step(self, percepts: Tensor, previous_actions: Tensor, state: PolicyState) -> PolicyOutput:
        """Take one step with every environment.

        Args:
            percepts: float (E, n, D).
            previous_actions: int64 (E,); `ACTIONS` where a walk starts.
            state: Changed in place.

        Returns:
            logits (E, ACTIONS) and progress (E,) or None, without gradients.
        """
