"""Encoders that see step by step: one new frame an environment and step, never the price of a clip.

`create_stream` picks what is cheapest for an encoder. Frame by frame (`FrameStream`) is exact at every step, for
towers that look at single frames before they join them; any other encoder looks at whole windows, every k steps
(`WindowStream`); the coordinated branches do one and the other (`CoordinatedStream`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from navloop.encoders.coordination import CoordinatedSight, InternVideo
from navloop.encoders.encoder import EncoderOutput, VideoEncoder
from navloop.encoders.layers import unit_vectors
from navloop.encoders.multimodal import MultimodalEncoder, Sight, UniFormer
from navloop.encoders.pixels import as_frames, to_pixels
from navloop.encoders.windows import PixelWindow, TowerWindow, indices


def create_stream(encoder: VideoEncoder, num_envs: int, *, every: int = 1, stride: int = 1) -> Stream:
    """Return the cheapest stream for an encoder.

    Args:
        encoder: It is not copied; after its weights change, reset every environment.
        num_envs: Environments E that step together.
        every: Steps between two looks at an environment's whole window, k, by encoders that must look at whole windows;
            in between they repeat their last output. A multimodal encoder is exact at every step and has no need of it.
        stride: Steps between the frames of a window; the newest is always among them. The coordinated branches
            decide it by themselves.

    Raises:
        ValueError: If a number does not fit the encoder, or it is a UniFormer that mixes frames inside its tower.
    """
    _check_positive(every=every)
    if isinstance(encoder, InternVideo):
        if stride != 1:
            raise ValueError(f"stride is {stride}, but the coordinated branches see every step's frame: leave it at 1")
        return CoordinatedStream(encoder, num_envs, every)
    if isinstance(encoder, (MultimodalEncoder, UniFormer)):
        return FrameStream(encoder, num_envs, stride)
    return WindowStream(encoder, num_envs, every, stride)


class Stream(ABC):
    """What an encoder sees in the last frames of each of E environments.

    An environment's window holds its last T frames, `stride` steps apart; before there are so many, its first frame
    stands for those that are missing. All of it is allocated at once, on the encoder's device, and never grows.

    Args:
        encoder: It is not copied; it encodes in the mode that it is in.
        num_envs: Environments E that step together.
        stride: Steps between the frames of a window; the newest is always among them.

    Source: InternVideo1/Downstream/Visual-Language-Navigation, whose history starts as its first observation repeated.
    """

    def __init__(self, encoder: VideoEncoder, num_envs: int, stride: int = 1) -> None:
        _check_positive(num_envs=num_envs, stride=stride)
        self.encoder, self.num_envs, self.stride = encoder, num_envs, stride
        self._started = False

    # Not inference_mode: what a policy learns from must be able to take part in its backward pass.
    @torch.no_grad()
    def step(
        self, frames: Tensor | NDArray[np.uint8], reset: Sequence[bool] | NDArray[np.bool_] | Tensor | None = None
    ) -> EncoderOutput:
        """Take one new frame of each environment and return what is seen in the windows, without gradients.

        Args:
            frames: uint8 (E, H, W, 3) RGB of any height and width, on any device.
            reset: bool (E,), True where an episode begins with this frame; None if none does. The first step begins
                all.

        Returns:
            What `encode_video` returns for the E windows; later steps leave it alone.

        Raises:
            ValueError: If `frames` are not E frames of uint8 RGB, or `reset` is not one bool an environment.
        """
        frames = self._check_frames(as_frames(frames))
        begins = self._check_reset(reset) | (not self._started)
        output = self._advance(frames[:, None].to(self.encoder.device, non_blocking=True), begins)
        self._started = True
        return output

    def frame_tokens(self) -> Tensor | None:
        """Return what a tower of single frames makes of the newest ones, (E, 1 + h * w, D), the class token first.

        It is a copy, of the last `step`. None where no part of the encoder looks at single frames.
        """
        return None

    @property
    def nbytes(self) -> int:
        """Bytes that the windows take on the device."""
        return sum(tensor.nbytes for tensor in self._state())

    @abstractmethod
    def _advance(self, frames: Tensor, begins: NDArray[np.bool_]) -> EncoderOutput:
        """Take the newest frames, uint8 (E, 1, H, W, 3), on the device."""

    @abstractmethod
    def _state(self) -> list[Tensor]:
        """Return all that is kept from step to step."""

    def _check_frames(self, frames: Tensor) -> Tensor:
        if frames.dtype != torch.uint8:
            raise ValueError(f"frames are {frames.dtype}, not torch.uint8: pass the camera's bytes, 0 to 255")
        if frames.ndim != 4 or len(frames) != self.num_envs or frames.shape[-1] != 3:
            raise ValueError(
                f"frames are {tuple(frames.shape)}, this stream takes ({self.num_envs}, H, W, 3): "
                "one new RGB frame of each environment"
            )
        return frames

    def _check_reset(self, reset: Sequence[bool] | NDArray[np.bool_] | Tensor | None) -> NDArray[np.bool_]:
        if reset is None:
            return np.zeros(self.num_envs, dtype=bool)
        begins = np.asarray(reset.cpu() if isinstance(reset, Tensor) else reset)
        if begins.dtype != np.bool_ or begins.shape != (self.num_envs,):
            raise ValueError(
                f"reset is {begins.dtype} {begins.shape}, this stream takes bool ({self.num_envs},): one an environment"
            )
        return begins


class WindowStream(Stream):
    """Look at an environment's whole window every k steps of its episode, and repeat the last output in between.

    For any encoder of one tensor of pixels. Each environment counts from its own reset, so that what an episode sees
    does not depend on what the other environments do. The window is kept as pixels: resized frames are not whole
    numbers, so bytes would have to be the camera's, resized T times each and no smaller.

    Args:
        encoder: It is not copied; it encodes in the mode that it is in.
        num_envs: Environments E that step together.
        every: Steps k between two looks at an environment's window.
        stride: Steps between the frames of a window; the newest is always among them.
    """

    def __init__(self, encoder: VideoEncoder, num_envs: int, every: int = 1, stride: int = 1) -> None:
        super().__init__(encoder, num_envs, stride)
        self._clock = _Clock(num_envs, every)
        self._window = PixelWindow(encoder, num_envs, encoder.num_frames * stride)
        self._tokens = self._window.empty(math.prod(encoder.grid), encoder.width)
        self._pooled = self._window.empty(encoder.joint_width)

    def _advance(self, frames: Tensor, begins: NDArray[np.bool_]) -> EncoderOutput:
        self._window.push(_pixels(frames, self.encoder), begins)
        due = self._clock.due(begins)
        if due.any():
            rows = None if due.all() else indices(due, frames.device)
            fresh = self.encoder(self._window.clips(rows)[:, :, self.stride - 1 :: self.stride])
            self._tokens = _updated(self._tokens, fresh.tokens, rows)
            self._pooled = _updated(self._pooled, fresh.pooled, rows)
        return EncoderOutput(self._tokens, self._pooled, self.encoder.grid)

    def _state(self) -> list[Tensor]:
        return [*self._window.tensors(), self._tokens, self._pooled]


class FrameStream(Stream):
    """Encode the new frame alone, then let the tower's global blocks look at the window: exact at every step.

    Frames `stride` steps apart make a window, so there are `stride` windows that take turns.

    Args:
        encoder: A multimodal encoder, or a UniFormer that mixes frames in its global blocks only.
        num_envs: Environments E that step together.
        stride: Steps between the frames of a window; the newest is always among them.

    Raises:
        ValueError: If the tower mixes frames before its global blocks.
    """

    encoder: MultimodalEncoder | UniFormer

    def __init__(self, encoder: MultimodalEncoder | UniFormer, num_envs: int, stride: int = 1) -> None:
        super().__init__(encoder, num_envs, stride)
        self._window = TowerWindow(encoder.video, num_envs, stride)

    def _advance(self, frames: Tensor, begins: NDArray[np.bool_]) -> EncoderOutput:
        window = self._window
        window.push(_pixels(frames, self.encoder), begins)
        fused = window.tower.fuse(window.placed(), window.class_tokens())
        if isinstance(self.encoder, MultimodalEncoder):
            return self.encoder.output(Sight(window.frame_tokens(), self.encoder.norm_post(fused)))
        tokens = window.frame_tokens()[:, :, 1:].flatten(1, 2)
        return EncoderOutput(tokens, unit_vectors(fused, self.encoder.dtype), self.encoder.grid)

    def frame_tokens(self) -> Tensor:
        """Return the video tower's tokens of the newest frames, (E, 1 + h * w, D)."""
        return self._window.newest_tokens().clone()

    def _state(self) -> list[Tensor]:
        return self._window.tensors()


