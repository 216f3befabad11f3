"""Our policies as stable-baselines3's: they act step by step, learn over whole walks, and have a critic."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor, nn

from navloop.agent.policies import ACTIONS, Policy, PolicyOutput
from navloop.agent.policies.policy import PolicyState
from navloop.agent.sb3.walks import Observed, instructions_of, walk_batch
from navloop.configs.reinforcement import PPOConfig


class WalkPolicy(ActorCriticPolicy):  # type: ignore[misc]
    """One of our policies as stable-baselines3's, with a critic that reads the policy's state.

    In a rollout it walks step by step and remembers; where it learns, it runs over whole walks. Dropout is off in both, so that actions
    are as likely where they are learned from as where they were drawn.

    Args:
        observation_space: Of `PerceivingVecEnv`.
        action_space: Of the environments.
        lr_schedule: Of the first learning rate.
        walker: The policy.
        config: How it learns.
        use_sde: False; stable-baselines3 says so to every policy.

    Attributes:
        alone: Whether the critic alone learns.
        noted: What the batches since it was emptied have shown: entropy, and divergence from the reference.
    """

    def __init__(
        self,
        observation_space: spaces.Dict,
        action_space: spaces.Discrete,
        lr_schedule: Any,
        walker: Policy,
        config: PPOConfig,
        use_sde: bool = False,
    ) -> None:
        super().__init__(observation_space, action_space, lr_schedule, use_sde=use_sde)
        self.walker, self._config = walker, config
        self.critic = Critic(walker.config.width)
        groups = [
            {"params": list(walker.parameters()), "lr_scale": 1.0},
            {"params": list(self.critic.parameters()), "lr_scale": config.critic_lr},
        ]
        # With Adam's own eps: stable-baselines3's, 1e-5, damps the steps of a policy's small gradients.
        self.optimizer = torch.optim.Adam(groups, lr=config.lr)
        self.optimizer.register_step_pre_hook(self._clip)
        self.alone = False
        self.noted: list[dict[str, Tensor]] = []
        self._state: PolicyState | None = None

    def _build(self, lr_schedule: Any) -> None:
        """Leave out the networks that stable-baselines3 would make."""

    def set_training_mode(self, mode: bool) -> None:
        """Keep dropout off; recurrent layers alone are told, because CUDA's have no gradients otherwise."""
        self.eval()
        for module in self.walker.modules():
            if isinstance(module, nn.RNNBase):
                module.train(mode)
        self.training = mode

    def forget(self) -> None:
        """Forget all walks; the next observations are first ones."""
        self._state = None

    def forward(self, obs: Observed, deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Take a step of E environments; return actions (E,), values (E, 1), and the actions' log probabilities (E,)."""
        output = self._step(obs)
        actions = self.action_dist.proba_distribution(output.logits.float())
        drawn = actions.get_actions(deterministic)
        return drawn, self.critic(output.state), actions.log_prob(drawn)

    def predict_values(self, obs: Observed) -> Tensor:
        """Return values (E, 1) of the observations that a rollout ends with."""
        return self.critic(self._step(obs).state)  # type: ignore[no-any-return]

    def evaluate_actions(self, obs: Observed, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return values (N, 1), log probabilities (N,) and the bonus (N,) of the N valid steps of walks.

        The bonus is the weighted entropy less the weighted divergence from the reference, in the place of stable-baselines3's entropy, whose
        own weight is then 1.

        Args:
            obs: Of `WalkRolloutBuffer`.
            actions: int64 (N,).
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.alone):
            output = self.walker(walk_batch(obs))
            chosen = self.action_dist.proba_distribution(output.logits[obs["valid"]].float())
            entropy = chosen.entropy()
            bonus = self._config.entropy * entropy
            noted = {"entropy": entropy.mean().detach()}
            if "reference" in obs:
                away = divergence(chosen.distribution.logits, obs["reference"][obs["valid"]].log_softmax(-1))
                bonus = bonus - self._config.kl * away
                noted["kl_from_start"] = away.mean().detach()
        self.noted.append(noted)
        state = output.state[obs["valid"]]
        values = self.critic(state if self._config.critic_shapes else state.detach())
        return values, chosen.log_prob(actions), bonus

    def _clip(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """Clip the gradients of policy and critic, each by its own norm: by a common one the critic's would shrink the policy's."""
        for group in optimizer.param_groups:
            nn.utils.clip_grad_norm_(group["params"], self._config.max_gradient)

    def _predict(self, observation: Observed, deterministic: bool = False) -> Tensor:
        return self.forward(observation, deterministic)[0]

    def _step(self, obs: Observed) -> PolicyOutput:
        previous = obs["previous"]
        new = (previous == ACTIONS).nonzero().flatten()
        if self._state is None:
            self._state = self.walker.begin(instructions_of(obs["words"]))
        elif len(new):
            self.walker.restart(self._state, new.tolist(), instructions_of(obs["words"][new]))
        return self.walker.step(obs["percepts"].float(), previous, self._state)


class Critic(nn.Module):
    """Says what reward is to come, from the state of a policy.

    Args:
        width: Of the state.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        last = nn.Linear(width, 1)
        self.layers = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), last)
        with torch.no_grad():
            last.weight.mul_(0.1)
            last.bias.zero_()

    def forward(self, state: Tensor) -> Tensor:
        """Return values (..., 1) of states (..., width)."""
        return self.layers(state.float())  # type: ignore[no-any-return]


def divergence(logits: Tensor, others: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence (...,) of log probabilities (..., A) from others, in nats."""
    return (logits.exp() * (logits - others)).sum(-1)
