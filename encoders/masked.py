"""The masked branch: a VideoMAE trunk over tubelets, with joint attention over space and time and no class token."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from navloop.configs.encoders import MaskedConfig
from navloop.encoders.encoder import EncoderOutput, VideoEncoder
from navloop.encoders.layers import VIDEOMAE, create_blocks, run, unit_vectors
from navloop.encoders.masking import selected_indices
from navloop.encoders.positions import create_positions


class TubeletEmbedding(nn.Conv3d):
    """One linear map of each tubelet, 2 frames deep, with the parameters of the convolution that it equals.

    It multiplies matrices, so that hidden tubelets are never read. That is also faster than convolving large frames.
    """

    def __init__(self, width: int, patch: int) -> None:
        super().__init__(3, width, (2, patch, patch), stride=(2, patch, patch))

    def forward(self, pixels: Tensor, kept: Tensor | None = None) -> Tensor:
        """Embed tubelets of (B, 3, T, H, W): those at `kept`, int64 (B, K), or all; to (B, K, D)."""
        tubelets = as_tubelets(pixels, self.kernel_size[-1])  # (B, t, h, w, 3, 2, p, p)
        tubelets = tubelets.flatten(1, 3) if kept is None else gather_tubelets(tubelets, kept)  # (B, K, 3, 2, p, p)
        return F.linear(tubelets.flatten(2), self.weight.flatten(1), self.bias)


def as_tubelets(pixels: Tensor, patch: int) -> Tensor:
    """View pixels (B, 3, T, H, W) as tubelets (B, t, h, w, 3, 2, patch, patch), without a copy."""
    batch, _, num_frames, height, width = pixels.shape
    x = pixels.view(batch, 3, num_frames // 2, 2, height // patch, patch, width // patch, patch)
    return x.permute(0, 2, 4, 6, 1, 3, 5, 7)


def gather_tubelets(tubelets: Tensor, kept: Tensor) -> Tensor:
    """Copy the tubelets at `kept`, int64 (B, K), out of (B, t, h, w, ...), to (B, K, ...). No other is read."""
    h, w = tubelets.shape[2:4]
    clip = torch.arange(len(kept), device=kept.device)[:, None]
    return tubelets[clip, kept // (h * w), kept // w % h, kept % w]


class MaskedEncoder(VideoEncoder):
    """VideoMAE's encoder. What it costs falls with the tokens that are hidden: they are left out, not blanked.

    Args:
        config: Shapes; `config.decoder` is of no concern here.

    Source: InternVideo1/Pretrain/VideoMAE; Tong et al., VideoMAE, NeurIPS 2022.
    """

    positions: Tensor

    def __init__(self, config: MaskedConfig) -> None:
        super().__init__()
        self.config = config
        self.pixels, self.num_frames, self.grid = config.pixels, config.frames, config.grid
        self.width = self.joint_width = config.trunk.width
        self.checkpointing = config.trunk.checkpointing
        self.normalise_tokens = config.norm == "tokens"
        self.patch = TubeletEmbedding(self.width, config.patch)
        positions = create_positions(config.grid, config.position_grid, self.width)
        self.register_buffer("positions", positions, persistent=False)
        self.blocks = create_blocks(config.trunk, VIDEOMAE)
        self.norm = nn.LayerNorm(self.width, eps=VIDEOMAE.eps)
        self.apply(init_linear)

    def forward(self, pixels: Tensor, hidden: Tensor | None = None) -> EncoderOutput:
        """Encode clips, all of their tokens or those that are not hidden.

        Args:
            pixels: float (B, 3, T, size, size), normalised.
            hidden: bool (B, N), True where a token is withheld, as many in each clip; None: encode all.

        Returns:
            Tokens (B, N visible, D), and the unit vector of `features`.

        Raises:
            ValueError: If a shape is another, or clips hide different numbers of tokens.
        """
        kept = None if hidden is None else self.visible_indices(hidden)
        return self.finish(self.encode_at(pixels, kept), hidden)

    def features(self, pixels: Tensor) -> Tensor:
        """Return the mean of a clip's tokens, normalised by the trunk's layer norm, float (B, D)."""
        return self.pool(self.encode_at(pixels, None))

    def embed(self, pixels: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Return the visible tubelets as tokens with their positions, (B, N visible, D), for the first block."""
        return self.embed_at(pixels, None if hidden is None else self.visible_indices(hidden))

    def embed_at(self, pixels: Tensor, kept: Tensor | None) -> Tensor:
        """Return what `embed` does, for tokens by their index: int64 (B, K), or None for all."""
        self.check_pixels(pixels)
        if kept is not None and len(kept) != len(pixels):
            raise ValueError(f"a mask for {len(kept)} clips came with {len(pixels)} clips")
        return self.patch(pixels, kept) + (self.positions if kept is None else self.positions[kept])  # type: ignore[no-any-return]

    def encode_at(self, pixels: Tensor, kept: Tensor | None) -> Tensor:
        """Return what the last block puts out, (B, K, D), not normalised, for tokens by their index or for all."""
        tokens = self.embed_at(pixels, kept)
        for block in self.blocks:
            tokens = run(block, tokens, checkpointing=self.checkpointing)
        return tokens

    def pool(self, tokens: Tensor) -> Tensor:
        """Return the features of what the last block put out, (B, N visible, D) to (B, D)."""
        return self.norm(tokens).mean(1) if self.normalise_tokens else self.norm(tokens.mean(1))  # type: ignore[no-any-return]

    def finish(self, tokens: Tensor, hidden: Tensor | None = None) -> EncoderOutput:
        """Make the output of what the last block put out, (B, N visible, D)."""
        features = self.pool(tokens)
        tokens = self.norm(tokens) if self.normalise_tokens else tokens
        return EncoderOutput(tokens, unit_vectors(features, self.dtype), self.grid, hidden)

    def visible_indices(self, hidden: Tensor) -> Tensor:
        """Return which tokens are visible, int64 (B, N visible), rising.

        Raises:
            ValueError: If `hidden` is not bool (B, N), or clips differ in how many they hide.
        """
        self.check_selection(hidden)
        return selected_indices(~hidden)

    def check_selection(self, selected: Tensor) -> None:
        """Refuse a mask of another type or shape than bool (B, N)."""
        num_tokens = len(self.positions)
        if selected.dtype != torch.bool or selected.ndim != 2 or selected.shape[1] != num_tokens:
            raise ValueError(
                f"a mask is {selected.dtype} {tuple(selected.shape)}, this encoder takes torch.bool (B, {num_tokens}) "
                f"for its grid {self.grid}"
            )


def init_linear(module: nn.Module) -> None:
    """Draw a linear layer's weight as VideoMAE does, Xavier-uniform, and zero its bias. Other layers keep their own."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
