import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from transformers import VideoMAEConfig, VideoMAEModel

from navloop.configs.encoders import MaskedConfig, PixelsConfig, TransformerConfig
from navloop.encoders.classifier import VideoClassifier
from navloop.encoders.masked import MaskedEncoder, TubeletEmbedding
from navloop.encoders.masking import random_mask, tube_mask


def block(width, depth, heads, **more):
    return TransformerConfig(**{"width": width, "depth": depth, "heads": heads, "hidden": 4 * width, **more})


def small(norm="pooled", **more):
    return MaskedConfig(
        pixels=PixelsConfig(size=48),
        frames=8,
        trunk=block(32, 3, 4, **more),
        decoder=block(16, 1, 2),
        norm=norm,
    )


def create(config, seed=0):
    """An encoder whose biases and norms are not zeros and ones."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = MaskedEncoder(config)
        for weight in encoder.parameters():
            torch.nn.init.normal_(weight, weight.mean().item(), 0.1)
    return encoder.eval()


def clips(batch=2, size=48, frames=8, seed=0):
    return torch.randn(batch, 3, frames, size, size, generator=torch.Generator().manual_seed(seed))


def draw(mask, encoder, ratio=0.7, batch=2):
    return mask(encoder.grid, ratio, batch, torch.Generator().manual_seed(0))


def test_the_reference_trunk_gives_the_same_features(golden, rename):
    file = golden("videomae_finetune")
    config = MaskedConfig(
        pixels=PixelsConfig(size=64), trunk=block(96, 3, 3), decoder=block(48, 2, 3), position_grid=None
    )
    encoder = MaskedEncoder(config)
    encoder.load_state_dict({k: v for k, v in rename(file.state).items() if not k.startswith("head.")})
    with torch.no_grad():
        features, output = encoder.features(file.tensors["input"]), encoder(file.tensors["input"])
    torch.testing.assert_close(features, file.tensors["features"], atol=1e-5, rtol=0)
    torch.testing.assert_close(output.pooled, F.normalize(file.tensors["features"]), atol=1e-5, rtol=0)


def test_the_base_trunk_agrees_with_transformers(from_transformers):
    # Its use_mean_pooling, the default, leaves the tokens as they are: the norm follows the mean, in its classifier.
    # test_autoencoder compares what use_mean_pooling=False gives, norm="tokens" here.
    # In float64: twelve blocks of weights this large amplify float32's rounding beyond what tells two models apart.
    theirs = VideoMAEModel(VideoMAEConfig(num_frames=2, layer_norm_eps=1e-6)).double().eval()
    with torch.no_grad():
        for weight in theirs.parameters():
            weight += 0.02 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel()))
    encoder = MaskedEncoder(
        MaskedConfig(frames=2, trunk=block(768, 12, 12), decoder=block(384, 1, 6), position_grid=None)
    ).double()
    state = from_transformers({f"videomae.{key}": weight for key, weight in theirs.state_dict().items()})
    state = {key.removeprefix("encoder."): weight for key, weight in state.items()}
    encoder.load_state_dict(state | {"norm.weight": torch.ones(768), "norm.bias": torch.zeros(768)})
    pixels = clips(1, 224, 2).double()
    with torch.no_grad():
        for hidden in (None, draw(random_mask, encoder, 0.7, 1)):
            expected = theirs(pixels.transpose(1, 2), hidden).last_hidden_state
            output = encoder(pixels, hidden)
            torch.testing.assert_close(output.tokens, expected, atol=1e-5, rtol=0)
            mean = F.layer_norm(expected.mean(1), (768,), eps=1e-6)
            torch.testing.assert_close(output.pooled, F.normalize(mean), atol=1e-5, rtol=0)


SIZES = {  # width, depth, heads, hidden, patch; millions in the encoder and in a classifier of 400
    "S": (384, 12, 6, 1536, 16, 21.88, 22.03),
    "B": (768, 12, 12, 3072, 16, 86.23, 86.53),
    "L": (1024, 24, 16, 4096, 16, 303.86, 304.27),
    "H": (1280, 32, 16, 5120, 16, 631.61, 632.12),
    "g": (1408, 40, 16, 6144, 14, 1011.6, 1012.2),
}


@pytest.mark.parametrize("size", SIZES)
def test_the_published_sizes_have_the_published_numbers_of_parameters(size):
    width, depth, heads, hidden, patch, encoder_millions, classifier_millions = SIZES[size]
    trunk = block(width, depth, heads, hidden=hidden)
    with torch.device("meta"):
        model = VideoClassifier(MaskedEncoder(MaskedConfig(patch=patch, trunk=trunk, decoder=block(64, 1, 1))), 400)
    tolerance = 0.05 if size == "g" else 0.005
    assert sum(p.numel() for p in model.encoder.parameters()) / 1e6 == pytest.approx(encoder_millions, abs=tolerance)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(classifier_millions, abs=tolerance)


@pytest.mark.parametrize("channels_last", [False, True])
def test_tubelets_are_embedded_as_by_convolution(channels_last):
    embedding, pixels = TubeletEmbedding(24, 8), clips(2, 32, 4)
    if channels_last:  # as to_pixels hands them over
        pixels = pixels.transpose(1, 2).contiguous().transpose(1, 2)
    tokens = F.conv3d(pixels, embedding.weight, embedding.bias, stride=(2, 8, 8)).flatten(2).mT
    torch.testing.assert_close(embedding(pixels), tokens, atol=1e-5, rtol=0)
    kept = torch.tensor([[0, 5, 31], [1, 16, 17]])
    torch.testing.assert_close(embedding(pixels, kept), tokens[[[0], [1]], kept], atol=1e-5, rtol=0)


@pytest.mark.parametrize("norm", ["pooled", "tokens"])
@pytest.mark.parametrize("mask", [tube_mask, random_mask])
def test_hidden_pixels_do_not_reach_the_output(norm, mask):
    encoder = create(small(norm))
    hidden = draw(mask, encoder)
    pixels = clips()
    blank = hidden.view(2, 1, *encoder.grid).repeat_interleave(2, 2).repeat_interleave(16, 3).repeat_interleave(16, 4)
    output, poisoned = encoder(pixels, hidden), encoder(pixels.masked_fill(blank, float("nan")), hidden)
    assert torch.equal(output.tokens, poisoned.tokens)
    assert torch.equal(output.pooled, poisoned.pooled)
    assert not torch.equal(encoder(pixels).tokens[~hidden].view_as(output.tokens), output.tokens)


def test_visible_tokens_keep_their_positions_and_order():
    encoder = create(small())
    hidden = draw(random_mask, encoder)
    pixels = clips()
    everything = encoder.embed(pixels)
    torch.testing.assert_close(encoder.embed(pixels, hidden), everything[~hidden].view(2, -1, 32), atol=1e-6, rtol=0)


def test_work_falls_with_the_tokens_hidden():
    encoder = create(small())

    def flops(hidden):
        with FlopCounterMode(display=False) as counter:
            encoder(clips(), hidden)
        return counter.get_total_flops()

    assert flops(draw(tube_mask, encoder, 0.89)) < flops(None) / 9 * 1.01  # 1 of 9 patches is visible


def test_clips_of_a_batch_do_not_see_each_other():
    encoder, order = create(small()), torch.tensor([2, 0, 3, 1])
    pixels, hidden = clips(4), draw(random_mask, encoder, batch=4)
    output, permuted = encoder(pixels, hidden), encoder(pixels[order], hidden[order])
    torch.testing.assert_close(permuted.tokens, output.tokens[order], atol=1e-6, rtol=0)
    alone = encoder(pixels[1:2], hidden[1:2])
    torch.testing.assert_close(alone.tokens[0], output.tokens[1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("norm", ["pooled", "tokens"])
def test_features_are_what_is_pooled(norm):
    encoder, pixels = create(small(norm)), clips()
    output, features = encoder(pixels), encoder.features(pixels)
    torch.testing.assert_close(F.normalize(features), output.pooled)
    if norm == "tokens":
        torch.testing.assert_close(output.tokens.mean(1), features)
    else:
        torch.testing.assert_close(encoder.norm(output.tokens.mean(1)), features)
    assert (features.norm(dim=1) - 1).abs().min() > 0.1


@pytest.mark.parametrize("norm", ["pooled", "tokens"])
def test_every_parameter_is_trained(norm):
    encoder = create(small(norm)).train()
    output = encoder(clips(), draw(tube_mask, encoder))
    (output.tokens.sin().sum() + output.pooled.sin().sum()).backward()
    idle = [name for name, weight in encoder.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert idle == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_close(dtype):
    encoder, pixels = create(small()), clips()
    expected = encoder(pixels).pooled
    output = encoder.to(dtype)(pixels.to(dtype))
    assert output.tokens.dtype == output.pooled.dtype == dtype
    assert (output.pooled.float() * expected).sum(1).min() > 0.999


def test_autocast_stays_close():
    encoder, pixels = create(small()), clips()
    with torch.autocast("cpu", torch.bfloat16):
        output = encoder(pixels, draw(tube_mask, encoder))
    expected = encoder(pixels, draw(tube_mask, encoder))
    assert (output.pooled.float() * expected.pooled).sum(1).min() > 0.999


def test_recomputed_activations_give_the_same_gradients():
    plain, checkpointed = create(small()), create(small(checkpointing=True))
    calls = []
    checkpointed.blocks[1].register_forward_pre_hook(lambda *_: calls.append(1))
    for encoder in (plain, checkpointed):
        encoder.train()(clips()).pooled.sin().sum().backward()
    assert len(calls) == 2
    for mine, other in zip(plain.parameters(), checkpointed.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad)


@pytest.mark.parametrize("mask", [None, tube_mask])
def test_the_forward_pass_is_one_graph(mask):
    torch.compiler.reset()
    encoder, pixels = create(small()), clips()
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(encoder, fullgraph=True, backend=backend)
    for ratio in (0.4, 0.8):
        hidden = mask and draw(mask, encoder, ratio)
        torch.testing.assert_close(compiled(pixels, hidden).tokens, encoder(pixels, hidden).tokens)
    assert len(graphs) == 1  # for any number of tokens


def test_positions_are_real_on_a_meta_device_and_in_no_file():
    with torch.device("meta"):
        empty = MaskedEncoder(small())
    encoder = create(small())
    assert "positions" not in encoder.state_dict()
    empty.load_state_dict(encoder.state_dict(), assign=True)
    assert torch.equal(empty.eval()(clips()).pooled, encoder(clips()).pooled)


def test_larger_clips_take_resampled_positions():
    base = create(small())
    assert base.grid == (4, 3, 3)
    fresh = create(small().model_copy(update={"position_grid": None}))
    assert (base.positions - fresh.positions).abs().max() > 0.1


def test_linear_layers_start_xavier_uniform():
    encoder = MaskedEncoder(small())
    fc1 = encoder.blocks[0].mlp.fc1
    limit = (6 / (32 + 128)) ** 0.5
    assert fc1.bias.abs().max() == 0
    assert limit * 0.98 < fc1.weight.abs().max() < limit
    assert fc1.weight.std().item() == pytest.approx(limit / 3**0.5, rel=0.05)


def test_uint8_frames_are_encoded_as_their_pixels():
    encoder = create(small())
    frames = torch.randint(256, (8, 60, 80, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    output = encoder.encode_video(frames)
    torch.testing.assert_close(output.pooled, encoder(encoder.to_pixels(frames)).pooled)
    assert output.tokens.shape == (1, 4 * 3 * 3, 32)


@pytest.mark.parametrize(
    ("pixels", "hidden", "message"),
    [
        (clips(2, 32), None, r"\(2, 3, 8, 32, 32\), this encoder takes \(B, 3, 8, 48, 48\)"),
        (clips(2, 48, 6), None, r"\(2, 3, 6, 48, 48\)"),
        (clips()[0], None, r"\(3, 8, 48, 48\)"),
        (clips(), torch.zeros(2, 35, dtype=torch.bool), r"torch.bool \(2, 35\), .* \(B, 36\)"),
        (clips(), torch.zeros(2, 36), r"torch.float32 \(2, 36\)"),
        (clips(), torch.zeros(3, 36, dtype=torch.bool), "3 clips came with 2 clips"),
        (clips(), torch.ones(2, 36, dtype=torch.bool), "no token"),
        (clips(), torch.arange(36).expand(2, 36) < torch.tensor([[9], [20]]), "16 to 27 tokens"),
    ],
)
def test_wrong_shapes_are_refused(pixels, hidden, message):
    with pytest.raises(ValueError, match=message):
        create(small())(pixels, hidden)
