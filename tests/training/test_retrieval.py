"""Retrieval: ranks against a plain loop over sorted lists, ties, several captions, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from navloop.training.retrieval import dual_softmax, text_to_video, video_to_text

MATRIX = np.array([[0.9, 0.1, 0.3, 0.2], [0.8, 0.7, 0.2, 0.4], [0.1, 0.3, 0.9, 0.3]])
OWNERS = np.array([0, 0, 1, 2])


def test_ranks_by_hand() -> None:
    texts = text_to_video(MATRIX, OWNERS)
    assert texts.ranks.tolist() == [1, 3, 3, 2]
    assert texts.gallery == 3
    assert texts.fields() == {"R@1": 0.25, "R@5": 1.0, "R@10": 1.0, "MedR": 2.5, "MeanR": 2.25}
    videos = video_to_text(MATRIX, OWNERS)
    assert videos.ranks.tolist() == [1, 4, 3]  # the third video's 0.3 ties with a text that is not its own
    assert videos.gallery == 4


def test_what_cannot_tell_has_found_nothing() -> None:
    same = np.zeros((5, 5))
    assert text_to_video(same, np.arange(5)).ranks.tolist() == [5] * 5
    assert video_to_text(same, np.arange(5)).ranks.tolist() == [5] * 5


@given(data=st.data(), videos=st.integers(1, 6), captions=st.integers(1, 3))
def test_equals_a_plain_loop(data: st.DataObject, videos: int, captions: int) -> None:
    owners = np.repeat(np.arange(videos), captions)
    values = st.floats(-1, 1, width=32)
    matrix = data.draw(hnp.arrays(np.float64, (videos, len(owners)), elements=values))
    expected = [
        sorted(range(videos), key=lambda v: (-matrix[v, t], v == owners[t])).index(owners[t]) + 1
        for t in range(len(owners))
    ]
    assert text_to_video(matrix, owners).ranks.tolist() == expected
    expected = []
    for v in range(videos):
        others_first = sorted(range(len(owners)), key=lambda t: (-matrix[v, t], owners[t] == v))
        first = next(i for i, t in enumerate(others_first) if owners[t] == v)
        expected.append(first + 1)
    assert video_to_text(matrix, owners).ranks.tolist() == expected


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
