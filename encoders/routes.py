"""Which released weights go into which of our models, and what then is left over or stays as initialised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor, nn

from navloop.encoders.classifier import VideoClassifier
from navloop.encoders.encoder import VideoEncoder
from navloop.encoders.masked import MaskedEncoder


def _as_is(name: str, tensor: Tensor, wanted: Tensor) -> Tensor:
    return tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """From a layout's names to a model's. Names are given by their beginnings, `{}` a layer's number."""

    below: tuple[str, str] = ("", "")
    """What names that begin with the first begin with in the model."""
    prefix: str = ""
    """What every name of the model begins with, besides."""
    left: tuple[str, ...] = ()
    """The layout's names that the model never has."""
    spare: tuple[str, ...] = ()
    """The layout's names that are dropped if the model has none of them at all."""
    fresh: tuple[str, ...] = ()
    """The model's names that stay as initialised if the file has none of them at all."""
    untrained: tuple[str, ...] = ()
    """Those of `fresh` on which what the model computes then rests; the others leave it as it was."""
    head_norm: bool | None = None
    """Whether these weights are of a `VideoClassifier` with a norm of its own; None if they are of none."""
    adapt: Callable[[str, Tensor, Tensor], Tensor] = _as_is
    """Makes a tensor, by its name in the model, fit that of the model."""

    def rename(self, name: str) -> str:
        """Return the model's name for one of the layout's."""
        old, new = self.below
        return self.prefix + (new + name[len(old) :] if name.startswith(old) else name)


def kind_of(model: nn.Module) -> str:
    """Return what a model is, as the keys of the table below say it."""
    if isinstance(model, VideoClassifier):
        return f"{_CLASSIFIER}{kind_of(model.encoder)}"
    if isinstance(model, MaskedEncoder):
        return "MaskedEncoder with norm=tokens" if model.normalise_tokens else "MaskedEncoder with norm=pooled"
    return type(model).__name__


def find_route(layout: str, model: nn.Module) -> Route:
    """Return the way from a layout into a model.

    Raises:
        ValueError: If there is none, naming the models that such weights go into.
    """
    routes, kind = _ROUTES[layout], kind_of(model)
    if kind in routes:
        wanted = routes[kind].head_norm
        if isinstance(model, VideoClassifier) and wanted is isinstance(model.norm, nn.Identity):
            raise ValueError(f"{layout} weights go into VideoClassifier(..., norm={wanted}), not norm={not wanted}")
        return routes[kind]
    if isinstance(model, VideoClassifier) and kind_of(model.encoder) in routes:  # the file has no such classes
        route = routes[kind_of(model.encoder)]
        fresh, untrained = (
            ("norm.", "head.", *(f"encoder.{name}" for name in names)) for names in (route.fresh, route.untrained)
        )
        return replace(route, prefix="encoder.", fresh=fresh, untrained=untrained)
    parts = [
        name for name, part in model.named_children() if isinstance(part, VideoEncoder) and kind_of(part) in routes
    ]
    hint = f"; load them into its .{parts[0]}" if parts else ""
    raise ValueError(f"{layout} weights go into {' or '.join(routes)}, not into {kind}{hint}")


def _centre_in_time(name: str, tensor: Tensor, wanted: Tensor) -> Tensor:
    """Put the weights of an image's patch into the middle frame of a patch that is 3 frames deep."""
    if not name.endswith("video.patch.weight") or tensor.shape[2] == wanted.shape[2]:
        return tensor
    deep = tensor.new_zeros(*tensor.shape[:2], wanted.shape[2], *tensor.shape[3:])
    deep[:, :, wanted.shape[2] // 2] = tensor[:, :, 0]
    return deep


def _first_positions(name: str, tensor: Tensor, wanted: Tensor) -> Tensor:
    """Keep the positions of the shorter texts that ViCLIP reads."""
    return tensor[: len(wanted)] if name == "text.positions" else tensor


_CLASSIFIER = "VideoClassifier over "
_TEMPORAL = (
    "video.query",
    "video.global_blocks.",
    "video.balance",
    "video.blocks.{}.local1.",
    "video.blocks.{}.local2.",
)
_PRETRAIN_ONLY = ("decoder.", "to_decoder.", "mask_token")
_ANSWERING_LACKS = ("text.proj", "video_proj", "captioner.predictor.")

_INTO_MULTIMODAL = Route(spare=("captioner.", "text.mask_token"), fresh=("text.mask_token",))

# VideoMAE's tuning code discards the norm of each token and starts the norm of their mean anew, so we do.
_FROM_CLIP = {
    "MultimodalEncoder": Route(
        fresh=(*_TEMPORAL, "text.mask_token", "captioner."), untrained=("captioner.",), adapt=_centre_in_time
    ),
    "UniFormer": Route(
        left=("norm_post.", "video_proj", "text.", "logit_scale"), fresh=_TEMPORAL, adapt=_centre_in_time
    ),
    "ViCLIPEncoder": Route(
        below=("video.", ""),
        left=("logit_scale",),
        fresh=("temporal_positions", "temperature"),
        adapt=_first_positions,
    ),
}

_ROUTES: dict[str, dict[str, Route]] = {
    "videomae_pretrain": {
        "MaskedAutoencoder": Route(),
        "MaskedEncoder with norm=tokens": Route(below=("encoder.", ""), left=_PRETRAIN_ONLY),
        "MaskedEncoder with norm=pooled": Route(
            below=("encoder.", ""),
            left=(*_PRETRAIN_ONLY, "encoder.norm."),
            fresh=("norm.",),
            untrained=("norm.",),
        ),
    },
    "videomae_finetune": {
        f"{_CLASSIFIER}MaskedEncoder with norm=pooled": Route(head_norm=False),
        "MaskedEncoder with norm=pooled": Route(below=("encoder.", ""), left=("head.",)),
    },
    "internvideo_mm": {"MultimodalEncoder": _INTO_MULTIMODAL},
    "internvideo_vqa": {
        "MultimodalEncoder": replace(
            _INTO_MULTIMODAL,
            left=("vqa_classifier.",),
            fresh=("text.mask_token", *_ANSWERING_LACKS),
            untrained=_ANSWERING_LACKS,
        )
    },
    "viclip": {"ViCLIPEncoder": Route()},
    "uniformerv2": {
        f"{_CLASSIFIER}UniFormer": Route(head_norm=True),
        "UniFormer": Route(below=("encoder.", ""), left=("norm.", "head.")),
    },
    "clip": _FROM_CLIP,
    "clip_with_text": _FROM_CLIP,
    "openai_clip": _FROM_CLIP,
}
