"""Data sets of houses: whole or recognisably not, the same for any number of workers, in the schema that others read."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from navloop.configs.schema import HousesConfig, LengthsConfig
from navloop.envs.embedded.simulator import EmbeddedSimulator
from navloop.envs.episodes import ground_truth_path, read_episodes
from navloop.envs.glb import read_glb
from navloop.envs.houses.datasets import FORMAT, generate_dataset, is_finished
from navloop.envs.houses.splits import make_vocabulary, tokenize
from navloop.envs.protocols import get_protocol
from navloop.envs.scenes import SceneDescription
from navloop.files import fingerprint
from navloop.geometry import Pose, quaternion_to_heading

TINY = HousesConfig(
    name="few",
    seed=3,
    train_houses=2,
    val_unseen_houses=1,
    extra_houses=1,
    train_tours=2,
    val_seen_tours=1,
    val_unseen_tours=2,
    instructions_per_tour=2,
)


PINNED = ("navloop-houses-1", "sha256:848fdd90127c1472")
"""The format, and the fingerprint of what the data set of the tests holds in it."""


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    generate_dataset(TINY, folder)
    return folder


def coarse(value: Any) -> Any:
    """JSON values with numbers that do not depend on the machine: in millimetres."""
    match value:
        case dict():
            return {key: coarse(item) for key, item in value.items()}
        case list():
            return [coarse(item) for item in value]
        case float():
            return round(value * 1000 + 0.1234)  # shifted: many a length lies halfway between two millimetres
    return value


def gist(glb: Path) -> dict[str, Any]:
    """What a scene's model is made of: triangles and extent by node, size and mean colour by texture."""
    model = read_glb(glb)
    parts = {f"{node.name} {i}": part for node in model.nodes for i, part in enumerate(node.parts)}
    return {
        "parts": {n: [len(p.faces), p.vertices.min(0).tolist(), p.vertices.max(0).tolist()] for n, p in parts.items()},
        # Thousands of levels, of which `coarse` keeps whole levels.
        "textures": {n: [*t.shape, *(t.mean((0, 1)) / 1000).tolist()] for n, t in model.textures.items()},
    }


def test_other_houses_tours_or_words_have_another_format(houses: Path) -> None:
    content: dict[str, Any] = {}
    for path in sorted(houses.glob("*/**/*.*")):
        name = path.relative_to(houses).as_posix()
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        content[name] = coarse(gist(path) if path.suffix == ".glb" else json.loads(data))
    assert len(content) == 2 * 4 + 2 * 3
    found = (FORMAT, fingerprint(json.dumps(content, sort_keys=True).encode()))
    assert found == PINNED, (
        "the same config gives other houses, tours or words than before: raise FORMAT in envs/houses/datasets.py, so that no "
        f"folder mixes the two, and pin here what it gives now: PINNED = {found}"
    )


def test_two_workers_write_the_same_bytes_as_one(tiny, tmp_path):
    generate_dataset(TINY, tmp_path, workers=2)
    assert digests(tmp_path) == digests(tiny)


class Killed(Exception):
    pass


def test_an_interrupted_data_set_is_not_whole_and_goes_on_where_it_stopped(tiny, tmp_path):
    def stop(*done: object) -> None:
        raise Killed

    with pytest.raises(Killed):
        generate_dataset(TINY, tmp_path, progress=stop)
    assert not is_finished(TINY, tmp_path)
    assert not list(tmp_path.rglob("*.json.gz"))
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.glb")}
    assert len(kept) == 1
    generate_dataset(TINY, tmp_path)
    assert is_finished(TINY, tmp_path)
    assert digests(tmp_path) == digests(tiny)
    assert all(path.stat().st_mtime_ns == written for path, written in kept.items())


def test_a_finished_data_set_is_left_as_it_is(tiny):
    before = {path: path.stat().st_mtime_ns for path in tiny.rglob("*") if path.is_file()}
    generate_dataset(TINY, tiny)
    assert {path: path.stat().st_mtime_ns for path in tiny.rglob("*") if path.is_file()} == before


def test_another_config_does_not_mix_with_a_data_set(tiny):
    with pytest.raises(ValueError, match=r"seed is 3 there, 4 here"):
        generate_dataset(TINY.model_copy(update={"seed": 4}), tiny)


