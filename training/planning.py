"""Teaching the planner by walks: an oracle says at every decision which candidate leads nearest to the goal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from navloop.agent.planner_agent import Place, PlannerAgent
from navloop.agent.policies.planner import Planner
from navloop.agent.policies.planner_tokens import PanoramaFeatures, action_angles, observe
from navloop.agent.waypoints import Candidates
from navloop.envs.navigation import NavigationEnv
from navloop.envs.waypoints import low_level_actions

STOP_WITHIN = 1.5
"""Metres to the goal, walked, within which the oracle stops. Source: InternVideo1/Downstream/Visual-Language-Navigation."""

_SEEN, _CANDIDATES = ("rgb", "depth"), ("angle_cells", "distance_cells", "heat", "valid")


def oracle_choice(env: NavigationEnv, candidates: Candidates, row: int = 0) -> int:
    """Return which candidate the oracle goes to; their number, valid or not, stands for stopping.

    It tries each in the simulator, as it would be carried out, and puts the agent back.

    Args:
        env: In which the agent stands.
        candidates: Of several environments.
        row: Which of them this one is.

    Raises:
        ValueError: If the episode has no goal.
    """
    simulator, goal = env.simulator, env.episode.goal_position
    if goal is None:
        raise ValueError(f"episode {env.episode.episode_id} has no goal, so no oracle; take another split")
    start = simulator.pose

    def left() -> float:
        return float(simulator.geodesic_distances(simulator.pose.position[None], goal)[0])

    if left() < STOP_WITHIN:
        return candidates.valid.shape[1]
    distances = np.full(candidates.valid.shape[1], np.inf)
    for number in range(int(candidates.valid[row].sum())):
        angle, metres = float(candidates.angles[row, number]), float(candidates.distances[row, number])
        for action in low_level_actions(angle, metres, env.protocol.body):
            simulator.act(action)
        distances[number] = left()
        simulator.set_pose(start)
    return int(distances.argmin())


@dataclass(slots=True)
class PlannedWalk:
    """S decisions of one episode, and what the oracle would have done."""

    ids: Tensor
    """int64 (L,), the instruction as the planner reads it."""
    seen: list[PanoramaFeatures] = field(default_factory=list)
    """Of each decision, with B = 1."""
    candidates: list[Candidates] = field(default_factory=list)
    """Of each decision, with B = 1."""
    wanted: list[int] = field(default_factory=list)
    """What the oracle chose."""
    taken: list[int] = field(default_factory=list)
    """What was done."""


class TaughtAgent(PlannerAgent):
    """A planning agent that an oracle leads now and then, and that keeps what it saw and should have done.

    Args:
        agent: Whose parts it has.
        share: Of decisions that are the oracle's, in [0, 1]; the others are the planner's.

    Attributes:
        walks: What was walked, an entry an episode.
    """

    def __init__(self, agent: PlannerAgent, share: float = 1.0) -> None:
        parts = (agent.encoder, agent.eyes, agent.predictor, agent.planner, agent.reader)
        super().__init__(agent.config, *parts, protocol=agent.protocol)
        self.share = share
        self.walks: list[PlannedWalk] = []
        self._newest: dict[Place, PlannedWalk] = {}

    def choose(self, places: list[Place], seen: PanoramaFeatures, candidates: Candidates, scores: Tensor) -> list[int]:
        """Return the oracle's choices or the planner's, and keep both."""
        own = super().choose(places, seen, candidates, scores)
        chosen = []
        for row, place in enumerate(places):
            if len(place.history) == 1:
                self._newest[place] = PlannedWalk(place.ids.cpu())
                self.walks.append(self._newest[place])
            walk, part = self._newest[place], slice(row, row + 1)
            walk.seen.append(PanoramaFeatures(seen.rgb[part].cpu(), seen.depth[part].cpu()))
            walk.candidates.append(Candidates(*(getattr(candidates, name)[part].cpu() for name in _CANDIDATES)))
            walk.wanted.append(oracle_choice(place.env, candidates, row))
            walk.taken.append(walk.wanted[-1] if place.rng.random() < self.share else own[row])
            chosen.append(walk.taken[-1])
        return chosen


def planner_loss(planner: Planner, walk: PlannedWalk) -> Tensor:
    """Return the cross-entropy of the oracle's choices, summed over a walk's decisions."""
    device, count = planner.projection.weight.device, len(walk.wanted)
    most = max(each.valid.shape[1] for each in walk.candidates)
    seen = PanoramaFeatures(*(torch.cat([getattr(each, name) for each in walk.seen]).to(device) for name in _SEEN))
    candidates = Candidates(*(_beside(walk.candidates, name, most).to(device) for name in _CANDIDATES))
    wanted, taken = (
        [
            most if choice == each.valid.shape[1] else choice
            for choice, each in zip(choices, walk.candidates, strict=True)
        ]
        for choices in (walk.wanted, walk.taken)
    )
    tokens = planner.remember(seen, action_angles(candidates, taken), torch.arange(count, device=device))
    history = torch.cat((planner.history.begin(1), tokens[:-1]))[None].expand(count, -1, -1)
    past = torch.ones(count, count, dtype=torch.bool, device=device).tril()  # a decision knows those before it
    ids = walk.ids[None].to(device)
    words = planner.read(ids).expand(count, -1, -1)
    scores = planner(words, (ids != 0).expand(count, -1), history, past, observe(seen, candidates))
    return F.cross_entropy(scores, torch.tensor(wanted, device=device), reduction="sum")


def _beside(rows: Sequence[Candidates], name: str, most: int) -> Tensor:
    """Return one field of all candidates, padded to as many as `most`."""
    return torch.cat([F.pad(part := getattr(each, name), (0, most - part.shape[1])) for each in rows])


def train_planner(
    planner: Planner, walks: Sequence[PlannedWalk], *, steps: int, batch: int = 4, lr: float = 1e-4, seed: int = 0
) -> list[float]:
    """Train a planner on walks; return the loss of a decision at each step.

    Args:
        planner: To train; its eyes stay as they are.
        walks: To learn from.
        steps: Of the optimiser, AdamW; gradients are cut at a norm of 40.
        batch: Walks of a step.
        lr: Learning rate.
        seed: Decides which walks come when.

    Source: InternVideo1/Downstream/Visual-Language-Navigation, whose learning rate is 3e-5.
    """
    rng = np.random.default_rng(seed)
    optimiser = torch.optim.AdamW(planner.parameters(), lr)
    planner.train()
    losses = []
    for _ in range(steps):
        chosen = [walks[number] for number in rng.choice(len(walks), min(batch, len(walks)), replace=False)]
        loss = torch.stack([planner_loss(planner, walk) for walk in chosen]).sum() / sum(len(w.wanted) for w in chosen)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(planner.parameters(), 40.0)
        optimiser.step()
        losses.append(float(loss.detach()))
    planner.eval()
    return losses
