"""Headings, quaternions and walking directions agree with one another and with scipy's rotations."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from navloop.geometry import heading_between, heading_to_quaternion, heading_vector, quaternion_to_heading, wrap_angle

angles = st.floats(-20, 20)


@given(angles)
def test_a_heading_survives_its_quaternion(angle):
    assert math.cos(quaternion_to_heading(heading_to_quaternion(angle)) - angle) == pytest.approx(1)


@given(angles)
def test_the_walking_direction_is_minus_z_turned_by_the_quaternion(angle):
    turned = Rotation.from_quat(heading_to_quaternion(angle)).apply([0, 0, -1])
    np.testing.assert_allclose(heading_vector(angle), turned, atol=1e-9)


@given(angles, st.floats(0.1, 5))
def test_the_heading_between_two_points_is_the_one_walked(angle, length):
    start = np.array([1.0, 0.3, -2.0])
    end = start + length * heading_vector(angle) + [0, 0.7, 0]
    assert math.cos(heading_between(start, end) - angle) == pytest.approx(1)


@given(angles)
def test_wrapped_angles_lie_in_one_turn(angle):
    wrapped = wrap_angle(angle)
    assert -math.pi < wrapped <= math.pi
    assert math.cos(wrapped - angle) == pytest.approx(1)


def test_the_quaternion_of_r2r_ce_is_read_whatever_its_sign_and_tilt():
    assert quaternion_to_heading([0, math.sin(0.5), 0, math.cos(0.5)]) == pytest.approx(1.0)
    assert quaternion_to_heading([0, -math.sin(0.5), 0, -math.cos(0.5)]) == pytest.approx(1.0)
    tilted = (Rotation.from_euler("y", 0.7) * Rotation.from_euler("x", 0.2)).as_quat()
    assert quaternion_to_heading(tilted) == pytest.approx(0.7)


def test_a_quaternion_without_a_heading_is_refused():
    with pytest.raises(ValueError, match="no heading"):
        quaternion_to_heading([0, 0, 0, 0])
    with pytest.raises(ValueError, match="straight up or down"):
        quaternion_to_heading(Rotation.from_euler("x", math.pi / 2).as_quat())