def test_other_lengths_are_another_data_set_and_the_default_ones_are_not_told(tiny):
    short = LengthsConfig(mean=4.6, deviation=1.2, shortest=3.25, longest=5.75)
    with pytest.raises(ValueError, match="holds another data set: lengths is None there"):
        generate_dataset(TINY.model_copy(update={"lengths": short}), tiny)
    assert "lengths" not in json.loads((tiny / "dataset.json").read_text())["config"]


def test_a_broken_manifest_is_not_taken_for_a_data_set(tmp_path):
    (tmp_path / "dataset.json").write_text('{"format": ')
    with pytest.raises(ValueError, match=r"dataset\.json"):
        generate_dataset(TINY, tmp_path)


def test_more_houses_leave_the_others_as_they_were(tiny, tmp_path):
    generate_dataset(TINY.model_copy(update={"train_houses": 1, "extra_houses": 2}), tmp_path)
    ours, theirs = digests(tmp_path), digests(tiny)
    common = [name for name in ours if name.startswith("scenes/") and name in theirs]
    assert len(common) == 2 * 3
    assert all(ours[name] == theirs[name] for name in common)


def test_splits_hold_the_tours_of_their_houses(tiny):
    counts = {}
    for split, scenes in {"train": 2, "val_seen": 2, "val_unseen": 1}.items():
        episodes = read_episodes(tiny / "episodes" / split / f"{split}.json.gz").episodes
        counts[split] = len(episodes)
        assert len({e.scene_id for e in episodes}) == scenes
        assert len({e.trajectory_id for e in episodes}) == len(episodes) / 2
        assert len({e.episode_id for e in episodes}) == len(episodes)
    assert counts == {"train": 8, "val_seen": 4, "val_unseen": 4}


def test_no_tour_of_val_seen_is_one_of_train(tiny):
    walks = {}
    for split in ("train", "val_seen"):
        episodes = read_episodes(tiny / "episodes" / split / f"{split}.json.gz").episodes
        walks[split] = {(e.scene_id, tuple(e.start_position), tuple(e.goal_position)) for e in episodes}
    assert not walks["train"] & walks["val_seen"]


def test_rows_have_every_field_of_the_release(tiny):
    path = tiny / "episodes" / "val_unseen" / "val_unseen.json.gz"
    data = json.loads(gzip.decompress(path.read_bytes()))
    row, vocabulary = data["episodes"][0], data["instruction_vocab"]
    assert set(row) == {
        *("episode_id", "trajectory_id", "scene_id", "start_position", "start_rotation", "info", "goals"),
        *("instruction", "reference_path"),
    }
    assert isinstance(row["episode_id"], int)
    assert set(row["instruction"]) == {"instruction_text", "instruction_tokens"}
    assert set(row["goals"][0]) == {"position", "radius"}
    assert vocabulary["word_list"][:2] == ["<pad>", "<unk>"]
    assert vocabulary["num_vocab"] == len(vocabulary["word_list"]) == len(vocabulary["stoi"])
    truth = json.loads(gzip.decompress(ground_truth_path(path).read_bytes()))
    assert set(truth[str(row["episode_id"])]) == {"locations", "forward_steps", "actions"}


def test_tokens_spell_the_text(tiny):
    path = tiny / "episodes" / "train" / "train.json.gz"
    data = json.loads(gzip.decompress(path.read_bytes()))
    words = data["instruction_vocab"]["word_list"]
    for row in data["episodes"]:
        tokens = row["instruction"]["instruction_tokens"]
        assert len(tokens) == 200
        assert [words[t] for t in tokens if t] == tokenize(row["instruction"]["instruction_text"])


def test_words_outside_the_training_split_are_unknown():
    vocabulary = make_vocabulary(["Walk to the sofa.", "Stop."])
    assert vocabulary["word_list"] == ["<pad>", "<unk>", ".", "sofa", "stop", "the", "to", "walk"]
    assert (vocabulary["UNK_INDEX"], vocabulary["PAD_INDEX"]) == (1, 0)


def test_episodes_can_be_walked_in_the_simulator_to_the_last_centimetre(tiny):
    body = get_protocol("houses").body
    simulator = EmbeddedSimulator(tiny / "scenes", body, ())
    for episode in read_episodes(tiny / "episodes" / "val_unseen" / "val_unseen.json.gz").episodes:
        simulator.load_scene(episode.scene_id)
        simulator.set_pose(Pose(episode.start_position, quaternion_to_heading(episode.start_rotation)))
        walked = [simulator.pose.position]
        for action in episode.ground_truth.actions[:-1]:
            simulator.act(action)
            if action == 1:
                walked.append(simulator.pose.position)
        np.testing.assert_allclose(walked, episode.ground_truth.locations, atol=1e-6)
        left = simulator.geodesic_distances(walked[-1][None], episode.goal_position)[0]
        assert left <= body.step + 1e-6
        length = simulator.geodesic_distances(episode.start_position[None], episode.goal_position)[0]
        assert length == pytest.approx(episode.info["geodesic_distance"], abs=1e-6)
    simulator.close()


def test_every_house_has_its_description_and_the_manifest_names_it(tiny):
    manifest = json.loads((tiny / "dataset.json").read_text())
    houses = sorted(path.parent.name for path in tiny.rglob("*.glb"))
    assert houses == ["extra_000", "train_000", "train_001", "val_unseen_000"] == sorted(manifest["scenes"])
    for path in tiny.rglob("*.glb"):
        assert SceneDescription.read(path.with_suffix(".json")).rooms
    assert manifest["config"]["seed"] == 3
    assert not (tiny / "parts").exists()


def test_a_data_set_that_lost_a_scene_is_mended(tiny, tmp_path):
    shutil.copytree(tiny, tmp_path / "copy")
    scene = min((tmp_path / "copy").rglob("*.glb"))
    scene.unlink()
    assert not is_finished(TINY, tmp_path / "copy")
    generate_dataset(TINY, tmp_path / "copy")
    assert digests(tmp_path / "copy") == digests(tiny)


@pytest.mark.parametrize("pattern", ["*.glb", "scenes/**/*.json", "train.json.gz", "val_unseen_gt.json.gz"])
def test_a_data_set_with_a_damaged_file_is_not_finished(tiny, tmp_path, caplog, pattern):
    shutil.copytree(tiny, tmp_path / "copy")
    assert is_finished(TINY, tmp_path / "copy")
    file = min((tmp_path / "copy").rglob(pattern))
    file.write_bytes(file.read_bytes()[:-7])  # as a copy that was broken off leaves it
    assert not is_finished(TINY, tmp_path / "copy")
    assert f"{file} is damaged, so the data set is not whole" in caplog.text


def test_more_training_tours_change_no_other_split(tiny, tmp_path):
    generate_dataset(TINY.model_copy(update={"train_tours": 4}), tmp_path)
    name = "episodes/val_seen/val_seen.json.gz"
    starts = [[e.start_position.tolist() for e in read_episodes(folder / name).episodes] for folder in (tiny, tmp_path)]
    assert starts[0] == starts[1]


def test_a_data_set_without_houses_is_refused(tmp_path):
    with pytest.raises(ValueError, match="ask for at least one house"):
        generate_dataset(
            TINY.model_copy(update=dict.fromkeys(("train_houses", "val_unseen_houses", "extra_houses"), 0)), tmp_path
        )


def test_workers_do_not_outlive_a_killed_parent(tmp_path):
    code = (
        "from pathlib import Path\n"
        "from navloop.configs.schema import HousesConfig\n"
        "from navloop.envs.houses.datasets import generate_dataset\n"
        "if __name__ == '__main__':\n"
        f"    generate_dataset(HousesConfig(name='many', train_houses=40), Path({str(tmp_path / 'out')!r}), workers=2)\n"
    )
    (tmp_path / "make.py").write_text(code)
    parent = subprocess.Popen([sys.executable, str(tmp_path / "make.py")])
    children: list[psutil.Process] = []
    while len(children) < 3 and parent.poll() is None:  # two workers and multiprocessing's resource tracker
        children = psutil.Process(parent.pid).children()
    assert len(children) == 3
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []
