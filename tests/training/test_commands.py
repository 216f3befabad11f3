"""The shipped commands, end to end, in processes of their own where they are struck: results, resumption, and faults in what is given."""

import contextlib
import gzip
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from said import navloop

AGENTS = "expert,random,forward"


def command(*arguments):
    return [sys.executable, "-m", "navloop.training.cli", *map(str, arguments)]


def evaluation(houses, *overrides):
    episodes = houses / "episodes" / "val_unseen" / "val_unseen.json.gz"
    return ["eval", "eval_demo", f"scenes={houses / 'scenes'}", f"episodes={episodes}", f"agents={AGENTS}", *overrides]


def rows_of(run):
    return {path.name: path.read_bytes() for path in sorted((Path(run) / "rows").iterdir())}


@pytest.fixture(scope="module")
def finished(houses, tmp_path_factory):
    """A run that was never disturbed, by one worker."""
    run = tmp_path_factory.mktemp("evaluation") / "run"
    result = navloop(*evaluation(houses, "workers=1"), "--run-dir", run)
    assert result.returncode == 0, result.stderr
    return run


def test_an_evaluation_measures_every_agent_on_every_episode(finished, houses):
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["complete"] is True
    assert summary["protocol"] == "houses@1"
    assert list(summary["agents"]) == AGENTS.split(",")
    for name, agent in summary["agents"].items():
        rows = [json.loads(line) for line in (finished / "rows" / f"{name}.jsonl").read_text().splitlines()]
        assert len({row["episode_id"] for row in rows}) == len(rows) == summary["episodes"] == agent["episodes"]
        mean = sum(row["success"] for row in rows) / len(rows)
        assert agent["metrics"]["success"]["mean"] == pytest.approx(mean, abs=1e-6)
    assert summary["agents"]["expert"]["metrics"]["success"]["mean"] == 1
    assert summary["agents"]["expert"]["metrics"]["spl"]["mean"] > 0.95
    assert summary["agents"]["forward"]["metrics"]["spl"]["mean"] < 0.6


def test_two_workers_write_the_files_of_one(finished, houses, tmp_path):
    result = navloop(*evaluation(houses, "workers=2"), "--run-dir", tmp_path / "run")
    assert result.returncode == 0, result.stderr
    assert rows_of(tmp_path / "run") == rows_of(finished)


def test_a_killed_evaluation_resumes_to_the_files_of_an_undisturbed_one(finished, houses, tmp_path):
    run = tmp_path / "run"
    arguments = command(*evaluation(houses, "workers=2"), "--run-dir", run)
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for_rows(run, process, 7)
    finally:
        process.kill()
        process.wait()
    before = sum(data.count(b"\n") for data in rows_of(run).values())
    with (run / "rows" / "expert.jsonl").open("ab") as file:
        file.write(b'{"episode_id":"torn","suc')  # as a kill in the middle of a write leaves it
    resumed = navloop(*evaluation(houses, "workers=1"), "--run-dir", run)
    assert resumed.returncode == 0, resumed.stderr
    assert rows_of(run) == rows_of(finished)
    assert re.search(rf"resuming: {before} of", resumed.stderr)
    assert len(json.loads((run / "provenance.json").read_text())["starts"]) == 2
    again = navloop(*evaluation(houses, "workers=1"), "--run-dir", run)
    assert again.returncode == 0
    assert rows_of(run) == rows_of(finished)


def test_the_death_of_a_worker_costs_nothing(finished, houses, tmp_path):
    run = tmp_path / "run"
    arguments = command(*evaluation(houses, "workers=2"), "--run-dir", run)
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _wait_for_rows(run, process, 5)
    workers = _workers_of(process)
    assert len(workers) == 2
    workers[0].kill()
    assert process.wait(timeout=120) == 0
    assert rows_of(run) == rows_of(finished)


def test_an_episode_that_kills_every_worker_is_named(houses, tmp_path):
    arguments = command(*evaluation(houses, "workers=1"), "--run-dir", tmp_path / "run")
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while process.poll() is None:
        for worker in _workers_of(process):  # before it can finish anything
            with contextlib.suppress(psutil.NoSuchProcess):  # it may have been killed by the last turn
                worker.kill()
    errors = process.stderr.read()
    assert process.returncode == 1
    assert re.search(r"agent expert, episode \S+ \(.*\): two worker processes died on it", errors)
    assert "SIGKILL" in errors


def test_a_full_disk_is_told_and_the_rest_resumes(finished, houses, tmp_path):
    def fill():  # a limit on file size stands for the disk: writes fail in the middle of a row
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))

    arguments = evaluation(houses, "workers=1")
    full = subprocess.run(
        command(*arguments, "--run-dir", tmp_path / "run"), capture_output=True, text=True, preexec_fn=fill, check=False
    )
    assert full.returncode == 2
    assert "expert.jsonl: cannot write rows" in full.stderr
    assert navloop(*arguments, "--run-dir", tmp_path / "run").returncode == 0
    assert rows_of(tmp_path / "run") == rows_of(finished)


