import pytest
import torch
from torch.nn import functional as F

from navloop.configs.encoders import MaskedConfig, PixelsConfig, TransformerConfig
from navloop.encoders.classifier import VideoClassifier
from navloop.encoders.masked import MaskedEncoder


def encoder(size=32, frames=4, width=32):
    return MaskedEncoder(
        MaskedConfig(
            pixels=PixelsConfig(size=size),
            frames=frames,
            trunk=TransformerConfig(width=width, depth=3, heads=width // 32, hidden=4 * width),
            decoder=TransformerConfig(width=16, depth=1, heads=1, hidden=16),
            position_grid=None,
        )
    )


def clips(batch=3):
    return torch.randn(batch, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0))


def test_the_reference_model_gives_the_same_logits(golden, rename):
    file = golden("videomae_finetune")
    model = VideoClassifier(encoder(64, 16, 96), 7)
    state = rename(file.state)
    model.load_state_dict({key if key.startswith("head.") else f"encoder.{key}": state[key] for key in state})
    with torch.no_grad():
        logits = model(file.tensors["input"])
    torch.testing.assert_close(logits, file.tensors["logits"], atol=1e-5, rtol=0)


def test_the_head_starts_small():
    head = VideoClassifier(encoder(width=256), 400, init_scale=0.5).head
    assert head.bias.abs().max() == 0
    assert head.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert VideoClassifier(encoder(), 400).head.weight.abs().max() < 2e-4


def test_a_norm_is_there_only_if_asked_for():
    plain, normed = VideoClassifier(encoder(), 5), VideoClassifier(encoder(), 5, norm=True, init_scale=1)
    added = set(normed.state_dict()) - set(plain.state_dict())
    assert added == {"norm.weight", "norm.bias"}
    features = F.layer_norm(normed.encoder.features(clips()), (32,))
    torch.testing.assert_close(normed(clips()), features @ normed.head.weight.T)


def test_dropout_is_for_training():
    model = VideoClassifier(encoder(), 5, dropout=0.5, init_scale=1)
    assert torch.equal(model.eval()(clips()), model(clips()))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert not torch.equal(model.train()(clips()), model(clips()))


def test_every_parameter_is_trained():
    model = VideoClassifier(encoder(), 5, norm=True, init_scale=1)
    with torch.no_grad():  # a key is worth nothing to a query without a bias or a difference
        for weight in model.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    F.cross_entropy(model(clips()), torch.tensor([0, 3, 4])).backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()] == []


def test_no_classes_are_refused():
    with pytest.raises(ValueError, match="0 classes"):
        VideoClassifier(encoder(), 0)
