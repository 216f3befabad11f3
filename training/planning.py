"""Teaching the planner by walks: an oracle says at every decision which candidate leads nearest to the goal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

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

    It tries each in the simulator, as it would be carried out, and puts the agent back. It stops near the goal, and also where it would be a
    success to stop and no candidate leads nearer: else it could go back and forth past a goal that no candidate meets.

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

    now = left()
    if now < STOP_WITHIN:
        return candidates.valid.shape[1]
    distances = np.full(candidates.valid.shape[1], np.inf)
    for number in range(int(candidates.valid[row].sum())):
        angle, metres = float(candidates.angles[row, number]), float(candidates.distances[row, number])
        for action in low_level_actions(angle, metres, env.protocol.body):
            simulator.act(action)
        distances[number] = left()
        simulator.set_pose(start)
    if now < env.protocol.success_distance and distances.min() >= now:
        return candidates.valid.shape[1]
    return int(distances.argmin())


@dataclass(slots=True)
class PlannedWalk:
    """S decisions of one episode, and what the oracle would have done."""

    ids: Tensor
    """int64 (L,), the instruction as the planner reads it."""
    episode_id: str = ""
    """Of the episode."""
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
                self._newest[place] = PlannedWalk(place.ids.cpu(), place.env.episode.episode_id)
                self.walks.append(self._newest[place])
            walk, part = self._newest[place], slice(row, row + 1)
            walk.seen.append(PanoramaFeatures(seen.rgb[part].cpu(), seen.depth[part].cpu()))
            walk.candidates.append(Candidates(*(getattr(candidates, name)[part].cpu() for name in _CANDIDATES)))
            walk.wanted.append(oracle_choice(place.env, candidates, row))
            walk.taken.append(walk.wanted[-1] if place.rng.random() < self.share else own[row])
            chosen.append(walk.taken[-1])
        return chosen


@dataclass(frozen=True, slots=True)
class Lesson:
    """S decisions of one episode side by side, to learn from; C stands for stopping."""

    ids: Tensor
    """int64 (L,), the instruction as the planner reads it."""
    seen: PanoramaFeatures
    """Of each decision, with B = S."""
    candidates: Candidates
    """Of each decision, with B = S."""
    wanted: Tensor
    """int64 (S,), what the oracle chose."""
    taken: Tensor
    """int64 (S,), what was done."""

    def __len__(self) -> int:
        return len(self.wanted)


def lesson_of(walk: PlannedWalk, most: int | None = None) -> Lesson:
    """Return a walk as a lesson.

    Args:
        walk: With at least one decision.
        most: Candidates C; None: as many as its decisions have at most.
    """
    count = max(each.valid.shape[1] for each in walk.candidates) if most is None else most
    candidates = Candidates(*(_beside(walk.candidates, name, count) for name in _CANDIDATES))
    seen = PanoramaFeatures(*(torch.cat([getattr(each, name) for each in walk.seen]) for name in _SEEN))
    wanted, taken = (
        torch.tensor([count if choice == each.valid.shape[1] else choice for choice, each in pairs])
        for pairs in (zip(choices, walk.candidates, strict=True) for choices in (walk.wanted, walk.taken))
    )
    return Lesson(walk.ids, seen, candidates, wanted, taken)


def planner_scores(planner: Planner, lessons: Sequence[Lesson]) -> tuple[Tensor, Tensor]:
    """Return scores (D, N) of the decisions of all lessons, one lesson after the other, and what was wanted, int64 (D,).

    Args:
        planner: Who decides.
        lessons: With candidates of the same number C; the first C of the scores are theirs, the next the stop's.
    """
    device = planner.projection.weight.device
    counts = torch.tensor([len(lesson) for lesson in lessons])
    rows = torch.repeat_interleave(torch.arange(len(lessons)), counts).to(device)
    step = torch.cat([torch.arange(len(lesson)) for lesson in lessons]).to(device)
    seen = PanoramaFeatures(*(_all(lessons, "seen", name).to(device).float() for name in _SEEN))
    candidates = Candidates(*(_all(lessons, "candidates", name).to(device) for name in _CANDIDATES))
    taken = torch.cat([lesson.taken for lesson in lessons]).tolist()
    tokens = planner.remember(seen, action_angles(candidates, taken), step)
    past = [torch.cat((planner.history.begin(1), part[:-1])) for part in tokens.split(counts.tolist())]
    history = pad_sequence(past, batch_first=True)[rows]
    known = torch.arange(history.shape[1], device=device) <= step[:, None]  # a decision knows those before it
    ids = pad_sequence([lesson.ids for lesson in lessons], batch_first=True).to(device)
    words = planner.read(ids)[rows]
    scores = planner(words, (ids != 0)[rows], history, known, observe(seen, candidates))
    return scores, torch.cat([lesson.wanted for lesson in lessons]).to(device)


def planner_loss(planner: Planner, walk: PlannedWalk) -> Tensor:
    """Return the cross-entropy of the oracle's choices, summed over a walk's decisions."""
    scores, wanted = planner_scores(planner, [lesson_of(walk)])
    return F.cross_entropy(scores, wanted, reduction="sum")


def _all(lessons: Sequence[Lesson], part: str, name: str) -> Tensor:
    """Return one field of what all lessons have."""
    return torch.cat([getattr(getattr(lesson, part), name) for lesson in lessons])


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
    most = max(each.valid.shape[1] for walk in walks for each in walk.candidates)
    lessons = [lesson_of(walk, most) for walk in walks]
    optimiser = torch.optim.AdamW(planner.parameters(), lr)
    planner.train()
    losses = []
    for _ in range(steps):
        chosen = [lessons[number] for number in rng.choice(len(lessons), min(batch, len(lessons)), replace=False)]
        loss = F.cross_entropy(*planner_scores(planner, chosen))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(planner.parameters(), 40.0)
        optimiser.step()
        losses.append(float(loss.detach()))
    planner.eval()
    return losses
