"""How long a walk is and how true to a reference: path length, nDTW and CLS. Walks are float64 (N, 3), metres, N at least 1."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from navloop.envs.alignment import dtw, fast_dtw, point_distances
from navloop.geometry import Vector


def path_length(positions: Vector) -> float:
    """Return the Euclidean length of a walk (N, 3), metres."""
    return float(np.linalg.norm(np.diff(positions, axis=0), axis=1).sum())


def ndtw(positions: Vector, reference: Vector, threshold: float, method: Literal["exact", "fast"] = "exact") -> float:
    """Return the normalised dynamic time warping of a walk (N, 3) against a reference (R, 3), in (0, 1].

    Args:
        positions: The walk; points equal to the one before are dropped, so turning on the spot costs nothing.
        reference: Not empty; taken as it is, duplicates included.
        threshold: Metres; the protocol's success distance.
        method: "exact", or "fast": FastDTW of radius 1, never above the exact value, for numbers of repositories that use it.

    Source: Ilharco et al., General Evaluation for Instruction Conditioned Navigation using Dynamic Time Warping, 2019; VLN-CE,
        habitat_extensions/measures.py, NDTW.
    """
    walked = without_repeats(positions)
    cost = dtw(walked, reference) if method == "exact" else fast_dtw(walked, reference)
    return math.exp(-cost / (len(reference) * threshold))


def coverage_length_score(positions: Vector, reference: Vector, threshold: float) -> float:
    """Return CLS of a walk (N, 3) against a reference (R, 3), in [0, 1]; `threshold` in metres.

    Source: Jain et al., Stay on the Path: Instruction Fidelity in Vision-and-Language Navigation, ACL 2019, section 4.
    """
    nearest = np.min([point_distances(reference, point) for point in positions], axis=0)
    return score_of_gaps(nearest, path_length(reference), path_length(positions), threshold)


def without_repeats(positions: Vector) -> Vector:
    """Return a walk (N, 3) without the points that equal the one before."""
    fresh = np.ones(len(positions), dtype=bool)
    fresh[1:] = np.any(positions[1:] != positions[:-1], axis=1)
    return positions[fresh]


def score_of_gaps(nearest: Vector, reference_length: float, length: float, threshold: float) -> float:
    """Return CLS from the distance of each reference point to the walk (R,) and the two lengths, all in metres."""
    coverage = float(np.exp(-nearest / threshold).sum()) / len(nearest)
    expected = coverage * reference_length
    spread = expected + abs(expected - length)
    return coverage * (expected / spread if spread > 0 else 1.0)
