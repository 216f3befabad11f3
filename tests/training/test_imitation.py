"""Imitation: learns by heart in seconds, is the same after being killed, and weighs its lessons as published."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from short_tours import make_tours, recipe
from striking import begin, kill_when

from navloop.agent.policies import PolicyOutput
from navloop.agent.saving import agent_digest, load_agent
from navloop.configs.agents import AgentConfig, PolicyConfig
from navloop.configs.imitation import LearningConfig
from navloop.configs.loader import dump
from navloop.training.agent_learner import imitation_losses, inflection_weights
from navloop.training.checkpoints import CheckpointError
from navloop.training.collection import encode_missing
from navloop.training.imitation import School, train_by_imitation
from navloop.training.mirroring import mirror_actions, mirror_frames
from navloop.training.sides import mirror_text
from navloop.training.starts import tell_agent
from navloop.training.walk_batches import LessonBatch, Lessons
from navloop.training.walks import Frames, WalkFolder, WalksError

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def tours(tmp_path_factory) -> Path:
    return make_tours(tmp_path_factory.mktemp("tours") / "short")


@pytest.fixture(scope="module")
def whole(tours, tmp_path_factory) -> Path:
    """A run that was never disturbed."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train_by_imitation(recipe(tours), folder)
    return folder


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def results(folder: Path) -> dict[str, bytes]:
    """All that follows from the recipe alone."""
    kept = ["metrics.jsonl", "last/agent/policy.safetensors", "best/policy.safetensors", "last/agent/agent.json"]
    found = [folder / name for name in kept]
    found += sorted(folder.glob("evaluations/*.jsonl")) + sorted(folder.glob("walks/*/*.jsonl"))
    found += sorted(folder.glob("walks/*/features_*/*.npy"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


LEARNED_BY_HEART = {
    "streaming": {"epochs": 90, "batch": 8},
    "cma": {"epochs": 150, "batch": 8, "lr": 8e-3},
    "seq2seq": {"epochs": 150, "batch": 8, "lr": 8e-3},
}


@pytest.mark.parametrize("kind", LEARNED_BY_HEART)
def test_eight_tours_are_learned_by_heart(tours, tmp_path, kind):
    config = recipe(
        tours, evaluate=16, collection={"iterations": 1}, learning=LEARNED_BY_HEART[kind], checkpoint_every=500
    )
    if kind != "streaming":
        policy = PolicyConfig(kind=kind, width=64, turn_deg=15.0, dropout=0.0)
        config = config.model_copy(update={"agent": config.agent.model_copy(update={"policy": policy})})
    config = config.model_copy(
        update={"episodes": config.episodes.model_copy(update={"val_seen": config.episodes.train, "val_unseen": None})}
    )
    report = train_by_imitation(config, tmp_path / "run")
    last = report.curve[-1]
    assert last["walks"] == 8 and report.steps == LEARNED_BY_HEART[kind]["epochs"]
    assert last["accuracy"] > 0.99
    assert last["val_seen_success"] == 1.0  # both wordings of all eight, through the real environment
    assert last["val_seen_spl"] > 0.95


def test_a_run_keeps_what_it_says(whole):
    told = lines(whole)
    assert [line["step"] for line in told] == [2, 3, 4, 6, 8, 9, 10, 12, 14, 15, 16, 18]
    assert [line["iteration"] for line in told] == [0] * 4 + [1] * 8
    ends = [line for line in told if "walks" in line]
    assert [(line["step"], line["walks"]) for line in ends] == [(6, 8), (18, 8)]
    assert ends[0]["walks_by_expert"] == 1 == ends[0]["walks_success"]
    assert 0.3 < ends[1]["walks_by_expert"] < 0.7 and ends[1]["walks_by_policy"] == 1 - ends[1]["walks_by_expert"]
    for split in ("val_seen", "val_unseen"):
        rows = [json.loads(line) for line in (whole / "evaluations" / f"01_{split}.jsonl").read_text().splitlines()]
        assert len(rows) == 3
        assert np.mean([row["success"] for row in rows]) == pytest.approx(ends[1][f"{split}_success"])
    assert load_agent(whole / "last" / "agent").protocol == "houses@1+rgb32"
    assert not list(whole.glob(".judged*"))


def test_the_best_agent_is_that_of_the_split_that_selects(whole):
    scores = [line["val_seen_spl"] for line in lines(whole) if "val_seen_spl" in line]
    if scores[1] > scores[0]:
        assert agent_digest(whole / "best") == agent_digest(whole / "last" / "agent")
    else:
        assert agent_digest(whole / "best") != agent_digest(whole / "last" / "agent")
    told = json.loads((whole / "best" / "judged.json").read_text())
    assert told == {"number": int(np.argmax(scores)), "split": "val_seen", "spl": max(scores)}


def test_instructions_in_other_languages_are_not_learned_in_a_mirror(tours, monkeypatch):
    config = recipe(tours, learning={"mirror": True})
    School(config)
    spoken = replace(School(config).episodes[0].instruction, language="hi-IN")
    foreign = (replace(School(config).episodes[0], instruction=spoken),)
    monkeypatch.setattr("navloop.training.courses.select", lambda episodes, languages: foreign)
    with pytest.raises(
        ValueError, match=r"is told in 'hi-IN', and learning\.mirror swaps left and right in English alone"
    ):
        School(config)
    School(recipe(tours, learning={"mirror": False}))


def test_another_seed_is_another_run(tours, whole, tmp_path):
    """The same one is the same run: those that are killed end as this one."""
    train_by_imitation(recipe(tours, seed=1, collection={"iterations": 1}), tmp_path / "other")
    assert lines(tmp_path / "other")[0] != lines(whole)[0]


def test_a_finished_run_is_left_as_it_is(tours, whole):
    before = results(whole)
    report = train_by_imitation(recipe(tours), whole)
    assert (report.steps, report.resumed) == (18, 18)
    assert results(whole) == before


def start(config, folder: Path) -> subprocess.Popen:
    folder.parent.mkdir(parents=True, exist_ok=True)
    written = folder.with_suffix(".yaml")
    written.write_text(dump(config))
    command = [sys.executable, "-m", "navloop.training.cli", "train", str(written), "--run-dir", str(folder)]
    return subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True)


def has_lines(path: Path, count: int) -> bool:
    return path.is_file() and path.read_bytes().count(b"\n") >= count


def test_a_run_that_is_killed_judged_walking_and_learning_ends_as_one_that_was_not(tours, whole, tmp_path):
    folder = tmp_path / "run"
    for file, count in (("evaluations/00_val_seen.jsonl", 1), ("walks/01/index.jsonl", 1), ("metrics.jsonl", 7)):
        workers = 2 if "metrics" in file else 1  # how many walk changes nothing
        process = begin(train_by_imitation, recipe(tours, workers=workers), folder)
        kill_when(process, lambda file=file, count=count: has_lines(folder / file, count))
        assert len(lines(folder)) < len(lines(whole))
    resumed = train_by_imitation(recipe(tours), folder)
    assert (resumed.steps, resumed.resumed >= 6) == (18, True)
    assert results(folder) == results(whole)


def test_walks_that_were_lost_are_not_made_by_another_agent(tours, whole, tmp_path):
    folder = tmp_path / "run"
    kill_when(begin(train_by_imitation, recipe(tours), folder), lambda: (folder / "step_000009").is_dir())
    shutil.rmtree(folder / "walks" / "01")
    with pytest.raises(WalksError, match="has lost walks that this run was learning from"):
        train_by_imitation(recipe(tours), folder)


def test_a_damaged_checkpoint_is_refused(tours, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run", symlinks=True)
    weights = tmp_path / "run" / "last" / "agent" / "policy.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(CheckpointError, match="has changed since it was written"):
        train_by_imitation(recipe(tours), tmp_path / "run")


def test_it_goes_on_from_a_saved_agent(tours, whole, tmp_path):
    config = recipe(
        tours, start=str(whole / "last" / "agent"), collection={"iterations": 1}, learning={"lr": 1e-9, "min_lr": 0.0}
    )
    train_by_imitation(config, tmp_path / "run")
    before, after = (
        dict(load_agent(folder).policy.named_parameters())
        for folder in (whole / "last" / "agent", tmp_path / "run" / "best")
    )
    for name, weight in before.items():
        torch.testing.assert_close(after[name], weight, atol=1e-5, rtol=1e-4)


def test_an_agent_that_goes_on_is_not_taken_for_another(tours, whole, tmp_path):
    agent = recipe(tours).agent
    for part, field, value in (
        ("policy", "width", 32),
        ("perception", "encoder", "videomae_tiny_p16_t8"),
        ("perception", "weights", "else.safetensors"),
    ):
        other = agent.model_copy(update={part: getattr(agent, part).model_copy(update={field: value})})
        config = recipe(tours, start=str(whole)).model_copy(update={"agent": other})
        with pytest.raises(
            ValueError, match=rf"start: .* brings its own eyes and policy; agent\.{part}\.{field} is {value}"
        ):
            train_by_imitation(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    plain = recipe(tours, start=str(whole)).model_copy(update={"agent": AgentConfig()})  # says nothing of the agent
    assert School(plain).start.config == agent
    assert School(plain).fingerprints["start"] == agent_digest(whole / "best")


def test_the_turns_of_an_agent_that_goes_on_are_what_counts(tours, whole):
    config = recipe(tours, start=str(whole))
    agent = config.agent.model_copy(update={"policy": config.agent.policy.model_copy(update={"turn_deg": None})})
    episodes = config.episodes.model_copy(update={"protocol": "navid-r2r"})
    with pytest.raises(ValueError, match="the policy reckons with turns of 15 degrees"):
        School(config.model_copy(update={"agent": agent, "episodes": episodes}))


def test_what_an_agent_sees_with_and_cannot_read_is_told(tours, whole, capsys):
    agent = load_agent(whole / "best")
    tell_agent(agent, ["walk to the zeppelin", "stop"], Console(width=200))
    told = capsys.readouterr().out
    assert "eyes: internvideo_mm_tiny_p16_t4, random weights (agent.perception.weights names a file), frozen" in told
    assert "1 of 5 in the training instructions are none that it knows (zeppelin, ...)" in told


def test_without_the_split_that_selects_there_is_no_recipe(tours):
    episodes = recipe(tours).episodes.model_dump() | {"val_seen": None}
    with pytest.raises(ValueError, match=r"select is val_seen, but episodes\.val_seen is null"):
        recipe(tours, episodes=episodes)
    assert recipe(tours, episodes=episodes, evaluate=0).evaluate == 0
    assert recipe(tours, episodes=episodes, select="val_unseen").select == "val_unseen"


def test_drawn_actions_stray_from_the_likeliest_and_are_the_same_again(tours, whole, tmp_path):
    walked = {}
    for name, temperature in (("likeliest", 0.0), ("drawn", 5.0), ("again", 5.0)):
        config = recipe(
            tours,
            start=str(whole),
            evaluate=0,
            collection={"iterations": 2, "p": 0.0, "temperature": temperature},
            learning={"lr": 1e-9, "min_lr": 0.0, "steps": 1},
        )
        train_by_imitation(config, tmp_path / name)
        walked[name] = (tmp_path / name / "walks" / "01" / "index.jsonl").read_bytes()
    assert walked["drawn"] == walked["again"] != walked["likeliest"]


def test_an_encoder_that_learns_is_changed_and_leaves_no_features(tours, tmp_path):
    config = recipe(tours, evaluate=0, collection={"iterations": 1}, learning={"mirror": True})
    seeing = config.agent.perception.model_copy(update={"trainable": True})
    config = config.model_copy(update={"agent": config.agent.model_copy(update={"perception": seeing})})
    train_by_imitation(config, tmp_path / "run")
    first, last = (load_agent(tmp_path / "run" / name / "agent") for name in ("step_000003", "last"))
    moved = [
        name
        for name, weight in first.perception.encoder.state_dict().items()
        if not torch.equal(weight, last.perception.encoder.state_dict()[name])
    ]
    assert moved
    assert not list((tmp_path / "run" / "walks" / "00").glob("features_*"))


# What is learned from.


@pytest.fixture(scope="module")
def lessons(tours, whole):
    school = School(recipe(tours))
    digest = load_agent(whole / "last" / "agent").perception.digest

    def make(**fields) -> Lessons:
        folders = [WalkFolder(whole / "walks" / f"{k:02d}") for k in range(2)]
        return Lessons(folders, school.told.tours, school.told.own, digest, LearningConfig(batch=3, **fields))

    return make


def test_every_walk_is_in_one_batch_of_a_pass(lessons):
    made = lessons()
    assert made.walks == 16 and len(made) == 6
    order = made.order((0, 1))
    assert sorted(place for batch in order for place in batch) == list(range(16))
    assert made.order((0, 1)) == order != made.order((0, 2))


def test_batches_hold_walks_of_about_the_same_length(lessons):
    made = lessons()
    lengths = [made.batch(batch, (0,)).valid.sum(1) for batch in made.order((0,))]
    spread = sum(int(found.max() - found.min()) for found in lengths)
    everything = torch.cat(lengths)
    assert spread < int(everything.max() - everything.min()) + 12


def test_a_batch_is_padded_behind_the_walks_ends(lessons):
    made = lessons(wordings=False)
    batch = made.batch([0, 8, 3], (0,))
    assert batch.percepts.shape[:2] == batch.valid.shape == batch.expert_actions.shape
    for row in range(3):
        steps = int(batch.valid[row].sum())
        assert batch.valid[row, :steps].all() and not batch.valid[row, steps:].any()
        assert batch.previous_actions[row, 0] == 4
        assert not batch.percepts[row, steps:].any() and batch.percepts[row, :steps].any()
        assert batch.progress[row, 0] == 0


def test_all_wordings_of_a_tour_are_told_in_turn(lessons, tours):
    texts = School(recipe(tours)).told.tours
    told = {lessons().batch([0], (seed,)).texts[0] for seed in range(20)}
    assert told in [set(wordings) for wordings in texts.values()] and len(told) == 2
    assert len({lessons(wordings=False).batch([0], (seed,)).texts[0] for seed in range(20)}) == 1


def test_lost_features_are_made_again_from_the_frames(whole, tmp_path):
    """Those of the second iteration were seen while walking, step by step and lane by lane."""
    shutil.copytree(whole / "walks" / "01", tmp_path / "walks")
    perception = load_agent(whole / "last" / "agent").perception
    folder = WalkFolder(tmp_path / "walks")
    seen = {part.number: np.load(folder.features_file(perception.digest, part.number)) for part in folder.parts}
    shutil.rmtree(folder.features_file(perception.digest, 0).parent)
    encode_missing(folder, perception)
    for number, features in seen.items():
        again = np.load(folder.features_file(perception.digest, number))
        np.testing.assert_allclose(again.astype(np.float32), features.astype(np.float32), atol=2e-3, rtol=2e-3)


def test_half_of_the_lessons_are_given_in_a_mirror(tours, whole, tmp_path):
    shutil.copytree(whole / "walks" / "01", tmp_path / "walks")
    perception = load_agent(whole / "last" / "agent").perception
    folder, school = WalkFolder(tmp_path / "walks"), School(recipe(tours))
    encode_missing(folder, perception, mirrored=True)
    made = Lessons(
        [folder], school.told.tours, school.told.own, perception.digest, LearningConfig(mirror=True, wordings=False)
    )
    walk = folder.parts[0].walks[0]
    flipped = perception.encode_walk(mirror_frames(folder.frames_of(0, 0)).rgb)
    turned = 0
    for seed in range(30):
        batch = made.batch([0], (seed,))
        mirrored = not torch.equal(batch.expert_actions[0], torch.from_numpy(walk.expert_actions))
        turned += mirrored
        if mirrored:
            assert batch.expert_actions[0].tolist() == mirror_actions(walk.expert_actions).tolist()
            assert batch.texts == [mirror_text(school.told.own[walk.episode_id])]
            torch.testing.assert_close(batch.percepts[0].float(), flipped, atol=2e-3, rtol=2e-3)
    assert 5 <= turned <= 25


@pytest.mark.parametrize(
    ("text", "mirrored"),
    [
        ("Turn left, then right.", "Turn right, then left."),
        ("Stop right beside the bed on your right.", "Stop right beside the bed on your left."),
        ("turn right right away", "turn left right away"),
        ("Stop when the lamp is right on your left.", "Stop when the lamp is right on your right."),
        ("Turn left right after the upright piano", "Turn right right after the upright piano"),
        ("Right after that, make a right by the sofa", "Right after that, make a left by the sofa"),
        (
            "Take the rightmost door; the room you left is behind you",
            "Take the leftmost door; the room you left is behind you",
        ),
        ("Go into the bedroom right ahead of you.", "Go into the bedroom right ahead of you."),
    ],
)
def test_instructions_are_mirrored(text, mirrored):
    assert mirror_text(text) == mirrored
    assert mirror_text(mirrored) == text


def test_actions_and_frames_are_mirrored():
    assert mirror_actions(np.array([4, 0, 1, 2, 3, 3])).tolist() == [4, 0, 1, 3, 2, 2]
    frames = Frames(
        np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3), np.arange(8, dtype=np.float32).reshape(1, 2, 4, 1)
    )
    turned = mirror_frames(frames)
    assert turned.rgb[0, 1, 0].tolist() == frames.rgb[0, 1, 3].tolist()
    assert turned.depth[0, 0, :, 0].tolist() == [3, 2, 1, 0]


# What is minimised, against numbers by hand.


def test_inflections_weigh_more():
    actions = torch.tensor([[2, 2, 1, 1, 1, 0], [1, 3, 3, 0, 0, 0]])
    valid = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    weights = inflection_weights(actions, valid, 3.2)
    expected = torch.tensor([[3.2, 1, 3.2, 1, 1, 3.2], [3.2, 3.2, 1, 3.2, 0, 0]])
    torch.testing.assert_close(weights, expected)


def test_losses_are_the_published_ones():
    probabilities = torch.tensor(
        [[[0.1, 0.7, 0.1, 0.1], [0.5, 0.3, 0.1, 0.1]], [[0.25, 0.25, 0.25, 0.25], [0.9, 0.05, 0.03, 0.02]]]
    )
    batch = LessonBatch(
        percepts=None,
        frames=None,
        depth=None,
        texts=["a", "b"],
        previous_actions=torch.zeros(2, 2, dtype=torch.int64),
        expert_actions=torch.tensor([[1, 0], [2, 0]]),
        progress=torch.tensor([[0.0, 0.5], [0.2, 0.0]]),
        valid=torch.tensor([[True, True], [True, False]]),
    )
    output = PolicyOutput(probabilities.log(), torch.tensor([[0.1, 0.1], [0.2, 9.0]]), torch.zeros(2, 2, 8))
    found = imitation_losses(output, batch, LearningConfig(inflection=3.2, progress=0.5))
    first = (3.2 * -np.log(0.7) + 3.2 * -np.log(0.5)) / 6.4
    second = -np.log(0.25)
    assert float(found["action_loss"]) == pytest.approx((first + second) / 2, rel=1e-6)
    assert float(found["progress_loss"]) == pytest.approx((0.01 + 0.16 + 0.0) / 3, rel=1e-5)
    assert float(found["loss"]) == pytest.approx((first + second) / 2 + 0.5 * 0.17 / 3, rel=1e-6)
    assert float(found["accuracy"]) == pytest.approx(2 / 3)
    assert float(found["stop_recall"]) == 1.0
    without = imitation_losses(replace(output, progress=None), batch, LearningConfig())
    assert "progress_loss" not in without and float(without["loss"]) == float(without["action_loss"])


# The command.


def test_the_command_trains_an_agent_that_can_be_measured(tours, tmp_path):
    config = recipe(tours, collection={"iterations": 1}, evaluate=2)
    process = start(config, tmp_path / "run")
    told = process.communicate(timeout=240)[1]
    assert process.returncode == 0, told
    assert "iteration 0: accuracy" in told and "val_unseen SR" in told
    agent = load_agent(tmp_path / "run" / "best")
    assert agent.config == config.agent
    again = start(config.model_copy(update={"seed": 3}), tmp_path / "run")
    told = again.communicate(timeout=60)[1]
    assert again.returncode == 2 and "seed was 0, now 3" in told


def test_episodes_without_goals_are_refused(tours):
    from navloop.envs.episodes import read_episodes, write_episodes

    file = read_episodes(recipe(tours).episodes.train)
    blind = tours / "blind.json.gz"
    write_episodes(blind, [replace(e, goal_position=None) for e in file.episodes])
    config = recipe(tours)
    with pytest.raises(ValueError, match="its episodes have no goals"):
        School(config.model_copy(update={"episodes": config.episodes.model_copy(update={"train": str(blind)})}))


def test_a_policy_that_reckons_with_other_turns_is_refused(tours):
    config = recipe(tours)
    turned = config.agent.policy.model_copy(update={"turn_deg": 30.0})
    with pytest.raises(ValueError, match="turns of 30 degrees"):
        School(config.model_copy(update={"agent": config.agent.model_copy(update={"policy": turned})}))


@pytest.mark.parametrize("evaluate", [0, 3])
def test_nothing_is_learned_in_the_houses_of_val_unseen(tours, evaluate):
    config = recipe(tours, evaluate=evaluate)
    wrong = config.episodes.model_copy(update={"train": config.episodes.val_unseen})
    with pytest.raises(ValueError, match=r"val_unseen\.json\.gz: short/val_unseen_000/.* choose other scenes"):
        School(config.model_copy(update={"episodes": wrong}))
    alone = config.episodes.model_copy(update={"train": config.episodes.val_unseen, "val_unseen": None})
    School(config.model_copy(update={"episodes": alone}))  # houses that nobody is judged in
