"""One round of a loop: walks are collected, described, sifted, learned from beside controls, and judged."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from navloop.agent.saving import load_agent
from navloop.configs.imitation import RecordedConfig
from navloop.encoders.multimodal import MultimodalEncoder
from navloop.encoders.zoo import load_encoder
from navloop.envs.episodes import read_episodes
from navloop.provenance import usable_processors
from navloop.training.collection import Crew, Ground
from navloop.training.devices import find_device
from navloop.training.loop.arms import (
    AGENT,
    BEFORE,
    ENCODER,
    EXPERT,
    LOOP,
    OLD,
    WITHOUT,
    Arm,
    Standing,
    learn,
    measure,
    see_again,
)
from navloop.training.loop.descriptions import Describer, read_accounts, recall_kept
from navloop.training.loop.kept import EPISODES, filmed, keep, lay_out, leave_out, recorded, rule_of
from navloop.training.loop.kept import STORE as KEPT
from navloop.training.loop.memory import known_before, remember, why_refused
from navloop.training.loop.plan import Plan
from navloop.training.loop.sources import DESCRIBED, STORE, Sources
from navloop.training.loop.steps import Steps
from navloop.training.loop.verdict import Reach, Seeds, ends_near, gap, judge, reach, to_json
from navloop.training.steps import draw_seed
from navloop.training.store import open_store
from navloop.training.unseen import scenes_of

GAPS = ("spl", "success", "ndtw")
"""Metrics in which arms are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Circle:
    """What every round of a loop needs.

    Attributes:
        plan: Its recipes.
        steps: Does its steps.
        sources: Makes its walks.
        houses: Folder of the data set.
        speaker: Folder of the speaker; None where nothing is described.
        unseen: List of films of validation tours; None where the encoder does not learn.
        console: Where to show the progress.
    """

    plan: Plan
    steps: Steps
    sources: Sources
    houses: Path
    speaker: Path | None
    unseen: Path | None
    console: Console


