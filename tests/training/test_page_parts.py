"""Films play, charts are well formed and self-contained, and the chosen episodes show failures as well as successes."""

from dataclasses import replace
from xml.etree import ElementTree

import av
import numpy as np
import pytest
from test_rows import row

from navloop.training import plots
from navloop.training.stories import choose_rows
from navloop.training.videos import write_video


def test_a_film_plays_back_as_written(tmp_path):
    x = np.linspace(0, 255, 64)
    frames = [np.broadcast_to((x + 3 * i).clip(0, 255)[None, :, None], (48, 64, 3)).astype(np.uint8) for i in range(20)]
    assert write_video(tmp_path / "film.mp4", frames, fps=8) == 20
    with av.open(tmp_path / "film.mp4") as film:
        stream = film.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 8)
        seen = [frame.to_ndarray(format="rgb24") for frame in film.decode(stream)]
    assert len(seen) == 20
    assert np.abs(np.array(seen, float) - frames).mean() < 4
    data = (tmp_path / "film.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # plays before it is all there


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "no frames"),
        ([np.zeros((47, 64, 3), np.uint8)], "even H and W"),
        ([np.zeros((48, 64, 3), np.uint8), np.zeros((48, 62, 3), np.uint8)], "frame 1: expected"),
    ],
)
def test_a_film_that_cannot_be_is_refused_and_leaves_no_file(tmp_path, frames, message):
    with pytest.raises(ValueError, match=message):
        write_video(tmp_path / "film.mp4", frames, fps=8)
    assert list(tmp_path.iterdir()) == []


def rows(outcomes):
    made = []
    for number, success in enumerate(outcomes):
        plain = row(str(number), steps=5)
        made.append(replace(plain, trajectory_id=str(number), metrics=replace(plain.metrics, success=float(success))))
    return made


CHARTS = {
    "distance": lambda results: plots.success_by_distance(results, "one"),
    "actions": lambda results: plots.action_shares(results, "one"),
    "steps": lambda results: plots.cumulative(
        results, {a: np.arange(len(r)) for a, r in results.items()}, "x", "one", 3
    ),
}


@pytest.mark.parametrize("draw", CHARTS.values(), ids=CHARTS)
@pytest.mark.parametrize("counts", [(1,), (40, 40), (3, 9, 2)])
def test_a_chart_is_well_formed_and_fetches_nothing(draw, counts):
    svg = draw({f"agent{i}": rows([k % 3 == 0 for k in range(count)]) for i, count in enumerate(counts)})
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img"
    assert len(root.get("aria-label")) > 10
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert all(name.startswith("one-") for name in ids)
    links = [value for element in root.iter() for key, value in element.items() if key.endswith("href")]
    assert all(link.startswith("#one-") and link[1:] in ids for link in links)


def test_charts_are_drawn_alike_each_time():
    results = {"a": rows([True, False] * 10)}
    assert plots.success_by_distance(results, "x") == plots.success_by_distance(results, "x")


def test_failures_are_shown_as_well_as_successes():
    results = {"good": rows([True] * 9 + [False]), "bad": rows([False] * 9 + [True])}
    chosen = choose_rows(results, 4, seed=0)
    assert sum(bool(found.metrics.success) for _, found in chosen) == 2
    assert len({found.trajectory_id for _, found in chosen}) == 4
    assert {agent for agent, _ in chosen} == {"good", "bad"}
    assert {agent for agent, _ in choose_rows(results, 4, seed=0, agent="bad")} == {"bad"}


def test_no_more_episodes_are_chosen_than_there_are():
    assert len(choose_rows({"only": rows([True, True])}, 9, seed=0)) == 2
    assert choose_rows({}, 3, seed=0) == []
