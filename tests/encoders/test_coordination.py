import copy

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from navloop.configs.encoders import (
    CLIP_MEAN,
    CoordinationConfig,
    InternVideoConfig,
    MaskedConfig,
    MultimodalConfig,
    PixelsConfig,
    TextConfig,
    TransformerConfig,
    VideoTowerConfig,
)
from navloop.encoders.classifier import VideoClassifier
from navloop.encoders.coordination import (
    BranchPixels,
    CoordinatedClassifier,
    InternVideo,
    coordinated_stages,
)
from navloop.encoders.cross_attention import CrossAttention, CrossModelAttention
from navloop.encoders.layers import CLIP, VIDEOMAE
from navloop.encoders.masked import MaskedEncoder
from navloop.encoders.multimodal import MultimodalEncoder
from navloop.encoders.sizes import ENCODERS

TRUNK = TransformerConfig(width=24, depth=4, heads=3, hidden=32)
TOWER = TransformerConfig(width=16, depth=3, heads=2, hidden=24)
MASKED = MaskedConfig(
    pixels=PixelsConfig(size=16, mean=(0.485, 0.456, 0.406), interpolation="bilinear"),
    frames=8,
    patch=8,
    trunk=TRUNK,
    decoder=TransformerConfig(width=8, depth=1, heads=1, hidden=8),
    position_grid=None,
)
VIDEO = VideoTowerConfig(pixels=PixelsConfig(size=12, mean=CLIP_MEAN), frames=4, patch=4, trunk=TOWER, taps=(1, 2))
MULTIMODAL = MultimodalConfig(
    video=VIDEO, text=TextConfig(trunk=TransformerConfig(width=8, depth=1, heads=1, hidden=8)), joint_width=12
)
CLASSES = 5


def config(multimodal=MULTIMODAL, **coordination):
    return InternVideoConfig(masked=MASKED, multimodal=multimodal, coordination=CoordinationConfig(**coordination))


def randomised(module, seed=0):
    """The module with weights that nothing starts from, so that no term is zero by its first value."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            starts_at_zero = name.endswith(("gate", "fusion"))
            if not starts_at_zero:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return module


def opened(module, part=""):
    """The module with the gates under a name open."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("gate") and name.startswith(part):
                parameter.fill_(0.7)
    return module


@pytest.fixture(scope="module")
def random_encoder():
    return randomised(InternVideo(config())).eval()


@pytest.fixture
def encoder(random_encoder):
    return copy.deepcopy(random_encoder)


@pytest.fixture
def classifier(encoder):
    return randomised(CoordinatedClassifier(encoder, CLASSES), seed=1).eval()


@pytest.fixture(scope="module")
def frames():
    return torch.randint(0, 256, (3, 8, 20, 24, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def pixels(random_encoder, frames):
    return random_encoder.to_pixels(frames)


# As it starts


def test_at_the_start_logits_are_the_mean_of_the_branches_own(pixels):
    masked = randomised(VideoClassifier(MaskedEncoder(MASKED), CLASSES), seed=1).eval()
    multimodal = randomised(VideoClassifier(MultimodalEncoder(MULTIMODAL), CLASSES), seed=2).eval()
    classifier = CoordinatedClassifier(InternVideo(config(dropout=0.0)), CLASSES)
    classifier.start_from(masked, multimodal)
    expected = (masked(pixels.masked) + multimodal(pixels.multimodal)) / 2
    assert expected.std() > 0.05
    torch.testing.assert_close(classifier(pixels), expected, atol=0, rtol=0)
    torch.testing.assert_close(classifier.eval()(pixels), expected, atol=0, rtol=0)


def test_at_the_start_the_output_is_the_branches_own(encoder, pixels):
    output = encoder(pixels)
    masked, multimodal = encoder.masked(pixels.masked), encoder.multimodal(pixels.multimodal)
    torch.testing.assert_close(output.tokens, masked.tokens, atol=0, rtol=0)
    torch.testing.assert_close(output.pooled, multimodal.pooled, atol=0, rtol=0)
    torch.testing.assert_close(encoder.features(pixels), encoder.masked.features(pixels.masked), atol=0, rtol=0)
    assert output.tokens.shape == (3, 4 * 2 * 2, 24)
    assert output.grid == encoder.grid == (4, 2, 2)


def test_at_the_start_texts_are_as_similar_as_to_the_multimodal_branch(encoder, pixels):
    texts = ["walk past the sofa", "turn left at the stairs"]
    vectors = encoder.encode_text(texts)
    expected = encoder.multimodal.similarity(
        encoder.multimodal(pixels.multimodal).pooled, encoder.multimodal.encode_text(texts)
    )
    torch.testing.assert_close(encoder.similarity(encoder(pixels).pooled, vectors), expected, atol=0, rtol=0)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))


