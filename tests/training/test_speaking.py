"""Training a speaker: it learns tours by heart from what an expert saw, and is the same however often it was stopped."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from short_tours import make_tours, recipe

from navloop.agent.saving import load_agent
from navloop.agent.speaker_saving import load_speaker
from navloop.configs.speaker import SpeakerTrainConfig
from navloop.envs.episodes import read_episodes
from navloop.training.checkpoints import CheckpointError, list_checkpoints
from navloop.training.collection import encode_missing
from navloop.training.imitation import train_by_imitation
from navloop.training.speaking import train_speaker
from navloop.training.spoken_walks import SpokenWalks, is_faithful
from navloop.training.telling import tell_scores
from navloop.training.told_tours import texts_of
from navloop.training.walks import Walk, WalkFolder

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def tours(tmp_path_factory) -> Path:
    return make_tours(tmp_path_factory.mktemp("tours") / "short")


def config(tours: Path, **fields: Any) -> SpeakerTrainConfig:
    """Return a recipe of seconds for a speaker; `learning` and `narrator` add to what is there."""
    base = recipe(tours).model_dump(
        mode="json", exclude={"algorithm", "agent", "collection", "learning", "select", "start"}
    )
    known = set(SpeakerTrainConfig.model_fields)
    narrator = {"width": 64, "walk_layers": 1, "word_layers": 1, "looks": 8, "min_count": 1} | fields.pop(
        "narrator", {}
    )
    learning = {"epochs": 3, "batch": 4, "lr": 3e-3} | fields.pop("learning", {})
    speaker = {"perception": {"encoder": "internvideo_mm_tiny_p16_t4", "size": 32, "grid": 2}, "narrator": narrator}
    made = {key: value for key, value in base.items() if key in known}
    return SpeakerTrainConfig.model_validate_json(
        json.dumps(made | {"speaker": speaker, "learning": learning, "checkpoint_every": 2, "log_every": 1} | fields)
    )


@pytest.fixture(scope="module")
def whole(tours, tmp_path_factory) -> Path:
    """A run that was never disturbed."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    report = train_speaker(config(tours), folder)
    assert (report.steps, report.resumed) == (6, 0)  # 8 tours, 4 a step, 3 passes
    return folder


def results(folder: Path) -> dict[str, bytes]:
    """All that follows from the recipe alone."""
    names = (
        "metrics.jsonl",
        "scores.json",
        "told_val_unseen.jsonl",
        "best/narrator.safetensors",
        "last/speaker/narrator.safetensors",
        "walks/train/index.jsonl",
    )
    return {name: (folder / name).read_bytes() for name in names}


def test_eight_tours_are_told_by_heart(tours, tmp_path):
    long = config(
        tours,
        learning={"epochs": 250, "batch": 8, "mirror": False, "smoothing": 0.0},
        narrator={"dropout": 0.0, "missed_words": 0.0},
        evaluate=0,
        checkpoint_every=500,
    )
    train_speaker(long, tmp_path / "run")
    speaker = load_speaker(tmp_path / "run" / "best")
    folder = WalkFolder(tmp_path / "run" / "walks" / "train")
    texts = texts_of(read_episodes(Path(long.episodes.train)).episodes)
    walks = SpokenWalks([(folder, texts)], speaker.perception.digest, 0.25)
    whole = walks.whole()
    told = speaker.describe(whole.percepts, whole.actions)
    scores = tell_scores(told, walks.references)
    for name in ("rooms", "last_room", "turns"):
        assert scores[name] > max(0.7, scores[f"{name}_others"] + 0.2), name
    own, other = (
        np.mean(speaker.likelihoods(whole.percepts, whole.actions, said))
        for said in (whole.texts, whole.texts[1:] + whole.texts[:1])
    )
    assert own > other + 1


def test_a_run_keeps_what_it_says(whole, tours):
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in lines if "val_seen_loss" in line] == [2, 4, 6]
    assert lines[-1]["loss"] < lines[0]["loss"]
    scores = json.loads((whole / "scores.json").read_text())
    best = min(line["val_seen_loss"] for line in lines if "val_seen_loss" in line)
    assert scores["val_seen"]["loss"] == pytest.approx(best, rel=1e-5)
    rows = [json.loads(line) for line in (whole / "told_val_unseen.jsonl").read_text().splitlines()]
    assert len(rows) == 3 and all(len(row["references"]) == 2 for row in rows)
    told = scores["val_unseen"]
    assert all(0 <= told[f"{name}_low"] <= told[name] <= told[f"{name}_high"] <= 1 for name in ("rooms", "turns"))
    assert {row["scene_id"] for row in rows} == {"short/val_unseen_000/val_unseen_000.glb"}


