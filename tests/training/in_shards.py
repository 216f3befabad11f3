"""The training of `named_clips`, its weights in shards: what accelerate does on GPUs, by its own code, over gloo.

accelerate offers shards to GPUs alone; nothing in them needs one. So the plugin is given to an Accelerator that has already joined.
"""

from pathlib import Path

from accelerate import Accelerator, DistributedType
from accelerate.utils import FullyShardedDataParallelPlugin
from named_clips import train_named
from torch.distributed.tensor import DTensor

from navloop.configs.pretraining import PretrainConfig
from navloop.training import engine
from navloop.training.state import TrainingState

make_accelerator = engine._accelerator


def sharded_accelerator(config, leaves_unused) -> Accelerator:
    accelerator = make_accelerator(config, leaves_unused)
    accelerator.state.distributed_type = DistributedType.FSDP
    accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=["Block"],
        cpu_ram_efficient_loading=True,  # as its command has it by default
    )
    return accelerator


class Sharded(TrainingState):
    """Says whether it is."""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        print(f"in shards: {all(isinstance(weight, DTensor) for weight in self.model.parameters())}")


def train_sharded(folder: Path, recipes: dict[str, PretrainConfig]) -> None:
    """Train in a process begun for it, whose engine this changes."""
    engine._accelerator, engine.TrainingState = sharded_accelerator, Sharded
    train_named(folder, recipes)
