"""What every reader of another project's file returns, and the checked look-ups they share."""

import dataclasses
import itertools
import math
import reprlib
from collections.abc import Iterator, Mapping
from typing import Any

from speechrep.compat.inert import Name, Record
from speechrep.compat.keys import Row, Weights
from speechrep.compat.unpickle import StoredTensor
from speechrep.errors import InputError


@dataclasses.dataclass(frozen=True)
class Foreign:
    """A model out of another project's file, not yet one of ours."""

    upstream: str  # which of our models it is: "apc" or "mockingjay"
    options: dict[str, Any]  # by the names of our configuration
    input_dim: int
    state: Weights  # under their names
    table: tuple[Row, ...]
    preset: str  # the features it was most likely made for; "" if the file does not tell
    has_head: bool = True  # whether the part that only pre-training needs is in the file
    sequence_length: int = 0  # S3PRL encodes longer inputs in pieces of at most so many frames; 0: whole
    notes: tuple[str, ...] = ()  # what the reader should know


def section(tree: Any, *keys: str, where: object) -> Mapping[str, Any]:
    """The dictionary at ``tree[key][key]...``; a Namespace counts as one.

    Raises:
        InputError: naming the key that is absent.
    """
    for depth, key in enumerate(keys):
        tree = tree.state if isinstance(tree, Record) else tree
        if not isinstance(tree, dict) or key not in tree:
            found = sorted(map(str, tree)) if isinstance(tree, dict) else type(tree).__name__
            raise InputError(
                f"it has no {'.'.join(keys[: depth + 1])} (found: {found})",
                where=where,
                mend="is it the kind of file that --from says?",
            )
        tree = tree[key]
    tree = tree.state if isinstance(tree, Record) else tree
    if not isinstance(tree, dict):
        raise InputError(f"{'.'.join(keys)} is no dictionary", where=where)
    return tree


def number(values: Mapping[str, Any], key: str, where: object, default: float | None = None) -> float:
    """``values[key]`` as a finite number; the originals wrote some as text ("1e-12")."""
    value = values.get(key, default)
    try:
        found = float(value) if isinstance(value, (int, float, str)) else math.nan
    except (ValueError, OverflowError):
        found = math.nan
    if isinstance(value, bool) or not math.isfinite(found):
        raise InputError(f"its configuration has {key} {reprlib.repr(value)}, want a number", where=where)
    return found


def whole_number(values: Mapping[str, Any], key: str, where: object, default: int | None = None) -> int:
    """``values[key]`` as a whole number above 0."""
    value = number(values, key, where, default)
    if value != int(value) or value < 1:
        raise InputError(f"its configuration has {key} {value}, want a whole number above 0", where=where)
    return int(value)


def plain(value: Any) -> Any:
    """A part of a file in JSON's types: records become dictionaries, tensors their shapes.

    What is nested deeper than 20, or comes after 10,000 values, is left out: a small file may hold one list
    a thousand million times.
    """
    return _plain(value, 20, itertools.count())


def _plain(value: Any, depth: int, seen: Iterator[int]) -> Any:
    if not depth or next(seen) > 10_000:
        return "..."
    if isinstance(value, Record):
        state = _plain(value.state, depth - 1, seen)
        return {"class": value.name} | (state if isinstance(state, dict) else {})
    if isinstance(value, dict):
        return {str(key): _plain(item, depth - 1, seen) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item, depth - 1, seen) for item in value]
    if isinstance(value, StoredTensor):
        return f"tensor {list(value.shape)}"
    if isinstance(value, Name):
        return value.name
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)
