"""Rows survive their file, and a torn one is dropped, not taken for whole."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from navloop.envs.metrics import evaluate
from navloop.envs.protocols import get_protocol
from navloop.records import Episode, Instruction, Trajectory
from navloop.training.rows import Row, RowError, RowWriter, read_rows, sort_rows


def row(episode_id="e", steps=3, distances=None, goal=True):
    rng = np.random.default_rng(steps)
    episode = Episode(
        episode_id=episode_id,
        trajectory_id="t",
        scene_id="a/b.glb",
        start_position=np.zeros(3),
        start_rotation=np.array([0, 0, 0, 1.0]),
        instruction=Instruction(text="Go."),
        goal_position=np.ones(3) if goal else None,
        reference_path=np.array([[0, 0, 0], [1, 1, 1.0]]),
    )
    walk = Trajectory(
        positions=rng.normal(size=(steps + 1, 3)),
        headings=np.zeros(steps + 1),
        actions=np.append(rng.integers(1, 4, steps - 1), 0),
        distances_to_goal=rng.uniform(0, 9, steps + 1) if distances is None else np.array(distances),
        collided=rng.random(steps) < 0.5,
        action_source=np.zeros(steps, dtype=np.int64),
        stopped=True,
    )
    return Row.of(episode, 7, evaluate(walk, episode, get_protocol("r2r-ce")), walk)


@settings(max_examples=30)
@given(st.integers(1, 40), st.booleans())
def test_a_row_survives_its_line(steps, goal):
    before = row(steps=steps, goal=goal, distances=None if goal else [math.nan] * (steps + 1))
    after = Row.from_line(before.to_line())
    assert after.to_line() == before.to_line()
    assert after.metrics == before.metrics
    np.testing.assert_array_equal(after.actions, before.actions)
    np.testing.assert_array_equal(after.collided, before.collided)
    np.testing.assert_allclose(after.positions, before.positions, atol=1e-9)
    np.testing.assert_allclose(after.distances, before.distances, atol=1e-9)


def test_an_unreachable_goal_is_strict_json_and_stays_infinite():
    line = row(distances=[math.inf] * 4).to_line()
    json.loads(line, parse_constant=pytest.fail)
    assert Row.from_line(line).metrics.navigation_error == math.inf
    assert Row.from_line(line).metrics.success == 0


@pytest.mark.parametrize("kept", range(1, 60, 7))
def test_a_torn_last_line_is_dropped_and_written_over(tmp_path, kept):
    path = tmp_path / "rows" / "expert.jsonl"
    for name in "ab":
        writer = RowWriter(path)
        writer.add([row(name)])
        writer.close()
    whole = path.read_bytes()
    path.write_bytes(whole + row("c").to_line().encode()[:kept])
    assert [found.episode_id for found in read_rows(path)] == ["a", "b"]
    writer = RowWriter(path)
    assert path.read_bytes() == whole
    writer.add([row("c")])
    writer.close()
    assert [found.episode_id for found in read_rows(path)] == ["a", "b", "c"]


def test_a_broken_line_in_the_middle_is_told_by_its_number(tmp_path):
    path = tmp_path / "expert.jsonl"
    path.write_text(f"{row('a').to_line()}\n{row('b').to_line()[:-9]}\n{row('c').to_line()}\n")
    with pytest.raises(RowError, match=r"expert.jsonl, line 2: .*delete the line"):
        read_rows(path)


def test_a_doubled_episode_is_refused(tmp_path):
    path = tmp_path / "expert.jsonl"
    path.write_text(f"{row('a').to_line()}\n" * 2)
    with pytest.raises(RowError, match="episode a is there twice"):
        read_rows(path)


def test_sorted_files_are_equal_whatever_the_order_of_arrival(tmp_path):
    for number, order in enumerate(("cab", "bca")):
        (tmp_path / f"{number}").write_text("".join(f"{row(name).to_line()}\n" for name in order))
        sort_rows(tmp_path / f"{number}", ["a", "b", "c"])
    assert (tmp_path / "0").read_text() == (tmp_path / "1").read_text()
    assert [found.episode_id for found in read_rows(tmp_path / "0")] == ["a", "b", "c"]