class CoordinatedStream(Stream):
    """The multimodal branch at every step, the masked one every k steps of an episode.

    In between, the multimodal clip query looks at the masked branch's last tokens. At the steps where that encodes
    its window, and so at all of them with k = 1, the output equals that of whole windows.

    Args:
        encoder: The coordinated branches.
        num_envs: Environments E that step together.
        every: Steps k between two looks of the masked branch at an environment's window.
    """

    encoder: InternVideo

    def __init__(self, encoder: InternVideo, num_envs: int, every: int = 1) -> None:
        super().__init__(encoder, num_envs)
        self._clock = _Clock(num_envs, every)
        self._masked = PixelWindow(encoder.masked, num_envs, encoder.num_frames)
        self._multimodal = TowerWindow(encoder.multimodal.video, num_envs, encoder.config.stride)
        self._tokens = self._masked.empty(math.prod(encoder.grid), encoder.width)

    def _advance(self, frames: Tensor, begins: NDArray[np.bool_]) -> EncoderOutput:
        self._multimodal.push(_pixels(frames, self.encoder.multimodal), begins)
        self._masked.push(_pixels(frames, self.encoder.masked), begins)
        placed = self._multimodal.placed()
        due = self._clock.due(begins)
        if due.any():
            rows = None if due.all() else indices(due, frames.device)
            seen = placed if rows is None else [tokens[rows] for tokens in placed]
            self._tokens = _updated(self._tokens, self.encoder.enhance_tokens(self._masked.clips(rows), seen), rows)
        features = self.encoder.enhance_features(placed, self._multimodal.class_tokens(), self._tokens)
        return self.encoder.output(CoordinatedSight(self._tokens, features))

    def frame_tokens(self) -> Tensor:
        """Return the multimodal tower's tokens of the newest frames, (E, 1 + h * w, D')."""
        return self._multimodal.newest_tokens().clone()

    def _state(self) -> list[Tensor]:
        return [*self._masked.tensors(), *self._multimodal.tensors(), self._tokens]


class _Clock:
    """When which environment is due: every k steps, counted from its own reset."""

    def __init__(self, num_envs: int, every: int) -> None:
        _check_positive(every=every)
        self._every = every
        self._ages = np.zeros(num_envs, dtype=np.int64)

    def due(self, begins: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Count a step; return who is due at it."""
        self._ages = np.where(begins, 0, self._ages + 1)
        due: NDArray[np.bool_] = self._ages % self._every == 0
        return due


def _pixels(frames: Tensor, encoder: VideoEncoder) -> Tensor:
    return to_pixels(frames, encoder.pixels, encoder.device, encoder.dtype)


def _updated(kept: Tensor, fresh: Tensor, rows: Tensor | None) -> Tensor:
    """Return a new tensor with fresh rows, or with all of them; outputs that were handed out stay as they are."""
    fresh = fresh.to(kept.dtype)  # of another type under autocast
    return fresh if rows is None else kept.index_copy(0, rows, fresh)


def _check_positive(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name} is {number}; it must be at least 1")
