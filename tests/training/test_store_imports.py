"""Annotations and folders of frames become walks of a store: each frame with what was done at it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from stored_walks import made_frames

from navloop.training.store import StoreError
from navloop.training.store.imports import import_annotations

LISTED = [-1, 1, 2, 1, 3, 1]
HOUSE = "17DRP5sb8fy"


@pytest.fixture
def annotated(tmp_path):
    """Two walks in frames without loss, one of them in two wordings."""
    frames = made_frames(np.random.default_rng(0), len(LISTED))
    items = []
    for number, texts in enumerate((["Walk on.", "Go ahead."], "Turn around.")):
        video = f"images/{HOUSE}_r2r_00008{number}"
        (tmp_path / video / "rgb").mkdir(parents=True)
        for place, frame in enumerate(frames):
            Image.fromarray(frame).save(tmp_path / video / "rgb" / f"{place:03d}.png")
        items.append({"id": number, "video": video, "instructions": texts, "actions": LISTED})
    file = tmp_path / "annotations.json"
    file.write_text(json.dumps(items))
    return file, frames


def test_each_instruction_is_a_walk_with_the_action_that_follows_each_frame(annotated, tmp_path):
    file, frames = annotated
    store = import_annotations(file, tmp_path / "store")
    assert [(e.episode_id, e.instruction) for e in store.episodes] == [
        ("0", "Walk on."),
        ("0.1", "Go ahead."),
        ("1", "Turn around."),
    ]
    for episode in store.episodes:
        assert episode.scene_id == f"mp3d/{HOUSE}/{HOUSE}.glb" and episode.trajectory_id.startswith("r2r_00008")
        walk = store.walk(episode.index)
        np.testing.assert_array_equal(walk.actions, [1, 2, 1, 3, 1, 0])
        np.testing.assert_array_equal(walk.expert_actions, walk.actions)
        assert np.abs(store.frames(episode.index).astype(int) - frames).mean() < 16


def test_poses_are_reckoned_from_the_actions(annotated, tmp_path):
    trajectory = import_annotations(annotated[0], tmp_path / "store", turn=90.0, step=0.5).trajectory(0)
    expected = [[0, 0, 0], [0, 0, -0.5], [0, 0, -0.5], [-0.5, 0, -0.5], [-0.5, 0, -0.5], [-0.5, 0, -1], [-0.5, 0, -1]]
    np.testing.assert_allclose(trajectory.positions, expected, atol=1e-12)
    assert np.isnan(trajectory.distances_to_goal).all()


def test_what_was_imported_is_not_imported_again(annotated, tmp_path):
    import_annotations(annotated[0], tmp_path / "store")
    before = sorted(path.name for path in (tmp_path / "store").rglob("*.mp4"))
    assert len(import_annotations(annotated[0], tmp_path / "store")) == 3
    assert sorted(path.name for path in (tmp_path / "store").rglob("*.mp4")) == before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"actions": [-1, 1, 9]}, r"walk 0: actions are \[-1, 1, 9\]; expected -1, then 0 to 3"),
        ({"actions": LISTED[:-1]}, r"walk 0: has 6 frames for 5 actions"),
        ({"video": "images/gone"}, r"walk 0: frames cannot be read"),
    ],
)
def test_an_item_that_does_not_fit_its_frames_is_named(annotated, tmp_path, change, told):
    file, _ = annotated
    first, second = json.loads(file.read_text())
    file.write_text(json.dumps([first | change, second]))
    with pytest.raises(StoreError, match=told):
        import_annotations(file, tmp_path / "store")


@pytest.mark.parametrize(
    ("text", "told"), [("{", "cannot be read"), ("[]", "no list of walks"), ("[{}]", "item 0: has no id")]
)
def test_annotations_of_another_kind_are_refused(tmp_path, text, told):
    (tmp_path / "annotations.json").write_text(text)
    with pytest.raises(StoreError, match=told):
        import_annotations(tmp_path / "annotations.json", tmp_path / "store")
