"""The text tower against the reference and open_clip; CLIP's tokens against open_clip and transformers."""

import gzip
import re

import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import bytes_to_unicode, default_bpe
from torch import nn
from transformers import CLIPTokenizer

from navloop.configs.encoders import TextConfig, TransformerConfig
from navloop.encoders.text import END, START, TextTower, detokenize, tokenize

TRUNK = TransformerConfig(width=32, depth=3, heads=2, hidden=64)
TINY = TextConfig(trunk=TRUNK, context=12, vocabulary=40)
WORDED = TINY.model_copy(update={"vocabulary": 49408})
SENTENCES = [
    "Walk past the dining table and turn left.",
    "go up 12 stairs, then wait by the gold-framed mirror's left side!",
    "exit the bedroom;   STOP in front of the sink",
]
TO_OURS = (
    (r"^token_embedding\.", "tokens."),
    (r"^positional_embedding$", "positions"),
    (r"^text_projection$", "proj"),
    (r"^text_mask_embedding$", "mask_token"),
    (r"^ln_final\.", "norm."),
    (r"^transformer\.resblocks\.", "blocks."),
    (r"\.ln_", ".norm"),
    (r"\.attn\.in_proj_", ".attention.qkv."),
    (r"\.attn\.out_proj\.", ".attention.proj."),
    (r"\.c_fc\.", ".fc1."),
    (r"\.c_proj\.", ".fc2."),
)


pytestmark = pytest.mark.usefixtures("one_thread")


def to_ours(key):
    for pattern, ours in TO_OURS:
        key = re.sub(pattern, ours, key)
    return key


def load(tower, state):
    tower.load_state_dict({to_ours(key): tensor for key, tensor in state.items()})
    return tower.eval()


def tower(config=TINY, joint_width=8, seed=0):
    torch.manual_seed(seed)
    created = TextTower(config, joint_width)
    for parameter in created.parameters():  # also what starts at 0 or 1
        nn.init.normal_(parameter, std=0.3)
    return created.eval()


