"""What is measured of an encoder that sees and reads: retrieval, classes by name, choices, captions."""

from __future__ import annotations
