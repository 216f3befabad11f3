"""What two lists both show: by real paths and overlapping times, however it is spelled; and who refuses it."""

import json
import os

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from navloop.configs.loader import load
from navloop.configs.perception import PerceptionEvalConfig
from navloop.encoders import VideoClassifier, create_encoder, save_classifier
from navloop.training import overlaps
from navloop.training.cli import main
from navloop.training.clip_rows import ClipRow, ClipRows
from navloop.training.listings import ManifestError
from navloop.training.overlaps import require_apart, shared_rows
from navloop.training.perception.run import evaluate_perception
from navloop.training.pretraining import create_stage, pretrain
from navloop.training.videos import write_video

QUIET = Console(quiet=True)


def rows(*paths, **fields):
    return ClipRows(ClipRow(path=str(path), place=f"line {number}", **fields) for number, path in enumerate(paths, 1))


def shared(asked, known):
    numbers, twins = shared_rows(asked, known)
    return list(zip(numbers.tolist(), twins.tolist(), strict=True))


@pytest.mark.parametrize(
    "spelled", ["a/b/../v.mp4", "a//v.mp4", "./a/v.mp4", "link/v.mp4", "a/w.mp4", "link/../a/w.mp4", "{}/a/v.mp4"]
)
def test_a_file_is_the_same_however_its_path_is_spelled(tmp_path, monkeypatch, spelled):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "v.mp4").touch()
    (tmp_path / "a" / "w.mp4").symlink_to("v.mp4")
    (tmp_path / "link").symlink_to("a")
    spelled = spelled.format(tmp_path)
    for known in ("a/v.mp4", tmp_path / "a" / "v.mp4", "a/w.mp4"):
        assert shared(rows("a/other.mp4", spelled), rows("gone/x.mp4", known)) == [(1, 1)]


def test_folders_of_frames_are_the_same_too(tmp_path):
    (tmp_path / "v").mkdir()
    (tmp_path / "w").symlink_to("v")
    assert shared(rows(f"{tmp_path}/v/"), rows(f"{tmp_path}/w")) == [(0, 0)]
    assert shared(rows(f"{tmp_path}/v/."), rows(f"{tmp_path}/v/../w/")) == [(0, 0)]


def test_paths_of_no_file_are_compared_as_they_are():
    assert shared(rows("nul\0.mp4", "\ud800.mp4"), rows("\ud800.mp4", "gone/a.mp4", "nul\0.mp4")) == [(0, 2), (1, 0)]


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ({}, {}, True),
        ({}, {"start": 3.0, "end": 4.0}, True),
        ({"end": 3.0}, {"start": 3.0}, False),
        ({"start": 0.1 + 0.2}, {"end": 0.3}, False),
        ({"end": 3.1}, {"start": 3.0}, True),
        ({"first": 0, "total": 300}, {"first": 300, "total": 300}, False),
        ({"total": 300}, {"first": 299}, True),
        ({"total": 300}, {"first": 300}, False),
        ({"start": 3.0, "end": 4.0}, {"first": 0, "total": 8}, True),  # it cannot be told
        ({"start": 0.0, "end": 4.0, "first": 0, "total": 8}, {"start": 2.0, "end": 6.0, "first": 8}, False),
    ],
)
def test_segments_of_a_file_are_shared_where_they_overlap(one, other, both):
    assert shared(rows("a.mp4", **one), rows("a.mp4", **other)) == ([(0, 0)] if both else [])
    assert shared(rows("a.mp4", **other), rows("a.mp4", **one)) == ([(0, 0)] if both else [])


seconds = st.none() | st.integers(0, 6).map(float)
frames = st.none() | st.integers(0, 6)
segments = st.builds(
    ClipRow, path=st.sampled_from("abc"), place=st.just(""), start=seconds, end=seconds, first=frames, total=frames
)


def reach(row):
    first, total = row.first or 0, np.inf if row.total is None else row.total
    return (row.start or 0.0, np.inf if row.end is None else row.end), (first, first + total)


@given(st.lists(segments, max_size=12), st.lists(segments, max_size=12), st.integers(1, 9))
def test_what_is_shared_is_what_a_double_loop_finds(asked, known, pairs):
    expected = []
    for number, one in enumerate(asked):
        overlapping = [
            all(min(a[1], b[1]) > max(a[0], b[0]) for a, b in zip(reach(one), reach(other), strict=True))
            and one.path == other.path
            for other in known
        ]
        expected += [(number, overlapping.index(True))] if any(overlapping) else []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlaps, "_PAIRS", pairs)
        assert shared(ClipRows(asked), ClipRows(known)) == expected


def test_no_file_is_looked_at_and_a_folder_once(tmp_path, monkeypatch):
    looked = []
    for module, name in ((os, "scandir"), (os.path, "realpath")):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda path, real=real: looked.append(path) or real(path))
    known = rows(*(f"{tmp_path}/{n % 2}/{n}.mp4" for n in range(1000)))
    assert len(shared(rows(*(f"{tmp_path}/1/{n}.mp4" for n in range(501))), known)) == 250
    assert len(looked) == 4


