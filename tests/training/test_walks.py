"""Walks on disk: nothing is lost, nothing torn is taken for whole, and each is read without the others."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from navloop.training.walks import Frames, Walk, WalkFolder, WalksError, write_features, write_frames

CODES = st.lists(st.integers(0, 3), min_size=1, max_size=20)


def walk(steps: int, number: int = 0, distances=None) -> Walk:
    rng = np.random.default_rng(number)
    return Walk(
        episode_id=str(number),
        trajectory_id=str(number // 3),
        scene_id="houses/a/a.glb",
        actions=rng.integers(0, 4, steps),
        expert_actions=rng.integers(0, 4, steps),
        sources=rng.integers(0, 3, steps),
        distances=np.round(rng.uniform(0, 9, steps), 3) if distances is None else np.array(distances),
        success=bool(number % 2),
    )


def seen(steps: int, number: int = 0, depth: bool = False) -> Frames:
    rng = np.random.default_rng(number)
    rgb = rng.integers(0, 256, (steps, 8, 12, 3), dtype=np.uint8)
    return Frames(rgb, rng.uniform(0, 10, (steps, 8, 12, 1)).astype(np.float32) if depth else None)


def written(folder, numbers, part=0) -> WalkFolder:
    walks = WalkFolder(folder)
    write_frames(walks.frames_file(part), [seen(3 + n, n, depth=True) for n in numbers])
    walks.append(part, [walk(3 + n, n) for n in numbers])
    return walks


def same(first: Walk, second: Walk) -> bool:
    return first.to_json() == second.to_json()


@given(CODES, st.data())
def test_a_walk_comes_back_as_it_was(codes, data):
    steps = len(codes)
    far = st.one_of(st.just(np.inf), st.integers(0, 10**5).map(lambda mm: mm / 1000))
    told = Walk(
        episode_id="7",
        trajectory_id="3",
        scene_id="a/b.glb",
        actions=np.array(codes),
        expert_actions=np.array(data.draw(st.lists(st.integers(0, 3), min_size=steps, max_size=steps))),
        sources=np.array(data.draw(st.lists(st.integers(0, 2), min_size=steps, max_size=steps))),
        distances=np.array(data.draw(st.lists(far, min_size=steps, max_size=steps))),
        success=data.draw(st.booleans()),
    )
    back = Walk.from_json(json.loads(json.dumps(told.to_json(), allow_nan=False)))
    for name in ("actions", "expert_actions", "sources", "distances"):
        np.testing.assert_array_equal(getattr(back, name), getattr(told, name))
    assert (back.episode_id, back.trajectory_id, back.scene_id, back.success) == ("7", "3", "a/b.glb", told.success)


def test_progress_is_the_share_of_the_way_that_is_done():
    told = walk(5, distances=[4.0, 3.0, 1.0, 12.0, np.inf])
    np.testing.assert_allclose(told.progress, [0.0, 0.25, 0.75, -1.0, -1.0])
    assert walk(2, distances=[0.0, 1.0]).progress.tolist() == [0.0, 0.0]


def test_frames_come_back_to_the_bit_and_one_walk_without_the_others(tmp_path):
    folder = written(tmp_path, [0, 1, 2])
    for number, frames in enumerate(folder.frames(0)):
        np.testing.assert_array_equal(frames.rgb, seen(3 + number, number).rgb)
        np.testing.assert_array_equal(frames.depth, seen(3 + number, number, depth=True).depth)
        alone = folder.frames_of(0, number)
        np.testing.assert_array_equal(alone.rgb, frames.rgb)
    assert number == 2


def test_numpy_reads_the_frames_by_itself(tmp_path):
    folder = written(tmp_path, [4])
    with np.load(folder.frames_file(0)) as file:
        assert sorted(file.files) == ["depth_00000", "rgb_00000"]
        np.testing.assert_array_equal(file["rgb_00000"], seen(7, 4).rgb)


def test_rendered_frames_shrink(tmp_path):
    flat = Frames(np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None, None], (10, 64, 64, 3)).copy())
    write_frames(tmp_path / "part.npz", [flat])
    assert (tmp_path / "part.npz").stat().st_size < flat.rgb.nbytes / 20


def test_what_is_not_in_the_index_is_not_there(tmp_path):
    folder = written(tmp_path, [0, 1])
    write_frames(folder.frames_file(1), [seen(4)])
    assert [part.number for part in WalkFolder(tmp_path).parts] == [0]


def test_a_torn_line_is_cut_off_and_its_part_written_again(tmp_path):
    folder = written(tmp_path, [0, 1])
    index = tmp_path / "index.jsonl"
    whole = index.read_bytes()
    index.write_bytes(whole + b'{"part":1,"walks":[{"episo')
    assert [part.number for part in WalkFolder(tmp_path).parts] == [0]
    folder = written(tmp_path, [2], part=1)
    parts = folder.parts
    assert [part.number for part in parts] == [0, 1]
    assert index.read_bytes().startswith(whole)
    assert same(parts[1].walks[0], walk(5, 2))


def test_parts_in_any_order_make_the_same_index(tmp_path):
    for name, order in {"a": [0, 1, 2], "b": [2, 0, 1]}.items():
        for part in order:
            folder = written(tmp_path / name, [part], part)
        folder.sort()
    assert (tmp_path / "a" / "index.jsonl").read_bytes() == (tmp_path / "b" / "index.jsonl").read_bytes()


def test_features_lie_one_after_the_other_and_are_read_from_anywhere(tmp_path):
    folder = WalkFolder(tmp_path)
    digest = "sha256:0123456789abcdef"
    features = [np.full((n, 2, 3), n, dtype=np.float16) for n in (1, 4, 2)]
    write_features(folder.features_file(digest, 0), features)
    assert folder.features_file(digest, 0).parent.name == "features_0123456789abcdef"
    stored = np.load(folder.features_file(digest, 0), mmap_mode="r")
    assert stored.shape == (7, 2, 3) and (stored[1:5] == 4).all() and (stored[5:] == 2).all()


def test_a_write_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="allow_pickle"):
        write_frames(tmp_path / "part.npz", [seen(3), Frames(np.array([object()]))])
    assert list(tmp_path.iterdir()) == []


def test_faults_name_file_and_mend(tmp_path):
    folder = written(tmp_path, [0])
    folder.frames_file(0).write_bytes(b"not a zip")
    with pytest.raises(WalksError, match=r"part_0000\.npz: cannot be read"):
        next(folder.frames(0))
    folder.frames_file(0).unlink()
    with pytest.raises(WalksError, match="is gone; remove"):
        WalkFolder(tmp_path).parts  # noqa: B018 (reading it is what fails)
    (tmp_path / "index.jsonl").write_text('{"part": 0}\n')
    with pytest.raises(WalksError, match=r"index\.jsonl, line 1: not a part"):
        WalkFolder(tmp_path).parts  # noqa: B018
