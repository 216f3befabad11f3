"""The kinds of recipe: what each may say is in its own module, which command runs it follows from here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from navloop.configs.collect import CollectConfig
from navloop.configs.imitation import ImitationConfig, TrainConfig
from navloop.configs.loop import LoopConfig
from navloop.configs.perception import AnyTask, PerceptionEvalConfig
from navloop.configs.perception_tasks import TaskConfig
from navloop.configs.pipeline import PipelineConfig
from navloop.configs.planning import PlannerTrainConfig
from navloop.configs.pretraining import MaskedPretrainConfig, PretrainConfig
from navloop.configs.reinforcement import ReinforcementConfig
from navloop.configs.replay import ReplayConfig
from navloop.configs.schema import EvalConfig, HousesConfig
from navloop.configs.speaker import SpeakerTrainConfig
from navloop.configs.stages import (
    ClassificationPretrainConfig,
    ContrastivePretrainConfig,
    CoordinationPretrainConfig,
)

Recipe = (
    HousesConfig
    | EvalConfig
    | PerceptionEvalConfig
    | PretrainConfig
    | TrainConfig
    | ReplayConfig
    | CollectConfig
    | PipelineConfig
    | LoopConfig
)
"""Any recipe; its `kind` says which."""

KINDS: dict[str, type[Recipe]] = {
    "houses": HousesConfig,
    "eval": EvalConfig,
    "perception": PerceptionEvalConfig,
    "replay": ReplayConfig,
    "collect": CollectConfig,
    "pretrain": PretrainConfig,
    "train": TrainConfig,
    "pipeline": PipelineConfig,
    "loop": LoopConfig,
}
"""The schema of each kind of recipe; of those in `VARIANTS`, what all variants share."""

STAGES: dict[str, type[PretrainConfig]] = {
    "masked": MaskedPretrainConfig,
    "contrastive": ContrastivePretrainConfig,
    "classification": ClassificationPretrainConfig,
    "coordination": CoordinationPretrainConfig,
}
"""The schema of each stage of `navloop pretrain`."""

COMMANDS: dict[str, str] = {"perception": "eval"}
"""The command of each kind of recipe that has none of its own name."""

TASKS: dict[str, type[TaskConfig]] = {
    schema.model_fields["task"].default: schema for schema in get_args(get_args(AnyTask)[0])
}
"""The schema of each task of a perception recipe."""

ALGORITHMS: dict[str, type[TrainConfig]] = {
    "imitation": ImitationConfig,
    "reinforcement": ReinforcementConfig,
    "speaker": SpeakerTrainConfig,
    "planner": PlannerTrainConfig,
}
"""The schema of each algorithm of `navloop train`."""

VARIANTS: dict[str, tuple[str, Mapping[str, type[Recipe]]]] = {
    "pretrain": ("stage", STAGES),
    "train": ("algorithm", ALGORITHMS),
}
"""Kinds of recipe that come in variants: the field that says which, and the schema of each."""
