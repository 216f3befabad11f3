"""Official annotation files: small ones in each format, what becomes of them, and what is said about wrong ones."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from navloop.configs.annotations import Format
from navloop.configs.videos import ClipsConfig
from navloop.training.annotation_files import stem
from navloop.training.annotations import READERS, annotation_files
from navloop.training.fingerprints import list_fingerprint
from navloop.training.labels import Labels
from navloop.training.manifests import ManifestError, read_manifest, read_manifests

ANY = Labels(None, {})
MOVIE = "00.00.10.000\t00.00.12.000\t00.00.10.000\t00.00.12.000"


@pytest.fixture
def data(tmp_path):
    """A data set's folder: write its files, then read what a YAML file says about them."""
    return DataSet(tmp_path)


class DataSet:
    def __init__(self, folder):
        self.folder = folder
        (folder / "videos").mkdir()

    def write(self, name, content):
        path = self.folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def video(self, name):
        path = self.folder / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        return str(path)

    def describe(self, **said):
        return self.write("data.yaml", yaml.safe_dump({"videos": "videos", **said}))

    def read(self, labels=ANY, **said):
        return read_manifest(self.describe(**said), labels)


def rows_of(rows):
    return [(row.path.rsplit("/videos/", 1)[1], row.captions) for row in rows]


MSRVTT = {
    "info": {"year": "2016"},
    "videos": [
        {"video_id": "video0", "split": "train", "category": 9},
        {"video_id": "video1", "split": "test", "category": 9},
        {"video_id": "video2", "split": "test", "category": 9},
    ],
    "sentences": [
        {"caption": "a man drives", "video_id": "video0", "sen_id": 0},
        {"caption": "a cat sits", "video_id": "video2", "sen_id": 1},
        {"caption": "a dog  runs\n", "video_id": "video1", "sen_id": 2},
        {"caption": "the cat rests", "video_id": "video2", "sen_id": 3},
    ],
}


def test_msrvtt_1k_a_gives_each_video_its_one_sentence(data):
    data.write(
        "MSRVTT_JSFUSION_test.csv",
        'key,vid_key,video_id,sentence\nret0,msr9770,video9770,"a person, in a car"\nret1,msr9771,video9771,a cat\n',
    )
    found = data.video("TestVideo/video9771.mp4")
    rows = data.read(format="msrvtt", texts="MSRVTT_JSFUSION_test.csv")
    assert rows_of(rows) == [("video9770.mp4", ("a person, in a car",)), ("TestVideo/video9771.mp4", ("a cat",))]
    assert rows[1].path == found
    assert rows[1].place.endswith("MSRVTT_JSFUSION_test.csv, line 3")


def test_msrvtt_gives_a_split_or_the_videos_of_a_list(data):
    data.write("MSRVTT_data.json", MSRVTT)
    data.write("MSRVTT_train.9k.csv", "video_id\nvideo0\n")
    said = {"format": "msrvtt", "texts": "MSRVTT_data.json"}
    test = [("video2.mp4", ("a cat sits", "the cat rests")), ("video1.mp4", ("a dog runs",))]
    assert rows_of(data.read(**said, split="test")) == test
    assert rows_of(data.read(**said, list="MSRVTT_train.9k.csv")) == [("video0.mp4", ("a man drives",))]
    assert [len(row.captions) for row in data.read(**said)] == [1, 2, 1]


def test_msvd_reads_its_pickle_and_keeps_every_caption(data):
    captions = {"vid_1_10": [["a", "man"], ["a", "man"]], "vid_2_5": [["rain"]], "other": [["x"]]}
    (data.folder / "raw-captions.pkl").write_bytes(pickle.dumps(captions))
    data.write("test_list.txt", "vid_2_5\nvid_1_10\n\n")
    rows = data.read(format="msvd", texts="raw-captions.pkl", list="test_list.txt", suffix=".avi")
    assert rows_of(rows) == [("vid_2_5.avi", ("rain",)), ("vid_1_10.avi", ("a man", "a man"))]


def test_a_pickle_that_would_run_something_is_refused_and_runs_nothing(data):
    class Trap:
        def __reduce__(self):
            return (open, (str(data.folder / "sprung"), "w"))

    (data.folder / "raw-captions.pkl").write_bytes(pickle.dumps({"a": [[Trap()]]}))
    data.write("test_list.txt", "a\n")
    with pytest.raises(ManifestError, match=r"raw-captions.pkl: not a pickle of captions \(it asks for .*open"):
        data.read(format="msvd", texts="raw-captions.pkl", list="test_list.txt")
    assert not (data.folder / "sprung").exists()


