"""Released weights into our models and back: with bytes, at small sizes, against the golden files and open_clip's own names."""

from functools import cache

import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from released_shapes import (
    caption_decoder,
    clip,
    internvideo_mm,
    random,
    uniformerv2,
    viclip,
    videomae_finetune,
    videomae_pretrain,
    vqa,
)
from torch import Tensor, nn
from torch.nn import functional as F

from navloop.configs.encoders import (
    CaptionerConfig,
    InternVideoConfig,
    MaskedConfig,
    MultimodalConfig,
    PixelsConfig,
    TextConfig,
    TransformerConfig,
    UniFormerConfig,
    ViCLIPConfig,
    VideoTowerConfig,
)
from navloop.encoders.autoencoder import MaskedAutoencoder
from navloop.encoders.classifier import VideoClassifier
from navloop.encoders.convert import identify, load_released, slice_head, to_ours, to_theirs
from navloop.encoders.coordination import InternVideo
from navloop.encoders.layouts import LAYOUTS
from navloop.encoders.masked import MaskedEncoder
from navloop.encoders.mismatch import grouped
from navloop.encoders.multimodal import MultimodalEncoder, UniFormer
from navloop.encoders.viclip import ViCLIPEncoder
from navloop.weights import WeightsError, digest, write_weights

MM = internvideo_mm(32, 6, 8, 2, 64, 2, 24, vocabulary=50)
CAPTIONS = caption_decoder(64, 32, 2, vocabulary=50)
VICLIP = viclip(32, 3, 8, 2, 64, 24, frames=4, vocabulary=50)
CLIP = clip(32, 6, 8, 2, 64, 24, vocabulary=50)
SMALL = {
    "videomae_pretrain": videomae_pretrain(32, 3, 16, 2, patch=8),
    "videomae_finetune": videomae_finetune(32, 3, 7, patch=8),
    "internvideo_mm": MM,
    "internvideo_mm with captions": MM | CAPTIONS,
    "internvideo_mm without masked-language embedding": {k: v for k, v in MM.items() if "text_mask" not in k},
    "internvideo_vqa": vqa(MM, CAPTIONS, 32 + 64 + 64, 11),
    "viclip": VICLIP,
    "uniformerv2": uniformerv2(32, 6, 8, 2, 4, 7),
    "uniformerv2 frozen": uniformerv2(32, 6, 8, 2, 4, 7, frozen=True),
    "uniformerv2 with local attention": uniformerv2(32, 6, 8, 2, 4, 7, local=True),
    "clip": CLIP,
}


@cache
def small(name: str) -> dict[str, Tensor]:
    return random(SMALL[name])


def transformer(width: int, depth: int, heads: int = 2) -> TransformerConfig:
    return TransformerConfig(width=width, depth=depth, heads=heads, hidden=4 * width)


def masked_config(norm: str = "pooled", depth: int = 3, decoder_depth: int = 2) -> MaskedConfig:
    return MaskedConfig(
        pixels=PixelsConfig(size=16), frames=4, patch=8, trunk=transformer(32, depth),
        decoder=transformer(16, decoder_depth), position_grid=None, norm=norm,
    )  # fmt: skip


def tower(**fields: object) -> VideoTowerConfig:
    settings = {
        "pixels": PixelsConfig(size=16),
        "frames": 4,
        "patch": 8,
        "trunk": transformer(32, 6),
        "taps": (2, 3, 4, 5),
    }
    return VideoTowerConfig.model_validate(settings | fields)


def multimodal(layers: int | None = None, **text: object) -> MultimodalEncoder:
    text_config = TextConfig.model_validate({"trunk": transformer(64, 2), "vocabulary": 50, "mask_token": True} | text)
    captioner = None if layers is None else CaptionerConfig(layers=layers)
    return MultimodalEncoder(MultimodalConfig(video=tower(), text=text_config, joint_width=24, captioner=captioner))


def viclip_encoder(frames: int = 4, depth: int = 12) -> ViCLIPEncoder:
    text = TextConfig(trunk=transformer(64, depth), context=32, vocabulary=50)
    return ViCLIPEncoder(
        ViCLIPConfig(
            pixels=PixelsConfig(size=16), frames=frames, patch=8, trunk=transformer(32, 3), text=text, joint_width=24
        )
    )


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and torch.equal(a[k], b[k]) for k in a)


