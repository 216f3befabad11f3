"""Which described walks are kept to learn from, as a recipe says it."""

from __future__ import annotations

from pydantic import Field, model_validator
from typing_extensions import Self

from navloop.configs.schema import Config


class FiltersConfig(Config):
    """Filters in the order in which they are asked; a null leaves one out.

    Source: Wang et al., SRDF, ICLR 2025: a follower reproduces the walk. It drops texts alike too, by ROUGE; here by pairs of words.
    """

    min_words: int = Field(default=4, ge=1, description="Words that a description has at least.")
    max_words: int = Field(default=80, ge=1, description="Words that a description has at most.")
    min_metres: float = Field(default=1.5, ge=0, description="Length of a walk at least, metres.")
    max_metres: float | None = Field(default=None, gt=0, description="Length of a walk at most, metres; null: any.")
    efficiency: float | None = Field(
        default=0.7, ge=0, le=1, description="Share of the walked length that the shortest way is at least; null: any."
    )
    ndtw: float | None = Field(
        default=0.5, ge=0, le=1, description="nDTW of a follower who is told the description, at least; null: any."
    )
    success: bool = Field(default=False, description="Whether the follower must end where the walk did.")
    told_others: bool = Field(
        default=True,
        description="Whether the follower is told the words of other walks too, which drops nothing, and says how much of what it follows it "
        "would follow anyway.",
    )
    similarity: float | None = Field(
        default=None, description="Cosine of video and text at least, by the encoder; null: any."
    )
    similar_share: float | None = Field(
        default=None, gt=0, le=1, description="Keep this share, of which video and text agree most; null: all."
    )
    likely_share: float | None = Field(
        default=None, gt=0, le=1, description="Keep this share, of which the speaker is surest of its words; null: all."
    )
    apart: float | None = Field(
        default=0.5, ge=0, description="Metres by which walks of a scene differ in start or end; null: any."
    )
    text_overlap: float | None = Field(
        default=0.85,
        gt=0,
        le=1,
        description="Overlap of word pairs at which two texts of a scene are one; null: never.",
    )
    frame_cosine: float | None = Field(
        default=None, gt=0, le=1, description="Cosine of frames' features at which two walks are one; null: never."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_words > self.max_words:
            raise ValueError(f"min_words {self.min_words} is above max_words {self.max_words}")
        if self.max_metres is not None and self.min_metres > self.max_metres:
            raise ValueError(f"min_metres {self.min_metres} is above max_metres {self.max_metres}")
        return self
