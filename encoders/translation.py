"""Released tensors by our names and back again, by the tables of `navloop.encoders.layouts`. No name is ignored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from navloop.encoders.layouts import LAYOUTS
from navloop.encoders.mismatch import Mismatch, grouped
from navloop.encoders.name_tables import Computed, Layout
from navloop.weights import WeightsError

_NUMBERS = frozenset(map(str, range(1000)))  # of layers; none has more


def identify(state: Mapping[str, Tensor]) -> Layout:
    """Return the layout that knows most of a file's names.

    Raises:
        WeightsError: If none knows more than half of them, listing the names and the layouts.
    """
    scores = {layout: count_known(state, (layout.keys, layout.computed)) for layout in LAYOUTS}
    best = max(LAYOUTS, key=lambda layout: (scores[layout], -len(layout.keys) - len(layout.computed)))
    if 2 * scores[best] > len(state):
        return best
    lines = grouped(state)
    raise WeightsError(
        f"these {len(state)} names are of no known layout:\n"
        + "".join(f"  {line}\n" for line in lines[:12])
        + (f"  ... and {len(lines) - 12} more such lines\n" if len(lines) > 12 else "")
        + _prefix_hint(state)
        + "Known layouts:\n"
        + "\n".join(f"  {layout.name}: {layout.about}" for layout in LAYOUTS)
    )


def count_known(names: Iterable[str], tables: Sequence[Mapping[str, object]]) -> int:
    """Return how many names are in a table of names, where `{}` stands for a number."""
    return sum(_match(name, tables) is not None for name in names)


def to_ours(state: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """Return released tensors by our names.

    Types and bytes stay as they are; what we compute is checked, then left out.

    Raises:
        WeightsError: If a name is missing or unexpected, or a computed tensor has another value; it lists them all.
    """
    translated = translate(state, layout)
    if translated.wrong:
        known = expected_names(layout, translated.state)
        raise WeightsError(f"the names do not fit the layout {layout.name}:\n{translated.wrong.message(known)}")
    return translated.state


@dataclass(frozen=True, slots=True)
class Translated:
    """Released tensors by our names, and what is wrong with theirs."""

    state: dict[str, Tensor]
    wrong: Mismatch


def translate(state: Mapping[str, Tensor], layout: Layout) -> Translated:
    """Return what `to_ours` does, with all that is wrong beside it."""
    ours: dict[str, Tensor] = {}
    computed: dict[str, Tensor] = {}
    wrong = Mismatch()
    for key, tensor in state.items():
        found = _match(key, (layout.keys, layout.computed))
        if found is None:
            wrong.unexpected.append(key)
        elif found[0] in layout.computed:
            computed[key] = tensor
        else:
            transform = layout.transforms.get(found[0])
            name = _numbered(layout.keys[found[0]], found[1])
            ours[name] = tensor if transform is None else transform.to_ours(tensor)
    wanted = expected_names(layout, ours)
    followed = _computed_names(layout, wanted.values())
    wrong.missing += [theirs for theirs, name in wanted.items() if name not in ours]
    wrong.missing += [key for key in followed if key not in computed]
    wrong.unexpected += [key for key in computed if key not in followed]
    made = _make_computed(layout, ours)
    wrong.faults += [fault for key in made if key in computed for fault in _differs(key, computed[key], made[key])]
    return Translated(ours, wrong)


def to_theirs(state: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """Return tensors by our names as the released format has them: `to_theirs(to_ours(x, layout), layout)` is x.

    Raises:
        WeightsError: If a name is missing or unexpected; it lists them all.
    """
    reverse = {ours: theirs for theirs, ours in layout.keys.items()}
    theirs: dict[str, Tensor] = {}
    wrong = Mismatch()
    for name, tensor in state.items():
        found = _match(name, (reverse,))
        if found is None:
            wrong.unexpected.append(name)
            continue
        their_template = reverse[found[0]]
        transform = layout.transforms.get(their_template)
        theirs[_numbered(their_template, found[1])] = tensor if transform is None else transform.to_theirs(tensor)
    wanted = expected_names(layout, state)
    wrong.missing += [name for name in wanted.values() if name not in state]
    if wrong:
        raise WeightsError(f"the names do not fit the layout {layout.name}:\n{wrong.message(wanted.values())}")
    return theirs | _make_computed(layout, state)


def their_name(name: str, layout: Layout) -> str | None:
    """Return what the layout calls one of our names, None if it has no such thing."""
    reverse = {ours: theirs for theirs, ours in layout.keys.items()}
    found = _match(name, (reverse,))
    return None if found is None else _numbered(reverse[found[0]], found[1])


def our_name(name: str, layout: Layout) -> str | None:
    """Return our name for one of the layout's, None if it has no such thing."""
    found = _match(name, (layout.keys,))
    return None if found is None else _numbered(layout.keys[found[0]], found[1])


