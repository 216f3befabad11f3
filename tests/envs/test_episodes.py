"""Episode files: what is read is what is there, what is written is what was read, and what is broken says where."""

from __future__ import annotations

import copy
import gzip
import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from navloop.envs.episode_rows import format_episode, format_truth, parse_episode, parse_truth
from navloop.envs.episodes import (
    EpisodeError,
    ground_truth_path,
    read_episodes,
    select,
    write_episodes,
    write_ground_truth,
)

REAL = Path(__file__).parents[3] / "shared" / "data" / "r2r_vlnce_v1-3"
COUNTS = {"train": 10_819, "val_seen": 778, "val_unseen": 1_839, "test": 3_408}


def r2r_row(number: int = 1, **fields: Any) -> dict[str, Any]:
    """An episode as R2R-VLNCE has it, preprocessed."""
    return {
        "episode_id": number,
        "trajectory_id": 10 * number,
        "scene_id": "mp3d/aaaa/aaaa.glb",
        "start_position": [1.5, 0.25, -3.0],
        "start_rotation": [-0.0, 0.7071067811865476, -0.0, -0.7071067811865475],
        "info": {"geodesic_distance": 6.425},
        "goals": [{"position": [-1.5, 0.25, 3.0], "radius": 3.0}],
        "instruction": {"instruction_text": "Go left. ", "instruction_tokens": [982, 141, 9, 0, 0]},
        "reference_path": [[1.5, 0.25, -3.0], [-1.5, 0.25, 3.0]],
        **fields,
    }


def rxr_row(number: int = 1, language: str = "hi-IN", **fields: Any) -> dict[str, Any]:
    """An episode as RxR-VLNCE has it."""
    told = {
        "instruction_id": str(100 + number),
        "split": "val_unseen",
        "annotator_id": "7",
        "language": language,
        "edit_distance": 0.25,
        "timed_instruction": [{"word": "आप", "start_time": 0.5, "end_time": 1.5}],
        "instruction_text": "आप एक कमरे में हैं",
    }
    return {**r2r_row(number), "episode_id": str(number), "instruction": told, **fields}


TRUTH = {"locations": [[1.5, 0.25, -3.0], [-1.5, 0.25, 3.0]], "actions": [2, 1, 0], "forward_steps": 1}
VOCABULARY = {"word_list": ["<pad>", "<unk>", "left"], "num_vocab": 3, "UNK_INDEX": 1, "PAD_INDEX": 0}


def pack(path: Path, data: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data if isinstance(data, bytes) else json.dumps(data).encode()))
    return path


def unpack(path: Path) -> Any:
    return json.loads(gzip.decompress(path.read_bytes()))


def episodes_file(folder: Path, *rows: Any, name: str = "val_unseen.json.gz", **fields: Any) -> Path:
    return pack(folder / name, {"episodes": list(rows), **fields})


def test_an_r2r_file_is_read_as_it_is(tmp_path: Path) -> None:
    path = episodes_file(tmp_path, r2r_row(1), r2r_row(2), instruction_vocab=VOCABULARY)
    pack(tmp_path / "val_unseen_gt.json.gz", {"1": TRUTH, "2": TRUTH})
    file = read_episodes(path)
    assert (file.path, file.kind, file.split, file.vocabulary) == (path, "r2r", "val_unseen", VOCABULARY)
    first, second = file.episodes
    assert (first.episode_id, second.episode_id, first.trajectory_id) == ("1", "2", "10")
    assert first.scene_id == "mp3d/aaaa/aaaa.glb" and first.info == {"geodesic_distance": 6.425}
    assert first.start_position.tolist() == [1.5, 0.25, -3.0] and first.start_position.dtype == np.float64
    assert first.start_rotation.tolist() == [0.0, 0.7071067811865476, 0.0, -0.7071067811865475]
    assert first.goal_position is not None and first.goal_position.tolist() == [-1.5, 0.25, 3.0]
    assert first.goal_radius == 3.0
    assert first.reference_path is not None and first.reference_path.shape == (2, 3)
    assert (first.instruction.text, first.instruction.language) == ("Go left. ", "en-US")
    assert first.instruction.tokens is not None and first.instruction.tokens.tolist() == [982, 141, 9, 0, 0]
    truth = first.ground_truth
    assert truth is not None and truth.actions is not None
    assert (truth.locations.tolist(), truth.actions.tolist(), truth.forward_steps) == (
        TRUTH["locations"], [2, 1, 0], 1,
    )  # fmt: skip