@given(st.sampled_from(sorted(SMALL)), st.sampled_from([torch.float32, torch.float16, torch.bfloat16]), st.randoms())
def test_released_weights_come_back_byte_for_byte(name, dtype, shuffle):
    state = {key: tensor.to(dtype) for key, tensor in small(name).items()}
    order = list(state)
    shuffle.shuffle(order)
    state = {key: state[key] for key in order}
    layout = identify(state)
    ours = to_ours(state, layout)
    assert layout.name == name.split()[0]
    assert equal(to_theirs(ours, layout), state)
    assert all(tensor.dtype == dtype for tensor in ours.values())


@pytest.mark.parametrize(
    "name",
    ["videomae_pretrain", "videomae_finetune", "multimodal", "caption_decoder", "uniformerv2_local", "uniformerv2_global", "viclip"],
)  # fmt: skip
def test_golden_weights_come_back_byte_for_byte(golden, name):
    state = golden(name).state
    if name == "caption_decoder":  # released files have it beside the encoder
        state = {**golden("multimodal").state, **state}
    layout = identify(state)
    assert equal(to_theirs(to_ours(state, layout), layout), state)


def golden_blocks(config: dict, prefix: str = "") -> TransformerConfig:
    heads, width = config[f"{prefix}heads"], config[f"{prefix}width"]
    return TransformerConfig(width=width, depth=config[f"{prefix}layers"], heads=heads, hidden=4 * width)


def golden_tower(config: dict, **fields: object) -> VideoTowerConfig:
    return VideoTowerConfig(
        pixels=PixelsConfig(size=config["resolution"]), frames=config["frames"], patch=config["patch_size"],
        trunk=golden_blocks(config), taps=tuple(config["taps"]), **fields,
    )  # fmt: skip


