"""A speaker that learns from walks: loss, optimiser, learning rate, and how all of it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from timm.optim import param_groups_weight_decay  # type: ignore[attr-defined]
from timm.scheduler.cosine_lr import CosineLRScheduler
from torch import Tensor
from torch.optim import AdamW

from navloop.agent.speaker import Speaker, word_losses
from navloop.agent.speaker_saving import save_speaker
from navloop.configs.speaker import TellingConfig
from navloop.training.checkpoints import Checkpoint, new_checkpoint, write_state
from navloop.training.spoken_walks import SpokenBatch, SpokenWalks

SPEAKER = "speaker"
"""Folder of the speaker inside a checkpoint."""


class Pupil:
    """A speaker in training; its eyes stay as they are.

    Args:
        speaker: Who learns, on its device.
        config: How.
        steps: Optimiser steps of the whole run.
    """

    def __init__(self, speaker: Speaker, config: TellingConfig, steps: int) -> None:
        self.speaker, self._config = speaker, config
        self._optimizer = AdamW(
            param_groups_weight_decay(speaker.narrator, config.weight_decay), lr=config.lr, betas=(0.9, 0.98)
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

    def step(self, number: int, batch: SpokenBatch, seed: int) -> dict[str, Tensor]:
        """Take optimiser step `number`, counted from 1, and return its metrics.

        "loss" is minimised; "accuracy" is that of all words, "plan_accuracy" of those that say what a text is about.

        Args:
            number: Decides the learning rate.
            batch: To learn from.
            seed: Of dropout.
        """
        self._schedule.step_update(number - 1)
        torch.manual_seed(seed)
        narrator = self.speaker.narrator.train()
        walks = narrator.gather(batch.percepts, batch.actions).to(self.speaker.device)
        ids = self.speaker.read(batch.texts).to(self.speaker.device)
        logits, wanted = narrator(walks, ids[:, :-1]), ids[:, 1:]
        losses, counts = word_losses(logits, wanted, self._config.smoothing)
        plans = (wanted == narrator.begin).flip(1).cumsum(1).flip(1) > 0  # up to `begin`
        weights = torch.where(plans, self._config.plan, 1.0) * counts
        loss = (weights * losses).sum() / weights.sum()
        self._optimizer.zero_grad()
        loss.backward()
        limit = self._config.clip if self._config.clip is not None else float("inf")
        norm = torch.nn.utils.clip_grad_norm_(narrator.parameters(), limit)
        self._optimizer.step()
        right = (logits.argmax(-1) == wanted) & counts
        return {
            "loss": loss.detach(),
            "accuracy": right.sum() / counts.sum(),
            "plan_accuracy": (right & plans).sum() / (counts & plans).sum(),
            "gradient_norm": norm.detach(),
        }

    def save(self, folder: Path, step: int, keep: int, place: Mapping[str, float]) -> None:
        """Write a checkpoint; numbers in `place` are found again on `restore`.

        Raises:
            OSError: If it cannot be written; earlier checkpoints are as before.
        """
        with new_checkpoint(folder, step, keep) as aside:
            save_speaker(self.speaker, aside / SPEAKER)
            write_state(aside, {"place": dict(place), "optimizer": self._optimizer.state_dict()})

    def restore(self, checkpoint: Checkpoint) -> dict[str, float]:
        """Take up the optimiser of a checkpoint, whose speaker this is already; return its `place`."""
        state = checkpoint.state()
        self._optimizer.load_state_dict(state["optimizer"])
        return dict(state["place"])


def mean_loss(speaker: Speaker, walks: SpokenWalks) -> float:
    """Return how unlikely a speaker finds the first wording of each walk: mean negative log-probability a word, then over walks."""
    whole = walks.whole()
    found = speaker.likelihoods(whole.percepts, whole.actions, whole.texts)
    return -sum(found) / len(found)
