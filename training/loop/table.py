"""What a loop came to, printed: what each round collected and kept, what each arm reached, and whether it helped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from navloop.configs.loop import LoopConfig
from navloop.envs.metrics import METRICS, SHARES
from navloop.training.comparison import COMPARED
from navloop.training.loop.arms import BEFORE, EXPERT, LOOP, OLD, WITHOUT
from navloop.training.loop.memory import losses
from navloop.training.loop.run import LoopFound
from navloop.training.loop.speech import Told, told_rightly
from navloop.training.loop.steps import read_steps
from navloop.training.loop.verdict import NEAR_M

_ARMS: Mapping[str, str] = {
    BEFORE: "the agent before",
    LOOP: "old walks and the loop's",
    OLD: "old walks alone",
    EXPERT: "old walks and as many of an expert's",
}

BEGINNING = ("houses", "films", "unseen", "encoder", "first", "speaker")
"""Steps before the first round."""

FOUND = ("R@1", "R@10", "MeanR")
"""What is shown of retrieval."""

_KNOWN = {
    "retrieval": "unseen films found by their words, and words by films",
    "general": "what encoders know of other videos",
}
"""Tables of what encoders know."""


def print_loop(config: LoopConfig, found: LoopFound, console: Console) -> None:
    """Print what a loop came to."""
    walks, told = told_rightly(read_steps(found.folder))
    if told:
        console.print(speech_table(walks, told))
    for one in found.rounds:
        console.print(yield_table(one))
        console.print(arms_table(config, one))
        console.print(gaps_table(config, one))
        for kind in _KNOWN:
            if one.get(kind):
                console.print(known_table(one, kind))
        for line in (*tell_round(config, one), tell_costs(one)):
            console.print(line, highlight=False, soft_wrap=True)
    steps = read_steps(found.folder)
    begun = ", ".join(f"{name} {steps[name].seconds / 60:.1f}" for name in BEGINNING if name in steps)
    again = (
        " at least, for a start that was killed counts up to the last file it wrote"
        if any(s.starts > 1 for s in steps.values())
        else ""
    )
    console.print(f"\nbefore the first round, minutes: {begun}", highlight=False, soft_wrap=True)
    console.print(
        f"ended: {found.ended}. {found.seconds / 60:.1f} minutes in all{again}.", highlight=False, soft_wrap=True
    )
    console.print(f"agent: {found.agent}", highlight=False, soft_wrap=True)


def learned_from(arm: str) -> str:
    """Return in words what an arm learned from."""
    return _ARMS[arm] if arm in _ARMS else f"{_ARMS[LOOP]}, but not {arm.removeprefix(WITHOUT)}"


def dropped(found: Mapping[str, Any], source: str) -> dict[str, int]:
    """Return why walks of a source are not kept, and how many for each reason, the most frequent first."""
    told = found["described"]["sources"].get(source)
    if told is None:
        return dict(found["kept"].get("dropped", {}).get(source, {}))
    return {why: count for why, count in told.items() if why not in ("candidates", "kept")}


def yield_table(found: Mapping[str, Any]) -> Table:
    """Return what a round's sources gave: walks, what came of them, what is kept."""
    table = _table(f"Round {found['round']}: walks")
    for column in ("source", "walks", "success", "described", "kept", "frames", "houses", "words", "dropped most for"):
        table.add_column(column, justify="left" if column in ("source", "dropped most for") else "right")
    for source, walked in found["collected"].items():
        told = found["described"]["sources"].get(source)
        kept = found["kept"]["sources"][source]
        reasons = dropped(found, source)
        table.add_row(
            source,
            f"{walked['walks']:,}",
            f"{100 * walked['success']:.0f}%",
            "–" if told is None else f"{told['candidates']:,}",
            f"{kept['walks']:,}",
            f"{kept['frames']:,}",
            *(f"{kept[name]:,}" for name in ("houses", "words")),
            ", ".join(f"{why} {count}" for why, count in list(reasons.items())[:2]) or "–",
        )
    return table


def speech_table(walks: str, told: Sequence[Told]) -> Table:
    """Return how right the speaker's texts are."""
    table = _table(f"What the speaker says of {walks}, % of it right")
    table.add_column("", style="bold")
    for column in ("speaker", "said of another walk", "people"):
        table.add_column(column, justify="right")
    for one in told:
        own, *others = (
            "–" if share is None else f"{100 * share:.0f}" for share in (one.speaker, one.others, one.people)
        )
        table.add_row(one.asked, f"{own} ({one.ends})" if one.ends else own, *others)
    return table


