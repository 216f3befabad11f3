"""BLEU and chrF of captions: by hand, against sacreBLEU's own corpus scores, and what is refused."""

from __future__ import annotations

import sys
from itertools import zip_longest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU, CHRF

from navloop.training.wording import bleu, bleu_counts, chrf, chrf_counts, signatures

WORDS = st.lists(st.sampled_from(["turn", "left", "right", "at", "the", "sofa", "Stop", "."]), min_size=1, max_size=9)
TEXTS = WORDS.map(" ".join)
ANSWERS = st.lists(st.tuples(TEXTS, st.lists(TEXTS, min_size=1, max_size=3)), min_size=1, max_size=6)


def test_counts_and_bleu_by_hand():
    # Right are 5 of 6 words ("the" once, not twice), 4 of 5 pairs (not "the the"), 2 of 4 triples (its first and last), no quadruple.
    counts = bleu_counts(["go to the the sofa now"], [["go to the sofa now", "go there"]], lower_case=True)
    assert counts.tolist() == [[5, 4, 2, 0, 6, 5, 4, 3, 6, 5]]
    ones = np.ones(1)
    assert bleu(counts, 1, ones) == pytest.approx(5 / 6)
    assert bleu(counts, 2, ones) == pytest.approx((5 / 6 * 4 / 5) ** 0.5)
    assert bleu(counts, 3, ones) == pytest.approx((5 / 6 * 4 / 5 * 2 / 4) ** (1 / 3))


def test_a_short_caption_pays_for_its_brevity():
    counts = bleu_counts(["turn left"], [["turn left at the"]], lower_case=True)
    assert bleu(counts, 1, np.ones(1)) == pytest.approx(np.exp(1 - 4 / 2))


def test_what_people_said_scores_one_and_case_counts_if_it_shall():
    said = ["Turn left at the sofa .", "Stop there and wait ."]
    references = [["Go .", "Turn left at the sofa ."], ["Stop there and wait ."]]
    exact = bleu_counts(said, references, lower_case=False)
    assert bleu(exact, 4, np.ones(2)) == pytest.approx(1)
    assert chrf(chrf_counts(said, references, lower_case=False), np.ones(2)) == pytest.approx(1)
    lowered = [text.lower() for text in said]
    assert bleu(bleu_counts(lowered, references, lower_case=True), 4, np.ones(2)) == pytest.approx(1)
    assert bleu(bleu_counts(lowered, references, lower_case=False), 1, np.ones(2)) == pytest.approx(9 / 11)
    assert chrf(chrf_counts(lowered, references, lower_case=True), np.ones(2)) == pytest.approx(1)
    assert chrf(chrf_counts(lowered, references, lower_case=False), np.ones(2)) < 1


@settings(max_examples=50, deadline=None)
@given(ANSWERS, st.sampled_from([1, 2, 4]))
def test_all_captions_together_score_what_sacrebleu_says_of_the_corpus(answers, order):
    captions, references = [list(part) for part in zip(*answers, strict=True)]
    found = bleu(bleu_counts(captions, references, lower_case=True), order, np.ones(len(captions)))
    corpus = BLEU(lowercase=True, max_ngram_order=order).corpus_score(captions, list(zip_longest(*references)))
    assert 100 * found == pytest.approx(corpus.score, abs=1e-9)
    characters = CHRF(lowercase=True)
    nearness = characters.corpus_score(captions, list(zip_longest(*references)))
    together = chrf(chrf_counts(captions, references, lower_case=True), np.ones(len(captions)))
    assert 100 * together == pytest.approx(nearness.score, abs=1e-9)
    assert signatures(captions, references, lower_case=True)["chrF"] == str(characters.get_signature())


def test_chrf_by_hand():
    # Of "go left": 6, 5, 4, 3, 2 and 1 n-grams of 1 to 6 characters, all of them meant; of "go right", 7 to 2; right are g, o and t, and "go".
    counts = chrf_counts(["go left", "go right"], [["go left"], ["go left"]], lower_case=True)
    assert counts.tolist() == [
        [6, 6, 6, 5, 5, 5, 4, 4, 4, 3, 3, 3, 2, 2, 2, 1, 1, 1],
        [7, 6, 3, 6, 5, 1, 5, 4, 0, 4, 3, 0, 3, 2, 0, 2, 1, 0],
    ]
    right = np.array([9, 6, 4, 3, 2, 1])
    precision, recall = (right / [13, 11, 9, 7, 5, 3]).mean(), (right / [12, 10, 8, 6, 4, 2]).mean()
    expected = 5 * precision * recall / (4 * precision + recall)
    assert chrf(counts, np.ones(2)) == pytest.approx(expected)
    assert chrf(counts, np.array([2.0, 0.0])) == pytest.approx(1)


@settings(max_examples=30, deadline=None)
@given(ANSWERS, st.data())
def test_a_caption_that_weighs_twice_is_a_caption_that_is_there_twice(answers, data):
    captions, references = [list(part) for part in zip(*answers, strict=True)]
    times = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(answers), max_size=len(answers))))
    counts = bleu_counts(captions, references, lower_case=True)
    found = bleu(counts, 2, times.astype(float))
    characters = chrf_counts(captions, references, lower_case=True)
    near = chrf(characters, times.astype(float))
    if times.sum():
        assert found == bleu(np.repeat(counts, times, axis=0), 2, np.ones(times.sum()))
        assert near == chrf(np.repeat(characters, times, axis=0), np.ones(times.sum()))
    else:
        assert np.isnan(found) and np.isnan(near)


def test_signatures_say_what_was_computed():
    said = signatures(["a b", "c"], [["a b", "b"], ["c"]], lower_case=True)
    assert "nrefs:var|case:lc" in said["BLEU"] and "tok:13a" in said["BLEU"]
    assert "nrefs:var|case:lc" in said["chrF"]


def test_captions_without_references_are_refused():
    with pytest.raises(ValueError, match=r"2 captions and references of 1; each caption needs one at least"):
        bleu_counts(["a", "b"], [["a"]], lower_case=True)
    with pytest.raises(ValueError, match="each caption needs one"):
        chrf_counts(["a"], [[]], lower_case=True)


def test_a_missing_sacrebleu_is_said_with_its_mend(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(ValueError, match=r"sacrebleu, which is not installed: pip install -e '\.\[captions\]'"):
        chrf_counts(["a"], [["a"]], lower_case=True)
