import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers.models.videomae.modeling_videomae import get_sinusoid_encoding_table

from navloop.encoders.positions import create_positions, resample, sinusoid


@pytest.mark.parametrize(("num_positions", "width"), [(1568, 384), (392, 768), (7, 10)])
def test_the_sinusoid_is_that_of_transformers(num_positions, width):
    theirs = get_sinusoid_encoding_table(num_positions, width)[0]
    torch.testing.assert_close(sinusoid(num_positions, width), theirs, atol=1e-7, rtol=0)


def test_the_sinusoid_counts_through_the_flattened_grid():
    table = sinusoid(8 * 14 * 14, 64).view(8, 14, 14, 64)
    index = (5 * 14 + 3) * 14 + 11
    expected = [np.sin(index), np.cos(index), np.sin(index / 10000 ** (2 / 64)), np.cos(index / 10000 ** (2 / 64))]
    torch.testing.assert_close(table[5, 3, 11, :4], torch.tensor(expected, dtype=torch.float32), atol=1e-6, rtol=0)


def linear_in_time(slots, num):
    """Interpolate (t, ...) to (num, ...) at the centres of equal parts, holding the ends."""
    t = len(slots)
    centre = np.clip((np.arange(num) + 0.5) * t / num - 0.5, 0, t - 1)
    before = np.floor(centre).astype(int)
    share = (centre - before).reshape(-1, *[1] * (slots.ndim - 1))
    return slots[before] * (1 - share) + slots[np.minimum(before + 1, t - 1)] * share


@pytest.mark.parametrize("target", [(16, 24, 24), (8, 20, 20), (4, 14, 14), (3, 9, 11)])
def test_other_grids_are_resampled_in_space_and_then_in_time(target):
    width = 12
    table = sinusoid(8 * 14 * 14, width).view(8, 14, 14, width)
    slots = []
    for slot in table:
        images = [
            F.interpolate(slot[None, None, :, :, d], target[1:], mode="bicubic", align_corners=False)[0, 0]
            for d in range(width)
        ]
        slots.append(torch.stack(images, -1).numpy())
    expected = linear_in_time(np.stack(slots).astype(np.float64), target[0]).reshape(-1, width)
    resampled = create_positions(target, (8, 14, 14), width)
    np.testing.assert_allclose(resampled.numpy(), expected, atol=2e-6)


def test_a_resampled_table_is_not_a_fresh_one():
    fresh = create_positions((16, 24, 24), None, 64)
    torch.testing.assert_close(fresh, sinusoid(16 * 24 * 24, 64), atol=0, rtol=0)
    assert (create_positions((16, 24, 24), (8, 14, 14), 64) - fresh).abs().mean() > 0.3


def test_the_grid_of_the_table_keeps_it_as_it_is():
    assert torch.equal(create_positions((8, 14, 14), (8, 14, 14), 16), sinusoid(1568, 16))


def test_what_is_constant_stays_constant():
    table = torch.full((8 * 14 * 14, 3), 0.7)
    torch.testing.assert_close(resample(table, (8, 14, 14), (5, 17, 3)), torch.full((5 * 17 * 3, 3), 0.7))