@pytest.mark.parametrize("norm", ["pooled", "tokens"])
def test_tokens_are_finished_as_the_masked_branch_does(norm, pixels):
    masked = MASKED.model_copy(update={"norm": norm})
    encoder = randomised(InternVideo(config().model_copy(update={"masked": masked}))).eval()
    torch.testing.assert_close(encoder(pixels).tokens, encoder.masked(pixels.masked).tokens, atol=0, rtol=0)
    torch.testing.assert_close(encoder.features(pixels), encoder.masked.features(pixels.masked), atol=0, rtol=0)


def test_a_head_with_a_norm_of_its_own_is_refused(classifier):
    masked = VideoClassifier(MaskedEncoder(MASKED), CLASSES)
    multimodal = VideoClassifier(MultimodalEncoder(MULTIMODAL), CLASSES, norm=True)
    with pytest.raises(ValueError, match="norm=False"):
        classifier.start_from(masked, multimodal)


# With open gates


def test_closed_gates_let_nothing_through(encoder, pixels):
    other = BranchPixels(pixels.masked, pixels.multimodal + 1)
    torch.testing.assert_close(encoder(pixels).tokens, encoder(other).tokens, atol=0, rtol=0)
    other = BranchPixels(pixels.masked + 1, pixels.multimodal)
    torch.testing.assert_close(encoder(pixels).pooled, encoder(other).pooled, atol=0, rtol=0)


@pytest.mark.parametrize("part", ["cross.0.attention", "cross.0.mlp", "cross.1.attention", "cross.1.mlp"])
def test_each_gate_of_the_masked_branch_changes_its_tokens(encoder, pixels, part):
    before = encoder(pixels).tokens
    after = opened(encoder, part)(pixels).tokens
    assert (after - before).abs().amax(dim=(1, 2)).min() > 0.05


@pytest.mark.parametrize("part", ["class_cross.attention", "class_cross.mlp"])
def test_each_gate_of_the_clip_query_changes_the_embedding_alone(encoder, pixels, part):
    before = encoder(pixels)
    after = opened(encoder, part)(pixels)
    assert (after.pooled - before.pooled).abs().amax(dim=1).min() > 0.01
    torch.testing.assert_close(after.tokens, before.tokens, atol=0, rtol=0)


def test_each_branch_sees_what_only_the_other_was_shown(encoder, pixels):
    opened(encoder)
    tokens = encoder(BranchPixels(pixels.masked, pixels.multimodal.flip(3))).tokens
    assert (tokens - encoder(pixels).tokens).abs().amax(dim=(1, 2)).min() > 0.001
    pooled = encoder(BranchPixels(pixels.masked.flip(3), pixels.multimodal)).pooled
    assert (pooled - encoder(pixels).pooled).abs().amax(dim=1).min() > 0.001


def test_masked_tokens_look_at_class_tokens_and_at_every_frame(encoder, pixels):
    opened(encoder)
    video = encoder.multimodal.video
    placed = [tap.detach().requires_grad_() for tap in video.place(video.encode_frames(pixels.multimodal).taps)]
    encoder.enhance_tokens(pixels.masked, placed).square().sum().backward()
    for tap in placed:
        assert tap.grad.shape == (3, 4, 1 + 9, 16)
        assert tap.grad.abs().amax(dim=3).min() > 0


