import torch

from navloop.configs.encoders import MaskedConfig, PixelsConfig, TransformerConfig
from navloop.encoders.autoencoder import MaskedAutoencoder
from navloop.encoders.losses import reconstruction_loss, reconstruction_targets
from navloop.encoders.masking import tube_mask


def block(width, depth, heads, **more):
    return TransformerConfig(width=width, depth=depth, heads=heads, hidden=4 * width, **more)


def small(**more):
    return MaskedConfig(
        pixels=PixelsConfig(size=64),
        frames=8,
        position_grid=None,
        trunk=block(32, 2, 2, **more),
        decoder=block(16, 2, 2, **more),
    )


def clips(batch=2, seed=0):
    return torch.randn(batch, 3, 8, 64, 64, generator=torch.Generator().manual_seed(seed))


def tubes(config, batch=2, seed=0, ratio=0.75):
    return tube_mask(config.grid, ratio, batch, torch.Generator().manual_seed(seed))


def test_the_reference_model_predicts_the_same_pixels(golden, rename):
    file = golden("videomae_pretrain")
    config = MaskedConfig(
        pixels=PixelsConfig(size=64, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
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
    print(
        (targets - file.tensors["target"]).abs().max(),
        (predictions - file.tensors["output"]).abs().max(),
        (reconstruction_loss(predictions, targets) - file.tensors["loss"]).abs(),
    )
    torch.testing.assert_close(targets, file.tensors["target"], atol=1e-5, rtol=0)
    torch.testing.assert_close(predictions, file.tensors["output"], atol=1e-5, rtol=0)
    torch.testing.assert_close(reconstruction_loss(predictions, targets)[None], file.tensors["loss"], atol=1e-5, rtol=0)
