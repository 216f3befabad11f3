"""Generation: searches against enumeration, draws against the distribution, caches against computing all again."""

import itertools
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from scipy.stats import chisquare
from torch import Tensor

from navloop.configs.encoders import CaptionerConfig, TextConfig, TransformerConfig
from navloop.configs.generation import Beam, Greedy, Nucleus, Strategy
from navloop.encoders.captioner import CaptionDecoder
from navloop.encoders.generation import CaptionSteps, Generated, StepModel, caption, generate
from navloop.encoders.losses import caption_loss
from navloop.encoders.text import TextTower, detokenize

END = 1
STRATEGIES = (
    Greedy(),
    Beam(width=3, count=2),
    Beam(width=4, length_penalty=0.3, early_stop=False),
    Nucleus(top_p=0.8, temperature=1.3, count=2),
)


@dataclass
class Chain:
    """Texts whose next token depends on the prompt and the last two tokens, by a table (B, V, V, V) of logits."""

    logits: Tensor
    ids: Tensor | None = field(default=None)

    def step(self, ids: Tensor) -> Tensor:
        self.ids = ids if self.ids is None else torch.cat((self.ids, ids), 1)
        clips = torch.arange(len(self.logits)).repeat_interleave(len(self.ids) // len(self.logits))
        before = self.ids[:, -2] if self.ids.shape[1] > 1 else torch.zeros(len(self.ids), dtype=torch.int64)
        return self.logits[clips, before, self.ids[:, -1]]

    def reorder(self, rows: Tensor) -> None:
        assert self.ids is not None
        self.ids = self.ids[rows]

    def score(self, clip: int, text: list[int]) -> float:
        """Log-probability of a text's tokens from the second to its end, without padding."""
        table = self.logits[clip].double().log_softmax(-1)
        triples = zip([0, *text], text, text[1:], strict=False)
        return sum(float(table[before, last, token]) for before, last, token in triples)


def chain(clips: int, vocabulary: int, seed: int, scale: float = 2.0) -> Chain:
    shape = (clips, vocabulary, vocabulary, vocabulary)
    return Chain(scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed)))


def fresh(model: Chain) -> Chain:
    return Chain(model.logits)


def prompts(clips: int) -> Tensor:
    return torch.full((clips, 1), 2)


def run(model: Chain, strategy: Strategy, length: int, seed: int = 0) -> Generated:
    generator = torch.Generator().manual_seed(seed)
    prompt = prompts(len(model.logits))
    return generate(fresh(model), prompt, strategy, length=length, end=END, generator=generator)


def unpadded(row: Tensor) -> list[int]:
    text: list[int] = row.tolist()
    return text[: text.index(END) + 1] if END in text else text


def all_texts(vocabulary: int, length: int) -> list[list[int]]:
    """Every text that starts with 2 and ends at END or at `length`."""
    others = [token for token in range(vocabulary) if token != END]
    texts = [[2, *middle] for middle in itertools.product(others, repeat=length - 1)]
    for size in range(length - 1):
        texts += [[2, *middle, END] for middle in itertools.product(others, repeat=size)]
    return texts


@given(seed=st.integers(0, 999), penalty=st.sampled_from([0.0, 0.5, 1.0, 2.0]), early=st.booleans())
@settings(max_examples=25, deadline=None)
def test_a_beam_wide_enough_finds_what_enumeration_finds(seed: int, penalty: float, early: bool) -> None:
    model, length = chain(2, 4, seed), 5
    texts = all_texts(4, length)
    beam = Beam(width=len(texts), count=3, length_penalty=penalty, early_stop=early)
    found = run(model, beam, length)
    for clip in range(2):
        ranked = sorted(texts, key=lambda text: -model.score(clip, text) / (len(text) - 1) ** penalty)
        ids, scores = found.ids[3 * clip : 3 * clip + 3], found.scores[3 * clip : 3 * clip + 3]
        assert [unpadded(row) for row in ids] == ranked[:3]
        assert scores.tolist() == pytest.approx([model.score(clip, text) for text in ranked[:3]], abs=1e-4)


