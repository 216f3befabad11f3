"""Training a planner: it learns tours by heart, is the same after being killed, and refuses what cannot be."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from short_tours import make_tours
from short_tours import recipe as imitation
from striking import begin, kill_when
from torch.nn import functional as F

from navloop.agent.planner_saving import load_planner, planner_digest
from navloop.configs.loader import load
from navloop.configs.planning import PlannerTrainConfig
from navloop.configs.schema import EvalConfig
from navloop.envs.episodes import read_episodes
from navloop.envs.glancing import GlancingEnv
from navloop.envs.navigation import NavigationEnv
from navloop.training.entrants import find_entrants
from navloop.training.planned_walks import DecidedWalks
from navloop.training.planner.crew import planner_protocol
from navloop.training.planner.learner import decision_losses
from navloop.training.planner.training import train_by_oracle
from navloop.training.planning import TaughtAgent, lesson_of, planner_loss, planner_scores
from navloop.training.rollouts import Rollouts
from navloop.training.starts import load_start
from navloop.training.walks import WalksError

SIZES = {
    "waypoints": {"width": 48, "heads": 4, "hidden": 64, "dropout": 0.0, "depth_channels": 16},
    "planner": {
        "width": 32,
        "heads": 4,
        "hidden": 64,
        "text_layers": 1,
        "cross_layers": 1,
        "panorama_layers": 1,
        "max_words": 80,
        "max_decisions": 15,
        "rgb_features": 32,
        "depth_features": 16,
        "dropout": 0.0,
        "feature_dropout": 0.0,
    },
}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def tours(tmp_path_factory) -> Path:
    return make_tours(tmp_path_factory.mktemp("tours") / "short")


def recipe(tours: Path, **fields: Any) -> PlannerTrainConfig:
    """Return a recipe of seconds; dicts add to what is there."""
    split = {name: str(tours / "episodes" / name / f"{name}.json.gz") for name in ("train", "val_seen", "val_unseen")}
    base: dict[str, Any] = {
        "name": "short",
        "episodes": {"scenes": str(tours / "scenes"), **split, "protocol": "houses+pano12", "pixels": 16},
        "views": {"size": 32},
        "planner": SIZES,
        "predictor": {"places": 64, "held_out": 12, "steps": 80, "batch": 16, "lr": 2e-3},
        "oracle": {"iterations": 2, "p": 0.5, "max_steps": 150, "part": 3},
        "learning": {"epochs": 2, "batch": 3, "lr": 2e-3},
        "device": "cpu",
        "workers": 1,
        "lanes": 4,
        "evaluate": 1,
        "checkpoint_every": 3,
        "log_every": 2,
    }
    for name, value in fields.items():
        base[name] = {**base.get(name, {}), **value} if isinstance(value, dict) else value
    return PlannerTrainConfig.model_validate(base)


@pytest.fixture(scope="module")
def by_heart(tours, tmp_path_factory) -> Path:
    """A run that has learned the eight train tours; they are its val_seen, too."""
    train = str(tours / "episodes" / "train" / "train.json.gz")
    config = recipe(
        tours,
        episodes={"val_seen": train},
        evaluate=16,
        oracle={"iterations": 1},
        learning={"epochs": 250, "batch": 8, "lr": 2e-3},
        checkpoint_every=500,
    )
    folder = tmp_path_factory.mktemp("runs") / "by_heart"
    train_by_oracle(config, folder)
    return folder


@pytest.fixture(scope="module")
def whole(tours, by_heart, tmp_path_factory) -> Path:
    """A run that was never disturbed."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train_by_oracle(recipe(tours, predictor_from=str(by_heart)), folder)
    return folder


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def results(folder: Path) -> dict[str, bytes]:
    """All that follows from the recipe alone."""
    found = [folder / "metrics.jsonl", *sorted(folder.glob("evaluations/*")), *sorted(folder.glob("walks/*/*"))]
    for agent in ("last/agent", "best"):
        found += [folder / agent / name for name in ("agent.json", "planner.safetensors")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_eight_tours_are_learned_by_heart(by_heart):
    last = lines(by_heart)[-1]
    assert last["walks"] == 8 and last["walks_success"] == 1.0 == last["walks_as_wanted"]
    assert last["accuracy"] > 0.99 and last["stop_recall"] > 0.99
    assert last["val_seen_success"] == 1.0  # both wordings of all eight, through the real environment
    assert last["predictor_walkable"] > last["predictor_chance"] + 0.2  # in a house that it has not seen


def test_a_run_enters_a_benchmark_by_its_best_planner(tours, by_heart):
    config = EvalConfig(
        episodes=str(tours / "episodes" / "train" / "train.json.gz"),
        scenes=str(tours / "scenes"),
        protocol="houses+pano12",
        pixels=16,
        depth=True,
        agents=(str(by_heart),),
    )
    (entrant,) = find_entrants(config)
    assert (entrant.label, Path(entrant.source)) == ("by_heart", by_heart / "best")
    assert entrant.weights == planner_digest(by_heart / "best") and len(entrant.cameras) == 24
    with pytest.raises(ValueError, match="looks at"):
        find_entrants(config.model_copy(update={"protocol": "houses"}))


def test_a_run_keeps_what_it_says(whole, by_heart):
    told = lines(whole)
    assert [line["step"] for line in told] == [2, 3, 4, 6, 8, 9, 10, 12, 14, 15, 16, 18]
    ends = [line for line in told if "walks" in line]
    assert [(line["step"], line["walks"]) for line in ends] == [(6, 8), (18, 8)]
    assert ends[0]["walks_as_wanted"] == 1.0 > ends[1]["walks_as_wanted"]  # then it decides by itself now and then
    kept = [walk for k in range(2) for walk in DecidedWalks(whole / "walks" / f"{k:02d}").all()]
    assert len(kept) == 16 and {len(walk.lesson.candidates.valid[0]) for walk in kept} == {5}
    ours, given = (load_planner(folder / "best") for folder in (whole, by_heart))
    for part in ("eyes", "predictor"):
        state = getattr(ours, part).state_dict()
        assert all(torch.equal(state[name], tensor) for name, tensor in getattr(given, part).state_dict().items())
    assert ours.protocol == "houses@1+pano12"


def test_a_killed_run_goes_on_as_if_it_had_not_been(tours, by_heart, whole, tmp_path):
    config, folder = recipe(tours, predictor_from=str(by_heart)), tmp_path / "killed"
    walking_again = (folder / "walks" / "01" / "part_0000.safetensors").is_file
    kill_when(begin(train_by_oracle, config, folder), walking_again)
    report = train_by_oracle(config, folder)
    assert 6 <= report.resumed < 18 == report.steps
    assert results(folder) == results(whole)
    (folder / "walks" / "01" / "part_0001.safetensors").unlink()
    assert train_by_oracle(config, folder).resumed == 18  # nothing is left to be learned from them
    shutil.rmtree(folder / "step_000018")  # back to step 15, amid the second iteration
    with pytest.raises(WalksError, match="begin another run"):
        train_by_oracle(config, folder)


def test_frames_that_nobody_looks_at_change_nothing(tours, by_heart):
    episodes = recipe(tours).episodes
    protocol = replace(planner_protocol(episodes), max_steps=30)
    kept = []
    for env in (NavigationEnv, GlancingEnv):
        rollouts = Rollouts(episodes, protocol, 2, env)
        taught = TaughtAgent(load_planner(by_heart / "best"), 0.5)
        walked = list(rollouts.walk(taught, read_episodes(Path(episodes.train)).episodes[:3], 0))
        kept.append([path.actions.tolist() for _, path in walked] + [walk.seen[-1].rgb for walk in taught.walks])
        rollouts.close()
    assert kept[0][:3] == kept[1][:3]
    assert all(torch.equal(one, other) for one, other in zip(kept[0][3:], kept[1][3:], strict=True))
    lessons = [lesson_of(walk, 5) for walk in taught.walks]
    together = F.cross_entropy(*planner_scores(taught.planner, lessons), reduction="sum")
    alone = sum(planner_loss(taught.planner, walk) for walk in taught.walks)
    assert float(together.detach()) == pytest.approx(float(alone.detach()), rel=1e-4)


def test_losses_by_hand():
    logits = torch.tensor([[0.0, 0.0, -torch.inf], [0.0, -torch.inf, 0.0]])
    found = decision_losses(logits, torch.tensor([1, 2]), stop=2, smoothing=0.5)
    assert float(found["loss"]) == pytest.approx(0.6931472)  # ln 2, however the label is spread over two alike
    sure = decision_losses(torch.tensor([[4.0, 0.0, -torch.inf]]), torch.tensor([0]), stop=2)
    assert (
        float(sure["loss"]) == pytest.approx(0.0181499, rel=1e-5)
        and float(sure["accuracy"]) == 1
        and "stop_recall" not in sure
    )


def test_it_goes_on_from_a_saved_planner_and_holds_to_it(tours, by_heart, tmp_path):
    config = recipe(
        tours, start=str(by_heart), oracle={"iterations": 1}, learning={"lr": 1e-5, "epochs": 1}, evaluate=0
    )
    train_by_oracle(config, tmp_path / "run")
    assert load_planner(tmp_path / "run" / "last" / "agent").config == load_planner(by_heart / "best").config
    assert planner_digest(tmp_path / "run" / "last" / "agent") != planner_digest(by_heart / "best")
    assert lines(tmp_path / "run")[-1]["accuracy"] > 0.9


def test_other_algorithms_do_not_go_on_from_a_planner_or_from_nothing(tours, by_heart):
    for start, said in (
        (str(by_heart), r"start: .* is a planner, which learns by `algorithm: planner` alone"),
        ("nowhere", r"start: agent 'nowhere': no such folder"),
    ):
        with pytest.raises(ValueError, match=said):
            load_start(imitation(tours, start=start))


def test_recipes_that_cannot_be_are_refused(tours, by_heart, tmp_path):
    with pytest.raises(ValidationError, match="views and planner"):
        recipe(tours, agent={"policy": {"width": 64}})
    with pytest.raises(ValidationError, match="leave out start or predictor_from"):
        recipe(tours, start="a", predictor_from="b")
    with pytest.raises(ValidationError, match="embedded world alone"):
        recipe(tours, episodes={"world": "habitat"})
    with pytest.raises(ValidationError, match="min_lr"):
        recipe(tours, learning={"lr": 1e-6})
    with pytest.raises(ValueError, match=r"take houses\+pano12"):
        train_by_oracle(recipe(tours, episodes={"protocol": "houses"}), tmp_path / "run")
    with pytest.raises(ValueError, match="no such folder"):
        train_by_oracle(recipe(tours, start=str(tmp_path / "nobody")), tmp_path / "run")
    wide = {
        "planner": {**SIZES["planner"], "depth_features": 32},
        "waypoints": {**SIZES["waypoints"], "depth_channels": 32},
    }
    with pytest.raises(ValueError, match="depth_features is 32, but the eyes of predictor_from give 16"):
        train_by_oracle(recipe(tours, planner=wide, predictor_from=str(by_heart)), tmp_path / "run")


@pytest.mark.parametrize("size", ["tiny", "laptop"])
def test_recipes_that_ship_can_be_read(size):
    config = load(f"planner_{size}", (), kind="train")
    assert isinstance(config, PlannerTrainConfig) and config.episodes.protocol == "houses+pano12"
