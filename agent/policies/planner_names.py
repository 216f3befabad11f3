"""How released agents name the planner's weights, and loading them. Every name is accounted for."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from navloop.agent.policies.bert import LAYER_NAMES, attention_names, mlp_names
from navloop.agent.policies.planner import Planner
from navloop.agent.waypoints import load_exactly
from navloop.encoders.name_tables import Layout, under
from navloop.encoders.translation import to_ours
from navloop.weights import WeightsError


def _part(theirs: str, ours: str) -> dict[str, str]:
    return {f"{theirs}_linear.*": f"{ours}.linear.*", f"{theirs}_layer_norm.*": f"{ours}.norm.*"}


_BERT = {
    **under(
        "embeddings.",
        "text.",
        {
            f"{kind}_embeddings.weight": f"{ours}.weight"
            for kind, ours in (("word", "words"), ("position", "positions"), ("token_type", "types"))
        },
    ),
    **under("embeddings.", "text.", {"LayerNorm.*": "norm.*"}),
    **under("encoder.layer.{}.", "text.layers.{}.", LAYER_NAMES),
    **under(
        "img_embeddings.",
        "observations.",
        {
            **_part("img", "rgb"),
            **_part("dep", "depth"),
            **_part("ang", "angle"),
            **_part("dis", "distance"),
            "nav_type_embedding.weight": "kinds.weight",
            "layer_norm.*": "norm.*",
        },
    ),
    **under(
        "hist_embeddings.",
        "history.",
        {
            "cls_token": "first",
            **_part("img", "ahead"),
            **_part("ang", "angle"),
            "position_embeddings.weight": "steps.weight",
            "type_embedding.weight": "kind.weight",
            "layer_norm.*": "norm.*",
            **_part("pano_img", "view"),
            **_part("pano_ang", "view_angle"),
        },
    ),
    **under("hist_embeddings.pano_encoder.layer.{}.", "history.layers.{}.", LAYER_NAMES),
    **under("encoder.x_layers.{}.visual_attention.", "layers.{}.across.", attention_names("att", "output")),
    **{
        theirs: ours
        for side, part in (("lang", "words"), ("visn", "sights"))
        for theirs, ours in {
            **under(
                f"encoder.x_layers.{{}}.{side}_self_att.",
                f"layers.{{}}.{part}.attention.",
                attention_names("self", "output"),
            ),
            **under(f"encoder.x_layers.{{}}.{side}_", f"layers.{{}}.{part}.mlp.", mlp_names("inter", "output")),
        }.items()
    },
    **under("next_action.net.", "head.", {"0.*": "0.*", "2.*": "2.*", "4.*": "4.*"}),
}

LAYOUT = Layout(
    name="planner",
    about="InternVideo's VLN-CE agents",
    keys={
        **under("", "", {"rgb_embedding_projection.*": "view_projection.*", "rgb_projection.*": "projection.*"}),
        **under("vln_bert.", "", _BERT),
    },
)
"""Names of the published agents' planner, below "net."."""

ELSEWHERE = ("rgb_encoder.", "clip_encoder.", "depth_encoder.", "critic.", "state2.", "progress_monitor.")
"""Beginnings of the names of an agent's other parts, below "net.": its eyes, and what is used while training alone."""


def load_published(planner: Planner, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Load the planner of a published agent, and return the agent's other parts.

    Args:
        planner: Of the published sizes, or a file's own.
        state: Tensors by their names, below "net." or "module.net." (`navloop.weights.read_weights`).

    Returns:
        Tensors of `ELSEWHERE`, by their names without "net.": "rgb_encoder.model..." is the video encoder's.

    Raises:
        WeightsError: If a name is missing or unexpected, or a shape is another; the planner is as before.
    """
    named = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    stray = [name for name in named if not name.startswith("net.")]
    if stray:
        raise WeightsError(
            f"{', '.join(stray[:8])} {'is' if len(stray) == 1 else 'are'} not below 'net.', as all of an agent is"
        )
    below = {name.removeprefix("net."): tensor for name, tensor in named.items()}
    other = {name: tensor for name, tensor in below.items() if name.startswith(ELSEWHERE)}
    load_exactly(planner, to_ours({name: tensor for name, tensor in below.items() if name not in other}, LAYOUT))
    return other
