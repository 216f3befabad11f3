"""Processes that know of each other, as `torchrun` begins them. They are forked off one that has loaded torch: each begins at once."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from striking import begin

PROCESSES = 2


def run_joined(folder: Path, function: Callable[..., Any], *arguments: Any) -> tuple[list[int], list[str]]:
    """Call a function in each of two processes.

    Args:
        folder: For what they print; it may not be there yet.
        function: What each calls, with the arguments.

    Returns:
        Each process's exit status, and what it printed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    logs = [folder / f"process_{rank}.log" for rank in range(PROCESSES)]
    started = [begin(_take_part, rank, port, log, function, arguments) for rank, log in enumerate(logs)]
    for process in started:
        process.join(600)  # one that waits for a lost other would wait on
        process.kill()
    return [process.exitcode for process in started], [log.read_text() for log in logs]


def _take_part(rank: int, port: int, log: Path, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    os.environ |= {"WORLD_SIZE": str(PROCESSES), "LOCAL_WORLD_SIZE": str(PROCESSES)}
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    function(*arguments)


def _free_port() -> int:
    with socket.socket() as held:
        held.bind(("localhost", 0))
        return int(held.getsockname()[1])
