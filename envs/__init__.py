"""The world: episodes, protocols, metrics, simulators and gymnasium environments. No torch.

`gymnasium.make("navloop.envs:navloop/Houses-v0")` finds the ids without a further import.
"""

import gymnasium

for _name, _entry in {"navloop/VLN-v0": "make_vln", "navloop/Houses-v0": "make_houses"}.items():
    if _name not in gymnasium.registry:
        gymnasium.register(_name, entry_point=f"navloop.envs.worlds:{_entry}")
