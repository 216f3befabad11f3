"""Unreadable videos: counted once, listed, and too many of them stop the run."""

import json
import logging

import numpy as np
import pytest
from full_disk import files_at_most

from navloop.configs.loader import load
from navloop.training.quarantine import Fault, Quarantine, TooManyUnreadableError
from navloop.training.stages.data import VideoSource
from navloop.training.stages.stage import Share
from navloop.training.videos import write_video


def fault(row, instead=None):
    return Fault(row, f"{row}.mp4", f"{row}.mp4: no such file", instead)


def test_faults_are_told_counted_once_and_listed(tmp_path, caplog):
    path = tmp_path / "unreadable.jsonl"
    quarantine = Quarantine(400, 0.01, path)
    with caplog.at_level(logging.WARNING):
        quarantine.add(fault(3, instead="9.mp4 (0.00 to 1.00 s)"))
        quarantine.add(fault(3))
        quarantine.add(fault(8))
    assert quarantine.count == 2 and quarantine.share == 0.005
    assert quarantine.summary() == "2 of 400 videos (0.50%) could not be read"
    assert len(caplog.records) == 2
    assert "3.mp4: no such file; 9.mp4 (0.00 to 1.00 s) stands in for it (1 of 400" in caplog.text
    assert [json.loads(line)["video"] for line in path.read_text().splitlines()] == ["3.mp4", "8.mp4"]


def test_a_resumed_run_goes_on_counting(tmp_path):
    path = tmp_path / "unreadable.jsonl"
    Quarantine(100, 0.02, path).add(fault(1))
    resumed = Quarantine(100, 0.02, path)
    assert dict(resumed.reasons) == {("1.mp4", 1): "1.mp4: no such file"}
    resumed.add(fault(1))
    resumed.add(fault(2))
    with pytest.raises(TooManyUnreadableError, match=r"3 of 100 videos \(3\.00%\) .* more than the 2\.00%") as caught:
        resumed.add(fault(5))
    assert str(path) in str(caught.value) and "1.mp4: no such file" in str(caught.value)
    with pytest.raises(TooManyUnreadableError):
        Quarantine(100, 0.02, path)


def test_a_full_disk_is_told_and_what_it_cut_short_is_left_out(tmp_path):
    path = tmp_path / "unreadable.jsonl"
    Quarantine(100, 0.5, path).add(fault(1))
    whole = path.read_bytes()
    for room in (20, 0):  # some of the line, and nothing
        with files_at_most(len(path.read_bytes()) + room), pytest.raises(OSError) as caught:
            Quarantine(100, 0.5, path).add(fault(2))
        assert caught.value.filename == str(path)
    assert path.read_bytes()[: len(whole)] == whole != path.read_bytes()
    resumed = Quarantine(100, 0.5, path)
    assert list(resumed.reasons) == [("1.mp4", 1)]
    resumed.add(fault(3))
    assert list(Quarantine(100, 0.5, path).reasons) == [("1.mp4", 1), ("3.mp4", 3)]


def test_none_is_allowed_and_all_are_allowed():
    with pytest.raises(TooManyUnreadableError):
        Quarantine(100, 0.0).add(fault(0))
    lenient = Quarantine(2, 1.0)
    lenient.add(fault(0))
    lenient.add(Fault(0, "of another list.mp4", "of another list.mp4: no such file"))
    assert lenient.share == 1.0


def test_segments_of_one_film_that_are_trained_on_and_held_out_are_two(tmp_path):
    """Their numbers start at 0 in both lists."""
    (tmp_path / "film.mp4").write_bytes(b"no film")
    for name, parts in (("train", {"end": 1.0}), ("unseen", {"start": 1.0})):
        lines = [{"video": "film.mp4", **parts}, {"video": f"{name}.mp4"}]
        write_video(tmp_path / f"{name}.mp4", [np.zeros((32, 32, 3), np.uint8)] * 8, 8)
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    fields = [f"clips.manifest={tmp_path / 'train.jsonl'}", f"held_out={tmp_path / 'unseen.jsonl'}", "clips.workers=0"]
    fields += ["clips.max_unreadable=1", "engine.batch=2"]
    listed = tmp_path / "unreadable.jsonl"
    source = VideoSource(load("masked_tiny", fields, kind="pretrain"), listed)
    share = Share(2)
    assert len(list(source.training(share, 0, 0))) == len(list(source.held_out(share))) == 1
    assert source.quarantine.summary() == "2 of 4 videos (50.00%) could not be read"
    assert sorted(json.loads(line)["row"] for line in listed.read_text().splitlines()) == [0, 2]


def test_a_list_that_is_none_is_refused(tmp_path):
    path = tmp_path / "unreadable.jsonl"
    path.write_text('{"video": "a.mp4"}\n')
    with pytest.raises(ValueError, match=r"unreadable\.jsonl, line 1: .* delete the line"):
        Quarantine(10, 0.1, path)


def test_processes_that_share_a_list_count_what_each_of_them_finds(tmp_path):
    path = tmp_path / "unreadable.jsonl"
    first, second = (Quarantine(100, 0.03, path) for _ in range(2))
    first.add(fault(1))
    second.add(fault(1))  # the row that a stand-in of the other process was, too
    second.add(fault(2))
    assert first.count == second.count == 2 and first.summary() == second.summary()
    first.add(fault(3))
    with pytest.raises(TooManyUnreadableError, match=r"4 of 100 videos"):
        second.add(fault(4))
    with pytest.raises(TooManyUnreadableError, match=r"5 of 100 videos"):
        first.add(fault(5))
