"""The loop that trains every stage, on one process or many (`accelerate launch`), and goes on where it was stopped."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, gather_object
from rich.console import Console
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from navloop.configs.engine import EngineConfig
from navloop.training.checkpoints import list_checkpoints
from navloop.training.joining import join_processes
from navloop.training.metrics import MetricsLog, TrainingProgress
from navloop.training.schedules import create_schedule
from navloop.training.stages.stage import Stage
from navloop.training.state import TrainingState
from navloop.training.steps import DivergedError, Supply, check_precision, count_steps, draw_seed, split

_HELD_OUT = 2**32 - 1  # a step that no run reaches: masks of held-out clips are drawn as if in it


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
        DivergedError: If the loss or another metric, the gradient's norm among them, or what is measured on held-out clips, is not
            finite: nothing of it is written, and the last checkpoint is from before. Gradients that overflow float16 are no
            divergence: the step is skipped, with a lower loss scale the next, and "skipped_steps" tells the share of such steps.
        CheckpointError: If the folder's newest checkpoint is damaged, or of another model.
        ValueError: If the batch does not divide among the processes, or the data has less than one batch.
        OSError: If something cannot be written.
    """
    check_precision(config, join_processes().device)
    accelerator = _accelerator(config, stage.leaves_unused)
    cuda = [accelerator.device] if accelerator.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(cuda):
            training = _Training(stage, config, folder, accelerator)
            return training.run(console if accelerator.is_main_process else None)
    finally:
        accelerator.free_memory()
        AcceleratorState._reset_state()  # or a second run could not choose another precision


