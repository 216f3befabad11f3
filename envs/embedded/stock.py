"""The scenes that simulators of one process share: each is held in memory once, however many agents walk in it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class Released(Protocol):
    """Something that has to be given back."""

    def release(self) -> None:
        """Free what is held."""


S = TypeVar("S", bound=Released)


class Stock(Generic[S]):
    """Keeps the last few scenes, and each that somebody stands in, until its last user leaves.

    Args:
        load: Makes a scene of its id.
        kept: How many to keep; more only while more are stood in.
    """

    def __init__(self, load: Callable[[str], S], kept: int) -> None:
        self._load = load
        self._kept = kept
        self._scenes: OrderedDict[str, S] = OrderedDict()
        self._users: dict[object, str | None] = {}

    def enter(self, user: object) -> None:
        """Count somebody in, who stands in no scene yet."""
        self._users[user] = None

    def take(self, user: object, scene_id: str) -> S:
        """Return a scene, loading it if need be; from now on the user stands in this one."""
        if scene_id not in self._scenes:
            self._scenes[scene_id] = self._load(scene_id)
        self._scenes.move_to_end(scene_id)
        self._users[user] = scene_id
        taken = set(self._users.values())
        for old in [name for name in self._scenes if name not in taken]:
            if len(self._scenes) <= self._kept:
                break
            self._scenes.pop(old).release()
        return self._scenes[scene_id]

    def leave(self, user: object) -> bool:
        """Count somebody out, who may be out already. With the last, every scene is given back; return whether that was so."""
        self._users.pop(user, None)
        if self._users:
            return False
        for scene in self._scenes.values():
            scene.release()
        self._scenes.clear()
        return True
