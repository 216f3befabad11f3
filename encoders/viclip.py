"""ViCLIP: CLIP whose vision transformer looks at all tokens of a clip at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from navloop.configs.encoders import ViCLIPConfig
from navloop.encoders.encoder import EncoderOutput, VideoEncoder
from navloop.encoders.layers import CLIP, create_blocks, initialise_blocks, run, unit_vectors
from navloop.encoders.masking import selected_indices
from navloop.encoders.text import TextTower

MIN_TEMPERATURE = 0.01  # and where training starts. Source: InternVideo1/Pretrain/ViCLIP


class ViCLIPEncoder(VideoEncoder):
    """A video and a text tower that share a space, after CLIP.

    One class token sees the patches of every frame; most patches can be hidden while training. Attention does not see
    the order of tokens, so they are kept in this library's, (time, row, column), where the source is space-major.

    Args:
        config: Sizes of both towers.

    Source: Wang et al., InternVid, ICLR 2024, section 4; InternVideo1/Pretrain/ViCLIP.
    """

    config: ViCLIPConfig

    def __init__(self, config: ViCLIPConfig) -> None:
        super().__init__()
        self.config = config
        self.pixels, self.num_frames, self.grid = config.pixels, config.frames, config.grid
        self.width, self.joint_width = config.trunk.width, config.joint_width
        time, height, width = config.grid
        patch = (1, config.patch, config.patch)
        self.patch = nn.Conv3d(3, self.width, patch, patch, bias=False)
        self.class_token = nn.Parameter(torch.empty(self.width))
        self.positions = nn.Parameter(torch.empty(height * width + 1, self.width))
        self.temporal_positions = nn.Parameter(torch.zeros(1, time, self.width))
        self.norm_pre = nn.LayerNorm(self.width, eps=CLIP.eps)
        self.blocks = create_blocks(config.trunk, CLIP)
        self.norm_post = nn.LayerNorm(self.width, eps=CLIP.eps)
        self.video_proj = nn.Parameter(torch.empty(self.width, self.joint_width))
        self.text = TextTower(config.text, self.joint_width)
        self.temperature = nn.Parameter(torch.tensor(MIN_TEMPERATURE))
        for parameter in (self.class_token, self.positions, self.video_proj):
            nn.init.normal_(parameter, std=self.width**-0.5)
        initialise_blocks(self.blocks)

    def forward(self, pixels: Tensor, hidden: Tensor | None = None) -> EncoderOutput:
        """Encode normalised pixels.

        Args:
            pixels: float (B, 3, T, H, W).
            hidden: bool (B, t * h * w), True where a token is withheld, as many in each clip; None withholds none.

        Returns:
            `tokens` are the patches' last states after the norm that the class token gets too, so that they have its
            scale; they are not projected.

        Raises:
            ValueError: If the pixels or `hidden` have another shape or type, or clips hide unequal numbers of tokens.
        """
        self.check_pixels(pixels)
        states = self._states(pixels, hidden)
        pooled = unit_vectors(states[:, 0] @ self.video_proj, self.dtype)
        return EncoderOutput(tokens=states[:, 1:], pooled=pooled, grid=self.grid, hidden=hidden)

    def features(self, pixels: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Return the class token after the last norm, float (B, D).

        `features(pixels) @ video_proj` is the embedding (B, J) that `EncoderOutput.pooled` is the unit vector of.

        Clips of one frame, images, are taken too: their place in time is the mean of all. Source: InternVideo1/Pretrain/ViCLIP.
        """
        if pixels.ndim != 5 or pixels.shape[2] != 1:
            self.check_pixels(pixels)
        return self._states(pixels, hidden)[:, 0]

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Return a unit vector a text, float (B, J), without gradients; `text.encode` keeps them.

        Raises:
            TypeError: If `texts` is one string.
            ValueError: If there are no texts, or the text tower's vocabulary is not CLIP's.
        """
        return self.text.encode(texts)

    def similarity(self, videos: Tensor, texts: Tensor) -> Tensor:
        """Return the cosine of each video (B, J) with each text (K, J) over the temperature, as logits (B, K).

        A temperature below 0.01 counts as 0.01 but keeps its gradient, so that training can raise it again.
        """
        return self.scale() * videos @ texts.mT

    def scale(self) -> Tensor:
        """Return the factor of the cosines, the temperature's inverse, at most 100."""
        below = (MIN_TEMPERATURE - self.temperature).clamp(min=0).detach()
        return 1 / (self.temperature + below)

    @torch.no_grad()
    def clamp_temperature(self) -> None:
        """Put the temperature, where it is trained, back to 0.01 if it is below, as it is due after each step."""
        if self.temperature.requires_grad:
            self.temperature.clamp_(min=MIN_TEMPERATURE)

    def _states(self, pixels: Tensor, hidden: Tensor | None) -> Tensor:
        """Return the normed last states, float (B, 1 + N, D), the class token's first."""
        x = self.patch(pixels).flatten(3).permute(0, 2, 3, 1)  # (B, T, h*w, D)
        times = self.temporal_positions if pixels.shape[2] > 1 else self.temporal_positions.mean(1)
        x = x + self.positions[1:] + times.view(-1, 1, self.width)
        x = x.flatten(1, 2)  # (B, N, D)
        if hidden is not None:
            visible = self._visible(hidden, x.shape[:2])
            x = x.gather(1, visible[:, :, None].expand(-1, -1, self.width))  # (B, N_visible, D)
        class_token = (self.class_token + self.positions[0]).expand(len(x), 1, -1)
        x = self.norm_pre(torch.cat((class_token, x), dim=1))  # (B, 1 + N, D)
        for block in self.blocks:
            x = run(block, x, checkpointing=self.config.trunk.checkpointing)
        return self.norm_post(x)  # type: ignore[no-any-return]

    def _visible(self, hidden: Tensor, shape: torch.Size) -> Tensor:
        if hidden.dtype != torch.bool or hidden.shape != shape:
            raise ValueError(f"hidden is {hidden.dtype} {tuple(hidden.shape)}, not torch.bool {tuple(shape)}")
        return selected_indices(~hidden)