def expected_names(layout: Layout, ours: Iterable[str]) -> dict[str, str]:
    """Return each name that goes with those of ours that are there: theirs to ours.

    Layers are numbered from 0 to the last one there; parts that a file may lack are expected if any of them is there.
    """
    reverse = dict.fromkeys(layout.keys.values(), "")
    templates = [found for name in ours if (found := _match(name, (reverse,))) is not None]
    parts = {layout.part_of(template) for template, _ in templates}
    layers: dict[str, int] = {}
    for template, number in templates:
        if number is not None:
            layers[_stack(template)] = max(layers.get(_stack(template), 0), int(number) + 1)
    names = {}
    for theirs, template in layout.keys.items():
        part = layout.part_of(template)
        if part is not None and part not in parts:
            continue
        numbers = [str(i) for i in range(layers.get(_stack(template), 1))] if "{}" in template else [None]
        names.update({_numbered(theirs, number): _numbered(template, number) for number in numbers})
    return names


def _prefix_hint(names: Iterable[str]) -> str:
    """Say which beginning is too much, if without it most names would be known."""
    names = list(names)
    words = [name.split(".")[0] + "." for name in names]
    start = max(words, key=words.count, default="")
    short = [name.removeprefix(start) for name in names]
    if any(2 * count_known(short, (layout.keys,)) > len(names) for layout in LAYOUTS):
        return f"Without their first {start!r} they would be: cut it off. "
    return ""


def _computed_names(layout: Layout, ours: Iterable[str]) -> dict[str, tuple[Computed, list[str]]]:
    """Return what files store and we compute, by their names, each with our names of what it follows from."""
    ours = set(ours)
    names = {}
    for theirs, computed in layout.computed.items():
        stack = _stack(computed.of[0])
        layers = {name[len(stack) :].split(".")[0] for name in ours if name.startswith(stack)} & _NUMBERS
        for number in sorted(layers, key=int) if "{}" in theirs else [None]:
            of = [_numbered(template, number) for template in computed.of]
            if ours.issuperset(of):
                names[_numbered(theirs, number)] = computed, of
    return names


def _make_computed(layout: Layout, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    made = _computed_names(layout, ours)
    return {theirs: computed.make(*(ours[name] for name in of)) for theirs, (computed, of) in made.items()}


def _differs(key: str, stored: Tensor, ours: Tensor) -> list[str]:
    if stored.shape != ours.shape:
        return [f"{key} has shape {tuple(stored.shape)}, ours has {tuple(ours.shape)}"]
    if stored.is_meta or ours.is_meta:
        return []
    tolerance = 1e-5 if stored.dtype.itemsize > 2 else 4e-3
    if torch.allclose(stored.double(), ours.double(), rtol=tolerance, atol=0):
        return []
    return [f"{key} has other values than the constant it is in every released file; this is another model"]


def _match(name: str, tables: Iterable[Mapping[str, object]]) -> tuple[str, str | None] | None:
    """Return the template of a name and the number in its place, None if no table has it."""
    words = name.split(".")
    candidates: list[tuple[str, str | None]] = [(name, None)]
    candidates += [
        (".".join([*words[:i], "{}", *words[i + 1 :]]), word) for i, word in enumerate(words) if word in _NUMBERS
    ]
    return next((found for found in candidates for table in tables if found[0] in table), None)


def _numbered(template: str, number: str | None) -> str:
    return template if number is None else template.replace("{}", number)


def _stack(template: str) -> str:
    return template.split("{}")[0]
