"""Lists of videos: the forms in use, and what is said about lines that are wrong."""

import json
import os
from pathlib import Path

import pytest
from stored_walks import fill

from navloop.configs.videos import ClipsConfig
from navloop.training.fingerprints import list_fingerprint
from navloop.training.labels import Labels
from navloop.training.manifests import ManifestError, check_class_folders, read_manifest, read_manifests
from navloop.training.store import export_manifest, open_store

ANY = Labels(None, {})


def write(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_jsonl_with_captions_and_segments(tmp_path):
    lines = [
        {"video": "a.mp4", "caption": "Leave the kitchen."},
        {"video": "/data/b.webm", "captions": ["One.", "Another."], "start": 1.5, "end": 4, "label": 3, "stride": 2},
    ]
    path = write(tmp_path, "walks.jsonl", "\n".join(map(json.dumps, lines)) + "\n\n")
    first, second = read_manifest(path, ANY)
    assert (first.path, first.captions, first.start, first.label) == (
        str(tmp_path / "a.mp4"),
        ("Leave the kitchen.",),
        None,
        None,
    )
    assert (second.path, second.captions) == ("/data/b.webm", ("One.", "Another."))
    assert (second.start, second.end, second.label, second.stride) == (1.5, 4.0, 3, 2)
    assert second.place == f"{path}, line 2"


def test_a_caption_may_hold_what_unicode_calls_a_line_separator(tmp_path):
    path = write(tmp_path, "a.jsonl", '{"video": "a.mp4", "caption": "One.\u2028Two."}\r\n')
    assert read_manifest(path, ANY)[0].captions == ("One.\u2028Two.",)


def test_json_array(tmp_path):
    path = write(tmp_path, "train.json", json.dumps([{"image": "a.jpg", "caption": "A hall."}]))
    (row,) = read_manifest(path, ANY)
    assert (row.path, row.captions) == (str(tmp_path / "a.jpg"), ("A hall.",))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("clips/a.mp4", {}),
        ("clips/a.mp4 7", {"label": 7}),
        ("clips/a.mp4,7", {"label": 7}),
        ("clips/a 48 7", {"total": 48, "label": 7}),
        ("clips/a 301 300 7", {"first": 301, "total": 300, "label": 7}),
        ("clips/a.mp4 0 -1 7", {"label": 7}),
        ("clips/a.mp4 120.5 3.25 9.5 7", {"start": 3.25, "end": 9.5, "label": 7}),
    ],
)
def test_lines_of_the_familys_lists(tmp_path, line, expected):
    (row,) = read_manifest(write(tmp_path, "train.csv", f"{line}\n"), ANY)
    assert row.path == str(tmp_path / "clips" / line.split("/")[1].replace(",", " ").split()[0])
    fields = {name: getattr(row, name) for name in ("first", "total", "start", "end", "label")}
    assert {name: value for name, value in fields.items() if value is not None} == expected


def test_csv_with_a_header_and_quoted_commas(tmp_path):
    path = write(tmp_path, "all.csv", 'path,caption,label\nmy clip.mp4,"Left, then right.",0\n')
    (row,) = read_manifest(path, ANY)
    assert (row.path, row.captions, row.label) == (str(tmp_path / "my clip.mp4"), ("Left, then right.",), 0)


@pytest.mark.parametrize("separator", [",", "\t", ";"])
def test_a_table_with_another_separator_and_a_caption_of_two_lines(tmp_path, separator):
    lines = [["video", "caption"], ["my clip.mp4", '"Left,\nthen; right."'], ["", ""], ["b.mp4", "Stop."]]
    path = write(tmp_path, "all.csv", "".join(f"{separator.join(line)}\r\n" for line in lines))
    first, second = read_manifest(path, ANY)
    assert [(row.path, row.captions) for row in (first, second)] == [
        (str(tmp_path / "my clip.mp4"), ("Left,\nthen; right.",)),
        (str(tmp_path / "b.mp4"), ("Stop.",)),
    ]
    assert (first.place, second.place) == (f"{path}, line 2", f"{path}, line 5")