@torch.no_grad()
def test_golden_multimodal_file_with_captions_gives_the_reference_outputs(golden):
    file, captions = golden("multimodal"), golden("caption_decoder")
    text = TextConfig(trunk=golden_blocks(file.config, "text_"), context=20, vocabulary=512, mask_token=True)
    model = MultimodalEncoder(
        MultimodalConfig(
            video=golden_tower(file.config), text=text, joint_width=64, captioner=CaptionerConfig(layers=2)
        )
    ).eval()
    report = load_released(model, {"state_dict": {**file.state, **captions.state}})
    assert (report.dropped, report.missing) == ((), ())
    expected = F.normalize(file.tensors["video_embedding"], dim=-1)
    torch.testing.assert_close(model(file.tensors["video"]).pooled, expected, atol=1e-5, rtol=0)
    words = model.text(file.tensors["tokens"])
    torch.testing.assert_close(words.pooled, file.tensors["text_embedding"], atol=1e-5, rtol=0)
    frames = captions.tensors["video_tokens"].permute(1, 2, 0, 3).flatten(1, 2)
    logits = model.captioner(frames, captions.tensors["text_tokens"][:, :-1])
    torch.testing.assert_close(logits, captions.tensors["logits"], atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("name", ["uniformerv2_local", "uniformerv2_global"])
def test_golden_uniformer_gives_the_reference_logits(golden, name):
    file = golden(name)
    local = name.endswith("local")
    config = golden_tower(file.config, local="double" if local else "none", halve_time=local)
    model = VideoClassifier(UniFormer(UniFormerConfig(video=config)), 11, norm=True).eval()
    load_released(model, {"model_state": file.state})
    torch.testing.assert_close(model(file.tensors["video"]), file.tensors["logits"], atol=1e-5, rtol=0)


@torch.no_grad()
def test_golden_viclip_gives_the_reference_embeddings(golden):
    file = golden("viclip")
    config = file.config
    model = ViCLIPEncoder(
        ViCLIPConfig(
            pixels=PixelsConfig(size=64),
            trunk=golden_blocks(config),
            text=TextConfig(trunk=golden_blocks(config, "text_"), context=16, vocabulary=512),
            joint_width=64,
        )
    ).eval()
    load_released(model, {"model": file.state, "epoch": 9})
    expected = F.normalize(file.tensors["video_embedding"], dim=-1)
    torch.testing.assert_close(model(file.tensors["video"]).pooled, expected, atol=1e-5, rtol=0)
    words = model.text(file.tensors["tokens"]).pooled
    torch.testing.assert_close(words, file.tensors["text_embedding"], atol=1e-5, rtol=0)


@torch.no_grad()
def test_golden_masked_files_give_the_reference_outputs(golden):
    file = golden("videomae_pretrain")
    trunk, decoder = (
        TransformerConfig(width=width, depth=depth, heads=3, hidden=4 * width) for width, depth in ((96, 3), (48, 2))
    )
    config = MaskedConfig(pixels=PixelsConfig(size=64), trunk=trunk, decoder=decoder, position_grid=None)
    model = MaskedAutoencoder(config).eval()
    load_released(model, {"model": file.state})
    predicted = model(file.tensors["input"], file.tensors["mask"].bool())
    torch.testing.assert_close(predicted, file.tensors["output"], atol=1e-5, rtol=0)
    file = golden("videomae_finetune")
    classifier = VideoClassifier(MaskedEncoder(config), 7).eval()
    load_released(classifier, {"module": file.state})
    torch.testing.assert_close(classifier(file.tensors["input"]), file.tensors["logits"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("container", ["model", "module", "state_dict", "model_state", "flat"])
@pytest.mark.parametrize("in_file", [True, False])
def test_any_container_loads_the_same(tmp_path, container, in_file):
    state = random(SMALL["videomae_finetune"])
    content = state if container == "flat" else {container: state, "epoch": 3}
    if in_file:
        torch.save(content, tmp_path / "w.pth")
    model = VideoClassifier(MaskedEncoder(masked_config()), 7)
    report = load_released(model, tmp_path / "w.pth" if in_file else content)
    assert report.digest == digest(state)
    assert equal(model.state_dict(), to_ours(state, identify(state)))


def test_pretraining_file_leaves_the_norm_of_the_mean_as_initialised_and_says_so():
    state = random(SMALL["videomae_pretrain"])
    model = MaskedEncoder(masked_config())
    report = load_released(model, state)
    assert report.missing == ("norm.weight", "norm.bias")
    assert torch.equal(model.norm.weight, torch.ones(32))
    assert torch.equal(model.blocks[2].mlp.fc2.weight, state["encoder.blocks.2.mlp.fc2.weight"])
    assert {name.split(".")[0] for name in report.dropped} == {"mask_token", "encoder", "encoder_to_decoder", "decoder"}
    assert "as initialised: norm.*" in str(report)


def test_pretraining_file_fills_the_norm_of_the_tokens():
    state = random(SMALL["videomae_pretrain"])
    model = MaskedEncoder(masked_config("tokens"))
    report = load_released(model, state)
    assert report.missing == ()
    assert torch.equal(model.norm.weight, state["encoder.norm.weight"])


def test_pretraining_file_starts_a_classifier():
    model = VideoClassifier(MaskedEncoder(masked_config()), 5)
    report = load_released(model, random(SMALL["videomae_pretrain"]))
    assert report.missing == ("encoder.norm.weight", "encoder.norm.bias", "head.weight", "head.bias")


def test_tuned_file_gives_its_trunk_to_an_encoder_of_the_same_norm_alone():
    state = random(SMALL["videomae_finetune"])
    model = MaskedEncoder(masked_config())
    assert load_released(model, state).dropped == ("head.weight", "head.bias")
    assert torch.equal(model.norm.bias, state["fc_norm.bias"])
    with pytest.raises(WeightsError, match="norm=pooled, not into MaskedEncoder with norm=tokens"):
        load_released(MaskedEncoder(masked_config("tokens")), state)


def test_classifier_with_and_without_its_own_norm_are_told_apart():
    uniformer = VideoClassifier(UniFormer(UniFormerConfig(video=tower())), 7)
    with pytest.raises(WeightsError, match=r"uniformerv2 weights go into VideoClassifier\(\.\.\., norm=True\)"):
        load_released(uniformer, random(SMALL["uniformerv2"]))
    masked = VideoClassifier(MaskedEncoder(masked_config()), 7, norm=True)
    with pytest.raises(WeightsError, match=r"videomae_finetune weights go into VideoClassifier\(\.\.\., norm=False\)"):
        load_released(masked, random(SMALL["videomae_finetune"]))


def test_uniformer_file_gives_its_tower_to_an_encoder():
    model = UniFormer(UniFormerConfig(video=tower()))
    report = load_released(model, random(SMALL["uniformerv2"]))
    assert {name.split(".proj.")[0] for name in report.dropped} == {"backbone.transformer"}
    assert report.missing == ()


def test_classes_of_a_larger_classifier_are_taken_by_number():
    state = random(SMALL["videomae_finetune"])
    model = VideoClassifier(MaskedEncoder(masked_config()), 3)
    load_released(model, state, classes=[0, 5, 2])
    assert torch.equal(model.head.weight, state["head.weight"][[0, 5, 2]])
    assert torch.equal(model.head.bias, state["head.bias"][[0, 5, 2]])
    with pytest.raises(WeightsError, match=r"classes \[7\] are not among the file's 0 to 6"):
        slice_head(state, [1, 7])
    with pytest.raises(WeightsError, match="no classifier"):
        load_released(MaskedEncoder(masked_config()), random(SMALL["videomae_pretrain"]), classes=range(4))


def test_other_classes_begin_anew_if_asked():
    model = VideoClassifier(MaskedEncoder(masked_config()), 3)
    state = random(SMALL["videomae_finetune"])
    with pytest.raises(WeightsError, match=r"head\.weight: \(7, 32\) in the file, \(3, 32\) in the model.*fresh"):
        load_released(model, state)
    report = load_released(model, state, fresh=("head.",))
    assert report.missing == report.dropped == ("head.weight", "head.bias")
    with pytest.raises(WeightsError, match=r"fresh='heads\.'"):
        load_released(model, state, fresh=("heads.",))


@pytest.mark.parametrize("name", ["videomae_pretrain", "internvideo_mm with captions", "viclip", "uniformerv2"])
@settings(max_examples=30)
@given(data=st.data())
def test_a_name_that_is_missing_is_named(name, data):
    state = dict(small(name))
    spare = ("clip.text_mask_embedding", "backbone.transformer.balance")  # some files have none
    gone = data.draw(st.sampled_from([key for key in state if key not in spare]))
    layout = identify(state)
    del state[gone]
    with pytest.raises(WeightsError) as failure:
        to_ours(state, layout)
    assert "missing (1)" in str(failure.value)
    assert gone in str(failure.value)
    assert "unexpected" not in str(failure.value)


@pytest.mark.parametrize("name", ["videomae_finetune", "internvideo_mm", "viclip"])
@settings(max_examples=20)
@given(data=st.data())
def test_a_misspelt_name_is_reported_with_the_right_one(name, data):
    state = dict(small(name))
    right = data.draw(st.sampled_from([key for key in state if key.endswith("weight")]))
    wrong = right.replace("weight", "wieght")
    state[wrong] = state.pop(right)
    with pytest.raises(WeightsError) as failure:
        to_ours(state, identify(state))
    assert f"{wrong} (nearest: {right})" in str(failure.value)


def test_all_that_is_wrong_is_in_one_short_message():
    state = random(videomae_pretrain(48, 5, 16, 2, patch=8))
    state["pos_embed"] = torch.zeros(1)
    state["decoder.blocks.1.norm3.bias"] = state.pop("decoder.blocks.1.norm1.bias")
    with pytest.raises(WeightsError) as failure:
        load_released(MaskedAutoencoder(masked_config()), state)
    message = str(failure.value)
    assert "encoder.blocks.*: 5 layers in the file, 3 in the model: configure trunk.depth to be 5" in message
    assert "encoder.blocks.{0-2}.attn.qkv.weight: (144, 48) in the file, (96, 32) in the model" in message
    assert "missing (1):\n    decoder.blocks.1.norm1.bias" in message
    assert (
        "unexpected (2):\n    pos_embed\n    decoder.blocks.1.norm3.bias (nearest: decoder.blocks.1.norm1.bias)"
        in message
    )
    assert len(message.splitlines()) < 20


@cache
def model_for(name: str) -> nn.Module:
    return {
        "videomae_pretrain": lambda: MaskedAutoencoder(masked_config()),
        "internvideo_mm with captions": lambda: multimodal(2),
        "viclip": viclip_encoder,
        "uniformerv2 with local attention": lambda: VideoClassifier(
            UniFormer(UniFormerConfig(video=tower(local="double", halve_time=True))), 7, norm=True
        ),
        "clip": lambda: multimodal(trunk=transformer(64, 12)),
    }[name]()


@pytest.mark.parametrize(
    "name", ["videomae_pretrain", "internvideo_mm with captions", "viclip", "uniformerv2 with local attention", "clip"]
)
@settings(max_examples=40)
@given(data=st.data())
def test_a_tensor_of_another_shape_is_named(name, data):
    state = dict(small(name))
    key = data.draw(st.sampled_from([*state]))
    shape = data.draw(st.lists(st.integers(0, 40), max_size=5).filter(lambda shape: tuple(shape) != state[key].shape))
    if key.endswith("conv1.weight") and shape[2:3] == [1]:
        return  # an image's patch may be widened in time
    state[key] = torch.zeros(shape)
    with pytest.raises(WeightsError, match="fit") as failure:
        load_released(model_for(name), state)
    assert key in str(failure.value)


def test_a_failed_load_leaves_the_model_as_it_was():
    model = MaskedAutoencoder(masked_config())
    before = digest(model.state_dict())
    state = random(SMALL["videomae_pretrain"])
    state["decoder.head.bias"] = torch.zeros(3)
    with pytest.raises(WeightsError, match=r"decoder\.head\.bias: \(3,\) in the file, \(384,\) in the model"):
        load_released(model, state)
    assert digest(model.state_dict()) == before


@pytest.mark.parametrize(("in_file", "in_model"), [(2, 3), (3, 2)])
def test_other_number_of_caption_layers_is_said(in_file, in_model):
    state = random(MM | caption_decoder(64, 32, in_file, vocabulary=50))
    message = f"captioner.layers.*: {in_file} layers in the file, {in_model} in the model: configure captioner.layers to be {in_file}"
    with pytest.raises(WeightsError) as failure:
        load_released(multimodal(in_model), state)
    assert message in str(failure.value)
    assert "missing" not in str(failure.value)
    assert "unexpected" not in str(failure.value)


def test_missing_caption_decoder_is_said():
    with pytest.raises(
        WeightsError, match="no caption decoder, the model one of 2 layers: create it with captioner=None"
    ):
        load_released(multimodal(2), random(MM))


def test_question_answering_file_leaves_its_classifier():
    report = load_released(multimodal(2), random(SMALL["internvideo_vqa"]))
    assert {name.split(".")[0] for name in report.dropped} == {"vqa_classifier"}
    assert {"video_proj", "text.proj", "captioner.predictor.hidden.weight"} <= set(report.missing)


@pytest.mark.parametrize("prefix", ["clip.", "module."])
def test_doubled_prefix_is_named(prefix):
    state = {f"{prefix}{key}": tensor for key, tensor in random(MM).items()}
    with pytest.raises(WeightsError, match=f"Without their first '{prefix}' they would be: cut it off"):
        load_released(multimodal(), state)


def test_one_doubled_prefix_is_named():
    state = random(MM)
    state["clip.clip.visual_proj"] = state.pop("clip.visual_proj")
    with pytest.raises(WeightsError, match=r"clip\.clip\.visual_proj \(nearest: clip\.visual_proj\)"):
        load_released(multimodal(), state)


def test_unknown_names_list_the_known_layouts():
    with pytest.raises(WeightsError) as failure:
        identify({f"layer{i}.{j}.conv.weight": torch.zeros(1) for i in range(4) for j in range(9)})
    assert "layer3.{0-8}.conv.weight" in str(failure.value)
    assert all(layout.name in str(failure.value) for layout in LAYOUTS)


@pytest.mark.parametrize(
    "constant", ["multimodal_layers.1.0.fn.norm.beta", "multimodal_layers.0.0.fn.rotary_emb.inv_freq"]
)
def test_constants_of_another_value_are_refused(constant):
    state = random(MM | CAPTIONS)
    state[f"caption_decoder.{constant}"] += 0.01
    with pytest.raises(WeightsError, match=f"caption_decoder.{constant} has other values"):
        load_released(multimodal(2), state)


def test_clip_for_other_frames_or_pictures_is_said():
    state = random(VICLIP)
    with pytest.raises(WeightsError, match="the file is for 4 frames, the model for 8"):
        load_released(viclip_encoder(frames=8), state)
    wide = {**random(MM), "clip.visual.positional_embedding": torch.zeros(10, 32)}
    with pytest.raises(WeightsError, match="the file is for 9 patches a frame, the model for 4"):
        load_released(multimodal(), wide)


def test_what_training_code_kept_beside_the_model_is_left_out_if_asked():
    state = random(MM)
    copy = {name.replace("clip.", "clip_k.", 1): tensor for name, tensor in state.items()}
    queue = {"queue_visual": torch.zeros(24, 8), "queue_ptr": torch.zeros(1)}
    with pytest.raises(WeightsError, match=r"queue_(visual|ptr)"):
        load_released(multimodal(), state | queue)
    report = load_released(multimodal(), state | copy | queue, drop=("clip_k.", "queue_"))
    assert set(report.dropped) == copy.keys() | queue.keys()
    with pytest.raises(WeightsError, match=r"drop='queues_'.*nearest is queue_"):
        load_released(multimodal(), state | queue, drop=("queues_",))


def test_weights_of_one_branch_name_the_branch_of_the_whole():
    config = InternVideoConfig(masked=masked_config(depth=4), multimodal=multimodal().config)
    with pytest.raises(WeightsError, match=r"not into InternVideo; load them into its \.multimodal"):
        load_released(InternVideo(config), random(MM))
    with pytest.raises(WeightsError, match=r"load them into its \.masked"):
        load_released(InternVideo(config), random(SMALL["videomae_pretrain"]))


def test_weights_of_another_family_name_where_they_go():
    with pytest.raises(WeightsError, match="viclip weights go into ViCLIPEncoder, not into MultimodalEncoder"):
        load_released(multimodal(), random(VICLIP))


def test_file_is_named_in_the_error(tmp_path):
    write_weights(tmp_path / "w.safetensors", random(VICLIP))
    with pytest.raises(WeightsError, match=r"w\.safetensors: weights do not fit MultimodalEncoder"):
        load_released(multimodal(), tmp_path / "w.safetensors")


def test_half_precision_file_fills_a_model_of_its_own_type():
    state = {key: tensor.half() for key, tensor in random(SMALL["videomae_finetune"]).items()}
    model = VideoClassifier(MaskedEncoder(masked_config()), 7)
    load_released(model, state)
    assert model.head.weight.dtype == torch.float32
    assert torch.equal(model.head.weight, state["head.weight"].float())


def test_model_on_meta_takes_the_files_tensors():
    with torch.device("meta"):
        model = VideoClassifier(MaskedEncoder(masked_config()), 7)
    state = random(SMALL["videomae_finetune"])
    load_released(model, state)
    assert equal(model.state_dict(), to_ours(state, identify(state)))
    assert all(isinstance(parameter, nn.Parameter) and parameter.requires_grad for parameter in model.parameters())


def test_our_own_weights_come_back(tmp_path):
    model, other = multimodal(2), multimodal(2)
    write_weights(tmp_path / "w.safetensors", model.state_dict())
    report = load_released(other, tmp_path / "w.safetensors")
    assert (report.layout, report.dropped, report.missing) == ("navloop", (), ())
    assert equal(other.state_dict(), model.state_dict())
    assert report.digest == digest(other.state_dict())


def test_our_own_pretrained_model_gives_its_trunk_as_a_released_one_does():
    pretrained, model = MaskedAutoencoder(masked_config()), MaskedEncoder(masked_config())
    report = load_released(model, pretrained.state_dict())
    assert report.missing == ("norm.weight", "norm.bias")
    assert torch.equal(model.patch.weight, pretrained.encoder.patch.weight)


def test_our_own_weights_with_a_fault_name_it():
    state = multimodal().state_dict()
    state["norm_pots.weight"] = state.pop("norm_post.weight")
    with pytest.raises(WeightsError) as failure:
        load_released(multimodal(), state)
    assert "norm_pots.weight (nearest: norm_post.weight)" in str(failure.value)


def open_clip_model() -> nn.Module:
    """A small CLIP of open_clip's own making."""
    torch.manual_seed(0)
    vision = {"image_size": 16, "layers": 6, "width": 32, "head_width": 16, "patch_size": 8}
    text = {"context_length": 77, "vocab_size": 50, "width": 64, "heads": 2, "layers": 2}
    return open_clip.CLIP(24, vision, text, quick_gelu=True)


def test_names_of_open_clip_come_back_and_leave_the_global_blocks_as_the_identity():
    state = open_clip_model().state_dict()
    layout = identify(state)
    assert layout.name == "clip"
    assert equal(to_theirs(to_ours(state, layout), layout), dict(state))
    model = multimodal()
    before = model.state_dict()
    report = load_released(model, state)
    assert {name.split(".")[1] for name in report.missing} == {"query", "global_blocks", "balance", "mask_token"}
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in report.missing)
    assert torch.equal(model.video.patch.weight[:, :, 0], state["visual.conv1.weight"])


def test_names_of_openai_come_back_with_their_sizes():
    sizes = {"input_resolution": 16, "context_length": 77, "vocab_size": 50}
    state = random(CLIP) | {name: torch.tensor(value) for name, value in sizes.items()}
    layout = identify(state)
    assert layout.name == "openai_clip"
    assert equal(to_theirs(to_ours(state, layout), layout), state)
    with pytest.raises(WeightsError, match="context_length has other values"):
        to_ours(state | {"context_length": torch.tensor(76)}, layout)


def test_clip_with_a_text_module_starts_the_same_model():
    flat = random(clip(32, 6, 8, 2, 64, 24, vocabulary=50))
    vision = ("visual.", "logit_scale")
    nested = {key if key.startswith(vision) else f"text.{key}": tensor for key, tensor in flat.items()}
    one, other = multimodal_for_clip(), multimodal_for_clip()
    load_released(one, flat)
    assert load_released(other, nested).layout == "clip_with_text"
    shared = [key for key in one.state_dict() if not key.startswith(("video.global_blocks", "video.query"))]
    assert all(torch.equal(one.state_dict()[key], other.state_dict()[key]) for key in shared)


def multimodal_for_clip() -> MultimodalEncoder:
    return multimodal(trunk=transformer(64, 12), mask_token=False)


def test_clip_starts_a_tower_that_halves_time_by_its_middle_frame():
    model = UniFormer(UniFormerConfig(video=tower(halve_time=True, local="double")))
    state = random(CLIP)
    report = load_released(model, state)
    assert torch.equal(model.video.patch.weight[:, :, 1], state["visual.conv1.weight"])
    assert not model.video.patch.weight[:, :, [0, 2]].any()
    assert "text_projection" in report.dropped
    assert any(".local2." in name for name in report.missing)


def test_clip_starts_viclip_with_the_first_positions_of_its_texts():
    model, state = viclip_encoder(), random(clip(32, 3, 8, 2, 64, 24, vocabulary=50))
    report = load_released(model, state)
    assert torch.equal(model.text.positions, state["positional_embedding"][:32])
    assert report.missing == ("temporal_positions", "temperature")
    assert report.dropped == ("logit_scale",)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 20), st.sampled_from(["x.weight", "x.bias", "y"]))))
def test_grouped_names_say_each_name_once(parts):
    names = [f"{stack}.{layer}.{end}" for stack, layer, end in parts]
    told = set()
    for line in grouped(names):
        stack, _, rest = line.partition(".")
        layers, _, ends = rest.partition("}.") if rest.startswith("{") else rest.partition(".")
        for end in ends.strip("{}").split(", "):
            for run in layers.strip("{}").split(", "):
                first, _, last = run.partition("-")
                for layer in range(int(first), int(last or first) + 1):
                    told |= {f"{stack}.{layer}.{end.replace('*', which)}" for which in ("weight", "bias")}
    assert told == set(names)
