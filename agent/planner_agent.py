"""The agent that plans: it looks all around, finds where it can walk, chooses a place or to stop, and walks there step by step."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from navloop.agent.policies.planner import Planner
from navloop.agent.policies.planner_tokens import PanoramaFeatures, action_angles, observe
from navloop.agent.policies.words import Vocabulary
from navloop.agent.waypoints import Candidates, DepthGrid, WaypointPredictor, choose_candidates
from navloop.configs.planner import PlannerAgentConfig
from navloop.encoders.encoder import VideoEncoder
from navloop.encoders.panorama import encode_panorama
from navloop.envs.glancing import GlancingEnv
from navloop.envs.navigation import NavigationEnv, Observation
from navloop.envs.panorama import view_names
from navloop.envs.simulator import Action
from navloop.envs.waypoints import low_level_actions


class PlannerAgent:
    """An `Agent` and a `BatchAgent` under a protocol with panoramas of "rgb" and "depth", such as "houses+pano12" with depth.

    Each view has its own clip of the last frames, of every step taken, as the encoder needs them; at the start the first frame stands for
    those before it. A decision is made when the one before is carried out. Turns are steps of the body, and are counted.

    Args:
        config: What the parts were made from; it is saved with them.
        encoder: Of the views' clips; frozen, and from then on it sees frames whole.
        eyes: Of the views' depth.
        predictor: Of where one can walk.
        planner: Of what to choose.
        reader: Of instructions; its words and one more, which begins each instruction, must be the planner's vocabulary.
        protocol: Label of the protocol that it was trained under; empty if it was not.
        temperature: Of the softmax that decisions are drawn from; 0 takes the likeliest.

    Attributes:
        scores: Of the last decisions, float32 (B, C + 1), the last one's to stop; None before the first.
        candidates: Of the last decisions; None before the first.

    Raises:
        ValueError: If the parts do not fit one another.
    """

    scores: Tensor | None = None
    candidates: Candidates | None = None

    def __init__(
        self,
        config: PlannerAgentConfig,
        encoder: VideoEncoder,
        eyes: DepthGrid,
        predictor: WaypointPredictor,
        planner: Planner,
        reader: Vocabulary,
        *,
        protocol: str = "",
        temperature: float = 0.0,
    ) -> None:
        if temperature < 0:
            raise ValueError(f"temperature is {temperature}; it is 0 for the likeliest decision, or above")
        if len(reader) + 1 != config.planner.vocabulary:
            raise ValueError(
                f"planner.vocabulary is {config.planner.vocabulary}, but {len(reader) + 1} ids are read; make them equal"
            )
        self.config, self.encoder, self.eyes, self.predictor = config, encoder, eyes, predictor
        self.planner, self.reader, self.protocol, self.temperature = planner, reader, protocol, temperature
        encoder.requires_grad_(False).eval().see_whole()
        self._places: list[Place] = []

    @property
    def looks_at(self) -> frozenset[str]:
        """Names of the cameras whose frames it uses."""
        return frozenset((*view_names("rgb"), *view_names("depth")))

    @property
    def device(self) -> torch.device:
        """Where its parts are."""
        return self.encoder.device

    def to(self, device: torch.device | str) -> PlannerAgent:
        """Move the parts to a device; return the agent itself."""
        for part in (self.encoder, self.eyes, self.predictor, self.planner):
            part.to(device)
        return self

    def eval(self) -> PlannerAgent:
        """Put all parts in eval mode, as for acting; return the agent itself."""
        for part in (self.encoder, self.eyes, self.predictor, self.planner):
            part.eval()
        return self

    def reset(self, env: NavigationEnv, seed: int) -> None:
        """Start an episode in the one environment."""
        self.start(1)
        self.restart(0, env, seed)

    def act(self, observation: Observation, info: dict[str, Any]) -> int:
        """Return the action for the newest observation of the one environment."""
        return self.act_all([0], [observation], [info])[0]

    def start(self, environments: int) -> None:
        """Make room for E environments; every place must be restarted before it acts."""
        self._places = [Place() for _ in range(environments)]

    def restart(self, place: int, env: NavigationEnv, seed: int) -> None:
        """Start an episode at a place; its instruction is that of its next observation.

        A `GlancingEnv` draws from then on what the next decision will be made from, and no other frames: nobody may override it.
        """
        self._places[place].restart(env, np.random.default_rng(seed), self.encoder.num_frames)
        if isinstance(env, GlancingEnv):
            env.attends = self._places[place].attends

    def act_all(
        self, places: Sequence[int], observations: Sequence[Observation], infos: Sequence[dict[str, Any]]
    ) -> list[int]:
        """Return an action for each of these places, given their newest observations, in the same order.

        Raises:
            ValueError: If a place is not restarted.
        """
        for number, place in enumerate(self._places):
            if number not in places:
                place.walks = False
            elif not place.walks:
                raise ValueError(f"place {number} has no walk; call restart({number}, env, seed) after its env.reset()")
        for number, observation in zip(places, observations, strict=True):
            self._places[number].see(observation)
        undecided = [number for number in places if not self._places[number].plan]
        if undecided:
            newest = dict(zip(places, observations, strict=True))
            self._decide([self._places[number] for number in undecided], [newest[number] for number in undecided])
        return [int(self._places[number].plan.popleft()) for number in places]

    def override(self, place: int, action: int) -> None:
        """Say that a place takes another action than the last `act_all` chose for it: its plan is void, it decides anew."""
        self._places[place].plan.clear()

    @torch.no_grad()
    def _decide(self, places: list[Place], observations: list[Observation]) -> None:
        """Give each place its plan."""
        self.eval()
        new = [place for place in places if not place.history]
        if new:
            self._read(new, [o["instruction"] for p, o in zip(places, observations, strict=True) if not p.history])
        depth = np.stack([np.stack([o[name][..., 0] for name in view_names("depth")]) for o in observations])
        grids = self.eyes(torch.from_numpy(depth).to(self.device))  # (B, 12, channels, 4, 4)
        heat = self.predictor.heat(grids)
        candidates = choose_candidates(heat, self.config.candidates, self.config.least)
        seen = PanoramaFeatures(self._encode(places), grids.mean((-1, -2)))
        scores = self._score(places, seen, candidates)[:, : candidates.valid.shape[1] + 1]
        chosen = self.choose(places, seen, candidates, scores)
        steps = torch.tensor([len(place.history) - 1 for place in places], device=self.device)
        last = self.planner.config.max_decisions - 1
        tokens = self.planner.remember(seen, action_angles(candidates, chosen), steps.clamp_max(last))
        for row, (place, index) in enumerate(zip(places, chosen, strict=True)):
            stops = index == candidates.valid.shape[1] or len(place.history) > last
            angle, distance = (
                (0.0, 0.0) if stops else (float(candidates.angles[row, index]), float(candidates.distances[row, index]))
            )
            place.go(angle, distance, stops)
            place.history.append(tokens[row])
        self.scores, self.candidates = scores.float(), candidates

    def choose(self, places: list[Place], seen: PanoramaFeatures, candidates: Candidates, scores: Tensor) -> list[int]:
        """Return which candidate each place goes to; their number stands for stopping."""
        rows = scores.double().cpu()
        return [place.choose(row, self.temperature) for place, row in zip(places, rows, strict=True)]

    def ids_of(self, texts: Sequence[str]) -> Tensor:
        """Return texts as the planner reads them, int64 (B, L), padded with 0, on the CPU."""
        ids = self.reader.read(texts).ids[:, : self.planner.config.max_words - 1]
        return torch.cat((torch.full((len(ids), 1), len(self.reader)), ids), 1)

    def _read(self, places: list[Place], texts: list[str]) -> None:
        ids = self.ids_of(texts).to(self.device)
        words = self.planner.read(ids)
        first = self.planner.history.begin(len(ids))
        for row, place in enumerate(places):
            place.ids, place.words = ids[row, ids[row] != 0], words[row, ids[row] != 0]
            place.history = [first[row]]

    def _encode(self, places: list[Place]) -> Tensor:
        """Return the views' features, (B, 12, F)."""
        clips = np.stack([np.stack(list(place.frames), 1) for place in places])  # (B, 12, T, H, W, 3)
        return encode_panorama(self.encoder, clips)

    def _score(self, places: list[Place], seen: PanoramaFeatures, candidates: Candidates) -> Tensor:
        words, word_there = _padded([place.words for place in places])
        history, history_there = _padded([torch.stack(place.history) for place in places])
        scores: Tensor = self.planner(words, word_there, history, history_there, observe(seen, candidates))
        return scores


