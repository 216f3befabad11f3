"""How a run is divided: steps, each process's share of them, the endless row of batches, and what each step draws from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from navloop.configs.engine import EngineConfig
from navloop.training.stages.stage import Share, Stage

if TYPE_CHECKING:
    from navloop.training.clips import ClipBatch


def draw_seed(*numbers: int) -> int:
    """Return a seed for torch that follows from some numbers, unrelated to that of any others."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def split(config: EngineConfig, world: int, rank: int = 0) -> Share:
    """Return a process's share of each part of a step's batch.

    Raises:
        ValueError: If the batch does not divide.
    """
    parts = world * config.accumulate
    if config.batch % parts:
        raise ValueError(
            f"engine.batch {config.batch} does not divide among {world} processes x {config.accumulate} parts "
            f"(accumulate); take a multiple of {parts}"
        )
    return Share(config.batch // parts, rank, world)


def count_steps(stage: Stage, config: EngineConfig) -> int:
    """Return the optimiser steps of a run; the stage knows its share.

    Raises:
        ValueError: If the data has less than one batch.
    """
    batches = stage.clips_per_epoch() // stage.share.total
    if not batches:
        raise ValueError(
            f"the data has {stage.clips_per_epoch()} clips, fewer than one batch of {stage.share.total}; "
            "take a smaller engine.batch or more videos"
        )
    if config.steps is not None:
        return config.steps
    assert config.epochs is not None
    return max(1, round(config.epochs * batches) // config.accumulate)


class Batches:
    """A stage's batches without end, epoch after epoch.

    Attributes:
        epoch: Which one.
        clips: How many clips of it have been taken, over all processes.
    """

    def __init__(self, stage: Stage, epoch: int = 0, clips: int = 0) -> None:
        self.epoch, self.clips = epoch, clips
        self._batches = self._run(stage)

    def __next__(self) -> ClipBatch:
        """Return the next one.

        Raises:
            ValueError: If a whole epoch has none.
        """
        return next(self._batches)

    def _run(self, stage: Stage) -> Iterator[ClipBatch]:
        while True:
            first = self.clips
            for batch in stage.loader(self.epoch, first // stage.share.total):
                self.clips += stage.share.total
                yield batch
            if self.clips == first == 0:
                raise ValueError(f"epoch {self.epoch} has no batch of {stage.share.total} clips")
            self.epoch, self.clips = self.epoch + 1, 0
