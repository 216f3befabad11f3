"""The record that flows from the video loader to the stages: a batch of clips, uint8 until an encoder takes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from typing_extensions import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipBatch:
    """B clips of T frames.

    Copies of one clip (repeated augmentation) and views of one video (evaluation) stand side by side and share a row.

    Attributes:
        frames: uint8 (B, T, H, W, 3), RGB.
        valid_frames: bool (B, T), True where a frame is real and no padding.
        seconds: float32 (B, T): when a frame is shown, from the start of its file.
        rows: int64 (B,): which row of the lists a clip is from.
        sources: B texts: file and seconds, for messages.
        texts: B captions, or None where the lists have none.
        labels: int64 (B,), or None where the lists have none.
    """

    frames: Tensor
    valid_frames: Tensor
    seconds: Tensor
    rows: Tensor
    sources: tuple[str, ...]
    texts: tuple[str, ...] | None = None
    labels: Tensor | None = None

    def __post_init__(self) -> None:
        if self.frames.dtype != torch.uint8 or self.frames.ndim != 5 or self.frames.shape[-1] != 3:
            raise ValueError(f"frames are {self.frames.dtype} {tuple(self.frames.shape)}, not uint8 (B, T, H, W, 3)")
        batch, frames = self.frames.shape[:2]
        for name, length in (("rows", (batch,)), ("valid_frames", (batch, frames)), ("seconds", (batch, frames))):
            if tuple(getattr(self, name).shape) != length:
                raise ValueError(f"{name} are {tuple(getattr(self, name).shape)}, not {length} as the frames say")
        for name in ("sources", "texts", "labels"):
            value = getattr(self, name)
            if value is not None and len(value) != batch:
                raise ValueError(f"there are {len(value)} {name} for {batch} clips")

    def __len__(self) -> int:
        """Return B."""
        return len(self.frames)

    def to(self, device: torch.device | str) -> Self:
        """Return the batch on a device; from pinned memory the copy does not block."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Self:
        """Return the batch in page-locked memory."""
        return self._each(Tensor.pin_memory)

    def _each(self, move: Callable[[Tensor], Tensor]) -> Self:
        return replace(
            self,
            frames=move(self.frames),
            valid_frames=move(self.valid_frames),
            seconds=move(self.seconds),
            rows=move(self.rows),
            labels=None if self.labels is None else move(self.labels),
        )
