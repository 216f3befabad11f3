"""Agents that are programs of their own: asked for each action over their standard input and output, in any language.

`ExternalAgent` runs such a program; `serve` is the other side, for programs that have navloop. Messages are in `navloop.agent.messages`.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from navloop.agent.messages import VERSION, Channel, MessageError, SilenceError
from navloop.envs.navigation import NavigationEnv, Observation
from navloop.envs.simulator import Action

START_PATIENCE = 10.0
"""A program may take this many times as long to start as to answer: it may have to load a large model."""

FAREWELL_SECONDS = 5.0
"""What a program has to end by itself once its input has ended."""

OBITUARY_SECONDS = 5.0
"""How long to wait for the exit code of a program that has closed its output."""

LINES_SHOWN = 20
"""Last lines of a program's standard error in the message of a failure."""


class ExternalError(ValueError):
    """A program that does not do as an agent must; the message has its command, what it did, and what it last wrote to standard error."""


class ExternalAgent:
    """An agent that asks a program. It starts with the object and ends with `close`.

    The program is told the instruction, the frames that it asks for, a seed, and the rules of the protocol; not where it is, nor how well it
    does.

    Args:
        command: Program and arguments; no shell reads them.
        patience: Seconds that it may take for an answer, and ten times as many to start.

    Attributes:
        looks_at: Names of the cameras that it asks for; None stands for all.
        weights: What it says of its weights: any text that changes with them; None if it says nothing.

    Raises:
        ExternalError: If it cannot be started, or does not greet as it must.
    """

    def __init__(self, command: Sequence[str], patience: float = 120.0) -> None:
        self._command = list(command)
        self._patience = patience
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the process)
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                bufsize=0,
                start_new_session=True,  # Ctrl-C is for navloop to decide on
            )
        except (OSError, IndexError) as error:
            self._errors.close()
            raise ExternalError(f"command {self._name!r} cannot be started: {error}") from error
        assert self._process.stdin is not None and self._process.stdout is not None
        self._channel = Channel(self._process.stdout.fileno(), self._process.stdin.fileno())
        try:
            self._greet()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        self.close()

    def reset(self, env: NavigationEnv, seed: int) -> None:
        """Tell the program that an episode starts, and what it is to follow."""
        instruction = env.episode.instruction
        self._actions = int(env.action_space.n)  # type: ignore[attr-defined]
        words = {"instruction": instruction.text, "language": instruction.language, "seed": seed}
        rules = {"protocol": env.protocol.label, "rules": env.protocol.fields()}
        self._ask({"type": "reset", **words, **rules}, {}, "ready")

    def act(self, observation: Observation, info: dict[str, Any]) -> int:
        """Return the action that the program answers with.

        Raises:
            ExternalError: If it ends, takes too long, or answers with what is no action.
        """
        frames = {
            name: np.asarray(frame)
            for name, frame in observation.items()
            if name != "instruction" and (self.looks_at is None or name in self.looks_at)
        }
        action = self._ask({"type": "act"}, frames, "action").get("action")
        if isinstance(action, bool) or not isinstance(action, int) or not 0 <= action < self._actions:
            known = ", ".join(f"{code.value} {code.name}" for code in list(Action)[: self._actions])
            raise self._fault(f"answered with the action {action!r}; actions are {known}")
        return action

    def close(self) -> None:
        """End the program: its input ends, and what does not end then is killed."""
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()
        try:
            self._process.wait(FAREWELL_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._errors.close()

    @property
    def _name(self) -> str:
        return shlex.join(self._command)

    def _greet(self) -> None:
        actions = {code.name: code.value for code in Action}
        hello = {"type": "hello", "version": VERSION, "actions": actions}
        reply = self._ask(hello, {}, "hello", START_PATIENCE * self._patience)
        if reply.get("version") != VERSION:
            raise self._fault(
                f"speaks version {reply.get('version')!r} of the protocol, this is version {VERSION}; see docs/agents.md"
            )
        cameras, weights = reply.get("cameras"), reply.get("weights")
        if cameras is not None and not (
            isinstance(cameras, list) and all(isinstance(camera, str) for camera in cameras)
        ):
            raise self._fault(f"asks for the cameras {cameras!r}; give a list of names, or null for all")
        if weights is not None and not isinstance(weights, str):
            raise self._fault(f"says of its weights {weights!r}; give a text, or null")
        self.looks_at: frozenset[str] | None = None if cameras is None else frozenset(cameras)
        self.weights: str | None = weights

    def _ask(
        self,
        message: Mapping[str, Any],
        arrays: Mapping[str, NDArray[Any]],
        expected: str,
        patience: float | None = None,
    ) -> dict[str, Any]:
        patience = patience or self._patience
        deadline = time.monotonic() + patience
        try:
            self._channel.send(message, arrays, deadline)
            reply, _ = self._channel.receive(deadline)
        except SilenceError:
            raise self._fault(f"gave no answer to {message['type']!r} within {patience:g} s (reply_seconds)") from None
        except (EOFError, OSError):
            raise self._fault(self._obituary()) from None
        except MessageError as error:
            raise self._fault(f"{error}; what it prints must go to standard error") from None
        if reply.get("type") == "error":
            raise self._fault(f"failed: {reply.get('message')}")
        if reply.get("type") != expected:
            raise self._fault(f"answered {message['type']!r} with {reply.get('type')!r} instead of {expected!r}")
        return reply

    def _obituary(self) -> str:
        try:
            code = self._process.wait(OBITUARY_SECONDS)
        except subprocess.TimeoutExpired:
            return "closed its output without ending"
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return f"{how} before it answered"

    def _fault(self, what: str) -> ExternalError:
        self._errors.flush()
        self._errors.seek(0)
        written = self._errors.read().decode(errors="replace").splitlines()[-LINES_SHOWN:]
        story = "; it wrote nothing to standard error" if not written else "; its standard error ends with:\n"
        return ExternalError(f"command {self._name!r} {what}{story}" + "\n".join(f"  {line}" for line in written))


class ServedPolicy(Protocol):
    """What a program has to have, to be served."""

    @property
    def cameras(self) -> Sequence[str] | None:
        """Names of the cameras that it looks at; None stands for all."""

    @property
    def weights(self) -> str | None:
        """Any text that changes with its weights; None if it has none."""

    def reset(self, instruction: str, seed: int) -> None:
        """Start an episode."""

    def act(self, frames: Mapping[str, NDArray[Any]]) -> int:
        """Return an action for the newest frames: uint8 (H, W, 3) of RGB cameras, float32 (H, W, 1) metres of depth cameras."""


def serve(policy: ServedPolicy) -> None:
    """Answer on standard input and output until the input ends: the whole main program of an external agent.

    What anything prints meanwhile goes to standard error. A policy that has a method `begin` is told the protocol's rules with it, a dict as
    `Protocol.fields` gives it, before the first episode and whenever they change.
    """
    begun: Mapping[str, Any] | None = None
    output = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    channel = Channel(sys.stdin.fileno(), output)
    while True:
        try:
            message, arrays = channel.receive(None)
        except EOFError:
            return
        if message["type"] == "hello":
            reply = {"type": "hello", "version": VERSION, "cameras": policy.cameras, "weights": policy.weights}
        elif message["type"] == "reset":
            rules = message.get("rules", begun)  # a navloop of an earlier version tells none
            if hasattr(policy, "begin") and rules != begun:
                policy.begin(rules)
            begun = rules
            policy.reset(message["instruction"], message["seed"])
            reply = {"type": "ready"}
        else:
            reply = {"type": "action", "action": int(policy.act(arrays))}
        channel.send(reply, {}, None)
