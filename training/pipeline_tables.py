"""What a pipeline came to, printed: how the steps that learn ended, what was measured, and which claims hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from navloop.configs.pipeline import ClaimConfig, PipelineConfig
from navloop.training.perception.results import Score
from navloop.training.perception.table import number_of
from navloop.training.pipeline import Done

_SHOWN = ("loss", "accuracy", "baseline")
"""Of the metrics of a stage, those in the table, on held-out clips where there are any."""


def print_pipeline(config: PipelineConfig, done: Sequence[Done], console: Console) -> None:
    """Print what each step came to, seed by seed, and what the claims come to."""
    console.print(_steps_table(config, done))
    if any(one.scores for one in done):
        console.print(_scores_table(config, done))
    for claim in config.claims:
        for words in _tell(claim, done):
            console.print(words, highlight=False, soft_wrap=True)


def _of(step: str, done: Sequence[Done]) -> list[Done]:
    return [one for one in done if one.step == step]


def _steps_table(config: PipelineConfig, done: Sequence[Done]) -> Table:
    over = f", mean of {len(config.seeds)} seeds" if len(config.seeds) > 1 else ""
    table = _table(f"Last metrics of each step{over}, on held-out clips where there are any")
    for column in ("step", *_SHOWN, "seconds"):
        table.add_column(column, justify="left" if column == "step" else "right")
    for step in config.steps:
        ones = _of(step.name, done)
        values = [
            [one.metrics.get(f"held_out_{shown}", one.metrics.get(shown)) for one in ones if one.metrics]
            for shown in _SHOWN
        ]
        cells = (fmean(kept) if (kept := [v for v in column if v is not None]) else None for column in values)
        seconds = sum(one.seconds for one in ones)
        table.add_row(step.name, *("" if cell is None else f"{cell:.3f}" for cell in cells), f"{seconds:.0f}")
    return table


def _scores_table(config: PipelineConfig, done: Sequence[Done]) -> Table:
    table = _table("What was measured, with 95% intervals over scenes and videos")
    table.add_column("step and score", overflow="fold")
    for seed in config.seeds or ("value",):
        table.add_column(seed if isinstance(seed, str) else f"seed {seed}", justify="right", no_wrap=True)
    if len(config.seeds) > 1:
        table.add_column("mean", justify="right")
    table.add_column("chance", justify="right")
    for step in config.steps:
        ones = _of(step.name, done)
        if ones[0].scores:
            table.add_row(f"[bold]{step.name}[/bold]")
        for name in ones[0].scores:
            table.add_row(*_row(name, [one.scores[name] for one in ones]), end_section=name == list(ones[0].scores)[-1])
    return table


def _row(name: str, scores: Sequence[Score]) -> list[str]:
    mean = [number_of(fmean(score.value for score in scores), scores[0])] if len(scores) > 1 else []
    chance = "" if scores[0].chance is None else number_of(scores[0].chance, scores[0])
    return [f"  {name}{' %' if scores[0].kind == 'share' else ''}", *map(_cell, scores), *mean, chance]


def _table(title: str) -> Table:
    return Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", padding=(0, 1, 0, 1))


def _cell(score: Score) -> str:
    if score.low is None or score.high is None:
        return number_of(score.value, score)
    return f"{number_of(score.value, score)}\n[dim]{number_of(score.low, score)}–{number_of(score.high, score)}[/dim]"


def _tell(claim: ClaimConfig, done: Sequence[Done]) -> Iterator[str]:
    """Yield what a claim comes to.

    Raises:
        ValueError: If a step has no such score.
    """
    scores = _scores(claim.step, claim.score, done)
    runs = f"{len(scores)} {'run' if len(scores) == 1 else 'seeds'}"
    told = f"{claim.step}: {claim.score} is"
    if claim.times_chance is not None:
        known = [score.value / score.chance for score in scores if score.chance]
        agree = sum(times >= claim.times_chance for times in known)
        times = ", ".join(f"{times:.1f}" for times in known)
        yield f"{told} at least {claim.times_chance:g} times chance in {agree} of {runs} ({times} times)"
    for name in claim.than:
        others = _scores(name, claim.score, done)
        agree = sum(a.value >= b.value for a, b in zip(scores, others, strict=True))
        yield f"{told} at least that of {name} in {agree} of {runs} ({_means(scores, others)})"
    if claim.below is not None:
        others = _scores(claim.step, claim.below, done)
        agree = sum(a.value < b.value for a, b in zip(scores, others, strict=True))
        yield f"{told} below {claim.below} in {agree} of {runs} ({_means(scores, others)})"


def _means(scores: Sequence[Score], others: Sequence[Score]) -> str:
    one, other = (number_of(fmean(score.value for score in of), of[0]) for of in (scores, others))
    return f"mean {one} against {other}"


def _scores(step: str, name: str, done: Sequence[Done]) -> list[Score]:
    """Return a score of each run of a step, or a metric of it as one."""
    found = []
    for one in _of(step, done):
        if name not in one.scores and name not in one.metrics:
            known = ", ".join((*one.scores, *one.metrics)) or "none"
            raise ValueError(f"claims: step {step} has no score {name!r}; it has {known}")
        found.append(one.scores[name] if name in one.scores else _as_score(name, one.metrics[name]))
    return found


def _as_score(name: str, value: float) -> Score:
    return Score(metric=name, value=value, low=None, high=None, units=0, scenes=0, kind="number")