def test_the_clip_query_is_changed_before_it_meets_the_frames_mean(encoder, pixels):
    balance = encoder.multimodal.video.balance
    with torch.no_grad():
        balance.fill_(30.0)  # all of the frames' mean, none of the query
        before = encoder(pixels).pooled
        torch.testing.assert_close(opened(encoder, "class_cross")(pixels).pooled, before)
        balance.fill_(-30.0)
        assert (encoder(pixels).pooled - before).abs().amax(dim=1).min() > 0.01


def test_permuting_clips_permutes_what_is_seen(classifier, pixels):
    opened(classifier)
    order = torch.tensor([2, 0, 1])
    expected = classifier(pixels)[order]
    torch.testing.assert_close(classifier(BranchPixels(*(p[order] for p in pixels))), expected, atol=1e-5, rtol=1e-5)
    assert (expected - classifier(pixels)).abs().min() > 1e-4


def test_fusion_moves_from_one_branch_to_the_other(classifier, pixels):
    sight = classifier.encoder.see(pixels)
    with torch.no_grad():
        for theta, expected in (
            (-30.0, classifier.masked_head(classifier.encoder.masked.pool(sight.tokens))),
            (30.0, classifier.multimodal_head(sight.features)),
        ):
            classifier.fusion.fill_(theta)
            torch.testing.assert_close(classifier(pixels), expected, atol=1e-6, rtol=1e-6)


# What learns


PARTS = {
    *(f"norm1.{kind}" for kind in ("weight", "bias")),
    *(f"norm_other.{kind}" for kind in ("weight", "bias")),
    *(f"norm2.{kind}" for kind in ("weight", "bias")),
    *(f"attention.{layer}.{kind}" for layer in ("query", "value", "proj") for kind in ("weight", "bias")),
    "attention.key.weight",
    *(f"mlp.{layer}.{kind}" for layer in ("fc1", "fc2") for kind in ("weight", "bias")),
    "attention_gate",
    "mlp_gate",
}
ALLOWED = {
    *(f"encoder.{module}.{part}" for module in ("cross.0", "cross.1", "class_cross") for part in PARTS),
    "encoder.multimodal.video.query",
    *(f"{head}.{kind}" for head in ("masked_head", "multimodal_head") for kind in ("weight", "bias")),
    "fusion",
}


def gradients(classifier, pixels):
    labels = torch.tensor([0, 3, 1])
    F.cross_entropy(classifier(pixels), labels).backward()
    return {name: p.grad for name, p in classifier.named_parameters() if p.grad is not None}


def test_gradients_reach_all_that_may_learn_and_nothing_else(classifier, pixels):
    found = gradients(opened(classifier), pixels)
    assert set(found) == set(classifier.trainable_parameters()) == ALLOWED
    assert {name for name, grad in found.items() if not grad.abs().max() > 0} == set()


def test_closed_gates_pass_gradients_to_themselves_and_to_no_module(classifier, pixels):
    found = gradients(classifier, pixels)
    moved = {name for name, grad in found.items() if grad.abs().max() > 0}
    modules = {name for name in ALLOWED if "cross" in name}
    assert moved & modules == {name for name in modules if name.endswith("gate")}
    assert moved - modules == ALLOWED - modules


@pytest.mark.parametrize("vector", [False, True])
def test_gates_are_one_or_a_channel(vector):
    encoder = InternVideo(config(vector_gates=vector))
    assert encoder.cross[0].attention_gate.shape == ((24,) if vector else ())
    assert encoder.class_cross.mlp_gate.shape == ((16,) if vector else ())


def test_frozen_branches_stay_in_eval_mode_and_their_statistics_alone(pixels):
    video = VIDEO.model_copy(update={"local": "single", "global_dropout": 0.5})
    encoder = randomised(InternVideo(config(MULTIMODAL.model_copy(update={"video": video}))))
    classifier = CoordinatedClassifier(encoder, CLASSES).train()
    assert classifier.dropout.training
    assert encoder.cross.training
    before = {name: buffer.clone() for name, buffer in encoder.named_buffers()}
    assert any("running_mean" in name for name in before)
    torch.testing.assert_close(encoder(pixels), encoder.eval()(pixels), atol=0, rtol=0)
    for name, buffer in encoder.named_buffers():
        torch.testing.assert_close(buffer, before[name], atol=0, rtol=0)


