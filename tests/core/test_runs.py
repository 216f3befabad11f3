"""A run folder has one config, one writer, and a record of each start."""

import os
import re
import signal
import subprocess
import sys

import pytest

from navloop import __version__
from navloop.runs import RunError, RunFolder

CONFIG = "kind: eval\nseed: 1\nworkers: 2\nreport: {maps: 3}\n"
DATA = {"episodes": "sha256:aa"}


def start(path, config=CONFIG, data=DATA):
    with RunFolder(path).open(config, data, resumable=("workers",)):
        pass


def test_each_start_is_recorded_with_its_data(tmp_path):
    start(tmp_path / "run")
    start(tmp_path / "run", CONFIG.replace("workers: 2", "workers: 1"))
    starts = RunFolder(tmp_path / "run").starts()
    assert [record["data"] for record in starts] == [DATA, DATA]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", starts[0]["started"])
    assert starts[0]["packages"]["numpy"]
    assert (tmp_path / "run" / "config.yaml").read_text() == CONFIG.replace("workers: 2", "workers: 1")


@pytest.mark.parametrize(
    ("config", "data", "message"),
    [
        (CONFIG.replace("seed: 1", "seed: 2"), DATA, "seed was 1, now 2"),
        (CONFIG.replace("maps: 3", "maps: 4"), DATA, "report.maps was 3, now 4"),
        (CONFIG + "more: 5\n", DATA, "more was absent, now 5"),
        (CONFIG, {"episodes": "sha256:bb"}, "data of episodes was sha256:aa, now sha256:bb"),
    ],
)
def test_another_config_or_other_data_is_refused(tmp_path, config, data, message):
    start(tmp_path)
    (tmp_path / "rows.jsonl").touch()
    before = (tmp_path / "config.yaml").read_text()
    with pytest.raises(RunError, match=re.escape(message)):
        start(tmp_path, config, data)
    assert (tmp_path / "config.yaml").read_text() == before
    assert len(RunFolder(tmp_path).starts()) == 1


def test_a_config_that_no_run_wrote_is_not_written_over(tmp_path):
    for text, said in ((CONFIG.replace("seed: 1", "seed: 2"), "seed was 2, now 1"), ("- a\n", "not a config")):
        (tmp_path / "config.yaml").write_text(text)
        with pytest.raises(RunError, match=said):
            start(tmp_path)
        assert (tmp_path / "config.yaml").read_text() == text


def test_a_run_that_left_nothing_may_be_begun_anew(tmp_path):
    start(tmp_path, CONFIG.replace("seed: 1", "seed: 2"), {"episodes": "sha256:bb"})
    start(tmp_path)
    assert (tmp_path / "config.yaml").read_text() == CONFIG
    assert [record["data"] for record in RunFolder(tmp_path).starts()] == [DATA]


def test_a_field_of_a_later_version_that_says_nothing_changes_no_run(tmp_path):
    start(tmp_path)
    for more in ("more: null\n", "", "more: {}\n", "", "more: false\n", "", "more: []\n", ""):
        start(tmp_path, CONFIG + more)
    assert len(RunFolder(tmp_path).starts()) == 9


@pytest.mark.parametrize("more", ["more: true\n", "more: 0\n", "more: ''\n"])
def test_a_field_of_a_later_version_that_says_something_is_told_with_the_version_that_can_go_on(tmp_path, more):
    start(tmp_path)
    (tmp_path / "rows.jsonl").touch()
    with pytest.raises(RunError, match=rf"more was absent, now .*did not know \(navloop {re.escape(__version__)}"):
        start(tmp_path, CONFIG + more)
    with pytest.raises(RunError) as fault:
        start(tmp_path, CONFIG.replace("seed: 1", "seed: 2"))
    assert "did not know" not in str(fault.value)


def test_a_run_of_another_kind_is_refused_in_one_line_that_names_both(tmp_path):
    start(tmp_path)
    (tmp_path / "rows.jsonl").touch()
    with pytest.raises(RunError) as refusal:
        start(tmp_path, "kind: houses\ntrain_houses: 3\n", {})
    assert str(refusal.value) == f"{tmp_path}: holds a run of kind eval, not houses; choose another with --run-dir"


def test_a_second_writer_is_refused_while_the_first_lives(tmp_path):
    with RunFolder(tmp_path).open(CONFIG, DATA), pytest.raises(RunError, match=f"process {os.getpid()} is writing"):
        start(tmp_path)
    start(tmp_path)


def test_a_killed_writer_leaves_no_lock(tmp_path):
    program = (
        "import os, signal; from pathlib import Path; from navloop.runs import RunFolder\n"
        f"with RunFolder(Path({str(tmp_path)!r})).open({CONFIG!r}, {DATA!r}): os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGKILL
    start(tmp_path)
    assert len(RunFolder(tmp_path).starts()) == 2


def test_a_forked_worker_holds_no_lock_when_its_parent_is_gone(tmp_path):
    program = (
        "import os, time; from pathlib import Path; from navloop.runs import RunFolder\n"
        f"with RunFolder(Path({str(tmp_path)!r})).open({CONFIG!r}, {DATA!r}):\n"
        "    if not os.fork(): print(os.getpid(), flush=True)\n"
        "    time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    parent.kill()
    try:
        assert parent.wait() == -signal.SIGKILL
        start(tmp_path)
    finally:
        os.kill(child, signal.SIGKILL)
        parent.stdout.close()


@pytest.mark.parametrize("moment", [0, 1, 2, 3])
def test_a_run_killed_as_it_begins_can_begin_again(tmp_path, moment):
    """Killed at each rename of its first files, before it or after it."""
    program = (
        "import os, signal; from pathlib import Path; from navloop.runs import RunFolder\n"
        "rename, calls = os.replace, []\n"
        "def replace(*paths):\n"
        f"    for move in (lambda: None, lambda: rename(*paths)):\n"
        f"        move(); calls.append(1)\n"
        f"        if len(calls) > {moment}: os.kill(os.getpid(), signal.SIGKILL)\n"
        "os.replace = replace\n"
        f"with RunFolder(Path({str(tmp_path)!r})).open({CONFIG!r}, {DATA!r}): pass"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGKILL
    start(tmp_path)
    assert RunFolder(tmp_path).starts()[-1]["data"] == DATA


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(RunError, match="holds other files"):
        start(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(RunError, match="not a folder"):
        start(tmp_path / "run")


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="choose another with --run-dir"):
        start(tmp_path / "file" / "run")
