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
        while not (found := {path.name for path in folder.glob("parts/[0-9a-f]*")}):
            time.sleep(0.05)
        acknowledged.update(found)
        cluster.remove_node(first, allow_graceful=False)

    loser = threading.Thread(target=lose)
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
