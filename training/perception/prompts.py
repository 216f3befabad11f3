"""Sentences that say a class: the sets in use. Each has {} where the class goes."""

from __future__ import annotations

ACTIONCLIP = (
    "a photo of action {}",
    "a picture of action {}",
    "Human action of {}",
    "{}, an action",
    "{} this is an action",
    "{}, a video of action",
    "Playing action of {}",
    "{}",
    "Playing a kind of action, {}",
    "Doing a kind of action, {}",
    "Look, the human is {}",
    "Can you recognize the action of {}?",
    "Video classification of {}",
    "A video of {}",
    "The man is {}",
    "The woman is {}",
)
"""Source: Wang et al., ActionCLIP, 2021, Text_Prompt.py; what InternVideo's zero-shot numbers are with."""
VICLIP = (
    "A photo of action {}.",
    "A video of action {}.",
    "He or she is {}.",
    "A person is doing {}.",
    "Look, the human is {}.",
    "Human action of {}.",
    "Playing action of {}.",
    "Video classification of {}.",
    "Doing a kind of action, {}.",
    "Playing a kind of action, {}.",
    "Can you recognize the action of {}?",
    "{}, an action.",
    "{} this is an action.",
    "{}, a video of action.",
    "An action of {} is in the video.",
    "There is a person doing {} in the video.",
    *(
        f"A {kind} of a person {way} {{}}."
        for kind in ("photo", "video", "example", "demonstration")
        for way in ("doing", "performing", "practicing")
    ),
)
"""Source: Wang et al., InternVid, 2023, kinetics_templates of ViCLIP's zero-shot evaluation."""
TEMPLATES: dict[str, tuple[str, ...]] = {
    "actionclip": ACTIONCLIP,
    "viclip": VICLIP,
    "video": ("a video of {}",),
    "person": ("a person doing {}",),
    "bare": ("{}",),
}
"""Sets by the name that recipes say."""


def fill(templates: tuple[str, ...], name: str) -> list[str]:
    """Return each sentence with a class in it; underscores of its name become blanks."""
    words = " ".join(name.replace("_", " ").split())
    return [template.replace("{}", words) for template in templates]
