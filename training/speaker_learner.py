"""A speaker that learns from walks."""

from __future__ import annotations

from pathlib import Path

import torch
from timm.optim import param_groups_weight_decay  # type: ignore[attr-defined]
from torch import Tensor

from navloop.agent.speaker import Speaker, word_losses
from navloop.agent.speaker_saving import save_speaker
from navloop.configs.speaker import TellingConfig
from navloop.training.learner import Learner
from navloop.training.spoken_walks import SpokenBatch, SpokenWalks

SPEAKER = "speaker"
"""Folder of the speaker inside a checkpoint."""


class SpeakerLearner(Learner[SpokenBatch]):
    """A speaker in training; its eyes stay as they are.

    Args:
        speaker: Who learns, on its device.
        config: How.
        steps: Optimiser steps of the whole run.
    """

    def __init__(self, speaker: Speaker, config: TellingConfig, steps: int) -> None:
        self.speaker, self._config = speaker, config
        super().__init__(param_groups_weight_decay(speaker.narrator, config.weight_decay), config, steps)

    def losses(self, batch: SpokenBatch) -> dict[str, Tensor]:
        """Return scalars: "accuracy" is that of all words, "plan_accuracy" of those that say what a text is about."""
        narrator = self.speaker.narrator.train()
        walks = narrator.gather(batch.percepts, batch.actions).to(self.speaker.device)
        ids = self.speaker.read(batch.texts).to(self.speaker.device)
        logits, wanted = narrator(walks, ids[:, :-1]), ids[:, 1:]
        losses, counts = word_losses(logits, wanted, self._config.smoothing)
        plans = (wanted == narrator.begin).flip(1).cumsum(1).flip(1) > 0  # up to `begin`
        weights = torch.where(plans, self._config.plan, 1.0) * counts
        right = (logits.argmax(-1) == wanted) & counts
        return {
            "loss": (weights * losses).sum() / weights.sum(),
            "accuracy": right.sum() / counts.sum(),
            "plan_accuracy": (right & plans).sum() / (counts & plans).sum(),
        }

    def write(self, folder: Path) -> None:
        """Write the speaker."""
        save_speaker(self.speaker, folder / SPEAKER)


def mean_loss(speaker: Speaker, walks: SpokenWalks) -> float:
    """Return how unlikely a speaker finds the first wording of each walk: mean negative log-probability a word, then over walks."""
    whole = walks.whole()
    found = speaker.likelihoods(whole.percepts, whole.actions, whole.texts)
    return -sum(found) / len(found)
