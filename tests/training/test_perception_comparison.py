"""Measured encoders side by side: paired over the same clips, and refused where the clips are others."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from navloop.training.cli import main
from navloop.training.perception.comparison import compare_perception, is_perception, print_perception_comparison
from navloop.training.perception.outcomes import FORMAT


def measured(
    folder, ranks, title="knn", kind="videos", fingerprint="sha256:1", protocol=None, chance=None, name="list"
):
    """Write the results of a run in which unit n has the n-th rank: four units a video, two videos a scene."""
    folder.mkdir()
    units = [
        {"place": f"{name}, line {n}", "scene": f"house {n // 8}", "video": f"{n // 4}.mp4", "rank": rank}
        for n, rank in enumerate(ranks)
        if rank is not None
    ]
    none = {"value": 0.5, "low": None, "high": None, "units": len(units), "scenes": 1}
    scores = [] if chance is None else [{"metric": "top-1", "chance": chance, **none}]
    task = {
        "title": title,
        "config": {"task": "knn"},
        "findings": {"scores": scores, "protocol": protocol or {}, "details": {kind: units}},
        "data": {"videos": {"fingerprint": fingerprint, "unreadable": 0, "lists": {}}},
        "seconds": 1.0,
    }
    said = {
        "format": FORMAT,
        "encoder": "e",
        "weights": {"file": None, "digest": "d"},
        "seed": 0,
        "asked": 1,
        "tasks": [task],
    }
    (folder / "results.json").write_text(json.dumps(said))
    return folder


def test_the_difference_is_paired_over_the_clips_that_both_could_read(tmp_path):
    rng = np.random.default_rng(0)
    ours, theirs = rng.choice([1, 3, 9], size=48).tolist(), rng.choice([1, 3, 9], size=48).tolist()
    ours[5] = theirs[40] = None
    first, second = measured(tmp_path / "a", ours), measured(tmp_path / "b", theirs)
    *_, found = compare_perception(first, second)
    pairs = np.array([(a, b) for a, b in zip(ours, theirs, strict=True) if None not in (a, b)])
    for one, k in zip(found, (1, 5), strict=True):
        hits = pairs <= k
        assert (one.task, one.metric, one.comparison.difference.episodes) == ("knn", f"top-{k}", 46)
        assert (one.first, one.second) == (pytest.approx(hits[:, 0].mean()), pytest.approx(hits[:, 1].mean()))
        assert one.comparison.difference.mean == pytest.approx(hits[:, 0].mean() - hits[:, 1].mean())
        wins, losses = (hits[:, 0] & ~hits[:, 1]).sum(), (~hits[:, 0] & hits[:, 1]).sum()
        assert one.comparison.mcnemar_p_value == pytest.approx(stats.binomtest(wins, wins + losses).pvalue)
        assert one.comparison.difference.scenes == 6


def test_an_encoder_that_is_better_everywhere_is_told_by_the_table(tmp_path, capsys):
    first = measured(tmp_path / "a", [1, 1, 1, 2] * 12)
    second = measured(tmp_path / "b", [2, 1, 2, 2] * 12)
    assert main(["eval", "--compare", str(first), str(second)]) == 0
    printed = capsys.readouterr().out
    assert "75.0" in printed and "25.0" in printed and "+50.0" in printed
    assert "0.031" in printed  # two tails of six houses that all differ alike
    assert "top-5" not in printed  # all are among the first five of both


def test_searches_of_texts_are_compared_too(tmp_path):
    first = measured(tmp_path / "a", [1, 7] * 12, kind="texts")
    second = measured(tmp_path / "b", [2, 7] * 12, kind="texts")
    *runs, found = compare_perception(first, second)
    assert [(one.metric, one.first, one.second) for one in found] == [
        ("text→video R@1", 0.5, 0.0),
        ("text→video R@5", 0.5, 0.5),
    ]
    out = io.StringIO()
    print_perception_comparison(*runs, found, Console(file=out, width=120))
    assert out.getvalue().count("knn") == 1


def test_units_of_one_video_are_compared_without_an_interval(tmp_path):
    first, second = measured(tmp_path / "a", [1] * 4), measured(tmp_path / "b", [2] * 4)
    *runs, found = compare_perception(first, second)
    out = io.StringIO()
    print_perception_comparison(*runs, found, Console(file=out, width=120))
    (line,) = [line for line in out.getvalue().splitlines() if "knn" in line]
    assert line.split() == ["knn", "top-1", "%", "100.0", "0.0", "+100.0", "–", "–", "4"]


def test_what_cannot_be_compared_is_refused(tmp_path):
    first = measured(tmp_path / "a", [1, 2] * 8)
    with pytest.raises(ValueError, match="task knn was measured on different videos"):
        compare_perception(first, measured(tmp_path / "b", [1, 2] * 8, fingerprint="sha256:2"))
    with pytest.raises(ValueError, match=r"has knn, .* has probe: no task in common"):
        compare_perception(first, measured(tmp_path / "c", [1, 2] * 8, title="probe"))
    with pytest.raises(ValueError, match="no encoder was measured here"):
        compare_perception(first, tmp_path)
    (tmp_path / "c" / "results.json").write_text("{}")
    with pytest.raises(ValueError, match="not what an encoder was measured to be"):
        compare_perception(first, tmp_path / "c")
    assert is_perception(first) and not is_perception(tmp_path)


def test_ranks_among_other_things_are_not_compared(tmp_path):
    said = {"gallery": 16, "captions": "all"}
    first = measured(tmp_path / "a", [1, 2] * 8, kind="texts", protocol=said)
    for place, (name, value) in enumerate({"gallery": 8, "captions": "first"}.items()):
        other = measured(tmp_path / f"b{place}", [1, 2] * 8, kind="texts", protocol={**said, name: value})
        with pytest.raises(ValueError, match=f"task knn .* cannot be compared: {name} is {said[name]} and {value}"):
            compare_perception(first, other)
    first = measured(tmp_path / "c", [1, 2] * 8, protocol={"classes": 400}, chance=0.25)
    with pytest.raises(ValueError, match="classes is 400 and 700"):
        compare_perception(first, measured(tmp_path / "d", [1, 2] * 8, protocol={"classes": 700}, chance=0.25))
    with pytest.raises(ValueError, match=r"chance of top-1 is 0\.25 and 0\.5"):
        compare_perception(first, measured(tmp_path / "e", [1, 2] * 8, protocol={"classes": 400}, chance=0.5))
    # What could not be read changes what is most frequent, and nothing that ranks are among.
    part = measured(tmp_path / "f", [None, *[1, 2] * 7, 1], protocol={"classes": 400}, chance=0.5)
    assert compare_perception(first, part)[2][0].comparison.difference.episodes == 15


def test_runs_without_a_unit_in_common_are_told_where_theirs_are(tmp_path):
    first, second = measured(tmp_path / "a", [1, 2] * 8), measured(tmp_path / "b", [1, 2] * 8, name="../list")
    with pytest.raises(
        ValueError, match=r"none of their videos in common; .* list, line 0, the second \.\./list, line 0;"
    ):
        compare_perception(first, second)


def test_agents_are_not_asked_of_encoders(tmp_path, capsys):
    first = measured(tmp_path / "a", [1, 2] * 8)
    assert main(["eval", "--compare", str(first)]) == 2
    assert "two at a time" in capsys.readouterr().err
