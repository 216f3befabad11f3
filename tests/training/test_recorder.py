"""Recording: what an agent saw and did is stored as it was, whoever walks, in however many processes, however often killed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from collected_houses import collecting, files_of
from short_tours import recipe
from striking import begin, kill_when

from navloop.agent.policy_agent import create_policy_agent
from navloop.agent.saving import agent_digest, save_agent
from navloop.configs.replay import ReplayConfig
from navloop.envs.episodes import read_episodes
from navloop.envs.metrics import evaluate
from navloop.envs.navigation import NavigationEnv
from navloop.envs.simulator import Action
from navloop.envs.worlds import create_simulator
from navloop.records import SOURCES
from navloop.runs import RunError
from navloop.training import recorder
from navloop.training.recorder import record_walks, refuse_measuring
from navloop.training.replaying import replay_walks
from navloop.training.rollout import episode_seed, replay
from navloop.training.rollouts import protocol_of
from navloop.training.store import StoreError, StoreWriter, export_episodes, merge_stores, open_store
from navloop.training.videos import write_video
from navloop.training.walks import Frames

POLICY, EXPERT = SOURCES.index("policy"), SOURCES.index("expert")


@pytest.fixture(scope="module")
def recorded(houses, tmp_path_factory):
    """Six walks of an agent that wanders, and of the expert who acts half of the time."""
    config = collecting(houses)
    folder = tmp_path_factory.mktemp("recorded") / "store"
    return config, record_walks(config, folder), open_store(folder)


def test_walks_are_told_with_who_walked_and_what_came_of_it(recorded, houses):
    config, collected, store = recorded
    assert (collected.walks, collected.new, len(store)) == (6, 6, 6)
    assert collected.frames == sum(episode.length for episode in store.episodes)
    known = {episode.episode_id: episode for episode in read_episodes(config.episodes).episodes}
    protocol = protocol_of(config.ground())
    for told in store.episodes:
        episode, trajectory = known[told.episode_id], store.trajectory(told.index)
        assert (told.policy, told.source, told.world, told.protocol) == ("random", "tours", "embedded", protocol.label)
        assert told.seed == episode_seed(config.seed, told.episode_id) and told.instruction == episode.instruction.text
        metrics = evaluate(trajectory, episode, protocol)
        assert told.metrics["ndtw"] == metrics.ndtw and told.metrics["steps"] == told.length <= 30
        assert set(trajectory.action_source.tolist()) == {POLICY, EXPERT}
        walk = store.walk(told.index)
        acted = trajectory.action_source == EXPERT
        np.testing.assert_array_equal(walk.actions[acted], walk.expert_actions[acted])


def test_a_store_s_own_actions_lead_to_its_frames(recorded, tmp_path):
    config, _, store = recorded
    protocol = protocol_of(config.ground())
    simulator = create_simulator("embedded", config.scenes, protocol)
    for told in store.episodes:
        trajectory = store.trajectory(told.index)
        env = NavigationEnv(simulator, [store.task(told.index)], protocol)
        steps = replay(env, told.episode_id, trajectory.actions.tolist(), trajectory.positions)
        seen = np.stack([observation["rgb"] for observation, _ in steps])[: told.length]
        write_video(tmp_path / "again.mp4", seen, config.fps, gop=config.gop, quality=config.quality, bulk=True)
        with StoreWriter(tmp_path / "again", store.about) as writer:
            record = store.record(told.index)
            key = writer.append(type(record)(**{**vars_of(record), "frames": Frames(seen)}))
        again = open_store(tmp_path / "again")
        (index,) = again.select(lambda episode, key=key: episode.key == key)
        np.testing.assert_array_equal(again.frames(index), store.frames(told.index))
        assert np.abs(seen.astype(int) - store.frames(told.index)).mean() < 10
    simulator.close()


def test_exported_episodes_are_walked_again_as_they_were(recorded, tmp_path):
    config, _, store = recorded
    with StoreWriter(tmp_path / "kept", store.about) as writer:
        for told in store.episodes:  # every other one with words of its own
            writer.adopt(store, told.index, **({"instruction": "Go on."} if told.index % 2 else {}))
        writer.finish()
    file = export_episodes(open_store(tmp_path / "kept"), tmp_path / "train.json.gz")
    replay_config = ReplayConfig(scenes=config.scenes, episodes=str(file), protocol="houses", width=32, workers=1)
    replay_walks(replay_config, tmp_path / "films")
    films = json.loads((tmp_path / "films" / "dataset.json").read_text())
    assert (films["videos"], films["strays"]) == (6, 0) and films["largest_gap_m"] < 1e-3
    rows = [json.loads(line) for line in (tmp_path / "films" / "walks.jsonl").read_text().splitlines()]
    assert sorted("Go on." in row["captions"] for row in rows) == [False] * 3 + [True] * 3
    again = replay_config.model_copy(update={"episodes": str(tmp_path / "kept")})  # the store by itself
    replay_walks(again, tmp_path / "again")
    for name in ("walks.jsonl", "strays.jsonl"):
        told = (tmp_path / "again" / name).read_text(), (tmp_path / "films" / name).read_text()
        assert told[0] == told[1].replace('"split": "train"', '"split": "kept"')
    for film in (tmp_path / "films" / "videos").glob("*/*.mp4"):
        assert film.read_bytes() == (tmp_path / "again" / film.relative_to(tmp_path / "films")).read_bytes()


def vars_of(record):
    return {name: getattr(record, name) for name in ("about", "task", "trajectory", "expert_actions", "frames")}


def test_the_store_is_the_same_for_any_number_of_workers(recorded, houses, tmp_path, begun):
    _, collected, _ = recorded
    record_walks(collecting(houses, workers=2), tmp_path / "two")
    assert len(begun) == 2
    assert files_of(tmp_path / "two") == files_of(collected.folder)


def test_a_collection_that_is_killed_and_resumed_is_the_same(recorded, houses, tmp_path, monkeypatch):
    _, collected, _ = recorded
    folder = tmp_path / "killed"
    kill_when(begin(record_walks, collecting(houses), folder), lambda: len(list(folder.glob("parts/[0-9a-f]*"))) > 2)
    there = open_store(folder).keys
    assert 2 < len(there) < 6  # a part of two is whole
    walked: list[list[str]] = []
    deal = recorder._begin

    def noted(config, hire, parts, on_gpu):
        walked.append([key for part in parts for key in part.keys])
        return deal(config, hire, parts, on_gpu)

    monkeypatch.setattr(recorder, "_begin", noted)
    again = record_walks(collecting(houses), folder)
    assert again.new == 6 - len(there) and again.walks == 6
    assert files_of(folder) == files_of(collected.folder)
    assert record_walks(collecting(houses), folder).new == 0
    assert len(walked[0]) < 6 and walked[1] == []


def test_walks_that_do_not_arrive_in_the_store_are_told(recorded, houses, tmp_path, monkeypatch):
    _, collected, _ = recorded
    folder, hired = tmp_path / "store", recorder._hire

    def elsewhere(config, path, entrant, place):
        return hired(config, path if place else tmp_path / "elsewhere", entrant, place)

    with monkeypatch.context() as patch:  # one of two workers sees another folder at the path
        patch.setattr(recorder, "_hire", elsewhere)
        with pytest.raises(
            StoreError, match=r"store: (\d) of 6 walks that were walked just now are not there"
        ) as caught:
            record_walks(collecting(houses, workers=2), folder)
    assert "have to see the same folder" in str(caught.value) and "run the command again" in str(caught.value)
    there = len(open_store(folder))
    assert f"{6 - there} of 6" in str(caught.value) and there == 6 - len(open_store(tmp_path / "elsewhere"))
    assert record_walks(collecting(houses), folder).walks == 6
    assert open_store(folder).keys == open_store(collected.folder).keys


def test_the_expert_alone_succeeds(houses, tmp_path):
    collected = record_walks(collecting(houses, agent="expert", acting={}, max_episodes=2), tmp_path / "store")
    store = open_store(tmp_path / "store")
    assert collected.success == 1.0
    for told in store.episodes:
        trajectory = store.trajectory(told.index)
        assert told.policy == "expert" and trajectory.actions[-1] == Action.STOP
        assert set(trajectory.action_source.tolist()) == {EXPERT}


def test_a_saved_agent_is_told_by_its_weights(houses, tmp_path):
    agent = create_policy_agent(recipe(houses).agent, ["Go."], protocol="houses@1+rgb32", seed=0)
    save_agent(agent, tmp_path / "runs" / "learner")
    config = collecting(houses, agent=str(tmp_path / "runs" / "learner"), acting={"max_steps": 12}, max_episodes=2)
    record_walks(config, tmp_path / "store")
    for told in open_store(tmp_path / "store").episodes:
        assert told.policy == "learner" and told.weights == agent_digest(tmp_path / "runs" / "learner")
    other = create_policy_agent(recipe(houses).agent, ["Go."], protocol="houses@1+rgb32", seed=1)
    save_agent(other, tmp_path / "runs" / "learner")
    with pytest.raises(RunError, match="data of weights was"):
        record_walks(config, tmp_path / "store")


def test_depth_is_stored_where_it_is_asked_for(houses, tmp_path):
    record_walks(collecting(houses, depth=True, max_episodes=1), tmp_path / "store")
    store = open_store(tmp_path / "store")
    depth = store.depth(0)
    assert depth.shape == (store.episodes[0].length, 32, 32, 1) and depth.dtype == np.float32
    assert 0 < depth.min() and depth.max() <= 10 and depth.std() > 0.1


def test_stores_of_two_collections_merge(recorded, houses, tmp_path):
    _, _, store = recorded
    record_walks(collecting(houses, seed=1, round=1, max_episodes=2), tmp_path / "other")
    merged = merge_stores([store, open_store(tmp_path / "other")], tmp_path / "merged")
    assert [episode.round for episode in merged.episodes] == [None] * 6 + [1] * 2


@pytest.mark.parametrize("split", ["val_seen", "val_unseen"])
def test_splits_to_measure_on_are_refused(houses, tmp_path, split):
    config = collecting(houses, episodes=str(houses / "episodes" / split / f"{split}.json.gz"))
    with pytest.raises(ValueError, match=f"{split} is a split that agents are measured on"):
        record_walks(config, tmp_path / "store")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("name", ["val_unseen/data", "test/walks", "train/val_seen", "train/test", "TEST/VAL_SEEN"])
def test_a_file_or_a_folder_of_a_split_to_measure_on_is_refused(houses, name):
    with pytest.raises(ValueError, match="is a split that agents are measured on"):
        refuse_measuring(collecting(houses, episodes=f"{name}.json.gz"))


@pytest.mark.parametrize(
    "name", ["test/train", "val_seen/train_guide", "train/train", "test_houses/data", "train/data"]
)
def test_a_train_split_is_one_whatever_its_folder_is_called(houses, name):
    refuse_measuring(collecting(houses, episodes=f"{name}.json.gz"))


def test_scenes_to_measure_in_are_refused_whatever_the_file_is_called(houses, tmp_path):
    leaked = tmp_path / "more.json.gz"
    leaked.write_bytes((houses / "episodes" / "val_unseen" / "val_unseen.json.gz").read_bytes())
    with pytest.raises(ValueError, match=r"more\.json\.gz: .* and 1 more is kept to measure agents in"):
        record_walks(collecting(houses, episodes=str(leaked), max_episodes=None), tmp_path / "store")


def test_an_agent_that_is_not_there_is_refused(houses, tmp_path):
    with pytest.raises(ValueError, match="wanderer"):
        record_walks(collecting(houses, agent="wanderer"), tmp_path / "store")
    with pytest.raises(ValueError, match="measured, not recorded"):
        record_walks(collecting(houses, agent="random+shuffled"), tmp_path / "store")
