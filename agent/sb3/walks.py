"""Rollouts in whole walks, and batches of them as policies take them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.buffers import DictRolloutBuffer
from stable_baselines3.common.type_aliases import DictRolloutBufferSamples
from torch import Tensor

from navloop.agent.policies import Instructions, WalkBatch

Observed = Mapping[str, Tensor]
"""Observations of `PerceivingVecEnv`, or of a batch of `WalkRolloutBuffer`."""


class Segment(NamedTuple):
    """A walk in a rollout, or what its end left of it: steps [begin, end) of the environment at `place`."""

    place: int
    begin: int
    end: int


class WalkRolloutBuffer(DictRolloutBuffer):  # type: ignore[misc]
    """A rollout that is handed out in whole walks, padded to the longest of a batch.

    Observations of a batch: those of `PerceivingVecEnv` with axes (B, S, ...), but "words" (B, L), and "valid" bool (B, S); all else has one
    number for each valid step, walk after walk.

    Attributes:
        reference: Logits of a policy to stay near, float32 (steps, E, ACTIONS), or None; batches then have them as "reference".
    """

    reference: NDArray[np.float32] | None = None

    def segments(self) -> list[Segment]:
        """Return the walks of the rollout, environment by environment."""
        found = []
        for place in range(self.n_envs):
            begins = np.flatnonzero(self.episode_starts[:, place]).tolist()
            found += [Segment(place, a, b) for a, b in zip(begins, [*begins[1:], self.buffer_size], strict=True)]
        return found

    def get(self, batch_size: int | None = None) -> Iterator[DictRolloutBufferSamples]:
        """Yield all walks, in an order that torch's generator draws, in batches of about so many steps."""
        walks = self.segments()
        order = torch.randperm(len(walks)).tolist()
        ends = np.cumsum([walks[number].end - walks[number].begin for number in order])
        batches = (ends - 1) // (batch_size or ends[-1])
        for number in np.unique(batches):
            yield self.batch([walks[order[i]] for i in np.flatnonzero(batches == number)])

    def batch(self, walks: Sequence[Segment]) -> DictRolloutBufferSamples:
        """Return some walks side by side."""
        places, begins, ends = (np.array(column) for column in zip(*walks, strict=True))
        steps = begins[:, None] + np.arange((ends - begins).max())
        valid = steps < ends[:, None]
        index = np.minimum(steps, ends[:, None] - 1), np.broadcast_to(places[:, None], steps.shape)
        seen = {name: self.to_torch(self.observations[name][index]) for name in ("percepts", "previous")}
        seen |= {"words": self.to_torch(self.observations["words"][begins, places]), "valid": self.to_torch(valid)}
        if self.reference is not None:
            seen["reference"] = self.to_torch(self.reference[index])
        rows = index[0][valid], index[1][valid]
        flat = (self.actions, self.values, self.log_probs, self.advantages, self.returns)
        return DictRolloutBufferSamples(seen, *(self.to_torch(array[rows]) for array in flat))


def walk_batch(obs: Observed) -> WalkBatch:
    """Return the walks of a batch of `WalkRolloutBuffer` as policies take them."""
    return WalkBatch(obs["percepts"].float(), instructions_of(obs["words"]), obs["previous"], obs["valid"])


def instructions_of(words: Tensor) -> Instructions:
    """Return instructions (B, L), padded further than they need, as policies take them."""
    ids = words.long()
    used = (ids != 0).any(0).nonzero()  # 0 is a word of some towers, too
    return Instructions(ids[:, : int(used.max()) + 1 if len(used) else 0])
