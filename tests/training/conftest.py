"""What the tests of training share."""

from __future__ import annotations

from multiprocessing.process import BaseProcess

import pytest

from navloop.training.preparation import prepare_crew


@pytest.fixture(scope="session", autouse=True)
def workers_are_at_hand() -> None:
    """Let the worker processes of all tests be forked off one that has imported torch, whichever test asks first."""
    prepare_crew("embedded")


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[BaseProcess]:
    """The processes that this one begins during a test: results that are the same for any number of them may be those of none."""
    listed: list[BaseProcess] = []
    start = BaseProcess.start

    def noted(process: BaseProcess) -> None:
        listed.append(process)
        start(process)

    monkeypatch.setattr(BaseProcess, "start", noted)
    return listed
