"""Filters: each says why not, the first reason counts, and what is kept does not depend on what was dropped."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_walks import candidate, straight

from navloop.configs.filters import FiltersConfig
from navloop.training.filters import (
    Best,
    Corrected,
    Direct,
    Lengths,
    NeverIn,
    Novel,
    Reproduced,
    create_filters,
    sift,
)
from navloop.training.twins import overlap, word_pairs
from navloop.training.unseen import refuse_scenes


def test_the_first_reason_counts_and_later_filters_do_not_see_what_is_gone():
    given = [
        candidate("a", scene="val/v.glb", text="Go."),
        candidate("b", text="Go."),
        candidate("c", scores={"ndtw": 0.2}),
        candidate("d", scores={"ndtw": 0.9}),
    ]
    filters = (NeverIn({"val/v.glb"}), Lengths(words=(3, 50), metres=(1.0, 9.0)), Reproduced(ndtw=0.5))
    sifted = sift(filters, given)
    assert [kept.key for kept in sifted.kept] == ["d"]
    assert sifted.dropped == {"a": "validation scene", "b": "few words", "c": "not followed"}
    assert list(sifted.counts.items()) == [
        ("candidates", 4), ("validation scene", 1), ("few words", 1), ("not followed", 1), ("kept", 1)
    ]  # fmt: skip


def test_a_score_that_is_asked_for_and_missing_is_named():
    with pytest.raises(ValueError, match=r"candidate x has no score 'ndtw'"):
        sift([Reproduced(ndtw=0.5)], [candidate("x")])


def test_keys_are_unique():
    with pytest.raises(ValueError, match=r"key 'x' is that of 2"):
        sift([], [candidate("x"), candidate("x")])


@pytest.mark.parametrize(
    ("text", "steps", "why"),
    [
        ("Walk on and stop.", 10, ""),
        ("Stop, here!", 10, "few words"),
        ("go " * 9, 10, "many words"),
        ("Walk on and stop.", 3, "short walk"),
        ("Walk on and stop.", 30, "long walk"),
    ],
)
def test_lengths(text, steps, why):
    rule = Lengths(words=(3, 8), metres=(1.0, 5.0))
    assert rule.judge([candidate("a", text, trajectory=straight(steps))]) == [why]


def test_roundabout_walks_are_dropped():
    ways = [candidate("a", scores={"geodesic": g}) for g in (2.5, 2.0, 1.9, 0.0)]  # of 2.5 m walked
    assert Direct(0.8).judge(ways) == ["", "", "roundabout", "roundabout"]
    assert Direct(0.8).judge([candidate("b", scores={"geodesic": np.inf})]) == ["no way"]


def test_the_follower_must_come_near_and_if_asked_arrive():
    followed = [candidate(str(i), scores=dict(zip(("ndtw", "success"), s, strict=True))) for i, s in
                enumerate([(0.9, 1.0), (0.9, 0.0), (0.4, 1.0)])]  # fmt: skip
    assert Reproduced(ndtw=0.5).judge(followed) == ["", "", "not followed"]
    assert Reproduced(ndtw=0.5, success=True).judge(followed) == ["", "not followed", "not followed"]


@given(st.lists(st.floats(-1, 1), max_size=30), st.floats(0.01, 1))
def test_the_best_are_the_share_with_the_highest_scores(similarities, share):
    given = [candidate(str(i), scores={"similarity": s}) for i, s in enumerate(similarities)]
    kept = [
        s
        for s, why in zip(similarities, Best(score="similarity", why="apart", share=share).judge(given), strict=True)
        if not why
    ]
    assert len(kept) == int(np.ceil(share * len(given) - 1e-9))
    assert sorted(kept, reverse=True) == sorted(similarities, reverse=True)[: len(kept)]


def test_the_best_have_a_score_of_at_least_so_much():
    given = [candidate(str(i), scores={"similarity": s}) for i, s in enumerate([0.1, 0.3, 0.2])]
    assert Best(score="similarity", why="apart", least=0.2).judge(given) == ["apart", "", ""]


def detour(walked: float, source: int, left: float = 0.0):
    """Return a walk of so many metres between points 4 m apart, that ends `left` metres from the goal."""
    walk = straight(round(walked / 0.25), source=source)
    distances = np.linspace(4.0, left, len(walk.distances_to_goal))
    return replace(walk, distances_to_goal=distances)


@pytest.mark.parametrize(
    ("walk", "why"),
    [
        (detour(4.0, 0), "nothing corrected"),  # pl 1
        (detour(4.5, 2), ""),  # pl 0.89, an expert took over
        (detour(4.5, 0), "nothing corrected"),  # the same alone
        (detour(5.0, 0), ""),  # pl 0.8
        (detour(5.0, 0, left=0.5), "missed the goal"),
    ],
)
def test_only_detours_and_corrections_that_arrive_are_kept(walk, why):
    assert Corrected().judge([candidate("a", trajectory=walk)]) == [why]


def test_twins_are_found_in_their_scene():
    here, there = straight(10), straight(10, start=(0.3, 0.2))
    given = [
        candidate("a", trajectory=here),
        candidate("b", "Quite another text.", trajectory=there),
        candidate("c", "And another one.", trajectory=straight(14)),
        candidate("d", trajectory=straight(20)),
        candidate("e", trajectory=here, scene="b/b.glb"),
    ]
    assert Novel(apart=0.5, text=0.85).judge(given) == ["", "walk again", "", "text again", ""]
    assert Novel(apart=0.5, text=0.85, known=given[:1]).judge(given[1:]) == ["walk again", "", "text again", ""]


def test_a_walk_back_is_another_walk():
    there, back = straight(10), straight(10, start=(0.0, -2.5), heading=np.pi)
    np.testing.assert_allclose(there.positions[-1], back.positions[0], atol=1e-12)
    assert Novel(apart=0.5).judge([candidate("a", trajectory=there), candidate("b", trajectory=back)]) == ["", ""]


def test_frames_are_compared_across_scenes_by_direction_alone():
    seen = [candidate(k, scene=k, features=np.array(v)) for k, v in (("a", [1, 0.0]), ("b", [5, 0.1]), ("c", [0, 2.0]))]
    assert Novel(frames=0.99).judge(seen) == ["", "frames again", ""]
    with pytest.raises(ValueError, match=r"candidate a: has no features"):
        Novel(frames=0.99).judge([candidate("a")])


@given(st.lists(st.integers(0, 60), max_size=20), st.floats(0.1, 3))
def test_kept_walks_are_apart_and_each_dropped_one_has_a_twin_among_them(places, apart):
    given = [candidate(str(i), trajectory=straight(8, start=(x / 10, 0.0))) for i, x in enumerate(places)]
    reasons = Novel(apart=apart).judge(given)
    kept = [x / 10 for x, why in zip(places, reasons, strict=True) if not why]
    gaps = [abs(a - b) for i, a in enumerate(kept) for b in kept[:i]]
    assert all(gap >= apart - 1e-9 for gap in gaps)
    assert all(min(abs(x / 10 - k) for k in kept) < apart for x, why in zip(places, reasons, strict=True) if why)


@given(st.text(max_size=60), st.text(max_size=60))
def test_overlap_is_symmetric_and_1_for_the_same_words(first, second):
    a, b = word_pairs(first), word_pairs(second)
    assert overlap(a, a) == 1.0
    assert 0 <= overlap(a, b) == overlap(b, a) <= 1
    assert word_pairs(first.upper()) == word_pairs(first.upper().lower())


def test_overlap_counts_pairs_in_a_row():
    a, b = word_pairs("Turn left into the kitchen."), word_pairs("turn left, into the bedroom")
    assert overlap(a, b) == pytest.approx(2 * 3 / 8)
    assert overlap(word_pairs("Turn left. " * 4), word_pairs("Turn left. " * 2)) == pytest.approx(2 * 3 / 10)


def test_a_recipe_gives_the_filters_it_names_in_order():
    names = [type(one).__name__ for one in create_filters(FiltersConfig())]
    assert names == ["NeverIn", "Lengths", "Direct", "Reproduced", "Novel"]
    bare = FiltersConfig(efficiency=None, ndtw=None, apart=None, text_overlap=None)
    assert [type(one).__name__ for one in create_filters(bare)] == ["NeverIn", "Lengths"]
    full = FiltersConfig(similarity=0.1, similar_share=0.5, likely_share=0.5, frame_cosine=0.9)
    best = [(one.score, one.least, one.share) for one in create_filters(full) if isinstance(one, Best)]
    assert best == [("similarity", 0.1, 0.5), ("likelihood", -np.inf, 0.5)]


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"min_words": 9, "max_words": 8}, "min_words 9 is above"), ({"max_metres": 1.0}, r"min_metres 1.5 is above")],
)
def test_filters_that_keep_nothing_are_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        FiltersConfig(**fields)


def test_validation_scenes_are_refused_at_the_door():
    given = ["t/1.glb", "val/2.glb", "val/3.glb"]
    refuse_scenes(given, {"val/9.glb"}, "free walks")
    with pytest.raises(ValueError, match=r"free walks: val/2.glb and 1 more is kept to measure agents in"):
        refuse_scenes(given, {"val/2.glb", "val/3.glb"}, "free walks")
