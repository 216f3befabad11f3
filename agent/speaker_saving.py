"""Speakers as folders, as `navloop.agent.saving` has agents: what they are, the words they know, and the weights of both parts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from pydantic import Field, ValidationError

from navloop.agent.narrator import Narrator
from navloop.agent.perception import Perception
from navloop.agent.policies.words import Vocabulary
from navloop.agent.saving import ENCODER
from navloop.agent.speaker import Speaker
from navloop.configs.schema import Config
from navloop.configs.speaker import SpeakerConfig
from navloop.encoders.zoo import load_encoder, save_encoder
from navloop.files import fingerprint, write_text
from navloop.weights import WeightsError, digest, read_weights, write_weights

SPEAKER, NARRATOR = "speaker.json", "narrator.safetensors"
"""Files of a saved speaker, beside its encoder's."""

FORMAT = 1
"""Version of the folder's layout."""


class _Card(Config):
    """What `speaker.json` says."""

    format: int = Field(description="Version of the layout.")
    words: tuple[str, ...] = Field(description="Words that it knows, in the order of their ids.")
    encoder_digest: str = Field(description="Digest of the encoder's weights.")
    narrator_digest: str = Field(description="Digest of the narrator's weights.")
    config: SpeakerConfig = Field(description="What both parts were made from.")


def save_speaker(speaker: Speaker, folder: str | os.PathLike[str]) -> None:
    """Write a speaker into a folder, new or holding an older one; `load_speaker` makes it again.

    `speaker.json` is written last, and tells by digests which weights it is of.

    Raises:
        OSError: If the folder cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    narrator, encoder = speaker.narrator.state_dict(), speaker.perception.encoder
    (folder / SPEAKER).unlink(missing_ok=True)
    write_weights(folder / NARRATOR, narrator)
    save_encoder(encoder, folder / ENCODER)
    card = _Card(
        format=FORMAT,
        words=speaker.vocabulary.words,
        encoder_digest=digest(encoder.state_dict()),
        narrator_digest=digest(narrator),
        config=speaker.config,
    )
    write_text(folder / SPEAKER, json.dumps(card.model_dump(mode="json"), indent=2) + "\n")


def load_speaker(folder: str | os.PathLike[str], *, device: torch.device | str = "cpu") -> Speaker:
    """Return the speaker that `save_speaker` wrote, in eval mode.

    Raises:
        WeightsError: If a file is missing, damaged, or not of this speaker.
    """
    folder = Path(folder)
    card = _read_card(folder)
    encoder = load_encoder(folder / ENCODER)
    state = read_weights(folder / NARRATOR).state
    for file, found, said in (
        (ENCODER, digest(encoder.state_dict()), card.encoder_digest),
        (NARRATOR, digest(state), card.narrator_digest),
    ):
        if found != said:
            raise WeightsError(
                f"{folder / file}: has the digest {found}, {SPEAKER} says {said}; save the speaker again"
            )
    perception = Perception(card.config.perception, encoder)
    vocabulary = Vocabulary(card.words, card.config.narrator.max_words)
    narrator = Narrator(card.config.narrator, perception.layout, len(vocabulary))
    try:
        narrator.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"{folder / NARRATOR}: is of another narrator than {SPEAKER} says: {error}") from error
    return Speaker(card.config, perception, narrator, vocabulary).to(device).eval()


def is_speaker(folder: str | os.PathLike[str]) -> bool:
    """Return whether a folder holds a saved speaker."""
    return (Path(folder) / SPEAKER).is_file()


def speaker_digest(folder: str | os.PathLike[str]) -> str:
    """Return a name of a saved speaker: equal for equal weights, words and configuration, and for no others.

    Raises:
        WeightsError: If there is none.
    """
    card = _read_card(Path(folder)).model_dump(mode="json")
    del card["config"]["perception"]["weights"]
    return fingerprint(json.dumps(card, sort_keys=True).encode())


def _read_card(folder: Path) -> _Card:
    path = folder / SPEAKER
    try:
        return _Card.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise WeightsError(f"{folder}: holds no saved speaker, there is no {SPEAKER}; name the folder of one") from None
    except ValidationError as error:
        raise WeightsError(f"{path}: a speaker that this version does not know: {error}") from error
