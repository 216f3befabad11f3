"""Speakers: they learn to tell walks apart by what was seen and by what was done, and are the same after they were saved."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis.strategies import integers, lists

from navloop.agent.content import plan_of, rooms_named
from navloop.agent.narrator import NarratorSteps, forbid_repeats
from navloop.agent.policies.words import PADDING
from navloop.agent.speaker import Speaker, create_speaker, word_losses, write_out
from navloop.agent.speaker_saving import SPEAKERS, is_speaker, load_speaker, save_speaker, speaker_digest
from navloop.configs.agents import PerceptionConfig
from navloop.configs.generation import Beam, Greedy, Nucleus
from navloop.configs.speaker import NarratorConfig, SpeakerConfig
from navloop.weights import WeightsError

CONFIG = SpeakerConfig(
    perception=PerceptionConfig(size=32, grid=2),
    narrator=NarratorConfig(
        width=64, walk_layers=1, word_layers=1, looks=8, legs=4, queries=8, dropout=0.0, missed_words=0.0, min_count=1
    ),
)
TEXTS = (
    "Turn left. Go to the kitchen and stop.",
    "Turn right. Go to the kitchen and stop.",
    "Walk into the bedroom; wait by the bed.",
    "Go straight on to the den, then turn around.",
)
STOP, FORWARD, LEFT, RIGHT = range(4)
DONE = (
    [LEFT] * 6 + [FORWARD] * 8 + [STOP],
    [RIGHT] * 6 + [FORWARD] * 8 + [STOP],
    [FORWARD] * 5 + [STOP],
    [FORWARD] * 9 + [LEFT] * 12 + [STOP],
)


def make() -> Speaker:
    return create_speaker(CONFIG, TEXTS, seed=3)


def walks(speaker: Speaker) -> tuple[list[torch.Tensor], list[np.ndarray]]:
    """Return four walks; the first two are seen alike and done otherwise, all others are seen otherwise too."""
    done = [np.array(actions) for actions in DONE]
    looks = [torch.manual_seed(max(1, i)) and torch.randn(speaker.perception.layout.tokens, speaker.perception.width)
             for i in range(4)]  # fmt: skip
    return [look.expand(len(a), -1, -1).clone() for look, a in zip(looks, done, strict=True)], done


@pytest.fixture(scope="module")
def taught() -> Speaker:
    """A speaker that has learned the four walks by heart."""
    torch.set_num_threads(1)
    speaker = make()
    seen, done = walks(speaker)
    told, ids = speaker.narrator.gather(seen, done), speaker.read(TEXTS)
    optimiser = torch.optim.AdamW(speaker.narrator.parameters(), 3e-3)
    speaker.narrator.train()
    for _ in range(150):
        losses, counts = word_losses(speaker.narrator(told, ids[:, :-1]), ids[:, 1:])
        optimiser.zero_grad()
        (losses.sum() / counts.sum()).backward()
        optimiser.step()
    return speaker.eval()


@pytest.mark.parametrize("strategy", [Greedy(), Beam(width=3, early_stop=False)])
def test_walks_are_told_apart_by_what_was_seen_and_by_what_was_done(taught, strategy):
    assert taught.describe(*walks(taught), strategy) == list(TEXTS)


def test_a_walk_is_told_the_same_in_company_and_alone(taught):
    seen, done = walks(taught)
    told = taught.describe(seen * 20, done * 20)  # more than a batch
    assert told == list(TEXTS) * 20
    assert [taught.describe([s], [d])[0] for s, d in zip(seen, done, strict=True)] == list(TEXTS)


def test_the_right_text_is_the_likeliest(taught):
    seen, done = walks(taught)
    table = np.array([taught.likelihoods(seen, done, [text] * 4) for text in TEXTS])
    assert (table.argmax(0) == np.arange(4)).all()
    assert (np.diag(table) > -0.2).all() and (table < 0).all()


def test_drawn_texts_follow_from_the_generator_and_come_side_by_side(taught):
    seen, done = walks(taught)
    strategy = Nucleus(top_p=1.0, temperature=2.0, count=3)
    first, again, other = (
        taught.describe(seen, done, strategy, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert len(first) == 12 and first == again != other
    first, beams = (
        taught.describe(seen, done, Nucleus(count=2), torch.Generator().manual_seed(1)),
        taught.describe(seen, done, Beam(width=2, count=2, early_stop=False)),
    )
    assert beams[::2] == list(TEXTS) and first[::2] == list(TEXTS)


def test_word_by_word_is_as_all_at_once():
    speaker = make()
    told, ids = speaker.narrator.gather(*walks(speaker)), speaker.read(TEXTS)
    with torch.no_grad():
        whole = speaker.narrator(told, ids)
        steps = NarratorSteps(speaker.narrator, told, ids.shape[1])
        for place in range(ids.shape[1]):
            step, known = steps.step(ids[:, place : place + 1]), whole[:, place]
            allowed = torch.isfinite(step)
            torch.testing.assert_close(step[allowed], known[allowed], atol=1e-4, rtol=1e-4)
            assert (~allowed).sum(1).tolist() == [3] * 4  # padding, unknown, start: never said


@given(
    rows=integers(1, 5).flatmap(
        lambda length: lists(lists(integers(0, 3), min_size=3 * length, max_size=3 * length), min_size=1, max_size=4)
    )
)
def test_no_run_of_words_is_said_twice(rows):
    begin, once = 3, 3
    found = forbid_repeats(torch.zeros(len(rows), 4), torch.tensor(rows), begin, once)
    for row, logits in zip(rows, found, strict=True):
        said = row[row.index(begin) :] if begin in row else []
        runs = {tuple(said[i : i + once]) for i in range(len(said) - once + 1)}
        expected = {word for word in range(4) if (*row[1 - once :], word) in runs}
        assert {word for word in range(4) if logits[word] == -torch.inf} == expected


def test_texts_are_read_with_what_they_are_about_before_them():
    speaker = make()
    words = ["<pad>", "<unk>", *speaker.vocabulary.words, "<start>", "<begin>", "<end>"]
    row = [words[i] for i in speaker.read([TEXTS[0], "Zigzag"])[0].tolist()]
    assert " ".join(row) == "<start> left kitchen <begin> turn left . go to the kitchen and stop . <end>"
    short = speaker.read([TEXTS[0], "Zigzag"])[1]
    assert [words[i] for i in short[short != PADDING]] == ["<start>", "<begin>", "<unk>", "<end>"]


def test_unknown_words_and_padding_cost_nothing():
    speaker = make()
    seen, done = walks(speaker)
    one = speaker.likelihoods(seen[:2], done[:2], ["stop.", "stop."])[0]
    other = speaker.likelihoods(seen[:2], done[:2], ["stop.", TEXTS[0]])[0]
    assert one == pytest.approx(other, abs=1e-5)
    losses, counts = word_losses(torch.randn(1, 3, 9), torch.tensor([[5, 1, 0]]))
    assert counts.tolist() == [[True, False, False]] and losses[0, 1:].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["turn", "left", ",", "then", "stop", ".", "wait", "!"], "Turn left, then stop. Wait!"),
        ([], ""),
        (["go", "1", "m", ";", "stop", "."], "Go 1 m; stop."),
    ],
)
def test_words_are_written_as_people_write(words, text):
    assert write_out(words) == text


def test_what_a_text_is_about_has_no_wording():
    assert plan_of("Head out of the restroom, take a left and stop right by the sofa in the lounge.") == (
        "bathroom left living room"
    )
    assert rooms_named("Stop at the bath mat.") == ()


def test_a_saved_speaker_says_the_same(taught, tmp_path):
    save_speaker(taught, tmp_path / "s")
    again = load_speaker(tmp_path / "s")
    assert is_speaker(tmp_path / "s") and not is_speaker(tmp_path)
    assert again.describe(*walks(taught)) == list(TEXTS)
    assert again.perception.digest == taught.perception.digest
    digest = speaker_digest(tmp_path / "s")
    save_speaker(again, tmp_path / "t")
    assert speaker_digest(tmp_path / "t") == digest
    save_speaker(make(), tmp_path / "t")
    assert speaker_digest(tmp_path / "t") != digest


def test_files_that_do_not_go_together_are_refused(taught, tmp_path):
    save_speaker(taught, tmp_path / "a")
    save_speaker(make(), tmp_path / "b")
    (tmp_path / "a" / SPEAKERS.weights).write_bytes((tmp_path / "b" / SPEAKERS.weights).read_bytes())
    with pytest.raises(WeightsError, match=rf"{SPEAKERS.weights}: has the digest .*save the speaker again"):
        load_speaker(tmp_path / "a")
    card = json.loads((tmp_path / "b" / SPEAKERS.card).read_text())
    (tmp_path / "b" / SPEAKERS.card).write_text(json.dumps(card | {"mood": "good"}))
    with pytest.raises(WeightsError, match="a speaker that this version does not know"):
        load_speaker(tmp_path / "b")
    with pytest.raises(WeightsError, match="holds no saved speaker"):
        load_speaker(tmp_path / "none")


def test_walks_that_do_not_fit_are_refused():
    speaker = make()
    seen, done = walks(speaker)
    with pytest.raises(ValueError, match="a walk has 15 percepts and 6 actions"):
        speaker.describe(seen[:1], done[2:3])
    with pytest.raises(ValueError, match="0 percepts and 0 actions"):
        speaker.describe([seen[0][:0]], [done[0][:0]])
    with pytest.raises(ValueError, match="4 walks were seen and 3 done"):
        speaker.describe(seen, done[:3])
    with pytest.raises(ValueError, match="no words to learn"):
        create_speaker(CONFIG, [], perception=speaker.perception)


def test_gradients_reach_every_part():
    speaker = make()
    narrator = speaker.narrator.train()
    ids = speaker.read(TEXTS)
    losses, counts = word_losses(narrator(narrator.gather(*walks(speaker)), ids[:, :-1]), ids[:, 1:])
    (losses.sum() / counts.sum()).backward()
    assert [name for name, p in narrator.named_parameters() if p.grad is None or not p.grad.any()] == []
