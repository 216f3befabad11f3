import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from navloop.encoders.masking import random_mask, running_cell_mask, selected_indices, tube_mask

GRIDS = st.tuples(st.integers(1, 8), st.integers(1, 16), st.integers(1, 16))
RATIOS = st.floats(0, 0.999)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@settings(max_examples=50)
@given(GRIDS, RATIOS, st.integers(1, 4), st.integers(0, 99))
def test_a_tube_mask_hides_the_same_patches_at_all_times(grid, ratio, batch, seed):
    t, h, w = grid
    slots = tube_mask(grid, ratio, batch, seeded(seed)).view(batch, t, h * w)
    assert (slots.sum(2) == math.floor(ratio * h * w)).all()
    assert (slots == slots[:, :1]).all()


def test_the_published_tube_mask_leaves_160_tokens():
    hidden = tube_mask((8, 14, 14), 0.9, 3, seeded())
    assert (~hidden).sum(1).tolist() == [160, 160, 160]


@settings(max_examples=50)
@given(GRIDS, RATIOS, st.integers(1, 4), st.integers(0, 99))
def test_a_random_mask_hides_a_share_of_all_tokens(grid, ratio, batch, seed):
    hidden = random_mask(grid, ratio, batch, seeded(seed))
    assert hidden.shape == (batch, math.prod(grid))
    assert (hidden.sum(1) == math.floor(ratio * math.prod(grid))).all()


def test_every_patch_is_as_likely_to_be_hidden():
    share = tube_mask((1, 4, 4), 0.75, 4000, seeded()).float().mean(0)
    assert (share - 0.75).abs().max() < 0.03  # four standard deviations
    assert tube_mask((1, 4, 4), 0.75, 4000, seeded()).unique(dim=0).shape[0] > 1500  # of 1820


@pytest.mark.parametrize("draw", [tube_mask, random_mask, running_cell_mask])
def test_masks_come_from_their_generator_alone(draw):
    before = torch.get_rng_state()
    mask = draw((8, 6, 6), 0.5, 64, seeded(3))
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(5)
    assert torch.equal(mask, draw((8, 6, 6), 0.5, 64, seeded(3)))
    assert not torch.equal(mask, draw((8, 6, 6), 0.5, 64, seeded(4)))
    assert len(mask.unique(dim=0)) > 3  # clips are drawn apart


@pytest.mark.parametrize("num_hidden", [1, 2, 3])
def test_a_running_cell_turns_by_one_token_a_slot(num_hidden):
    masks = running_cell_mask((9, 6, 8), num_hidden / 4, 40, seeded()).view(40, 9, 6, 8).numpy()
    queue = np.arange(4) < num_hidden
    starts = set()
    for mask in masks:
        turns = [start for start in range(4) if (np.roll(queue, -start).reshape(2, 2) == mask[0, :2, :2]).all()]
        starts.update(turns)
        for slot, cells in enumerate(mask):
            cell = np.roll(queue, -(turns[0] + slot)).reshape(2, 2)
            np.testing.assert_array_equal(cells, np.tile(cell, (3, 4)))
    assert starts == {0, 1, 2, 3}


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
def test_running_cells_predict_a_tube_s_hidden_tokens_equally_often(ratio):
    grid = (8, 14, 14)
    hidden = tube_mask(grid, 0.9, 16, seeded())
    predicted = ~running_cell_mask(grid, ratio, 16, seeded(1)) & hidden
    assert (predicted.sum(1) == 8 * 176 * (1 - ratio)).all()
    assert torch.equal(predicted.view(16, 8, -1).any(1), hidden.view(16, 8, -1).any(1))


@pytest.mark.parametrize("ratio", [1.0, -0.1, 1.5, float("nan")])
@pytest.mark.parametrize("draw", [tube_mask, random_mask])
def test_ratios_out_of_range_are_refused(draw, ratio):
    with pytest.raises(ValueError, match=re.escape(f"{ratio}")):
        draw((2, 14, 14), ratio, 1, seeded())


@pytest.mark.parametrize("ratio", [0, 0.3, 1])
def test_a_cell_is_not_divided_further(ratio):
    with pytest.raises(ValueError, match=r"0\.25, 0\.5 or 0\.75"):
        running_cell_mask((2, 4, 4), ratio, 1, seeded())


def test_cells_tile_the_grid():
    with pytest.raises(ValueError, match="7 x 4"):
        running_cell_mask((2, 7, 4), 0.5, 1, seeded())


@settings(max_examples=30)
@given(st.integers(1, 5), st.integers(1, 30), st.integers(0, 99))
def test_indices_are_where_the_mask_is_true(batch, num_tokens, seed):
    hidden = random_mask((1, 1, num_tokens), 0.6, batch, seeded(seed))
    rows = [[n for n in range(num_tokens) if not row[n]] for row in hidden.tolist()]
    assert selected_indices(~hidden).tolist() == rows


def test_clips_that_select_different_numbers_are_refused():
    with pytest.raises(ValueError, match="1 to 3 tokens"):
        selected_indices(torch.tensor([[True, True, True, False], [True, False, False, False]]))


def test_selecting_nothing_is_refused():
    with pytest.raises(ValueError, match="no token"):
        selected_indices(torch.zeros(2, 4, dtype=torch.bool))
