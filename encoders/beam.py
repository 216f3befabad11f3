"""Beam search over texts: which to keep, which have ended, when no better one can come. It knows no model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from navloop.configs.generation import Beam


@dataclass(frozen=True, slots=True)
class Texts:
    """K texts of each of B prompts."""

    ids: Tensor
    """int64 (B, K, L)."""
    scores: Tensor
    """float32 (B, K), log-probability; -inf where there is no text."""
    ranks: Tensor
    """float32 (B, K), by which they compete; -inf where there is no text."""

    def only(self, kept: Tensor) -> Texts:
        """Return them without those that are not `kept`, bool (B, K)."""
        return Texts(self.ids, self.scores.where(kept, -torch.inf), self.ranks.where(kept, -torch.inf))

    def joined(self, other: Texts) -> Texts:
        """Return the texts of both."""
        ids = torch.cat((self.ids, other.ids), dim=1)
        return Texts(ids, torch.cat((self.scores, other.scores), 1), torch.cat((self.ranks, other.ranks), 1))

    def picked(self, index: Tensor) -> Texts:
        """Return texts by number, int64 (B, K')."""
        ids = self.ids.gather(1, index[..., None].expand(-1, -1, self.ids.shape[-1]))
        return Texts(ids, self.scores.gather(1, index), self.ranks.gather(1, index))

    def best(self, count: int) -> Texts:
        """Return the first by rank, best first."""
        return self.picked(self.ranks.topk(count).indices)


class BeamSearch:
    """The likeliest texts, or nearly so, of each of B prompts.

    Of the continuations of the live texts, those that end and are among the `width` best join the ended ones; the
    `width` best of the others live on. What a prompt's search finds does not depend on the other prompts.

    Args:
        ids: int64 (B, L), prompts with padding behind.
        start: Tokens of a prompt.
        strategy: Width and how texts compete.
        end: Token that ends a text.

    Attributes:
        live: The texts that grow, `width` a prompt.
        ended: The best that have ended, `width` a prompt.
        over: bool (B,), whether the search is over.
    """

    def __init__(self, ids: Tensor, start: int, strategy: Beam, end: int) -> None:
        self._start, self._strategy, self._end = start, strategy, end
        nothing = torch.full((len(ids), strategy.width), -torch.inf, device=ids.device)
        self.ended = Texts(ids[:, None].repeat(1, strategy.width, 1), nothing, nothing)
        scores = nothing.clone()
        scores[:, 0] = 0  # all are the same prompt: one of them may grow
        self.live = Texts(self.ended.ids, scores, scores)
        self.over = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)

    def advance(self, log_probs: Tensor, position: int) -> Tensor:
        """Let each live text grow by a token.

        Args:
            log_probs: float32 (B * width, V), of what comes next.
            position: Where in a text the token stands.

        Returns:
            int64 (B * width,), which row each live text was, before it grew.
        """
        width = self._strategy.width
        grown, parents = self._continuations(log_probs, position)
        ends = grown.ids[..., position] == self._end
        among_best = torch.arange(ends.shape[1], device=ends.device) < width
        self.ended = self.ended.joined(grown.only(ends & among_best & ~self.over[:, None])).best(width)
        alive = grown.only(~ends)
        index = alive.ranks.topk(width).indices
        self.live = alive.picked(index)
        self.over |= self._cannot_improve()
        first_rows = torch.arange(len(parents), device=parents.device)[:, None] * width
        return (first_rows + parents.gather(1, index)).flatten()

    def _continuations(self, log_probs: Tensor, position: int) -> tuple[Texts, Tensor]:
        """Return the best 2 * width of each prompt, best first, and which live text each is from, (B, 2 * width)."""
        num_prompts, width = self.live.scores.shape
        vocabulary = log_probs.shape[-1]
        totals = self.live.scores[..., None] + log_probs.view(num_prompts, width, vocabulary)
        # At most `width` of them end, one for each live text, so `width` are left to live on.
        scores, index = totals.flatten(1).topk(min(2 * width, width * vocabulary))
        parents, tokens = index // vocabulary, index % vocabulary
        ids = self.live.picked(parents).ids
        ids[..., position] = tokens
        return Texts(ids, scores, scores / self._divisor(position + 1)), parents

    def _divisor(self, length: int) -> float:
        return float((length - self._start) ** self._strategy.length_penalty)

    def _cannot_improve(self) -> Tensor:
        # A log-probability only falls, so a live text will never rank above this.
        bound = self.live.scores[:, 0] / self._divisor(self.live.ids.shape[-1])
        over = bound <= self.ended.ranks[:, self._strategy.count - 1]
        return over | (self.ended.ranks[:, -1] > -torch.inf) if self._strategy.early_stop else over

    def result(self) -> Texts:
        """Return the best `count` texts of each prompt; where the search is not over, live ones compete as they are."""
        return self.ended.joined(self.live.only(~self.over[:, None])).best(self._strategy.count)
