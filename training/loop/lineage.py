"""Where the weights of a loop come from, and what they cost: every agent with the walks it learned from, every store with who walked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from navloop.agent.saving import agent_digest, is_agent
from navloop.agent.speaker_saving import is_speaker, speaker_digest
from navloop.files import write_text
from navloop.training.listings import is_store
from navloop.training.loop.arms import AGENT, ENCODER, LOOP
from navloop.training.loop.sources import STORE
from navloop.training.loop.steps import Step
from navloop.training.store import open_store
from navloop.weights import digest

LINEAGE = "lineage.json"

_COLLECTING = ("tours", "ground", "free", "corrected", "described", "kept")
"""Steps that make and choose the loop's own walks."""


def write_lineage(folder: Path, rounds: Sequence[Mapping[str, Any]], steps: Sequence[Step]) -> dict[str, Any]:
    """Write `lineage.json` into a loop's folder, and return it: "agents", "encoders", "speaker", "stores", "accepted", all by digest.

    Raises:
        ValueError: If a store or an agent cannot be read.
        OSError: If it cannot be written.
    """
    done = {step.name: step for step in steps}
    first = folder / "first" / AGENT
    standing = agent_digest(first) if is_agent(first) else None
    agents: list[dict[str, Any]] = [{"name": "first", "digest": standing, "round": 0, "parent": None}]
    eyes = folder / "encoder" / ENCODER
    seeing = digest(eyes) if eyes.is_file() else None
    encoders: list[dict[str, Any]] = (
        [] if seeing is None else [{"name": "encoder", "digest": seeing, "round": 0, "parent": None}]
    )
    accepted = []
    for found in rounds:
        encoders += [
            _encoder(name, step, seeing) for name, step in done.items() if _is_encoder(name, step, found["round"])
        ]
        own = [_agent(name, step, standing) for name, step in done.items() if _is_arm(name, step, found["round"])]
        agents += own
        if found["verdict"]["accepted"]:
            standing = agent_digest(folder / found["standing"])
            eyes_now = done.get(f"round_{found['round']:02d}/encoder_{LOOP}")
            seeing = seeing if eyes_now is None else str(eyes_now.found["encoder"])
            accepted.append({"round": found["round"], "digest": standing, "why": found["verdict"]["why"]})
    speaker = folder / "speaker" / "best"
    said = {
        "agents": agents,
        "encoders": encoders,
        "speaker": speaker_digest(speaker) if is_speaker(speaker) else None,
        "stores": [_store(path, folder) for path in sorted(folder.glob(f"round_*/*/{STORE}")) if is_store(path)],
        "accepted": accepted,
        "stands": standing,
    }
    write_text(folder / LINEAGE, json.dumps(said, indent=1, allow_nan=False) + "\n")
    return said


def costs(found: Mapping[str, Any], steps: Mapping[str, Step], fps: int) -> dict[str, float]:
    """Return what a round cost.

    Args:
        found: What the round came to.
        steps: Of the loop, by name.
        fps: Actions that make a second of film.

    Returns:
        "frames" and "walks" that were walked, "kept_walks", "kept_frames" and "kept_hours" that are learned from, in seconds "collecting",
        "learning" (the loop's arm, all seeds), "controls" (the other arms, and what is walked for them) and "judging" (asking what others' words
        are worth to the follower included), and "seconds_per_hour", of collecting a kept hour.
    """
    prefix = f"round_{found['round']:02d}/"
    own = {name.removeprefix(prefix): step.seconds for name, step in steps.items() if name.startswith(prefix)}
    asking = found.get("described", {}).get("asking_seconds", 0.0)
    collecting = sum(seconds for name, seconds in own.items() if name in _COLLECTING) - asking
    judging = asking + sum(
        s for name, s in own.items() if name == "verdict" or name.startswith(("retrieval_", "general_"))
    )
    learning = sum(s for name, s in own.items() if name.startswith((f"{LOOP}_", f"encoder_{LOOP}")))
    kept, again = found["kept"], found["kept"].get("corrected", {"walks": 0, "frames": 0})
    frames = kept["frames"] + again["frames"]
    hours = frames / fps / 3600
    return {
        "walks": sum(one["walks"] for one in found["collected"].values()) + again["walks"],
        "frames": sum(one["frames"] for one in found["collected"].values()) + again["frames"],
        "kept_walks": kept["walks"] + again["walks"],
        "kept_frames": frames,
        "kept_hours": hours,
        "collecting": collecting,
        "learning": learning,
        "controls": sum(own.values()) - collecting - judging - learning,
        "judging": judging,
        "seconds_per_hour": collecting / hours if hours else 0.0,
    }


def _is_arm(name: str, step: Step, number: int) -> bool:
    return name.startswith(f"round_{number:02d}/") and "digest" in step.found


def _agent(name: str, step: Step, parent: str | None) -> dict[str, Any]:
    number, _, arm = name.partition("/")
    learned = {key: step.found[key] for key in ("digest", "steps", "walks", "frames", "data")}
    return {"name": arm, "round": int(number.removeprefix("round_")), "parent": parent, **learned}


def _is_encoder(name: str, step: Step, number: int) -> bool:
    return name.startswith(f"round_{number:02d}/") and "encoder" in step.found


def _encoder(name: str, step: Step, parent: str | None) -> dict[str, Any]:
    number, _, arm = name.partition("/")
    return {
        "name": arm,
        "round": int(number.removeprefix("round_")),
        "parent": parent,
        "digest": step.found["encoder"],
        "steps": int(step.found["step"]),
        "films": step.found["films"],
    }


def _store(path: Path, folder: Path) -> dict[str, Any]:
    store = open_store(path)
    walkers = sorted({(e.policy, e.weights or "") for e in store.episodes})
    return {
        "folder": path.relative_to(folder).as_posix(),
        "walks": len(store),
        "frames": sum(episode.length for episode in store.episodes),
        "sources": sorted({episode.source for episode in store.episodes}),
        "protocol": store.about.protocol,
        "walked by": [f"{policy} {weights}".strip() for policy, weights in walkers],
    }
