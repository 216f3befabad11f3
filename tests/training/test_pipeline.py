"""Pipelines: steps take what earlier ones left, a second start makes nothing again, and faults come before the first step."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from navloop.configs.loader import RecipeError, list_recipes, load
from navloop.configs.pipeline import PipelineConfig
from navloop.training.pipeline import print_pipeline, run_pipeline
from navloop.weights import digest, read_weights

ENGINE = ["engine.steps=2", "engine.batch=4", "engine.log_every=1", "clips.workers=0"]


def steps(houses: Path) -> list[dict[str, object]]:
    """Return a walk through every kind of step, on films of two walks."""
    episodes = houses / "episodes" / "val_unseen" / "val_unseen.json.gz"
    films = [f"scenes={houses / 'scenes'}", f"episodes={episodes}", "max_walks=2", "workers=1", "width=64"]
    return [
        {"name": "films", "recipe": "replay_demo", "set": films},
        {
            "name": "masked",
            "recipe": "masked_tiny",
            "set": ENGINE,
            "take": ["clips.manifest=films/manifest.jsonl", "held_out=films/walks.jsonl"],
        },
        {
            "name": "classes",
            "recipe": "classification_tiny",
            "set": [*ENGINE, "engine.lr=1.0e-6"],
            "take": ["weights=masked/last/autoencoder.safetensors", "clips.manifest=films/subwalks.jsonl"],
        },
    ]


def pipeline(*steps: dict[str, object]) -> PipelineConfig:
    return PipelineConfig.model_validate({"name": "p", "steps": steps}, strict=False)


def quiet() -> Console:
    return Console(file=io.StringIO())


@pytest.fixture(scope="module")
def finished(houses: Path, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("pipeline") / "run"
    return folder, run_pipeline(pipeline(*steps(houses)), folder, quiet())


def test_a_step_begins_with_what_an_earlier_one_left(finished) -> None:
    folder, _ = finished
    trained = read_weights(folder / "masked" / "last" / "encoder.safetensors").state
    began = read_weights(folder / "classes" / "last" / "encoder.safetensors").state
    name = "blocks.2.mlp.fc1.weight"
    assert (trained[name] - began[name]).abs().max() < 1e-4 < trained[name].abs().max()  # two steps at a rate of 1e-6


def test_a_second_start_makes_nothing_again_and_says_the_same(finished, houses: Path) -> None:
    folder, done = finished
    films = sorted((folder / "films" / "videos").rglob("*.mp4"))
    weights = [folder / name / "last" / "model.safetensors" for name in ("masked", "classes")]
    before = [path.stat().st_mtime_ns for path in (*films, *weights)]
    manifest = (folder / "films" / "manifest.jsonl").read_bytes()
    again = run_pipeline(pipeline(*steps(houses)), folder, quiet())
    assert [path.stat().st_mtime_ns for path in (*films, *weights)] == before
    assert (folder / "films" / "manifest.jsonl").read_bytes() == manifest
    assert len(films) == 2
    assert [(name, metrics) for name, metrics, _ in again] == [(name, metrics) for name, metrics, _ in done]
    assert done[1][1]["held_out_loss"] > 0
    assert done[0][1] == {}


def test_the_table_shows_the_held_out_loss(finished) -> None:
    out = io.StringIO()
    print_pipeline(finished[1], Console(file=out, width=100))
    assert f"{finished[1][1][1]['held_out_loss']:.3f}" in out.getvalue()


def test_a_killed_pipeline_goes_on_to_the_same_weights(finished, houses: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"kind": "pipeline", "name": "p", "steps": steps(houses)}))
    command = [sys.executable, "-m", "navloop.training.cli", "pipeline", recipe, "--run-dir", tmp_path / "run"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (tmp_path / "run" / "masked" / "config.yaml").is_file():
        assert process.poll() is None
    process.kill()
    process.wait()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for step in ("masked", "classes"):
        assert digest(tmp_path / "run" / step / "last" / "model.safetensors") == digest(
            finished[0] / step / "last" / "model.safetensors"
        )


def test_every_recipe_is_read_before_the_first_step_runs(houses: Path, tmp_path: Path) -> None:
    first, *_ = steps(houses)
    wrong = {"name": "later", "recipe": "masked_tiny", "set": ["engine.stps=3"]}
    with pytest.raises(RecipeError, match=r"step later: .*engine\.stps"):
        run_pipeline(pipeline(first, wrong), tmp_path / "run", quiet())
    assert not (tmp_path / "run").exists()


def test_other_kinds_of_recipe_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="kind eval; a pipeline takes houses, replay and pretrain"):
        run_pipeline(pipeline({"name": "eval", "recipe": "eval_demo"}), tmp_path, quiet())


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
    earlier: list[str] = []
    for step in config.steps:
        load(step.recipe, [*step.set, *step.take])
        assert {path.partition("=")[2].split("/")[0] for path in step.take} <= set(earlier)
        earlier.append(step.name)
