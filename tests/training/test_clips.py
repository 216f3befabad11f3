"""The batch of clips: what fits together is taken, what does not is refused with its name."""

from dataclasses import replace

import pytest
import torch

from navloop.training.clips import ClipBatch


def batch(clips=3, frames=4):
    return ClipBatch(
        frames=torch.zeros(clips, frames, 8, 8, 3, dtype=torch.uint8),
        valid_frames=torch.ones(clips, frames, dtype=torch.bool),
        seconds=torch.zeros(clips, frames),
        rows=torch.arange(clips),
        sources=("a.mp4",) * clips,
        texts=("Turn left.",) * clips,
        labels=torch.arange(clips),
    )


def test_to_moves_every_tensor_and_keeps_the_rest():
    moved = batch().to("meta")
    assert {moved.frames.device.type, moved.seconds.device.type, moved.labels.device.type} == {"meta"}
    assert moved.texts == batch().texts and len(moved) == 3
    assert replace(batch(), labels=None, texts=None).to("meta").labels is None


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("frames", torch.zeros(3, 4, 8, 8, 3), r"frames are torch.float32 \(3, 4, 8, 8, 3\), not uint8"),
        ("frames", torch.zeros(3, 3, 4, 8, 8, dtype=torch.uint8), r"not uint8 \(B, T, H, W, 3\)"),
        ("rows", torch.arange(2), r"rows are \(2,\), not \(3,\)"),
        ("seconds", torch.zeros(3, 5), r"seconds are \(3, 5\), not \(3, 4\)"),
        ("texts", ("Turn left.",), "there are 1 texts for 3 clips"),
        ("labels", torch.arange(4), "there are 4 labels for 3 clips"),
        ("sources", (), "there are 0 sources for 3 clips"),
    ],
)
def test_what_does_not_fit_is_refused(field, value, message):
    with pytest.raises(ValueError, match=message):
        replace(batch(), **{field: value})
