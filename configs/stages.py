"""The stages after masked modelling, as recipes say them: contrast and captions, classification, coordination."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from navloop.configs.encoders import CaptionerConfig
from navloop.configs.pretraining import PretrainConfig
from navloop.configs.videos import MixConfig


class ContrastivePretrainConfig(PretrainConfig):
    """Videos and their texts in one space, and captions.

    Source: paper, section 3.1.2; Radford et al., CLIP, 2021; Yu et al., CoCa, 2022; ViCLIP (mask_ratio).
    """

    stage: Literal["contrastive"] = Field(default="contrastive", description="What the encoder is trained to do.")
    clip: str | None = Field(
        default=None,
        description="open_clip model to begin with, as name or name:tag, in place of `encoder`'s random weights.",
    )
    captions_weight: float = Field(
        default=1.0, ge=0, description="Weight of the caption loss beside the contrastive one; 0 trains no captions."
    )
    captioner: CaptionerConfig | None = Field(
        default=None, description="Caption decoder to add to an encoder that has none; null: as the encoder is."
    )
    freeze_text: bool = Field(default=False, description="Leave the text tower as it is.")
    mask_ratio: float = Field(
        default=0.0, ge=0, lt=1, description="Share of the tokens withheld at random, for ViCLIP alone."
    )


class ClassificationPretrainConfig(PretrainConfig):
    """Supervised classification of clips, of one branch by itself.

    Source: paper, section 3.1.3 (K710); the fine-tuning of VideoMAE and UniFormerV2.
    """

    stage: Literal["classification"] = Field(default="classification", description="What the encoder is trained to do.")
    mix: MixConfig | None = Field(default=None, description="Mixup and cutmix of a batch's clips; null: none.")
    smoothing: float = Field(default=0.0, ge=0, lt=1, description="Label smoothing where `mix` is null.")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout before the classifier.")
    drop_path: float = Field(default=0.0, ge=0, lt=1, description="Drop path of the encoder's last block.")
    norm: bool = Field(default=False, description="A layer norm before the classifier, as UniFormerV2 has.")
    init_scale: float = Field(default=0.001, gt=0, description="Factor of the classifier's first weights.")
    freeze: bool = Field(
        default=False, description="Train the classifier alone, on the encoder as it is: a linear probe."
    )


class CoordinationPretrainConfig(PretrainConfig):
    """Cross-model attention between the two frozen branches, learned by classification.

    Source: paper, section 3.2.
    """

    stage: Literal["coordination"] = Field(default="coordination", description="What the encoder is trained to do.")
    masked: str | None = Field(
        default=None, description="Classifier of the masked branch, an earlier stage's classifier.safetensors."
    )
    multimodal: str | None = Field(
        default=None, description="Classifier of the multimodal branch, an earlier stage's classifier.safetensors."
    )
    smoothing: float = Field(default=0.0, ge=0, lt=1, description="Label smoothing.")