def test_a_file_without_preprocessing_has_no_tokens_vocabulary_or_ground_truth(tmp_path: Path) -> None:
    file = read_episodes(episodes_file(tmp_path, r2r_row(instruction={"instruction_text": "Go."})))
    assert file.vocabulary is None and file.episodes[0].instruction.tokens is None
    assert file.episodes[0].ground_truth is None


def test_an_rxr_file_keeps_what_only_rxr_has(tmp_path: Path) -> None:
    path = episodes_file(tmp_path, rxr_row(1), rxr_row(2, "en-IN"), name="val_unseen_guide.json.gz")
    pack(tmp_path / "val_unseen_guide_gt.json.gz", {"1": TRUTH, "2": TRUTH})
    file = read_episodes(path)
    assert (file.kind, file.split, file.vocabulary) == ("rxr", "val_unseen_guide", None)
    told = file.episodes[0].instruction
    assert told.language == "hi-IN" and told.text == "आप एक कमरे में हैं"
    assert told.extra["timed_instruction"] == [{"word": "आप", "start_time": 0.5, "end_time": 1.5}]
    assert told.extra["instruction_id"] == "101" and "language" not in told.extra
    assert file.episodes[1].ground_truth is not None


def test_a_test_split_has_neither_goals_nor_paths(tmp_path: Path) -> None:
    row = {key: value for key, value in r2r_row().items() if key not in ("goals", "reference_path", "info")}
    path = episodes_file(tmp_path, row, name="test.json.gz")
    episode = read_episodes(path).episodes[0]
    assert (episode.goal_position, episode.goal_radius, episode.reference_path, dict(episode.info)) == (
        None, None, None, {},
    )  # fmt: skip
    write_episodes(tmp_path / "again.json.gz", [episode])
    assert unpack(tmp_path / "again.json.gz") == {"episodes": [row]}


def test_habitats_prefix_of_scenes_is_dropped(tmp_path: Path) -> None:
    path = episodes_file(tmp_path, r2r_row(scene_id="data/scene_datasets/mp3d/b/b.glb"))
    assert read_episodes(path).episodes[0].scene_id == "mp3d/b/b.glb"


def test_plain_json_is_read_and_written_too(tmp_path: Path) -> None:
    path = tmp_path / "val.json"
    path.write_text(json.dumps({"episodes": [r2r_row()]}))
    write_episodes(tmp_path / "again.json", read_episodes(path).episodes)
    assert json.loads((tmp_path / "again.json").read_text()) == {"episodes": [r2r_row()]}
    assert ground_truth_path(path) == tmp_path / "val_gt.json"


def test_ground_truth_is_taken_from_beside_from_elsewhere_or_not_at_all(tmp_path: Path) -> None:
    path = episodes_file(tmp_path, r2r_row())
    assert read_episodes(path).episodes[0].ground_truth is None
    elsewhere = pack(tmp_path / "other" / "truth.json.gz", {"1": {**TRUTH, "forward_steps": 5}})
    pack(ground_truth_path(path), {"1": TRUTH})
    truths = [read_episodes(path, where).episodes[0].ground_truth for where in ("auto", elsewhere, None)]
    assert [truth and truth.forward_steps for truth in truths] == [1, 5, None]


def test_the_fingerprint_follows_the_content_and_not_the_packing(tmp_path: Path) -> None:
    rows = json.dumps({"episodes": [r2r_row()]}).encode()
    first, second = tmp_path / "a.json.gz", tmp_path / "b.json.gz"
    first.write_bytes(gzip.compress(rows, 1, mtime=1))
    second.write_bytes(gzip.compress(rows, 9, mtime=2))
    changed = episodes_file(tmp_path, r2r_row(2), name="c.json.gz")
    marks = [read_episodes(path).fingerprint for path in (first, second, changed)]
    assert marks[0] == marks[1] != marks[2] and marks[0].startswith("sha256:")


