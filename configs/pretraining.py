"""One stage of an encoder's training, as a recipe says it. What all stages share is said once; each adds its own."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from navloop.configs.engine import EngineConfig
from navloop.configs.schema import NAME, Config
from navloop.configs.videos import ClipsConfig, check_label_maps


class PretrainConfig(Config):
    """What all stages share; a recipe is of one of `navloop.configs.kinds.STAGES`."""

    RESUMABLE: ClassVar[tuple[str, ...]] = (
        "name",
        "clips.workers",
        "clips.memory_mb",
        "clips.max_unreadable",
        "engine.keep",
        "engine.checkpoint_every",
        "engine.log_every",
        "engine.evaluate_every",
    )

    NEEDS: ClassVar[tuple[Literal["label", "captions"], ...]] = ()
    """What every row of its lists has to have."""

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
    held_out_label_maps: tuple[str | None, ...] = Field(
        default=(), description="What clips.label_maps is to clips.manifest, for the lists of `held_out`."
    )
    engine: EngineConfig = Field(description="How it is trained.")

    @model_validator(mode="after")
    def _maps_fit(self) -> Self:
        maps = self.held_out_label_maps
        check_label_maps(maps, self.held_out, "held_out_label_maps", "held_out")
        if self.clips.label_maps and self.held_out and not maps:
            raise ValueError(
                "clips.label_maps changes the labels that are trained on, and held_out_label_maps says nothing of the others; "
                "say a file for each list of held_out, null where labels are as trained on"
            )
        return self

    @model_validator(mode="after")
    def _sides_are_named(self) -> Self:
        if "label" in self.NEEDS and self.clips.augmentation.mirror and self.clips.classes is None:
            raise ValueError(
                "clips.augmentation.mirror turns left into right in the names of classes, and there are none; name them (clips.classes)"
            )
        return self

    def data_files(self) -> tuple[str, ...]:
        """Return the lists or folders of videos, and what else decides the clips and their labels."""
        labels = (*self.clips.label_maps, *self.held_out_label_maps, self.clips.classes)
        return (*self.clips.manifest, *self.held_out, *(name for name in labels if name is not None))


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
