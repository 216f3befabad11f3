import pytest
import torch
from torch.nn import functional as F
from transformers import VideoMAEConfig, VideoMAEForPreTraining

from navloop.configs.encoders import IMAGENET_MEAN, IMAGENET_STD, MaskedConfig, PixelsConfig, TransformerConfig
from navloop.encoders.autoencoder import MaskedAutoencoder
from navloop.encoders.losses import reconstruction_loss, reconstruction_targets
from navloop.encoders.masking import random_mask, running_cell_mask, tube_mask


def block(width, depth, heads, **more):
    return TransformerConfig(**{"width": width, "depth": depth, "heads": heads, "hidden": 4 * width, **more})


def small(**more):
    return MaskedConfig(
        pixels=PixelsConfig(size=64),
        frames=8,
        trunk=block(32, 2, 2, **more),
        decoder=block(16, 2, 2, **more),
    )


def create(config, seed=0):
    """A model whose biases and norms are not zeros and ones."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = MaskedAutoencoder(config)
        for weight in model.parameters():
            torch.nn.init.normal_(weight, weight.mean().item(), 0.1)
    return model


def clips(batch=2, seed=0):
    return torch.randn(batch, 3, 8, 64, 64, generator=torch.Generator().manual_seed(seed))


def draw(mask, ratio=0.75, batch=2, seed=0):
    return mask((4, 4, 4), ratio, batch, torch.Generator().manual_seed(seed))


def test_the_reference_model_predicts_the_same_pixels(golden, rename):
    file = golden("videomae_pretrain")
    config = MaskedConfig(
        pixels=PixelsConfig(size=64, mean=IMAGENET_MEAN, std=IMAGENET_STD),
        trunk=block(96, 3, 3),
        decoder=block(48, 2, 3),
        position_grid=None,
    )
    model = MaskedAutoencoder(config)
    model.load_state_dict(rename(file.state))
    pixels, hidden = file.tensors["input"], file.tensors["mask"].bool()
    targets = reconstruction_targets(pixels, hidden, config)
    with torch.no_grad():
        predictions = model(pixels, hidden)
    torch.testing.assert_close(targets, file.tensors["target"], atol=1e-5, rtol=0)
    torch.testing.assert_close(predictions, file.tensors["output"], atol=1e-5, rtol=0)
    torch.testing.assert_close(reconstruction_loss(predictions, targets)[None], file.tensors["loss"], atol=1e-5, rtol=0)


def test_the_base_model_agrees_with_transformers(from_transformers):
    # Full size: 16 frames of 224 pixels, 90% in tubes. Its use_mean_pooling=False norms each token, as we pretrain.
    # In float64: sixteen blocks of weights this large amplify float32's rounding beyond what tells two models apart.
    theirs = VideoMAEForPreTraining(VideoMAEConfig(layer_norm_eps=1e-6, use_mean_pooling=False)).double().eval()
    theirs.decoder.norm.eps = 1e-6  # fixed to 1e-5 there, 1e-6 in the reference
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in theirs.parameters():
            weight += 0.02 * torch.randn(weight.shape, generator=generator)
    config = MaskedConfig(trunk=block(768, 12, 12), decoder=block(384, 4, 6))
    model = MaskedAutoencoder(config).double()
    model.load_state_dict(from_transformers(theirs.state_dict()))
    pixels = torch.randn(1, 3, 16, 224, 224, generator=generator).double()
    hidden = tube_mask(config.grid, 0.9, 1, generator)
    with torch.no_grad():
        expected, predictions = theirs(pixels.transpose(1, 2), hidden), model(pixels, hidden)
    torch.testing.assert_close(predictions, expected.logits, atol=1e-5, rtol=0)
    loss = reconstruction_loss(predictions, reconstruction_targets(pixels, hidden, config))
    torch.testing.assert_close(loss, expected.loss.float(), atol=1e-5, rtol=0)


SIZES = {  # encoder and decoder: width, depth, heads, hidden; patch; millions of parameters
    "S": ((384, 12, 6, 1536), (192, 4, 3, 768), 16, 24.03),
    "B": ((768, 12, 12, 3072), (384, 4, 6, 1536), 16, 94.21),
    "L": ((1024, 24, 16, 4096), (512, 12, 8, 2048), 16, 343.00),
    "H": ((1280, 32, 16, 5120), (512, 8, 8, 2048), 16, 658.27),
    "g": ((1408, 40, 16, 6144), (512, 4, 8, 2234), 14, 1026.3),
}


@pytest.mark.parametrize("size", SIZES)
def test_the_published_sizes_have_the_published_numbers_of_parameters(size):
    trunk, decoder, patch, millions = SIZES[size]
    config = MaskedConfig(
        patch=patch, trunk=block(*trunk[:3], hidden=trunk[3]), decoder=block(*decoder[:3], hidden=decoder[3])
    )
    with torch.device("meta"):
        count = sum(weight.numel() for weight in MaskedAutoencoder(config).parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.05 if size == "g" else 0.005)


def test_the_pixels_to_predict_do_not_reach_the_prediction():
    model, pixels, hidden = create(small()), clips(), draw(tube_mask)
    blank = hidden.view(2, 1, 4, 4, 4).repeat_interleave(2, 2).repeat_interleave(16, 3).repeat_interleave(16, 4)
    predictions = model(pixels, hidden)
    assert predictions.shape == (2, 48, 3 * 2 * 16 * 16)
    assert torch.equal(predictions, model(pixels.masked_fill(blank, float("nan")), hidden))
    assert not torch.equal(predictions, model(pixels.masked_fill(~blank, 0), hidden))


def test_clips_of_a_batch_do_not_see_each_other():
    model, order = create(small()), torch.tensor([2, 0, 3, 1])
    pixels, hidden = clips(4), draw(random_mask, batch=4)
    torch.testing.assert_close(model(pixels[order], hidden[order]), model(pixels, hidden)[order], atol=1e-6, rtol=0)


def test_predicting_all_that_is_hidden_is_the_default():
    model, pixels, hidden = create(small()), clips(), draw(random_mask)
    assert torch.equal(model(pixels, hidden), model(pixels, hidden, hidden))


def test_tokens_that_are_not_predicted_are_not_in_the_decoder():
    model, pixels, hidden = create(small()), clips(), draw(tube_mask)
    predicted = ~draw(running_cell_mask, 0.5, seed=1)
    lengths = []
    model.decoder.blocks[0].register_forward_hook(lambda _, args, __: lengths.append(args[0].shape[1]))
    some, every = model(pixels, hidden, predicted), model(pixels, hidden)
    assert lengths == [16 + 32, 64]
    assert some.shape == (2, 32, 1536)
    both = hidden & predicted
    difference = some[both[predicted].view(2, 32)] - every[both[hidden].view(2, 48)]
    assert 0 < difference.abs().max() < 1  # the same tokens, in sight of fewer blanks


def test_a_decoder_without_attention_predicts_a_token_alike_among_fewer():
    model, pixels, hidden = create(small()), clips(), draw(tube_mask)
    for layer in model.decoder.blocks:
        torch.nn.init.zeros_(layer.attention.proj.weight)
    predicted = ~draw(running_cell_mask, 0.5, seed=1) & hidden
    every = model(pixels, hidden)[predicted[hidden].view(2, -1)].view(2, -1, 1536)
    torch.testing.assert_close(model(pixels, hidden, predicted), every, atol=1e-5, rtol=0)


def test_every_parameter_is_trained():
    model, config, pixels, hidden = create(small()), small(), clips(), draw(tube_mask)
    reconstruction_loss(model(pixels, hidden), reconstruction_targets(pixels, hidden, config)).backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()] == []


def test_a_few_steps_learn_a_clip_by_heart():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MaskedAutoencoder(small())
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    pixels = torch.stack([torch.sin((x + k * y) / 9) for k in range(3)])[None, :, None].expand(1, 3, 8, 64, 64)
    hidden = draw(tube_mask, 0.5, 1)
    targets = reconstruction_targets(pixels, hidden, small())
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    losses = []
    for _ in range(60):
        loss = reconstruction_loss(model(pixels, hidden), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_half_precision_stays_finite():
    model = create(small()).bfloat16()
    predictions = model(clips().bfloat16(), draw(tube_mask))
    loss = reconstruction_loss(predictions, reconstruction_targets(clips(), draw(tube_mask), small()))
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(weight.grad.isfinite().all() for weight in model.parameters())
    assert F.cosine_similarity(predictions.float(), create(small())(clips(), draw(tube_mask)), dim=-1).min() > 0.99


def test_recomputed_activations_give_the_same_gradients():
    plain, checkpointed = create(small()), create(small(checkpointing=True))
    calls = []
    checkpointed.decoder.blocks[1].register_forward_pre_hook(lambda *_: calls.append(1))
    for model in (plain, checkpointed):
        model(clips(), draw(tube_mask)).sin().sum().backward()
    assert len(calls) == 2
    for mine, other in zip(plain.parameters(), checkpointed.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad)


def test_a_training_step_is_one_graph():
    torch.compiler.reset()
    model, config, pixels = create(small()), small(), clips()

    def loss(pixels, hidden, predicted):
        targets = reconstruction_targets(pixels, predicted, config)
        return reconstruction_loss(model(pixels, hidden, predicted), targets)

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    hidden = draw(tube_mask)
    predicted = hidden & ~draw(running_cell_mask, 0.5)
    gradients = []
    for step in (loss, compiled):
        step(pixels, hidden, predicted).backward()
        gradients.append([weight.grad.clone() for weight in model.parameters()])
        model.zero_grad()
    for mine, other in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-4)


def test_the_blank_token_starts_within_one_deviation():
    model = MaskedAutoencoder(small().model_copy(update={"decoder": block(1024, 1, 2)}))
    assert 0.0195 < model.mask_token.abs().max() <= 0.02
    assert model.mask_token.std().item() == pytest.approx(0.02 * 0.54, rel=0.1)  # of a normal cut at one sigma


def test_masks_of_another_grid_are_refused():
    model, hidden = create(small()), draw(tube_mask)
    with pytest.raises(ValueError, match=r"\(2, 63\), .* \(B, 64\)"):
        model(clips(), hidden[:, 1:])
    with pytest.raises(ValueError, match=r"\(2, 63\)"):
        model(clips(), hidden, hidden[:, 1:])
    with pytest.raises(ValueError, match="2 clips came with 3 clips"):
        model(clips(3), hidden)
    uneven = hidden.clone()
    uneven[0] = True
    with pytest.raises(ValueError, match="48 to 64 tokens"):
        model(clips(), hidden, uneven)
    with pytest.raises(ValueError, match="no token"):
        model(clips(), hidden, torch.zeros_like(hidden))
