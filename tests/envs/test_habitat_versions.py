"""Habitat where it is not, or not as it should be: every case has one message that says what to do."""

import importlib.util
import os
import subprocess
import sys

import pytest

from navloop.configs.schema import EvalConfig
from navloop.envs.habitat import egl
from navloop.envs.habitat.versions import HabitatMissing, Installation, find_habitat, require_matching, sensor_group
from navloop.envs.protocols import get_protocol
from navloop.envs.worlds import create_simulator, require_world

absent = pytest.mark.skipif(importlib.util.find_spec("habitat_sim") is not None, reason="habitat-sim is installed here")


@absent
def test_asking_for_habitat_says_how_to_install_it(houses):
    for ask in (
        find_habitat,
        lambda: require_world("habitat"),
        lambda: create_simulator("habitat", houses, get_protocol("houses")),
    ):
        with pytest.raises(HabitatMissing) as refusal:
            ask()
        message = str(refusal.value)
        assert (
            "habitat-sim" in message and "conda install" in message and "--no-deps" in message and "opencv" in message
        )
        assert 'world="embedded"' in message


@absent
def test_an_evaluation_in_habitat_is_refused_before_any_worker_starts(houses, val_unseen, tmp_path):
    from navloop.training.evaluation import evaluate

    config = EvalConfig(
        world="habitat", scenes=str(houses / "scenes"), episodes=str(val_unseen), protocol="houses", agents=("expert",)
    )
    with pytest.raises(HabitatMissing, match="conda install"):
        evaluate(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_importing_every_habitat_module_that_the_rest_needs_loads_no_habitat():
    code = (
        "import sys, navloop.envs.worlds, navloop.envs.habitat.simulator, navloop.envs.habitat.tasks, navloop.envs.habitat.composition\n"
        "assert not {'habitat', 'habitat_sim', 'gym', 'cv2', 'magnum'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_habitat_lab_imports_and_lacks_is_named(monkeypatch):
    there = importlib.util.find_spec("json")
    lacking = ("hydra", "numba")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in lacking else there)
    with pytest.raises(HabitatMissing, match=r"without what it imports: hydra, numba\. Install"):
        find_habitat.__wrapped__()


def test_versions_that_do_not_go_together_are_refused(caplog):
    require_matching(Installation("0.3.3.2026.05.06", "0.3.3", "sensor_setups"))
    assert not caplog.records
    with pytest.raises(
        HabitatMissing, match=r"habitat-sim 0\.2\.5 and habitat-lab 0\.3\.3 do not go together; install the same"
    ):
        require_matching(Installation("0.2.5", "0.3.3", "sensor_setups"))
    require_matching(Installation("0.3.2", "0.3.3", "sensor_setups"))
    assert "differ in their third number" in caplog.text


@pytest.mark.parametrize("group", ["sensor_setups", "agents"])
def test_the_group_of_camera_sets_is_found_by_its_name_in_that_version(tmp_path, group):
    folder = tmp_path / "config" / "habitat" / "simulator"
    (folder / "agents").mkdir(parents=True)
    (folder / "agents" / "fetch.yaml").touch()  # 0.3 has a group of that name too, for robots
    with pytest.raises(HabitatMissing, match="no configuration group of camera sets"):
        sensor_group(tmp_path)
    (folder / group).mkdir(exist_ok=True)
    (folder / group / "rgbd_agent.yaml").touch()
    assert sensor_group(tmp_path) == group


def test_egl_without_a_driver_is_explained():
    environment = {**os.environ, "__EGL_VENDOR_LIBRARY_FILENAMES": "/nowhere.json"}
    code = "from navloop.envs.habitat.egl import require_device; require_device(-1)"
    told = subprocess.run([sys.executable, "-c", code], check=False, env=environment, capture_output=True, text=True)
    assert told.returncode == 1 and "NoDisplay" in told.stderr
    assert "no EGL library" in told.stderr or "/nowhere.json" in told.stderr
    assert "Mesa" in told.stderr and "gpu_device -1" in told.stderr


def test_a_gpu_that_is_not_there_is_named_with_those_that_are():
    try:
        devices = egl.list_devices()
    except egl.NoDisplay:
        pytest.skip("no EGL library here")
    if not devices:
        pytest.skip("EGL lists no devices here")
    egl.require_device(-1)
    with pytest.raises(egl.NoDisplay, match=rf"gpu_device is 99, but of EGL's {len(devices)} devices there are"):
        egl.require_device(99)
