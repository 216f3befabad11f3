"""Text from a model of the next token: greedy, beam search, nucleus sampling; and captions of clips by them.

`generate` knows nothing of clips or CLIP, only of a `StepModel`. `CaptionSteps` makes one of the text tower and the
caption decoder, and remembers keys and values, so that a step computes one token however long the text is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from navloop.configs.generation import Beam, Greedy, Nucleus, Strategy
from navloop.encoders.beam import BeamSearch
from navloop.encoders.captioner import CaptionDecoder
from navloop.encoders.text import END, PADDING, START, VOCABULARY, TextTower

NUCLEUS_GUESS = 512
"""Tokens that are sorted first; they hold most nuclei, and sorting a vocabulary costs more than the model's step."""


class StepModel(Protocol):
    """R texts that grow, token by token.

    The texts of a prompt are adjacent: with B prompts, text i belongs to prompt i // (R / B).
    """

    def step(self, ids: Tensor) -> Tensor:
        """Append int64 (R, n) to the texts, at first to empty ones; return logits of what comes next, float (R, V)."""

    def reorder(self, rows: Tensor) -> None:
        """Let text i go on from what text `rows[i]`, of the same prompt, was; int64 (R,)."""


@dataclass(frozen=True, slots=True)
class Generated:
    """Texts, `count` for each of B prompts; those of a prompt are adjacent, and a beam's best comes first."""

    ids: Tensor
    """int64 (B * count, L): the prompt, what follows it, the end token unless L came first, and padding, 0."""
    scores: Tensor
    """float32 (B * count,), log-probability of what follows the prompt, as the model has it: without temperature,
    nucleus or length penalty. -inf where a beam is wider than there are texts."""


@torch.no_grad()
def generate(
    model: StepModel,
    prompt: Tensor,
    strategy: Strategy,
    *,
    length: int,
    end: int,
    generator: torch.Generator | None = None,
) -> Generated:
    """Let texts grow until each has ended or has `length` tokens.

    Args:
        model: What says how likely each next token is. It has seen nothing yet, and is used up.
        prompt: int64 (B, P), how the texts begin.
        strategy: How tokens are chosen.
        length: Tokens L of a text at most, prompt and end included.
        end: Token that ends a text.
        generator: Source of randomness, on the model's device; only `Nucleus` needs it.

    Raises:
        TypeError: If the strategy is none of `Greedy`, `Beam` and `Nucleus`.
        ValueError: If the prompt is not int64 (B, P) or leaves no room, or `Nucleus` has no generator.
    """
    if not isinstance(strategy, Greedy | Beam | Nucleus):
        raise TypeError(f"strategy is {strategy!r}; pass Greedy(), Beam() or Nucleus() of navloop.configs.generation")
    if prompt.dtype != torch.int64 or prompt.ndim != 2 or 0 in prompt.shape:
        raise ValueError(f"prompt is {prompt.dtype} {tuple(prompt.shape)}, not torch.int64 (B, P) with B, P >= 1")
    if prompt.shape[1] >= length:
        raise ValueError(f"a prompt of length {prompt.shape[1]} leaves no room in texts of length {length}")
    if isinstance(strategy, Beam):
        return _search(model, prompt, strategy, length, end)
    if isinstance(strategy, Greedy):
        return _walk(model, prompt, partial(torch.argmax, dim=-1), length, end)
    if generator is None:
        raise ValueError("Nucleus draws at random: pass a generator, a torch.Generator on the model's device")
    choose = partial(_draw, strategy=strategy, generator=generator)
    return _walk(model, prompt.repeat_interleave(strategy.count, dim=0), choose, length, end)


def _walk(model: StepModel, prompt: Tensor, choose: Callable[[Tensor], Tensor], length: int, end: int) -> Generated:
    """Extend each text by the token, of (R,), that `choose` takes by the log-probabilities, (R, V)."""
    ids = _padded(prompt, length)
    scores = torch.zeros(len(ids), device=ids.device)
    ended = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    step = prompt
    for position in range(prompt.shape[1], length):
        log_probs = model.step(step).float().log_softmax(dim=-1)
        step = choose(log_probs)[:, None]  # (R, 1)
        scores += log_probs.gather(1, step)[:, 0].masked_fill(ended, 0)
        step = step.masked_fill(ended[:, None], PADDING)
        ids[:, position] = step[:, 0]
        ended |= step[:, 0] == end
        if ended.all():
            break
    return Generated(ids, scores)


