"""The command that trains an agent by reward: rollouts and rounds of PPO, judged now and then, and resumed exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import nn

from navloop.agent.policy_agent import PolicyAgent, create_policy_agent
from navloop.agent.saving import load_agent, save_agent
from navloop.agent.sb3.perceiving import PerceivingVecEnv, create_environments
from navloop.agent.sb3.ppo import Round, WalkPPO
from navloop.configs.loader import dump
from navloop.configs.reinforcement import ReinforcementConfig
from navloop.envs.navigation import Reward
from navloop.envs.simulator import Simulator
from navloop.envs.worlds import create_simulator, create_simulators
from navloop.provenance import usable_processors
from navloop.runs import RunFolder
from navloop.training.agent_learner import AGENT
from navloop.training.checkpoints import Checkpoint, list_checkpoints, new_checkpoint, remove_unfinished, write_state
from navloop.training.collection import Crew, Ground
from navloop.training.courses import Course, Judge
from navloop.training.devices import find_device
from navloop.training.metrics import MetricsLog, TrainingProgress
from navloop.training.starts import load_start, tell_agent
from navloop.training.steps import DivergedError, draw_seed


@dataclass(frozen=True, slots=True)
class ReinforcementReport:
    """What a run came to."""

    folder: Path
    """Of the run; `folder / "last" / "agent"` and `folder / "best"` are agents."""
    iterations: int
    """Iterations done, those of earlier starts included."""
    resumed: int
    """Iterations that earlier starts had done."""
    curve: list[dict[str, float]] = field(default_factory=list)
    """A line of metrics an iteration, of those of this start; the first start's begins with the agent as it came."""


def train_by_reinforcement(
    config: ReinforcementConfig, folder: Path, console: Console | None = None
) -> ReinforcementReport:
    """Train an agent into a run folder, or go on with it.

    The folder gets metrics.jsonl, tensorboard/, evaluations/ (rows of each), checkpoints step_N/ with the agent in `agent`, `last`, a link to
    the newest, and the agent `best`. All randomness follows from (seed, iteration), so that on a processor a run that was killed and
    resumed equals one that was not.

    Raises:
        ValueError: If the recipe does not fit its data, its agent, or what the folder holds.
        DivergedError: If a loss is not finite; the last checkpoint is from before.
        OSError: If something cannot be written, or the process of an environment ended.
    """
    start, digests = load_start(config)
    course = Course(config, config.agent if start is None else start.config)
    with RunFolder(folder).open(dump(config), course.fingerprints | digests, config.RESUMABLE), torch.random.fork_rng():
        return _Run(config, course, start, folder, console).run()


