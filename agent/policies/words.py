"""Instructions as numbers, and what a policy makes of them: a state a word."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from navloop.configs.agents import WordsConfig
from navloop.encoders.text import TextTower, tokenize

PADDING, UNKNOWN = 0, 1
"""Ids of what follows an instruction's end, and of a word that the training instructions do not have."""

MISSED = 0.02
"""Share of learned words that training makes unknown at least, whatever the dropout: without any, the unknown word would keep its random vector."""

_MARKS = (
    "\u0300-\u036f\u0900-\u0903\u093a-\u094f\u0951-\u0957\u0962\u0963\u0c00-\u0c04\u0c3c-\u0c56\u0c62\u0c63\u200c\u200d"
)
"""Marks that belong to a word and are no letters: accents, and the vowel signs of Hindi and Telugu, in which RxR is told too."""
_WORD = re.compile(rf"(?:[^\W_]|[{_MARKS}])+|[.,;!?।]")


@dataclass(frozen=True, slots=True)
class Instructions:
    """B instructions as ids."""

    ids: Tensor
    """int64 (B, L), each row from its first word, padded with 0."""

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str) -> Instructions:
        """Return them on a device."""
        return Instructions(self.ids.to(device, non_blocking=True))


class Reader(Protocol):
    """What turns texts into ids."""

    def read(self, texts: Sequence[str]) -> Instructions:
        """Return texts as ids, on the CPU, as long as the longest."""


class Vocabulary:
    """Words by their ids, in the order in which a sorted list has them; the first is id 2.

    Args:
        words: Lower-case words and signs, none twice.
        max_words: Words read of a text; the rest is cut.

    Raises:
        ValueError: If a word is there twice.
    """

    def __init__(self, words: Sequence[str], max_words: int = 200) -> None:
        self.words, self.max_words = tuple(words), max_words
        self._ids = {word: i for i, word in enumerate(self.words, start=UNKNOWN + 1)}
        if len(self._ids) < len(self.words):
            raise ValueError("a word is twice in the vocabulary")

    @classmethod
    def of(cls, texts: Iterable[str], min_count: int = 1, max_words: int = 200) -> Vocabulary:
        """Return the words that occur at least so often in texts."""
        counts = Counter(word for text in texts for word in split_words(text))
        return cls(sorted(word for word, count in counts.items() if count >= min_count), max_words)

    def __len__(self) -> int:
        """Ids in all, with those of padding and of unknown words."""
        return len(self.words) + UNKNOWN + 1

    def read(self, texts: Sequence[str]) -> Instructions:
        """Return texts as ids, on the CPU, as long as the longest; a text without words is one unknown word.

        Raises:
            TypeError: If `texts` is one string.
        """
        if isinstance(texts, str):
            raise TypeError(f"texts is one string, {texts[:40]!r}; pass a list of strings")
        rows = [[self._ids.get(word, UNKNOWN) for word in split_words(text)[: self.max_words]] for text in texts]
        length = max((len(row) for row in rows), default=1) or 1
        ids = torch.full((len(rows), length), PADDING, dtype=torch.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row) or 1] = torch.tensor(row or [UNKNOWN])
        return Instructions(ids)


class TowerReader:
    """Reads texts as an encoder's text tower does; a text that is too long for it is cut.

    Args:
        context: Tokens L of a text at most.
    """

    def __init__(self, context: int) -> None:
        self.context = context

    def read(self, texts: Sequence[str]) -> Instructions:
        """Return texts as ids, on the CPU, as long as the longest."""
        ids = tokenize(texts, self.context).long()
        return Instructions(ids[:, : int(ids.argmax(1).max()) + 1])


def split_words(text: str) -> list[str]:
    """Return the lower-case words, numbers and marks of a text."""
    return _WORD.findall(text.lower())


@dataclass(slots=True)
class Words:
    """What was made of B instructions."""

    states: Tensor
    """float (B, L, W), a state a word."""
    valid: Tensor
    """bool (B, L), True where there is a word."""
    summary: Tensor
    """float (B, W), of the whole instruction."""

    def put(self, places: Tensor, others: Words) -> None:
        """Replace those at `places`, int64 (K,), by K others, in place."""
        length = max(self.states.shape[1], others.states.shape[1])
        for name in ("states", "valid", "summary"):
            mine, new = getattr(self, name), getattr(others, name)
            if name != "summary":
                mine, new = _lengthened(mine, length), _lengthened(new, length)
            setattr(self, name, mine.index_copy(0, places, new))


def _lengthened(x: Tensor, length: int) -> Tensor:
    missing = length - x.shape[1]
    return F.pad(x, (0, 0) * (x.ndim - 2) + (0, missing)) if missing else x


class MissedWords(nn.Module):
    """Make words unknown at random while training, so that no single one is relied on, and unknown ones are no surprise.

    Args:
        rate: Share of the words.
    """

    def __init__(self, rate: float = MISSED) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, ids: Tensor) -> Tensor:
        """Return ids (B, L), some of them `UNKNOWN`."""
        if not self.training or self.rate == 0:
            return ids
        missed = (torch.rand(ids.shape, device=ids.device) < self.rate) & (ids != PADDING)
        return ids.masked_fill(missed, UNKNOWN)


