"""The loop that trains every stage, on one process or many (`accelerate launch`), and goes on where it was stopped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, gather_object
from rich.console import Console
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from navloop.configs.engine import EngineConfig
from navloop.training.checkpoints import (
    Checkpoint,
    CheckpointError,
    list_checkpoints,
    new_checkpoint,
    remove_unfinished,
    write_state,
    write_tensors,
)
from navloop.training.metrics import MetricsLog, TrainingProgress
from navloop.training.schedules import create_optimizer, create_schedule
from navloop.training.stages.stage import Share, Stage

if TYPE_CHECKING:
    from navloop.training.clips import ClipBatch

_HELD_OUT = 2**32 - 1  # a step that no run reaches: masks of held-out clips are drawn as if in it
_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


class DivergedError(RuntimeError):
    """A loss that is not a number; the message names the step, and the clips it came from."""


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What a run came to."""

    folder: Path
    """Of the run; `folder / "last"` is the newest checkpoint."""
    steps: int
    """Optimiser steps done, those of earlier starts included."""
    resumed: int
    """Steps that earlier starts had done."""
    metrics: dict[str, float]
    """The last of each metric; empty if there was nothing left to do."""
    clips_per_s: float
    """Clips a second over all processes; 0 if there was nothing left to do."""


def train(stage: Stage, config: EngineConfig, folder: Path, console: Console | None = None) -> TrainReport:
    """Train a stage, or go on with what a folder holds of it.

    The folder gets metrics.jsonl, tensorboard/, and checkpoints step_N/ with model.safetensors, state.pt and what `stage.save`
    writes. All randomness follows from (seed, step), so that a resumed run takes the same steps as an uninterrupted one.

    Args:
        stage: What to train; it ends with the trained weights.
        config: How.
        folder: Of the run; only one run at a time may use it.
        console: Where the first process shows its progress; None shows nothing.

    Raises:
        DivergedError: If the loss is not finite; the last checkpoint is from before.
        CheckpointError: If the folder's newest checkpoint is damaged, or of another model.
        ValueError: If the batch does not divide among the processes, or the data has less than one batch.
        OSError: If something cannot be written.
    """
    accelerator = _accelerator(config, stage.leaves_unused)
    cuda = [accelerator.device] if accelerator.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(cuda):
            training = _Training(stage, config, folder, accelerator)
            return training.run(console if accelerator.is_main_process else None)
    finally:
        accelerator.free_memory()
        AcceleratorState._reset_state()  # or a second run could not choose another precision


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
        raise ValueError(f"the data has {stage.clips_per_epoch()} clips, fewer than one batch of {stage.share.total}")
    if config.steps is not None:
        return config.steps
    assert config.epochs is not None
    return max(1, round(config.epochs * batches) // config.accumulate)


class _Batches:
    """Batches without end, epoch after epoch, and where they are."""

    def __init__(self, stage: Stage, epoch: int, clips: int) -> None:
        self.epoch, self.clips = epoch, clips
        self._batches = self._run(stage)

    def __next__(self) -> ClipBatch:
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


class _Training:
    def __init__(self, stage: Stage, config: EngineConfig, folder: Path, accelerator: Accelerator) -> None:
        stage.share = split(config, accelerator.num_processes, accelerator.process_index)
        self.stage, self.config, self.folder, self.accelerator = stage, config, folder, accelerator
        self.steps = count_steps(stage, config)
        self.shell = deepcopy(stage).to("meta")  # takes whole tensors where the stage itself may hold parts of them
        stage.to(accelerator.device)
        optimizer = create_optimizer(stage, config)
        self.schedule = create_schedule(optimizer, config, self.steps)
        self.ema = None if config.ema is None else ModelEmaV3(stage, config.ema)
        self.raw_optimizer = optimizer
        self.model, self.optimizer = accelerator.prepare(stage, optimizer)
        self.start = self._restore()
        self.window: list[tuple[int, tuple[str, ...], dict[str, Tensor]]] = []

    def run(self, console: Console | None) -> TrainReport:
        """Take the steps that are left."""
        if self.start >= self.steps:
            return TrainReport(self.folder, self.start, self.start, {}, 0.0)
        log = MetricsLog(self.folder, self.start) if self.accelerator.is_main_process else None
        progress = TrainingProgress(console, self.steps, self.start)
        metrics: dict[str, float] = {}
        try:
            for done in range(self.start + 1, self.steps + 1):
                progress.advance(self._step(done))
                found = self._finish(done)
                metrics |= found
                if found and log is not None:
                    log.add({"step": done, **found})
                    log.add_rate(done, progress.clips_per_s)
                    progress.tell(found)
                if self._due(done, self.config.checkpoint_every):
                    self._save(done)
        finally:
            progress.close()
            if log is not None:
                log.close()
        if self.ema is not None:
            self.stage.load_state_dict(self.ema.module.state_dict())
        return TrainReport(self.folder, self.steps, self.start, metrics, progress.clips_per_s)

    def _due(self, done: int, every: int | None) -> bool:
        return done == self.steps or (every is not None and done % every == 0)

    def _step(self, done: int) -> int:
        """Take step number `done`, counted from 1; return how many clips it saw, over all processes."""
        step, rank = done - 1, self.stage.share.rank
        self.schedule.step_update(step)
        torch.manual_seed(draw_seed(self.config.seed, step, 1 + rank))  # dropout; `train` gives the old state back
        self.model.train()
        seen = 0
        generator = torch.Generator().manual_seed(draw_seed(self.config.seed, step))  # parts draw from it in turn
        for _ in range(self.config.accumulate):
            batch = next(self.batches)
            with self.accelerator.accumulate(self.model):
                losses = self.model(batch.to(self.accelerator.device), generator)
                self.accelerator.backward(losses["loss"])
                found = {name: value.detach().float() for name, value in losses.items()}
                if self.accelerator.sync_gradients and self.config.clip is not None:
                    norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.clip)
                    found["gradient_norm"] = norm.detach()
                self.optimizer.step()
                self.optimizer.zero_grad()
            self.window.append((done, batch.sources, found))
            seen += len(batch) * self.stage.share.world
        if self.ema is not None:
            self.ema.update(self.stage)
        return seen

    def _finish(self, done: int) -> dict[str, float]:
        """Return what there is to log after a step: nothing, most often."""
        metrics: dict[str, float] = {}
        if self._due(done, self.config.log_every) or self._due(done, self.config.checkpoint_every):
            epoch = self.batches.epoch + self.batches.clips / self.stage.clips_per_epoch()
            rate = max(group["lr"] for group in self.raw_optimizer.param_groups)
            metrics |= {"epoch": round(epoch, 6), "lr": rate, **self._means()}
        if self._due(done, self.config.evaluate_every):
            metrics |= {f"held_out_{name}": value for name, value in self._evaluate().items()}
        return metrics

    def _means(self) -> dict[str, float]:
        """Return the mean of each metric since the last time, over all processes.

        Raises:
            DivergedError: If a loss was not finite, in all processes alike.
        """
        window, self.window = self.window, []
        losses = self._over_processes(torch.stack([found["loss"] for _, _, found in window]))
        bad = [place for place, loss in enumerate(losses.tolist()) if not np.isfinite(loss)]
        if bad:
            step, sources, _ = window[bad[0]]
            clips = sorted(set(gather_object(list(sources))))
            listed = ", ".join(clips[:8]) + (f" and {len(clips) - 8} more" if len(clips) > 8 else "")
            raise DivergedError(
                f"step {step}: the loss is {losses[bad[0]].item()}, on {listed}; {self._way_back()} "
                "Try a lower engine.lr, engine.clip=1, or engine.precision=bf16"
            )
        metrics: dict[str, list[Tensor]] = {}
        for _, _, found in window:
            for name, value in found.items():
                metrics.setdefault(name, []).append(value)
        means = self._over_processes(torch.stack([torch.stack(values).mean() for values in metrics.values()]))
        return dict(zip(metrics, means.tolist(), strict=True))

    def _over_processes(self, values: Tensor) -> Tensor:
        return self.accelerator.reduce(values, "mean")  # type: ignore[no-any-return]

    def _way_back(self) -> str:
        found = list_checkpoints(self.folder)
        return f"{found[-1].folder} is from before." if found else "There is no checkpoint yet."

    @torch.no_grad()
    def _evaluate(self) -> dict[str, float]:
        """Return the mean of each metric over the held-out clips, of the weights that are kept."""
        model = self.model if self.ema is None else self.ema.module
        model.eval()
        sums: dict[str, Tensor] = {}
        count = 0
        for count, batch in enumerate(self.stage.held_out(), 1):
            generator = torch.Generator().manual_seed(draw_seed(self.config.seed, _HELD_OUT, count))
            for name, value in model(batch.to(self.accelerator.device), generator).items():
                sums[name] = sums.get(name, 0) + value.float()
        if not count:
            return {}
        means = self._over_processes(torch.stack([*sums.values()]) / count)
        return dict(zip(sums, means.tolist(), strict=True))

    def _save(self, done: int) -> None:
        model = get_model_state_dict(self.model, options=_WHOLE)
        optimizer = get_optimizer_state_dict(self.model, self.raw_optimizer, options=_WHOLE)
        if self.accelerator.is_main_process:
            with new_checkpoint(self.folder, done, self.config.keep) as aside:
                write_tensors(aside, "model", model)
                if self.ema is not None:
                    model = self.ema.module.state_dict()
                    write_tensors(aside, "ema", model)
                write_state(aside, {"step": done, "optimizer": optimizer, **self._place()})
                self.shell.load_state_dict(model, assign=True)
                self.shell.save(aside)
                self.shell.to("meta")
        self.accelerator.wait_for_everyone()

    def _place(self) -> dict[str, Any]:
        scaler = self.accelerator.scaler
        return {
            "seed": self.config.seed,
            "epoch": self.batches.epoch,
            "clips": self.batches.clips,
            "scaler": None if scaler is None else scaler.state_dict(),
        }

    def _restore(self) -> int:
        """Take up the newest checkpoint; return its step, 0 if there is none."""
        if self.accelerator.is_main_process:
            remove_unfinished(self.folder)
        found = list_checkpoints(self.folder)
        if not found:
            self.batches = _Batches(self.stage, 0, 0)
            return 0
        checkpoint = found[-1]
        checkpoint.check()
        state, tensors = checkpoint.state(), checkpoint.tensors("model")
        self._check_names(checkpoint, tensors)
        set_model_state_dict(self.model, tensors, options=_WHOLE)
        set_optimizer_state_dict(self.model, self.raw_optimizer, state["optimizer"], options=_WHOLE)
        if self.ema is not None:
            self.ema.module.load_state_dict(checkpoint.tensors("ema"))
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.batches = _Batches(self.stage, state["epoch"], state["clips"])
        return checkpoint.step

    def _check_names(self, checkpoint: Checkpoint, tensors: Mapping[str, Tensor]) -> None:
        own = self.stage.state_dict()
        wrong = sorted(own.keys() ^ tensors.keys())
        if wrong:
            raise CheckpointError(
                f"{checkpoint.folder}: is of another model: {', '.join(wrong[:4])} and so on are on one side alone; "
                "choose another folder"
            )


def _accelerator(config: EngineConfig, leaves_unused: bool) -> Accelerator:
    names = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
    try:
        return Accelerator(
            mixed_precision=names[config.precision],
            gradient_accumulation_steps=config.accumulate,
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=leaves_unused)],
        )
    except ValueError as error:
        raise ValueError(f"engine.precision is {config.precision}: {error}") from error
