"""Worlds by name, and what the gymnasium ids make. The one place that knows which simulators there are."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from navloop.envs.episodes import read_episodes
from navloop.envs.navigation import NavigationEnv
from navloop.envs.protocols import Protocol, get_protocol
from navloop.envs.simulator import Body, Camera, Simulator
from navloop.registry import Registry, nearest

WORLDS: Registry[Callable[..., Simulator]] = Registry("world")
"""Each entry is called with (scenes folder, body, cameras) and its own settings by name, and returns a simulator."""


@WORLDS.register("embedded")
def _embedded(scenes: Path, body: Body, cameras: Sequence[Camera], renderer: str = "auto") -> Simulator:
    from navloop.envs.embedded.simulator import EmbeddedSimulator  # rendering libraries load only where a world is made

    return EmbeddedSimulator(scenes, body, cameras, renderer)  # type: ignore[arg-type]


@WORLDS.register("habitat")
def _habitat(
    scenes: Path,
    body: Body,
    cameras: Sequence[Camera],
    gpu_device: int = -1,
    scene_dataset_config: Path | str | None = None,
) -> Simulator:
    from navloop.envs.habitat.simulator import HabitatSimulator

    return HabitatSimulator(scenes, body, cameras, gpu_device, scene_dataset_config)


def create_simulator(world: str, scenes: Path | str, protocol: Protocol, **settings: Any) -> Simulator:
    """Return a simulator with a protocol's body and cameras.

    Args:
        world: "embedded" or "habitat".
        scenes: Folder that scene ids are relative to.
        protocol: Whose embodiment to take.
        **settings: Of the embedded world, `renderer`: "auto", "panda", "egl" or "embree" (`EmbeddedSimulator`). Of habitat,
            `gpu_device` and `scene_dataset_config` (`HabitatSimulator`).

    Raises:
        ValueError: If the world is unknown, cannot be had here, or has no such setting.
    """
    known = _settings_of(world)
    for name in settings:
        if name not in known:
            raise ValueError(f"world {world!r} has no setting {name!r}; {nearest(name, sorted(known))}")
    return WORLDS[world](Path(scenes), protocol.body, protocol.cameras, **settings)


def create_simulators(
    count: int, world: str, scenes: Path | str, protocol: Protocol, **settings: Any
) -> list[Simulator]:
    """Return simulators for as many agents of one process, which share their scenes (`Simulator.twin`).

    Args:
        count: How many, at least 1.
        world: As in `create_simulator`, and so the rest.
        scenes: Folder that scene ids are relative to.
        protocol: Whose embodiment to take.
        **settings: Of the world.
    """
    first = create_simulator(world, scenes, protocol, **settings)
    return [first, *(first.twin() for _ in range(count - 1))]


def _settings_of(world: str) -> frozenset[str]:
    return frozenset(_parameters(WORLDS[world])[3:])


def require_world(world: str) -> None:
    """Check that a world can be had here, before any work is done for it.

    Raises:
        ValueError: If it is unknown, or habitat and not installed; the message says how to install it.
    """
    WORLDS[world]
    if world == "habitat":
        from navloop.envs.habitat.versions import find_habitat

        find_habitat()


def world_name(world: str) -> str:
    """Return a world as results name it: Habitat's with its versions, which decide what is scored.

    Raises:
        ValueError: As of `require_world`.
    """
    require_world(world)
    if world != "habitat":
        return world
    from navloop.envs.habitat.versions import find_habitat

    return find_habitat().words


def make_vln(
    episodes: Path | str,
    scenes: Path | str,
    protocol: str | Protocol = "r2r-ce",
    world: str = "embedded",
    numbers: Sequence[int] | None = None,
    *,
    pixels: int | None = None,
    depth: bool = False,
    **options: Any,
) -> NavigationEnv:
    """Make the environment over any episode file and any world; the entry point of "navloop/VLN-v0".

    Args:
        episodes: An R2R-VLNCE or RxR-VLNCE file.
        scenes: Folder that its scene ids are relative to.
        protocol: Name or value of a protocol.
        world: Name of a world.
        numbers: Places in the file of the episodes to walk, in this order; None takes all.
        pixels: Height and width of all frames; None leaves the protocol's.
        depth: Whether there must be a depth camera.
        **options: Settings of the world (`create_simulator`) and keyword arguments of `NavigationEnv`.

    Raises:
        ValueError: If there is no such option, protocol or world.
    """
    _require_options(world, options)
    chosen = _variant(protocol, pixels, depth)
    listed = read_episodes(Path(episodes)).episodes
    walked = listed if numbers is None else [listed[number] for number in numbers]
    settings = {name: options.pop(name) for name in _settings_of(world) & options.keys()}
    return NavigationEnv(create_simulator(world, scenes, chosen, **settings), walked, chosen, **options)


def _variant(protocol: str | Protocol, pixels: int | None, depth: bool) -> Protocol:
    if isinstance(protocol, str):
        return get_protocol(protocol, pixels, depth)
    protocol = protocol.with_depth() if depth else protocol
    return protocol if pixels is None else protocol.with_resolution(pixels)


def _require_options(world: str, options: Mapping[str, Any]) -> None:
    taken = {*_parameters(NavigationEnv)[3:], *_settings_of(world)}
    for name in options:
        if name not in taken:
            known = sorted({*taken, *_parameters(make_vln)} - {"options"})
            raise ValueError(f"an environment in world {world!r} has no option {name!r}; {nearest(name, known)}")


def _parameters(made: Callable[..., Any]) -> list[str]:
    return [*inspect.signature(made).parameters]


def make_houses(
    dataset: Path | str = "data/houses", split: str = "train", protocol: str | Protocol = "houses", **options: Any
) -> NavigationEnv:
    """Make the environment over generated houses; the entry point of "navloop/Houses-v0".

    Args:
        dataset: Folder that `navloop houses` wrote.
        split: "train", "val_seen" or "val_unseen".
        protocol: Name or value of a protocol.
        **options: Further arguments of `make_vln`, such as `pixels` and `depth`.

    Raises:
        ValueError: If the folder holds no such split, or there is no such option.
    """
    folder = Path(dataset)
    file = folder / "episodes" / split / f"{split}.json.gz"
    if not file.is_file():
        splits = sorted(path.name for path in folder.glob("episodes/*") if path.is_dir())
        mend = f"it has {', '.join(splits)}" if splits else "write one with `navloop houses`"
        raise ValueError(f"{folder}: no split {split!r} here ({file} is missing); {mend}")
    return make_vln(file, folder / "scenes", protocol, **options)
