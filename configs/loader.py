"""The strict way from a recipe to a checked config, and back. Nothing is inherited, interpolated, evaluated or repaired."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from navloop.configs.fields import FieldEntry, holds_fields, is_optional, is_section, list_entry_fields, list_fields
from navloop.configs.kinds import COMMANDS, KINDS, TASKS, VARIANTS, Recipe
from navloop.registry import nearest

_FLOAT = re.compile(r"^[-+]?(\d[\d_]*)(\.\d*)?[eE][-+]?\d+$")


class RecipeError(ValueError):
    """A recipe that cannot be used; the message names the file, the field, the value, and the mend."""


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a key said twice is an error and 1e-3 is a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if key in seen:
                raise RecipeError(f"line {line}: {key!r} is already set on line {seen[key]}; keep one of the two")
            seen[key] = line
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads back."""


for _resolver in (_Loader, _Dumper):
    _resolver.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789"))


def list_recipes(kind: str | None = None) -> tuple[str, ...]:
    """Return the names of the recipes that ship: all of them, or those of one kind."""
    shipped = [entry for entry in files("navloop.configs").iterdir() if entry.name.endswith(".yaml")]
    if kind is not None:
        shipped = [entry for entry in shipped if f"\nkind: {kind}\n" in f"\n{entry.read_text(encoding='utf-8')}"]
    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in shipped))


def load(recipe: str | Path, overrides: Sequence[str] = (), kind: str | tuple[str, ...] | None = None) -> Recipe:
    """Return the checked config of a recipe.

    Args:
        recipe: Path of a YAML file, or the name of one that ships (see `list_recipes`).
        overrides: "dotted.key=value", applied in order; the value is read by the field's type, a list as "a,b" or "[a, b]". Entries
            of a list of sections are counted from 0: "tasks.0.k=10".
        kind: The kind, or kinds, that the caller can use; None takes any.

    Raises:
        RecipeError: If the file cannot be read, or a key, type or value is wrong: every fault at once, each with its place.
    """
    kinds = (kind,) if isinstance(kind, str) else kind
    source, text = _read(recipe, kinds)
    try:
        data, lines = _parse(text)
    except RecipeError as error:
        raise RecipeError(f"{source}: {error}") from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None
    schema = _schema_of(data, source, kinds)
    fields = {field.path: field for field in (*list_fields(schema), *list_entry_fields(schema, data))}
    places = {path: f"{source}, line {line}" for path, line in lines.items()}
    for override in overrides:
        path, value = _read_override(override, fields)
        _set(data, path, value, override)
        places[path] = f"override {override!r}"
    try:
        # JSON mode keeps types strict and still takes a list for a tuple.
        return schema.model_validate_json(json.dumps(data, default=str))
    except ValidationError as error:
        found = error.errors()
        # Pydantic counts the entries of a list that are right: one with a wrong entry would be called too short, too.
        found = [fault for fault in found if fault["type"] != "too_short" or not any(_inside(fault, o) for o in found)]
        faults = [_explain(fault, fields, places, source) for fault in found]
        raise RecipeError("\n".join(faults)) from None


def dump(config: BaseModel) -> str:
    """Return a recipe, every field spelled out, that `load` reads back as an equal config."""
    # Escaped: PyYAML writes some line separators of Unicode plainly, and reads them back as blanks.
    return yaml.dump(config.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False, allow_unicode=False, width=120)