def random_ids(batch=4, length=12, seed=0):
    """Start 38, then words below 38, the end 39 at a random place, padding 0."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, 38, (batch, length), generator=generator)
    end = torch.randint(1, length, (batch, 1), generator=generator)
    ids[:, 0] = 38
    place = torch.arange(length)
    return torch.where(place < end, ids, torch.where(place == end, 39, 0))


def test_text_tower_reproduces_the_reference(golden):
    reference = golden("multimodal")
    config = reference.config
    width = config["text_width"]
    trunk = TransformerConfig(width=width, depth=config["text_layers"], heads=config["text_heads"], hidden=4 * width)
    sizes = TextConfig(trunk=trunk, context=config["context_length"], vocabulary=config["vocab_size"], mask_token=True)
    state = {
        key.removeprefix("clip."): tensor
        for key, tensor in reference.state.items()
        if not key.startswith("clip.visual") and key != "clip.logit_scale"
    }
    output = load(TextTower(sizes, config["embed_dim"]), state)(reference.tensors["tokens"])
    torch.testing.assert_close(output.states, reference.tensors["text_tokens"], atol=1e-5, rtol=0)
    torch.testing.assert_close(output.pooled, reference.tensors["text_embedding"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("quick_gelu", [True, False])
def test_text_tower_equals_open_clip_at_full_size(quick_gelu):
    sizes = open_clip.get_model_config("ViT-B-16")
    text = sizes["text_cfg"]
    torch.manual_seed(0)
    theirs = open_clip.transformer.TextTransformer(
        **text,
        output_dim=sizes["embed_dim"],
        act_layer=open_clip.transformer.QuickGELU if quick_gelu else nn.GELU,
        output_tokens=True,
    ).eval()
    for name, parameter in theirs.named_parameters():  # what starts at 0 or 1 must reach its place too
        if name.endswith("bias") or "ln_" in name:
            nn.init.normal_(parameter, 1.0 if name.endswith("weight") else 0.0, 0.1)
    trunk = TransformerConfig(width=text["width"], depth=text["layers"], heads=text["heads"], hidden=4 * text["width"])
    ours = TextTower(TextConfig(trunk=trunk, quick_gelu=quick_gelu), sizes["embed_dim"])
    load(ours, theirs.state_dict())
    ids = tokenize(SENTENCES, 77)
    with torch.no_grad():
        pooled, states = theirs(ids)
        output = ours(ids)
    torch.testing.assert_close(output.pooled, pooled, atol=1e-5, rtol=0)
    torch.testing.assert_close(output.states, states, atol=1e-5, rtol=0)


def test_initial_weights_spread_as_open_clips():
    torch.manual_seed(0)
    theirs = open_clip.transformer.TextTransformer(context_length=16, vocab_size=64, width=128, heads=2, layers=4)
    trunk = TransformerConfig(width=128, depth=4, heads=2, hidden=512)
    ours = TextTower(TextConfig(trunk=trunk, context=16, vocabulary=64), 512).state_dict()
    for key, tensor in theirs.state_dict().items():
        if tensor.ndim > 1:
            assert ours[to_ours(key)].std().item() == pytest.approx(tensor.std().item(), rel=0.05), key


@pytest.mark.parametrize("mask_token", [True, False])
def test_parameters_have_the_names_that_files_are_converted_to(mask_token):
    config = TINY.model_copy(update={"trunk": TRUNK.model_copy(update={"depth": 1}), "mask_token": mask_token})
    expected = {"tokens.weight", "positions", "norm.weight", "norm.bias", "proj"}
    for layer in ("norm1", "attention.qkv", "attention.proj", "norm2", "mlp.fc1", "mlp.fc2"):
        expected |= {f"blocks.0.{layer}.weight", f"blocks.0.{layer}.bias"}
    assert set(TextTower(config, 8).state_dict()) == expected | ({"mask_token"} if mask_token else set())


@given(place=st.integers(1, 11), seed=st.integers(0, 2**16))
@settings(max_examples=20)
def test_later_words_do_not_influence_earlier_states(place, seed):
    text = tower()
    ids = random_ids(seed=seed)
    changed = ids.clone()
    changed[:, place:] = random_ids(seed=seed + 1)[:, place:]
    before, after = text(ids).states, text(changed).states
    torch.testing.assert_close(after[:, :place], before[:, :place], atol=1e-6, rtol=0)
    moved = (changed[:, place:] != ids[:, place:]).any(1)
    assert ((after - before)[:, place:].abs().amax((1, 2)) > 1e-3).equal(moved)


@given(cuts=st.lists(st.integers(1, 11), max_size=4, unique=True).map(sorted))
@settings(max_examples=20)
def test_a_text_read_in_parts_has_the_states_of_the_whole(cuts):
    text, ids = tower(), random_ids()
    caches = text.create_caches(12)
    with torch.no_grad():
        parts = [text.states(part, caches) for part in ids.tensor_split(cuts, dim=1)]
        torch.testing.assert_close(torch.cat(parts, 1), text.states(ids), atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="context of 12, of which 12 are taken"):
        text.states(ids[:, :1], caches)


def test_the_first_place_of_the_largest_id_stands_for_the_text():
    text = tower()
    ids = torch.tensor([[38, 5, 39, 0, 0], [38, 39, 7, 39, 3], [38, 5, 6, 7, 8]])
    output = text(ids)
    for row, place in enumerate((2, 1, 0)):
        torch.testing.assert_close(output.pooled[row], output.states[row, place] @ text.proj, atol=1e-5, rtol=0)
    padded = ids[:1].clone()
    padded[:, 3:] = 11
    torch.testing.assert_close(text(padded).pooled, output.pooled[:1], atol=1e-6, rtol=0)


def test_texts_are_encoded_apart_from_each_other():
    text = tower()
    ids = random_ids(6)
    order = torch.tensor([3, 5, 0, 2, 4, 1])
    torch.testing.assert_close(text(ids[order]).pooled, text(ids).pooled[order], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(text(ids[2:3]).states, text(ids).states[2:3], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(text(ids[:, :7]).states, text(ids).states[:, :7], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(text(ids.int()).states, text(ids).states, atol=0, rtol=0)


def test_every_parameter_gets_a_gradient_and_checkpointing_changes_none():
    plain = tower()
    thrifty = TextTower(TINY.model_copy(update={"trunk": TRUNK.model_copy(update={"checkpointing": True})}), 8)
    thrifty.load_state_dict(plain.state_dict())
    ids, calls = random_ids(), []
    thrifty.blocks[1].register_forward_pre_hook(lambda *_: calls.append(1))
    for text in (plain, thrifty.train()):
        output = text(ids)
        (output.pooled.square().sum() + output.states.sin().sum()).backward()
    assert len(calls) == 2
    for (name, parameter), other in zip(plain.named_parameters(), thrifty.parameters(), strict=True):
        assert parameter.grad.abs().sum() > 0, name
        torch.testing.assert_close(other.grad, parameter.grad, atol=0, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near_float32(dtype):
    text, ids = tower(), random_ids()
    exact = text(ids)
    rough = text.to(dtype)(ids)
    assert rough.pooled.dtype == rough.states.dtype == dtype
    error = (rough.pooled.float() - exact.pooled).norm(dim=1) / exact.pooled.norm(dim=1)
    assert error.max() < 0.05


def test_the_forward_pass_is_one_graph():
    torch.compiler.reset()
    text, ids = tower(), random_ids()
    compiled = torch.compile(text, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(ids).pooled, text(ids).pooled, atol=1e-6, rtol=0)
    torch.testing.assert_close(compiled(ids).states, text(ids).states, atol=1e-5, rtol=0)


def test_encoded_texts_are_unit_vectors_of_their_tokens():
    text = tower(WORDED)
    vectors = text.encode(SENTENCES)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    pooled = text(tokenize(SENTENCES, 12)).pooled
    torch.testing.assert_close(vectors * pooled.norm(dim=1, keepdim=True), pooled)
    assert vectors.requires_grad


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (torch.zeros(2, 12), "torch.float32, not torch.int64"),
        (torch.zeros(2, 13, dtype=torch.int64), r"\(2, 13\).*context of 12"),
        (torch.zeros(12, dtype=torch.int64), r"\(12,\)"),
        (torch.zeros(0, 12, dtype=torch.int64), r"\(0, 12\)"),
    ],
)
def test_wrong_ids_are_refused_by_name(ids, words):
    with pytest.raises(ValueError, match=words):
        tower()(ids)


def test_words_are_refused_by_a_tower_of_another_vocabulary():
    with pytest.raises(ValueError, match="knows 40 tokens, not CLIP's 49408"):
        tower().encode(["stop"])


@pytest.fixture(scope="module")
def open_clip_tokenizer():
    return open_clip.get_tokenizer("ViT-B-16")


@given(st.lists(st.text(max_size=60), min_size=1, max_size=3), st.sampled_from([8, 32, 77]))
@settings(max_examples=100)
def test_tokens_equal_open_clips(open_clip_tokenizer, texts, context):
    assert tokenize(texts, context).equal(open_clip_tokenizer(texts, context))


@pytest.fixture(scope="module")
def transformers_tokenizer():
    """The tokenizer of transformers, over the same vocabulary: another implementation, in Rust."""
    with gzip.open(default_bpe(), "rt", encoding="utf-8") as file:
        merges = file.read().split("\n")[1 : 49152 - 256 - 2 + 1]  # a version line first; unused merges last
    letters = list(bytes_to_unicode().values())
    pieces = [*letters, *(letter + "</w>" for letter in letters), *(merge.replace(" ", "") for merge in merges)]
    vocabulary = {piece: i for i, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocabulary, merges=[tuple(merge.split()) for merge in merges])


@given(st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyzABCXYZ 0123456789.,;:!?'-\t\n"), max_size=80))
@settings(max_examples=100)
def test_tokens_equal_those_of_transformers(transformers_tokenizer, text):
    theirs = transformers_tokenizer(text)["input_ids"]
    ids = tokenize([text], 256)[0]
    assert ids[: len(theirs)].tolist() == theirs
    assert not ids[len(theirs) :].any()


def test_tokens_of_a_known_sentence():
    """A sentence whose ids are printed in many places for CLIP's tokenizer."""
    assert tokenize(["a photo of a cat"], 8).tolist() == [[START, 320, 1125, 539, 320, 2368, END, 0]]


