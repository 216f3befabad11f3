"""The streaming policy: a causal transformer over the walk, one token a step, that reads words and looks at the frame.

A step writes its keys and values once and never computes them again, so it costs the same however long the walk is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from navloop.agent.percepts import Layout
from navloop.agent.policies.attention import CausalAttention, HeldWords, Past, WordAttention
from navloop.agent.policies.parts import ACTIONS, POSE, Heads, Reckoning
from navloop.agent.policies.policy import Policy, PolicyOutput, PolicyState, WalkBatch
from navloop.agent.policies.sight import Seen, Sight, SightWidths
from navloop.agent.policies.words import Instructions, Reader, Words, create_words
from navloop.configs.agents import HEADS, LAYERS, MEMORY, PolicyConfig
from navloop.encoders.cross_attention import CrossAttention
from navloop.encoders.text import TextTower


class StreamingLayer(nn.Module):
    """One pre-norm layer: to the past, to the words, to the newest frame, MLP."""

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        width, heads = config.width, config.heads or HEADS
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))
        self.past = CausalAttention(width, heads, config.memory or MEMORY)
        self.words = WordAttention(width, heads)
        self.frame = CrossAttention(width, width // 2, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, held: HeldWords, tokens: Tensor) -> Tensor:
        """Map walks (B, S, W), with the tokens that each step sees (B * S, m, W), to (B, S, W)."""
        x = x + self.dropout(self.past(self.norms[0](x)))
        return self._read(x, held, tokens)

    def step(self, x: Tensor, held: HeldWords, tokens: Tensor, past: Past, ages: Tensor, filled: int) -> Tensor:
        """Map one step (E, W) to (E, W)."""
        x = x + self.past.step(self.norms[0](x), past, ages, filled)
        return self._read(x[:, None], held, tokens)[:, 0]

    def _read(self, x: Tensor, held: HeldWords, tokens: Tensor) -> Tensor:
        x = x + self.dropout(self.words(self.norms[1](x), held))
        looked = self.frame(self.norms[2](x).flatten(0, 1)[:, None], tokens)
        x = x + self.dropout(looked.view_as(x))
        return x + self.dropout(self.mlp(self.norms[3](x)))  # type: ignore[no-any-return]


class StreamingPolicy(Policy):
    """A causal transformer over the walk.

    A step is one token: what is seen, the action before it, where one stands. In each layer it attends to the steps
    before it, to the words, and to the places of its own frame.

    Args:
        config: Sizes and options.
        layout: Of the percepts.
        reader: What turns texts into ids.
        tower: The encoder's text tower, if the policy reads by it.
    """

    def __init__(self, config: PolicyConfig, layout: Layout, reader: Reader, tower: TextTower | None = None) -> None:
        super().__init__()
        self.config, self.reader = config, reader
        width = config.width
        self.words = create_words(config.words, reader, width, config.dropout, tower)
        self.sight = Sight(layout, SightWidths(width // 2, width, width // 2, width), config.dropout)
        self.norm_tokens = nn.LayerNorm(width // 2)
        self.previous = nn.Embedding(ACTIONS + 1, width) if config.previous_action else None
        self.reckoning = None if config.turn_deg is None else Reckoning(config.turn_deg, width)
        self.summary = nn.Linear(width, width)
        self.layers = nn.ModuleList(StreamingLayer(config) for _ in range(config.layers or LAYERS))
        self.norm = nn.LayerNorm(width)
        self.heads = Heads(width, config.progress, stop=True)
        self._initialise()

    def _initialise(self) -> None:
        """Let residual branches start small, as many as there are. Source: Radford et al., GPT-2, section 2.3."""
        if self.previous is not None:
            nn.init.normal_(self.previous.weight, std=0.5)
        scale = (4 * len(self.layers)) ** -0.5
        with torch.no_grad():
            for layer in self._stack:
                for last in (layer.past.proj, layer.words.proj, layer.frame.proj, layer.mlp[2]):
                    cast(nn.Linear, last).weight.mul_(scale)

    @property
    def _stack(self) -> list[StreamingLayer]:
        return cast("list[StreamingLayer]", list(self.layers))

    def forward(self, batch: WalkBatch) -> PolicyOutput:
        """Return logits and progress at every step of whole walks."""
        walks, steps = batch.valid.shape
        words: Words = self.words(batch.instructions)
        seen = self.sight(batch.percepts.flatten(0, 1), batch.valid.flatten())
        x = seen.vector.view(walks, steps, -1) + self.summary(words.summary)[:, None]
        if seen.depth_vector is not None:
            x = x + seen.depth_vector.view_as(x)
        pose = None if self.reckoning is None else self.reckoning.poses(batch.previous_actions)
        x = self._with_history(x, batch.previous_actions, pose)
        tokens = self._tokens(seen)
        for layer in self._stack:
            x = layer(x, layer.words.hold(words), tokens)
        x = self.norm(x)
        logits, progress = self.heads(x)
        return PolicyOutput(logits, progress, x)

    def _tokens(self, seen: Seen) -> Tensor:
        """Return what layers look at of each step's frame, (N, m, W / 2)."""
        tokens = seen.tokens if seen.depth is None else torch.cat((seen.tokens, seen.depth), 1)
        return self.norm_tokens(tokens)  # type: ignore[no-any-return]

    def _with_history(self, x: Tensor, previous_actions: Tensor, pose: Tensor | None) -> Tensor:
        if self.previous is not None:
            x = x + self.previous(previous_actions)
        if self.reckoning is not None:
            x = x + self.reckoning(pose)
        return x

    @torch.no_grad()
    def begin(self, instructions: Instructions) -> PolicyState:
        """Return the state of E environments at their starts."""
        weight = self.norm.weight
        heads, memory = self.config.heads or HEADS, self.config.memory or MEMORY
        past = [Past(len(instructions), memory, self.config.width // heads, weight) for _ in self.layers]
        words, held = self._hold(instructions)
        ages = torch.zeros(len(instructions), dtype=torch.int64, device=weight.device)
        return PolicyState((words, held), (past, ages), weight.new_zeros(len(instructions), POSE))

    @torch.no_grad()
    def restart(self, state: PolicyState, places: Sequence[int], instructions: Instructions) -> None:
        """Let the environments at `places` start anew, in place; the others go on."""
        rows = torch.as_tensor(places, device=state.pose.device)
        words, held = state.words
        words.put(rows, self._hold(instructions)[0])
        held[:] = [layer.words.hold(words) for layer in self._stack]
        state.memory[1][rows] = 0
        state.pose[rows] = 0

    def _hold(self, instructions: Instructions) -> tuple[Words, list[HeldWords]]:
        words = self.words(instructions.to(self.norm.weight.device))
        return words, [layer.words.hold(words) for layer in self._stack]

    @torch.no_grad()
    def step(self, percepts: Tensor, previous_actions: Tensor, state: PolicyState) -> PolicyOutput:
        """Take one step with every environment."""
        (words, held), (past, ages) = state.words, state.memory
        seen = self.sight(percepts)
        x = seen.vector + self.summary(words.summary)
        if seen.depth_vector is not None:
            x = x + seen.depth_vector
        if self.reckoning is not None:
            state.pose = self.reckoning.advance(state.pose, previous_actions)
        x = self._with_history(x, previous_actions, state.pose)
        tokens = self._tokens(seen)
        filled = min(int(ages.max()) + 1, self.config.memory or MEMORY)
        for layer, held_words, layer_past in zip(self._stack, held, past, strict=True):
            x = layer.step(x, held_words, tokens, layer_past, ages, filled)
        ages += 1
        x = self.norm(x)
        logits, progress = self.heads(x)
        return PolicyOutput(logits, progress, x)