class GRUWords(nn.Module):
    """Learned words read by a GRU in both directions; the summary is where each direction ends.

    Source: Krantz et al., Beyond the Nav-Graph, ECCV 2020; differs in: words are learned, not GloVe's, and a GRU
        reads them in both directions where theirs is an LSTM, in one direction for Seq2Seq.
    """

    def __init__(self, config: WordsConfig, vocabulary: int, width: int, dropout: float) -> None:
        super().__init__()
        self.embedding = _embedding(vocabulary, width)
        self.missed = MissedWords(max(dropout, MISSED))
        self.dropout = nn.Dropout(dropout)
        self.gru = nn.GRU(width, width // 2, config.layers, batch_first=True, bidirectional=True)

    def forward(self, instructions: Instructions) -> Words:
        """Return a state a word, and the summary."""
        valid = instructions.ids != PADDING
        x = self.dropout(self.embedding(self.missed(instructions.ids)))
        packed = pack_padded_sequence(x, valid.sum(1).cpu(), batch_first=True, enforce_sorted=False)
        states, last = self.gru(packed)
        states, _ = pad_packed_sequence(states, batch_first=True, total_length=valid.shape[1])
        return Words(states, valid, torch.cat((last[-2], last[-1]), 1))


class TransformerWords(nn.Module):
    """Learned words that attend to each other; the summary is their mean."""

    def __init__(self, config: WordsConfig, vocabulary: int, width: int, dropout: float) -> None:
        super().__init__()
        self.embedding = _embedding(vocabulary, width)
        self.missed = MissedWords(max(dropout, MISSED))
        self.register_buffer("positions", _sinusoid(config.max_words, width), persistent=False)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, max(1, width // 32), 4 * width, dropout, F.gelu, batch_first=True, norm_first=True
            )
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(width)

    positions: Tensor

    def forward(self, instructions: Instructions) -> Words:
        """Return a state a word, and the summary."""
        valid = instructions.ids != PADDING
        x = self.embedding(self.missed(instructions.ids)) + self.positions[: valid.shape[1]]
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=~valid)
        x = self.norm(x) * valid[..., None]
        return Words(x, valid, x.sum(1) / valid.sum(1, keepdim=True))


class TowerWords(nn.Module):
    """The encoder's own text tower, frozen, and a linear map of its states; the summary is its end token's.

    The tower is the perception's: it is neither a part of this module nor saved with it.

    Args:
        tower: It is not copied, and not trained.
        width: Width W of the states.
    """

    def __init__(self, tower: TextTower, width: int) -> None:
        super().__init__()
        self._tower = (tower,)  # in a tuple: no submodule
        self.norm = nn.LayerNorm(tower.config.trunk.width)
        self.proj = nn.Linear(tower.config.trunk.width, width)

    def forward(self, instructions: Instructions) -> Words:
        """Return a state a token, and the summary."""
        ids, tower = instructions.ids, self._tower[0]
        with torch.no_grad():
            states = tower.states(ids.to(tower.positions.device)).to(self.proj.weight)
        end = ids.argmax(1)
        valid = torch.arange(ids.shape[1], device=ids.device) <= end[:, None]
        states = self.proj(self.norm(states))
        return Words(states, valid, states[torch.arange(len(ids), device=ids.device), end])


def create_words(config: WordsConfig, reader: Reader, width: int, dropout: float, tower: TextTower | None) -> nn.Module:
    """Return what makes `Words` of a width of the instructions that a reader gives.

    Raises:
        ValueError: If it is to be the encoder's tower, and that has none.
    """
    if config.encoder == "tower":
        if tower is None:
            raise ValueError("words.encoder is tower, but the encoder has no text tower; take gru or transformer")
        return TowerWords(tower, width)
    if not isinstance(reader, Vocabulary):
        raise TypeError(
            f"words.encoder is {config.encoder}, which reads by a Vocabulary, not a {type(reader).__name__}"
        )
    kind = GRUWords if config.encoder == "gru" else TransformerWords
    return kind(config, len(reader), width, dropout)


def _embedding(vocabulary: int, width: int) -> nn.Embedding:
    embedding = nn.Embedding(vocabulary, width, padding_idx=PADDING)
    nn.init.normal_(embedding.weight, std=0.5)
    with torch.no_grad():
        embedding.weight[PADDING].zero_()
    return embedding


def _sinusoid(length: int, width: int) -> Tensor:
    """Return positions, float (length, width); of the embedding's size. Source: Vaswani et al., 2017, section 3.5."""
    angles = torch.arange(length)[:, None] * 10000 ** (-torch.arange(0, width, 2) / width)
    return 0.5 * torch.stack((angles.sin(), angles.cos()), -1).flatten(1)[:, :width]
