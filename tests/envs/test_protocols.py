"""Protocols: the published embodiments field by field, variants that say so, and the refusal to mix numbers."""

from __future__ import annotations

import json
import math
import re
from dataclasses import fields, replace
from typing import Any

import pytest

from navloop.envs.protocols import (
    Protocol,
    Terms,
    get_protocol,
    list_protocols,
    register_protocol,
    require_comparable,
)
from navloop.envs.simulator import Body, Camera

# One row a protocol: turn, tilt, sliding, height, radius; RGB size; depth size and range; field of view and height of the cameras.
EMBODIMENTS: dict[str, tuple[Any, ...]] = {
    "r2r-ce": (15, 0, True, 1.5, 0.1, (224, 224), (256, 256, 0, 10), 90, 1.25, ("en",)),
    "rxr-ce-challenge": (30, 30, False, 0.88, 0.18, (640, 480), (640, 480, 0.5, 5), 79, 0.88, ("en", "hi", "te")),
    "rxr-ce-english": (15, 0, True, 1.5, 0.1, (640, 480), (640, 480, 0, 10), 79, 1.25, ("en",)),
    "navid-r2r": (30, 0, True, 1.5, 0.1, (640, 480), None, 90, 1.25, ("en",)),
    "houses": (15, 0, True, 1.5, 0.1, (224, 224), None, 90, 1.25, ("en",)),
}

GOLDEN = {
    "houses": "sha256:17c680f49c7f5d3d",
    "navid-r2r": "sha256:3352e73e00f33528",
    "r2r-ce": "sha256:3e089e13d31884fa",
    "rxr-ce-challenge": "sha256:b5fff7102625361d",
    "rxr-ce-english": "sha256:32d75e6f0002de3c",
}


def test_the_registered_protocols_are_the_published_ones() -> None:
    assert list_protocols() == sorted(EMBODIMENTS)


@pytest.mark.parametrize("name", EMBODIMENTS)
def test_an_embodiment_is_the_published_one(name: str) -> None:
    turn, tilt, sliding, height, radius, rgb_size, depth, hfov, elevation, languages = EMBODIMENTS[name]
    protocol = get_protocol(name)
    assert protocol.body == Body(
        step=0.25,
        turn=math.radians(turn),
        tilt=math.radians(tilt),
        sliding=sliding,
        height=height,
        radius=radius,
        max_climb=0.2,
    )
    rgb, *others = protocol.cameras
    assert (rgb.name, rgb.kind, rgb.width, rgb.height) == ("rgb", "rgb", *rgb_size)
    assert [(c.name, c.kind, c.width, c.height, c.min_depth, c.max_depth) for c in others] == (
        [("depth", "depth", *depth)] if depth else []
    )
    for camera in protocol.cameras:
        assert (camera.hfov, camera.elevation, camera.yaw, camera.pitch) == (math.radians(hfov), elevation, 0, 0)
    assert (protocol.max_steps, protocol.success_distance, protocol.success_inclusive) == (500, 3.0, False)
    assert (protocol.ndtw_reference, protocol.languages) == ("locations", languages)
    assert protocol.label == f"{name}@1"


def test_success_is_strict_unless_the_protocol_says_otherwise() -> None:
    strict = get_protocol("r2r-ce")
    inclusive = replace(strict, success_inclusive=True)
    assert not strict.is_success(3.0) and inclusive.is_success(3.0)
    assert strict.is_success(math.nextafter(3, 0)) and not inclusive.is_success(math.nextafter(3, 4))
    assert not any(protocol.is_success(d) for protocol in (strict, inclusive) for d in (math.inf, math.nan))


