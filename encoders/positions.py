"""Where a token is: VideoMAE's fixed sinusoid over the flattened grid, and its resampling to other grids."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

Grid = tuple[int, int, int]
"""Tokens along (time, height, width)."""


def sinusoid(num_positions: int, width: int) -> Tensor:
    """Return the sinusoid of each position: sines in even channels, cosines in odd ones, at falling frequencies.

    The position is the index n = (ti * h + yi) * w + xi of a token in its clip. It is not a code of three axes.

    Returns:
        float32 (num_positions, width), rounded from float64. On the CPU even under a meta device: no file holds it.

    Source: Vaswani et al., NeurIPS 2017, section 3.5; InternVideo1/Pretrain/VideoMAE, get_sinusoid_encoding_table.
    """
    pairs = np.arange(width) // 2
    angles = np.arange(num_positions)[:, None] / 10000 ** (2 * pairs / width)
    angles[:, 0::2] = np.sin(angles[:, 0::2])
    angles[:, 1::2] = np.cos(angles[:, 1::2])
    return torch.from_numpy(angles.astype(np.float32))


def resample(table: Tensor, source: Grid, target: Grid) -> Tensor:
    """Stretch a table of positions over another grid: bicubic in space, then linear in time.

    Args:
        table: float (t * h * w of `source`, D).
        source: Grid that the table is for.
        target: Grid wanted.

    Returns:
        float (t * h * w of `target`, D); the table itself if the grids are equal.

    Source: InternVideo1/Pretrain/VideoMAE, run_class_finetuning.py.
    """
    t, h, w = target
    x = table.reshape(*source, -1)  # (t', h', w', D)
    if (h, w) != source[1:]:
        x = F.interpolate(x.permute(0, 3, 1, 2), (h, w), mode="bicubic").permute(0, 2, 3, 1)
    if t != source[0]:
        x = F.interpolate(x.flatten(1).T[None], t, mode="linear")[0].T  # (t, h * w * D)
    return x.reshape(t * h * w, -1)


def create_positions(grid: Grid, trained_grid: Grid | None, width: int) -> Tensor:
    """Return the positions of a grid, float32 (N, width).

    Args:
        grid: The encoder's grid.
        trained_grid: Grid whose sinusoid is resampled to `grid`, as released weights expect; None computes the sinusoid
            of `grid` itself, which differs.
        width: Width of a token.
    """
    source = trained_grid or grid
    return resample(sinusoid(int(np.prod(source)), width), source, grid)
