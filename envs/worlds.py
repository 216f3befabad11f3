"""Worlds by name, and what the gymnasium ids make. The one place that knows which simulators there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from navloop.envs.episodes import read_episodes
from navloop.envs.navigation import NavigationEnv
from navloop.envs.protocols import Protocol, get_protocol
from navloop.envs.simulator import Body, Camera, Simulator
from navloop.registry import Registry

WORLDS: Registry[Callable[..., Simulator]] = Registry("world")
"""Each entry is called with (scenes folder, body, cameras, renderer) and returns a simulator."""


@WORLDS.register("embedded")
def _embedded(scenes: Path, body: Body, cameras: Sequence[Camera], renderer: str) -> Simulator:
    from navloop.envs.embedded.simulator import EmbeddedSimulator  # rendering libraries load only where a world is made

    return EmbeddedSimulator(scenes, body, cameras, renderer)  # type: ignore[arg-type]


def create_simulator(world: str, scenes: Path | str, protocol: Protocol, renderer: str = "auto") -> Simulator:
    """Return a simulator with a protocol's body and cameras.

    Args:
        world: "embedded".
        scenes: Folder that scene ids are relative to.
        protocol: Whose embodiment to take.
        renderer: What draws RGB in the embedded world: "auto", "panda", "egl" or "embree".

    Raises:
        ValueError: If the world is unknown.
    """
    return WORLDS[world](Path(scenes), protocol.body, protocol.cameras, renderer)


def make_vln(
    episodes: Path | str,
    scenes: Path | str,
    protocol: str | Protocol = "r2r-ce",
    world: str = "embedded",
    renderer: str = "auto",
    numbers: Sequence[int] | None = None,
    **options: Any,
) -> NavigationEnv:
    """Make the environment over any episode file and any world; the entry point of "navloop/VLN-v0".

    Args:
        episodes: An R2R-VLNCE or RxR-VLNCE file.
        scenes: Folder that its scene ids are relative to.
        protocol: Name or value of a protocol.
        world: Name of a world.
        renderer: See `create_simulator`.
        numbers: Places in the file of the episodes to walk, in this order; None takes all.
        **options: Keyword arguments of `NavigationEnv`, which refuses what it does not know.
    """
    chosen = get_protocol(protocol) if isinstance(protocol, str) else protocol
    listed = read_episodes(Path(episodes)).episodes
    walked = listed if numbers is None else [listed[number] for number in numbers]
    return NavigationEnv(create_simulator(world, scenes, chosen, renderer), walked, chosen, **options)


def make_houses(
    dataset: Path | str = "data/houses", split: str = "train", protocol: str | Protocol = "houses", **options: Any
) -> NavigationEnv:
    """Make the environment over generated houses; the entry point of "navloop/Houses-v0".

    Args:
        dataset: Folder that `navloop houses` wrote.
        split: "train", "val_seen" or "val_unseen".
        protocol: Name or value of a protocol.
        **options: Further arguments of `make_vln`.

    Raises:
        ValueError: If the folder holds no such split.
    """
    folder = Path(dataset)
    file = folder / "episodes" / split / f"{split}.json.gz"
    if not file.is_file():
        splits = sorted(path.name for path in folder.glob("episodes/*") if path.is_dir())
        mend = f"it has {', '.join(splits)}" if splits else "write one with `navloop houses`"
        raise ValueError(f"{folder}: no split {split!r} here ({file} is missing); {mend}")
    return make_vln(file, folder / "scenes", protocol, **options)
