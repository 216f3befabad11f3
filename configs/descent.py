"""How weights go down their loss; what every learner's recipe has."""

from __future__ import annotations

from pydantic import Field, model_validator
from typing_extensions import Self

from navloop.configs.schema import Config


class DescentConfig(Config):
    """AdamW, with a learning rate that rises in a straight line and falls along half a cosine over the whole run."""

    lr: float = Field(default=1e-3, gt=0, description="Highest learning rate.")
    min_lr: float = Field(default=1e-5, ge=0, description="Learning rate that the cosine ends at.")
    warmup: float = Field(default=0.03, ge=0, lt=1, description="Share of the steps in which the learning rate rises.")
    betas: tuple[float, float] = Field(default=(0.9, 0.98), description="AdamW's.")
    weight_decay: float = Field(default=0.05, ge=0, description="Decay of weights; biases and norms have none.")
    clip: float | None = Field(default=1.0, gt=0, description="Largest norm of the gradient; null: any.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr {self.min_lr} is above lr {self.lr}")
        return self
