"""A speaker: what it sees with, how it puts a walk into words, and how it learns to."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from navloop.configs.agents import AgentConfig, PerceptionConfig
from navloop.configs.descent import DescentConfig
from navloop.configs.imitation import TrainConfig
from navloop.configs.schema import Config


class NarratorConfig(Config):
    """A small transformer that reads a walk, and InternVideo's caption decoder that tells it.

    Source: InternVideo, section 3.1.2 (the decoder); Fried et al., Speaker-Follower Models, NeurIPS 2018 (the task).
    """

    width: int = Field(default=128, ge=64, multiple_of=64, description="Width of every token.")
    walk_layers: int = Field(default=2, ge=1, le=24, description="Layers over the walk.")
    word_layers: int = Field(default=1, ge=1, le=24, description="Layers of the caption decoder.")
    looks: int = Field(
        default=32, ge=2, le=512, description="Frames read of a walk, evenly over its steps, however long it is."
    )
    legs: int = Field(
        default=10,
        ge=1,
        le=128,
        description="Straight legs read of its actions; a longer walk's last ones are left out.",
    )
    queries: int = Field(default=32, ge=1, le=1024, description="Tokens that the decoder pools the walk to.")
    turn_deg: float = Field(default=15.0, gt=0, le=180, description="Angle of a turn, degrees.")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="Share of channels left out at random while training.")
    missed_words: float = Field(
        default=0.1, ge=0, lt=1, description="Share of the words told so far that are made unknown while training."
    )
    min_count: int = Field(default=2, ge=1, description="Times that a word must occur in the texts to be known.")
    max_words: int = Field(default=90, ge=4, le=2000, description="Words and marks of a text at most.")


class SpeakerConfig(Config):
    """A whole speaker. This tree is saved beside its weights."""

    perception: PerceptionConfig = Field(default=PerceptionConfig(), description="What it sees with.")
    narrator: NarratorConfig = Field(default=NarratorConfig(), description="What puts a walk into words.")


class RecordedConfig(Config):
    """Walks that are there already, and what was said of them."""

    walks: str = Field(min_length=1, description="Folder of walks.")
    episodes: str = Field(min_length=1, description="Episode file whose instructions describe them.")


class TellingConfig(DescentConfig):
    """How a speaker learns: AdamW on a cosine schedule, one wording of each walk a pass."""

    epochs: float = Field(default=30.0, gt=0, description="Passes over the walks.")
    batch: int = Field(default=16, ge=1, description="Walks an optimiser step.")
    warmup: float = Field(default=0.05, ge=0, lt=1, description="Share of the steps in which the learning rate rises.")
    smoothing: float = Field(default=0.1, ge=0, lt=1, description="Label smoothing of the words.")
    plan: float = Field(
        default=8.0,
        gt=0,
        description="Weight of a word that says what a text is about (rooms, turns), over that of a word of the text itself.",
    )
    mirror: bool = Field(
        default=True,
        description="Tell half of the walks in a mirror, drawn anew each pass: frames flipped, left and right swapped.",
    )


class SpeakerTrainConfig(TrainConfig):
    """A speaker that learns from walks and the instructions that they follow; an expert walks what nobody has walked yet."""

    algorithm: Literal["speaker"] = Field(default="speaker", description="How it learns.")
    speaker: SpeakerConfig = Field(default=SpeakerConfig(), description="Who learns, where it begins anew.")
    eyes: str | None = Field(
        default=None,
        description="Folder of a saved agent whose perception it sees with; null: that of `speaker.perception`.",
    )
    recorded: tuple[RecordedConfig, ...] = Field(
        default=(), description="Walks to learn from besides those of `episodes.train`, as of earlier rounds."
    )
    learning: TellingConfig = Field(default=TellingConfig(), description="How they are learned from.")
    start: str | None = Field(default=None, description="Folder of a saved speaker to go on from; null: a new one.")
    evaluate: int = Field(
        default=100, ge=0, description="Tours of each validation split described to measure; 0 measures nothing."
    )
    select: Literal["val_seen", "val_unseen"] = Field(
        default="val_seen",
        description="Split whose loss says which checkpoint is kept as `best`. Numbers on it are then not held out.",
    )

    @property
    def mirrors(self) -> bool:
        """Whether walks are learned in a mirror too, left and right swapped."""
        return self.learning.mirror

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.agent != AgentConfig():
            raise ValueError("agent says nothing to a speaker; say speaker.perception, or name a saved agent as eyes")
        if self.eyes is not None and self.start is not None:
            raise ValueError("eyes and start both say what it sees with; a speaker that goes on keeps its own eyes")
        if self.speaker.perception.trainable:
            raise ValueError("speaker.perception.trainable is true, but a speaker learns from features; take false")
        return self
