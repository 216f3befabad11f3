"""Speakers as folders, as `navloop.agent.saving` has agents: what they are, the words they know, and the weights of both parts."""

from __future__ import annotations

import os

import torch
from pydantic import Field

from navloop.agent.folders import Card, Layout
from navloop.agent.narrator import Narrator
from navloop.agent.perception import Perception
from navloop.agent.policies.words import Vocabulary
from navloop.agent.speaker import Speaker
from navloop.configs.speaker import SpeakerConfig


class _Card(Card):
    """What `speaker.json` says."""

    words: tuple[str, ...] = Field(description="Words that it knows, in the order of their ids.")
    narrator_digest: str = Field(description="Digest of the narrator's weights.")
    config: SpeakerConfig = Field(description="What both parts were made from.")


SPEAKERS = Layout("speaker", "narrator", _Card)
"""How speakers are saved."""


def save_speaker(speaker: Speaker, folder: str | os.PathLike[str]) -> None:
    """Write a speaker into a folder, new or holding an older one; `load_speaker` makes it again.

    Raises:
        OSError: If the folder cannot be written; then it holds no speaker.
    """
    state, encoder = speaker.narrator.state_dict(), speaker.perception.encoder
    SPEAKERS.write(folder, encoder, state, speaker.config, words=speaker.vocabulary.words)


def load_speaker(folder: str | os.PathLike[str], *, device: torch.device | str = "cpu") -> Speaker:
    """Return the speaker that `save_speaker` wrote, in eval mode.

    Raises:
        WeightsError: If a file is missing, damaged, or not of this speaker.
    """
    card, encoder, state = SPEAKERS.read(folder)
    perception = Perception(card.config.perception, encoder)
    vocabulary = Vocabulary(card.words, card.config.narrator.max_words)
    narrator = Narrator(card.config.narrator, perception.layout, len(vocabulary))
    SPEAKERS.fill(narrator, state, folder)
    return Speaker(card.config, perception, narrator, vocabulary).to(device).eval()


def is_speaker(folder: str | os.PathLike[str]) -> bool:
    """Return whether a folder holds a saved speaker."""
    return SPEAKERS.is_in(folder)


def speaker_digest(folder: str | os.PathLike[str]) -> str:
    """Return a name of a saved speaker, as `Layout.digest` does.

    Raises:
        WeightsError: If there is none.
    """
    return SPEAKERS.digest(folder)
