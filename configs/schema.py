"""What a recipe may say. Every field has a type, a range and a unit; `load` in `navloop.configs.loader` checks them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Config(BaseModel):
    """Base of all recipes: frozen, and strict about unknown keys and types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class HousesConfig(Config):
    """A data set of generated houses and the tours through them."""

    name: str = Field(
        "houses", pattern=r"^[A-Za-z0-9_-]+$", description="Folder of the scenes and prefix of scene ids."
    )
    seed: int = Field(0, ge=0, description="House i of a split is drawn from (seed, split, i) alone.")
    train_houses: int = Field(20, ge=0)
    val_unseen_houses: int = Field(5, ge=0)
    extra_houses: int = Field(0, ge=0, description="Further houses, without episodes.")
    train_tours: int = Field(60, ge=0, description="Tours a train house.")
    val_seen_tours: int = Field(6, ge=0, description="Held-out tours a train house.")
    val_unseen_tours: int = Field(40, ge=0, description="Tours a val_unseen house.")
    instructions_per_tour: int = Field(3, ge=1, le=8, description="Independent wordings of one walk, as in R2R.")
