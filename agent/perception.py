"""What an agent sees: any encoder's tokens of the newest frame, streamed, batched over environments and over walks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from typing_extensions import Self

from navloop.agent.percepts import Depth, Layout
from navloop.configs.agents import PerceptionConfig
from navloop.encoders.coordination import InternVideo
from navloop.encoders.encoder import VideoEncoder
from navloop.encoders.multimodal import MultimodalEncoder, UniFormer
from navloop.encoders.pixels import VERSION, as_frames, to_pixels
from navloop.encoders.streaming import Stream, WindowStream, create_stream
from navloop.encoders.text import TextTower
from navloop.encoders.tower import VideoTower
from navloop.encoders.viclip import ViCLIPEncoder
from navloop.encoders.zoo import config_said, create_encoder
from navloop.files import fingerprint
from navloop.weights import digest, read_weights

CHUNK = 64
"""Frames that a walk is encoded in at a time, where frames are encoded by themselves."""

Frames = Tensor | NDArray[np.uint8]


class Walk(NamedTuple):
    """The frames of one walk."""

    frames: Frames
    """uint8 (S, H, W, 3), RGB."""
    depth: Depth = None
    """float32 (S, H, W, 1), metres."""


class Perception(nn.Module):
    """Turns camera frames into percepts: n tokens of width D a step, laid out as `layout` says.

    `see` takes one step of E environments, `encode_walks` takes whole walks; both give the same numbers. Neither
    keeps gradients; `forward` does, for an encoder that is trained.

    Where an encoder looks at single frames and nothing of the clip is asked for, a frame is encoded by itself.
    Otherwise the encoder streams (`navloop.encoders.streaming`). Of coordinated branches, a token is the enhanced
    masked branch's patch and the multimodal one's, side by side.

    Args:
        config: What to see with.
        encoder: Takes the place of the one that the configuration names, as where an agent is loaded; from then on it sees frames whole.

    Attributes:
        config: As given.
        encoder: In eval mode unless it is trained.
        layout: Of a step's percepts.

    Raises:
        ValueError: If the encoder cannot do as asked; the message says what can.
    """

    def __init__(self, config: PerceptionConfig, encoder: VideoEncoder | None = None) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder if encoder is not None else make_encoder(config)
        self.encoder.requires_grad_(config.trainable).eval().see_whole()
        self._side = self.encoder.grid[-1]
        if config.grid > self._side:
            raise ValueError(f"grid is {config.grid}, but the encoder has {self._side} x {self._side} patches a frame")
        if config.trainable and isinstance(self.encoder, InternVideo) and config.every != 1:
            raise ValueError(f"every is {config.every}; coordinated branches are trained with every=1")
        self._tower = _tower_of_frames(self.encoder)
        self._alone = self._tower is not None and not isinstance(self.encoder, InternVideo)
        if self._alone and config.every != 1:
            raise ValueError(f"every is {config.every}, but this encoder sees every frame by itself; leave it at 1")
        self.layout = Layout(config.grid, self._token_width(), config.features == "clip", config.depth)
        self._stream: Stream | None = None
        self._begins: NDArray[np.bool_] = np.zeros(0, dtype=bool)
        self._digest: str | None = None

    @property
    def tokens(self) -> int:
        """Tokens n of a step."""
        return self.layout.tokens

    @property
    def width(self) -> int:
        """Width D of a token."""
        return self.layout.width

    @property
    def device(self) -> torch.device:
        """Where the encoder is."""
        return self.encoder.device

    @property
    def tower(self) -> TextTower | None:
        """The encoder's text tower; None if it has none."""
        encoder = self.encoder.multimodal if isinstance(self.encoder, InternVideo) else self.encoder
        return encoder.text if isinstance(encoder, MultimodalEncoder | ViCLIPEncoder) else None

    @property
    def cameras(self) -> frozenset[str]:
        """Names of the cameras whose frames are seen."""
        return frozenset({"rgb", "depth"} if self.config.depth else {"rgb"})

    @property
    def digest(self) -> str:
        """Name of the percepts that this perception makes: equal for equal weights and settings, and for no others."""
        if self._digest is None or self.config.trainable:
            settings = {
                "encoder": self.encoder.config.model_dump(mode="json"),
                "weights": digest(self.encoder.state_dict()),
                "pixels": VERSION,
                **self.config.model_dump(mode="json", include={"features", "grid", "depth", "every"}),
            }
            self._digest = fingerprint(json.dumps(settings, sort_keys=True).encode())
        return self._digest

    def train(self, mode: bool = True) -> Self:
        """Set the mode; a frozen encoder stays in eval mode."""
        super().train(mode)
        self.encoder.train(mode and self.config.trainable)
        return self

    def start(self, environments: int) -> None:
        """Begin to see E environments, all at their first frame."""
        self._begins = np.ones(environments, dtype=bool)
        self._stream = None if self._is_stateless else self._new_stream(environments)

    def restart(self, places: Sequence[int]) -> None:
        """Forget the walks at these places, each in [0, E): their next frame is their first."""
        self._begins[list(places)] = True

    @torch.no_grad()
    def see(self, frames: Frames, depth: Depth = None) -> Tensor:
        """Take one step of every environment.

        Args:
            frames: uint8 (E, H, W, 3) RGB of any size.
            depth: float32 (E, H, W, 1) metres, if depth is looked at.

        Returns:
            float32 (E, n, D), on the encoder's device.

        Raises:
            ValueError: If frames or depth are of another shape or kind, or `start` was not called for as many.
        """
        frames = as_frames(frames)
        if len(frames) != len(self._begins):
            raise ValueError(f"{len(frames)} frames came, but start({len(self._begins)}) was called; one each")
        seen = self._see(frames, self._stream, self._begins)
        self._begins = np.zeros(len(frames), dtype=bool)
        return self.layout.add_depth(seen, depth)

    def encode_walk(self, frames: Frames, depth: Depth = None) -> Tensor:
        """Return the percepts of one walk, float32 (S, n, D), on the CPU; see `encode_walks`."""
        return self.encode_walks([Walk(frames, depth)])[0]

    @torch.no_grad()
    def encode_walks(self, walks: Sequence[Walk], lanes: int = 16) -> list[Tensor]:
        """Return the percepts of whole walks, each float32 (S, n, D), on the CPU; what `see` gives step by step.

        Args:
            walks: Of any lengths; frames of all walks have one size.
            lanes: Walks that an encoder that streams sees at a time.
        """
        if self._is_stateless:
            return [torch.cat(list(self._chunks(walk))) for walk in walks]
        return self._stream_walks(walks, min(lanes, len(walks)))

    def forward(self, frames: Frames, depth: Depth = None) -> Tensor:
        """Return the percepts of walks, with gradients where the encoder is trained.

        Args:
            frames: uint8 (B, S, H, W, 3) RGB of any size.
            depth: float32 (B, S, H, W, 1) metres, if depth is looked at.

        Returns:
            float32 (B, S, n, D), on the encoder's device; what `see` gives step by step.

        Raises:
            ValueError: If the clip's vector is asked for, which is streamed alone.
        """
        if self.config.features == "clip":
            raise ValueError("features is clip, which is not seen with gradients; take encode_walks, or features=frame")
        frames = as_frames(frames)
        batch, steps = frames.shape[:2]
        if self._is_stateless:
            seen = self._frame_percepts(frames.flatten(0, 1))
        else:
            seen = self._window_percepts(frames)
        flat = None if depth is None else torch.as_tensor(depth).flatten(0, 1)
        return self.layout.add_depth(seen, flat).unflatten(0, (batch, steps))  # type: ignore[no-any-return]

    @property
    def _is_stateless(self) -> bool:
        return self._alone and self.config.features == "frame"

    def _token_width(self) -> int:
        widths = self.encoder.width + (self.encoder.multimodal.width if isinstance(self.encoder, InternVideo) else 0)
        return max(widths, self.encoder.joint_width) if self.config.features == "clip" else widths

    def _new_stream(self, environments: int) -> Stream:
        if self._tower is None:
            return WindowStream(self.encoder, environments, self.config.every)
        return create_stream(self.encoder, environments, every=self.config.every)

    def _see(self, frames: Tensor, stream: Stream | None, begins: NDArray[np.bool_]) -> Tensor:
        """Return percepts without depth, float32 (E, n, D)."""
        if stream is None:
            return self._frame_percepts(frames)
        output = stream.step(frames, begins)
        clip = output.pooled if self.config.features == "clip" else None
        alone = stream.frame_tokens()
        if self._alone and alone is not None:
            return self.layout.write([(alone[:, 1:], alone[:, 0])], clip)
        return self.layout.write(self._parts(output.tokens, alone), clip)

    def _parts(self, tokens: Tensor, alone: Tensor | None) -> list[tuple[Tensor, Tensor]]:
        """Return patches and summary of the newest slot of a window's tokens, and of the frame by itself."""
        newest = tokens[:, -(self._side**2) :]
        parts = [(newest, newest.mean(1))]
        return parts if alone is None else [*parts, (alone[:, 1:], alone[:, 0])]

    def _frame_percepts(self, frames: Tensor) -> Tensor:
        """Return percepts of single frames, uint8 (N, H, W, 3)."""
        assert self._tower is not None
        encoder = self.encoder
        pixels = to_pixels(frames[:, None], encoder.pixels, encoder.device, encoder.dtype)
        tokens = self._tower.encode_frames(pixels).last[:, 0]
        return self.layout.write([(tokens[:, 1:], tokens[:, 0])], None)

    def _window_percepts(self, frames: Tensor) -> Tensor:
        """Return percepts of walks (B, S, H, W, 3), each window encoded as a whole; (B * S, n, D)."""
        batch, steps = frames.shape[:2]
        encoder, every = self.encoder, self.config.every
        looks = torch.arange(0, steps, every)
        window = (looks[:, None] - torch.arange(encoder.num_frames - 1, -1, -1)).clamp(min=0)
        clips = frames[:, window].flatten(0, 1)  # (B * looks, T, H, W, 3)
        pixels = encoder.to_pixels(clips)
        tokens = encoder(pixels).tokens
        alone = None
        if isinstance(encoder, InternVideo):
            alone = encoder.multimodal.video.encode_frames(pixels.multimodal[:, :, -1:]).last[:, 0]  # type: ignore[attr-defined]
        seen = self.layout.write(self._parts(tokens, alone), None).unflatten(0, (batch, len(looks)))
        return seen.repeat_interleave(every, 1)[:, :steps].flatten(0, 1)  # type: ignore[no-any-return]

    def _chunks(self, walk: Walk) -> list[Tensor]:
        frames, chunks = as_frames(walk.frames), []
        for start in range(0, len(frames), CHUNK):
            depth = None if walk.depth is None else walk.depth[start : start + CHUNK]
            chunks.append(self.layout.add_depth(self._frame_percepts(frames[start : start + CHUNK]), depth).cpu())
        return chunks

    def _stream_walks(self, walks: Sequence[Walk], lanes: int) -> list[Tensor]:
        """Stream walks through lanes: where one ends, the next begins."""
        stream = self._new_stream(lanes)
        frames = [as_frames(walk.frames) for walk in walks]
        seen: list[list[Tensor]] = [[] for _ in walks]
        waiting = list(range(len(walks)))[::-1]
        lane: list[int | None] = [waiting.pop() for _ in range(lanes)]
        blank = torch.zeros_like(frames[0][0])
        while any(number is not None for number in lane):
            begins = np.array([number is None or not seen[number] for number in lane])
            images = torch.stack([blank if n is None else frames[n][len(seen[n])] for n in lane])
            percepts = self._see(images, stream, begins).cpu()
            for place, number in enumerate(lane):
                if number is None:
                    continue
                seen[number].append(percepts[place])
                if len(seen[number]) == len(frames[number]):
                    lane[place] = waiting.pop() if waiting else None
        return [self.layout.add_depth(torch.stack(steps), walk.depth) for steps, walk in zip(seen, walks, strict=True)]


def make_encoder(config: PerceptionConfig) -> VideoEncoder:
    """Return the encoder that a configuration names."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        if config.weights is None:
            assert config.encoder is not None
            return create_encoder(config.encoder, size=config.size)
        read = read_weights(config.weights)
        return create_encoder(config.encoder or config_said(read), read, size=config.size)


def _tower_of_frames(encoder: VideoEncoder) -> VideoTower | None:
    """Return the part of an encoder that looks at single frames, if it has one."""
    encoder = encoder.multimodal if isinstance(encoder, InternVideo) else encoder
    if isinstance(encoder, MultimodalEncoder | UniFormer):
        tower = encoder.video
        return tower if tower.config.local == "none" and not tower.config.halve_time else None
    return None