def _read(recipe: str | Path, kinds: Sequence[str] | None) -> tuple[str, str]:
    path = Path(recipe)
    if path.is_dir() and (path / "config.yaml").is_file():
        path = path / "config.yaml"
    if not path.is_file() and str(recipe) in list_recipes():
        shipped = files("navloop.configs") / f"{recipe}.yaml"
        return f"{recipe}.yaml", shipped.read_text(encoding="utf-8")
    try:
        return str(path), path.read_text(encoding="utf-8")
    except FileNotFoundError:
        fitting = list_recipes() if kinds is None else [name for kind in kinds for name in list_recipes(kind)]
        near = difflib.get_close_matches(path.name.removesuffix(".yaml"), fitting, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise RecipeError(
            f"recipe {str(recipe)!r}: no such file, and no recipe of that name ships; {hint}there are {', '.join(fitting)}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe {str(recipe)!r}: cannot be read ({error})") from None


def _parse(text: str) -> tuple[dict[str, Any], dict[str, int]]:
    node = yaml.compose(text, Loader=_Loader)
    data = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader with stricter keys
    if not isinstance(data, dict) or not isinstance(node, yaml.MappingNode):
        raise RecipeError("a recipe is a list of 'key: value' lines, beginning with its kind")
    return data, dict(_key_lines(node))


def _key_lines(node: yaml.MappingNode, prefix: str = "") -> list[tuple[str, int]]:
    lines = []
    for key, value in node.value:
        path = f"{prefix}{key.value}"
        lines.append((path, key.start_mark.line + 1))
        if isinstance(value, yaml.MappingNode):
            lines += _key_lines(value, f"{path}.")
        for number, entry in enumerate(value.value if isinstance(value, yaml.SequenceNode) else ()):
            lines.append((f"{path}.{number}", entry.start_mark.line + 1))
            lines += _key_lines(entry, f"{path}.{number}.") if isinstance(entry, yaml.MappingNode) else []
    return lines


def _schema_of(data: Mapping[str, Any], source: str, wanted: tuple[str, ...] | None) -> type[Recipe]:
    kind = _kind_of(data, source, wanted)
    if kind not in VARIANTS:
        return KINDS[kind]
    field, schemas = VARIANTS[kind]
    variant = data.get(field)
    if not isinstance(variant, str) or variant not in schemas:
        said = f"does not say its {field}" if variant is None else f"has the unknown {field} {variant!r}"
        raise RecipeError(f"{source}: the recipe {said}; write '{field}: {'|'.join(schemas)}'")
    return schemas[variant]


def _kind_of(data: Mapping[str, Any], source: str, wanted: tuple[str, ...] | None) -> str:
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        said = "does not say its kind" if kind is None else f"has the unknown kind {kind!r}"
        raise RecipeError(f"{source}: the recipe {said}; begin it with 'kind: {'|'.join(wanted or KINDS)}'")
    if wanted is not None and kind not in wanted:
        ours, theirs = COMMANDS.get(wanted[0], wanted[0]), COMMANDS.get(kind, kind)
        raise RecipeError(f"{source}: this recipe is for 'navloop {theirs}', not for 'navloop {ours}' (kind: {kind})")
    return kind


def _read_override(override: str, fields: Mapping[str, FieldEntry]) -> tuple[str, Any]:
    path, equals, text = override.partition("=")
    path = path.strip()
    if not equals:
        raise RecipeError(f"override {override!r}: write it as key=value")
    if path not in fields:
        raise RecipeError(f"override {override!r}: {_unknown(path, fields)}")
    if path == "kind" or path in (field for field, _ in VARIANTS.values()):
        raise RecipeError(f"override {override!r}: the {path} of a recipe is not for overriding; choose another recipe")
    annotation = fields[path].annotation
    if is_section(annotation):
        inside = ", ".join(name for name in fields if name.startswith(f"{path}."))
        raise RecipeError(f"override {override!r}: {path} is a section; set one of {inside}")
    return path, _read_value(text.strip(), annotation)


def _read_value(text: str, annotation: Any) -> Any:
    """Read text by a field's type; what does not fit stays text, and the schema then says what was expected."""
    if is_optional(annotation):
        if text.lower() in ("null", "none", "~"):
            return None
        return _read_value(text, next(part for part in get_args(annotation) if part is not type(None)))
    if get_origin(annotation) is tuple:
        if is_section(get_args(annotation)[0]):
            return _read_sections(text)
        inside = text[1:-1] if text.startswith("[") and text.endswith("]") else text
        return [
            _read_value(_unquoted(item.strip()), get_args(annotation)[0]) for item in inside.split(",") if item.strip()
        ]
    if annotation is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    if annotation in (int, float):
        try:
            return annotation(text)
        except ValueError:
            return text
    return text


def _read_sections(text: str) -> Any:
    """Read a list of sections as YAML has it in a line: "[{folder: a, episodes: b}]"."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader with stricter keys
    except yaml.YAMLError:
        return text


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def _set(data: dict[str, Any], path: str, value: Any, override: str) -> None:
    *sections, name = path.split(".")
    for section in sections:
        if isinstance(data, list):  # only entries that are there are among the known fields
            data = data[int(section)]
            continue
        if data.get(section) is None:  # an optional section begins with its first field
            data[section] = {}
        data = data[section]
        if not isinstance(data, dict | list):
            raise RecipeError(f"override {override!r}: {section} is not a section in the recipe")
    data[name] = value


def _unknown(path: str, fields: Mapping[str, FieldEntry]) -> str:
    near = difflib.get_close_matches(path, fields, n=1, cutoff=0.5)
    last = {name.rpartition(".")[2]: name for name in fields}
    near = near or [last[name] for name in difflib.get_close_matches(path.rpartition(".")[2], last, n=1, cutoff=0.6)]
    return (
        f"unknown key {path!r}; did you mean {near[0]!r}?"
        if near
        else f"unknown key {path!r}; known: {', '.join(fields)}"
    )


def _ancestors(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[:count]) for count in range(len(parts), 0, -1)]


def _inside(fault: Any, other: Any) -> bool:
    """Return whether another fault is within the field of a fault."""
    return len(other["loc"]) > len(fault["loc"]) and other["loc"][: len(fault["loc"])] == fault["loc"]


def _path_of(places: Sequence[int | str]) -> str:
    """Return the dotted path of a fault; pydantic names the kind of an entry of a list between its number and its field."""
    kept = [
        str(part)
        for number, part in enumerate(places)
        if not (number >= 2 and isinstance(places[number - 1], int) and part in TASKS)
    ]
    return ".".join(kept)


def _explain(fault: Any, fields: Mapping[str, FieldEntry], places: Mapping[str, str], source: str) -> str:
    path = _path_of(fault["loc"])
    place = next((places[name] for name in _ancestors(path) if name in places), source)
    if fault["type"] == "extra_forbidden":
        return f"{place}: {_unknown(path, fields)}"
    if fault["type"].startswith("union_tag"):
        tag, said = fault["ctx"]["discriminator"].strip("'"), fault["ctx"].get("tag")
        tags = [word.strip(" '") for word in fault["ctx"].get("expected_tags", ",".join(TASKS)).split(",")]
        return f"{place}: {path}.{tag} is {'missing' if said is None else repr(said)}; {nearest(said or '', tags)}"
    known = next((fields[name] for name in _ancestors(path) if name in fields), None)
    if fault["type"] == "value_error" and (known is None or holds_fields(known.annotation)):
        return f"{place}: {path}: {fault['ctx']['error']}" if path else f"{place}: {fault['ctx']['error']}"
    kind = known.kind if known else fault["msg"]
    if fault["type"] == "missing":
        return (
            f"{source}: the field {path} is missing; it must be {kind} ({known.description if known else 'required'})"
        )
    return f"{place}: {path} is {fault['input']!r}; it must be {kind}"
