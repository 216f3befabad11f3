"""What moves the weights: parameter groups, optimiser, and the learning rate of each step."""

from __future__ import annotations

from timm.optim import param_groups_layer_decay, param_groups_weight_decay  # type: ignore[attr-defined]
from timm.scheduler.cosine_lr import CosineLRScheduler
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from navloop.configs.engine import EngineConfig
from navloop.training.stages.stage import Stage


def create_optimizer(stage: Stage, config: EngineConfig) -> AdamW:
    """Return AdamW over what of a stage is to be trained.

    Parameters of one dimension and `stage.undecayed()` have no weight decay. With layer decay, a parameter of layer i of
    0 to L + 1 has the learning rate times decay ** (L + 1 - i), kept as "lr_scale" of its group.

    Raises:
        ValueError: If every parameter is frozen.

    Source: InternVideo1/Pretrain/VideoMAE/optim_factory.py; Bao et al., BEiT, ICLR 2022.
    """
    undecayed = stage.undecayed()
    if config.layer_decay is None:
        groups = param_groups_weight_decay(stage, config.weight_decay, no_weight_decay_list=undecayed)
    else:
        groups = param_groups_layer_decay(
            stage, config.weight_decay, no_weight_decay_list=undecayed, layer_decay=config.layer_decay
        )
    if not groups:
        raise ValueError(f"{type(stage).__name__} has no parameter to train: all are frozen")
    return AdamW(groups, lr=config.lr * config.lr_factor, betas=config.betas, eps=config.eps)


def create_schedule(optimizer: Optimizer, steps: int, warmup: float, min_lr: float) -> CosineLRScheduler:
    """Return the schedule whose `step_update(step)` sets the learning rate of that step, counted from 0.

    It rises from 0 to the optimiser's in a straight line, then falls along half a cosine. It has no memory.

    Args:
        optimizer: Whose groups' "lr_scale" multiplies what it sets.
        steps: Of the whole run.
        warmup: Share of the steps in which it rises.
        min_lr: Where it ends.

    Source: InternVideo1/Pretrain/VideoMAE/utils.py, cosine_scheduler; Loshchilov and Hutter, SGDR, ICLR 2017;
    differs in: the highest rate is that of one step, not of two.
    """
    rising = round(warmup * steps)
    return CosineLRScheduler(
        optimizer,
        t_initial=max(1, steps - rising),
        lr_min=min_lr,
        warmup_t=rising,
        warmup_prefix=True,
        t_in_epochs=False,
    )


def learning_rates(config: EngineConfig, steps: int, at: list[int]) -> list[float]:
    """Return the learning rates of some steps, before layer decay."""
    optimizer = SGD([nn.Parameter()], lr=config.lr * config.lr_factor)
    schedule = create_schedule(optimizer, steps, config.warmup, config.min_lr * config.lr_factor)
    rates = []
    for step in at:
        schedule.step_update(step)
        rates.append(float(optimizer.param_groups[0]["lr"]))
    return rates
