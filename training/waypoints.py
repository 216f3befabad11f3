"""Training the waypoint predictor on houses, from depth alone: what can be walked to is known from their free space."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import shapely
import torch
from numpy.typing import NDArray
from torch import Tensor

from navloop.agent.waypoints import (
    ANGLES,
    DEPTH_RANGE,
    DEPTH_SIDE,
    DISTANCES,
    STEP,
    DepthGrid,
    WaypointPredictor,
    choose_candidates,
    waypoint_loss,
)
from navloop.envs.embedded.freespace import FreeSpace
from navloop.envs.embedded.simulator import EmbeddedSimulator
from navloop.envs.panorama import VIEWS, panorama
from navloop.envs.protocols import Protocol
from navloop.envs.simulator import Camera
from navloop.geometry import Pose, heading_vector

CLEARANCE = 0.5
"""Metres to the next obstacle that are as good as more."""

_log = logging.getLogger(__name__)


def reach(free: FreeSpace, pose: Pose) -> NDArray[np.float64]:
    """Return how many metres one can walk straight along each angle, float64 (ANGLES,); inf beyond the last distance.

    Args:
        free: Where the body can stand.
        pose: Where it stands, in free space.
    """
    start = pose.position[[0, 2]]
    ends = start + _ways(pose) * (DISTANCES * STEP)
    lines = shapely.linestrings(np.stack([np.broadcast_to(start, ends.shape), ends], 1))
    met = shapely.distance(shapely.points(start), shapely.intersection(lines, free.walls))
    return np.asarray(np.where(np.isnan(met), np.inf, met), np.float64)


def walkable(free: FreeSpace, pose: Pose) -> NDArray[np.bool_]:
    """Return where one can walk to straight from a pose: bool (ANGLES, DISTANCES), cells as in `navloop.agent.waypoints`.

    Args:
        free: Where the body can stand.
        pose: Where it stands, in free space.
    """
    return np.asarray(_distances() <= reach(free, pose)[:, None])


def waypoint_targets(free: FreeSpace, pose: Pose) -> NDArray[np.float32]:
    """Return how good each place is to walk to, float32 (ANGLES, DISTANCES) in [0, 1]; 0 where one cannot.

    Far places are better than near ones, and those in the middle of a way better than those along its walls.

    Args:
        free: Where the body can stand.
        pose: Where it stands, in free space.
    """
    can = walkable(free, pose)
    spots = shapely.points(_spots(pose)[can])
    clearance = np.zeros(can.shape)
    clearance[can] = np.minimum(shapely.distance(spots, free.walls) / CLEARANCE, 1.0)
    return np.asarray(clearance**2 * (_distances() / _distances()[-1]), np.float32)


def _distances() -> NDArray[np.float64]:
    return np.asarray((np.arange(DISTANCES) + 1) * STEP, np.float64)


def _ways(pose: Pose) -> NDArray[np.float64]:
    """Return unit vectors (x, z) of the angle cells, (ANGLES, 2)."""
    headings = pose.heading + np.arange(ANGLES) * (2 * math.pi / ANGLES)
    return np.stack([heading_vector(heading)[[0, 2]] for heading in headings])


def _spots(pose: Pose) -> NDArray[np.float64]:
    """Return the (x, z) of all cells, (ANGLES, DISTANCES, 2)."""
    return np.asarray(pose.position[[0, 2]] + _ways(pose)[:, None] * _distances()[:, None])


@dataclass(frozen=True, slots=True)
class Places:
    """N places in houses: what is seen, and where one can walk to."""

    depth: Tensor
    """float16 (N, 12, S, S), metres, of views to the left."""
    targets: Tensor
    """float32 (N, ANGLES, DISTANCES), of `waypoint_targets`."""
    walkable: Tensor
    """bool (N, ANGLES, DISTANCES), of `walkable`."""

    def __len__(self) -> int:
        return len(self.depth)


def depth_panorama(protocol: Protocol, side: int = DEPTH_SIDE) -> Protocol:
    """Return the variant of a protocol that sees depth all around, S x S pixels a view, and nothing else."""
    eye = protocol.cameras[0]
    depth = Camera(
        name="depth",
        kind="depth",
        width=side,
        height=side,
        hfov=math.pi / 2,
        elevation=eye.elevation,
        max_depth=DEPTH_RANGE,
    )
    return panorama(replace(protocol.with_cameras([depth])))


def look_around(simulator: EmbeddedSimulator, scenes: Sequence[str], count: int, rng: np.random.Generator) -> Places:
    """Return places drawn evenly from scenes, uniform over the floor, headings all around.

    Args:
        simulator: Under a `depth_panorama`.
        scenes: Ids of the scenes, walked through in order.
        count: Places N of all together.
        rng: Decides the places.
    """
    depth, targets, can = [], [], []
    for number, scene in enumerate(scenes):
        simulator.load_scene(scene)
        for _ in range(count * (number + 1) // len(scenes) - count * number // len(scenes)):
            pose = Pose(simulator.sample_navigable_point(rng), float(rng.uniform(-math.pi, math.pi)))
            simulator.set_pose(pose)
            frames = simulator.render()
            depth.append(np.stack([frames[name][..., 0] for name in _names(frames)]).astype(np.float16))
            targets.append(waypoint_targets(simulator.scene.free, simulator.pose))
            can.append(walkable(simulator.scene.free, simulator.pose))
    return Places(*(torch.from_numpy(np.stack(part)) for part in (depth, targets, can)))


def _names(frames: dict[str, NDArray[np.generic]]) -> list[str]:
    names = sorted(frames)  # "depth", "depth_030", ...: by yaw to the left
    if len(names) != VIEWS:
        raise ValueError(f"the simulator has {len(names)} cameras, expected the {VIEWS} of depth_panorama")
    return names


def train_predictor(
    predictor: WaypointPredictor,
    eyes: DepthGrid,
    places: Places,
    *,
    steps: int,
    batch: int = 32,
    lr: float = 5e-4,
    seed: int = 0,
) -> list[float]:
    """Train a predictor and its eyes on places; return the loss of each step.

    The views are turned at random: what lies to the left of one heading lies ahead of another.

    Args:
        predictor: That takes depth alone.
        eyes: What makes depth features for it.
        places: To learn from.
        steps: Of the optimiser, AdamW with a learning rate that falls to nothing.
        batch: Places of a step.
        lr: First learning rate.
        seed: Decides which places come when, and how they are turned.
    """
    rng = np.random.default_rng(seed)
    learned = [*predictor.parameters(), *eyes.parameters()]
    optimiser = torch.optim.AdamW(learned, lr=lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=steps, pct_start=0.1)
    device = predictor.depth.weight.device
    predictor.train()
    eyes.train()
    losses = []
    for chosen in _batches(len(places), batch, steps, rng):
        turn = int(rng.integers(VIEWS))
        depth = places.depth[chosen].roll(-turn, 1)
        targets = places.targets[chosen].roll(-turn * ANGLES // VIEWS, 1)
        loss = waypoint_loss(predictor(eyes(depth.to(device))), targets.to(device))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
    predictor.eval()
    eyes.eval()
    return losses


def _batches(count: int, batch: int, steps: int, rng: np.random.Generator) -> Iterator[Tensor]:
    order = rng.permutation(count)
    for _ in range(steps):
        if len(order) < min(batch, count):
            order = rng.permutation(count)
        chosen, order = order[:batch], order[batch:]
        yield torch.from_numpy(chosen)


@dataclass(frozen=True, slots=True)
class WaypointScores:
    """How well candidates fit places, means over them."""

    walkable: float
    """Share of candidates that can be walked to straight; of random cells, it is `chance`."""
    chance: float
    """Share of all cells that can be walked to."""
    candidates: float
    """Candidates of a place."""
    loss: float
    """`waypoint_loss`."""


@torch.no_grad()
def measure_predictor(predictor: WaypointPredictor, eyes: DepthGrid, places: Places, batch: int = 64) -> WaypointScores:
    """Return how well the candidates of a predictor fit places that it has not seen."""
    good, found, loss = 0, 0, 0.0
    device = predictor.depth.weight.device
    for start in range(0, len(places), batch):
        part = slice(start, start + batch)
        features = eyes(places.depth[part].to(device))
        chosen = choose_candidates(predictor.heat(features).cpu())
        rows = torch.arange(len(features))[:, None].expand_as(chosen.valid)
        can = places.walkable[part][rows, chosen.angle_cells, chosen.distance_cells]
        good += int((can & chosen.valid).sum())
        found += int(chosen.valid.sum())
        loss += float(waypoint_loss(predictor(features).cpu(), places.targets[part])) * len(features)
    chance = float(places.walkable.float().mean())
    return WaypointScores(good / found, chance, found / len(places), loss / len(places))