def test_dropout_is_on_while_training_alone(classifier, pixels):
    expected = classifier(pixels)
    torch.manual_seed(0)
    assert not torch.equal(classifier.train()(pixels), expected)
    torch.testing.assert_close(classifier.eval()(pixels), expected, atol=0, rtol=0)


def test_a_few_steps_lower_the_loss_and_leave_frozen_weights_as_they_are(encoder, pixels):
    torch.manual_seed(0)
    classifier = CoordinatedClassifier(encoder, 3).eval()
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    optimiser = torch.optim.AdamW(classifier.trainable_parameters().values(), lr=1e-2, weight_decay=1e-3)
    losses = []
    for _ in range(25):
        loss = F.cross_entropy(classifier(pixels), torch.tensor([0, 1, 2]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]
    for name, value in classifier.state_dict().items():
        assert torch.equal(value, before[name]) != (name in classifier.trainable_parameters()), name


def test_checkpointing_gives_the_same_gradients(classifier, pixels):
    expected = gradients(opened(classifier), pixels)
    checkpointed = InternVideoConfig(
        masked=MASKED.model_copy(update={"trunk": TRUNK.model_copy(update={"checkpointing": True})}),
        multimodal=MULTIMODAL.model_copy(
            update={"video": VIDEO.model_copy(update={"trunk": TOWER.model_copy(update={"checkpointing": True})})}
        ),
    )
    other = CoordinatedClassifier(InternVideo(checkpointed), CLASSES).eval()
    other.load_state_dict(classifier.state_dict())
    calls: list[str] = []
    blocks = {"cross": other.encoder.cross[0], "class_cross": other.encoder.class_cross}
    for name, block in blocks.items():
        block.register_forward_pre_hook(lambda *_, name=name: calls.append(name))
    torch.testing.assert_close(gradients(other, pixels), expected)
    assert sorted(calls) == ["class_cross", "class_cross", "cross", "cross"]  # forwards, and again backwards


# The attention


@pytest.mark.parametrize("num_queries", [1, 7])
def test_attention_equals_torchs_with_the_same_weights(num_queries):
    torch.manual_seed(num_queries)
    ours = randomised(CrossAttention(24, 16, heads=3))
    theirs = torch.nn.MultiheadAttention(24, 3, kdim=16, vdim=16, batch_first=True)
    key_bias = torch.randn(24)  # softmax ignores it
    with torch.no_grad():
        theirs.q_proj_weight.copy_(ours.query.weight)
        theirs.k_proj_weight.copy_(ours.key.weight)
        theirs.v_proj_weight.copy_(ours.value.weight)
        theirs.in_proj_bias.copy_(torch.cat((ours.query.bias, key_bias, ours.value.bias)))
        theirs.out_proj.load_state_dict(ours.proj.state_dict())
    x, other = torch.randn(2, num_queries, 24), 2 * torch.randn(2, 30, 16)
    expected, _ = theirs(x, other, other, need_weights=False)
    torch.testing.assert_close(ours(x, other), expected, atol=2e-6, rtol=1e-5)


def test_one_folded_query_takes_what_it_takes_among_others():
    torch.manual_seed(0)
    attention = randomised(CrossAttention(24, 16, heads=3))
    x, other = torch.randn(2, 5, 24), 2 * torch.randn(2, 30, 16)
    together = attention(x, other)
    for i in range(5):
        torch.testing.assert_close(attention(x[:, i : i + 1], other)[:, 0], together[:, i], atol=2e-6, rtol=1e-5)


def test_one_query_costs_less_than_to_project_the_tokens():
    attention, other = CrossAttention(64, 48, heads=2), torch.randn(2, 500, 48)
    with FlopCounterMode(display=False) as counter:
        attention(torch.randn(2, 1, 64), other)
    keys_and_values = 2 * 2 * (2 * 500 * 48 * 64)
    assert counter.get_total_flops() < 0.1 * keys_and_values


def test_module_computes_the_papers_formula():
    torch.manual_seed(0)
    module = randomised(CrossModelAttention(TRUNK, 16, VIDEOMAE, CoordinationConfig(vector_gates=True)))
    with torch.no_grad():
        module.attention_gate.normal_()
        module.mlp_gate.normal_()
    x, other = torch.randn(2, 5, 24), torch.randn(2, 30, 16)
    normed = F.layer_norm(x, (24,), module.norm1.weight, module.norm1.bias, 1e-6)
    seen = F.layer_norm(other, (16,), module.norm_other.weight, module.norm_other.bias, 1e-6)
    expected = x + module.attention_gate.tanh() * module.attention(normed, seen)
    normed = F.layer_norm(expected, (24,), module.norm2.weight, module.norm2.bias, 1e-6)
    expected = expected + module.mlp_gate.tanh() * module.mlp.fc2(F.gelu(module.mlp.fc1(normed)))
    torch.testing.assert_close(module(x, other), expected)


def test_modules_have_the_activation_width_and_heads_of_what_they_change():
    encoder = InternVideo(config(hidden_ratio=2.0))
    cross, class_cross = encoder.cross[0], encoder.class_cross
    assert isinstance(cross.mlp.activation, VIDEOMAE.activation)
    assert isinstance(class_cross.mlp.activation, CLIP.activation)
    assert cross.mlp.fc1.weight.shape == (48, 24)
    assert class_cross.mlp.fc1.weight.shape == (32, 16)
    assert (cross.attention.heads, class_cross.attention.heads) == (3, 2)
    assert cross.attention.key.weight.shape == (24, 16)
    assert class_cross.attention.key.weight.shape == (16, 24)


# Pixels


def test_each_branch_gets_the_pixels_it_was_trained_with(encoder, frames):
    pixels = encoder.to_pixels(frames)
    assert pixels.masked.shape == (3, 3, 8, 16, 16)
    assert pixels.multimodal.shape == (3, 3, 4, 12, 12)
    torch.testing.assert_close(pixels.masked, encoder.masked.to_pixels(frames), atol=0, rtol=0)
    torch.testing.assert_close(pixels.multimodal, encoder.multimodal.to_pixels(frames[:, [1, 3, 5, 7]]), atol=0, rtol=0)


def test_both_branches_see_the_newest_frame(encoder, frames):
    changed = frames.clone()
    changed[:, -1] = 255 - changed[:, -1]
    before, after = encoder.encode_video(frames), encoder.encode_video(changed)  # gates are closed
    assert (after.tokens - before.tokens).abs().amax(dim=(1, 2)).min() > 0.01
    assert (after.pooled - before.pooled).abs().amax(dim=1).min() > 0.001


def test_one_clip_needs_no_batch_and_numpy_will_do(encoder, frames):
    expected = encoder.encode_video(frames)
    one = encoder.encode_video(frames[1].numpy())
    torch.testing.assert_close(one.pooled, expected.pooled[1:2], atol=1e-5, rtol=1e-5)
    assert not one.tokens.requires_grad


class Transfers(TorchDispatchMode):
    """Count what moves from the CPU to the meta device, by type."""

    def __init__(self):
        super().__init__()
        self.moved = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        source = args[0] if args and isinstance(args[0], torch.Tensor) else None
        if source is not None and isinstance(result, torch.Tensor) and source.is_cpu and result.is_meta:
            self.moved.append((source.dtype, source.numel()))
        return result


def test_frames_cross_to_the_device_once_and_as_bytes(frames):
    encoder = InternVideo(config()).to("meta")
    with Transfers() as transfers:
        pixels = encoder.to_pixels(frames)
    assert pixels.multimodal.is_meta
    assert [move for move in transfers.moved if move[1] > 3] == [(torch.uint8, frames.numel())]


def test_wrong_frames_are_refused(encoder, frames, pixels):
    with pytest.raises(ValueError, match="clips have 7 frames, this encoder takes 8"):
        encoder.to_pixels(frames[:, :7])
    with pytest.raises(ValueError, match=r"not torch\.uint8"):
        encoder.to_pixels(frames.float())
    with pytest.raises(TypeError, match="BranchPixels"):
        encoder(pixels.masked)
    with pytest.raises(ValueError, match="12, 12"):
        encoder(BranchPixels(pixels.masked, pixels.masked))
    with pytest.raises(ValueError, match="3 masked and 2 multimodal"):
        encoder(BranchPixels(pixels.masked, pixels.multimodal[:2]))


# Stages


def test_the_papers_largest_pair_has_four_modules_and_one():
    with torch.device("meta"):
        encoder = InternVideo(ENCODERS["internvideo_huge_t16"]()).to("meta")
    assert encoder.stages == (8, 16, 24, 32)
    assert [module.attention.heads for module in (*encoder.cross, encoder.class_cross)] == [16] * 5
    output = encoder(BranchPixels(*(torch.empty(2, 3, t, 224, 224, device="meta") for t in (16, 8))))
    assert output.tokens.shape == (2, 1568, 1280)
    assert output.pooled.shape == (2, 768)


def test_stages_are_as_many_equal_parts_as_there_are_taps():
    huge = TRUNK.model_copy(update={"depth": 32})
    video = VIDEO.model_copy(update={"taps": (20, 21, 22, 23)})
    big = config(MULTIMODAL.model_copy(update={"video": video}))
    assert coordinated_stages(config()) == (2, 4)
    assert coordinated_stages(big.model_copy(update={"masked": MASKED.model_copy(update={"trunk": huge})})) == (
        8,
        16,
        24,
        32,
    )


def test_a_stage_looks_at_its_own_tap_and_no_other(pixels):
    encoder = opened(randomised(InternVideo(config(stages=(3,)))).eval())
    video = encoder.multimodal.video
    placed = [tap.detach().requires_grad_() for tap in video.place(video.encode_frames(pixels.multimodal).taps)]
    encoder.enhance_tokens(pixels.masked, placed).sum().backward()
    assert placed[0].grad.abs().max() > 0
    assert placed[1].grad is None
    assert len(encoder.cross) == 1


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ((2, 5), r"stages \(2, 5\) are not increasing block numbers from 1 to 4"),
        ((0, 2), "from 1 to 4"),
        ((3, 2), "increasing"),
        ((2, 2), "increasing"),
        ((1, 2, 3), r"3 stages \(1, 2, 3\) are more than the 2 taps"),
    ],
)
def test_stages_that_do_not_fit_are_refused(stages, message):
    with pytest.raises(ValueError, match=message):
        InternVideo(config(stages=stages))


