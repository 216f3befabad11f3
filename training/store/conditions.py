"""Conditions on walks as a shell has them: `metrics/ndtw>=0.5`, `success=true`, `source!=expert`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import reduce
from operator import and_, eq, ge, gt, le, lt, ne
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from navloop.training.store.schema import StoreError

_CONDITION = re.compile(r"\s*(?P<column>[^=!<>]+?)\s*(?P<sign>!=|>=|<=|=|>|<)\s*(?P<value>.*?)\s*", re.DOTALL)

_SIGNS: Mapping[str, Callable[[Any, Any], Any]] = {"=": eq, "!=": ne, ">=": ge, "<=": le, ">": gt, "<": lt}


def parse_conditions(texts: Sequence[str], columns: pa.Schema, store: str) -> pc.Expression:
    """Return the expression that holds where all conditions do. Where a column says nothing, no condition on it holds.

    Args:
        texts: COLUMN, one of = != >= <= > <, and a value, each; `COLUMN=null` holds where a column says nothing, `COLUMN!=null` where it does.
        columns: Of the table that they are about.
        store: What to call it in messages.

    Raises:
        StoreError: If one is no condition, or names no column, or its value is not of the column's kind.
    """
    return reduce(and_, [_parse(text, columns, store) for text in texts], pc.scalar(True))


def _parse(text: str, columns: pa.Schema, store: str) -> pc.Expression:
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise StoreError(f"condition {text!r}: expected COLUMN, one of {' '.join(_SIGNS)}, and a value")
    name, sign, value = found["column"], found["sign"], found["value"]
    if name not in columns.names:
        near = [n for n in columns.names if n.endswith(f"/{name}")] or get_close_matches(name, columns.names, 1)
        hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(columns.names)}"
        raise StoreError(f"condition {text!r}: {store} has no column {name!r}; {hint}")
    if value == "null" and sign in ("=", "!="):
        return pc.field(name).is_null() if sign == "=" else pc.field(name).is_valid()
    kind = columns.field(name).type
    try:
        return _SIGNS[sign](pc.field(name), pa.scalar(value).cast(kind))
    except pa.ArrowInvalid as error:
        raise StoreError(f"condition {text!r}: {value!r} is not {_KINDS.get(str(kind), str(kind))}") from error


_KINDS = {"bool": "true or false", "int64": "a whole number", "double": "a number"}
