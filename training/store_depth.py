"""Depth as film: 12 bits of H.265, on a logarithmic scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def write_depth(path: Path, depth: NDArray[np.float32], fps: int, gop: int) -> None:
    """Write metres, float32 (S, H, W, 1)."""
    raise NotImplementedError
