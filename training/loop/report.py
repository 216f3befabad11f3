"""The page about a loop: one HTML file that needs nothing else; what each round collected, said, kept, learned, and whether it helped."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from rich.console import Console

from navloop.configs.loader import load
from navloop.configs.loop import LoopConfig
from navloop.envs.metrics import METRICS, SHARES
from navloop.files import write_text
from navloop.runs import RunFolder
from navloop.training.comparison import COMPARED
from navloop.training.loop.arms import LOOP, WITHOUT
from navloop.training.loop.charts import ARM_COLOURS, gains_chart, reached_chart, scores_chart
from navloop.training.loop.descriptions import Account, read_accounts
from navloop.training.loop.examples import Example, show_examples
from navloop.training.loop.kept import rule_of
from navloop.training.loop.lineage import LINEAGE
from navloop.training.loop.plan import episodes_of, read_first, split_file
from navloop.training.loop.sources import STORE
from navloop.training.loop.speech import told_rightly
from navloop.training.loop.steps import Step, read_steps
from navloop.training.loop.summary import SUMMARY, is_loop
from navloop.training.loop.table import doubt_of, dropped, gap_words, learned_from, tell_round
from navloop.training.rollout import ReplayError
from navloop.training.store import open_store
from navloop.training.tables import number

_LABELS = {metric.name: metric for metric in METRICS}


def write_loop_report(run: Path, output: Path | None = None, console: Console | None = None) -> Path:
    """Write the page about a loop and return where it lies.

    Args:
        run: Folder of the loop.
        output: Where the page goes; None takes `report.html` in the folder.
        console: Where to show warnings; None shows none.

    Raises:
        ValueError: If no round of a loop is finished there.
        OSError: If the page cannot be written.
    """
    if not is_loop(run):
        raise ValueError(
            f"{run}: no round of a loop is finished here; run it with: navloop loop RECIPE --run-dir {run}"
        )
    config = load(run / "config.yaml", kind="loop")
    assert isinstance(config, LoopConfig)
    summary, steps = json.loads((run / SUMMARY).read_text()), read_steps(run)
    last = summary["rounds"][-1]
    metric = config.judge.metric
    label = _LABELS[metric].label
    context = {
        "name": config.name,
        "config": config.model_dump(mode="json"),
        "summary": summary,
        "last": last,
        "headline": _headline(config, summary),
        "label": label,
        "rounds": [_round(config, run, found, steps, console) for found in summary["rounds"]],
        "overview": [
            {"title": f"{_LABELS[name].label} by arm", "svg": reached_chart(summary["rounds"], name, _LABELS[name].label, f"reach-{name}")}
            for name in dict.fromkeys((metric, "success"))
        ],
        "speech": told_rightly(steps),
        "colours": ARM_COLOURS,
        "steps": list(steps.values()),
        "lineage": json.loads((run / LINEAGE).read_text()),
        "starts": RunFolder(run).starts(),
    }  # fmt: skip
    page = output or run / "report.html"
    write_text(page, _render(context))
    return page


def _headline(config: LoopConfig, summary: Mapping[str, Any]) -> dict[str, Any]:
    """Say in a sentence whether the loop helped: over the first agent, and over the controls of the last round."""
    rounds = summary["rounds"]
    accepted = sum(found["verdict"]["accepted"] for found in rounds)
    gains = [
        one
        for one in rounds[-1]["gaps"]
        if one["arm"] == LOOP and one["metric"] == config.judge.metric and not one["against"].startswith(WITHOUT)
    ]
    return {
        "accepted": accepted,
        "rounds": len(rounds),
        "gains": [{"against": one["against"], "words": gap_words(one), "doubt": doubt_of(one), "sure": one["sure"], "up": one["mean"] > 0} for one in gains],
        "sure": any(one["sure"] and one["mean"] > 0 for one in gains),
    }  # fmt: skip


def _round(
    config: LoopConfig, run: Path, found: Mapping[str, Any], steps: Mapping[str, Step], console: Console | None
) -> dict[str, Any]:
    number_, metric = found["round"], config.judge.metric
    folder = run / f"round_{number_:02d}"
    accounts = read_accounts(folder / "described")
    examples, left_out = _examples(config, run, found, accounts, console)
    label = _LABELS[metric].label
    return {
        "number": number_,
        "found": found,
        "words": tell_round(config, found),
        "arms": _arms(found),
        "headings": [f"{_LABELS[name].label}{' %' if name in SHARES else ''}" for name in COMPARED],
        "sources": _sources(found),
        "charts": _charts(config, found, accounts, label),
        "examples": examples,
        "left_out": left_out,
        "retrieval": _known(found["retrieval"]),
        "general": _known(found.get("general", {})),
    }


def _arms(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    arms = dict.fromkeys(one["arm"] for one in found["reached"])
    rows = []
    for arm in arms:
        own = {one["metric"]: one for one in found["reached"] if one["arm"] == arm}
        rows.append({"arm": arm, "words": learned_from(arm), "cells": [_cell(own[name]) for name in COMPARED]})
    return rows


def _cell(one: Mapping[str, Any]) -> dict[str, Any]:
    metric = _LABELS[one["metric"]]
    low, high = one["low"], one["high"]
    span = "" if low is None else f"{number(low, metric)} – {number(high, metric)}"
    bar = None
    if one["metric"] in SHARES:
        ends = (one["mean"], one["mean"]) if low is None else (max(low, 0.0), min(high, 1.0))
        bar = (100 * one["mean"], 100 * ends[0], 100 * ends[1])
    return {"mean": number(one["mean"], metric), "span": span, "share": bar}


def _sources(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for source, walked in found["collected"].items():
        told = found["described"]["sources"].get(source)
        kept = found["kept"]["sources"][source]
        reasons = dropped(found, source)
        asked = walked["walks"] if told is None else told["candidates"]
        rows.append(
            {
                "source": source,
                "walks": walked["walks"],
                "success": walked["success"],
                "asked": asked,
                "kept": kept["walks"],
                "frames": kept["frames"],
                "different": [kept[name] for name in ("houses", "texts", "words")],
                "reasons": reasons,
                "share": kept["walks"] / asked if asked else 0.0,
            }
        )
    return rows


def _charts(
    config: LoopConfig, found: Mapping[str, Any], accounts: Sequence[Account], label: str
) -> list[dict[str, str]]:
    metric, number_ = config.judge.metric, found["round"]
    charts = [
        {
            "title": f"Who is better than whom, {label}",
            "svg": gains_chart(found["gaps"], metric, label, f"gains-{number_}"),
            "note": "Differences over the same episodes; lines are 95% intervals, clustered over scenes and tours.",
        }
    ]
    followed = [account for account in accounts if "ndtw" in account.scores]
    if followed:
        kept = [account.scores["ndtw"] for account in followed if not account.dropped]
        dropped = [account.scores["ndtw"] for account in followed if account.dropped]
        svg = scores_chart(kept, dropped, "nDTW of the follower", f"ndtw-{number_}", config.filters.ndtw)
        note = "The agent is told the speaker's words: how near it comes to the walk that they describe."
        charts.append({"title": "Are descriptions followed?", "svg": svg, "note": note})
    return charts


def _examples(
    config: LoopConfig, run: Path, found: Mapping[str, Any], accounts: Sequence[Account], console: Console | None
) -> tuple[list[Example], str]:
    """Films and maps, or why there are none: a page of numbers is still worth having where the scenes are gone."""
    if not config.report.examples:
        return [], ""
    folder = run / f"round_{found['round']:02d}"
    houses = Path(config.dataset) if config.dataset is not None else run / "houses"
    try:
        first = read_first(config)
        episodes = episodes_of(first, houses, split_file(houses, "train"))
        rule = rule_of(config.sources.tours, first.collection.stop_within)
        stores = {source: open_store(folder / source / STORE) for source in found["collected"]}
        return show_examples(stores, accounts, episodes, config.report, config.seed, rule), ""
    except (ValueError, OSError, ReplayError) as error:
        if console is not None:
            console.print(f"the page has no films: {error}", style="yellow", soft_wrap=True, markup=False)
        return [], str(error)


def _known(found: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what encoders know, a row each, and what chance comes to."""
    if not found:
        return None
    first = next(iter(found.values()))
    scores = list(first)
    chance = [_score({**first[name], "value": first[name]["chance"], "low": None}) for name in scores]
    rows = [{"arm": arm, "cells": [_score(own.get(name, _UNKNOWN)) for name in scores]} for arm, own in found.items()]
    return {"headings": [name.removeprefix("retrieval ") for name in scores], "chance": chance, "rows": rows}


_UNKNOWN: Mapping[str, Any] = {"value": None}
"""What an encoder was not measured in."""


def _score(one: Mapping[str, Any]) -> dict[str, str]:
    if one["value"] is None:
        return {"mean": "–", "span": ""}
    scale, digits = (100, 1) if one["kind"] == "share" else (1, 1)
    span = "" if one["low"] is None else f"{scale * one['low']:.{digits}f} – {scale * one['high']:.{digits}f}"
    return {"mean": f"{scale * one['value']:.{digits}f}", "span": span}


def _render(context: Mapping[str, Any]) -> str:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    # One look for all pages: that of evaluations.
    other = (files("navloop.training") / "report.html.j2").read_text(encoding="utf-8")
    style = other[other.index("<style>") + len("<style>") : other.index("</style>")]
    template = (files("navloop.training.loop") / "report.html.j2").read_text(encoding="utf-8")
    return str(environment.from_string(template).render(context, style=style))