number = st.floats(-1e3, 1e3)
vector = st.lists(number, min_size=3, max_size=3)
scalar = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), number, st.text(max_size=4))
unknown = st.dictionaries(
    st.text(min_size=1, max_size=8).map(lambda name: f"x_{name}"),
    st.one_of(scalar, st.lists(scalar, max_size=3), st.dictionaries(st.text(max_size=3), scalar, max_size=2)),
    max_size=3,
)
identifier = st.one_of(st.integers(0, 99), st.integers(0, 99).map(str), st.text(min_size=1, max_size=5), st.just("007"))
goal = st.fixed_dictionaries(
    {"position": vector}, optional={"radius": st.one_of(st.none(), st.integers(1, 3), number), "x_view": scalar}
)
instruction = st.builds(
    lambda known, rest: {**known, **rest},
    st.fixed_dictionaries(
        {"instruction_text": st.text(max_size=9)},
        optional={
            "instruction_tokens": st.one_of(st.none(), st.lists(st.integers(0, 2503), max_size=5)),
            "language": st.sampled_from(["en-US", "en-IN", "hi-IN", "te-IN"]),
        },
    ),
    unknown,
)
rows = st.builds(
    lambda known, rest: {**known, **rest},
    st.fixed_dictionaries(
        {
            "episode_id": identifier,
            "trajectory_id": identifier,
            "scene_id": st.sampled_from(["mp3d/a/a.glb", "houses/train_001/train_001.glb"]),
            "start_position": vector,
            "start_rotation": st.sampled_from([[0, 0, 0, 1], [-0.0, 0.6, 0.0, -0.8]]),
            "instruction": instruction,
        },
        optional={
            "info": st.one_of(st.none(), unknown),
            "goals": st.one_of(st.none(), st.lists(goal, max_size=2)),
            "reference_path": st.one_of(st.none(), st.lists(vector, max_size=3)),
        },
    ),
    unknown,
)


@given(rows)
def test_a_row_survives_being_read_and_written(row: dict[str, Any]) -> None:
    there_and_back = format_episode(parse_episode(copy.deepcopy(row)))
    assert there_and_back == row
    assert [type(there_and_back[name]) for name in ("episode_id", "trajectory_id")] == [
        type(row[name]) for name in ("episode_id", "trajectory_id")
    ]


@given(
    st.fixed_dictionaries(
        {"locations": st.lists(vector, min_size=1, max_size=4), "forward_steps": st.integers(0, 9)},
        optional={"actions": st.one_of(st.none(), st.lists(st.integers(0, 5), max_size=4)), "x_more": scalar},
    )
)
def test_a_ground_truth_survives_being_read_and_written(row: dict[str, Any]) -> None:
    assert format_truth(parse_truth(row)) == row


def test_what_is_changed_after_reading_is_written_changed() -> None:
    goals = [{"position": [0.0, 0.0, 0.0], "radius": 1.0}, {"position": [1.0, 0.0, 0.0], "radius": 1.0}]
    row = r2r_row(episode_id="5", goals=goals)
    episode = parse_episode(row)
    assert format_episode(episode) == row
    renamed = format_episode(replace(episode, episode_id="6"))
    assert renamed == {**row, "episode_id": 6}
    moved = format_episode(replace(episode, goal_position=np.array([2.0, 0, 0])))
    assert moved == {**row, "goals": [{"position": [2.0, 0.0, 0.0], "radius": 1.0}]}
    assert "goals" not in format_episode(replace(episode, goal_position=None))


def test_a_language_said_in_a_new_episode_is_written() -> None:
    episode = parse_episode(r2r_row())
    hindi = replace(episode, instruction=replace(episode.instruction, language="hi-IN"))
    assert format_episode(hindi)["instruction"]["language"] == "hi-IN"
    assert "language" not in format_episode(episode)["instruction"]


