"""CMA, the cross-modal attention of VLN-CE: the state asks the words, and what they say asks the frame."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from navloop.agent.percepts import Layout
from navloop.agent.policies.recurrent import RecurrentPolicy, create_gru
from navloop.agent.policies.sight import Seen
from navloop.agent.policies.words import Reader, Words
from navloop.configs.agents import PolicyConfig
from navloop.encoders.text import TextTower


class CMAPolicy(RecurrentPolicy):
    """Two recurrent states: the first follows the walk and reads the words, the second decides.

    Args:
        config: Sizes and options.
        layout: Of the percepts.
        reader: What turns texts into ids.
        tower: The encoder's text tower, if the policy reads by it.

    Source: Krantz et al., Beyond the Nav-Graph, ECCV 2020, section 4.2; differs in: words are learned, and what is seen
    comes from any encoder, with a summary among its places.
    """

    memories = 2

    def __init__(self, config: PolicyConfig, layout: Layout, reader: Reader, tower: TextTower | None = None) -> None:
        width = config.width
        words_width, half = width // 2, width // 2
        super().__init__(config, layout, reader, tower, words_width)
        self.first = create_gru(self.seen_width, width)
        self.word_query, self.word_key = nn.Linear(width, half), nn.Linear(words_width, half)
        self.place_query = nn.Linear(words_width, half)
        self.frame_key_value = nn.Linear(width // 2, half + width // 2)
        self.depth_key_value = nn.Linear(width // 4, half + width // 4) if layout.depth else None
        acted = self.seen_width - width // 2 - (width // 4 if layout.depth else 0)
        joined = width + words_width + width // 2 + (width // 4 if layout.depth else 0) + acted
        self.compress = nn.Linear(joined, width)
        self.second = create_gru(width, width)
        self._acted, self._half = acted, half

    def run(self, seen: Seen, vector: Tensor, words: Words, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Go on for S steps of B walks."""
        state, first = self.first(vector, memory[:1].contiguous())
        query = self.word_query(state)  # (B, S, W / 2)
        read = _attend(query, self.word_key(words.states), words.states, words.valid[:, None])  # (B, S, W / 2)
        question = self.place_query(read).flatten(0, 1)[:, None]  # (B * S, 1, W / 2)
        found = [self._look(question, self.frame_key_value, seen.tokens)]
        if self.depth_key_value is not None and seen.depth is not None:
            found.append(self._look(question, self.depth_key_value, seen.depth))
        looked = [x.view(*state.shape[:2], -1) for x in found]
        acted = vector[..., vector.shape[-1] - self._acted :]
        joined = torch.cat((state, read, *looked, acted), -1)
        state, second = self.second(F.relu(self.compress(joined)), memory[1:].contiguous())
        return state, torch.cat((first, second))

    def _look(self, question: Tensor, key_value: nn.Linear, tokens: Tensor) -> Tensor:
        keys, values = key_value(tokens).split((self._half, key_value.out_features - self._half), -1)
        return _attend(question, keys, values)


def _attend(queries: Tensor, keys: Tensor, values: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return scaled dot-product attention with one head: queries (B, S, d), keys (B, L, d), values (B, L, d')."""
    scores = queries @ keys.mT * queries.shape[-1] ** -0.5
    if valid is not None:
        scores = scores.masked_fill(~valid, -torch.inf)
    return scores.softmax(-1) @ values  # type: ignore[no-any-return]
