"""The far side of the vector environment: one process, one environment, frames written where the parent sees them."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import CloudpickleWrapper

Frames = dict[str, np.ndarray[Any, Any]]


class SharedFrames:
    """Frames (E, ...) of every Box of an observation, in memory that all processes see."""

    def __init__(self, space: spaces.Space[Any], num_envs: int, context: BaseContext) -> None:
        if not isinstance(space, spaces.Dict):
            raise TypeError(f"expected a Dict of boxes and an instruction, got {space}")
        self._layout = {
            name: ((num_envs, *box.shape), np.dtype(box.dtype))
            for name, box in space.items()
            if isinstance(box, spaces.Box)
        }
        self._buffers = {
            name: context.RawArray("B", int(np.prod(shape)) * dtype.itemsize)
            for name, (shape, dtype) in self._layout.items()
        }

    def views(self) -> Frames:
        """Return the frames of all environments, arrays (E, ...), without a copy."""
        return {
            name: np.frombuffer(self._buffers[name], dtype).reshape(shape)
            for name, (shape, dtype) in self._layout.items()
        }


def serve(make: CloudpickleWrapper, pipe: Connection, memory: SharedFrames, index: int, same_step: bool) -> None:
    """Serve one environment until told to close; a failure is told to the parent, and ends the process."""
    frames = {name: array[index] for name, array in memory.views().items()}
    try:
        env = make.fn()
        while True:
            command, data = pipe.recv()
            if command == "close":
                env.close()
                break
            pipe.send((True, _COMMANDS[command](env, data, frames, same_step)))
    except (EOFError, KeyboardInterrupt):
        pass  # the parent is gone or going; nobody is left to tell
    except Exception:  # noqa: BLE001 (the parent raises it, with this traceback)
        pipe.send((False, traceback.format_exc()))


Answer = tuple[str | None, Any]
"""What goes through the pipe: the instruction of the frames now in memory (None if they did not change), and the rest."""


def _publish(observation: dict[str, Any], frames: Frames) -> str:
    for name, target in frames.items():
        target[...] = observation[name]
    return str(observation["instruction"])


def _reset(env: Any, data: dict[str, Any], frames: Frames, same_step: bool) -> Answer:
    observation, info = env.reset(**data)
    return _publish(observation, frames), info


def _step(env: Any, action: int, frames: Frames, same_step: bool) -> Answer:
    observation, reward, terminated, truncated, info = env.step(action)
    if same_step and (terminated or truncated):
        final = {"final_obs": observation, "final_info": info}
        observation, info = env.reset()
        info = {**info, **final}
    return _publish(observation, frames), (reward, terminated, truncated, info)


def _call(env: Any, data: tuple[str, tuple[Any, ...]], frames: Frames, same_step: bool) -> Answer:
    name, args = data
    attribute = getattr(env.unwrapped, name)
    return None, attribute(*args) if callable(attribute) else attribute


_COMMANDS: dict[str, Callable[..., Answer]] = {"reset": _reset, "step": _step, "call": _call}
