"""Writing films: H.264 that every browser plays. Reading is not here."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from navloop.files import written_aside

QUALITY = 26
"""Constant rate factor of x264, 0 (lossless) to 51; 26 is hard to tell from the original on rendered rooms."""


def write_video(
    path: Path,
    frames: Iterable[NDArray[np.uint8]],
    fps: int,
    *,
    gop: int | None = None,
    quality: int = QUALITY,
    bulk: bool = False,
) -> int:
    """Write an MP4 film, whole or not at all, and return how many frames it has.

    Args:
        path: The .mp4 file.
        frames: uint8 (H, W, 3) RGB each, of one size, H and W even.
        fps: Frames a second, at least 1.
        gop: Every so many frames a key frame stands, so that a frame can be read without most of those before it; None leaves it to x264.
        quality: Constant rate factor of x264, 0 to 51.
        bulk: For many films written side by side: one thread, a fast preset (about 3 times as fast for 0.5 dB) and no B-frames. Equal frames
            then give equal bytes wherever PyAV, and x264 in it, are of the same build.

    Raises:
        ValueError: If there are no frames, or one has another shape or type.
        OSError: If the file cannot be written.
    """
    count, shape = 0, None
    with written_aside(path) as aside:
        container = av.open(str(aside), "w", format="mp4", options={"movflags": "+faststart"})
        with container:
            options = {"crf": str(quality), "preset": "veryfast" if bulk else "medium"}
            if bulk:
                # B-frames and the tree of macroblocks come from a lookahead that reads memory it never set (seen with MALLOC_PERTURB_, and in
                # processes that had decoded before), so that bytes vary.
                options |= {"threads": "1", "bf": "0", "x264-params": "mbtree=0"}
            if gop is not None:
                options |= {"g": str(gop), "keyint_min": str(gop), "sc_threshold": "0"}
            stream = container.add_stream("libx264", rate=fps, options=options)
            stream.pix_fmt = "yuv420p"
            for frame in frames:
                if shape is None:
                    _check_first(frame)
                    shape = frame.shape
                    stream.height, stream.width = shape[:2]
                if frame.shape != shape or frame.dtype != np.uint8:
                    raise ValueError(f"frame {count}: expected uint8 {shape}, got {frame.dtype} {frame.shape}")
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
                count += 1
            if shape is None:
                raise ValueError(f"{path}: no frames to write")
            container.mux(stream.encode())
    return count


def _check_first(frame: NDArray[np.uint8]) -> None:
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.shape[0] % 2 or frame.shape[1] % 2:
        raise ValueError(f"frames must be (H, W, 3) with even H and W for H.264, got {frame.shape}")
