"""Weights in training: a step down the loss, the learning rate of each step, and how all of it is kept and taken up again."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor
from torch.optim import AdamW

from navloop.configs.descent import DescentConfig
from navloop.training.checkpoints import Checkpoint, new_checkpoint, write_state
from navloop.training.schedules import create_schedule
from navloop.training.steps import DivergedError

B = TypeVar("B")


class Learner(ABC, Generic[B]):
    """Whoever learns from batches of one sort.

    Args:
        groups: Of parameters, as AdamW takes them; "lr_scale" of a group multiplies its learning rate.
        config: How.
        steps: Optimiser steps of the whole run.
    """

    CALMER: ClassVar[str] = "a lower learning.lr"
    """What may keep a loss finite."""

    def __init__(self, groups: Sequence[dict[str, Any]], config: DescentConfig, steps: int) -> None:
        self._parameters = [parameter for group in groups for parameter in group["params"]]
        self._limit = config.clip if config.clip is not None else math.inf
        self._optimizer = AdamW(groups, lr=config.lr, betas=config.betas)
        self._schedule = create_schedule(self._optimizer, steps, config.warmup, config.min_lr)

    @abstractmethod
    def losses(self, batch: B) -> dict[str, Tensor]:
        """Return scalars by name: "loss" is minimised, the others are looked at."""

    @abstractmethod
    def write(self, folder: Path) -> None:
        """Write who learns into a checkpoint's folder."""

    @property
    def lr(self) -> float:
        """Learning rate of the first group at the last step."""
        return float(self._optimizer.param_groups[0]["lr"])

    def step(self, number: int, batch: B, seed: int) -> dict[str, Tensor]:
        """Take an optimiser step; return what `losses` does, and the gradient's norm before it is cut.

        Args:
            number: Of the step, from 1; it decides the learning rate.
            batch: To learn from.
            seed: Of dropout.
        """
        self._schedule.step_update(number - 1)
        torch.manual_seed(seed)
        found = self.losses(batch)
        self._optimizer.zero_grad()
        found["loss"].backward()
        found["gradient_norm"] = torch.nn.utils.clip_grad_norm_(self._parameters, self._limit)
        self._optimizer.step()
        return {name: value.detach() for name, value in found.items()}

    def means(self, window: Sequence[Mapping[str, Tensor]], step: int) -> dict[str, float]:
        """Return the mean of each metric over the steps that have it.

        Args:
            window: What steps returned, up to the last.
            step: Number of that one.

        Raises:
            DivergedError: If the mean loss is not finite.
        """
        values: dict[str, list[Tensor]] = {}
        for found in window:
            for name, value in found.items():
                values.setdefault(name, []).append(value)
        means = {name: float(torch.stack(row).mean()) for name, row in values.items()}
        if not math.isfinite(means["loss"]):
            raise DivergedError(f"step {step}: the loss is {means['loss']}; try {self.CALMER}")
        return means

    def save(self, folder: Path, step: int, keep: int, place: Mapping[str, float]) -> None:
        """Write a checkpoint; numbers in `place` are found again on `restore`.

        Raises:
            OSError: If it cannot be written; earlier checkpoints are as before.
        """
        with new_checkpoint(folder, step, keep) as aside:
            self.write(aside)
            write_state(aside, {"place": dict(place), "optimizer": self._optimizer.state_dict()})

    def restore(self, checkpoint: Checkpoint) -> dict[str, float]:
        """Take up the optimiser of a checkpoint, whose weights are these already; return its `place`."""
        state = checkpoint.state()
        self._optimizer.load_state_dict(state["optimizer"])
        return dict(state["place"])
