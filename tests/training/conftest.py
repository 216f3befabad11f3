"""What the tests of training share."""

from __future__ import annotations

import pytest

from navloop.training.preparation import prepare_crew


@pytest.fixture(scope="session", autouse=True)
def workers_are_at_hand() -> None:
    """Let the worker processes of all tests be forked off one that has imported torch, whichever test asks first."""
    prepare_crew("embedded")
