"""The program of `named_clips`, its weights in shards: what accelerate does on GPUs, by its own code, over gloo.

torchrun --nproc_per_node 2 in_shards.py FOLDER FOLDER_OF_RECIPES

accelerate offers shards to GPUs alone; nothing in them needs one. So the plugin is given to an Accelerator that has already joined.
"""

import sys

import named_clips
from accelerate import Accelerator, DistributedType
from accelerate.utils import FullyShardedDataParallelPlugin
from torch.distributed.tensor import DTensor

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


if __name__ == "__main__":
    engine._accelerator, engine.TrainingState = sharded_accelerator, Sharded
    named_clips.main(*sys.argv[1:])
