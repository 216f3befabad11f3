"""Each released file, at full size and with its published names and shapes, loads strictly. On "meta": no bytes needed."""

from collections.abc import Callable

import pytest
import torch
from released_shapes import (
    Shapes,
    blank,
    caption_decoder,
    clip,
    count,
    internvideo_mm,
    uniformerv2,
    viclip,
    videomae_finetune,
    videomae_pretrain,
    vqa,
)
from torch import nn

from navloop.configs.encoders import CaptionerConfig, MultimodalConfig, UniFormerConfig
from navloop.encoders.autoencoder import MaskedAutoencoder
from navloop.encoders.classifier import VideoClassifier
from navloop.encoders.convert import identify, load_released, to_ours, to_theirs
from navloop.encoders.masked import MaskedEncoder
from navloop.encoders.multimodal import MultimodalEncoder, UniFormer
from navloop.encoders.viclip import ViCLIPEncoder
from navloop.encoders.zoo import encoder_config

MM_LARGE = internvideo_mm(1024, 24, 14, 16, 768, 12, 768)
MM_BASE = internvideo_mm(768, 12, 16, 14, 512, 12, 512)


def masked(size: str, classes: int | None = None) -> nn.Module:
    encoder = MaskedEncoder(encoder_config(f"videomae_{size}_p16_t16"))
    return encoder if classes is None else VideoClassifier(encoder, classes)


def autoencoder(size: str) -> nn.Module:
    return MaskedAutoencoder(encoder_config(f"videomae_{size}_p16_t16"))


def multimodal(name: str, layers: int | None = None) -> nn.Module:
    config = encoder_config(f"internvideo_mm_{name}_t8")
    assert isinstance(config, MultimodalConfig)
    captioner = None if layers is None else CaptionerConfig(layers=layers)
    return MultimodalEncoder(config.model_copy(update={"captioner": captioner}))


def uniformer(name: str, classes: int, *, balance: bool = True) -> nn.Module:
    config = encoder_config(f"uniformerv2_{name}")
    assert isinstance(config, UniFormerConfig)
    video = config.video.model_copy(update={"balance": balance})
    return VideoClassifier(UniFormer(UniFormerConfig(video=video)), classes, norm=True)


def viclip_model(name: str) -> nn.Module:
    return ViCLIPEncoder(encoder_config(f"viclip_{name}_t8"))


# file: layout, container, what is in it, the model it fills, its published size in millions of parameters (None: not said)
FILES: dict[str, tuple[str, str, Shapes, Callable[[], nn.Module], float | None]] = {
    "vit_b_hybrid_pt_800e": (
        "videomae_pretrain", "model", videomae_pretrain(768, 12, 384, 4), lambda: autoencoder("base"), 94.21,
    ),
    "vit_l_hybrid_pt_800e": (
        "videomae_pretrain", "module", videomae_pretrain(1024, 24, 512, 12), lambda: autoencoder("large"), 343.00,
    ),
    "vit_h_hybrid_pt_1200e": (
        "videomae_pretrain", "", videomae_pretrain(1280, 32, 512, 8), lambda: autoencoder("huge"), 658.27,
    ),
    "vit_b_k400": ("videomae_finetune", "module", videomae_finetune(768, 12, 400), lambda: masked("base", 400), 86.53),
    "vit_l_k400": ("videomae_finetune", "module", videomae_finetune(1024, 24, 400), lambda: masked("large", 400), 304.27),
    "vit_h_k400": ("videomae_finetune", "model", videomae_finetune(1280, 32, 400), lambda: masked("huge", 400), 632.12),
    "InternVideo-MM-L-14": ("internvideo_mm", "state_dict", MM_LARGE, lambda: multimodal("large_p14"), 478.1),
    "InternVideo-MM-B-16": ("internvideo_mm", "state_dict", MM_BASE, lambda: multimodal("base_p16"), 178.1),
    "InternVideo-MM-L-14 with 4 caption layers": (
        "internvideo_mm", "state_dict", MM_LARGE | caption_decoder(768, 1024, 4),
        lambda: multimodal("large_p14", 4), 478.1 + 107.0,
    ),
    "InternVideo-MM-L-14 with 6 caption layers": (
        "internvideo_mm", "state_dict", MM_LARGE | caption_decoder(768, 1024, 6),
        lambda: multimodal("large_p14", 6), 478.1 + 140.4,
    ),
    "InternVideo-MM-B-16 with 4 caption layers": (
        "internvideo_mm", "state_dict", MM_BASE | caption_decoder(512, 768, 4),
        lambda: multimodal("base_p16", 4), 178.1 + 56,
    ),
    "retrieval": (
        "internvideo_mm", "", MM_LARGE, lambda: multimodal("large_p14"), 478.1,
    ),
    "ViCLIP-L": ("viclip", "model", viclip(1024, 24, 14, 16, 768, 768), lambda: viclip_model("large_p14"), 427.6),
    "ViCLIP-B": ("viclip", "model", viclip(768, 12, 16, 14, 512, 512), lambda: viclip_model("base_p16"), 149.6),
    "uniformerv2 B K400": (
        "uniformerv2", "model_state", uniformerv2(768, 12, 16, 14, 4, 400), lambda: uniformer("base_p16_t8", 400), None,
    ),
    "uniformerv2 L K710": (
        "uniformerv2", "", uniformerv2(1024, 24, 14, 16, 4, 710), lambda: uniformer("large_p14_t8", 710), 354,
    ),
    "uniformerv2 L 336 K400": (
        "uniformerv2", "model_state", uniformerv2(1024, 24, 14, 24, 4, 400),
        lambda: uniformer("large_p14_336_t32", 400), None,
    ),
    "uniformerv2 L 336 K710 frozen": (
        "uniformerv2", "model_state", uniformerv2(1024, 24, 14, 24, 4, 710, frozen=True),
        lambda: uniformer("large_p14_336_t32", 710, balance=False), None,
    ),
    "uniformerv2 B SSv2": (
        "uniformerv2", "model_state", uniformerv2(768, 12, 16, 14, 8, 174, local=True),
        lambda: uniformer("base_local_p16_t16", 174), None,
    ),
}  # fmt: skip


