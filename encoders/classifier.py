"""A linear classification head over any encoder's features."""

from __future__ import annotations

from torch import Tensor, nn

from navloop.encoders.drops import Dropout
from navloop.encoders.encoder import VideoEncoder

_INIT_STD = 0.02


class VideoClassifier(nn.Module):
    """An encoder and a linear layer over its features.

    Args:
        encoder: The encoder.
        num_classes: Number of classes.
        dropout: Share of features dropped while training: VideoMAE-H takes 0.5.
        norm: Normalise the features first, as UniFormerV2 does. VideoMAE's encoder has a norm of its own.
        init_scale: Factor of the head's first weights, so that fine-tuning starts from nearly equal scores.

    Raises:
        ValueError: If there is no class.

    Source: InternVideo1/Pretrain/VideoMAE/modeling_finetune.py; Li et al., UniFormerV2, ICCV 2023.
    """

    def __init__(
        self,
        encoder: VideoEncoder,
        num_classes: int,
        *,
        dropout: float = 0.0,
        norm: bool = False,
        init_scale: float = 0.001,
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"{num_classes} classes are none to tell apart; take 1 or more")
        self.encoder = encoder
        self.norm = nn.LayerNorm(encoder.width) if norm else nn.Identity()
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(encoder.width, num_classes)
        nn.init.normal_(self.head.weight, std=_INIT_STD * init_scale)
        nn.init.zeros_(self.head.bias)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the logits of normalised pixels, (B, 3, T, H, W) to (B, num_classes)."""
        return self.scores(self.encoder.features(pixels))

    def scores(self, features: Tensor) -> Tensor:
        """Return the logits of the encoder's features, (B, D) to (B, num_classes)."""
        return self.head(self.dropout(self.norm(features)))  # type: ignore[no-any-return]
