"""Which habitat-sim and habitat-lab are installed, whether they belong together, and what to do where they are not."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import os
import runpy
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path

INSTALL = """Install the simulator with conda and the rest with pip:
    conda install -c aihabitat-nightly -c conda-forge habitat-sim headless
    git clone https://github.com/facebookresearch/habitat-lab
    pip install --no-deps ./habitat-lab/habitat-lab
    pip install "gym>=0.22,<0.23.1" "opencv-python-headless<5" hydra-core attrs numba numpy-quaternion imageio imageio-ffmpeg tqdm
(a release of one goes with the same release of the other: habitat-sim 0.3.3 with habitat-lab v0.3.3; --no-deps because habitat-lab
pins a numpy that today's habitat-sim refuses). Or stay with world="embedded", which needs none of it."""

NEEDED = ("gym", "hydra", "cv2", "numba", "quaternion", "imageio", "attr", "tqdm")
"""Modules that habitat-lab imports, and that `pip install --no-deps` leaves out."""

_log = logging.getLogger(__name__)


class HabitatMissing(ValueError):
    """Habitat was asked for and is not installed, or only in part, or in versions that do not go together."""


@dataclass(frozen=True, slots=True)
class Installation:
    """What was found.

    Attributes:
        sim: Version of habitat-sim, such as "0.3.3" or "0.3.3.2026.05.06".
        lab: Version of habitat-lab.
        sensor_group: Name of habitat-lab's configuration group of camera sets: "sensor_setups" (0.3), "agents" (0.2).
    """

    sim: str
    lab: str
    sensor_group: str

    @property
    def words(self) -> str:
        """Both versions, as results name them."""
        return f"habitat-sim {self.sim}, habitat-lab {self.lab}"


@cache
def find_habitat() -> Installation:
    """Return what is installed, without importing it: nothing touches a GPU or reads a scene here.

    Raises:
        HabitatMissing: If habitat-sim or habitat-lab is missing, or their versions differ in the first two numbers.
    """
    found = {"habitat-sim": importlib.util.find_spec("habitat_sim"), "habitat-lab": importlib.util.find_spec("habitat")}
    missing = [name for name, spec in found.items() if spec is None or spec.origin is None]
    if missing:
        raise HabitatMissing(f'world "habitat" needs {" and ".join(missing)}, not installed here. {INSTALL}')
    if lacking := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise HabitatMissing(f"habitat-lab is installed without what it imports: {', '.join(lacking)}. {INSTALL}")
    os.environ.setdefault("MAGNUM_LOG", "quiet")  # habitat-sim reads both when it is imported
    os.environ.setdefault("HABITAT_SIM_LOG", "quiet")
    lab = _lab_folder(found["habitat-lab"])
    installation = Installation(_version("habitat-sim", "habitat_sim"), _lab_version(lab), sensor_group(lab))
    require_matching(installation)
    return installation


def require_matching(installation: Installation) -> None:
    """Refuse versions that do not go together, and warn where only the third number differs.

    Raises:
        HabitatMissing: If the first two numbers differ.
    """
    sim, lab = (version.split(".") for version in (installation.sim, installation.lab))
    pair = f"habitat-sim {installation.sim} and habitat-lab {installation.lab}"
    if sim[:2] != lab[:2]:
        raise HabitatMissing(f"{pair} do not go together; install the same release of both. {INSTALL}")
    if sim[2:3] != lab[2:3]:
        _log.warning("%s differ in their third number; if a call fails, install the same release of both", pair)


def sensor_group(lab: Path) -> str:
    """Return the name of the configuration group of camera sets in a habitat-lab.

    Args:
        lab: Folder of the package `habitat`.

    Raises:
        HabitatMissing: If it has neither name.
    """
    groups = lab / "config" / "habitat" / "simulator"
    for name in ("sensor_setups", "agents"):
        if (groups / name / "rgbd_agent.yaml").is_file():
            return name
    raise HabitatMissing(
        f"{groups}: has no configuration group of camera sets (sensor_setups or agents); habitat-lab 0.2.4 or newer is needed"
    )


def _lab_folder(spec: ModuleSpec | None) -> Path:
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent


def _lab_version(lab: Path) -> str:
    """The package's own word counts: a checkout on the path has no metadata."""
    return str(runpy.run_path(str(lab / "version.py"))["VERSION"])


def _version(distribution: str, module: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return str(importlib.import_module(module).__version__)