def test_files_survive_being_read_and_written(tmp_path: Path) -> None:
    for name, row in {"val_unseen.json.gz": r2r_row(), "val_unseen_follower.json.gz": rxr_row()}.items():
        path = episodes_file(tmp_path, row, name=name, instruction_vocab=VOCABULARY)
        pack(ground_truth_path(path), {"1": TRUTH})
        file, again = read_episodes(path), tmp_path / "again" / name
        write_episodes(again, file.episodes, file.vocabulary)
        write_ground_truth(ground_truth_path(again), file.episodes)
        assert unpack(again) == unpack(path) and unpack(ground_truth_path(again)) == unpack(ground_truth_path(path))
        assert read_episodes(again).kind == file.kind


def test_equal_episodes_give_equal_bytes_whatever_the_hour(tmp_path: Path) -> None:
    episodes = [parse_episode(r2r_row())]
    paths = [tmp_path / folder / "train.json.gz" for folder in ("a", "b")]
    for path in paths:
        write_episodes(path, episodes)
    first, second = (path.read_bytes() for path in paths)
    assert first == second and first[4:8] == bytes(4)  # no time stamp in the header


def test_the_fields_stand_in_the_order_of_the_release() -> None:
    shuffled = dict(sorted(r2r_row(zebra=1).items()))
    assert list(format_episode(parse_episode(shuffled))) == [*r2r_row(), "zebra"]


