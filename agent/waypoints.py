"""Where one can walk from here: a heat map over angles and distances from twelve views, and the few best places of it.

Angles go to the left of the heading, as everywhere here; cell (a, d) is 3 a degrees to the left, 0.25 (d + 1) metres away.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from navloop.agent.policies.bert import LAYER_NAMES, BertLayer, initialise
from navloop.configs.planner import WaypointConfig
from navloop.encoders.name_tables import Layout, under
from navloop.encoders.panorama import NUM_VIEWS, clockwise
from navloop.encoders.translation import to_ours
from navloop.weights import WeightsError

ANGLES, DISTANCES = 120, 12
"""Cells of a heat map along angle and distance."""
STEP = 0.25
"""Metres between two distances."""
MAX_CANDIDATES = 5
SPREAD = (5, 7)
"""Cells of angle and of distance to either side that a candidate keeps others from."""
LEAST = 0.05
"""Share of the best candidate's heat below which a place is none."""
DEPTH_SIDE, DEPTH_RANGE, DEPTH_GRID = 64, 10.0, 4
"""Pixels that a view is brought to, metres beyond which it does not look, and cells along a side of its features."""

_SHIFT = ANGLES // NUM_VIEWS // 2  # a view's ten angles lie around its middle
_IDLE = ("mergefeats_LayerNorm.", "visual_merge.")


def angle_of(cell: Tensor) -> Tensor:
    """Return the angle to the left of the heading, radians in (-pi, pi], of angle cells."""
    angle = cell.to(torch.float64) * (2 * math.pi / ANGLES)
    return torch.where(angle > math.pi, angle - 2 * math.pi, angle)


def distance_of(cell: Tensor) -> Tensor:
    """Return the metres of distance cells."""
    return (cell.to(torch.float64) + 1) * STEP