def on_meta(create: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return create()


def contained(state: dict[str, torch.Tensor], container: str) -> dict[str, object]:
    return {container: state, "epoch": 1} if container else dict(state)


@pytest.mark.parametrize("file", FILES)
def test_released_file_loads_strictly(file):
    layout, container, shapes, create, _ = FILES[file]
    model = on_meta(create)
    before = dict(model.named_parameters())
    report = load_released(model, contained(blank(shapes), container))
    assert (report.layout, report.dropped, report.missing) == (layout, (), ())
    after = dict(model.named_parameters())
    assert all(after[name] is not before[name] and after[name].shape == before[name].shape for name in before)


@pytest.mark.parametrize("file", FILES)
def test_released_file_has_as_many_parameters_as_published(file):
    *_, shapes, _, millions = FILES[file]
    if millions is not None:
        assert count(shapes) == pytest.approx(millions, rel=2e-3)


@pytest.mark.parametrize("file", FILES)
def test_names_and_shapes_of_a_released_file_come_back(file):
    layout, _, shapes, _, _ = FILES[file]
    found = identify(blank(shapes))
    back = to_theirs(to_ours(blank(shapes), found), found)
    assert found.name == layout
    assert {name: tuple(tensor.shape) for name, tensor in back.items()} == shapes


@pytest.mark.parametrize(("size", "width", "depth", "decoder"), [("base", 768, 12, 4), ("large", 1024, 24, 12)])
def test_pretraining_file_gives_the_tuning_trunk_and_leaves_its_norm_fresh(size, width, depth, decoder):
    shapes = videomae_pretrain(width, depth, 384 if size == "base" else 512, decoder)
    model = on_meta(lambda: masked(size))
    report = load_released(model, {"module": blank(shapes)})
    assert report.missing == ("norm.weight", "norm.bias")
    gone = ("decoder.", "encoder_to_decoder.", "mask_token", "encoder.norm.")
    assert set(report.dropped) == {name for name in shapes if name.startswith(gone)}


def test_question_answering_file_gives_the_encoder_and_names_what_it_lacks():
    captions = caption_decoder(768, 1024, 4)
    shapes = vqa(MM_LARGE, captions, 768 + 1024 + 768, 1501)
    assert count(shapes) == pytest.approx(565, rel=0.01)
    report = load_released(on_meta(lambda: multimodal("large_p14", 4)), {"state_dict": blank(shapes)})
    assert report.layout == "internvideo_vqa"
    assert {name.split(".")[0] for name in report.dropped} == {"vqa_classifier"}
    predictor = {f"captioner.predictor.{layer}.{end}" for layer in ("norm1", "hidden", "norm2", "vocabulary") for end in ("weight", "bias")}  # fmt: skip
    assert set(report.missing) == {"video_proj", "text.proj"} | predictor


def test_caption_decoder_that_is_not_wanted_is_dropped_and_said():
    shapes = MM_BASE | caption_decoder(512, 768, 4)
    report = load_released(on_meta(lambda: multimodal("base_p16")), {"state_dict": blank(shapes)})
    assert set(report.dropped) == {name for name in shapes if name.startswith("caption_decoder.")} - {
        name for name in shapes if name.endswith((".beta", ".inv_freq"))
    }


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("base_p16", clip(768, 12, 16, 14, 512, 512)),
        ("large_p14", clip(1024, 24, 14, 16, 768, 768)),
        ("large_p14_336", clip(1024, 24, 14, 24, 768, 768)),
    ],
)
def test_clip_starts_the_multimodal_branch_and_leaves_exactly_what_clip_has_not(name, shapes):
    model = on_meta(lambda: multimodal(name))
    report = load_released(model, blank(shapes))
    beginnings = ("video.query", "video.balance", "video.global_blocks.", "text.mask_token")
    assert report.layout == "clip"
    assert report.dropped == ()
    assert set(report.missing) == {key for key in model.state_dict() if key.startswith(beginnings)}


def test_kinetics_710_classifier_becomes_one_of_400_classes():
    model = on_meta(lambda: masked("huge", 400))
    report = load_released(model, {"module": blank(videomae_finetune(1280, 32, 710))}, classes=range(400))
    assert report.missing == ()
    assert model.head.weight.shape == (400, 1280)
