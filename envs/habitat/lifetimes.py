"""Simulators that live in one process: they share the first one's OpenGL context, and end with the process if that is closed under them."""

from __future__ import annotations

import atexit
from pathlib import Path
from typing import Any

KEPT_BYTES = 256 * 2**20
"""Scene files that one simulator may hold at once. To let go of them costs little on a GPU; on the processor, habitat-sim then computes
its light anew, for a quarter of a minute."""


class Lifetime:
    """The life of one of habitat-lab's simulators, from its making to its closing.

    Args:
        simulator: habitat-lab's, with a scene.
    """

    _all: list[Lifetime] = []  # noqa: RUF012 (of the process, in the order of making)

    def __init__(self, simulator: Any) -> None:
        self._simulator = simulator
        self._ended = False
        self._held: dict[str, int] = {}
        self._hold(simulator.habitat_config.scene)
        self._all.append(self)

    def enter(self, config: Any, episode: Any = None) -> None:
        """Load the scene that the configuration names; those before it stay in memory while they are few and small."""
        crowded = self._may_let_go and self._is_crowded_by(config.scene)
        if crowded:
            self._held.clear()
        self._hold(config.scene)
        type(self._simulator).reconfigure(self._simulator, config, episode, should_close_on_new_scene=crowded)

    def holds(self, scene: str) -> bool:
        """Whether a scene is in memory."""
        return scene in self._held

    def has_room_for(self, scene: str) -> bool:
        """Whether a scene can be loaded without holding more than is kept."""
        return self._may_let_go or not self._is_crowded_by(scene)

    def end(self) -> None:
        """Close the simulator, or let it be closed with the last of those that share its context; safe to call twice."""
        self._ended = True
        if all(life._ended for life in self._all):
            _close_all()

    @property
    def _may_let_go(self) -> bool:
        """Whether its scenes can be freed: the first one's not while others draw in its context."""
        return self._all[0] is not self or len(self._all) == 1

    def _is_crowded_by(self, scene: str) -> bool:
        return scene not in self._held and sum(self._held.values()) + _size(scene) > KEPT_BYTES

    def _hold(self, scene: str) -> None:
        self._held[scene] = _size(scene)


@atexit.register
def _close_all() -> None:
    """Close every simulator, the first last; at the end of the process, whatever was forgotten."""
    while Lifetime._all:
        Lifetime._all.pop()._simulator.close(destroy=True)


def _size(scene: str) -> int:
    """Bytes of a scene; of an instance, which is made of many files, enough to be let go of next."""
    path = Path(scene)
    return path.stat().st_size if path.is_file() else KEPT_BYTES
