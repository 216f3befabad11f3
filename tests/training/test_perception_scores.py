"""Numbers of perception and their intervals: against formulas written out, scipy and torch's distributions."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats
from torch.distributions import Dirichlet
from torch.nn import functional as F

from navloop.encoders.losses import concentrations, evidential_loss, evidential_uncertainty
from navloop.training.clip_rows import ClipRow
from navloop.training.perception.classes import class_scores, mean_class, mean_probabilities, ranks_of
from navloop.training.perception.linear import fit_probe, fold_of, held_out_hits
from navloop.training.perception.neighbours import neighbour_votes
from navloop.training.perception.open_set import auroc, evidential, unsure
from navloop.training.perception.results import Groups, groups_of, measure, measure_mean
from navloop.training.statistics import bootstrap_ends, mean_interval

SEEDS = st.integers(0, 10**6)


def groups(*names):
    return Groups(tuple(name.split("/")[0] for name in names), names)


@given(SEEDS)
def test_the_interval_of_a_mean_is_that_of_mean_interval(seed):
    rng = np.random.default_rng(seed)
    scenes = [f"s{number}" for number in rng.integers(4, size=60)]
    videos = [f"{scene}/{number}" for scene, number in zip(scenes, rng.integers(5, size=60), strict=True)]
    values = rng.normal(size=60) + np.array([int(scene[1]) for scene in scenes])
    low, high = bootstrap_ends(lambda weights: weights @ values / weights.sum(), values.mean(), scenes, videos, rng)
    whole = mean_interval(values, scenes, videos)
    assert high - low == pytest.approx(
        whole.high - whole.low, rel=0.2
    )  # 1000 resamples of a deviation: 2% each way, and ours
    assert (low + high) / 2 == pytest.approx(whole.mean)


def test_a_share_that_every_clip_agrees_on_is_not_beyond_doubt():
    groups = Groups(tuple(str(i // 10) for i in range(40)), tuple(str(i // 2) for i in range(40)))
    right = measure_mean("top-1", np.ones(40), groups, np.random.default_rng(0))
    assert (right.low, right.high) == pytest.approx((0.025 ** (1 / 20), 1.0))
    wrong = measure_mean("top-1", np.zeros(40), groups, np.random.default_rng(0))
    assert (wrong.low, wrong.high) == pytest.approx((0.0, 1 - 0.025 ** (1 / 20)))


def test_a_resample_draws_as_many_videos_as_there_are_and_then_as_many_scenes():
    scenes, videos = list("aaaabbbbcc"), ["1", "1", "2", "3", "1", "1", "1", "2", "1", "2"]
    drawn = []
    bootstrap_ends(lambda weights: drawn.append(weights) or 0.0, 0.0, scenes, videos, np.random.default_rng(0))
    by_video, by_scene = np.array(drawn).reshape(2, -1, 10)
    firsts = [0, 2, 3, 4, 7, 8, 9]  # clips that a video begins with; a second is drawn with it
    assert (by_video[:, [1, 5, 6]] == by_video[:, [0, 4, 4]]).all() and (by_video[:, firsts].sum(1) == 7).all()
    assert (by_scene == by_scene[:, [0] * 4 + [4] * 4 + [8] * 2]).all() and (by_scene[:, [0, 4, 8]].sum(1) == 3).all()
    np.testing.assert_allclose(np.array(drawn).mean(0), 1, atol=0.15)


def test_clips_of_one_video_have_no_interval():
    found = measure_mean("top-1", [1, 0, 1], groups("a/1", "a/1", "a/1"), np.random.default_rng(0))
    assert (found.value, found.low, found.high) == (pytest.approx(2 / 3), None, None)


def test_ends_of_a_share_stay_shares_and_those_of_a_number_do_not():
    videos = groups(*(f"{scene}/{n}" for scene in "abc" for n in range(4)))
    hits = [1] * 11 + [0]
    share = measure_mean("top-1", hits, videos, np.random.default_rng(0))
    number = measure_mean("MedR", hits, videos, np.random.default_rng(0), kind="number")
    assert share.high == 1 and 0 <= share.low < share.value
    assert number.high > 1
    assert (share.units, share.scenes) == (12, 3)


def test_nothing_is_not_measured():
    with pytest.raises(ValueError, match="no clips"):
        measure_mean("top-1", [], Groups((), ()), np.random.default_rng(0))
    with pytest.raises(ValueError, match="AUROC is nan on these 2 clips"):
        measure("AUROC", partial(auroc, np.array([1.0, 2.0]), np.array([True, True])), groups("a/1", "a/2"), None)


def test_rows_without_a_scene_are_alike_by_their_video():
    rows = [ClipRow(path="a.mp4", place="", scene="house"), ClipRow(path="b.mp4", place="")]
    assert groups_of(rows) == Groups(("house", "b.mp4"), ("a.mp4", "b.mp4"))


@given(SEEDS)
def test_ranks_are_places_in_the_sorted_scores(seed):
    rng = np.random.default_rng(seed)
    scores, labels = rng.permuted(np.arange(6.0)[None].repeat(9, 0), axis=1), rng.integers(6, size=9)
    order = np.argsort(-scores, axis=1)
    assert ranks_of(scores, labels).tolist() == [
        list(o).index(label) + 1 for o, label in zip(order, labels, strict=True)
    ]


def test_scores_that_tell_nothing_apart_name_nothing():
    assert ranks_of(np.zeros((2, 5)), np.array([0, 4])).tolist() == [5, 5]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_have_no_ranks(value):
    scores = np.eye(3)
    scores[1, 1] = value
    with pytest.raises(ValueError, match="scores of 1 of 3 videos are not finite"):
        ranks_of(scores, np.arange(3))


def test_class_scores_are_the_shares_they_are_called():
    ranks, labels = np.array([1, 1, 2, 6, 1, 5]), np.array([0, 0, 0, 0, 1, 1])
    found = class_scores(ranks, labels, 10, groups(*(f"{n}/1" for n in "abcdef")), np.random.default_rng(0))
    assert [(score.metric, score.value, score.chance) for score in found] == [
        ("top-1", 3 / 6, 4 / 6),
        ("top-5", 5 / 6, 1.0),
        ("mean class", (2 / 4 + 1 / 2) / 2, 1 / 2),
    ]


@given(SEEDS)
def test_weights_count_clips_as_often(seed):
    rng = np.random.default_rng(seed)
    hits, labels = rng.integers(2, size=20).astype(float), rng.integers(4, size=20)
    times = rng.integers(3, size=20)
    times[0] = 1
    repeated_hits, repeated = hits.repeat(times), labels.repeat(times)
    by_class = [repeated_hits[repeated == label].mean() for label in np.unique(repeated)]
    assert mean_class(hits, labels, times.astype(float)) == pytest.approx(np.mean(by_class))


@given(SEEDS)
def test_auroc_is_the_share_of_pairs_in_order(seed):
    rng = np.random.default_rng(seed)
    doubt, unknown = rng.integers(6, size=30).astype(float), rng.random(30) < 0.4
    unknown[:2] = True, False
    times = rng.integers(3, size=30)
    times[:2] = 1
    drawn, drawn_unknown = doubt.repeat(times), unknown.repeat(times)
    rank_sum = stats.mannwhitneyu(drawn[drawn_unknown], drawn[~drawn_unknown]).statistic
    pairs = drawn_unknown.sum() * (~drawn_unknown).sum()
    assert auroc(doubt, unknown, times.astype(float)) == pytest.approx(rank_sum / pairs)
    assert auroc(-doubt, unknown, times.astype(float)) == pytest.approx(1 - rank_sum / pairs)


def test_probabilities_are_averaged_after_the_softmax():
    logits = np.array([[[0.0, 8.0, 0.0], [3.0, 0.0, 0.0], [3.0, 0.0, 0.0]]], dtype=np.float32)
    expected = (np.exp(logits[0]) / np.exp(logits[0]).sum(1, keepdims=True)).mean(0)
    np.testing.assert_allclose(mean_probabilities(logits)[0], expected, rtol=1e-6)
    assert mean_probabilities(logits)[0].argmax() == 0 != logits[0].mean(0).argmax()
    assert unsure(logits)[0] == pytest.approx(1 - expected.max())


@given(SEEDS)
def test_the_evidential_loss_is_the_surprise_at_the_mean_of_the_dirichlet(seed):
    generator = torch.Generator().manual_seed(seed)
    logits, labels = 4 * torch.randn(7, 5, generator=generator), torch.randint(5, (7,), generator=generator)
    mean = Dirichlet(concentrations(logits)).mean
    torch.testing.assert_close(evidential_loss(logits, labels), F.nll_loss(mean.log(), labels))
    shares = F.one_hot(labels, 5).float()
    torch.testing.assert_close(evidential_loss(logits, shares), evidential_loss(logits, labels))
    assert ((0 < evidential_uncertainty(logits)) & (evidential_uncertainty(logits) < 1)).all()


def test_uncertainty_falls_with_evidence_and_evidence_is_bounded():
    logits = torch.tensor([[-10.0, -10.0, -10.0], [0.0, 0.0, 0.0], [10.0, -10.0, -10.0], [99.0, -99.0, -99.0]])
    doubt = evidential_uncertainty(logits)
    expected = [3 / (3 + 3 * np.exp(-10)), 3 / 6, 3 / (3 + np.exp(10) + 2 * np.exp(-10))]
    np.testing.assert_allclose(doubt.numpy(), [*expected, expected[2]], rtol=1e-5)
    views = np.stack([logits[:2].numpy(), logits[1:3].numpy()])
    np.testing.assert_allclose(evidential(views), [sum(expected[:2]) / 2, sum(expected[1:]) / 2], rtol=1e-5)


@given(SEEDS)
def test_neighbours_vote_as_in_a_loop(seed):
    rng = np.random.default_rng(seed)
    known, asked = rng.normal(size=(12, 3)).astype(np.float32), rng.normal(size=(5, 3)).astype(np.float32)
    labels, k, temperature = rng.integers(4, size=12), 5, 0.3
    votes = neighbour_votes(known, labels, asked, k, temperature, 4)
    for place, vector in enumerate(asked):
        cosines = [float(vector @ other / np.linalg.norm(vector) / np.linalg.norm(other)) for other in known]
        expected = np.zeros(4)
        for near in sorted(range(12), key=lambda number: -cosines[number])[:k]:
            expected[labels[near]] += np.exp(cosines[near] / temperature)
        np.testing.assert_allclose(votes[place] / votes[place].sum(), expected / expected.sum(), rtol=1e-4)


def test_small_temperatures_do_not_overflow():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(6, 4)).astype(np.float32)
    votes = neighbour_votes(vectors, np.arange(6), vectors, 3, 1e-4, 6)
    assert np.isfinite(votes).all() and (votes.argmax(1) == np.arange(6)).all()


def test_the_probe_is_the_logistic_regression_that_scipy_finds():
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=60)
    features = (rng.normal(size=(60, 4)) * [1, 5, 0.1, 1] + 0.8 * labels[:, None]).astype(np.float32)
    penalty = 0.02
    scaled = (features - features.mean(0)) / features.std(0)

    def loss(flat):
        weight, bias = flat[:12].reshape(3, 4), flat[12:]
        logits = scaled @ weight.T + bias
        chosen = logits[np.arange(60), labels] - np.log(np.exp(logits).sum(1))
        return -chosen.mean() + penalty / 2 * (weight**2).sum()

    best = optimize.minimize(loss, np.zeros(15), method="BFGS", options={"gtol": 1e-7})
    probe = fit_probe(features, labels, penalty, 3)
    np.testing.assert_allclose(probe.weight.numpy().ravel(), best.x[:12], atol=2e-4)
    logits = scaled @ best.x[:12].reshape(3, 4).T + best.x[12:]
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(probe.probabilities(features), expected, atol=1e-4)


def test_a_probe_is_judged_on_clips_it_did_not_learn_from():
    features = np.random.default_rng(0).normal(size=(400, 60)).astype(np.float32)  # that say nothing of the labels
    labels = np.random.default_rng(1).integers(2, size=400)
    parts = np.arange(400) % 4
    fitted = fit_probe(features, labels, 1e-4, 2).probabilities(features).argmax(1)
    assert (fitted == labels).mean() > 0.6
    assert held_out_hits(features, labels, parts, 1e-4, 2) / 400 == pytest.approx(0.5, abs=0.07)


@given(st.integers(1, 8), st.integers(2, 6), SEEDS)
def test_folds_keep_scenes_together_or_videos_where_there_are_few(count, folds, seed):
    rng = np.random.default_rng(seed)
    names = [f"{scene}/{video}" for scene in range(count) for video in range(3) for _ in range(rng.integers(1, 4))]
    parts = fold_of(groups(*names), folds, rng)
    whole = groups(*names).scenes if count >= folds else names
    assert all(len(set(parts[np.array(whole) == name])) == 1 for name in whole)
    assert len(set(parts.tolist())) == min(folds, len(set(whole)))


def test_one_video_cannot_be_divided():
    with pytest.raises(ValueError, match="of one video"):
        fold_of(groups("a/1", "a/1"), 4, np.random.default_rng(0))
