"""What a store of walks holds: one record a walk, what is told of each, and what all of a store share."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from navloop.envs.protocols import Protocol
from navloop.records import Episode, Trajectory
from navloop.training.rollouts import Rollout
from navloop.training.store.kinds import fault_of
from navloop.training.walks import Frames, Walk

FORMAT = 2
"""Version of what navloop adds to LeRobotDataset v3.0; a store of a higher one is refused. In 1, walks of a protocol had their turn in radians."""

RGB, DEPTH = "observation.images.rgb", "observation.images.depth"
"""Keys of the videos."""


class StoreError(ValueError):
    """A store that cannot be written or read as asked; the message names the file and the mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreAbout:
    """What all walks of a store share; a writer of anything else is refused.

    Attributes:
        protocol: Label of the protocol.
        protocol_fingerprint: Digest of its fields.
        world: Simulator that was walked in.
        turn: Degrees of LEFT and RIGHT.
        step: Metres of FORWARD.
        width: Of the frames, pixels, even.
        height: Of the frames, pixels, even.
        fps: Nominal frames a second: walks have no clock, the number of a step is what counts.
        quality: Constant rate factor of H.264, 0 to 51.
        gop: A key frame every so many frames.
        depth: Whether depth is stored too.
    """

    protocol: str
    protocol_fingerprint: str
    world: str
    turn: float
    step: float
    width: int
    height: int
    fps: int = 4
    quality: int = 18
    gop: int = 2
    depth: bool = False

    def __post_init__(self) -> None:
        if self.width % 2 or self.height % 2 or min(self.width, self.height) < 2:
            raise StoreError(
                f"frames of {self.width} x {self.height} pixels: H.264 needs even sides; choose other ones"
            )
        for name, least, most in (("fps", 1, 1000), ("quality", 0, 51), ("gop", 1, 600)):
            if not least <= getattr(self, name) <= most:
                raise StoreError(f"{name} is {getattr(self, name)}, expected {least} to {most}")

    @classmethod
    def of(
        cls, protocol: Protocol, world: str, *, fps: int = 4, quality: int = 18, gop: int = 2, depth: bool = False
    ) -> StoreAbout:
        """Describe walks under a protocol; its first RGB camera is the one that is stored.

        Raises:
            StoreError: If it has no RGB camera, or one with odd sides.
        """
        camera = next((camera for camera in protocol.cameras if camera.kind == "rgb"), None)
        if camera is None:
            raise StoreError(
                f"{protocol.label} has no RGB camera, so there is nothing to store; choose another protocol"
            )
        return cls(
            protocol=protocol.label,
            protocol_fingerprint=protocol.fingerprint,
            world=world,
            turn=to_degrees(protocol.body.turn),
            step=protocol.body.step,
            width=camera.width,
            height=camera.height,
            fps=fps,
            quality=quality,
            gop=gop,
            depth=depth,
        )

    @property
    def videos(self) -> tuple[str, ...]:
        """Keys of the videos that there are."""
        return (RGB, DEPTH) if self.depth else (RGB,)

    def differences(self, other: StoreAbout) -> list[str]:
        """Name what differs, as "fps 4, there 8"."""
        mine, theirs = asdict(self), asdict(other)
        return [f"{name} {mine[name]}, there {theirs[name]}" for name in mine if mine[name] != theirs[name]]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEpisode:
    """What is told of a walk besides what happened at each step.

    Attributes:
        episode_id: Whose instruction was followed.
        trajectory_id: Of the tour that the instruction describes.
        scene_id: Where.
        instruction: What the walk is now said to be.
        policy: Label of who walked.
        seed: Of the episode's random choices, in [0, 2**63).
        source: What it comes of: "tours", "ground", "free", "expert", ...
        success: Whether it ended where the protocol counts success.
        length: S, its actions; the store knows.
        index: Its number in the store; -1 while it is in none.
        round: Of the loop; None outside of one.
        weights: Digest of the weights that walked; None where there are none.
        why: Why it was kept; empty where nobody chose.
        original_instruction: What was followed, where `instruction` was written afterwards; None where that was followed.
        metrics: By name; those that are undefined are absent.
        extra: Further things to know of it.
        protocol: Label; the store knows.
        world: The store knows.
    """

    episode_id: str
    trajectory_id: str
    scene_id: str
    instruction: str
    policy: str
    seed: int
    source: str
    success: bool
    length: int = 0
    index: int = -1
    round: int | None = None
    weights: str | None = None
    why: str = ""
    original_instruction: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    extra: Mapping[str, str | float] = field(default_factory=dict)
    protocol: str = ""
    world: str = ""

    @property
    def key(self) -> str:
        """Name of the walk: that of the same episode, walker, seed, source and round, whatever came of it. 24 hex digits."""
        parts = (self.scene_id, self.episode_id, self.seed, self.policy, self.source, self.round)
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]

    @property
    def order(self) -> tuple[object, ...]:
        """What walks are sorted by before they are joined, so that equal walks are equal files whoever wrote them when."""
        number = re.sub(r"\d+", lambda digits: digits.group().zfill(20), self.episode_id)
        return (-1 if self.round is None else self.round, self.source, self.policy, number, self.key)

    @property
    def relabelled(self) -> bool:
        """Whether its instruction was written after it was walked."""
        return self.original_instruction is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One walk as it is written.

    Attributes:
        about: What is told of it.
        task: The episode that was walked, which says where it started and where it was to go.
        trajectory: What was done, S actions.
        expert_actions: int64 (S,), what the expert would have done.
        frames: What was seen when each action was chosen.

    Raises:
        ValueError: If they disagree.
    """

    about: StoredEpisode
    task: Episode
    trajectory: Trajectory
    expert_actions: NDArray[np.int64]
    frames: Frames

    def __post_init__(self) -> None:
        if fault := fault_of(self.about):
            raise StoreError(fault)
        steps, where = len(self.trajectory), f"walk of episode {self.about.episode_id}"
        if steps < 1:
            raise StoreError(f"{where}: has no actions, so there is nothing to store")
        if self.expert_actions.shape != (steps,):
            raise StoreError(f"{where}: expert_actions has shape {self.expert_actions.shape}, expected ({steps},)")
        rgb = self.frames.rgb
        if rgb.ndim != 4 or rgb.shape[0] != steps or rgb.shape[3] != 3 or rgb.dtype != np.uint8:
            raise StoreError(f"{where}: rgb is {rgb.dtype} {rgb.shape}, expected uint8 ({steps}, H, W, 3)")
        if (self.task.episode_id, self.task.scene_id) != (self.about.episode_id, self.about.scene_id):
            raise StoreError(f"{where}: task is episode {self.task.episode_id} in {self.task.scene_id}; give its own")

    @classmethod
    def of(
        cls, rollout: Rollout, *, policy: str, seed: int, source: str, metrics: Mapping[str, float], **told: Any
    ) -> Record:
        """Return the record of a rollout.

        Args:
            rollout: With an expert's word at every step, as `Rollouts.collect` gives it.
            policy: Label of who walked.
            seed: Of the episode's random choices.
            source: What it comes of.
            metrics: Of the walk.
            told: Further fields of `StoredEpisode`, such as round and weights.
        """
        episode, walk = rollout.episode, rollout.walk
        about = StoredEpisode(
            episode_id=episode.episode_id,
            trajectory_id=episode.trajectory_id,
            scene_id=episode.scene_id,
            instruction=told.pop("instruction", episode.instruction.text),
            policy=policy,
            seed=seed,
            source=source,
            success=walk.success,
            metrics=metrics,
            **told,
        )
        return cls(
            about=about,
            task=episode,
            trajectory=rollout.trajectory,
            expert_actions=walk.expert_actions,
            frames=rollout.frames,
        )


def to_degrees(radians: float) -> float:
    """Return degrees without the last digits, in which equal turns differ."""
    return round(math.degrees(radians), 9)


def walk_of(about: StoredEpisode, trajectory: Trajectory, expert_actions: NDArray[np.int64]) -> Walk:
    """Return a walk as imitation takes it."""
    return Walk(
        episode_id=about.episode_id,
        trajectory_id=about.trajectory_id,
        scene_id=about.scene_id,
        actions=trajectory.actions,
        expert_actions=expert_actions,
        sources=trajectory.action_source,
        distances=trajectory.distances_to_goal[:-1],
        success=about.success,
    )


_KNOWN_BY_THE_STORE = ("index", "protocol", "world", "metrics", "extra")


def told_to_json(about: StoredEpisode) -> dict[str, Any]:
    """Return what is told of a walk as strict JSON; the store's own knowledge is left out."""
    plain = {f.name: getattr(about, f.name) for f in fields(about) if f.name not in _KNOWN_BY_THE_STORE}
    return {**plain, "metrics": _finite(about.metrics), "extra": _finite(about.extra)}


def told_from_json(data: Mapping[str, Any], about: StoreAbout, index: int) -> StoredEpisode:
    """Read what `told_to_json` gave.

    Raises:
        TypeError: If a field is missing or unknown.
    """
    metrics = {name: float(value) for name, value in data["metrics"].items()}
    rest = {name: value for name, value in data.items() if name != "metrics"}
    return StoredEpisode(**rest, metrics=metrics, index=index, protocol=about.protocol, world=about.world)


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: as text it is read back by `float`."""
    return {
        name: repr(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }
