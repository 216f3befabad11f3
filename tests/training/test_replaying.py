"""Recorded walks become videos: true to what is rendered and to what was recorded, whole or absent, the same however they were made."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import PictureType

from navloop.configs.loader import RecipeError, load
from navloop.envs.episodes import ground_truth_path, read_episodes, write_episodes, write_ground_truth
from navloop.envs.worlds import make_vln
from navloop.training.filming import film_protocol, gap_to
from navloop.training.labels import Labels
from navloop.training.manifests import read_manifest
from navloop.training.recorded import join_wordings, read_recording
from navloop.training.replaying import StrayError, replay_walks

R2R = Path(__file__).parents[3] / "shared" / "data" / "r2r_vlnce_v1-3"
WIDTH, FPS, GOP, WALKS = 64, 4, 4, 8


def recipe(houses, val_unseen, *overrides):
    places = [f"scenes={houses / 'scenes'}", f"episodes={val_unseen}"]
    return ["replay_demo", *places, f"width={WIDTH}", *overrides]


def config_of(houses, val_unseen, *overrides):
    name, *rest = recipe(houses, val_unseen, *overrides)
    return load(name, rest, kind="replay")


def rows_of(folder, name="manifest"):
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


def contents(folder):
    """Every file of a data set but those that tell how and when it was made."""
    made = {"config.yaml", "provenance.json", ".lock"}
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in made]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def frames_of(video):
    with av.open(str(video)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.fixture(scope="module")
def films(houses, val_unseen, tmp_path_factory):
    """Some walks of val_unseen, filmed by one worker."""
    folder = tmp_path_factory.mktemp("replay") / "films"
    replay_walks(config_of(houses, val_unseen, "workers=1", f"max_walks={WALKS}"), folder)
    return folder


@pytest.fixture(scope="module")
def few(houses, val_unseen, tmp_path_factory):
    """An episode file of the two shortest walks, and its episodes."""
    walks = sorted(join_wordings(read_episodes(val_unseen).episodes), key=lambda walk: len(walk.actions))[:2]
    ids = {episode.episode_id for walk in walks for episode in walk.episodes}
    path = tmp_path_factory.mktemp("few") / "val_unseen.json.gz"
    episodes = [episode for episode in read_episodes(val_unseen).episodes if episode.episode_id in ids]
    write_episodes(path, episodes)
    write_ground_truth(ground_truth_path(path), episodes)
    return path


def test_three_wordings_share_one_video(films, val_unseen):
    episodes = {episode.episode_id: episode for episode in read_episodes(val_unseen).episodes}
    walks = rows_of(films, "walks")
    assert len(walks) == WALKS
    assert len(list(films.glob("videos/*/*.mp4"))) == len({row["video"] for row in walks}) == len(walks)
    told = [identifier for row in walks for identifier in row["episode_ids"]]
    assert len(set(told)) == len(told) == 3 * WALKS
    for row in walks:
        assert row["captions"] == [episodes[identifier].instruction.text for identifier in row["episode_ids"]]
        assert {episodes[identifier].trajectory_id for identifier in row["episode_ids"]} == {row["trajectory_id"]}


def test_frame_i_is_what_is_seen_when_action_i_is_chosen(films, houses, val_unseen):
    config = config_of(houses, val_unseen)
    env = make_vln(val_unseen, houses / "scenes", film_protocol(config))
    for row in rows_of(films, "walks")[::4]:
        observation, _ = env.reset(options={"episode": row["episode_ids"][0]})
        filmed = frames_of(films / row["video"])
        assert len(filmed) == len(row["actions"])
        for frame, action in zip(filmed, row["actions"], strict=True):
            rendered = observation["rgb"]
            error = np.mean((frame.astype(float) - rendered) ** 2)
            assert 10 * np.log10(255**2 / error) > 26  # decibels
            observation = env.step(action)[0]
    env.close()


def test_times_are_those_of_the_frames(films):
    for row in rows_of(films, "walks"):
        with av.open(str(films / row["video"])) as container:
            frames = [(frame.time, frame.key_frame) for frame in container.decode(video=0)]
        assert row["start"] == 0 and row["end"] == len(frames) / FPS == len(row["actions"]) / FPS
        assert [time for time, _ in frames] == pytest.approx(np.arange(len(frames)) / FPS)
        assert all(is_key for _, is_key in frames[::GOP])


def test_the_lists_say_what_there_is(films):
    classes = json.loads((films / "labels.json").read_text())
    dataset = json.loads((films / "dataset.json").read_text())
    walks, parts = rows_of(films, "walks"), rows_of(films, "subwalks")
    both = rows_of(films)
    assert len(set(classes)) == len(classes)
    assert sorted(map(json.dumps, both)) == sorted(map(json.dumps, [*walks, *parts]))
    assert (len(walks), len(parts)) == (dataset["videos"], dataset["subwalks"])
    assert all(classes[row["label"]] == row["label_name"] for row in parts)
    assert sum(dataset["labels"].values()) == len(parts) > 3 * len(walks)
    assert dataset["largest_gap_m"] < 0.001 and dataset["strays"] == 0
    assert dataset["protocol"] == "houses@1+rgb64"
    for row in both:
        assert 0 <= row["start"] < row["end"] <= len(frames_of(films / row["video"])) / FPS
        assert row["captions"] and all(text.strip() for text in row["captions"])
        assert row["split"] == "val_unseen" and row["kind"] in ("walk", "subwalk")


def test_the_clips_of_a_training_stage_can_be_read_from_the_lists(films):
    names = json.loads((films / "labels.json").read_text())
    labels = Labels(len(names), {name: number for number, name in enumerate(names)})
    for name in ("manifest", "walks", "subwalks"):
        rows, clips = rows_of(films, name), read_manifest(films / f"{name}.jsonl", labels)
        assert [(clip.start, clip.end, clip.label, list(clip.captions)) for clip in clips] == [
            (row["start"], row["end"], row.get("label"), row["captions"]) for row in rows
        ]
        assert all(Path(clip.path).is_file() for clip in clips)


def test_two_workers_killed_and_resumed_make_the_same_files(films, houses, val_unseen, tmp_path):
    folder = tmp_path / "films"
    arguments = [*recipe(houses, val_unseen, "workers=2", f"max_walks={WALKS}"), "--run-dir", folder]
    command = [sys.executable, "-m", "navloop.training.cli", "replay", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while len(list(folder.glob("videos/*/[0-9]*.mp4"))) < 2:
            assert process.poll() is None and time.monotonic() < deadline
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (folder / "manifest.jsonl").exists() and not (folder / "dataset.json").exists()
    torn = folder / "videos" / "val_unseen_000" / ".9.mp4.torn.mp4"
    torn.write_bytes(b"as a kill in the middle of a write leaves it")
    finished = {path: os.stat(path).st_mtime_ns for path in folder.glob("walks/*/[0-9]*.json")}
    resumed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert resumed.returncode == 0, resumed.stderr
    assert "walks are done" in resumed.stderr
    assert {path: os.stat(path).st_mtime_ns for path in finished} == finished
    assert contents(folder) == contents(films)
    starts = json.loads((folder / "provenance.json").read_text())["starts"]
    assert len(starts) == 2 and starts[0]["data"] == starts[1]["data"]
    cut = min(folder.glob("videos/*/[0-9]*.mp4"))
    os.truncate(cut, 700)
    subprocess.run(command, capture_output=True, check=True)
    assert contents(folder) == contents(films)


def test_another_recipe_does_not_go_into_a_finished_folder(films, houses, val_unseen):
    before = contents(films)
    with pytest.raises(ValueError, match=r"fps was 4, now 8"):
        replay_walks(config_of(houses, val_unseen, "fps=8", f"max_walks={WALKS}"), films)
    assert contents(films) == before


def test_turns_of_30_degrees_are_walked_and_what_strays_is_left_out(houses, val_unseen, tmp_path):
    options = ["protocol=navid-r2r", "tolerance=0.6", "max_strays=1", "max_walks=8", "subwalks=false", "workers=1"]
    left = {}
    for turns in ("carry", "drop"):
        replay_walks(config_of(houses, val_unseen, *options, f"turns={turns}"), tmp_path / turns)
        left[turns] = {row["trajectory_id"] for row in rows_of(tmp_path / turns, "strays")}
        kept = rows_of(tmp_path / turns)
        assert len(kept) + len(left[turns]) == 8
        assert len(list((tmp_path / turns).glob("videos/*/*.mp4"))) == len(kept)
    assert len(left["carry"]) < len(left["drop"])


def test_a_walk_that_does_not_lead_where_it_was_recorded_is_told(houses, few, tmp_path):
    moved = tmp_path / "val_unseen.json.gz"
    moved.write_bytes(few.read_bytes())
    truths = json.loads(gzip.decompress(ground_truth_path(few).read_bytes()))
    first = join_wordings(read_episodes(few).episodes)[0]
    for episode in first.episodes:
        truths[episode.episode_id]["locations"][-1][0] += 0.03
    ground_truth_path(moved).write_bytes(gzip.compress(json.dumps(truths).encode()))
    with pytest.raises(
        StrayError, match=rf"1 walks stray more than 0.01 m .*episode {first.first.episode_id}.* 0.030 m"
    ):
        replay_walks(config_of(houses, moved, "workers=1", "subwalks=false"), tmp_path / "films")
    assert not (tmp_path / "films" / "manifest.jsonl").exists()
    replay_walks(config_of(houses, moved, "workers=1", "subwalks=false", "max_strays=0.5"), tmp_path / "films")
    [stray] = rows_of(tmp_path / "films", "strays")
    assert stray["episode_ids"] == [episode.episode_id for episode in first.episodes]
    assert stray["gap"] == pytest.approx(0.03, abs=1e-3)
    assert len(rows_of(tmp_path / "films", "walks")) == 1


def test_locations_are_compared_with_the_positions_that_they_are_of(val_unseen):
    walk = join_wordings(read_episodes(val_unseen).episodes)[0]
    moves = walk.actions.tolist()
    positions = [walk.truth.locations[0]]
    for action in moves[:-1]:
        positions.append(walk.truth.locations[moves[: len(positions)].count(1)] if action == 1 else positions[-1])
    positions = np.array(positions)
    assert gap_to(walk.truth, positions, moves, True) == 0
    every_action = replace(walk.truth, locations=np.concatenate([positions, positions[-1:]]))
    assert gap_to(every_action, positions, moves, True) == 0
    off = positions.copy()
    off[-1, 0] += 0.5
    assert gap_to(walk.truth, off, moves, True) == pytest.approx(0.5)
    assert gap_to(walk.truth, positions[:-1], moves[:-1], False) <= 0.25 + 1e-9
    with pytest.raises(ValueError, match=r"has 3 locations for \d+ actions"):
        gap_to(replace(walk.truth, locations=positions[:3]), positions, moves, True)


def test_a_record_that_is_no_record_is_named(films, houses, val_unseen, tmp_path):
    folder = shutil.copytree(films, tmp_path / "films")
    record = min(folder.glob("walks/*/*.json"))
    record.write_text("{")
    with pytest.raises(ValueError, match=rf"{record.name}: not the record of a walk .* delete it, and run again"):
        replay_walks(config_of(houses, val_unseen, f"max_walks={WALKS}"), folder)


def test_a_missing_scene_is_named_before_anything_is_walked(houses, few, tmp_path):
    config = config_of(houses, few, f"scenes={tmp_path / 'nowhere'}")
    with pytest.raises(ValueError, match=r"nowhere/small/\w+/\w+\.glb: no such scene file.*make or download"):
        replay_walks(config, tmp_path / "films")
    assert not (tmp_path / "films").exists()


def test_episodes_without_recorded_actions_are_refused(houses, few, tmp_path):
    alone = tmp_path / "alone.json.gz"
    alone.write_bytes(few.read_bytes())
    with pytest.raises(ValueError, match=r"6 of 6 episodes .* have no recorded actions; put alone_gt.json.gz"):
        read_recording(config_of(houses, alone))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("width=63", r"width is 63"),
        ("fps=0", r"fps is 0"),
        ("turns=half", r"turns is 'half'; it must be one of recorded, drop, carry"),
        ("colour=red", r"unknown key 'colour'"),
    ],
)
def test_a_recipe_that_cannot_be_filmed_is_refused(houses, val_unseen, override, message):
    with pytest.raises(RecipeError, match=message):
        config_of(houses, val_unseen, override)


def test_equal_frames_give_equal_bytes_in_bulk_whatever_memory_held_before(tmp_path):
    code = (
        "import sys, numpy as np; from pathlib import Path; from navloop.training.videos import write_video; "
        "x = np.arange(64); frames = [np.uint8(128 + 99 * np.sin((x[:, None, None] + x[:, None] * np.arange(3)) / 9 + t)) for t in range(40)]; "
        "write_video(Path(sys.argv[1]), frames, 4, gop=4, bulk=True)"
    )
    made = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / f"{junk}.mp4")], env={**os.environ, "MALLOC_PERTURB_": junk}
        )
        for junk in ("0", "77", "165")
    ]
    assert [process.wait() for process in made] == [0, 0, 0]
    assert len({path.read_bytes() for path in tmp_path.glob("*.mp4")}) == 1
    with av.open(str(tmp_path / "77.mp4")) as container:
        kinds = [(frame.key_frame, PictureType(frame.pict_type).name) for frame in container.decode(video=0)]
    assert kinds == [(True, "I"), *[(False, "P")] * 3] * 10


@pytest.mark.data
@pytest.mark.skipif(not R2R.is_dir(), reason=f"the R2R-CE episodes are not at {R2R}")
def test_real_episodes_go_as_far_as_their_scenes(tmp_path):
    episodes = R2R / "val_unseen" / "val_unseen.json.gz"
    walks = join_wordings(read_episodes(episodes).episodes)
    assert len(walks) == len({walk.key for walk in walks}) == 613
    assert {len(walk.episodes) for walk in walks} == {3}
    config = load(
        "replay_r2r_ce", [f"episodes={episodes}", "world=embedded", f"scenes={tmp_path}", "max_walks=5"], kind="replay"
    )
    with pytest.raises(ValueError, match=rf"{tmp_path}/mp3d/(\w+)/\1\.glb: no such scene file .*5 of 5.* terms of use"):
        replay_walks(config, tmp_path / "films")
    for split in ("train", "test"):
        bare = config.model_copy(update={"episodes": str(R2R / split / f"{split}.json.gz")})
        with pytest.raises(ValueError, match=f"{split}_gt.json.gz of the same release"):
            read_recording(bare)
