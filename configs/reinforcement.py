"""How an agent is trained by reward, as a recipe says it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from navloop.configs.imitation import TrainConfig
from navloop.configs.schema import Config


class RewardConfig(Config):
    """What a step is worth: metres won towards the goal, less a price for time, and a prize for stopping at the goal.

    Source: habitat-baselines, the navigation environment's defaults.
    """

    progress: float = Field(
        default=1.0, ge=0, description="Reward for a metre of the way to the goal; lost metres cost it."
    )
    success: float = Field(default=2.5, ge=0, description="Reward for stopping where the protocol counts success.")
    slack: float = Field(default=0.01, ge=0, description="Price of a step.")


class RolloutConfig(Config):
    """How much is walked between two rounds of learning. Every rollout begins with new walks, and cuts those off that its end meets."""

    environments: int = Field(default=16, ge=1, le=1024, description="Walks under way at a time.")
    steps: int = Field(
        default=128, ge=2, description="Steps of each environment in a rollout; several walks should fit in."
    )
    max_steps: int | None = Field(
        default=None, ge=1, description="Actions after which a walk has failed; null: the protocol's own."
    )


class PPOConfig(Config):
    """Proximal policy optimisation, by stable-baselines3, on whole walks.

    Source: Schulman et al., Proximal policy optimization algorithms, 2017; defaults after stable-baselines3 and Ramrakhya et al.,
    PIRLNav, CVPR 2023 (a policy from imitation: the critic learns alone at first).
    """

    iterations: int = Field(default=100, ge=1, description="Rollouts, each learned from and then forgotten.")
    epochs: int = Field(default=4, ge=1, description="Passes over a rollout.")
    batch: int = Field(default=512, ge=2, description="Steps of an optimiser step, about: whole walks of as many.")
    lr: float = Field(default=1e-4, gt=0, description="Learning rate of the policy at first; it falls on a line.")
    min_lr: float = Field(default=1e-5, ge=0, description="Learning rate of the policy that it falls to.")
    critic_lr: float = Field(default=10.0, gt=0, description="The critic's learning rate over the policy's.")
    critic_first: int = Field(
        default=5,
        ge=0,
        description="Iterations in which the critic learns alone, so that its first errors spoil no policy.",
    )
    critic_shapes: bool = Field(
        default=False,
        description="Let the critic's error change what the policy makes of its input; false: it reads alone.",
    )
    discount: float = Field(default=0.99, gt=0, le=1, description="Worth of the next step's reward over this one's.")
    gae: float = Field(default=0.95, ge=0, le=1, description="Lambda of the generalised advantage estimate.")
    clip: float = Field(
        default=0.2, gt=0, description="Change of an action's probability that is rewarded, as a share."
    )
    entropy: float = Field(default=0.003, ge=0, description="Weight of the entropy bonus, per nat.")
    kl: float = Field(
        default=0.0,
        ge=0,
        description="Weight of the divergence from the agent of `start`, per nat; it holds the policy near it.",
    )
    target_kl: float | None = Field(
        default=0.03,
        gt=0,
        description="Divergence from the rollout's own policy, of which one and a half times ends its epochs early; null: none.",
    )
    value: float = Field(
        default=0.5,
        gt=0,
        description="Weight of the critic's loss where critic_shapes is true; by itself the critic learns alike with any.",
    )
    max_gradient: float = Field(
        default=0.5, gt=0, description="Largest norm of the gradient, of policy and critic apart."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr {self.min_lr} is above lr {self.lr}")
        if self.critic_first >= self.iterations:
            raise ValueError(
                f"critic_first {self.critic_first}: in all {self.iterations} iterations the critic would learn alone, and the policy nothing; "
                "take more iterations, or a lower critic_first"
            )
        return self


class ReinforcementConfig(TrainConfig):
    """Reinforcement: an agent walks, most often one that imitation has trained, and what won it reward it does more often."""

    algorithm: Literal["reinforcement"] = Field(default="reinforcement", description="How it learns.")
    reward: RewardConfig = Field(default=RewardConfig(), description="What it is rewarded for.")
    rollout: RolloutConfig = Field(default=RolloutConfig(), description="How much it walks between rounds of learning.")
    ppo: PPOConfig = Field(default=PPOConfig(), description="How it learns from a rollout.")
    workers: int = Field(
        default=1,
        ge=0,
        le=256,
        description="1: everybody walks in this process; else each environment has a process of its own, and as many measure (0: one a processor).",
    )
    evaluate_every: int = Field(
        default=25,
        ge=1,
        description="Iterations between two measurements; there is one before the first, and after the last.",
    )
    checkpoint_every: int = Field(default=5, ge=1, description="Iterations between checkpoints; the last has one.")
    log_every: int = Field(default=1, ge=1, description="Iterations that a line of metrics is the mean of.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        steps = self.rollout.environments * self.rollout.steps
        if steps % self.ppo.batch:
            raise ValueError(
                f"ppo.batch {self.ppo.batch} does not divide the {steps} steps of a rollout "
                f"({self.rollout.environments} environments x {self.rollout.steps}); take one that does"
            )
        if self.agent.perception.trainable and self.start is None:
            raise ValueError(
                "agent.perception.trainable is true, and reward trains no encoder; take false, and train it by imitation first"
            )
        if self.ppo.kl and self.start is None:
            raise ValueError(
                "ppo.kl holds the policy near the agent of `start`, and there is none; name one, or take kl=0"
            )
        return self
