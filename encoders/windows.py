"""Windows over the last frames of E environments that step together: rings on the device, of fixed size.

`PixelWindow` keeps pixels; `TowerWindow` keeps what a video tower made of single frames, once and for all.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from navloop.encoders.encoder import VideoEncoder
from navloop.encoders.global_blocks import PlacedFrame
from navloop.encoders.tower import FrameTokens, VideoTower


class PixelWindow:
    """The pixels of the last frames.

    Args:
        encoder: Its pixels, their type and device.
        num_envs: Environments E.
        num_frames: Frames that are kept of each.
    """

    def __init__(self, encoder: VideoEncoder, num_envs: int, num_frames: int) -> None:
        shape = (num_envs, 3, num_frames, encoder.pixels.size, encoder.pixels.size)
        self._frames = torch.zeros(shape, device=encoder.device, dtype=encoder.dtype)
        self._oldest = 0

    def push(self, pixels: Tensor, begins: NDArray[np.bool_]) -> None:
        """Put the newest pixels (E, 3, 1, H, W) in the place of the oldest; where `begins`, in all places."""
        self._frames[:, :, self._oldest] = pixels[:, :, 0]
        self._oldest = (self._oldest + 1) % self._frames.shape[2]
        if begins.any():
            rows = indices(begins, pixels.device)
            self._frames[rows] = pixels[rows]

    def clips(self, rows: Tensor | None = None) -> Tensor:
        """Return a copy of the windows of all environments, or of some, from old to new, (E, 3, T, H, W)."""
        return in_order(self._frames if rows is None else self._frames[rows], self._oldest, dim=2)

    def empty(self, *shape: int) -> Tensor:
        """Return zeros (E, *shape), of the pixels' type and device."""
        return self._frames.new_zeros(len(self._frames), *shape)

    def tensors(self) -> list[Tensor]:
        """Return all that is kept."""
        return [self._frames]