class Round:
    """A round under way.

    Args:
        circle: Of the loop.
        number: From 1.
        standing: What it begins with.
    """

    def __init__(self, circle: Circle, number: int, standing: Standing) -> None:
        self._circle, self.number, self._standing = circle, number, standing
        self._plan, self._config = circle.plan, circle.plan.config
        self.name = f"round_{number:02d}"
        self._root = circle.steps.folder

    def run(self) -> dict[str, Any]:
        """Do what is left of the round, and return what it came to: "reached", "gaps", "verdict", "described", "kept", ..."""
        collected = self._collect()
        described = self._describe(collected)
        kept = self._correct(self._step("kept", "keep what is good", lambda folder: self._keep(folder, collected)))
        control = self._control(kept)
        arms = self._arms(kept, control)
        eyes = {arm.name: self._see(arm) for arm in arms} if self._plan.eyes is not None else {}
        learned = {
            (arm.name, seed): self._learn(arm, seed, eyes.get(arm.name))
            for arm in arms
            for seed in self._config.arms.seeds
        }
        remembered = self._remember(eyes)
        judged = self._step("verdict", "judge the arms", lambda folder: self._judge(folder, learned, remembered))
        return {
            "round": self.number,
            "collected": collected,
            "described": described,
            "kept": kept,
            "control": control,
            **remembered,
            **judged,
        }

    def standing_after(self, found: Mapping[str, Any]) -> Standing:
        """Return what the next round begins with: where it helped, the loop's agent and data; else what this one began with."""
        if not found["verdict"]["accepted"]:
            return self._standing
        before, kept = self._standing, self._folder("kept")
        sees = self._plan.eyes is not None
        return replace(
            before,
            agent=self._folder(f"{LOOP}_{self._config.arms.seeds[0]}") / AGENT,
            encoder=self._folder(f"encoder_{LOOP}") / ENCODER if sees else before.encoder,
            walks=(*before.walks, *self._new_walks(kept)),
            manifests=(*before.manifests, *self._new_films(kept)) if sees else before.manifests,
            rounds=(*before.rounds, self.number),
            at_first=before.at_first or known_before(found),
        )

    def _collect(self) -> dict[str, dict[str, Any]]:
        sources, config, agent, number = self._circle.sources, self._config.sources, self._standing.agent, self.number
        found: dict[str, dict[str, Any]] = {}
        if (tours := config.tours) is not None:
            words = "walk labelled tours, corrected by an expert"
            found["tours"] = self._step("tours", words, lambda f: sources.walk_tours(f, number, agent, tours))
        if (ground := config.ground) is not None:
            words = "walk new ground, of which no word is said"
            found["ground"] = self._step("ground", words, lambda f: sources.walk_ground(f, number, ground))
        if (free := config.free) is not None:
            words = "let the agent walk alone"
            found["free"] = self._step("free", words, lambda f: sources.walk_free(f, number, agent, free))
        return found

    def _describe(self, collected: Mapping[str, Any]) -> dict[str, Any]:
        if not any(source in collected for source in DESCRIBED):
            return {"sources": {}}
        words = "say where the walks went, follow the words, sift"
        return self._step("described", words, lambda folder: self._tell(folder, collected))

    def _tell(self, folder: Path, collected: Mapping[str, Any]) -> dict[str, Any]:
        assert self._circle.speaker is not None
        sources = self._circle.sources
        perception = load_agent(self._standing.agent).perception
        ground = Ground(sources.episodes, perception.config.depth, sources.lanes, find_device(sources.device))
        encoder = None if self._standing.encoder is None else load_encoder(self._standing.encoder)
        with closing(Crew(ground, sources.workers or usable_processors())) as crew:
            describer = Describer(
                speaker=self._circle.speaker,
                follower=self._standing.agent,
                crew=crew,
                filters=self._config.filters,
                never=scenes_of(*sources.never),
                known=self._known(),
                encoder=encoder if isinstance(encoder, MultimodalEncoder) else None,
                seed=draw_seed(self._config.seed, self.number, 2) % 2**31,
            )
            stores = {source: open_store(self._folder(source) / STORE) for source in DESCRIBED if source in collected}
            return describer.describe(stores, folder)

    def _known(self) -> list[Any]:
        """What accepted rounds kept."""
        known = []
        for number in self._standing.rounds:
            folder = self._root / f"round_{number:02d}"
            stores = {s: folder / s / STORE for s in DESCRIBED if (folder / s / STORE).is_dir()}
            known += recall_kept(folder / "described", stores)
        return known

    def _keep(self, folder: Path, collected: Mapping[str, Any]) -> dict[str, Any]:
        stores = {source: open_store(self._folder(source) / STORE) for source in collected}
        stop_within = self._circle.sources.stop_within
        rule = rule_of(self._config.sources.tours, stop_within)
        accounts = read_accounts(self._folder("described"))
        return keep(stores, accounts, self.number, folder, rule, stop_within)

    def _correct(self, kept: dict[str, Any]) -> dict[str, Any]:
        """Return what was kept with what came of walking its new ground again, if anything."""
        ground = self._config.sources.ground
        if ground is None or not ground.corrected or not kept["sources"]["ground"]["walks"] or "corrected" in kept:
            return kept  # earlier versions walked it when they kept it
        words = "walk kept new ground again, corrected"
        return {**kept, "corrected": self._step("corrected", words, self._walk_kept)}

    def _walk_kept(self, where: Path) -> dict[str, Any]:
        """Let the agent walk the kept new ground, told the speaker's words and corrected by an expert."""
        folder, tours = self._folder("kept"), self._config.sources.tours
        kept = zip(read_episodes(folder / EPISODES).episodes, open_store(folder / KEPT).episodes, strict=True)
        told = [episode for episode, walk in kept if walk.source == "ground"]
        assert tours is not None
        found = self._circle.sources.walk_described(where, self.number, self._standing.agent, told, tours)
        return {**found, "films": lay_out(open_store(where / STORE), where)}

    def _new_walks(self, kept: Path) -> tuple[RecordedConfig, ...]:
        corrected = self._folder("corrected")
        return (recorded(kept), *((recorded(corrected),) if (corrected / STORE).is_dir() else ()))

    def _new_films(self, kept: Path) -> tuple[str, ...]:
        corrected = self._folder("corrected")
        return (*filmed(kept), *(filmed(corrected) if (corrected / STORE).is_dir() else ()))

    def _control(self, kept: Mapping[str, Any]) -> dict[str, Any] | None:
        """Let an expert walk what the control learns from; None where there is no such arm."""
        if not self._config.arms.expert:
            return None
        again = kept.get("corrected", {})
        frames, films = (int(kept.get(name, 0)) + int(again.get(name, 0)) for name in ("frames", "films"))
        words = "let an expert walk as many frames, for the control"
        return self._step("expert", words, lambda where: self._walk_expert(where, frames, films))

    def _arms(self, kept: Mapping[str, Any], control: Mapping[str, Any] | None) -> list[Arm]:
        """Return the arms; of a source that nothing was kept of there is none that leaves it out."""
        standing, config, folder = self._standing, self._config, self._folder("kept")
        new = (*standing.manifests, *self._new_films(folder))
        arms = [Arm(name=LOOP, walks=(*standing.walks, *self._new_walks(folder)), manifests=new)]
        if config.arms.old:
            arms.append(Arm(name=OLD, walks=standing.walks, manifests=standing.manifests))
        if control is not None:
            where = self._folder("expert")
            shown = (*standing.manifests, *filmed(where))
            arms.append(Arm(name=EXPERT, walks=(*standing.walks, recorded(where)), manifests=shown))
        return arms + [self._without(source) for source in config.arms.without if kept["sources"][source]["walks"]]

    def _without(self, source: str) -> Arm:
        """Return the arm that learns from all that the loop does, but for one source and what came of it."""
        name, standing, kept = f"{WITHOUT}{source}", self._standing, self._folder("kept")
        near = self._circle.sources.stop_within
        found = self._step(name, f"leave out what {source} brought", lambda where: leave_out(source, kept, where, near))
        folders = [self._folder(name)] if found["walks"] else []
        if source != "ground" and (self._folder("corrected") / STORE).is_dir():
            folders.append(self._folder("corrected"))
        return Arm(
            name=name,
            walks=(*standing.walks, *map(recorded, folders)),
            manifests=(*standing.manifests, *(film for folder in folders for film in filmed(folder))),
        )

    def _walk_expert(self, folder: Path, frames: int, films: int) -> dict[str, Any]:
        tours = self._config.sources.tours
        found = self._circle.sources.walk_expert(folder, self.number, 0 if tours is None else tours.count, frames)
        shown = lay_out(open_store(folder / STORE), folder, films)
        return {**found, "wanted": frames, "films": shown, "films_wanted": films}

    def _see(self, arm: Arm) -> Path:
        unseen = self._circle.unseen
        assert unseen is not None
        words = f"train the encoder on, arm {arm.name}"
        self._step(
            f"encoder_{arm.name}",
            words,
            lambda f: see_again(self._plan, arm, self._standing, unseen, self.number, f, self._circle.console),
        )
        return self._folder(f"encoder_{arm.name}") / ENCODER

    def _learn(self, arm: Arm, seed: int, encoder: Path | None) -> dict[str, Any]:
        episodes, console = self._circle.sources.episodes, self._circle.console
        start = (self._standing.agent, encoder)
        words = f"learn on, arm {arm.name}, seed {seed}"
        return self._step(
            f"{arm.name}_{seed}",
            words,
            lambda f: learn(self._plan, arm, start, episodes, self.number, seed, f, console),
        )

    def _remember(self, eyes: Mapping[str, Path]) -> dict[str, Any]:
        """Return what each encoder still knows, that of before among them; nothing where encoders do not learn."""
        plan, films, before = self._plan.eyes, self._circle.unseen, self._standing.encoder
        if plan is None:
            return {"retrieval": {}}
        assert films is not None and before is not None
        encoders, at_first = {BEFORE: before, **eyes}, self._standing.at_first
        return remember(plan, encoders, films, self._step, self._circle.console, at_first)

    def _judge(
        self, folder: Path, learned: Mapping[tuple[str, int], Mapping[str, Any]], remembered: Mapping[str, Any]
    ) -> dict[str, Any]:
        agents = {BEFORE: self._standing.agent}
        agents |= {f"{arm}_{seed}": self._folder(f"{arm}_{seed}") / AGENT for arm, seed in learned}
        circle = self._circle
        rows, judged = measure(
            self._plan, agents, circle.sources.episodes, circle.houses, folder / "eval", circle.console
        )
        arms: dict[str, Seeds] = {BEFORE: [rows[BEFORE]]}
        for arm, seed in learned:
            arms[arm] = [*arms.get(arm, ()), rows[f"{arm}_{seed}"]]
        reached: list[Reach] = [one for arm, own in arms.items() for one in reach(arm, own)]
        pairs = [(arm, BEFORE) for arm in arms if arm != BEFORE]
        pairs += [(LOOP, arm) for arm in arms if arm not in (LOOP, BEFORE)]
        gaps = [gap((a, arms[a]), (b, arms[b]), metric) for a, b in pairs for metric in GAPS]
        refused = why_refused(remembered, self._config.stop.forgotten)
        found = to_json(reached, gaps, judge([g for g in gaps if g.arm == LOOP], self._config.judge, refused))
        return {**found, "near": {arm: ends_near(own) for arm, own in arms.items()}, "judged": judged}

    def _step(self, name: str, words: str, work: Any) -> dict[str, Any]:
        return dict(self._circle.steps.do(f"{self.name}/{name}", f"round {self.number}: {words}", work).found)

    def _folder(self, name: str) -> Path:
        return self._root / self.name / name