def test_lsmdc_gathers_the_sentences_of_a_clip(data):
    clip = "0017_Pianist_00.23.28.872-00.23.34.843"
    data.write(
        "test.csv", f'{clip}\t{MOVIE}\tSOMEONE "plays.\nother\t{MOVIE}\tHe leaves.\n{clip}\t{MOVIE}\tHe stops.\n'
    )
    data.video(f"0017_Pianist/{clip}.avi")
    rows = data.read(format="lsmdc", texts="test.csv")
    assert rows_of(rows) == [
        (f"0017_Pianist/{clip}.avi", ('SOMEONE "plays.', "He stops.")),
        ("other.mp4", ("He leaves.",)),
    ]


def test_didemo_makes_a_paragraph_of_a_videos_moments(data):
    moments = [
        {"video": "a@N01_1.mov", "description": "a dog", "times": [[0, 0]], "annotation_id": 1},
        {"video": "b@N01_2", "description": "rain", "times": [[1, 2]]},
        {"video": "a@N01_1.mov", "description": "it leaves", "times": [[2, 2]]},
    ]
    data.write("test_data.json", moments)
    data.write("test_list.txt", "b@N01_2\na@N01_1\n")
    rows = data.read(format="didemo", texts="test_data.json", list="test_list.txt")
    assert rows_of(rows) == [("b@N01_2.mp4", ("rain",)), ("a@N01_1.mp4", ("a dog it leaves",))]
    assert {row.end for row in rows} == {31.0}


def test_activitynet_makes_a_paragraph_and_can_leave_out_what_has_none(data):
    told = {"v_a": {"duration": 82, "timestamps": [[0, 5], [5, 82]], "sentences": ["A man. ", " He leaves."]}}
    data.write("val_1.json", told)
    data.write("val_ids.json", ["v_b", "v_a", "v_a"])
    said = {"format": "activitynet", "texts": "val_1.json", "list": "val_ids.json"}
    with pytest.raises(ManifestError, match=r"val_ids.json: 1 of 2 videos, such as v_b, have no text.*leave out"):
        data.read(**said)
    assert rows_of(data.read(**said, without_text="leave out")) == [("v_a.mp4", ("A man. He leaves.",))]


def test_vatex_gives_the_english_captions(data):
    entries = [
        {"videoID": "id_000010_000020", "enCap": ["One.", "Two."], "chCap": ["一"]},
        {"videoID": "x", "enCap": ["X"]},
    ]
    data.write("vatex_validation_v1.0.json", entries)
    data.write("test_list.txt", "id_000010_000020\n")
    rows = data.read(format="vatex", texts="vatex_validation_v1.0.json", list="test_list.txt")
    assert rows_of(rows) == [("id_000010_000020.mp4", ("One.", "Two."))]


def test_msrvtt_choice_has_candidates_and_the_number_of_the_right_one(data):
    line = {"clip_name": "video6514", "qid": 1, "options": ["a", "b", "c", "d", "e"], "answer": 3}
    data.write("mc.jsonl", json.dumps(line) + "\n")
    (row,) = data.read(format="msrvtt_choice", texts="mc.jsonl")
    assert (row.captions, row.label) == (("a", "b", "c", "d", "e"), 3)


def test_lsmdc_choice_counts_the_right_one_from_1_in_the_test_and_puts_it_first_elsewhere(data):
    sentences = "\t".join(f"S{number}." for number in range(1, 6))
    data.write("test.csv", f"clip_00.1\t{MOVIE}\t{sentences}\t4\n")
    data.write("valid.csv", f"clip_00.1\t{MOVIE}\t{sentences}\n")
    (test,) = data.read(format="lsmdc_choice", texts="test.csv")
    (valid,) = data.read(format="lsmdc_choice", texts="valid.csv")
    assert (test.captions[test.label], valid.captions[valid.label]) == ("S4.", "S1.")
    assert test.captions == valid.captions == ("S1.", "S2.", "S3.", "S4.", "S5.")


def test_questions_have_their_answer_as_label_unless_it_has_no_number(data):
    lines = [
        {"question": "what is it?", "answer": "couch", "video_id": 6513},
        {"question": "who?", "answer": "zebra", "video_id": "video6514"},
        {"question": "how many?", "answer": "two", "gif_name": "tumblr_1"},
    ]
    data.write("qa.jsonl", "\n".join(map(json.dumps, lines)))
    data.write("ans2label.json", {"couch": 0, "two": 7})
    rows = data.read(format="question", texts="qa.jsonl", answers="ans2label.json")
    assert [(row.path.rsplit("/", 1)[1], row.label) for row in rows] == [
        ("video6513.mp4", 0),
        ("video6514.mp4", None),
        ("tumblr_1.mp4", 7),
    ]
    assert rows[0].captions == ("what is it?",)


