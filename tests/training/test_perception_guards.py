"""What would make a measured number wrong without a word: each is refused, or measured again."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from navloop.configs.perception import PerceptionEvalConfig
from navloop.encoders import VideoClassifier, create_encoder, save_classifier
from navloop.training.perception.run import evaluate_perception
from navloop.training.videos import write_video

CLASSES = 3


@pytest.fixture
def data(tmp_path):
    """A film of noise for each of three classes, their list, and a classifier of them."""
    rng = np.random.default_rng(0)
    for number in range(CLASSES):
        write_video(tmp_path / f"{number}.mp4", list(rng.integers(0, 255, (8, 32, 32, 3), dtype=np.uint8)), 8)
    (tmp_path / "list.csv").write_text("".join(f"{number}.mp4 {number}\n" for number in range(CLASSES)))
    torch.manual_seed(0)
    classifier = VideoClassifier(create_encoder("videomae_tiny_p16_t8", frames=8, size=32), CLASSES, init_scale=1.0)
    save_classifier(classifier, tmp_path / "classifier.safetensors")
    return tmp_path


def recipe(data, *tasks, clips=None, **changes):
    said = {
        "weights": str(data / "classifier.safetensors"),
        "tasks": list(tasks) or [{"task": "classification"}],
        "clips": {"manifest": [str(data / "list.csv")], "sampler": "dense", "stride": 1, "workers": 0, **(clips or {})},
        "batch": 2,
        **changes,
    }
    return PerceptionEvalConfig.model_validate_json(json.dumps(said))


def test_films_that_changed_are_measured_again_and_others_are_not(data, tmp_path):
    first = evaluate_perception(recipe(data), tmp_path / "run").outcomes[0]
    file = tmp_path / "run" / "tasks" / "classification.json"
    before = file.stat().st_mtime_ns
    evaluate_perception(recipe(data), tmp_path / "run")
    assert file.stat().st_mtime_ns == before
    write_video(data / "1.mp4", [np.full((32, 32, 3), 200, dtype=np.uint8)] * 8, 8)
    second = evaluate_perception(recipe(data), tmp_path / "run").outcomes[0]
    assert first.data["videos"]["fingerprint"] != second.data["videos"]["fingerprint"]
    assert file.stat().st_mtime_ns > before


def test_a_run_goes_on_with_another_batch_on_another_device(data, tmp_path):
    evaluate_perception(recipe(data, batch=2, device="auto"), tmp_path / "run")
    first = json.loads((tmp_path / "run" / "results.json").read_text())["tasks"]
    evaluate_perception(recipe(data, batch=1, device="cpu"), tmp_path / "run")
    assert json.loads((tmp_path / "run" / "results.json").read_text())["tasks"] == first


def test_folders_to_learn_from_and_to_measure_on_have_the_same_classes(data, tmp_path):
    for name, source in (("train/left", 0), ("train/stop", 1), ("test/right", 2), ("test/stop", 2)):
        (data / name).mkdir(parents=True)
        (data / name / "a.mp4").write_bytes((data / f"{source}.mp4").read_bytes())
    run = recipe(data, {"task": "knn", "k": 1}, train=[str(data / "train")], clips={"manifest": [str(data / "test")]})
    with pytest.raises(ValueError, match=r"task knn: .*train and .*test: .* different names, such as 'left'"):
        evaluate_perception(run, tmp_path / "run")


def test_other_names_of_classes_are_measured_again(data, tmp_path):
    names, task = data / "names.txt", {"task": "zero_shot", "templates": "bare", "classes": str(data / "names.txt")}
    reads = recipe(data, task, weights=None, encoder="internvideo_mm_tiny_p16_t4", clips={"frames": 4, "size": 32})
    names.write_text("stop\nleft\nright\n")
    first = evaluate_perception(reads, tmp_path / "run").outcomes[0]
    names.write_text("stop\nleft\nright\nback\n")
    second = evaluate_perception(reads, tmp_path / "run").outcomes[0]
    assert (first.findings.protocol["classes"], second.findings.protocol["classes"]) == (3, 4)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"train": ["other.csv"]}, "train"),
        ({"unknown": ["other.csv"]}, "unknown"),
        ({"tasks": [{"task": "probe", "train": ["other.csv"]}]}, r"tasks\.0\.train"),
        ({"tasks": [{"task": "knn"}, {"task": "classification", "manifest": ["other.csv"]}]}, r"tasks\.1\.manifest"),
    ],
)
def test_lists_without_a_map_of_labels_are_refused_beside_ones_with_a_map(data, changes, field):
    maps = {"label_maps": [str(data / "map.json")]}
    with pytest.raises(ValueError, match=rf"clips\.label_maps .* for the lists of {field};"):
        recipe(data, clips=maps, **changes)
    recipe(data, clips={"label_maps": [None]}, **changes)
    recipe(data, clips=maps)


@pytest.mark.filterwarnings("ignore:NaN or infinity")
def test_scores_that_are_no_numbers_are_refused_before_they_are_kept(data, tmp_path):
    classifier = VideoClassifier(create_encoder("videomae_tiny_p16_t8", frames=8, size=32), CLASSES)
    with torch.no_grad():
        classifier.head.bias[1] = torch.nan
    save_classifier(classifier, data / "classifier.safetensors")
    with pytest.raises(ValueError, match=r"0\.mp4.*: the encoder's logits are not finite at precision fp32"):
        evaluate_perception(recipe(data), tmp_path / "run")
    assert not list((tmp_path / "run").glob("features/*"))
