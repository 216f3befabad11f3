"""The agent over a perception and a policy: one environment at a time, or many in one batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from navloop.agent.perception import Perception
from navloop.agent.policies import ACTIONS, Policy, create_policy
from navloop.agent.policies.policy import PolicyState
from navloop.agent.policies.words import Reader, TowerReader, Vocabulary
from navloop.configs.agents import AgentConfig, PolicyConfig
from navloop.envs.navigation import NavigationEnv, Observation
from navloop.envs.protocols import Protocol

TURN_TOLERANCE = 1e-3
"""Radians by which a protocol's turn may differ from the one that a policy reckons with."""


class PolicyAgent:
    """An `Agent` and a `BatchAgent`: walks one environment by `reset` and `act`, or many by `start`, `restart`, `act_all`.

    What an environment is told to do does not depend on the others in the batch, but for the last digits of sums.

    Args:
        config: What the parts were made from; it is saved with them.
        perception: What it sees with.
        policy: What decides.
        protocol: Label of the protocol that it was trained under; empty if it was not.
        temperature: Of the softmax that actions are drawn from; 0 takes the likeliest.

    Attributes:
        percepts: What was seen in the last call, float32 (E, n, D), a row a place; None before the first.
        scores: Logits of the last call, float32 (E, ACTIONS), a row a place; None before the first.
    """

    percepts: Tensor | None = None
    scores: Tensor | None = None

    def __init__(
        self,
        config: AgentConfig,
        perception: Perception,
        policy: Policy,
        *,
        protocol: str = "",
        temperature: float = 0.0,
    ) -> None:
        if temperature < 0:
            raise ValueError(f"temperature is {temperature}; it is 0 for the likeliest action, or above")
        self.config, self.perception, self.policy = config, perception, policy
        self.protocol, self.temperature = protocol, temperature
        self._places: list[_Place] = []
        self._state: PolicyState | None = None

    @property
    def looks_at(self) -> frozenset[str]:
        """Names of the cameras whose frames it uses."""
        return self.perception.cameras

    def to(self, device: torch.device | str) -> PolicyAgent:
        """Move the parts to a device; return the agent itself."""
        self.perception.to(device)
        self.policy.to(device)
        return self

    def eval(self) -> PolicyAgent:
        """Put both parts in eval mode, as for acting; return the agent itself."""
        self.perception.eval()
        self.policy.eval()
        return self

    def reset(self, env: NavigationEnv, seed: int) -> None:
        """Start an episode in the one environment."""
        self.start(1)
        self.restart(0, env, seed)

    def act(self, observation: Observation, info: dict[str, Any]) -> int:
        """Return the action for the newest observation of the one environment."""
        return self.act_all([0], [observation], [info])[0]

    def start(self, environments: int) -> None:
        """Make room for E environments; every place must be restarted before it acts."""
        self._places = [_Place() for _ in range(environments)]
        self._state = None
        self.perception.start(environments)

    def restart(self, place: int, env: NavigationEnv, seed: int) -> None:
        """Start an episode at a place; its instruction is that of its next observation.

        Raises:
            ValueError: If the environment's turns are not those that the policy reckons with.
        """
        check_turn(self.config.policy, env.protocol)
        self._places[place].restart(np.random.default_rng(seed))

    def act_all(
        self, places: Sequence[int], observations: Sequence[Observation], infos: Sequence[dict[str, Any]]
    ) -> list[int]:
        """Return an action for each of these places, given their newest observations, in the same order.

        Raises:
            ValueError: If a place is not restarted, or frames differ in size.
        """
        self._check(places)
        training = [part for part in (self.policy, self.perception.encoder) if part.training]
        for part in training:  # a walk is heard, seen and walked without dropout
            part.eval()
        try:
            self._restart_new(places, observations)
            seen = self._see(places, observations)
            previous = torch.tensor([place.previous for place in self._places], device=seen.device)
            state = self._state
            assert state is not None
            output = self.policy.step(seen, previous, state)
        finally:
            for part in training:
                part.train()
        self.percepts, self.scores = seen, output.logits.float()
        rows = self.scores.cpu().double().numpy()
        actions = [self._places[place].choose(rows[place], self.temperature) for place in places]
        for place, action in zip(places, actions, strict=True):
            self._places[place].previous = action
        return actions

    def override(self, place: int, action: int) -> None:
        """Say that a place takes another action than the last `act_all` chose for it; before the next call."""
        self._places[place].previous = int(action)

    def _check(self, places: Sequence[int]) -> None:
        for number, place in enumerate(self._places):
            if number not in places:
                place.walks = False
            elif not place.walks:
                raise ValueError(f"place {number} has no walk; call restart({number}, env, seed) after its env.reset()")

    def _restart_new(self, places: Sequence[int], observations: Sequence[Observation]) -> None:
        new = [
            (place, o["instruction"]) for place, o in zip(places, observations, strict=True) if self._places[place].new
        ]
        if not new:
            return
        numbers, texts = [place for place, _ in new], [text for _, text in new]
        if self._state is None:
            everywhere = dict(zip(numbers, texts, strict=True))
            texts = [everywhere.get(place, "") for place in range(len(self._places))]
            self._state = self.policy.begin(self.policy.read(texts))
        else:
            self.policy.restart(self._state, numbers, self.policy.read(texts))
        self.perception.restart(numbers)
        for place in numbers:
            self._places[place].new = False

    def _see(self, places: Sequence[int], observations: Sequence[Observation]) -> Tensor:
        """Return percepts of all places; those that have no walk see black."""
        stacked = {}
        for camera in sorted(self.looks_at):
            first = observations[0][camera]
            frames = np.zeros((len(self._places), *first.shape), first.dtype)
            for place, observation in zip(places, observations, strict=True):
                frames[place] = observation[camera]
            stacked[camera] = frames
        return self.perception.see(stacked["rgb"], stacked.get("depth"))


