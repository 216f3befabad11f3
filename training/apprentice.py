"""An agent that learns from walks: losses, optimiser, learning rate, and how all of it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from timm.optim import param_groups_weight_decay  # type: ignore[attr-defined]
from timm.scheduler.cosine_lr import CosineLRScheduler
from torch import Tensor
from torch.nn import functional as F
from torch.optim import AdamW

from navloop.agent.policies import PolicyOutput, WalkBatch
from navloop.agent.policy_agent import PolicyAgent
from navloop.agent.saving import load_agent, save_agent
from navloop.configs.imitation import LearningConfig
from navloop.training.checkpoints import Checkpoint, new_checkpoint, write_state
from navloop.training.walk_batches import LessonBatch

AGENT = "agent"
"""Folder of the agent inside a checkpoint."""


def inflection_weights(actions: Tensor, valid: Tensor, weight: float) -> Tensor:
    """Return `weight` where the expert's action is another than a step before, and at the first step, else 1; 0 behind the end.

    Args:
        actions: int64 (B, S), the expert's.
        valid: bool (B, S).
        weight: Of a change.

    Source: VLN-CE, vlnce_baselines/dagger_trainer.py (inflection_vec, the first step counted as a change).
    """
    changes = torch.ones_like(valid)
    changes[:, 1:] = actions[:, 1:] != actions[:, :-1]
    return torch.where(changes, weight, 1.0) * valid


def imitation_losses(output: PolicyOutput, batch: LessonBatch, config: LearningConfig) -> dict[str, Tensor]:
    """Return scalars by name: "loss" is minimised.

    The action loss is the weighted mean over a walk's steps, then the mean over walks; the progress loss, the squared error's mean over
    all steps. "accuracy" is over all steps, "stop_recall" over those where the expert stops.

    Source: VLN-CE, vlnce_baselines/dagger_trainer.py (_update_agent) and common/aux_losses.py.
    """
    valid = batch.valid
    weights = inflection_weights(batch.expert_actions, valid, config.inflection)
    logits = output.logits.float().flatten(0, 1)
    entropies = F.cross_entropy(
        logits, batch.expert_actions.flatten(), reduction="none", label_smoothing=config.smoothing
    ).view_as(weights)
    found = {"action_loss": ((weights * entropies).sum(1) / weights.sum(1)).mean()}
    found["loss"] = found["action_loss"]
    if output.progress is not None and config.progress:
        found["progress_loss"] = (output.progress.float() - batch.progress)[valid].square().mean()
        found["loss"] = found["loss"] + config.progress * found["progress_loss"]
    right = output.logits.argmax(-1) == batch.expert_actions
    stops = valid & (batch.expert_actions == 0)
    found["accuracy"] = right[valid].float().mean()
    if stops.any():
        found["stop_recall"] = right[stops].float().mean()
    return found


class Apprentice:
    """An agent in training.

    Args:
        agent: Who learns, on its device.
        config: How.
        steps: Optimiser steps of the whole run.

    Attributes:
        agent: Who learns.
    """

    def __init__(self, agent: PolicyAgent, config: LearningConfig, steps: int) -> None:
        self.agent, self._config = agent, config
        self._learns_to_see = agent.config.perception.trainable
        groups = param_groups_weight_decay(agent.policy, config.weight_decay)
        if self._learns_to_see:
            groups += [
                {**group, "lr_scale": config.encoder_lr}
                for group in param_groups_weight_decay(agent.perception, config.weight_decay)
            ]
        self._parameters = [parameter for group in groups for parameter in group["params"]]
        self._optimizer = AdamW(groups, lr=config.lr, betas=(0.9, 0.98))
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
        """The policy's learning rate at the last step."""
        return float(self._optimizer.param_groups[0]["lr"])

    def step(self, number: int, batch: LessonBatch, seed: int) -> dict[str, Tensor]:
        """Take optimiser step `number`, counted from 1, and return what `imitation_losses` does, and the gradient's norm.

        Args:
            number: Decides the learning rate.
            batch: To learn from.
            seed: Of dropout.
        """
        self._schedule.step_update(number - 1)
        torch.manual_seed(seed)
        self.agent.policy.train()
        self.agent.perception.train()
        found = self._losses(batch)
        self._optimizer.zero_grad()
        found["loss"].backward()
        limit = self._config.clip if self._config.clip is not None else float("inf")
        found["gradient_norm"] = torch.nn.utils.clip_grad_norm_(self._parameters, limit)
        self._optimizer.step()
        return {name: value.detach() for name, value in found.items()}

    def save(self, folder: Path, step: int, keep: int, place: Mapping[str, float]) -> None:
        """Write a checkpoint; numbers in `place` are found again on `restore`.

        Raises:
            OSError: If it cannot be written; earlier checkpoints are as before.
        """
        with new_checkpoint(folder, step, keep) as aside:
            save_agent(self.agent, aside / AGENT)
            write_state(aside, {"place": dict(place), "optimizer": self._optimizer.state_dict()})

    def restore(self, checkpoint: Checkpoint) -> dict[str, float]:
        """Take up the optimiser of a checkpoint, whose agent this is already; return its `place`."""
        state = checkpoint.state()
        self._optimizer.load_state_dict(state["optimizer"])
        return dict(state["place"])

    def _losses(self, batch: LessonBatch) -> dict[str, Tensor]:
        agent, device = self.agent, self.agent.perception.device
        with torch.autocast(device.type, torch.bfloat16, enabled=self._config.precision == "bf16"):
            if batch.percepts is not None:
                percepts = batch.percepts.to(device, non_blocking=True).float()
            else:
                assert batch.frames is not None
                percepts = agent.perception(batch.frames, batch.depth)
            instructions = agent.policy.read(batch.texts)
            output = agent.policy(WalkBatch(percepts, instructions, batch.previous_actions, batch.valid).to(device))
        return imitation_losses(output, batch.to(device), self._config)


def load_apprentice(checkpoint: Checkpoint, device: str) -> PolicyAgent:
    """Return the agent of a checkpoint, after the digests of all its files were compared.

    Raises:
        CheckpointError: If a file has changed since it was written.
    """
    checkpoint.check()
    return load_agent(checkpoint.folder / AGENT, device=device)


def means(window: list[dict[str, Tensor]]) -> dict[str, float]:
    """Return the mean of each metric over the steps that have it."""
    values: dict[str, list[Any]] = {}
    for found in window:
        for name, value in found.items():
            values.setdefault(name, []).append(value)
    return {name: float(torch.stack(list(rows)).mean()) for name, rows in values.items()}