def test_more_taps_than_masked_blocks_need_named_stages():
    shallow = MASKED.model_copy(update={"trunk": TRUNK.model_copy(update={"depth": 1})})
    with pytest.raises(ValueError, match="1 masked blocks are fewer than the 2 taps"):
        coordinated_stages(config().model_copy(update={"masked": shallow}))


# Types and compilers


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_finite_and_near(classifier, frames, dtype):
    opened(classifier)
    expected = classifier(classifier.encoder.to_pixels(frames))
    half = copy.deepcopy(classifier).to(dtype)
    logits = half(half.encoder.to_pixels(frames))
    assert logits.dtype == dtype
    torch.testing.assert_close(logits.float(), expected, atol=0.1, rtol=0.1)
    F.cross_entropy(logits, torch.tensor([0, 1, 2])).backward()
    assert all(p.grad.isfinite().all() for p in half.trainable_parameters().values())


def test_autocast_is_near(classifier, pixels):
    expected = opened(classifier)(pixels)
    with torch.autocast("cpu", torch.bfloat16):
        logits = classifier(pixels)
    torch.testing.assert_close(logits.float(), expected, atol=0.1, rtol=0.1)


def test_it_compiles_into_one_graph(classifier, pixels):
    expected = opened(classifier)(pixels)
    compiled = torch.compile(classifier, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(pixels), expected)
    output = torch.compile(classifier.encoder, fullgraph=True, backend="eager")(pixels)
    torch.testing.assert_close(output.pooled, classifier.encoder(pixels).pooled)