class Place:
    """One environment's walk: its environment, the frames it keeps, what it plans and remembers."""

    def __init__(self) -> None:
        self.walks = False

    def restart(self, env: NavigationEnv, rng: np.random.Generator, num_frames: int) -> None:
        """Begin a walk; nothing was seen or decided yet."""
        self.walks, self.env, self.rng = True, env, rng
        self.frames: deque[NDArray[np.uint8]] = deque(maxlen=num_frames)
        self.plan: deque[Action] = deque()
        self.history: list[Tensor] = []
        self.ids = self.words = torch.zeros(0)

    def attends(self) -> bool:
        """Return whether the next decision will be made from what is seen now."""
        return len(self.plan) < (self.frames.maxlen or 1)

    def see(self, observation: Observation) -> None:
        """Keep the newest frame of each view; the first stands for those before it."""
        frame = np.stack([observation[name] for name in view_names("rgb")])
        missing = (self.frames.maxlen or 1) if not self.frames else 1
        self.frames.extend([frame] * missing)

    def choose(self, scores: Tensor, temperature: float) -> int:
        """Return the likeliest of some decisions, or one drawn."""
        values = scores.numpy()
        if temperature == 0:
            return int(values.argmax())
        return int((values / temperature + self.rng.gumbel(size=len(values))).argmax())

    def go(self, angle: float, distance: float, stops: bool) -> None:
        """Plan the turns and steps of a decision."""
        walked = low_level_actions(angle, distance, self.env.protocol.body) or [Action.FORWARD]
        self.plan.extend([Action.STOP] if stops else walked)


