"""Unreadable videos: counted once, listed, and too many of them stop the run."""

import json
import logging

import pytest
from full_disk import files_at_most

from navloop.training.quarantine import Fault, Quarantine, TooManyUnreadableError


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
