"""Collections on a Ray cluster of two nodes on this machine: the same store as without one, also if a node is lost."""

from __future__ import annotations

import threading
import time

import pytest
from collected_houses import collecting, files_of

from navloop.training.pool import WorkerError
from navloop.training.recorder import record_walks
from navloop.training.store import open_store

ray = pytest.importorskip("ray", reason="collections on clusters need the extra ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")


@pytest.fixture
def nodes():
    """A cluster of a head without processors and two nodes of one each."""
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    workers = [cluster.add_node(num_cpus=1) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster, workers
    ray.shutdown()
    cluster.shutdown()


def test_a_lost_node_loses_no_walk(houses, tmp_path, nodes):
    cluster, (first, _) = nodes
    folder, acknowledged = tmp_path / "store", set()

    def lose():
        deadline = time.monotonic() + 300
        while not (found := {path.name for path in folder.glob("parts/[0-9a-f]*")}):
            if time.monotonic() > deadline:
                return
            time.sleep(0.05)
        acknowledged.update(found)
        cluster.remove_node(first, allow_graceful=False)

    loser = threading.Thread(target=lose, daemon=True)
    loser.start()
    collected = record_walks(collecting(houses, cluster="auto", workers=2), folder)
    loser.join()
    assert 0 < len(acknowledged) < 6 and acknowledged <= open_store(folder).keys
    assert not any(info.process.poll() is None for infos in first.all_processes.values() for info in infos)
    alone = record_walks(collecting(houses), tmp_path / "alone")
    assert collected.walks == alone.walks == 6
    assert files_of(folder) == files_of(alone.folder)


def test_a_fault_on_a_node_is_told_with_its_part(houses, tmp_path, nodes):
    scenes = tmp_path / "scenes"
    scenes.symlink_to(houses / "scenes")
    config = collecting(houses, cluster="auto", scenes=str(scenes))
    folder = tmp_path / "store"
    with pytest.raises(WorkerError, match=r"part 0 \(small/train_000/train_000\.glb") as caught:
        from navloop.training import recorder

        entrant = recorder.find_walker(config)
        episodes = recorder.read_selection(config.entry()).episodes
        recorder.StoreWriter(folder, recorder.about_of(config, recorder.protocol_of(config.ground()))).close()
        scenes.unlink()  # after everything was checked
        recorder._walk_missing(config, folder, entrant, episodes, None)
    assert caught.value.is_input


def test_a_cluster_that_is_begun_for_a_collection_is_ended_with_it(houses, tmp_path):
    assert not ray.is_initialized()
    collected = record_walks(collecting(houses, cluster="local", workers=2), tmp_path / "store")
    assert collected.walks == 6 and not ray.is_initialized()
    assert files_of(tmp_path / "store") == files_of(record_walks(collecting(houses), tmp_path / "alone").folder)


def test_a_cluster_that_runs_is_joined_by_its_address(houses, tmp_path):
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    try:
        collected = record_walks(collecting(houses, cluster=cluster.address, workers=2), tmp_path / "store")
    finally:
        cluster.shutdown()
    assert collected.walks == 6 and not ray.is_initialized()


def test_a_cluster_that_is_not_there_is_told(houses, tmp_path):
    with pytest.raises(ValueError, match=r"cluster: no Ray cluster at 'auto'"):
        record_walks(collecting(houses, cluster="auto"), tmp_path / "store")