WAITS = """
import signal, sys
from navloop.agent.external import serve

class Waits:
    cameras, weights = (), None
    def reset(self, instruction, seed):
        pass
    def act(self, frames):
        sys.stdin.buffer.read(1)  # nothing comes but the end
        sys.exit()

signal.signal(signal.SIGINT, signal.SIG_IGN)
serve(Waits())
"""


def test_ctrl_c_keeps_what_is_finished_and_says_how_to_resume(finished, houses, tmp_path):
    run = tmp_path / "run"
    (tmp_path / "waits.py").write_text(WAITS)
    agents = f"agents=[expert, 'waits=command:{sys.executable} {tmp_path / 'waits.py'}']"
    few = ("report.maps=1", "report.videos=0")
    arguments = command(*evaluation(houses, agents, "workers=1", *few), "--run-dir", run)
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell begins in the background ignores it
    process = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    signal.signal(signal.SIGINT, heard)
    _wait_for_rows(run, process, 1)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "The same command resumes" in errors
    assert "Traceback" not in errors
    summary = json.loads((run / "summary.json").read_text())
    assert summary["complete"] is False
    page = navloop("report", run)
    assert page.returncode == 0, page.stderr
    assert "Incomplete." in (run / "report.html").read_text()
    refused = navloop("report", finished, "--against", run, "--output", tmp_path / "page.html")
    assert refused.returncode == 2
    assert "resume it first" in refused.stderr
    assert not (tmp_path / "page.html").exists()


def test_episodes_can_be_sampled_evenly_over_scenes(houses, tmp_path):
    result = navloop(*evaluation(houses, "agents=forward", "max_episodes=6"), "--run-dir", tmp_path / "run")
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in (tmp_path / "run" / "rows" / "forward.jsonl").read_text().splitlines()]
    scenes = [row["scene_id"] for row in rows]
    counts = [scenes.count(scene) for scene in set(scenes)]
    assert sum(counts) == 6
    assert max(counts) - min(counts) <= 1 < len(counts)


def test_the_page_needs_nothing_else_and_shows_maps_and_films(finished, tmp_path):
    page = tmp_path / "page.html"
    result = navloop("report", finished, "--output", page)
    assert result.returncode == 0, result.stderr
    text = page.read_text()
    assert len(re.findall(r"data:video/mp4;base64,[A-Za-z0-9+/=]{1000}", text)) == 4
    assert text.count('aria-label="Map of episode') == 6
    assert "houses@1" in text
    # Names of XML namespaces are not fetched; nothing else may point outside.
    assert set(re.findall(r"""(?:src|href)=["']([^"'#][^"':]*):""", text)) <= {"data"}
    assert not re.search(r"@import|url\((?!#)", text)


def test_a_moved_scene_leaves_a_page_of_numbers_that_says_so(finished, tmp_path):
    run = tmp_path / "run"
    subprocess.run(["cp", "-r", finished, run], check=True)
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(re.sub(r"scenes: .*", "scenes: nowhere", config))
    result = navloop("report", run)
    assert result.returncode == 0, result.stderr
    assert "no maps and films" in result.stderr
    assert "Maps and films are left out" in (run / "report.html").read_text()


def test_scenes_may_move_but_not_change(finished, houses, tmp_path):
    run, moved = tmp_path / "run", tmp_path / "scenes"
    subprocess.run(["cp", "-r", finished, run], check=True)
    subprocess.run(["cp", "-r", houses / "scenes", moved], check=True)
    result = navloop(*evaluation(houses, f"scenes={moved}"), "--run-dir", run)
    assert result.returncode == 0, result.stderr
    with min(moved.glob("**/val_unseen*.glb")).open("ab") as scene:
        scene.write(b"\0")
    result = navloop(*evaluation(houses, f"scenes={moved}"), "--run-dir", run)
    assert result.returncode == 2
    assert re.search(r"data of scenes was sha256:\w+, now sha256:", result.stderr)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["protocol=r2r"], "unknown protocol 'r2r'"),
        (["agents=exprt"], "unknown agent 'exprt'; did you mean 'expert'"),
        (["episodes=nowhere.json.gz"], "nowhere.json.gz"),
        (["scenes=nowhere"], "check 'scenes' in the recipe"),
        (["sed=1"], "did you mean 'seed'"),
        (["seed=1"], None),
    ],
)
def test_a_fault_of_the_user_is_one_clear_message(houses, finished, tmp_path, overrides, message):
    run = tmp_path / "run" if message else finished
    result = navloop(*evaluation(houses), *overrides, "--run-dir", run)
    assert result.returncode == 2
    assert (message or "seed was 0, now 1") in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_recipe_of_another_kind_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = navloop("houses", "eval_demo")
    assert result.returncode == 2
    assert "this recipe is for 'navloop eval', not for 'navloop houses'" in result.stderr


