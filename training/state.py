"""What training changes, and how it is kept: weights, optimiser, moving average, loss scale; on one device or in shards."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from accelerate import Accelerator, DistributedType
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.optim import Optimizer

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
from navloop.training.schedules import create_optimizer
from navloop.training.shards import prepare_for_shards, reshape_numbers
from navloop.training.stages.stage import Stage

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


@runtime_checkable
class Tempered(Protocol):
    """A module whose learned temperature has a range that steps may leave."""

    def clamp_temperature(self) -> None:
        """Put it back."""
        ...


class TrainingState:
    """A stage in training.

    Args:
        stage: What is trained; it moves to the process's device.
        config: How.
        accelerator: What spreads it over processes.

    Attributes:
        model: The stage, as processes share it; calling it is what spreads its gradients.
        optimizer: Takes a step when the last part of a batch is in.
        groups: The optimiser's parameters, with the learning rate of each group.
        ema: Moving average of the weights, or None.

    Raises:
        ValueError: If all is frozen, or weights in shards are asked for that cannot be.
    """

    def __init__(self, stage: Stage, config: EngineConfig, accelerator: Accelerator) -> None:
        self.stage, self._accelerator, self._config = stage, accelerator, config
        self._tempered = [module for module in stage.modules() if isinstance(module, Tempered)]
        self._clamp()  # before anything copies the weights that training begins with
        self._shell = deepcopy(stage).to("meta")  # takes whole tensors where the stage itself may hold parts of them
        in_shards = accelerator.distributed_type == DistributedType.FSDP
        self._numbers = prepare_for_shards(stage, config) if in_shards else frozenset[str]()
        stage.to(accelerator.device)
        self.inner: Optimizer = create_optimizer(stage, config)
        self.ema = None if config.ema is None else ModelEmaV3(stage, config.ema)
        self.model, self.optimizer = accelerator.prepare(stage, self.inner)

    @property
    def kept(self) -> nn.Module:
        """The weights that outlive training: the average, if there is one."""
        return self.model if self.ema is None else self.ema.module  # type: ignore[no-any-return]

    def settle(self) -> None:
        """Take up a step's weights: back into their ranges, as they are saved, and into the average."""
        self._clamp()
        if self.ema is not None:
            self.ema.update(self.stage)

    def finish(self) -> None:
        """Leave the stage with the weights that are kept."""
        if self.ema is not None:
            self.stage.load_state_dict(self.ema.module.state_dict())

    def save(self, folder: Path, step: int, place: Mapping[str, int]) -> None:
        """Write a checkpoint. All processes call this; the first one writes.

        Args:
            folder: Of the run.
            step: Steps done.
            place: Numbers to find again on `restore`.

        Raises:
            OSError: If it cannot be written; earlier checkpoints are as before.
        """
        model = get_model_state_dict(self.model, options=_WHOLE)
        optimizer = get_optimizer_state_dict(self.model, self.inner, options=_WHOLE)
        if self._accelerator.is_main_process:  # to whom alone whole tensors come
            reshape_numbers(self._numbers, model, optimizer, ())
            scaler = self._accelerator.scaler
            scale = None if scaler is None else scaler.state_dict()
            with new_checkpoint(folder, step, self._config.keep) as aside:
                self._write_weights(aside, model)
                write_state(aside, {"step": step, "place": dict(place), "optimizer": optimizer, "scaler": scale})
        self._accelerator.wait_for_everyone()

    def restore(self, folder: Path) -> tuple[int, dict[str, int]]:
        """Take up the newest checkpoint; return the steps done and the place it was saved with: 0 and none, if there is none.

        Raises:
            CheckpointError: If it is damaged, of another model, or not finite.
        """
        if self._accelerator.is_main_process:
            remove_unfinished(folder)
        found = list_checkpoints(folder)
        if not found:
            return 0, {}
        checkpoint = found[-1]
        checkpoint.check()
        state, tensors = checkpoint.state(), checkpoint.tensors("model")
        self._check_fits(checkpoint, tensors)
        reshape_numbers(self._numbers, tensors, state["optimizer"], (1,))
        set_model_state_dict(self.model, dict(tensors), options=_WHOLE)
        set_optimizer_state_dict(self.model, self.inner, state["optimizer"], options=_WHOLE)
        if self.ema is not None:
            self.ema.module.load_state_dict(checkpoint.tensors("ema"))
        if self._accelerator.scaler is not None and state["scaler"] is not None:
            self._accelerator.scaler.load_state_dict(state["scaler"])
        return checkpoint.step, state["place"]

    def _clamp(self) -> None:
        for module in self._tempered:
            module.clamp_temperature()

    def _write_weights(self, aside: Path, model: Mapping[str, Any]) -> None:
        write_tensors(aside, "model", model)
        if self.ema is not None:
            model = self.ema.module.state_dict()
            write_tensors(aside, "ema", model)
        self._shell.load_state_dict(model, assign=True)
        self._shell.save(aside)
        self._shell.to("meta")

    def _check_fits(self, checkpoint: Checkpoint, tensors: Mapping[str, Tensor]) -> None:
        own = {name: tuple(tensor.shape) for name, tensor in self._shell.state_dict().items()}
        theirs = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        wrong = sorted(name for name, _ in own.items() ^ theirs.items())
        if wrong:
            raise CheckpointError(
                f"{checkpoint.folder}: is of another model, which {wrong[0]} shows: "
                f"{theirs.get(wrong[0], 'absent')} there, {own.get(wrong[0], 'absent')} here; choose another folder"
            )