@pytest.mark.parametrize(
    "text",
    [
        'video,caption\na.mp4,"Left\nb.mp4,Stop.\n',
        'video,caption\na.mp4,"Left\nb.mp4,"Stop."\n',
        'a.mp4,"x' + "y" * 200_000,
    ],
)
def test_a_quotation_mark_that_is_left_open_swallows_no_line(tmp_path, text):
    path = write(tmp_path, "all.csv", text)
    with pytest.raises(ManifestError, match=r"line [12]: its quotation marks do not pair up"):
        read_manifest(path, ANY)


@pytest.mark.parametrize("line", ["a.mp4 7", "a.mp4,7", 'a.mp4,"7"'])
def test_lines_are_counted_from_the_first_of_the_file_also_where_it_is_blank(tmp_path, line):
    (row,) = read_manifest(path := write(tmp_path, "train.csv", f"\n  \n{line}\n"), ANY)
    assert (row.place, row.label) == (f"{path}, line 3", 7)


def test_names_that_are_no_utf_8_are_kept(tmp_path):
    name = os.fsdecode(b"caf\xe9.mp4")
    (tmp_path / "turn").mkdir()
    (tmp_path / "turn" / name).touch()
    (row,) = read_manifest(tmp_path, ANY)
    assert row.path == str(tmp_path / "turn" / name) and Path(row.path).exists()


@pytest.mark.parametrize("field", ["label", "total"])
def test_a_number_of_more_than_64_bits_is_refused(tmp_path, field):
    with pytest.raises(ManifestError, match=rf"line 1: {field} is 10{{30}}"):
        read_manifest(write(tmp_path, "a.jsonl", json.dumps({"video": "a.mp4", field: 10**30})), ANY)


@pytest.mark.parametrize("value", [3.0, "3.0", "3.", " 3.00", 3])
def test_a_whole_number_may_be_written_as_pandas_does(tmp_path, value):
    fields = {"label": value, "first": value, "total": value}
    (row,) = read_manifest(write(tmp_path, "a.jsonl", json.dumps({"video": "a.mp4", **fields})), Labels(4, {}))
    assert (row.label, row.first, row.total) == (3, 3, 3)
    (row,) = read_manifest(write(tmp_path, "a.csv", f"video,label\na.mp4,{value}\n"), Labels(4, {}))
    assert row.label == 3


@pytest.mark.parametrize("value", ["3.5", "NaN", "Infinity", '"3.5"', '".0"', '"nan"', "1e300", "true"])
def test_other_numbers_are_no_labels(tmp_path, value):
    path = write(tmp_path, "a.jsonl", f'{{"video": "a.mp4", "label": {value}}}')
    with pytest.raises(ManifestError, match=r"line 1: label is .*; give a whole number, or name the classes"):
        read_manifest(path, ANY)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("my videos/v 0.mp4", "my videos/v 0.mp4"),
        ("my v.MP4", "my v.MP4"),
        ("my videos/v.mp4 3", "my videos/v.mp4 3"),
        ("my frames/v 300 2", "my frames/v 300 2"),
    ],
)
def test_a_path_with_blanks_in_a_list_of_lines_is_told(tmp_path, line, told):
    path = write(tmp_path, "plain.txt", f"a.mp4\n{line}\n")
    with pytest.raises(ManifestError, match=rf"plain\.txt, line 2: '{told}' is cut at each blank; .* needs a \.csv"):
        read_manifest(path, ANY)


def test_what_no_blank_has_cut_is_told_as_it_is(tmp_path):
    for name, text in (("a.csv", "a.mp4,b.mp4\n"), ("a.tsv", "video\tlabel\na b.mp4\tc.mp4\n")):
        with pytest.raises(ManifestError, match=r"label is '[bc]\.mp4'; give a whole number"):
            read_manifest(write(tmp_path, name, text), ANY)


def test_a_semicolon_is_a_part_of_a_name_where_no_column_is_named(tmp_path):
    (row,) = read_manifest(write(tmp_path, "train.csv", "a;b.mp4 7\n"), ANY)
    assert (row.path, row.label) == (str(tmp_path / "a;b.mp4"), 7)


def test_names_of_columns_that_nobody_knows_are_guessed(tmp_path):
    path = write(tmp_path, "webvid.csv", "videoid,contentUrl,duration,page_dir,name\n1,2,PT10S,a,A dog.\n")
    with pytest.raises(ManifestError, match="if line 1 names the columns, call that of the paths `video`"):
        read_manifest(path, ANY)


