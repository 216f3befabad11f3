"""What the folders of saved agents, planners and speakers have in common: two files of weights, and a card that says which those are."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, Field, ValidationError
from torch import Tensor, nn

from navloop.configs.schema import Config
from navloop.encoders.encoder import VideoEncoder
from navloop.encoders.zoo import load_encoder, save_encoder
from navloop.files import fingerprint, write_text
from navloop.weights import WeightsError, digest, read_weights, write_weights

ENCODER = "encoder.safetensors"
"""File of the encoder that it sees with."""

FORMAT = 1
"""Version of the layout."""


class Card(Config):
    """What every card says, besides the digest of the other part's weights and what it was made from."""

    format: int = Field(description="Version of the layout.")
    encoder_digest: str = Field(description="Digest of the encoder's weights.")


C = TypeVar("C", bound=Card)


@dataclass(frozen=True, slots=True)
class Layout(Generic[C]):
    """How things of one sort are saved.

    Attributes:
        noun: What they are called, "agent" say; the card is `{noun}.json`.
        part: What they have besides an encoder, "policy" say; its weights are in `{part}.safetensors`, and their digest is the card's
            field `{part}_digest`.
        kind: Of card.
    """

    noun: str
    part: str
    kind: type[C]

    @property
    def card(self) -> str:
        """Name of the card's file."""
        return f"{self.noun}.json"

    @property
    def weights(self) -> str:
        """Name of the file of the part's weights."""
        return f"{self.part}.safetensors"

    def is_in(self, folder: str | os.PathLike[str]) -> bool:
        """Return whether a folder holds one; the card is written last."""
        return (Path(folder) / self.card).is_file() and (Path(folder) / self.weights).is_file()

    def write(
        self,
        folder: str | os.PathLike[str],
        encoder: VideoEncoder,
        state: Mapping[str, Tensor],
        config: BaseModel,
        **said: Any,
    ) -> None:
        """Write one into a folder, new or holding an older one.

        Args:
            folder: Where to.
            encoder: What it sees with.
            state: Weights of the part.
            config: What both were made from.
            **said: The card's other fields.

        Raises:
            OSError: If it cannot be written; then the folder holds none.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / self.card).unlink(missing_ok=True)
        write_weights(folder / self.weights, state)
        save_encoder(encoder, folder / ENCODER)
        digests = {"encoder_digest": digest(encoder.state_dict()), f"{self.part}_digest": digest(state)}
        card = self.kind.model_validate({"format": FORMAT, **said, **digests, "config": config})
        write_text(folder / self.card, json.dumps(card.model_dump(mode="json"), indent=2) + "\n")

    def read_card(self, folder: str | os.PathLike[str]) -> C:
        """Return a card.

        Raises:
            WeightsError: If there is none, or this version does not know it.
        """
        path = Path(folder) / self.card
        try:
            return self.kind.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise WeightsError(
                f"{folder}: holds no saved {self.noun}, there is no {self.card}; name the folder of one"
            ) from None
        except ValidationError as error:
            raise WeightsError(f"{path}: {self._a} that this version does not know: {error}") from error

    def read(self, folder: str | os.PathLike[str]) -> tuple[C, VideoEncoder, dict[str, Tensor]]:
        """Return the card, the encoder, in eval mode, and the weights of the part.

        Raises:
            WeightsError: If a file is missing, damaged, or not of this one.
        """
        folder, card = Path(folder), self.read_card(folder)
        encoder, state = load_encoder(folder / ENCODER), read_weights(folder / self.weights).state
        said = getattr(card, f"{self.part}_digest")
        for file, found, expected in (
            (ENCODER, digest(encoder.state_dict()), card.encoder_digest),
            (self.weights, digest(state), said),
        ):
            if found != expected:
                raise WeightsError(
                    f"{folder / file}: has the digest {found}, {self.card} says {expected}; save the {self.noun} again"
                )
        return card, encoder, state

    def fill(self, part: nn.Module, state: Mapping[str, Tensor], folder: str | os.PathLike[str]) -> None:
        """Give a part its weights.

        Raises:
            WeightsError: If they are of another.
        """
        try:
            part.load_state_dict(state)
        except RuntimeError as error:
            raise WeightsError(
                f"{Path(folder) / self.weights}: is of another {self.part} than {self.card} says: {error}"
            ) from error

    def digest(self, folder: str | os.PathLike[str]) -> str:
        """Return a name of one: equal for equal weights, words and configuration, and for no others.

        It says nothing of where the encoder's weights once came from.

        Raises:
            WeightsError: If there is none.
        """
        card = self.read_card(folder).model_dump(mode="json")
        card["config"].get("perception", {}).pop("weights", None)
        return fingerprint(json.dumps(card, sort_keys=True).encode())

    @property
    def _a(self) -> str:
        return f"{'an' if self.noun[0] in 'aeiou' else 'a'} {self.noun}"
