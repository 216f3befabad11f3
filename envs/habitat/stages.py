"""habitat-lab's simulators that the agents of one process share: one for each scene that somebody is in, so that a scene is there once.

A simulator costs a quarter of a minute of light where a processor draws, and holds every texture of its scenes: as many as agents would
be slow to begin and soon fill the memory.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

from navloop.envs.habitat.ground import Ground
from navloop.envs.habitat.labels import SemanticLabels
from navloop.envs.habitat.lifetimes import Lifetime
from navloop.envs.habitat.navmeshes import fit_navmesh
from navloop.envs.habitat.scenes import SceneSource
from navloop.envs.simulator import Body


class Posture(NamedTuple):
    """Where a body stands and how its cameras are turned, as habitat-sim holds it: put back, it is the same to the last bit."""

    translation: Any
    rotation: Any
    looks: tuple[Any, ...]


class Stage:
    """One of habitat-lab's simulators with a scene, and the one body that its agents enter in turn.

    Args:
        simulator: habitat-lab's.
        body: Of the agents.
        version: Of habitat-sim.
    """

    def __init__(self, simulator: Any, body: Body, version: str) -> None:
        self.simulator = simulator
        self.life = Lifetime(simulator)
        self.source: SceneSource | None = None
        self._body, self._version = body, version
        self._actor: object = None
        self._aside: dict[object, Posture] = {}

    def show(self, source: SceneSource) -> None:
        """Change to a scene, with the navmesh of the body.

        Raises:
            SceneError: If its navmesh is none, or fits no such body; no scene is shown then.
        """
        from habitat import read_write

        self.source, self._actor = None, None
        self._aside.clear()
        for name in ("ground", "labels", "agent"):
            self.__dict__.pop(name, None)
        config = self.simulator.habitat_config
        with read_write(config):
            config.scene = source.handle
        self.life.enter(config)
        fit_navmesh(self.simulator, self._body, source.file, self._version)
        self.source = source

    @cached_property
    def ground(self) -> Ground:
        """The scene's navmesh."""
        return Ground(self.simulator.pathfinder, self._body)

    @cached_property
    def labels(self) -> SemanticLabels:
        """What its semantic ids stand for."""
        return SemanticLabels.of(self.simulator.semantic_scene)

    @cached_property
    def agent(self) -> Any:
        """habitat-sim's agent, whose body it is."""
        return self.simulator.get_agent(0)

    @property
    def sensors(self) -> list[Any]:
        """The body's cameras, whose nodes turn; releases differ in what else leads to them."""
        return list(self.agent.scene_node.subtree_sensors.values())

    def embody(self, actor: object) -> None:
        """Give the body to an agent, where and as that one left it."""
        if actor is self._actor:
            return
        if self._actor is not None:
            self._aside[self._actor] = self._posture()
        self._actor = actor
        if actor in self._aside:
            self._take(self._aside.pop(actor))

    def forget(self, actor: object) -> None:
        """Let an agent go, whose place is nobody's then."""
        self._aside.pop(actor, None)
        if self._actor is actor:
            self._actor = None

    def _posture(self) -> Posture:
        node = self.agent.scene_node
        return Posture(node.translation, node.rotation, tuple(sensor.node.rotation for sensor in self.sensors))

    def _take(self, posture: Posture) -> None:
        node = self.agent.scene_node
        node.translation, node.rotation = posture.translation, posture.rotation
        for sensor, look in zip(self.sensors, posture.looks, strict=True):
            sensor.node.rotation = look


class Stages:
    """The stages that agents alike in body and cameras share.

    Args:
        make: Makes one that shows a scene.
    """

    def __init__(self, make: Callable[[SceneSource], Stage]) -> None:
        self._make = make
        self._stages: list[Stage] = []
        self._users: dict[object, Stage | None] = {}

    def enter(self, user: object) -> None:
        """Count an agent in, who is in no scene yet."""
        self._users[user] = None

    def take(self, user: object, source: SceneSource) -> Stage:
        """Return the stage that shows a scene, after a change if need be; from now on the agent is there, or nowhere if that fails."""
        self._quit(user)
        shown = next((stage for stage in self._stages if stage.source == source), None)
        stage = shown or self._change(source)
        self._users[user] = stage
        return stage

    def leave(self, user: object) -> None:
        """Count an agent out, who may be out already. With the last, every simulator is given back."""
        self._quit(user)
        self._users.pop(user, None)
        if not self._users:
            for stage in self._stages:
                stage.life.end()
            self._stages.clear()

    def _quit(self, user: object) -> None:
        stage = self._users.get(user)
        if stage is not None:
            stage.forget(user)
            self._users[user] = None

    def _change(self, source: SceneSource) -> Stage:
        idle = [stage for stage in self._stages if stage not in self._users.values()]
        fit = [stage for stage in idle if stage.life.has_room_for(source.handle)]
        if not fit:
            fit = [self._make(source)]
            self._stages += fit
        stage = max(fit, key=lambda stage: stage.life.holds(source.handle))
        stage.show(source)
        return stage
