"""Weights into models: released files and our own. Every name is accounted for, what is untrained said."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn

from navloop.encoders.averaging import Averaged, visual_blocks_below, wise_ft
from navloop.encoders.contents import check_config, kind_said
from navloop.encoders.encoder import VideoEncoder
from navloop.encoders.fit import fit
from navloop.encoders.layouts import LAYOUTS
from navloop.encoders.mismatch import Mismatch, grouped, nearest
from navloop.encoders.routes import Route, find_route, kind_of
from navloop.encoders.translation import count_known, identify, our_name, their_name, to_ours, to_theirs, translate
from navloop.weights import Weights, WeightsError, WeightsWarning, digest, read_weights, unwrap

__all__ = [
    "Averaged",
    "LoadReport",
    "ReleasedState",
    "identify",
    "load_released",
    "released_state",
    "slice_head",
    "to_ours",
    "to_theirs",
    "visual_blocks_below",
    "wise_ft",
]

OWN = "navloop"
"""What reports call weights by the model's own names."""
_NAMES = frozenset(layout.name for layout in LAYOUTS)

Source = str | os.PathLike[str] | Weights | Mapping[str, object]
"""A weight file, or what is in one: as `read_weights` gives it, tensors by name, or a container of them."""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What was loaded."""

    layout: str
    """Name of the released format; `OWN` for the model's own names."""
    digest: str
    """Of the tensors as the file has them (`navloop.weights.digest`)."""
    dropped: tuple[str, ...]
    """The file's names for what the model has no place for."""
    missing: tuple[str, ...]
    """The model's names that the file has nothing for; they stay as initialised."""
    untrained: tuple[str, ...] = ()
    """Those of `missing` on which what the model computes rests. The others start as nothing, or feed nothing."""
    not_finite: tuple[str, ...] = ()
    """The model's names whose tensors in the file hold NaN or infinity."""

    def __str__(self) -> str:
        parts = [f"{self.layout} weights, {self.digest}"]
        parts += [f"not used: {', '.join(grouped(self.dropped))}"] if self.dropped else []
        parts += [f"as initialised: {', '.join(grouped(self.missing))}"] if self.missing else []
        parts += [f"not finite: {', '.join(grouped(self.not_finite))}"] if self.not_finite else []
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class ReleasedState:
    """What of a file goes into a model."""

    state: dict[str, Tensor]
    """By the model's names, in the file's types."""
    report: LoadReport


def load_released(
    model: nn.Module,
    source: Source,
    *,
    classes: Sequence[int] | None = None,
    fresh: Sequence[str] = (),
    drop: Sequence[str] = (),
) -> LoadReport:
    """Load released weights, or our own, into an encoder or a model over one.

    What a file may lack or have besides is settled for each pair of format and model: a VideoMAE pretraining file
    leaves the norm of `MaskedEncoder(norm="pooled")` as initialised, as VideoMAE's own tuning does. All else has to
    fit. A file of ours says what it was configured to be; the fields that change what weights mean have to agree.
    Tensors take the model's type; where the model is on the device "meta", it takes the file's tensors as they are. An
    encoder keeps the report as its `loaded`.

    Args:
        model: What to fill.
        source: File, or its content.
        classes: Rows of the file's classifier to keep, in this order: `range(400)` makes a K710 classifier one of
            K400. None keeps all.
        fresh: Beginnings of the model's names that stay as initialised whatever the file has: `("head.",)` for other
            classes.
        drop: Beginnings of the file's names to leave out: what its training code kept beside the model.

    Returns:
        Which format it was, its digest, and what was dropped or stays as initialised.

    Raises:
        WeightsError: If the file cannot be read, or does not fit; the message lists all that does not, and the model is
            as before.

    Warns:
        WeightsWarning: If tensors hold NaN or infinity, or parts of a model on "meta" are left without numbers.

    Source: the tuning code of InternVideo1/Pretrain/VideoMAE and UniFormerV2; differs in: nothing is ignored unsaid.
    """
    released = released_state(model, source, classes=classes, fresh=fresh, drop=drop)
    own = model.state_dict()
    whole = {**released.state, **{name: own[name] for name in released.report.missing}}
    model.load_state_dict(whole, assign=any(parameter.is_meta for parameter in model.parameters()))
    if isinstance(model, VideoEncoder):
        model.loaded = released.report
    _warn(model, released)
    return released.report


