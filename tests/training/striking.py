"""Runs in processes of their own, to be killed at a chosen moment. They are forked off one that has loaded torch: each begins at once."""

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any


def begin(function: Callable[..., Any], *arguments: Any) -> BaseProcess:
    """Call a function in another process."""
    process = multiprocessing.get_context("forkserver").Process(target=function, args=arguments)
    process.start()
    return process


def wait_until(process: BaseProcess, happened: Callable[[], bool]) -> None:
    """Return once something has happened: the moment to strike is in the files, not on the clock."""
    deadline = time.monotonic() + 600
    while process.is_alive() and not happened():
        assert time.monotonic() < deadline, "the run got stuck"
        time.sleep(0.002)
    assert process.is_alive(), "the run ended before it could be struck"


def kill_when(process: BaseProcess, happened: Callable[[], bool]) -> None:
    """Kill a process once something has happened."""
    wait_until(process, happened)
    process.kill()
    process.join()


def count_lines(folder: Path) -> int:
    """Return how many lines the files of a folder have together; 0 if it is not there."""
    return sum(path.read_bytes().count(b"\n") for path in folder.iterdir()) if folder.is_dir() else 0