class _Run:
    """A run in progress."""

    def __init__(
        self,
        config: ReinforcementConfig,
        course: Course,
        start: PolicyAgent | None,
        folder: Path,
        console: Console | None,
    ) -> None:
        self.config, self.course, self.folder, self.console = config, course, folder, console
        self.device = find_device(config.device)
        remove_unfinished(folder)
        found = list_checkpoints(folder)
        self.done = self.first = found[-1].step if found else 0
        texts = [episode.instruction.text for episode in course.episodes]
        if found:
            self.agent = load_agent(found[-1].checked(AGENT), device=self.device)
        else:
            made = start or create_policy_agent(config.agent, texts, seed=config.seed)
            made.protocol = course.protocol.label
            self.agent = made.to(self.device).eval()
            tell_agent(self.agent, texts, console, trains_encoder=False)
        self.crew = Crew(self._ground(), config.workers or usable_processors())
        self.judge = Judge(course, self.crew, folder, config.select)
        torch.manual_seed(draw_seed(config.seed, 6))  # the critic's first weights
        self.venv = PerceivingVecEnv(self._environments(), self.agent, texts)
        reference = None if start is None else start.policy
        self.ppo = WalkPPO(self.venv, self.agent.policy, config.ppo, config.rollout.steps, self.device, reference)
        if found:
            self._restore(found[-1])
        self.curve: list[dict[str, float]] = []

    def run(self) -> ReinforcementReport:
        """Do what is left."""
        log = MetricsLog(self.folder, self.done if list_checkpoints(self.folder) else -1)
        progress = TrainingProgress(self.console, self.config.ppo.iterations, self.done, "steps", resumes=self.done > 0)
        try:
            if not list_checkpoints(self.folder):
                self._begin(log)
            self._learn(log, progress)
        finally:
            progress.close()
            log.close()
            self.crew.close()
            self.venv.close()
        return ReinforcementReport(self.folder, self.done, self.first, self.curve)

    def _begin(self, log: MetricsLog) -> None:
        """Measure the agent as it came; let a new one first see what frames are like."""
        longest, steps = self.config.rollout.max_steps or self.course.protocol.max_steps, self.config.rollout.steps
        if self.console is not None and steps < longest:
            self.console.print(
                f"a rollout is {steps} steps, and a walk may take {longest}: one that never stops is cut off before it has failed, and learns little "
                f"from that; set rollout.max_steps to {steps} or less",
                soft_wrap=True,
                highlight=False,
            )
        if self.config.start is None:
            self.ppo.calibrate(self._plan(0))
        found = self.judge.judge(self.agent, 0)
        if found:
            log.add(0, found, 0.0, "steps")
        self.curve.append({"iteration": 0, **found})
        self._tell(0, found)
        self._save()

    def _learn(self, log: MetricsLog, progress: TrainingProgress) -> None:
        config = self.config
        window: list[dict[str, float]] = []
        for number in range(self.done + 1, config.ppo.iterations + 1):
            plan = self._plan(number)
            window.append(self._round(plan))
            self.done = number
            progress.advance(config.rollout.environments * config.rollout.steps)
            last = number == config.ppo.iterations
            judged = last or number % config.evaluate_every == 0
            saved = last or number % config.checkpoint_every == 0
            if judged or saved or number % config.log_every == 0:
                found = {"lr": plan.lr, **_means(window)}
                window = []
                if judged:
                    found |= self.judge.judge(self.agent, number)
                    self._tell(number, found)
                log.add(number, found, progress.clips_per_s, "steps")
                progress.tell({"loss": found["value_loss"]})
                self.curve.append({"iteration": number, **found})
            if saved:
                self._save()

    def _plan(self, number: int) -> Round:
        """Return what follows from an iteration's number, from 1; 0 is the look around before."""
        config, seed = self.config.ppo, self.config.seed
        share = (number - 1) / max(1, config.iterations - 1)
        lr = config.lr + max(0.0, share) * (config.min_lr - config.lr)
        episodes = draw_seed(seed, 7, number) >> 1
        return Round(episodes, draw_seed(seed, 8, number), lr, number <= config.critic_first)

    def _round(self, plan: Round) -> dict[str, float]:
        try:
            found = self.ppo.go_round(plan)
        except ValueError as error:
            if _is_finite(self.ppo.policy):
                raise
            raise DivergedError(f"iteration {self.done + 1}: weights are not finite; try a lower ppo.lr") from error
        losses = found["policy_loss"], found["value_loss"]
        if not all(map(math.isfinite, losses)) or not _is_finite(self.ppo.policy):
            raise DivergedError(
                f"iteration {self.done + 1}: losses ({losses[0]:g} and {losses[1]:g}) or weights are not finite; try a lower ppo.lr"
            )
        return found

    def _save(self) -> None:
        policy = self.ppo.policy
        with new_checkpoint(self.folder, self.done, self.config.keep) as aside:
            save_agent(self.agent, aside / AGENT)
            state = {"critic": policy.critic.state_dict(), "optimizer": policy.optimizer.state_dict()}
            write_state(aside, {"place": {"best": self.judge.best}, **state})

    def _restore(self, checkpoint: Checkpoint) -> None:
        state = checkpoint.state()
        self.ppo.policy.critic.load_state_dict(state["critic"])
        self.ppo.policy.optimizer.load_state_dict(state["optimizer"])
        self.judge.best = state["place"]["best"]

    def _ground(self) -> Ground:
        config = self.config
        return Ground(config.episodes, self.agent.perception.config.depth, config.lanes, self.device)

    def _environments(self) -> Any:
        config, course = self.config, self.course
        protocol = course.protocol
        if config.rollout.max_steps is not None:
            protocol = replace(protocol, max_steps=config.rollout.max_steps)
        where = config.episodes
        apart, count = config.workers != 1, config.rollout.environments
        simulators: Sequence[partial[Simulator]]
        if apart:
            make = partial(create_simulator, where.world, where.scenes, protocol, **where.world_settings)
            simulators = [make] * count
        else:
            made = create_simulators(count, where.world, where.scenes, protocol, **where.world_settings)
            simulators = [partial(_given, one) for one in made]
        reward = Reward(**config.reward.model_dump())
        return create_environments(simulators, course.episodes, protocol, reward, apart)

    def _tell(self, iteration: int, metrics: dict[str, float]) -> None:
        if self.console is None or not self.course.validation:
            return
        self.console.print(
            f"iteration {iteration}: {', '.join(self.judge.words(metrics))}", soft_wrap=True, highlight=False
        )


def _is_finite(policy: nn.Module) -> bool:
    return all(bool(weights.isfinite().all()) for weights in policy.parameters())


def _given(simulator: Simulator) -> Simulator:
    return simulator


def _means(window: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each metric over the iterations that have it."""
    names = dict.fromkeys(name for found in window for name in found)
    return {name: float(np.mean([found[name] for found in window if name in found])) for name in names}
