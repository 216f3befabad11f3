"""The world: episodes, protocols, metrics, simulators and gymnasium environments. No torch.

`gymnasium.make("navloop.envs:navloop/Houses-v0")` finds the ids without a further import.
"""

import gymnasium

if "navloop/VLN-v0" not in gymnasium.registry:
    gymnasium.register(
        "navloop/VLN-v0",
        entry_point="navloop.envs.worlds:make_vln",
        vector_entry_point="navloop.envs.vector:make_vln_vector",
    )
    gymnasium.register("navloop/Houses-v0", entry_point="navloop.envs.worlds:make_houses")
    # habitat-lab's own tasks; each takes `config` and `overrides`, and "navloop/Habitat-v0" any configuration of habitat-lab's.
    for _name, _config in {
        "Habitat": "pointnav/pointnav_habitat_test",
        "HabitatPointNav": "pointnav/pointnav_habitat_test",
        "HabitatObjectNav": "objectnav/objectnav_hm3d",
        "HabitatImageNav": "imagenav/imagenav_test",
    }.items():
        gymnasium.register(
            f"navloop/{_name}-v0",
            entry_point="navloop.envs.habitat.tasks:make_task",
            kwargs={"config": f"benchmark/nav/{_config}.yaml"},
        )
