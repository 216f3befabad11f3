"""VideoMAE pretraining: the trunk sees a tenth of a clip, a light decoder predicts the pixels of the rest."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from navloop.configs.encoders import MaskedConfig, TransformerConfig
from navloop.encoders.layers import VIDEOMAE, create_blocks, run
from navloop.encoders.masked import MaskedEncoder, init_linear
from navloop.encoders.masking import selected_indices
from navloop.encoders.positions import create_positions

_INIT_STD = 0.02


class Decoder(nn.Module):
    """Blocks over visible and blank tokens, and a linear map to the pixels of a tubelet.

    Args:
        config: Shapes of the blocks.
        num_values: Numbers that a tubelet has.
    """

    def __init__(self, config: TransformerConfig, num_values: int) -> None:
        super().__init__()
        self.checkpointing = config.checkpointing
        self.blocks = create_blocks(config, VIDEOMAE)
        self.norm = nn.LayerNorm(config.width, eps=VIDEOMAE.eps)
        self.head = nn.Linear(config.width, num_values)
        self.apply(init_linear)

    def forward(self, tokens: Tensor, num_predicted: int) -> Tensor:
        """Map (B, K, D) to the pixels of the last tokens, (B, num_predicted, num_values)."""
        for block in self.blocks:
            tokens = run(block, tokens, checkpointing=self.checkpointing)
        return self.head(self.norm(tokens[:, -num_predicted:]))  # type: ignore[no-any-return]


class MaskedAutoencoder(nn.Module):
    """VideoMAE's pretraining model. Its `encoder` is what is kept.

    Args:
        config: Shapes; the encoder normalises each token, whatever `config.norm` says.

    Source: InternVideo1/Pretrain/VideoMAE/modeling_pretrain.py; Tong et al., VideoMAE, NeurIPS 2022.
    """

    positions: Tensor

    def __init__(self, config: MaskedConfig) -> None:
        super().__init__()
        width = config.decoder.width
        self.encoder = MaskedEncoder(config.model_copy(update={"norm": "tokens"}))
        self.to_decoder = nn.Linear(config.trunk.width, width, bias=False)
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        self.decoder = Decoder(config.decoder, 3 * 2 * config.patch**2)
        positions = create_positions(config.grid, config.position_grid, width)
        self.register_buffer("positions", positions, persistent=False)
        init_linear(self.to_decoder)
        nn.init.trunc_normal_(self.mask_token, std=_INIT_STD, a=-_INIT_STD, b=_INIT_STD)

    def forward(self, pixels: Tensor, hidden: Tensor, predicted: Tensor | None = None) -> Tensor:
        """Predict tubelets, normalised as `reconstruction_targets` normalises them.

        Args:
            pixels: float (B, 3, T, size, size), normalised.
            hidden: bool (B, N), True where the encoder does not see a token, as many in each clip.
            predicted: bool (B, N), True where the decoder predicts, as many in each clip; None: all that is hidden.
                VideoMAE V2 predicts `~running_cell_mask(...)` to halve the decoder's work.

        Returns:
            float (B, N predicted, 2 * patch * patch * 3), in the order of tokens: time, row, column; within one, too,
            with the channel last.

        Raises:
            ValueError: If a shape is another, or clips hide or predict different numbers of tokens.
        """
        predicted = hidden if predicted is None else predicted
        self.encoder.check_selection(predicted)
        kept, wanted = self.encoder.visible_indices(hidden), selected_indices(predicted)
        visible = self.to_decoder(self.encoder.norm(self.encoder.encode_at(pixels, kept))) + self.positions[kept]
        blank = self.mask_token + self.positions[wanted]
        return self.decoder(torch.cat((visible, blank), 1), wanted.shape[1])  # type: ignore[no-any-return]
