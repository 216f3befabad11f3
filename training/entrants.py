"""Who is measured: agents that are registered, saved in a folder, or programs of their own; each perhaps under a control."""

from __future__ import annotations

import logging
import re
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from navloop.agent import Agent, BatchAgent, cameras_of, create_agent, list_agents
from navloop.agent.agents import create_own
from navloop.configs.entries import COMMAND, PYTHON, read_entry
from navloop.configs.schema import EvalConfig
from navloop.envs.protocols import Protocol, get_protocol
from navloop.training.devices import find_device

LOGGER = logging.getLogger(__name__)

Kind = Literal["named", "saved", "program", "class"]

NETWORK_LANES = 8
"""Episodes that an agent with a network walks at once, where nothing else is said."""

_UNFIT = re.compile(r"[^A-Za-z0-9_.-]+")
_PLACES = ("", "agent", "best", "best/agent", "last", "last/agent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """One row of the table, and how to make who earns it.

    Attributes:
        label: What stands in tables and names its files, unique in a run.
        kind: "named" agents are registered, "saved" ones lie in a folder, a "program" is asked in a process of its own, a "class" is
            somebody's own.
        source: Name, folder, command, or module and class.
        control: One of `CONTROLS`, or "".
        weights: Digest of its weights; None where it has none.
        cameras: Names of the cameras that it looks at.
        lanes: Episodes that it walks at once in one process.
    """

    label: str
    kind: Kind
    source: str
    control: str = ""
    weights: str | None = None
    cameras: tuple[str, ...] = ()
    lanes: int = 1

    def make(self, config: EvalConfig, place: int = 0) -> Any:
        """Return the agent: a `BatchAgent` if it is a saved one, else an `Agent`.

        Args:
            config: Of the benchmark.
            place: Of the worker, which decides the GPU where there are several.

        Raises:
            ValueError: If its folder holds other weights than when the run began.
        """
        if self.kind == "named":
            return create_agent(self.source)
        if self.kind == "class":
            return create_own(self.source)
        if self.kind == "program":
            from navloop.agent.external import ExternalAgent

            return ExternalAgent(shlex.split(self.source), config.reply_seconds)
        if (found := _digest(Path(self.source))) != self.weights:
            raise ValueError(f"{self.source}: its weights changed while it was measured ({self.weights}, now {found})")
        return _load(Path(self.source), device=find_device(config.device, place), temperature=config.temperature)


def find_entrants(config: EvalConfig) -> list[Entrant]:
    """Return who a config enters, in its order, each looked up or started once to know its weights and cameras.

    An entry is a registered name, the folder of a saved agent or of the run that trained it, "command:" and what to run, or "python:" and
    the module and class of an `Agent`;
    "NAME=" before it gives it a name, and "+shuffled" or "+blank" after it puts it under a control.

    Raises:
        ValueError: If one cannot be had, looks at a camera that the protocol lacks, or two have the same label.
    """
    protocol = get_protocol(config.protocol, config.pixels, config.depth)
    known: dict[tuple[str, str], Entrant] = {}
    entrants: dict[str, Entrant] = {}
    for entry in config.agents:
        name, kind, source, control = _parse(entry)
        if (kind, source) not in known:
            known[kind, source] = _look_up(kind, source, config, protocol)
        found = known[kind, source]
        label = (name or found.label) + (f"+{control}" if control else "")
        if label in entrants:
            raise ValueError(
                f"agents {entrants[label].source!r} and {source!r} would both be called {label!r}; name one: 'other={entry}'"
            )
        cameras = () if control == "blank" else found.cameras
        entrants[label] = replace(found, label=label, control=control, cameras=cameras)
    return list(entrants.values())


def _parse(text: str) -> tuple[str, Kind, str, str]:
    """Return name, kind, source and control of an entry."""
    entry = read_entry(text)
    if entry.source.startswith(COMMAND):
        return entry.name, "program", entry.source.removeprefix(COMMAND).strip(), entry.control
    if entry.source.startswith(PYTHON):
        return entry.name, "class", entry.source.removeprefix(PYTHON).strip(), entry.control
    kind: Kind = "saved" if entry.is_folder and entry.source not in list_agents() else "named"
    return entry.name, kind, entry.source, entry.control


def _look_up(kind: Kind, source: str, config: EvalConfig, protocol: Protocol) -> Entrant:
    if kind == "named":
        return Entrant(label=source, kind=kind, source=source, cameras=_cameras(create_agent(source), protocol))
    if kind == "saved":
        return _look_up_saved(Path(source), config, protocol)
    if kind == "class":
        own = create_own(source)
        weights, label = getattr(own, "weights", None), source.rpartition(":")[2].rpartition(".")[2]
        return Entrant(label=label, kind=kind, source=source, weights=weights, cameras=_cameras(own, protocol))
    from navloop.agent.external import ExternalAgent

    label = _UNFIT.sub("-", source).strip("-")
    with ExternalAgent(shlex.split(source), config.reply_seconds) as program:
        return Entrant(
            label=label, kind=kind, source=source, weights=program.weights, cameras=_cameras(program, protocol)
        )


def _look_up_saved(folder: Path, config: EvalConfig, protocol: Protocol) -> Entrant:
    place = find_agent(folder)
    agent = _load(place)
    cameras = cameras_of(agent, protocol)
    walked = protocol.with_cameras(list(cameras)).label
    trained = getattr(agent, "protocol", "")
    if trained and trained != walked:
        LOGGER.warning(
            "agent %r was trained under %s and is measured under %s: other frames, body or rules than it knows",
            str(folder),
            trained,
            walked,
        )
    return Entrant(
        label=_label(folder),
        kind="saved",
        source=str(place),
        weights=_digest(place),
        cameras=tuple(camera.name for camera in cameras),
        lanes=config.lanes or NETWORK_LANES,
    )


def _digest(folder: Path) -> str:
    """Return the digest of a saved agent, of either sort."""
    from navloop.agent.planner_saving import is_planner, planner_digest
    from navloop.agent.saving import agent_digest

    return planner_digest(folder) if is_planner(folder) else agent_digest(folder)


def _load(folder: Path, device: str = "cpu", temperature: float = 0.0) -> BatchAgent:
    """Return a saved agent, of either sort."""
    from navloop.agent.planner_saving import is_planner, load_planner
    from navloop.agent.saving import load_agent

    if is_planner(folder):
        return load_planner(folder, device=device, temperature=temperature)
    return load_agent(folder, device=device, temperature=temperature)


def find_agent(folder: Path) -> Path:
    """Return where an agent lies that is saved in a folder, or in the run folder of its training: the best one, else the last.

    A run that has not come to its end, as far as its recipe alone tells, is told of.

    Raises:
        ValueError: If there is none, or `last` is the checkpoint from before the first step; that one has to be named itself.
    """
    for place in _PLACES:
        path = folder / place
        if (path / "agent.json").is_file():
            _check_learned(path, folder)
            # Links of a training that goes on move; what is measured must not.
            return path.resolve()
    what = "no saved agent here" if folder.is_dir() else "no such folder"
    raise ValueError(
        f"agent {str(folder)!r}: {what} (no agent.json in it, nor below best or last); give the folder of a saved agent or of the run "
        "that trained it"
    )


def _check_learned(path: Path, folder: Path) -> None:
    """Refuse an agent that a run's link `last` leads to before anything was learned; warn of one of a run that has not ended."""
    link = next((part for part in (path, path.parent) if part.name == "last" and part.is_symlink()), None)
    run = folder if link is None else link.parent
    step = _step_of(run / "last")
    if link is not None and step == 0:
        raise ValueError(
            f"agent {str(folder)!r}: its run has learned nothing yet, last is {link.readlink()}, its first weights; go on with it: navloop "
            f"train {run / 'config.yaml'} --run-dir {run}, or name {link.resolve() / path.relative_to(link)} to take them as they are"
        )
    if step is not None and (left := _left_of(run, step)):
        LOGGER.warning(
            "agent %r is of a run that has not come to its end, %s; to go on with it: navloop train %s --run-dir %s",
            str(folder),
            left,
            run / "config.yaml",
            run,
        )


def _step_of(link: Path) -> int | None:
    """Return the step of the checkpoint that a link leads to; None where there is no such link."""
    found = re.fullmatch(r"step_(\d+)", link.readlink().name) if link.is_symlink() else None
    return None if found is None else int(found[1])


def _left_of(run: Path, step: int) -> str:
    """Return how far a training is that has not come to its end: its step, or where its recipe counts epochs, the iteration judged last; else ""."""
    try:
        recipe = yaml.safe_load((run / "config.yaml").read_text())
        if recipe.get("algorithm") == "reinforcement":
            return _part("step", step, int(recipe["ppo"]["iterations"]))
        iterations = int((recipe.get("collection") or recipe.get("oracle") or {}).get("iterations", 1))
        if (steps := recipe["learning"]["steps"]) is not None:
            return _part("step", step, int(steps) * max(1, iterations))
        judged = {name.name[:2] for name in (run / "evaluations").glob("*.jsonl")}
        return _part("iteration", len(judged), iterations) if recipe["evaluate"] else ""
    except (OSError, ValueError, yaml.YAMLError, AttributeError, KeyError, TypeError):
        return ""  # the agent beside it is what is asked for, and says itself whether it is whole


def _part(what: str, done: int, count: int) -> str:
    return f"{what} {done} of {count}" if done < count else ""


def _label(folder: Path) -> str:
    """Name a saved agent by the run it is of; a part of a run by both names."""
    parts = [part for part in folder.absolute().parts if part not in ("/", "agent")]
    inside = parts[-1] in ("best", "last") or re.match(r"^step_?\d+$", parts[-1])
    return _UNFIT.sub("-", "-".join(parts[-2:] if inside else parts[-1:])).strip("-")


def _cameras(agent: Agent | BatchAgent, protocol: Protocol) -> tuple[str, ...]:
    return tuple(camera.name for camera in cameras_of(agent, protocol))
