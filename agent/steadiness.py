"""What keeps an agent from turning left and right forever: turns on the spot that come to nothing are not taken again."""

from __future__ import annotations

import math

from navloop.envs.simulator import Action

_TURNS = (int(Action.LEFT), int(Action.RIGHT))
_BACKS = 1
"""Times that a walker may turn back before its next step: once it may have turned too far."""


class Turns:
    """The turns of a walker since its last step forward.

    A network that saw the same two views before may choose between them until the episode runs out, for nothing in what it sees
    changes. No walk needs more than one change of mind on the spot, nor more turns there than once around.

    Args:
        angle: Of a turn, radians.
    """

    def __init__(self, angle: float) -> None:
        self._most = math.ceil(2 * math.pi / angle - 1e-9)
        self._step()

    def note(self, action: int) -> None:
        """Take notice of what the walker did."""
        if action not in _TURNS:
            self._step()
            return
        self._backs += self._last not in (None, action)
        self._last, self._count = action, self._count + 1

    def barred(self) -> list[int]:
        """Return the turns that would come to nothing."""
        if self._count >= self._most:
            return list(_TURNS)
        if self._backs < _BACKS:
            return []
        return [turn for turn in _TURNS if turn != self._last]

    def _step(self) -> None:
        self._last: int | None = None
        self._count = self._backs = 0
