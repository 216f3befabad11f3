"""Retrieval: ranks against plain loops, scipy and numpy, ties, several captions, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import rankdata

from navloop.training.retrieval import deal, dual_softmax, text_to_video, video_to_text, weighted_median

MATRIX = np.array([[0.9, 0.1, 0.3, 0.2], [0.8, 0.7, 0.2, 0.4], [0.1, 0.3, 0.9, 0.3]])
OWNERS = np.array([0, 0, 1, 2])


def test_ranks_by_hand() -> None:
    texts = text_to_video(MATRIX, OWNERS)
    assert texts.ranks.tolist() == [1, 3, 3, 2]
    assert texts.gallery == 3
    assert texts.fields() == {"R@1": 0.25, "R@5": 1.0, "R@10": 1.0, "MedR": 2.5, "MeanR": 2.25}
    assert texts.chances() == {"R@1": 1 / 3, "R@5": 1.0, "R@10": 1.0, "MedR": 2.0, "MeanR": 2.0}
    videos = video_to_text(MATRIX, OWNERS)
    assert videos.ranks.tolist() == [
        1,
        3,
        3,
    ]  # the first video's texts are one answer, and one of them ties with the third's
    assert videos.gallery == 3


def test_what_cannot_tell_has_found_nothing() -> None:
    same = np.zeros((5, 5))
    assert text_to_video(same, np.arange(5)).ranks.tolist() == [5] * 5
    assert video_to_text(same, np.arange(5)).ranks.tolist() == [5] * 5


@given(data=st.data(), videos=st.integers(1, 6), captions=st.integers(1, 3))
def test_equals_a_plain_loop_and_scipys_ranks(data: st.DataObject, videos: int, captions: int) -> None:
    owners = np.array(data.draw(st.permutations(np.repeat(np.arange(videos), captions).tolist())))
    matrix = data.draw(hnp.arrays(np.float64, (videos + 1, len(owners)), elements=st.floats(-1, 1, width=16)))
    expected = [int(rankdata(-matrix[:, t], method="max")[owners[t]]) for t in range(len(owners))]
    assert text_to_video(matrix, owners).ranks.tolist() == expected
    expected = []
    for v in range(videos):  # the last video has no text: it asks nothing and is no answer
        sets = {w: max(matrix[v, t] for t in range(len(owners)) if owners[t] == w) for w in range(videos)}
        others_first = sorted(sets, key=lambda w: (-sets[w], w == v))
        expected.append(others_first.index(v) + 1)
    assert video_to_text(matrix, owners).ranks.tolist() == expected


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 4)), min_size=1, max_size=12))
def test_a_weighted_median_is_the_median_of_repeated_values(pairs: list[tuple[int, int]]) -> None:
    values, times = np.array(pairs).T
    found = weighted_median(values, times.astype(float))
    if times.sum():
        assert found == np.median(np.repeat(values, times))
    else:
        assert np.isnan(found)


def test_a_median_lies_in_the_middle_though_weights_are_fractions() -> None:
    ranks = np.random.default_rng(0).permutation(np.repeat([3, 4], 5000))
    assert weighted_median(ranks, np.full(10_000, 1 / 50)) == 3.5


@given(videos=st.integers(2, 30), size=st.integers(2, 30), seed=st.integers(0, 9))
def test_galleries_are_of_one_size_and_share_no_video(videos: int, size: int, seed: int) -> None:
    if videos < size:
        with pytest.raises(ValueError, match=f"gallery of {size} videos cannot be dealt of {videos}"):
            deal(videos, size, np.random.default_rng(seed))
        return
    galleries = deal(videos, size, np.random.default_rng(seed))
    assert [len(gallery) for gallery in galleries] == [size] * (videos // size)
    dealt = np.concatenate(galleries)
    assert len(set(dealt.tolist())) == len(dealt) and dealt.max() < videos
    (every,) = deal(videos, None, np.random.default_rng(seed))
    assert every.tolist() == list(range(videos))


def test_dual_softmax_prefers_the_answer_that_no_other_query_asks_for() -> None:
    matrix = 10 * np.array([[0.9, 0.8], [0.85, 0.1]])  # both texts like the first video best
    plain, sharpened = (
        text_to_video(matrix, np.array([1, 0])),
        text_to_video(dual_softmax(matrix), np.array([1, 0])),
    )
    assert plain.ranks.tolist() == [2, 1]
    assert sharpened.ranks.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("matrix", "owners", "message"),
    [
        (np.zeros((2, 3)), np.array([0, 1]), r"not \(V, L\) and \(L,\)"),
        (np.zeros((2, 2)), np.array([0, 2]), "names video 2, there are 2"),
        (np.array([[0.0, np.nan]]), np.array([0, 0]), "1 similarities are not finite"),
        (np.zeros((0, 0)), np.zeros(0, dtype=np.int64), r"not \(V, L\)"),
    ],
)
def test_bad_matrices_are_refused(matrix, owners, message) -> None:
    with pytest.raises(ValueError, match=message):
        text_to_video(matrix, owners)
    with pytest.raises(ValueError, match=message):
        video_to_text(matrix, owners)
