"""Which tokens of a clip are withheld. Masks are bool (B, N); one batch hides the same number in each of its clips."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from navloop.encoders.positions import Grid

_CELL = 4  # tokens of a 2 x 2 cell


def tube_mask(grid: Grid, ratio: float, batch: int, generator: torch.Generator) -> Tensor:
    """Hide the same image patches in every time slot of a clip, so that no token can be copied from another time.

    Args:
        grid: Tokens along (time, height, width).
        ratio: Share of the h * w patches hidden, in [0, 1); rounded down to whole patches.
        batch: Number of clips B, each drawn independently.
        generator: Source of randomness; its device is the device of the result.

    Returns:
        bool (B, t * h * w), True where the token is hidden.

    Raises:
        ValueError: If `ratio` is out of range.

    Source: Tong et al., VideoMAE, NeurIPS 2022, section 3.2.
    """
    t, h, w = grid
    return _draw(h * w, ratio, batch, generator).repeat(1, t)


def random_mask(grid: Grid, ratio: float, batch: int, generator: torch.Generator) -> Tensor:
    """Hide tokens anywhere in a clip, as ViCLIP does.

    Arguments, result and errors are those of `tube_mask`, but `ratio` is a share of all t * h * w tokens.

    Source: Wang et al., InternVid, ICLR 2024, section 4.
    """
    return _draw(math.prod(grid), ratio, batch, generator)


def running_cell_mask(grid: Grid, ratio: float, batch: int, generator: torch.Generator) -> Tensor:
    """Choose the tokens that a decoder need not predict: cells of 2 x 2 whose hidden part turns with time.

    A cell's tokens are numbered row by row. Each time slot moves the hidden ones on by one, so that every patch is
    predicted at some time, and slots differ while cells of one slot do not. Clips start at a random turn.

    Args:
        grid: Tokens along (time, height, width); height and width are even.
        ratio: Share of a cell that is left out, 0.25, 0.5 (as published) or 0.75.
        batch: Number of clips B.
        generator: Source of randomness; its device is the device of the result.

    Returns:
        bool (B, t * h * w), True where the token is withheld from the decoder; predict the others: `~mask`.

    Raises:
        ValueError: If `ratio` is another, or cells do not tile the grid.

    Source: Wang et al., VideoMAE V2, CVPR 2023, section 3.2; OpenGVLab/VideoMAEv2, dataset/masking_generator.py.
    """
    _, h, w = grid
    num_hidden = ratio * _CELL
    if num_hidden not in (1, 2, 3):
        raise ValueError(f"a ratio of {ratio} hides no whole part of a cell of 4 tokens; take 0.25, 0.5 or 0.75")
    if h % 2 or w % 2:
        raise ValueError(f"cells of 2 x 2 tokens do not tile a grid of {h} x {w}; take even sides")
    device = generator.device
    first = torch.randint(_CELL, (batch, 1, 1, 1), generator=generator, device=device)
    slot, row, column = (torch.arange(n, device=device) for n in grid)
    place = 2 * (row % 2)[:, None] + column % 2  # (h, w), 0 to 3
    turned = (first + slot[:, None, None] + place) % _CELL  # (B, t, h, w)
    return (turned < num_hidden).flatten(1)


def selected_indices(selected: Tensor) -> Tensor:
    """Return which tokens are selected, in rising order.

    Args:
        selected: bool (B, N), the same number of True in each row.

    Returns:
        int64 (B, K).

    Raises:
        ValueError: If rows differ in their number of True, or have none. Compiled code trusts the first row instead.
    """
    if torch.compiler.is_compiling():
        count = int(selected[0].sum())
        torch._check(0 < count)
        torch._check(count <= selected.shape[1])
    else:
        low, count = torch.stack(torch.aminmax(selected.sum(1))).tolist()
        if low != count:
            raise ValueError(f"clips of one batch select {low} to {count} tokens; a mask takes the same number of each")
        if not count:
            raise ValueError("no token is selected; hide fewer, or predict some")
    return selected.byte().argsort(dim=1, descending=True, stable=True)[:, :count]


def _draw(num_tokens: int, ratio: float, batch: int, generator: torch.Generator) -> Tensor:
    """Return bool (batch, num_tokens) with floor(ratio * num_tokens) True in each row, all such rows equally likely."""
    num_hidden = int(ratio * num_tokens) if 0 <= ratio < 1 else num_tokens
    if num_hidden >= num_tokens:
        raise ValueError(f"a ratio of {ratio} cannot be hidden of {num_tokens} tokens; take one in [0, 1)")
    device = generator.device
    order = torch.rand(batch, num_tokens, generator=generator, device=device).argsort(1)
    hidden = torch.zeros(batch, num_tokens, dtype=torch.bool, device=device)
    return hidden.scatter_(1, order[:, :num_hidden], True)
