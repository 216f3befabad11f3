"""Tours as episodes: the rows that wait until every house is done, the episode files of the splits, and their vocabulary."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from navloop.envs.episodes import ground_truth_path, write_episodes, write_ground_truth
from navloop.envs.houses.tours import Tour
from navloop.envs.protocols import get_protocol
from navloop.geometry import heading_to_quaternion
from navloop.records import Episode, GroundTruth, Instruction

LONGEST_TOKENS = 200
"""Length that token ids are padded to, as in the R2R-VLNCE release."""


def tour_to_json(tour: Tour, texts: Sequence[str]) -> dict[str, Any]:
    """Return a tour and its wordings as JSON values, for `episodes_of`."""
    assert tour.truth.actions is not None
    return {
        "texts": list(texts),
        "start": tour.start.position.tolist(),
        "heading": tour.start.heading,
        "goal": tour.spot.point.tolist(),
        "reference_path": tour.reference_path.tolist(),
        "length": tour.length,
        "locations": tour.truth.locations.tolist(),
        "actions": tour.truth.actions.tolist(),
        "forward_steps": tour.truth.forward_steps,
    }


def episodes_of(tours: Iterable[tuple[str, Sequence[Mapping[str, Any]]]]) -> Iterator[Episode]:
    """Yield the episodes of a split, the wordings of a tour one after the other, as in R2R.

    Args:
        tours: Scene ids, each with the tours through it, as `tour_to_json` made them.
    """
    number, trajectory = 0, 0
    for scene_id, rows in tours:
        for row in rows:
            trajectory += 1
            for text in row["texts"]:
                number += 1
                yield _episode(scene_id, row, text, str(number), str(trajectory))


def _episode(scene_id: str, row: Mapping[str, Any], text: str, episode_id: str, trajectory_id: str) -> Episode:
    return Episode(
        episode_id=episode_id,
        trajectory_id=trajectory_id,
        scene_id=scene_id,
        start_position=np.array(row["start"]),
        start_rotation=heading_to_quaternion(row["heading"]),
        instruction=Instruction(text=text),
        goal_position=np.array(row["goal"]),
        goal_radius=get_protocol("houses").success_distance,
        reference_path=np.array(row["reference_path"]),
        ground_truth=GroundTruth(
            locations=np.array(row["locations"]),
            actions=np.array(row["actions"], dtype=np.int64),
            forward_steps=row["forward_steps"],
        ),
        info={"geodesic_distance": row["length"]},
    )


def write_splits(folder: Path, splits: Mapping[str, Sequence[Episode]]) -> Iterator[tuple[Path, int]]:
    """Write the episode file of every split that has episodes, and its ground truth; yield each file and how many episodes it has.

    The vocabulary is that of the training split, for every split the same; without one, that of all.

    Args:
        folder: Gets `<split>/<split>.json.gz` and `<split>/<split>_gt.json.gz`.
        splits: Episodes by name of the split, without tokens.
    """
    words = splits.get("train") or [episode for episodes in splits.values() for episode in episodes]
    vocabulary = make_vocabulary([episode.instruction.text for episode in words])
    for split, untold in splits.items():
        if not untold:
            continue
        episodes = [_with_tokens(episode, vocabulary) for episode in untold]
        path = folder / split / f"{split}.json.gz"
        write_ground_truth(ground_truth_path(path), episodes)
        write_episodes(path, episodes, vocabulary)
        yield path, len(episodes)
        yield ground_truth_path(path), len(episodes)


def tokenize(text: str) -> list[str]:
    """Return the words and punctuation marks of an instruction, in lower case."""
    return re.findall(r"[a-z0-9']+|[^\sa-z0-9']", text.lower())


def make_vocabulary(texts: Sequence[str]) -> dict[str, Any]:
    """Return the words of instructions in the form of R2R-VLNCE's instruction_vocab: padding is 0, unknown words are 1."""
    words = ["<pad>", "<unk>", *sorted({word for text in texts for word in tokenize(text)})]
    numbers = {word: number for number, word in enumerate(words)}
    return {
        "word_list": words,
        "word2idx_dict": numbers,
        "itos": words,
        "stoi": numbers,
        "num_vocab": len(words),
        "UNK_INDEX": 1,
        "PAD_INDEX": 0,
    }


def _with_tokens(episode: Episode, vocabulary: Mapping[str, Any]) -> Episode:
    numbers = [vocabulary["stoi"].get(word, 1) for word in tokenize(episode.instruction.text)][:LONGEST_TOKENS]
    tokens = np.zeros(LONGEST_TOKENS, dtype=np.int64)
    tokens[: len(numbers)] = numbers
    return replace(episode, instruction=replace(episode.instruction, tokens=tokens))
