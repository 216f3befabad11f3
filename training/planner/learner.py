"""A planner that learns from walks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from timm.optim import param_groups_weight_decay  # type: ignore[attr-defined]
from torch import Tensor

from navloop.agent.planner_agent import PlannerAgent
from navloop.agent.planner_saving import save_planner
from navloop.configs.planning import DecidingConfig
from navloop.training.agent_learner import AGENT
from navloop.training.learner import Learner
from navloop.training.planning import Lesson, planner_scores


def decision_losses(scores: Tensor, wanted: Tensor, stop: int, smoothing: float = 0.0) -> dict[str, Tensor]:
    """Return scalars by name: "loss" is minimised; "accuracy" is over all decisions, "stop_recall" over those to stop.

    Args:
        scores: float (D, N), -inf for what cannot be chosen.
        wanted: int64 (D,).
        stop: Place of the stop among the scores.
        smoothing: Share of the label that is spread evenly over all that can be chosen.
    """
    logs = scores.float().log_softmax(-1)
    loss = -logs.gather(1, wanted[:, None])[:, 0]
    if smoothing:
        can = scores.isfinite()
        even = -logs.masked_fill(~can, 0.0).sum(-1) / can.sum(-1)
        loss = (1 - smoothing) * loss + smoothing * even
    right = scores.argmax(-1) == wanted
    found = {"loss": loss.mean(), "accuracy": right.float().mean()}
    if (stops := wanted == stop).any():
        found["stop_recall"] = right[stops].float().mean()
    return found


class PlannerLearner(Learner[Sequence[Lesson]]):
    """A planner in training; encoder, eyes and waypoint predictor stay as they are.

    Args:
        agent: Who learns, on its device.
        config: How.
        steps: Optimiser steps of the whole run.

    Attributes:
        agent: Who learns.
    """

    def __init__(self, agent: PlannerAgent, config: DecidingConfig, steps: int) -> None:
        self.agent, self._smoothing = agent, config.smoothing
        super().__init__(param_groups_weight_decay(agent.planner, config.weight_decay), config, steps)

    def losses(self, batch: Sequence[Lesson]) -> dict[str, Tensor]:
        """Return what `decision_losses` does."""
        scores, wanted = planner_scores(self.agent.planner.train(), batch)
        return decision_losses(scores, wanted, self.agent.config.candidates, self._smoothing)

    def write(self, folder: Path) -> None:
        """Write the planner."""
        save_planner(self.agent, folder / AGENT)
