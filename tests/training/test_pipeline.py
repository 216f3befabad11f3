"""Pipelines: steps take what earlier ones left, a second start makes nothing again, and faults come before the first step."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from said import navloop
from short_tours import make_tours
from striking import begin, kill_when

from navloop.agent.saving import agent_digest, load_agent
from navloop.configs.entries import read_entry
from navloop.configs.loader import RecipeError, list_recipes, load
from navloop.configs.pipeline import PipelineConfig
from navloop.training.pipeline import run_pipeline
from navloop.training.pipeline_tables import print_pipeline
from navloop.weights import digest, read_weights

ENGINE = ["engine.steps=2", "engine.batch=4", "engine.log_every=1", "clips.workers=0"]


SEEDS = [0, 3]
LEARNT = [("masked", "seed_0"), ("masked", "seed_3"), ("classes", "seed_0"), ("classes", "seed_3")]
CLAIM = {"step": "measured", "score": "classification top-1", "times_chance": 0.001, "than": ["again"]}
BELOW = {"step": "masked", "score": "held_out_baseline", "below": "held_out_loss"}


def steps(houses: Path) -> list[dict[str, object]]:
    """Return a walk through every kind of step, on films of two walks, and two others to measure the loss on."""
    films = [f"scenes={houses / 'scenes'}", "max_walks=2", "workers=1", "width=64"]
    return [
        *(
            {
                "name": name,
                "recipe": "replay_demo",
                "set": [*films, f"episodes={houses / 'episodes' / split / f'{split}.json.gz'}"],
            }
            for name, split in (("films", "val_unseen"), ("unseen", "train"))
        ),
        {
            "name": "masked",
            "recipe": "masked_tiny",
            "set": ENGINE,
            "take": ["clips.manifest=films/manifest.jsonl", "held_out=unseen/walks.jsonl"],
        },
        {
            "name": "classes",
            "recipe": "classification_tiny",
            "set": [*ENGINE, "engine.lr=1.0e-6"],
            "take": ["weights=masked/last/autoencoder.safetensors", "clips.manifest=films/subwalks.jsonl"],
        },
        *(
            {
                "name": name,
                "recipe": "perception_classes",
                "take": ["weights=classes/last/classifier.safetensors", "clips.manifest=films/subwalks.jsonl"],
            }
            for name in ("measured", "again")
        ),
    ]


def pipeline(*steps: dict[str, object], **more: object) -> PipelineConfig:
    return PipelineConfig.model_validate({"name": "p", "steps": steps, **more}, strict=False)


def whole(houses: Path) -> PipelineConfig:
    return pipeline(*steps(houses), seeds=SEEDS, claims=[CLAIM, BELOW])


def quiet() -> Console:
    return Console(file=io.StringIO())


def run_quietly(config: PipelineConfig, folder: Path) -> None:
    run_pipeline(config, folder, quiet())


@pytest.fixture(scope="module")
def finished(houses: Path, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("pipeline") / "run"
    return folder, run_pipeline(whole(houses), folder, quiet())


def test_a_step_begins_with_what_an_earlier_one_of_its_seed_left(finished) -> None:
    folder, _ = finished
    name = "blocks.2.mlp.fc1.weight"
    trained, began = (
        {seed: read_weights(folder / step / seed / "last" / "encoder.safetensors").state[name] for _, seed in LEARNT}
        for step in ("masked", "classes")
    )
    for seed, weights in trained.items():
        # Two steps at a rate of 1e-6 away from it, and far from the other seed's.
        assert (weights - began[seed]).abs().max() < 1e-4 < weights.abs().max()
    assert (trained["seed_0"] - trained["seed_3"]).abs().max() > 1e-2


def test_a_second_start_makes_nothing_again_and_says_the_same(finished, houses: Path) -> None:
    folder, done = finished
    films = sorted((folder / "films" / "videos").rglob("*.mp4"))
    weights = [folder.joinpath(*place, "last", "model.safetensors") for place in LEARNT]
    measured = sorted(folder.glob("measured/*/tasks/*.json"))
    before = [path.stat().st_mtime_ns for path in (*films, *weights, *measured)]
    manifest = (folder / "films" / "manifest.jsonl").read_bytes()
    again = run_pipeline(whole(houses), folder, quiet())
    assert [path.stat().st_mtime_ns for path in (*films, *weights, *measured)] == before
    assert (folder / "films" / "manifest.jsonl").read_bytes() == manifest
    assert (len(films), len(measured)) == (2, 2)
    assert [(one.step, one.seed, one.metrics, one.scores) for one in again] == [
        (one.step, one.seed, one.metrics, one.scores) for one in done
    ]
    assert [(one.step, one.seed) for one in done[:3]] == [("films", None), ("unseen", None), ("masked", 0)]
    assert done[2].metrics["held_out_loss"] > 0
    assert done[0].metrics == {} == done[0].scores


def test_the_summary_and_the_tables_say_what_was_found(finished, houses: Path) -> None:
    folder, done = finished
    summary = json.loads((folder / "summary.json").read_text())
    scores = {one.seed: one.scores["classification top-1"] for one in done if one.step == "measured"}
    assert summary["complete"]
    assert [
        step["scores"]["classification top-1"]["value"] for step in summary["steps"] if step["step"] == "again"
    ] == [score.value for score in scores.values()]
    out = io.StringIO()
    print_pipeline(whole(houses), done, Console(file=out, width=140))
    losses = [one.metrics["held_out_loss"] for one in done if one.step == "masked"]
    assert f"{sum(losses) / 2:.3f}" in out.getvalue()
    assert f"{100 * scores[3].value:.1f}" in out.getvalue()
    assert "measured: classification top-1 is at least 0.001 times chance in" in out.getvalue()
    assert "measured: classification top-1 is at least that of again in 2 of 2 seeds" in out.getvalue()
    pairs = [(one.metrics["held_out_baseline"], one.metrics["held_out_loss"]) for one in done if one.step == "masked"]
    holds, (low, high) = sum(a < b for a, b in pairs), (sum(column) / 2 for column in zip(*pairs, strict=True))
    told = f"masked: held_out_baseline is below held_out_loss in {holds} of 2 seeds (mean {low:.2f} against {high:.2f})"
    assert told in out.getvalue()


def test_seconds_are_those_of_all_starts_also_of_one_that_was_stopped(finished, houses: Path) -> None:
    folder, _ = finished
    before = json.loads((folder / "summary.json").read_text())["steps"]
    blocked = folder / "classes" / "seed_3" / "config.yaml"
    right = blocked.read_text()
    blocked.write_text(right.replace("lr: 1.0e-06", "lr: 0.5"))
    with pytest.raises(ValueError, match="began differently"):
        run_pipeline(whole(houses), folder, quiet())
    blocked.write_text(right)
    stopped = json.loads((folder / "summary.json").read_text())
    assert not stopped["complete"]
    found = {(step["step"], step["seed"]): step for step in stopped["steps"]}
    assert {(step["step"], step["seed"]) for step in before} == set(found)
    again = run_pipeline(whole(houses), folder, quiet())
    for step, last in zip(before, again, strict=True):
        kept = found[step["step"], step["seed"]]
        assert (kept["metrics"], kept["scores"]) == (step["metrics"], step["scores"])
        assert step["seconds"] <= kept["seconds"] < last.seconds
    assert (
        found["classes", 3]["seconds"] == next(s for s in before if (s["step"], s["seed"]) == ("classes", 3))["seconds"]
    )


def test_a_summary_that_is_none_is_refused(finished, houses: Path) -> None:
    summary = finished[0] / "summary.json"
    right = summary.read_text()
    summary.write_text('{"steps": [3]}')
    with pytest.raises(ValueError, match=r"summary\.json: not the summary of a pipeline .*; delete it"):
        run_pipeline(whole(houses), finished[0], quiet())
    summary.write_text(right)


def test_a_claim_about_no_step_or_no_score_is_refused(finished, houses: Path) -> None:
    with pytest.raises(ValueError, match="a claim is about step 'nobody'; there are films, unseen, masked"):
        pipeline(*steps(houses), claims=[CLAIM | {"step": "nobody"}])
    config = pipeline(*steps(houses), seeds=SEEDS, claims=[CLAIM | {"score": "top-1"}])
    with pytest.raises(ValueError, match="step measured has no score 'top-1'; it has classification top-1"):
        print_pipeline(config, finished[1], quiet())


def test_a_killed_pipeline_goes_on_to_the_same_weights(finished, houses: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"kind": "pipeline", **whole(houses).model_dump(mode="json")}))
    learning = (tmp_path / "run" / "masked" / "seed_3" / "config.yaml").is_file
    kill_when(begin(run_quietly, whole(houses), tmp_path / "run"), learning)
    done = navloop("pipeline", recipe, "--run-dir", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    for place in LEARNT:
        file = Path(*place, "last", "model.safetensors")
        assert digest(tmp_path / "run" / file) == digest(finished[0] / file)


def test_every_recipe_is_read_before_the_first_step_runs(houses: Path, tmp_path: Path) -> None:
    first, *_ = steps(houses)
    wrong = {"name": "later", "recipe": "masked_tiny", "set": ["engine.stps=3"]}
    with pytest.raises(RecipeError, match=r"step later: .*engine\.stps"):
        run_pipeline(pipeline(first, wrong), tmp_path / "run", quiet())
    assert not (tmp_path / "run").exists()


def test_pipelines_of_pipelines_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="pipeline_tiny is a pipeline itself"):
        run_pipeline(pipeline({"name": "all", "recipe": "pipeline_tiny"}), tmp_path, quiet())


def test_agents_are_trained_and_measured_seed_by_seed(tmp_path: Path) -> None:
    tours = make_tours(tmp_path / "tours")
    file = tours / "episodes" / "train" / "train.json.gz"
    small = ["collection.iterations=1", "learning.epochs=2", "collection.max_steps=20", "evaluate=0", "workers=1"]
    trains = [f"episodes.scenes={tours / 'scenes'}", f"episodes.train={file}", *small]
    trains += ["episodes.val_seen=null", "episodes.val_unseen=null", "agent.policy.width=32", "agent.policy.layers=1"]
    measures = [f"scenes={tours / 'scenes'}", f"episodes={file}", "max_episodes=4", "workers=1"]
    config = pipeline(
        {"name": "walker", "recipe": "imitation_tiny", "set": trains},
        {
            "name": "measured",
            "recipe": "eval_short_tiny",
            "set": measures,
            "take": ["agents=agent=walker,agent=walker/last+shuffled"],
        },
        seeds=SEEDS,
    )
    done = run_pipeline(config, tmp_path / "run", quiet())
    assert [(one.step, one.seed) for one in done] == [(s, n) for n in SEEDS for s in ("walker", "measured")]
    assert list(done[1].scores) == ["agent SR", "agent SPL", "agent+shuffled SR", "agent+shuffled SPL"]
    summary = json.loads((tmp_path / "run" / "measured" / "seed_3" / "summary.json").read_text())
    walked = summary["agents"]["agent"]
    assert done[3].scores["agent SPL"].value == pytest.approx(walked["metrics"]["spl"]["mean"], abs=1e-6)
    assert walked["weights"] == agent_digest(tmp_path / "run" / "walker" / "seed_3" / "last" / "agent")
    agents = [load_agent(tmp_path / "run" / "walker" / f"seed_{seed}" / "last" / "agent") for seed in SEEDS]
    assert agent_digest(tmp_path / "run" / "walker" / "seed_0" / "last" / "agent") != walked["weights"]
    assert agents[0].perception.digest != agents[1].perception.digest  # random eyes are a seed's too


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ([{"name": "a", "recipe": "x"}, {"name": "a", "recipe": "y"}], "two steps have the name 'a'"),
        ([{"name": "a", "recipe": "x", "set": ["seed"]}], "'seed' is not KEY=VALUE"),
        ([{"name": "a/b", "recipe": "x"}], "pattern"),
        ([], "at least 1 item"),
    ],
)
def test_wrong_steps_are_refused(broken: list[dict[str, object]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pipeline(*broken)


@pytest.mark.parametrize("name", list_recipes("pipeline"))
def test_the_steps_of_shipped_pipelines_load(name: str) -> None:
    config = load(name, kind="pipeline")
    assert isinstance(config, PipelineConfig)
    earlier = list(config.inputs)
    for step in config.steps:
        load(step.recipe, [*step.set, *step.take])
        taken = [read_entry(entry).source for taken in step.take for entry in taken.partition("=")[2].split(",")]
        assert {path.split("/")[0] for path in taken} <= set(earlier)
        earlier.append(step.name)


@pytest.mark.parametrize(
    ("inputs", "taken", "told"),
    [
        (
            {},
            "clips.manifest=videos/train.jsonl",
            "step masked takes 'videos/train.jsonl', but before it there are no others",
        ),
        ({"video": "x"}, "clips.manifest=videos", "step masked takes 'videos', but before it there are video"),
        ({"masked": "x"}, "clips.manifest=masked", "an input and a step have the name 'masked'"),
        ({"video": "x"}, "clips.manifest=", "step masked takes '', but before it there are video"),
        ({"video": ""}, "clips.manifest=video", "at least 1 character"),
    ],
)
def test_a_step_takes_inputs_and_what_is_before_it_alone(inputs, taken, told):
    step = {"name": "masked", "recipe": "masked_tiny", "take": [taken]}
    with pytest.raises(ValueError, match=told):
        PipelineConfig.model_validate_json(json.dumps({"inputs": inputs, "steps": [step]}))


def test_an_input_that_is_not_there_is_told_before_the_first_step(tmp_path: Path) -> None:
    step = {"name": "masked", "recipe": "masked_tiny", "take": ["clips.manifest=video"]}
    config = PipelineConfig.model_validate_json(json.dumps({"inputs": {"video": "nowhere.jsonl"}, "steps": [step]}))
    with pytest.raises(RecipeError, match=r"inputs\.video: nowhere\.jsonl is not there"):
        run_pipeline(config, tmp_path / "run", Console(quiet=True))
    assert not (tmp_path / "run").exists()


def test_pipelines_without_reinforcement_do_not_ask_for_its_library():
    program = "import sys; sys.modules['stable_baselines3'] = None; import navloop.training.pipeline"
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "kind"), [("collect_tiny", "collect"), ("speaker_tiny", "train, algorithm speaker"), ("loop_tiny", "loop")]
)
def test_steps_that_no_pipeline_can_do_are_refused_before_the_first(tmp_path, name, kind):
    steps = ({"name": "houses", "recipe": "houses_short_tiny"}, {"name": "more", "recipe": name})
    config = PipelineConfig.model_validate({"name": "no", "steps": steps})
    with pytest.raises(RecipeError, match=f"step more: {name}: a pipeline has no steps of kind {kind}; run its recipe"):
        run_pipeline(config, tmp_path / "run", Console(quiet=True))
    assert not (tmp_path / "run" / "houses").exists()
