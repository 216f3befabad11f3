"""`navloop pretrain` on video files: it learns, resumes, and refuses what does not fit."""

import json
import math
import re
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from drifting_clips import drifting
from full_disk import files_at_most
from joined import run_joined
from rich.console import Console

from navloop.configs.loader import RecipeError, list_recipes, load
from navloop.encoders import load_encoder
from navloop.runs import RunError
from navloop.training.cli import main
from navloop.training.plans import estimate_memory
from navloop.training.pretraining import create_stage, dry_run, pretrain
from navloop.training.stages.data import VideoSource
from navloop.training.stages.shapes import stage_shapes
from navloop.training.stages.stage import Share
from navloop.training.steps import split
from navloop.training.videos import write_video
from navloop.weights import digest

QUIET = Console(quiet=True)
SEVEN = [f"{number}.mp4" for number in range(7)]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="session")
def films(tmp_path_factory):
    """A folder of films with the lists train.jsonl (24 rows) and unseen.jsonl (8)."""
    folder = tmp_path_factory.mktemp("films")
    frames = drifting(32, 0).numpy()
    for number, clip in enumerate(frames):
        write_video(folder / f"{number}.mp4", np.concatenate([clip, clip[::-1]]), fps=4)
    for name, numbers in (("train", range(24)), ("unseen", range(24, 32))):
        lines = [json.dumps({"video": f"{number}.mp4", "caption": f"film {number}"}) for number in numbers]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def recipe(films, *changes):
    lists = (f"clips.manifest={films / 'train.jsonl'}", f"held_out={films / 'unseen.jsonl'}", "clips.workers=0")
    return [*lists, "engine.batch=8", "engine.steps=4", "engine.checkpoint_every=2", "engine.log_every=1", *changes]


def config(films, *changes):
    return load("masked_tiny", recipe(films, *changes), kind="pretrain")


def test_the_command_learns_and_leaves_an_encoder(films, tmp_path, capsys):
    run = tmp_path / "run"
    assert (
        main(
            ["pretrain", "masked_tiny", *recipe(films, "engine.steps=50", "engine.log_every=25"), "--run-dir", str(run)]
        )
        == 0
    )
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["held_out_loss"] < 0.6 * lines[-1]["held_out_baseline"]
    encoder = load_encoder(run / "last" / "encoder.safetensors")
    assert math.isfinite(encoder.encode_video(drifting(1, 9)).pooled.sum().item())
    assert {"config.yaml", "provenance.json", "metrics.jsonl", "last", "tensorboard"} <= {
        path.name for path in run.iterdir()
    }
    assert "held_out_loss" in capsys.readouterr().err


