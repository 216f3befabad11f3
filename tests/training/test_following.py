"""Following: an agent is told of walks, its own words and others', and what it follows either way is counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from made_walks import candidate

from navloop.records import Episode
from navloop.training.filters import Reproduced
from navloop.training.following import follow, follow_others
from navloop.training.loop.descriptions import count_followed

AGENT = Path("agent")


class Heard:
    """A crew that walks nothing and notes what it was told."""

    def __init__(self) -> None:
        self.told: dict[str, str] = {}

    def measure(self, trials: Any) -> list[list[Any]]:
        for trial in trials:
            self.told |= {one.episode_id: one.instruction.text for one in trial.episodes}
        return [[SimpleNamespace(episode_id=one.episode_id) for one in trial.episodes] for trial in trials]


def walks(count: int) -> list[Episode]:
    made = (candidate(f"k{number}", text=f"Go past {number} chairs.").episode for number in range(count))
    return [replace(one, episode_id=f"e{number}", trajectory_id=f"t{number}") for number, one in enumerate(made)]


def test_each_is_told_its_own_words_or_those_of_another():
    episodes, own, others = walks(70), Heard(), Heard()
    assert set(follow(AGENT, episodes, own, seed=0)) == set(follow_others(AGENT, episodes, others, seed=0))
    assert own.told == {one.episode_id: one.instruction.text for one in episodes}
    assert set(others.told) == set(own.told) and all(others.told[key] != own.told[key] for key in own.told)


def test_where_there_is_no_other_nobody_is_asked():
    heard = Heard()
    assert follow_others(AGENT, walks(1), heard, seed=0) == {} and not heard.told


def test_what_is_followed_is_counted_by_the_rule_of_the_filter():
    def row(ndtw: float, success: float) -> Any:
        return SimpleNamespace(
            metrics=SimpleNamespace(ndtw=ndtw, success=success, unreachable=False), distances=(3.0, 0.0)
        )

    own = [(0.9, 1.0), (0.6, 1.0), (0.7, 0.0), (0.2, 0.0)]
    told = [candidate(f"k{n}", scores={"ndtw": ndtw, "success": won}) for n, (ndtw, won) in enumerate(own)]
    told = [replace(one, episode=replace(one.episode, episode_id=one.key)) for one in told]
    others = {f"k{n}": row(*scores) for n, scores in enumerate([(0.8, 1.0), (0.4, 1.0), (0.6, 0.0), (0.1, 1.0)])}
    assert count_followed(Reproduced(ndtw=0.5, success=True), told, others) == {"told": 4, "own": 2, "others": 1}
    assert count_followed(Reproduced(ndtw=0.5), told, others) == {"told": 4, "own": 3, "others": 2}
