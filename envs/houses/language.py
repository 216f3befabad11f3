"""Instructions in English for a tour: what the outline says, in the words and the manner of one annotator or another."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from navloop.envs.houses.guide import Beat
from navloop.envs.houses.landmarks import Reference
from navloop.envs.houses.outline import Outline, outline
from navloop.envs.houses.phrases import Clause, draw_clause, expand, is_plural, lexicon, pick, with_article
from navloop.envs.houses.sites import Site
from navloop.envs.houses.tours import Tour

WORDS = (19.5, 13.0)
"""Mean and standard deviation that the number of words is drawn with. What must be said makes short ones longer, so that what comes out is
nearer to R2R-CE's val_unseen: 26.7 and 11.5 (version v1-3)."""

SIZES = ("tall", "low", "big", "small", "little", "framed")
"""Words of a name that come before its colour: "tall white lamp"."""

DRAFTS = 20
"""Wordings that are tried for one instruction; the one whose length is nearest to the drawn one is kept."""


@dataclass
class _Annotator:
    """One way to write, kept through an instruction.

    Attributes:
        style: Name of a style.
        habits: The style's numbers.
        rooms: The word for each kind of room.
        detail: How much is told beyond what must be, from 0 up.
        verbs: First words of the clauses so far.
    """

    style: str
    habits: Mapping[str, Any]
    rooms: dict[str, str]
    detail: float
    verbs: list[str] = field(default_factory=list)


def tell(site: Site, tour: Tour, count: int, rng: np.random.Generator) -> list[str] | None:
    """Return different instructions for one walk, or None if it cannot be told so that only one place is meant.

    Args:
        site: Where it is.
        tour: The walk.
        count: How many.
        rng: Source of randomness.
    """
    plan = outline(site, tour)
    if plan is None:
        return None
    texts: list[str] = []
    for _ in range(20 * count):
        if len(texts) == count:
            return texts
        text = _instruction(plan, rng)
        if text.lower() not in (other.lower() for other in texts):
            texts.append(text)
    return texts if len(texts) == count else None


def count_words(text: str) -> int:
    """Return the number of words, apart from punctuation."""
    return len(re.findall(r"\w+(?:['’-]\w+)*", text))


def _instruction(plan: Outline, rng: np.random.Generator) -> str:
    mean, deviation = WORDS
    variance = math.log(1 + (deviation / mean) ** 2)
    wanted = float(rng.lognormal(math.log(mean) - variance / 2, math.sqrt(variance)))
    drafts = [_draft(plan, rng) for _ in range(DRAFTS)]
    return min(drafts, key=lambda text: abs(count_words(text) - wanted))


def say(beat: Beat, rng: np.random.Generator) -> str:
    """Return one thing that can be said about a walk as a sentence of its own, in the manner of some annotator."""
    annotator = _draw_annotator(rng)
    return _written([_clause(beat, annotator, rng)], annotator, rng)


def _draw_annotator(rng: np.random.Generator) -> _Annotator:
    styles = lexicon()["styles"]
    weights = np.array([style["weight"] for style in styles.values()], dtype=float)
    name = list(styles)[int(rng.choice(len(styles), p=weights / weights.sum()))]
    rooms = {label: str(pick(words, rng)) for label, words in lexicon()["rooms"].items()}
    return _Annotator(name, styles[name], rooms, float(rng.uniform(0, 1.3)))


def _draft(plan: Outline, rng: np.random.Generator) -> str:
    annotator = _draw_annotator(rng)
    beats = _chosen(plan, annotator, rng)
    clauses = [_clause(beat, annotator, rng) for beat in beats]
    return _written(clauses, annotator, rng)


def _chosen(plan: Outline, annotator: _Annotator, rng: np.random.Generator) -> list[Beat]:
    """Return the beats that are told: all that must be, and some that may, none of which names a thing again."""
    stop = plan.stop[int(rng.integers(len(plan.stop)))]
    told = {thing for beat in (*plan.beats, stop) if beat.weight == 1.0 for thing in beat.things}
    orientation: int | None = None
    kept: set[int] = set()
    for i in rng.permutation(len(plan.beats)):
        beat = plan.beats[i]
        if beat.weight == 1.0:
            kept.add(int(i))
        elif rng.random() < beat.weight * annotator.detail and not told & set(beat.things):
            is_orientation = -2 < beat.at < 0
            if is_orientation and orientation is not None:
                continue
            orientation = int(i) if is_orientation else orientation
            kept.add(int(i))
            told |= set(beat.things)
    if orientation is not None:
        # Which way to face is said once: by a turn or by what is seen.
        kept = {i for i in kept if not -2 < plan.beats[i].at < 0 or i == orientation}
    beats = [plan.beats[i] for i in sorted(kept)]
    return [*_merged(_without_repeats(beats), rng), stop]


def _merged(beats: list[Beat], rng: np.random.Generator) -> list[Beat]:
    """Say at times in one clause how to get through a room: in at one end, straight out at the other."""
    kept: list[Beat] = []
    for beat in beats:
        plain = {"enter", "exit_into", "exit"}
        if (
            kept
            and {*kept[-1].kinds, *beat.kinds} <= plain
            and kept[-1].slots["next"] == beat.slots["room"]
            and rng.random() < 0.6
        ):
            slots = {"room": beat.slots["room"], "next": beat.slots["next"]}
            kept[-1] = Beat(beat.at, ("through",), slots)
        else:
            kept.append(beat)
    return kept