def test_activitynet_actions_give_a_row_a_segment(data):
    database = {
        "sJFgo9H6zNo": {
            "subset": "validation",
            "duration": 20,
            "annotations": [{"segment": [1, 4.5], "label": "Surfing"}, {"segment": [6.0, 9.0], "label": "Skiing"}],
        },
        "other": {"subset": "training", "duration": 20, "annotations": [{"segment": [0, 1], "label": "Skiing"}]},
        "unseen": {"subset": "testing", "duration": 20, "annotations": []},
    }
    data.write("anet.json", {"version": "1.3", "database": database})
    file = data.video("val/v_sJFgo9H6zNo.webm")
    rows = data.read(
        Labels(2, {"Skiing": 0, "Surfing": 1}), format="activitynet_actions", texts="anet.json", split="validation"
    )
    assert [(row.path, row.start, row.end, row.label) for row in rows] == [(file, 1.0, 4.5, 1), (file, 6.0, 9.0, 0)]


def test_annotations_stand_where_a_list_may(data):
    data.write("MSRVTT_data.json", MSRVTT)
    path = data.describe(format="msrvtt", texts="MSRVTT_data.json", split="train")
    own = data.write("own.jsonl", '{"video": "b.mp4", "caption": "Turn left."}\n')
    rows = read_manifests(ClipsConfig(manifest=(str(path), str(own))), need=("captions",))
    assert [row.captions for row in rows] == [("a man drives",), ("Turn left.",)]


@pytest.mark.parametrize("videos", ["videos", "./videos/", "../data/videos", "{}/data/videos"])
def test_a_relative_path_of_annotations_finds_its_videos(tmp_path, monkeypatch, videos):
    (tmp_path / "data").mkdir()
    data = DataSet(tmp_path / "data")
    found = data.video("all/video1.mp4")
    data.write("MSRVTT_data.json", MSRVTT)
    data.describe(format="msrvtt", texts="MSRVTT_data.json", split="test", videos=videos.format(tmp_path))
    monkeypatch.chdir(tmp_path)
    rows = read_manifests(ClipsConfig(manifest=("data/data.yaml",)))
    assert [Path(row.path).resolve() for row in rows] == [data.folder / "videos" / "video2.mp4", Path(found)]


def test_the_fingerprint_of_annotations_is_over_the_files_that_they_name(data):
    data.write("MSRVTT_data.json", MSRVTT)
    data.write("test.txt", "video1\n")
    path = data.describe(format="msrvtt", texts="MSRVTT_data.json", list="test.txt")
    marks = {list_fingerprint(path)}
    data.write("test.txt", "video2\n")
    marks.add(list_fingerprint(path))
    data.write("MSRVTT_data.json", {**MSRVTT, "info": {}})
    marks.add(list_fingerprint(path))
    assert len(marks) == 3
    assert annotation_files(path) == (data.folder / "MSRVTT_data.json", data.folder / "test.txt")
    assert annotation_files(data.folder / "test.txt") == ()


def test_frame_folders_are_videos_too(data):
    (data.folder / "videos" / "video2").mkdir()
    data.write("MSRVTT_data.json", MSRVTT)
    rows = data.read(format="msrvtt", texts="MSRVTT_data.json")
    assert [row.path.endswith("videos/video2") for row in rows] == [False, True, False]