def test_a_folder_a_class(tmp_path):
    for name in ("turn/b.mp4", "turn/a.avi", "stop/c.webm", "stop/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    rows = read_manifest(tmp_path, ANY)
    assert [(row.path.removeprefix(f"{tmp_path}/"), row.label) for row in rows] == [
        ("stop/c.webm", 0),
        ("turn/a.avi", 1),
        ("turn/b.mp4", 1),
    ]


def test_what_a_class_folder_holds_besides_videos_is_told(tmp_path, caplog):
    for name in ("stop/c.webm", "stop/a.gif", "turn/b.GIF", "turn/b.mpg", "turn/.hidden", "stop/notes", "beside.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert len(read_manifest(tmp_path, ANY)) == 1
    assert ".m4v: no suffix 1, .gif 2, .mpg 1; name them in a list" in caplog.text
    assert "1 videos beside the class folders are left out" in caplog.text


def test_class_folders_of_videos_alone_leave_nothing_to_tell(tmp_path, caplog):
    folders(tmp_path / "some", "left", "stop")
    read_manifest(tmp_path / "some", ANY)
    assert caplog.text == ""


def test_videos_side_by_side_are_a_list_where_no_labels_are_needed(tmp_path):
    (tmp_path / "thumbnails").mkdir()
    for name in ("b.mp4", "a.AVI", "list.txt", "c.webm", "thumbnails/a.jpg"):
        (tmp_path / name).touch()
    config = ClipsConfig(manifest=(str(tmp_path),), num_classes=2)
    rows = read_manifests(config)
    assert [(Path(row.path).name, row.label) for row in rows] == [("a.AVI", None), ("b.mp4", None), ("c.webm", None)]
    with pytest.raises(
        ManifestError, match=r"\(videos, no class folders\): has no label, nor have 2 of the other 2 rows"
    ):
        read_manifests(config, need=("label",))


def test_a_folder_without_videos_is_refused(tmp_path):
    (tmp_path / "notes").touch()
    with pytest.raises(ManifestError, match=r"holds no videos; expected .*/<class>/<video>\.mp4, or .*/<video>\.mp4"):
        read_manifest(tmp_path, ANY)


@pytest.mark.parametrize(
    ("name", "text", "field", "meant"),
    [
        ("a.jsonl", '{"video": "a.mp4", "captoin": "Left."}\n', "captoin", "caption"),
        ("a.json", '[{"video": "a.mp4", "labels": 3}]', "labels", "label"),
        ("a.csv", "video,End,strat\na.mp4,4,1\n", "strat", "start"),
    ],
)
def test_a_field_that_is_all_but_one_that_is_read_is_refused(tmp_path, name, text, field, meant):
    with pytest.raises(ManifestError, match=rf"has a field '{field}', which is not read, and no '{meant}'; rename it"):
        read_manifest(write(tmp_path, name, text), ANY)


def test_fields_that_are_not_read_are_told_unless_lists_have_them_for_other_purposes(tmp_path, caplog):
    known = {
        "video": "a.mp4",
        "captions": ["Left."],
        "label_name": "turn",
        "fps": 8,
        "episode_ids": ["1"],
        "video_id": "7",
    }
    read_manifest(write(tmp_path, "walks.jsonl", json.dumps(known)), ANY)
    assert caplog.text == ""
    read_manifest(write(tmp_path, "a.jsonl", '{"video": "a.mp4", "start_time": 3, "textual": "x", "text": "y"}'), ANY)
    assert "a.jsonl: of its fields, start_time, textual are not read" in caplog.text


def folders(root, *names):
    for name in names:
        (root / name).mkdir(parents=True)
        (root / name / "a.mp4").touch()
    return str(root)


def test_a_misspelt_field_is_found_in_any_row(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"video": "a.mp4"}\n{"video": "a.mp4", "start": 1}\n{"video": "a.mp4", "strat": 1}\n')
    with pytest.raises(ManifestError, match=r"line 3: has a field 'strat', which is not read, and no 'start'"):
        read_manifests(ClipsConfig(manifest=(str(path),)))


def test_a_store_of_walks_is_a_list_of_videos(tmp_path):
    store = fill(tmp_path / "store", range(3))
    (tmp_path / "list").mkdir()
    listed = read_manifests(ClipsConfig(manifest=(str(export_manifest(open_store(store), tmp_path / "list")),)))
    rows = read_manifests(ClipsConfig(manifest=(str(store),)), ("captions",))
    assert [(row.start, row.end, row.captions, row.scene) for row in rows] == [
        (row.start, row.end, row.captions, row.scene) for row in listed
    ]
    assert {Path(row.path).resolve() for row in rows} == {Path(row.path).resolve() for row in listed}
    before = list_fingerprint(store)
    fill(store, [7])
    assert list_fingerprint(store) != before
    fill(store, [8], finish=False)
    with pytest.raises(ManifestError, match="empty: a store without walks"):
        read_manifests(ClipsConfig(manifest=(str(fill(tmp_path / "empty", [])),)))
    with pytest.raises(ManifestError, match="1 walks are not joined yet"):
        read_manifests(ClipsConfig(manifest=(str(store),)))


def test_names_that_are_no_utf8_are_names(tmp_path):
    (tmp_path / "left").mkdir()
    try:
        Path(os.fsdecode(bytes(tmp_path / "left" / "a") + b"\xe9.mp4")).touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    assert list_fingerprint(tmp_path).startswith("sha256:")
    assert len(read_manifests(ClipsConfig(manifest=(str(tmp_path),)))) == 1


def test_folders_of_some_of_the_classes_need_names(tmp_path):
    some = folders(tmp_path / "some", "left", "stop")
    with pytest.raises(ManifestError, match=r"some: 2 class folders of 3 classes; .* \(clips\.classes\)"):
        read_manifests(ClipsConfig(manifest=(some,), num_classes=3))
    with pytest.raises(ManifestError, match=r"or take them in alphabetical order, from 0 on \(clips\.num_classes=2\)"):
        read_manifests(ClipsConfig(manifest=(some,), num_classes=3))
    assert [row.label for row in read_manifests(ClipsConfig(manifest=(some,), num_classes=2))] == [0, 1]
    classes = write(tmp_path, "classes.txt", "left\nright\nstop\n")
    named = ClipsConfig(manifest=(some,), num_classes=3, classes=str(classes))
    assert [row.label for row in read_manifests(named)] == [0, 2]


def test_folders_that_number_other_classes_do_not_go_together(tmp_path):
    first, second = folders(tmp_path / "a", "left", "stop"), folders(tmp_path / "b", "right", "stop")
    both = ClipsConfig(manifest=(first, second))
    with pytest.raises(ManifestError, match=r"a and .*b: .* different names, such as 'left'"):
        read_manifests(both, need=("label",))
    with pytest.raises(ManifestError, match="different names"):
        check_class_folders(ClipsConfig(manifest=(first,)), ClipsConfig(manifest=(second,)))
    assert len(read_manifests(both)) == 4  # what needs no labels takes any folders
    classes = write(tmp_path, "classes.txt", "left\nright\nstop\n")
    named = both.model_copy(update={"classes": str(classes)})
    assert [row.label for row in read_manifests(named, need=("label",))] == [0, 2, 1, 2]
    again = folders(tmp_path / "c", "left", "stop")
    assert len(read_manifests(ClipsConfig(manifest=(first, again)), need=("label",))) == 4


@pytest.mark.parametrize(
    ("name", "text"), [("classes.txt", "stop\nturn left\n"), ("labels.json", '["stop", "turn left"]')]
)
def test_labels_by_name(tmp_path, name, text):
    classes = write(tmp_path, name, text)
    path = write(tmp_path, "moments.jsonl", '{"video": "a.mp4", "label": "turn left"}\n{"video": "b.mp4", "label": 0}')
    rows = read_manifests(ClipsConfig(manifest=(str(path),), classes=str(classes)))
    assert [row.label for row in rows] == [1, 0]


@pytest.mark.parametrize(
    ("name", "text", "parts"),
    [
        (
            "a.jsonl",
            '{"video": "a.mp4"}\n{"video": "b.mp4", "caption": 7}',
            ["a.jsonl, line 2", "caption holds 7", "is text"],
        ),
        ("a.jsonl", '{"video": "a.mp4", "captions": ["x", " "]}', ["line 1", "captions holds ' '", "not empty"]),
        ("a.jsonl", '{"video": "a.mp4", "captions": []}', ["line 1", "empty list"]),
        ("a.jsonl", '{"video": "a.mp4"', ["line 1", "not JSON", "one object a line"]),
        ("a.jsonl", '["a.mp4"]', ["line 1", "is no object"]),
        ("a.jsonl", '{"caption": "x"}', ["line 1", "video is None", "give the path"]),
        ("a.jsonl", '{"video": "a.mp4", "start": 3, "end": 2}', ["line 1", "end 2 is not after start 3"]),
        ("a.jsonl", '{"video": "a.mp4", "start": "soon"}', ["line 1", "start is 'soon'", "seconds"]),
        ("a.jsonl", '{"video": "a.mp4", "stride": 0}', ["line 1", "stride is 0"]),
        ("a.json", '{"video": "a.mp4"}', ["a.json", "a JSON list of videos is"]),
        ("a.csv", "a.mp4 dog", ["line 1", "label is 'dog'", "clips.classes"]),
        ("a.csv", "a.mp4 1\nb.mp4 400", ["line 2", "label 400 is out of range", "0 to 399"]),
        ("a.csv", "a.mp4 -1", ["line 1", "label -1 is out of range"]),
        ("a.csv", "my clip is here 1 2 3 4", ["line 1", "has 8 fields", "needs commas"]),
        ("a.csv", "path,label\na.mp4", ["line 2", "has 1 fields, not 2 fields (path, label)"]),
        ("a.csv", "\n\n", ["a.csv", "lists no videos"]),
    ],
)
def test_what_is_wrong_is_named(tmp_path, name, text, parts):
    path = write(tmp_path, name, text)
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, Labels(400, {}))
    for part in parts:
        assert part in str(caught.value)


def test_many_faults_are_told_at_once(tmp_path):
    path = write(tmp_path, "a.csv", "".join(f"{n}.mp4 x{n}\n" for n in range(9)))
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, ANY)
    lines = str(caught.value).splitlines()
    assert len(lines) == 6 and "line 1" in lines[0] and lines[-1] == "... and 4 more lines"


