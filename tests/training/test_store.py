"""Stores: what is written comes back exactly, at any place, joined or not; what is wrong is named, and nothing is lost by it."""

from __future__ import annotations

import hashlib
import json
import math
import operator
import os
import pickle
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import av
import decord
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from full_disk import files_at_most
from hypothesis import given
from hypothesis import strategies as st
from stored_walks import ABOUT, fill, made_record

from navloop.configs.videos import ViewsConfig
from navloop.envs.episodes import read_episodes
from navloop.envs.simulator import Action
from navloop.training.decoding import Decoding
from navloop.training.manifests import read_manifests
from navloop.training.readers import open_video
from navloop.training.store import (
    StoreError,
    StoreWriter,
    export_episodes,
    export_manifest,
    merge_stores,
    open_store,
    split_store,
    walk_folder,
)
from navloop.training.store.checking import check_walks
from navloop.training.store.meta import _moments, pool

FILM = "videos/observation.images.rgb/chunk-000/file-000.mp4"


@pytest.fixture(scope="module")
def joined(tmp_path_factory):
    """Ten walks, joined in two goes."""
    folder = tmp_path_factory.mktemp("joined") / "store"
    return fill(fill(folder, range(6)), range(6, 10))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Four walks joined, three not."""
    folder = tmp_path_factory.mktemp("mixed") / "store"
    return fill(fill(folder, range(4)), range(4, 7), finish=False)


@pytest.fixture
def fresh(tmp_path):
    return fill(tmp_path / "store", range(3))


@pytest.mark.parametrize("kind", ["joined", "mixed"])
def test_a_walk_comes_back_as_it_was_written(kind, request):
    store = open_store(request.getfixturevalue(kind))
    for episode in store.episodes:
        record = made_record(int(episode.episode_id))
        assert episode == replace(
            record.about, index=episode.index, length=len(record.trajectory), protocol="houses@1", world="embedded"
        )
        trajectory, walk = store.trajectory(episode.index), store.walk(episode.index)
        for name in ("positions", "headings", "actions", "distances_to_goal", "collided", "action_source"):
            np.testing.assert_array_equal(getattr(trajectory, name), getattr(record.trajectory, name))
        assert trajectory.stopped
        np.testing.assert_array_equal(walk.expert_actions, record.expert_actions)
        np.testing.assert_array_equal(walk.distances, record.trajectory.distances_to_goal[:-1])
        assert (walk.episode_id, walk.success) == (episode.episode_id, record.about.success)
        task = store.task(episode.index)
        assert task.extra == record.task.extra and task.info == record.task.info
        np.testing.assert_array_equal(task.instruction.tokens, record.task.instruction.tokens)


@pytest.mark.parametrize("kind", ["joined", "mixed"])
def test_walks_are_told_in_the_order_of_their_numbers(kind, request):
    store = open_store(request.getfixturevalue(kind))
    assert [int(episode.episode_id) for episode in store.episodes] == list(range(len(store)))
    assert [episode.index for episode in store.episodes] == list(range(len(store)))


def test_frames_are_those_that_decord_reads_from_the_whole_film(joined):
    store, first = open_store(joined), 0
    films = [decord.VideoReader(str(path))[:].asnumpy() for path in sorted(joined.glob("videos/*/*/*.mp4"))]
    frames = np.concatenate(films)
    for episode in store.episodes:
        np.testing.assert_array_equal(store.frames(episode.index), frames[first : first + episode.length])
        first += episode.length
    assert first == len(frames)


@given(data=st.data())
def test_any_window_is_a_slice_of_the_walk(mixed, data):
    store = open_store(mixed)
    index = data.draw(st.integers(0, len(store) - 1))
    length = store.episodes[index].length
    start = data.draw(st.integers(0, length - 1))
    stop = data.draw(st.integers(start + 1, length))
    np.testing.assert_array_equal(store.frames(index, start, stop), store.frames(index)[start:stop])
    store.close()


@pytest.mark.parametrize(("start", "stop"), [(0, 99), (3, 3), (-1, 2)])
def test_a_window_that_is_not_there_is_refused(mixed, start, stop):
    with pytest.raises(IndexError, match="walk 0 has frames 0 to 2"):
        open_store(mixed).frames(0, start, stop)


def test_joining_changes_no_frame(tmp_path):
    folder = fill(tmp_path / "store", range(5), finish=False)
    before = [open_store(folder).frames(index) for index in range(5)]
    fill(folder, [])
    after = open_store(folder)
    assert after.unjoined == 0
    for index in range(5):
        np.testing.assert_array_equal(after.frames(index), before[index])


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"round": "one"}, "round is 'one', expected a whole number or None"),
        ({"seed": 2**63}, f"seed is {2**63}, expected a whole number from 0 to below"),
        ({"trajectory_id": 7}, "trajectory_id is 7, expected text"),
        ({"success": 1}, "success is 1, expected True or False"),
        ({"metrics": {"spl": "x"}}, "metrics spl is 'x', expected a number"),
        ({"extra": {"of": None}}, "extra of is None, expected text or a number"),
        ({"instruction": "half \ud800"}, r"instruction is 'half \\ud800', expected text"),
    ],
)
def test_what_would_keep_all_walks_from_being_read_is_not_acknowledged(tmp_path, told, why):
    about = replace(made_record(1).about, **told)
    with StoreWriter(tmp_path / "store", ABOUT) as writer:
        writer.append(made_record(0))
        with pytest.raises(StoreError, match=f"walk of episode '1': {why}"):
            writer.append(replace(made_record(1), about=about))
        record = made_record(2)
        unsaid = replace(record, task=replace(record.task, info={"geodesic_distance": math.inf}))
        with pytest.raises(StoreError, match=r"walk of episode 2: info of its task is .*inf"):
            writer.append(unsaid)
        with pytest.raises(StoreError, match="round is 'one'"):
            writer.adopt(open_store(tmp_path / "store"), 0, round="one")
        writer.finish()
    assert [episode.episode_id for episode in open_store(tmp_path / "store").episodes] == ["0"]


@pytest.mark.parametrize("finish", [True, False])
def test_a_walk_of_other_weights_does_not_pass_for_one_that_is_there(tmp_path, finish):
    with StoreWriter(tmp_path / "store", ABOUT) as writer:
        writer.append(made_record(1, weights="sha256:old"))
        if finish:
            writer.finish()
        writer.append(made_record(1, weights="sha256:old"))
        with pytest.raises(
            StoreError, match="with weights sha256:old, and this one is with sha256:new; give it another"
        ):
            writer.append(made_record(1, weights="sha256:new"))
        writer.append(made_record(1, weights="sha256:new", round=2))
        writer.finish()
    assert [e.weights for e in open_store(tmp_path / "store").episodes] == ["sha256:old", "sha256:new"]


def test_of_writers_that_begin_at_once_all_may_write(tmp_path, monkeypatch):
    fill(tmp_path / "store", [0], finish=False)
    asked = iter([False, True, True])  # the store comes to be after the first look
    monkeypatch.setattr("navloop.training.store.folder.is_store", lambda folder: next(asked))
    fill(tmp_path / "store", [1], finish=False)
    assert len(open_store(tmp_path / "store")) == 2


def test_a_walk_that_is_there_is_not_written_again(fresh):
    with StoreWriter(fresh, ABOUT) as writer:
        record = made_record(1)
        other = replace(record, about=replace(record.about, why="another", success=False))
        assert writer.append(other) == record.about.key
        writer.finish()
    assert len(open_store(fresh)) == 3 and open_store(fresh).episodes[1].why == ""
    with StoreWriter(fresh, ABOUT) as writer:
        writer.append(replace(record, about=replace(record.about, round=1)))
    assert len(open_store(fresh)) == 4


def test_walks_are_chosen_by_columns_or_by_a_function(mixed):
    store = open_store(mixed)
    assert store.select(pc.field("metrics/spl") > 0.035) == (4, 5, 6)
    assert store.select(lambda episode: episode.success) == (1, 3, 5)
    assert store.select(pc.field("round").is_null() & pc.field("success")) == (1, 3, 5)
    assert store.table(("index", "length"), pc.field("scene_id") == "made/2.glb").to_pylist() == [
        {"index": 2, "length": 4},
        {"index": 5, "length": 7},
    ]


def test_things_to_know_may_be_numbers_here_and_words_there(tmp_path):
    with StoreWriter(tmp_path / "store", ABOUT) as writer:
        for number, grade in enumerate(("good", 3.5, None)):
            extra = {"extra": {"grade": grade}} if grade is not None else {}
            writer.append(made_record(number, **extra))
        writer.finish()
        writer.append(made_record(3, extra={"sure": True}))
        writer.append(made_record(4, extra={"sure": 0.5}))
        writer.finish()
    table = open_store(tmp_path / "store").table()
    assert table["extra/grade"].to_pylist() == ["good", "3.5", None, None, None]
    assert table["extra/sure"].to_pylist() == [None, None, None, 1.0, 0.5]


def test_statistics_are_those_of_all_frames(joined):
    store = open_store(joined)
    poses = np.concatenate([store.trajectory(index).positions[:-1] for index in range(len(store))])
    stats = store.stats["pose"]
    np.testing.assert_allclose(stats["mean"][:3], poses.mean(axis=0))
    np.testing.assert_allclose(stats["std"][:3], poses.std(axis=0))
    np.testing.assert_allclose(stats["min"][:3], poses.min(axis=0))
    assert stats["count"] == [len(poses)]
    assert np.shape(store.stats["observation.images.rgb"]["mean"]) == (3, 1, 1)


def test_statistics_are_over_what_is_finite():
    def moments(*distances):
        return _moments(np.array(distances)[:, None])

    near, far, lost = moments(1.0, 9.0, math.inf, math.inf), moments(10.0, math.nan), moments(math.inf)
    assert (near["count"], near["std"], near["q10"]) == (2, 4.0, pytest.approx(1.8))
    assert lost["count"] == 0
    together = pool({name: np.stack([m[name] for m in (near, far, lost)]) for name in near}, is_picture=False)
    assert (together["min"], together["max"], together["count"]) == ([1.0], [10.0], [3])
    assert together["mean"] == pytest.approx([20 / 3]) and together["std"] == pytest.approx([np.std([1, 9, 10])])
    nothing = pool({name: np.stack([lost[name]]) for name in lost}, is_picture=False)
    assert nothing["count"] == [0] and nothing["mean"] == [0.0]


def test_the_tasks_are_the_instructions(joined):
    table = pq.read_table(joined / "meta" / "tasks.parquet")
    assert table["task"].to_pylist() == [f"Walk number {number}." for number in range(10)]
    assert json.loads(table.schema.metadata[b"pandas"])["index_columns"] == ["task"]
    frames = pq.read_table(joined / "data/chunk-000/file-001.parquet", partitioning=None)
    assert set(frames["task_index"].to_pylist()) == {6, 7, 8, 9}


def test_adopted_walks_keep_their_films_and_are_told_anew(joined, tmp_path):
    store = open_store(joined)
    with StoreWriter(tmp_path / "kept", ABOUT) as writer:
        writer.adopt(store, 3, instruction="Go on.", why="reproduced", round=1)
        writer.finish()
    kept = open_store(tmp_path / "kept")
    told = kept.episodes[0]
    assert (told.instruction, told.original_instruction, told.why) == ("Go on.", "Walk number 3.", "reproduced")
    np.testing.assert_array_equal(kept.frames(0), store.frames(3))
    np.testing.assert_array_equal(kept.trajectory(0).positions, store.trajectory(3).positions)
    assert kept.task(0).instruction.text == "Walk number 3."


def test_a_merged_store_holds_each_walk_once(joined, mixed, tmp_path):
    merged = merge_stores([open_store(mixed), open_store(joined)], tmp_path / "merged")
    assert [episode.episode_id for episode in merged.episodes] == [str(number) for number in range(10)]


@pytest.mark.parametrize("unit", ["scene", "tour"])
def test_a_split_store_is_in_its_parts_once_and_no_scene_or_tour_in_two(joined, tmp_path, unit):
    whole = open_store(joined)
    parts = split_store(whole, tmp_path / unit, {"train": 0.7, "val": 0.3}, unit)
    assert list(parts) == ["train", "val"] and parts["train"].folder == tmp_path / unit / "train"
    walks = [{episode.key for episode in part.episodes} for part in parts.values()]
    assert walks[0] | walks[1] == {episode.key for episode in whole.episodes} and not walks[0] & walks[1]
    assert len(walks[0]) == 7 or unit == "scene"  # ten tours, three scenes
    units = [
        {(e.scene_id, e.trajectory_id if unit == "tour" else "") for e in part.episodes} for part in parts.values()
    ]
    assert units[0] and units[1] and not units[0] & units[1]
    first = parts["val"].episodes[0]
    original = next(episode.index for episode in whole.episodes if episode.key == first.key)
    np.testing.assert_array_equal(parts["val"].frames(0), whole.frames(original))


@pytest.mark.parametrize("seed", range(3))
def test_no_part_is_empty_however_small_its_share(joined, tmp_path, seed):
    whole = open_store(joined)
    parts = split_store(whole, tmp_path, {"train": 0.98, "val": 0.02}, seed=seed)  # three scenes of 3 or 4 walks
    assert len({e.scene_id for e in parts["val"].episodes}) == 1 and len(parts["train"]) + len(parts["val"]) == 10


def test_a_split_is_gone_on_with_but_not_another_ones(joined, tmp_path):
    whole, shares = open_store(joined), {"a": 0.5, "b": 0.5}
    first = split_store(whole, tmp_path, shares, "tour", seed=1)
    again = split_store(whole, tmp_path, shares, "tour", seed=1)
    assert [[e.key for e in part.episodes] for part in again.values()] == [
        [e.key for e in part.episodes] for part in first.values()
    ]
    with pytest.raises(StoreError, match=r"a: holds \d+ walks already that are not of this part.*another folder"):
        split_store(whole, tmp_path, shares, "tour", seed=2)


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ({"train": 0.9}, r"shares are train=0\.9; give two or more parts, each above 0 and together 1"),
        ({"train": 0.9, "val": 0.2}, "together 1"),
        ({"train": 1.0, "val": 0.0}, "each above 0"),
        ({"../x": 0.5, "val": 0.5}, r"'\.\./x' is no name of a part"),
        (
            dict.fromkeys("abcd", 0.25),
            "10 walks in 3 scenes are too few for 4 parts; take fewer parts, or split by tour",
        ),
    ],
)
def test_a_split_that_cannot_be_is_refused_and_writes_nothing(joined, tmp_path, shares, said):
    with pytest.raises(ValueError, match=said):
        split_store(open_store(joined), tmp_path / "parts", shares)
    assert not (tmp_path / "parts").exists() and not (tmp_path / "x").exists()


def test_a_merge_is_gone_on_with_also_where_something_is_no_number(tmp_path):
    with StoreWriter(tmp_path / "one", ABOUT) as writer:
        writer.append(made_record(1, metrics={"spl": math.nan}))
        writer.finish()
    for _ in range(2):
        assert len(merge_stores([open_store(tmp_path / "one")], tmp_path / "all")) == 1


def test_walks_that_differ_and_would_be_known_as_one_are_not_merged(joined, tmp_path):
    other = tmp_path / "other"
    with StoreWriter(other, ABOUT) as writer:
        writer.append(made_record(2, success=True))
        writer.finish()
    with pytest.raises(
        StoreError, match=r"walks of episode 2 by made with seed \d+ differ.*collect one of them with another seed"
    ):
        merge_stores([open_store(joined), open_store(other)], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    with pytest.raises(StoreError, match="walks of episode 2"):
        merge_stores([open_store(joined)], other)
    assert len(open_store(other)) == 1
    with pytest.raises(ValueError, match="no stores to merge"):
        merge_stores([], tmp_path / "merged")


@pytest.mark.parametrize("at", [0.2, 0.4, 0.6])
def test_a_single_wrong_bit_among_the_numbers_is_found(fresh, at):
    path = fresh / "data/chunk-000/file-000.parquet"
    content = bytearray(path.read_bytes())
    group = pq.ParquetFile(path).metadata.row_group(0)
    pages = [group.column(c) for c in range(group.num_columns)]
    page = pages[int(at * len(pages))]
    content[page.data_page_offset + page.total_compressed_size - 2] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(StoreError, match=f"{path}.*take it from a copy"):
        for number in range(3):
            open_store(fresh).rows(number)


def test_a_wrong_bit_in_what_is_told_of_the_walks_is_found(fresh):
    path = fresh / "meta/episodes/chunk-000/file-000.parquet"
    content = path.read_bytes()
    group, tried = pq.ParquetFile(path).metadata.row_group(0), []
    for number in range(group.num_columns):
        page, damaged = group.column(number), bytearray(content)
        if page.path_in_schema not in ("task", "key", "length") and "images.rgb/mean" not in page.path_in_schema:
            continue
        damaged[page.data_page_offset + page.total_compressed_size - 2] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(StoreError, match=f"{path}: cannot be read .* take it from a copy"):
            open_store(fresh).told(2)
        tried.append(page.path_in_schema)
    assert len(tried) == 4


def test_other_things_among_the_parts_are_left_alone(tmp_path):
    folder = fill(tmp_path / "store", range(3), finish=False)
    (folder / "parts" / "notes.txt").write_text("mine")
    (folder / "parts" / "old").mkdir()
    assert len(open_store(folder)) == 3
    fill(folder, [])
    assert len(open_store(folder)) == 3 and (folder / "parts" / "notes.txt").is_file()


def test_the_list_of_videos_is_read_by_the_stages(joined, tmp_path):
    store = open_store(joined)
    file = export_manifest(store, str(tmp_path / "list"), keep=(1, 7))
    rows = read_manifests(ViewsConfig(manifest=(str(file),), frames=2, size=32), need=["captions"])
    assert [row.captions for row in rows] == [("Walk number 1.",), ("Walk number 7.",)]
    for row, index in zip(rows, (1, 7), strict=True):
        video = open_video(row, Decoding())
        assert video.num_frames == store.episodes[index].length
        np.testing.assert_array_equal(video.read(np.arange(video.num_frames)), store.frames(index))


def test_a_list_of_walks_that_are_not_joined_is_refused(mixed, tmp_path):
    with pytest.raises(StoreError, match=r"3 walks are not joined yet; run `navloop store join`"):
        export_manifest(open_store(mixed), tmp_path)


def test_episodes_are_what_was_walked_and_relabelled_ones_go_where_it_went(joined, tmp_path):
    store = open_store(joined)
    with StoreWriter(tmp_path / "kept", ABOUT) as writer:
        for index in (2, 3):
            writer.adopt(store, index, **({"instruction": "Go on."} if index == 3 else {}))
        writer.finish()
    kept = open_store(tmp_path / "kept")
    same, other = read_episodes(export_episodes(kept, tmp_path / "train.json.gz")).episodes
    trajectory = kept.trajectory(0)
    assert (same.episode_id, same.trajectory_id) == ("2", "1") and same.instruction.text == "Walk number 2."
    np.testing.assert_array_equal(same.goal_position, [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(same.ground_truth.actions, trajectory.actions)
    moves = np.flatnonzero(trajectory.actions == Action.FORWARD) + 1
    np.testing.assert_array_equal(same.ground_truth.locations[1:], trajectory.positions[moves])
    assert other.episode_id.startswith("3-") and other.trajectory_id == other.episode_id
    assert other.instruction.text == "Go on." and other.instruction.tokens is None
    np.testing.assert_array_equal(other.goal_position, kept.trajectory(1).positions[-1])
    np.testing.assert_array_equal(other.reference_path[[0, -1]], kept.trajectory(1).positions[[0, -1]])


def test_a_folder_of_walks_is_what_imitation_reads(mixed, tmp_path):
    store = open_store(mixed)
    folder = walk_folder(store, tmp_path / "walks", keep=(0, 5))
    (part,) = folder.parts
    assert [walk.episode_id for walk in part.walks] == ["0", "5"]
    np.testing.assert_array_equal(part.walks[1].expert_actions, store.walk(5).expert_actions)
    for frames, index in zip(folder.frames(part.number), (0, 5), strict=True):
        np.testing.assert_array_equal(frames.rgb, store.frames(index))


def test_a_folder_of_other_walks_is_not_gone_on_with(mixed, tmp_path):
    store = open_store(mixed)
    walk_folder(store, tmp_path / "walks", keep=(0, 1))
    assert len(walk_folder(store, tmp_path / "walks", keep=(0, 1)).parts) == 1
    with pytest.raises(StoreError, match=r"walks, part 0: holds other walks than these; name another folder"):
        walk_folder(store, tmp_path / "walks", keep=(4, 5))


def test_what_was_told_afterwards_ends_where_the_other_walks_do(tmp_path):
    with StoreWriter(tmp_path / "store", ABOUT) as writer:
        for number, original in ((4, None), (5, "Elsewhere."), (11, "Elsewhere.")):
            record = made_record(number, original_instruction=original)
            steps = np.arange(len(record.trajectory) + 1)[:, None] * np.array([0.25, 0.0, 0.0])
            writer.append(replace(record, trajectory=replace(record.trajectory, positions=steps)))
        writer.finish()
    store = open_store(tmp_path / "store")
    (part,) = (folder := walk_folder(store, tmp_path / "walks", stop_within=0.5)).parts
    own, *told = part.walks
    assert len(own) == store.episodes[0].length  # what an expert corrected stays as it is
    for walk, index, frames in zip(told, (1, 2), list(folder.frames(part.number))[1:], strict=True):
        whole = store.walk(index)
        assert (
            len(walk) == len(whole) - 1 == len(frames.rgb)
        )  # the last action, of 0.25 m here, began within 0.5 m of the end
        np.testing.assert_array_equal(walk.expert_actions, [*whole.actions[: len(walk) - 1], Action.STOP])
        assert walk.distances[-1] == pytest.approx(0.5) and walk.distances[0] == pytest.approx(0.25 * len(whole))
        np.testing.assert_array_equal(frames.rgb, store.frames(index)[: len(walk)])
    (part,) = walk_folder(store, tmp_path / "whole").parts
    assert [len(walk) for walk in part.walks] == [one.length for one in store.episodes]


def test_another_kind_of_walks_is_refused_with_each_difference(fresh):
    with pytest.raises(StoreError, match=r"holds walks of another kind: turn 30\.0, there 15\.0; fps 8, there 4"):
        StoreWriter(fresh, replace(ABOUT, fps=8, turn=30.0))


def test_a_folder_of_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(StoreError, match=r"holds other files \(thesis.tex, \.\.\.\) and no store"):
        StoreWriter(tmp_path, ABOUT)
    with pytest.raises(StoreError, match=r"holds no store, there is no navloop\.json"):
        open_store(tmp_path)


def test_a_newer_format_is_refused(fresh):
    file = fresh / "navloop.json"
    file.write_text(file.read_text().replace('"format": 2', '"format": 3'))
    with pytest.raises(StoreError, match=r"format 3 is newer than 2, the newest that this navloop reads"):
        open_store(fresh)


def test_a_store_of_the_first_format_is_read_and_added_to(fresh):
    file = fresh / "navloop.json"
    told = json.loads(file.read_text())
    file.write_text(json.dumps({"format": 1, "about": told["about"] | {"turn": math.radians(15)}}))
    path = fresh / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.drop_columns([name for name in table.column_names if name.startswith("films/")]), path)
    assert open_store(fresh).about == ABOUT
    store = open_store(fill(fresh, range(3, 5)))
    assert [store.stretch(number).digest is None for number in range(5)] == [True] * 3 + [False] * 2
    assert not any(one.fault for one in check_walks(store))


@pytest.fixture
def flipped(fresh):
    """A store with one wrong bit in the picture data of walk 1."""
    store = open_store(fresh)
    stretch = store.stretch(1)
    with av.open(str(fresh / FILM)) as film:
        packets = [packet for packet in film.demux(video=0) if packet.size]
    content = bytearray((fresh / FILM).read_bytes())
    packet = packets[stretch.first + 1]
    content[packet.pos + packet.size - 3] ^= 0x04
    (fresh / FILM).write_bytes(content)
    return fresh


def test_a_single_wrong_bit_in_a_film_is_found_and_not_copied(flipped, tmp_path):
    store = open_store(flipped)
    assert [bool(one.fault) for one in check_walks(store)] == [False, True, False]
    with pytest.raises(StoreError, match=f"{flipped / FILM}.* are not those that were written"):
        merge_stores([store], tmp_path / "copy")
    assert len(merge_stores([store], tmp_path / "rest", ["index!=1"])) == 2


def test_a_wrong_bit_in_the_film_of_a_part_stops_the_joining(tmp_path):
    folder = fill(tmp_path / "store", range(2), finish=False)
    film = min(folder.glob("parts/*/rgb.mp4"))
    with av.open(str(film)) as opened:
        packet = [packet for packet in opened.demux(video=0) if packet.size][-1]
    content = bytearray(film.read_bytes())
    content[packet.pos + packet.size - 3] ^= 0x04
    film.write_bytes(content)
    with pytest.raises(StoreError, match=f"{film}.* delete its folder to lose this walk alone"):
        fill(folder, [])


def test_a_wrong_digit_in_what_a_part_tells_is_found_and_not_joined(tmp_path):
    folder = fill(tmp_path / "store", range(2), finish=False)
    path = folder / "parts" / made_record(1).about.key / "walk.json"
    text = path.read_text()
    path.write_text(text.replace('"end_pose": [', '"end_pose": [7'))
    faults = [found.fault for found in check_walks(open_store(folder)) if found.fault]
    assert len(faults) == 1 and str(path) in faults[0] and "is not what was written" in faults[0]
    with StoreWriter(folder, ABOUT) as writer, pytest.raises(StoreError, match="is not what was written"):
        writer.finish()
    path.write_text(text)
    fill(folder, [])
    assert len(open_store(folder)) == 2


def test_the_digest_of_a_film_is_that_of_its_packets_wherever_they_are(joined, tmp_path):
    store = open_store(joined)
    copy = merge_stores([store], tmp_path / "copy", ["index>3", "index<=5"])
    assert [copy.stretch(n).digest for n in range(2)] == [store.stretch(n).digest for n in (4, 5)]
    with av.open(str(joined / FILM)) as film:
        packets = [bytes(packet) for packet in film.demux(video=0) if packet.size]
        sets = film.streams.video[0].codec_context.extradata
    first = store.stretch(4).first
    expected = hashlib.sha256(sets + b"".join(packets[first : first + store.episodes[4].length])).hexdigest()
    assert store.stretch(4).digest == expected


@given(
    column=st.sampled_from(["length", "metrics/spl", "success", "source", "index"]),
    sign=st.sampled_from(["=", "!=", ">=", "<=", ">", "<"]),
    of=st.integers(0, 6),
)
def test_conditions_are_those_of_python(mixed, column, sign, of):
    store = open_store(mixed)
    table = store.table()
    value = table[column][of].as_py()
    compare = {"=": operator.eq, "!=": operator.ne, ">=": operator.ge, "<=": operator.le, ">": operator.gt}
    expected = [n for n, one in enumerate(table[column].to_pylist()) if compare.get(sign, operator.lt)(one, value)]
    assert list(store.select([f"{column} {sign} {value}"])) == expected
    assert list(store.select([f"{column}{sign}{value}", "index>=0"])) == expected


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("spl>0.1", "has no column 'spl'; did you mean metrics/spl?"),
        ("nothing=1", "has no column 'nothing'; it has episode_id, "),
        ("length", "expected COLUMN, one of = != >= <= > <, and a value"),
        ("length>long", "'long' is not a whole number"),
        ("success=perhaps", "'perhaps' is not true or false"),
    ],
)
def test_conditions_that_cannot_be_read_are_told(mixed, condition, told):
    with pytest.raises(StoreError, match=re.escape(told)):
        open_store(mixed).select([condition])


def test_an_expression_over_what_is_no_column_is_told(mixed):
    with pytest.raises(StoreError, match=r"\(ndtw > 0.5\) cannot be asked .*; its columns are .*metrics/spl"):
        open_store(mixed).select(pc.field("ndtw") > 0.5)


def test_walks_in_scenes_that_agents_are_measured_in_are_not_merged(joined, tmp_path):
    with pytest.raises(ValueError, match=r"made/1.glb is kept to measure agents in"):
        merge_stores([open_store(joined)], tmp_path / "merged", never=["made/1.glb"])
    assert not (tmp_path / "merged").exists()
    kept = merge_stores([open_store(joined)], tmp_path / "merged", ["scene_id!=made/1.glb"], never=["made/1.glb"])
    assert {episode.scene_id for episode in kept.episodes} == {"made/0.glb", "made/2.glb"}


@pytest.mark.parametrize("name", [FILM, "data/chunk-000/file-000.parquet", "meta/episodes/chunk-000/file-000.parquet"])
@pytest.mark.parametrize("fault", ["gone", "cut", "garbage"])
def test_a_damaged_file_is_named(fresh, name, fault):
    path = fresh / name
    content = path.read_bytes()
    path.write_bytes({"gone": b"", "cut": content[: len(content) // 2], "garbage": b"x" * len(content)}[fault])
    if fault == "gone":
        path.unlink()
    with pytest.raises(StoreError, match=f"{path}.*take it from a copy") as caught:
        store = open_store(fresh)
        store.frames(2) if name == FILM else store.trajectory(2)
    assert "\n" not in str(caught.value)


def test_files_without_their_table_are_not_taken_for_an_empty_store(fresh):
    (fresh / "meta/episodes/chunk-000/file-000.parquet").unlink()
    with pytest.raises(StoreError, match=r"is gone, while files of joined walks are there"):
        open_store(fresh)
    with pytest.raises(StoreError, match="is gone"):
        StoreWriter(fresh, ABOUT)
    assert (fresh / FILM).is_file()


def test_a_damaged_part_is_named_and_stops_the_joining_alone(tmp_path):
    folder = fill(tmp_path / "store", range(3), finish=False)
    path = folder / "parts" / made_record(1).about.key / "rgb.mp4"
    path.write_bytes(path.read_bytes()[:100])
    with StoreWriter(folder, ABOUT) as writer, pytest.raises(StoreError, match=f"{path}.*delete its folder to lose"):
        writer.finish()
    assert len(open_store(folder)) == 3
    np.testing.assert_array_equal(open_store(folder).frames(2).shape, made_record(2).frames.rgb.shape)
    shutil.rmtree(path.parent)
    fill(folder, [])
    assert len(open_store(folder)) == 2


@pytest.mark.parametrize("size", [0, 500, 3000])
def test_a_full_disk_loses_nothing_and_is_told(tmp_path, size):
    folder = fill(tmp_path / "store", range(2), finish=False)
    with StoreWriter(folder, ABOUT) as writer:
        for write in (lambda: writer.append(made_record(5)), writer.finish):
            with files_at_most(size), pytest.raises(OSError) as caught:
                write()
            assert str(folder) in str(caught.value.filename)
        assert [episode.episode_id for episode in open_store(folder).episodes] == ["0", "1"]
        writer.append(made_record(5))
        writer.finish()
    assert len(open_store(folder)) == 3


def test_frames_of_another_size_or_without_actions_are_refused(fresh):
    record = made_record(8)
    large = replace(record, frames=record.frames._replace(rgb=record.frames.rgb.repeat(2, axis=1)))
    with StoreWriter(fresh, ABOUT) as writer, pytest.raises(StoreError, match=r"episode 8: frames are 32 x 64"):
        writer.append(large)
    with pytest.raises(StoreError, match=r"rgb is uint8 \(3, 32, 32, 3\), expected uint8 \(4, H, W, 3\)"):
        replace(record, frames=record.frames._replace(rgb=record.frames.rgb[1:]))


def test_a_reader_that_was_overtaken_by_a_joining_says_so(tmp_path):
    folder = fill(tmp_path / "store", range(2), finish=False)
    store = open_store(folder)
    fill(folder, [])
    with pytest.raises(StoreError, match="open it again"):
        store.frames(0)
    with pytest.raises(StoreError, match="open it again"):
        store.trajectory(0)


def test_a_store_that_was_read_is_read_by_threads_and_by_forked_and_spawned_processes(tmp_path):
    store = open_store(fill(tmp_path / "store", range(150)))
    expected = [store.frames(index) for index in range(len(store))]
    film = str(store.stretch(0).path)
    (held,) = (number for number in os.listdir("/proc/self/fd") if os.path.realpath(f"/proc/self/fd/{number}") == film)
    place = Path(f"/proc/self/fdinfo/{held}").read_text().splitlines()[0]
    child = os.fork()
    if not child:
        right = all(np.array_equal(store.frames(index), expected[index]) for index in range(0, len(store), 7))
        os._exit(0 if right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (
        Path(f"/proc/self/fdinfo/{held}").read_text().splitlines()[0] == place
    )  # or the child read through its parent's file
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(store.frames, range(len(store))))
    assert all(map(np.array_equal, found, expected))
    copy = pickle.loads(pickle.dumps(store))  # noqa: S301 - our own
    assert np.array_equal(copy.frames(3), expected[3])
