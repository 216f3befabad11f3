"""Dropout and drop path: the numbers of torch and timm on one process, and on several the rows of one."""

from __future__ import annotations

import pytest
import timm.layers.drop
import torch
from torch import distributed, nn

from navloop.encoders import drops

X = torch.arange(1.0, 97.0).reshape(8, 3, 4)


def drawn(module: nn.Module, x: torch.Tensor, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    return module(x)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 1.0])
def test_on_one_process_they_are_torchs_and_timms(share: float) -> None:
    for own, theirs in (
        (drops.Dropout(share), nn.Dropout(share)),
        (drops.DropPath(share), timm.layers.drop.DropPath(share)),
    ):
        assert torch.equal(drawn(own, X), drawn(theirs, X))
        assert torch.equal(own.eval()(X), X)


def test_each_of_several_processes_has_its_rows_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (drops.Dropout(0.5), drops.DropPath(0.5)):
        whole = drawn(module, X)
        monkeypatch.setattr(drops, "joined", lambda: True)
        monkeypatch.setattr(distributed, "get_world_size", lambda: 4)
        parts = []
        for rank, rows in enumerate(X.chunk(4)):
            monkeypatch.setattr(distributed, "get_rank", lambda rank=rank: rank)
            parts.append(drawn(module, rows))
        assert torch.equal(torch.cat(parts), whole) and whole.ne(X).any()
        monkeypatch.undo()
