"""An environment that draws no more than is looked at: where an agent carries out a plan, most frames would be thrown away."""

from __future__ import annotations

from collections.abc import Callable

from navloop.envs.navigation import NavigationEnv, Observation


class GlancingEnv(NavigationEnv):
    """Draws a frame where somebody attends; else its observations have the frames of the last look.

    Attributes:
        attends: Asked at each `observe`; None draws every frame, as any environment.
    """

    attends: Callable[[], bool] | None = None

    def observe(self) -> Observation:
        """See `NavigationEnv.observe`."""
        if self._frames and self.attends is not None and not self.attends():
            return {**self._frames, "instruction": self.episode.instruction.text}
        return super().observe()
