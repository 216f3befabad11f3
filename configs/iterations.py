"""How walks are made and learned from, again and again; what every recipe of that sort has."""

from __future__ import annotations

from pydantic import Field

from navloop.configs.descent import DescentConfig
from navloop.configs.schema import Config


class WalkingConfig(Config):
    """How the walks of each iteration are made.

    At every place somebody who knows the way, an agent's expert or a planner's oracle, says what to do; that is learned, whoever acts.

    Source: Ross, Gordon and Bagnell, DAgger, AISTATS 2011.
    """

    iterations: int = Field(
        default=4, ge=1, description="Times that walks are made and learned from; one alone is teacher forcing."
    )
    p: float = Field(
        default=0.75,
        ge=0,
        le=1,
        description="In iteration k (from 0) the expert, or oracle, decides a step with probability p**(k + walked).",
    )
    walked: int = Field(
        default=0,
        ge=0,
        description="Iterations that count as done before the first: 1 lets an agent that begins from another (start) walk at once.",
    )
    tours: int | None = Field(
        default=None, ge=1, description="Tours walked an iteration, drawn anew each time; null: all there are."
    )
    max_steps: int | None = Field(
        default=None, ge=1, description="Actions after which a walk to learn from is cut off; null: the protocol's own."
    )
    part: int = Field(
        default=64, ge=1, description="Tours a file of walks; what a killed run has to walk again at most."
    )


class LessonsConfig(DescentConfig):
    """How the walks of all iterations so far are learned from."""

    epochs: float = Field(default=4.0, gt=0, description="Passes over all walks so far, in each iteration.")
    steps: int | None = Field(
        default=None,
        ge=1,
        description="Optimiser steps of each iteration, in place of `epochs`: equal for agents that learn from unequal data.",
    )
    batch: int = Field(default=32, ge=1, description="Walks an optimiser step.")
    wordings: bool = Field(
        default=True, description="Learn from all wordings of a walk in turn; false: from the one that was followed."
    )
