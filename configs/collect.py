"""What a recipe of `navloop collect` may say: who walks which episodes, who may interfere, and how the walks are stored."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from navloop.configs.imitation import EpisodesConfig
from navloop.configs.schema import NAME, Config, EvalConfig, WorldConfig


class ActingConfig(Config):
    """Who acts on a walk. The expert's word is recorded at every step, whoever acts."""

    beta: float = Field(default=0.0, ge=0, le=1, description="Probability that the expert acts, at each step anew.")
    off_path: float | None = Field(
        default=None,
        gt=0,
        description="Metres from the reference path at which the expert takes over, until it is on it again; null: never.",
    )
    early_stop: bool = Field(
        default=False, description="Let the expert act where the agent would stop and the expert would not."
    )
    late_stop: int | None = Field(
        default=None,
        ge=0,
        description="Let the expert stop the walk after the agent has passed over so many stops of the expert's; null: never.",
    )
    max_steps: int | None = Field(
        default=None, ge=1, description="Actions after which a walk is cut off; null: the protocol's own."
    )
    stop_within: float | None = Field(
        default=None,
        gt=0,
        description="Metres from the goal, walked, at which the expert stops; null: the length of a step.",
    )


class CollectConfig(WorldConfig):
    """A store of walks: an agent on the episodes of a file, recorded with the expert's word at every step."""

    RESUMABLE: ClassVar[tuple[str, ...]] = (
        "name",
        "scenes",
        "episodes",
        "agent",
        "never",
        "scene_dataset_config",
        "gpu_devices",
        "workers",
        "device",
        "cluster",
    )
    # Scenes, episodes and agents may move: their contents are held by fingerprints.

    kind: Literal["collect"] = Field(default="collect", description="Which command the recipe is for.")
    name: str = Field(default="collect", pattern=NAME, description="Folder of the store below data/.")
    seed: int = Field(default=0, ge=0, description="Whatever is drawn on a walk follows from (seed, episode_id) alone.")
    episodes: str = Field(
        min_length=1, description="Episode file (.json.gz) with goals, of a split to train on: others are refused."
    )
    never: tuple[str, ...] = Field(
        default=(), description="Episode files whose scenes must not be walked in: those that agents are measured on."
    )
    protocol: str = Field(default="houses", min_length=1, description="Embodiment and success rule, by name.")
    pixels: int | None = Field(
        default=None, ge=16, multiple_of=2, description="Height and width of the frames; null: the protocol's own."
    )
    depth: bool = Field(default=False, description="Store depth beside colour.")
    agent: str = Field(
        default="expert",
        min_length=1,
        description="Who walks: a registered name, or the folder of a saved agent or of its training; 'NAME=' before it names it. "
        "expert is the expert itself.",
    )
    temperature: float = Field(
        default=0.0, ge=0, description="Saved agents draw from the softmax at this; 0 takes the likeliest action."
    )
    acting: ActingConfig = Field(default=ActingConfig(), description="Who else acts.")
    source: str = Field(default="tours", pattern=NAME, description="What the walks come of, as the store tells it.")
    round: int | None = Field(default=None, ge=0, description="Round of the loop, as the store tells it; null: none.")
    max_episodes: int | None = Field(
        default=None,
        ge=1,
        description="Take this many episodes, drawn with the seed, evenly over scenes; null takes all.",
    )
    wordings: Literal["all", "one"] = Field(
        default="one", description="Walk every wording of a tour, or one of them, drawn with the seed."
    )
    fps: int = Field(default=4, ge=1, le=60, description="Actions a second that films are played at.")
    gop: int = Field(default=2, ge=1, le=600, description="A key frame every so many frames of a film.")
    quality: int = Field(
        default=18, ge=0, le=51, description="Constant rate factor of H.264, from 0 (least loss); 18 to 28 are usual."
    )
    part: int = Field(
        default=32, ge=1, description="Episodes of one scene that a process is given at a time, and walks side by side."
    )
    lanes: int = Field(
        default=16, ge=1, le=1024, description="Environments that a process walks at once, in one batch."
    )
    workers: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Processes that walk; 0 takes one a processor, of the cluster if there is one.",
    )
    cluster: str | None = Field(
        default=None,
        min_length=1,
        description="Ray cluster whose machines walk: auto, an address, or local for one of this machine; all have to see the same files at "
        "the same paths. null: processes of this machine, without Ray.",
    )
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="What an agent's weights are on: cpu, cuda, cuda:1, ...; auto: the GPUs in turn where there are any.",
    )

    def ground(self, place: int = 0) -> EpisodesConfig:
        """Where a worker walks, by its place."""
        return EpisodesConfig(
            scenes=self.scenes,
            train=self.episodes,
            world=self.world,
            scene_dataset_config=self.scene_dataset_config,
            gpu_device=self.gpu_devices[place % len(self.gpu_devices)],
            protocol=self.protocol,
            pixels=self.pixels,
        )

    def entry(self) -> EvalConfig:
        """The same as a benchmark has it, which finds agents and episodes."""
        return EvalConfig(
            seed=self.seed,
            world=self.world,
            scene_dataset_config=self.scene_dataset_config,
            gpu_devices=self.gpu_devices,
            scenes=self.scenes,
            episodes=self.episodes,
            protocol=self.protocol,
            pixels=self.pixels,
            depth=self.depth,
            agents=(self.agent,),
            max_episodes=self.max_episodes,
            lanes=min(self.lanes, 256),
            temperature=self.temperature,
            device=self.device,
        )