def test_a_missing_list_and_bytes_that_are_no_text(tmp_path):
    with pytest.raises(ManifestError, match=r"nowhere\.csv: no such list"):
        read_manifest(tmp_path / "nowhere.csv", ANY)
    (tmp_path / "video.csv").write_bytes(b"\xff\xd8\x00")
    with pytest.raises(ManifestError, match=r"video\.csv: cannot be read as UTF-8 .*; a list of videos is a \.jsonl, "):
        read_manifest(tmp_path / "video.csv", ANY)


@pytest.mark.parametrize("name", ["v 1.mp4", "v.WEBM"])
def test_a_video_in_place_of_a_list_is_told(tmp_path, name):
    (tmp_path / name).write_bytes(b"\0\0\0\x20ftypisom\xff")
    with pytest.raises(ManifestError, match=rf"{name}: is a video, and not a list of videos; a list is a \.jsonl, "):
        read_manifest(tmp_path / name, ANY)


def test_a_stage_that_needs_labels_names_the_row_without(tmp_path):
    path = write(tmp_path, "a.jsonl", '{"video": "a.mp4", "label": 0}\n{"video": "b.mp4"}')
    config = ClipsConfig(manifest=(str(path),))
    assert len(read_manifests(config)) == 2
    with pytest.raises(ManifestError, match="line 2: has no label"):
        read_manifests(config, need=("label",))


def test_class_names_twice_or_too_few(tmp_path):
    path = write(tmp_path, "a.csv", "a.mp4 0")
    twice = write(tmp_path, "twice.txt", "stop\nstop\n")
    with pytest.raises(ManifestError, match=r"twice\.txt: the class 'stop' is there twice"):
        read_manifests(ClipsConfig(manifest=(str(path),), classes=str(twice)))
    wrong = write(tmp_path, "labels.json", '{"stop": 0}')
    with pytest.raises(ManifestError, match=r"labels\.json: class names are a line each"):
        read_manifests(ClipsConfig(manifest=(str(path),), classes=str(wrong)))
    one = write(tmp_path, "one.txt", "stop\n")
    with pytest.raises(ManifestError, match="names 1 classes, while num_classes is 2"):
        read_manifests(ClipsConfig(manifest=(str(path),), classes=str(one), num_classes=2))
