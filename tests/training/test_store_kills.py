"""Stores whose writers are killed at any moment: what was acknowledged is there whole, and nothing is there in part or twice."""

from __future__ import annotations

import os
import shutil
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
from stored_walks import ABOUT, fill, made_record, run_until_change, start
from striking import wait_until

from navloop.training.store import StoreWriter, open_store

WRITERS, WALKS, KILLS = 2, 60, 8


def require_whole(folder, expected) -> None:
    """Every walk is there once, and is what was written."""
    store = open_store(folder)
    numbers = [int(episode.episode_id) for episode in store.episodes]
    assert len(numbers) == len(set(numbers)) and set(numbers) >= set(expected)
    for index, number in enumerate(numbers):
        record, trajectory = made_record(number), store.trajectory(index)
        np.testing.assert_array_equal(trajectory.positions, record.trajectory.positions)
        np.testing.assert_array_equal(trajectory.actions, record.trajectory.actions)
        frames = store.frames(index)
        assert frames.shape == record.frames.rgb.shape
        assert np.abs(frames.astype(int) - record.frames.rgb).mean() < 16
    store.close()


def require_lerobot_layout(folder) -> None:
    """The table, the frames and the films agree, and there is nothing beside them."""
    episodes = pq.read_table(folder / "meta/episodes/chunk-000/file-000.parquet", partitioning=None).to_pylist()
    frames = pq.read_table(sorted((folder / "data").glob("*/*.parquet")), partitioning=None)
    assert frames["index"].to_pylist() == list(range(episodes[-1]["dataset_to_index"]))
    assert frames["episode_index"].to_pylist() == [e["episode_index"] for e in episodes for _ in range(e["length"])]
    named = {(e["data/chunk_index"], e["data/file_index"]) for e in episodes}
    assert len(list((folder / "data").glob("*/*"))) == len(named)
    named = {e["videos/observation.images.rgb/file_index"] for e in episodes}
    assert len(list((folder / "videos/observation.images.rgb").glob("*/*"))) == len(named)
    assert not os.listdir(folder / "parts")


def write(folder, numbers, acknowledged) -> None:
    there = {episode.episode_id for episode in open_store(folder).episodes}
    with StoreWriter(folder, ABOUT) as writer, open(acknowledged, "ab", buffering=0) as log:
        for number in numbers:
            if str(number) not in there:
                writer.append(made_record(number))
                log.write(f"{number}\n".encode())


def join(folder, begun) -> None:
    with StoreWriter(folder, ABOUT) as writer:
        while True:
            writer.finish()
            begun.touch()
            time.sleep(0.02)


def read_numbers(path) -> set[int]:
    return {int(line) for line in path.read_bytes().split(b"\n")[:-1]} if path.exists() else set()


def test_writers_and_a_joiner_that_are_killed_lose_nothing(tmp_path):
    folder, logs = tmp_path / "store", [tmp_path / f"{place}.log" for place in range(WRITERS)]
    StoreWriter(folder, ABOUT).close()
    shares = [range(place, WALKS, WRITERS) for place in range(WRITERS)]
    rng = np.random.default_rng(0)

    def begin():
        ready = tmp_path / "ready"
        ready.unlink(missing_ok=True)
        joiner = start(join, folder, ready)
        wait_until(joiner, ready.exists)  # or writers, which begin sooner, might die before anything is joined
        return [*(start(write, folder, share, log) for share, log in zip(shares, logs, strict=True)), joiner]

    def acknowledged() -> set[int]:
        return set.union(*map(read_numbers, logs))

    def joined() -> bool:
        return any((folder / "data").glob("*/*"))

    for turn in range(KILLS):
        wanted = len(acknowledged()) + int(rng.integers(1, 5))
        processes = begin()
        late = turn >= KILLS // 2
        wait_until(processes[-1], lambda: len(acknowledged()) >= wanted and (joined() or not late))  # noqa: B023 (now)
        time.sleep(rng.uniform(0, 0.05))  # wherever they are by then
        for process in processes:
            process.kill()
        for process in processes:
            process.join()
        require_whole(folder, acknowledged())
    assert len(acknowledged()) < WALKS
    *writers, joiner = begin()
    for process in writers:
        process.join()
        assert process.exitcode == 0
    joiner.kill()
    joiner.join()
    with StoreWriter(folder, ABOUT) as writer:
        writer.finish()
    require_whole(folder, range(WALKS))
    assert len(open_store(folder)) == WALKS
    require_lerobot_layout(folder)


def append_one(folder, number, acknowledged) -> None:
    with StoreWriter(folder, ABOUT) as writer:
        writer.append(made_record(number))
        acknowledged.touch()


def test_a_kill_before_any_change_of_an_append_leaves_the_walk_whole_or_absent(tmp_path):
    folder, ended = fill(tmp_path / "store", range(2), finish=False), False
    for count in range(1, 40):
        log = tmp_path / f"{count}.acknowledged"
        ended = run_until_change(count, append_one, folder, 10 + count, log)
        expected = {0, 1, *(10 + k for k in range(1, count + 1) if (tmp_path / f"{k}.acknowledged").exists())}
        require_whole(folder, expected)
        if ended:
            break
    assert ended and count > 3
    with StoreWriter(folder, ABOUT):
        assert not list((folder / "parts").glob(".*"))  # what the killed ones left


def finish_once(folder) -> None:
    with StoreWriter(folder, ABOUT) as writer:
        writer.finish()


def test_a_kill_before_any_change_of_a_joining_loses_and_doubles_nothing(tmp_path):
    begun, ended = fill(fill(tmp_path / "begun", [0]), [1, 2], finish=False), False
    whole = shutil.copytree(begun, tmp_path / "whole")
    finish_once(whole)
    for count in range(1, 100):
        folder = shutil.copytree(begun, tmp_path / "store")
        ended = run_until_change(count, finish_once, folder)
        require_whole(folder, range(3))
        fill(folder, [3])  # life goes on
        require_whole(folder, range(4))
        require_lerobot_layout(folder)
        shutil.rmtree(folder)
        if ended:
            break
    assert ended and count > 10


@pytest.mark.parametrize("first", [0, 3, 5])
def test_files_are_equal_whoever_wrote_the_walks_in_whatever_order(tmp_path, first):
    numbers = [*range(first, 8), *range(first)]
    folders = fill(tmp_path / "one", range(8)), fill(fill(tmp_path / "two", numbers, finish=False), [])
    for path in sorted(folders[0].rglob("*.*")):
        if path.is_file():
            assert (folders[1] / path.relative_to(folders[0])).read_bytes() == path.read_bytes(), path
