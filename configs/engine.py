"""How a stage is trained: batches, optimiser, schedule, precision, and what is written down on the way."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from navloop.configs.schema import Config

LR_BATCH = 256
"""Clips that a learning rate is stated for. Source: InternVideo1/Pretrain/VideoMAE/run_mae_pretraining.py."""


class EngineConfig(Config):
    """One training run, of whatever stage: AdamW on a cosine schedule."""

    seed: int = Field(default=0, ge=0, description="First weights, data order, masks and dropout follow from it.")
    steps: int | None = Field(default=None, ge=1, description="Optimiser steps in all; null: say epochs instead.")
    epochs: float | None = Field(default=None, gt=0, description="Passes over the data; null: say steps instead.")
    batch: int = Field(
        ge=1,
        description="Clips an optimiser step, over all processes and accumulation; copies (clips.repeats) not counted.",
    )
    accumulate: int = Field(default=1, ge=1, description="Parts that a process takes its clips of a step in.")
    lr: float = Field(gt=0, description="Highest learning rate; see scale_lr.")
    min_lr: float = Field(default=0.0, ge=0, description="Learning rate that the cosine ends at; see scale_lr.")
    scale_lr: bool = Field(default=True, description="Multiply both learning rates by batch / 256.")
    warmup: float = Field(
        default=0.1, ge=0, lt=1, description="Share of the steps in which the learning rate rises from 0."
    )
    weight_decay: float = Field(
        default=0.05, ge=0, description="Decay of weights; biases, norms, tokens and positions have none."
    )
    betas: tuple[float, float] = Field(default=(0.9, 0.95), description="AdamW's decay of the two moments.")
    eps: float = Field(default=1e-8, gt=0, description="AdamW's smallest denominator.")
    clip: float | None = Field(default=None, gt=0, description="Largest norm of the gradient; null: any.")
    layer_decay: float | None = Field(
        default=None, gt=0, le=1, description="Each layer's learning rate over that of the next; null: all the same."
    )
    ema: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Decay of a moving average of the weights, which is what is kept; null: none. After N steps its N-th power of "
        "what is kept are still the first weights.",
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(default="fp32", description="Type of most arithmetic.")
    log_every: int = Field(default=10, ge=1, description="Steps that a line of metrics is the mean of.")
    evaluate_every: int | None = Field(
        default=None, ge=1, description="Steps between measurements on held-out clips; null: at the end alone."
    )
    checkpoint_every: int = Field(default=500, ge=1, description="Steps between checkpoints; one more at the end.")
    keep: int = Field(default=2, ge=1, description="Checkpoints kept, the newest.")

    @property
    def lr_factor(self) -> float:
        """What both learning rates are multiplied by."""
        return self.batch / LR_BATCH if self.scale_lr else 1.0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError(f"say one of steps and epochs, not steps={self.steps} and epochs={self.epochs}")
        if self.batch % self.accumulate:
            raise ValueError(f"a batch of {self.batch} does not divide into {self.accumulate} parts (accumulate)")
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr {self.min_lr} is above lr {self.lr}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas {self.betas} are not in [0, 1)")
        return self
