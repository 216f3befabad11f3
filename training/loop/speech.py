"""What the speaker's words are worth, on walks through houses that it never saw: beside words said of other walks, and people's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from navloop.training.loop.steps import Step

_ASKED: Mapping[str, str] = {
    "rooms": "rooms named, in order",
    "last_room": "the room where the walk ends",
    "turns": "turns, in order",
}
"""What is asked of texts, by score (`navloop.training.telling`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """How right texts are in one respect, each a mean in [0, 1].

    Attributes:
        asked: In which respect.
        speaker: The speaker's texts.
        span: The ends of its 95% interval; None where it has none.
        others: Its texts, each said of another walk: what it is worth to say something likely.
        people: The data's texts, against each other; None where a walk has one alone.
    """

    asked: str
    speaker: float
    span: tuple[float, float] | None
    others: float
    people: float | None

    @property
    def ends(self) -> str:
        """The interval in percent, "45–57"; "" where there is none."""
        return "" if self.span is None else "–".join(f"{100 * end:.0f}" for end in self.span)


def told_rightly(steps: Mapping[str, Step]) -> tuple[str, list[Told]]:
    """Return which walks a loop's speaker was measured on, as "48 walks of val_unseen", and how right its texts are; none if it was not."""
    found = steps["speaker"].found.get("scores", {}) if "speaker" in steps else {}
    split = "val_unseen" if "val_unseen" in found else next(iter(found), "")
    scores = found.get(split, {})
    walks = f"{scores['walks']} walks of {split}" if "walks" in scores else f"walks of {split}" if split else ""
    return walks, [
        Told(
            asked=words,
            speaker=scores[name],
            span=(scores[f"{name}_low"], scores[f"{name}_high"]) if f"{name}_low" in scores else None,
            others=scores[f"{name}_others"],
            people=scores.get(f"{name}_people"),
        )
        for name, words in _ASKED.items()
        if name in scores and f"{name}_others" in scores
    ]