def arms_table(config: LoopConfig, found: Mapping[str, Any]) -> Table:
    """Return what each arm reached, with 95% intervals below."""
    seeds = len(config.arms.seeds)
    over = f", mean of {seeds} seeds" if seeds > 1 else ""
    episodes = found["reached"][0]["episodes"]
    table = _table(
        f"Round {found['round']}: arms on {episodes} episodes of {config.judge.split}{over}, with 95% intervals"
    )
    table.add_column("arm", style="bold")
    table.add_column("learned from")
    labels = {metric.name: metric.label for metric in METRICS}
    for metric in COMPARED:
        table.add_column(f"{labels[metric]}{' %' if metric in SHARES else ''}", justify="right")
    for arm in dict.fromkeys(one["arm"] for one in found["reached"]):
        own = {one["metric"]: one for one in found["reached"] if one["arm"] == arm}
        table.add_row(arm, learned_from(arm), *(reached_words(own[metric]) for metric in COMPARED))
    return table


def gaps_table(config: LoopConfig, found: Mapping[str, Any]) -> Table:
    """Return who is better than whom over the same episodes."""
    table = _table(f"Round {found['round']}: gains over the same episodes, with 95% intervals over scenes and tours")
    table.add_column("arm", style="bold")
    table.add_column("against")
    metrics = list(dict.fromkeys(one["metric"] for one in found["gaps"]))
    labels = {metric.name: metric.label for metric in METRICS}
    for metric in metrics:
        table.add_column(labels[metric], justify="right")
    pairs = dict.fromkeys((one["arm"], one["against"]) for one in found["gaps"])
    for arm, against in pairs:
        own = {one["metric"]: one for one in found["gaps"] if (one["arm"], one["against"]) == (arm, against)}
        table.add_row(arm, against, *(gap_words(own[metric]) for metric in metrics))
    return table


def known_table(found: Mapping[str, Any], kind: str) -> Table:
    """Return what each encoder knows, beside chance: how well it finds unseen films, or what the recipe for other videos measures.

    Args:
        found: What a round came to.
        kind: "retrieval" or "general".
    """
    before = found[kind][BEFORE]
    names = [name for name in before if kind == "general" or name.split()[-1] in FOUND]
    table = _table(f"Round {found['round']}: {_KNOWN[kind]}")
    table.add_column("encoder", style="bold")
    for name in names:
        table.add_column(
            f"{name.removeprefix('retrieval ')}{' %' if before[name]['kind'] == 'share' else ''}", justify="right"
        )
    table.add_row(
        "chance", *(_score_words({**before[name], "value": before[name]["chance"], "low": None}) for name in names)
    )
    for arm, own in found[kind].items():
        table.add_row(arm, *(_score_words(own[name]) for name in names))
    return table


def tell_round(config: LoopConfig, found: Mapping[str, Any]) -> list[str]:
    """Return in words what a round's verdict is, and how sure that is."""
    verdict = found["verdict"]
    said = "accepted" if verdict["accepted"] else "refused"
    rule = f"{config.judge.rule} rule on {config.judge.metric}"
    return [
        f"round {found['round']} is {said} ({rule}): {verdict['why']}",
        *_tell_gains(config, found),
        *_tell_ends(found),
        *_tell_grounds(found),
        *_tell_words(found),
        *_tell_arms(config, found),
        *_tell_losses(found),
    ]


def _tell_gains(config: LoopConfig, found: Mapping[str, Any]) -> Iterator[str]:
    for one in found["gaps"]:
        if one["arm"] != LOOP or one["metric"] != config.judge.metric:
            continue
        gained = f"{gap_words(one)} points of {one['metric']}{doubt_of(one)}"
        if one["against"].startswith(WITHOUT):
            yield f"{one['against'].removeprefix(WITHOUT)} brought the loop {gained}"
        elif one["against"] != BEFORE:
            sure = "surely " if one["sure"] else ""
            way = "better" if one["mean"] > 0 else "worse" if one["mean"] < 0 else "no better"
            yield f"the loop is {sure}{way} than the arm {one['against']}: {gained}"


def _tell_ends(found: Mapping[str, Any]) -> Iterator[str]:
    if "near" in found:
        each = (f"{arm} {' and '.join(f'{100 * s:.1f}%' for s in shares)}" for arm, shares in found["near"].items())
        yield f"ended within {' and '.join(f'{metres:g} m' for metres in NEAR_M)} of the goal: {', '.join(each)}"


