"""Colours and materials of furniture, in the words people use for them, and the taste of one house."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

Rgb = tuple[int, int, int]


class Finish(NamedTuple):
    """What a surface is made of.

    Attributes:
        pattern: Name of a pattern in `patterns.PATTERNS`.
        colour: Colour word: "navy blue".
        rgb: Its mean colour.
        material: Material word: "leather".
    """

    pattern: str
    colour: str
    rgb: Rgb
    material: str


CLOTH: dict[str, Rgb] = {
    "navy blue": (44, 62, 110),
    "mustard": (212, 164, 48),
    "sage green": (146, 168, 136),
    "terracotta": (196, 102, 70),
    "charcoal": (76, 80, 86),
    "light grey": (178, 180, 182),
    "cream": (232, 220, 192),
    "burgundy": (126, 36, 54),
    "teal": (36, 128, 132),
    "olive green": (122, 124, 62),
    "pink": (222, 152, 160),
    "brown": (122, 84, 60),
    "beige": (204, 184, 152),
    "dark green": (44, 92, 66),
    "sky blue": (126, 172, 206),
    "orange": (222, 122, 44),
    "purple": (116, 82, 138),
    "red": (184, 52, 48),
    "turquoise": (86, 186, 180),
    "white": (234, 232, 226),
}
LEATHER: dict[str, Rgb] = {
    "brown": (118, 74, 46),
    "tan": (186, 130, 80),
    "black": (48, 46, 46),
    "cream": (224, 210, 182),
    "dark red": (122, 38, 38),
}
WOOD: dict[str, Rgb] = {
    "light wood": (214, 178, 128),
    "oak": (190, 144, 90),
    "walnut": (126, 84, 54),
    "dark wood": (88, 58, 42),
    "cherry": (158, 82, 52),
    "grey wood": (156, 148, 138),
}
PAINT: dict[str, Rgb] = {
    "white": (236, 235, 230),
    "cream": (234, 224, 200),
    "grey": (158, 162, 166),
    "navy blue": (48, 66, 104),
    "sage green": (150, 170, 140),
    "dark green": (50, 92, 72),
    "black": (54, 54, 56),
    "light blue": (156, 190, 212),
    "yellow": (232, 196, 84),
    "red": (188, 58, 50),
    "pink": (228, 170, 176),
}
APPLIANCE: dict[str, Rgb] = {"white": (238, 239, 240), "silver": (186, 190, 194), "black": (58, 58, 62)}
METAL: dict[str, Rgb] = {
    "silver": (184, 188, 192),
    "black": (52, 52, 56),
    "brass": (190, 152, 84),
    "white": (232, 232, 230),
}
STONE: dict[str, Rgb] = {
    "white": (226, 224, 218),
    "grey": (148, 146, 142),
    "black": (66, 66, 70),
    "beige": (212, 196, 168),
}
CERAMIC: dict[str, Rgb] = {"white": (244, 244, 242)}
POTTERY: dict[str, Rgb] = {
    "terracotta": (190, 104, 72),
    "white": (232, 230, 224),
    "blue": (66, 98, 150),
    "black": (60, 60, 62),
    "mustard": (206, 162, 64),
    "green": (84, 124, 96),
}
BASKET: dict[str, Rgb] = {"beige": (198, 168, 122), "brown": (140, 102, 66), "white": (222, 216, 204)}
PLASTIC: dict[str, Rgb] = {
    "black": (50, 50, 54),
    "white": (232, 232, 230),
    "red": (190, 56, 50),
    "blue": (62, 104, 168),
    "green": (82, 140, 96),
    "grey": (140, 144, 148),
    "yellow": (230, 190, 70),
}

# group -> (pattern, material word, colours)
GROUPS: dict[str, tuple[str, str, dict[str, Rgb]]] = {
    "fabric": ("fabric", "fabric", CLOTH),
    "leather": ("leather", "leather", LEATHER),
    "wood": ("wood", "wood", WOOD),
    "painted": ("plain", "wood", PAINT),
    "appliance": ("metal", "metal", APPLIANCE),
    "metal": ("metal", "metal", METAL),
    "stone": ("marble", "stone", STONE),
    "ceramic": ("plain", "ceramic", CERAMIC),
    "pottery": ("plain", "ceramic", POTTERY),
    "wicker": ("wicker", "wicker", BASKET),
    "plastic": ("plain", "plastic", PLASTIC),
    "screen": ("plain", "", {"black": (34, 34, 38)}),
    "instrument": ("plain", "wood", {"black": (40, 38, 40), "white": (238, 236, 230)}),
    "brick": ("plain", "brick", {"red": (164, 84, 64), "white": (222, 216, 206), "grey": (140, 136, 132)}),
    "card": ("plain", "cardboard", {"brown": (186, 146, 100)}),
    "white": ("plain", "", {"white": (246, 242, 230)}),
    "frame": (
        "plain",
        "",
        {"black": (44, 42, 44), "white": (240, 238, 232), "gold": (196, 158, 84), "brown": (112, 74, 48)},
    ),
}


def finish(group: str, colour: str) -> Finish:
    """Return the finish of a group in one of its colours."""
    pattern, material, colours = GROUPS[group]
    return Finish(pattern, colour, colours[colour], material)


class Style(NamedTuple):
    """The taste of a house.

    Attributes:
        wood: The wood that most of its furniture is made of.
        cabinet: Fronts of kitchen and bathroom cabinets.
        worktop: Kitchen tops.
        metal: Handles, lamp stands, rails.
        accents: Colour words that come back in fabrics, the most loved first.
    """

    wood: Finish
    cabinet: Finish
    worktop: Finish
    metal: Finish
    accents: tuple[str, ...]


def draw_style(rng: np.random.Generator) -> Style:
    """Draw the taste of a house."""
    wood = finish("wood", _pick(rng, list(WOOD)))
    painted = rng.random() < 0.65
    cabinet = finish("painted", _pick(rng, list(PAINT)[:7])) if painted else finish("wood", _pick(rng, list(WOOD)))
    accents = tuple(str(colour) for colour in rng.permutation(list(CLOTH))[:7])
    return Style(
        wood=wood,
        cabinet=cabinet,
        worktop=finish("stone", _pick(rng, list(STONE))),
        metal=finish("metal", _pick(rng, list(METAL)[:3])),
        accents=accents,
    )


def draw_finish(style: Style, groups: Sequence[str], rng: np.random.Generator, avoid: Collection[str]) -> Finish:
    """Draw a finish that suits the house, in a colour that `avoid` does not name if there is one.

    Args:
        style: Taste of the house.
        groups: Names of `GROUPS` to draw from; repeat one to make it likelier.
        rng: Source of randomness.
        avoid: Colour words taken by things of the same kind.
    """
    group = _pick(rng, groups)
    if group == "cabinet":
        return style.cabinet
    colours = list(GROUPS[group][2])
    if group == "wood" and style.wood.colour not in avoid and rng.random() < 0.7:
        return style.wood
    if group == "fabric":
        loved = [colour for colour in style.accents if colour not in avoid]
        if loved and rng.random() < 0.75:
            return finish(group, _pick(rng, loved))
    return finish(group, _pick(rng, [colour for colour in colours if colour not in avoid] or colours))


def _pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]
