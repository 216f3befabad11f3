"""What a training run would take, before it is begun: parameters, memory, steps, learning rates."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Protocol, runtime_checkable
from weakref import WeakSet

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from navloop.configs.engine import EngineConfig
from navloop.training.schedules import learning_rates
from navloop.training.stages.stage import Feed, Share, Stage
from navloop.training.steps import count_steps, split

_STEPS_SHOWN = 5
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.bfloat16}  # of the same size, and known to every processor
_FLOAT = 4  # bytes


@runtime_checkable
class Pairing(Protocol):
    """A stage that looks at pairs of a batch's clips, of which there are as many as their square."""

    def pair_bytes(self, clips: int) -> int:
        """Return the bytes that so many clips of a process keep of pairs for the backward pass."""
        ...


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that one process needs, without what the allocator and the libraries take for themselves."""

    weights: int
    gradients: int
    optimizer: int
    average: int
    activations: int
    """Kept for the backward pass of a process's part of a batch."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.weights + self.gradients + self.optimizer + self.average + self.activations


def estimate_memory(stage: Stage, config: EngineConfig) -> Memory:
    """Return what training needs on each device without sharding; activations are measured on two clips of the data."""
    weights = sum(parameter.numel() * _FLOAT for parameter in stage.parameters())
    trained = sum(parameter.numel() * _FLOAT for parameter in stage.parameters() if parameter.requires_grad)
    average = 0 if config.ema is None else weights
    stage.share = split(config, 1)
    clips = {name: feed.share.clips for name, feed in stage.feeds().items()}
    activations = max(_activations(stage, config, name, count) for name, count in clips.items())
    stage.share = split(config, 1)
    return Memory(weights, trained, 2 * trained, average, activations)


def print_plan(stage: Stage, config: EngineConfig, console: Console) -> None:
    """Print what training a stage would take."""
    stage.share = split(config, 1)
    steps = count_steps(stage, config)
    console.print(_parameters(stage))
    console.print(_memory(estimate_memory(stage, config)))
    taken = Counter(stage.feed_of(step) for step in range(1, steps + 1))
    words = [_words(name, taken[name], feed, config) for name, feed in stage.feeds().items()]
    console.print(f"{'; '.join(words)}, {config.precision}, learning rate x {config.lr_factor:.4g}", highlight=False)
    if config.ema is not None:
        console.print(
            f"of the average that is kept, {config.ema**steps:.1%} are the weights it began with", highlight=False
        )
    console.print(_schedule(config, steps))


def _words(name: str, steps: int, feed: Feed, config: EngineConfig) -> str:
    batch = feed.share.total * config.accumulate
    return (
        f"{steps:,} steps of {batch} {name} ({config.accumulate} x {feed.share.clips} on one process), "
        f"{steps * batch / feed.clips_per_epoch:.4g} epochs of {feed.clips_per_epoch:,} {name}"
    )


def _parameters(stage: Stage) -> Table:
    table = Table("part", title="parameters", title_justify="left")
    for column in ("all", "trained"):
        table.add_column(column, justify="right")
    parts: dict[str, nn.Module] = {**stage.parts(), "whole stage": stage}
    for name, part in parts.items():
        table.add_row(name, *(f"{_count(part, trained):,}" for trained in (False, True)))
    return table


def _count(part: nn.Module, trained: bool) -> int:
    return sum(parameter.numel() for parameter in part.parameters() if parameter.requires_grad or not trained)


def _memory(memory: Memory) -> Table:
    table = Table("what", title="memory, about", title_justify="left")
    table.add_column("MiB", justify="right")
    for name in (*Memory.__dataclass_fields__, "total"):
        table.add_row(name, f"{getattr(memory, name) / 2**20:,.1f}")
    return table


def _schedule(config: EngineConfig, steps: int) -> Table:
    warmup = round(config.warmup * steps)
    at = {0, warmup, *(round(share * (steps - 1) / (_STEPS_SHOWN - 1)) for share in range(_STEPS_SHOWN))}
    shown = sorted(step for step in at if step < steps)
    table = Table("step", title="learning rate", title_justify="left")
    table.add_column("lr", justify="right")
    for step, rate in zip(shown, learning_rates(config, steps, shown), strict=True):
        table.add_row(f"{step:,}{' (warm-up ends)' if step == warmup and warmup else ''}", f"{rate:.4g}")
    return table


def _activations(stage: Stage, config: EngineConfig, feed: str, clips: int) -> int:
    """Return the bytes that a forward pass of so many clips keeps for the backward pass, from those of few.

    What grows faster than the number of clips cannot be seen in few of them: the stage says it.
    """
    least = stage.clips_multiple
    one, two = (_kept(stage, config, feed, few * least) for few in (1, 2))  # low precision also keeps copies of weights
    pairs = stage.pair_bytes(clips) if isinstance(stage, Pairing) else 0
    return one + (clips - least) * (two - one) // least + pairs


def _kept(stage: Stage, config: EngineConfig, feed: str, clips: int) -> int:
    stage.share = Share(clips)
    own = {StorageWeakRef(parameter.untyped_storage()) for parameter in stage.parameters()}
    saved: WeakSet[_Saved] = WeakSet()

    def note(tensor: Tensor) -> _Saved:
        noted = _Saved(StorageWeakRef(tensor.untyped_storage()), tensor.untyped_storage().nbytes())
        saved.add(noted)
        return noted

    batch = next(iter(stage.feeds()[feed].load(Share(clips), 0, 0)))
    low = _AUTOCAST.get(config.precision)
    with (
        torch.random.fork_rng(),
        torch.autograd.graph.saved_tensors_hooks(note, lambda noted: noted),
        torch.autocast("cpu", dtype=low, enabled=low is not None),
    ):
        loss = stage.train().losses(batch, torch.Generator())["loss"]
    kept = {noted.storage: noted.size for noted in saved if noted.storage not in own}
    del loss
    return sum(kept.values())


@dataclass(frozen=True, eq=False)
class _Saved:
    """Stands in the graph for a tensor, which is let go as no backward pass comes; it lives as long as the tensor would."""

    storage: StorageWeakRef
    """Unlike an address, no other storage's, even when this one is gone."""
    size: int