class _Training:
    """A run in progress. Steps are counted from 1: `done` of them are done after step number `done`."""

    def __init__(self, stage: Stage, config: EngineConfig, folder: Path, accelerator: Accelerator) -> None:
        stage.share = split(config, accelerator.num_processes, accelerator.process_index)
        self.stage, self.config, self.folder, self.accelerator = stage, config, folder, accelerator
        self.steps = count_steps(stage, config)
        self.state = TrainingState(stage, config, accelerator)
        self.schedule = create_schedule(self.state.inner, self.steps, config.warmup, config.min_lr * config.lr_factor)
        self.start, place = self.state.restore(folder)
        self.supply = Supply(stage, place)
        self.window: list[tuple[int, tuple[str, ...], dict[str, Tensor]]] = []  # step, clips, metrics; not yet logged

    def run(self, console: Console | None) -> TrainReport:
        """Take the steps that are left."""
        metrics: dict[str, float] = {}
        rate = 0.0
        if self.start < self.steps:
            log = MetricsLog(self.folder, self.start) if self.accelerator.is_main_process else None
            progress = TrainingProgress(console, self.steps, self.start)
            try:
                metrics = self._steps(log, progress)
            finally:
                progress.close()
                if log is not None:
                    log.close()
            rate = progress.clips_per_s
        self.state.finish()
        return TrainReport(self.folder, max(self.start, self.steps), self.start, metrics, rate)

    def _steps(self, log: MetricsLog | None, progress: TrainingProgress) -> dict[str, float]:
        last: dict[str, float] = {}
        for done in range(self.start + 1, self.steps + 1):
            progress.advance(self._step(done))
            found = self._measure(done)
            last |= found
            if found:
                progress.tell(found)
                if log is not None:
                    log.add(done, found, progress.clips_per_s)
            if self._due(done, self.config.checkpoint_every):
                self.state.save(self.folder, done, self.supply.place)
        return last

    def _due(self, done: int, every: int | None) -> bool:
        return done == self.steps or (every is not None and done % every == 0)

    def _step(self, done: int) -> int:
        """Take a step; return how many clips it saw, over all processes."""
        seed, model = self.config.seed, self.state.model
        self.schedule.step_update(done - 1)
        torch.manual_seed(draw_seed(seed, done, 1))  # dropout, for the clips of all; `train` puts the old state back
        generator = torch.Generator().manual_seed(draw_seed(seed, done))  # parts of the batch draw from it in turn
        model.train()
        clips = 0
        for _ in range(self.config.accumulate):
            batch = self.supply.take(done)
            with self.accelerator.accumulate(model):
                losses = model(batch.to(self.accelerator.device), generator)
                self.accelerator.backward(losses["loss"])
                found = {name: _whole(value.detach()).float() for name, value in losses.items()}
                if self.accelerator.sync_gradients:
                    found |= self._move(model)
                self.state.optimizer.zero_grad()
            self.window.append((done, batch.sources, found))
            clips += len(batch) * self.stage.share.world
        self.state.settle()
        return clips

    def _move(self, model: nn.Module) -> dict[str, Tensor]:
        """Take the optimiser's step; return the norm of the gradient it followed, and where float16 may overflow, whether it was skipped."""
        norm = None
        if self.config.clip is not None:
            norm = _whole(self.accelerator.clip_grad_norm_(model.parameters(), self.config.clip))
        self.state.optimizer.step()
        skipped = self.state.optimizer.step_was_skipped
        found = {} if norm is None or skipped else {"gradient_norm": norm}  # of an overflow it is infinite
        if self.accelerator.scaler is not None:
            found["skipped_steps"] = torch.tensor(float(skipped), device=self.accelerator.device)
        return found

    def _measure(self, done: int) -> dict[str, float]:
        """Return what there is to log after a step: nothing, most often."""
        metrics: dict[str, float] = {}
        if self._due(done, self.config.log_every) or self._due(done, self.config.checkpoint_every):
            rate = max(group["lr"] for group in self.state.inner.param_groups)
            metrics |= {"epoch": round(self.supply.epoch, 6), "lr": rate, **self._means()}
        if self._due(done, self.config.evaluate_every):
            metrics |= {f"held_out_{name}": value for name, value in self._evaluate(done).items()}
        return metrics

    def _means(self) -> dict[str, float]:
        """Return the mean of each metric since the last time, over all processes; no share of skipped steps where none was.

        Raises:
            DivergedError: If a loss, or the mean of another metric, was not finite, in all processes alike.
        """
        window, self.window = self.window, []
        losses = self._over_processes(torch.stack([found["loss"] for _, _, found in window])).tolist()
        for (step, sources, _), loss in zip(window, losses, strict=True):
            if not math.isfinite(loss):
                raise DivergedError(self._tell_divergence(step, loss, sources))
        metrics: dict[str, list[Tensor]] = {}
        for _, _, found in window:
            for name, value in found.items():
                metrics.setdefault(name, []).append(value)
        means = self._over_processes(torch.stack([torch.stack(values).mean() for values in metrics.values()]))
        told = dict(zip(metrics, means.tolist(), strict=True))
        self._refuse_infinite(f"up to step {window[-1][0]}", told)
        return {name: value for name, value in told.items() if value or name != "skipped_steps"}

    def _refuse_infinite(self, where: str, found: dict[str, float]) -> None:
        if broken := [f"{name} is {value}" for name, value in found.items() if not math.isfinite(value)]:
            raise DivergedError(f"{where}, {', '.join(broken)}. {self._tell_way_back()}")

    def _tell_divergence(self, step: int, loss: float, sources: tuple[str, ...]) -> str:
        clips = sorted(set(gather_object(list(sources))))
        listed = ", ".join(clips[:8]) + (f" and {len(clips) - 8} more" if len(clips) > 8 else "")
        return f"step {step}: the loss is {loss}, on {listed}. {self._tell_way_back()}"

    def _tell_way_back(self) -> str:
        saved = list_checkpoints(self.folder)
        back = f"{saved[-1].folder} is from before." if saved else "There is no checkpoint yet."
        return f"{back} Try a lower engine.lr, engine.clip=1, or engine.precision=bf16"

    @torch.no_grad()
    def _evaluate(self, done: int) -> dict[str, float]:
        """Return the mean of each metric over the held-out clips, of the weights that are kept.

        Raises:
            DivergedError: If one is not finite, in all processes alike.
        """
        model = self.state.kept.eval()
        metrics: dict[str, list[tuple[int, Tensor]]] = {}
        for number, batch in enumerate(self.stage.held_out()):
            generator = torch.Generator().manual_seed(draw_seed(self.config.seed, _HELD_OUT, number))
            with self.accelerator.autocast():  # which wraps what is trained, but not its average
                losses = model(batch.to(self.accelerator.device), generator)
            for name, value in losses.items():
                metrics.setdefault(name, []).append((len(batch), _whole(value).float()))
        if not metrics:
            return {}
        sums = [torch.stack([count * value for count, value in values]).sum() for values in metrics.values()]
        counts = [sum(count for count, _ in values) for values in metrics.values()]
        means = self._over_processes(torch.stack(sums) / torch.tensor(counts, device=self.accelerator.device))
        found = dict(zip(metrics, means.tolist(), strict=True))
        self._refuse_infinite(f"step {done}: on held-out clips", found)
        return found

    def _over_processes(self, values: Tensor) -> Tensor:
        return self.accelerator.reduce(values, "mean")  # type: ignore[no-any-return]


def _whole(value: Tensor) -> Tensor:
    """Return what a metric is over all processes, a number, where weights in shards made it one in shards, or a row of one."""
    return (value.full_tensor() if isinstance(value, DTensor) else value).reshape(())


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
