"""How a planner over waypoints is trained, as a recipe says it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from navloop.configs.agents import AgentConfig
from navloop.configs.imitation import TrainConfig
from navloop.configs.iterations import LessonsConfig, WalkingConfig
from navloop.configs.planner import PlannerAgentConfig
from navloop.configs.schema import Config


class ViewsConfig(Config):
    """What the views of a panorama are seen with: an encoder that stays as it is."""

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

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.encoder is None and self.weights is None:
            raise ValueError("neither encoder nor weights are said; name an encoder")
        return self


class PredictorConfig(Config):
    """How the waypoint predictor learns where one can walk: from depth at places drawn in the houses of `episodes.train`."""

    places: int = Field(default=800, ge=1, description="Places to learn from, evenly over the houses.")
    held_out: int = Field(
        default=100,
        ge=0,
        description="Places in the houses of `episodes.val_unseen` to measure it; 0 measures nothing.",
    )
    steps: int = Field(default=600, ge=10, description="Optimiser steps.")
    batch: int = Field(default=32, ge=1, description="Places an optimiser step.")
    lr: float = Field(default=1e-3, gt=0, description="Highest learning rate; it falls to nothing.")


class OracleConfig(WalkingConfig):
    """How the walks that are learned from are made: in each iteration, which decisions are the oracle's.

    At every decision the oracle says which candidate leaves the shortest way, and that is what is learned, whoever decides.

    Source: Ross, Gordon and Bagnell, DAgger, AISTATS 2011; InternVideo1/Downstream/Visual-Language-Navigation (mixing by decision).
    """


class DecidingConfig(LessonsConfig):
    """How the planner learns from walks: AdamW on a cosine schedule over the whole run.

    Source: InternVideo1/Downstream/Visual-Language-Navigation (lr 3e-5 from pretrained weights, gradients cut at 40).
    """

    epochs: float = Field(default=8.0, gt=0, description="Passes over all walks so far, in each iteration.")
    batch: int = Field(default=16, ge=1, description="Walks an optimiser step.")
    lr: float = Field(default=5e-4, gt=0, description="Highest learning rate.")
    clip: float | None = Field(default=40.0, gt=0, description="Largest norm of the gradient; null: any.")
    smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="Share of the label spread over all that can be chosen."
    )


class PlannerTrainConfig(TrainConfig):
    """A planner over waypoints: first where one can walk, then, by an oracle's word and its own decisions, where to walk."""

    algorithm: Literal["planner"] = Field(default="planner", description="How it learns.")
    views: ViewsConfig = Field(default=ViewsConfig(), description="What it sees with, where it begins anew.")
    planner: PlannerAgentConfig = Field(
        default=PlannerAgentConfig(),
        description="Sizes, where it begins anew; the vocabulary and the width of a view's feature follow from the data and the encoder.",
    )
    start: str | None = Field(default=None, description="Folder of a saved planner to go on from; null: a new one.")
    predictor_from: str | None = Field(
        default=None,
        description="Folder of a saved planner whose waypoint predictor, with its eyes, is taken as it is; null: one is trained.",
    )
    predictor: PredictorConfig = Field(default=PredictorConfig(), description="How the waypoint predictor is trained.")
    oracle: OracleConfig = Field(default=OracleConfig(), description="How walks are made.")
    learning: DecidingConfig = Field(default=DecidingConfig(), description="How they are learned from.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.agent != AgentConfig():
            raise ValueError("agent says nothing to a planner; say views and planner, or name a saved planner as start")
        if self.start is not None and self.predictor_from is not None:
            raise ValueError("a planner that goes on keeps its own predictor; leave out start or predictor_from")
        if self.episodes.world != "embedded" and self.start is None and self.predictor_from is None:
            raise ValueError(
                f"episodes.world is {self.episodes.world}, but where one can walk is known in the embedded world alone; "
                "name a saved planner in start or predictor_from"
            )
        return self
