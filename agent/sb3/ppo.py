"""PPO on whole walks: rollouts that begin anew, a round of learning from each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv

from navloop.agent.policies import ACTIONS, Policy
from navloop.agent.sb3.perceiving import PerceivingVecEnv
from navloop.agent.sb3.policy import WalkPolicy
from navloop.agent.sb3.walks import WalkRolloutBuffer, walk_batch
from navloop.configs.reinforcement import PPOConfig


@dataclass(frozen=True, slots=True)
class Round:
    """What one rollout is made and learned from with; all its randomness follows from it.

    Attributes:
        seed: Of which episodes are walked, in [0, 2**63).
        draws: Of the actions drawn and of the order of learning.
        lr: Learning rate of the policy.
        alone: Whether the critic alone learns.
    """

    seed: int
    draws: int
    lr: float
    alone: bool


class WalkPPO(PPO):  # type: ignore[misc]
    """PPO on whole walks.

    Args:
        venv: Where.
        walker: The policy that learns; it is changed in place.
        config: How.
        steps: Steps of each environment in a rollout.
        device: Of the policy.
        reference: A policy to stay near, as far as `config.kl` says; it may be `walker` as it is now.
    """

    def __init__(
        self,
        venv: PerceivingVecEnv,
        walker: Policy,
        config: PPOConfig,
        steps: int,
        device: str,
        reference: Policy | None = None,
    ) -> None:
        super().__init__(
            WalkPolicy,
            venv,
            learning_rate=config.lr,
            n_steps=steps,
            batch_size=config.batch,
            n_epochs=config.epochs,
            gamma=config.discount,
            gae_lambda=config.gae,
            clip_range=config.clip,
            ent_coef=1.0,  # the policy weighs its bonus itself
            vf_coef=config.value,
            max_grad_norm=math.inf,  # the policy clips its own gradients, the critic's apart
            target_kl=config.target_kl,
            rollout_buffer_class=WalkRolloutBuffer,
            policy_kwargs={"walker": walker, "config": config},
            device=device,
        )
        self.set_logger(Logger(None, []))
        self._last_obs: Any = {}  # each rollout begins anew, so there is nothing to begin with
        self._round = Round(0, 0, config.lr, False)
        self._cut_off = 0
        self._reference: Policy | None = None
        if reference is not None and config.kl:  # a copy: it may be the walker itself, which moves away from it
            self._reference = deepcopy(reference).requires_grad_(False).eval().to(self.device)

    def go_round(self, plan: Round) -> dict[str, float]:
        """Make a rollout, learn from it, and return what came of it."""
        self._round = plan
        self.learn(self.n_steps * self.n_envs, log_interval=None, reset_num_timesteps=False)
        told = self.logger.name_to_value
        return {
            **_averages(self.get_env().finished),
            "cut_off": float(self._cut_off),
            "value_loss": float(told["train/value_loss"]),
            "policy_loss": float(told["train/policy_gradient_loss"]),
            "kl": float(told["train/approx_kl"]),
            "clipped": float(told["train/clip_fraction"]),
            "explained_variance": float(told["train/explained_variance"]),
            **{
                name: float(torch.stack([row[name] for row in self.policy.noted]).mean())
                for name in self.policy.noted[0]
            },
        }

    def calibrate(self, plan: Round) -> None:
        """Make a rollout for the statistics of percepts that a new policy lacks, and learn nothing else from it."""
        self._round = plan
        _, nobody = self._setup_learn(0, None, False)
        self.collect_rollouts(self.get_env(), nobody, self.rollout_buffer, self.n_steps)
        self.policy.walker.train()
        with torch.no_grad():
            for data in self.rollout_buffer.get(self.batch_size):
                self.policy.walker(walk_batch(data.observations))
        self.policy.set_training_mode(False)

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: WalkRolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """Fill the buffer with new walks."""
        torch.manual_seed(self._round.draws)
        env.seed(self._round.seed)
        self._last_obs = env.reset()
        self._last_episode_starts = np.ones(env.num_envs, dtype=bool)
        self.policy.forget()
        return bool(super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps))

    def train(self) -> None:
        """Learn from the buffer."""
        self.policy.alone, self.policy.noted = self._round.alone, []
        self._cut_off = len(self.rollout_buffer.segments()) - len(self.get_env().finished)
        self.rollout_buffer.reference = None
        if self._reference is not None:
            self.rollout_buffer.reference = self._refer(self._reference)
        super().train()

    def _update_learning_rate(self, optimizers: Any) -> None:
        for group in self.policy.optimizer.param_groups:
            group["lr"] = self._round.lr * group["lr_scale"]

    @torch.no_grad()
    def _refer(self, reference: Policy) -> NDArray[np.float32]:
        """Return the logits of the reference at every step of the rollout."""
        buffer = self.rollout_buffer
        logits = np.zeros((buffer.buffer_size, buffer.n_envs, ACTIONS), dtype=np.float32)
        walks = buffer.segments()
        for i in range(0, len(walks), 16):
            found = reference(walk_batch(buffer.batch(walks[i : i + 16]).observations)).logits.float().cpu().numpy()
            for row, walk in enumerate(walks[i : i + 16]):
                logits[walk.begin : walk.end, walk.place] = found[row, : walk.end - walk.begin]
        return logits


def _averages(walks: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return how many walks finished, and means by name; what is infinitely far from its goal is counted, and no part of a mean distance."""
    values = {name: [walk[name] for walk in walks if math.isfinite(walk[name])] for name in (walks[0] if walks else ())}
    lost = sum(not math.isfinite(walk["navigation_error"]) for walk in walks)
    return {
        "walks": len(walks),
        "unreachable": lost,
        **{name: float(np.mean(found)) for name, found in values.items() if found},
    }
