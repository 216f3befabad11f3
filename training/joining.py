"""How the processes that a launcher started find each other, before any of them trains."""

from __future__ import annotations

import os

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env


def join_processes() -> PartialState:
    """Return this process's place among those that `torchrun` or `accelerate launch` started: by NCCL on GPUs, gloo on processors.

    The first call joins them; the processes are torn apart when they end.

    Raises:
        ValueError: If weights in shards (FSDP) are asked of processors, which accelerate would silently not do, or a process that is
            one of several would train alone.
    """
    on_processors = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    if on_processors and parse_flag_from_env("ACCELERATE_USE_FSDP"):
        raise ValueError("weights in shards (--use_fsdp) need GPUs; on processors start `torchrun --nproc_per_node N`")
    state = PartialState(cpu=on_processors)  # accelerate joins processes by gloo only where it is told of no GPU
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if launched != state.num_processes:
        raise ValueError(
            f"this is one of {launched} processes (WORLD_SIZE), but {state.num_processes} found each other: begin them with a launcher "
            "(docs/training.md), let nothing make an Accelerator before training does, or unset WORLD_SIZE"
        )
    return state
