"""A planner that learns from walks: loss, optimiser, learning rate, and how all of it is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from timm.optim import param_groups_weight_decay  # type: ignore[attr-defined]
from timm.scheduler.cosine_lr import CosineLRScheduler
from torch import Tensor
from torch.optim import AdamW

from navloop.agent.planner_agent import PlannerAgent
from navloop.agent.planner_saving import load_planner, save_planner
from navloop.configs.planning import DecidingConfig
from navloop.training.apprentice import AGENT
from navloop.training.checkpoints import Checkpoint, new_checkpoint, write_state
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


class PlannerPupil:
    """A planner in training; encoder, eyes and waypoint predictor stay as they are.

    Args:
        agent: Who learns, on its device.
        config: How.
        steps: Optimiser steps of the whole run.

    Attributes:
        agent: Who learns.
    """

    def __init__(self, agent: PlannerAgent, config: DecidingConfig, steps: int) -> None:
        self.agent, self._config = agent, config
        self._optimizer = AdamW(
            param_groups_weight_decay(agent.planner, config.weight_decay), lr=config.lr, betas=(0.9, 0.98)
        )
        warmup = round(config.warmup * steps)
        self._schedule = CosineLRScheduler(
            self._optimizer,
            t_initial=max(1, steps - warmup),
            lr_min=config.min_lr,
            warmup_t=warmup,
            warmup_prefix=True,
            t_in_epochs=False,
        )

    @property
    def lr(self) -> float:
        """Learning rate at the last step."""
        return float(self._optimizer.param_groups[0]["lr"])

    def step(self, number: int, lessons: Sequence[Lesson], seed: int) -> dict[str, Tensor]:
        """Take optimiser step `number`, counted from 1, and return what `decision_losses` does, and the gradient's norm.

        Args:
            number: Decides the learning rate.
            lessons: To learn from.
            seed: Of dropout.
        """
        self._schedule.step_update(number - 1)
        torch.manual_seed(seed)
        planner = self.agent.planner.train()
        scores, wanted = planner_scores(planner, lessons)
        found = decision_losses(scores, wanted, self.agent.config.candidates, self._config.smoothing)
        self._optimizer.zero_grad()
        found["loss"].backward()
        limit = self._config.clip if self._config.clip is not None else float("inf")
        found["gradient_norm"] = torch.nn.utils.clip_grad_norm_(planner.parameters(), limit)
        self._optimizer.step()
        return {name: value.detach() for name, value in found.items()}

    def save(self, folder: Path, step: int, keep: int, place: Mapping[str, float]) -> None:
        """Write a checkpoint; numbers in `place` are found again on `restore`.

        Raises:
            OSError: If it cannot be written; earlier checkpoints are as before.
        """
        with new_checkpoint(folder, step, keep) as aside:
            save_planner(self.agent, aside / AGENT)
            write_state(aside, {"place": dict(place), "optimizer": self._optimizer.state_dict()})

    def restore(self, checkpoint: Checkpoint) -> dict[str, float]:
        """Take up the optimiser of a checkpoint, whose agent this is already; return its `place`."""
        state = checkpoint.state()
        self._optimizer.load_state_dict(state["optimizer"])
        return dict(state["place"])


def load_pupil(checkpoint: Checkpoint, device: str) -> PlannerAgent:
    """Return the agent of a checkpoint, after the digests of all its files were compared.

    Raises:
        CheckpointError: If a file has changed since it was written.
    """
    checkpoint.check()
    return load_planner(checkpoint.folder / AGENT, device=device)
