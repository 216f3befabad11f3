"""What a speaker's recipe comes to: tours with their wordings, those recorded besides, and those that it is measured on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from navloop.agent.saving import load_agent
from navloop.agent.speaker_saving import load_speaker
from navloop.configs.agents import AgentConfig, PolicyConfig
from navloop.configs.speaker import RecordedConfig, SpeakerTrainConfig
from navloop.envs.episodes import read_episodes
from navloop.files import fingerprint
from navloop.records import Episode, Tour
from navloop.training.courses import Course
from navloop.training.evaluation import select_episodes
from navloop.training.spoken_walks import Texts
from navloop.training.tours import by_tour
from navloop.training.walks import WalkFolder


class ToldCourse(Course):
    """The tours of a recipe, each with its wordings.

    Args:
        config: Names them.

    Attributes:
        speaker: What a new speaker is made from.
        watcher: Who walks beside the expert and sees; its policy is never asked.
        recorded: Walks that are there already, with their wordings.

    Raises:
        ValueError: As `Course`; if recorded walks are not there, or in houses of `val_unseen`.
    """

    def __init__(self, config: SpeakerTrainConfig) -> None:
        self.speaker = config.speaker
        if config.eyes is not None:
            perception = load_agent(config.eyes).perception.config
        elif config.start is not None:
            started = load_speaker(config.start)
            perception, self.speaker = started.perception.config, started.config
        else:
            perception = config.speaker.perception
        policy = PolicyConfig(turn_deg=self.speaker.narrator.turn_deg)
        self.watcher = AgentConfig(perception=perception, policy=policy)
        super().__init__(config.model_copy(update={"evaluate": 10**9 if config.evaluate else 0}), self.watcher)
        self.config: SpeakerTrainConfig = config
        self.recorded = [self._recorded(one) for one in config.recorded]

    def tours(self, split: str) -> list[Episode]:
        """Return an episode of each tour of a split; of validation splits, as many as are measured."""
        episodes = self.episodes if split == "train" else self.validation[split]
        firsts = list({e.tour: e for e in reversed(episodes)}.values())[::-1]
        if split == "train":
            return firsts
        return select_episodes(firsts, self.config.evaluate, self.config.seed)

    def _recorded(self, recorded: RecordedConfig) -> tuple[WalkFolder, Texts]:
        """Return walks that are there already, with what is said of them."""
        folder, file = WalkFolder(Path(recorded.walks)), read_episodes(Path(recorded.episodes), None)
        if not folder.parts:
            raise ValueError(f"{folder.path}: holds no walks; name a folder that does, or leave it out of recorded")
        self.refuse_unseen((episode.scene_id for episode in file.episodes), recorded.episodes)
        self.fingerprints[f"recorded.{recorded.episodes}"] = file.fingerprint
        self.fingerprints[f"recorded.{recorded.walks}"] = fingerprint(folder.index)
        return folder, texts_of(file.episodes)

    def texts(self, split: str) -> Texts:
        """Return the wordings of each tour of a split."""
        return texts_of(self.episodes if split == "train" else self.validation[split])


def texts_of(episodes: Sequence[Episode]) -> dict[Tour, list[str]]:
    """Return the wordings of each tour."""
    return {tour: [episode.instruction.text for episode in told] for tour, told in by_tour(episodes).items()}