def test_a_folder_that_cannot_be_written_is_named(houses, tmp_path):
    (tmp_path / "file").write_text("")
    result = navloop(*evaluation(houses), "--run-dir", tmp_path / "file" / "run")
    assert result.returncode == 2
    assert str(tmp_path / "file" / "run") in result.stderr
    assert "choose another with --run-dir" in result.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_is_named(houses, tmp_path):
    tmp_path.chmod(0o500)
    result = navloop(*evaluation(houses), "--run-dir", tmp_path / "run")
    tmp_path.chmod(0o700)
    assert result.returncode == 2
    assert "choose another with --run-dir" in result.stderr


def test_a_damaged_summary_is_named(tmp_path):
    for damage in ('{"format": ', "[]"):
        (tmp_path / "summary.json").write_text(damage)
        result = navloop("report", tmp_path)
        assert result.returncode == 2
        assert f"{tmp_path / 'summary.json'}: not a summary" in result.stderr


def test_a_page_of_no_run_says_how_to_make_one(tmp_path):
    result = navloop("report", tmp_path)
    assert result.returncode == 2
    assert "navloop eval RECIPE" in result.stderr


@pytest.mark.parametrize(("name", "needed"), [("houses", "RECIPE"), ("eval", "RECIPE"), ("report", "RUN")])
def test_a_bare_command_asks_for_what_it_needs_and_no_more(name, needed):
    result = navloop(name)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1] == f"navloop {name}: error: the following arguments are required: {needed}"


def test_help_lists_every_field_with_type_default_and_meaning():
    assert "  walks.N.folder  (text, not empty, required)" in navloop("train", "--help").stdout
    text = navloop("eval", "--help").stdout
    assert "report.video_fps  (integer, from 1 to 60, default 8)" in text
    assert "scenes  (text, not empty, required)" in text
    assert navloop("--version").stdout.startswith("navloop ")


def _workers_of(process):
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if any("forkserver" in word for word in child.cmdline()):
                    found += child.children()
    return found


def _wait_for_rows(run, process, count):
    """Return once there are so many rows: the moment to strike is in the files, not on the clock."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, "the evaluation ended before it could be disturbed"
        if (run / "rows").is_dir() and sum(data.count(b"\n") for data in rows_of(run).values()) >= count:
            return
        time.sleep(0.001)
    pytest.fail("no rows appeared")


def test_a_run_that_was_killed_before_it_sorted_its_rows_is_sorted_when_it_resumes(finished, houses, tmp_path):
    run = tmp_path / "run"
    subprocess.run(["cp", "-r", finished, run], check=True)
    file = min((run / "rows").glob("*.jsonl"))
    whole = file.read_bytes()
    file.write_bytes(b"".join(reversed(whole.splitlines(keepends=True))))
    result = navloop(*evaluation(houses), "--run-dir", run)
    assert result.returncode == 0, result.stderr
    assert file.read_bytes() == whole


def test_episodes_in_other_languages_are_not_walked(houses, tmp_path):
    source = houses / "episodes" / "val_unseen" / "val_unseen.json.gz"
    data = json.loads(gzip.decompress(source.read_bytes()))
    for number, episode in enumerate(data["episodes"]):
        episode["instruction"]["language"] = "en-IN" if number == 0 else "hi-IN"
    mixed = tmp_path / "mixed.json.gz"
    mixed.write_bytes(gzip.compress(json.dumps(data).encode()))
    common = (*evaluation(houses, "agents=forward"), f"episodes={mixed}")
    result = navloop(*common, "--run-dir", tmp_path / "run")
    assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / "run" / "header.json").read_text())["episodes"] == 1
    data["episodes"] = data["episodes"][1:]
    mixed.write_bytes(gzip.compress(json.dumps(data).encode()))
    result = navloop(*common, "--run-dir", tmp_path / "none")
    assert result.returncode == 2
    assert "is in a language of houses@1 (en)" in result.stderr


def test_a_goal_out_of_reach_is_said_beside_the_numbers(houses, tmp_path):
    source = houses / "episodes" / "val_unseen" / "val_unseen.json.gz"
    data = json.loads(gzip.decompress(source.read_bytes()))
    data["episodes"] = data["episodes"][:4]
    data["episodes"][0]["goals"][0]["position"][0] += 500.0
    broken = tmp_path / "broken.json.gz"
    broken.write_bytes(gzip.compress(json.dumps(data).encode()))
    few = (f"episodes={broken}", "report.maps=1", "report.videos=0")
    result = navloop(*evaluation(houses, "agents=forward,random", *few), "--run-dir", tmp_path / "run")
    assert result.returncode == 0, result.stderr
    assert "1 out of reach" in result.stdout
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["agents"]["forward"]["unreachable"] == 1
    page = navloop("report", tmp_path / "run")
    assert page.returncode == 0, page.stderr
    html = (tmp_path / "run" / "report.html").read_text()
    assert html.count("1 out of reach: failed, not in NE") == 2
    assert html.count("1 out of reach: failed, not in the difference of NE") == 1
    compared = navloop("eval", "--compare", tmp_path / "run", "--agent", "forward", "random")
    assert compared.returncode == 0, compared.stderr
    assert "1 out of reach: failed, not in the difference of NE." in " ".join(compared.stdout.split())