def _other(value: Any) -> Any:
    """Another value of the same kind."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case "locations":
            return "reference_path"
        case str():
            return value + "x"
        case Body():
            return replace(value, turn=value.turn / 2)
        case ("en",):
            return ("hi",)
        case _:
            return value[:1]


@pytest.mark.parametrize("field", [f.name for f in fields(Protocol) if f.name != "changes"])
def test_every_field_changes_the_fingerprint_and_is_named_in_the_refusal(field: str) -> None:
    protocol = get_protocol("r2r-ce")
    changed = replace(protocol, **{field: _other(getattr(protocol, field))})
    assert changed.fingerprint != protocol.fingerprint
    with pytest.raises(ValueError, match=field):
        require_comparable(protocol.terms, changed.terms)


@pytest.mark.parametrize("field", [f.name for f in fields(Body)])
def test_every_field_of_the_body_changes_the_fingerprint(field: str) -> None:
    protocol = get_protocol("r2r-ce")
    body = replace(protocol.body, **{field: _other(getattr(protocol.body, field))})
    changed = protocol.with_body(body, "other")
    assert changed.fingerprint != protocol.fingerprint
    with pytest.raises(ValueError, match=rf"body\.{field} is .* and "):
        require_comparable(protocol.terms, changed.terms)


@pytest.mark.parametrize("field", [f.name for f in fields(Camera) if f.name not in ("kind", "name")])
def test_every_field_of_a_camera_changes_the_fingerprint(field: str) -> None:
    protocol = get_protocol("r2r-ce")
    rgb, depth = protocol.cameras
    changed = protocol.with_cameras([rgb, replace(depth, **{field: _other(getattr(depth, field))})])
    assert changed.fingerprint != protocol.fingerprint
    with pytest.raises(ValueError, match=rf"cameras\.depth\.{field} is .* and "):
        require_comparable(protocol.terms, changed.terms)


def test_the_refusal_names_labels_fields_and_values() -> None:
    with pytest.raises(ValueError) as refusal:
        require_comparable(get_protocol("r2r-ce").terms, get_protocol("rxr-ce-challenge").terms)
    message = str(refusal.value)
    assert message.startswith("results of r2r-ce@1 and rxr-ce-challenge@1 cannot be compared: ")
    assert "body.sliding is True and False" in message and "cameras.depth.max_depth is 10.0 and 5.0" in message
    assert "max_steps" not in message


def test_a_protocol_is_comparable_with_what_a_file_keeps_of_it() -> None:
    for name in list_protocols():
        terms = get_protocol(name).terms
        require_comparable(terms, Terms(terms.label, json.loads(json.dumps(terms.fields))))
        assert replace(get_protocol(name)).fingerprint == get_protocol(name).fingerprint


def test_fingerprints_are_distinct_and_stay_the_same() -> None:
    marks = {name: get_protocol(name).fingerprint for name in list_protocols()}
    assert len(set(marks.values())) == len(marks)
    # A change here changes what published numbers mean: raise the version of the protocol with it.
    assert marks == GOLDEN


def test_variants_say_what_they_are() -> None:
    houses = get_protocol("houses")
    assert houses.with_resolution(128).label == "houses@1+rgb128"
    assert houses.with_resolution(128, 96).label == "houses@1+rgb128x96"
    assert houses.with_depth().label == "houses@1+rgb224-depth224"
    assert houses.with_depth().with_resolution(64).label == "houses@1+rgb64-depth64"
    assert houses.with_success_distance(1.0).label == "houses@1+success1m"
    assert houses.with_success_distance(1.0).with_resolution(64).label == "houses@1+rgb64+success1m"
    english = get_protocol("rxr-ce-english")
    tilting = replace(english.body, tilt=math.radians(15))
    assert english.with_body(tilting, "tilt15").label == "rxr-ce-english@1+tilt15"


def test_a_panorama_is_labelled_by_its_number_of_views() -> None:
    views = [Camera(name=f"view_{i}", yaw=i * math.pi / 6) for i in range(12)]
    panorama = get_protocol("r2r-ce").with_cameras(views)
    assert panorama.label == "r2r-ce@1+12rgb224" and panorama.cameras == tuple(views)


def test_the_order_of_changes_does_not_matter_and_the_last_word_holds() -> None:
    houses = get_protocol("houses")
    one = houses.with_resolution(32).with_success_distance(1.0).with_resolution(64)
    other = houses.with_resolution(64).with_success_distance(1.0)
    assert one == other and one.fingerprint == other.fingerprint


def test_what_changes_nothing_is_no_variant() -> None:
    houses = get_protocol("houses")
    assert houses.with_resolution(224) == houses
    assert houses.with_success_distance(3.0) == houses
    assert houses.with_cameras(houses.cameras) == houses


def test_what_is_changed_back_is_the_protocol_again() -> None:
    houses = get_protocol("houses")
    assert houses.with_resolution(64).with_resolution(224) == houses
    assert houses.with_success_distance(1.0).with_success_distance(3.0).label == "houses@1"


def test_depth_stands_where_the_first_camera_is() -> None:
    rgb, depth = get_protocol("houses").with_depth(0.5, 5.0).cameras
    assert depth == replace(rgb, name="depth", kind="depth", min_depth=0.5, max_depth=5.0)
    assert get_protocol("r2r-ce").with_depth() == get_protocol("r2r-ce")


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=re.escape("unknown protocol 'r2r_ce'; did you mean 'r2r-ce'")):
        get_protocol("r2r_ce")


def test_a_name_is_not_registered_twice() -> None:
    with pytest.raises(ValueError, match="'houses' is registered twice"):
        register_protocol(Protocol(name="houses"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_steps": 0}, "max_steps is 0, expected at least 1"),
        ({"success_distance": 0.0}, "success_distance is 0.0"),
        ({"success_distance": math.nan}, "success_distance is nan"),
        ({"ndtw_reference": "path"}, "ndtw_reference is 'path'; use locations or reference_path"),
        ({"cameras": (Camera(name="a"), Camera(name="a"))}, r"cameras are named \['a', 'a'\]"),
    ],
)
def test_fields_out_of_range_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Protocol(name="odd", **values)


def test_a_resolution_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="resolution is 0 x 64"):
        get_protocol("houses").with_resolution(0, 64)
    with pytest.raises(ValueError, match="no camera to put depth beside"):
        Protocol(name="blind").with_depth()
