"""An encoder's shapes as a recipe asks for them."""

from __future__ import annotations

from typing import TypeVar

from navloop.configs.encoders import EncoderConfig, TransformerConfig
from navloop.configs.pretraining import PretrainConfig
from navloop.configs.schema import Config
from navloop.encoders.zoo import encoder_config

C = TypeVar("C", bound=Config)


def stage_shapes(config: PretrainConfig) -> EncoderConfig:
    """Return the shapes of a recipe's encoder, for its frames and size, recomputing activations if it says so.

    Raises:
        ValueError: If there is no such encoder, or it cannot take such frames.
    """
    shapes = encoder_config(config.encoder, frames=config.clips.frames, size=config.clips.size)
    return with_parts(shapes, TransformerConfig, checkpointing=config.recompute)


def with_parts(config: C, part: type[Config], **fields: object) -> C:
    """Return a configuration with fields of every part of one kind in it changed."""
    if isinstance(config, part):
        return config.model_copy(update=fields)
    inner = {name: with_parts(value, part, **fields) for name, value in config if isinstance(value, Config)}
    return config.model_copy(update=inner)
