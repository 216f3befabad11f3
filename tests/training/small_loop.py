"""A loop of seconds: a handful of short tours, an agent of one layer, an encoder that learns for a step or two, and recipes of files that it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from short_tours import HOUSES, recipe

from navloop.configs.loader import dump
from navloop.configs.loop import LoopConfig
from navloop.configs.schema import EvalConfig
from navloop.configs.speaker import SpeakerTrainConfig
from navloop.training.videos import write_video


def _write_general(folder: Path) -> Path:
    """Write four videos that are not of houses, and a recipe that finds them by their words."""
    lines = []
    for number, colour in enumerate(("red", "green", "blue", "grey")):
        frames = np.full((8, 32, 32, 3), 60, dtype=np.uint8)
        frames[..., number % 3] = 200 if number < 3 else 60
        write_video(folder / f"{colour}.mp4", frames, 4)
        lines.append(json.dumps({"video": f"{colour}.mp4", "captions": [f"all is {colour}"]}) + "\n")
    (folder / "general.jsonl").write_text("".join(lines))
    clips = {"manifest": [str(folder / "general.jsonl")], "size": 32, "sampler": "middle"}
    recipe = {
        "kind": "perception",
        "name": "general",
        "weights": "none",
        "clips": clips,
        "tasks": [{"task": "retrieval"}],
    }
    (folder / "general.yaml").write_text(yaml.safe_dump(recipe))
    return folder / "general.yaml"


def write_loop(folder: Path, **fields: Any) -> LoopConfig:
    """Write the recipes of a small loop into a folder and return the loop's own."""
    folder.mkdir(parents=True, exist_ok=True)
    first = recipe(Path("none"), evaluate=0, collection={"iterations": 1}, learning={"epochs": 60, "batch": 4})
    first = first.model_copy(update={"device": "auto"})
    houses = HOUSES.model_copy(update={"extra_houses": 1, "workers": 1})
    retrain = first.model_copy(update={"learning": first.learning.model_copy(update={"steps": 4})})
    narrator = {"width": 64, "walk_layers": 1, "word_layers": 1, "looks": 8, "queries": 8, "min_count": 1}
    speaker = SpeakerTrainConfig.model_validate(
        {
            "episodes": first.episodes.model_dump(),
            "speaker": {"narrator": narrator},
            "learning": {"epochs": 150.0, "batch": 4, "lr": 3e-3, "mirror": False},
            "evaluate": 0,
            "workers": 1,
        }
    )
    evaluation = EvalConfig.model_validate(
        {"scenes": "none", "episodes": "none", "protocol": "houses", "agents": ("none",), "max_episodes": 2}
    )
    parts = {"houses": houses, "first": first, "retrain": retrain, "speaker": speaker, "judge": evaluation}
    for name, config in parts.items():
        (folder / f"{name}.yaml").write_text(dump(config))
    base: dict[str, Any] = {
        "name": "small",
        **{name: {"recipe": str(folder / f"{name}.yaml")} for name in parts},
        "labelled": 0.5,
        "sources": {
            "tours": {"count": 4, "beta": 0.5, "early_stop": True, "late_stop": 0, "max_steps": 40},
            "ground": {"count": 3, "lengths": HOUSES.lengths.model_dump()},
            "free": {"count": 4, "max_steps": 40},
        },
        "filters": {
            "ndtw": 0.0,
            "efficiency": None,
            "min_metres": 0.0,
            "min_words": 1,
            "apart": None,
            "text_overlap": None,
        },
        "encoder": {
            "first": {"recipe": "contrastive_tiny", "set": ("engine.steps=3", "engine.batch=4", "clips.size=32")},
            "again": {"recipe": "contrastive_tiny", "set": ("engine.steps=2", "engine.batch=4", "clips.size=32")},
            "films": {"recipe": "replay_houses", "set": ("width=32",)},
            "retrieval": {"recipe": "perception_retrieval", "set": ("clips.size=32", "tasks.0.gallery=null")},
            "general": {"recipe": str(_write_general(folder))},
        },
        "arms": {"without": ("tours",)},
        "workers": 1,
        "report": {"examples": 1, "video_size": 128},
    }
    judge = {**base["judge"], "rule": "point"} | fields.pop("judge", {})
    return LoopConfig.model_validate(base | {"judge": judge} | fields)
