"""What a weight file says of the model that it is of, beside the tensors: its configuration, its caption decoder."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from navloop.configs.encoders import CaptionerConfig
from navloop.encoders.layouts import INTERNVIDEO_MM
from navloop.encoders.translation import our_name
from navloop.weights import Weights, WeightsError

CONFIG = "navloop.encoder"
"""Name of an encoder's configuration, JSON, among a weight file's texts."""
CLASSIFIER = "navloop.classifier"
"""Name of what a classifier has over its encoder, JSON, among a weight file's texts."""

# Fields that weights do not depend on: what a clip is, how a model is trained, and what is no part of an encoder.
_FREE = frozenset(
    {"frames", "size", "drop_path", "checkpointing", "dropout", "global_dropout", "global_drop_path", "decoder"}
)
_CAPTION_LAYER = re.compile(r"captioner\.layers\.(\d+)\..*")


def find_captioner(state: Mapping[str, Tensor]) -> CaptionerConfig | None:
    """Return the configuration of the caption decoder among tensors by released names or ours, if a whole one is.

    Files tuned for question answering have one that knows no words, which cannot caption.
    """
    named = {our_name(name, INTERNVIDEO_MM) or name: tensor for name, tensor in state.items()}
    layers = [int(match[1]) for name in named if (match := _CAPTION_LAYER.fullmatch(name))]
    if not layers or "captioner.queries" not in named or "captioner.predictor.vocabulary.weight" not in named:
        return None
    return CaptionerConfig(layers=max(layers) + 1, queries=len(named["captioner.queries"]))


def kind_said(weights: Weights) -> str | None:
    """Return the kind of encoder that a file says it is of, as `EncoderConfig` calls it; None if it does not say."""
    return _config(weights).get("kind")  # type: ignore[return-value]


def check_config(model: nn.Module, weights: Weights) -> None:
    """Refuse weights that were made for a configuration under which they mean something else.

    Shapes do not show how pixels are normalised, where a trunk is tapped, or which GELU it has.

    Raises:
        WeightsError: Naming each such field and both its values.
    """
    config = getattr(getattr(model, "encoder", model), "config", None)
    said = _config(weights)
    if config is None or said.get("kind") != getattr(config, "kind", None):
        return
    odd = list(_differences(said, json.loads(config.model_dump_json())))
    if odd:
        path = weights.origin or "..."
        raise WeightsError(
            "the weights were made for another configuration, under which they mean something else:\n"
            + "".join(f"  {field}: {theirs} in the file, {ours} in the model\n" for field, theirs, ours in odd)
            + f"load_encoder({path!r}) makes the encoder that they are of. If you mean it, give their tensors alone: "
            f"load_released(model, navloop.weights.read_weights({path!r}).state)"
        )


def _config(weights: Weights) -> dict[str, object]:
    try:
        said = json.loads(weights.metadata.get(CONFIG, "{}"))
    except json.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}


def _differences(
    theirs: Mapping[str, object], ours: Mapping[str, object], prefix: str = ""
) -> Iterator[tuple[str, object, object]]:
    """Yield the fields that both have with other values: name, theirs, ours."""
    for name in theirs.keys() & ours.keys() - _FREE:
        their, our = theirs[name], ours[name]
        if isinstance(their, dict) and isinstance(our, dict):
            yield from sorted(_differences(their, our, f"{prefix}{name}."))
        elif not isinstance(their, dict) and not isinstance(our, dict) and their != our:
            yield f"{prefix}{name}", their, our
