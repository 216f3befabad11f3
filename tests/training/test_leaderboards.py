"""Leaderboard files: what is written is what was walked, whole files pass, and every fault a server would refuse is named."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from navloop.configs.loader import load
from navloop.envs.episodes import read_episodes, write_episodes
from navloop.envs.metrics import evaluate
from navloop.envs.protocols import get_protocol
from navloop.geometry import heading_to_quaternion
from navloop.records import Episode, Instruction, Trajectory
from navloop.training.cli import main
from navloop.training.evaluation import evaluate as run_benchmark
from navloop.training.leaderboards import SubmissionError, read_submission, write_submission
from navloop.training.rows import Row

TURN = math.radians(30)


def episode(number, start, language=None):
    extra = {} if language is None else {"instruction_id": 100 - number}
    return Episode(
        episode_id=str(number),
        trajectory_id=str(number),
        scene_id="s/s.glb",
        start_position=np.array(start, dtype=float),
        start_rotation=heading_to_quaternion(0.5),
        instruction=Instruction(text="go", language=language or "en-US", extra=extra),
        goal_position=np.array([1.0, 0, 1]),
        goal_radius=3.0,
        reference_path=np.array([start, [1.0, 0, 1]]),
        info={"geodesic_distance": 1.0},
    )


def row(of, actions, positions):
    steps = len(actions)
    trajectory = Trajectory(
        positions=np.array(positions, dtype=float),
        headings=np.zeros(steps + 1),
        actions=np.array(actions),
        distances_to_goal=np.ones(steps + 1),
        collided=np.zeros(steps, bool),
        action_source=np.zeros(steps, int),
        stopped=actions[-1] == 0,
    )
    return Row.of(of, 1, evaluate(trajectory, of, get_protocol("r2r-ce")), trajectory)


WALK = ([2, 2, 1, 3, 0], [[0, 0, 0], [0, 0, 0], [0, 0, 0], [-0.2, 0, -0.1], [-0.2, 0, -0.1], [-0.2, 0, -0.1]])


@pytest.fixture
def r2r(tmp_path):
    path = tmp_path / "val_unseen.json.gz"
    write_episodes(path, [episode(7, [0, 0, 0]), episode(3, [0, 0, 0])])
    return read_episodes(path)


@pytest.fixture
def rxr(tmp_path):
    path = tmp_path / "test_challenge_guide.json.gz"
    write_episodes(path, [episode(1, [0, 0, 0], "hi-IN"), episode(2, [0, 0, 0], "en-IN")])
    return read_episodes(path)


def rows(file):
    return [row(one, *WALK) for one in file.episodes]


def test_an_r2r_file_has_a_pose_for_the_start_and_after_each_action(r2r, tmp_path):
    path = tmp_path / "out.json"
    assert write_submission(path, [(r2r, rows(r2r))], TURN) == 2
    entries = json.loads(path.read_text())["7"]
    assert [set(entry) for entry in entries] == [{"position", "heading", "stop"}] * 6
    assert [entry["position"] for entry in entries] == WALK[1]
    degrees = [math.degrees(entry["heading"] - 0.5) for entry in entries]
    np.testing.assert_allclose(degrees, [0, 30, 60, 60, 30, 30], atol=1e-9)
    assert [entry["stop"] for entry in entries] == [False] * 5 + [True]


def test_an_rxr_file_has_the_places_once_sorted_by_instruction_all_languages_together(rxr, tmp_path):
    path = tmp_path / "out.jsonl"
    write_submission(path, [(rxr, rows(rxr))], TURN)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [{"instruction_id": number, "path": [[0, 0, 0], [-0.2, 0, -0.1]]} for number in (98, 99)]


def test_what_was_written_is_read_back(r2r, rxr, tmp_path):
    for file in (r2r, rxr):
        write_submission(tmp_path / "out", [(file, rows(file))], TURN)
        found = read_submission(tmp_path / "out", [file])
        assert len(found) == 2
        for path in found.values():
            np.testing.assert_allclose(path.positions[[0, -1]], [[0, 0, 0], [-0.2, 0, -0.1]])
            assert path.stopped in (True, None)


def test_no_file_is_written_of_rows_that_are_not_all_there(r2r, rxr, tmp_path):
    path = tmp_path / "out.json"
    with pytest.raises(SubmissionError, match="1 of 2 episodes of val_unseen have no row, such as 3"):
        write_submission(path, [(r2r, rows(r2r)[:1])], TURN)
    with pytest.raises(SubmissionError, match="starts elsewhere"):
        write_submission(path, [(r2r, [replace(one, positions=one.positions + 1) for one in rows(r2r)])], TURN)
    long = row(r2r.episodes[0], [1] * 501, np.zeros((502, 3)))
    with pytest.raises(SubmissionError, match="501 actions, at most 500"):
        write_submission(path, [(r2r, [long, rows(r2r)[1]])], TURN)
    with pytest.raises(SubmissionError, match="of r2r and rxr"):
        write_submission(path, [(r2r, rows(r2r)), (rxr, rows(rxr))], TURN)
    with pytest.raises(SubmissionError, match="2 episodes of val_unseen have rows in more than one run"):
        write_submission(path, [(r2r, rows(r2r) + rows(r2r))], TURN)
    with pytest.raises(SubmissionError, match="would be there 2 times"):
        write_submission(path, [(rxr, rows(rxr)), (rxr, rows(rxr))], TURN)
    assert not path.exists()


def change(entries, key, value):
    return [{**entries[0], key: value}, *entries[1:]]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda d: {"7": d["7"]}, "1 of 2 are missing, such as 3"),
        (lambda d: {**d, "9": d["7"]}, "9: is not in val_unseen"),
        (lambda d: {**d, "7": []}, "7: entries are not"),
        (lambda d: {**d, "7": [[0, 0, 0]]}, "7: entries are not"),
        (lambda d: {**d, "7": change(d["7"], "position", [0, 0, 0.5])}, "7: begins 0.50 m from the episode's start"),
        (lambda d: {**d, "7": change(d["7"], "position", [0, 0])}, "7: entries are not"),
        (lambda d: {**d, "7": change(d["7"], "position", [math.nan, 0, 0])}, "7: a position is not finite"),
        (lambda d: {**d, "7": change(d["7"], "heading", math.inf)}, "7: a heading is not a finite number"),
        (lambda d: {**d, "7": change(d["7"], "stop", True)}, "7: stop must be true or false, and true at the last"),
        (lambda d: {**d, "7": change(d["7"], "stop", "no")}, "7: stop must be"),
        (lambda d: {**d, "7": d["7"][:1] * 502}, "7: has 502 places, at most 501"),
        (lambda d: list(d), "is no JSON object"),
    ],
)
def test_every_fault_of_an_r2r_file_is_named(r2r, tmp_path, spoil, words):
    path = tmp_path / "out.json"
    write_submission(path, [(r2r, rows(r2r))], TURN)
    path.write_text(json.dumps(spoil(json.loads(path.read_text()))))
    with pytest.raises(SubmissionError, match=words):
        read_submission(path, [r2r])


def test_an_episode_that_is_there_twice_is_named(r2r, tmp_path):
    path = tmp_path / "out.json"
    write_submission(path, [(r2r, rows(r2r))], TURN)
    path.write_text(path.read_text().replace('"3":', '"7":'))
    with pytest.raises(SubmissionError, match="7 is there 2 times"):
        read_submission(path, [r2r])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda lines: lines[:1], "1 of 2 are missing, such as 99"),
        (lambda lines: lines[::-1], "98: ids are not sorted"),
        (lambda lines: [lines[0], lines[0]], "98: is there twice"),
        (lambda lines: [{**lines[0], "path": [[0, 0, 0]] * 2}, lines[1]], "the same place is there twice in a row"),
        (lambda lines: [{**lines[0], "instruction_id": "98"}, lines[1]], "line 1: is not"),
        (lambda lines: [{**lines[0], "path": None}, lines[1]], "98: path is not a list"),
    ],
)
def test_every_fault_of_an_rxr_file_is_named(rxr, tmp_path, spoil, words):
    path = tmp_path / "out.jsonl"
    write_submission(path, [(rxr, rows(rxr))], TURN)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in spoil(lines)))
    with pytest.raises(SubmissionError, match=words):
        read_submission(path, [rxr])


def test_a_torn_file_is_named(r2r, tmp_path):
    path = tmp_path / "out.json"
    write_submission(path, [(r2r, rows(r2r))], TURN)
    path.write_text(path.read_text()[:40])
    with pytest.raises(SubmissionError, match="not JSON"):
        read_submission(path, [r2r])


def test_the_command_submits_a_run_and_checks_a_file(houses, val_unseen, tmp_path, capsys):
    run = tmp_path / "run"
    file = read_episodes(val_unseen)
    few = tmp_path / "few.json.gz"
    write_episodes(few, file.episodes[:6], file.vocabulary)
    options = [f"scenes={houses / 'scenes'}", f"episodes={few}", "agents=forward,random", "workers=1"]
    evaluation = run_benchmark(load("eval_demo", options), run)
    assert main(["submit", str(run)]) == 2
    assert "forward, random; choose one with --agent" in capsys.readouterr().err
    assert main(["submit", str(run), "--agent", "random"]) == 0
    assert "6 paths" in capsys.readouterr().out
    entries = json.loads((run / "submission_random.json").read_text())
    for one in evaluation.rows["random"]:
        assert [entry["position"] for entry in entries[one.episode_id]] == one.positions.tolist()
    assert main(["submit", str(run / "submission_random.json"), "--episodes", str(few)]) == 0
    assert main(["submit", str(run / "submission_random.json"), "--episodes", str(val_unseen)]) == 2
    assert "66 of 72 are missing" in capsys.readouterr().err
