"""Examples of a round: walks that are told on the page about a loop, with films and maps."""

from __future__ import annotations

from collected_houses import collecting

from navloop.configs.imitation import EpisodesConfig
from navloop.configs.loop import LoopReportConfig
from navloop.training.filters import Corrected
from navloop.training.loop.examples import show_examples
from navloop.training.recorder import record_walks
from navloop.training.store import open_store


def test_every_example_has_its_film_however_many_there_are(houses, tmp_path):
    config = collecting(houses, acting={"beta": 0.5, "max_steps": 3})
    store = open_store(record_walks(config, tmp_path / "store").folder)
    episodes = EpisodesConfig(scenes=config.scenes, train=config.episodes)
    sources = ("tours", "corrected", "expert", "others")
    report = LoopReportConfig(examples=20, video_size=128)
    shown = show_examples(dict.fromkeys(sources, store), [], episodes, report, seed=0)
    assert [one.story.film is not None for one in shown] == [True] * 24
    assert all(one.kept for one in shown)
    none = Corrected(reach=0.0)
    shown = show_examples({"tours": store}, [], episodes, report.model_copy(update={"examples": 1}), seed=0, rule=none)
    assert [(one.kept, one.why) for one in shown] == [(False, "missed the goal")]
