"""What stands between the environment and libraries that know arrays alone."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from navloop.envs.navigation import Observation


class InstructionBytes(gymnasium.ObservationWrapper[Observation, np.int64, Observation]):
    """Gives the instruction as its UTF-8 bytes, so that stable-baselines3 takes the observation; nothing is lost.

    "instruction" becomes uint8 (L,), padded with zeros; `decode_instruction` is the way back.

    Args:
        env: An environment with a text space "instruction".
        length: L; None takes the most bytes that a text of the space can have.
    """

    def __init__(self, env: gymnasium.Env[Observation, np.int64], length: int | None = None) -> None:
        super().__init__(env)
        space = env.observation_space
        if not isinstance(space, spaces.Dict) or not isinstance(space.spaces.get("instruction"), spaces.Text):
            raise TypeError(f"expected a Dict with a text space 'instruction', got {space}")
        text = space["instruction"]
        assert isinstance(text, spaces.Text)
        self.length = length or text.max_length * max(len(character.encode()) for character in text.character_set)
        box = spaces.Box(0, 255, (self.length,), np.uint8)
        self.observation_space = spaces.Dict({**space.spaces, "instruction": box})

    def observation(self, observation: Observation) -> Observation:
        """Return the observation with the instruction's bytes (L,).

        Raises:
            ValueError: If it has more than L.
        """
        data = observation["instruction"].encode()
        if len(data) > self.length:
            raise ValueError(
                f"an instruction has {len(data)} bytes, more than {self.length}; make InstructionBytes longer"
            )
        padded = np.zeros(self.length, np.uint8)
        padded[: len(data)] = np.frombuffer(data, np.uint8)
        return {**observation, "instruction": padded}


def decode_instruction(data: NDArray[Any]) -> str:
    """Return the text of the bytes (L,) that `InstructionBytes` gives."""
    return np.asarray(data, np.uint8).tobytes().rstrip(b"\0").decode()
