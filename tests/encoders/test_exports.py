"""What the package offers is there, and what is slow to import waits until it is asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import navloop.encoders


def test_all_that_is_listed_is_there() -> None:
    listed = navloop.encoders.__all__
    assert all(getattr(navloop.encoders, name).__name__ == name for name in listed)
    assert {"MaskedAutoencoder", "tube_mask", "reconstruction_loss", "contrastive_loss", "from_open_clip"} <= set(
        listed
    )
    with pytest.raises(AttributeError, match="has no attribute 'from_openclip'"):
        _ = navloop.encoders.from_openclip


def test_open_clip_is_imported_only_when_asked_for() -> None:
    code = (
        "import sys, navloop.encoders as e; print('open_clip' in sys.modules); e.from_open_clip; "
        "print('open_clip' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "True"]
