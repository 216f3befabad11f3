"""A speaker: it says of a walk, seen and done, where it went; what an instruction for it would be."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from navloop.agent.content import plan_of
from navloop.agent.narrator import Narrator, NarratorSteps, ToldWalks
from navloop.agent.perception import Perception
from navloop.agent.policies.words import PADDING, UNKNOWN, Vocabulary
from navloop.configs.generation import Beam, Strategy
from navloop.configs.speaker import SpeakerConfig
from navloop.encoders.generation import generate

BATCH = 32
"""Walks described at a time."""

PLAN = 24
"""Words that say what a text is about, at most."""

_BEAM = Beam(width=4, early_stop=False)  # stopping early prefers texts that end early
_SIGN = re.compile(r"\s+([.,;!?])")
_SENTENCE = re.compile(r"(^|[.!?]\s+)([a-z])")

Percepts = Tensor | NDArray[np.floating]
Actions = NDArray[np.int64]


class Speaker:
    """Puts walks into words.

    Args:
        config: What the parts were made from; it is saved with them.
        perception: What it sees with.
        narrator: What tells.
        vocabulary: The words that it knows.
    """

    def __init__(
        self, config: SpeakerConfig, perception: Perception, narrator: Narrator, vocabulary: Vocabulary
    ) -> None:
        self.config, self.perception, self.narrator, self.vocabulary = config, perception, narrator, vocabulary

    @property
    def device(self) -> torch.device:
        """Where the narrator is."""
        return self.narrator.embedding.weight.device

    def to(self, device: torch.device | str) -> Speaker:
        """Move the parts to a device; return the speaker itself."""
        self.perception.to(device)
        self.narrator.to(device)
        return self

    def eval(self) -> Speaker:
        """Put both parts in eval mode; return the speaker itself."""
        self.perception.eval()
        self.narrator.eval()
        return self

    @torch.no_grad()
    def describe(
        self,
        percepts: Sequence[Percepts],
        actions: Sequence[Actions],
        strategy: Strategy = _BEAM,
        generator: torch.Generator | None = None,
    ) -> list[str]:
        """Return an instruction for each walk; of a strategy that gives several, all, those of a walk adjacent.

        Args:
            percepts: What `perception` made of each walk, float (S, n, D).
            actions: Of each walk, int64 (S,).
            strategy: How words are chosen.
            generator: Source of randomness, on the speaker's device; only `Nucleus` needs it.

        Raises:
            ValueError: If percepts and actions do not go together.
        """
        self.narrator.eval()
        length = self.config.narrator.max_words + PLAN + 3
        texts = []
        for walks in self._batches(percepts, actions):
            prompt = torch.full((len(walks), 1), self.narrator.start, device=self.device)
            steps = NarratorSteps(self.narrator, walks, length)
            found = generate(steps, prompt, strategy, length=length, end=self.narrator.end, generator=generator)
            texts += [self._text(row) for row in found.ids.tolist()]
        return texts

    @torch.no_grad()
    def likelihoods(
        self, percepts: Sequence[Percepts], actions: Sequence[Actions], texts: Sequence[str]
    ) -> list[float]:
        """Return how likely a speaker finds each text for its walk: mean log-probability a word; unknown words do not count."""
        self.narrator.eval()
        found: list[float] = []
        for number, walks in enumerate(self._batches(percepts, actions)):
            ids = self.read(texts[number * BATCH : (number + 1) * BATCH]).to(self.device)
            losses, counts = word_losses(self.narrator(walks, ids[:, :-1]), ids[:, 1:])
            found += (-losses.sum(1) / counts.sum(1).clamp(min=1)).tolist()
        return found

    def read(self, texts: Sequence[str]) -> Tensor:
        """Return texts as ids, int64 (B, L), padded with 0: start, what each is about, begin, its words, end."""
        narrator = self.narrator
        plans = [
            [i for i in self._ids(plan) if i != UNKNOWN][:PLAN]
            for plan in self.vocabulary.read([plan_of(text) for text in texts]).ids
        ]
        words = [self._ids(row) for row in self.vocabulary.read(texts).ids]
        rows = [
            torch.tensor([narrator.start, *plan, narrator.begin, *said, narrator.end])
            for plan, said in zip(plans, words, strict=True)
        ]
        return pad_sequence(rows, batch_first=True, padding_value=PADDING)

    @staticmethod
    def _ids(row: Tensor) -> list[int]:
        return [number for number in row.tolist() if number != PADDING]

    def _batches(self, percepts: Sequence[Percepts], actions: Sequence[Actions]) -> Iterator[ToldWalks]:
        if len(percepts) != len(actions):
            raise ValueError(f"{len(percepts)} walks were seen and {len(actions)} done; each needs both")
        for start in range(0, len(percepts), BATCH):
            part = slice(start, start + BATCH)
            yield self.narrator.gather(percepts[part], actions[part]).to(self.device)

    def _text(self, ids: Sequence[int]) -> str:
        said = ids[ids.index(self.narrator.begin) :] if self.narrator.begin in ids else ()
        words = [self.vocabulary.words[i - UNKNOWN - 1] for i in said if UNKNOWN < i < self.narrator.start]
        return write_out(words)


def word_losses(logits: Tensor, wanted: Tensor, smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy of each wanted word and which count: float and bool (B, L); padding and unknown words do not.

    Args:
        logits: float (B, L, V).
        wanted: int64 (B, L).
        smoothing: Of labels, over all of V.
    """
    counts = wanted > UNKNOWN
    losses = F.cross_entropy(
        logits.float().flatten(0, 1), wanted.flatten(), reduction="none", label_smoothing=smoothing
    ).view_as(wanted)
    return losses * counts, counts


def write_out(words: Sequence[str]) -> str:
    """Return words and signs as a text: sentences begin with a capital, signs stand close."""
    text = _SIGN.sub(r"\1", " ".join(words))
    return _SENTENCE.sub(lambda found: found[1] + found[2].upper(), text)


def create_speaker(
    config: SpeakerConfig, texts: Sequence[str], *, perception: Perception | None = None, seed: int = 0
) -> Speaker:
    """Return a speaker of random weights, on the CPU.

    Args:
        config: Of the speaker.
        texts: Training instructions, whose words it will know.
        perception: Takes the place of the one that the configuration names.
        seed: The narrator's weights follow from it.

    Raises:
        ValueError: If the texts have no words, or the perception cannot be made.
    """
    if perception is None:
        perception = Perception(config.perception)
    else:
        config = config.model_copy(update={"perception": perception.config})
    vocabulary = Vocabulary.of([*texts, *map(plan_of, texts)], config.narrator.min_count, config.narrator.max_words)
    if not vocabulary.words:
        raise ValueError("the texts have no words to learn; pass the training instructions")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        narrator = Narrator(config.narrator, perception.layout, len(vocabulary))
    return Speaker(config, perception, narrator, vocabulary).eval()