def view_of(cell: Tensor) -> Tensor:
    """Return the view, counted to the left, in whose middle thirty degrees an angle cell lies.

    As in the released agent, a cell half-way between two views belongs to the one on its right.
    """
    return (NUM_VIEWS - ((ANGLES - cell) % ANGLES + _SHIFT) // (2 * _SHIFT)) % NUM_VIEWS


@dataclass(frozen=True, slots=True)
class Candidates:
    """The places that B agents may walk to, best first, as many as the one with most has."""

    angle_cells: Tensor
    """int64 (B, C), in [0, ANGLES)."""
    distance_cells: Tensor
    """int64 (B, C), in [0, DISTANCES)."""
    heat: Tensor
    """float (B, C), their heat."""
    valid: Tensor
    """bool (B, C), True where there is a candidate; each row begins with them."""

    @property
    def angles(self) -> Tensor:
        """Radians to the left, float64 (B, C)."""
        return angle_of(self.angle_cells)

    @property
    def distances(self) -> Tensor:
        """Metres, float64 (B, C)."""
        return distance_of(self.distance_cells)

    @property
    def views(self) -> Tensor:
        """View in which each lies, int64 (B, C)."""
        return view_of(self.angle_cells)


def choose_candidates(heat: Tensor, most: int = MAX_CANDIDATES, least: float = LEAST) -> Candidates:
    """Return the best places of heat maps, no two near one another.

    The hottest cell is taken, and all within `SPREAD` of it, around the circle, are out; then the next hottest.

    Args:
        heat: float (B, ANGLES, DISTANCES), not negative.
        most: Candidates at most.
        least: Share of the best one's heat that each must have; 0 takes `most`, as the released agent does.

    Raises:
        ValueError: If the map has another shape, or negative heat.

    Source: Hong et al., CVPR 2022, and its code; differs in: the circle is closed everywhere, and `least`.
    """
    if heat.ndim != 3 or heat.shape[1:] != (ANGLES, DISTANCES):
        raise ValueError(f"heat is {tuple(heat.shape)}, expected (B, {ANGLES}, {DISTANCES})")
    if not bool((heat >= 0).all()):
        raise ValueError("heat is negative or NaN somewhere; pass probabilities, such as WaypointPredictor.heat gives")
    left = heat.clone()
    cells = torch.arange(ANGLES, device=heat.device), torch.arange(DISTANCES, device=heat.device)
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for _ in range(most):
        value, index = left.flatten(1).max(1)
        angle, distance = index // DISTANCES, index % DISTANCES
        found.append((angle, distance, value))
        apart = (cells[0] - angle[:, None]).abs()  # (B, ANGLES)
        beside = torch.minimum(apart, ANGLES - apart) <= SPREAD[0]
        level = (cells[1] - distance[:, None]).abs() <= SPREAD[1]  # (B, DISTANCES)
        left = left.masked_fill(beside[:, :, None] & level[:, None, :], 0.0)
    angles, distances, values = (torch.stack(part, 1) for part in zip(*found, strict=True))
    valid = (values > 0) & (values >= least * values[:, :1])
    kept = max(int(valid.sum(1).max()), 1)
    return Candidates(angles[:, :kept], distances[:, :kept], values[:, :kept], valid[:, :kept])


def waypoint_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy between predicted heat and targets; at its least where they agree.

    Args:
        logits: float (B, ANGLES, DISTANCES).
        targets: float of the same shape, not negative, of any sum; a map of zeros counts nothing.
    """
    sums = targets.flatten(1).sum(1)
    shares = targets.flatten(1) / sums.clamp_min(1e-12)[:, None]
    losses = -(shares * logits.flatten(1).log_softmax(1)).sum(1)
    return losses.sum() / (sums > 0).sum().clamp_min(1)


class DepthGrid(nn.Sequential):
    """Turns depth images into 4 x 4 maps of features: a small network, trained with what reads them.

    Args:
        channels: Of the map.
    """

    def __init__(self, channels: int) -> None:
        widths = (1, channels // 8, channels // 4, channels // 2, channels)
        layers: list[nn.Module] = []
        for narrow, wide in pairwise(widths):
            layers += [nn.Conv2d(narrow, wide, 3, stride=2, padding=1), nn.GroupNorm(1, wide), nn.ReLU()]
        super().__init__(*layers)

    def forward(self, depth: Tensor) -> Tensor:
        """Map metres (..., H, W) to (..., channels, 4, 4)."""
        images = depth.float().clamp(0, DEPTH_RANGE).flatten(0, -3)[:, None] / DEPTH_RANGE
        if images.shape[-2:] != (DEPTH_SIDE, DEPTH_SIDE):
            images = F.interpolate(images, (DEPTH_SIDE, DEPTH_SIDE), mode="area")
        for layer in self:
            images = layer(images)
        return images.view(*depth.shape[:-2], *images.shape[1:])


class WaypointPredictor(nn.Module):
    """Says from twelve views how good it is to walk to each of 120 angles and 12 distances.

    Each view is a token that sees itself and its two neighbours; it answers for the ten angles around its middle.

    Args:
        config: Sizes. `WaypointConfig()` is the published network.

    Source: Hong et al., CVPR 2022, and its depth-only variant in InternVideo1/Downstream/Visual-Language-Navigation.
    """

    def __init__(self, config: WaypointConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.depth = nn.Linear(config.depth_channels * DEPTH_GRID**2, width)
        self.rgb = nn.Linear(config.rgb_features, width) if config.rgb_features else None
        self.merge = nn.Linear(2 * width, width) if config.rgb_features else None
        self.layers = nn.ModuleList(
            BertLayer(width, config.heads, config.hidden, config.dropout) for _ in range(config.layers)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, DISTANCES * ANGLES // NUM_VIEWS))
        self.apply(initialise)

    def forward(self, depth: Tensor, rgb: Tensor | None = None) -> Tensor:
        """Return logits (B, ANGLES, DISTANCES).

        Args:
            depth: Depth features (B, 12, channels, 4, 4), of views to the left.
            rgb: RGB features (B, 12, F), where the network takes them.

        Raises:
            ValueError: If features have other shapes, or RGB is missing or not wanted.
        """
        self._check(depth, rgb)
        x = F.relu(self.depth(clockwise(depth).flatten(2)))  # (B, 12, D)
        if self.rgb is not None and self.merge is not None and rgb is not None:
            x = F.relu(self.merge(torch.cat((F.relu(self.rgb(clockwise(rgb))), x), -1)))
        seen = _neighbours(x.device)
        for layer in self.layers:
            x = layer(x, seen)
        logits: Tensor = self.head(self.dropout(x)).view(len(x), ANGLES, DISTANCES)
        return clockwise(logits.roll(-_SHIFT, 1))

    def heat(self, depth: Tensor, rgb: Tensor | None = None) -> Tensor:
        """Return what sums to 1 over each map, float (B, ANGLES, DISTANCES); for `choose_candidates`."""
        logits: Tensor = self(depth, rgb).float()
        return logits.flatten(1).softmax(1).view_as(logits)

    def _check(self, depth: Tensor, rgb: Tensor | None) -> None:
        wanted = (NUM_VIEWS, self.config.depth_channels, DEPTH_GRID, DEPTH_GRID)
        if depth.ndim != 5 or depth.shape[1:] != wanted:
            raise ValueError(f"depth features are {tuple(depth.shape)}, expected (B, {', '.join(map(str, wanted))})")
        features = self.config.rgb_features
        if (rgb is not None) != bool(features):
            raise ValueError(f"the predictor {'lacks' if features else 'takes no'} RGB features; see rgb_features")
        if rgb is not None and rgb.shape != (len(depth), NUM_VIEWS, features):
            raise ValueError(f"RGB features are {tuple(rgb.shape)}, expected ({len(depth)}, {NUM_VIEWS}, {features})")


def _neighbours(device: torch.device) -> Tensor:
    """Return bool (12, 12), True where a view is another's neighbour around the circle, or itself."""
    view = torch.arange(NUM_VIEWS, device=device)
    apart = (view - view[:, None]).abs()
    return torch.minimum(apart, NUM_VIEWS - apart) <= 1


LAYOUT = Layout(
    name="waypoint_predictor",
    about="candidate waypoint predictors of VLN-CE agents",
    keys={
        **under(
            "", "", {"visual_fc_depth.1.*": "depth.*", "visual_fc_rgb.1.*": "rgb.*", "visual_merge.0.*": "merge.*"}
        ),
        **under("waypoint_TRM.bert.encoder.layer.{}.", "layers.{}.", LAYER_NAMES),
        **under("vis_classifier.", "head.", {"0.*": "0.*", "2.*": "2.*"}),
    },
    parts={"rgb": ("rgb.", "merge.")},
)
"""Names of the published predictors, with depth alone or with RGB."""


def load_published(predictor: WaypointPredictor, state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Load a published predictor's weights: its "predictor", "state_dict" (`navloop.weights.read_weights` unwraps no more than one).

    Args:
        predictor: Of the published sizes, or a file's own.
        state: Tensors by their names.

    Returns:
        Their names that feed nothing in this network, and were left out.

    Raises:
        WeightsError: If a name is missing or unexpected, or a shape is another; the predictor is as before.
    """
    with_rgb = any(name.startswith("visual_fc_rgb.") for name in state)
    idle = tuple(name for name in state if name.startswith(_IDLE[: 1 if with_rgb else 2]))
    ours = to_ours({name: tensor for name, tensor in state.items() if name not in idle}, LAYOUT)
    load_exactly(predictor, ours)
    return idle


def load_exactly(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load tensors by our names; all of them, and no others.

    Raises:
        WeightsError: If a name is missing or unexpected, or a shape is another; the module is as before.
    """
    own = module.state_dict()
    faults = [f"{name} is missing" for name in own if name not in state]
    faults += [f"{name} is unexpected" for name in state if name not in own]
    faults += [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    if faults:
        raise WeightsError(
            f"weights do not fit {type(module).__name__}: {'; '.join(faults[:12])}; check its configuration"
        )
    module.load_state_dict(dict(state))
