"""Which frames make a clip: indices worked out by hand from the recipes of the reference, and what holds for any video."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from navloop.training.samplers import TRAINING, VIEWS, Clip, each_second

WANTED = Clip(frames=16, stride=4)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_dense_points_lie_evenly_on_the_closed_window():
    # 16 points from 0 to 64: 64 / 15 = 4.27 apart, rounded down, the last held inside the window.
    expected = [0, 4, 8, 12, 17, 21, 25, 29, 34, 38, 42, 46, 51, 55, 59, 63]
    start = TRAINING["dense"](300, WANTED, rng())[0]
    assert (TRAINING["dense"](300, WANTED, rng()) - start).tolist() == expected


@pytest.mark.parametrize(("frames", "last"), [(65, 0), (70, 5), (64, 0)])
def test_dense_windows_begin_where_the_reference_begins_them(frames, last):
    """Its window ends at the last frame but one at the latest: `randint(64, n)` is its end."""
    assert {int(TRAINING["dense"](frames, WANTED, rng(seed))[0]) for seed in range(60)} == set(range(last + 1))


def test_dense_centre_is_the_centred_window():
    # 300 frames: the window begins at (300 - 64) // 2.
    assert VIEWS["dense"](300, WANTED, 0, 1)[[0, 1, 4, 15]].tolist() == [118, 122, 135, 181]


def test_dense_takes_a_short_video_whole_and_repeats_its_last_frame():
    # 40 frames at stride 4: 10 points from 0 to 40, 40 / 9 = 4.44 apart, and then the last frame.
    expected = [0, 4, 8, 13, 17, 22, 26, 31, 35, 39, 39, 39, 39, 39, 39, 39]
    assert TRAINING["dense"](40, WANTED, rng()).tolist() == expected


def test_dense_views_have_the_exact_stride():
    # Every 4th of 300 frames: 75 entries; clip 2 of 5 begins at entry int(2 * (75 - 16) / 4) = 29.
    views = [VIEWS["dense"](300, WANTED, view, 5) for view in range(5)]
    assert [view[0] for view in views] == [0, 4 * 14, 4 * 29, 4 * 44, 4 * 59]
    assert all((np.diff(view) == 4).all() for view in views)
    assert views[4][-1] == 296


def test_dense_views_of_a_short_video_repeat_its_last_entry():
    assert VIEWS["dense"](10, Clip(4, 4), 1, 2).tolist() == [0, 4, 8, 8]


def test_strided_training_has_the_exact_stride_from_every_start():
    starts = set()
    for seed in range(200):
        indices = TRAINING["strided"](70, WANTED, rng(seed))
        assert (np.diff(indices) == 4).all()
        starts.add(int(indices[0]))
    assert starts == set(range(70 - 64 + 1))


def test_strided_repeats_the_last_frame_that_it_reaches():
    assert TRAINING["strided"](11, Clip(5, 4), rng()).tolist() == [0, 4, 8, 8, 8]


def test_ssv2_draws_one_frame_of_each_segment():
    # 10 frames, 4 segments of 10 // 4 = 2 frames: the last two frames are never drawn.
    drawn = np.stack([TRAINING["ssv2"](10, Clip(4, 1), rng(seed)) for seed in range(100)])
    assert [sorted(set(column)) for column in drawn.T.tolist()] == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_ssv2_centre_and_two_phases():
    # Segments of 2.5 frames: centres int(1.25 + 2.5 x), and the two sets at int(2.5 x) and int(1.25 + 2.5 x).
    assert VIEWS["ssv2"](10, Clip(4, 1), 0, 1).tolist() == [1, 3, 6, 8]
    assert VIEWS["ssv2"](10, Clip(4, 1), 0, 2).tolist() == [0, 2, 5, 7]
    assert VIEWS["ssv2"](10, Clip(4, 1), 1, 2).tolist() == [1, 3, 6, 8]


def test_sparse_draws_within_rounded_segments():
    # 11 frames: segments of 2.5; their bounds round (to even) to 0 2 5 8 10, and both belong to the segment.
    drawn = np.stack([TRAINING["sparse"](11, Clip(4, 1), rng(seed)) for seed in range(200)])
    assert [sorted(set(column)) for column in drawn.T.tolist()] == [[0, 1, 2], [2, 3, 4, 5], [5, 6, 7, 8], [8, 9, 10]]


def test_sparse_views_shift_by_parts_of_a_segment():
    # 41 frames, 4 segments of 10: view c of 4 lies 10 * (c + 1) / 5 in.
    views = [VIEWS["sparse"](41, Clip(4, 1), view, 4).tolist() for view in range(4)]
    assert views == [[2, 12, 22, 32], [4, 14, 24, 34], [6, 16, 26, 36], [8, 18, 28, 38]]
    # 11 frames, segments of 2.5 that start, rounded to even, at 0 2 5 8; the middle is int(1.25) = 1 in.
    assert VIEWS["sparse"](11, Clip(4, 1), 0, 1).tolist() == [1, 3, 6, 9]


def test_middle_takes_the_middle_of_eight_intervals():
    # 100 frames: intervals from 0 12 25 37 50 62 75 87 to the frame before the next; (first + last) // 2.
    assert VIEWS["middle"](100, Clip(8, 1), 0, 1).tolist() == [5, 18, 30, 43, 55, 68, 80, 93]


def test_middle_training_stays_in_its_intervals():
    bounds = [0, 12, 25, 37, 50, 62, 75, 87, 100]
    drawn = np.stack([TRAINING["middle"](100, Clip(8, 1), rng(seed)) for seed in range(300)])
    for column, first, end in zip(drawn.T, bounds, bounds[1:], strict=False):
        assert (column.min(), column.max()) == (first, end - 1)


def test_each_second_takes_the_frame_on_show():
    # 30 frames a second, 95 of them: seconds 0 to 3. At 29.97, second 1 still shows frame 29; frame 30 comes at 1.001 s.
    assert each_second(np.arange(95) / 30, 12).tolist() == [0, 30, 60, 90]
    assert each_second(5 + np.arange(95) / 30, 12).tolist() == [0, 30, 60, 90]
    assert each_second(np.arange(95) * 1.002 / 30, 12).tolist() == [0, 29, 59, 89]


def test_each_second_of_a_slow_film_takes_no_frame_twice():
    assert each_second(np.array([0.0, 0.4, 3.0, 4.2]), 12).tolist() == [0, 1, 2]
    assert each_second(np.array([0.0]), 12).tolist() == [0]


def test_each_second_of_a_long_film_is_thinned_evenly():
    # 26 seconds, 6 wanted: seconds int(0 5 10 15 20 25); 11 seconds, 4 wanted: int(0 3.33 6.67 10).
    assert (each_second(np.arange(26 * 10) / 10, 6) // 10).tolist() == [0, 5, 10, 15, 20, 25]
    assert (each_second(np.arange(11 * 10) / 10, 4) // 10).tolist() == [0, 3, 6, 10]


@given(count=st.integers(1, 300), fps=st.floats(0.5, 60), frames=st.integers(1, 20))
def test_each_second_gives_frames_that_exist_in_order_and_no_more_than_wanted(count, fps, frames):
    indices = each_second(np.arange(count) / fps, frames)
    assert 1 <= len(indices) <= frames and indices[0] == 0
    assert indices.max() < count and (np.diff(indices) > 0).all()


@pytest.mark.parametrize("name", TRAINING)
@given(num_frames=st.integers(1, 400), frames=st.integers(1, 20), stride=st.integers(1, 5), seed=st.integers(0, 9))
def test_training_indices_exist_and_never_fall(name, num_frames, frames, stride, seed):
    indices = TRAINING[name](num_frames, Clip(frames, stride), rng(seed))
    assert indices.shape == (frames,) and indices.dtype == np.int64
    assert indices.min() >= 0 and indices.max() < num_frames and (np.diff(indices) >= 0).all()


@pytest.mark.parametrize("name", VIEWS)
@given(num_frames=st.integers(1, 400), frames=st.integers(1, 20), stride=st.integers(1, 5), views=st.integers(1, 5))
def test_view_indices_exist_and_never_fall(name, num_frames, frames, stride, views):
    for view in range(views):
        indices = VIEWS[name](num_frames, Clip(frames, stride), view, views)
        assert indices.shape == (frames,) and indices.dtype == np.int64
        assert indices.min() >= 0 and indices.max() < num_frames and (np.diff(indices) >= 0).all()