class TowerWindow:
    """What the per-frame part of a video tower made of the last T frames, placed in space and time.

    To place a frame takes the frame before it and the one after. When the window moves by one, the last frame gains
    what the new one gives it, and the frame that is now first loses what it had from the one that left: two additions
    in place. Attention does not ask in which order the frames lie, so they stay where they are.

    With a stride of s there are s windows that take turns, each of frames s steps apart.

    Args:
        tower: It is not copied.
        num_envs: Environments E.
        stride: Steps between the frames of a window.

    Raises:
        ValueError: If the tower mixes frames before its global blocks.
    """

    def __init__(self, tower: VideoTower, num_envs: int, stride: int = 1) -> None:
        config = tower.config
        if config.local != "none" or config.halve_time:
            what = "halve_time=True" if config.halve_time else f"local={config.local!r}"
            raise ValueError(
                f"a tower with {what} mixes frames in every block, so it must see whole windows: "
                "take WindowStream(encoder, num_envs, every=k)"
            )
        self.tower, self._stride, self._length = tower, stride, config.frames
        self._grid = config.grid[1:]
        tokens = (stride, num_envs, config.frames, 1 + self._grid[0] * self._grid[1], config.trunk.width)
        empty = tower.class_token.new_zeros(tokens, requires_grad=False)
        self._last = empty
        self._placed = [torch.zeros_like(empty) for _ in config.taps]
        self._to_after = [torch.zeros_like(empty) for _ in config.taps]
        self._steps = -1

    @torch.no_grad()
    def push(self, pixels: Tensor, begins: NDArray[np.bool_]) -> None:
        """Encode the newest pixels (E, 3, 1, H, W), in the place of the oldest; where `begins`, in all places."""
        frames = self._encoded(pixels)
        self._steps += 1
        phase, newest = self._steps % self._stride, self._newest(self._steps)
        rows = indices(begins, pixels.device) if begins.any() else None
        self._last[phase, :, newest] = frames.last[:, 0]
        if rows is not None:
            self._last[:, rows] = frames.last[rows]
        for i, (block, tap) in enumerate(zip(self.tower.global_blocks, frames.taps, strict=True)):
            frame = self._of_window(block.place_frame(tap[:, 0], self._grid))  # type: ignore[operator]
            if self._length > 1:
                self._append(frame, self._placed[i][phase], self._to_after[i][phase], newest)
            else:
                self._placed[i][phase, :, 0] = frame.alone
            if rows is not None:
                self._fill(frame, self._placed[i], self._to_after[i], rows)

    def placed(self) -> list[Tensor]:
        """Return the placed tokens of the window that ends with the newest frame, a view (E, T, 1 + h * w, D) a tap.

        Its frames are in the order of the ring, not of time.
        """
        return [placed[self._steps % self._stride] for placed in self._placed]

    def class_tokens(self) -> Tensor:
        """Return that window's class tokens after the last block, a view (E, T, D), in the order of the ring."""
        return self._last[self._steps % self._stride, :, :, 0]

    def frame_tokens(self) -> Tensor:
        """Return a copy of that window's tokens after the last block, (E, T, 1 + h * w, D), from old to new."""
        oldest = (self._newest(self._steps) + 1) % self._length
        return in_order(self._last[self._steps % self._stride], oldest, dim=1)

    def newest_tokens(self) -> Tensor:
        """Return the newest frame's tokens after the last block, a view (E, 1 + h * w, D), the class token first."""
        return self._last[self._steps % self._stride, :, self._newest(self._steps)]

    def tensors(self) -> list[Tensor]:
        """Return all that is kept."""
        return [self._last, *self._placed, *self._to_after]

    def _encoded(self, pixels: Tensor) -> FrameTokens:
        frames = self.tower.encode_frames(pixels)
        return FrameTokens(frames.taps, frames.last.to(self._last.dtype))

    def _of_window(self, frame: PlacedFrame) -> PlacedFrame:
        """Return a frame in the window's type; under autocast, a frame's parts come in several."""
        dtype = self._last.dtype
        return PlacedFrame(frame.alone.to(dtype), frame.to_before.to(dtype), frame.to_after.to(dtype))

    def _newest(self, step: int) -> int:
        """Return where in its ring the frame of a step lies."""
        return step // self._stride % self._length

    def _append(self, frame: PlacedFrame, placed: Tensor, to_after: Tensor, newest: int) -> None:
        before, first = newest - 1, (newest + 1) % self._length
        placed[:, before] += frame.to_before
        placed[:, first] -= to_after[:, newest]  # still of the frame that leaves
        placed[:, newest] = frame.alone + to_after[:, before]
        to_after[:, newest] = frame.to_after

    def _fill(self, frame: PlacedFrame, placed: Tensor, to_after: Tensor, rows: Tensor) -> None:
        """Put a frame in every place of some environments' windows."""
        alone, to_before, after = frame.alone[rows], frame.to_before[rows], frame.to_after[rows]
        placed[:, rows] = (alone + to_before + after)[:, None]
        to_after[:, rows] = after[:, None]
        for step in range(self._steps - self._stride + 1, self._steps + 1):
            phase, newest = step % self._stride, self._newest(step)
            placed[phase, rows, (newest + 1) % self._length] = alone + to_before
            placed[phase, rows, newest] = alone if self._length == 1 else alone + after


def in_order(ring: Tensor, oldest: int, dim: int) -> Tensor:
    """Return a copy of a ring that begins at `oldest`."""
    return torch.cat((ring.narrow(dim, oldest, ring.shape[dim] - oldest), ring.narrow(dim, 0, oldest)), dim)


def indices(chosen: NDArray[np.bool_], device: torch.device) -> Tensor:
    """Return where `chosen` is True, int64, on the device."""
    return torch.from_numpy(np.flatnonzero(chosen)).to(device, non_blocking=True)