BAD = {
    "an unknown format": ({"format": "msrvt", "texts": "a"}, {}, r"data.yaml, field format is 'msrvt'"),
    "an unknown field": ({"format": "msrvtt", "texts": "a", "lists": "b"}, {}, r"data.yaml, field lists"),
    "no list where one is needed": (
        {"format": "vatex", "texts": "a"},
        {},
        r"vatex has one file of texts for all splits",
    ),
    "a split that no file says": (
        {"format": "lsmdc", "texts": "a", "split": "test"},
        {},
        r"files of lsmdc say no splits",
    ),
    "a missing file": ({"format": "lsmdc", "texts": "a.csv"}, {}, r"a.csv: no such file, which texts names"),
    "text that is no JSON": ({"format": "msrvtt", "texts": "a.json"}, {"a.json": "{"}, r"a.json: not JSON"),
    "a wrong type": (
        {"format": "msrvtt", "texts": "a.json"},
        {"a.json": {"sentences": [{"video_id": "v", "caption": "x"}, {"video_id": 3, "caption": "x"}]}},
        r"a.json, field sentences.1.video_id is 3: a valid string",
    ),
    "an empty caption": (
        {"format": "msrvtt", "texts": "a.json"},
        {"a.json": {"sentences": [{"video_id": "v", "caption": "  "}]}},
        r"a.json, field sentences.0.caption is '  ': give text that is not empty",
    ),
    "a split that is not there": (
        {"format": "msrvtt", "texts": "a.json", "split": "validate"},
        {"a.json": MSRVTT},
        r"no videos of split 'validate', but of test, train",
    ),
    "a column that is not there": (
        {"format": "msrvtt", "texts": "a.csv"},
        {"a.csv": "video,sentence\nvideo1,a\n"},
        r"a.csv, line 1: names no column video_id; it has video, sentence",
    ),
    "a line that is too short": (
        {"format": "msrvtt", "texts": "a.csv"},
        {"a.csv": "video_id,sentence\nvideo1,a cat\nvideo2\n"},
        r"a.csv, line 3, field sentence: Field required",
    ),
    "too few fields": (
        {"format": "lsmdc", "texts": "a.csv"},
        {"a.csv": f"clip\t{MOVIE}\tA.\nclip\tB.\n"},
        r"a.csv, line 2: has 2 fields between tabs, not 6 \(clip_id",
    ),
    "an answer out of range": (
        {"format": "lsmdc_choice", "texts": "a.csv"},
        {"a.csv": f"clip\t{MOVIE}\ta\tb\tc\td\te\t6\n"},
        r"a.csv, line 1, field answer is '6': a number from 1 to 5",
    ),
    "an answer beyond the options": (
        {"format": "msrvtt_choice", "texts": "a.jsonl"},
        {"a.jsonl": '{"clip_name": "v", "options": ["a", "b"], "answer": 2}\n'},
        r"a.jsonl, line 1, field answer is 2: there are 2 options, from 0",
    ),
    "an option that is no text": (
        {"format": "msrvtt_choice", "texts": "a.jsonl"},
        {"a.jsonl": '\n{"clip_name": "v", "options": ["a", 7], "answer": 0}\n'},
        r"a.jsonl, line 2, field options.1 is 7: a valid string",
    ),
    "a question of no video": (
        {"format": "question", "texts": "a.jsonl", "answers": "n.json"},
        {"a.jsonl": '{"question": "who?", "answer": "man"}', "n.json": {"man": 0}},
        r"a.jsonl, line 1: names no video; give video_id or gif_name",
    ),
    "answers of another data set": (
        {"format": "question", "texts": "a.jsonl", "answers": "n.json"},
        {"a.jsonl": '{"question": "who?", "answer": "man", "video_id": 1}', "n.json": {"couch": 0}},
        r"n.json: has a number for no answer of .*a.jsonl; name the answers of that data set",
    ),
    "an answer with a number below 0": (
        {"format": "question", "texts": "a.jsonl", "answers": "n.json"},
        {"a.jsonl": '{"question": "who?", "answer": "man", "video_id": 1}', "n.json": {"man": -1}},
        r"n.json, field man is -1: greater than or equal to 0",
    ),
    "a list of nothing": (
        {"format": "vatex", "texts": "a.json", "list": "l.txt"},
        {"a.json": [], "l.txt": "\n"},
        r"l.txt: lists no videos",
    ),
    "texts of other videos alone": (
        {"format": "vatex", "texts": "a.json", "list": "l.txt", "without_text": "leave out"},
        {"a.json": [], "l.txt": "v\n"},
        r"a.json has no texts of the videos that are meant",
    ),
    "no folder of videos": (
        {"format": "lsmdc", "texts": "a.csv", "videos": "films"},
        {},
        r"films: no such folder, which videos names",
    ),
}


@pytest.mark.parametrize(("said", "files", "message"), BAD.values(), ids=BAD.keys())
def test_what_is_wrong_is_named(data, said, files, message):
    for name, content in files.items():
        data.write(name, content)
    with pytest.raises(ManifestError, match=message):
        data.read(**said)


def test_two_files_of_one_name_are_refused(data):
    data.write("a.csv", f"clip\t{MOVIE}\tA.\n")
    data.video("one/clip.mp4")
    data.video("two/clip.avi")
    with pytest.raises(ManifestError, match=r"a.csv, line 1: video clip may be .*one.* or .*two"):
        data.read(format="lsmdc", texts="a.csv")


@given(st.text("ab.@_0", min_size=1))
def test_a_stem_loses_the_ending_of_a_video_and_nothing_else(name):
    assert stem(f"{name}.MP4") == name
    assert stem(stem(f"{name}.x")) == f"{name}.x"


def test_every_format_has_its_reader():
    assert set(READERS) == set(get_args(Format))
