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