def test_the_walks_are_the_experts_and_its_eyes_the_speakers(whole):
    walks = [walk for part in WalkFolder(whole / "walks" / "train").parts for walk in part.walks]
    assert len(walks) == len({walk.trajectory_id for walk in walks}) == 8
    assert all((walk.actions == walk.expert_actions).all() and walk.success for walk in walks)
    assert load_speaker(whole / "best").perception.digest == load_agent(whole / "eyes").perception.digest


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tours, whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder, symlinks=True)
    last = list_checkpoints(folder)[-1]
    assert last.step == 6
    for file in ("scores.json", "told_val_unseen.jsonl"):
        (folder / file).unlink()
    shutil.rmtree(last.folder)  # killed before its last checkpoint, and while a part of the walks was written
    (folder / "walks" / "train" / "index.jsonl").open("a").write('{"part": 9, "wal')
    report = train_speaker(config(tours), folder)
    assert (report.steps, report.resumed) == (6, 4)
    found, wanted = results(folder), results(whole)
    found["walks/train/index.jsonl"] = found["walks/train/index.jsonl"].split(b'{"part": 9')[0]
    assert found == wanted


def test_a_checkpoint_that_was_damaged_is_named_with_the_way_back(tours, whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder, symlinks=True)
    with (folder / "step_000006" / "speaker" / "narrator.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(CheckpointError, match=r"has changed .*; remove .*step_000006 to go on from step_000004"):
        train_speaker(config(tours), folder)


def test_the_seed_decides_everything(tours, whole, tmp_path):
    train_speaker(config(tours), tmp_path / "again")
    assert results(tmp_path / "again") == results(whole)


def test_it_sees_with_an_agents_eyes_and_learns_from_walks_that_are_there(tours, tmp_path):
    imitated = recipe(tours, evaluate=0, collection={"iterations": 1}, learning={"epochs": 1, "batch": 8})
    imitated = imitated.model_copy(
        update={
            "agent": imitated.agent.model_copy(
                update={"perception": imitated.agent.perception.model_copy(update={"seed": 5})}
            )
        }
    )
    train_by_imitation(imitated, tmp_path / "agent")
    eyes = tmp_path / "agent" / "last" / "agent"
    recorded = [{"walks": str(tmp_path / "agent" / "walks" / "00"), "episodes": imitated.episodes.train}]
    report = train_speaker(config(tours, eyes=str(eyes), recorded=recorded, evaluate=0), tmp_path / "run")
    assert report.steps == 12  # 16 walks now
    assert load_speaker(tmp_path / "run" / "best").perception.digest == load_agent(eyes).perception.digest
    onward = train_speaker(
        config(tours, start=str(tmp_path / "run" / "best"), evaluate=0, learning={"epochs": 1}), tmp_path / "onward"
    )
    assert onward.steps == 2
    assert load_speaker(tmp_path / "onward" / "best").perception.digest == load_agent(eyes).perception.digest


def walk(success: bool, forward: int, metres: float, wanted: int = 0) -> Walk:
    actions = np.array([1] * forward + [0])
    return Walk(
        episode_id="1",
        trajectory_id="1",
        scene_id="s",
        actions=actions,
        expert_actions=np.array([1] * forward + [wanted]),
        sources=np.zeros_like(actions),
        distances=np.linspace(metres, 0.0, len(actions)),
        success=success,
    )


@pytest.mark.parametrize(
    ("done", "faithful"),
    [
        (walk(True, 16, 4.0), True),
        (walk(True, 21, 4.0), True),  # 5 m walked, and the last step may be one too many
        (walk(True, 22, 4.0), False),
        (walk(False, 16, 4.0), False),
        (walk(True, 8, 4.0, wanted=1), False),  # near enough for success, and not yet where the words end
    ],
)
def test_walks_that_did_not_do_what_was_said_teach_nothing(done, faithful):
    assert is_faithful(done, 0.25) is faithful


def test_walks_without_words_are_refused(whole):
    speaker = load_speaker(whole / "best")
    folder = WalkFolder(whole / "walks" / "train")
    encode_missing(folder, speaker.perception)
    with pytest.raises(ValueError, match="of no walk there it is known what is said"):
        SpokenWalks([(folder, {})], speaker.perception.digest, 0.25)


def test_recorded_walks_must_be_there_and_not_of_validation(tours, whole, tmp_path):
    def recorded(walks: Path, split: str) -> list[dict[str, str]]:
        return [{"walks": str(walks), "episodes": str(tours / "episodes" / split / f"{split}.json.gz")}]

    with pytest.raises(ValueError, match=r"val_unseen.json.gz: short/val_unseen_000/.* is kept to measure agents in"):
        walks = whole / "walks" / "val_unseen"
        train_speaker(config(tours, evaluate=0, recorded=recorded(walks, "val_unseen")), tmp_path / "run")
    with pytest.raises(ValueError, match=r"none: holds no walks"):
        train_speaker(config(tours, recorded=recorded(tmp_path / "none", "train")), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"agent": {"policy": {"width": 64}}}, "agent says nothing to a speaker"),
        ({"eyes": "a", "start": "b"}, "eyes and start both say"),
        ({"speaker": {"perception": {"trainable": True}}}, "trainable is true"),
    ],
)
def test_recipes_that_mean_nothing_are_refused(tours, fields, words):
    with pytest.raises(ValueError, match=words):
        config(tours, **fields)
