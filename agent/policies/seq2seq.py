"""Seq2Seq, the first policy of VLN-CE: one recurrent state over what is seen, and the instruction as one vector."""

from __future__ import annotations

import torch
from torch import Tensor

from navloop.agent.percepts import Layout
from navloop.agent.policies.recurrent import RecurrentPolicy, create_gru
from navloop.agent.policies.sight import Seen
from navloop.agent.policies.words import Reader, Words
from navloop.configs.agents import PolicyConfig
from navloop.encoders.text import TextTower


class Seq2SeqPolicy(RecurrentPolicy):
    """Read the instruction once, then walk.

    Args:
        config: Sizes and options.
        layout: Of the percepts.
        reader: What turns texts into ids.
        tower: The encoder's text tower, if the policy reads by it.

    Source: Krantz et al., Beyond the Nav-Graph, ECCV 2020, section 4.1; differs in: words are learned, and what is seen
    comes from any encoder, each place of the frame with weights of its own.
    """

    memories = 1

    def __init__(self, config: PolicyConfig, layout: Layout, reader: Reader, tower: TextTower | None = None) -> None:
        words_width = config.width // 4
        super().__init__(config, layout, reader, tower, words_width)
        self.gru = create_gru(self.seen_width + words_width, config.width)

    def run(self, seen: Seen, vector: Tensor, words: Words, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Go on for S steps of B walks."""
        summary = words.summary[:, None].expand(-1, vector.shape[1], -1)
        state, memory = self.gru(torch.cat((summary, vector), -1), memory)
        return state, memory