@given(seed=st.integers(0, 999), penalty=st.sampled_from([0.0, 1.0, 2.0]))
@settings(max_examples=25, deadline=None)
def test_a_beam_of_one_is_greedy(seed: int, penalty: float) -> None:
    model = chain(8, 5, seed)
    greedy, beam = run(model, Greedy(), 9), run(model, Beam(width=1, length_penalty=penalty), 9)
    assert torch.equal(greedy.ids, beam.ids)
    torch.testing.assert_close(greedy.scores, beam.scores)


def test_a_beam_finds_likelier_texts_than_greedy() -> None:
    model = chain(60, 6, seed=0, scale=1.0)
    beam = Beam(width=8, length_penalty=0, early_stop=False)
    gained = run(model, beam, 8).scores - run(model, Greedy(), 8).scores
    assert (gained >= -1e-5).all()
    assert (gained > 0.1).sum() > 20


def test_a_beam_sees_past_a_first_token_that_is_likely_and_leads_nowhere() -> None:
    table = torch.full((1, 5, 5, 5), -20.0)
    table[0, 0, 2, 3], table[0, 0, 2, 4] = 0.6, 0.4  # 3 is likelier, but is followed by anything
    table[0, 2, 3] = 0
    table[0, 2, 4, END] = 9
    model = Chain(table)
    assert run(model, Greedy(), 3).ids[0, 1] == 3
    assert run(model, Beam(width=2, length_penalty=0), 3).ids.tolist() == [[2, 4, END]]


def test_the_length_penalty_makes_texts_longer() -> None:
    model = chain(40, 6, seed=3, scale=1.0)
    lengths = []
    for penalty in (0.0, 1.0, 3.0):
        found = run(model, Beam(width=6, length_penalty=penalty, early_stop=False), 12)
        lengths.append(sum(len(unpadded(row)) for row in found.ids))
    assert lengths[0] < lengths[1] < lengths[2]


def test_to_stop_early_never_finds_better_texts_than_to_go_on() -> None:
    model = chain(40, 6, seed=4, scale=1.0)

    def ranks(early: bool) -> Tensor:
        found = run(model, Beam(width=3, length_penalty=1.0, early_stop=early), 12)
        return found.scores / torch.tensor([len(unpadded(row)) - 1 for row in found.ids])

    assert (ranks(False) >= ranks(True) - 1e-6).all()
    assert (ranks(False) > ranks(True) + 1e-3).any()


@pytest.mark.parametrize("early", [True, False])
def test_a_search_stops_once_no_text_can_be_better(early: bool) -> None:
    table = torch.zeros(1, 5, 5, 5)
    table[..., END] = 5
    model = Chain(table)
    generate(model, prompts(1), Beam(width=4, length_penalty=0, early_stop=early), length=9, end=END)
    assert model.ids is not None
    assert model.ids.shape[1] == 1


def test_a_beams_texts_are_distinct_and_the_best_comes_first() -> None:
    model = chain(10, 6, seed=5)
    found = run(model, Beam(width=5, count=5, length_penalty=0), 7)
    for ids, scores in zip(found.ids.view(10, 5, 7), found.scores.view(10, 5), strict=True):
        assert len({tuple(row.tolist()) for row in ids}) == 5
        assert (scores.diff() <= 0).all()


