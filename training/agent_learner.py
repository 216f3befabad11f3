"""An agent that learns from walks."""

from __future__ import annotations

from pathlib import Path

import torch
from timm.optim import param_groups_weight_decay  # type: ignore[attr-defined]
from torch import Tensor
from torch.nn import functional as F

from navloop.agent.policies import PolicyOutput, WalkBatch
from navloop.agent.policy_agent import PolicyAgent
from navloop.agent.saving import save_agent
from navloop.configs.imitation import LearningConfig
from navloop.training.learner import Learner
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


class AgentLearner(Learner[LessonBatch]):
    """An agent in training.

    Args:
        agent: Who learns, on its device.
        config: How.
        steps: Optimiser steps of the whole run.

    Attributes:
        agent: Who learns.
    """

    CALMER = "a lower learning.lr, or learning.precision=fp32"

    def __init__(self, agent: PolicyAgent, config: LearningConfig, steps: int) -> None:
        self.agent, self._config = agent, config
        groups = param_groups_weight_decay(agent.policy, config.weight_decay)
        if agent.config.perception.trainable:
            groups += [
                {**group, "lr_scale": config.encoder_lr}
                for group in param_groups_weight_decay(agent.perception, config.weight_decay)
            ]
        super().__init__(groups, config, steps)

    def losses(self, batch: LessonBatch) -> dict[str, Tensor]:
        """Return what `imitation_losses` does."""
        agent, device = self.agent, self.agent.perception.device
        agent.policy.train()
        agent.perception.train()
        with torch.autocast(device.type, torch.bfloat16, enabled=self._config.precision == "bf16"):
            if batch.percepts is not None:
                percepts = batch.percepts.to(device, non_blocking=True).float()
            else:
                assert batch.frames is not None
                percepts = agent.perception(batch.frames, batch.depth)
            instructions = agent.policy.read(batch.texts)
            output = agent.policy(WalkBatch(percepts, instructions, batch.previous_actions, batch.valid).to(device))
        return imitation_losses(output, batch.to(device), self._config)

    def write(self, folder: Path) -> None:
        """Write the agent."""
        save_agent(self.agent, folder / AGENT)