def _draw(log_probs: Tensor, strategy: Nucleus, generator: torch.Generator) -> Tensor:
    """Return a token of each row's nucleus, int64 (R,)."""
    probs = (log_probs / strategy.temperature).softmax(dim=-1)
    if strategy.top_p == 1:
        return torch.multinomial(probs, 1, generator=generator)[:, 0]
    for size in (min(NUCLEUS_GUESS, probs.shape[-1]), probs.shape[-1]):
        likeliest, tokens = probs.topk(size)
        if (likeliest.sum(dim=-1) >= strategy.top_p).all():
            break
    before = likeliest.cumsum(dim=-1) - likeliest  # what likelier tokens have; 0 for the first, so one is always left
    drawn = torch.multinomial(likeliest.masked_fill(before >= strategy.top_p, 0), 1, generator=generator)
    return tokens.gather(1, drawn)[:, 0]


def _search(model: StepModel, prompt: Tensor, strategy: Beam, length: int, end: int) -> Generated:
    search = BeamSearch(_padded(prompt, length), prompt.shape[1], strategy, end)
    step = prompt.repeat_interleave(strategy.width, dim=0)
    for position in range(prompt.shape[1], length):
        rows = search.advance(model.step(step).float().log_softmax(dim=-1), position)
        if search.over.all():
            break
        model.reorder(rows)
        step = search.live.ids[..., position].view(-1, 1)
    found = search.result()
    return Generated(found.ids.flatten(0, 1), found.scores.flatten())


def _padded(prompt: Tensor, length: int) -> Tensor:
    ids = prompt.new_full((len(prompt), length), PADDING)
    ids[:, : prompt.shape[1]] = prompt
    return ids


class CaptionSteps:
    """A `StepModel` of captions: both transformers remember the tokens so far, and the clips are pooled once.

    Args:
        text: Makes the states.
        captioner: Reads them and the clips.
        video_tokens: float (B, M, W), as for `CaptionDecoder`; each clip may have several texts.
        length: Tokens of a text at most; None takes the text tower's context.
    """

    def __init__(
        self, text: TextTower, captioner: CaptionDecoder, video_tokens: Tensor, length: int | None = None
    ) -> None:
        capacity = text.config.context if length is None else length
        self._text, self._captioner = text, captioner
        self._pooled = captioner.pool(video_tokens)
        self._text_caches = text.create_caches(capacity)
        self._caption_caches = captioner.create_caches(capacity)

    def step(self, ids: Tensor) -> Tensor:
        """Append int64 (R, n) to the texts and return logits of what comes next, float (R, V)."""
        states = self._text.states(ids, self._text_caches)
        return self._captioner.decode(self._pooled, states, self._caption_caches)[:, -1]

    def reorder(self, rows: Tensor) -> None:
        """Let text i go on from what text `rows[i]`, of the same clip, was; int64 (R,)."""
        for cache in (*self._text_caches, *(layer.text for layer in self._caption_caches)):
            cache.reorder(rows)


@torch.no_grad()
def caption(
    text: TextTower,
    captioner: CaptionDecoder,
    video_tokens: Tensor,
    strategy: Strategy,
    *,
    length: int | None = None,
    generator: torch.Generator | None = None,
) -> Generated:
    """Say what is to be seen in clips, in CLIP's tokens; `navloop.encoders.text.detokenize` makes words of them.

    Args:
        text: Text tower with CLIP's vocabulary.
        captioner: The decoder that was trained with it.
        video_tokens: float (B, M, W), as for `CaptionDecoder`.
        strategy: How tokens are chosen.
        length: Tokens L of a caption at most, start and end included; None takes the text tower's context.
        generator: Source of randomness, on the model's device; only `Nucleus` needs it.

    Raises:
        TypeError: If the strategy is none of `Greedy`, `Beam` and `Nucleus`.
        ValueError: If the vocabulary is not CLIP's, `length` is not from 2 to the context, or `Nucleus` has no
            generator.
    """
    context = text.config.context
    length = context if length is None else length
    if text.config.vocabulary != VOCABULARY:
        raise ValueError(
            f"this text tower knows {text.config.vocabulary} tokens, not CLIP's {VOCABULARY}; use generate"
        )
    if not 2 <= length <= context:
        raise ValueError(f"a caption of {length} tokens is not possible; from 2 to the context of {context} are")
    prompt = torch.full((len(video_tokens), 1), START, device=video_tokens.device)
    steps = CaptionSteps(text, captioner, video_tokens, length)
    return generate(steps, prompt, strategy, length=length, end=END, generator=generator)
