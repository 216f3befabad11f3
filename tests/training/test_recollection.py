"""Learning from recorded walks: at a fixed number of steps, from an agent on, with other eyes; and what is refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from short_tours import make_tours, recipe

from navloop.agent.perception import Perception
from navloop.agent.refitting import change_encoder
from navloop.agent.saving import agent_digest, load_agent
from navloop.configs.agents import PerceptionConfig
from navloop.configs.imitation import ImitationConfig
from navloop.encoders.zoo import save_encoder
from navloop.training.imitation import School, train_by_imitation
from navloop.training.recollection import join_texts
from navloop.training.walks import WalksError


@pytest.fixture(scope="module")
def tours(tmp_path_factory) -> Path:
    return make_tours(tmp_path_factory.mktemp("tours") / "short")


@pytest.fixture(scope="module")
def first(tours, tmp_path_factory) -> Path:
    """A run that made walks: those of the expert, all eight."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    train_by_imitation(recipe(tours, evaluate=0, collection={"iterations": 1}), folder)
    return folder


def later(tours: Path, first: Path, **fields) -> ImitationConfig:
    """A recipe that goes on from the first run, by what it recorded alone."""
    walks = ({"folder": str(first / "walks" / "00"), "episodes": str(tours / "episodes" / "train" / "train.json.gz")},)
    base = {"evaluate": 0, "walks": walks, "start": str(first / "last" / "agent")}
    learning = {"steps": 5, "batch": 3} | fields.pop("learning", {})
    return recipe(tours, collection={"iterations": 0}, learning=learning, **base | fields)


def said(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_recorded_walks_are_learned_at_a_fixed_number_of_steps(tours, first, tmp_path):
    report = train_by_imitation(later(tours, first), tmp_path / "run")
    assert report.steps == 5
    assert [line["step"] for line in said(tmp_path / "run")] == [2, 3, 4, 5]
    assert not (tmp_path / "run" / "walks").exists()  # nobody walked
    assert agent_digest(tmp_path / "run" / "last" / "agent") != agent_digest(first / "last" / "agent")


def test_steps_do_not_depend_on_how_many_walks_there_are(tours, first):
    few = later(tours, first)
    twice = few.model_copy(update={"walks": few.walks * 2})
    assert School(few).ends() == School(twice).ends() == [5]
    by_epochs = later(tours, first, learning={"steps": None, "epochs": 2})
    assert School(by_epochs).ends() == [2 * 3]  # 8 walks in batches of 3
    doubled = by_epochs.model_copy(update={"walks": by_epochs.walks * 2})
    assert School(doubled).ends() == [2 * 6]


def test_recorded_walks_stand_beside_those_that_are_made(tours, first, tmp_path):
    config = later(tours, first, learning={"steps": None, "epochs": 1})
    both = config.model_copy(update={"collection": config.collection.model_copy(update={"iterations": 1, "tours": 4})})
    report = train_by_imitation(both, tmp_path / "run")
    assert report.steps == 4  # 8 recorded and 4 made, in batches of 3
    assert report.curve[0]["walks"] == 4


def test_what_is_recorded_is_learned(tours, first, tmp_path):
    config = later(tours, first, learning={"steps": 90, "batch": 8, "lr": 3e-3}, log_every=10, checkpoint_every=500)
    report = train_by_imitation(config, tmp_path / "run")
    assert report.curve[-1]["accuracy"] > 0.97


def test_a_policy_goes_on_with_another_encoder(tours, first, tmp_path):
    other = Perception(PerceptionConfig(encoder="internvideo_mm_tiny_p16_t4", size=32, grid=2, seed=7))
    save_encoder(other.encoder, tmp_path / "encoder.safetensors")
    before = load_agent(first / "last" / "agent")
    changed = change_encoder(before, tmp_path / "encoder.safetensors")
    assert changed.perception.digest == Perception(other.config, other.encoder).digest != before.perception.digest
    statistics = "sight.standardise."  # of the other encoder's channels
    for name, weights in before.policy.state_dict().items():
        if name.startswith(statistics):
            assert weights.any() and not changed.policy.state_dict()[name].any()
        else:
            assert torch.equal(weights, changed.policy.state_dict()[name])
    train_by_imitation(later(tours, first, start_encoder=str(tmp_path / "encoder.safetensors")), tmp_path / "run")
    after = load_agent(tmp_path / "run" / "last" / "agent")
    assert after.perception.digest == changed.perception.digest
    assert after.policy.sight.standardise.batches == 5  # a training batch each


def test_another_kind_of_encoder_is_refused(first, tmp_path):
    smaller = Perception(PerceptionConfig(encoder="videomae_small_p16_t16", size=32, grid=2))
    save_encoder(smaller.encoder, tmp_path / "encoder.safetensors")
    with pytest.raises(ValueError, match=r"encoder\.safetensors: its encoder gives percepts of .*, the policy reads"):
        change_encoder(load_agent(first / "last" / "agent"), tmp_path / "encoder.safetensors")


def test_walks_of_other_episodes_are_refused(tours, first):
    config = later(tours, first)
    wrong = config.walks[0].model_copy(update={"episodes": config.episodes.val_unseen})
    with pytest.raises(WalksError, match=r"walks/00: has a walk of episode .* lacks; name the episode file"):
        School(config.model_copy(update={"walks": (wrong,)}))


def test_walks_in_the_houses_of_val_unseen_are_refused(tours, first, tmp_path):
    unseen = recipe(tours).episodes.val_unseen
    elsewhere = recipe(tours).episodes.model_copy(update={"train": unseen, "val_unseen": None})
    walking = recipe(tours, evaluate=0, collection={"iterations": 1}, learning={"steps": 1})
    train_by_imitation(walking.model_copy(update={"episodes": elsewhere}), tmp_path / "run")
    config = later(tours, first)
    leaked = config.walks[0].model_copy(update={"folder": str(tmp_path / "run" / "walks" / "00"), "episodes": unseen})
    with pytest.raises(ValueError, match=r"run/walks/00 and .*: short/val_unseen_000/.* is kept to measure agents in"):
        School(config.model_copy(update={"walks": (*config.walks, leaked)}))


def test_a_folder_without_walks_is_refused(tours, first, tmp_path):
    config = later(tours, first)
    shutil.copytree(first / "walks" / "00", tmp_path / "walks")
    (tmp_path / "walks" / "index.jsonl").write_text('{"part":0,')  # torn by a kill
    empty = config.walks[0].model_copy(update={"folder": str(tmp_path / "walks")})
    with pytest.raises(WalksError, match="walks: holds no walks"):
        School(config.model_copy(update={"walks": (empty,)}))


def test_one_id_of_two_instructions_is_refused(tours, first):
    episodes = School(later(tours, first)).episodes
    texts = join_texts([*episodes, *episodes])
    assert len(texts.own) == len(episodes) and all(len(wordings) == 2 for wordings in texts.tours.values())
    other = dataclasses.replace(episodes[0], instruction=dataclasses.replace(episodes[0].instruction, text="Stay."))
    with pytest.raises(WalksError, match=r"is told .* in one file and 'Stay.' in another"):
        join_texts([*episodes, other])


def test_recipes_without_anything_to_learn_from_are_refused(tours):
    with pytest.raises(ValueError, match="iterations is 0 and there are no recorded walks"):
        recipe(tours, collection={"iterations": 0})
    with pytest.raises(ValueError, match="start_encoder is of an agent to go on from"):
        recipe(tours, start_encoder="encoder.safetensors")