def _tell_grounds(found: Mapping[str, Any]) -> Iterator[str]:
    if (judged := found.get("judged")) is not None:
        where = f"{judged['protocol']} in {judged['world']}, seed {judged['seed']}"
        yield f"judged by {where}, on {judged['episodes']} episodes of {judged['split']} ({judged['data']['episodes']}, chosen {judged['selection']})"


def _tell_words(found: Mapping[str, Any]) -> Iterator[str]:
    for source, counts in found.get("described", {}).get("followed", {}).items():
        if counts["told"]:
            own, others = (100 * counts[name] / counts["told"] for name in ("own", "others"))
            yield f"told what the speaker says of {source} the agent follows {own:.0f}% of {counts['told']} walks, told the words of others {others:.0f}%"


def _tell_arms(config: LoopConfig, found: Mapping[str, Any]) -> Iterator[str]:
    if (again := found["kept"].get("corrected")) is not None:
        yield f"the agent walked {again['walks']} kept ways of new ground again, corrected: {again['frames']:,} frames"
    if (control := found.get("control")) is not None:
        share = 100 * control["frames"] / control["wanted"]
        learned = f"the arm expert learned from {control['frames']:,} new frames, {share:.0f}% of the loop's"
        if config.encoder is not None and control.get("films_wanted"):
            share = 100 * control["films"] / control["films_wanted"]
            learned += f"; its encoder from {control['films']:,} frames of film, {share:.0f}%"
        yield learned


def _tell_losses(found: Mapping[str, Any]) -> Iterator[str]:
    for what, lost in losses(found).items():
        if lost is None:
            yield f"of {what} the encoder knew nothing surely above chance, so that nobody can tell what it forgot"
        else:
            yield f"of {what} the encoder {'lost' if lost >= 0 else 'won'} {abs(100 * lost):.0f}%"


def tell_costs(found: Mapping[str, Any]) -> str:
    """Return in words what a round cost."""
    cost = found["costs"]
    minutes = {name: f"{cost.get(name, 0.0) / 60:.1f}" for name in ("collecting", "learning", "controls", "judging")}
    kept = f"{cost['kept_frames']:,} are kept: {cost['seconds_per_hour'] / 60:.0f} minutes a kept hour"
    return (
        f"it took {minutes['collecting']} minutes to walk and describe {cost['frames']:,} frames, of which "
        f"{kept if cost['kept_frames'] else 'none is kept'}; {minutes['learning']} minutes to learn from them, "
        f"{minutes['controls']} for the other arms, {minutes['judging']} to judge"
    )


def doubt_of(one: Mapping[str, Any]) -> str:
    """Return what has to be said beside a gain: that it is not sure, and how much it owes to a seed, which no interval over episodes has."""
    if one["low"] is None:
        return "; of one walk alone nothing can be said of others"
    seeds = [100 * gain if one["metric"] in SHARES else gain for gain in one["seeds"]]
    varies = f"single seeds {min(seeds):+.1f} to {max(seeds):+.1f}" if len(seeds) > 1 else "one seed of learning"
    return f"; {varies}".replace("-", "−") + ("" if one["sure"] else "; the interval holds 0, so that may be luck")


def reached_words(one: Mapping[str, Any]) -> str:
    """Return a mean and its interval as a table has it: shares in percent."""
    scale, digits = (100, 1) if one["metric"] in SHARES else (1, 2)
    mean = f"{scale * one['mean']:.{digits}f}"
    if one["low"] is None:
        return mean
    return f"{mean}\n[dim]{scale * one['low']:.{digits}f}–{scale * one['high']:.{digits}f}[/dim]"


def _score_words(one: Mapping[str, Any]) -> str:
    scale = 100 if one["kind"] == "share" else 1
    if one["value"] is None:
        return "–"
    mean = f"{scale * one['value']:.1f}"
    return mean if one["low"] is None else f"{mean}\n[dim]{scale * one['low']:.1f}–{scale * one['high']:.1f}[/dim]"


def gap_words(one: Mapping[str, Any]) -> str:
    """Return a gain and its interval, in percent points."""
    scale, digits = (100, 1) if one["metric"] in SHARES else (1, 2)
    mean = f"{scale * one['mean']:+.{digits}f}"
    ends = "" if one["low"] is None else f" ({scale * one['low']:+.{digits}f} to {scale * one['high']:+.{digits}f})"
    return f"{mean}{ends}".replace("-", "−")


def _table(title: str) -> Table:
    return Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", padding=(0, 1, 0, 1))