class _Place:
    """One environment's walk."""

    def __init__(self) -> None:
        self.walks = self.new = False
        self.previous = ACTIONS

    def restart(self, rng: np.random.Generator) -> None:
        self.walks = self.new = True
        self.previous, self._rng = ACTIONS, rng

    def choose(self, logits: np.ndarray[Any, np.dtype[np.float64]], temperature: float) -> int:
        if temperature == 0:
            return int(logits.argmax())
        return int((logits / temperature + self._rng.gumbel(size=len(logits))).argmax())


def create_policy_agent(
    config: AgentConfig, texts: Sequence[str] = (), *, protocol: str = "", seed: int = 0
) -> PolicyAgent:
    """Return an agent with a policy of random weights, on the CPU.

    Args:
        config: Of the agent.
        texts: Training instructions, whose words the policy will know; of no concern to one that reads by the tower.
        protocol: Label of the protocol that it is trained under.
        seed: The policy's weights follow from it.

    Raises:
        ValueError: If perception or policy cannot be made so; the message says what can.
    """
    perception = Perception(config.perception)
    reader = create_reader(config.policy, perception, texts)
    policy = create_policy(config.policy, perception.layout, reader, perception.tower, seed=seed)
    return PolicyAgent(config, perception, policy, protocol=protocol)


def create_reader(config: PolicyConfig, perception: Perception, texts: Sequence[str]) -> Reader:
    """Return what turns instructions into ids for a policy.

    Raises:
        ValueError: If it must learn words from texts and there are none, or read by a tower that is not there.
    """
    words = config.words
    if words.encoder == "tower":
        if perception.tower is None:
            raise ValueError("words.encoder is tower, but the encoder has no text tower; take gru or transformer")
        return TowerReader(perception.tower.config.context)
    vocabulary = Vocabulary.of(texts, words.min_count, words.max_words)
    if not vocabulary.words:
        raise ValueError("the training instructions have no words to learn; pass their texts")
    return vocabulary


def check_turn(config: PolicyConfig, protocol: Protocol) -> None:
    """Refuse a protocol whose turns are not those that a policy reckons with.

    Raises:
        ValueError: Naming both angles.
    """
    turn = protocol.body.turn
    if config.turn_deg is not None and abs(math.radians(config.turn_deg) - turn) > TURN_TOLERANCE:
        raise ValueError(
            f"the policy reckons with turns of {config.turn_deg:g} degrees, {protocol.label} turns by "
            f"{math.degrees(turn):g}; take turn_deg={math.degrees(turn):g} and train it, or another protocol"
        )