def _padded(rows: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return rows (N, D) side by side, (B, max N, D), and where there is one, bool (B, max N)."""
    lengths = torch.tensor([len(row) for row in rows], device=rows[0].device)
    padded = pad_sequence(rows, batch_first=True)
    return padded, torch.arange(padded.shape[1], device=lengths.device) < lengths[:, None]


def create_planner_agent(
    config: PlannerAgentConfig, encoder: VideoEncoder, texts: Sequence[str], *, protocol: str = "", seed: int = 0
) -> PlannerAgent:
    """Return an agent whose predictor and planner have random weights, on the CPU.

    Args:
        config: Of the agent; `planner.vocabulary` and `planner.view_features` are set to what texts and encoder have.
        encoder: Of the views' clips.
        texts: Training instructions, whose words the planner will know.
        protocol: Label of the protocol that it is trained under.
        seed: The weights follow from it.

    Raises:
        ValueError: If the texts have no words.
    """
    reader = Vocabulary.of(texts, max_words=config.planner.max_words - 1)
    if not reader.words:
        raise ValueError("the training instructions have no words to learn; pass their texts")
    planner = config.planner.model_copy(update={"vocabulary": len(reader) + 1, "view_features": feature_width(encoder)})
    config = config.model_copy(update={"planner": planner})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts = make_parts(config)
    return PlannerAgent(config, encoder, *parts, reader, protocol=protocol).eval()


def make_parts(config: PlannerAgentConfig) -> tuple[DepthGrid, WaypointPredictor, Planner]:
    """Return eyes, predictor and planner of a configuration, of random weights."""
    return DepthGrid(config.waypoints.depth_channels), WaypointPredictor(config.waypoints), Planner(config.planner)


@torch.no_grad()
def feature_width(encoder: VideoEncoder) -> int:
    """Return how many numbers an encoder's feature of a clip has."""
    blank = np.zeros((1, 1, encoder.num_frames, 32, 32, 3), np.uint8)
    return encode_panorama(encoder, blank).shape[-1]
