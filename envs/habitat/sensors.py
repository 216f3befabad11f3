"""habitat-lab's camera of object ids with a space that NumPy 2 can make. Importing this needs habitat-lab."""

from __future__ import annotations

from typing import Any

import numpy as np
from gym import spaces
from habitat.core.registry import registry
from habitat.sims.habitat_simulator.habitat_simulator import HabitatSimSemanticSensor


@registry.register_sensor(name="NavloopSemanticSensor")
class NavloopSemanticSensor(HabitatSimSemanticSensor):  # type: ignore[misc]
    """Object ids, int32 (H, W, 1).

    habitat-lab's own declares them int32 up to 2**32 - 1, which NumPy 1 wraps around in silence and NumPy 2 refuses.
    """

    def _get_observation_space(self, *args: Any, **kwargs: Any) -> spaces.Box:
        size = (self.config.height, self.config.width, 1)
        return spaces.Box(0, np.iinfo(np.int32).max, size, np.int32)
