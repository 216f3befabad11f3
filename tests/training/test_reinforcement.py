"""Training by reward: it wins reward, repeats, resumes exactly, and leaves an agent that can be measured."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

pytest.importorskip("stable_baselines3", reason="stable-baselines3 is not installed")

from striking import begin, kill_when

from navloop.agent.saving import agent_digest, load_agent
from navloop.configs.loader import load
from navloop.configs.reinforcement import ReinforcementConfig
from navloop.envs.episodes import read_episodes
from navloop.runs import RunError
from navloop.training.reinforcement import train_by_reinforcement


@pytest.fixture(scope="module")
def near(houses, tmp_path_factory) -> Path:
    """An episode file with the shortest tour alone: most of what is to be learned is when to stop."""
    file = json.loads(gzip.decompress((houses / "episodes" / "train" / "train.json.gz").read_bytes()))
    file["episodes"] = [min(file["episodes"], key=lambda episode: episode["info"]["geodesic_distance"])]
    path = tmp_path_factory.mktemp("near") / "near.json.gz"
    path.write_bytes(gzip.compress(json.dumps(file).encode()))
    return path


@pytest.fixture
def recipe(houses, near):
    def make(**changes: object) -> ReinforcementConfig:
        """Return a recipe; a dict changes parts of a part."""
        fields: dict[str, object] = {
            "episodes": {"scenes": str(houses / "scenes"), "train": str(near), "pixels": 32},
            "agent": {
                "perception": {"size": 32, "grid": 2},
                "policy": {"kind": "streaming", "width": 32, "layers": 1, "turn_deg": 15.0},
            },
            "rollout": {"environments": 4, "steps": 16, "max_steps": 12},
            "ppo": {"iterations": 3, "batch": 32, "critic_first": 1, "lr": 3e-3},
            "evaluate": 0,
            "lanes": 2,
            "workers": 1,
            "device": "cpu",
            "checkpoint_every": 1,
        }
        for name, value in changes.items():
            old = fields.get(name)
            fields[name] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
        return ReinforcementConfig.model_validate(fields)

    return make


def test_reward_is_won(recipe, tmp_path):
    """A policy of random weights learns to walk towards the goal of one tour, where each metre is rewarded."""
    learning = {"iterations": 10, "batch": 96, "epochs": 6, "lr": 1e-2, "min_lr": 5e-3, "critic_lr": 1.0}
    config = recipe(
        rollout={"environments": 8, "steps": 24, "max_steps": 12},
        reward={"success": 0.0},
        ppo={**learning, "discount": 0.9, "entropy": 0.01, "target_kl": 0.1},
    )
    returns = [line["return"] for line in train_by_reinforcement(config, tmp_path / "run").curve[1:]]
    assert max(returns[:2]) < 0.1  # as it came: it stops at once, or turns about
    assert min(returns[-2:]) > 0.4


def metrics(folder: Path) -> list[str]:
    return (folder / "metrics.jsonl").read_text().splitlines()


def test_a_seed_repeats_a_run_and_another_does_not(recipe, tmp_path):
    for name, changes in (("first", {}), ("again", {}), ("other", {"seed": 1})):
        train_by_reinforcement(recipe(**changes), tmp_path / name)
    last = {name: agent_digest(tmp_path / name / "last" / "agent") for name in ("first", "again", "other")}
    assert last["first"] == last["again"] != last["other"]
    assert metrics(tmp_path / "first") == metrics(tmp_path / "again") != metrics(tmp_path / "other")


def test_a_killed_run_goes_on_as_if_it_had_not_been(recipe, tmp_path, houses):
    val_seen = str(houses / "episodes" / "val_seen" / "val_seen.json.gz")
    config = recipe(
        episodes={"val_seen": val_seen}, evaluate=2, evaluate_every=2, checkpoint_every=2, ppo={"iterations": 5}
    )
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert train_by_reinforcement(config, whole).resumed == 0
    kill_when(begin(train_by_reinforcement, config, killed), (killed / "step_000002").is_dir)
    report = train_by_reinforcement(config, killed)
    assert report.resumed in (2, 4) and report.iterations == 5
    assert metrics(killed) == metrics(whole)
    for place in ("last/agent", "best"):
        assert agent_digest(killed / place) == agent_digest(whole / place)
    rows = {path.name: path.read_text() for path in (whole / "evaluations").iterdir()}
    assert rows == {path.name: path.read_text() for path in (killed / "evaluations").iterdir()}
    assert set(rows) == {f"{number:02d}_val_seen.jsonl" for number in (0, 2, 4, 5)}


def test_processes_of_their_own_change_nothing(recipe, tmp_path, begun):
    config = recipe(rollout={"environments": 2, "steps": 8}, ppo={"iterations": 2, "batch": 8})
    train_by_reinforcement(config, tmp_path / "one")
    before = len(begun)
    train_by_reinforcement(config.model_copy(update={"workers": 2}), tmp_path / "two")
    assert len(begun) >= before + 2
    assert metrics(tmp_path / "one") == metrics(tmp_path / "two")


def test_it_begins_with_a_saved_agent_and_leaves_one(recipe, tmp_path, near):
    train_by_reinforcement(recipe(ppo={"iterations": 1, "critic_first": 0}), tmp_path / "first")
    start = tmp_path / "first" / "last" / "agent"
    config = recipe(start=str(start), ppo={"kl": 0.1, "iterations": 2, "min_lr": 3e-3})
    report = train_by_reinforcement(config, tmp_path / "second")
    assert report.curve[1]["kl_from_start"] == pytest.approx(0, abs=1e-5)  # the critic learned alone
    assert report.curve[2]["kl_from_start"] > 1e-5
    agent = load_agent(tmp_path / "second" / "last" / "agent")
    assert agent.protocol == "houses@1+rgb32"
    text = read_episodes(near).episodes[0].instruction.text
    assert torch.equal(agent.policy.read([text]).ids, load_agent(start).policy.read([text]).ids)
    assert agent.perception.digest == load_agent(start).perception.digest  # the encoder stays as it is


def test_a_run_holds_to_the_agent_that_it_began_with(recipe, tmp_path):
    train_by_reinforcement(recipe(ppo={"iterations": 1, "critic_first": 0}), tmp_path / "first")
    config = recipe(start=str(tmp_path / "first" / "last" / "agent"), ppo={"iterations": 1, "critic_first": 0})
    train_by_reinforcement(config, tmp_path / "second")
    train_by_reinforcement(recipe(ppo={"iterations": 1, "critic_first": 0}, seed=2), tmp_path / "other")
    (tmp_path / "first").rename(tmp_path / "elsewhere")
    (tmp_path / "other").rename(tmp_path / "first")
    with pytest.raises(RunError, match="start"):
        train_by_reinforcement(config, tmp_path / "second")


def test_a_run_that_is_killed_before_its_first_checkpoint_measures_its_start_once(recipe, near, tmp_path, monkeypatch):
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    config = recipe(episodes={"val_seen": str(near)}, ppo={"iterations": 1, "critic_first": 0}, evaluate=2)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("navloop.training.reinforcement.write_state", killed)
        train_by_reinforcement(config, tmp_path / "run")
    assert len(metrics(tmp_path / "run")) == 1
    train_by_reinforcement(config, tmp_path / "run")
    assert [json.loads(line)["step"] for line in metrics(tmp_path / "run")] == [0, 1]


def test_recipes_that_cannot_be_are_refused(recipe):
    with pytest.raises(ValidationError, match=r"ppo\.batch 33 does not divide the 64 steps"):
        recipe(ppo={"batch": 33})
    with pytest.raises(ValidationError, match=r"holds the policy near the agent of `start`"):
        recipe(ppo={"kl": 0.1})
    with pytest.raises(ValidationError, match="min_lr"):
        recipe(ppo={"lr": 1e-6})
    with pytest.raises(ValidationError, match="reward trains no encoder"):
        recipe(agent={"perception": {"size": 32, "grid": 2, "trainable": True}})
    with pytest.raises(ValidationError, match="in all 2 iterations the critic would learn alone"):
        recipe(ppo={"iterations": 2, "critic_first": 2})


def test_goals_that_nobody_can_reach_are_walked_and_left_out_of_what_is_infinite(recipe, near, tmp_path):
    file = json.loads(gzip.decompress(near.read_bytes()))
    far = {**file["episodes"][0], "episode_id": "far", "trajectory_id": "far"}
    far["goals"] = [{**far["goals"][0], "position": [500.0, 0.0, 500.0]}]
    path = tmp_path / "both.json.gz"
    path.write_bytes(gzip.compress(json.dumps({**file, "episodes": [*file["episodes"], far]}).encode()))
    train_by_reinforcement(recipe(episodes={"train": str(path)}), tmp_path / "run")
    lines = [json.loads(line) for line in metrics(tmp_path / "run")]
    assert len(lines) == 3 and all(line["walks"] >= 4 for line in lines)
    assert any("navigation_error" in line for line in lines) and any(line["unreachable"] for line in lines)
    assert all("navigation_error" in line or line["unreachable"] == line["walks"] for line in lines)


def test_what_an_environment_of_its_own_process_raised_is_not_hidden(recipe, tmp_path):
    config = recipe(episodes={"scenes": str(tmp_path / "none")}, workers=2)
    with pytest.raises(ChildProcessError, match="what it raised stands above"):
        train_by_reinforcement(config, tmp_path / "run")


@pytest.mark.parametrize("size", ["tiny", "laptop", "base"])
def test_recipes_that_ship_can_be_read(size):
    config = load(f"reinforcement_{size}", (), kind="train")
    assert isinstance(config, ReinforcementConfig)
    assert config.start == f"runs/imitation_{size}/best"
