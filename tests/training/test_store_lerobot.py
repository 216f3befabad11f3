"""What LeRobot itself makes of a store. It wants an environment of its own: this runs where both are installed, and is skipped elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from stored_walks import fill

from navloop.training.store import open_store

lerobot_dataset = pytest.importorskip("lerobot.datasets.lerobot_dataset", reason="needs lerobot beside navloop")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A store that was joined in two goes, as LeRobot and as navloop read it."""
    folder = fill(fill(tmp_path_factory.mktemp("lerobot") / "store", range(6)), range(6, 9))
    return lerobot_dataset.LeRobotDataset("navloop/made", root=folder, video_backend="torchcodec"), open_store(folder)


def test_lerobot_counts_what_is_there(pair):
    theirs, ours = pair
    assert (theirs.num_episodes, len(theirs)) == (len(ours), sum(episode.length for episode in ours.episodes))
    assert theirs.meta.total_tasks == 9 and theirs.fps == ours.about.fps
    assert list(theirs.meta.tasks.index) == [episode.instruction for episode in ours.episodes]
    np.testing.assert_allclose(theirs.meta.stats["pose"]["mean"], ours.stats["pose"]["mean"])


def test_lerobot_reads_the_same_frames_and_columns(pair):
    theirs, ours = pair
    rows = [(episode, step) for episode in ours.episodes for step in range(episode.length)]
    for number, (episode, step) in enumerate(rows):
        item, trajectory = theirs[number], ours.trajectory(episode.index)
        assert (int(item["episode_index"]), int(item["frame_index"])) == (episode.index, step)
        assert item["task"] == episode.instruction
        assert int(item["action"]) == trajectory.actions[step]
        assert int(item["oracle_action"]) == ours.walk(episode.index).expert_actions[step]
        assert bool(item["collided"]) == trajectory.collided[step]
        state = np.append(trajectory.positions[step], trajectory.headings[step]).astype(np.float32)
        np.testing.assert_array_equal(item["observation.state"].numpy(), state)
        rgb = (item["observation.images.rgb"].numpy() * 255).round().astype(np.uint8).transpose(1, 2, 0)
        np.testing.assert_array_equal(rgb, ours.frames(episode.index, step, step + 1)[0])


def test_lerobot_takes_some_episodes_and_windows_of_time(pair):
    theirs, ours = pair
    few = lerobot_dataset.LeRobotDataset("navloop/made", root=theirs.root, episodes=[7], video_backend="torchcodec")
    assert len(few) == ours.episodes[7].length and int(few[0]["episode_index"]) == 7
    windows = {"observation.images.rgb": [-0.25, 0.0], "action": [0.0, 0.25]}
    clips = lerobot_dataset.LeRobotDataset(
        "navloop/made", root=theirs.root, delta_timestamps=windows, video_backend="torchcodec"
    )
    first = ours.episodes[4].index
    start = sum(episode.length for episode in ours.episodes[:first])
    clip = clips[start + 2]
    rgb = (clip["observation.images.rgb"].numpy() * 255).round().astype(np.uint8).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(rgb, ours.frames(first, 1, 3))
    np.testing.assert_array_equal(clip["action"].numpy(), ours.trajectory(first).actions[2:4])
