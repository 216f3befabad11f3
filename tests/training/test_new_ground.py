"""New ground: walks that could be tours, in houses that may be learned in, the same for the same seed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from short_tours import SHORT

from navloop.configs.imitation import EpisodesConfig
from navloop.envs.episodes import read_episodes, write_episodes, write_ground_truth
from navloop.training.new_ground import draw_ground
from navloop.training.rollouts import Rollouts, Rules, protocol_of
from navloop.training.unseen import scenes_of


@pytest.fixture(scope="module")
def never(houses) -> frozenset[str]:
    return scenes_of(houses / "episodes" / "val_unseen" / "val_unseen.json.gz")


@pytest.fixture(scope="module")
def drawn(houses, never):
    return draw_ground(houses / "scenes", 7, 3, SHORT, never=never)


def test_walks_are_spread_over_the_houses_that_may_be_learned_in(drawn, never, houses):
    assert never == {f"small/val_unseen_00{i}/val_unseen_00{i}.glb" for i in (0, 1)}
    counts = Counter(e.scene_id for e in drawn)
    assert set(counts) == {f"small/train_00{i}/train_00{i}.glb" for i in (0, 1)} and sorted(counts.values()) == [3, 4]
    assert [e.episode_id for e in drawn] == [e.trajectory_id for e in drawn] == [f"g{i}" for i in range(1, 8)]


def test_they_are_as_long_as_asked_and_have_no_words(drawn):
    lengths = np.array([e.info["geodesic_distance"] for e in drawn])
    assert (lengths > SHORT.shortest * 0.94).all() and (lengths < SHORT.longest * 1.06).all()
    assert {e.instruction.text for e in drawn} == {""}
    ends = {(e.start_position.tobytes(), e.goal_position.tobytes()) for e in drawn}
    assert len(ends) == 7


def test_an_expert_walks_them_as_they_were_drawn(drawn, houses):
    config = EpisodesConfig(scenes=str(houses / "scenes"), train="none", pixels=16)
    rollouts = Rollouts(config, protocol_of(config), 2)
    walked = list(rollouts.collect(None, drawn[:3], Rules(beta=1.0), 0))
    rollouts.close()
    for rollout in walked:
        assert rollout.walk.success
        np.testing.assert_array_equal(rollout.episode.reference_path[-1], rollout.episode.goal_position)
        gap = np.linalg.norm(rollout.trajectory.positions[-1] - rollout.episode.ground_truth.locations[-1])
        assert gap < 0.3


def test_the_seed_decides_and_workers_do_not(drawn, never, houses, begun):
    again = draw_ground(houses / "scenes", 7, 3, SHORT, never=never, workers=2)
    assert len(begun) == 2
    other = draw_ground(houses / "scenes", 7, 4, SHORT, never=never)
    starts = [[e.start_position.tolist() for e in each] for each in (drawn, again, other)]
    assert starts[0] == starts[1] != starts[2]


def test_they_are_ordinary_episodes(drawn, tmp_path):
    write_episodes(tmp_path / "g.json.gz", drawn)
    write_ground_truth(tmp_path / "g_gt.json.gz", drawn)
    back = read_episodes(tmp_path / "g.json.gz").episodes
    assert [e.episode_id for e in back] == [e.episode_id for e in drawn]
    np.testing.assert_array_equal(back[0].ground_truth.actions, drawn[0].ground_truth.actions)


def test_houses_of_validation_and_other_scenes_are_refused(houses, never, tmp_path):
    val, scenes = min(never), houses / "scenes"
    with pytest.raises(ValueError, match=r"val_unseen_000.glb is kept for validation"):
        draw_ground(scenes, 2, 0, SHORT, among=[val], never=never)
    with pytest.raises(ValueError, match=r"mp3d/x.glb: has no description beside it"):
        draw_ground(scenes, 2, 0, SHORT, among=["mp3d/x.glb"])
    with pytest.raises(ValueError, match="holds no generated house"):
        draw_ground(tmp_path, 2, 0, SHORT)
