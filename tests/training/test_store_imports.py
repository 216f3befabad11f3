"""Annotations and folders of frames become walks of a store: each frame with what was done at it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from stored_walks import made_frames

from navloop.training.store import StoreError, StoreWriter, export_episodes, open_store
from navloop.training.store.imports import import_annotations

LISTED = [-1, 1, 2, 1, 3, 1]
HOUSE = "17DRP5sb8fy"


def write_annotations(folder, walks, number=1, actions=LISTED):
    """Write walks of one id, their frames noise: a set and what is said, each."""
    items = []
    for place, (name, texts) in enumerate(walks):
        video = f"images/{HOUSE}_{name}_{place:06d}" if name else f"images/{HOUSE}"
        (folder / video).mkdir(parents=True)
        for step, frame in enumerate(made_frames(np.random.default_rng(number), len(actions))):
            Image.fromarray(frame).save(folder / video / f"{step:03d}.png")
        items.append({"id": number, "video": video, "instructions": texts, "actions": actions})
    (folder / "annotations.json").write_text(json.dumps(items))
    return folder / "annotations.json"


def files_of(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


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


def test_sets_whose_walks_have_the_same_ids_lie_in_one_store(tmp_path):
    files = [write_annotations(tmp_path / name, [(name, [f"{name} says.", "Again."])]) for name in ("r2r", "rxr", "")]
    for file in (*files, *files):
        store = import_annotations(file, tmp_path / "store")
    told = [(e.source, e.episode_id, e.trajectory_id, e.instruction) for e in store.episodes]
    assert told == [
        ("r2r", "1", "r2r_000000", "r2r says."),
        ("r2r", "1.1", "r2r_000000", "Again."),
        ("rxr", "1", "rxr_000000", "rxr says."),
        ("rxr", "1.1", "rxr_000000", "Again."),
        ("imported", "1", "1", " says."),
        ("imported", "1.1", "1", "Again."),
    ]
    assert store.select(["source=rxr"]) == (2, 3)


@pytest.mark.parametrize(
    ("texts", "actions", "told"),
    [
        (["Walk on.", "Come back."], LISTED, r"walk 1\.1 \(images/.*_r2r_000001\): has another instruction than number 1 of"),
        (["Walk on.", "Go ahead."], [-1, 1, 2, 1, 3, 2], r"walk 1 \(images/.*_r2r_000001\): has other actions than number 0 of"),
    ],
)  # fmt: skip
def test_another_walk_of_the_same_name_is_refused_before_anything_is_written(tmp_path, texts, actions, told):
    first = write_annotations(tmp_path / "first", [("r2r", ["Walk on.", "Go ahead."])])
    import_annotations(first, tmp_path / "store")
    before = files_of(tmp_path / "store")
    second = write_annotations(tmp_path / "second", [("rxr", "New."), ("r2r", texts)], actions=actions)
    with pytest.raises(StoreError, match=told) as caught:
        import_annotations(second, tmp_path / "store")
    assert str(second) in str(caught.value) and str(tmp_path / "store") in str(caught.value)
    assert "give it another id, or import it into another store" in str(caught.value)
    assert files_of(tmp_path / "store") == before


def test_a_file_with_two_walks_of_one_name_is_refused(tmp_path):
    file = write_annotations(tmp_path / "made", [("r2r", "Walk on."), ("r2r", "Go ahead.")])
    with pytest.raises(StoreError, match=r"_r2r_000001\): has another instruction than .*, walk 1 \(.*_r2r_000000\)"):
        import_annotations(file, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_walks_that_a_killed_import_wrote_are_gone_on_from(annotated, tmp_path, monkeypatch):
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr("navloop.training.store.StoreWriter.finish", interrupt)
        import_annotations(annotated[0], tmp_path / "store")
    assert open_store(tmp_path / "store").unjoined == 3
    store = import_annotations(annotated[0], tmp_path / "store")
    assert (len(store), store.unjoined) == (3, 0)


def test_frames_of_another_size_are_not_cut_to_the_first_ones(annotated, tmp_path):
    file, frames = annotated
    video = json.loads(file.read_text())[1]["video"]
    for place, frame in enumerate(frames.repeat(2, axis=1).repeat(2, axis=2)):
        Image.fromarray(frame).save(tmp_path / video / "rgb" / f"{place:03d}.png")
    with pytest.raises(
        StoreError, match=r"walk 1: frames are 64 x 64 pixels, the store's 32 x 32; import those of each"
    ):
        import_annotations(file, tmp_path / "store")


def test_imported_walks_are_not_episodes_of_a_scene(annotated, tmp_path):
    store = import_annotations(annotated[0], tmp_path / "store")
    with pytest.raises(StoreError, match=r"its walks are imported, and their places were reckoned from an origin"):
        export_episodes(store, tmp_path / "train.json.gz")
    assert not (tmp_path / "train.json.gz").exists()


def interrupt(writer):
    raise KeyboardInterrupt


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


def test_walks_of_a_store_from_before_sets_were_named_are_not_doubled(annotated, tmp_path):
    new = import_annotations(annotated[0], tmp_path / "new")
    with StoreWriter(tmp_path / "old", new.about) as writer:
        for episode in new.episodes[:2]:
            writer.adopt(new, episode.index, source="imported")
        writer.finish()
    store = import_annotations(annotated[0], tmp_path / "old")
    assert [(e.episode_id, e.source) for e in store.episodes] == [("0", "imported"), ("0.1", "imported"), ("1", "r2r")]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "cannot be read"),
        ("[]", "no list of walks"),
        ("[{}]", "item 0: has no id"),
        ("[5]", "item 0: is 5, no object"),
        (
            '[{"id": 1, "video": "v", "instructions": [], "actions": []}]',
            r"item 0: instructions is \[\]; expected text",
        ),
        ('[{"id": 1, "video": 7, "instructions": "Go.", "actions": []}]', "item 0: video is 7; expected text"),
        ('[{"id": null, "video": "v", "instructions": "Go.", "actions": []}]', "item 0: id is None; expected text or"),
        ('[{"id": 1, "video": "v", "instructions": "Go.", "actions": 5}]', "item 0: actions is 5; expected a list"),
    ],
)
def test_annotations_of_another_kind_are_refused(tmp_path, text, told):
    (tmp_path / "annotations.json").write_text(text)
    with pytest.raises(StoreError, match=told):
        import_annotations(tmp_path / "annotations.json", tmp_path / "store")
