"""Hindsight: the task that a walk did is one that the walk does, and its files read back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_walks import episode, straight

from navloop.envs.episodes import read_episodes, write_episodes, write_ground_truth
from navloop.envs.metrics import evaluate
from navloop.envs.protocols import get_protocol
from navloop.geometry import quaternion_to_heading
from navloop.training.hindsight import relabel, walked_way

PROTOCOL = get_protocol("houses")


@given(st.integers(1, 60), st.floats(-3, 3), st.booleans())
def test_a_walk_does_its_own_task(steps, heading, stopped):
    walk = straight(steps, start=(1.0, -2.0), heading=heading, stopped=stopped)
    task = relabel(episode(), walk, "Go on.")
    scores = evaluate(walk, task, PROTOCOL)
    assert scores.ndtw > 0.98 and (scores.success == 1) == stopped
    np.testing.assert_array_equal(task.goal_position, walk.positions[-1])
    np.testing.assert_array_equal(task.reference_path[[0, -1]], walk.positions[[0, -1]])
    assert quaternion_to_heading(task.start_rotation) == pytest.approx(heading, abs=1e-9)
    assert task.ground_truth.actions[-1] == 0 and task.ground_truth.forward_steps == steps
    assert len(task.ground_truth.locations) == steps + 1


def test_what_was_meant_is_gone_and_what_was_said_is_there(tmp_path):
    task = relabel(episode("Go to bed."), straight(12), "Walk to the sink.", extra={"told_by": "a speaker"})
    assert (task.episode_id, task.trajectory_id) == ("7h", "t7h")
    assert task.instruction.text == "Walk to the sink." and task.instruction.extra == {"told_by": "a speaker"}
    assert task.info == {}  # 12.7 m was the way to another goal
    path = tmp_path / "told.json.gz"
    write_episodes(path, [task])
    write_ground_truth(tmp_path / "told_gt.json.gz", [task])
    (back,) = read_episodes(path).episodes
    assert back.episode_id == "7h" and back.instruction.text == task.instruction.text
    np.testing.assert_allclose(back.ground_truth.locations, task.ground_truth.locations)
    np.testing.assert_array_equal(back.ground_truth.actions, task.ground_truth.actions)


def test_steps_that_led_nowhere_are_no_way():
    walk = straight(4)
    walk.positions[2:4] = walk.positions[1]  # two steps against a wall
    np.testing.assert_allclose(walked_way(walk)[:, 2], [0, -0.25, -1.0])
    assert math.dist(*relabel(episode(), walk, "Go.").reference_path[[0, -1]]) == pytest.approx(1.0)


@pytest.mark.parametrize(("steps", "text", "words"), [(0, "Go.", "went nowhere"), (5, " ", "nothing is said")])
def test_what_is_no_task_is_refused(steps, text, words):
    with pytest.raises(ValueError, match=f"episode 7: .*{words}"):
        relabel(episode(), straight(steps), text)
