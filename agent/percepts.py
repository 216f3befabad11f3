"""How a step's percepts lie in their tokens: what `Perception` writes and policies read."""

from __future__ import annotations

from dataclasses import dataclass

DEPTH_SIDE = 32
"""Height and width that a depth frame is pooled to."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The n tokens of one step, each of width D, in this order.

    The newest frame's patches pooled to grid x grid, row by row from the top left; a summary of that frame; the vector
    of the clip, if there is one; the depth frame of `DEPTH_SIDE` x `DEPTH_SIDE` metres, written on through as many
    tokens as it takes. What is narrower than a token ends in zeros.

    Attributes:
        grid: Tokens along the height and along the width of the frame.
        width: Width D of a token.
        clip: Whether the clip's vector is there.
        depth: Whether the depth frame is there.
    """

    grid: int
    width: int
    clip: bool = False
    depth: bool = False

    @property
    def visual(self) -> int:
        """Tokens before the depth frame's."""
        return self.grid**2 + 1 + self.clip

    @property
    def tokens(self) -> int:
        """Tokens n of a step."""
        return self.visual + (-(-(DEPTH_SIDE**2) // self.width) if self.depth else 0)
