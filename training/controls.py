"""Controls: what an agent is worth that is told of another walk, or sees nothing (`navloop.configs.entries.CONTROLS`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from navloop.envs.navigation import NavigationEnv, Observation
from navloop.records import Episode, Instruction
from navloop.training.rollout import episode_seed


def shuffle_instructions(episodes: Sequence[Episode], seed: int) -> dict[str, Instruction]:
    """Return for each episode, by its id, the instruction of another walk, in the same language and other words.

    It is drawn with the seed and the episode's id from all that there are, so that neither their order nor how many of them are walked
    changes it.

    Raises:
        ValueError: If an episode has no other to draw from, naming it.
    """
    ordered = sorted(episodes, key=lambda episode: episode.episode_id)
    drawn = {}
    for episode in ordered:
        rng = np.random.default_rng(episode_seed(seed, f"shuffled:{episode.episode_id}"))
        for number in rng.permutation(len(ordered)).tolist():
            if _may_stand_in(ordered[number], episode):
                drawn[episode.episode_id] = ordered[number].instruction
                break
        else:
            raise ValueError(
                f"episode {episode.episode_id}: none of the other {len(ordered) - 1} describes another walk in its language, so "
                "instructions cannot be shuffled; take a larger episode file"
            )
    return drawn


def _may_stand_in(other: Episode, episode: Episode) -> bool:
    ours, theirs = episode.instruction, other.instruction
    same_walk = other.tour == episode.tour
    return not same_walk and theirs.language == ours.language and theirs.text != ours.text


class BlankEnv(NavigationEnv):
    """The environment of an agent with its eyes shut: nothing is drawn, every frame is zeros."""

    def observe(self) -> Observation:
        """Return black frames and the instruction."""
        spaces = self.observation_space
        self._frames = {
            camera.name: np.zeros(spaces[camera.name].shape or (), spaces[camera.name].dtype)  # type: ignore[index]
            for camera in self.protocol.cameras
        }
        return {**self._frames, "instruction": self.episode.instruction.text}
