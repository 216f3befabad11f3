"""What a recipe for a planner comes to: tours to learn from, a planner to begin with, and where it can walk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from navloop.agent.perception import make_encoder
from navloop.agent.planner_agent import PlannerAgent, create_planner_agent
from navloop.agent.planner_saving import load_planner, planner_digest
from navloop.configs.agents import AgentConfig, PerceptionConfig
from navloop.configs.planner import PlannerAgentConfig
from navloop.configs.planning import PlannerTrainConfig
from navloop.envs.embedded.simulator import EmbeddedSimulator
from navloop.envs.panorama import view_names
from navloop.envs.protocols import Protocol
from navloop.records import Episode
from navloop.training.courses import IteratedCourse
from navloop.training.entrants import find_agent
from navloop.training.planner.crew import planner_protocol
from navloop.training.steps import draw_seed
from navloop.training.waypoints import Places, look_around, measure_predictor, train_predictor


class PlannerCourse(IteratedCourse):
    """Tours to learn from, and episodes to be judged by.

    Raises:
        ValueError: As `Course`; if the protocol has no panorama; or a saved planner that is named does not fit.
    """

    def __init__(self, config: PlannerTrainConfig) -> None:
        super().__init__(config, config.agent, config.oracle, config.learning)
        self.config: PlannerTrainConfig = config
        for name, folder in (("start", config.start), ("predictor_from", config.predictor_from)):
            if folder is not None:
                self.fingerprints[name] = planner_digest(find_agent(Path(folder)))

    def begin(self, device: str) -> tuple[PlannerAgent, dict[str, float]]:
        """Return the planner that a run begins with, and what is to be known of its waypoint predictor.

        Raises:
            ValueError: If a saved planner does not fit.
        """
        config = self.config
        if config.start is not None:
            agent = load_planner(find_agent(Path(config.start)))
            agent.protocol = self.protocol.label
            return agent.to(device), {}
        given = None if config.predictor_from is None else load_planner(find_agent(Path(config.predictor_from)))
        agent = self._create(config.planner if given is None else _with_eyes_of(given, config.planner)).to(device)
        if given is None:
            return agent, self._teach_predictor(agent)
        agent.eyes.load_state_dict(given.eyes.state_dict())
        agent.predictor.load_state_dict(given.predictor.state_dict())
        return agent, {}

    def _create(self, sizes: PlannerAgentConfig) -> PlannerAgent:
        texts = [episode.instruction.text for episode in self.episodes]
        encoder = make_encoder(PerceptionConfig(**self.config.views.model_dump()))
        return create_planner_agent(sizes, encoder, texts, protocol=self.protocol.label, seed=self.config.seed)

    def _teach_predictor(self, agent: PlannerAgent) -> dict[str, float]:
        config, seed = self.config.predictor, self.config.seed
        places = self._look_around(self.episodes, config.places, draw_seed(seed, 9))
        torch.manual_seed(draw_seed(seed, 10))  # of dropout
        train_predictor(
            agent.predictor, agent.eyes, places, steps=config.steps, batch=config.batch, lr=config.lr, seed=seed
        )
        unseen = self.validation.get("val_unseen", ())
        if not (unseen and config.held_out):
            return {}
        held_out = self._look_around(unseen, config.held_out, draw_seed(seed, 11))
        scores = measure_predictor(agent.predictor, agent.eyes, held_out)
        return {"predictor_walkable": scores.walkable, "predictor_chance": scores.chance, "predictor_loss": scores.loss}

    def _look_around(self, episodes: Sequence[Episode], count: int, seed: int) -> Places:
        cameras = [camera for camera in self.protocol.cameras if camera.name in view_names("depth")]
        simulator = EmbeddedSimulator(self.config.episodes.scenes, self.protocol.body, cameras, "embree")
        try:
            scenes = sorted({episode.scene_id for episode in episodes})
            return look_around(simulator, scenes, count, np.random.default_rng(seed))
        finally:
            simulator.close()

    def _walked_under(self, agent: AgentConfig) -> Protocol:
        return planner_protocol(self.config.episodes)


def _with_eyes_of(given: PlannerAgent, sizes: PlannerAgentConfig) -> PlannerAgentConfig:
    """Return sizes with the predictor of a saved planner.

    Raises:
        ValueError: If the planner is to read other depth features than its eyes give.
    """
    waypoints = given.config.waypoints
    if sizes.planner.depth_features != waypoints.depth_channels:
        raise ValueError(
            f"planner.planner.depth_features is {sizes.planner.depth_features}, but the eyes of predictor_from give "
            f"{waypoints.depth_channels}; make it that"
        )
    return sizes.model_copy(update={"waypoints": waypoints})