def test_the_refusal_says_how_many_names_one_and_the_mend():
    with pytest.raises(ManifestError) as caught:
        require_apart(rows("b.mp4", "a.mp4", "x/../a.mp4"), rows("c.mp4", "a.mp4"), "held-out clips", "trained on")
    assert str(caught.value) == (
        "held-out clips that are also trained on: 2 of 3, such as a.mp4 (line 2), which has frames of a.mp4 (line 2); "
        "take them out of one of the lists"
    )


CLASSES = 2


@pytest.fixture
def films(tmp_path):
    """Films of noise, of two classes: lists train, unseen and other of two each, and again, which reaches those of train by a link."""
    rng = np.random.default_rng(0)
    for name in ("train", "unseen", "other"):
        for label in range(CLASSES):
            frames = list(rng.integers(0, 255, (8, 32, 32, 3), dtype=np.uint8))
            write_video(tmp_path / f"{name}{label}.mp4", frames, 8)
    (tmp_path / "links").symlink_to(tmp_path)
    for name, paths in (("train", "train"), ("unseen", "unseen"), ("other", "other"), ("again", "links/train")):
        lines = [{"video": f"{paths}{n}.mp4", "label": n, "caption": f"film {n}"} for n in range(CLASSES)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def test_training_refuses_held_out_clips_that_it_trains_on(films, tmp_path, capsys):
    fields = [f"clips.manifest={films / 'train.jsonl'}", "clips.num_classes=2", "engine.batch=2", "clips.workers=0"]
    command = ["pretrain", "classification_tiny", *fields, f"held_out={films / 'again.jsonl'}"]
    for more in (["--dry-run"], ["--run-dir", str(tmp_path / "run")]):
        assert main([*command, *more]) == 2
        assert "held-out clips that are also trained on: 2 of 2, such as" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    create_stage(load("classification_tiny", [*fields, f"held_out={films / 'unseen.jsonl'}"], kind="pretrain"))


def test_training_refuses_held_out_images_that_it_trains_on(films, tmp_path):
    fields = [f"clips.manifest={films / 'train.jsonl'}", f"images.manifest={films / 'other.jsonl'}", "images.batch=2"]
    fields += [f"held_out={films / 'unseen.jsonl'}", f"images.held_out={films / 'other.jsonl'}", "engine.batch=2"]
    with pytest.raises(ManifestError, match="held-out clips that are also trained on: 2 of 2"):
        pretrain(load("contrastive_tiny", fields, kind="pretrain"), tmp_path / "run", QUIET)


def measured(films, task, **changes):
    torch.manual_seed(0)
    classifier = VideoClassifier(create_encoder("videomae_tiny_p16_t8", frames=8, size=32), CLASSES)
    save_classifier(classifier, films / "classifier.safetensors")
    lists = {name: [str(films / f"{file}.jsonl")] for name, file in changes.items()}
    clips = {"manifest": lists.pop("manifest"), "stride": 1, "workers": 0, "clips": 2, "crops": 3}
    said = {"weights": str(films / "classifier.safetensors"), "tasks": [task], "clips": clips, **lists}
    return evaluate_perception(PerceptionEvalConfig.model_validate_json(json.dumps(said)), films / "run").outcomes[0]


@pytest.mark.parametrize(
    ("task", "lists", "message"),
    [
        ("knn", {"manifest": "again", "train": "train"}, "measured clips that are also learned from: 2 of 2"),
        ("probe", {"manifest": "train", "train": "again"}, "measured clips that are also learned from: 2 of 2"),
        (
            "open_set",
            {"manifest": "train", "unknown": "again"},
            "clips of unknown classes that are also measured as known: 2 of 2",
        ),
        (
            "open_set",
            {"manifest": "train", "unknown": "other", "train": "again"},
            "measured clips that are also learned from: 2 of 2",
        ),
        (
            "open_set",
            {"manifest": "unseen", "unknown": "train", "train": "again"},
            "clips of unknown classes that are also learned from: 2 of 2",
        ),
    ],
)
def test_perception_refuses_them_before_it_looks_at_a_film(films, task, lists, message):
    with pytest.raises(ValueError, match=f"task {task}: {message}"):
        measured(films, {"task": task} | ({"k": 1} if task == "knn" else {}), **lists)
    assert not (films / "run" / "features").exists()


def test_the_threshold_of_open_sets_is_set_on_as_many_views_as_are_measured(films):
    found = measured(films, {"task": "open_set"}, manifest="unseen", unknown="other", train="train")
    assert {role: (used["shown"]["clips"], used["shown"]["crops"]) for role, used in found.data.items()} == {
        role: (2, 3) for role in ("videos", "unknown", "train")
    }


def test_a_file_that_cannot_be_read_is_not_counted_both_as_learned_from_and_as_measured(films):
    (films / "train0.mp4").write_bytes(b"no film")
    with pytest.raises(ValueError, match="measured clips that are also learned from"):
        measured(films, {"task": "knn", "k": 1}, manifest="again", train="train")
