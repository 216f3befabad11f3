"""Agents in stable-baselines3: environments that give percepts, rollouts of whole walks, and PPO for policies that remember.

A policy with a memory must see a walk from its first step to say how likely an action was. So every rollout begins with new walks,
the buffer hands walks out whole, and each optimiser step runs the policy over them as imitation does. Frames are encoded when they
are seen, and never again.
"""

try:
    import stable_baselines3  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "stable_baselines3":  # it is there, and lacks something itself
        raise
    raise ValueError(
        "reinforcement is done by stable-baselines3, which is not installed: pip install -e '.[rl]' in navloop's source folder"
    ) from error
