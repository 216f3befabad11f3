"""How texts are generated: the most likely token each time, a beam of texts, or chance."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from navloop.configs.schema import Config


class Greedy(Config):
    """Take the most likely token each time."""

    kind: Literal["greedy"] = Field(default="greedy", description="How words are chosen.")


class Beam(Config):
    """Keep the most likely texts and let them grow together.

    Source: Freitag and Al-Onaizan, Beam Search Strategies for Neural Machine Translation, 2017.
    """

    kind: Literal["beam"] = Field(default="beam", description="How words are chosen.")
    width: int = Field(default=5, ge=1, description="Texts kept a clip; 1 is greedy.")
    count: int = Field(default=1, ge=1, description="Texts returned a clip, best first; at most `width`.")
    length_penalty: float = Field(
        default=1.0,
        ge=0,
        description="Texts compete by log-probability / length ** this: 0 favours short ones, 1 none.",
    )
    early_stop: bool = Field(
        default=True, description="Stop at `width` ended texts; else only when no other could still be better."
    )

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if self.count > self.width:
            raise ValueError(f"a beam of width {self.width} cannot return {self.count} texts; widen it to {self.count}")
        return self


class Nucleus(Config):
    """Draw each token from the fewest that together have probability `top_p`.

    Source: Holtzman et al., The Curious Case of Neural Text Degeneration, ICLR 2020.
    """

    kind: Literal["nucleus"] = Field(default="nucleus", description="How words are chosen.")
    top_p: float = Field(default=0.9, gt=0, le=1, description="Probability kept; 1 keeps every token.")
    temperature: float = Field(default=1.0, gt=0, description="Logits are divided by it: below 1 is bolder.")
    count: int = Field(default=1, ge=1, description="Texts drawn a clip, independently.")


Strategy = Annotated[Greedy | Beam | Nucleus, Field(discriminator="kind")]
