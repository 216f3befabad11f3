"""Masked video modelling: hide tubes of a clip, and predict their pixels from what is left."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from navloop.configs.encoders import MaskedConfig
from navloop.configs.pretraining import MaskedPretrainConfig
from navloop.encoders.autoencoder import MaskedAutoencoder
from navloop.encoders.convert import load_released
from navloop.encoders.losses import reconstruction_loss, reconstruction_targets
from navloop.encoders.masking import running_cell_mask, tube_mask
from navloop.encoders.zoo import save_encoder
from navloop.training.clips import ClipBatch
from navloop.training.stages.data import ClipSource, ClipStage
from navloop.training.stages.shapes import stage_shapes
from navloop.weights import write_weights

_BLOCK = re.compile(r"encoder\.blocks\.(\d+)\.")
_CELL_TIMES = 4  # time slots after which running cells have left out each token equally often


class MaskedStage(ClipStage):
    """VideoMAE's pretraining.

    "loss" is the mean squared error of hidden tubelets, each channel of which has mean 0 and deviation 1; "baseline" is that of
    the best constant, each tubelet's own mean: about 1, less where tubelets are flat.

    Args:
        config: The recipe. With `decoder_skips`, the decoder predicts a part of the hidden tokens that turns with time.
        source: Where clips come from.

    Raises:
        ValueError: If the encoder is no masked branch, or the cells do not fit its grid.

    Source: InternVideo1/Pretrain/VideoMAE; Tong et al., NeurIPS 2022; Wang et al., VideoMAE V2, CVPR 2023, section 3.2;
    differs in: what is left out of the decoder is left out of the hidden tokens alone, so that it reads no blank
    where the encoder sees, and predicts nothing that is not judged.
    """

    def __init__(self, config: MaskedPretrainConfig, source: ClipSource) -> None:
        super().__init__(source)
        shapes = stage_shapes(config)
        if shapes.kind != "masked":
            raise ValueError(f"encoder: {config.encoder} is no masked branch; take one such as videomae_base_p16_t16")
        if config.decoder_skips is not None:
            _check_cells(shapes)
        patches = shapes.grid[1] * shapes.grid[2]
        if int(config.mask_ratio * patches) == 0:
            raise ValueError(
                f"mask_ratio: {config.mask_ratio:g} of the {patches} patches of a frame hides none; take {1 / patches:.2g} or more"
            )
        self.shapes = shapes
        self.config = config
        self.autoencoder = MaskedAutoencoder(self.shapes)
        if config.weights is not None:
            load_released(self.autoencoder, config.weights)

    def parts(self) -> Mapping[str, nn.Module]:
        """Return encoder and decoder."""
        return {"encoder": self.autoencoder.encoder, "decoder": self.autoencoder.decoder}

    def losses(self, batch: ClipBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return "loss" and "baseline"."""
        encoder = self.autoencoder.encoder
        pixels = encoder.to_pixels(batch.frames, batch.valid_frames)
        hidden, predicted = (mask.to(pixels.device) for mask in self.draw_masks(len(batch), generator))
        predictions = self.autoencoder(pixels, hidden, predicted)
        targets = reconstruction_targets(pixels, predicted, self.shapes)
        return {"loss": reconstruction_loss(predictions, targets), "baseline": targets.square().mean()}

    def draw_masks(self, clips: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return what the encoder does not see and what the decoder predicts, bool (B, N) each, for this process's clips."""
        grid, total = self.autoencoder.encoder.grid, clips * self.share.world
        hidden = tube_mask(grid, self.config.mask_ratio, total, generator)
        predicted = hidden
        if self.config.decoder_skips:
            predicted = hidden & ~running_cell_mask(grid, self.config.decoder_skips, total, generator)
        return self.share.mine(hidden), self.share.mine(predicted)

    def save(self, folder: Path) -> None:
        """Write encoder.safetensors, for `load_encoder`, and autoencoder.safetensors, for the next stages or more of this one.

        The next stages norm what the encoder's tokens are pooled to, and so take from the latter all but its norm and decoder.
        """
        save_encoder(self.autoencoder.encoder, folder / "encoder.safetensors")
        write_weights(folder / "autoencoder.safetensors", self.autoencoder.state_dict())

    def layer_of(self, name: str) -> int:
        """Return 0 for the patches, k + 1 for block k of the encoder, L + 1 for its norm and for the decoder."""
        name = name.removeprefix("autoencoder.")
        if name.startswith("encoder.patch."):
            return 0
        block = _BLOCK.match(name)
        return int(block[1]) + 1 if block else self.shapes.trunk.depth + 1


def _check_cells(shapes: MaskedConfig) -> None:
    time, height, width = shapes.grid
    if time % _CELL_TIMES or height % 2 or width % 2:
        raise ValueError(
            f"decoder_skips: cells of 2 x 2 tokens that turn in 4 time slots do not tile a grid of {time} x {height} x {width}; "
            "take clips.frames a multiple of 8, an even number of patches, or decoder_skips=0"
        )