def released_state(
    model: nn.Module,
    source: Source,
    *,
    classes: Sequence[int] | None = None,
    fresh: Sequence[str] = (),
    drop: Sequence[str] = (),
) -> ReleasedState:
    """Return what `load_released` would load; for `wise_ft`.

    Raises:
        WeightsError: As `load_released` does.
    """
    weights = _read(source)
    state, where = weights.state, f"{weights.origin}: " if weights.origin else ""
    try:
        named = _by_our_names(_without(state, drop), model)
        route = find_route(named.layout, model) if named.layout in _NAMES else Route()
        named.wrong.missing = [name for name in named.wrong.missing if not _is_left(name, named, route)]
        ours = named.state if classes is None or named.wrong else slice_head(named.state, classes)
        fitted = fit(ours, model.state_dict(), route, named.theirs, fresh, named.wrong)
    except ValueError as error:
        raise WeightsError(
            f"{where}weights do not fit {kind_of(model)}:\n{error}{_of_another(model, weights)}"
        ) from error
    try:
        check_config(model, weights)
    except WeightsError as error:
        raise WeightsError(f"{where}{error}") from error
    left_out = tuple(name for name in state if name.startswith(tuple(drop)))
    report = LoadReport(
        named.layout,
        digest(state),
        dropped=(*fitted.dropped, *left_out),
        missing=fitted.missing,
        untrained=fitted.untrained,
        not_finite=tuple(_not_finite(fitted.state)),
    )
    return ReleasedState(fitted.state, report)


def slice_head(state: Mapping[str, Tensor], rows: Sequence[int]) -> dict[str, Tensor]:
    """Return weights, by our names, whose classifier has the chosen classes alone.

    Args:
        state: Tensors with "head.weight" (classes, D) and "head.bias" (classes,).
        rows: Numbers of the classes to keep, in this order. The first 400 of K710 are those of K400.

    Raises:
        WeightsError: If there is no head, or a row it does not have.
    """
    if "head.weight" not in state or "head.bias" not in state:
        raise WeightsError("classes are chosen, but there is no classifier in the file; leave out classes=...")
    num_classes, rows = len(state["head.bias"]), list(rows)
    odd = [row for row in rows if not 0 <= row < num_classes]
    if odd or not rows:
        raise WeightsError(f"classes {odd[:8] or rows} are not among the file's 0 to {num_classes - 1}")
    return {**state, "head.weight": state["head.weight"][rows], "head.bias": state["head.bias"][rows]}


@dataclass(frozen=True, slots=True)
class _Named:
    layout: str
    state: dict[str, Tensor]
    theirs: Callable[[str], str | None] = lambda name: name
    wrong: Mismatch = field(default_factory=Mismatch)
    ours: Callable[[str], str | None] = lambda name: name


def _read(source: Source) -> Weights:
    if isinstance(source, Weights):
        return source
    return unwrap(source) if isinstance(source, Mapping) else read_weights(Path(source))


def _is_left(name: str, named: _Named, route: Route) -> bool:
    """Return whether one of the file's names is of what the model never has, so that the file may lack it."""
    return (named.ours(name) or name).startswith(route.left)


def _of_another(model: nn.Module, weights: Weights) -> str:
    """Say what a file of ours is of, if that is another kind of encoder than the model."""
    said = kind_said(weights)
    if said is None or said == getattr(getattr(model, "config", None), "kind", None):
        return ""
    return f"\nThe file says that it is of a {said} encoder; load_encoder({weights.origin!r}) makes that"


def _not_finite(state: Mapping[str, Tensor]) -> Iterable[str]:
    floating = ((name, tensor) for name, tensor in state.items() if tensor.is_floating_point() and not tensor.is_meta)
    return (name for name, tensor in floating if not tensor.isfinite().all())


def _warn(model: nn.Module, released: ReleasedState) -> None:
    broken = released.report.not_finite
    if broken:
        warnings.warn(
            f"NaN or infinity is in {', '.join(grouped(broken))} of the file; download or train it again",
            WeightsWarning,
            stacklevel=3,
        )
    if all(tensor.is_meta for tensor in released.state.values()):
        return  # names and shapes alone were asked about
    blank = [name for name, tensor in (*model.named_parameters(), *model.named_buffers()) if tensor.is_meta]
    if blank:
        warnings.warn(
            f'{", ".join(grouped(blank))} stay on the device "meta", without numbers; create the model on the CPU',
            WeightsWarning,
            stacklevel=3,
        )


def _without(state: Mapping[str, Tensor], drop: Sequence[str]) -> Mapping[str, Tensor]:
    for start in drop:
        if not any(name.startswith(start) for name in state):
            raise WeightsError(
                f"drop={start!r}: no name in the file begins so; the nearest is {nearest(start, [*state])}"
            )
    return {name: tensor for name, tensor in state.items() if not name.startswith(tuple(drop))}


def _by_our_names(state: Mapping[str, Tensor], model: nn.Module) -> _Named:
    """Return tensors by our names: they are released, or our own, of this model or of all that a layout holds."""
    wanted = model.state_dict().keys()
    own = sum(name in wanted for name in state)
    known = {layout: count_known(state, (layout.keys, layout.computed)) for layout in LAYOUTS}
    ours = {layout: count_known(state, (dict.fromkeys(layout.keys.values()),)) for layout in LAYOUTS}
    if own and own >= max(*known.values(), *ours.values()):
        return _Named(OWN, dict(state))
    layout = max(LAYOUTS, key=lambda layout: (ours[layout], -len(layout.keys)))
    if ours[layout] > max(known.values()):
        return _Named(layout.name, dict(state))
    layout = identify(state)
    translated = translate(state, layout)
    return _Named(
        layout.name,
        translated.state,
        lambda name: their_name(name, layout),
        translated.wrong,
        lambda name: our_name(name, layout),
    )
