"""Waypoint predictor and planner: how large they are, and what they are fed. Both trees are saved beside the weights."""

from __future__ import annotations

from pydantic import Field, model_validator
from typing_extensions import Self

from navloop.configs.schema import Config


class WaypointConfig(Config):
    """A network that says from twelve views where one can walk. The defaults are the published one's.

    Source: Hong et al., Bridging the Gap Between Learning in Discrete and Continuous Environments, CVPR 2022.
    """

    width: int = Field(default=768, ge=8, description="Width of a view's token.")
    heads: int = Field(default=12, ge=1, description="Attention heads.")
    layers: int = Field(default=2, ge=1, le=24, description="Layers over the twelve views.")
    hidden: int = Field(default=3072, ge=8, description="Width between the two linear maps of a layer.")
    dropout: float = Field(default=0.3, ge=0, lt=1, description="Dropout while training.")
    depth_channels: int = Field(default=128, ge=8, description="Channels of a view's 4 x 4 map of depth features.")
    rgb_features: int = Field(default=0, ge=0, description="Numbers of a view's RGB feature; 0: it sees depth alone.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide a width of {self.width}")
        return self


class PlannerConfig(Config):
    """A history-enhanced planner. The defaults are the published one's, with the base video encoder.

    Source: Chen et al., History Aware Multimodal Transformer, NeurIPS 2021; InternVideo1/Downstream/Visual-Language-Navigation.
    """

    width: int = Field(default=768, ge=8, description="Width of every token.")
    heads: int = Field(default=12, ge=1, description="Attention heads.")
    hidden: int = Field(default=3072, ge=8, description="Width between the two linear maps of a layer.")
    text_layers: int = Field(default=9, ge=0, le=48, description="Layers over the words alone.")
    cross_layers: int = Field(default=4, ge=1, le=48, description="Layers in which words, history and views meet.")
    panorama_layers: int = Field(default=2, ge=1, le=48, description="Layers over a past panorama's views.")
    vocabulary: int = Field(default=30522, ge=2, description="Words known; the published one reads BERT's word pieces.")
    max_words: int = Field(default=512, ge=1, description="Words that an instruction may have.")
    max_decisions: int = Field(default=50, ge=1, description="Decisions that an episode may have.")
    view_features: int = Field(default=1280, ge=1, description="Numbers of a view's RGB feature.")
    rgb_features: int = Field(default=768, ge=1, description="Numbers that they are first brought to.")
    depth_features: int = Field(default=128, ge=1, description="Numbers of a view's depth feature.")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="Dropout while training.")
    feature_dropout: float = Field(default=0.4, ge=0, lt=1, description="Dropout of RGB features while training.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide a width of {self.width}")
        return self


class PlannerAgentConfig(Config):
    """A whole planning agent, but for its encoder, which says itself what it is."""

    waypoints: WaypointConfig = Field(default=WaypointConfig(), description="What says where one can walk.")
    planner: PlannerConfig = Field(default=PlannerConfig(), description="What chooses among the places.")
    least: float = Field(
        default=0.05, ge=0, le=1, description="Share of the best place's heat that a candidate must have."
    )
    candidates: int = Field(default=5, ge=1, le=20, description="Candidates of a decision, at most.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.waypoints.depth_channels != self.planner.depth_features:
            raise ValueError(
                f"planner.depth_features is {self.planner.depth_features}, waypoints.depth_channels {self.waypoints.depth_channels}; "
                "both are of the same depth features, make them equal"
            )
        return self