BROKEN: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no start": (lambda row: row.pop("start_position"), "lacks the field start_position; it has episode_id"),
    "no text": (lambda row: row["instruction"].pop("instruction_text"), "lacks the field instruction.instruction_text"),
    "no place of the goal": (lambda row: row["goals"][0].pop("position"), r"lacks the field goals\[0\].position"),
    "a flat start": (lambda row: row.update(start_position=[1, 2]), r"start_position is \[1, 2\], expected 3 numbers"),
    "a path of pairs": (lambda row: row.update(reference_path=[[1, 2]]), r"reference_path is .*expected any x 3"),
    "a ragged path": (lambda row: row.update(reference_path=[[1, 2, 3], [1]]), "reference_path is .*expected any x 3"),
    "words for numbers": (lambda row: row.update(start_position=["1", "2", "3"]), "start_position is .*3 numbers"),
    "null in a place": (lambda row: row.update(start_position=[1, None, 3]), "start_position is .*3 numbers"),
    "nan in a place": (lambda row: row.update(start_position=[1, math.nan, 3]), r"start_position\[1\] is not a finite"),
    "infinity aside": (lambda row: row["info"].update(geodesic_distance=math.inf), "info.geodesic_distance is not a fin"),
    "a number too great": (lambda row: row.update(start_position=["BIG", 0, 0]), "start_position is .*finite numbers"),
    "long rotation": (lambda row: row.update(start_rotation=[5, 5, 5, 5]), r"start_rotation is \[5, 5, 5, 5\], expected a qu"),
    "no rotation": (lambda row: row.update(start_rotation=[0, 0, 0, 0]), r"start_rotation is \[0, 0, 0, 0\], expected a qu"),
    "a text that is none": (lambda row: row["instruction"].update(instruction_text=None), "instruction_text is None"),
    "a bare instruction": (lambda row: row.update(instruction="Go."), "instruction is 'Go.', expected an object"),
    "half tokens": (lambda row: row["instruction"].update(instruction_tokens=[1.5]), r"tokens is \[1.5\], expected a list"),
    "a radius of words": (lambda row: row["goals"][0].update(radius="3"), r"goals\[0\].radius is '3'"),
    "a bare goal": (lambda row: row.update(goals=[[1, 2, 3]]), r"goals\[0\] is \[1, 2, 3\], expected an object"),
    "an id of truth": (lambda row: row.update(trajectory_id=True), "trajectory_id is True, expected a whole number or text"),
    "a scene of numbers": (lambda row: row.update(scene_id=3), "scene_id is 3, expected text"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_episode_is_named_with_field_and_value(tmp_path: Path, case: str) -> None:
    damage, message = BROKEN[case]
    row = r2r_row(77)
    damage(row)
    text = json.dumps({"episodes": [r2r_row(1), row]}).replace('"BIG"', "1e999")
    path = pack(tmp_path / "val.json.gz", text.encode())
    with pytest.raises(EpisodeError, match=message) as refusal:
        read_episodes(path)
    assert str(refusal.value).startswith(f"{path}: episode 77: ")


def test_a_row_that_is_no_episode_is_named_by_its_place(tmp_path: Path) -> None:
    with pytest.raises(EpisodeError, match="episode number 1 from 0: the episode is 'oops'"):
        read_episodes(episodes_file(tmp_path, r2r_row(), "oops"))


BROKEN_TRUTHS: dict[str, tuple[Any, str]] = {
    "no locations": ({**TRUTH, "locations": []}, r"locations is \[\], expected any x 3 numbers"),
    "flat locations": ({**TRUTH, "locations": [1, 2, 3]}, "locations is .*expected any x 3 numbers"),
    "unknown action": ({**TRUTH, "actions": [1, 9]}, r"actions is \[9\], expected codes of 0 to 5"),
    "half an action": ({**TRUTH, "actions": [1, 0.5]}, "actions is .*expected a list of whole numbers"),
    "no count": ({"locations": [[0, 0, 0]]}, "lacks the field forward_steps"),
    "half a step": ({**TRUTH, "forward_steps": 1.5}, "forward_steps is 1.5"),
    "nan": ({**TRUTH, "locations": [[0, 0, math.nan]]}, r"locations\[0\]\[2\] is not a finite number"),
    "nothing": (None, "the ground truth is None, expected an object"),
}


@pytest.mark.parametrize("case", BROKEN_TRUTHS)
def test_a_broken_ground_truth_is_named_with_field_and_value(tmp_path: Path, case: str) -> None:
    row, message = BROKEN_TRUTHS[case]
    path = episodes_file(tmp_path, r2r_row(77))
    truths = pack(ground_truth_path(path), {"77": row})
    with pytest.raises(EpisodeError, match=message) as refusal:
        read_episodes(path)
    assert str(refusal.value).startswith(f"{truths}: episode 77: ")


def test_an_episode_without_its_ground_truth_is_named(tmp_path: Path) -> None:
    path = episodes_file(tmp_path, r2r_row(1), r2r_row(2))
    pack(ground_truth_path(path), {"1": TRUTH})
    with pytest.raises(
        EpisodeError, match=r"val_unseen_gt.json.gz: lacks episode 2 of val_unseen.json.gz; take the two"
    ):
        read_episodes(path)
    assert len(read_episodes(path, None).episodes) == 2


def test_an_id_that_is_there_twice_is_refused_in_reading_and_writing(tmp_path: Path) -> None:
    with pytest.raises(EpisodeError, match="episode_id 3 is there 2 times"):
        read_episodes(episodes_file(tmp_path, r2r_row(1), r2r_row(3), r2r_row(3, episode_id="3")))
    episodes = [parse_episode(r2r_row(3))] * 2
    for write in (write_episodes, write_ground_truth):
        with pytest.raises(EpisodeError, match="episode_id 3 is there 2 times"):
            write(tmp_path / "new.json.gz", episodes)
    assert not (tmp_path / "new.json.gz").exists()


@pytest.mark.parametrize("kept", [5, 40, -5])
def test_a_torn_file_is_refused(tmp_path: Path, kept: int) -> None:
    path = episodes_file(tmp_path, r2r_row())
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(EpisodeError, match=r"val_unseen.json.gz: torn or not gzip .*download it or write it again"):
        read_episodes(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not json", "not JSON"),
        (b"\xff\xfe{}", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "has no list 'episodes'"),
        (b'{"episodes": {}}', "has no list 'episodes'"),
        (json.dumps({"1": TRUTH}).encode(), "has no list 'episodes'; give an R2R-VLNCE or RxR-VLNCE episode file"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(EpisodeError, match=message):
        read_episodes(pack(tmp_path / "val.json.gz", content))


def test_what_is_not_gzip_or_not_there_is_refused(tmp_path: Path) -> None:
    plain = tmp_path / "plain.json.gz"
    plain.write_text('{"episodes": []}')
    with pytest.raises(EpisodeError, match="torn or not gzip"):
        read_episodes(plain)
    with pytest.raises(EpisodeError, match="no such episode file"):
        read_episodes(tmp_path / "none.json.gz")
    path = episodes_file(tmp_path, r2r_row())
    with pytest.raises(EpisodeError, match="no such episode file"):
        read_episodes(path, tmp_path / "none_gt.json.gz")
    with pytest.raises(EpisodeError, match="is not an object by episode id"):
        read_episodes(path, pack(tmp_path / "list.json.gz", [1]))


def test_what_nobody_could_read_is_not_written_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "train.json.gz"
    good = parse_episode(r2r_row())
    write_episodes(path, [good])
    before = path.read_bytes()
    with pytest.raises(EpisodeError, match=r"episodes\[0\].start_position\[0\] is not a finite number"):
        write_episodes(path, [replace(good, start_position=np.array([math.nan, 0, 0]))])
    with pytest.raises(EpisodeError, match="episode 1 has no ground truth"):
        write_ground_truth(path, [good])
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["train.json.gz"]


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(OSError, match="taken"):
        write_episodes(tmp_path / "taken" / "train.json.gz", [parse_episode(r2r_row())])


EPISODES = [
    parse_episode(rxr_row(number, language, scene_id=f"mp3d/{scene}/{scene}.glb"))
    for number, language, scene in [(1, "en-US", "a"), (2, "hi-IN", "a"), (3, "en-IN", "b"), (4, "te-IN", "c")]
]


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ({}, "1234"),
        ({"scenes": ["a", "mp3d/c/c.glb"]}, "124"),
        ({"ids": ["4", "2"]}, "24"),
        ({"languages": ["en"]}, "13"),
        ({"languages": ["en-IN", "te"]}, "34"),
        ({"count": 2}, "12"),
        ({"count": 0}, ""),
        ({"scenes": ["a"], "languages": ["hi"], "count": 5}, "2"),
    ],
)
def test_selection_keeps_the_order_and_every_filter(filters: dict[str, Any], ids: str) -> None:
    assert [episode.episode_id for episode in select(EPISODES, **filters)] == list(ids)


def test_selecting_what_is_not_there_is_a_mistake() -> None:
    with pytest.raises(EpisodeError, match="no scene 'd' among the episodes"):
        select(EPISODES, scenes=["d"])
    with pytest.raises(EpisodeError, match="no episode '5' among the episodes; known: 1, 2, 3, 4"):
        select(EPISODES, ids=["1", "5"])
    with pytest.raises(EpisodeError, match="count of episodes is -1"):
        select(EPISODES, count=-1)


@pytest.mark.data
@pytest.mark.parametrize("split", COUNTS)
def test_the_real_files_are_read_whole_and_written_back_to_the_byte(tmp_path: Path, split: str) -> None:
    path = REAL / split / f"{split}.json.gz"
    if not path.is_file():
        pytest.skip(f"the R2R-CE episodes are not at {path}")
    file = read_episodes(path)
    assert (len(file.episodes), file.kind, file.split) == (COUNTS[split], "r2r", split)
    assert all((episode.goal_position is None) == (split == "test") for episode in file.episodes)
    truths = ground_truth_path(path).is_file()
    assert all((episode.ground_truth is not None) == truths for episode in file.episodes)
    again = tmp_path / path.name
    write_episodes(again, file.episodes, file.vocabulary)
    assert gzip.decompress(again.read_bytes()) == gzip.decompress(path.read_bytes())
    if truths:
        write_ground_truth(ground_truth_path(again), file.episodes)
        assert unpack(ground_truth_path(again)) == unpack(ground_truth_path(path))


@pytest.mark.data
def test_the_real_val_unseen_has_its_published_shape() -> None:
    path = REAL / "val_unseen" / "val_unseen.json.gz"
    if not path.is_file():
        pytest.skip(f"the R2R-CE episodes are not at {path}")
    file = read_episodes(path)
    assert len({episode.scene_id for episode in file.episodes}) == 11
    assert len({episode.trajectory_id for episode in file.episodes}) == 613
    assert file.vocabulary is not None and len(file.vocabulary["word_list"]) == 2504
    assert np.mean([len(episode.instruction.text.split()) for episode in file.episodes]) == pytest.approx(
        26.6, abs=0.05
    )
    assert file.fingerprint == "sha256:8e503711f35c2f56"
