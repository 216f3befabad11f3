"""What the tests of collections share: a recipe of seconds, and what of a store does not tell how it was made."""

from __future__ import annotations

from navloop.configs.collect import CollectConfig


def collecting(houses, **fields) -> CollectConfig:
    base = {
        "scenes": str(houses / "scenes"),
        "episodes": str(houses / "episodes" / "train" / "train.json.gz"),
        "never": (str(houses / "episodes" / "val_unseen" / "val_unseen.json.gz"),),
        "pixels": 32,
        "agent": "random",
        "acting": {"beta": 0.5, "max_steps": 30},
        "max_episodes": 6,
        "part": 2,
        "lanes": 2,
        "workers": 1,
        "device": "cpu",
    }
    return CollectConfig.model_validate(base | fields)


def files_of(folder):
    """What does not tell of workers and starts."""
    own = (".", "config.yaml", "provenance.json")
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(own)
    }
