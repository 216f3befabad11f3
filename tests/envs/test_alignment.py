"""Dynamic time warping, exact and fast, against plain loops; nDTW and CLS by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from walks import plain_dtw, plain_fast_dtw, points

from navloop.envs.alignment import alignment_row, dtw, fast_dtw, point_distances
from navloop.envs.fidelity import coverage_length_score, ndtw, path_length, without_repeats
from navloop.geometry import Vector


def line(*xs: float) -> Vector:
    return np.array([[x, 0.0, 0.0] for x in xs])


def wander(seed: int, length: int) -> Vector:
    """A walk of steps of 0.25 m that turns at random."""
    headings = np.cumsum(np.random.default_rng(seed).choice([-0.26, 0.0, 0.26], size=length))
    steps = 0.25 * np.stack([-np.sin(headings), np.zeros(length), -np.cos(headings)], axis=1)
    return np.cumsum(steps, axis=0)


@given(points, points)
def test_dtw_equals_the_plain_double_loop(walk: Vector, reference: Vector) -> None:
    assert dtw(walk, reference) == pytest.approx(plain_dtw(walk, reference), rel=1e-12, abs=1e-9)


def test_dtw_of_long_walks_keeps_its_precision() -> None:
    walk, reference = wander(1, 500), wander(2, 300) + 50
    assert dtw(walk, reference) == pytest.approx(plain_dtw(walk, reference), rel=1e-12)


@given(points, points)
def test_dtw_is_symmetric(walk: Vector, reference: Vector) -> None:
    assert dtw(walk, reference) == pytest.approx(dtw(reference, walk), rel=1e-12, abs=1e-9)


@given(points, points)
def test_a_row_is_the_alignment_of_the_walk_so_far(walk: Vector, reference: Vector) -> None:
    row = None
    for i, point in enumerate(walk):
        row = alignment_row(row, point_distances(reference, point))
        assert row[-1] == pytest.approx(plain_dtw(walk[: i + 1], reference), rel=1e-12, abs=1e-9)


@given(points, points)
def test_fast_dtw_is_never_below_dtw(walk: Vector, reference: Vector) -> None:
    assert fast_dtw(walk, reference) >= dtw(walk, reference) - 1e-9


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.integers(1, 90), st.integers(1, 90), st.integers(1, 3))
def test_fast_dtw_equals_the_plain_one(seed: int, length: int, other_length: int, radius: int) -> None:
    walk, reference = wander(seed, length), wander(seed + 1, other_length) * 1.1
    assert fast_dtw(walk, reference, radius) == pytest.approx(plain_fast_dtw(walk, reference, radius), rel=1e-9)


def test_fast_dtw_misses_what_lies_far_from_the_coarse_alignment() -> None:
    # Halving the resolution hides a pace to and fro: the bound is not the value, so "fast" must be asked for by name.
    pacing, late = line(*[0.0, 9.0] * 8), line(0, 0, 0, 0, *[0.0, 9.0] * 8, 9, 9, 9)
    assert fast_dtw(pacing, late) > dtw(pacing, late) + 1


def test_fast_dtw_with_a_wide_radius_is_exact() -> None:
    walk, reference = wander(3, 40), wander(4, 55)
    assert fast_dtw(walk, reference, radius=60) == pytest.approx(plain_dtw(walk, reference), rel=1e-12)


def test_fast_dtw_equals_the_package_that_gave_published_numbers() -> None:
    package = pytest.importorskip(
        "fastdtw", reason="parity with the package alone; the plain reference covers the rest"
    )
    for seed in range(50):
        walk, reference = wander(seed, 30 + seed), wander(seed + 100, 70)
        theirs, _ = package.fastdtw(walk, reference, dist=lambda a, b: float(np.linalg.norm(a - b)))
        assert fast_dtw(walk, reference) == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("align", [dtw, fast_dtw])
def test_nothing_cannot_be_aligned(align: object) -> None:
    assert callable(align)
    with pytest.raises(ValueError, match="cannot align 0 points with 2"):
        align(np.zeros((0, 3)), line(0, 1))
    with pytest.raises(ValueError, match="cannot align 2 points with 0"):
        align(line(0, 1), np.zeros((0, 3)))


def test_a_radius_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="radius is 0, expected at least 1"):
        fast_dtw(line(0, 1), line(0, 1), radius=0)


def test_ndtw_by_hand() -> None:
    # A side track 1 m off along 3 points: each pairs at cost 1, so exp(-3 / (3 * 3)).
    assert ndtw(line(0, 1, 2) + [0, 0, 1], line(0, 1, 2), 3.0) == pytest.approx(math.exp(-1 / 3))
    # It stops at the start: costs 0 + 1 + 2.
    assert ndtw(line(0), line(0, 1, 2), 3.0) == pytest.approx(math.exp(-3 / 9))
    # Another threshold, and a reference of 2 points reached over a point midway: cost 0.5.
    assert ndtw(line(0, 0.5, 1), line(0, 1), 2.0) == pytest.approx(math.exp(-0.5 / 4))


def test_turning_on_the_spot_costs_nothing() -> None:
    turning = line(0, 0, 0, 0.5, 1, 1, 2)
    assert ndtw(turning + 0.3, line(0, 1, 2), 3.0) == ndtw(line(0, 0.5, 1, 2) + 0.3, line(0, 1, 2), 3.0)
    assert without_repeats(turning).tolist() == line(0, 0.5, 1, 2).tolist()


def test_coming_back_is_no_repeat() -> None:
    assert without_repeats(line(0, 1, 0, 1)).tolist() == line(0, 1, 0, 1).tolist()


@given(points)
def test_the_reference_itself_scores_one(walk: Vector) -> None:
    fresh = without_repeats(walk)
    for method in ("exact", "fast"):
        assert ndtw(fresh, fresh, 3.0, method) == pytest.approx(1, abs=1e-12)
    assert coverage_length_score(fresh, fresh, 3.0) == pytest.approx(1, abs=1e-12)


@given(points, points)
def test_scores_are_shares(walk: Vector, reference: Vector) -> None:
    exact, fast = ndtw(walk, reference, 3.0), ndtw(walk, reference, 3.0, "fast")
    assert 0 < fast <= exact + 1e-12 <= 1 + 1e-12
    assert 0 <= coverage_length_score(walk, reference, 3.0) <= 1


@given(points, points, st.floats(-3, 3), st.tuples(*[st.floats(-50, 50)] * 3), st.booleans())
def test_moving_the_world_changes_nothing(
    walk: Vector, reference: Vector, angle: float, shift: tuple[float, float, float], mirrored: bool
) -> None:
    walk, reference = (
        np.round(walk, 3),
        np.round(reference, 3),
    )  # nearer points may become one where the numbers are larger
    turn = np.array([[math.cos(angle), 0, math.sin(angle)], [0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]])
    turn = turn @ np.diag([-1.0 if mirrored else 1.0, 1, 1])
    moved = [points @ turn.T + np.array(shift) for points in (without_repeats(walk), reference)]
    assert ndtw(*moved, 3.0) == pytest.approx(ndtw(walk, reference, 3.0), abs=1e-9)
    assert coverage_length_score(*moved, 3.0) == pytest.approx(coverage_length_score(walk, reference, 3.0), abs=1e-9)
    assert path_length(moved[0]) == pytest.approx(path_length(walk), abs=1e-9)


def test_cls_by_hand() -> None:
    reference = line(0, 1, 2, 3)
    # Covered fully, but twice as long: PC = 1, EPL = 3, LS = 3 / (3 + |3 - 6|).
    assert coverage_length_score(line(0, 3, 0), np.concatenate([line(0), line(3)]), 3.0) == pytest.approx(0.5)
    # A side track: PC = exp(-1/3), EPL = 3 PC, TL = 3.
    coverage = math.exp(-1 / 3)
    expected = coverage * 3
    score = coverage * expected / (expected + 3 - expected)
    assert coverage_length_score(reference + [0, 0, 1], reference, 3.0) == pytest.approx(score)
    # It stands still: coverage of 0, 1, 2, 3 m, and no length.
    still = np.mean(np.exp(-np.arange(4) / 3))
    assert coverage_length_score(line(0), reference, 3.0) == pytest.approx(still / 2)


def test_cls_of_standing_where_one_should_stand_is_one() -> None:
    assert coverage_length_score(line(0), line(0), 3.0) == 1


def test_path_length_by_hand() -> None:
    assert path_length(np.array([[0.0, 0, 0], [3, 4, 0], [3, 4, 12]])) == 17
    assert path_length(line(5)) == 0
