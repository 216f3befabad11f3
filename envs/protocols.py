"""Named, versioned protocols: the body, the eyes and the rules under which a number was measured. Numbers of two never mix."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple

from navloop.envs.simulator import Body, Camera
from navloop.files import fingerprint
from navloop.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """Everything that must be equal before two results may be compared.

    Attributes:
        name: Such as "r2r-ce".
        version: Raised whenever a published field changes.
        body: Shape, stride, turn and sliding of the agent.
        cameras: What it sees, names unique.
        languages: Languages of the instructions, as first subtags: "en" covers en-US and en-IN.
        max_steps: Actions after which an episode is cut off, STOP included; at least 1.
        success_distance: Metres, over 0; also the threshold of nDTW and CLS.
        success_inclusive: Whether success is distance <= success_distance (True) or < (False).
        ndtw_reference: What nDTW, sDTW and CLS compare with: the dense "locations" of the ground truth, or the sparse
            "reference_path". Where an episode lacks it these metrics are undefined; neither stands in for the other.
        unreachable: What a goal without a walk to it does. "fail_and_count": success, SPL and sDTW are 0, the error is inf, the
            episode stays in every average but those of the errors, and summaries count it by name.
        control: What an agent chooses: the low-level "steps", or "waypoints" whose turns are counted as steps, or given free.
        changes: What `with_...` made different from the registered protocol, for the label.

    Raises:
        ValueError: If a field is out of range, naming it.
    """

    name: str
    version: int = 1
    body: Body = Body()  # noqa: RUF009 (frozen)
    cameras: tuple[Camera, ...] = ()
    languages: tuple[str, ...] = ("en",)
    max_steps: int = 500
    success_distance: float = 3.0
    success_inclusive: bool = False
    ndtw_reference: Literal["locations", "reference_path"] = "locations"
    unreachable: Literal["fail_and_count"] = "fail_and_count"
    control: Literal["steps", "waypoints", "waypoints-free-turns"] = "steps"
    changes: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        names = [camera.name for camera in self.cameras]
        if len(set(names)) < len(names):
            raise ValueError(f"protocol {self.name}: cameras are named {names}; give each its own name")
        if self.max_steps < 1:
            raise ValueError(f"protocol {self.name}: max_steps is {self.max_steps}, expected at least 1")
        if not 0 < self.success_distance < math.inf:
            raise ValueError(f"protocol {self.name}: success_distance is {self.success_distance} m, expected over 0")
        if self.ndtw_reference not in ("locations", "reference_path"):
            raise ValueError(
                f"protocol {self.name}: ndtw_reference is {self.ndtw_reference!r}; use locations or reference_path"
            )

    @property
    def label(self) -> str:
        """What stands beside every number: "r2r-ce@1", or "houses@1+rgb128" for a variant."""
        return f"{self.name}@{self.version}" + "".join(f"+{note}" for _, note in self.changes)

    @property
    def fingerprint(self) -> str:
        """Digest ("sha256:" and 16 hex digits) of every field but the wording of `changes`."""
        return fingerprint(json.dumps(self.fields(), sort_keys=True).encode())

    def fields(self) -> dict[str, Any]:
        """Return every field by its dotted name ("body.turn", "cameras.rgb.width"), JSON values only."""
        values = asdict(self)
        del values["changes"]
        if self.control == "steps":  # a later field: what was measured before it is as it was
            del values["control"]
        flat = {f"body.{key}": value for key, value in values.pop("body").items()}
        for camera in values.pop("cameras"):
            name = camera.pop("name")
            flat |= {f"cameras.{name}.{key}": value for key, value in camera.items()}
        flat["cameras"] = [camera.name for camera in self.cameras]
        flat["languages"] = list(values.pop("languages"))
        return flat | values

    @property
    def terms(self) -> Terms:
        """What results keep of it."""
        return Terms(self.label, self.fields())

    def is_success(self, distance: float) -> bool:
        """Whether a geodesic distance in metres is near enough; never for inf or nan."""
        return distance <= self.success_distance if self.success_inclusive else distance < self.success_distance

    def with_resolution(self, width: int, height: int | None = None) -> Protocol:
        """Return the variant whose cameras all have this size in pixels; the height defaults to the width.

        Raises:
            ValueError: If a side is under 1 pixel.
        """
        height = width if height is None else height
        if min(width, height) < 1:
            raise ValueError(f"resolution is {width} x {height}, expected at least 1 x 1 pixel")
        return self.with_cameras([replace(camera, width=width, height=height) for camera in self.cameras])

    def with_depth(self, min_depth: float = 0.0, max_depth: float = 10.0) -> Protocol:
        """Return the variant with a depth camera, in metres, where the first camera is; itself if it has one.

        Raises:
            ValueError: If the protocol has no camera to stand beside.
        """
        if any(camera.kind == "depth" for camera in self.cameras):
            return self
        if not self.cameras:
            raise ValueError(f"protocol {self.label} has no camera to put depth beside; use with_cameras")
        depth = replace(self.cameras[0], name="depth", kind="depth", min_depth=min_depth, max_depth=max_depth)
        return self.with_cameras([*self.cameras, depth])

    def with_cameras(self, cameras: Sequence[Camera], note: str | None = None) -> Protocol:
        """Return the variant with other cameras.

        Args:
            cameras: Names unique.
            note: What the label says of it; None describes kinds and sizes, such as "rgb128-depth128".
        """
        if tuple(cameras) == self.cameras:
            return self
        return self._changed("cameras", note or _describe(cameras), cameras=tuple(cameras))

    def with_body(self, body: Body, note: str) -> Protocol:
        """Return the variant with another body; `note` names the difference in the label, such as "tilt15"."""
        return self if body == self.body else self._changed("body", note, body=body)

    def with_success_distance(self, metres: float) -> Protocol:
        """Return the variant with another success distance, "+success1m" in the label.

        Raises:
            ValueError: If it is not over 0.
        """
        if metres == self.success_distance:
            return self
        return self._changed("success", f"success{metres:g}m", success_distance=metres)

    def with_control(self, control: Literal["steps", "waypoints", "waypoints-free-turns"]) -> Protocol:
        """Return the variant whose agents choose something else, "+waypoints" in the label; `WaypointEnv` carries it out."""
        return self if control == self.control else self._changed("control", control, control=control)

    def _changed(self, part: str, note: str, **values: Any) -> Protocol:
        changed = replace(self, changes=tuple(sorted({**dict(self.changes), part: note}.items())), **values)
        plain = next((known for known in map(get_protocol, list_protocols()) if known.name == self.name), None)
        # What was changed back is the registered protocol again, and is labelled so.
        return plain if plain is not None and plain.fields() == changed.fields() else changed


class Terms(NamedTuple):
    """A protocol as results keep it: to be compared with others even when it was changed since, or nobody registers it here.

    Attributes:
        label: Such as "r2r-ce@1".
        fields: Every field by its dotted name, as `Protocol.fields` gives them.
    """

    label: str
    fields: Mapping[str, Any]


def get_protocol(name: str, pixels: int | None = None, depth: bool = False) -> Protocol:
    """Return a registered protocol, or a variant of it, whose label says so.

    Args:
        name: Of the protocol; "+pano12" behind it stands for twelve of each camera, all around (`navloop.envs.panorama`).
        pixels: Height and width of all frames; None leaves them.
        depth: Whether there must be a depth camera.

    Raises:
        ValueError: If there is none of that name, with the nearest ones.
    """
    plain, _, around = name.partition("+")
    if around not in ("", _AROUND):
        raise ValueError(
            f"protocol {name!r}: {around!r} is no variant that a name may ask for; the one there is is {_AROUND}"
        )
    protocol = _PROTOCOLS[plain]
    protocol = protocol.with_depth() if depth else protocol
    protocol = protocol if pixels is None else protocol.with_resolution(pixels)
    if not around:
        return protocol
    from navloop.envs.panorama import panorama  # it needs what is here

    return panorama(protocol)


def list_protocols() -> list[str]:
    """Return the names of the registered protocols, sorted."""
    return list(_PROTOCOLS)


def register_protocol(protocol: Protocol) -> Protocol:
    """Enter a protocol under its name, and return it.

    Raises:
        ValueError: If the name is taken.
    """
    return _PROTOCOLS.register(protocol.name)(protocol)


def require_comparable(first: Terms, second: Terms) -> None:
    """Refuse to go on with numbers of two protocols.

    Raises:
        ValueError: If they differ, naming each field that does and both values.
    """
    ours, theirs = first.fields, second.fields
    names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    # A camera that only one has is named once, by the field "cameras", not once for each of its fields.
    names = [name for name in names if not name.startswith("cameras.") or (name in ours and name in theirs)]
    if not names:
        return
    listed = "; ".join(f"{name} is {ours.get(name)!r} and {theirs.get(name)!r}" for name in names)
    raise ValueError(f"results of {first.label} and {second.label} cannot be compared: {listed}")


def _describe(cameras: Sequence[Camera]) -> str:
    """What a label says of cameras: how many of each kind and size, and a field of view that is not 90 degrees."""
    sizes: dict[str, int] = {}
    for camera in cameras:
        size = f"{camera.width}" if camera.width == camera.height else f"{camera.width}x{camera.height}"
        view = "" if math.isclose(camera.hfov, math.pi / 2) else f"-hfov{math.degrees(camera.hfov):g}"
        key = f"{camera.kind}{size}{view}"
        sizes[key] = sizes.get(key, 0) + 1
    return "-".join(key if count == 1 else f"{count}{key}" for key, count in sizes.items()) or "blind"


def _eyes(width: int, height: int, hfov: float, elevation: float, depth: Camera | None = None) -> tuple[Camera, ...]:
    rgb = Camera(name="rgb", width=width, height=height, hfov=math.radians(hfov), elevation=elevation)
    return (rgb,) if depth is None else (rgb, replace(depth, hfov=rgb.hfov, elevation=elevation))


def _depth(width: int, height: int, nearest: float, farthest: float) -> Camera:
    return Camera(name="depth", kind="depth", width=width, height=height, min_depth=nearest, max_depth=farthest)


_PROTOCOLS: Registry[Protocol] = Registry("protocol")
_AROUND = "pano12"

# R2R-CE as the VLN-CE repository runs it (habitat_extensions/config/vlnce_task.yaml).
register_protocol(Protocol(name="r2r-ce", cameras=_eyes(224, 224, 90, 1.25, _depth(256, 256, 0.0, 10.0))))

# RxR-CE as the RxR-Habitat challenge fixed it (habitat_extensions/config/rxr_vlnce_english_task.yaml and its siblings).
register_protocol(
    Protocol(
        name="rxr-ce-challenge",
        body=Body(height=0.88, radius=0.18, turn=math.radians(30), tilt=math.radians(30), sliding=False),
        cameras=_eyes(640, 480, 79, 0.88, _depth(640, 480, 0.5, 5.0)),
        languages=("en", "hi", "te"),
    )
)

# RxR-CE as StreamVLN, JanusVLN and InternNav run it: English guide instructions, R2R-CE's body. InternNav alone adds looking up and
# down by 15 degrees: `with_body(replace(protocol.body, tilt=math.radians(15)), "tilt15")`.
register_protocol(Protocol(name="rxr-ce-english", cameras=_eyes(640, 480, 79, 1.25, _depth(640, 480, 0.0, 10.0))))

# R2R-CE as NaVid runs it: turns of 30 degrees, RGB alone.
register_protocol(Protocol(name="navid-r2r", body=Body(turn=math.radians(30)), cameras=_eyes(640, 480, 90, 1.25)))

# Generated houses. Success stays at R2R-CE's 3 m, so that one yardstick serves both and a score here can be set beside one there. The
# distance is walked, not flown: the far side of a wall does not count. It is generous in a home, where 3 m can be most of a room:
# read SR with NE and nDTW, or take `with_success_distance(1.0)`, which says so in the label.
register_protocol(Protocol(name="houses", cameras=_eyes(224, 224, 90, 1.25)))
