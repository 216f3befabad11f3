import torch

from navloop.configs.encoders import MaskedConfig, PixelsConfig, TransformerConfig
from navloop.encoders.masked import MaskedEncoder

RELEASED = {"patch_embed.proj": "patch", "fc_norm": "norm", ".attn.": ".attention."}


def ours(state, prefix=""):
    """Weights under a prefix of released names, renamed to ours."""
    renamed = {}
    for key, value in state.items():
        if key.startswith(prefix):
            name = key.removeprefix(prefix)
            for theirs, our in RELEASED.items():
                name = name.replace(theirs, our)
            renamed[name] = value
    return renamed


def test_the_reference_trunk_gives_the_same_features(golden):
    file = golden("videomae_finetune")
    config = MaskedConfig(
        pixels=PixelsConfig(size=64),
        trunk=TransformerConfig(width=96, depth=3, heads=3, hidden=384),
        decoder=TransformerConfig(width=48, depth=2, heads=3, hidden=192),
        position_grid=None,
    )
    encoder = MaskedEncoder(config)
    encoder.load_state_dict({k: v for k, v in ours(file.state).items() if not k.startswith("head.")})
    features = encoder.features(file.tensors["input"])
    torch.testing.assert_close(features, file.tensors["features"], atol=1e-5, rtol=0)
    print((features - file.tensors["features"]).abs().max())
