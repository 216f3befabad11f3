"""What Seq2Seq and CMA share: the state of a walk is that of gated recurrent units, one step after the other."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from navloop.agent.percepts import Layout
from navloop.agent.policies.parts import ACTIONS, POSE, Heads, Reckoning
from navloop.agent.policies.policy import Policy, PolicyOutput, PolicyState, WalkBatch
from navloop.agent.policies.sight import Seen, Sight, SightWidths
from navloop.agent.policies.words import Instructions, Reader, Words, create_words
from navloop.configs.agents import PolicyConfig
from navloop.encoders.text import TextTower


class RecurrentPolicy(Policy):
    """Eyes, words and memory of a recurrent policy; what it does with them is its own.

    Args:
        config: Sizes and options.
        layout: Of the percepts.
        reader: What turns texts into ids.
        tower: The encoder's text tower, if the policy reads by it.
        words_width: Width of a word's state.
    """

    def __init__(
        self, config: PolicyConfig, layout: Layout, reader: Reader, tower: TextTower | None, words_width: int
    ) -> None:
        super().__init__()
        self.config, self.reader = config, reader
        width = config.width
        self.words = create_words(config.words, reader, words_width, config.dropout, tower)
        self.sight = Sight(layout, SightWidths(width // 2, width // 2, width // 4, width // 4), config.dropout)
        self.previous_width = max(8, width // 16)
        self.previous = nn.Embedding(ACTIONS + 1, self.previous_width) if config.previous_action else None
        self.reckoning = None if config.turn_deg is None else Reckoning(config.turn_deg, self.previous_width)
        self.dropout = nn.Dropout(config.dropout)
        self.heads = Heads(width, config.progress, stop=False)
        parts = [width // 2, self.previous is not None and self.previous_width, self.reckoning and self.previous_width]
        self.seen_width = sum(int(part or 0) for part in parts) + (width // 4 if layout.depth else 0)

    @abstractmethod
    def run(self, seen: Seen, vector: Tensor, words: Words, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Go on for S steps of B walks.

        Args:
            seen: Of the B * S steps.
            vector: float (B, S, `seen_width`), what is seen at each step and was done before it.
            words: Of the B instructions.
            memory: float (layers, B, W), states before the first of these steps.

        Returns:
            States for the heads (B, S, W), and the memory after the last step.
        """

    @property
    @abstractmethod
    def memories(self) -> int:
        """Recurrent states that a walk has."""

    def forward(self, batch: WalkBatch) -> PolicyOutput:
        """Return logits and progress at every step of whole walks."""
        words: Words = self.words(batch.instructions)
        pose = None if self.reckoning is None else self.reckoning.poses(batch.previous_actions)
        seen = self.sight(batch.percepts.flatten(0, 1), batch.valid.flatten())
        memory = words.states.new_zeros(self.memories, len(batch.valid), self.config.width)
        state, _ = self.run(seen, self._vector(seen, batch.previous_actions, pose), words, memory)
        state = self.dropout(state)
        logits, progress = self.heads(state)
        return PolicyOutput(logits, progress, state)

    def _vector(self, seen: Seen, previous_actions: Tensor, pose: Tensor | None) -> Tensor:
        shape = previous_actions.shape
        parts = [F.relu(seen.vector).view(*shape, -1)]
        if seen.depth_vector is not None:
            parts.append(F.relu(seen.depth_vector).view(*shape, -1))
        if self.previous is not None:
            parts.append(self.previous(previous_actions))
        if self.reckoning is not None:
            parts.append(self.reckoning(pose))
        return self.dropout(torch.cat(parts, -1))  # type: ignore[no-any-return]

    @torch.no_grad()
    def begin(self, instructions: Instructions) -> PolicyState:
        """Return the state of E environments at their starts."""
        words: Words = self.words(instructions.to(self.heads.action.weight.device))
        memory = words.states.new_zeros(self.memories, len(instructions), self.config.width)
        return PolicyState(words, memory, words.states.new_zeros(len(instructions), POSE))

    @torch.no_grad()
    def restart(self, state: PolicyState, places: Sequence[int], instructions: Instructions) -> None:
        """Let the environments at `places` start anew, in place; the others go on."""
        rows = torch.as_tensor(places, device=state.pose.device)
        state.words.put(rows, self.words(instructions.to(state.pose.device)))
        state.memory[:, rows] = 0
        state.pose[rows] = 0

    @torch.no_grad()
    def step(self, percepts: Tensor, previous_actions: Tensor, state: PolicyState) -> PolicyOutput:
        """Take one step with every environment."""
        if self.reckoning is not None:
            state.pose = self.reckoning.advance(state.pose, previous_actions)
        seen = self.sight(percepts)
        vector = self._vector(seen, previous_actions, state.pose)[:, None]
        hidden, state.memory = self.run(seen, vector, state.words, state.memory)
        newest = self.dropout(hidden[:, 0])
        logits, progress = self.heads(newest)
        return PolicyOutput(logits, progress, newest)


def create_gru(inputs: int, width: int) -> nn.GRU:
    """Return a recurrent layer whose weights are orthogonal. Source: VLN-CE's state encoder, after habitat-baselines."""
    gru = nn.GRU(inputs, width, batch_first=True)
    for name, parameter in gru.named_parameters():
        if name.startswith("weight"):
            nn.init.orthogonal_(parameter)
        else:
            nn.init.zeros_(parameter)
    return gru
