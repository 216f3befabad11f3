"""Policies: walks and steps give the same numbers; what they depend on and what they do not; that they can learn."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_walks import KINDS, LAYOUT, TEXTS, VOCABULARY, expert_actions, instructions, random_batch, tiny_policy
from pydantic import ValidationError
from torch.nn import functional as F

from navloop.agent.perception import Perception
from navloop.agent.percepts import Layout
from navloop.agent.policies import ACTIONS, Instructions, Policy, WalkBatch, create_policy
from navloop.agent.policies.attention import rotate, rotations
from navloop.agent.policies.parts import Reckoning
from navloop.agent.policies.sight import CALIBRATION_BATCHES, Standardise
from navloop.agent.policies.words import PADDING, UNKNOWN, MissedWords, TowerReader, Vocabulary, split_words
from navloop.configs.agents import PerceptionConfig, PolicyConfig, WordsConfig
from navloop.envs.simulator import Action

POLICIES = [(kind, words) for kind in KINDS for words in ("gru", "transformer")]
SEEING = Layout(grid=2, width=24)


def stepped(policy: Policy, batch: WalkBatch) -> tuple[torch.Tensor, torch.Tensor]:
    state = policy.begin(batch.instructions)
    outputs = [
        policy.step(batch.percepts[:, s], batch.previous_actions[:, s], state) for s in range(batch.valid.shape[1])
    ]
    return torch.stack([o.logits for o in outputs], 1), torch.stack([o.progress for o in outputs], 1)


@pytest.mark.parametrize(("kind", "words"), POLICIES)
def test_steps_give_what_whole_walks_give(kind, words):
    policy, batch = tiny_policy(kind, words), random_batch(3, 40)
    logits, progress = stepped(policy, batch)
    whole = policy(batch)
    torch.testing.assert_close(logits, whole.logits, rtol=0, atol=1e-5)
    torch.testing.assert_close(progress, whole.progress, rtol=0, atol=1e-5)
    assert whole.logits.std(1).min() > 1e-3  # they say something


def test_a_streaming_policy_forgets_what_is_beyond_its_memory_alike_in_both_ways():
    policy, batch = tiny_policy("streaming", memory=8, layers=1), random_batch(2, 40)
    whole = policy(batch).logits
    torch.testing.assert_close(stepped(policy, batch)[0], whole, rtol=0, atol=1e-5)
    batch.percepts[:, :10] = 0
    changed = policy(batch).logits - whole
    assert changed[:, 17:].abs().max() < 1e-5
    assert changed[:, 16].abs().max() > 1e-4


@pytest.mark.parametrize(("kind", "words"), POLICIES)
def test_environments_of_different_ages_share_a_batch(kind, words):
    policy, batch = tiny_policy(kind, words), random_batch(4, 30)
    texts = [TEXTS[i] for i in (3, 0, 2, 1)]
    starts = {0: 0, 1: 7, 2: 12, 3: 12}
    state = policy.begin(policy.read(["a", "wait at the door", "go", "left"]))
    got: dict[int, list[torch.Tensor]] = {place: [] for place in starts}
    for now in range(30):
        begin = [place for place, start in starts.items() if start == now]
        if begin:
            policy.restart(state, begin, policy.read([texts[place] for place in begin]))
        rows = [batch.percepts[place, max(0, now - starts[place])] for place in range(4)]
        previous = torch.stack([batch.previous_actions[place, max(0, now - starts[place])] for place in range(4)])
        logits = policy.step(torch.stack(rows), previous, state).logits
        for place, start in starts.items():
            if now >= start:
                got[place].append(logits[place])
    alone = policy(WalkBatch(batch.percepts, policy.read(texts), batch.previous_actions, batch.valid)).logits
    for place, steps in got.items():
        torch.testing.assert_close(torch.stack(steps), alone[place, : len(steps)], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10)
@given(step=st.integers(1, 19), seed=st.integers(0, 99))
def test_what_comes_later_changes_nothing_before(kind, step, seed):
    policy, batch = _POLICIES[kind], random_batch(2, 20, seed)
    before = policy(batch).logits
    batch.percepts[:, step] += 1
    batch.previous_actions[:, step] = (batch.previous_actions[:, step] + 1) % ACTIONS
    after = policy(batch).logits
    assert torch.equal(before[:, :step], after[:, :step])
    assert not torch.equal(before[:, step], after[:, step])


@pytest.mark.parametrize(("kind", "words"), POLICIES)
def test_padding_changes_nothing(kind, words):
    policy, lengths = tiny_policy(kind, words), [5, 12, 9]
    batch = random_batch(3, 12, lengths=lengths)
    whole = policy(batch)
    batch.percepts[~batch.valid] = 1e4
    padded = Instructions(F.pad(batch.instructions.ids, (0, 9)))
    other = policy(WalkBatch(batch.percepts, padded, batch.previous_actions, batch.valid))
    for i, length in enumerate(lengths):
        torch.testing.assert_close(other.logits[i, :length], whole.logits[i, :length], rtol=0, atol=1e-5)
        alone = policy(
            WalkBatch(
                batch.percepts[i : i + 1, :length],
                VOCABULARY.read([TEXTS[i]]),
                batch.previous_actions[i : i + 1, :length],
                batch.valid[i : i + 1, :length],
            )
        )
        torch.testing.assert_close(alone.logits[0], whole.logits[i, :length], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("kind", "words"), POLICIES)
def test_it_listens_it_looks_and_it_remembers(kind, words):
    policy, batch = tiny_policy(kind, words), random_batch(1, 20)
    logits = policy(batch).logits
    for text in TEXTS[1:]:
        other = WalkBatch(batch.percepts, VOCABULARY.read([text]), batch.previous_actions, batch.valid)
        assert (policy(other).logits - logits).abs().max() > 1e-3
    for token in range(LAYOUT.tokens):  # every place of the frame, the summary, the clip, and all of the depth frame
        percepts = batch.percepts.clone()
        percepts[:, :, token] += 3 * torch.arange(LAYOUT.width)
        changed = policy(WalkBatch(percepts, batch.instructions, batch.previous_actions, batch.valid)).logits
        assert (changed - logits).abs().max() > 1e-4, token
    percepts = batch.percepts.clone()
    percepts[:, 0] = 0
    changed = policy(WalkBatch(percepts, batch.instructions, batch.previous_actions, batch.valid)).logits
    assert (changed - logits)[:, 15].abs().max() > 1e-7


@pytest.mark.parametrize("words", ["gru", "transformer"])
def test_the_order_of_words_matters(words):
    policy, batch = tiny_policy("streaming", words), random_batch(2, 5)
    batch.percepts[1] = batch.percepts[0]
    batch.previous_actions[1] = batch.previous_actions[0]
    texts = VOCABULARY.read(["turn left at the sofa then right", "turn right at the sofa then left"])
    logits = policy(WalkBatch(batch.percepts, texts, batch.previous_actions, batch.valid)).logits
    assert (logits[0] - logits[1]).abs().max() > 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_learns(kind):
    policy, batch = tiny_policy(kind, dropout=0.0).train(), random_batch(4, 12)
    output = policy(batch)
    (output.logits[..., :3].sum() + output.progress.sum()).backward()
    idle = [name for name, p in policy.named_parameters() if p.grad is None or not p.grad.any()]
    # adding to all keys the same changes no attention
    assert [name for name in idle if not name.endswith("key.bias")] == []
    shared = {
        name: p.grad.chunk(3) for name, p in policy.named_parameters() if name.endswith(("qkv.weight", "qkv.bias"))
    }
    dead = [name for name, (q, k, v) in shared.items() if not (q.any() and v.any() and (k.any() or "bias" in name))]
    assert dead == []


@pytest.mark.parametrize("kind", KINDS)
def test_eight_walks_are_memorised(kind):
    """Frames are noise, told apart by what lies in one place; half of the walks share their frames, not their text."""
    torch.manual_seed(0)
    policy = create_policy(PolicyConfig(kind=kind, width=64, dropout=0.0), SEEING, Vocabulary.of(TEXTS), seed=0).train()
    batch, actions = random_batch(8, 15, layout=SEEING), expert_actions(8, 15)
    batch.percepts[4:] = batch.percepts[:4]
    texts = [TEXTS[0]] * 4 + [TEXTS[3]] * 4
    previous = torch.cat((torch.full((8, 1), ACTIONS), actions[:, :-1]), 1)
    batch = WalkBatch(batch.percepts.half(), policy.read(texts), previous, batch.valid)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=3e-3)
    for _ in range(150):
        loss = F.cross_entropy(policy(batch).logits.flatten(0, 1), actions.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
    assert torch.equal(policy.eval()(batch).logits.argmax(-1), actions)


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides_the_weights_and_the_global_generator_is_left_alone(kind):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    made = [create_policy(PolicyConfig(kind=kind), SEEING, VOCABULARY, seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(torch.rand(1), expected)
    first, again, other = (torch.cat([p.flatten() for p in policy.parameters()]) for policy in made)
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_the_scale_of_channels_does_not_matter_to_learned_policies():
    """Statistics undo what an encoder does to the scale and mean of its channels."""
    scale = torch.logspace(-1, 2, LAYOUT.width)
    policies = [create_policy(PolicyConfig(dropout=0.0), LAYOUT, VOCABULARY) for _ in range(2)]
    outputs = []
    for policy, factor in zip(policies, (1.0, scale), strict=True):
        batches = [random_batch(2, 30, seed) for seed in range(2)]
        for batch in batches:
            batch.percepts[:, :, : LAYOUT.visual] = batch.percepts[:, :, : LAYOUT.visual] * factor + 2 * factor
        policy.train()
        policy(batches[0])
        outputs.append(policy.eval()(batches[1]).logits)
    torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=1e-4)


def test_another_encoder_brings_no_other_depth():
    layout = replace(SEEING, depth=True)
    policy = create_policy(PolicyConfig(), layout, VOCABULARY).train()
    for seed in range(CALIBRATION_BATCHES + 1):
        policy(random_batch(2, 3, seed, layout=layout))
    seen, depth = policy.sight.standardise, policy.sight.depth.standardise
    counts = seen.count.clone(), depth.count.clone()
    seen.forget()  # as where an agent goes on with another encoder
    policy(random_batch(2, 3, 99, layout=layout))
    assert 0 < seen.count[0] < counts[0][0] and torch.equal(depth.count, counts[1])
    depth.batches.zero_()  # as agents were saved that counted both by the encoder's
    policy(random_batch(2, 3, 98, layout=layout))
    assert torch.equal(depth.count, counts[1]) and depth.batches == CALIBRATION_BATCHES


def test_statistics_are_those_of_numpy_and_stay_after_the_first_batches():
    rng = np.random.default_rng(0)
    parts = [rng.normal(5, 3, (n, 7)).astype(np.float32) for n in (10, 3, 40)]
    standardise = Standardise(1, 7)
    for part in parts:
        standardise.learn(torch.from_numpy(part), 0)
    everything = np.concatenate(parts)
    expected = (everything - everything.mean(0)) / everything.std(0)
    np.testing.assert_allclose(standardise(torch.from_numpy(everything), 0), expected, atol=1e-5)
    policy = create_policy(PolicyConfig(), SEEING, VOCABULARY).train()
    for seed in range(CALIBRATION_BATCHES):
        policy(random_batch(2, 3, seed, layout=SEEING))
    kept = {name: buffer.clone() for name, buffer in policy.named_buffers()}
    loud = random_batch(2, 3, 50, layout=SEEING)
    loud.percepts.mul_(100)
    policy(loud)
    assert all(torch.equal(kept[name], buffer) for name, buffer in policy.named_buffers())


def test_padding_and_evaluation_leave_no_trace_in_the_statistics():
    policies = [create_policy(PolicyConfig(), SEEING, VOCABULARY) for _ in range(2)]
    batch = random_batch(2, 9, lengths=[4, 9], layout=SEEING)
    policies[0].eval()(random_batch(1, 5, 7, layout=SEEING))
    policies[0].train()(batch)
    batch.percepts[~batch.valid] = -1e3
    policies[1].train()(batch)
    for (name, one), (_, other) in zip(policies[0].named_buffers(), policies[1].named_buffers(), strict=True):
        assert torch.equal(one, other), name


def test_reckoning_follows_the_actions_as_a_walker_with_closed_eyes():
    reckoning = Reckoning(90, 8)
    left, right, ahead = int(Action.LEFT), int(Action.RIGHT), int(Action.FORWARD)
    actions = torch.tensor([[ACTIONS, ahead, ahead, left, ahead, right, right, ahead, 0]])
    expected = [(0, 0, 0), (1, 0, 0), (2, 0, 0), (2, 0, 1), (2, 1, 1), (2, 1, 0), (2, 1, -1), (2, 0, -1), (2, 0, -1)]
    poses = reckoning.poses(actions)[0]
    torch.testing.assert_close(
        poses[:, :3], torch.tensor(expected) * torch.tensor([1, 1, torch.pi / 2]), atol=1e-5, rtol=0
    )
    assert poses[:, 3].tolist() == list(range(9))
    pose = torch.zeros(1, 4)
    for i in range(9):
        pose = reckoning.advance(pose, actions[:, i])
        torch.testing.assert_close(pose[0], poses[i], atol=1e-5, rtol=0)


def test_rotations_see_distances_alone():
    rng = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 16, generator=rng).unbind(0)
    score = lambda i, j: rotate(q, rotations(torch.tensor(i), 16)) @ rotate(k, rotations(torch.tensor(j), 16))
    assert score(7, 3) == pytest.approx(score(104, 100).item(), abs=1e-4)
    assert abs(score(7, 3) - score(9, 3)) > 1e-3


def test_words_are_read_as_written():
    assert split_words("Turn left; go to the kitchen's 2nd door.") == [
        *("turn", "left", ";", "go", "to", "the", "kitchen", "s", "2nd", "door", ".")
    ]
    assert split_words("रसोई में जाएं, और बाएं मुड़ें।") == ["रसोई", "में", "जाएं", ",", "और", "बाएं", "मुड़ें", "।"]
    assert split_words("వంటగదిలోకి వెళ్ళి తిరగండి.") == ["వంటగదిలోకి", "వెళ్ళి", "తిరగండి", "."]
    vocabulary = Vocabulary.of(["the red door", "the door"], min_count=2, max_words=3)
    assert vocabulary.words == ("door", "the")
    assert vocabulary.read(["The red DOOR the door", "", "door"]).ids.tolist() == [[3, 1, 2], [1, 0, 0], [2, 0, 0]]
    assert len(vocabulary) == 4
    with pytest.raises(TypeError, match="pass a list"):
        vocabulary.read("one text")
    with pytest.raises(ValueError, match="twice"):
        Vocabulary(["a", "a"])


def test_words_come_from_the_encoders_tower():
    perception = Perception(PerceptionConfig())
    config = PolicyConfig(words=WordsConfig(encoder="tower"), width=32)
    reader = TowerReader(perception.tower.config.context)
    policy = create_policy(config, perception.layout, reader, perception.tower).eval()
    assert not any("tower" in name for name in policy.state_dict())
    batch = random_batch(2, 6, layout=perception.layout)
    texts = policy.read(["walk to the sofa", "turn left"])
    whole = policy(WalkBatch(batch.percepts, texts, batch.previous_actions, batch.valid))
    alone = policy(
        WalkBatch(batch.percepts[1:], policy.read(["turn left"]), batch.previous_actions[1:], batch.valid[1:])
    )
    torch.testing.assert_close(alone.logits[0], whole.logits[1], rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="no text tower"):
        create_policy(config, SEEING, reader)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("progress", "previous", "turn"), list(itertools.product((True, False), repeat=3)))
def test_options_are_options(kind, progress, previous, turn):
    policy = tiny_policy(
        kind, progress=progress, previous_action=previous, turn_deg=30.0 if turn else None, layout=SEEING
    )
    batch = random_batch(2, 6, layout=SEEING)
    output = policy(batch)
    assert (output.progress is not None) == progress
    others = (batch.previous_actions + 1) % ACTIONS
    changed = policy(WalkBatch(batch.percepts, batch.instructions, others, batch.valid)).logits
    assert torch.equal(changed, output.logits) == (not previous and not turn)


def test_batches_that_do_not_fit_are_refused():
    batch = random_batch(2, 6)
    with pytest.raises(ValueError, match=r"WalkBatch.valid is \(2, 5\)"):
        WalkBatch(batch.percepts, batch.instructions, batch.previous_actions, batch.valid[:, :5])
    with pytest.raises(ValueError, match="instructions are 3, for 2 walks"):
        WalkBatch(batch.percepts, instructions(3), batch.previous_actions, batch.valid)
    with pytest.raises(ValueError, match="its perception is another one"):
        _POLICIES["cma"](random_batch(2, 6, layout=SEEING))


def test_configurations_that_contradict_themselves_are_refused():
    with pytest.raises(
        ValidationError, match=r"layers, memory: of streaming alone, and kind is cma; .*agent.policy.memory=null"
    ):
        PolicyConfig(kind="cma", layers=2, memory=9)
    with pytest.raises(ValidationError, match="3 heads"):
        PolicyConfig(heads=3, width=128)


_POLICIES = {kind: tiny_policy(kind) for kind in KINDS}


def test_words_are_missed_in_training_alone():
    torch.manual_seed(0)
    missed = MissedWords(0.25)
    ids = torch.arange(2, 5002).view(5, 1000)
    ids[:, 600:] = PADDING
    got = missed.train()(ids)
    words = got[:, :600]
    assert (words == UNKNOWN).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert torch.equal(words[words != UNKNOWN], ids[:, :600][words != UNKNOWN]) and not got[:, 600:].any()
    assert torch.equal(missed.eval()(ids), ids)


@pytest.mark.parametrize("kind", KINDS)
def test_training_draws_anew_and_evaluation_does_not_draw(kind):
    policy, batch = tiny_policy(kind, dropout=0.3), random_batch(2, 6)
    assert torch.equal(policy(batch).logits, policy(batch).logits)
    policy.train()
    assert not torch.equal(policy(batch).logits, policy(batch).logits)


@pytest.mark.parametrize(("kind", "words"), POLICIES)
def test_the_unknown_word_is_learned_without_dropout_too(kind, words):
    policy, batch = tiny_policy(kind, words, dropout=0.0).train(), random_batch(32, 2)
    torch.manual_seed(0)
    policy(batch).logits.sum().backward()
    assert policy.words.embedding.weight.grad[UNKNOWN].any()
