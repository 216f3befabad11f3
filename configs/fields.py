"""The fields of a schema as people read them: dotted paths, types and ranges in words."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

_WORDS = {int: "integer", float: "number", str: "text", bool: "true or false", type(None): "null"}


@dataclass(frozen=True, slots=True)
class FieldEntry:
    """One field of a schema.

    Attributes:
        path: Dotted, from the top of the recipe: "report.maps".
        annotation: Its Python type.
        kind: Type and range in words: "integer, at least 0".
        default: As a recipe would write it; None where the recipe must say.
        description: What it means.
    """

    path: str
    annotation: Any
    kind: str
    default: str | None
    description: str


def list_fields(schema: type[BaseModel], prefix: str = "") -> Iterator[FieldEntry]:
    """Yield every field of a schema in order, those of its sections after the section itself."""
    for name, info in schema.model_fields.items():
        path = f"{prefix}{name}"
        yield FieldEntry(path, info.annotation, describe_type(info), _default(info), info.description or "")
        for part in _alternatives(info.annotation):
            if is_section(part):
                yield from list_fields(part, f"{path}.")


def list_entry_fields(schema: type[BaseModel], data: Mapping[str, Any]) -> Iterator[FieldEntry]:
    """Yield the fields of what stands in a recipe's lists of sections, "tasks.0.k", each entry by what it says it is, and what it names, "inputs.train".

    Args:
        schema: Of the recipe.
        data: The recipe as it was read; entries that are none, or do not say which of several they are, have no fields.
    """
    for name, info in schema.model_fields.items():
        entries = data.get(name)
        if get_origin(info.annotation) is dict and isinstance(entries, Mapping):
            own = get_args(info.annotation)[1]
            for key in entries:
                yield FieldEntry(f"{name}.{key}", own, type_words(own), None, info.description or "")
        for number, entry in enumerate(entries if isinstance(entries, list) else []):
            kind = _kind_of_entry(info.annotation, entry)
            if kind is not None:
                yield from list_fields(kind, f"{name}.{number}.")


def _kind_of_entry(annotation: Any, entry: Any) -> type[BaseModel] | None:
    """Return the schema of an entry of a list of sections; None where there is none, or it is not said which."""
    if get_origin(annotation) is not tuple or not isinstance(entry, Mapping):
        return None
    item = get_args(annotation)[0]
    rules = get_args(item)[1:] if get_origin(item) is Annotated else ()
    kinds = [part for part in _alternatives(get_args(item)[0] if rules else item) if is_section(part)]
    tag = next((rule.discriminator for rule in rules if isinstance(rule, FieldInfo)), None)
    if isinstance(tag, str):
        kinds = [kind for kind in kinds if kind.model_fields[tag].default == entry.get(tag)]
    return kinds[0] if len(kinds) == 1 else None


def entry_of(annotation: Any) -> type[BaseModel] | None:
    """Return the schema of the entries of a list of sections that are all of one kind; None of anything else."""
    item = get_args(annotation)[0] if get_origin(annotation) is tuple else None
    return item if is_section(item) else None


def is_section(annotation: Any) -> bool:
    """Whether a field holds further fields, and never null."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def holds_fields(annotation: Any) -> bool:
    """Whether a field may hold further fields: a section, or null in its place."""
    return any(is_section(part) for part in _alternatives(annotation))


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def is_optional(annotation: Any) -> bool:
    """Whether a field may be null."""
    return len(_alternatives(annotation)) > 1 and type(None) in _alternatives(annotation)


def describe_type(info: FieldInfo) -> str:
    """Return the type and range of a field in words, such as "integer, from 1 to 8"."""
    words = type_words(info.annotation)
    limits = [limit for limit in _limits(info) if limit]
    return ", ".join([words, *limits])


def type_words(annotation: Any) -> str:
    """Return a type in words: "list of text", "integer or null", "one of embedded, habitat"."""
    if get_origin(annotation) is Literal:
        choices = get_args(annotation)
        return f"one of {', '.join(map(str, choices))}" if len(choices) > 1 else f"{choices[0]}"
    if get_origin(annotation) is Annotated:
        return type_words(get_args(annotation)[0])
    if len(_alternatives(annotation)) > 1:
        return " or ".join(dict.fromkeys(type_words(part) for part in _alternatives(annotation)))
    if get_origin(annotation) is tuple:
        item = type_words(get_args(annotation)[0])
        return "list of sections" if item == "section" else f"list of {item}"
    if get_origin(annotation) is dict:
        return f"{type_words(get_args(annotation)[1])} by name"
    if is_section(annotation):
        return "section"
    return _WORDS.get(annotation, str(annotation))


def _limits(info: FieldInfo) -> Iterator[str]:
    low = high = None
    for rule in info.metadata:
        if isinstance(rule, annotated_types.Ge):
            low = rule.ge
        elif isinstance(rule, annotated_types.Le):
            high = rule.le
        elif isinstance(rule, annotated_types.Gt):
            yield f"above {rule.gt}"
        elif isinstance(rule, annotated_types.Lt):
            yield f"below {rule.lt}"
        elif isinstance(rule, annotated_types.MultipleOf):
            yield f"a multiple of {rule.multiple_of}"
        elif isinstance(rule, annotated_types.MinLen):
            yield "not empty"
        elif getattr(rule, "pattern", None):
            yield f"of the form {rule.pattern}"
    if low is not None and high is not None:
        yield f"from {low} to {high}"
    elif low is not None or high is not None:
        yield f"at least {low}" if low is not None else f"at most {high}"


def _default(info: FieldInfo) -> str | None:
    if info.is_required():
        return None
    value = info.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, BaseModel):
        return ""
    if value is None:
        return "null"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
