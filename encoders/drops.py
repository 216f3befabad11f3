"""Dropout and drop path that are drawn for the clips of all processes, so that their number changes nothing.

Each process draws for all clips and keeps the rows of its own, which follow those of lower ranks. That takes one state of the generator and
as many rows in all of them, which `navloop.training.engine` sees to; in a loop of your own seed each rank otherwise, and rows are independent
whatever their numbers. On one processor the numbers are those of `torch.nn.Dropout` and timm's `DropPath`.
"""

from __future__ import annotations

from torch import Tensor, distributed, nn


def joined() -> bool:
    """Return whether this process is one of several that train together."""
    return distributed.is_available() and distributed.is_initialized()


def draw_kept(x: Tensor, shape: tuple[int, ...], share: float) -> Tensor:
    """Return 1 / `share` in that share of the places and 0 in the others, of the shape (B, *shape) that multiplies x (B, ...)."""
    rank, world = (distributed.get_rank(), distributed.get_world_size()) if joined() else (0, 1)
    kept = x.new_empty((world * len(x), *shape)).bernoulli_(share).div_(share or 1.0)
    return kept if world == 1 else kept.chunk(world)[rank].clone()  # gradients need no more than the own rows


class Dropout(nn.Dropout):
    """`torch.nn.Dropout` over rows (B, ...)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x (B, ...) with some numbers 0 while training."""
        return x * draw_kept(x, x.shape[1:], 1 - self.p) if self.training and self.p else x


class DropPath(nn.Module):
    """timm's `DropPath` over rows (B, ...).

    It does not inherit from that: importing timm takes as long as importing torch, and whoever walks with an encoder would wait for it.

    Args:
        drop_prob: Probability that a row is 0 while training.
    """

    def __init__(self, drop_prob: float = 0.0) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        """Return x (B, ...) with some rows 0 while training."""
        if not self.training or not self.drop_prob:
            return x
        return x * draw_kept(x, (1,) * (x.ndim - 1), 1 - self.drop_prob)

    def extra_repr(self) -> str:
        """Return what stands in the brackets of the printed module."""
        return f"drop_prob={self.drop_prob:g}"