@given(st.integers(1, 40), st.integers(2, 20))
def test_a_long_text_loses_words_and_keeps_its_end(num_words, context):
    ids = tokenize(["left " * num_words], context)[0].tolist()
    kept = min(num_words, context - 2)
    assert ids == [START, *[1823] * kept, END, *[0] * (context - kept - 2)]


@given(st.lists(st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=12), max_size=12))
def test_words_come_back_from_their_tokens(words):
    text = " ".join(words)
    assert detokenize(tokenize([text, "stop"], 200)) == [text, "stop"]


def test_a_text_reads_back_up_to_its_first_end():
    ids = torch.tensor([[START, 1823, END, 518, END], [START, 1823, 518, 0, 0], [1823, 0, 256, 518, 0]])
    first, unended, odd = detokenize(ids)
    assert (first, unended) == ("left", "left the")
    assert odd == "left !! the", "a 0 inside a text is an exclamation mark"


def test_wrong_texts_are_refused_by_name():
    with pytest.raises(TypeError, match="one string, 'go left'"):
        tokenize("go left", 77)
    with pytest.raises(ValueError, match="empty"):
        tokenize([], 77)
    with pytest.raises(ValueError, match="context of 1"):
        tokenize(["go left"], 1)
    with pytest.raises(ValueError, match="token id 49408"):
        detokenize(torch.tensor([[START, 49408, END]]))
    with pytest.raises(ValueError, match=r"\(3,\)"):
        detokenize(torch.tensor([START, 320, END]))
