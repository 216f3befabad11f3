"""Where a round's walks come from: labelled tours, new ground, walks of the agent alone, and the expert's for the control."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from navloop.configs.collect import ActingConfig, CollectConfig
from navloop.configs.imitation import EpisodesConfig
from navloop.configs.loop import FreeConfig, GroundConfig, ToursConfig
from navloop.provenance import usable_processors
from navloop.records import Episode
from navloop.training.loop.tours import LabelledTours, write_tours
from navloop.training.new_ground import draw_ground
from navloop.training.recorder import record_walks
from navloop.training.recording import EXPERT
from navloop.training.steps import draw_seed
from navloop.training.unseen import scenes_of

STORE, EPISODES = "store", "train.json.gz"
"""What a source leaves in its folder: the walks, and the episodes that they were to be."""

DESCRIBED = ("ground", "free")
"""Sources whose walks the speaker describes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Makes the walks of rounds.

    Attributes:
        episodes: World, protocol and data set.
        tours: The labelled ones.
        seed: Of the loop.
        workers: Processes; 0 takes one a processor.
        lanes: Environments a process.
        stop_within: Metres from a labelled goal at which the expert stops, as those do that the agents learn from; None: a step.
        device: Of the agent's weights.
        console: Where to show the progress.
    """

    episodes: EpisodesConfig
    tours: LabelledTours
    seed: int
    workers: int
    lanes: int
    stop_within: float | None
    device: str
    console: Console

    def walk_tours(self, folder: Path, number: int, agent: Path, config: ToursConfig) -> dict[str, Any]:
        """Let the agent walk labelled tours; an expert says at every place what it would do, and acts now and then."""
        acting = self._corrected(config)
        return self._record(
            folder, self.tours.for_round(number, config.count), number, f"agent={agent}", acting, "tours"
        )

    def walk_ground(self, folder: Path, number: int, config: GroundConfig) -> dict[str, Any]:
        """Draw ways through houses that nobody has described, and let the expert walk them."""
        never = scenes_of(*self.never, self.episodes.train)
        drawn = draw_ground(
            Path(self.episodes.scenes),
            config.count,
            self._draw(number, "ground"),
            config.lengths,
            never=never,
            workers=self.workers or usable_processors(),
        )
        return self._record(folder, drawn, number, EXPERT, ActingConfig(), "ground")

    def walk_free(self, folder: Path, number: int, agent: Path, config: FreeConfig) -> dict[str, Any]:
        """Let the agent walk alone."""
        chosen = self.tours.for_free(number, config.count)
        acting = ActingConfig(max_steps=config.max_steps)
        return self._record(folder, chosen, number, f"agent={agent}", acting, "free")

    def walk_described(
        self, folder: Path, number: int, agent: Path, episodes: Sequence[Episode], config: ToursConfig
    ) -> dict[str, Any]:
        """Let the agent walk what the speaker described, corrected by an expert."""
        acting = self._corrected(config)
        return self._record(folder, episodes, number, f"agent={agent}", acting, "corrected")

    def walk_expert(self, folder: Path, number: int, tours: int, frames: int) -> dict[str, Any]:
        """Let the expert walk labelled tours of so many frames together."""
        chosen = self.tours.for_expert(number, tours, frames, self.stop_within)
        acting = ActingConfig(stop_within=self.stop_within)
        return self._record(folder, chosen, number, EXPERT, acting, "expert")

    @property
    def never(self) -> tuple[str, ...]:
        """Episode files whose scenes must not be walked in."""
        return () if self.episodes.val_unseen is None else (self.episodes.val_unseen,)

    def _corrected(self, config: ToursConfig) -> ActingConfig:
        return ActingConfig(
            beta=config.beta,
            off_path=config.off_path,
            early_stop=config.early_stop,
            late_stop=config.late_stop,
            max_steps=config.max_steps,
            stop_within=self.stop_within,
        )

    def _record(
        self, folder: Path, episodes: Sequence[Episode], number: int, agent: str, acting: ActingConfig, source: str
    ) -> dict[str, Any]:
        where = self.episodes
        config = CollectConfig(
            name=source,
            seed=self._draw(number, source),
            world=where.world,
            scene_dataset_config=where.scene_dataset_config,
            gpu_devices=(where.gpu_device,),
            scenes=where.scenes,
            episodes=str(write_tours(folder / EPISODES, episodes)),
            never=self.never,
            protocol=where.protocol,
            pixels=where.pixels,
            agent=agent,
            acting=acting,
            source=source,
            round=number,
            wordings="all",
            lanes=self.lanes,
            workers=self.workers,
            device=self.device,
        )
        found = record_walks(config, folder / STORE, self.console)
        return {"walks": found.walks, "frames": found.frames, "success": found.success}

    def _draw(self, number: int, purpose: str) -> int:
        return draw_seed(self.seed, number, zlib.crc32(purpose.encode()))
