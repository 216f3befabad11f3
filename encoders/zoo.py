"""Encoders by name. A name is family, size, patch and frames: `internvideo_mm_base_p16_t8`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import TypeAdapter, ValidationError

from navloop.configs.encoders import (
    EncoderConfig,
    InternVideoConfig,
    MaskedConfig,
    MultimodalConfig,
    UniFormerConfig,
    ViCLIPConfig,
    VideoTowerConfig,
)
from navloop.configs.schema import Config
from navloop.encoders.convert import load_released
from navloop.encoders.coordination import InternVideo
from navloop.encoders.encoder import VideoEncoder
from navloop.encoders.masked import MaskedEncoder
from navloop.encoders.multimodal import MultimodalEncoder, UniFormer
from navloop.encoders.sizes import ENCODERS
from navloop.encoders.viclip import ViCLIPEncoder
from navloop.weights import WeightsError, read_weights, write_weights

C = TypeVar("C", bound=Config)
Shaped = TypeVar("Shaped", bound=MaskedConfig | VideoTowerConfig | ViCLIPConfig)

_CONFIG = "navloop.encoder"
"""Name of the configuration among a weight file's texts."""

_CLASSES: dict[str, type[VideoEncoder]] = {
    "masked": MaskedEncoder,
    "multimodal": MultimodalEncoder,
    "uniformer": UniFormer,
    "viclip": ViCLIPEncoder,
    "internvideo": InternVideo,
}


def list_encoders() -> list[str]:
    """Return the names that `create_encoder` knows, sorted."""
    return list(ENCODERS)


def encoder_config(name: str, *, frames: int | None = None, size: int | None = None) -> EncoderConfig:
    """Return the configuration of a named encoder.

    Args:
        name: One of `list_encoders()`.
        frames: Frames T of a clip; None for those of the name.
        size: Height and width in pixels; None for those of the name.

    Raises:
        ValueError: If there is no such encoder (naming the nearest), or it cannot take such frames.
    """
    config = ENCODERS[name]()
    return _resized(config, frames, size) if frames or size else config


def create_encoder(
    name: str | EncoderConfig,
    weights: str | os.PathLike[str] | None = None,
    *,
    frames: int | None = None,
    size: int | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> VideoEncoder:
    """Return an encoder, ready to encode (in eval mode).

    Args:
        name: One of `list_encoders()`, or a configuration.
        weights: File of weights, released or our own; None starts from random ones. Every key is accounted for.
        frames: Frames T of a clip; None for those of the name.
        size: Height and width in pixels; None for those of the name.
        device: Where the parameters are.
        dtype: Type of the parameters: float32, bfloat16 or float16.

    Raises:
        ValueError: If the name, the frames, or the weights do not fit; the message says what would.
    """
    if isinstance(name, str):
        config = encoder_config(name, frames=frames, size=size)
    else:
        config = _resized(name, frames, size)
    encoder = _CLASSES[config.kind](config)
    if weights is not None:
        load_released(encoder, Path(weights))
    return encoder.to(device=device, dtype=dtype).eval()


def save_encoder(encoder: VideoEncoder, path: str | os.PathLike[str]) -> None:
    """Write an encoder's weights, with its configuration, as one safetensors file; `load_encoder` makes it again."""
    write_weights(Path(path), encoder.state_dict(), {_CONFIG: encoder.config.model_dump_json()})


def load_encoder(
    path: str | os.PathLike[str], *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> VideoEncoder:
    """Return the encoder that `save_encoder` wrote, in eval mode.

    Raises:
        WeightsError: If the file is damaged, or does not say what encoder it is of.
    """
    metadata = read_weights(Path(path)).metadata
    if _CONFIG not in metadata:
        raise WeightsError(f"{path}: does not say what encoder it is of; name one, create_encoder(name, weights=...)")
    try:
        config: EncoderConfig = TypeAdapter(EncoderConfig).validate_json(metadata[_CONFIG])
    except ValidationError as error:
        raise WeightsError(f"{path}: configuration of an encoder that this version does not know: {error}") from error
    return create_encoder(config, path, device=device, dtype=dtype)


def _resized(config: EncoderConfig, frames: int | None, size: int | None) -> EncoderConfig:
    """Return the configuration for other frames or another size; checks run again."""
    if isinstance(config, InternVideoConfig):
        stride = config.stride
        masked = _resized(config.masked, frames, size)
        multimodal = _resized(config.multimodal, frames // stride if frames else None, size)
        return _changed(config, masked=masked, multimodal=multimodal)
    if isinstance(config, (MultimodalConfig, UniFormerConfig)):
        return _changed(config, video=_with_shape(config.video, frames, size))
    return _with_shape(config, frames, size)


def _with_shape(config: Shaped, frames: int | None, size: int | None) -> Shaped:
    pixels = config.pixels if size is None else _changed(config.pixels, size=size)
    return _changed(config, pixels=pixels, frames=frames or config.frames)


def _changed(config: C, **fields: object) -> C:
    return type(config).model_validate(dict(config) | fields)