def test_a_beam_wider_than_there_are_texts_says_so() -> None:
    found = run(chain(1, 3, seed=0), Beam(width=9, count=9), length=2)
    assert found.scores.isfinite().tolist() == [True] * 3 + [False] * 6


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: f"{s.kind}")
@given(seed=st.integers(0, 99), length=st.integers(2, 10))
@settings(max_examples=15, deadline=None)
def test_texts_end_once_and_scores_are_log_probabilities(strategy: Strategy, seed: int, length: int) -> None:
    model, clips = chain(3, 6, seed), 3
    found = run(model, strategy, length, seed)
    assert found.ids.shape == (clips * getattr(strategy, "count", 1), length)
    each = len(found.ids) // clips
    for i, (row, score) in enumerate(zip(found.ids, found.scores, strict=True)):
        text = unpadded(row)
        assert text[0] == 2
        assert not row[len(text) :].any()
        assert float(score) == pytest.approx(model.score(i // each, text), abs=1e-4)


@pytest.mark.parametrize("strategy", STRATEGIES[:3], ids=lambda s: f"{s.kind}")
def test_what_a_clip_gets_does_not_depend_on_the_others(strategy: Greedy | Beam) -> None:
    model = chain(12, 6, seed=8)
    together = run(model, strategy, 15)
    assert len({len(unpadded(row)) for row in together.ids}) > 3  # they do not end at once
    each = len(together.ids) // 12
    for clip in range(12):
        alone = run(Chain(model.logits[clip : clip + 1]), strategy, 15)
        assert torch.equal(alone.ids, together.ids[clip * each : (clip + 1) * each])


def test_a_tiny_nucleus_is_greedy() -> None:
    model = chain(30, 6, seed=9)
    assert torch.equal(run(model, Nucleus(top_p=1e-9), 9).ids, run(model, Greedy(), 9).ids)


def test_a_low_temperature_is_greedy() -> None:
    model = chain(30, 6, seed=9)
    assert torch.equal(run(model, Nucleus(top_p=1, temperature=1e-4), 9).ids, run(model, Greedy(), 9).ids)


@pytest.mark.parametrize(("top_p", "temperature"), [(1.0, 1.0), (1.0, 1.7), (0.8, 1.0), (0.6, 0.7)])
def test_draws_follow_the_nucleus(top_p: float, temperature: float) -> None:
    model = chain(1, 8, seed=10, scale=1.0)
    found = run(model, Nucleus(top_p=top_p, temperature=temperature, count=5000), 2)
    probs = (model.logits[0, 0, 2].double() / temperature).softmax(0).tolist()
    kept: dict[int, float] = {}
    for token in sorted(range(8), key=lambda i: -probs[i]):
        if sum(kept.values()) < top_p:
            kept[token] = probs[token]
    counts = found.ids[:, 1].bincount(minlength=8)
    assert counts.nonzero()[:, 0].tolist() == sorted(kept)
    expected = [5000 * kept[token] / sum(kept.values()) for token in sorted(kept)]
    assert chisquare(counts[sorted(kept)].numpy(), expected).pvalue > 1e-3


def test_whole_texts_are_drawn_as_often_as_they_are_likely() -> None:
    model = chain(1, 4, seed=11, scale=1.0)
    texts = all_texts(4, 4)
    drawn = [unpadded(row) for row in run(model, Nucleus(top_p=1, count=6000), 4).ids]
    probs = torch.tensor([model.score(0, text) for text in texts]).double().exp()
    assert float(probs.sum()) == pytest.approx(1, abs=1e-5)
    counts = [drawn.count(text) for text in texts]
    assert chisquare(counts, (6000 * probs / probs.sum()).numpy()).pvalue > 1e-3


def test_a_nucleus_may_be_larger_than_what_is_sorted_first() -> None:
    logits = torch.linspace(0, 0.1, 3000)

    class Constant:
        def step(self, ids: Tensor) -> Tensor:
            return logits.expand(len(ids), -1)

        def reorder(self, rows: Tensor) -> None: ...

    generator = torch.Generator().manual_seed(0)
    found = generate(Constant(), prompts(1), Nucleus(top_p=0.5, count=4000), length=2, end=END, generator=generator)
    # Tokens come more likely the later they are: the nucleus is the last ones, a little under half of them.
    likeliest = logits.double().softmax(0).flip(0)
    smallest = 3000 - int((likeliest.cumsum(0) < 0.5).sum()) - 1
    assert 1500 < smallest < 1600
    assert found.ids[:, 1].min() >= smallest
    assert len(found.ids[:, 1].unique()) > 1000


def test_draws_repeat_with_their_generator_alone() -> None:
    model, nucleus = chain(4, 6, seed=12), Nucleus(count=5)
    first, again, other = (run(model, nucleus, 9, seed) for seed in (1, 1, 2))
    assert torch.equal(first.ids, again.ids)
    assert not torch.equal(first.ids, other.ids)


WIDTH, VIDEO_WIDTH, VOCABULARY, CONTEXT, CLIPS = 64, 32, 30, 14, 3


@dataclass
class Recomputed:
    """Captions by the two transformers as they are trained, from the first token at every step."""

    text: TextTower
    captioner: CaptionDecoder
    video_tokens: Tensor
    ids: Tensor | None = None

    def step(self, ids: Tensor) -> Tensor:
        self.ids = ids if self.ids is None else torch.cat((self.ids, ids), 1)
        return self.captioner(self.video_tokens, self.text(self.ids).states)[:, -1]  # type: ignore[no-any-return]

    def reorder(self, rows: Tensor) -> None:
        assert self.ids is not None
        self.ids = self.ids[rows]


@dataclass
class Both:
    """Two models at once, that must agree at every step."""

    first: StepModel
    second: StepModel
    steps: int = 0

    def step(self, ids: Tensor) -> Tensor:
        logits = self.first.step(ids)
        torch.testing.assert_close(logits, self.second.step(ids), atol=1e-5, rtol=0)
        self.steps += 1
        return logits

    def reorder(self, rows: Tensor) -> None:
        self.first.reorder(rows)
        self.second.reorder(rows)


def towers(vocabulary: int = VOCABULARY) -> tuple[TextTower, CaptionDecoder]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        trunk = TransformerConfig(width=WIDTH, depth=2, heads=2, hidden=128)
        text = TextTower(TextConfig(trunk=trunk, context=CONTEXT, vocabulary=vocabulary), 16)
        config = CaptionerConfig(layers=2, queries=4)
        captioner = CaptionDecoder(config, text_width=WIDTH, video_width=VIDEO_WIDTH, vocabulary=vocabulary)
    with torch.no_grad():  # as they start, texts matter little; here each token is to matter
        text.tokens.weight.mul_(50)
        captioner.predictor.vocabulary.weight.mul_(8)
    return text, captioner


def clips(seed: int = 0) -> Tensor:
    return torch.randn((CLIPS, 10, VIDEO_WIDTH), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: f"{s.kind}")
@pytest.mark.parametrize("prompt_length", [1, 4])
def test_caches_change_no_logit_and_no_text(strategy: Strategy, prompt_length: int) -> None:
    text, captioner = towers()
    prompt = torch.arange(2, 2 + CLIPS * prompt_length).view(CLIPS, prompt_length)
    results = []
    for make in ("both", "cached", "recomputed"):
        cached, recomputed = CaptionSteps(text, captioner, clips()), Recomputed(text, captioner, clips())
        model = {"both": Both(cached, recomputed), "cached": cached, "recomputed": recomputed}[make]
        generator = torch.Generator().manual_seed(3)
        results.append(generate(model, prompt, strategy, length=CONTEXT, end=END, generator=generator))
        if isinstance(model, Both):
            assert model.steps > 5
    for result in results[1:]:
        assert torch.equal(result.ids, results[0].ids)
        torch.testing.assert_close(result.scores, results[0].scores, atol=1e-4, rtol=0)


@given(order=st.lists(st.lists(st.integers(0, 2), min_size=3, max_size=3), min_size=1, max_size=5))
@settings(max_examples=20, deadline=None)
def test_a_reordered_cache_is_that_of_the_reordered_texts(order: list[list[int]]) -> None:
    text, captioner = towers()
    model = Both(CaptionSteps(text, captioner, clips()), Recomputed(text, captioner, clips()))
    generator = torch.Generator().manual_seed(len(order))
    first_rows = torch.arange(CLIPS).repeat_interleave(3) * 3
    with torch.no_grad():
        for picked in order:
            model.step(torch.randint(VOCABULARY, (CLIPS * 3, 1), generator=generator))
            model.reorder(first_rows + torch.tensor(picked * CLIPS))
        model.step(torch.randint(VOCABULARY, (CLIPS * 3, 1), generator=generator))


def test_the_text_towers_cache_changes_no_state() -> None:
    text, _ = towers()
    ids = torch.randint(VOCABULARY, (2, CONTEXT), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        caches = text.create_caches(CONTEXT)
        pieces = [text.states(piece, caches) for piece in ids.split([1, 4, 2, CONTEXT - 7], dim=1)]
        torch.testing.assert_close(torch.cat(pieces, 1), text(ids).states, atol=1e-5, rtol=0)
        with pytest.raises(ValueError, match=f"context of {CONTEXT}, of which {CONTEXT} are taken"):
            text.states(ids[:, :1], caches)


def test_captions_are_of_their_clips() -> None:
    text, captioner = towers()

    def captions(tokens: Tensor) -> list[list[int]]:
        steps = CaptionSteps(text, captioner, tokens)
        return generate(steps, prompts(len(tokens)), Greedy(), length=CONTEXT, end=END).ids.tolist()

    together = captions(clips())
    assert len({tuple(row) for row in together}) == CLIPS
    assert [captions(clip[None])[0] for clip in clips()] == together


def test_captions_that_were_learnt_are_said() -> None:
    text, captioner = towers()
    texts = [[2, 7, 7, 9, END], [2, 7, 8, END, 0], [2, 11, 12, 13, END]]
    ids, tokens = torch.tensor(texts), clips()
    optimizer = torch.optim.Adam([*text.parameters(), *captioner.parameters()], lr=2e-3)
    for _ in range(60):
        loss = caption_loss(captioner(tokens, text(ids[:, :-1]).states), ids)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for strategy in (Greedy(), Beam()):
        steps = CaptionSteps(text, captioner, tokens.flip(0))
        found = generate(steps, prompts(CLIPS), strategy, length=5, end=END)
        assert found.ids.tolist() == texts[::-1]


def test_half_precision_generates() -> None:
    text, captioner = (tower.to(torch.bfloat16) for tower in towers())
    steps = CaptionSteps(text, captioner, clips().bfloat16())
    found = generate(steps, prompts(CLIPS), Beam(), length=CONTEXT, end=END)
    assert found.scores.dtype is torch.float32
    assert found.scores.isfinite().all()


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: f"{s.kind}")
def test_a_caption_starts_and_ends_as_clip_does(strategy: Strategy) -> None:
    text, captioner = towers(vocabulary=49408)
    with torch.no_grad():
        captioner.predictor.vocabulary.bias[49407] = 40  # most texts end soon
    generator = torch.Generator().manual_seed(0)
    found = caption(text, captioner, clips(), strategy, length=9, generator=generator)
    assert found.ids.shape == (CLIPS * getattr(strategy, "count", 1), 9)
    assert (found.ids[:, 0] == 49406).all()
    assert ((found.ids == 49407).sum(1) <= 1).all()
    assert (found.ids == 49407).any()
    assert len(detokenize(found.ids)) == len(found.ids)
    assert not found.scores.requires_grad


def test_refuses_what_cannot_be_generated() -> None:
    model = chain(1, 5, seed=0)
    with pytest.raises(ValueError, match=r"prompt is torch.int32 \(1, 1\), not torch.int64"):
        generate(model, prompts(1).int(), Greedy(), length=5, end=END)
    with pytest.raises(ValueError, match="prompt of length 1 leaves no room in texts of length 1"):
        generate(model, prompts(1), Greedy(), length=1, end=END)
    with pytest.raises(ValueError, match="pass a generator"):
        generate(model, prompts(1), Nucleus(), length=5, end=END)
    text, captioner = towers()
    with pytest.raises(ValueError, match="knows 30 tokens, not CLIP's 49408"):
        caption(text, captioner, clips(), Greedy())
    text, captioner = towers(vocabulary=49408)
    with pytest.raises(ValueError, match=f"from 2 to the context of {CONTEXT}"):
        caption(text, captioner, clips(), Greedy(), length=CONTEXT + 1)


def test_refuses_a_strategy_that_is_none() -> None:
    for strategy in ("beam", Beam, None):
        with pytest.raises(TypeError, match=r"strategy is .*; pass Greedy\(\), Beam\(\) or Nucleus\(\)"):
            generate(chain(1, 5, seed=0), prompts(1), strategy, length=5, end=END)  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="a beam of width 2 cannot return 3 texts; widen it to 3"):
        Beam(width=2, count=3)
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        Nucleus(top_p=1.5)
    with pytest.raises(ValidationError, match="greater than 0"):
        Nucleus(temperature=0)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: f"{s.kind}")
def test_a_strategy_reads_back_from_its_dump(strategy: Strategy) -> None:
    assert TypeAdapter(Strategy).validate_python(strategy.model_dump()) == strategy