_SAME_MOVE = ({"along", "along_end", "cross", "straight", "toward"},)


def _without_repeats(beats: list[Beat]) -> list[Beat]:
    """Leave out what says once more what the beat before said: walking on, or where one is."""
    kept: list[Beat] = []
    for beat in beats:
        if kept and beat.weight < 1.0:
            before, now = set(kept[-1].kinds), set(beat.kinds)
            if any(before & group and now & group for group in _SAME_MOVE) and not now & {"toward"}:
                continue
            if now & {"arrive"} and before & {"enter", "turn_into", "door_side", "ordinal", "exit_into", "arrive"}:
                continue
        kept.append(beat)
    return kept


def _clause(beat: Beat, annotator: _Annotator, rng: np.random.Generator) -> Clause:
    slots: dict[str, str] = {}
    for name, value in beat.slots.items():
        if isinstance(value, str):
            slots[name] = _door(value, rng)
        elif name == "indefinite":
            slots["thing"] = with_article(_spoken(value, rng))
        else:
            slots[name] = _spoken(value, rng)
    slots["is"] = "are" if is_plural(slots.get("thing", "")) else "is"
    if "pass" in beat.kinds and not is_plural(slots["thing"]):
        slots["bare"] = slots["thing"]
    for _ in range(6):
        remarks = rng.random() < annotator.habits["remarks"]
        clause = draw_clause(beat.kinds[int(rng.integers(len(beat.kinds)))], slots, rng, remarks)
        if clause.text.split(" ")[0] not in annotator.verbs[-2:]:
            break
    annotator.verbs.append(clause.text.split(" ")[0])
    text = re.sub(r"@([^@]*)@", lambda found: annotator.rooms[found[1]], clause.text)
    return Clause(re.sub(r"\bthe the\b", "the", text), clause.place)


def _door(value: str, rng: np.random.Generator) -> str:
    return re.sub(r"#(\w+)#", lambda found: str(pick(lexicon()["doors"][found[1]], rng)), value)


def _spoken(references: tuple[Reference, ...], rng: np.random.Generator) -> str:
    """Draw one of the names of a thing: most often the shortest, sometimes with its colour."""
    plainness = np.array([1.0 / (1 + 1.2 * bool(r.colour) + 2.5 * bool(r.material)) for r in references])
    chosen = references[int(rng.choice(len(references), p=plainness / plainness.sum()))]
    return phrase(chosen, rng)


def phrase(reference: Reference, rng: np.random.Generator) -> str:
    """Return the words of a reference, without an article: "brown leather sofa", "picture in the gold frame"."""
    tables = lexicon()
    noun, colour, material = reference
    words = []
    if material and not (material == "wood" and colour in tables["wood_colours"]):
        words.append(tables["materials"][material])
    pattern = next((e.get("colour") for e in tables["things"].values() if noun in e["nouns"] and e.get("colour")), None)
    if colour and pattern:
        return " ".join([*words, expand(pattern, {"noun": noun, "colour": colour}, rng)])
    size, _, rest = noun.partition(" ")
    before, after = ([size], rest) if size in SIZES else ([], noun)
    return " ".join([*before, *([colour] if colour else []), *words, after])


def _written(clauses: list[Clause], annotator: _Annotator, rng: np.random.Generator) -> str:
    sentences = [_joined(group, rng) for group in _grouped(clauses, annotator, rng)]
    opened: list[str] = []
    for i, (text, place) in enumerate(sentences):
        opener = ""
        is_opened = text.startswith(("start", "begin", "from", "now", "then", "next", "here"))
        if not place and not is_opened and len(sentences) > 2 and rng.random() < annotator.habits["openers"]:
            part = "first" if i == 0 else "last" if i == len(sentences) - 1 else "next"
            opener = str(pick(lexicon()["openers"][part], rng))
            opener = "" if opened and opened[-1].startswith(opener.strip(" ,")) else opener
        opened.append(opener + text)
    if annotator.style == "lowercase":
        return ". ".join(opened).lower() + "."
    return " ".join(f"{text[0].upper()}{text[1:]}." for text in opened)


def _grouped(clauses: list[Clause], annotator: _Annotator, rng: np.random.Generator) -> list[list[Clause]]:
    """Divide clauses into sentences."""
    sizes = np.array(annotator.habits["clauses"], dtype=float)
    groups: list[list[Clause]] = []
    room = 0
    for clause in clauses:
        if not groups or room == 0 or clause.place or groups[-1][-1].place == "!":
            groups.append([])
            room = 1 + int(rng.choice(len(sizes), p=sizes / sizes.sum()))
        groups[-1].append(clause)
        room -= 1
    return groups


def _joined(group: list[Clause], rng: np.random.Generator) -> tuple[str, str]:
    """Return the words of a sentence and the place of its first clause."""
    joins = lexicon()["joins"]
    texts = [clause.text for clause in group]
    is_long = any(" and " in text or "," in text for text in texts)
    if len(texts) == 1:
        return texts[0], group[0].place
    if len(texts) == 2:
        pattern = pick(joins["two_long" if is_long else "two"], rng)
        return pattern.format(a=texts[0], b=texts[1]), group[0].place
    if is_long:
        return f"{texts[0]}, {texts[1]}, then {texts[2]}", group[0].place
    return pick(joins["three"], rng).format(a=texts[0], b=texts[1], c=texts[2]), group[0].place
