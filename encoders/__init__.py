"""Perception: InternVideo's encoders, their coordination, streaming, and released weights.

encoder = create_encoder("internvideo_mm_base_p16_t8", weights="InternVideo-MM-B-16.ckpt")
seen = encoder.encode_video(frames)  # uint8 (B, 8, H, W, 3)
logits = encoder.similarity(seen.pooled, encoder.encode_text(["walk to the sofa", "climb the stairs"]))
"""

from typing import TYPE_CHECKING, Any

from navloop.encoders.autoencoder import MaskedAutoencoder
from navloop.encoders.classifier import VideoClassifier
from navloop.encoders.convert import LoadReport, load_released, wise_ft
from navloop.encoders.coordination import CoordinatedClassifier, InternVideo
from navloop.encoders.encoder import EncoderOutput, VideoEncoder
from navloop.encoders.losses import caption_loss, contrastive_loss, reconstruction_loss, reconstruction_targets
from navloop.encoders.masked import MaskedEncoder
from navloop.encoders.masking import random_mask, running_cell_mask, tube_mask
from navloop.encoders.multimodal import MultimodalEncoder, UniFormer
from navloop.encoders.panorama import encode_panorama
from navloop.encoders.pixels import frame_indices
from navloop.encoders.saving import load_classifier, save_classifier
from navloop.encoders.streaming import Stream, create_stream
from navloop.encoders.viclip import ViCLIPEncoder
from navloop.encoders.zoo import create_encoder, encoder_config, list_encoders, load_encoder, save_encoder

if TYPE_CHECKING:
    from navloop.encoders.clip import from_open_clip
else:

    def __getattr__(name: str) -> Any:
        if name != "from_open_clip":
            raise AttributeError(f"module 'navloop.encoders' has no attribute {name!r}")
        from navloop.encoders.clip import from_open_clip  # open_clip takes seconds to import

        return from_open_clip


__all__ = [
    "CoordinatedClassifier",
    "EncoderOutput",
    "InternVideo",
    "LoadReport",
    "MaskedAutoencoder",
    "MaskedEncoder",
    "MultimodalEncoder",
    "Stream",
    "UniFormer",
    "ViCLIPEncoder",
    "VideoClassifier",
    "VideoEncoder",
    "caption_loss",
    "contrastive_loss",
    "create_encoder",
    "create_stream",
    "encode_panorama",
    "encoder_config",
    "frame_indices",
    "from_open_clip",
    "list_encoders",
    "load_classifier",
    "load_encoder",
    "load_released",
    "random_mask",
    "reconstruction_loss",
    "reconstruction_targets",
    "running_cell_mask",
    "save_classifier",
    "save_encoder",
    "tube_mask",
    "wise_ft",
]
