"""What a step of an agent costs: a stream that takes the new frame, against encoding the whole window again.

Both run the same weights on the same frames, by turns, step by step, so that a busy machine slows both; what they return is
compared at every step.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from navloop.encoders import EncoderOutput, VideoEncoder, create_encoder, create_stream

ENCODER = "internvideo_mm_base_p16_t8"
LEAST_STEPS = 6
"""Of each kind, however long they take."""


class Steps(NamedTuple):
    """Median seconds of a step, streaming and whole, the largest difference of their outputs, and the stream's bytes."""

    stream: float
    whole: float
    difference: float
    nbytes: int


def run(console: Console, folder: Path, seconds: float) -> None:
    encoder = _encoder()
    threads = torch.get_num_threads()
    table = Table(title=f"A step of {ENCODER}, 224 px, float32, {threads} threads")
    for column in ("environments", "whole window", "stream", "ratio", "max difference", "memory"):
        table.add_column(column, justify="right")
    for num_envs in (1, 4):
        steps = _measure(encoder, num_envs, seconds)
        table.add_row(
            str(num_envs),
            f"{steps.whole * 1e3:,.0f} ms",
            f"{steps.stream * 1e3:,.0f} ms",
            f"{steps.whole / steps.stream:.1f} x",
            f"{steps.difference:.0e}",
            f"{steps.nbytes / 2**20:,.0f} MiB",
        )
    console.print(table)


def _encoder() -> VideoEncoder:
    """Draw weights, those too that start at zero, so that the window matters."""
    torch.manual_seed(0)
    encoder = create_encoder(ENCODER)
    for block in encoder.video.global_blocks:
        for last in (block.attention.proj, block.mlp.fc2):
            torch.nn.init.xavier_uniform_(last.weight)
    return encoder


def _measure(encoder: VideoEncoder, num_envs: int, seconds: float) -> Steps:
    rng = np.random.default_rng(0)
    size, length = encoder.pixels.size, encoder.num_frames
    stream = create_stream(encoder, num_envs)
    window = np.repeat(rng.integers(0, 256, (num_envs, 1, size, size, 3), dtype=np.uint8), length, axis=1)
    stream.step(window[:, -1])
    encoder.encode_video(window)
    streams, wholes, differences = [], [], []
    while len(streams) < LEAST_STEPS or sum(streams) + sum(wholes) < seconds:
        frames = rng.integers(0, 256, (num_envs, size, size, 3), dtype=np.uint8)
        window = np.concatenate((window[:, 1:], frames[:, None]), axis=1)
        seen, spent = _timed(lambda: stream.step(frames))  # noqa: B023
        expected, spent_whole = _timed(lambda: encoder.encode_video(window))  # noqa: B023
        streams.append(spent)
        wholes.append(spent_whole)
        differences += [(seen.tokens - expected.tokens).abs().max(), (seen.pooled - expected.pooled).abs().max()]
    return Steps(statistics.median(streams), statistics.median(wholes), float(max(differences)), stream.nbytes)


def _timed(see: Callable[[], EncoderOutput]) -> tuple[EncoderOutput, float]:
    began = time.perf_counter()
    output = see()
    return output, time.perf_counter() - began
