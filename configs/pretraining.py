"""One stage of an encoder's training, as a recipe says it. What all stages share is said once; each adds its own."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from navloop.configs.engine import EngineConfig
from navloop.configs.schema import NAME, Config
from navloop.configs.videos import ClipsConfig


class PretrainConfig(Config):
    """What all stages share; a recipe is of one of `navloop.configs.kinds.STAGES`."""

    RESUMABLE: ClassVar[tuple[str, ...]] = (
        "name",
        "clips.workers",
        "engine.keep",
        "engine.checkpoint_every",
        "engine.log_every",
        "engine.evaluate_every",
    )

    kind: Literal["pretrain"] = Field(default="pretrain", description="Which command the recipe is for.")
    stage: str = Field(description="What the encoder is trained to do; it decides which other fields there are.")
    name: str = Field(default="pretrain", pattern=NAME, description="Folder of the run below runs/.")
    encoder: str = Field(min_length=1, description="Encoder by name; clips.frames and clips.size decide its input.")
    weights: str | None = Field(
        default=None, description="Weights to begin with: released, or an earlier stage's; null: random ones."
    )
    recompute: bool = Field(
        default=False, description="Compute activations anew in the backward pass: less memory, a third more time."
    )
    clips: ClipsConfig = Field(description="What it is trained on.")
    held_out: tuple[str, ...] = Field(
        default=(), description="Lists of videos, as clips.manifest, to measure the losses on; never trained on."
    )
    engine: EngineConfig = Field(description="How it is trained.")


class MaskedPretrainConfig(PretrainConfig):
    """Masked video modelling: predict the pixels of hidden tubes.

    Source: Tong et al., VideoMAE, NeurIPS 2022; Wang et al., VideoMAE V2, CVPR 2023 (decoder_skips).
    """

    stage: Literal["masked"] = Field(default="masked", description="What the encoder is trained to do.")
    mask_ratio: float = Field(default=0.9, gt=0, lt=1, description="Share of the patches hidden from the encoder.")
    decoder_skips: float = Field(
        default=0.0,
        ge=0,
        le=0.75,
        multiple_of=0.25,
        description="Share of the hidden tokens that the decoder does not predict, by running cells; 0: it predicts all.",
    )
