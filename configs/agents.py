"""An agent over a policy: what it sees with, and what decides. This tree is saved beside the weights."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from navloop.configs.schema import Config


class PerceptionConfig(Config):
    """How frames become the tokens that a policy reads. Another encoder is another `encoder` and `weights`."""

    encoder: str | None = Field(
        default="internvideo_mm_tiny_p16_t4",
        description="Encoder by name; null: the one that `weights` says it is of, with its size and frames.",
    )
    weights: str | None = Field(
        default=None, description="File of the encoder's weights, released or our own; null: random ones."
    )
    seed: int = Field(default=0, ge=0, description="Random weights follow from it, where `weights` is null.")
    size: int | None = Field(
        default=None, ge=8, description="Height and width that the encoder sees, pixels; null: those of its name."
    )
    trainable: bool = Field(default=False, description="Train the encoder with the policy; false: it stays as it is.")
    features: Literal["frame", "clip"] = Field(
        default="frame",
        description="frame: the newest frame's patches; clip: and the vector that stands for the last frames together.",
    )
    grid: int = Field(
        default=4, ge=1, le=16, description="Patches are pooled to grid x grid; a summary of the frame is added."
    )
    depth: bool = Field(default=False, description="Look at the depth camera too; the protocol must have one.")
    every: int = Field(
        default=1,
        ge=1,
        description="Steps between two looks of an encoder that must see whole windows; the others look at every step.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.encoder is None and self.weights is None:
            raise ValueError("neither encoder nor weights are said; name an encoder")
        if self.trainable and self.features == "clip":
            raise ValueError("an encoder is trained on single frames alone; take features=frame or trainable=false")
        return self


class WordsConfig(Config):
    """How a policy reads the instruction."""

    encoder: Literal["gru", "transformer", "tower"] = Field(
        default="transformer",
        description="gru, transformer: over words learned from the training instructions; tower: the encoder's own, frozen.",
    )
    layers: int = Field(default=1, ge=1, le=12, description="Layers over the words.")
    min_count: int = Field(
        default=1, ge=1, description="Times that a word must occur in the training instructions to be known."
    )
    max_words: int = Field(default=200, ge=1, le=2000, description="Words read of an instruction; the rest is cut.")


class PolicyConfig(Config):
    """What decides: Seq2Seq and CMA as VLN-CE has them, or the streaming transformer.

    Widths inside are the published ones at `width` 512 and shrink with it.

    Source: Krantz et al., Beyond the Nav-Graph, ECCV 2020 (seq2seq, cma).
    """

    kind: Literal["seq2seq", "cma", "streaming"] = Field(default="streaming", description="Which policy.")
    width: int = Field(
        default=128, ge=16, multiple_of=8, description="Width of the state; of every token where it streams."
    )
    words: WordsConfig = Field(default=WordsConfig(), description="How it reads the instruction.")
    dropout: float = Field(
        default=0.2,
        ge=0,
        lt=1,
        description="Share of channels, and of words (0.02 of them at least), that are left out at random while training.",
    )
    progress: bool = Field(default=True, description="Predict the progress too: a second loss that helps the first.")
    previous_action: bool = Field(default=True, description="Read the action that was taken last.")
    turn_deg: float | None = Field(
        default=None,
        gt=0,
        le=180,
        description="Angle of a turn, degrees, to reckon from the actions where one stands; null: no such reckoning.",
    )
    layers: int | None = Field(default=None, ge=1, le=48, description="Streaming alone: layers; null: 3.")
    heads: int | None = Field(default=None, ge=1, description="Streaming alone: attention heads; null: 4.")
    memory: int | None = Field(
        default=None, ge=1, description="Streaming alone: steps that it looks back, itself included; null: 512."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kind != "streaming":
            said = [name for name in ("layers", "heads", "memory") if getattr(self, name) is not None]
            if said:
                mend = " ".join(f"agent.policy.{name}=null" for name in said)
                raise ValueError(
                    f"{', '.join(said)}: of streaming alone, and kind is {self.kind}; leave them null: {mend}"
                )
        elif self.width % (2 * (self.heads or HEADS)):
            raise ValueError(f"{self.heads or HEADS} heads of an even width do not divide a width of {self.width}")
        return self


LAYERS, HEADS, MEMORY = 3, 4, 512
"""What a streaming policy has where its recipe says null."""


class AgentConfig(Config):
    """A whole agent."""

    perception: PerceptionConfig = Field(default=PerceptionConfig(), description="What it sees with.")
    policy: PolicyConfig = Field(default=PolicyConfig(), description="What decides.")
