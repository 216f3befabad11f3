"""Encoders by name. A name is family, size, patch and frames: `internvideo_mm_base_p16_t8`."""

from __future__ import annotations

import os
import warnings
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
from navloop.encoders.contents import CLASSIFIER, CONFIG, find_captioner
from navloop.encoders.convert import LoadReport, load_released
from navloop.encoders.coordination import InternVideo
from navloop.encoders.encoder import VideoEncoder
from navloop.encoders.masked import MaskedEncoder
from navloop.encoders.mismatch import grouped
from navloop.encoders.multimodal import MultimodalEncoder, UniFormer
from navloop.encoders.sizes import ENCODERS
from navloop.encoders.viclip import ViCLIPEncoder
from navloop.weights import Weights, WeightsError, WeightsWarning, read_weights, write_weights

C = TypeVar("C", bound=Config)
Shaped = TypeVar("Shaped", bound=MaskedConfig | VideoTowerConfig | ViCLIPConfig)

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
    return _shaped(ENCODERS[name](), frames, size)


def create_encoder(
    name: str | EncoderConfig,
    weights: str | os.PathLike[str] | Weights | None = None,
    *,
    frames: int | None = None,
    size: int | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> VideoEncoder:
    """Return an encoder, ready to encode (in eval mode).

    Args:
        name: One of `list_encoders()`, or a configuration.
        weights: File of weights, released or our own, or what `navloop.weights.read_weights` made of one; None starts
            from random ones. Every key is accounted for, in the encoder's `loaded`. A named encoder has the caption
            decoder that the file has, however deep; a configuration is taken as it is.
        frames: Frames T of a clip; None for those of the name.
        size: Height and width in pixels; None for those of the name.
        device: Where the parameters are.
        dtype: Type of the parameters: float32, bfloat16 or float16.

    Raises:
        ValueError: If the name, the frames, or the weights do not fit; the message says what would.

    Warns:
        WeightsWarning: If the file leaves parts untrained on which the output rests, or its caption decoder is not
            used.
    """
    read = read_weights(weights) if isinstance(weights, str | os.PathLike) else weights
    if isinstance(name, str):
        config = encoder_config(name, frames=frames, size=size)
        if read is not None and isinstance(config, MultimodalConfig) and config.captioner is None:
            config = _changed(config, captioner=find_captioner(read.state))
    else:
        config = _shaped(name, frames, size)
    encoder = _CLASSES[config.kind](config)
    if read is not None:
        _warn(load_released(encoder, read), read.origin)
    return encoder.to(device=device, dtype=dtype).eval()


def save_encoder(encoder: VideoEncoder, path: str | os.PathLike[str]) -> None:
    """Write an encoder's weights, with its configuration, as one safetensors file; `load_encoder` makes it again.

    Raises:
        TypeError: If it is no encoder.
    """
    if not isinstance(encoder, VideoEncoder):
        raise TypeError(f"{type(encoder).__name__} is no encoder; save_classifier writes one with its head")
    write_weights(Path(path), encoder.state_dict(), {CONFIG: encoder.config.model_dump_json()})


def load_encoder(
    path: str | os.PathLike[str], *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> VideoEncoder:
    """Return the encoder that `save_encoder` wrote, in eval mode.

    Raises:
        WeightsError: If the file is damaged, or does not say what encoder it is of.
    """
    read = read_weights(path)
    if CLASSIFIER in read.metadata:
        raise WeightsError(f"{path}: is of a classifier; load_classifier makes it, with the encoder as its .encoder")
    return create_encoder(config_said(read), read, device=device, dtype=dtype)


def config_said(weights: Weights) -> EncoderConfig:
    """Return the configuration that `save_encoder` wrote beside weights.

    Raises:
        WeightsError: If there is none, or it is of no encoder that this version knows.
    """
    if CONFIG not in weights.metadata:
        raise WeightsError(
            f"{weights.origin}: does not say what encoder it is of; name one, create_encoder(name, weights=...)"
        )
    try:
        config: EncoderConfig = TypeAdapter(EncoderConfig).validate_json(weights.metadata[CONFIG])
    except ValidationError as error:
        raise WeightsError(
            f"{weights.origin}: configuration of an encoder that this version does not know: {error}"
        ) from error
    return config


def _warn(report: LoadReport, origin: str) -> None:
    """Say what of a file an encoder lacks, or leaves, that its user would not think of."""
    if report.untrained:
        warnings.warn(
            f"{origin}: has nothing for {', '.join(grouped(report.untrained))}, which stay as they are initialised; "
            "train the encoder before you use what rests on them",
            WeightsWarning,
            stacklevel=3,
        )
    if any(name.startswith(("caption_decoder.", "captioner.")) for name in report.dropped):
        warnings.warn(
            f"{origin}: its caption decoder is not used; name the encoder, create_encoder(name, weights), or give its "
            "configuration a captioner, to have it if it knows words",
            WeightsWarning,
            stacklevel=3,
        )


def _shaped(config: EncoderConfig, frames: int | None, size: int | None) -> EncoderConfig:
    """Return the configuration for other frames or another size, or say which come nearest to those it can take."""
    for name, value in (("frames", frames), ("size", size)):
        if value is not None and (why := _misfit(config, **{name: value})):
            near = range(max(1, value - 112), max(1, value) + 113)  # both patches of 14 and of 16 tile 112
            fitting = [other for other in near if not _misfit(config, **{name: other})]
            nearest = [
                max((n for n in fitting if n < value), default=None),
                min((n for n in fitting if n > value), default=None),
            ]
            advice = " or ".join(str(n) for n in nearest if n is not None)
            raise ValueError(f"{name} is {value}: {why}" + (f"; take {advice}" if advice else ""))
    return config if frames is None and size is None else _resized(config, frames, size)


def _misfit(config: EncoderConfig, frames: int | None = None, size: int | None = None) -> str:
    """Return why an encoder cannot take such frames, or nothing if it can."""
    try:
        _resized(config, frames, size)
    except ValidationError as error:
        return error.errors()[0]["msg"].removeprefix("Value error, ")
    return ""


def _resized(config: EncoderConfig, frames: int | None, size: int | None) -> EncoderConfig:
    """Return the configuration for other frames or another size; checks run again."""
    if isinstance(config, InternVideoConfig):
        stride = config.stride
        masked = _resized(config.masked, frames, size)
        multimodal = _resized(config.multimodal, None if frames is None else frames // stride, size)
        return _changed(config, masked=masked, multimodal=multimodal)
    if isinstance(config, (MultimodalConfig, UniFormerConfig)):
        return _changed(config, video=_with_shape(config.video, frames, size))
    return _with_shape(config, frames, size)


def _with_shape(config: Shaped, frames: int | None, size: int | None) -> Shaped:
    pixels = config.pixels
    if size is not None:
        side = pixels.resize_to and pixels.resize_to * size // pixels.size  # the same share is cut off
        pixels = _changed(pixels, size=size, resize_to=side)
    return _changed(config, pixels=pixels, frames=config.frames if frames is None else frames)


def _changed(config: C, **fields: object) -> C:
    return type(config).model_validate(dict(config) | fields)
