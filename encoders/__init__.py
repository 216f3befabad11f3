"""Perception: InternVideo's encoders, their coordination, streaming, and released weights.

encoder = create_encoder("internvideo_mm_base_p16_t8", weights="InternVideo-MM-B-16.ckpt")
seen = encoder.encode_video(frames)  # uint8 (B, 8, H, W, 3)
logits = encoder.similarity(seen.pooled, encoder.encode_text(["walk to the sofa", "climb the stairs"]))
"""

from navloop.encoders.classifier import VideoClassifier
from navloop.encoders.convert import LoadReport, load_released, wise_ft
from navloop.encoders.coordination import CoordinatedClassifier, InternVideo
from navloop.encoders.encoder import EncoderOutput, VideoEncoder
from navloop.encoders.masked import MaskedEncoder
from navloop.encoders.multimodal import MultimodalEncoder, UniFormer
from navloop.encoders.panorama import encode_panorama
from navloop.encoders.pixels import frame_indices
from navloop.encoders.streaming import Stream, create_stream
from navloop.encoders.viclip import ViCLIPEncoder
from navloop.encoders.zoo import create_encoder, encoder_config, list_encoders, load_encoder, save_encoder

__all__ = [
    "CoordinatedClassifier",
    "EncoderOutput",
    "InternVideo",
    "LoadReport",
    "MaskedEncoder",
    "MultimodalEncoder",
    "Stream",
    "UniFormer",
    "ViCLIPEncoder",
    "VideoClassifier",
    "VideoEncoder",
    "create_encoder",
    "create_stream",
    "encode_panorama",
    "encoder_config",
    "frame_indices",
    "list_encoders",
    "load_encoder",
    "load_released",
    "save_encoder",
    "wise_ft",
]
