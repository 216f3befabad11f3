"""Intervals cover what they claim, and comparisons agree with tests that are not ours."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from navloop.training.statistics import compare, exact_ends, mean_interval, mean_intervals


def interval(values, scenes, trajectories):
    return mean_interval(values, list(map(str, scenes)), list(map(str, trajectories)))


def test_equal_values_have_no_spread():
    found = interval([0.5] * 12, [0] * 6 + [1] * 6, list(range(3)) * 4)
    assert (found.mean, found.low, found.high) == (0.5, 0.5, 0.5)
    assert (found.episodes, found.trajectories, found.scenes) == (12, 6, 2)


def test_columns_have_the_intervals_of_each_alone():
    rng = np.random.default_rng(4)
    values, scenes, walks = (
        rng.normal(size=(50, 3)),
        [str(i // 10) for i in range(50)],
        [str(i // 2) for i in range(50)],
    )
    together = mean_intervals(values, scenes, walks, shares=[False] * 3)
    alone = [mean_interval(column, scenes, walks) for column in values.T]
    for one, other in zip(together, alone, strict=True):
        assert (one.low, one.high) == pytest.approx((other.low, other.high), rel=1e-12)
        assert (one.mean, one.episodes, one.trajectories, one.scenes) == (pytest.approx(other.mean), 50, 25, 5)


@pytest.mark.parametrize("all_are", [0, 1])
def test_a_share_that_never_varies_has_the_exact_ends_of_as_many_walks(all_are):
    values, scenes, walks = [float(all_are)] * 60, [str(i // 20) for i in range(60)], [str(i // 2) for i in range(60)]
    found = mean_interval(values, scenes, walks, share=True)
    exact = stats.binomtest(30 * all_are, 30).proportion_ci(0.95, method="exact")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=1e-12)
    number = mean_interval(values, scenes, walks)
    assert (number.low, number.high) == (all_are, all_are)  # metres that are all alike are another matter
    mixed = mean_interval([1.0 - all_are, *values[1:]], scenes, walks, share=True)
    assert mixed.high - mixed.low > 0.01 and abs(mixed.mean - all_are) < 0.02


def test_many_scenes_of_one_episode_give_student_s_interval():
    values = np.random.default_rng(1).normal(size=200)
    low, high = stats.t.interval(0.95, 199, values.mean(), stats.sem(values))
    found = interval(values, range(200), range(200))
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9)


def test_one_scene_falls_back_on_its_trajectories():
    values = np.random.default_rng(1).normal(size=400)
    found = interval(values, [0] * 400, range(400))
    spread = stats.t.ppf(0.975, 1) * stats.sem(values)
    assert found.high - found.mean == pytest.approx(spread, rel=1e-9)


def test_repeating_the_wording_of_a_walk_wins_nothing():
    rng = np.random.default_rng(2)
    walks = rng.normal(size=60)
    once = interval(walks, np.arange(60) // 6, range(60))
    thrice = interval(np.repeat(walks, 3), np.repeat(np.arange(60) // 6, 3), np.repeat(np.arange(60), 3))
    assert thrice.high - thrice.low == pytest.approx(once.high - once.low, rel=1e-9)


def test_unlike_scenes_widen_the_interval():
    rng = np.random.default_rng(3)
    values = rng.normal(size=120)
    scenes = np.arange(120) // 12
    alike = interval(values, scenes, range(120))
    unlike = interval(values + 3 * rng.normal(size=10)[scenes], scenes, range(120))
    assert unlike.high - unlike.low > 3 * (alike.high - alike.low)


def test_scenes_of_one_size_give_student_s_interval_of_their_means():
    values = np.random.default_rng(3).normal(size=(12, 5)) + 2 * np.random.default_rng(4).normal(size=(12, 1))
    low, high = stats.t.interval(0.95, 11, values.mean(), stats.sem(values.mean(1)))
    found = interval(values.ravel(), np.arange(60) // 5, range(60))
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9)


def test_scenes_of_any_size_give_the_deviation_of_means_without_each():
    rng = np.random.default_rng(6)
    scenes = np.repeat(np.arange(15), rng.integers(1, 20, size=15))
    values = rng.normal(size=len(scenes)) + 3 * rng.normal(size=15)[scenes]
    means = [values[scenes != scene].mean() for scene in range(15)]
    deviation = np.sqrt(14 / 15 * ((np.array(means) - values.mean()) ** 2).sum())
    found = interval(values, scenes, range(len(scenes)))
    assert found.high - found.mean == pytest.approx(stats.t.ppf(0.975, 14) * deviation, rel=1e-9)


def test_scenes_that_are_alike_by_chance_are_no_surer_than_their_walks():
    values = [0.0, 1.0, 2.0, 3.0] * 3  # three scenes of one mean
    found = interval(values, np.repeat(range(3), 4), range(12))
    assert found.high - found.mean == pytest.approx(stats.t.ppf(0.975, 11) * stats.sem(values), rel=1e-9)


@pytest.mark.parametrize(("scenes", "scene_spread"), [(4, 1.0), (11, 1.0), (11, 0.3), (24, 0.0)])
def test_an_interval_covers_the_truth_as_often_as_it_claims_and_hardly_more(scenes, scene_spread):
    rng = np.random.default_rng(4)
    scene, walk = np.repeat(np.arange(scenes), 15), np.repeat(np.arange(5 * scenes), 3)
    hits = 0
    for _ in range(1000):
        level = rng.normal(0, scene_spread, scenes)[scene] + rng.normal(0, 1, 5 * scenes)[walk]
        found = interval(level + rng.normal(size=len(level)) > 0, scene, walk)
        hits += found.low <= 0.5 <= found.high
    assert 0.93 <= hits / 1000 <= 0.98


@pytest.mark.parametrize(("scenes", "walks", "truth"), [(24, 15, 0.01), (8, 30, 0.02), (8, 5, 0.05), (12, 20, 0.97)])
@pytest.mark.parametrize("alike", [0.0, 0.05])
@pytest.mark.parametrize("least", [1.0, 0.6])
def test_an_interval_of_what_is_rare_covers_the_truth(scenes, walks, truth, alike, least):
    """Also where those who have it have but a part: an SPL of `least` to 1."""
    rng = np.random.default_rng(5)
    scene, walk = np.repeat(np.arange(scenes), walks), np.arange(scenes * walks)
    hits = 0
    for _ in range(400):
        strength = 1 / alike - 1 if alike else 1e9
        level = rng.beta(truth * strength, (1 - truth) * strength, scenes)[scene]
        found = mean_interval(
            (rng.random(len(walk)) < level) * rng.uniform(least, 1, len(walk)),
            scene.astype(str).tolist(),
            walk.astype(str).tolist(),
            share=True,
        )
        hits += found.low <= truth * (least + 1) / 2 <= found.high
    assert hits / 400 >= 0.93


def test_the_exact_ends_are_those_of_scipy():
    for had, walks in ((0, 30), (3, 30), (17, 30), (30, 30)):
        told = stats.binomtest(had, walks).proportion_ci(method="exact")
        assert exact_ends(had / walks, walks) == pytest.approx((told.low, told.high), abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-5, 5), st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=40),
    st.randoms(use_true_random=False),
)
def test_an_interval_holds_its_mean_whatever_the_order_of_the_rows(rows, random):
    found = interval(*zip(*rows, strict=True))
    assert (found.low is None) == (found.high is None) == (found.trajectories == 1)
    assert found.low is None or found.low <= found.mean <= found.high
    assert found.mean == pytest.approx(np.mean([value for value, _, _ in rows]))
    random.shuffle(rows)
    shuffled = interval(*zip(*rows, strict=True))
    if found.low is not None:
        assert (shuffled.low, shuffled.high) == pytest.approx((found.low, found.high), abs=1e-9)


@pytest.mark.parametrize("values", [[], [1.0, np.nan], [1.0, np.inf], [1.0]])
def test_what_cannot_be_averaged_is_refused(values):
    with pytest.raises(ValueError, match="expected as many finite values"):
        mean_interval(values, ["a", "b"], ["1", "2"])


def test_mcnemar_counts_only_the_episodes_that_differ():
    ours, theirs = np.array([1, 1, 1, 1, 1, 1, 0, 1, 0]), np.array([0, 0, 0, 0, 0, 0, 1, 1, 0])
    found = compare(ours, theirs, list("abcabcabc"), list("123456789"))
    assert (found.first_only, found.second_only) == (6, 1)
    assert found.mcnemar_p_value == pytest.approx(2 * (1 + 7) / 2**7)  # both tails of 7 fair coins with 0 or 1 heads
    assert found.difference.mean == pytest.approx(5 / 9)


def test_equal_results_do_not_differ():
    found = compare([1, 0, 1], [1, 0, 1], list("abc"), list("123"))
    assert (found.p_value, found.mcnemar_p_value, found.difference.low, found.difference.high) == (1, 1, 0, 0)


def test_one_walk_says_nothing_of_others():
    found = compare([1, 1, 1], [0, 0, 0], list("aaa"), list("111"))
    assert (found.difference.mean, found.difference.low, found.difference.high, found.p_value) == (1, None, None, None)
    assert interval([0.25], "a", "1").low is None


@pytest.mark.parametrize(("scenes", "count"), [("aabbcc", 3), ("aaaaaa", 6)])
def test_what_differs_alike_everywhere_is_as_sure_as_its_clusters_are_many(scenes, count):
    found = compare([1] * 6, [0] * 6, list(scenes), list("123456"))
    assert found.p_value == pytest.approx(2 * 0.5**count)  # as many fair coins, all heads or all tails


def test_rounding_is_no_difference():
    found = compare([0.1 + 0.2] * 9, [0.3] * 9, list("abcabcabc"), list("123456789"))
    assert found.difference.mean > 0 and found.p_value == 1


def test_a_paired_comparison_agrees_with_the_paired_t_test_where_episodes_are_independent():
    rng = np.random.default_rng(5)
    hard = rng.normal(0, 5, 150)
    ours, theirs = hard + rng.normal(0.2, 1, 150), hard + rng.normal(0, 1, 150)
    found = compare(ours, theirs, list(map(str, range(150))), list(map(str, range(150))))
    assert found.p_value == pytest.approx(stats.ttest_rel(ours, theirs).pvalue, rel=1e-9)
    assert found.mcnemar_p_value is None
