"""The kinds of recipe: what each may say is in its own module, which command runs it follows from here."""

from __future__ import annotations

from navloop.configs.pipeline import PipelineConfig
from navloop.configs.pretraining import MaskedPretrainConfig, PretrainConfig
from navloop.configs.replay import ReplayConfig
from navloop.configs.schema import EvalConfig, HousesConfig
from navloop.configs.stages import (
    ClassificationPretrainConfig,
    ContrastivePretrainConfig,
    CoordinationPretrainConfig,
)

Recipe = HousesConfig | EvalConfig | PretrainConfig | ReplayConfig | PipelineConfig
"""Any recipe; its `kind` says which."""

KINDS: dict[str, type[Recipe]] = {
    "houses": HousesConfig,
    "eval": EvalConfig,
    "replay": ReplayConfig,
    "pretrain": PretrainConfig,
    "pipeline": PipelineConfig,
}
"""The schema of each kind of recipe; of pretrain, what all its `STAGES` share."""

STAGES: dict[str, type[PretrainConfig]] = {
    "masked": MaskedPretrainConfig,
    "contrastive": ContrastivePretrainConfig,
    "classification": ClassificationPretrainConfig,
    "coordination": CoordinationPretrainConfig,
}
"""The schema of each stage of `navloop pretrain`."""
