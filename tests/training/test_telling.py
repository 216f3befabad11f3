"""Scores of descriptions: rooms and turns are read from words as people mean them, and nearer is better."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from navloop.agent.content import rooms_named, turns_named
from navloop.training.sides import mirror_text
from navloop.training.statistics import mean_interval
from navloop.training.telling import agreement, tell_scores

rows = st.lists(st.sampled_from("abc"), max_size=6)


def test_rooms_have_one_label_whatever_they_are_called():
    text = "Leave the restroom. Cross the Home Office and the study; stop in the walk-in closet, not the hall."
    assert rooms_named(text) == ("bathroom", "office", "office", "closet", "hallway")
    assert rooms_named("Wait by the bathrobe in the denim hallways.") == ()  # parts of words are no rooms


@pytest.mark.parametrize(
    ("text", "turns"),
    [
        ("Turn left, then make a sharp right at the bed.", ("left", "right")),
        ("Turn around. Spin to your right.", ("around", "right")),
        ("Do a u-turn and take the second door on the left.", ("around",)),
        ("Turn about and face the opposite direction.", ("around",)),
        ("Stop right beside the lamp on your left.", ()),
        ("Leave the sofa on your right and go straight.", ()),
        ("Go into the room that you left.", ()),
    ],
)
def test_turns_are_told_from_sides_and_other_meanings(text, turns):
    assert turns_named(text) == turns


def test_turns_of_a_mirrored_text_are_mirrored(val_unseen):
    from navloop.envs.episodes import read_episodes

    other = {"left": "right", "right": "left", "around": "around"}
    found = 0
    for episode in read_episodes(val_unseen, None).episodes:
        text = episode.instruction.text
        named = turns_named(text)
        found += len(named)
        assert turns_named(mirror_text(text)) == tuple(other[side] for side in named), text
    assert found > 30


@given(rows, rows)
def test_agreement_is_that_of_the_longest_common_part(said, meant):
    def longest() -> int:
        for size in range(min(len(said), len(meant)), 0, -1):
            if set(itertools.combinations(said, size)) & set(itertools.combinations(meant, size)):
                return size
        return 0

    total = len(said) + len(meant)
    assert agreement(said, meant) == pytest.approx(2 * longest() / total if total else 1.0)
    assert agreement(said, meant) == agreement(meant, said)


def test_people_agree_with_each_other_and_not_with_what_is_said_of_other_walks(val_unseen):
    from navloop.envs.episodes import read_episodes

    tours: dict[str, list[str]] = {}
    for episode in read_episodes(val_unseen, None).episodes:
        tours.setdefault(episode.trajectory_id, []).append(episode.instruction.text)
    said = list(tours.values())
    own = tell_scores([row[0] for row in said], [row[1:] for row in said])
    for name in ("rooms", "last_room", "turns"):
        assert own[name] > own[f"{name}_others"] + 0.2
    assert own["rooms"] > 0.8 and own["last_room"] > 0.9
    assert 0.1 < own["bleu"] < 0.6 and own["distinct"] == 1.0


def test_saying_the_same_of_all_walks_is_worth_what_it_is_worth_of_others():
    references = [["Go to the kitchen."], ["Turn left into the bedroom."], ["Turn left to the kitchen."]]
    scores = tell_scores(["Turn left into the kitchen."] * 3, references)
    assert scores["rooms"] == scores["rooms_others"] == pytest.approx(2 / 3)
    assert scores["turns"] == pytest.approx(2 / 3)
    assert scores["distinct"] == pytest.approx(1 / 3)
    assert "rooms_people" not in scores


def test_bleu_is_sacrebleus():
    from sacrebleu import corpus_bleu

    said = ["turn left and enter the kitchen", "stop beside the red bed in the bedroom"]
    references = [
        ["turn left, then enter the kitchen", "go left"],
        ["stop by the bed in the bedroom", "wait by the bed"],
    ]
    expected = corpus_bleu(said, [list(row) for row in zip(*references, strict=True)], lowercase=True).score / 100
    assert tell_scores(said, references)["bleu"] == pytest.approx(expected)


@pytest.mark.parametrize(("texts", "references"), [([], []), (["a"], []), (["a"], [[]])])
def test_what_cannot_be_compared_is_refused(texts, references):
    with pytest.raises(ValueError, match=r"texts and references of"):
        tell_scores(texts, references)


def test_scores_are_numbers_between_nothing_and_all():
    scores = tell_scores(["Go.", "Stop in the den."], [["Turn left."], ["Enter the lounge."]])
    assert scores["rooms"] == 1.0 and scores["last_room"] == 1.0 and scores["turns"] == 0.5
    assert all(0 <= value <= 1 and np.isfinite(value) for value in scores.values())


def test_scores_have_intervals_where_scenes_are_told():
    texts = ["Go to the kitchen.", "Go to the office.", "Go to the office.", "Go to the bedroom."]
    meant = [["Walk into the kitchen."], ["Enter the office."], ["Enter the hallway."], ["Stop in the bedroom."]]
    scores = tell_scores(texts, meant, ["a", "a", "b", "b"])
    expected = mean_interval([1, 1, 0, 1], ["a", "a", "b", "b"], ["0", "1", "2", "3"], share=True)
    assert scores["last_room"] == 0.75
    assert expected.low is not None and scores["last_room_low"] == max(expected.low, 0.0)
    assert expected.high is not None and scores["last_room_high"] == min(expected.high, 1.0)
    assert "last_room_others_low" not in scores and "last_room_low" not in tell_scores(texts, meant)
    assert "rooms_low" not in tell_scores(texts[:1], meant[:1], ["a"])  # of one walk nothing is said of others