def test_a_longer_data_order_is_taken_up_where_it_was_left(films, tmp_path):
    """A run that is stopped in the middle of an epoch of files ends as one that was not."""
    pretrain(config(films), tmp_path / "whole", QUIET)
    pretrain(config(films), tmp_path / "parts", QUIET)
    for step in (4,):
        for path in sorted((tmp_path / "parts" / f"step_{step:06d}").iterdir()):
            path.unlink()
        (tmp_path / "parts" / f"step_{step:06d}").rmdir()
    report = pretrain(config(films), tmp_path / "parts", QUIET)
    assert report.resumed == 2
    assert (tmp_path / "parts" / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()
    one, two = (digest(tmp_path / name / "last" / "encoder.safetensors") for name in ("whole", "parts"))
    assert one == two


def test_workers_and_intervals_may_change_on_resume_and_nothing_else(films, tmp_path):
    pretrain(config(films), tmp_path, QUIET)
    report = pretrain(config(films, "clips.workers=1", "engine.keep=1", "name=other"), tmp_path, QUIET)
    assert report.resumed == report.steps == 4
    with pytest.raises(
        RunError, match=r"began differently: engine.lr was 0.0015, now 0.1; mask_ratio was 0.5, now 0.25\."
    ):
        pretrain(config(films, "engine.lr=0.1", "mask_ratio=0.25"), tmp_path, QUIET)


def test_the_recipe_of_another_stage_is_refused(films, tmp_path):
    pretrain(config(films), tmp_path, QUIET)
    other = load("contrastive_tiny", [f"clips.manifest={films / 'train.jsonl'}", "engine.batch=8"], kind="pretrain")
    with pytest.raises(RunError, match="stage was masked, now contrastive"):
        pretrain(other, tmp_path, QUIET)
    assert (tmp_path / "last" / "encoder.safetensors").is_file()


def test_changed_data_is_refused(films, tmp_path):
    own = tmp_path / "train.jsonl"
    own.write_text("".join(json.dumps({"video": str(films / f"{n}.mp4")}) + "\n" for n in range(8)))
    pretrain(config(films, f"clips.manifest={own}"), tmp_path / "run", QUIET)
    own.write_text("".join(json.dumps({"video": str(films / f"{n}.mp4")}) + "\n" for n in range(9)))
    with pytest.raises(RunError, match=r"data of .*train.jsonl was sha256"):
        pretrain(config(films, f"clips.manifest={own}"), tmp_path / "run", QUIET)


def test_changed_folders_class_names_and_annotations_are_refused(films, tmp_path):
    for number in range(8):
        place = tmp_path / "classes" / "ab"[number % 2] / f"{number}.mp4"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(films / f"{number}.mp4")
    names, moments, told = (tmp_path / name for name in ("names.txt", "moments.json", "didemo.yaml"))
    names.write_text("a\nb\n")
    moments.write_text(json.dumps([{"video": "24.mp4", "description": "a film"}]))
    told.write_text(f"format: didemo\ntexts: moments.json\nlist: list.txt\nvideos: {films}\n")
    (tmp_path / "list.txt").write_text("24.mp4\n")
    changes = [f"clips.manifest={tmp_path / 'classes'}", f"clips.classes={names}", f"held_out={told}"]
    chosen = config(films, *changes, "engine.steps=1")

    def again():
        return pretrain(chosen, tmp_path / "run", QUIET).resumed

    assert (again(), again()) == (0, 1)
    for path, new in (
        (names, "a\nb\nc\n"),
        (moments, json.dumps([{"video": "24.mp4", "description": "another film"}])),
        (tmp_path / "classes" / "a" / "more.mp4", "no film"),
    ):
        before = path.read_text() if path.exists() else None
        path.write_text(new)
        of = {moments: told, names: names}.get(path, tmp_path / "classes")
        with pytest.raises(RunError, match=rf"data of {re.escape(str(of))} was sha256"):
            again()
        path.unlink() if before is None else path.write_text(before)
    assert again() == 1


def test_a_video_that_cannot_be_read_is_listed_and_told(films, tmp_path, capsys):
    (tmp_path / "broken.mp4").write_bytes(b"no film")
    rows = [str(films / f"{n}.mp4") for n in range(9)] + [str(tmp_path / "broken.mp4")]
    own = tmp_path / "train.jsonl"
    own.write_text("".join(json.dumps({"video": row}) + "\n" for row in rows))
    changes = [f"clips.manifest={own}", "clips.max_unreadable=0.1"]
    pretrain(config(films, *changes), tmp_path / "run", Console(stderr=True))
    assert "1 of 18 videos" in capsys.readouterr().err
    assert "broken.mp4" in (tmp_path / "run" / "unreadable.jsonl").read_text()
    with pytest.raises(ValueError, match=r"more than the 0\.00%"):
        pretrain(config(films, changes[0], "clips.max_unreadable=0"), tmp_path / "strict", QUIET)


def test_a_run_that_met_too_many_unreadable_videos_goes_on_by_either_mend_that_it_names(films, tmp_path):
    broken, own, run = tmp_path / "broken.mp4", tmp_path / "train.jsonl", tmp_path / "run"
    broken.write_bytes(b"no film")
    own.write_text("".join(json.dumps({"video": str(path)}) + "\n" for path in (*map(films.joinpath, SEVEN), broken)))
    changes = (f"clips.manifest={own}", "held_out=[]")
    listed = run / "unreadable.jsonl"
    told = rf"Mend the files and delete their lines from {re.escape(str(listed))}, or raise the limit"
    with pytest.raises(ValueError, match=told):
        pretrain(config(films, *changes, "clips.max_unreadable=0"), run, QUIET)
    other = shutil.copytree(run, tmp_path / "other")
    raised = pretrain(config(films, *changes, "clips.max_unreadable=0.2", "clips.memory_mb=1"), run, QUIET)
    assert raised.steps == 4
    broken.write_bytes((films / "7.mp4").read_bytes())
    (other / "unreadable.jsonl").write_text("")
    mended = pretrain(config(films, *changes, "clips.max_unreadable=0"), other, QUIET)
    assert mended.steps == 4 and (other / "unreadable.jsonl").read_text() == ""


@pytest.fixture
def labelled(films, tmp_path):
    """A list of films that have captions and labels."""
    rows = [{"video": str(films / f"{n}.mp4"), "caption": f"film {n}", "label": n % 4} for n in range(8)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "train.jsonl"


def onto(manifest, *changes):
    settings = (f"clips.manifest={manifest}", "clips.workers=0", "engine.batch=4", "engine.log_every=1")
    return [*settings, "engine.checkpoint_every=1", *changes]


WRONG_LINES = {
    "no json": ("masked_tiny", '{"video": "a.mp4"', r"train\.jsonl, line 9: not JSON .*; write one object a line"),
    "no video": ("masked_tiny", '{"path": 7}', r"train\.jsonl, line 9: video is 7; give the path"),
    "backwards": ("masked_tiny", '{"video": "a.mp4", "start": 3, "end": 1}', r"line 9: end 1 is not after start 3"),
    "label": (
        "classification_tiny",
        '{"video": "a.mp4", "label": 4}',
        r"line 9: label 4 is out of range; labels are from 0 to 3",
    ),
    "no label": ("classification_tiny", '{"video": "a.mp4"}', r"line 9: has no label, nor have 0 of the other 8 rows"),
    "caption": (
        "contrastive_tiny",
        '{"video": "a.mp4", "caption": 12}',
        r"line 9: caption holds 12; a caption is text",
    ),
    "no caption": (
        "contrastive_tiny",
        '{"video": "a.mp4"}',
        r"line 9: has no captions, nor have 0 of the other 8 rows",
    ),
}


@pytest.mark.parametrize("case", WRONG_LINES)
def test_a_wrong_line_is_told_before_anything_is_written(labelled, tmp_path, capsys, case):
    name, line, words = WRONG_LINES[case]
    labels = ["clips.num_classes=4"] if name == "classification_tiny" else []
    run = tmp_path / "run"
    command = ["pretrain", name, *onto(labelled, "engine.steps=2", *labels), "--run-dir", str(run)]
    with labelled.open("a") as file:
        file.write(line + "\n")
    assert main(command) == 2
    assert re.search(words, capsys.readouterr().err)
    assert not run.exists()
    labelled.write_text("".join(f"{line}\n" for line in labelled.read_text().splitlines()[:8]))
    assert main(command) == 0
    before = {path: path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file()}
    with labelled.open("a") as file:
        file.write(line + "\n")
    capsys.readouterr()
    assert main(command) == 2
    assert re.search(words, capsys.readouterr().err)
    assert {path: path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file()} == before


def test_videos_that_are_empty_cut_off_or_noise_are_listed_and_the_others_trained_on(films, labelled, tmp_path):
    whole = (films / "0.mp4").read_bytes()
    kinds = {"empty": b"", "cut": whole[: len(whole) // 2], "noise": b"\x00\xff" * 500}
    for name, data in kinds.items():
        (tmp_path / f"{name}.mp4").write_bytes(data)
        with labelled.open("a") as file:
            file.write(json.dumps({"video": f"{name}.mp4"}) + "\n")
    report = pretrain(
        load("masked_tiny", onto(labelled, "engine.steps=6", "clips.max_unreadable=0.3")), tmp_path / "run", QUIET
    )
    assert report.steps == 6 and math.isfinite(report.metrics["loss"])
    listed = [json.loads(line) for line in (tmp_path / "run" / "unreadable.jsonl").read_text().splitlines()]
    assert sorted(row["video"] for row in listed) == sorted(str(tmp_path / f"{name}.mp4") for name in kinds)
    assert all(row["video"] in row["reason"] for row in listed)


def test_a_full_disk_during_a_checkpoint_is_told_and_the_run_goes_on_later(films, tmp_path, capsys):
    command = ["pretrain", "masked_tiny", *recipe(films), "--run-dir", str(tmp_path / "run")]
    with files_at_most(4_000_000):  # the state is larger
        assert main(command) == 2
    told = capsys.readouterr().err
    assert re.search(r"run/step_000002: File too large", told) and "Traceback" not in told
    assert not list((tmp_path / "run").glob("*step_*"))
    assert main(command) == 0
    pretrain(config(films), tmp_path / "other", QUIET)
    curves = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("run", "other")]
    assert curves[0] == curves[1]


def test_fp16_on_a_processor_is_refused_but_can_be_planned(films, tmp_path, capsys):
    fields = recipe(films, "engine.precision=fp16")
    assert main(["pretrain", "masked_tiny", *fields, "--run-dir", str(tmp_path / "run")]) == 2
    assert "engine.precision is fp16, which needs a GPU; on a processor take bf16 or fp32" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert main(["pretrain", "masked_tiny", *fields, "--dry-run"]) == 0
    assert "24 clips, fp16" in capsys.readouterr().out


@pytest.mark.parametrize("name", list_recipes("pretrain"))
def test_a_shipped_recipe_fits_its_encoder_and_names_the_data_that_is_missing(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    chosen = load(name, kind="pretrain")
    shapes = stage_shapes(chosen)
    assert chosen.engine.steps or chosen.engine.epochs
    assert {"masked": ("masked",), "coordination": ("internvideo",)}.get(chosen.stage, ("masked", "multimodal")).count(
        shapes.kind
    )
    first = (Path(str(files("navloop.configs") / f"{name}.yaml"))).read_text().splitlines()[0]
    assert first.startswith("# ")
    assert main(["pretrain", name, "--dry-run"]) == 2
    told = capsys.readouterr().err
    assert re.match(
        r"navloop pretrain: data/\S+: (no such list of videos|class names cannot be read|numbers of classes cannot)",
        told,
    )
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_counts_and_writes_nothing(films, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    changes = ["engine.accumulate=2", "engine.epochs=10", "engine.steps=null", "engine.warmup=0.2"]
    assert main(["pretrain", "masked_tiny", *recipe(films, *changes), "--dry-run"]) == 0
    told = capsys.readouterr().out
    for words in (
        "594,720",
        "731,184",
        "30 steps of 8 clips (2 x 4 on one process), 10 epochs of 24 clips, fp32, learning rate x 1",
    ):
        assert words in told
    assert re.search(r" 6 \(warm-up ends\) │ +0\.0015 ", told)
    assert list(tmp_path.iterdir()) == []


def test_the_memory_estimate_follows_batch_average_and_precision(films):
    plain = config(films)
    stage = create_stage(plain)
    memory = estimate_memory(stage, plain.engine)
    assert (memory.weights, memory.gradients, memory.optimizer, memory.average) == (2924736, 2924736, 5849472, 0)
    stage.share = split(plain.engine, 1)
    double = config(films, "engine.batch=16", "engine.ema=0.9")
    assert estimate_memory(stage, double.engine).activations == pytest.approx(2 * memory.activations, rel=0.01)
    assert estimate_memory(stage, double.engine).average == memory.weights
    assert estimate_memory(stage, config(films, "engine.precision=bf16").engine).activations < memory.activations
    again = create_stage(config(films, "recompute=true"))
    assert estimate_memory(again, plain.engine).activations < 0.6 * memory.activations


@pytest.mark.parametrize(
    "name", ["masked_tiny", "masked_laptop", "masked_base", "contrastive_tiny", "coordination_tiny"]
)
def test_shipped_recipes_run_dry(labelled, name, capsys):
    changes = [f"clips.manifest={labelled}", "clips.workers=0", "engine.batch=8"]
    dry_run(
        load(name, [*changes, "engine.epochs=null", "engine.steps=10", "engine.ema=0.9"], kind="pretrain"),
        Console(width=100),
    )
    told = capsys.readouterr().out
    assert "whole stage" in told
    assert "of the average that is kept, 34.9% are the weights it began with" in told


def test_a_mirror_needs_the_names_of_classes_where_they_are_learned():
    mirror = ["clips.augmentation.mirror=0.5"]
    for name in ("classification_tiny", "classification_multimodal_tiny", "coordination_tiny"):
        with pytest.raises(RecipeError, match="turns left into right in the names of classes, and there are none"):
            load(name, mirror, kind="pretrain")
        assert load(name, [*mirror, "clips.classes=labels.json"], kind="pretrain").clips.augmentation.mirror == 0.5
    assert load("contrastive_tiny", mirror, kind="pretrain").clips.augmentation.mirror == 0.5


def test_faults_in_a_recipe_are_told_in_a_line(films, tmp_path, capsys):
    for change, words in (
        ("engine.epochs=3.0", "engine: say one of steps and epochs, not steps=4 and epochs=3.0"),
        ("engine.batch=48", "48"),
        ("mask_ratio=0.01", "mask_ratio: 0.01 of the"),
        ("clips.augmentation.randaugment=rand-m9-q3", "clips.augmentation.randaugment"),
        ("encoder=viclip_tiny_p16_t4", "no masked branch"),
        ("stage=contrastive", "the stage of a recipe is not for overriding"),
        ("clips.manifest=nowhere.jsonl", "nowhere.jsonl: no such list of videos"),
    ):
        assert main(["pretrain", "masked_tiny", *recipe(films, change), "--run-dir", str(tmp_path / "run")]) == 2
        told = capsys.readouterr().err
        assert words in told
        assert "Traceback" not in told
        assert not (tmp_path / "run").exists()


LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--rdzv_backend=c10d"]
LAUNCH += ["--rdzv_endpoint=localhost:0", "-m", "navloop.training.cli"]


def end_with(arguments):
    """Run a command, in a process begun for it."""
    sys.exit(main(arguments))


def test_two_processes_run_the_command(films, tmp_path):
    command = ["pretrain", "masked_tiny", *recipe(films), "--run-dir", str(tmp_path / "two")]
    done = subprocess.run([*LAUNCH, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    pretrain(config(films), tmp_path / "one", QUIET)
    curves = [
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    ]
    for one, two in zip(*curves, strict=True):
        assert two == pytest.approx(one, abs=1e-5)
    for change, words, times in (
        ("mask_ratio=0.25", "mask_ratio was 0.5, now 0.25", 1),
        ("engine.batch=7", "engine.batch 7 does not divide among 2 processes", 2),
    ):
        statuses, said = run_joined(tmp_path, end_with, [*command, change])
        assert statuses == [2, 2]
        assert "".join(said).count(words) == times, change


def held_out_batches(films, manifest, total, rank=0, world=1):
    chosen = config(films, f"held_out={manifest}", "clips.max_unreadable=0.5")
    source = VideoSource(chosen)
    return list(source.held_out(Share(total // world, rank, world))), source.quarantine


def test_held_out_videos_are_all_measured_in_batches_no_smaller_than_in_training(films, tmp_path):
    for rows, total, sizes in ((8, 3, [4, 4]), (8, 8, [8]), (7, 2, [2, 2, 3]), (2, 8, [2])):
        unseen = tmp_path / "unseen.jsonl"
        numbers = range(24, 24 + rows)
        unseen.write_text("".join(json.dumps({"video": str(films / f"{n}.mp4")}) + "\n" for n in numbers))
        batches, _ = held_out_batches(films, unseen, total)
        assert [len(batch) for batch in batches] == sizes
        assert torch.cat([batch.rows for batch in batches]).tolist() == list(range(rows))


def test_processes_measure_as_many_held_out_videos_each_and_say_what_is_left_out(films, tmp_path, caplog):
    unseen = tmp_path / "unseen.jsonl"
    unseen.write_text("".join(json.dumps({"video": str(films / f"{n}.mp4")}) + "\n" for n in range(24, 32)))
    parts = [held_out_batches(films, unseen, 6, rank, 3)[0] for rank in range(3)]
    assert [[batch.rows.tolist() for batch in part] for part in parts] == [[[0, 1]], [[2, 3]], [[4, 5]]]
    assert "2 of the 8 held-out videos that can be read are left out" in caplog.text
    assert held_out_batches(films, unseen, 20, 9, 10)[0] == []


def test_a_held_out_video_that_cannot_be_read_stops_no_process(films, tmp_path):
    """Contrast gathers the clips of all processes: both have to come with as many, in every batch."""
    (tmp_path / "broken.mp4").write_bytes(b"no film")
    unseen = tmp_path / "unseen.jsonl"
    rows = [films / f"{n}.mp4" for n in (24, 25, 26)] + [tmp_path / "broken.mp4"]
    rows += [films / f"{n}.mp4" for n in (27, 28, 29, 30, 31)]
    unseen.write_text("".join(json.dumps({"video": str(p), "caption": f"film {p.stem}"}) + "\n" for p in rows))
    fields = recipe(films, f"held_out={unseen}", "engine.steps=1", "engine.batch=4", "clips.max_unreadable=0.5")
    chosen = load("contrastive_tiny", fields, kind="pretrain")
    one = pretrain(chosen, tmp_path / "one", QUIET)
    command = ["pretrain", "contrastive_tiny", *fields, "--run-dir", str(tmp_path / "two")]
    statuses, said = run_joined(tmp_path, end_with, command)
    assert statuses == [0, 0], said
    (line,) = (json.loads(line) for line in (tmp_path / "two" / "metrics.jsonl").read_text().splitlines())
    for name in ("loss", "held_out_loss", "held_out_contrastive", "held_out_caption", "held_out_accuracy"):
        assert line[name] == pytest.approx(one.metrics[name], abs=1e-5)
    listed = (tmp_path / "two" / "unreadable.jsonl").read_text()
    assert {json.loads(line)["video"] for line in listed.splitlines()} == {str(tmp_path / "broken.mp4")}
