"""How a run is divided: steps, each process's share of them, the endless row of batches, and what each step draws from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count, islice
from typing import TYPE_CHECKING

import numpy as np
import torch

from navloop.configs.engine import EngineConfig
from navloop.training.stages.stage import CLIPS, Feed, Share, Stage

if TYPE_CHECKING:
    from navloop.training.clips import ClipBatch


class DivergedError(RuntimeError):
    """A loss or a held-out metric that is not a number; the message names the step, and what to change."""


def draw_seed(*numbers: int) -> int:
    """Return a seed for torch that follows from some numbers, unrelated to that of any others."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def check_precision(config: EngineConfig, device: torch.device) -> None:
    """Refuse a precision that a device does not train in.

    Raises:
        ValueError: If it is fp16 on a processor.
    """
    if config.precision == "fp16" and device.type == "cpu":
        raise ValueError("engine.precision is fp16, which needs a GPU; on a processor take bf16 or fp32")


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
        ValueError: If the data has less than one batch, or a part of one does not pair up.
    """
    if stage.share.clips % stage.clips_multiple:
        raise ValueError(
            f"engine.batch {config.batch} leaves {stage.share.clips} clips to each of {stage.share.world} processes x "
            f"{config.accumulate} parts (accumulate); this stage pairs clips (mix), so take a multiple of {stage.clips_multiple}"
        )
    for name, feed in stage.feeds().items():
        if feed.clips_per_epoch < feed.share.total:
            smaller = "engine.batch or more videos" if name == CLIPS else f"{name}.batch or more {name}"
            raise ValueError(
                f"the data has {feed.clips_per_epoch} {name}, fewer than one batch of {feed.share.total}; take a smaller {smaller}"
            )
    if config.steps is not None:
        return config.steps
    assert config.epochs is not None
    batches = stage.clips_per_epoch() // stage.share.total
    return _steps_until(stage, max(1, round(config.epochs * batches) // config.accumulate))


def _steps_until(stage: Stage, wanted: int) -> int:
    """Return how many steps there are up to the one that takes clips for the `wanted`-th time."""
    clips = (step for step in count(1) if stage.feed_of(step) == CLIPS)
    return next(islice(clips, wanted - 1, None))


class Batches:
    """A feed's batches without end, epoch after epoch.

    Attributes:
        epoch: Which one.
        clips: How many clips of it have been taken, over all processes.
    """

    def __init__(self, feed: Feed, epoch: int = 0, clips: int = 0) -> None:
        self.epoch, self.clips = epoch, clips
        self._batches = self._run(feed)

    def __next__(self) -> ClipBatch:
        """Return the next one.

        Raises:
            ValueError: If a whole epoch has none.
        """
        return next(self._batches)

    def _run(self, feed: Feed) -> Iterator[ClipBatch]:
        while True:
            first = self.clips
            for batch in feed.load(feed.share, self.epoch, first // feed.share.total):
                self.clips += feed.share.total
                yield batch
            if self.clips == first == 0:
                raise ValueError(f"epoch {self.epoch} has no batch of {feed.share.total} clips")
            self.epoch, self.clips = self.epoch + 1, 0


class Supply:
    """The batches of all feeds of a stage, each from where it was left.

    Args:
        stage: Says which step takes from which feed.
        place: What `place` was at the last checkpoint; nothing at the beginning.
    """

    def __init__(self, stage: Stage, place: Mapping[str, int]) -> None:
        self._stage = stage
        self._batches = {
            name: Batches(feed, place.get(_key(name, "epoch"), 0), place.get(_key(name, "clips"), 0))
            for name, feed in stage.feeds().items()
        }

    def take(self, step: int) -> ClipBatch:
        """Return the next batch of the feed of a step."""
        return next(self._batches[self._stage.feed_of(step)])

    @property
    def epoch(self) -> float:
        """Passes over the clips so far."""
        clips = self._batches[CLIPS]
        return clips.epoch + clips.clips / self._stage.clips_per_epoch()

    @property
    def place(self) -> dict[str, int]:
        """Where each feed is."""
        return {
            _key(name, what): number
            for name, feed in self._batches.items()
            for what, number in (("epoch", feed.epoch), ("clips", feed.clips))
        }


def _key(feed: str, what: str) -> str:
    return what if feed == CLIPS else f"{feed}_{what}"
