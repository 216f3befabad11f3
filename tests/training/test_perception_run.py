"""Perception end to end: films, an encoder and its classifier through the command, compared with a computation by hand."""

from __future__ import annotations

import json

import av
import numpy as np
import pytest
import torch
import yaml
from said import navloop

from navloop.configs.loader import RecipeError, load
from navloop.configs.perception import PerceptionEvalConfig
from navloop.encoders import (
    CoordinatedClassifier,
    VideoClassifier,
    create_encoder,
    load_classifier,
    save_classifier,
    save_encoder,
)
from navloop.training.perception.run import evaluate_perception
from navloop.training.perception.subject import load_subject
from navloop.training.videos import write_video
from navloop.weights import digest, read_weights

ENCODER, CLASSES, FRAMES, SIZE = "videomae_tiny_p16_t8", 3, 8, 32
CLIPS, CROPS, STRIDE = 2, 3, 2
HEIGHT, WIDTH, LENGTH = 32, 48, 30


def film(path, label, seed):
    """A bright bar on a dark ground: it stands (0), moves right (1), or moves left (2)."""
    rng = np.random.default_rng(seed)
    left, speed, frames = int(rng.integers(18, 24)), (0, 1, -1)[label], []
    for number in range(LENGTH):
        frame = rng.integers(0, 40, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        place = (left + speed * number) % (WIDTH - 6)
        frame[:, place : place + 6] = (220, 90 * label, 60)
        frames.append(frame)
    write_video(path, frames, 8)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Films of three scenes to measure on, one of them broken, and others to learn from and of unknown classes; a classifier."""
    folder = tmp_path_factory.mktemp("perception")
    for name, count, first in (("test", 9, 0), ("train", 12, 100), ("unknown", 4, 200)):
        lines = []
        for number in range(count):
            film(folder / f"{name}{number}.mp4", number % CLASSES, first + number)
            label = {"label": number % CLASSES} if name != "unknown" else {"label": 7}
            lines.append({"video": f"{name}{number}.mp4", "scene_id": f"house {number // 3}", **label})
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "test4.mp4").write_bytes(b"no film")
    torch.manual_seed(0)
    encoder = create_encoder(ENCODER, frames=FRAMES, size=SIZE)
    classifier = VideoClassifier(encoder, CLASSES, init_scale=50.0)
    save_classifier(classifier, folder / "classifier.safetensors")
    save_encoder(encoder, folder / "encoder.safetensors")
    return folder


def recipe(data, *tasks, **changes):
    clips = {"sampler": "dense", "stride": STRIDE, "clips": CLIPS, "crops": CROPS, "workers": 0, "max_unreadable": 0.2}
    said = {
        "kind": "perception",
        "weights": str(data / "classifier.safetensors"),
        "train": [str(data / "train.jsonl")],
        "unknown": [str(data / "unknown.jsonl")],
        "tasks": list(tasks),
        "batch": 4,
        **changes,
    }
    return {**said, "clips": {"manifest": [str(data / "test.jsonl")], **clips, **changes.get("clips", {})}}


def config(data, *tasks, **changes):
    return PerceptionEvalConfig.model_validate_json(json.dumps(recipe(data, *tasks, **changes)))


TASKS = (
    {"task": "classification"},
    {"task": "probe", "penalties": [0.01, 1.0], "folds": 2},
    {"task": "knn", "k": 3},
    {"task": "open_set"},
)


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """What the command prints of all tasks, and its run folder."""
    run = tmp_path_factory.mktemp("runs") / "run"
    (data / "recipe.yaml").write_text(yaml.safe_dump(recipe(data, *TASKS)))
    result = navloop("eval", data / "recipe.yaml", "--run-dir", run)
    assert result.returncode == 0, result.stderr
    return result, run


def by_hand(data, number):
    """Return the mean softmax over the views of a film, cut as the published evaluation says."""
    with av.open(str(data / f"test{number}.mp4")) as container:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    assert frames.shape == (LENGTH, HEIGHT, WIDTH, 3)
    every = frames[::STRIDE]
    views = []
    for clip in range(CLIPS):
        start = int(clip * (len(every) - FRAMES) / (CLIPS - 1))
        for crop in range(CROPS):
            left = int(crop * (WIDTH - SIZE) / (CROPS - 1))
            views.append(every[start : start + FRAMES, :, left : left + SIZE])
    classifier = load_classifier(data / "classifier.safetensors")
    with torch.no_grad():
        logits = classifier(classifier.encoder.to_pixels(np.stack(views)))
    return logits.softmax(1).mean(0)


def test_the_command_measures_every_task_and_says_how(finished, data):
    result, run = finished
    said = json.loads((run / "results.json").read_text())
    assert said["complete"] is True
    assert said["weights"]["digest"] == digest(data / "classifier.safetensors")
    assert [task["title"] for task in said["tasks"]] == ["classification", "probe", "knn", "open_set"]
    shown = said["tasks"][0]["data"]["videos"]["shown"]
    assert (shown["clips"], shown["crops"], shown["sampler"], shown["size"], shown["frames"]) == (2, 3, "dense", 32, 8)
    for task in said["tasks"]:
        assert task["data"]["videos"]["videos"] == 9 and task["data"]["videos"]["unreadable"] == 1
        for score in task["findings"]["scores"]:
            assert score["low"] <= score["value"] <= score["high"]
            assert score["metric"] in result.stdout
    assert "1 unreadable" in result.stdout
    (listed,) = (run / "unreadable").glob("*.jsonl")
    assert "test4.mp4" in listed.read_text()


def test_classification_is_the_mean_of_probabilities_over_published_views(finished, data):
    task = json.loads((finished[1] / "results.json").read_text())["tasks"][0]
    readable = [number for number in range(9) if number != 4]
    probabilities = torch.stack([by_hand(data, number) for number in readable])
    labels = torch.tensor([number % CLASSES for number in readable])
    own = probabilities.gather(1, labels[:, None])
    ranks = (probabilities >= own).sum(1).tolist()
    assert [video["rank"] for video in task["findings"]["details"]["videos"]] == ranks
    assert len(set(ranks)) > 1  # a classifier that gives all films one class would show nothing
    values = {score["metric"]: score["value"] for score in task["findings"]["scores"]}
    hits = [rank == 1 for rank in ranks]
    assert values["top-1"] == pytest.approx(np.mean(hits))
    each = [np.mean([hit for hit, label in zip(hits, labels, strict=True) if label == c]) for c in range(CLASSES)]
    assert values["mean class"] == pytest.approx(np.mean(each))
    classes = task["findings"]["details"]["classes"]
    assert [row["videos"] for row in classes] == [3, 2, 3]
    assert [row["accuracy"] for row in classes] == pytest.approx(each, abs=1e-6)


def test_a_second_start_measures_nothing_again_and_prints_the_same(finished, data):
    result, run = finished
    before = {path: path.stat().st_mtime_ns for path in [*run.glob("tasks/*"), *run.glob("features/*")]}
    again = navloop("eval", data / "recipe.yaml", "clips.workers=1", "--run-dir", run)
    assert again.returncode == 0, again.stderr
    assert again.stdout == result.stdout
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert again.stderr.count("measured before") == 4


def test_a_run_goes_on_after_the_tasks_that_are_done(finished, data, tmp_path):
    evaluate_perception(config(data, *TASKS[:2]), tmp_path / "run")
    assert json.loads((tmp_path / "run" / "results.json").read_text())["complete"] is True
    (tmp_path / "run" / "tasks" / "probe.json").unlink()
    evaluate_perception(config(data, *TASKS), tmp_path / "run")
    ours = json.loads((tmp_path / "run" / "results.json").read_text())["tasks"]
    theirs = json.loads((finished[1] / "results.json").read_text())["tasks"]
    assert [task["findings"] for task in ours] == [task["findings"] for task in theirs]


def test_a_task_that_says_something_else_is_measured_again(data, tmp_path):
    first = evaluate_perception(config(data, {"task": "knn", "k": 1}), tmp_path / "run").outcomes[0]
    embedded = sorted((tmp_path / "run" / "features").iterdir())
    second = evaluate_perception(config(data, {"task": "knn", "k": 12}), tmp_path / "run").outcomes[0]
    assert (first.config["k"], second.config["k"]) == (1, 12)
    assert first.findings != second.findings  # all 12 neighbours vote alike for every clip
    assert sorted((tmp_path / "run" / "features").iterdir()) == embedded


def test_another_list_under_the_same_name_is_refused(data, tmp_path):
    mine = tmp_path / "test.jsonl"
    lines = (data / "test.jsonl").read_text().replace('"video": "', f'"video": "{data}/').splitlines()
    mine.write_text("\n".join(lines[:4]))
    changed = {"clips": {"manifest": [str(mine)]}}
    evaluate_perception(config(data, TASKS[0], **changed), tmp_path / "run")
    mine.write_text("\n".join(lines[:3]))
    with pytest.raises(ValueError, match=r"data of .*test\.jsonl was"):
        evaluate_perception(config(data, TASKS[0], **changed), tmp_path / "run")


def test_a_film_that_changed_is_embedded_again(data, tmp_path):
    folder = tmp_path / "films"
    folder.mkdir()
    for number in range(3):
        film(folder / f"{number}.mp4", number, number)
    (folder / "list.csv").write_text("".join(f"{number}.mp4 {number}\n" for number in range(3)))
    changed = {"clips": {"manifest": [str(folder / "list.csv")]}}
    evaluate_perception(config(data, TASKS[0], **changed), tmp_path / "run")
    film(folder / "1.mp4", 2, 9)
    evaluate_perception(config(data, {**TASKS[0], "name": "again"}, **changed), tmp_path / "run")
    assert len(list((tmp_path / "run" / "features").glob("*_logits.safetensors"))) == 2


def test_too_many_unreadable_films_stop_the_run(data, tmp_path):
    with pytest.raises(ValueError, match=r"task classification: 1 of 9 videos \(11\.11%\) could not be read"):
        evaluate_perception(config(data, TASKS[0], clips={"max_unreadable": 0.05}), tmp_path / "run")


@pytest.mark.parametrize(
    ("task", "changes", "message"),
    [
        ({"task": "classification"}, {"weights": "encoder.safetensors"}, "needs a classifier"),
        ({"task": "knn", "k": 13}, {}, "k is 13, and there are 12 clips"),
        ({"task": "knn", "k": 3}, {"train": []}, "nothing to learn from"),
        ({"task": "knn", "k": 3}, {"train": ["test.jsonl"]}, "measured clips that are also learned from: 9 of 9"),
        ({"task": "open_set"}, {"unknown": []}, "no videos of unknown classes"),
        ({"task": "classification", "manifest": ["unknown.jsonl"]}, {}, "label 7 is out of range; the scores are of 3"),
        ({"task": "classification"}, {"weights": None}, "neither encoder nor weights"),
        ({"task": "classification"}, {"encoder": "internvideo_mm_tiny_p16_t4"}, "do not fit"),
        ({"task": "classification"}, {"device": "cuda:99"}, "device 'cuda:99' cannot be used"),
    ],
)
def test_what_does_not_fit_is_told(data, tmp_path, task, changes, message):
    placed = {
        name: [str(data / path) for path in value] if isinstance(value, list) else value
        for name, value in changes.items()
    }
    if str(placed.get("weights")).startswith("encoder"):
        placed["weights"] = str(data / "encoder.safetensors")
    task = {**task, "manifest": [str(data / path) for path in task.get("manifest", [])]}
    with pytest.raises(ValueError, match=message):
        evaluate_perception(config(data, task, **placed), tmp_path / "run")


def test_what_a_later_task_lacks_is_told_before_the_first_looks_at_a_film(data, tmp_path):
    for wrong, message in (
        ({"task": "retrieval"}, "task retrieval: .*test.jsonl, line 1: has no caption"),
        ({"task": "knn", "train": [str(data / "gone.jsonl")]}, "task knn: .*gone.jsonl: no such list of videos"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate_perception(config(data, TASKS[0], wrong), tmp_path / wrong["task"])
        assert not (tmp_path / wrong["task"] / "features").exists()


def test_a_recipe_fault_names_its_line_and_the_nearest_field(data, tmp_path):
    text = "kind: perception\nclips:\n  manifest: [a]\ntasks:\n  - task: knn\n    temprature: 0.1\n  - task: probe\n    folds: 1\n"
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(RecipeError) as error:
        load(tmp_path / "r.yaml")
    first, second = str(error.value).splitlines()
    assert "line 6" in first and "did you mean 'tasks.0.temperature'?" in first
    assert "line 8" in second and "tasks.1.folds is 1; it must be integer, at least 2" in second
    (tmp_path / "r.yaml").write_text(text.replace("task: knn", "task: kn").replace("task: probe", "tsk: probe"))
    with pytest.raises(RecipeError) as error:
        load(tmp_path / "r.yaml")
    first, second = str(error.value).splitlines()
    assert "line 5: tasks.0.task is 'kn'; did you mean 'knn'" in first
    assert "line 7: tasks.1.task is missing; known: classification, probe" in second


def test_entries_of_tasks_take_overrides(data, finished):
    loaded = load(data / "recipe.yaml", ["tasks.2.k=9", "tasks.1.penalties=0.5"], kind=("eval", "perception"))
    assert loaded.tasks[2].k == 9 and loaded.tasks[1].penalties == (0.5,)
    with pytest.raises(RecipeError, match=r"unknown key 'tasks\.4\.k'"):
        load(data / "recipe.yaml", ["tasks.4.k=9"])
    with pytest.raises(RecipeError, match="this recipe is for 'navloop eval', not for 'navloop houses'"):
        load(data / "recipe.yaml", kind="houses")


def test_two_tasks_of_one_name_are_refused(data):
    with pytest.raises(ValueError, match="two tasks are called 'knn'"):
        config(data, {"task": "knn"}, {"task": "knn", "k": 5})


def test_a_coordinated_classifier_is_read_with_one_look(data, tmp_path):
    torch.manual_seed(1)
    classifier = CoordinatedClassifier(create_encoder("internvideo_tiny_p16_t8", frames=8, size=32), CLASSES).eval()
    save_classifier(classifier, tmp_path / "classifier.safetensors")
    run = config(
        data,
        {"task": "classification", "clips": 1, "crops": 1},
        {"task": "knn", "k": 3, "clips": 1, "crops": 1},
        weights=str(tmp_path / "classifier.safetensors"),
    )
    evaluate_perception(run, tmp_path / "run")
    files = {path.name.split("_")[1]: read_weights(path).state for path in (tmp_path / "run" / "features").iterdir()}
    assert set(files) == {"features.safetensors", "pooled.safetensors", "logits.safetensors"}
    with av.open(str(data / "test0.mp4")) as container:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    start = (LENGTH - FRAMES * STRIDE) // 2
    points = np.linspace(start, start + FRAMES * STRIDE, FRAMES).clip(None, start + FRAMES * STRIDE - 1).astype(int)
    pixels = classifier.encoder.to_pixels(frames[points][None, :, :, 8:40])
    embedded = {}
    for path in (tmp_path / "run" / "features").iterdir():
        state = read_weights(path).state
        if len(state["rows"]) == 8:
            embedded[path.stem.split("_")[1]] = state["values"][0]
    with torch.no_grad():
        torch.testing.assert_close(embedded["logits"][0], classifier(pixels)[0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(embedded["features"], classifier.encoder.features(pixels)[0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(embedded["pooled"], classifier.encoder(pixels).pooled[0], atol=1e-5, rtol=1e-4)


def test_a_film_of_too_few_seconds_is_padded_with_the_mean_colour_of_each_branch(data, tmp_path):
    torch.manual_seed(1)
    classifier = CoordinatedClassifier(create_encoder("internvideo_tiny_p16_t8", frames=8, size=32), CLASSES).eval()
    save_classifier(classifier, tmp_path / "classifier.safetensors")
    views = {"sampler": "seconds", "clips": 1, "crops": 1}
    run = config(data, {"task": "knn", "k": 3}, weights=str(tmp_path / "classifier.safetensors"), clips=views)
    evaluate_perception(run, tmp_path / "run")
    with av.open(str(data / "test0.mp4")) as container:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    clip = np.zeros((1, FRAMES, SIZE, SIZE, 3), np.uint8)
    clip[0, :4] = frames[::8][:, :, 8:40]  # 30 frames, 8 a second: 4 whole seconds begin
    encoder = classifier.encoder
    pixels = encoder.to_pixels(clip)
    pixels.masked[:, :, 4:] = 0
    pixels.multimodal[:, :, 4 // encoder.config.stride :] = 0
    kept = [read_weights(file).state for file in (tmp_path / "run" / "features").glob("*_features.safetensors")]
    (values,) = (state["values"] for state in kept if len(state["rows"]) == 8)  # the others are of the train list
    with torch.no_grad():
        torch.testing.assert_close(values[0], encoder.features(pixels)[0], atol=1e-5, rtol=1e-4)


def test_weights_of_no_known_encoder_need_its_name_and_number_of_classes(data, tmp_path):
    state = read_weights(data / "classifier.safetensors").state
    torch.save(state, tmp_path / "bare.pth")
    bare = {"weights": str(tmp_path / "bare.pth")}
    with pytest.raises(ValueError, match="does not say what encoder it is of; name it"):
        load_subject(config(data, TASKS[0], **bare))
    named = {**bare, "encoder": ENCODER, "clips": {"frames": FRAMES, "size": SIZE}}
    with pytest.raises(ValueError, match=r"clips\.num_classes is not set"):
        load_subject(config(data, TASKS[0], **named))
    named["clips"]["num_classes"] = CLASSES
    assert load_subject(config(data, TASKS[0], **named)).digest == digest(state)


def test_random_weights_follow_from_the_seed(data):
    bare = {"weights": None, "encoder": ENCODER}
    first, again, other = (load_subject(config(data, TASKS[2], **bare, seed=seed)).digest for seed in (0, 0, 1))
    assert first == again != other
