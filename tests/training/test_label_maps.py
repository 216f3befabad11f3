"""Labels of several data sets as those of their union, and a classifier of the union as one of each of them."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from named_clips import CLASSES, Named, config

from navloop.configs.loader import RecipeError, load
from navloop.configs.videos import ClipsConfig
from navloop.encoders import load_released
from navloop.encoders.classifier import VideoClassifier
from navloop.encoders.zoo import create_encoder
from navloop.training.cli import main
from navloop.training.engine import train
from navloop.training.label_maps import read_index_list
from navloop.training.manifests import ManifestError, read_manifests
from navloop.training.pretraining import create_stage
from navloop.weights import read_weights

MASKED = "videomae_tiny_p16_t8"
UNION = ("stop", "left", "right", "up")


def lists(tmp_path, *names):
    """Write a list of four videos, labelled 0 to 3, a name."""
    for name in names:
        (tmp_path / f"{name}.csv").write_text("".join(f"{name}_{label}.mp4 {label}\n" for label in range(4)))
    return tuple(str(tmp_path / f"{name}.csv") for name in names)


def index_list(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    return str(tmp_path / name)


def labels(manifest, maps, **fields):
    return [row.label for row in read_manifests(ClipsConfig(manifest=manifest, label_maps=maps, **fields))]


def test_each_list_has_its_own_map_and_one_may_have_none(tmp_path):
    maps = (None, index_list(tmp_path, "k600.json", "[7, 0, 2, 2]"), index_list(tmp_path, "k700.txt", "3\n4\n5\n6\n"))
    found = labels(lists(tmp_path, "k400", "k600", "k700"), maps, num_classes=8)
    assert found == [0, 1, 2, 3, 7, 0, 2, 2, 3, 4, 5, 6]


@given(rows=st.lists(st.integers(0, 709), min_size=1, max_size=30))
def test_rows_taken_by_the_list_are_those_that_its_labels_became(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("maps") / "map.json"
    path.write_text(json.dumps(rows))
    becomes = read_index_list(path, 710)
    scores = torch.randn(710, generator=torch.Generator().manual_seed(0))
    assert [scores[list(becomes)][label] for label in range(len(rows))] == [scores[row] for row in rows]


def test_names_are_of_the_union_and_numbers_of_the_list(tmp_path):
    classes = index_list(tmp_path, "classes.txt", "\n".join(UNION))
    (tmp_path / "a.jsonl").write_text('{"video": "a.mp4", "label": "up"}\n{"video": "b.mp4", "label": 0}\n')
    maps = (index_list(tmp_path, "map.json", "[2, 1]"),)
    assert labels((str(tmp_path / "a.jsonl"),), maps, classes=classes) == [3, 2]


def test_folders_are_mapped_by_their_place_unless_their_name_is_of_the_union(tmp_path):
    for name in ("halt", "left"):
        (tmp_path / "videos" / name).mkdir(parents=True)
        (tmp_path / "videos" / name / "a.mp4").touch()
    maps = (index_list(tmp_path, "map.json", "[3, 0]"),)
    assert labels((str(tmp_path / "videos"),), maps) == [3, 0]
    classes = index_list(tmp_path, "classes.txt", "\n".join(UNION))
    assert labels((str(tmp_path / "videos"),), maps, classes=classes) == [3, 1]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("map.json", "[0, 1, 2, 8]", "map.json: entry 3 is 8; classes are from 0 to 7"),
        ("map.json", "[0, 1, -2, 3]", "map.json: entry 2 is -2; give the number of a class"),
        ("map.json", "[0, 1, true, 3]", "map.json: entry 2 is True; give the number of a class"),
        ("map.txt", "0 1 dog 3", "map.txt: entry 2 is 'dog'; give the number of a class"),
        ("map.json", '{"0": 1}', r"map.json: numbers of classes are a line each, or in a .json file \[0, 4"),
        ("map.txt", "", "map.txt: numbers of classes are a line each"),
        ("map.json", "[0, 1", "map.json: numbers of classes cannot be read"),
        (
            "map.json",
            "[5, 4, 3]",
            r"k600.csv, line 4: label 3 is out of range; labels are from 0 to 2, of which .*map.json has",
        ),
    ],
)
def test_maps_and_labels_that_do_not_fit_are_named(tmp_path, name, text, words):
    with pytest.raises(ManifestError, match=words):
        labels(lists(tmp_path, "k600"), (index_list(tmp_path, name, text),), num_classes=8)


def test_a_map_that_is_missing_is_named(tmp_path):
    with pytest.raises(ManifestError, match=r"nowhere.json: numbers of classes cannot be read .*No such file"):
        labels(lists(tmp_path, "k600"), (str(tmp_path / "nowhere.json"),))


def test_maps_are_one_a_list_and_held_out_lists_have_their_own(tmp_path):
    one, two = lists(tmp_path, "one", "two")
    mapping = index_list(tmp_path, "map.json", "[3, 2, 1, 0]")
    fields = [f"clips.manifest={one},{two}", "clips.num_classes=4"]
    with pytest.raises(RecipeError, match="label_maps has 1 entries for the 2 lists of manifest; say one for each"):
        load("classification_tiny", [*fields, f"clips.label_maps={mapping}"])
    fields += [f"clips.label_maps={mapping},null", f"held_out={two}"]
    with pytest.raises(RecipeError, match="held_out_label_maps says nothing of the others"):
        load("classification_tiny", fields)
    chosen = load("classification_tiny", [*fields, "held_out_label_maps=null"])
    assert (chosen.clips.label_maps, chosen.held_out_label_maps) == ((mapping, None), (None,))
    assert mapping in chosen.data_files()


def test_a_run_does_not_go_on_with_another_map(tmp_path, capsys):
    from navloop.training.videos import write_video

    for label, clip in enumerate(Named(8, each=1).clips[:4].numpy()):
        write_video(tmp_path / f"k600_{label}.mp4", clip, fps=4)
    (manifest,) = lists(tmp_path, "k600")
    mapping = index_list(tmp_path, "map.json", "[3, 2, 1, 0]")
    command = ["pretrain", "classification_tiny", f"clips.manifest={manifest}", f"clips.label_maps={mapping}"]
    command += ["clips.workers=0", "engine.batch=4", "engine.steps=1", "--run-dir", str(tmp_path / "run")]
    assert main(command) == 0
    index_list(tmp_path, "map.json", "[0, 1, 2, 3]")
    assert main(command) == 2
    assert "map.json was sha256" in capsys.readouterr().err


def test_a_classifier_of_the_union_becomes_one_of_a_data_set(tmp_path):
    union = config("classification", MASKED, 4, engine={"steps": 1})
    train(create_stage(union, Named(4)), union.engine, tmp_path)
    path = str(tmp_path / "last" / "classifier.safetensors")
    rows = index_list(tmp_path, "rows.json", "[6, 1, 1]")
    clips = {"manifest": ("none",), "frames": 4, "size": 32, "num_classes": 3}
    chosen = config("classification", MASKED, 4, clips=clips, classifier=path, classifier_rows=rows)
    found, file = create_stage(chosen, Named(4)).state_dict(), read_weights(path).state
    assert torch.equal(found["classifier.head.weight"], file["head.weight"][[6, 1, 1]])
    for name in file:
        if not name.startswith("head."):
            assert torch.equal(found[f"classifier.{name}"], file[name]), name
    whole = VideoClassifier(create_encoder("videomae_tiny_p16_t8", frames=4, size=32), len(CLASSES))
    load_released(whole, path)
    pixels = whole.encoder.to_pixels(Named(4).kept)
    stage = create_stage(chosen, Named(4)).eval()
    with torch.no_grad():
        torch.testing.assert_close(stage.classifier(pixels), whole.eval()(pixels)[:, [6, 1, 1]], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weights": "a", "classifier": "b"}, "weights and classifier both say what to begin with"),
        ({"classifier_rows": "a"}, "classifier_rows chooses from a classifier, and none is named"),
    ],
)
def test_what_to_begin_with_is_said_once(fields, message):
    with pytest.raises(ValueError, match=message):
        config("classification", MASKED, 4, **fields)
